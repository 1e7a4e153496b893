"""Metrics: cases counted by hand, properties, and every error's text."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_book.tasks.metrics import edit_distance, error_rate, exact_match, token_accuracy

Metric = Callable[..., float]
words = st.text("abc", max_size=7)
pairs = st.lists(st.tuples(words, words), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("predictions", "targets", "exact", "token", "error"),
    [
        (["abc"], ["abc"], 1, 1, 0),
        (["abc", "abd"], ["abc", "abc"], 1 / 2, 5 / 6, 1 / 6),
        (["ab"], ["abc"], 0, 2 / 3, 1 / 3),  # missing is wrong
        (["abcd"], ["abc"], 0, 1, 1 / 3),  # more than the target
        (["bca"], ["abc"], 0, 0, 2 / 3),  # shifted: no symbol in its place, two edits
        (["", "b"], ["a", "b"], 1 / 2, 1 / 2, 1 / 2),
        (["a", "xxxxxxx"], ["a", "bbbbbbb"], 1 / 2, 1 / 8, 7 / 8),  # symbols count alike, not sequences
        (["abcd"], ["x"], 0, 0, 4),  # an error rate over 1
        ([["AA", "B"]], [("AA", "B")], 1, 1, 0),  # symbols of any length, in any sequence
        (["AB"], [["AB"]], 0, 0, 2),
        (["aa", ""], ["aa", ""], 1, 1, 0),
    ],
)
def test_counted_by_hand(predictions: list, targets: list, exact: float, token: float, error: float) -> None:
    assert exact_match(predictions, targets) == pytest.approx(exact)
    assert token_accuracy(predictions, targets) == pytest.approx(token)
    assert error_rate(predictions, targets) == pytest.approx(error)


@pytest.mark.parametrize(
    ("first", "second", "edits"),
    [
        ("kitten", "sitting", 3),
        ("", "abc", 3),
        ("flaw", "lawn", 2),
        ("ab", "ba", 2),
        ("intention", "execution", 5),
    ],
)
def test_edits_counted_by_hand(first: str, second: str, edits: int) -> None:
    assert edit_distance(first, second) == edits


@given(words, words, words)
def test_edit_distance_is_a_distance(a: str, b: str, c: str) -> None:
    assert edit_distance(a, b) == edit_distance(b, a)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


@given(words, words, words, words)
def test_edits_beside_common_parts_are_the_edits_between(before: str, a: str, b: str, after: str) -> None:
    assert edit_distance(before + a + after, before + b + after) == edit_distance(a, b)


@given(pairs)
def test_measures_agree_on_what_is_right(pairs: list[tuple[str, str]]) -> None:
    predictions, targets = [prediction for prediction, _ in pairs], [target for _, target in pairs]
    exact = exact_match(predictions, targets)
    assert (exact == 1) == (predictions == targets)
    if any(targets):
        assert (error_rate(predictions, targets) == 0) == (exact == 1)
        same_length = [prediction[: len(target)] for prediction, target in pairs]
        assert (token_accuracy(same_length, targets) == 1) == (same_length == targets)
        assert 0 <= token_accuracy(predictions, targets) <= 1
        assert error_rate(same_length, targets) <= 1 - token_accuracy(same_length, targets) + 1e-12


@pytest.mark.parametrize("metric", [exact_match, token_accuracy, error_rate])
@pytest.mark.parametrize(
    ("predictions", "targets"), [([], []), (["a"], []), (["a"], ["a", "b"]), (["a", "b"], ["a"])]
)
def test_unequal_counts_and_nothing_are_refused(metric: Metric, predictions: list, targets: list) -> None:
    got = f"got {len(predictions)} predictions and {len(targets)} targets"
    with pytest.raises(ValueError, match=f"^predictions and targets: expected equally many, at least one, {got}$"):
        metric(predictions, targets)


@pytest.mark.parametrize("metric", [token_accuracy, error_rate])
def test_a_rate_per_symbol_needs_a_symbol(metric: Metric) -> None:
    with pytest.raises(ValueError, match=r"^targets: expected at least one symbol, got only empty targets$"):
        metric(["a", ""], ["", ""])
    assert exact_match(["", "a"], ["", ""]) == 0.5
