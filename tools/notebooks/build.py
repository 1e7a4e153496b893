"""From chapters to written notebooks."""

from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from notebooks.book import Book
from notebooks.chapter import Chapter, read_chapter, replace_shown_cells
from notebooks.check import updated_whitelist
from notebooks.derive import derive
from notebooks.errors import ProblemError, ProblemsError
from notebooks.execute import CellError, execute
from notebooks.normalise import UnstableError, normalise
from notebooks.source_cells import find_source, shown_problems
from notebooks.whitelist import INSTALL_TAG


def build(book: Book, paths: list[Path], report: Callable[[str], None] = print) -> None:
    """Bring everything derived up to date: shown cells, the whitelist in CONTRIBUTING.md, and notebooks.

    Parameters
    ----------
    book
        The checkout.
    paths
        The chapters whose notebooks are executed and written. Shown cells are copied into every chapter.
    report
        Called with one line for each file looked at.

    Raises
    ------
    ProblemsError
        Something is wrong in a chapter. Its old notebook is left as it was; the other chapters are written.
    """
    problems: list[ProblemError] = []
    if book.contributing.is_file():
        text = book.contributing.read_text(encoding="utf-8")
        write_if_changed(book.contributing, updated_whitelist(text) or text)
    chapters = []
    for path in book.chapters:
        try:
            copy_shown_cells(path, book)
            chapters.append(read_chapter(path, book))
        except ProblemError as problem:
            problems.append(problem)
    problems += shown_problems(chapters, book)
    broken = {problem.path for problem in problems}
    for chapter in chapters:
        if chapter.path in paths and chapter.shown not in broken:
            try:
                changed = write_if_changed(chapter.notebook, notebook_text(chapter, book))
            except ProblemError as problem:
                problems.append(problem)
            else:
                report(f"{book.shown(chapter.notebook).as_posix()}: {'written' if changed else 'unchanged'}")
    if problems:
        raise ProblemsError(problems)


def copy_shown_cells(path: Path, book: Book) -> None:
    """Rewrite a chapter's ``src:`` cells from the package."""

    def source_of(name: str, line: int) -> str:
        try:
            return find_source(name, book).source
        except LookupError as error:
            raise ProblemError(book.shown(path), line, str(error)) from None

    text = path.read_text(encoding="utf-8")
    write_if_changed(path, replace_shown_cells(text, book, source_of))


def notebook_text(chapter: Chapter, book: Book) -> str:
    """Derive, execute and normalise a chapter's notebook.

    Raises
    ------
    ProblemError
        At the line of the cell that could not be derived, failed, warned or was not stable.
    """
    derived = derive(chapter, book)
    try:
        notebook = normalise(execute(derived.notebook))
    except (CellError, UnstableError) as error:
        source = derived.notebook.cells[error.cell].source
        message = f"cell {error.cell}:\n{source}\n\n{error.message}"
        raise ProblemError(chapter.shown, derived.lines[error.cell], message) from None
    return nbformat.writes(notebook) + "\n"


def rewrite(book: Book, paths: list[Path]) -> list[Path]:
    """Write the notebooks of chapters whose code is unchanged, keeping their outputs; nothing is executed.

    Parameters
    ----------
    book
        The checkout.
    paths
        The chapters.

    Returns
    -------
    list of Path
        The notebooks that changed.

    Raises
    ------
    ProblemsError
        Code cells have changed, or something is wrong in a chapter. Nothing is written.
    """
    texts: dict[Path, str] = {}
    problems: list[ProblemError] = []
    for path in paths:
        try:
            chapter = read_chapter(path, book)
            texts[chapter.notebook] = nbformat.writes(keep_outputs(chapter, book)) + "\n"
        except ProblemError as problem:
            problems.append(problem)
    if problems:
        raise ProblemsError(problems)
    return [path for path, text in texts.items() if write_if_changed(path, text)]


def keep_outputs(chapter: Chapter, book: Book) -> NotebookNode:
    """Derive a chapter's notebook anew, with the outputs that its written notebook has; nothing is executed.

    Raises
    ------
    ProblemError
        Its code cells are not those of the written notebook, so its outputs would not be theirs.
    """
    derived = derive(chapter, book)
    written = nbformat.read(chapter.notebook, as_version=4).cells if chapter.notebook.is_file() else []
    here, there = (
        [cell for cell in cells if cell.cell_type == "code" and INSTALL_TAG not in cell.metadata.get("tags", [])]
        for cells in (derived.notebook.cells, written)
    )
    if [(cell.source, cell.metadata) for cell in here] != [(cell.source, cell.metadata) for cell in there]:
        message = "expected the code cells of its notebook, got others; run `make notebooks`"
        raise ProblemError(chapter.shown, None, message)
    both = [[cell for cell in cells if cell.cell_type == "code"] for cells in (derived.notebook.cells, written)]
    for cell, before in zip(*both, strict=True):
        cell.outputs, cell.execution_count = before.outputs, before.execution_count
    return derived.notebook


def write_if_changed(path: Path, text: str) -> bool:
    """Write a file whole or not at all; return whether it changed."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return True
