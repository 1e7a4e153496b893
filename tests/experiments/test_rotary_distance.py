"""C7.2: what the experiment on distances measures, and that its claim can fail."""

import numpy as np
import pytest
import torch

from transformer_book.experiments import Result
from transformer_book.experiments.rotary_distance import CLAIMS, WAYS, measure, plot, table_in
from transformer_book.positions import rotate, sinusoids

judge = CLAIMS["C7.2"].judge


@pytest.fixture(scope="module")
def result() -> Result:
    return measure(seeds=[0, 1], pairs=64)


def test_tables_differ_by_the_precision_of_their_angles() -> None:
    exact = table_in(torch.float64, 4001, 32)
    torch.testing.assert_close(exact.float(), sinusoids(4001, 32), rtol=0, atol=1e-6)
    rounded = (table_in(torch.float32, 4001, 32) - exact).abs().amax(dim=1)
    assert rounded[1] < 1e-6 < 1e-5 < rounded[3000:].max() < 1e-2
    assert (table_in(torch.bfloat16, 4001, 32) - exact).abs().max() > 1


def test_only_what_is_meant_to_moves(result: Result) -> None:
    shift = {name: result.array(f"shift_{name}") for name in WAYS}
    assert all((values[:, 0] == 0).all() for values in shift.values())  # offset 0 is what others are held to
    assert (shift["float64"] < 1e-12).all()
    assert (shift["float32"] < 1e-6).all()
    assert (shift["sinusoids"] < 1e-6).all()
    assert (shift["added"][:, 1:] > 0.05).all()
    assert (shift["angles16"][:, -1] > 0.1).all()
    assert (result.array("norm") < 1e-14).all()
    assert judge(result).holds is True


def test_cross_terms_are_half_of_the_variance() -> None:
    """Var(x·y) is K; Var(x·u + u'·y) is ‖u‖² + ‖u'‖² = K; the product of two rows is the same for all pairs."""
    result = measure(seeds=[0, 1], offsets=(0, 3), distances=(0, 5), pairs=4000)
    assert result.array("cross_share") == pytest.approx(0.5, abs=0.05)


def test_similarity_is_a_mean_of_cosines(result: Result) -> None:
    distances = np.array(result.settings["distances"])
    speeds = 10000.0 ** (-np.arange(0, 64, 2) / 64)
    expected = np.cos(distances[:, None] * speeds).mean(axis=1)
    assert result.mean("similarity_sinusoids") == pytest.approx(expected, abs=1e-5)
    assert result.mean("similarity_rotary") == pytest.approx(expected, abs=0.1)
    assert result.array("similarity_rotary")[:, 0] == pytest.approx(1)


BROKEN = {
    "not turned": lambda tensor, table: tensor,
    "minus missing": lambda tensor, table: _turn(tensor, table, 1.0),
    "added": lambda tensor, table: tensor + table,
    "stretched": lambda tensor, table: 1.001 * rotate(tensor, table),
    "one pair left out": lambda tensor, table: torch.cat(
        [tensor[..., :2] + table[..., :2], rotate(tensor[..., 2:], table[..., 2:])], dim=-1
    ),
}


def _turn(tensor: torch.Tensor, table: torch.Tensor, sign: float) -> torch.Tensor:
    sine, cosine = table[..., 0::2], table[..., 1::2]
    first, second = tensor[..., 0::2], tensor[..., 1::2]
    turned = (first * cosine + sign * second * sine, first * sine + second * cosine)
    return torch.stack(turned, dim=-1).flatten(-2)


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_the_claim_fails_on_a_broken_turn(broken) -> None:
    assert judge(measure(seeds=[0], pairs=16, rotate=broken)).holds is False


def test_the_claim_holds_for_the_other_pairing() -> None:
    def halves(tensor: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        sine, cosine = table[..., 0::2], table[..., 1::2]
        first, second = tensor.chunk(2, dim=-1)
        return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)

    assert judge(measure(seeds=[0], pairs=64, rotate=halves)).holds is True


def test_the_claim_fails_on_sinusoids_that_are_no_pairs() -> None:
    def sines(length: int, width: int) -> torch.Tensor:
        table = sinusoids(length, width)
        table[:, 1::2] = table[:, 0::2]
        return table

    assert judge(measure(seeds=[0], pairs=16, sinusoids=sines)).holds is False


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        ("shift_float64", 1e-10),
        ("shift_float32", 1e-5),
        ("shift_angles32", 1e-7),
        ("shift_angles16", 1e-2),
        ("shift_added", 1e-3),
        ("shift_sinusoids", 1e-4),
        ("norm", 1e-9),
        ("similarity_rotary", 0.5),
    ],
)
def test_the_claim_can_fail(result: Result, tamper, quantity: str, value: float) -> None:
    assert judge(tamper(result, quantity, lambda values: values * 0 + value)).holds is False


@pytest.mark.usefixtures("close_figures")
def test_the_figure_shows_what_was_measured(result: Result) -> None:
    figure = plot(result)
    left, right = figure.axes
    for line, name in zip(left.lines, WAYS, strict=True):
        assert line.get_ydata() == pytest.approx(result.array(f"shift_{name}").max(axis=0)[1:], rel=1e-6)
    assert right.lines[-1].get_ydata() == pytest.approx(result.mean("similarity_sinusoids"))
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [label for _, _, label in WAYS.values()]
