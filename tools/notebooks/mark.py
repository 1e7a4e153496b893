"""Marks for handed-in notebooks: each exercise's cell is run anew, and the book's own check judges it.

Only the cell of an exercise counts, and what the chapter had shown before: its imports and its shown source are
run first, then the student's cell, then the imports once more and the book's call of the check. Outputs that stand
in the notebook count for nothing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode, v4

from notebooks.book import Book
from notebooks.chapter import Chapter, read_chapter
from notebooks.execute import CellError, Kernel
from notebooks.exercises import Exercise, read_exercises

RIGHT, WRONG, OPEN = "✓✗○"
VERDICT = re.compile(rf"^[{RIGHT}{WRONG}{OPEN}] .*", re.MULTILINE)


@dataclass(frozen=True)
class Mark:
    """What became of one exercise of one notebook: the first line of what its check said."""

    exercise: Exercise
    verdict: str

    @property
    def sign(self) -> str:
        """✓, ✗ or ○."""
        return self.verdict[0]


def chapter_of(notebook: NotebookNode, book: Book) -> tuple[Chapter, list[Exercise]]:
    """Find the chapter whose checks a notebook calls.

    Raises
    ------
    ValueError
        It calls no check of any chapter, or those of several.
    """
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    found = []
    for path in book.chapters:
        chapter = read_chapter(path, book)
        exercises = read_exercises(chapter, book)
        if any(called(exercise) in code for exercise in exercises):
            found.append((chapter, exercises))
    if len(found) != 1:
        raise ValueError(f"expected the exercises of one chapter, found those of {len(found)}")
    return found[0]


def called(exercise: Exercise) -> str:
    """Return the name of an exercise's check, with the parenthesis behind it."""
    return exercise.check.partition("(")[0].rpartition(".")[2] + "("


def mark(notebook: NotebookNode, book: Book) -> list[Mark]:
    """Run the exercises of a notebook and return a mark for each.

    Raises
    ------
    ValueError
        The notebook is of no chapter.
    """
    chapter, exercises = chapter_of(notebook, book)
    code = [cell for cell in chapter.cells if cell.kind == "code"]
    imports = [cell.source for cell in code if "imports" in cell.tags]
    shown = [cell.source for cell in code if "imports" in cell.tags or cell.shows]
    marks: list[Mark] = []
    waiting = iter(exercises)
    while len(marks) < len(exercises):  # a kernel that an exercise has spoilt is replaced for those after it
        marks += _marks(notebook, waiting, shown, imports)
    return marks


def _marks(
    notebook: NotebookNode, waiting: Iterator[Exercise], shown: list[str], imports: list[str]
) -> Iterator[Mark]:
    with Kernel() as kernel:
        for source in shown:
            kernel.run(v4.new_code_cell(source))
        for exercise in waiting:
            own = [
                cell.source
                for cell in notebook.cells
                if cell.cell_type == "code" and called(exercise) in cell.source
            ]
            if not own:
                yield Mark(exercise, f"{OPEN} its cell is missing")
                continue
            check = v4.new_code_cell(exercise.check)
            try:
                for source in [own[-1], *imports]:
                    kernel.run(v4.new_code_cell(source))
                kernel.run(check)
            except CellError as error:
                yield Mark(exercise, f"{WRONG} {error.message.splitlines()[-1]}")
                return
            said = "\n".join(output.text for output in check.outputs if output.output_type == "stream")
            verdicts = VERDICT.findall(said)  # what the student's own function printed comes before
            yield Mark(exercise, verdicts[-1] if verdicts else f"{WRONG} the check said nothing")


def mark_folder(folder: Path, book: Book) -> Iterator[str]:
    """Yield a line for each notebook of a folder, and below it one for each exercise that is not right."""
    paths = sorted(folder.glob("*.ipynb"))
    if not paths:
        yield f"{folder}: expected notebooks in it, found none"
    for path in paths:
        try:
            marks = mark(nbformat.read(path, as_version=4), book)
        except (ValueError, nbformat.reader.NotJSONError) as error:
            yield f"{path.name}\tnot marked: {error}"
            continue
        right = sum(given.sign == RIGHT for given in marks)
        yield f"{path.name}\t{''.join(given.sign for given in marks)}\t{right} of {len(marks)}"
        for given in marks:
            if given.sign != RIGHT:
                yield f"    {given.exercise.title.split(' · ')[0]}: {given.verdict}"
