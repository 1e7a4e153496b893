"""What a result is, how it is stored, and its interval against Student's t computed here."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from transformer_book.device import CPU, describe
from transformer_book.experiments import Result
from transformer_book.experiments._result import half_width, join, run_seeds


def make_result(**values: object) -> Result:
    return Result(
        name="toy",
        seeds=[0, 1],
        settings={"widths": [2, 3], "text": "√d"},
        values=values or {"x": [1.0, 0.1 + 0.2], "pair": [[1.0, 2.0], [3.0, 6.0]]},
        environment={"device": "cpu"},
        command="transformer-book measure toy",
        commit="abc1234",
        date="2026-08-01T12:00:00Z",
        wall_seconds=0.3,
    )


def test_quantities_have_seeds_on_the_first_axis() -> None:
    result = make_result()
    assert result.array("pair").shape == (2, 2)
    assert result.array("pair").dtype == np.float64
    assert result.mean("pair").tolist() == [2.0, 4.0]
    assert result.half_width("pair") == pytest.approx([12.706 * 1.0, 12.706 * 2.0])  # sd/√2 is half the distance


def test_an_unknown_quantity_is_told_the_known_ones() -> None:
    with pytest.raises(KeyError, match=re.escape("quantity: expected one of ['pair', 'x'], got 'y'")):
        make_result().array("y")


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "new" / "toy.json"
    result = make_result()
    result.save(path)
    assert Result.load(path) == result
    assert list(path.parent.iterdir()) == [path]
    text = path.read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert json.loads(text) == asdict(result)


def test_saving_replaces_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "toy.json"
    make_result().save(path)
    make_result(x=[7.0]).save(path)
    assert Result.load(path).values == {"x": [7.0]}


@pytest.mark.parametrize("bad", [math.nan, math.inf, {1, 2}, np.float32(1)], ids=str)
def test_what_json_cannot_hold_is_refused_and_the_old_file_stays(tmp_path: Path, bad: object) -> None:
    path = tmp_path / "toy.json"
    make_result().save(path)
    with pytest.raises((ValueError, TypeError), match="JSON"):
        make_result(x=[bad]).save(path)
    assert Result.load(path) == make_result()
    assert list(tmp_path.iterdir()) == [path]


def edited(**changes: object) -> bytes:
    data = asdict(make_result()) | changes
    return json.dumps({key: value for key, value in data.items() if value is not None}).encode()


NOT_RESULTS: dict[str, tuple[bytes, str]] = {
    "half a file": (edited()[:100], "expected a JSON result, got "),
    "empty": (b"", "expected a JSON result, got "),
    "not text": (b"\xff\xfe\x00", "expected a JSON result, got "),
    "a list": (b"[1, 2]", "expected a result of schema 1, got another file"),
    "another schema": (edited(schema=2), "expected a result of schema 1, got another file"),
    "no schema": (edited(schema=None), "expected a result of schema 1, got another file"),
    "no values": (edited(values=None), "expected a result of schema 1, got another file"),
    "something more": (edited(colour="blue"), "expected a result of schema 1, got another file"),
}


@pytest.mark.parametrize(("content", "message"), NOT_RESULTS.values(), ids=NOT_RESULTS.keys())
def test_a_file_that_is_no_result_is_named_and_left_alone(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "toy.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}: {message}')}"):
        Result.load(path)
    assert path.read_bytes() == content


def test_no_file_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Result.load(tmp_path / "toy.json")


# --- the interval --------------------------------------------------------------------------------------------


def test_joined_results_have_all_seeds_and_all_values_in_their_order() -> None:
    first, second = make_result(x=[1.0, 2.0]), replace(make_result(x=[3.0]), seeds=[5], wall_seconds=0.4)
    joined = join([second, first])
    assert joined.seeds == [5, 0, 1]
    assert joined.values == {"x": [3.0, 1.0, 2.0]}
    assert joined.wall_seconds == pytest.approx(0.7)
    assert joined.settings == first.settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [1, 2]}, "expected every seed once, got [0, 1, 1, 2]"),
        ({"settings": {"widths": [2]}}, "expected one settings"),
        ({"environment": {"device": "cuda"}}, "expected one environment"),
        ({"commit": "fff"}, "expected one commit, got abc1234 and fff"),
        ({"name": "other"}, "expected one name, got toy and other"),
    ],
    ids=str,
)
def test_results_that_do_not_belong_together_are_not_joined(change: dict, message: str) -> None:
    other = replace(make_result(), **{"seeds": [2, 3], **change})
    with pytest.raises(ValueError, match=re.escape(f"parts: {message}")):
        join([make_result(), other])
    with pytest.raises(ValueError, match="parts: expected at least one result, got none"):
        join([])


def test_half_width_by_hand() -> None:
    # 1 … 5: standard deviation √2.5, Student's t with 4 degrees of freedom 2.776
    assert half_width(np.arange(1.0, 6.0)) == pytest.approx(2.776 * math.sqrt(2.5) / math.sqrt(5))


def test_half_width_is_taken_over_the_first_axis() -> None:
    values = np.arange(12.0).reshape(3, 2, 2) ** 2
    expected = [[half_width(values[:, i, j]) for j in range(2)] for i in range(2)]
    assert half_width(values).tolist() == np.array(expected).tolist()


def test_one_value_has_no_interval() -> None:
    assert np.isnan(half_width(np.ones((1, 3)))).all()
    assert half_width(np.ones((1, 3))).shape == (3,)


def test_equal_values_have_an_interval_of_nothing() -> None:
    assert half_width(np.ones((4, 2))).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("count", [*range(2, 34), 60, 120, 1000])
def test_the_quantile_is_that_of_students_t(count: int) -> None:
    values = np.zeros(count)
    values[0] = 1.0
    quantile = float(half_width(values) / values.std(ddof=1) * math.sqrt(count))
    degrees = count - 1
    # the density of Student's t, integrated from 0 to the quantile, must give half of 95 %
    x = np.linspace(0, quantile, 20001)
    scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - math.log(math.pi * degrees) / 2
    density = np.exp(scale - (degrees + 1) / 2 * np.log1p(x * x / degrees))
    area = (density[1:] + density[:-1]).sum() * (x[1] - x[0]) / 2
    assert area == pytest.approx(0.475, abs=1.5e-4)


# --- running -------------------------------------------------------------------------------------------------


def test_run_seeds_gathers_by_quantity_in_the_order_of_the_seeds() -> None:
    result = run_seeds("toy", [3, 1, 2], CPU, {"a": 1}, lambda seed: {"x": seed * 10, "pair": [seed, -seed]})
    assert result.values == {"x": [30, 10, 20], "pair": [[3, -3], [1, -1], [2, -2]]}
    assert result.seeds == [3, 1, 2]
    assert result.settings == {"a": 1}
    assert result.name == "toy"
    assert result.command == "transformer-book measure toy --seeds 3 --device cpu"


def test_run_seeds_records_where_and_when() -> None:
    result = run_seeds("toy", [0], CPU, {}, lambda seed: {"x": 0.0})
    assert result.environment["device"] == "cpu"
    assert result.environment["device_name"] == describe(CPU)
    assert result.environment["torch"] == torch.__version__
    assert result.environment["numpy"] == np.__version__
    taken = datetime.strptime(result.date, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - taken).total_seconds()) < 60
    assert 0 <= result.wall_seconds < 60
    assert re.fullmatch(r"[0-9a-f]{7,}\+?|no checkout", result.commit)


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_seeds("toy", [0], CPU, {}, lambda seed: {"x": 0.0}).commit == "no checkout"


def test_a_measurement_needs_a_seed() -> None:
    with pytest.raises(ValueError, match=r"^seeds: expected at least one, got none$"):
        run_seeds("toy", [], CPU, {}, lambda seed: {"x": 0.0})


@pytest.mark.parametrize("progress", [False, True])
def test_progress_is_shown_when_asked_for(
    progress: bool, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    one_seed: Callable[[int], dict[str, object]] = lambda seed: {"x": 0.0}  # noqa: E731
    run_seeds("toy", [0, 1], CPU, {}, one_seed, progress)
    assert ("toy" in capsys.readouterr().err) is progress
