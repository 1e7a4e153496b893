"""The reader beside nbval: what it would find in a made-up notebook with every fault it looks for."""

import nbformat
import pytest
from chapter_session import Edit, Plan
from nbformat import v4


@pytest.fixture(scope="module")
def faults(tmp_path_factory, go_through):
    """Give what nbval says of each cell, and the reader's answers."""

    def cell(source, output, *tags):
        outputs = [v4.new_output("stream", name="stdout", text=f"{output}\n")]
        return v4.new_code_cell(source, execution_count=1, outputs=outputs, metadata={"tags": list(tags)})

    cells = [
        cell("import os, random\nrandom.seed(0)\nprint(os.listdir())", "[]"),
        cell("def double(x):\n    return 2 * x\nprint('shown')", "shown"),
        cell("print('twice', double(21), random.random())", "twice 42 0.8444218515250481"),
        cell("double = own = 3\nprint('○', random.random())", "○ 0.7579544029403025", "exercise"),
        cell("print(double(1), random.random())", "2 0.7579544029403025"),
        cell("print(own)", "3"),
        cell("print('as before')", "something else"),
    ]
    path = tmp_path_factory.mktemp("faults") / "faults.ipynb"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(v4.new_notebook(cells=cells, metadata=kernel), path)
    shown = cells[1].source
    edits = [Edit("twice", shown.replace("2 *", "3 *"), shown), Edit("twice", shown.replace("2 *", "1 /"), shown)]
    session = go_through(path, Plan(edits, ["print('✓', double(4))", "print('first')\nown"]))
    return session


def test_only_the_cells_with_a_fault_fail(faults):
    failed = [line.split(" - ")[0] for line in faults.nbval.stdout.splitlines() if line.startswith("FAILED")]
    assert [line.rpartition("::")[2] for line in failed] == ["Cell 5", "Cell 6"]
    assert "name 'own' is not defined" in faults.nbval.stdout
    assert faults.nbval.returncode == 1
    assert faults.answers.left_open == 1


def test_an_edit_takes_effect_and_is_taken_back(faults):
    before = "twice 42 0.8444218515250481\n"
    assert faults.answers.edited[0] == [before, "twice 63 0.7579544029403025\n"]
    assert faults.answers.edited[1][0] == before
    assert faults.answers.edited[1][1].startswith("twice 0.047")


def test_solutions_come_last_and_say_all_they_say(faults):
    assert faults.answers.solved[0] == "✓ 8\n"
    assert faults.answers.solved[1].startswith("first\n\n")
    assert "name 'own' is not defined" in faults.answers.solved[1]
