import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd.functional import jacobian

from transformer_book.experiments import Result
from transformer_book.experiments.softmax_scaling import (
    CLAIMS,
    DIVISORS,
    entropy_bits,
    jacobian_norm,
    measure,
    plot,
    query_gradient_norm,
)

judge = CLAIMS["C5.2"].judge


@pytest.fixture(scope="module")
def result() -> Result:
    return measure(seeds=[0, 1], widths=(16, 64, 4096), num_keys=64, queries=64)


def test_entropy_by_hand() -> None:
    rows = torch.tensor([[0.25] * 4, [1, 0, 0, 0], [0.5, 0.25, 0.25, 0], [0.5, 0.5, 0, 0]])
    assert entropy_bits(rows).tolist() == pytest.approx([2, 0, 1.5, 1])


@pytest.mark.parametrize("size", [0.1, 1.0, 10.0])
def test_jacobian_norm_is_that_of_autograd(size: float) -> None:
    scores = size * torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = [jacobian(lambda row: row.softmax(dim=-1), row).norm().item() for row in scores]
    assert jacobian_norm(scores.softmax(dim=-1)).tolist() == pytest.approx(expected)


def test_jacobian_norm_does_not_drown_in_rounding() -> None:
    # two keys, 1 − p and p: the norm is 2 p (1 − p), here far below the rounding of p² next to 1
    scores = torch.tensor([12.0, 0.0])
    small = 1 / (1 + math.exp(12))
    assert jacobian_norm(scores.softmax(dim=-1)).item() == pytest.approx(2 * small * (1 - small), rel=0.02)


def test_jacobian_norm_of_a_one_hot_row_is_zero() -> None:
    assert jacobian_norm(torch.tensor([0.0, 1.0, 0.0])).item() == 0


@pytest.mark.parametrize("divisor", [1.0, 3.0])
def test_query_gradient_norm_is_that_of_autograd(divisor: float) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(5, 3, dtype=torch.float64, generator=generator)
    key = torch.randn(5, 7, 3, dtype=torch.float64, generator=generator)

    def weights_of(query: Tensor, key: Tensor) -> Tensor:
        return (key @ query / divisor).softmax(dim=-1)

    weights = torch.stack([weights_of(q, k) for q, k in zip(query, key, strict=True)])
    expected = [
        jacobian(lambda q, k=k: weights_of(q, k), q).norm().item() for q, k in zip(query, key, strict=True)
    ]
    assert query_gradient_norm(weights, key, divisor).tolist() == pytest.approx(expected)


def test_the_divisors_are_none_the_root_and_the_width() -> None:
    assert {name: divisor(16) for name, divisor in DIVISORS.items()} == {"none": 1, "sqrt_d": 4, "d": 16}


def test_at_width_one_all_divisors_are_the_same() -> None:
    result = measure(seeds=[0], widths=(1,), num_keys=16, queries=8)
    for quantity in ("entropy", "jacobian", "jacobian_mean", "query_gradient"):
        assert (
            result.values[f"{quantity}_none"]
            == result.values[f"{quantity}_sqrt_d"]
            == result.values[f"{quantity}_d"]
        )


def test_only_the_root_keeps_entropy_and_gradient_level(result: Result) -> None:
    entropy = {name: result.mean(f"entropy_{name}") for name in DIVISORS}
    assert entropy["none"][-1] < 0.3 < 1 < entropy["none"][0]
    assert entropy["sqrt_d"] == pytest.approx(np.full(3, 5.33), abs=0.08)
    assert entropy["d"][-1] > 5.999
    gradient = {name: result.mean(f"query_gradient_{name}") for name in DIVISORS}
    assert gradient["none"][-1] < 1e-2 * gradient["none"][0]
    assert gradient["sqrt_d"] == pytest.approx(np.full(3, 0.177), abs=0.01)
    # uniform over S keys: ‖K − mean‖/S/d = √(d(S−1))/S/d, here at d = 4096
    assert gradient["d"][-1] == pytest.approx(math.sqrt(4096 * 63) / 64 / 4096, rel=0.02)


def test_the_seed_decides(result: Result) -> None:
    again = measure(seeds=[1], widths=(16, 64, 4096), num_keys=64, queries=64)
    assert again.array("entropy_sqrt_d")[0] == pytest.approx(result.array("entropy_sqrt_d")[1])
    assert result.values["entropy_sqrt_d"][0] != result.values["entropy_sqrt_d"][1]
    assert again.settings == {"widths": [16, 64, 4096], "num_keys": 64, "queries": 64}


def test_the_claim_holds_on_a_small_run(result: Result) -> None:
    verdict = judge(result)
    assert verdict.holds is True
    assert verdict.figure.startswith("entropy at d = 4096, of 6 bits: 0.")
    assert f"{result.mean('entropy_sqrt_d')[-1]:.2f} with √d" in verdict.figure


@pytest.mark.parametrize(
    ("quantity", "last"),
    [
        ("entropy_none", 5.0),
        ("entropy_none", 0.7),
        ("jacobian_none", 0.3),
        ("jacobian_none", 0.01),
        ("entropy_sqrt_d", 4.5),
        ("entropy_sqrt_d", 6.0),
        ("jacobian_sqrt_d", 0.1),
        ("query_gradient_sqrt_d", 0.1),
        ("query_gradient_sqrt_d", 0.3),
        ("entropy_d", 5.5),
        ("query_gradient_d", 0.03),
    ],
)
def test_the_claim_can_fail(result: Result, tamper, quantity: str, last: float) -> None:
    def put(values):
        values[:, -1] = last
        return values

    assert judge(tamper(result, quantity, put)).holds is False


SOFTMAXES = {
    "no softmax of the scores": lambda scores: torch.full_like(scores, 1 / scores.shape[-1]),
    "scores put to size 1": lambda scores: (scores / scores.std(dim=-1, keepdim=True)).softmax(dim=-1),
    "always one-hot": lambda scores: (scores * 1e9).softmax(dim=-1),
    "scores divided once more": lambda scores: (scores / 64).softmax(dim=-1),
}


@pytest.mark.parametrize("softmax", SOFTMAXES.values(), ids=SOFTMAXES.keys())
def test_the_claim_fails_on_a_softmax_without_the_effect(softmax) -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        assert judge(measure(seeds=[0], widths=(16, 4096), queries=32, softmax=softmax)).holds is False


@pytest.mark.usefixtures("close_figures")
def test_the_figure_shows_what_was_measured(result: Result) -> None:
    figure = plot(result)
    assert len(figure.axes) == 3
    for axis, quantity in zip(figure.axes, ("entropy", "jacobian", "query_gradient"), strict=True):
        for container, name in zip(axis.containers, DIVISORS, strict=True):
            line = container.lines[0]
            assert line.get_ydata() == pytest.approx(result.mean(f"{quantity}_{name}"))
        assert axis.get_xlabel()
        assert axis.get_ylabel()
    [legend] = figure.legends
    labels = {text.get_text() for text in legend.get_texts()}
    assert labels == {"not divided", "divided by √d", "divided by d", "uniform"}
