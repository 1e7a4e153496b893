"""Chapters as fixtures: a test that asks for `chapter` runs once for each."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import chapter_session
import nbformat
import pytest
import yaml
from chapter_session import Answers, Edit, Plan
from nbformat import NotebookNode
from notebooks.book import Book
from notebooks.chapter import Chapter, read_chapter
from notebooks.exercises import read_exercises

BOOK = Book(Path(__file__).resolve().parents[2])
EDITS: dict[str, list[dict[str, str]]] = yaml.safe_load((Path(__file__).parent / "edits.yml").read_text("utf-8"))


@pytest.fixture(scope="session")
def book() -> Book:
    return BOOK


@pytest.fixture(scope="session", params=BOOK.chapters, ids=lambda path: path.stem)
def chapter(request: pytest.FixtureRequest) -> Chapter:
    return read_chapter(request.param, BOOK)


@pytest.fixture(scope="session")
def notebook(chapter: Chapter) -> NotebookNode:
    return nbformat.read(chapter.notebook, as_version=4)


@pytest.fixture(scope="session")
def edits(chapter: Chapter) -> list[dict[str, str]]:
    return EDITS.get(chapter.path.stem, [])


@dataclass(frozen=True)
class Session:
    """What came of running a notebook under nbval with a reader beside it.

    Parameters
    ----------
    nbval
        The finished command.
    answers
        What the reader saw; empty if it did not come to the end.
    """

    nbval: subprocess.CompletedProcess[str]
    answers: Answers


@pytest.fixture(scope="session")
def go_through(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, Plan], Session]:
    """Return a function that runs a notebook under nbval, by the command that readers type, and follows a plan."""

    def go(notebook: Path, plan: Plan) -> Session:
        path = tmp_path_factory.mktemp("session") / "plan.json"
        plan.write(path)
        command = [sys.executable, "-m", "pytest", "--nbval", "-p", "no:cacheprovider", "--color=no"]
        done = subprocess.run(
            [*command, "-p", chapter_session.__name__, str(notebook)],
            cwd=BOOK.root,
            env=os.environ
            | {chapter_session.VARIABLE: str(path), "PYTHONPATH": str(Path(chapter_session.__file__).parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        return Session(done, chapter_session.read_answers(path))

    return go


@pytest.fixture(scope="session")
def session(
    chapter: Chapter,
    notebook: NotebookNode,
    edits: list[dict[str, str]],
    book: Book,
    go_through: Callable[[Path, Plan], Session],
) -> Session:
    """Go through the chapter once, in one kernel: nbval compares, a reader tries edits and solutions."""
    tried = []
    for edit in edits:
        places = [index for index, cell in enumerate(notebook.cells) if edit["cell"] in cell.source]
        assert len(places) == 1, f"{edit['cell']!r}: expected in one cell, found in {places}"
        shown = shown_cell(notebook, edit["object"]).source
        edited = shown.replace(edit["old"], edit["new"])
        assert edited != shown, f"{edit['object']}: expected {edit['old']!r} in it"
        tried.append(Edit(edit["cell"], edited, shown))
    exercises = read_exercises(chapter, book)
    solutions = [f"{exercise.solution}\n\n\n{exercise.check}" for exercise in exercises]
    return go_through(chapter.notebook, Plan(tried, solutions))


def shown_cell(notebook: NotebookNode, name: str) -> NotebookNode:
    [cell] = [cell for cell in notebook.cells if f"src:{name}" in cell.metadata.get("tags", [])]
    return cell
