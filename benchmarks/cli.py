"""The command ``python -m benchmarks``: run the comparisons, print them, store them."""

import argparse
import importlib.metadata
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from tqdm.auto import tqdm

from benchmarks import precision
from benchmarks.contenders import CONTENDERS, LENGTHS, PEERS, missing
from benchmarks.measure import Contestant, Entered
from benchmarks.report import check_same_work, lines
from benchmarks.work import BATCHES, QUICK_SIZES, SIZES, make_batches, real_tokens
from transformer_book.device import pick_device
from transformer_book.experiments import results_folder
from transformer_book.experiments._result import Result, environment
from transformer_book.experiments.peers import LEVERS, NAME, PRECISION, benchmarks_file
from transformer_book.files import check_writable, commit

KINDS = (*CONTENDERS, "precision")
DEFAULT_KINDS = ("training", "decoding", "attention", "precision")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with status 2 and one line."""
        self.exit(2, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments
        Words after ``python -m benchmarks``; default: those of the process.

    Returns
    -------
    int
        0 when done, 1 when a contender failed or did other work than the rest, 130 when interrupted. Wrong use
        exits with 2 and one line that says what was expected.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _options(words)
    said = [word for word in words if word not in ("--output", str(options.output))]  # where it goes is no matter
    options.command = shlex.join(["python", "-m", "benchmarks", *said])
    options.threads = options.threads or torch.get_num_threads()
    options.rounds = options.rounds or (2 if options.quick else 9)
    torch.set_num_threads(options.threads)
    try:
        device = pick_device(options.device)
        folder = options.output or (None if options.quick else results_folder())
        if folder is not None:
            check_writable(folder / benchmarks_file(device.type))
    except (ValueError, OSError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    try:
        return _run(options, device, folder)
    except (RuntimeError, ValueError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; no file is half written", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace, device: torch.device, folder: Path | None) -> int:
    failed = False
    for name in (NAME, LEVERS):
        kinds = [
            kind for kind in options.kinds if kind in CONTENDERS and kind.startswith("levers") == (name == LEVERS)
        ]
        if kinds:
            result = run_contenders(name, options, kinds, device)
            print("\n".join(lines(result)))
            _save(result, folder, benchmarks_file(device.type, name))
            failed |= any(reason.startswith("failed") for reason in result.settings["skipped"].values())
    if "precision" in options.kinds:
        seeds, steps = (range(1), 5) if options.quick else (range(3), 600)
        result = precision.measure(seeds, device, options.command, steps)
        print("\n".join(precision.lines(result)))
        _save(result, folder, benchmarks_file(device.type, PRECISION))
    return int(failed)


def _save(result: Result, folder: Path | None, name: str) -> None:
    if folder is not None:
        result.save(folder / name)
        print(f"stored in {folder / name}")


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(prog="benchmarks", description=__doc__)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(DEFAULT_KINDS))
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--device", default="cpu", help="cpu, cuda, or auto")
    parser.add_argument("--threads", type=_count, help="default: as many as torch takes, one per core")
    parser.add_argument("--rounds", type=_count, help="default: 9; fewer than 6 give no 95 %% interval")
    parser.add_argument("--output", type=Path, help="folder; default: book/results, or with --quick nowhere")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, two rounds: does it run at all?")
    return parser.parse_args(words)


def _count(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer ≥ 1, got {word!r}")
    return int(word)


def run_contenders(name: str, options: argparse.Namespace, kinds: Sequence[str], device: torch.device) -> Result:
    """Let contenders do each kind of work at each size.

    Raises
    ------
    RuntimeError
        Contenders with the same weights do not do the same.
    """
    start = time.perf_counter()
    values: dict[str, list[Any]] = {}
    entries: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    for size in options.sizes:
        for kind in kinds:
            found, said, left_out = compare(
                kind, size, device.type, options.threads, options.rounds, options.quick
            )
            values |= found
            entries |= said
            skipped |= left_out
    sizes = {key: (QUICK_SIZES if options.quick else SIZES)[key] for key in options.sizes}
    cpu = torch.device("cpu")
    return Result(
        name=name,
        seeds=list(range(options.rounds)),
        settings={
            "sizes": {key: vars(size) for key, size in sizes.items()},
            "real_tokens": {key: real_tokens(make_batches(size, cpu)) for key, size in sizes.items()},
            "batches": BATCHES,
            "lengths": list(LENGTHS),
            "threads": options.threads,
            "peers": {package: version for package in PEERS.values() if (version := _version(package))},
            "skipped": skipped,
            "contenders": entries,
        },
        values=values,
        environment=environment(device),
        command=options.command,
        commit=commit(),
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        wall_seconds=round(time.perf_counter() - start, 1),
    )


def compare(
    kind: str, size: str, device: str, threads: int, rounds: int, quick: bool
) -> tuple[dict[str, list[Any]], dict[str, Any], dict[str, str]]:
    """Let all contenders do one kind of work at one size, in turn.

    Returns
    -------
    values
        ``KIND/SIZE/NAME/seconds`` and ``…/bytes``, rounds first.
    entries
        What each contender said of itself, by ``KIND/SIZE/NAME``.
    skipped
        Contender → why it did not take part.
    """
    wanted = {name: missing(name) for name in CONTENDERS[kind]}
    skipped = {f"{kind}/{size}/{name}": f"no package {package}" for name, package in wanted.items() if package}
    for name, reason in skipped.items():
        print(f"skipped: {name} ({reason}; make bench installs it)")
    contestants: list[Contestant] = []
    entered: dict[str, Entered] = {}
    try:
        present = [name for name, package in wanted.items() if not package]
        for name in tqdm(present, desc=f"{kind} {size}: enter", leave=False):
            contestants.append(Contestant(kind, size, name, device, threads, quick))
            try:  # one after the other: all at once, they would fight for the cores
                entered[name] = contestants[-1].entered()
            except RuntimeError as error:
                contestants.pop().close()
                skipped[f"{kind}/{size}/{name}"] = f"failed: {str(error).splitlines()[-1]}"
                print(f"{kind} {size}: {error}", file=sys.stderr)
        check_same_work(kind, size, entered)
        estimate = rounds * sum(entry.round_seconds for entry in entered.values())
        print(f"{kind} {size}: {len(entered)} contenders, {rounds} rounds, about {estimate:.0f} s", flush=True)
        rows: dict[str, list[list[tuple[float, int]]]] = {c.name: [] for c in contestants}
        for turn in tqdm(range(rounds), desc=f"{kind} {size}", unit="round", leave=False):
            order = contestants[turn % len(contestants) :] + contestants[: turn % len(contestants)]
            for row in rows.values():
                row.append([])
            for case in range(entered[contestants[0].name].cases):
                for contestant in order:
                    rows[contestant.name][-1].append(contestant.time(case))
    finally:
        for contestant in contestants:
            contestant.close()
    values: dict[str, list[Any]] = {}
    for name, row in rows.items():
        figures = np.array(row)  # (rounds, cases, 2)
        if figures.shape[1] == 1:
            figures = figures[:, 0]
        values[f"{kind}/{size}/{name}/seconds"] = figures[..., 0].tolist()
        values[f"{kind}/{size}/{name}/bytes"] = figures[..., 1].tolist()
    return values, {f"{kind}/{size}/{name}": _entry(entry) for name, entry in entered.items()}, skipped


def _entry(entry: Entered) -> dict[str, Any]:
    said: dict[str, Any] = {"parameters": entry.parameters, "same_weights": entry.same_weights}
    return said | ({"loss": entry.check[0]} if len(entry.check) == 1 else {})


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
