import numpy as np
import pytest
import torch

from transformer_book.experiments import Result
from transformer_book.experiments.score_variance import CLAIMS, DISTRIBUTIONS, measure, plot

judge = CLAIMS["C5.1"].judge


@pytest.fixture(scope="module")
def result() -> Result:
    return measure(seeds=[0, 1, 2], widths=(4, 32, 256), samples=4096)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_entries_have_mean_zero_and_variance_one(name: str) -> None:
    entries = DISTRIBUTIONS[name](1000, 200, generator=torch.Generator().manual_seed(0))
    assert entries.shape == (1000, 200)
    assert entries.mean().item() == pytest.approx(0, abs=0.01)
    assert entries.var().item() == pytest.approx(1, abs=0.01)


def test_the_distributions_differ() -> None:
    entries = {name: draw(1000, generator=torch.Generator()) for name, draw in DISTRIBUTIONS.items()}
    assert set(entries["sign"].tolist()) == {-1.0, 1.0}
    assert entries["uniform"].abs().max() <= 3**0.5
    assert entries["normal"].abs().max() > 2


def test_the_variance_is_the_width(result: Result) -> None:
    for name in DISTRIBUTIONS:
        assert result.mean(f"variance_{name}") == pytest.approx([4, 32, 256], rel=0.06)
    assert result.mean("slope") == pytest.approx(1, abs=0.03)
    assert result.mean("exponent") == pytest.approx(1, abs=0.02)


def test_slope_and_exponent_are_computed_from_the_variances(result: Result) -> None:
    variance = np.stack(
        [result.array(f"variance_{name}") for name in DISTRIBUTIONS], axis=1
    )  # (seed, kind, width)
    assert result.array("slope") == pytest.approx((variance / [4, 32, 256]).mean(axis=(1, 2)))
    ends = np.log(variance[:, :, -1] / variance[:, :, 0]).mean(axis=1) / np.log(
        64
    )  # equal steps in logs: the ends
    assert result.array("exponent") == pytest.approx(ends)


def test_the_seed_decides(result: Result) -> None:
    again = measure(seeds=[2, 3], widths=(4, 32, 256), samples=4096)
    assert again.array("variance_normal")[0] == pytest.approx(result.array("variance_normal")[2])
    assert again.values["variance_normal"][0] != again.values["variance_normal"][1]
    assert again.settings == {"widths": [4, 32, 256], "samples": 4096}


def test_the_claim_holds_on_a_small_run(result: Result) -> None:
    verdict = judge(result)
    assert verdict.holds is True
    assert verdict.figure == (
        f"Var(q·k) = {result.mean('slope'):.3f} ± {result.half_width('slope'):.3f} × d; "
        f"exponent of d {result.mean('exponent'):.3f} ± {result.half_width('exponent'):.3f}"
    )


@pytest.mark.parametrize(
    ("quantity", "factor"), [("slope", 1.05), ("slope", 0.95), ("slope", 2), ("exponent", 1.03), ("exponent", 0.5)]
)
def test_the_claim_can_fail(result: Result, tamper, quantity: str, factor: float) -> None:
    assert judge(tamper(result, quantity, lambda values: values * factor)).holds is False


@pytest.mark.parametrize("kind", ["too wide", "correlated"])
def test_the_claim_fails_on_entries_that_break_its_premise(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    def too_wide(*size: int, generator: torch.Generator) -> torch.Tensor:
        return torch.randn(*size, generator=generator) * 1.1

    def correlated(*size: int, generator: torch.Generator) -> torch.Tensor:
        common = torch.randn(size[0], 1, generator=generator)
        return (torch.randn(*size, generator=generator) + common) / 2**0.5

    monkeypatch.setitem(DISTRIBUTIONS, "normal", too_wide if kind == "too wide" else correlated)
    assert judge(measure(seeds=[0], widths=(4, 64), samples=4096)).holds is False


@pytest.mark.usefixtures("close_figures")
def test_the_figure_shows_what_was_measured(result: Result) -> None:
    figure = plot(result)
    left, right = figure.axes
    for container, name in zip(left.containers, DISTRIBUTIONS, strict=True):
        line = container.lines[0]
        assert line.get_xdata().tolist() == [4, 32, 256]
        assert line.get_ydata() == pytest.approx(result.mean(f"variance_{name}"))
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["Var = d", *DISTRIBUTIONS]
    assert len(right.containers) == 3
    assert all(axis.get_xlabel() and axis.get_ylabel() and axis.get_title(loc="left") for axis in figure.axes)
