"""Why √d: its data, its numbers, its errors."""

import math

import pytest
import torch

from transformer_book.widgets import WhySqrtD
from transformer_book.widgets.why_sqrt_d import MAX_KEYS, NUM_DRAWS, WIDTHS


def test_products_are_those_of_one_query_and_its_keys():
    widget = WhySqrtD(seed=3)
    generator = torch.Generator().manual_seed(3)
    query = torch.randn(WIDTHS[-1], generator=generator, dtype=torch.float64)
    key = torch.randn(MAX_KEYS, WIDTHS[-1], generator=generator, dtype=torch.float64)
    for stop, width in enumerate(WIDTHS):
        expected = key[:, :width] @ query[:width]
        # Four significant digits are kept.
        torch.testing.assert_close(
            torch.tensor(widget.products[0][stop], dtype=torch.float64), expected, rtol=6e-4, atol=1e-9
        )


def test_seeds_and_draws_differ_and_repeat():
    first, again, other = WhySqrtD(seed=1), WhySqrtD(seed=1), WhySqrtD(seed=2)
    assert first.products == again.products != other.products
    assert len({str(draw) for draw in first.products}) == NUM_DRAWS


@pytest.mark.parametrize(("scale", "divisor"), [("none", 1.0), ("sqrt", math.sqrt(96)), ("d", 96.0)])
def test_numbers_follow_the_dials(scale, divisor):
    widget = WhySqrtD(width=96, scale=scale, num_keys=13, draw=2)
    products = torch.tensor(widget.products[2][WIDTHS.index(96)][:13], dtype=torch.float64)
    weights = (products / divisor).softmax(0)
    torch.testing.assert_close(widget.scores(), products / divisor)
    torch.testing.assert_close(widget.weights(), weights)
    assert widget.entropy() == pytest.approx(-float((weights * weights.log2()).sum()), abs=1e-9)
    jacobian = torch.autograd.functional.jacobian(lambda scores: scores.softmax(0), products / divisor)
    assert widget.gradient() == pytest.approx(float(torch.linalg.matrix_norm(jacobian)), abs=1e-9)


def test_shows_what_it_is_there_to_show():
    """At a large width: no scale collapses, √d stays lively, d flattens."""
    collapsed, lively, flat = (WhySqrtD(width=4096, scale=scale) for scale in ("none", "sqrt", "d"))
    assert collapsed.entropy() < 0.5
    assert collapsed.gradient() < 0.1
    assert 3.5 < lively.entropy() < 4.8
    assert lively.gradient() > 0.15
    assert flat.entropy() > 4.99


def test_observe_sees_every_dial():
    widget, seen = WhySqrtD(), []
    widget.observe(lambda change: seen.append((change.name, change.new)), ["width", "scale", "num_keys", "draw"])
    widget.width, widget.scale, widget.num_keys, widget.draw = 8, "sqrt", 20, 1
    assert seen == [("width", 8), ("scale", "sqrt"), ("num_keys", 20), ("draw", 1)]


def test_describe_names_setting_and_numbers():
    text = WhySqrtD(width=512, scale="sqrt", num_keys=16).describe()
    assert "16 keys of width d = 512, scores divided by √d" in text
    assert "of 4.00 bits" in text


WRONG = [
    ({"width": 5}, ValueError, "width: expected one of 1, 2, 3, .* 4096, got 5"),
    ({"width": 0}, ValueError, "width: expected an integer in 1 … 4096, got 0"),
    ({"width": 64.0}, TypeError, "width: expected an integer, got 64.0"),
    ({"scale": "half"}, ValueError, "scale: expected one of 'none', 'sqrt', 'd', got 'half'"),
    ({"num_keys": 65}, ValueError, "num_keys: expected an integer in 8 … 64, got 65"),
    ({"num_keys": 7}, ValueError, "num_keys: expected an integer in 8 … 64, got 7"),
    ({"draw": 3}, ValueError, "draw: expected an integer in 0 … 2, got 3"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        WhySqrtD(**arguments)


@pytest.mark.parametrize(("arguments", "message"), [(a, m) for a, error, m in WRONG if error is ValueError])
def test_wrong_assignments_leave_the_state(arguments, message):
    widget = WhySqrtD()
    before = widget.describe()
    ((name, value),) = arguments.items()
    with pytest.raises(ValueError, match=message.replace("an integer in 1 … 4096", "one of 1, 2, .*")):
        setattr(widget, name, value)
    assert widget.describe() == before


def test_wrong_seed():
    with pytest.raises(ValueError, match="seed: expected an integer in 0 … "):
        WhySqrtD(seed=-1)
