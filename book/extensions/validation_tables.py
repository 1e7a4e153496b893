"""The tables of the page *Validate*: what nbval compares in each chapter, and where the notebooks were run again.

``{validation-table}``
    For each chapter, from its committed notebook: how many code cells it has, how many nbval compares, and why
    the others are not compared.
``{validation-platforms}``
    What each platform of ``make validate`` sets and what came of it, from `book/validated.json`, which
    ``make validate`` writes.

A cell that was never executed, or a platform without a record, is a warning (type ``book_tables``).
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
from book_tables import Cell, GeneratedTable
from docutils import nodes
from sphinx.application import Sphinx

# The rules of the notebooks' pipeline, and the settings of `make validate`.
TOOLS = str(Path(__file__).resolve().parents[2] / "tools")
if TOOLS not in sys.path:
    sys.path.append(TOOLS)


class ValidationTable(GeneratedTable):
    """``{validation-table}``."""

    label = "tb-validation"

    def run(self) -> list[nodes.Node]:
        """Name the columns after the reasons, and build the table."""
        from notebooks.guards import REASONS

        self.env.note_reread()  # notebooks change without a change of this page
        self.columns = (("Chapter", 30), ("Code cells", 8), ("Compared", 8), *((reason, 9) for reason in REASONS))
        return super().run()

    def rows(self) -> Iterator[Sequence[Cell]]:
        """One row for each chapter, and one for all."""
        from notebooks.guards import REASONS, why_not_compared
        from validate import never_executed

        total: Counter[str] = Counter()
        for path in sorted((self.root / "chapters").glob("*.md")):
            notebook = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
            if stripped := never_executed(notebook):
                self.warn(f"{path.stem}: expected executed cells, cells {stripped} were not")
            found = Counter(why_not_compared(cell) for cell in notebook.cells if cell.cell_type == "code")
            total += found
            chapter = nodes.paragraph("", "", self.link("std", "doc", f"/chapters/{path.stem}"))
            yield [[chapter], *self.numbers(found, REASONS)]
        yield [self.text("**All**"), *self.numbers(total, REASONS)]

    def numbers(self, found: Counter[str], reasons: Sequence[str]) -> Iterator[Cell]:
        """Write the cells of a row: all, compared, and each reason; nothing in place of 0."""
        for number in (found.total(), found[""], *(found[reason] for reason in reasons)):
            yield [nodes.paragraph("", str(number or ""))]


class ValidationPlatforms(GeneratedTable):
    """``{validation-platforms}``."""

    columns = (("Platform", 12), ("What is set", 40), ("Run on", 24), ("What came of it", 24))
    label = "tb-platforms"

    def rows(self) -> Iterator[Sequence[Cell]]:
        """One row for each platform."""
        from validate import PLATFORMS, RECORD

        path = self.root / RECORD
        self.env.note_dependency(str(path))
        records = json.loads(path.read_text(encoding="utf-8"))
        for platform in PLATFORMS:
            if platform not in records:
                self.warn(f"{RECORD}: expected a record of the platform {platform!r}, found none")
                continue
            stored = records[platform]
            versions = ", ".join(f"{name} {version}" for name, version in stored["versions"].items())
            yield (
                self.text(f"**{platform}**"),
                self.text(" ".join(f"`{name}={value}`" for name, value in stored["settings"].items())),
                self.text(f"{stored['machine']}; {versions}; {stored['date']}, commit {stored['commit']}"),
                self.text(
                    f"{stored['cells']} code cells of {stored['notebooks']} notebooks run again, "
                    f"{stored['compared']} compared, all as stored, in {stored['minutes']} minutes"
                ),
            )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.setup_extension("book_tables")
    app.add_directive("validation-table", ValidationTable)
    app.add_directive("validation-platforms", ValidationPlatforms)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
