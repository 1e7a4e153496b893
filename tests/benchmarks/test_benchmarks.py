"""The benchmarks: batches, what counts as the same work, the interval of a ratio, a quick run without peers."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from transformer_book.experiments._result import Result
from transformer_book.experiments.peers import Ratio, load_benchmarks, paired_ratio

ROOT = Path(__file__).parents[2]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command on the checkout, with the peers out of reach."""
    hide = "import sys\nfor name in ('transformers', 'x_transformers'): sys.modules[name] = None\n"
    code = f"{hide}from benchmarks.cli import main\nsys.exit(main(sys.argv[1:]))"
    variables = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)


def test_quick_run_names_the_missing_peers_and_stores_what_ran(tmp_path: Path) -> None:
    words = ("--quick", "--threads", "1", "--sizes", "S", "--kinds", "training", "decoding", "precision")
    done = run(*words, "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    for name in ("training/S/marian", "decoding/S/marian", "training/S/x-transformers"):
        package = "transformers" if "marian" in name else "x_transformers"
        assert f"skipped: {name} (no package {package}" in done.stdout
    result = Result.load(tmp_path / "benchmarks.json")
    assert result.command == f"python -m benchmarks {' '.join(words)}"
    assert result.array("training/S/fast/seconds").shape == (2,)
    assert result.array("decoding/S/readable/bytes").shape == (2,)
    assert result.settings["skipped"]["training/S/marian"] == "no package transformers"
    assert result.settings["contenders"]["training/S/torch"]["parameters"] == 6612
    assert Result.load(tmp_path / "benchmarks_precision.json").array("bfloat16/losses").shape == (1, 5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--rounds", "0"), "benchmarks: argument --rounds: expected an integer ≥ 1, got '0'"),
        (("--sizes", "L"), "benchmarks: argument --sizes: invalid choice: 'L'"),
        (("--device", "abacus"), "benchmarks: device: expected auto or a device of this machine, got 'abacus'"),
    ],
)
def test_wrong_use_is_one_line(words: tuple[str, ...], message: str) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def test_batches_are_padded_as_said_and_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.work import BATCHES, END, PAD, SIZES, START, make_batches, real_tokens

    size, cpu = SIZES["S"], torch.device("cpu")
    batches = make_batches(size, cpu)
    assert len(batches) == BATCHES
    assert all(
        torch.equal(one, other)
        for a, b in zip(batches, make_batches(size, cpu), strict=True)
        for one, other in zip(a, b, strict=True)
    )
    for batch in batches:
        assert batch.source.shape == (128, 32)
        assert batch.target.shape == (128, 12)
        assert (batch.target[:, 0] == START).all()
        lengths = (batch.source != PAD).sum(dim=1)
        assert (int(lengths.min()), int(lengths.max())) == (8, 32)
        assert ((batch.target == END).sum(dim=1) == 1).all()
        last = (batch.target != PAD).sum(dim=1, keepdim=True) - 1
        assert (batch.target.gather(1, last) == END).all()
    share = real_tokens(batches) / (128 * (32 + 12))
    assert share == pytest.approx(0.63, abs=0.03)


def test_other_work_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.measure import Entered
    from benchmarks.report import check_same_work

    def entered(*check: float, same: bool = True) -> Entered:
        return Entered(parameters=1, check=list(check), same_weights=same, cases=1, round_seconds=0.1)

    check_same_work(
        "training", "S", {"torch": entered(4.6), "x": entered(9.0, same=False), "fast": entered(4.6001)}
    )
    with pytest.raises(RuntimeError, match="training S: expected the same from torch and fast"):
        check_same_work("training", "S", {"torch": entered(4.6), "fast": entered(4.602)})
    check_same_work("training", "S", {"torch": entered(4.6), "fast, bfloat16": entered(4.602)})
    with pytest.raises(RuntimeError, match="decoding S: expected the same from marian and fast"):
        check_same_work("decoding", "S", {"marian": entered(3, 4, 5), "fast": entered(3, 4, 6)})


def test_the_interval_of_the_median_is_that_of_the_binomial() -> None:
    ones = np.ones(9)
    assert paired_ratio(np.arange(1.0, 10.0), ones) == Ratio(5, 2, 8)  # 1 - 2 (1 + 9) / 2⁹ = 0.961
    assert paired_ratio(np.arange(1.0, 6.0), ones[:5]) == Ratio(3, 1, 5)
    assert paired_ratio(np.arange(1.0, 7.0), ones[:6]) == Ratio(3.5, 1, 6)  # 1 - 2 / 2⁶ = 0.969
    assert str(paired_ratio(ones, ones * 2)) == "0.50 (0.50 to 0.50)"
    with pytest.raises(ValueError, match=r"^numerator and denominator: expected two series of one length"):
        paired_ratio(ones, ones[:3])


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        low, high = paired_ratio(generator.lognormal(size=15), np.ones(15))[1:]
        held += low <= 1 <= high
    assert 0.94 < held / 2000 < 0.985


def test_what_is_stored_loads_and_is_complete() -> None:
    try:
        result = load_benchmarks()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    rounds = len(result.seeds)
    assert rounds >= 6
    for name in result.values:
        assert result.array(name).shape[0] == rounds
        assert (result.array(name) > 0).all()
    for size in ("S", "M"):
        for kind, needed in (("training", "torch"), ("decoding", "marian")):
            assert f"{kind}/{size}/{needed}/seconds" in result.values
            assert f"{kind}/{size}/fast/seconds" in result.values
