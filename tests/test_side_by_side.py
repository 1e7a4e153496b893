"""Tests in several processes: one closing line, groups together, `alone` alone, made once."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import side_by_side

SUPPORT = Path(side_by_side.__file__).parent
CONFTEST = """
import os, time
from pathlib import Path
import pytest
from side_by_side import SideBySide

def pytest_configure(config):
    config.addinivalue_line("markers", "alone: alone")
    config.pluginmanager.register(SideBySide(), "SideBySide")

@pytest.fixture(scope="session")
def house(pytestconfig):
    with pytestconfig.pluginmanager.get_plugin("SideBySide").once("house") as to_be_made:
        if to_be_made:
            note("build")
            time.sleep(0.5)
            note("built")

def note(what):
    with Path("said.txt").open("a") as said:
        said.write(f"{time.monotonic()} {os.getpid()} {what}\\n")

@pytest.fixture
def noted(request):
    note(f"in {request.path.name}")
    note(f"begin {request.node.name.partition('[')[0]}")
    yield
    note(f"end {request.node.name.partition('[')[0]}")
"""
FILES = ("test_a.py", "test_b.py", "test_c.py", "test_d.py")
TESTS = """
import time
import pytest

@pytest.mark.parametrize("n", range(4))
def test_house(house, noted, n):
    time.sleep(0.05)

@pytest.mark.parametrize("n", range(4))
def test_other(noted, n):
    time.sleep(0.05)

@pytest.mark.alone
def test_alone(noted):
    time.sleep(0.2)
"""


def run(folder: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "TESTS_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *options],
        cwd=folder,
        env=clean | {"PYTHONPATH": str(SUPPORT)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = folder / "said.txt"
    return done, [line.split(" ", 2) for line in said.read_text().splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    for name in FILES:
        (tmp_path / name).write_text(TESTS)
    return tmp_path


WORKERS = ("--numprocesses", "2", "--dist", "loadfile", "--no-loadscope-reorder")


def test_files_stay_together_the_house_is_made_once_and_who_is_alone_is_alone(folder: Path) -> None:
    done, said = run(folder, *WORKERS)
    assert done.returncode == 0, done.stdout
    assert re.fullmatch(r"=* ?36 passed in .*", done.stdout.strip().splitlines()[-1])
    assert len({process for _, process, _ in said}) == 2
    places = {(process, what) for _, process, what in said if what.startswith("in ")}
    assert len(places) == len(FILES)  # no file is in both
    whats = [what for _, _, what in said]
    assert whats.count("build") == whats.count("built") == 1
    for begin, end, times in (("begin test_alone", "end test_alone", 4), ("build", "built", 1)):
        places = [place for place, what in enumerate(whats) if what == begin]
        assert len(places) == times
        assert [whats[place + 1] for place in places] == [end] * times  # nothing of another process between

    running, most = 0, 0
    for _, _, what in said:
        running += {"begin": 1, "end": -1}.get(what.split()[0], 0)
        most = max(most, running)
    assert most == 2  # though the others do run side by side


def test_a_failure_in_any_process_fails_the_run(folder: Path) -> None:
    (folder / "test_d.py").write_text(TESTS + "\ndef test_wrong(): assert False\n")
    done, _ = run(folder, *WORKERS)
    assert done.returncode == 1
    assert re.fullmatch(r"=* ?1 failed, 36 passed in .*", done.stdout.strip().splitlines()[-1])


def test_without_processes_nothing_changes(folder: Path) -> None:
    done, said = run(folder)
    assert done.returncode == 0, done.stdout
    assert len({process for _, process, _ in said}) == 1
    assert [what for _, _, what in said].count("build") == 1


def test_who_wants_to_be_alone_is_not_kept_waiting(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from side_by_side import Machine\n"
        "machine = Machine(Path(sys.argv[1])); end = time.monotonic() + 2\n"
        "while time.monotonic() < end:\n"
        "    machine.enter(); print(flush=True); time.sleep(0.01); machine.leave()\n"
    )
    busy = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=SUPPORT, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in busy:
        assert process.stdout is not None
        process.stdout.readline()
    machine = side_by_side.Machine(tmp_path)
    start = time.monotonic()
    machine.enter_alone()
    waited = time.monotonic() - start
    machine.leave()
    machine.close()
    for process in busy:
        process.communicate()
    assert waited < 1.5


def test_long_groups_begin_first() -> None:
    places = [
        "tests/site/test_pages.py::test_a",
        "tests/chapters/test_notebooks.py::test_b[01_recurrence]",
        "tests/test_cli.py::test_c",
        "tests/test_attention.py::test_d",
    ]
    ranks = [side_by_side.rank_of(place) for place in places]
    assert ranks == sorted(set(ranks))
