"""Translation: English sentences into French, German or Spanish, or the pairs of a file, in subwords.

The sentences come from Tatoeba, where people translate each other's sentences, in the selection that stands beside
Japanese ones: an English and a French sentence of a pair are often two translations of one Japanese sentence, not
of each other, so *you* is *tu* here and *vous* there, and no model can know which.
"""

import hashlib
import random
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from transformer_book.tasks.sources import SOURCES, fetch
from transformer_book.tasks.task import Example, Split, check_sampling
from transformer_book.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: Language → its column in the file of `SOURCES`, whose column `ENGLISH` is English; "-" where there is none.
LANGUAGES = {"fr": 5, "de": 4, "es": 6}
ENGLISH = 2

#: Bytes are the smallest subwords, so that no text is unknown: there are never fewer subwords than this.
NUM_BYTES = 256

_APOSTROPHES = str.maketrans("’ʼ", "''")
_SPACES = re.compile(r"\s+")  # narrow and no-break ones too


class Pair(NamedTuple):
    """A sentence and its translation, both normalised."""

    source: str
    target: str


def normalise(text: str) -> str:
    """Write text as all sentences are written: NFC, plain apostrophes, one plain space wherever there is space.

    French has a narrow no-break space before its question mark in some sentences and none in others, by who typed
    them. What is normalised stays as it is.
    """
    return _SPACES.sub(" ", unicodedata.normalize("NFC", text).translate(_APOSTROPHES)).strip()


def fold(sentence: str) -> str:
    """Leave of a sentence what tells it from others: letters and digits, without case, spacing or punctuation."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", sentence).casefold()))


def split(source: str) -> Split:
    """Tell to which split a source sentence belongs: 90 % train, 5 % validation, 5 % test, by a hash of its fold.

    All translations of a sentence are in one split, and so are *I see.* and *I see!*; it is the same on every
    machine, in every language, and whatever other sentences there are.
    """
    bucket = int.from_bytes(hashlib.sha256(fold(source).encode()).digest()[:4]) % 20
    return "test" if bucket == 0 else "validation" if bucket == 1 else "train"


@cache
def tatoeba_pairs(language: str) -> tuple[Pair, ...]:
    """Read the pairs of English and another language, each once, in the order of the file.

    Raises
    ------
    ValueError
        `language` is none of `LANGUAGES`.
    SourceError
        The file cannot be had; see `transformer_book.tasks.sources.fetch`.
    """
    _check_language(language)
    pairs = {}
    for line in fetch(SOURCES["tatoeba"]).read_text(encoding="utf-8").rstrip("\n").split("\n"):
        columns = line.split("\t")
        source, target = columns[ENGLISH], columns[LANGUAGES[language]]
        if "-" not in (source, target):
            pairs[Pair(normalise(source), normalise(target))] = None
    return tuple(pairs)


def read_pairs(path: Path) -> tuple[Pair, ...]:
    """Read pairs from a text file: on each line a sentence, a tab, and its translation. Empty lines are left out.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is not UTF-8, a line has not two sentences, or there is no line at all; the message has its number.
    """
    pairs = {}
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}, line {number}: expected UTF-8, got byte {line[error.start]:#04x} at {error.start}"
            ) from None
        if not text.strip():
            continue
        sentences = [normalise(sentence) for sentence in text.split("\t")]
        if len(sentences) != 2 or not all(sentences):
            got = "an empty one" if len(sentences) == 2 else str(len(sentences))
            raise ValueError(f"{path}, line {number}: expected two sentences with a tab between them, got {got}")
        pairs[Pair(*sentences)] = None
    if not pairs:
        raise ValueError(f"{path}: expected at least one line with two sentences, got none")
    return tuple(pairs)


def train_tokenizer(sentences: Iterable[str], vocabulary_size: int) -> "Tokenizer":
    """Learn subwords by byte-pair encoding: the most frequent pair of neighbours becomes one, again and again.

    Parameters
    ----------
    sentences
        Normalised ones, of both languages: they share their subwords.
    vocabulary_size
        Subwords, the 256 bytes included; fewer where no pair of neighbours occurs twice.

    Notes
    -----
    Source: Sennrich, Haddow & Birch 2016, section 3.2, on bytes as in Radford et al. 2019, section 2.2.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)  # a first word is as any other
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(sentences), trainer)  # sorted: what is learnt depends on no order
    return tokenizer


class Translation:
    """Translate a sentence; sources and targets are sequences of subwords, of one vocabulary for both languages.

    A pair of which one side is longer than `longest` is left out of training. None is left out of validation and
    test, or a score would choose its own examples: there a source is cut to `longest` subwords, and what is
    missing counts as wrong.

    Parameters
    ----------
    language
        Of the targets: ``"fr"``, ``"de"`` or ``"es"``, from English. With `pairs` it is not looked at.
    pairs
        A file as `read_pairs` reads it, in place of Tatoeba's sentences.
    vocabulary_size
        Most subwords, at least 256.
    longest
        Most subwords of a source or target in training, and of a source ever.
    tokenizer
        What `settings` gave: a stored model brings its subwords along and needs no sentences to translate. None
        learns them from the training split.

    Raises
    ------
    ValueError
        A value is out of range, the file is no list of pairs, or none of its pairs is for training.
    OSError
        The file cannot be read.
    SourceError
        Tatoeba's sentences cannot be had.
    """

    name = "translation"

    def __init__(
        self,
        language: str = "fr",
        pairs: str | None = None,
        vocabulary_size: int = 4000,
        longest: int = 128,
        tokenizer: str | None = None,
    ) -> None:
        _check_language(language)
        if vocabulary_size < NUM_BYTES:
            raise ValueError(f"vocabulary_size: expected an integer ≥ {NUM_BYTES}, got {vocabulary_size}")
        if longest < 1:
            raise ValueError(f"longest: expected an integer ≥ 1, got {longest}")
        self.language, self.file, self.vocabulary_size, self.longest = language, pairs, vocabulary_size, longest
        self._tokenizer = self._learn() if tokenizer is None else _read_tokenizer(tokenizer)
        ids = self._tokenizer.get_vocab()
        self.source_vocabulary = self.target_vocabulary = Vocabulary(sorted(ids, key=ids.__getitem__))
        self.max_target_length = longest + 1
        self._examples: dict[Split, list[Example]] = {}

    def settings(self) -> dict[str, Any]:
        """Tell what rebuilds the task, its subwords included."""
        return {
            "language": self.language,
            "pairs": self.file,
            "vocabulary_size": self.vocabulary_size,
            "longest": self.longest,
            "tokenizer": self._tokenizer.to_str(),
        }

    def pairs(self, part: Split) -> list[Pair]:
        """List the pairs of a split, in the order of their file, those that training leaves out included.

        Raises
        ------
        OSError, SourceError
            The sentences cannot be had.
        """
        every = tatoeba_pairs(self.language) if self.file is None else read_pairs(Path(self.file))
        return [pair for pair in every if split(pair.source) == part]

    def examples(self, part: Split) -> list[Example]:
        """List the examples of a split, in the order of their file.

        Raises
        ------
        OSError, SourceError
            The sentences cannot be had.
        """
        if part not in self._examples:
            examples = [Example(self.encode(source), self.encode(target)) for source, target in self.pairs(part)]
            if part == "train":
                examples = [e for e in examples if max(len(e.source), len(e.target)) <= self.longest]
            else:
                examples = [Example(e.source[: self.longest], e.target) for e in examples]
            self._examples[part] = examples
        return self._examples[part]

    def sample(self, count: int, generator: random.Random, split: Split = "train") -> list[Example]:
        """Draw pairs of a split, uniformly.

        Raises
        ------
        ValueError
            `count` is below 1, there is no such split, or nothing in it.
        OSError, SourceError
            The sentences cannot be had.
        """
        check_sampling(count, split)
        if not (examples := self.examples(split)):
            raise ValueError(
                f"split: expected one with at least one pair, got {split!r} of {self.file}, with none"
            )
        return generator.choices(examples, k=count)

    def encode(self, sentence: str) -> list[str]:
        """Cut a normalised sentence into subwords; `text` gives it back."""
        return self._tokenizer.encode(sentence).tokens

    def parse(self, text: str) -> list[str]:
        """Make a source from a typed sentence, normalised.

        Raises
        ------
        ValueError
            There is no sentence, or one of more than `longest` subwords.
        """
        if not (sentence := normalise(text)):
            raise ValueError("text: expected a sentence, got none")
        if len(source := self.encode(sentence)) > self.longest:
            raise ValueError(f"text: expected a sentence of at most {self.longest} subwords, got {len(source)}")
        return source

    def text(self, target: Sequence[str]) -> str:
        """Join subwords; a character of which bytes are missing becomes U+FFFD."""
        return self._tokenizer.decoder.decode(list(target)).removeprefix(" ")

    def _learn(self) -> "Tokenizer":
        if not (pairs := self.pairs("train")):
            raise ValueError(f"pairs: expected at least one for training, got none in {self.file}")
        return train_tokenizer((sentence for pair in pairs for sentence in pair), self.vocabulary_size)


def _check_language(language: str) -> None:
    if language not in LANGUAGES:
        raise ValueError(f"language: expected one of {', '.join(LANGUAGES)}, got {language!r}")


def _read_tokenizer(text: str) -> "Tokenizer":
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the library's own errors have no other class
        raise ValueError(f"tokenizer: expected what settings() gave, got other text: {error}") from None
