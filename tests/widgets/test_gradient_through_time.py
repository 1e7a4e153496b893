"""Gradient through time: its data, its numbers, its errors; the module's arithmetic equals torch's autograd."""

import math

import pytest
import torch

from transformer_book.widgets import GradientThroughTime
from transformer_book.widgets.gradient_through_time import CELLS, LONGEST, WIDTH


def full_jacobian(widget: GradientThroughTime, distance: int) -> torch.Tensor:
    """∂h_T/∂s_{T−distance} by torch.autograd.functional, independent of the package's way."""
    layer = widget.layer()
    inputs = torch.tensor(widget.inputs[: widget.length + 1], dtype=torch.float64)[None]
    state = layer(inputs[:, : len(inputs[0]) - distance])[1]
    parts = state if isinstance(state, tuple) else (state,)

    def rest(*state: torch.Tensor) -> torch.Tensor:
        if distance == 0:
            return state[0][0]
        return layer(inputs[:, -distance:], state if len(state) > 1 else state[0])[0][0, -1]

    found = torch.autograd.functional.jacobian(rest, tuple(part.detach() for part in parts))
    return torch.cat([part[:, 0] for part in found], dim=1)


@pytest.mark.parametrize("cell", CELLS)
def test_the_profile_is_the_norm_of_the_jacobian(cell):
    widget = GradientThroughTime(scale=1.7, length=12, cell=cell, seed=3)
    profile = widget.profile()
    assert len(profile) == 13
    assert profile[0] == pytest.approx(1)
    for distance in (1, 5, 12):
        expected = float(full_jacobian(widget, distance).norm()) / math.sqrt(WIDTH)
        assert profile[distance] == pytest.approx(expected, rel=1e-9)


def test_the_page_computes_what_torch_computes(run_js):
    settings = [
        (cell, scale, length) for cell in CELLS for scale in (0.2, 1.0, 1.85, 3.0) for length in (5, 37, 60)
    ]
    widget = GradientThroughTime(seed=5)
    calls = [("profile", [c, widget.layers[c], widget.inputs[: n + 1], s]) for c, s, n in settings]
    for (cell, scale, length), seen in zip(settings, run_js("gradient_through_time", calls), strict=True):
        widget.cell, widget.scale, widget.length = cell, scale, length
        assert seen == pytest.approx(widget.profile(), rel=1e-5)
        [factor] = run_js("gradient_through_time", [("stepFactor", [seen])])
        assert factor == pytest.approx(widget.factor(), rel=1e-5)


def test_the_factor_of_a_geometric_fall(run_js):
    assert run_js("gradient_through_time", [("stepFactor", [[0.7**k for k in range(20)]])]) == [pytest.approx(0.7)]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.214, "0.21"),
        (1.0, "1.0"),
        (314.2, "314"),
        (3.2e-7, "3 × 10⁻⁷"),
        (4.1e12, "4 × 10¹²"),
        (0.0099, "1 × 10⁻²"),
    ],
)
def test_numbers_can_be_read(run_js, number, text):
    assert run_js("gradient_through_time", [("short", [number])]) == [text]


def test_the_weights_are_those_torch_starts_with():
    widget = GradientThroughTime(scale=2.0, cell="gru", seed=4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        layer = CELLS["gru"](4, WIDTH).double()
    torch.testing.assert_close(widget.layer().weight_hh_l0, 2 * layer.weight_hh_l0, rtol=0, atol=2e-4)
    torch.testing.assert_close(widget.layer().weight_ih_l0, layer.weight_ih_l0, rtol=0, atol=1e-4)
    assert len(widget.inputs) == LONGEST + 1


def test_seeds_differ_and_repeat():
    first, again, other = (GradientThroughTime(seed=seed) for seed in (1, 1, 2))
    assert first.profile() == again.profile() != other.profile()


def test_shows_what_it_is_there_to_show():
    assert GradientThroughTime(cell="rnn").factor() < 0.6
    assert GradientThroughTime(cell="gru").factor() == pytest.approx(0.63, abs=0.1)
    assert GradientThroughTime(scale=3.0, cell="rnn").factor() > 1.5 * GradientThroughTime(cell="rnn").factor()


def test_observe_sees_every_dial():
    widget, seen = GradientThroughTime(), []
    widget.observe(lambda change: seen.append((change.name, change.new)), ["scale", "length", "cell"])
    widget.scale, widget.length, widget.cell = 2.5, 12, "lstm"
    assert seen == [("scale", 2.5), ("length", 12), ("cell", "lstm")]


def test_describe_names_setting_and_numbers():
    text = GradientThroughTime(scale=1.5, length=20, cell="lstm").describe()
    assert "LSTM with recurrent weights 1.50 times" in text
    assert "after 20 steps" in text


WRONG = [
    ({"scale": 0.1}, ValueError, r"scale: expected a number in 0\.2 … 3\.0, got 0\.1"),
    ({"scale": math.nan}, ValueError, r"scale: expected a number in 0\.2 … 3\.0, got nan"),
    ({"scale": "2"}, TypeError, "scale: expected a number, got '2'"),
    ({"length": 4}, ValueError, "length: expected an integer in 5 … 60, got 4"),
    ({"length": 7.0}, TypeError, r"length: expected an integer, got 7\.0"),
    ({"cell": "elman"}, ValueError, "cell: expected one of 'rnn', 'gru', 'lstm', got 'elman'"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        GradientThroughTime(**arguments)
