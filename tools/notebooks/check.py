"""Everything that can be wrong between package, chapter and notebook, found without executing anything."""

import json

import nbformat
from nbformat import NotebookNode

from notebooks.book import Book
from notebooks.chapter import Chapter, read_chapter
from notebooks.derive import derive
from notebooks.errors import ProblemError
from notebooks.exercises import read_exercises
from notebooks.normalise import UnstableError, normalise
from notebooks.source_cells import shown_problems
from notebooks.whitelist import END, START, as_markdown

REMEDY = "run `make notebooks`"


def check(book: Book) -> list[ProblemError]:
    """List every drift and every broken rule; an empty list means that all is in step.

    Checked are: the whitelist in CONTRIBUTING.md, shown cells against the package, the shape of exercises,
    notebooks against their chapters (cells, ids, tags, metadata), that every code cell was executed and its
    output normalised, and that no notebook lacks its chapter. Outputs are compared by nbval, which runs them.
    """
    problems = whitelist_problems(book)
    chapters: list[Chapter] = []
    for path in book.chapters:
        try:
            chapters.append(read_chapter(path, book))
        except ProblemError as problem:
            problems.append(problem)
    problems += shown_problems(chapters, book)
    for chapter in chapters:
        problems += _notebook_problems(chapter, book)
    sources = {path.stem for path in book.chapters}
    for notebook in sorted((book.root / "chapters").glob("*.ipynb")):
        if notebook.stem not in sources:
            message = f"expected a chapter {notebook.stem}.md beside it, found none"
            problems.append(ProblemError(book.shown(notebook), None, message))
    return problems


def whitelist_problems(book: Book) -> list[ProblemError]:
    """Compare the list in CONTRIBUTING.md with the code."""
    shown = book.shown(book.contributing)
    text = book.contributing.read_text(encoding="utf-8") if book.contributing.is_file() else ""
    if updated_whitelist(text) is None:
        return [ProblemError(shown, None, f"expected the whitelist between {START} and {END}")]
    if updated_whitelist(text) != text:
        line = text[: text.index(START)].count("\n") + 1
        return [ProblemError(shown, line, f"the whitelist differs from notebooks/whitelist.py; {REMEDY}")]
    return []


def updated_whitelist(text: str) -> str | None:
    """Return CONTRIBUTING.md with the whitelist of the code in it; None if its markers are not there."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    return f"{before}{start}\n\n{as_markdown()}\n\n{end}{after}" if start and end else None


def _notebook_problems(chapter: Chapter, book: Book) -> list[ProblemError]:
    try:
        read_exercises(chapter, book)
        derived = derive(chapter, book)
    except ProblemError as problem:
        return [problem]
    shown = book.shown(chapter.notebook)
    if not chapter.notebook.is_file():
        return [ProblemError(shown, None, f"expected it beside {chapter.shown.as_posix()}, found none; {REMEDY}")]
    try:
        notebook = nbformat.read(chapter.notebook, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, json.JSONDecodeError) as error:
        return [ProblemError(shown, None, f"expected a notebook, got {type(error).__name__}; {REMEDY}")]
    problems = []
    for index, (cell, expected, line) in enumerate(_paired(notebook, derived.notebook, derived.lines)):
        if cell is None or expected is None or _identity(cell) != _identity(expected):
            origin = f" (line {line} of the chapter)" if line else ""
            message = f"cell {index}{origin}: differs from what {chapter.shown.as_posix()} gives; {REMEDY}"
            problems.append(ProblemError(shown, None, message))
        elif cell.cell_type == "code" and cell.execution_count is None:
            problems.append(
                ProblemError(shown, None, f"cell {index}: expected it executed, it has no count; {REMEDY}")
            )
    if notebook.metadata != derived.notebook.metadata:
        problems.append(
            ProblemError(shown, None, f"metadata: expected {dict(derived.notebook.metadata)}; {REMEDY}")
        )
    try:
        if not problems and normalise(notebook) != notebook:
            problems.append(ProblemError(shown, None, f"expected normalised outputs; {REMEDY}"))
    except UnstableError as error:
        problems.append(ProblemError(shown, None, f"{error}; {REMEDY}"))
    return problems


def _paired(
    notebook: NotebookNode, derived: NotebookNode, lines: tuple[int | None, ...]
) -> list[tuple[NotebookNode | None, NotebookNode | None, int | None]]:
    longest = max(len(notebook.cells), len(derived.cells))

    def padded(row: list) -> list:
        return [*row, *[None] * (longest - len(row))]

    return list(zip(padded(notebook.cells), padded(derived.cells), padded(list(lines)), strict=True))


def _identity(cell: NotebookNode) -> tuple:
    return cell.cell_type, cell.source, cell.id, dict(cell.metadata)
