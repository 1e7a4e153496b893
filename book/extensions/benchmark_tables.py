"""The tables of the page *Benchmarks*, from the stored results.

``{benchmarks-table} KIND``
    Who did that work (``training``, ``decoding``, ``attention``, ``levers``) how much faster than the first.
``{benchmarks-precision}``
    What training in bfloat16 reaches beside training in float32.

A result that is missing is a warning (type ``book_tables``), so a build with ``-W`` fails.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from book_tables import Cell, GeneratedTable
from docutils import nodes
from sphinx.application import Sphinx

KINDS = ("training", "decoding", "attention", "levers", "levers, bfloat16")


class BenchmarksTable(GeneratedTable):
    """``{benchmarks-table}``."""

    required_arguments = 1
    final_argument_whitespace = True
    label = "tb-benchmarks"

    columns = (("Contender", 28), ("Size", 8), ("Times as fast", 26), ("Time, ms", 12), ("Memory, MiB", 12))

    def run(self) -> list[nodes.Node]:
        """Build the table, with other columns for attention, and say where the figures come from."""
        self.origin: list[nodes.Node] = []
        if self.arguments[0] == "attention":
            self.columns = (
                ("Contender", 22),
                ("Size", 8),
                ("Length", 10),
                ("Forward", 25),
                ("With gradient", 25),
            )
        return [*super().run(), *self.origin]

    def rows(self) -> Iterator[Sequence[Cell]]:
        """One row for each contender and size, or length."""
        from transformer_book.experiments import peers  # imports torch: only where the table is built

        kind = self.arguments[0]
        if kind not in KINDS:
            self.warn(f"benchmarks-table: expected one of {', '.join(KINDS)}; got {kind!r}")
            return
        try:
            result = peers.load_benchmarks(name=peers.LEVERS if kind.startswith("levers") else peers.NAME)
        except (FileNotFoundError, ValueError) as error:
            self.warn(str(error))
            return
        peer_versions = ", ".join(f"{name} {version}" for name, version in result.settings["peers"].items())
        self.origin = self.text(
            f"`{result.command}`, {len(result.seeds)} rounds, {result.date[:10]}, commit {result.commit}, "
            f"{result.environment['device_name']}; torch {result.environment['torch']}, {peer_versions}."
        )
        for size in result.settings["sizes"]:
            names = [key.split("/")[2] for key in result.values if key.startswith(f"{kind}/{size}/")][::2]
            if not names:
                continue
            base = result.array(f"{kind}/{size}/{names[0]}/seconds")
            for name in names[kind == "attention" :]:
                seconds = result.array(f"{kind}/{size}/{name}/seconds")
                if kind == "attention":
                    for i, length in enumerate(result.settings["lengths"]):
                        ratios = (
                            peers.paired_ratio(base[:, case], seconds[:, case]) for case in (2 * i, 2 * i + 1)
                        )
                        yield [self.text(cell) for cell in (name, size, str(length), *map(str, ratios))]
                    continue
                peak = result.array(f"{kind}/{size}/{name}/bytes").max() / 2**20
                cells = (name, size, str(peers.paired_ratio(base, seconds)), f"{1e3 * np.median(seconds):.1f}")
                yield [self.text(cell) for cell in (*cells, f"{peak:.0f}")]
        for name, reason in result.settings["skipped"].items():
            if name.startswith(f"{kind}/"):
                _, size, contender = name.split("/")
                yield [self.text(cell) for cell in (contender, size, reason, "–", "–")]


class PrecisionTable(GeneratedTable):
    """``{benchmarks-precision}``."""

    columns = (("Seed", 10), ("Loss, float32", 20), ("Loss, bfloat16", 20), ("Difference", 20))
    label = "tb-benchmarks"

    def rows(self) -> Iterator[Sequence[Cell]]:
        """One row for each seed, and one for their mean."""
        from transformer_book.experiments import peers  # imports torch: only where the table is built

        try:
            result = peers.load_benchmarks(name=peers.PRECISION)
        except (FileNotFoundError, ValueError) as error:
            self.warn(str(error))
            return
        full, half = result.array("float32"), result.array("bfloat16")
        for seed, one, other in zip(
            [*map(str, result.seeds), "mean"], [*full, full.mean()], [*half, half.mean()], strict=True
        ):
            yield [self.text(cell) for cell in (seed, f"{one:.4f}", f"{other:.4f}", f"{other - one:+.4f}")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register both directives."""
    app.add_directive("benchmarks-table", BenchmarksTable)
    app.add_directive("benchmarks-precision", PrecisionTable)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
