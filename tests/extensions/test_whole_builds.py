"""What can happen to a build: it ends in a whole book or in one clear line, and the next one works."""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

PAGE = "chapters/05_scaled_dot_product"
SECONDS = 120
FULL = Path("/dev/full")


@pytest.fixture(scope="module")
def whole_builds(extension):
    return extension("whole_builds")


@pytest.fixture(scope="module")
def built_once(make_book):
    """The path has spaces, the home is no folder, the index is unreachable, and texts are ASCII unless told."""
    book = make_book()
    nowhere = "http://127.0.0.1:9"
    environment = {name: "" for name in os.environ if name.startswith("XDG_")}
    environment |= {"HOME": "/dev/null", "HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere}
    environment |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = book.build("-W", **environment)
    assert result.returncode == 0, result.stdout
    return book


@pytest.fixture
def book(built_once):
    """A book that is built and up to date, though another test may have spoilt it."""
    result = built_once.build()
    assert result.returncode == 0, result.stdout
    return built_once


@pytest.fixture
def change(book, request):
    """Change what the chapter computes, and give what it computes then."""
    source = book.root / "src" / "transformer_book_small.py"
    answer = f"the answer of {request.node.name}"
    source.write_text(f"def answer():\n    return {answer!r}\n", encoding="utf-8")
    assert answer not in book.page(PAGE)
    return answer


def test_no_home_no_network_no_utf8_and_a_path_with_spaces(built_once):
    assert " " in str(built_once.root)
    assert "5 minutes · You need: counting" in built_once.page(PAGE)


def test_a_build_killed_while_it_writes_leaves_nothing_old(book, change, whole_builds):
    """Sphinx has noted by then that everything is read, and would leave the old page as it is."""
    mark = book.root / "_build" / "html" / whole_builds.MARK
    with book.start() as process:
        until = time.monotonic() + SECONDS
        while not mark.exists():
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        process.kill()
    assert change not in book.page(PAGE)
    executions = book.executions
    assert book.build().returncode == 0
    assert change in book.page(PAGE)
    assert book.executions == executions
    assert not mark.exists()


def test_the_second_of_two_builds_waits(book, change):
    executions = book.executions
    both = [book.start(), book.start()]
    said = [process.communicate(timeout=SECONDS)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("another build is at work" in text for text in said) == 1
    assert change in book.page(PAGE)
    assert book.executions == executions + 1


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
def test_a_full_disk_is_one_line_and_the_next_build_completes(book, change):
    environment = book.root / "_build" / ".doctrees" / "environment.pickle"
    environment.unlink()
    environment.symlink_to(FULL)  # what is written there finds no space left on the device
    result = book.build()
    assert result.returncode == 1
    folder = book.root / "_build"
    assert result.stdout.splitlines()[-1] == (
        f"The disk with {folder} is full. With more room, the next build completes the book."
    )
    environment.unlink()
    assert book.build().returncode == 0
    assert change in book.page(PAGE)


def test_other_errors_are_not_laid_to_the_disk(whole_builds, tmp_path, monkeypatch):
    def chained(error):
        try:
            raise RuntimeError("no book") from error
        except RuntimeError as caught:
            return caught

    room = SimpleNamespace(free=whole_builds.ROOM)
    monkeypatch.setattr(whole_builds.shutil, "disk_usage", lambda folder: room)
    assert whole_builds.is_full(chained(OSError(28, "No space left on device")), tmp_path)
    assert not whole_builds.is_full(chained(OSError(2, "No such file or directory")), tmp_path)
    assert not whole_builds.is_full(None, tmp_path)
    room.free -= 1
    assert whole_builds.is_full(chained(ValueError("a kernel died")), tmp_path)
