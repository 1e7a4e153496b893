"""The instruments of C4.1, C4.2 and C4.3: the same inputs for every score, memory that is what it should be."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from transformer_book.device import CPU
from transformer_book.experiments import load_result, score_classes, score_comparison, score_cost
from transformer_book.experiments._cost import peak_bytes
from transformer_book.experiments.score_classes import KEYS, MIDDLE, hits, plane_queries, train_score
from transformer_book.plotting import SCORES
from transformer_book.scoring import AdditiveScore, BilinearScore, DotScore


def test_cost_is_measured_for_every_score_dial_and_direction() -> None:
    result = score_cost.measure([0], lengths=(16, 32), widths=(4, 8), width=8, length=16, repeats=1)
    quantities = {f"{part}{name}" for part in ("", "training_") for name in ("seconds", "ratio", "bytes")}
    assert set(result.values) == {f"{q}_{s}_{d}" for q in quantities for s in SCORES for d in ("length", "width")}
    tables = np.array([16, 32]) ** 2 * 4
    assert result.mean("bytes_dot_length").tolist() == tables.tolist()
    assert result.mean("bytes_additive_length") == pytest.approx(8 * tables, rel=0.2)
    assert result.mean("ratio_dot_width").tolist() == [1, 1]
    assert result.mean("bytes_dot_width").tolist() == [tables[0]] * 2
    assert score_cost.growth(result, "bytes_dot_length", "lengths") == pytest.approx(2)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_the_allocator_s_peak_is_that_of_a_fresh_process() -> None:
    """The whole process, before and after: 1,024 × 1,024 pairs of 64 numbers."""
    program = """
import torch
from transformer_book.scoring import AdditiveScore
def high_water():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
inputs, score = torch.randn(1, 1024, 64), AdditiveScore(64, 64, 64)
with torch.no_grad():
    score(inputs[:, :8], inputs[:, :8])
    before = high_water()
    score(inputs, inputs)
print(high_water() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    inputs, score = torch.randn(1, 1024, 64), AdditiveScore(64, 64, 64)
    with torch.no_grad():
        measured = peak_bytes(lambda: score(inputs, inputs), CPU)
    assert int(done.stdout) == pytest.approx(measured, rel=0.1)


def test_cost_again() -> None:
    stored = load_result("score_cost")
    live = score_cost.measure([100], lengths=(64, 128), widths=(16, 32), repeats=1)
    for name in SCORES:
        for dial in ("length", "width"):
            expected = stored.mean(f"training_bytes_{name}_{dial}")[:2]
            assert live.mean(f"training_bytes_{name}_{dial}") == pytest.approx(expected, rel=0.05)


def test_the_right_key_must_win_alone() -> None:
    query, key = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert hits(DotScore(), query, key, torch.tensor([0, 0, 0])).tolist() == [
        True,
        False,
        False,
    ]  # the last: a tie


def test_queries_are_answered_by_the_nearest_key() -> None:
    query, nearest = plane_queries(500, torch.Generator().manual_seed(0))
    distance = (query[:, None] - KEYS).square().sum(dim=-1)
    assert (distance.gather(1, nearest[:, None]) <= distance).all()
    assert (query[:, 2] == 1).all()
    assert 0.1 < (nearest == MIDDLE).float().mean() < 0.5
    corners = KEYS[:MIDDLE, :2]
    assert torch.equal(corners.mean(dim=0), KEYS[MIDDLE, :2])  # inside the hull


def test_training_changes_what_has_weights_and_nothing_else() -> None:
    query, nearest = plane_queries(64, torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    score = BilinearScore(3, 3)
    before = score.weight.detach().clone()
    assert train_score(score, query, KEYS, nearest, 5) is score
    assert not torch.equal(score.weight, before)
    assert list(train_score(DotScore(), query, KEYS, nearest, 5).parameters()) == []


def test_classes_again() -> None:
    stored = load_result("score_classes")
    live = score_classes.measure([100], hidden=(1, 4))
    for name in ("dot", "scaled_dot", "bilinear"):
        assert live.mean(f"middle_{name}") == stored.mean(f"middle_{name}") == 0
    assert live.mean("middle_additive") == pytest.approx(float(stored.mean("middle_additive")), abs=0.06)
    assert live.mean("partner_additive") == pytest.approx(stored.mean("partner_additive")[[0, 2]], abs=0.07)


def test_every_score_sees_the_same_dates_and_starts_from_the_same_network() -> None:
    result = score_comparison.measure([0], steps=25, count=3, repeats=1)
    first = [result.mean(f"loss_{name}")[0] for name in SCORES]
    assert max(first) - min(first) < 0.3
    assert len(set(first)) == len(SCORES)
    weights = {name: float(result.mean(f"parameters_{name}")) for name in SCORES}
    assert weights == {"additive": 2 * 64 * 64 + 64, "dot": 0, "scaled_dot": 0, "bilinear": 64 * 64}
    assert result.mean("ratio_dot") == 1
    stored = load_result("score_comparison")
    for name in SCORES:
        assert result.mean(f"bytes_{name}") == pytest.approx(float(stored.mean(f"bytes_{name}")), rel=0.3)
    assert len(score_comparison.table(stored).splitlines()) == 1 + len(SCORES)


def test_steps_to_a_loss_by_hand(made_up) -> None:
    result = made_up("score_comparison", {"loss_dot": [[0.5, 0.2, 0.09, 0.05], [0.5, 0.4, 0.3, 0.2]]})
    steps = score_comparison.steps_to(result, "dot", 0.1)
    assert steps[0] == 75
    assert np.isnan(steps[1])
