"""The exercises of a chapter: what is asked, the reader's stub, and the folded solution."""

import ast
import re
from dataclasses import dataclass

from notebooks.book import Book
from notebooks.chapter import Cell, Chapter
from notebooks.errors import ProblemError
from notebooks.syntax import parser, walk

EXERCISE_CLASS = "exercise"
EXERCISE_TAG = "exercise"
SOLUTION_TITLE = "Solution"
TITLE = re.compile(r"Exercise (\d+) · .+ · [★☆]{3} · \d+ min")
TITLE_SHAPE = "Exercise N · name · ★★☆ · M min"


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Parameters
    ----------
    title
        Number, name, difficulty and minutes.
    line
        Line on which it begins.
    stub
        The code cell that the reader completes.
    check
        The last statement of that cell, which calls the check.
    solution
        The code that is folded away.
    prose
        What is said around it, in MyST.
    """

    title: str
    line: int
    stub: Cell
    check: str
    solution: str
    prose: str


def read_exercises(chapter: Chapter, book: Book) -> list[Exercise]:
    """Read a chapter's exercises; each is an admonition, a code cell and a folded solution, in this order.

    Raises
    ------
    ProblemError
        A part is missing, out of order, or not of the shape that CONTRIBUTING.md describes.
    """
    exercises: list[Exercise] = []
    title, stub, line = "", None, 0

    def expect(condition: object, where: int, what: str) -> None:
        if not condition:
            raise ProblemError(chapter.shown, where, f"exercise {len(exercises) + 1}: expected {what}")

    for cell in chapter.cells:
        if cell.kind == "code":
            if EXERCISE_TAG in cell.tags:
                expect(title and not stub, cell.line, "its admonition, then one code cell")
                stub = cell
            else:
                expect(not title, cell.line, f"a code cell tagged `{EXERCISE_TAG}`, then its solution")
            continue
        for _, here, used in walk(parser(book.extensions), cell.source, chapter.shown, cell.line):
            if used is None:
                continue
            if used.name == "admonition" and EXERCISE_CLASS in used.options.get("class", "").split():
                expect(not title, here, "its solution before the next exercise")
                match = TITLE.fullmatch(used.argument)
                expect(match and int(match[1]) == len(exercises) + 1, here, f"the title “{TITLE_SHAPE}”")
                title, line = used.argument, here
            elif used.name == "dropdown" and used.argument == SOLUTION_TITLE:
                expect(stub, here, "a code cell before its solution")
                fences = [token for token in parser(book.extensions).parse(used.body) if token.type == "fence"]
                shape = [token.info.strip() for token in fences]
                expect(shape == ["python"], here, f"one ```python fence in the solution, got {shape}")
                assert stub is not None
                rows = used.body.split("\n")
                first, last = fences[0].map or (0, 0)
                prose = "\n".join([*rows[:first], *rows[last:]]).strip()
                code = fences[0].content.rstrip()
                exercises.append(Exercise(title, line, stub, _check_of(stub, chapter), code, prose))
                title, stub = "", None
    expect(not title, line, f"a code cell and a dropdown “{SOLUTION_TITLE}” after it")
    return exercises


def _check_of(stub: Cell, chapter: Chapter) -> str:
    last = ast.parse(stub.source).body[-1:]
    source = ast.get_source_segment(stub.source, last[0]) if last else None
    if not source or not source.partition("(")[0].rpartition(".")[2].startswith("check_"):
        raise ProblemError(
            chapter.shown, stub.line, "exercise cell: expected it to end with the call of its check"
        )
    return source
