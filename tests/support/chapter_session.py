"""A plugin of pytest beside nbval: a reader who tries edits, leaves the exercises open and does them at the end.

The one kernel in which nbval compares a chapter's cells is also that reader's:

- it works in an empty folder, so no cell finds a file of the checkout;
- what an exercise cell binds or draws is taken back after it, so a cell that depends on one fails;
- after a cell that edits bear on, each edit is made, the cell run again, and the edit taken back;
- after the last cell the book's solutions are run.

`CHAPTER_SESSION` names a JSON file with what to try; the answers are written beside it (`Plan`, `read_answers`).
"""

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "CHAPTER_SESSION"
EXERCISE_TAG = "exercise"
SECONDS = 600

# None of this may move the random numbers of the cells after it.
KEEP_RANDOM = """
import random as _random, numpy as _numpy, torch as _torch
_states = _random.getstate(), _numpy.random.get_state(), _torch.get_rng_state()
"""
RESTORE_RANDOM = """
_random.setstate(_states[0])
_numpy.random.set_state(_states[1])
_torch.set_rng_state(_states[2])
"""
KEEP_NAMES = "_names = {name: value for name, value in globals().items() if not name.startswith('_')}"
RESTORE_NAMES = """
for _name in [name for name in globals() if not name.startswith("_") and name not in _names]:
    del globals()[_name]
globals().update(_names)
"""


@dataclass(frozen=True)
class Edit:
    """A change of a shown cell.

    Parameters
    ----------
    cell
        A text that only the later cell's source has.
    edited, shown
        The shown cell with the change and without.
    """

    cell: str
    edited: str
    shown: str


@dataclass(frozen=True)
class Plan:
    """What a reader tries: edits, then solutions, each with the check that judges it."""

    edits: list[Edit]
    solutions: list[str]

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


@dataclass
class Answers:
    """What the reader saw.

    Parameters
    ----------
    edited
        For each edit, what the later cell said before and after it.
    solved
        For each solution, what its check said.
    left_open
        How many exercise cells were taken back.
    """

    edited: list[list[str]] = field(default_factory=list)
    solved: list[str] = field(default_factory=list)
    left_open: int = 0


def read_answers(path: Path) -> Answers:
    """Read what the reader saw; nothing, if the notebook did not come to its end."""
    answers = path.with_suffix(".answers")
    return Answers(**json.loads(answers.read_text(encoding="utf-8"))) if answers.exists() else Answers()


def text_of(outputs: list[Any]) -> str:
    """Join the texts that a cell has printed, shown or raised."""
    texts = []
    for output in outputs:
        if output["output_type"] == "stream":
            texts.append(output["text"])
        elif output["output_type"] == "error":
            texts.append("\n".join(output["traceback"]))
        else:
            texts.append(str(output["data"].get("text/plain", "")))
    return "\n".join(texts)


class Reader:
    """Runs cells in nbval's kernel, between those of the notebook; they get no number."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel

    def run(self, source: str) -> str:
        """Run a cell and return its texts."""
        message = self._kernel.kc.execute(source, allow_stdin=False, store_history=False)
        self._kernel.await_reply(message, timeout=SECONDS)
        outputs = []
        while True:
            heard = self._kernel.get_message("iopub", timeout=SECONDS)
            if heard["parent_header"].get("msg_id") != message:
                continue
            if heard["msg_type"] == "status" and heard["content"]["execution_state"] == "idle":
                return text_of(outputs)
            if heard["msg_type"] in ("stream", "error", "display_data", "execute_result"):
                outputs.append({"output_type": heard["msg_type"], **heard["content"]})

    def prepare(self, source: str) -> None:
        """Run a cell that has nothing to say."""
        assert (said := self.run(source)) == "", said


class Plugin:
    """Follows the plan while nbval goes through the notebook."""

    def __init__(self, path: Path) -> None:
        read = json.loads(path.read_text(encoding="utf-8"))
        self._path = path.with_suffix(".answers")
        self._edits = [Edit(**edit) for edit in read["edits"]]
        self._solutions = read["solutions"]
        self._answers = Answers(edited=[["", ""] for _ in self._edits])
        self._folder = tempfile.TemporaryDirectory()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: Any) -> Iterator[None]:
        reader = Reader(item.parent.kernel)
        if item.cell_num == 0:
            reader.prepare(f"import os as _os\n_os.chdir({self._folder.name!r})")
        exercise = EXERCISE_TAG in item.cell.metadata.get("tags", [])
        if exercise:
            reader.prepare(KEEP_RANDOM + KEEP_NAMES)
        result = yield
        if exercise:
            reader.prepare(RESTORE_NAMES + RESTORE_RANDOM)
            self._answers.left_open += 1
        for number, edit in enumerate(self._edits):
            if edit.cell in item.cell.source:
                reader.prepare(KEEP_RANDOM)
                reader.run(edit.edited)
                after = reader.run(item.cell.source)
                reader.run(edit.shown)
                reader.prepare(RESTORE_RANDOM)
                self._answers.edited[number] = [text_of(item.test_outputs), after]
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: Any, nextitem: Any) -> Iterator[None]:
        if nextitem is None:
            reader = Reader(item.parent.kernel)
            self._answers.solved = [reader.run(solution) for solution in self._solutions]
            self._path.write_text(json.dumps(asdict(self._answers)), encoding="utf-8")
        return (yield)

    def pytest_unconfigure(self) -> None:
        self._folder.cleanup()


def pytest_configure(config: pytest.Config) -> None:
    os.environ.pop("PYTHONPATH", None)  # led here; the kernel shall not look in this folder
    config.pluginmanager.register(Plugin(Path(os.environ[VARIABLE])))
