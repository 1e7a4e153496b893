"""Encodings of positions: against the formula, and the offset that step-by-step decoding needs."""

import math
import re

import pytest
import torch

from transformer_book.positions import POSITIONS, LearnedPositions, NoPositions, SinusoidalPositions, sinusoids

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
