"""A chapter's source to its notebook, before execution."""

import ast
import hashlib
from dataclasses import dataclass
from typing import Any

import nbformat
from markdown_it.token import Token
from nbformat import NotebookNode, v4

from notebooks.bibliography import read_bibliography
from notebooks.book import Book
from notebooks.chapter import Cell, Chapter
from notebooks.errors import ProblemError
from notebooks.install import GPU, chapter_facts, heading_cell, install_cell
from notebooks.labels import collect_labels, figure_of
from notebooks.plain import Converter
from notebooks.syntax import parser
from notebooks.whitelist import INSTALL_TAG

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
#: What asks Colab for a runtime with a GPU.
GPU_METADATA = {"accelerator": "GPU", "colab": {"gpuType": "T4"}}


@dataclass(frozen=True)
class Derived:
    """A notebook, and where in the chapter each of its cells comes from.

    Parameters
    ----------
    notebook
        All cells, not executed.
    lines
        Line of the chapter for each cell; None for cells that the pipeline adds.
    """

    notebook: NotebookNode
    lines: tuple[int | None, ...]


def derive(chapter: Chapter, book: Book) -> Derived:
    """Turn a chapter into the notebook that Colab can show.

    Raises
    ------
    ProblemError
        Something in the chapter has no plain-Markdown form, or a code cell is not plain Python.
    """
    labels = collect_labels(chapter, book)
    converter = Converter(book, chapter.path, labels, read_bibliography(book.bibliography))
    title, first, rest = _split_title(chapter, book)
    cells: list[NotebookNode] = []
    lines: list[int | None] = []

    def add(kind: str, source: str, line: int | None, tags: list[str] | None = None) -> None:
        metadata: dict[str, Any] = {"tags": tags} if tags else {}
        new = v4.new_code_cell if kind == "code" else v4.new_markdown_cell
        cells.append(new(source, metadata=metadata))
        lines.append(line)

    add("markdown", heading_cell(converter.inline(title, first.line), chapter, book), first.line)
    add("code", install_cell(book), None, [INSTALL_TAG])
    for cell in [*rest, *chapter.cells[1:]]:
        if cell.kind == "markdown":
            add("markdown", converter.convert(cell.source, cell.line), cell.line)
            continue
        _check_python(cell, chapter)
        add("code", cell.source, cell.line, cell.tags)
        if caption := figure_of(cell.metadata).get("caption"):
            number = labels.figures[cell.line]
            add("markdown", f"**Figure {number}.** {converter.inline(caption, cell.line)}", cell.line)
    if converter.cited:
        add("markdown", f"## References\n\n{converter.references()}", None)
    _name_cells(cells)
    metadata = METADATA | (GPU_METADATA if GPU in chapter_facts(chapter) else {})
    notebook = nbformat.from_dict({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})
    return Derived(notebook, tuple(lines))


def _split_title(chapter: Chapter, book: Book) -> tuple[str, Cell, list[Cell]]:
    """Take the title off the first cell: the title, that cell, and what is left of it."""
    first = chapter.cells[0] if chapter.cells else Cell("markdown", "", {}, 1)
    tokens: list[Token] = parser(book.extensions).parse(first.source)
    if first.kind != "markdown" or not tokens or tokens[0].tag != "h1" or not tokens[0].map:
        raise ProblemError(chapter.shown, first.line, "expected the chapter to begin with its title, `# …`")
    end = tokens[0].map[1]
    rows = first.source.split("\n")
    while end < len(rows) and not rows[end]:
        end += 1
    rest = [Cell("markdown", "\n".join(rows[end:]), first.metadata, first.line + end)] if rows[end:] else []
    return tokens[1].content, first, rest


def _check_python(cell: Cell, chapter: Chapter) -> None:
    try:
        ast.parse(cell.source)
    except SyntaxError as error:
        line = cell.line + (error.lineno or 0)
        raise ProblemError(chapter.shown, line, f"code cell: expected plain Python, got {error.msg}") from None


def _name_cells(cells: list[NotebookNode]) -> None:
    """Give each cell an id that depends on its content, and on its turn among cells of equal content."""
    turns: dict[tuple[str, str], int] = {}
    for cell in cells:
        content = cell.cell_type, cell.source
        turns[content] = turns.get(content, 0) + 1
        digest = hashlib.sha256("\0".join([*content, str(turns[content])]).encode())
        cell.id = digest.hexdigest()[:12]
