"""The command ``transformer-book``: repeat the book's measurements from a terminal."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from transformer_book.device import describe, pick_device
from transformer_book.experiments import REGISTRY, load_result, result_file, results_folder


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with status 2 and one line."""
        self.exit(2, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments
        Words after ``transformer-book``; default: those of the process.

    Returns
    -------
    int
        0 when done and every claim holds, 1 when a claim does not hold, 130 when interrupted. Wrong use exits
        with 2 and one line that says what was expected.
    """
    parser = _build_parser()
    options = parser.parse_args(arguments)
    try:
        return _measure(options)
    except KeyboardInterrupt:
        print("interrupted; no file is half written", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        parser.error(str(error))


def _build_parser() -> _Parser:
    parser = _Parser(prog="transformer-book", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    measure = commands.add_parser(
        "measure",
        help="run an experiment in full and store its result",
        description="Run an experiment in full, print the verdict on its claims, and store its result as JSON.",
    )
    measure.add_argument("name", choices=[*REGISTRY, "all"], metavar="NAME", help=", ".join([*REGISTRY, "or all"]))
    measure.add_argument("--seeds", type=_positive, default=5, metavar="N", help="use seeds 0 … N−1 (default 5)")
    measure.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    measure.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where to write NAME.json (default: book/results of the checkout)",
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer ≥ 1, got {text!r}")
    return int(text)


def _measure(options: argparse.Namespace) -> int:
    device = pick_device(options.device)
    folder = options.output or results_folder()
    folder.mkdir(parents=True, exist_ok=True)  # fails before the work, not after it
    holds = True
    for name in REGISTRY if options.name == "all" else [options.name]:
        print(f"{name} on {describe(device)}: {options.seeds} seeds; {_expected_time(name, device.type)}")
        start = time.perf_counter()
        result = REGISTRY[name].measure(seeds=range(options.seeds), device=device, progress=True)
        path = folder / result_file(name, device.type)
        result.save(path)
        print(f"  written to {path} after {time.perf_counter() - start:.0f} s")
        for claim in REGISTRY[name].CLAIMS.values():
            verdict = claim.judge(result)
            holds &= verdict.holds
            print(f"  {claim.id} {'holds' if verdict.holds else 'DOES NOT HOLD'}: {verdict.figure}")
    return 0 if holds else 1


def _expected_time(name: str, device: str) -> str:
    try:
        stored = load_result(name, device)
    except (FileNotFoundError, ValueError):  # a file that is no result must not stop its own replacement
        return "never timed on this kind of device"
    per_seed = stored.wall_seconds / len(stored.seeds)
    return f"about {per_seed:.1f} s a seed when last measured, on {stored.environment['device_name']}"


if __name__ == "__main__":
    sys.exit(main())
