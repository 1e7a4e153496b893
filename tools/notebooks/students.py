"""Notebooks for students: those of the book without the solutions, and a check that nothing of these is left."""

import ast
import html
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import nbformat
from nbformat import NotebookNode

from notebooks.book import Book
from notebooks.build import keep_outputs
from notebooks.chapter import Cell, Chapter, read_chapter
from notebooks.errors import ProblemError, ProblemsError
from notebooks.exercises import EXERCISE_TAG, SOLUTION_TITLE, Exercise, read_exercises
from notebooks.install import colab_link
from notebooks.syntax import parser, read_directive

#: So many words in a row that a solution says are not said elsewhere by chance.
RUN = 6
#: From this length on a line of code without its spaces is looked for inside other lines, too.
LONG = 14


def without_solutions(chapter: Chapter, book: Book) -> Chapter:
    """Return a chapter without the folded solutions of its exercises."""

    def cut(cell: Cell) -> Cell:
        rows = cell.source.split("\n")
        for token in reversed(parser(book.extensions).parse(cell.source)):
            used = read_directive(token, chapter.shown, cell.line)
            if used and used.name == "dropdown" and used.argument == SOLUTION_TITLE and token.map:
                del rows[slice(*token.map)]
        return replace(cell, source=re.sub(r"\n{3,}", "\n\n", "\n".join(rows)).strip("\n"))

    cells = [cut(cell) if cell.kind == "markdown" else cell for cell in chapter.cells]
    return replace(chapter, cells=tuple(cell for cell in cells if cell.source))


def student_notebook(chapter: Chapter, book: Book) -> NotebookNode:
    """Return a chapter's notebook without solutions; all other cells are those of the book's, outputs included.

    The link that opens the book's notebook in Colab is left out, because there the solutions are.

    Raises
    ------
    ProblemError
        The book's notebook is not in step with the chapter, or something of a solution is left.
    """
    notebook = keep_outputs(without_solutions(chapter, book), book)
    heading = notebook.cells[0]
    heading.source = heading.source.replace(colab_link(chapter, book), "")
    if found := leaks(notebook, read_exercises(chapter, book)):
        raise ProblemError(chapter.shown, None, "student notebook: " + "; ".join(found))
    return notebook


def leaks(notebook: NotebookNode, exercises: list[Exercise]) -> list[str]:
    """Find what a notebook gives away of the solutions of a chapter's exercises; nothing, if all is well.

    Looked through is every text in the notebook: sources, outputs, attachments and metadata. Looked for are

    - every line of a solution's code that its stub does not have, with whatever spaces and comments;
    - every run of `RUN` words of the prose around it;
    - a fold with the title of the solutions;
    - an exercise's cell that is not its stub, and an output that says ✓.
    """
    texts = [html.unescape(text) for text in _texts(notebook)]
    lines = {_squeezed(line) for text in texts for line in text.splitlines()}
    whole = "\n".join(map(_squeezed, texts))
    said = [_words(text) for text in texts]
    runs = {tuple(words[at : at + RUN]) for words in said for at in range(len(words) - RUN + 1)}
    found = []
    for exercise in exercises:
        stub = {_squeezed(line) for line in _bare(exercise.stub.source)}
        for line in _bare(exercise.solution):
            code = _squeezed(line)
            if code not in stub and (code in lines or (len(code) >= LONG and code in whole)):
                found.append(f"{exercise.title}: the solution's line {line.strip()!r}")
        words = _words(exercise.prose)
        said_of_it = [words[at : at + RUN] for at in range(len(words) - RUN + 1)]
        found += [
            f"{exercise.title}: the solution's words {' '.join(run)!r}" for run in said_of_it if tuple(run) in runs
        ]
    if any(re.search(rf"<summary>\s*{SOLUTION_TITLE}", text) for text in texts):
        found.append(f"a fold “{SOLUTION_TITLE}”")
    cells = [cell for cell in notebook.cells if EXERCISE_TAG in cell.metadata.get("tags", [])]
    if [cell.source for cell in cells] != [exercise.stub.source for exercise in exercises]:
        found.append("an exercise's cell that is not its stub")
    outputs = [text for cell in notebook.cells for text in _texts(cell.get("outputs", []))]
    if any(re.search(r"^\s*✓", text, re.MULTILINE) for text in outputs):
        found.append("the output of a solved exercise")
    return found


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a notebook, or in a part of one; a list of lines counts as one text as well."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from map(str, value)
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        if value and all(isinstance(part, str) for part in value):
            yield "\n".join(value)
        else:
            for part in value:
                yield from _texts(part)


def _bare(code: str) -> list[str]:
    """Return the lines of some code, without those that hold nothing and, in a second form, without comments."""
    lines = [line for line in [*code.splitlines(), *ast.unparse(ast.parse(code)).splitlines()] if line.strip()]
    bare = [re.sub(r"\s+#.*", "", line) for line in lines]
    return list(dict.fromkeys(line for line in [*lines, *bare] if not line.lstrip().startswith("#")))


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def write_students(book: Book, folder: Path) -> Path:
    """Write the student notebook of every chapter into a folder, and an archive of them; return the archive.

    Raises
    ------
    ProblemsError
        Of one or more chapters there is none (`student_notebook`); nothing is written.
    """
    texts: dict[str, str] = {}
    problems: list[ProblemError] = []
    for path in book.chapters:
        try:
            notebook = student_notebook(read_chapter(path, book), book)
            texts[f"{path.stem}.ipynb"] = nbformat.writes(notebook) + "\n"
        except ProblemError as problem:
            problems.append(problem)
    if problems:
        raise ProblemsError(problems)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive = folder / f"{folder.name}.zip"
    with ZipFile(archive, "w", ZIP_DEFLATED) as zipped:
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
            zipped.writestr(ZipInfo(name), text, ZIP_DEFLATED)  # the same bytes every time: no date
    return archive
