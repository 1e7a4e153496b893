"""Pronunciation: English words, letter by letter, to phonemes."""

import hashlib
import random
import re
import string
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transformer_book.tasks.metrics import edit_distance
from transformer_book.tasks.sources import SOURCES, fetch
from transformer_book.tasks.task import Example, Split, check_sampling
from transformer_book.tasks.vocabulary import Vocabulary

VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
CONSONANTS = (
    *("B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N"),
    *("NG", "P", "R", "S", "SH", "T", "TH", "V", "W", "Y", "Z", "ZH"),
)
#: ARPAbet as in the CMU dictionary: vowels carry their stress, 0 none, 1 primary, 2 secondary.
PHONEMES = tuple(sorted((*CONSONANTS, *(f"{vowel}{stress}" for vowel in VOWELS for stress in "012"))))
#: The published model's symbols after its special ones; it has one vowel without stress.
PUBLISHED_PHONEMES = tuple(sorted((*PHONEMES, "UW")))
LETTERS = string.ascii_lowercase


@cache
def pronunciations() -> dict[str, tuple[tuple[str, ...], ...]]:
    """Read the dictionary: word → its pronunciations, the first listed first. Only words of the letters a … z.

    Raises
    ------
    SourceError
        The dictionary cannot be had; see `transformer_book.tasks.sources.fetch`.
    """
    found: dict[str, list[tuple[str, ...]]] = {}
    for line in fetch(SOURCES["cmudict"]).read_text(encoding="utf-8").splitlines():
        entry, *phonemes = line.partition("#")[0].split()
        word = re.sub(r"\(\d+\)$", "", entry)
        if set(word) <= set(LETTERS):
            found.setdefault(word, []).append(tuple(phonemes))
    return {word: tuple(ways) for word, ways in found.items()}


def split(word: str) -> Split:
    """Tell which split a word belongs to: 80 % train, 10 % validation, 10 % test, by its hash.

    All pronunciations of a word are in one split; its inflections are words of their own and may be in another.
    """
    bucket = int(hashlib.sha256(word.encode()).hexdigest(), 16) % 10
    return "test" if bucket == 0 else "validation" if bucket == 1 else "train"


@cache
def words_of(part: Split, shortest: int, longest: int) -> tuple[str, ...]:
    """List the dictionary's words of a split with `shortest` … `longest` letters, in alphabetical order.

    Raises
    ------
    SourceError
        The dictionary cannot be had.
    """
    return tuple(sorted(w for w in pronunciations() if shortest <= len(w) <= longest and split(w) == part))


class Pronunciation:
    """Write a word's phonemes.

    Parameters
    ----------
    shortest, longest
        Number of letters of a word.

    Raises
    ------
    ValueError
        A number is out of range.
    """

    name = "pronunciation"

    def __init__(self, shortest: int = 1, longest: int = 16) -> None:
        if not 1 <= shortest <= longest:
            raise ValueError(f"lengths: expected 1 ≤ shortest ≤ longest, got {shortest} and {longest}")
        self.shortest, self.longest = shortest, longest
        self.source_vocabulary = Vocabulary(LETTERS)
        self.target_vocabulary = Vocabulary(PHONEMES)
        self.max_target_length = max(2 * longest, 20) + 1  # "www" has 15 phonemes; longer words, fewer per letter

    def settings(self) -> dict[str, Any]:
        """Tell what rebuilds the task."""
        return {"shortest": self.shortest, "longest": self.longest}

    def sample(self, count: int, generator: random.Random, split: Split = "train") -> list[Example]:
        """Draw words of a split, uniformly, each with its first listed pronunciation.

        Raises
        ------
        ValueError
            `count` is below 1, there is no such split, or no word of such lengths in it.
        SourceError
            The dictionary cannot be had.
        """
        check_sampling(count, split)
        words, ways = words_of(split, self.shortest, self.longest), pronunciations()
        if not words:
            raise ValueError(
                f"lengths: expected those of some word in {split}, got {self.shortest} … {self.longest}"
            )
        return [Example(word, ways[word][0]) for word in generator.choices(words, k=count)]

    def parse(self, text: str) -> str:
        """Make a source from a typed word; capitals do not count.

        Raises
        ------
        ValueError
            It has other signs than letters, or is too short or too long.
        """
        word = text.strip().lower()
        self.source_vocabulary.encode(word)
        if not self.shortest <= len(word) <= self.longest:
            raise ValueError(f"text: expected {self.shortest} … {self.longest} letters, got {len(word)}")
        return word

    def text(self, target: Sequence[str]) -> str:
        """Write phonemes with spaces between them."""
        return " ".join(target)


def phoneme_error(predictions: Sequence[Sequence[str]], words: Sequence[str]) -> float:
    """Measure the edits per phoneme, each prediction against the closest pronunciation the dictionary lists.

    Parameters
    ----------
    predictions
        Phonemes of each word.
    words
        Words of the dictionary; at least one.

    Raises
    ------
    ValueError
        There are none, numbers differ, or a word is not in the dictionary.
    SourceError
        The dictionary cannot be had.
    """
    if not words or len(predictions) != len(words):
        raise ValueError(
            f"predictions and words: expected as many, at least one, got {len(predictions)} and {len(words)}"
        )
    ways, edits, length = pronunciations(), 0, 0
    for prediction, word in zip(predictions, words, strict=True):
        if word not in ways:
            raise ValueError(f"words: expected words of the dictionary, got {word!r}")
        distance, right = min((edit_distance(prediction, way), len(way)) for way in ways[word])
        edits, length = edits + distance, length + right
    return edits / length


def load_published() -> dict[str, NDArray[np.float32]]:
    """Read the published weights of g2p-en: a GRU encoder–decoder with one vector of width 256, no attention.

    Returns
    -------
    dict
        ``enc_emb (29, 256)``, ``enc_w_ih``, ``enc_w_hh (768, 256)``, ``enc_b_ih``, ``enc_b_hh (768,)``; ``dec_*``
        likewise with ``dec_emb (74, 256)``; ``fc_w (74, 256)``, ``fc_b (74,)``. Gates stand in torch's order.
        Source ids: padding, unknown, end, then a … z. Target ids: padding, unknown, start, end, then
        `PUBLISHED_PHONEMES`.

    Raises
    ------
    SourceError
        The weights cannot be had.
    """
    with np.load(fetch(SOURCES["g2p-en"])) as arrays:
        return {name: arrays[name] for name in arrays.files}
