"""Copying: write a random string again, whose length is the dial that shows what a model can hold."""

import random
import string
from collections.abc import Callable, Sequence
from typing import Any

from transformer_book.tasks.task import Example, Split, check_sampling
from transformer_book.tasks.vocabulary import Vocabulary

SYMBOLS = string.digits + string.ascii_letters

#: Kind of copying → the target of a source.
KINDS: dict[str, Callable[[str], str]] = {
    "copy": lambda source: source,
    "reverse": lambda source: source[::-1],
    "first": lambda source: source[:1],
}


class Copying:
    """Random strings to copy, to reverse, or to recall the first symbol of.

    Every string is drawn afresh, so the splits differ only in name: of the 10²⁰ strings of 20 digits
    a training sees next to none, of the 10 strings of one digit it sees all.

    Parameters
    ----------
    kind
        ``"copy"``, ``"reverse"``, or ``"first"``: the target is the first symbol alone.
    shortest, longest
        Lengths of the strings, 1 ≤ `shortest` ≤ `longest`.
    num_symbols
        How many symbols, 2 … 62: digits, then small and capital letters.

    Raises
    ------
    ValueError
        A value is out of range.
    """

    name = "copying"

    def __init__(self, kind: str = "copy", shortest: int = 1, longest: int = 20, num_symbols: int = 10) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
        if not 1 <= shortest <= longest:
            raise ValueError(f"lengths: expected 1 ≤ shortest ≤ longest, got {shortest} and {longest}")
        if not 2 <= num_symbols <= len(SYMBOLS):
            raise ValueError(f"num_symbols: expected 2 … {len(SYMBOLS)}, got {num_symbols}")
        self.kind, self.shortest, self.longest = kind, shortest, longest
        self.source_vocabulary = self.target_vocabulary = Vocabulary(SYMBOLS[:num_symbols])
        self.max_target_length = len(KINDS[kind]("0" * longest)) + 1

    def settings(self) -> dict[str, Any]:
        """Tell what rebuilds the task."""
        return {
            "kind": self.kind,
            "shortest": self.shortest,
            "longest": self.longest,
            "num_symbols": len(self.source_vocabulary.symbols),
        }

    def sample(self, count: int, generator: random.Random, split: Split = "train") -> list[Example]:
        """Draw strings: the length uniform in `shortest` … `longest`, then each symbol uniform.

        Raises
        ------
        ValueError
            `count` is below 1, or there is no such split.
        """
        check_sampling(count, split)
        return [self._draw(generator.randint(self.shortest, self.longest), generator) for _ in range(count)]

    def sample_length(self, count: int, length: int, generator: random.Random) -> list[Example]:
        """Draw strings of one length ≥ 1, which may lie outside `shortest` … `longest`.

        Raises
        ------
        ValueError
            `count` or `length` is below 1.
        """
        check_sampling(count, "test")
        if length < 1:
            raise ValueError(f"length: expected an integer ≥ 1, got {length}")
        return [self._draw(length, generator) for _ in range(count)]

    def parse(self, text: str) -> str:
        """Make a source from typed text; spaces are left out.

        Raises
        ------
        ValueError
            A symbol is unknown, or there are fewer than `shortest` or more than `longest`.
        """
        source = "".join(text.split())
        self.source_vocabulary.encode(source)
        if not self.shortest <= len(source) <= self.longest:
            raise ValueError(f"text: expected {self.shortest} … {self.longest} symbols, got {len(source)}")
        return source

    def text(self, target: Sequence[str]) -> str:
        """Write a target as a string."""
        return "".join(target)

    def _draw(self, length: int, generator: random.Random) -> Example:
        source = "".join(generator.choices(self.source_vocabulary.symbols, k=length))
        return Example(source, KINDS[self.kind](source))
