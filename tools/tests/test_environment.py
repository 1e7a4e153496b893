"""`make` sets up its own environment: tried on a folder that asks for nothing, so that it takes seconds."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PYTHON = getattr(sys, "_base_executable", sys.executable)  # outside any environment

ROOT = Path(__file__).parents[2]
INSTALLING = "Installing into .venv"


@pytest.fixture
def folder(tmp_path):
    """A checkout in a folder with a space in its name."""
    folder = tmp_path / "my book"
    (folder / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "tools" / "environment.sh", folder / "tools")
    for name in ("requirements.txt", "constraints.txt", "pyproject.toml"):
        (folder / name).touch()
    return folder


def typed():
    """Give the environment without what an outer make hands down, as when a person types the command."""
    return {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "PYTHON")}


def make(folder, *arguments):
    command = ["make", "environment", *arguments]
    return subprocess.run(command, cwd=folder, env=typed(), capture_output=True, text=True, check=False)


def test_environment_is_made_once_and_again_when_it_must(folder):
    python = f"PYTHON={PYTHON}"
    first = make(folder, python)
    assert first.returncode == 0, first.stderr
    assert INSTALLING in first.stdout
    assert make(folder, python).stdout == ""

    (folder / "constraints.txt").write_text("# a change\n")
    assert INSTALLING in make(folder, python).stdout

    (folder / "requirements.txt").write_text("./absent\n")
    assert make(folder, python).returncode != 0
    assert make(folder, python).returncode != 0
    (folder / "requirements.txt").write_text("")
    assert INSTALLING in make(folder, python).stdout

    moved = folder.with_name("moved")
    folder.rename(moved)
    assert INSTALLING in make(moved, python).stdout
    script = (moved / ".venv" / "bin" / "pip").read_text()
    assert str(moved) in script
    assert str(folder) not in script


def test_no_network_is_one_clear_line_and_the_next_run_works(folder, monkeypatch):
    for name, value in (("INDEX_URL", "http://127.0.0.1:9/simple"), ("RETRIES", "1"), ("CONFIG_FILE", os.devnull)):
        monkeypatch.setenv(f"PIP_{name}", value)
    (folder / "requirements.txt").write_text("no-such-package-anywhere\n")
    failed = make(folder, f"PYTHON={PYTHON}")
    assert failed.returncode != 0
    said = [line for line in failed.stderr.splitlines() if not line.startswith("make: ")]
    assert said[-1] == (
        "Installing into .venv: there is no connection to the package index. The next make goes on from here."
    )
    (folder / "requirements.txt").write_text("")
    assert INSTALLING in make(folder).stdout


def test_two_at_once_install_once(folder):
    command = ["make", "environment", f"PYTHON={PYTHON}"]
    both = [subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(INSTALLING in text for text in said) == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo 3.10", "Python: expected 3.11 or newer, got 3.10; name another with make PYTHON=python3.11"),
        ("echo 2.7", "Python: expected 3.11 or newer, got 2.7; name another with make PYTHON=python3.11"),
        (
            'case "$2" in *ensurepip*) exit 1;; *) echo 3.11;; esac',
            "Python 3.11 has no venv; on Debian, apt-get install python3-venv",
        ),
    ],
)
def test_an_unfit_python_is_one_clear_line(folder, body, message):
    python = folder / "python"
    python.write_text(f"#!/bin/sh\n{body}\n")
    python.chmod(0o755)
    done = make(folder, "PYTHON=./python")
    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == message
    assert not (folder / ".venv").exists()


def test_no_python_at_all_is_one_clear_line(folder):
    done = make(folder, "PYTHON=no-such-python")
    assert done.stderr.splitlines()[0].startswith("Python: expected the command no-such-python, found none")


def test_help_is_what_make_says_first_and_names_every_target(folder):
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {line.split(":")[1].strip() for line in text.splitlines() if line.startswith(".PHONY:")}
    command = subprocess.run(["make"], cwd=folder, env=typed(), capture_output=True, text=True, check=True)
    said = command.stdout
    assert {line.split()[0] for line in said.splitlines()} == targets
    assert {"book", "test", "notebooks", "serve", "colab", "lint", "constraints", "address"} <= targets
