"""Chapters as fixtures: a test that asks for `chapter` runs once for each."""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from nbformat import NotebookNode, v4
from notebooks.book import Book
from notebooks.chapter import Chapter, read_chapter
from notebooks.execute import CellError, Kernel
from notebooks.exercises import EXERCISE_TAG, read_exercises
from notebooks.normalise import normalise

BOOK = Book(Path(__file__).resolve().parents[2])
EDITS: dict[str, list[dict[str, str]]] = yaml.safe_load((Path(__file__).parent / "edits.yml").read_text("utf-8"))
# Running a cell once more must not move the random numbers of the cells after it.
KEEP_RANDOM = "import torch as _torch\n_random_state = _torch.get_rng_state()"
RESTORE_RANDOM = "_torch.set_rng_state(_random_state)"


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


@dataclass
class Session:
    """What happened when a reader went through a chapter without doing the exercises, then did them.

    Parameters
    ----------
    outputs
        For each cell of the notebook that is no exercise, its index and its outputs in this session.
    edited
        For each edit of `edits.yml`, what the later cell said before and after it.
    solved
        For each exercise, what its check said to the book's own solution.
    """

    outputs: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    edited: list[tuple[str, str]] = field(default_factory=list)
    solved: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def session(chapter: Chapter, notebook: NotebookNode, edits: list[dict[str, str]], book: Book) -> Session:
    """Go through the chapter in one kernel; edits are tried, and taken back, where the cell they change stands."""
    session = Session()
    for edit in edits:
        places = [index for index, cell in enumerate(notebook.cells) if edit["cell"] in cell.source]
        assert len(places) == 1, f"{edit['cell']!r}: expected in one cell, found in {places}"
    texts: dict[int, tuple[str, str]] = {}
    with Kernel() as kernel:
        for index, committed in enumerate(notebook.cells):
            if committed.cell_type != "code" or EXERCISE_TAG in committed.metadata.get("tags", []):
                continue
            cell = copy.deepcopy(committed)
            kernel.run(cell, index)
            session.outputs[index] = comparable(cell)
            for number, edit in enumerate(edits):
                if edit["cell"] in committed.source:
                    shown = shown_cell(notebook, edit["object"])
                    edited = shown.source.replace(edit["old"], edit["new"])
                    assert edited != shown.source, f"{edit['object']}: expected {edit['old']!r} in it"
                    after = ""
                    for source in (KEEP_RANDOM, edited, committed.source, shown.source, RESTORE_RANDOM):
                        said = run_text(kernel, source)
                        after = said if source == committed.source else after
                    texts[number] = text_of(cell), after
        for exercise in read_exercises(chapter, book):
            session.solved.append(run_text(kernel, f"{exercise.solution}\n\n\n{exercise.check}"))
    session.edited = [texts.get(number, ("", "")) for number in range(len(edits))]
    return session


def shown_cell(notebook: NotebookNode, name: str) -> NotebookNode:
    [cell] = [cell for cell in notebook.cells if f"src:{name}" in cell.metadata.get("tags", [])]
    return cell


def comparable(cell: NotebookNode) -> list[dict[str, Any]]:
    """Return a cell's outputs as nbval compares them: normalised, without counts."""
    [cell] = normalise(v4.new_notebook(cells=[copy.deepcopy(cell)])).cells
    return [
        {key: value for key, value in output.items() if key not in ("execution_count", "metadata")}
        for output in cell.outputs
    ]


def run_text(kernel: Kernel, source: str) -> str:
    """Run a cell and return what it says, its error included."""
    cell = v4.new_code_cell(source)
    try:
        kernel.run(cell)
    except CellError as error:
        return f"{text_of(cell)}\n{error.message}"
    return text_of(cell)


def text_of(cell: NotebookNode) -> str:
    return "\n".join(
        output.text if output.output_type == "stream" else str(output.data.get("text/plain", ""))
        for output in cell.outputs
        if output.output_type != "error"
    )
