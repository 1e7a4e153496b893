"""Run every notebook again under nbval, strictly, on all cores, and end in one line that says how it went.

It stands for ``OMP_NUM_THREADS=1 pytest --nbval --numprocesses auto --dist loadscope chapters/*.ipynb``: a
notebook's cells stay in one process, and each process has one thread, because threads of two kernels that wait
for each other and for a core are the slowest way there is.

``--platform other`` runs them as on another machine (`PLATFORMS`); ``--store`` writes what was run, where and
when, to `book/validated.json`, from which the page *Validate* is made.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from notebooks.book import Book
from notebooks.guards import why_not_compared

ROOT = Path(__file__).resolve().parents[1]
RECORD = "book/validated.json"
THREADS = "OMP_NUM_THREADS"
#: What is set in the environment of each kernel.
PLATFORMS = {
    "usual": {THREADS: "1"},
    # An old processor with two threads, in a terminal that knows ASCII only, far away.
    "other": {
        THREADS: "2",  # sums are added up in another order
        "MKL_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "2",
        "OMP_WAIT_POLICY": "passive",  # a thread that waits leaves its core to others
        "ATEN_CPU_CAPABILITY": "default",  # torch's own loops without AVX2 and AVX512
        "MKL_CBWR": "COMPATIBLE",  # matrix products by the code for the oldest processors
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "OPENBLAS_CORETYPE": "Nehalem",  # NumPy's matrix products
        "LC_ALL": "C",  # no language and no UTF-8 …
        "PYTHONUTF8": "0",  # … which Python would otherwise put in its place
        "PYTHONCOERCECLOCALE": "0",
        "TZ": "Asia/Shanghai",
        "PYTHONHASHSEED": "1729",  # sets and their order
    },
}


class Counting:
    """A plugin of pytest that counts cells and keeps the names of those that failed."""

    def __init__(self) -> None:
        self.cells: Counter[str] = Counter()
        self.failed: dict[str, list[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a cell that was run; note it if it, or what is around it, failed."""
        notebook = report.location[0]
        if report.when == "call":
            self.cells[notebook] += 1
        if report.failed:
            self.failed.setdefault(notebook, []).append(report.nodeid.rpartition("::")[2])


def never_executed(notebook: NotebookNode) -> list[int]:
    """List the code cells without a count: nbval would run them, compare nothing and say they passed."""
    cells = enumerate(notebook.cells)
    return [index for index, cell in cells if cell.cell_type == "code" and cell.execution_count is None]


def compared(notebook: NotebookNode) -> int:
    """Count the code cells whose outputs nbval compares."""
    return sum(cell.cell_type == "code" and not why_not_compared(cell) for cell in notebook.cells)


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def record(root: Path, platform: str, counts: dict[str, float]) -> None:
    """Write down what was run, where and when."""
    from transformer_book.device import CPU, describe

    path = root / RECORD
    command = ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"]
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept[platform] = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip(),
        "machine": describe(CPU),
        "versions": {package: version(package) for package in ("torch", "numpy", "nbval")},
        "settings": PLATFORMS[platform],
        **counts,
    }
    text = json.dumps({name: kept[name] for name in PLATFORMS if name in kept}, indent=2)
    path.write_text(f"{text}\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Run, say in the last line how it went, and return 0: as stored, 1: not as stored, 2: it cannot be said."""
    parser = argparse.ArgumentParser(prog="make validate", description="Run every notebook again and compare.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="notebooks (default: all of the book)")
    parser.add_argument("--platform", choices=PLATFORMS, default="usual", help="as on which machine")
    parser.add_argument("--store", action="store_true", help=f"write what was run to {RECORD}")
    options = parser.parse_args(arguments)
    paths = options.notebooks or [path.with_suffix(".ipynb") for path in Book(ROOT).chapters]
    if options.store and options.notebooks:
        parser.error("--store: expected all notebooks of the book")
    notebooks = [nbformat.read(path, as_version=4) for path in paths]
    for path, notebook in zip(paths, notebooks, strict=True):
        if stripped := never_executed(notebook):
            print(f"make validate: {path}: cells {stripped} hold no outputs to compare; run `make notebooks`")
            return 2
    settings = PLATFORMS[options.platform]
    os.environ.update(settings)
    processes = max(1, min(cores() // int(settings[THREADS]), len(paths)))
    side_by_side = ["--numprocesses", str(processes), "--dist", "loadscope"]
    counting = Counting()
    start = time.monotonic()
    code = pytest.main(["--quiet", "--nbval", *side_by_side, *map(str, paths)], [counting])
    minutes = (time.monotonic() - start) / 60
    cells = counting.cells.total()
    if counting.failed:
        places = "; ".join(f"{notebook}: {', '.join(names)}" for notebook, names in counting.failed.items())
        print(f"NOT as stored: {sum(map(len, counting.failed.values()))} of {cells} code cells · {places}")
        return 1
    expected = sum(cell.cell_type == "code" for notebook in notebooks for cell in notebook.cells)
    if code or cells != expected:
        print(f"make validate: pytest ran {cells} of {expected} code cells and ended with {int(code)}")
        return 2
    counts = {"notebooks": len(paths), "cells": cells, "compared": sum(map(compared, notebooks))}
    if options.store:
        record(ROOT, options.platform, counts | {"minutes": round(minutes, 1)})
    print(
        f"All as stored: {len(paths)} notebooks, {cells} code cells run again, {counts['compared']} compared · "
        f"platform {options.platform}, {processes} × {settings[THREADS]} threads, {minutes:.1f} min"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
