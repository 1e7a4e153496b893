"""What every task has: examples, splits, and how examples become a batch of ids."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor

from transformer_book.device import CPU
from transformer_book.tasks.vocabulary import END, PAD, START, Vocabulary

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Example:
    """One pair to learn from; a string is a sequence of its characters."""

    source: Sequence[str]
    target: Sequence[str]


class Batch(NamedTuple):
    """Ids of several examples, padding on the right: source ``(B, S)``; target ``(B, T)``, from START to END."""

    source: Tensor
    target: Tensor


class Task(Protocol):
    """A source language, a target language, and a supply of examples.

    Attributes
    ----------
    name
        As in `transformer_book.tasks.TASKS`.
    source_vocabulary, target_vocabulary
        All symbols that can occur.
    max_target_length
        Length of the longest target, END included.
    """

    name: str
    source_vocabulary: Vocabulary
    target_vocabulary: Vocabulary
    max_target_length: int

    def settings(self) -> dict[str, Any]:
        """Tell what rebuilds the task, as JSON values: ``make_task(task.name, **task.settings())``."""
        ...

    def sample(self, count: int, generator: random.Random, split: Split = "train") -> Sequence[Example]:
        """Draw `count` examples, with replacement, from a split."""
        ...

    def parse(self, text: str) -> Sequence[str]:
        """Make a source from what a person types; ValueError says what is wrong with it."""
        ...

    def text(self, target: Sequence[str]) -> str:
        """Write a target, or a prediction, for a person to read."""
        ...


def check_sampling(count: int, split: str) -> None:
    """Check the arguments of `Task.sample`.

    Raises
    ------
    ValueError
        `count` is below 1, or there is no such split.
    """
    if count < 1:
        raise ValueError(f"count: expected an integer ≥ 1, got {count}")
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")


def collate(
    examples: Sequence[Example],
    source_vocabulary: Vocabulary,
    target_vocabulary: Vocabulary,
    device: torch.device = CPU,
) -> Batch:
    """Turn examples into one batch of ids.

    Parameters
    ----------
    examples
        At least one; sources of at least one symbol.
    source_vocabulary, target_vocabulary
        Give the ids.
    device
        Where to put the ids.

    Returns
    -------
    Batch
        Integer ids: source ``(B, S)``, S the longest source; target ``(B, T)``, T the longest target plus two.

    Raises
    ------
    ValueError
        There is no example, a source is empty, or a symbol is not in its vocabulary.
    """
    if not examples or not all(len(example.source) for example in examples):
        got = "an empty source" if examples else "none"
        raise ValueError(f"examples: expected at least one, each with a source of at least one symbol, got {got}")
    source = _padded([source_vocabulary.encode(example.source) for example in examples])
    target = _padded([[START, *target_vocabulary.encode(example.target), END] for example in examples])
    return Batch(source.to(device), target.to(device))


def _padded(rows: Sequence[list[int]]) -> Tensor:
    """Lay rows of ids below each other; in plain lists, since a tensor for each row takes ten times as long."""
    longest = max(map(len, rows))
    return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
