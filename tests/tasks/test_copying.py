"""Copying: targets, uniform draws, lengths, typed text, and every error's text."""

import random
import re
from collections import Counter
from math import sqrt

import pytest

from transformer_book.tasks.copying import SYMBOLS, Copying
from transformer_book.tasks.task import SPLITS


def assert_uniform(counts: Counter, values: int) -> None:
    """Every count within five standard deviations of its mean."""
    total = sum(counts.values())
    mean = total / values
    assert len(counts) == values
    assert all(abs(count - mean) < 5 * sqrt(mean * (1 - 1 / values)) for count in counts.values()), counts


@pytest.mark.parametrize("kind", ["copy", "reverse", "first"])
def test_the_target_of_each_kind(kind: str) -> None:
    task = Copying(kind, shortest=5, longest=7)
    for example in task.sample(50, random.Random(0)) + task.sample_length(50, 11, random.Random(0)):
        a, b, *middle, c = example.source
        expected = {"copy": [a, b, *middle, c], "reverse": [c, *reversed(middle), b, a], "first": [a]}[kind]
        assert list(example.target) == expected
    assert task.max_target_length == (2 if kind == "first" else 8)


def test_lengths_and_symbols_are_uniform() -> None:
    task = Copying(shortest=3, longest=13, num_symbols=7)
    sources = [example.source for example in task.sample(20_000, random.Random(1))]
    assert_uniform(Counter(map(len, sources)), 11)
    assert_uniform(Counter("".join(sources)), 7)
    for place in (0, 2):
        assert_uniform(Counter(source[place] for source in sources), 7)
    assert_uniform(Counter(source[0] + source[1] for source in sources), 49)  # independent of each other


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_draws_from_the_same_strings(split: str) -> None:
    assert_uniform(Counter(e.source for e in Copying(longest=1).sample(5000, random.Random(0), split)), 10)


@pytest.mark.parametrize("length", [1, 2, 53])
def test_strings_of_one_length(length: int) -> None:
    examples = Copying("reverse", shortest=2, longest=3).sample_length(17, length, random.Random(0))
    assert [len(example.source) for example in examples] == [length] * 17
    assert len({example.source for example in examples}) > 1


def test_symbols_are_digits_then_letters() -> None:
    assert Copying().source_vocabulary.symbols == tuple("0123456789")
    assert Copying(num_symbols=13).target_vocabulary.symbols == tuple("0123456789abc")
    assert Copying(num_symbols=len(SYMBOLS)).source_vocabulary.symbols[-1] == "Z"
    drawn = set("".join(e.source for e in Copying(num_symbols=13).sample(500, random.Random(0))))
    assert drawn == set("0123456789abc")


def test_typed_text() -> None:
    task = Copying(shortest=2, longest=5)
    assert task.parse(" 31 4\t15\n") == "31415"
    assert task.text(["3", "1"]) == "31"
    message = "sequence: expected only symbols of the vocabulary, got 'x' at position 1"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        task.parse("3 x1")
    for text in ("", "3", "314159"):
        with pytest.raises(ValueError, match=f"^text: expected 2 … 5 symbols, got {len(text)}$"):
            task.parse(text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "sort"}, "kind: expected one of copy, reverse, first, got 'sort'"),
        ({"shortest": 0}, "lengths: expected 1 ≤ shortest ≤ longest, got 0 and 20"),
        ({"shortest": 7, "longest": 5}, "lengths: expected 1 ≤ shortest ≤ longest, got 7 and 5"),
        ({"num_symbols": 1}, "num_symbols: expected 2 … 62, got 1"),
        ({"num_symbols": 63}, "num_symbols: expected 2 … 62, got 63"),
    ],
)
def test_wrong_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Copying(**settings)


def test_settings_rebuild_the_task() -> None:
    settings = {"kind": "reverse", "shortest": 3, "longest": 7, "num_symbols": 13}
    assert Copying(**settings).settings() == settings


def test_wrong_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^length: expected an integer ≥ 1, got 0$"):
        Copying().sample_length(1, 0, random.Random(0))
    with pytest.raises(ValueError, match=r"^count: expected an integer ≥ 1, got 0$"):
        Copying().sample_length(0, 1, random.Random(0))
