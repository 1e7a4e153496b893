"""The stored results: complete, in favour of their claims, and repeated by a quick live run."""

import re
import shutil
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from transformer_book import experiments
from transformer_book.experiments import (
    REGISTRY,
    Claim,
    Result,
    Verdict,
    all_verdicts,
    attention_cost,
    load_result,
    mask_properties,
    result_file,
    results_folder,
    score_variance,
    softmax_scaling,
)


def within(result: Result, live: Result, quantity: str, index: object, least: float) -> None:
    """Compare one quantity: the live mean must lie in four half-widths (or `least`) around the stored mean."""
    mean = result.mean(quantity)[index]
    spread = np.maximum(4 * result.half_width(quantity)[index], least)
    assert (np.abs(live.mean(quantity) - mean) <= spread).all(), quantity


# --- what is stored ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REGISTRY)
def test_every_experiment_is_stored_in_full(name: str) -> None:
    result = load_result(name)
    assert result.name == name
    assert len(set(result.seeds)) == len(result.seeds) >= 5
    assert result.environment["device"] == "cpu"
    assert set(result.environment) == {"device", "device_name", "python", "torch", "numpy", "platform"}
    assert result.command == f"transformer-book measure {name} --seeds {len(result.seeds)} --device cpu"
    assert re.fullmatch(r"[0-9a-f]{7,}\+?", result.commit)
    assert datetime.strptime(result.date, "%Y-%m-%dT%H:%M:%SZ").year >= 2026
    assert result.wall_seconds > 0
    for quantity in result.values:
        values = result.array(quantity)
        assert len(values) == len(result.seeds)
        assert np.isfinite(values).all()


@pytest.mark.parametrize("name", REGISTRY)
def test_the_stored_settings_are_the_defaults_of_today(name: str) -> None:
    result = load_result(name)
    expected = {
        "score_variance": {"widths": list(score_variance.WIDTHS), "samples": 4096},
        "softmax_scaling": {"widths": list(softmax_scaling.WIDTHS), "num_keys": 64, "queries": 256},
        "mask_properties": {"length": 24, "width": 16, "cut": 12},
        "attention_cost": {
            "lengths": list(attention_cost.LENGTHS),
            "num_heads": 4,
            "width": 64,
            "repeats": 5,
            "methods": list(attention_cost.METHODS),
        },
    }
    assert result.settings == expected[name]


def test_nothing_else_is_stored() -> None:
    names = {path.name.partition(".")[0] for path in results_folder().iterdir()}
    assert names == set(REGISTRY)


def test_every_stored_claim_holds() -> None:
    rows = all_verdicts()
    assert {row.claim.id for row in rows} >= {"C5.1", "C5.2", "C5.4", "C5.5"}
    for row in rows:
        assert row.verdict.holds is True, f"{row.claim.id}: {row.verdict.figure}"
        assert row.claim.statement.endswith(".")
        assert row.chapter == "scaled_dot_product"


# --- direction and size of each claim, in numbers ------------------------------------------------------------


def test_the_variance_of_a_dot_product_is_the_width() -> None:
    result = load_result("score_variance")
    assert result.mean("slope") == pytest.approx(1, abs=0.02)
    assert result.half_width("slope") < 0.02
    assert result.mean("exponent") == pytest.approx(1, abs=0.01)
    for name in score_variance.DISTRIBUTIONS:
        assert result.mean(f"variance_{name}") == pytest.approx(list(score_variance.WIDTHS), rel=0.05)


def test_only_division_by_the_root_keeps_the_softmax_level() -> None:
    result = load_result("softmax_scaling")
    first, last = softmax_scaling.WIDTHS.index(16), -1
    entropy = {name: result.mean(f"entropy_{name}") for name in softmax_scaling.DIVISORS}
    assert (np.diff(entropy["none"]) < 0).all()
    assert entropy["none"][last] < 0.15
    assert np.ptp(entropy["sqrt_d"][first:]) < 0.05
    assert entropy["sqrt_d"][last] == pytest.approx(5.32, abs=0.03)
    assert (np.diff(entropy["d"]) > 0).all()
    assert entropy["d"][last] > 5.9998
    gradient = {name: result.mean(f"query_gradient_{name}") for name in softmax_scaling.DIVISORS}
    assert gradient["none"][last] < 1e-3 * gradient["none"][first]
    assert gradient["sqrt_d"][last] == pytest.approx(gradient["sqrt_d"][first], rel=0.06)
    # divided by d, the gradient to the query falls as 1/√d: 16-fold from 16 to 4096
    assert gradient["d"][first] / gradient["d"][last] == pytest.approx(16, rel=0.06)


def test_a_mask_is_exact() -> None:
    result = load_result("mask_properties")
    cut = result.settings["cut"]
    assert (result.array("moved_causal")[:, :cut] == 0).all()
    assert (result.array("moved_causal")[:, cut:] > 0.1).all()
    assert (result.array("moved_open") > 0.1).all()
    for quantity in ("future_gradient", "padding_moved", "masked_row", "masked_row_gradient", "nan"):
        assert not result.array(quantity).any()


def test_explicit_memory_is_quadratic_and_chunked_and_fused_are_linear() -> None:
    result = load_result("attention_cost")
    lengths = np.array(result.settings["lengths"])
    assert result.mean("bytes_explicit") == pytest.approx(3 * 4 * 4 * lengths**2, rel=0.02)
    assert np.ptp(result.mean("bytes_chunked") / lengths) < 0.02 * (result.mean("bytes_chunked") / lengths)[0]
    assert attention_cost.memory_exponent(result, "bytes_explicit") == pytest.approx(2, abs=0.02)
    assert attention_cost.memory_exponent(result, "bytes_chunked") == pytest.approx(1, abs=0.02)
    assert attention_cost.memory_exponent(result, "bytes_fused") < 1.1
    assert attention_cost.memory_exponent(result, "training_bytes_chunked") > 1.7
    assert result.mean("bytes_explicit")[-1] / result.mean("bytes_chunked")[-1] > 20
    assert result.mean("bytes_explicit")[-1] / result.mean("bytes_fused")[-1] > 50


# --- a quick run now agrees with the stored one --------------------------------------------------------------


def test_score_variance_again() -> None:
    stored = load_result("score_variance")
    live = score_variance.measure(seeds=[100, 101], widths=(4, 64, 1024))
    within(stored, live, "slope", ..., 0.05)
    within(stored, live, "exponent", ..., 0.05)


def test_softmax_scaling_again() -> None:
    stored = load_result("softmax_scaling")
    live = softmax_scaling.measure(seeds=[100, 101], widths=(16, 1024), queries=128)
    index = [stored.settings["widths"].index(width) for width in (16, 1024)]
    for name in softmax_scaling.DIVISORS:
        within(stored, live, f"entropy_{name}", index, 0.05)
        within(stored, live, f"jacobian_{name}", index, 0.02)
        within(stored, live, f"query_gradient_{name}", index, 0.02)


def test_mask_properties_again() -> None:
    stored = load_result("mask_properties")
    live = mask_properties.measure(seeds=stored.seeds)
    assert mask_properties.CLAIMS["C5.4"].judge(live).holds is True
    assert live.array("moved_open") == pytest.approx(stored.array("moved_open"), abs=1e-4)
    assert live.array("moved_causal") == pytest.approx(stored.array("moved_causal"), abs=1e-4)


def test_attention_cost_again() -> None:
    stored = load_result("attention_cost")
    live = attention_cost.measure(seeds=[100], lengths=(256, 512), repeats=1)
    assert stored.settings["lengths"][:2] == [256, 512]
    for name in ("explicit", "chunked"):
        for quantity in (f"bytes_{name}", f"training_bytes_{name}"):
            assert live.mean(quantity) == pytest.approx(stored.mean(quantity)[:2], rel=0.05)


# --- finding and ordering them -------------------------------------------------------------------------------


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a copy of the stored results that everything reads from."""
    copy = Path(shutil.copytree(results_folder(), tmp_path / "results"))
    monkeypatch.setattr(experiments, "results_folder", lambda: copy)
    return copy


def test_results_lie_in_the_checkout_or_in_the_installed_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "src" / "transformer_book"
    (package / "experiments").mkdir(parents=True)
    monkeypatch.setattr(experiments, "__file__", str(package / "experiments" / "__init__.py"))
    assert results_folder() == tmp_path / "book" / "results"
    (package / "results").mkdir()
    assert results_folder() == package / "results"


@pytest.mark.parametrize(
    ("device", "file"), [("cpu", "score_variance.json"), ("cuda", "score_variance.cuda.json")]
)
def test_every_kind_of_device_has_a_file(device: str, file: str) -> None:
    assert result_file("score_variance", device) == file


def test_an_unknown_experiment_is_told_the_known_ones() -> None:
    message = f"experiment: expected one of {', '.join(REGISTRY)}; got 'scores'"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load_result("scores")


def test_what_is_not_measured_says_how_to_measure_it(folder: Path) -> None:
    command = "transformer-book measure score_variance --device cuda"
    with pytest.raises(FileNotFoundError, match=f"not measured; run: {command}$"):
        load_result("score_variance", "cuda")


def test_a_result_of_another_device_is_read(folder: Path) -> None:
    shutil.copy(folder / "score_variance.json", folder / "score_variance.cuda.json")
    assert load_result("score_variance", "cuda") == load_result("score_variance")


def test_a_corrupt_result_is_named(folder: Path) -> None:
    (folder / "score_variance.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"score_variance\.json: expected a JSON result"):
        load_result("score_variance")


def test_verdicts_are_ordered_by_claim_and_the_cpu_comes_first(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    text = (folder / "softmax_scaling.json").read_text(encoding="utf-8")
    other = text.replace('"device": "cpu"', '"device": "cuda"')
    (folder / "softmax_scaling.cuda.json").write_text(other, encoding="utf-8")
    extra = Claim("C5.10", "Later.", lambda result: Verdict(False, "no"))
    monkeypatch.setitem(score_variance.CLAIMS, "C5.10", extra)
    rows = [(row.claim.id, row.result.environment["device"]) for row in all_verdicts()]
    assert rows == [
        ("C5.1", "cpu"),
        ("C5.2", "cpu"),
        ("C5.2", "cuda"),
        ("C5.4", "cpu"),
        ("C5.5", "cpu"),
        ("C5.10", "cpu"),
    ]
    last = all_verdicts()[-1]
    assert last.claim is extra
    assert last.verdict == Verdict(False, "no")
    assert last.result.name == "score_variance"


@pytest.mark.parametrize("name", REGISTRY)
def test_claims_are_keyed_by_their_id(name: str) -> None:
    assert REGISTRY[name].CLAIMS
    assert all(key == claim.id for key, claim in REGISTRY[name].CLAIMS.items())
    assert REGISTRY[name].__name__.rpartition(".")[2] == name


@pytest.mark.usefixtures("close_figures")
@pytest.mark.parametrize("name", REGISTRY)
def test_every_stored_result_can_be_drawn(name: str, tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    REGISTRY[name].plot(load_result(name)).savefig(path)
    assert path.stat().st_size > 10_000
