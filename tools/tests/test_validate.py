"""`make validate`: notebooks that are as stored, one that is not, one that was stripped, and another platform."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

VALIDATE = Path(__file__).parents[1] / "validate.py"
SAY = "import os, time\nprint(time.tzname[0], os.environ['OMP_NUM_THREADS'], hash('a') % 1000)"
# What SAY prints where TZ, OMP_NUM_THREADS and PYTHONHASHSEED are those of the platform "other".
OTHER = "CST 2 {}\n"


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a notebook of one cell, a cell without output beside it."""

    def write(name, source, output, count=1):
        outputs = [v4.new_output("stream", name="stdout", text=output)]
        cells = [
            v4.new_code_cell(source, execution_count=count, outputs=outputs),
            v4.new_code_cell("x = 1", execution_count=count and 2),
        ]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        path = tmp_path / f"{name}.ipynb"
        nbformat.write(v4.new_notebook(cells=cells, metadata=kernel), path)
        return path

    return write


def validate(*arguments):
    command = [sys.executable, VALIDATE, *arguments]
    done = subprocess.run(command, cwd=VALIDATE.parents[1], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.strip().splitlines()[-1], done.stdout + done.stderr


def test_differences_are_named_and_the_other_platform_reaches_the_cells(write):
    seeded = [sys.executable, "-c", "print(hash('a') % 1000)"]
    number = subprocess.run(seeded, env={"PYTHONHASHSEED": "1729"}, capture_output=True, text=True, check=True)
    good, there = write("good", "print(1 + 1)", "2\n"), write("there", SAY, OTHER.format(number.stdout.strip()))
    code, last, said = validate(good, there)
    assert (code, last) == (1, "NOT as stored: 1 of 4 code cells · there.ipynb: Cell 0"), said
    code, last, said = validate(there, "--platform", "other")
    assert code == 0, said
    assert last.startswith("All as stored: 1 notebooks, 2 code cells run again, 1 compared · platform other, ")


def test_cells_that_were_not_run_are_missed(write, tmp_path):
    (tmp_path / "conftest.py").write_text("def pytest_collection_modifyitems(items):\n    del items[1:]\n")
    code, last, said = validate(write("good", "print(1 + 1)", "2\n"))
    assert (code, last) == (2, "make validate: pytest ran 1 of 2 code cells and ended with 0"), said


def test_a_stripped_notebook_is_refused(write):
    code, last, _ = validate(write("stripped", "print(1)", "1\n", count=None))
    assert code == 2
    assert last.endswith("cells [0, 1] hold no outputs to compare; run `make notebooks`")
