"""Encodings of positions: against the formula, and the offset that step-by-step decoding needs."""

import math
import re

import pytest
import torch
from torch.nn import functional as F

from transformer_book.attention import MultiHeadAttention, causal_mask, merge_heads, split_heads
from transformer_book.positions import (
    POSITIONS,
    GroupedQueryAttention,
    LearnedPositions,
    NoPositions,
    RotaryAttention,
    SinusoidalPositions,
    rotate,
    sinusoids,
)

B, T, D, LONGEST = 2, 5, 6, 11


@pytest.mark.parametrize("width", [1, 2, 6, 7])
def test_sinusoids_are_the_formula(width: int) -> None:
    table = sinusoids(13, width)
    assert table.shape == (13, width)
    assert table.dtype == torch.float32
    for t in range(13):
        for column in range(width):
            angle = t / 10000 ** (2 * (column // 2) / width)
            expected = math.cos(angle) if column % 2 else math.sin(angle)
            assert table[t, column].item() == pytest.approx(expected, abs=1e-7)


def test_far_positions_are_as_exact_as_near_ones() -> None:
    table = sinusoids(50_001, 2)
    assert table[50_000, 0].item() == pytest.approx(math.sin(50_000), abs=1e-7)
    assert table[50_000, 1].item() == pytest.approx(math.cos(50_000), abs=1e-7)


@pytest.mark.parametrize("kind", ["sinusoidal", "learned"])
def test_each_vector_gets_its_position_and_the_batch_is_not_time(kind: str) -> None:
    positions = POSITIONS[kind](D, LONGEST)
    inputs = torch.randn(B, T, D)
    added = positions(inputs) - inputs
    torch.testing.assert_close(added, positions.table[:T].expand(B, T, D))
    assert len(positions.table.unique(dim=0)) == LONGEST  # no two positions are alike


@pytest.mark.parametrize("kind", POSITIONS)
@pytest.mark.parametrize("offset", [1, 3, LONGEST - T])
def test_one_at_a_time_with_an_offset_is_all_at_once(kind: str, offset: int) -> None:
    positions = POSITIONS[kind](D, LONGEST)
    inputs = torch.randn(B, offset + T, D)
    whole = positions(inputs)
    parts = [positions(inputs[:, :offset])]
    parts += [positions(inputs[:, t : t + 1], offset=t) for t in range(offset, offset + T)]
    assert torch.equal(torch.cat(parts, dim=1), whole)


def test_without_positions_nothing_is_added() -> None:
    inputs = torch.randn(B, T, D)
    assert torch.equal(NoPositions(D, LONGEST)(inputs, offset=2), inputs)


def test_only_learned_positions_have_weights() -> None:
    assert {kind: sum(p.numel() for p in make(D, LONGEST).parameters()) for kind, make in POSITIONS.items()} == {
        "sinusoidal": 0,
        "learned": D * LONGEST,
        "rotary": 0,
        "none": 0,
    }
    # what is computed is not stored either: a checkpoint loads whatever the longest length
    assert SinusoidalPositions(D, LONGEST).state_dict() == {}


def test_learned_positions_learn_only_where_they_were_used() -> None:
    positions = LearnedPositions(D, LONGEST)
    positions(torch.zeros(B, T, D), offset=2).sum().backward()
    assert positions.table.grad is not None
    used = torch.zeros(LONGEST, D)
    used[2 : 2 + T] = B
    assert torch.equal(positions.table.grad, used)


def test_they_start_as_large_as_the_embeddings_before_their_scaling() -> None:
    table = LearnedPositions(256, 512).table
    assert table.std().item() == pytest.approx(1 / 16, rel=0.02)


@pytest.mark.parametrize("kind", POSITIONS)
@pytest.mark.parametrize(("length", "offset"), [(LONGEST + 1, 0), (T, LONGEST - T + 1), (1, LONGEST), (1, -1)])
def test_a_position_past_the_last_is_told(kind: str, length: int, offset: int) -> None:
    message = f"inputs: expected positions in 0 … {LONGEST - 1}, got {offset} … {offset + length - 1}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        POSITIONS[kind](D, LONGEST)(torch.zeros(B, length, D), offset)


@pytest.mark.parametrize("kind", POSITIONS)
def test_wrong_sizes_are_told(kind: str) -> None:
    with pytest.raises(ValueError, match=r"^inputs: expected shape \(B, length, 6\), got \(2, 5, 7\)$"):
        POSITIONS[kind](D, LONGEST)(torch.zeros(B, T, 7))
    with pytest.raises(ValueError, match=r"^d_model: expected an integer ≥ 1, got 0$"):
        POSITIONS[kind](0, LONGEST)
    with pytest.raises(ValueError, match=r"^(max_)?length: expected an integer ≥ 1, got 0$"):
        POSITIONS[kind](D, 0)


H, K = 3, 10


def turn(vectors: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Turn as Su et al. define it: each pair of coordinates a complex number, times e^(i · t · θ)."""
    frequencies = 10000.0 ** (-torch.arange(0, K, 2, dtype=torch.float64) / K)
    turns = torch.polar(torch.ones(len(positions), K // 2).double(), positions[:, None] * frequencies)
    return torch.view_as_real(torch.view_as_complex(vectors.unflatten(-1, (-1, 2))) * turns).flatten(-2)


def test_a_rotation_is_a_product_of_complex_numbers() -> None:
    tensor = torch.randn(B, H, T, K, dtype=torch.float64)
    expected = turn(tensor, torch.arange(T).double())
    torch.testing.assert_close(rotate(tensor, sinusoids(T, K).double()), expected, rtol=0, atol=1e-6)


def test_products_of_turned_vectors_depend_on_the_distance_alone() -> None:
    table = sinusoids(4001, K)
    query, key = torch.randn(2, 1, K, dtype=torch.float64)

    def product(t: int, s: int) -> float:
        return (rotate(query, table[t : t + 1]) * rotate(key, table[s : s + 1])).sum().item()

    for distance in (0, 1, 7, 400):
        near, far = product(distance, 0), product(4000, 4000 - distance)
        assert near == pytest.approx(far, abs=1e-5)
    assert abs(product(7, 0) - product(0, 7)) > 0.01  # the sign of the distance counts
    assert rotate(query, table[4000:]).norm().item() == pytest.approx(query.norm().item(), rel=1e-6)


def test_position_0_is_not_turned_and_the_first_pair_turns_fastest() -> None:
    vector = torch.tensor([[1.0, 0.0] * (K // 2)])
    table = sinusoids(2, K)
    assert torch.equal(rotate(vector, table[:1]), vector)
    moved = (rotate(vector, table[1:]) - vector)[0].unflatten(0, (-1, 2)).norm(dim=-1)
    assert moved.diff().max() < 0


def test_rotary_attention_is_attention_between_turned_vectors() -> None:
    torch.manual_seed(0)
    attention = RotaryAttention(H * K, H, LONGEST).double()
    inputs = torch.randn(B, T, H * K, dtype=torch.float64, requires_grad=True)
    output, weights = attention(inputs, inputs, inputs, causal_mask(T))

    def heads(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.unflatten(-1, (H, K)).transpose(1, 2)

    q, k = (turn(heads(layer(inputs)), torch.arange(T).double()) for layer in (attention.query, attention.key))
    scores = (q @ k.transpose(-2, -1) / K**0.5).masked_fill(~causal_mask(T), -math.inf)
    blend = scores.softmax(dim=-1) @ heads(attention.value(inputs))
    expected = attention.output(blend.transpose(1, 2).flatten(-2))
    torch.testing.assert_close(weights, scores.softmax(dim=-1), rtol=0, atol=1e-6)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-6)
    probe = torch.randn_like(output)
    [ours] = torch.autograd.grad((output * probe).sum(), inputs, retain_graph=True)
    [theirs] = torch.autograd.grad((expected * probe).sum(), inputs)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_rotary_queries_stand_at_the_end_of_their_keys() -> None:
    attention = RotaryAttention(H * K, H, LONGEST)
    inputs = torch.randn(B, T, H * K)
    k, v = attention.project(inputs, inputs)
    whole, _ = attention.attend(inputs, k, v, causal_mask(T))
    for t in range(T):
        step, _ = attention.attend(inputs[:, t : t + 1], k[:, :, : t + 1], v[:, :, : t + 1])
        torch.testing.assert_close(step, whole[:, t : t + 1])


def test_all_moved_alike_nothing_changes_and_without_turning_it_is_plain() -> None:
    attention, plain = RotaryAttention(H * K, H, LONGEST), MultiHeadAttention(H * K, H)
    plain.load_state_dict(attention.state_dict())  # the table is no weight
    one = torch.randn(B, 1, H * K)
    torch.testing.assert_close(attention(one, one, one)[0], plain(one, one, one)[0])
    inputs = torch.randn(B, T, H * K)
    assert (attention(inputs, inputs, inputs)[0] - plain(inputs, inputs, inputs)[0]).abs().max() > 1e-3
    keys = torch.randn(B, LONGEST, H * K)
    alone, _ = attention(inputs, keys[:, -T:], keys[:, -T:])
    late = torch.zeros(LONGEST, dtype=torch.bool)
    late[-T:] = True
    moved, _ = attention(inputs, keys, keys, late.expand(T, LONGEST))
    torch.testing.assert_close(alone, moved)


def test_wrong_use_of_rotary_positions_is_told() -> None:
    with pytest.raises(ValueError, match=r"^d_model: expected an even number of coordinates per head, got 5, of"):
        RotaryAttention(15, 3, LONGEST)
    with pytest.raises(ValueError, match=r"K even, got \(2, 5, 7\) and \(5, 7\)$"):
        rotate(torch.zeros(B, T, 7), torch.zeros(T, 7))
    with pytest.raises(ValueError, match=r"K even, got \(2, 5, 10\) and \(1, 10\)$"):
        rotate(torch.zeros(B, T, K), torch.zeros(1, K))
    attention = RotaryAttention(H * K, H, LONGEST)
    query, keys = torch.zeros(B, T, H * K), torch.zeros(B, LONGEST + 1, H * K)
    for key, got in ((keys, "5 queries and 12 keys"), (keys[:, :4], "5 queries and 4 keys")):
        with pytest.raises(ValueError, match=f"at most 11, got {got}$"):
            attention(query, key, key)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_grouped_queries_share_what_torch_says_they_share(groups: int) -> None:
    """Against torch's own grouped attention, between vectors turned by `rotate`; outputs and gradients."""
    heads, width, base = 6, 4, 500.0
    attention = GroupedQueryAttention(heads * width, heads, groups, LONGEST, base)
    assert not [name for name, _ in attention.named_parameters() if "bias" in name]
    inputs = torch.randn(B, T, heads * width, requires_grad=True)
    table = sinusoids(T, width, base)
    q = rotate(split_heads(attention.query(inputs), heads), table)
    k = rotate(split_heads(attention.key(inputs), groups), table)
    v = split_heads(attention.value(inputs), groups)
    theirs = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    expected = attention.output(merge_heads(theirs))
    output, weights = attention(inputs, inputs, inputs, causal_mask(T))
    assert weights.shape == (B, heads, T, T)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-6)
    probe = torch.randn_like(output)
    leaves = [inputs, *attention.parameters()]
    ours_grad = torch.autograd.grad((output * probe).sum(), leaves, retain_graph=True)
    theirs_grad = torch.autograd.grad((expected * probe).sum(), leaves)
    for ours, reference in zip(ours_grad, theirs_grad, strict=True):
        torch.testing.assert_close(ours, reference, rtol=0, atol=1e-5)


def test_a_larger_base_turns_more_slowly() -> None:
    angles = torch.arange(T, dtype=torch.float64) / 500.0 ** (2 / 4)
    torch.testing.assert_close(sinusoids(T, 4, 500.0)[:, 2], angles.sin().float())
    torch.testing.assert_close(sinusoids(T, 4), sinusoids(T, 4, 10000.0))
    with pytest.raises(ValueError, match=r"^base: expected a number > 0, got 0\.0$"):
        sinusoids(T, 4, 0.0)


@pytest.mark.parametrize("groups", [0, 4, 12])
def test_groups_that_do_not_divide_the_heads_are_told(groups: int) -> None:
    with pytest.raises(ValueError, match=rf"^num_groups: expected a divisor of num_heads 6, .* got {groups}$"):
        GroupedQueryAttention(24, 6, groups, LONGEST)
