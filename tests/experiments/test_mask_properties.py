import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from transformer_book.attention import causal_mask, chunked_attention, scaled_dot_product_attention
from transformer_book.experiments import Result
from transformer_book.experiments.mask_properties import CLAIMS, Attention, measure, plot

judge = CLAIMS["C5.4"].judge
ZEROS = ("future_gradient", "padding_moved", "masked_row", "masked_row_gradient", "nan")


@pytest.fixture(scope="module")
def result() -> Result:
    return measure(seeds=[0, 1], length=8, width=4)


def test_only_what_comes_after_the_cut_moves(result: Result) -> None:
    assert result.settings == {"length": 8, "width": 4, "cut": 4}
    causal, unmasked = result.array("moved_causal"), result.array("moved_open")
    assert causal.shape == unmasked.shape == (2, 8)
    assert (causal[:, :4] == 0).all()
    assert (causal[:, 4:] > 0.01).all()
    assert (unmasked > 0.01).all()
    assert all(result.values[key] == [0.0, 0.0] for key in ZEROS)


def test_the_seed_decides(result: Result) -> None:
    again = measure(seeds=[1], length=8, width=4)
    assert again.array("moved_open")[0] == pytest.approx(result.array("moved_open")[1], abs=1e-5)
    assert result.values["moved_open"][0] != result.values["moved_open"][1]


def test_the_claim_holds_on_a_small_run(result: Result) -> None:
    verdict = judge(result)
    assert verdict.holds is True
    assert verdict.figure.startswith("change before the cut 0 with the causal mask (at least 0.")
    assert verdict.figure.endswith("fully masked row: output 0, gradient 0, NaN 0")


def test_the_claim_holds_for_chunked_attention() -> None:
    def chunked(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        return chunked_attention(query, key, value, mask, chunk_size=3), query

    assert judge(measure(seeds=[0], length=8, width=4, attention=chunked)).holds is True


@pytest.mark.parametrize("quantity", ["moved_causal", *ZEROS])
def test_the_claim_can_fail(result: Result, tamper, quantity: str) -> None:
    assert judge(tamper(result, quantity, lambda values: values + 1e-7)).holds is False


def test_the_claim_needs_a_change_that_shows_without_a_mask(result: Result, tamper) -> None:
    assert judge(tamper(result, "moved_open", lambda values: values * 0)).holds is False


def broken(weigh: Callable[[Tensor, Tensor], Tensor]) -> Attention:
    """Attention whose weights come from scores and mask in a wrong way."""

    def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        scores = query @ key.mT / math.sqrt(query.shape[-1])
        weights = weigh(scores, torch.ones_like(scores, dtype=torch.bool) if mask is None else mask)
        return weights @ value, weights

    return attention


def leaking(rows: Callable[[Tensor], Tensor]) -> Attention:
    """Right in its output, but some rows, chosen by the mask, pass gradient to every value."""

    def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        output, weights = scaled_dot_product_attention(query, key, value, mask)
        nothing = (value - value.detach()).sum(dim=-2, keepdim=True)
        return output if mask is None else output + nothing * rows(mask), weights

    return attention


BROKEN: dict[str, Attention] = {
    "gradient to the future": leaking(lambda mask: mask.any(dim=-1, keepdim=True)),
    "gradient from a masked row": leaking(lambda mask: ~mask.any(dim=-1, keepdim=True)),
    "padding seen": lambda query, key, value, mask: scaled_dot_product_attention(
        query, key, value, None if mask is not None and mask.shape[-2] == 1 else mask
    ),
    "mask ignored": broken(lambda scores, mask: scores.softmax(dim=-1)),
    "mask inverted": broken(lambda scores, mask: scores.masked_fill(mask, -1e9).softmax(dim=-1)),
    "mask after the softmax": broken(lambda scores, mask: scores.softmax(dim=-1) * mask),
    "masked scores at zero": broken(lambda scores, mask: (scores * mask).softmax(dim=-1)),
    "filled with −10": broken(lambda scores, mask: scores.masked_fill(~mask, -10.0).softmax(dim=-1)),
    "filled with −∞": broken(lambda scores, mask: scores.masked_fill(~mask, -math.inf).softmax(dim=-1)),
    "filled with the lowest number": broken(
        lambda scores, mask: scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim=-1)
    ),
    "mask transposed": lambda query, key, value, mask: scaled_dot_product_attention(
        query, key, value, mask.mT if mask is not None and mask.shape[-2] > 1 else mask
    ),
    "one too far": lambda query, key, value, mask: scaled_dot_product_attention(
        query,
        key,
        value,
        mask if mask is None or mask.shape[-2] == 1 else mask | causal_mask(len(mask)).roll(-1, 0),
    ),
}


@pytest.mark.parametrize("attention", BROKEN.values(), ids=BROKEN.keys())
def test_the_claim_fails_on_broken_attention(attention: Attention) -> None:
    assert judge(measure(seeds=[0, 1], length=8, width=4, attention=attention)).holds is False


@pytest.mark.parametrize(
    ("name", "nonzero"),
    [
        ("filled with the lowest number", {"masked_row", "masked_row_gradient"}),
        ("filled with −∞", {"masked_row", "masked_row_gradient", "nan"}),
        ("gradient to the future", {"future_gradient"}),
        ("gradient from a masked row", {"masked_row_gradient"}),
        ("padding seen", {"padding_moved"}),
    ],
)
def test_each_fault_shows_where_it_is_looked_for(name: str, nonzero: set[str]) -> None:
    result = measure(seeds=[0], length=8, width=4, attention=BROKEN[name])
    assert {quantity for quantity in ZEROS if result.array(quantity).any()} == nonzero


@pytest.mark.usefixtures("close_figures")
def test_the_figure_shows_what_was_measured(result: Result) -> None:
    figure = plot(result)
    [axis] = figure.axes
    for container, key in zip(axis.containers, ("moved_open", "moved_causal"), strict=True):
        line = container.lines[0]
        assert line.get_ydata() == pytest.approx(result.mean(key))
    assert axis.get_xlabel() == "position"
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["no mask", "causal mask"]
