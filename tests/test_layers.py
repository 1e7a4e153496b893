"""Layers against torch.nn's, computed here: outputs, gradients, both orders of norms."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from transformer_book.attention import MultiHeadAttention, causal_mask, padding_mask
from transformer_book.layers import (
    FEED_FORWARDS,
    DecoderLayer,
    EncoderLayer,
    FeedForward,
    GatedFeedForward,
    PostNorm,
    PreNorm,
)
from transformer_book.weights import load_torch

B, T, S, H, D, F = 2, 5, 7, 3, 33, 13
SOURCE = padding_mask(torch.tensor([S, 4]), S)  # (B, 1, 1, S)
CAUSAL = causal_mask(T)

every_order = pytest.mark.parametrize("residual", [PostNorm, PreNorm])


def attention() -> MultiHeadAttention:
    return MultiHeadAttention(D, H)


def encoder_pair(residual: type[PostNorm | PreNorm]) -> tuple[EncoderLayer, nn.TransformerEncoderLayer]:
    theirs = nn.TransformerEncoderLayer(D, H, F, 0.0, batch_first=True, norm_first=residual is PreNorm)
    ours = EncoderLayer(attention(), FeedForward(D, F), partial(residual, D))
    return matched(ours, theirs)


def decoder_pair(residual: type[PostNorm | PreNorm]) -> tuple[DecoderLayer, nn.TransformerDecoderLayer]:
    theirs = nn.TransformerDecoderLayer(D, H, F, 0.0, batch_first=True, norm_first=residual is PreNorm)
    ours = DecoderLayer(attention(), attention(), FeedForward(D, F), partial(residual, D))
    return matched(ours, theirs)


def matched(ours, theirs):
    """Random weights, norms and biases included, in both."""
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.4)
    load_torch(ours, theirs)
    return ours.double(), theirs.double()


def gradients(output: Tensor, weight: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad((output * weight).sum(), leaves)


@every_order
def test_encoder_layer_is_torch_s(residual: type[PostNorm | PreNorm]) -> None:
    ours, theirs = encoder_pair(residual)
    stream = torch.randn(B, S, D, dtype=torch.float64, requires_grad=True)
    output, weights = ours(stream, SOURCE)
    expected = theirs(stream, src_key_padding_mask=~SOURCE[:, 0, 0])
    torch.testing.assert_close(output, expected, atol=1e-12, rtol=1e-12)
    weight = torch.randn_like(output)
    for mine, reference in zip(
        gradients(output, weight, stream), gradients(expected, weight, stream), strict=True
    ):
        torch.testing.assert_close(mine, reference, atol=1e-11, rtol=1e-11)
    assert weights.shape == (B, H, S, S)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(B, H, S, dtype=torch.float64))
    assert (weights[1, :, :, 4:] == 0).all()


@every_order
def test_every_weight_of_an_encoder_layer_gets_torch_s_gradient(residual: type[PostNorm | PreNorm]) -> None:
    ours, theirs = encoder_pair(residual)
    stream, weight = torch.randn(2, B, S, D, dtype=torch.float64).unbind()
    (ours(stream, SOURCE)[0] * weight).sum().backward()
    (theirs(stream, src_key_padding_mask=~SOURCE[:, 0, 0]) * weight).sum().backward()
    for mine, reference in (
        (ours.attention.output.weight, theirs.self_attn.out_proj.weight),
        (ours.attention_residual.norm.weight, theirs.norm1.weight),
        (ours.feed_forward.hidden.weight, theirs.linear1.weight),
        (ours.feed_forward.output.bias, theirs.linear2.bias),
        (ours.feed_forward_residual.norm.bias, theirs.norm2.bias),
    ):
        torch.testing.assert_close(mine.grad, reference.grad, atol=1e-11, rtol=1e-11)
    stacked = torch.cat(
        [linear.weight.grad for linear in (ours.attention.query, ours.attention.key, ours.attention.value)]
    )
    torch.testing.assert_close(stacked, theirs.self_attn.in_proj_weight.grad, atol=1e-11, rtol=1e-11)


@every_order
def test_decoder_layer_is_torch_s(residual: type[PostNorm | PreNorm]) -> None:
    ours, theirs = decoder_pair(residual)
    stream = torch.randn(B, T, D, dtype=torch.float64, requires_grad=True)
    memory = torch.randn(B, S, D, dtype=torch.float64, requires_grad=True)
    output, _, weights, cross_weights = ours(stream, ours.start(memory), CAUSAL, SOURCE)
    expected = theirs(stream, memory, tgt_mask=~CAUSAL, memory_key_padding_mask=~SOURCE[:, 0, 0])
    torch.testing.assert_close(output, expected, atol=1e-12, rtol=1e-12)
    weight = torch.randn_like(output)
    mine, reference = (gradients(result, weight, stream, memory) for result in (output, expected))
    for one, other in zip(mine, reference, strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-11)
    assert weights.shape == (B, H, T, T)
    assert cross_weights.shape == (B, H, T, S)


@every_order
@pytest.mark.parametrize("steps", [(1,) * T, (2, 3), (4, 1)])
def test_in_steps_with_the_cache_is_all_at_once(
    residual: type[PostNorm | PreNorm], steps: tuple[int, ...]
) -> None:
    ours, _ = decoder_pair(residual)
    stream, memory = torch.randn(B, T, D, dtype=torch.float64), torch.randn(B, S, D, dtype=torch.float64)
    whole, last, weights, _ = ours(stream, ours.start(memory), CAUSAL, SOURCE)
    cache, parts, seen = ours.start(memory), [], 0
    for size in steps:
        mask = CAUSAL[seen : seen + size, : seen + size]
        before = cache.own[0].clone()
        part, new, part_weights, _ = ours(stream[:, seen : seen + size], cache, mask, SOURCE)
        assert torch.equal(cache.own[0], before)  # the cache that was given can be used again
        torch.testing.assert_close(part_weights, weights[:, :, seen : seen + size, : seen + size])
        cache, seen = new, seen + size
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-12, rtol=1e-12)
    for mine, reference in zip((*cache.own, *cache.source), (*last.own, *last.source), strict=True):
        torch.testing.assert_close(mine, reference, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("residual", [PostNorm, PreNorm])
def test_dropout_falls_on_what_the_sub_layer_writes(residual: type[PostNorm | PreNorm]) -> None:
    module = residual(D, 0.5)
    stream, output = torch.full((B, S, D), 7.0), torch.ones(B, S, D)
    with torch.no_grad():
        module.norm = nn.Identity()
    assert set(module.leave(stream, output).unique().tolist()) == {
        7.0,
        9.0,
    }  # dropped, or doubled; the stream never
    assert torch.equal(module.enter(stream), stream)
    assert torch.equal(module.eval().leave(stream, output), stream + output)


def test_feed_forward_is_the_equation() -> None:
    layer = FeedForward(D, F).double()
    inputs = torch.randn(B, T, D, dtype=torch.float64)
    hidden = (inputs @ layer.hidden.weight.T + layer.hidden.bias).clamp(min=0)
    expected = hidden @ layer.output.weight.T + layer.output.bias
    torch.testing.assert_close(layer(inputs), expected)


@pytest.mark.parametrize("residual", [PostNorm, PreNorm])
def test_the_norm_is_the_one_injected(residual: type[PostNorm | PreNorm]) -> None:
    module = residual(D, 0.0, partial(nn.RMSNorm, eps=0.25))
    stream, output = torch.randn(B, S, D), torch.randn(B, S, D)
    normed = stream + output if residual is PostNorm else stream
    expected = normed / (normed.square().mean(dim=-1, keepdim=True) + 0.25).sqrt()
    got = module.leave(stream, output) if residual is PostNorm else module.enter(stream)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("name", FEED_FORWARDS)
def test_feed_forwards_are_those_of_torch_s_functions(name: str) -> None:
    layer = FEED_FORWARDS[name](D, F).double()
    inputs = torch.randn(B, T, D, dtype=torch.float64)
    hidden = inputs @ layer.hidden.weight.T + (0 if name == "swiglu" else layer.hidden.bias)
    if isinstance(layer, GatedFeedForward):
        gate = inputs @ layer.gate.weight.T
        hidden = hidden * gate / (1 + (-gate).exp())
    elif name == "gelu":
        hidden = hidden * torch.distributions.Normal(0.0, 1.0).cdf(hidden)
    else:
        hidden = hidden.relu()
    expected = hidden @ layer.output.weight.T + (0 if name == "swiglu" else layer.output.bias)
    torch.testing.assert_close(layer(inputs), expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FeedForward(0, F), "d_model: expected an integer ≥ 1, got 0"),
        (lambda: FeedForward(D, 0), "d_ff: expected an integer ≥ 1, got 0"),
        (lambda: GatedFeedForward(D, 0), "d_ff: expected an integer ≥ 1, got 0"),
    ],
)
def test_wrong_widths_are_told(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()
