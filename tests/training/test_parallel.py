"""One command, in one process or in several that torchrun starts: the same losses, the same file, one voice."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from transformer_book.cli import main
from transformer_book.training import load_model, read_checkpoint
from transformer_book.training.parallel import add_up, first_to_tell, own_device, place, working_together

TRAIN = shlex.split(
    "train copying --longest 5 --model transformer --width 16 --layers 1 --heads 2 --feed-forward 16 "
    "--dropout 0.3 --batch 12 --parts 4 --learning-rate 0.01 --seed 5 --device cpu"
)
# What torchrun itself reports about a process that has failed.
REPORT = re.compile(
    r"^\[?[WE]\d{4} |^Traceback |^  |^torch\.distributed\.|^[=-]{10}|^transformer_book FAILED|^\S.*:$|^\[\d\]:"
)


def launch(processes: int, *words: str) -> subprocess.Popen[str]:
    """Start the command under torchrun."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.Popen(
        [*torchrun, "-m", "transformer_book", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
    )


def told(error: str) -> list[str]:
    """Lines of the standard error that are neither a progress bar nor torchrun's own report."""
    lines = re.split(r"[\r\n]+", error)
    return [
        line for line in lines if line and "step/s" not in line and "s/step" not in line and not REPORT.match(line)
    ]


def state(path: Path) -> dict[str, torch.Tensor]:
    return load_model(path)[0].state_dict()


def test_two_processes_train_as_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With dropout and four parts: one process works through all of them, each of two through half."""
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    assert main([*TRAIN, "--steps", "40", "--output", str(one)]) == 0
    printed = capfd.readouterr().out.splitlines()
    process = launch(2, *TRAIN, "--steps", "40", "--output", str(two))
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    lines = out.splitlines()
    assert len(lines) == len(printed) == 4  # only one of them speaks
    assert lines[0] == f"{printed[0]}, 2 processes"
    assert lines[2] == printed[2]
    assert told(error) == []
    assert error.count("40/40") <= 2  # the bar's last state, and once more when it closes
    first, second = state(one), state(two)
    for name, weight in first.items():
        torch.testing.assert_close(second[name], weight, rtol=0, atol=1e-5)
    assert {path.name for path in tmp_path.iterdir()} == {"one.safetensors", "two.safetensors"}


SCRIPT = """
import json, sys
from pathlib import Path
from transformer_book.device import CPU
from transformer_book.tasks.copying import Copying
from transformer_book.training import TrainingConfig, new_model, train
from transformer_book.training.parallel import place, working_together
from transformer_book.transformer import TransformerConfig

def run(folder, stop):
    task, called = Copying(longest=5), []
    size = len(task.source_vocabulary)
    model = new_model(TransformerConfig(size, size, 16, 2, 16, 1, 1, dropout=0.3), 5)

    def after(done):
        called.append(done)
        if done == stop:
            raise KeyboardInterrupt

    config = TrainingConfig(20, 12, 0.01, seed=5, parts=4, average_last=3, average_every=4)
    with working_together(CPU):
        rank, processes = place()
        losses = train(model, task, config, CPU, folder / "checkpoint", after_step=after)
    weights = [weight.flatten().tolist() for weight in model.parameters()]
    text = json.dumps({"losses": losses, "called": called, "weights": weights})
    (folder / f"{processes}-{rank}.json").write_text(text)

if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
"""


def run_script(folder: Path, processes: int, stop: int = 0) -> list[dict[str, Any]]:
    """Train in a script of a reader's own; return what each process ends with, if they are not to stop."""
    folder.mkdir(exist_ok=True)
    script = folder.parent / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [sys.executable, *(torchrun if processes > 1 else []), str(script), str(folder), str(stop)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert (done.returncode == 0) is (stop == 0), done.stderr
    files = [folder / f"{processes}-{rank}.json" for rank in range(processes)]
    return [] if stop else [json.loads(file.read_text(encoding="utf-8")) for file in files]


def test_a_training_may_go_on_in_any_number_of_processes(tmp_path: Path) -> None:
    [whole] = run_script(tmp_path / "whole", 1)
    folder = tmp_path / "changing"
    run_script(folder, 2, stop=7)
    assert len(read_checkpoint(folder / "checkpoint")["losses"]) == 7
    run_script(folder, 1, stop=11)
    assert len(read_checkpoint(folder / "checkpoint")["losses"]) == 11
    first, second = run_script(folder, 2)
    assert first["losses"] == second["losses"] == pytest.approx(whole["losses"], abs=1e-5)
    assert first["weights"] == second["weights"]
    for one, other in zip(first["weights"], whole["weights"], strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    assert whole["called"] == [*range(1, 21)]
    assert first["called"] == [*range(12, 21)]
    assert second["called"] == []


def test_an_interrupt_ends_all_processes_with_one_message(tmp_path: Path) -> None:
    output = tmp_path / "model.safetensors"
    words = [*TRAIN, "--steps", "3000", "--output", str(output)]
    process = launch(2, *words)
    assert process.stderr is not None
    shown = ""
    while "loss=" not in shown:
        read = process.stderr.read(1)
        assert read, shown
        shown += read
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=120)
    assert process.returncode != 0
    assert len(out.splitlines()) == 2
    again = ["torchrun", "--nproc-per-node", "2", "-m", "transformer_book", *words, "--resume"]
    assert told(error) == [f"interrupted; go on with: {shlex.join(again)}"]
    done = len(read_checkpoint(output.with_name(f"{output.name}.checkpoint"))["losses"])
    assert 0 < done < 3000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--parts", "3"],
            "transformer-book: parts: expected a multiple of the number of processes, got 3 and 2 pr",
        ),
        (["--parts", "0"], "transformer-book train: argument --parts: expected an integer ≥ 1, got '0'"),
    ],
    ids=["found by the package", "found by the parser"],
)
def test_an_error_ends_all_processes_with_one_message(tmp_path: Path, words: list[str], message: str) -> None:
    process = launch(2, *TRAIN, *words, "--output", str(tmp_path / "model.safetensors"))
    out, error = process.communicate(timeout=120)
    assert process.returncode != 0
    assert out == ""
    [line] = told(error)
    assert line.startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_alone_there_is_nothing_to_share(monkeypatch: pytest.MonkeyPatch) -> None:
    assert place() == (0, 1)
    assert first_to_tell()
    assert own_device("auto") == "auto"
    tensor = torch.tensor([3.0])
    add_up([tensor])
    assert tensor == 3
    with working_together(torch.device("cpu")):
        assert place() == (0, 1)


@pytest.mark.parametrize(
    ("name", "own"), [("auto", "cuda:1"), ("cuda", "cuda:1"), ("cuda:0", "cuda:0"), ("cpu", "cpu")]
)
def test_every_process_of_a_machine_has_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch, name: str, own: str
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert own_device(name) == own
