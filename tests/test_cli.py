"""The command: what it prints, where it writes, how it ends; and that nothing stored is ever harmed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from transformer_book import cli
from transformer_book.cli import main
from transformer_book.device import CPU
from transformer_book.experiments import REGISTRY, Claim, Result, Verdict, results_folder
from transformer_book.experiments._result import run_seeds


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace the measurement of the experiment mask_properties, and its claims if told."""

    def replace(measure: Callable[..., Result], holds: bool | None = None) -> None:
        monkeypatch.setattr(REGISTRY["mask_properties"], "measure", measure)
        if holds is not None:
            claim = Claim("C5.4", "A claim.", lambda result: Verdict(holds, f"figure {result.mean('x'):.1f}"))
            monkeypatch.setattr(REGISTRY["mask_properties"], "CLAIMS", {"C5.4": claim})

    return replace


def measure_nothing(seeds: Any, device: Any, progress: bool) -> Result:
    return run_seeds("mask_properties", list(seeds), CPU, {}, lambda seed: {"x": seed + 0.5})


def stop(**_: object) -> Result:
    raise KeyboardInterrupt


def exit_of(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_a_measurement_is_judged_and_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "folder"
    words = ["measure", "mask_properties", "--seeds", "2", "--device", "cpu", "--output", str(folder)]
    assert main(words) == 0
    stored = Result.load(folder / "mask_properties.json")
    assert stored.seeds == [0, 1]
    assert stored.command == "transformer-book measure mask_properties --seeds 2 --device cpu"
    assert stored.environment["device"] == "cpu"
    printed = capsys.readouterr().out
    assert re.search(r"mask_properties on .+: 2 seeds; about [\d.]+ s a seed when last measured, on ", printed)
    assert f"written to {folder / 'mask_properties.json'} after" in printed
    verdict = REGISTRY["mask_properties"].CLAIMS["C5.4"].judge(stored)
    assert f"C5.4 holds: {verdict.figure}\n" in printed


@pytest.mark.parametrize(("holds", "status", "text"), [(True, 0, "holds"), (False, 1, "DOES NOT HOLD")])
def test_a_claim_that_does_not_hold_is_said_and_counts(
    quick: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    holds: bool,
    status: int,
    text: str,
) -> None:
    quick(measure_nothing, holds)
    assert (
        main(["measure", "mask_properties", "--seeds", "3", "--device", "cpu", "--output", str(tmp_path)])
        == status
    )
    assert f"  C5.4 {text}: figure 1.5\n" in capsys.readouterr().out
    assert Result.load(tmp_path / "mask_properties.json").values == {"x": [0.5, 1.5, 2.5]}


def test_all_measures_everything_and_one_failed_claim_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, module in REGISTRY.items():

        def measure(seeds: Any, device: Any, progress: bool, name: str = name) -> Result:
            return run_seeds(name, list(seeds), device, {}, lambda seed: {"x": 0.0}, progress)

        def judge(result: Result) -> Verdict:
            return Verdict(result.name != "softmax_scaling", result.name)

        monkeypatch.setattr(module, "measure", measure)
        monkeypatch.setattr(module, "CLAIMS", {key: Claim(key, "", judge) for key in module.CLAIMS})
    assert main(["measure", "all", "--seeds", "1", "--device", "cpu", "--output", str(tmp_path)]) == 1
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.json" for name in REGISTRY}
    printed = capsys.readouterr().out
    assert printed.count(" holds: ") == len(REGISTRY) - 1
    assert printed.count("C5.2 DOES NOT HOLD: softmax_scaling") == 1


def test_the_default_is_five_seeds_into_the_folder_the_chapters_read(
    quick: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    quick(measure_nothing, holds=True)
    monkeypatch.setattr(cli, "results_folder", lambda: tmp_path)
    assert main(["measure", "mask_properties", "--device", "cpu"]) == 0
    assert Result.load(tmp_path / "mask_properties.json").seeds == [0, 1, 2, 3, 4]


def test_another_device_gets_a_file_of_its_own(
    quick: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Cuda:
        type = "cuda"

    quick(measure_nothing, holds=True)
    monkeypatch.setattr(cli, "pick_device", lambda name: Cuda() if name == "cuda" else CPU)
    monkeypatch.setattr(cli, "describe", lambda device: "a GPU")
    assert main(["measure", "mask_properties", "--device", "cuda", "--output", str(tmp_path)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["mask_properties.cuda.json"]
    assert "mask_properties on a GPU: 5 seeds; " in capsys.readouterr().out


def test_what_was_never_timed_is_said_so(
    quick: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick(measure_nothing, holds=True)
    monkeypatch.setattr("transformer_book.experiments.results_folder", lambda: tmp_path)
    words = ["measure", "mask_properties", "--device", "cpu", "--output", str(tmp_path)]
    assert main(words) == 0
    assert "never timed on this kind of device" in capsys.readouterr().out
    assert main(words) == 0
    assert "about 0.0 s a seed when last measured" in capsys.readouterr().out


def test_a_broken_stored_file_is_replaced(
    quick: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    quick(measure_nothing, holds=True)
    monkeypatch.setattr("transformer_book.experiments.results_folder", lambda: tmp_path)
    (tmp_path / "mask_properties.json").write_text('{"schema": 1, "na', encoding="utf-8")
    assert main(["measure", "mask_properties", "--device", "cpu", "--output", str(tmp_path)]) == 0
    assert Result.load(tmp_path / "mask_properties.json").seeds == [0, 1, 2, 3, 4]


def test_an_interrupted_measurement_leaves_the_stored_one(
    quick: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick(stop)
    stored = tmp_path / "mask_properties.json"
    stored.write_text("old", encoding="utf-8")
    assert main(["measure", "mask_properties", "--device", "cpu", "--output", str(tmp_path)]) == 130
    assert stored.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [stored]
    assert capsys.readouterr().err == "interrupted; no file is half written\n"


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()], ids=["disk full", "interrupt"])
@pytest.mark.parametrize("step", ["write_text", "replace"])
def test_a_failing_write_leaves_the_stored_file_and_no_litter(
    quick: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    step: str,
) -> None:
    quick(measure_nothing, holds=True)
    stored = tmp_path / "mask_properties.json"
    stored.write_text("old", encoding="utf-8")

    def fail(path: Path, *arguments: object, **_: object) -> None:
        if step == "write_text":
            path.write_bytes(b'{"half of')
        raise error

    monkeypatch.setattr(Path, step, fail)
    words = ["measure", "mask_properties", "--device", "cpu", "--output", str(tmp_path)]
    if isinstance(error, OSError):
        assert exit_of(*words) == 2
        assert capsys.readouterr().err == "transformer-book: no space left\n"
    else:
        assert main(words) == 130
    assert stored.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [stored]


def test_an_output_that_is_no_folder_is_refused_before_the_work(
    quick: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick(stop)
    file = tmp_path / "file"
    file.write_text("mine", encoding="utf-8")
    assert exit_of("measure", "mask_properties", "--device", "cpu", "--output", str(file)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"transformer-book: [Errno 17] File exists: '{file}'\n"
    assert file.read_text(encoding="utf-8") == "mine"


WRONG_USE = {
    "no command": ([], "transformer-book: the following arguments are required: COMMAND"),
    "another command": (["mesure"], "transformer-book: argument COMMAND: invalid choice: 'mesure'"),
    "no name": (["measure"], "transformer-book measure: the following arguments are required: NAME"),
    "another name": (["measure", "scores"], "transformer-book measure: argument NAME: invalid choice: 'scores'"),
    "no seeds": (
        ["measure", "all", "--seeds", "0"],
        "transformer-book measure: argument --seeds: expected an integer ≥ 1, got '0'",
    ),
    "negative seeds": (
        ["measure", "all", "--seeds=-3"],
        "transformer-book measure: argument --seeds: expected an integer ≥ 1, got '-3'",
    ),
    "half a seed": (
        ["measure", "all", "--seeds", "1.5"],
        "transformer-book measure: argument --seeds: expected an integer ≥ 1, got '1.5'",
    ),
    "another option": (["measure", "all", "--sedes", "2"], "unrecognized arguments: --sedes 2"),
    "another device": (
        ["measure", "all", "--device", "abacus"],
        "transformer-book: device: expected auto or a device of this machine, got 'abacus'",
    ),
}


@pytest.mark.parametrize(("words", "message"), WRONG_USE.values(), ids=WRONG_USE.keys())
def test_wrong_use_exits_with_2_and_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_of(*words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.endswith("\n")
    assert printed.err.count("\n") == 1


def test_a_wrong_name_is_told_the_right_ones(capsys: pytest.CaptureFixture[str]) -> None:
    exit_of("measure", "scores")
    line = capsys.readouterr().err
    assert all(name in line for name in REGISTRY)


def test_help_tells_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of("--help") == 0
    assert "measure" in capsys.readouterr().out
    assert exit_of("measure", "--help") == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in (*REGISTRY, "--seeds", "--device", "--output"))


def test_the_installed_command_runs_it() -> None:
    command = shutil.which("transformer-book", path=str(Path(sys.executable).parent))
    assert command is not None
    done = subprocess.run([command, "measure", "nothing"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("transformer-book measure: argument NAME: invalid choice: 'nothing'")
    assert done.stderr.count("\n") == 1


# Whoever runs the tests in the background starts them deaf to interrupts, and children inherit that.
INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from transformer_book.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_interrupting_the_process_ends_it_cleanly(tmp_path: Path) -> None:
    stored = tmp_path / "score_variance.json"
    shutil.copy(results_folder() / "score_variance.json", stored)
    before = stored.read_bytes()
    words = ["measure", "score_variance", "--seeds", "1000", "--device", "cpu", "--output", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", INTERRUPTIBLE, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    process.stdout.readline()  # it says what it does, then measures
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.endswith("interrupted; no file is half written\n")
    assert "Traceback" not in error
    assert stored.read_bytes() == before
    assert json.loads(before)["name"] == "score_variance"
    assert list(tmp_path.iterdir()) == [stored]
