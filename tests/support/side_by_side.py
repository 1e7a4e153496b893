"""Running the tests in several processes (`make test`): what comes first, what is alone.

Without pytest-xdist none of this does anything. With it,

- tests of one file stay in one process (`--dist loadfile`), so that what they share is made once;
- the files that take longest begin first, so that no process is left with a long one at the end;
- a test marked `alone` measures time: it waits for the others to finish theirs, and they wait for it.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

VARIABLE = "TESTS_SIDE_BY_SIDE"
#: Beginnings of the paths of what takes long, longest first.
LONGEST_FIRST = (
    "tests/site/",
    "tests/colab/",
    "tests/chapters/",
    "tests/training/test_parallel.py",
    "tests/widgets/",
    "tests/test_cli.py",
    "tests/experiments/",
    "tests/training/",
    "tests/extensions/",
    "tools/tests/",
    "tests/exercises/",
)


class Machine:
    """The right to use the machine: shared by the processes of one run, or one process's alone.

    A process that wants to be alone holds the gate while it waits for the room to empty, so it is not kept waiting
    by others who come and go.
    """

    def __init__(self, folder: Path) -> None:
        self._gate, self._room = ((folder / name).open("w") for name in ("gate", "room"))

    def enter(self) -> None:
        """Share the machine."""
        fcntl.flock(self._gate, fcntl.LOCK_SH)
        fcntl.flock(self._room, fcntl.LOCK_SH)
        fcntl.flock(self._gate, fcntl.LOCK_UN)

    def leave(self) -> None:
        """Use it no longer."""
        fcntl.flock(self._room, fcntl.LOCK_UN)

    def enter_alone(self) -> None:
        """Wait until no other process uses the machine, and let none begin; `leave` ends it."""
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        fcntl.flock(self._room, fcntl.LOCK_EX)
        fcntl.flock(self._gate, fcntl.LOCK_UN)

    def close(self) -> None:
        self._gate.close()
        self._room.close()


class SideBySide:
    """The plugin, in each of the processes and in the one that hands out the tests."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.machine: Machine | None = None

    def pytest_configure(self, config: pytest.Config) -> None:
        if hasattr(config, "workerinput"):
            self._folder = Path(os.environ[VARIABLE])
            self.machine = Machine(self._folder)
            self._stack.callback(self.machine.close)
        elif getattr(config.option, "numprocesses", None):
            folder = tempfile.mkdtemp()
            os.environ[VARIABLE] = folder
            self._stack.callback(os.environ.pop, VARIABLE)
            self._stack.callback(shutil.rmtree, folder)

    def pytest_unconfigure(self) -> None:
        self._stack.close()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if not self.machine:
            return
        items.sort(key=lambda item: rank_of(item.nodeid))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        if not self.machine:
            return (yield)
        alone = item.get_closest_marker("alone")
        (self.machine.enter_alone if alone else self.machine.enter)()
        try:
            return (yield)
        finally:
            self.machine.leave()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside a test or a fixture: have the machine alone for a while, as to take a time."""
        if not self.machine:
            yield
            return
        self.machine.leave()
        self.machine.enter_alone()
        try:
            yield
        finally:
            self.machine.leave()
            self.machine.enter()

    @contextmanager
    def once(self, name: str) -> Iterator[bool]:
        """Inside a fixture: say whether what has this name is still to be made, and give the machine alone for it.

        Once it is made without an exception, the other processes find it made.
        """
        if not self.machine:
            yield True
            return
        self.machine.leave()  # who waits for another to make it must not keep that one from being alone
        try:
            with (self._folder / f"{name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                made = self._folder / f"{name}.made"
                if made.exists():
                    yield False
                    return
                self.machine.enter_alone()
                try:
                    yield True
                    made.touch()
                finally:
                    self.machine.leave()
        finally:
            self.machine.enter()


def rank_of(nodeid: str) -> int:
    """Give the place of a test's file among those that take long; the others come after them."""
    places = [place for place, start in enumerate(LONGEST_FIRST) if nodeid.startswith(start)]
    return places[0] if places else len(LONGEST_FIRST)
