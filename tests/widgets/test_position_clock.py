"""Position clock: its numbers are the package's, in Python and in the page's module; its errors."""

import math
from itertools import product

import pytest
import torch

from transformer_book.positions import sinusoids
from transformer_book.widgets import PositionClock
from transformer_book.widgets.position_clock import ENCODINGS, LAST, NUM_DRAWS, WIDTHS

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def by_hand(widget: PositionClock) -> tuple[torch.Tensor, torch.Tensor]:
    """Both vectors as complex numbers, a pair of coordinates each: a turn is a product."""
    planes = torch.arange(widget.width // 2, dtype=torch.float64)
    speed = 10000.0 ** (-2 * planes / widget.width)
    vectors = []
    for content, position in zip(widget.contents[widget.draw], (widget.first, widget.second), strict=True):
        pairs = torch.view_as_complex(torch.tensor(content[: widget.width], dtype=torch.float64).view(-1, 2))
        turn = torch.polar(torch.ones_like(speed), position * speed)
        sines = torch.complex(turn.imag, turn.real)
        vectors.append({"sinusoidal": sines, "added": pairs + sines, "rotary": pairs * turn}[widget.encoding])
    return vectors[0], vectors[1]


@pytest.mark.parametrize(("encoding", "width"), list(product(ENCODINGS, WIDTHS)))
def test_numbers_are_those_of_the_formulas(encoding, width):
    widget = PositionClock(97, 11, width, encoding, draw=1)
    first, second = by_hand(widget)
    for seen, expected in zip(widget.vectors(), (first, second), strict=True):
        torch.testing.assert_close(seen.double(), torch.view_as_real(expected).flatten(), **CLOSE)
    score = float((first.conj() * second).real.sum()) / math.sqrt(width)
    assert widget.score() == pytest.approx(score, abs=1e-5)
    assert float(widget.scores()[11]) == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize(("encoding", "level"), [("sinusoidal", True), ("rotary", True), ("added", False)])
def test_only_added_content_feels_where_the_pair_stands(encoding, level):
    """What the widget is there to show."""
    scores = [PositionClock(5 + by, 17 + by, 32, encoding).score() for by in range(0, 100, 9)]
    assert (max(scores) - min(scores) < 1e-5) is level


def test_the_page_computes_what_python_computes(run_js):
    generator = torch.Generator().manual_seed(1)
    widgets = []
    for number, (encoding, width) in enumerate(product(ENCODINGS, WIDTHS)):
        first, second = torch.randint(LAST + 1, (2,), generator=generator).tolist()
        widgets.append(PositionClock(first, second, width, encoding, number % NUM_DRAWS, seed=number))
    calls = []
    for each in widgets:
        query, key = each.contents[each.draw]
        calls.append(("place", [each.encoding, query, each.first, each.width]))
        calls.append(("place", [each.encoding, key, each.second, each.width]))
        calls.append(("scoresOf", [each.encoding, [query, key], each.first, each.width]))
    answers = run_js("position_clock", calls)
    for number, each in enumerate(widgets):
        first, second, scores = map(torch.tensor, answers[3 * number : 3 * number + 3])
        torch.testing.assert_close(first, each.vectors()[0], **CLOSE)
        torch.testing.assert_close(second, each.vectors()[1], **CLOSE)
        torch.testing.assert_close(scores, each.scores(), **CLOSE)
        [shares] = run_js("position_clock", [("parts", [first.tolist(), second.tolist()])])
        assert len(shares) == each.width // 2
        assert sum(shares) == pytest.approx(each.score(), abs=1e-5)


def test_periods_are_a_turn_of_the_dials(run_js):
    [speeds] = run_js("position_clock", [("frequencies", [8])])
    table = sinusoids(2, 8)[1]
    assert speeds == pytest.approx(torch.atan2(table[0::2], table[1::2]).tolist(), abs=1e-6)
    texts = run_js("position_clock", [("period", [speed]) for speed in [*speeds, 1 / 1600, 0.628319]])
    assert texts == ["6.3", "63", "628", "6283", "10k", "10"]


def test_observe_sees_every_dial():
    widget, seen = PositionClock(), []
    names = ["first", "second", "width", "encoding", "draw"]
    widget.observe(lambda change: seen.append(change.name), names)
    widget.first, widget.second, widget.width, widget.encoding, widget.draw = 3, 4, 64, "rotary", 2
    assert seen == names


def test_seeds_and_draws_differ_and_repeat():
    first, again, other = PositionClock(seed=1), PositionClock(seed=1), PositionClock(seed=2)
    assert first.contents == again.contents != other.contents
    assert len({str(pair) for pair in first.contents}) == NUM_DRAWS
    query, key = PositionClock(width=8, draw=1).content()
    assert query.tolist() != key.tolist()
    assert query.shape == key.shape == (8,)


def test_describe_names_positions_and_score():
    text = PositionClock(20, 23, 16, "sinusoidal").describe()
    assert text.startswith("8 dials, one for each pair of coordinates, with a hand for position 20 and one for ")
    assert "position 23, 3 apart. Compared are rows of sinusoids; the score is 1." in text
    assert (
        PositionClock(7, 7, 64).describe().endswith("0 apart. Compared are rows of sinusoids; the score is 4.00.")
    )


WRONG = [
    ({"first": -1}, ValueError, "first: expected an integer in 0 … 127, got -1"),
    ({"second": 128}, ValueError, "second: expected an integer in 0 … 127, got 128"),
    ({"second": 1.0}, TypeError, "second: expected an integer, got 1.0"),
    ({"width": 12}, ValueError, "width: expected one of 8, 16, 32, 64, got 12"),
    ({"encoding": "learned"}, ValueError, "encoding: expected one of 'sinusoidal', .* got 'learned'"),
    ({"draw": 3}, ValueError, "draw: expected an integer in 0 … 2, got 3"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        PositionClock(**arguments)


@pytest.mark.parametrize(("arguments", "message"), [(a, m) for a, error, m in WRONG if error is ValueError])
def test_wrong_assignments_leave_the_state(arguments, message):
    widget = PositionClock()
    before = widget.describe()
    ((name, value),) = arguments.items()
    with pytest.raises(ValueError, match=message):
        setattr(widget, name, value)
    assert widget.describe() == before
