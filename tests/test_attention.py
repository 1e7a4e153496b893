"""Attention against torch, computed here; properties that need no reference; every error's text."""

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

from transformer_book.attention import (
    MultiHeadAttention,
    causal_mask,
    chunked_attention,
    masked_softmax,
    merge_heads,
    padding_mask,
    scaled_dot_product_attention,
    split_heads,
)
from transformer_book.device import CPU
from transformer_book.experiments._cost import peak_bytes
from transformer_book.weights import load_torch

Attention = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]

# A different prime for every axis, so that a swapped axis cannot pass.
B, H, T, S, D, DV = 2, 3, 5, 7, 11, 13


def chunked(size: int) -> Attention:
    return lambda query, key, value, mask: chunked_attention(query, key, value, mask, chunk_size=size)


METHODS: dict[str, Attention] = {
    "explicit": lambda *arguments: scaled_dot_product_attention(*arguments)[0],
    "chunks of 1": chunked(1),
    "chunks of 3": chunked(3),
    "one chunk": chunked(S),
    "chunk larger than S": chunked(1000),
}
every_method = pytest.mark.parametrize("attention", METHODS.values(), ids=METHODS.keys())

# Half precision rounds the inputs of torch's and our products alike, but not every step between.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 5e-6, torch.bfloat16: 2e-2, torch.float16: 4e-3}
every_dtype = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def random_mask(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(7)) < 0.6


MASKS: dict[str, Tensor | None] = {
    "none": None,
    "all": torch.ones(T, S, dtype=torch.bool),
    "one for all": torch.tensor(True),
    "causal": causal_mask(S)[:T],
    "padding": padding_mask(torch.tensor([S, 2]), S),
    "causal and padding": causal_mask(S)[:T] & padding_mask(torch.tensor([3, S]), S),
    "left padding": causal_mask(S)[:T] & ~padding_mask(torch.tensor([0, 3]), S),
    "random": random_mask(B, H, T, S),
    "per head": random_mask(H, 1, S),
    "per query": random_mask(B, 1, T, 1),
    "masked rows": random_mask(B, H, T, S) & (torch.arange(T) % 2 == 0)[:, None],
    "nothing": torch.zeros(B, 1, T, S, dtype=torch.bool),
}
every_mask = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())


def draw(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def draw_inputs(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return draw((B, H, T, D), (B, H, S, D), (B, H, S, DV), dtype=dtype)


def torch_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """torch's own; a row that may attend to nothing, on which torch's kernels differ, is zeros."""
    leading = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    query, key, value = (tensor.expand(*leading, *tensor.shape[-2:]) for tensor in (query, key, value))
    if mask is None:
        return F.scaled_dot_product_attention(query, key, value)
    mask = mask.expand(*leading, query.shape[-2], key.shape[-2])
    live = mask.any(dim=-1, keepdim=True)
    output = F.scaled_dot_product_attention(query, key, value, attn_mask=mask | ~live)
    return output.where(live, 0.0)


def output_and_gradients(
    attention: Attention, inputs: list[Tensor], mask: Tensor | None, upstream: Tensor | float = 1.0
) -> list[Tensor]:
    """Output, and gradients to query, key and value when `upstream` comes back to the output."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    output = attention(*leaves, mask)
    upstream = torch.as_tensor(upstream, dtype=output.dtype).expand_as(output)
    return [output.detach(), *torch.autograd.grad(output, leaves, upstream)]


def assert_agrees(attention: Attention, inputs: list[Tensor], mask: Tensor | None) -> None:
    leading = torch.broadcast_shapes(*(tensor.shape[:-2] for tensor in inputs))
    shape = (*leading, inputs[0].shape[-2], inputs[2].shape[-1])
    [upstream] = draw(shape, dtype=inputs[0].dtype, seed=1)
    ours = output_and_gradients(attention, inputs, mask, upstream)
    theirs = output_and_gradients(torch_attention, inputs, mask, upstream)
    tolerance = TOLERANCE[inputs[0].dtype]
    assert ours[0].shape == shape
    for name, got, expected in zip(("output", "query", "key", "value"), ours, theirs, strict=True):
        assert got.dtype == expected.dtype
        # A gradient sums over as many terms as there are queries or keys; measure its error by its size.
        size = max(1.0, expected.abs().max().item()) if expected.numel() else 1.0
        torch.testing.assert_close(
            got, expected, rtol=0, atol=tolerance * size, msg=lambda text, name=name: f"{name}: {text}"
        )


# --- agreement with torch ------------------------------------------------------------------------------------


@every_method
@every_dtype
@every_mask
def test_output_and_gradients_are_those_of_torch(
    attention: Attention, dtype: torch.dtype, mask: Tensor | None
) -> None:
    assert_agrees(attention, draw_inputs(dtype), mask)


@every_method
@every_dtype
@pytest.mark.parametrize("leading", [(), (3,), (2, 3), (2, 3, 5)], ids=str)
def test_any_number_of_leading_axes(attention: Attention, dtype: torch.dtype, leading: tuple[int, ...]) -> None:
    inputs = draw((*leading, T, D), (*leading, S, D), (*leading, S, DV), dtype=dtype)
    assert_agrees(attention, inputs, causal_mask(S)[:T])


@every_method
@pytest.mark.parametrize("mask", [None, random_mask(B, H, T, S), random_mask(S)], ids=["none", "full", "keys"])
@pytest.mark.parametrize(
    "leading",
    [((B, H), (B, 1), (B, 1)), ((B, H), (H,), (H,)), ((1, H), (B, 1), (1, 1)), ((B, H), (), ())],
    ids=["one key head", "no batch", "crossed", "shared"],
)
def test_leading_axes_broadcast(
    attention: Attention, leading: tuple[tuple[int, ...], ...], mask: Tensor | None
) -> None:
    shapes = [(*axes, *size) for axes, size in zip(leading, ((T, D), (S, D), (S, DV)), strict=True)]
    assert_agrees(attention, draw(*shapes), mask)


@every_method
@pytest.mark.parametrize("mask", [None, causal_mask(S)[:T]], ids=["none", "causal"])
def test_value_alone_may_have_leading_axes(attention: Attention, mask: Tensor | None) -> None:
    assert_agrees(attention, draw((T, D), (S, D), (B, H, S, DV)), mask)


sizes = st.integers(min_value=1, max_value=6)


@given(
    leading=st.lists(st.integers(1, 3), max_size=2),
    size=st.tuples(sizes, sizes, sizes, sizes),
    chunk=st.integers(1, 8),
    masked=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
def test_any_sizes_agree_with_torch(
    leading: list[int], size: tuple[int, int, int, int], chunk: int, masked: float, seed: int
) -> None:
    target, source, width, value_width = size
    shapes = [(target, width), (source, width), (source, value_width), (target, source)]
    *inputs, noise = draw(*((*leading, *shape) for shape in shapes), seed=seed)
    mask = noise.sigmoid() >= masked
    assert_agrees(METHODS["explicit"], inputs, mask)
    assert_agrees(chunked(chunk), inputs, mask)


@pytest.mark.parametrize("axes", [(1, 0, 2, 3), (0, 2, 1, 3), (0, 1, 3, 2)], ids=str)
@every_method
def test_memory_layout_does_not_matter(attention: Attention, axes: tuple[int, ...]) -> None:
    inputs = draw_inputs()
    order = [axes.index(axis) for axis in range(4)]
    strided = [tensor.permute(axes).contiguous().permute(order) for tensor in inputs]
    assert not any(tensor.is_contiguous() for tensor in strided)
    mask = random_mask(B, H, S, T).transpose(-2, -1)
    torch.testing.assert_close(
        attention(strided[0], strided[1], strided[2], mask), torch_attention(*inputs, mask), rtol=0, atol=1e-12
    )
    assert_agrees(attention, strided, mask)


@every_method
def test_inputs_are_left_as_they_were(attention: Attention) -> None:
    inputs, mask = draw_inputs(), random_mask(B, H, T, S)
    before = [tensor.clone() for tensor in (*inputs, mask)]
    attention(*inputs, mask)
    assert all(torch.equal(tensor, old) for tensor, old in zip((*inputs, mask), before, strict=True))


def test_weights_and_their_gradients_are_those_of_torch() -> None:
    query, key, _ = draw_inputs()
    identity = torch.eye(S, dtype=torch.float64).expand(B, H, S, S)  # blends of one-hot values are the weights
    mask = random_mask(B, H, T, S)
    [upstream] = draw((B, H, T, S), seed=1)

    def ours(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        return scaled_dot_product_attention(query, key, value, mask)[1]

    got = output_and_gradients(
        lambda q, k, v, m: ours(q, k, v, m) + 0 * v.sum(), [query, key, identity], mask, upstream
    )
    expected = output_and_gradients(torch_attention, [query, key, identity], mask, upstream)
    assert got[0].shape == (B, H, T, S)
    for a, b in zip(got[:3], expected[:3], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_output_is_the_weights_times_the_values() -> None:
    query, key, value = draw_inputs()
    output, weights = scaled_dot_product_attention(query, key, value, random_mask(T, S))
    torch.testing.assert_close(output, torch.einsum("bhts,bhsv->bhtv", weights, value), rtol=0, atol=1e-13)


def test_scores_are_divided_by_the_root_of_the_width() -> None:
    # One query against two keys: the weights' log ratio is the difference of the scores, by hand 12/√9 = 4.
    query = torch.full((1, 9), 2.0, dtype=torch.float64)
    key = torch.zeros(2, 9, dtype=torch.float64)
    key[0, :6] = 1.0
    _, weights = scaled_dot_product_attention(query, key, key)
    assert math.log(weights[0, 0] / weights[0, 1]) == pytest.approx(4.0)


@every_method
@pytest.mark.parametrize("target", [0, 5])
@pytest.mark.parametrize("source", [0, 7])
@pytest.mark.parametrize("masked", [False, True])
def test_empty_lengths_give_empty_or_zero(attention: Attention, target: int, source: int, masked: bool) -> None:
    inputs = draw((B, H, target, D), (B, H, source, D), (B, H, source, DV))
    mask = torch.ones(target, source, dtype=torch.bool) if masked else None
    output, *gradients = output_and_gradients(attention, inputs, mask)
    assert output.shape == (B, H, target, DV)
    assert [gradient.shape for gradient in gradients] == [tensor.shape for tensor in inputs]
    if source == 0:
        assert not output.any()
    if not target * source:
        assert not any(gradient.any() for gradient in gradients)


def test_empty_lengths_give_empty_weights() -> None:
    query, key, value = draw((B, T, D), (B, 0, D), (B, 0, DV))
    assert scaled_dot_product_attention(query, key, value)[1].shape == (B, T, 0)
    assert scaled_dot_product_attention(key, query, query)[1].shape == (B, 0, T)


# --- properties ----------------------------------------------------------------------------------------------


@every_dtype
@every_mask
def test_rows_of_weights_sum_to_one_or_to_zero(dtype: torch.dtype, mask: Tensor | None) -> None:
    weights = scaled_dot_product_attention(*draw_inputs(dtype), mask)[1]
    allowed = torch.ones(B, H, T, S, dtype=torch.bool) if mask is None else mask.expand(B, H, T, S)
    sums = weights.to(torch.float64).sum(dim=-1)
    torch.testing.assert_close(sums, allowed.any(dim=-1).double(), rtol=0, atol=TOLERANCE[dtype])
    assert (weights >= 0).all()
    assert torch.equal(weights > 0, allowed)


@every_method
@every_dtype
def test_the_future_moves_nothing_and_gets_no_gradient(attention: Attention, dtype: torch.dtype) -> None:
    inputs = draw((B, H, S, D), (B, H, S, D), (B, H, S, DV), dtype=dtype)
    others = draw((B, H, S, D), (B, H, S, D), (B, H, S, DV), dtype=dtype, seed=1)
    before = attention(*inputs, causal_mask(S))
    for cut in range(1, S):
        changed = [
            torch.cat([a[..., :cut, :], b[..., cut:, :]], dim=-2) for a, b in zip(inputs, others, strict=True)
        ]
        after = attention(*changed, causal_mask(S))
        assert torch.equal(after[..., :cut, :], before[..., :cut, :])
        assert not torch.isclose(after[..., cut:, :], before[..., cut:, :], rtol=1e-2).all(dim=-1).any()
        upstream = torch.zeros_like(before)
        upstream[..., :cut, :] = 1.0
        _, *gradients = output_and_gradients(attention, inputs, causal_mask(S), upstream)
        assert not any(gradient[..., cut:, :].any() for gradient in gradients)
        assert all(gradient[..., :cut, :].any() for gradient in gradients[2:])


@every_method
@every_dtype
def test_padding_moves_nothing_and_gets_no_gradient(attention: Attention, dtype: torch.dtype) -> None:
    query, key, value = draw_inputs(dtype)
    lengths = torch.tensor([3, 5])
    mask = padding_mask(lengths, S)
    before = attention(query, key, value, mask)
    noise = draw(key.shape, value.shape, dtype=dtype, seed=1)
    for batch, length in enumerate(lengths.tolist()):
        for tensor, other in zip((key, value), noise, strict=True):
            tensor[batch, :, length:] = other[batch, :, length:] * 100
    output, *gradients = output_and_gradients(attention, [query, key, value], mask)
    assert torch.equal(output, before)
    for batch, length in enumerate(lengths.tolist()):
        alone = [tensor[batch, :, :end] for tensor, end in ((query, T), (key, length), (value, length))]
        torch.testing.assert_close(output[batch], attention(*alone, None), rtol=0, atol=TOLERANCE[dtype])
        assert not any(gradient[batch, :, length:].any() for gradient in gradients[1:])


@every_method
def test_without_positions_order_is_invisible(attention: Attention) -> None:
    query, key, value = draw_inputs()
    mask = random_mask(B, H, T, S)
    output = attention(query, key, value, mask)
    order = torch.tensor([4, 0, 6, 1, 5, 3, 2])
    moved = attention(query, key[..., order, :], value[..., order, :], mask[..., order])
    torch.testing.assert_close(moved, output, rtol=0, atol=1e-12)
    rows = torch.tensor([2, 4, 0, 3, 1])
    moved = attention(query[..., rows, :], key, value, mask[..., rows, :])
    torch.testing.assert_close(moved, output[..., rows, :], rtol=0, atol=1e-12)


@every_dtype
@pytest.mark.parametrize("size", [1, 3, 61, 1000])
@pytest.mark.parametrize("causal", [False, True])
def test_chunked_is_explicit(dtype: torch.dtype, size: int, causal: bool) -> None:
    length = 61
    inputs = draw((H, length, D), (H, length, D), (H, length, DV), dtype=dtype)
    mask = causal_mask(length) if causal else None
    explicit = output_and_gradients(METHODS["explicit"], inputs, mask)
    for got, expected in zip(output_and_gradients(chunked(size), inputs, mask), explicit, strict=True):
        scale = max(1.0, expected.abs().max().item())
        torch.testing.assert_close(got, expected, rtol=0, atol=2 * TOLERANCE[dtype] * scale)


def test_chunk_size_is_128_unless_told() -> None:
    query, key, value = draw((T, D), (300, D), (300, DV), dtype=torch.float32)
    mask = random_mask(T, 300)
    expected = chunked_attention(query, key, value, mask, chunk_size=128)
    assert torch.equal(chunked_attention(query, key, value, mask), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_chunked_sums_in_single_precision(dtype: torch.dtype) -> None:
    # 4096 equal weights: a running sum in half precision stops growing at 256 (bfloat16) or 2048 (float16).
    length = 4096
    query, key, value = draw((1, 4), (length, 4), (length, 2), dtype=dtype)
    output = chunked_attention(0 * query, key, value, chunk_size=1)
    mean = value.to(torch.float64).mean(dim=0, keepdim=True)
    torch.testing.assert_close(output.double(), mean, rtol=1e-2, atol=1e-5)


@every_method
def test_gradients_are_those_of_finite_differences(attention: Attention) -> None:
    leaves = [tensor.requires_grad_() for tensor in draw((3, 2), (4, 2), (4, 3))]
    mask = causal_mask(4)[:3] & torch.tensor([[True], [False], [True]])
    assert gradcheck(lambda *inputs: attention(*inputs, mask), leaves)
    assert gradgradcheck(lambda *inputs: attention(*inputs, mask), leaves)


@pytest.mark.parametrize("mask", [None, random_mask(B, T, S)], ids=["none", "random"])
def test_softmax_gradients_are_those_of_finite_differences(mask: Tensor | None) -> None:
    [scores] = draw((B, T, S))
    assert gradcheck(lambda scores: masked_softmax(scores, mask), [scores.requires_grad_()])


# --- extremes ------------------------------------------------------------------------------------------------


@every_method
@every_dtype
@pytest.mark.parametrize("upstream", [1.0, 1e4, math.inf], ids=["small", "large", "infinite"])
def test_fully_masked_rows_are_zero_and_pass_zero_gradient(
    attention: Attention, dtype: torch.dtype, upstream: float
) -> None:
    inputs = draw_inputs(dtype)
    live = torch.tensor([True, False, True, True, False])
    mask = random_mask(B, H, T, S) & live[:, None]
    mask[..., 0] |= live
    weight = torch.zeros(T, 1, dtype=dtype)
    weight[~live] = min(upstream, torch.finfo(dtype).max)
    weight = weight.expand(T, DV)
    output, *gradients = output_and_gradients(attention, inputs, mask, weight)
    assert not output[..., ~live, :].any()
    assert output[..., live, :].any(dim=-1).all()
    assert not any(gradient.any() for gradient in gradients)
    # and with gradient into every row, only the rows that see nothing stay at zero
    output, query, *others = output_and_gradients(attention, inputs, mask)
    assert not query[..., ~live, :].any()
    assert query[..., 2, :].any()
    assert all(torch.isfinite(gradient).all() for gradient in (query, *others))


@every_method
def test_no_step_of_the_backward_pass_is_nan(attention: Attention) -> None:
    # A NaN on the way that a later step hides would still stop whoever trains with torch's anomaly detection.
    mask = padding_mask(torch.tensor([0, S]), S)
    with torch.autograd.set_detect_anomaly(True):
        results = output_and_gradients(attention, draw_inputs(), mask)
    assert not any(tensor.isnan().any() for tensor in results)


@every_method
@every_dtype
@pytest.mark.parametrize("size", [1e4, 3e4])
@pytest.mark.parametrize("mask", [None, random_mask(B, H, T, S)], ids=["none", "random"])
def test_huge_scores_are_no_trouble(
    attention: Attention, dtype: torch.dtype, size: float, mask: Tensor | None
) -> None:
    query, key, value = draw_inputs(dtype)
    query = (query / query.norm(dim=-1, keepdim=True)) * size**0.5
    key = (key / key.norm(dim=-1, keepdim=True)) * (size * D) ** 0.5  # scores up to ± size
    results = output_and_gradients(attention, [query, key, value], mask)
    assert all(torch.isfinite(tensor).all() for tensor in results)
    expected = torch_attention(query.double(), key.double(), value.double(), mask)
    exact = torch.finfo(dtype).eps * size * 8 < 1e-3  # in lower precision, scores this large lose their order
    if exact:
        torch.testing.assert_close(results[0].double(), expected, rtol=0, atol=1e-3)
    assert results[0].abs().max() <= value.abs().max() * 1.01


@every_dtype
def test_infinite_scores_act_as_very_large_ones(dtype: torch.dtype) -> None:
    inf = math.inf
    scores = torch.tensor(
        [[0, inf, 1, -inf], [inf, inf, 0, 0], [-inf, 0, 0, -inf], [-inf] * 4, [inf] * 4], dtype=dtype
    )
    half, quarter = [0.5, 0.5, 0, 0], [0.25] * 4
    expected = torch.tensor([[0, 1, 0, 0], half, [0, 0.5, 0.5, 0], quarter, quarter], dtype=dtype)
    leaf = scores.clone().requires_grad_()
    weights = masked_softmax(leaf)
    assert torch.equal(weights, expected)
    [gradient] = torch.autograd.grad(weights, leaf, torch.randn(5, 4).to(dtype))
    assert torch.isfinite(gradient).all()


@every_dtype
def test_infinite_scores_beside_a_mask(dtype: torch.dtype) -> None:
    inf = math.inf
    scores = torch.tensor([[-inf, 1, 2], [-inf, -inf, inf], [inf, inf, inf], [inf, -inf, inf]], dtype=dtype)
    mask = torch.tensor([[True, False, False], [True, True, False], [False] * 3, [False, True, False]])
    expected = torch.tensor([[1, 0, 0], [0.5, 0.5, 0], [0, 0, 0], [0, 1, 0]], dtype=dtype)
    leaf = scores.clone().requires_grad_()
    weights = masked_softmax(leaf, mask)
    assert torch.equal(weights, expected)
    [gradient] = torch.autograd.grad(weights, leaf, torch.randn(4, 3).to(dtype))
    assert torch.isfinite(gradient).all()
    assert not gradient[~mask].any()


@every_dtype
def test_the_lowest_finite_score_still_counts(dtype: torch.dtype) -> None:
    scores = torch.full((1, 3), torch.finfo(dtype).min, dtype=dtype)
    weights = masked_softmax(scores, torch.tensor([True, True, False]))
    assert torch.equal(weights, torch.tensor([[0.5, 0.5, 0]], dtype=dtype))


def test_overflowing_products_stay_finite_where_weights_are_returned() -> None:
    query, key, value = draw((T, D), (S, D), (S, DV), dtype=torch.float16)
    results = output_and_gradients(METHODS["explicit"], [query * 300, key * 300, value], causal_mask(S)[:T])
    assert torch.isinf((query * 300) @ (key * 300).T).any()
    assert all(torch.isfinite(tensor).all() for tensor in results)


def test_what_is_masked_may_be_nan() -> None:
    scores = torch.tensor([[0.0, math.nan, 0.0]], requires_grad=True)
    weights = masked_softmax(scores, torch.tensor([True, False, True]))
    assert weights.tolist() == [[0.5, 0.0, 0.5]]
    [gradient] = torch.autograd.grad(weights[0, 0], scores)
    assert gradient.tolist() == [[0.25, 0.0, -0.25]]


# --- memory --------------------------------------------------------------------------------------------------


def test_chunked_needs_far_less_memory_than_explicit() -> None:
    length, width = 1024, 32
    inputs = draw(*[(length, width)] * 3, dtype=torch.float32)
    mask = causal_mask(length)
    table = length * length * 4
    assert peak_bytes(lambda: scaled_dot_product_attention(*inputs, mask), CPU) >= 2 * table
    sizes = [peak_bytes(lambda size=size: chunked_attention(*inputs, mask, size), CPU) for size in (16, 64, 256)]
    assert sizes[0] < 0.35 * table
    assert sizes[1] < 0.6 * table
    assert all(small < large for small, large in pairwise(sizes))
    without = peak_bytes(lambda: chunked_attention(*inputs, chunk_size=64), CPU)
    assert without < 0.25 * table


# --- masks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 2, 7])
def test_causal_mask_is_true_on_and_below_the_diagonal(length: int) -> None:
    mask = causal_mask(length)
    assert mask.dtype == torch.bool
    assert mask.shape == (length, length)
    assert all(bool(mask[t, s]) == (s <= t) for t in range(length) for s in range(length))


def test_causal_mask_is_torchs_is_causal() -> None:
    inputs = draw((B, H, T, D), (B, H, T, D), (B, H, T, DV))
    expected = F.scaled_dot_product_attention(*inputs, is_causal=True)
    torch.testing.assert_close(scaled_dot_product_attention(*inputs, causal_mask(T))[0], expected)


def test_causal_mask_lies_where_it_is_asked_to() -> None:
    assert causal_mask(3, device="meta").device.type == "meta"
    with torch.device("meta"):
        assert causal_mask(3).device.type == "meta"
        assert causal_mask(3, device="cpu").device.type == "cpu"


@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=5), extra=st.integers(0, 3), given=st.booleans())
def test_padding_mask_is_true_on_the_real_tokens(lengths: list[int], extra: int, given: bool) -> None:
    size = max(lengths) + extra * given
    mask = padding_mask(torch.tensor(lengths), size if given else None)
    assert mask.dtype == torch.bool
    assert mask.shape == (len(lengths), 1, 1, size)
    assert mask[:, 0, 0].tolist() == [[s < length for s in range(size)] for length in lengths]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64], ids=str)
def test_padding_mask_takes_any_integers(dtype: torch.dtype) -> None:
    assert padding_mask(torch.tensor([1, 3], dtype=dtype)).sum(dim=-1).flatten().tolist() == [1, 3]


def test_padding_mask_lies_where_the_lengths_lie() -> None:
    lengths = torch.tensor([1, 3])
    with torch.device("meta"):
        assert padding_mask(lengths).device.type == "cpu"


# --- heads ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leading", [(), (2,), (2, 5)], ids=str)
def test_split_heads_cuts_the_width_into_neighbouring_pieces(leading: tuple[int, ...]) -> None:
    [tensor] = draw((*leading, 7, 3 * 11))
    heads = split_heads(tensor, 3)
    assert heads.shape == (*leading, 3, 7, 11)
    for head in range(3):
        assert torch.equal(heads[..., head, :, :], tensor[..., 11 * head : 11 * (head + 1)])
    assert torch.equal(merge_heads(heads), tensor)


@given(st.integers(0, 4), st.integers(0, 4), st.integers(1, 4), st.integers(1, 4))
def test_merge_heads_undoes_split_heads(batch: int, length: int, heads: int, width: int) -> None:
    tensor = torch.arange(batch * length * heads * width).reshape(batch, length, heads * width)
    assert split_heads(tensor, heads).shape == (batch, heads, length, width)
    assert torch.equal(merge_heads(split_heads(tensor, heads)), tensor)


# --- multi-head attention ------------------------------------------------------------------------------------

MODEL, HEADS = 21, 3  # heads 7 wide
LENGTHS = torch.tensor([4, 7])
MULTI_HEAD_MASKS = {
    "none": None,
    "causal": causal_mask(S)[:T],
    "padding": padding_mask(LENGTHS, S),
    "causal and padding": causal_mask(S)[:T] & padding_mask(LENGTHS, S),
    "per head": random_mask(B, HEADS, T, S) | torch.eye(T, S, dtype=torch.bool),
}


def make_pair(
    dtype: torch.dtype, bias: bool = True, batch_first: bool = True
) -> tuple[MultiHeadAttention, nn.Module]:
    torch.manual_seed(3)
    theirs = nn.MultiheadAttention(MODEL, HEADS, bias=bias, batch_first=batch_first, dtype=dtype)
    with torch.no_grad():  # torch starts its biases at zero, where a lost bias would not show
        for name, parameter in theirs.named_parameters():
            if "bias" in name:
                parameter.normal_()
    ours = MultiHeadAttention(MODEL, HEADS).to(dtype)
    load_torch(ours, theirs)
    return ours, theirs


def their_arguments(mask: Tensor | None) -> dict[str, Tensor | None]:
    """The same mask as torch.nn.MultiheadAttention wants it: True = may NOT attend, one matrix per head."""
    if mask is None:
        return {}
    return {"attn_mask": ~mask.expand(B, HEADS, T, S).reshape(B * HEADS, T, S)}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("mask", MULTI_HEAD_MASKS.values(), ids=MULTI_HEAD_MASKS.keys())
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("batch_first", [True, False], ids=["batch first", "time first"])
def test_multi_head_attention_is_that_of_torch(
    dtype: torch.dtype, mask: Tensor | None, bias: bool, batch_first: bool
) -> None:
    ours, theirs = make_pair(dtype, bias, batch_first)
    inputs = draw((B, T, MODEL), (B, S, MODEL), (B, S, MODEL), dtype=dtype)
    upstream, upstream_weights = draw((B, T, MODEL), (B, HEADS, T, S), dtype=dtype, seed=1)
    our_leaves, their_leaves = ([tensor.clone().requires_grad_() for tensor in inputs] for _ in range(2))

    output, weights = ours(*our_leaves, mask)
    turned = their_leaves if batch_first else [leaf.transpose(0, 1) for leaf in their_leaves]
    their_output, their_weights = theirs(
        *turned, need_weights=True, average_attn_weights=False, **their_arguments(mask)
    )
    their_output = their_output if batch_first else their_output.transpose(0, 1)

    def close(got: Tensor, expected: Tensor) -> None:
        scale = max(1.0, expected.abs().max().item())
        torch.testing.assert_close(got, expected, rtol=0, atol=TOLERANCE[dtype] * scale)

    assert output.shape == (B, T, MODEL)
    assert weights.shape == (B, HEADS, T, S)
    close(output, their_output)
    close(weights, their_weights)

    torch.autograd.backward([output, weights], [upstream, upstream_weights])
    torch.autograd.backward([their_output, their_weights], [upstream, upstream_weights])
    for leaf, their_leaf in zip(our_leaves, their_leaves, strict=True):
        assert leaf.grad is not None
        close(leaf.grad, their_leaf.grad)
    projections = (ours.query, ours.key, ours.value)
    close(torch.cat([linear.weight.grad for linear in projections]), theirs.in_proj_weight.grad)
    close(ours.output.weight.grad, theirs.out_proj.weight.grad)
    if bias:
        close(torch.cat([linear.bias.grad for linear in projections]), theirs.in_proj_bias.grad)
        close(ours.output.bias.grad, theirs.out_proj.bias.grad)


def test_key_padding_is_torchs_key_padding_mask_inverted() -> None:
    ours, theirs = make_pair(torch.float64)
    inputs = draw((B, T, MODEL), (B, S, MODEL), (B, S, MODEL))
    mask = padding_mask(LENGTHS, S)
    expected, _ = theirs(*inputs, key_padding_mask=~mask[:, 0, 0])
    torch.testing.assert_close(ours(*inputs, mask)[0], expected, rtol=0, atol=1e-12)


def test_heads_one_by_one_are_the_heads_at_once() -> None:
    ours, _ = make_pair(torch.float64)
    query, key, value = draw((B, T, MODEL), (B, S, MODEL), (B, S, MODEL))
    output, weights = ours(query, key, value, causal_mask(S)[:T])
    width = MODEL // HEADS
    blends = []
    for head in range(HEADS):
        rows = slice(head * width, (head + 1) * width)
        projected = [
            tensor @ linear.weight[rows].T + linear.bias[rows]
            for tensor, linear in ((query, ours.query), (key, ours.key), (value, ours.value))
        ]
        blend, alone = scaled_dot_product_attention(*projected, causal_mask(S)[:T])
        torch.testing.assert_close(weights[:, head], alone, rtol=0, atol=1e-13)
        blends.append(blend)
    expected = torch.cat(blends, dim=-1) @ ours.output.weight.T + ours.output.bias
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)


def test_a_query_that_sees_nothing_gives_the_output_bias_and_passes_no_gradient() -> None:
    ours, _ = make_pair(torch.float64)
    leaves = [tensor.requires_grad_() for tensor in draw((B, T, MODEL), (B, S, MODEL), (B, S, MODEL))]
    mask = padding_mask(torch.tensor([0, S]), S)
    output, weights = ours(*leaves, mask)
    torch.testing.assert_close(output[0], ours.output.bias.expand(T, MODEL))
    assert not weights[0].any()
    gradients = torch.autograd.grad(output.sum() + weights.square().sum(), leaves)
    assert not any(gradient[0].any() for gradient in gradients)
    assert all(gradient[1].any() for gradient in gradients)


def test_multi_head_attention_of_empty_sequences() -> None:
    ours, _ = make_pair(torch.float64)
    some, none = draw((B, T, MODEL), (B, 0, MODEL))
    assert ours(none, some, some)[0].shape == (B, 0, MODEL)
    output, weights = ours(some, none, none)
    torch.testing.assert_close(output, ours.output.bias.expand(B, T, MODEL))
    assert weights.shape == (B, HEADS, T, 0)


def test_multi_head_attention_has_four_projections_with_bias() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in MultiHeadAttention(MODEL, HEADS).state_dict().items()}
    names = ("query", "key", "value", "output")
    assert shapes == {f"{name}.weight": (MODEL, MODEL) for name in names} | {
        f"{name}.bias": (MODEL,) for name in names
    }


CUDA = pytest.param("cuda", marks=pytest.mark.gpu)
DEVICES = ["cpu"] + [CUDA] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()


@pytest.mark.parametrize("device", DEVICES)
@every_method
def test_every_device_of_this_machine_agrees_with_torch_on_the_cpu(attention: Attention, device: str) -> None:
    inputs = draw_inputs(torch.float32)
    mask = causal_mask(S)[:T] & padding_mask(torch.tensor([3, S]), S)
    expected = torch_attention(*inputs, mask)
    moved_mask = causal_mask(S, device=device)[:T] & padding_mask(torch.tensor([3, S], device=device), S)
    got = attention(*(tensor.to(device) for tensor in inputs), moved_mask)
    assert got.device.type == moved_mask.device.type == device
    torch.testing.assert_close(got.cpu(), expected, rtol=0, atol=1e-4)


# --- errors --------------------------------------------------------------------------------------------------

INTEGER = torch.ones(2, dtype=torch.long)


def zeros(*shape: int) -> Tensor:
    return torch.zeros(shape)


def ones(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.bool)


WRONG_USE: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "negative length": (lambda: causal_mask(-1), ValueError, "length: expected an integer ≥ 0, got -1"),
    "lengths of floats": (
        lambda: padding_mask(zeros(2)),
        TypeError,
        "lengths: expected an integer tensor, got torch.float32",
    ),
    "lengths of booleans": (
        lambda: padding_mask(ones(2)),
        TypeError,
        "lengths: expected an integer tensor, got torch.bool",
    ),
    "complex lengths": (
        lambda: padding_mask(zeros(2).to(torch.complex64)),
        TypeError,
        "lengths: expected an integer tensor, got torch.complex64",
    ),
    "lengths as a list": (
        lambda: padding_mask([1, 2]),
        TypeError,
        "lengths: expected an integer tensor, got list",
    ),
    "lengths of two axes": (
        lambda: padding_mask(INTEGER[:, None]),
        ValueError,
        "lengths: expected shape (B,) with B ≥ 1, got (2, 1)",
    ),
    "lengths of none": (
        lambda: padding_mask(INTEGER[:0]),
        ValueError,
        "lengths: expected shape (B,) with B ≥ 1, got (0,)",
    ),
    "lengths beyond the maximum": (
        lambda: padding_mask(torch.tensor([1, 4]), 3),
        ValueError,
        "lengths: expected values in 0 … 3, got 1 … 4",
    ),
    "lengths below zero": (
        lambda: padding_mask(torch.tensor([-1, 4])),
        ValueError,
        "lengths: expected values in 0 … 4, got -1 … 4",
    ),
    "softmax, mask of floats": (
        lambda: masked_softmax(zeros(2, 3), zeros(2, 3)),
        TypeError,
        "mask: expected a torch.bool tensor with True = may attend, got torch.float32",
    ),
    "softmax, mask too large": (
        lambda: masked_softmax(zeros(2, 3), ones(5, 2, 3)),
        ValueError,
        "mask: expected a shape that broadcasts to the scores (2, 3), got (5, 2, 3)",
    ),
    "attention, widths": (
        lambda: scaled_dot_product_attention(zeros(2, 3), zeros(2, 4), zeros(2, 4)),
        ValueError,
        "query and key: expected the same width D ≥ 1 (last axis), got query (2, 3) and key (2, 4)",
    ),
    "attention, mask": (
        lambda: scaled_dot_product_attention(zeros(2, 3), zeros(5, 3), zeros(5, 3), ones(5, 2)),
        ValueError,
        "mask: expected a shape that broadcasts to the scores (2, 5), got (5, 2)",
    ),
    "chunked, lengths": (
        lambda: chunked_attention(zeros(2, 3), zeros(5, 3), zeros(4, 3)),
        ValueError,
        "key and value: expected the same length S (second-last axis), got key (5, 3) and value (4, 3)",
    ),
    "chunked, mask": (
        lambda: chunked_attention(zeros(2, 3), zeros(5, 3), zeros(5, 3), ones(5, 2)),
        ValueError,
        "mask: expected a shape that broadcasts to the scores (2, 5), got (5, 2)",
    ),
    "chunk size 0": (
        lambda: chunked_attention(zeros(2, 3), zeros(5, 3), zeros(5, 3), chunk_size=0),
        ValueError,
        "chunk_size: expected an integer ≥ 1, got 0",
    ),
    "split, not a multiple": (
        lambda: split_heads(zeros(2, 5, 7), 3),
        ValueError,
        "tensor: expected shape (..., T, D) with D a multiple of num_heads ≥ 1, got (2, 5, 7) and num_heads 3",
    ),
    "split, no heads": (
        lambda: split_heads(zeros(2, 5, 7), 0),
        ValueError,
        "tensor: expected shape (..., T, D) with D a multiple of num_heads ≥ 1, got (2, 5, 7) and num_heads 0",
    ),
    "split, one axis": (
        lambda: split_heads(zeros(6), 3),
        ValueError,
        "tensor: expected shape (..., T, D) with D a multiple of num_heads ≥ 1, got (6,) and num_heads 3",
    ),
    "merge, two axes": (
        lambda: merge_heads(zeros(5, 6)),
        ValueError,
        "tensor: expected shape (..., H, T, K), got (5, 6)",
    ),
    "heads do not divide the width": (
        lambda: MultiHeadAttention(20, 3),
        ValueError,
        "d_model: expected a positive multiple of num_heads ≥ 1, got d_model 20 and num_heads 3",
    ),
    "no heads": (
        lambda: MultiHeadAttention(20, 0),
        ValueError,
        "d_model: expected a positive multiple of num_heads ≥ 1, got d_model 20 and num_heads 0",
    ),
    "no width": (
        lambda: MultiHeadAttention(0, 2),
        ValueError,
        "d_model: expected a positive multiple of num_heads ≥ 1, got d_model 0 and num_heads 2",
    ),
    "multi-head, width of key": (
        lambda: MultiHeadAttention(6, 2)(zeros(2, 3, 6), zeros(2, 3, 5), zeros(2, 3, 6)),
        ValueError,
        "key: expected shape (B, length, 6), got (2, 3, 5)",
    ),
    "multi-head, query without batch": (
        lambda: MultiHeadAttention(6, 2)(zeros(3, 6), zeros(2, 3, 6), zeros(2, 3, 6)),
        ValueError,
        "query: expected shape (B, length, 6), got (3, 6)",
    ),
    "multi-head, value of four axes": (
        lambda: MultiHeadAttention(6, 2)(zeros(2, 3, 6), zeros(2, 3, 6), zeros(2, 1, 3, 6)),
        ValueError,
        "value: expected shape (B, length, 6), got (2, 1, 3, 6)",
    ),
    "multi-head, mask": (
        lambda: MultiHeadAttention(6, 2)(zeros(3, 4, 6), zeros(3, 5, 6), zeros(3, 5, 6), ones(3, 4, 5)),
        ValueError,
        "mask: expected a shape that broadcasts to the scores (3, 2, 4, 5), got (3, 4, 5)",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), WRONG_USE.values(), ids=WRONG_USE.keys())
def test_errors_say_what_was_expected_and_what_came(
    call: Callable[[], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()


# --- imports -------------------------------------------------------------------------------------------------


def test_importing_attention_needs_only_torch() -> None:
    program = (
        "import json, sys, torch; before = set(sys.modules)\n"
        "import transformer_book.attention\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    ours = {name for name in json.loads(done.stdout) if name.partition(".")[0] not in sys.stdlib_module_names}
    expected = {f"transformer_book.{name}" for name in ("attention", "shapes")}
    assert ours - {name for name in ours if name.startswith("torch.")} == {"transformer_book"} | expected
