"""C11.4: the same training in one process and shared out over two by torchrun: same losses, throughput."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.plotting import MARKERS, PALETTE, figure_style, new_figure

PROCESSES = (1, 2)


def run(
    processes: int, seed: int, steps: int, batch_size: int, width: int, device: torch.device
) -> dict[str, Any]:
    """Train under torchrun, each process with one thread; return what the first of them wrote.

    Raises
    ------
    RuntimeError
        A process failed; the message ends with its first error.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run.json"
        words = [str(file), *map(str, (seed, steps, batch_size, width)), device.type]
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        done = subprocess.run(
            [*torchrun, "-m", "transformer_book.experiments._parallel_run", *words],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not file.exists():
            told = re.search(r"\w+Error: .*", done.stderr)  # the first; torchrun's own report follows it
            reason = told[0] if told else f"exit status {done.returncode}"
            raise RuntimeError(f"torchrun: expected {processes} processes to train, got {reason}")
        return json.loads(file.read_text(encoding="utf-8"))


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    steps: int = 40,
    batch_size: int = 128,
    width: int = 128,
    progress: bool = False,
) -> Result:
    """Train a reader of dates in one process and in two, one after the other, from the same weights.

    Each step's batch has two parts: one process works through both, each of two through one. A process computes
    with one thread, or on a GPU of its own. All of them draw all examples.

    Parameters
    ----------
    seeds
        One pair of trainings each; every other seed begins with two processes.
    device
        Where to compute.
    steps
        Steps of each training; the first few are not timed.
    batch_size
        Dates a step.
    width
        Width D of the model, which has one layer in each stack.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        ``losses``, ``(processes, steps)``; ``seconds`` a step, median, and ``examples`` per second,
        ``(processes,)``.
    """

    def one_seed(seed: int) -> dict[str, Any]:
        order = PROCESSES if seed % 2 == 0 else PROCESSES[::-1]
        runs = {number: run(number, seed, steps, batch_size, width, device) for number in order}
        seconds = [float(np.median(runs[number]["seconds"])) for number in PROCESSES]
        return {
            "losses": [runs[number]["losses"] for number in PROCESSES],
            "seconds": seconds,
            "examples": [batch_size / each for each in seconds],
        }

    settings = {"steps": steps, "batch_size": batch_size, "width": width}
    return run_seeds("data_parallel", seeds, device, settings, one_seed, progress)


@figure_style()
def plot(result: Result) -> Figure:
    """Losses of both trainings, one on the other, and examples per second."""
    figure, axes = new_figure(2, height=3.2)
    losses = result.array("losses")[0]  # of the first seed: (processes, steps)
    axes[0].plot(losses[0], color=PALETTE["query"], linewidth=5, alpha=0.75, label="one process")
    axes[0].plot(losses[1], color=PALETTE["key"], linestyle="--", label="two processes")
    axes[0].set(title="The same losses", xlabel="step", ylabel="nats per character")
    axes[0].legend()
    for x, (number, role, marker) in enumerate(zip(PROCESSES, ("query", "key"), MARKERS, strict=False)):
        rates = result.array("examples")[:, x]
        axes[1].plot(np.full(len(rates), number), rates, lw=0, marker=marker, color=PALETTE[role])
    axes[1].plot(PROCESSES, np.median(result.array("examples"), axis=0), color=PALETTE["muted"], zorder=0)
    axes[1].set(title="Throughput", xlabel="processes", ylabel="dates per second", ylim=(0, None), xlim=(0.5, 2.5))
    axes[1].set_xticks(PROCESSES)
    return figure


def _judge(result: Result) -> Verdict:
    losses = result.array("losses")  # (seeds, processes, steps)
    apart = float(np.abs(losses[:, 0] - losses[:, 1]).max())
    rates = result.array("examples")
    gain = rates[:, 1] / rates[:, 0]
    figure = (
        f"over {losses.shape[-1]} steps and {len(losses)} seeds the losses differ by {apart:.1e} at most, while "
        f"they fall from {losses[..., 0].mean():.2f} to {losses[..., -1].mean():.2f}; two processes train on "
        f"{np.median(gain):.2f} times as many dates a second ({gain.min():.2f} to {gain.max():.2f}), "
        f"{np.median(rates[:, 0]):.0f} and {np.median(rates[:, 1]):.0f}"
    )
    falls = losses[..., -1].mean() < losses[..., 0].mean() - 0.3
    return Verdict(bool(apart < 1e-5 and falls and 1.2 < np.median(gain) < 2.2), figure)


CLAIMS = {
    "C11.4": Claim(
        "C11.4",
        "Two processes that share each batch out have the losses of one to 1e-5, step by step; on two cores they "
        "train on more examples a second, and on less than twice as many.",
        _judge,
    )
}
