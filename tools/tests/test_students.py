"""Student notebooks of a made-up book: what is taken out, and every way back in that the check must see."""

import copy
from zipfile import ZipFile

import nbformat
import pytest
from nbformat import v4
from notebooks.build import build, keep_outputs
from notebooks.chapter import read_chapter
from notebooks.errors import ProblemError, ProblemsError
from notebooks.exercises import read_exercises
from notebooks.students import leaks, student_notebook, write_students

BODY = """\
Text before.

```{code-cell} ipython3
def check_mean(answer):
    print("○ not written yet" if answer([1]) is None else "✓ the mean")
```

:::{admonition} Exercise 1 · the mean · ★☆☆ · 5 min
:class: exercise

Return the mean.
:::

```{code-cell} ipython3
:tags: [exercise]

def mean(numbers):
    ...  # one number


check_mean(mean)
```

:::{dropdown} Solution
The prediction: an empty list divides by zero and nobody is told of it.

```python
def mean(numbers):
    total = sum(numbers)  # of all
    return total / len(numbers)
```

Whoever divides before adding rounds once for every number of the list.
:::

Text after.
"""


@pytest.fixture(scope="module")
def solved(module_sample):
    module_sample.write(BODY)
    build(module_sample.book, module_sample.book.chapters, lambda line: None)
    return module_sample


@pytest.fixture(scope="module")
def chapter(solved):
    return read_chapter(solved.chapter_path, solved.book)


@pytest.fixture
def student(solved, chapter):
    return copy.deepcopy(student_notebook(chapter, solved.book))


def texts(notebook):
    return [cell.source for cell in notebook.cells]


def test_only_the_solution_is_gone(solved, student):
    whole = nbformat.read(solved.notebook_path, as_version=4)
    gone = [text for text in texts(whole)[1:] if text not in texts(student)]
    assert [text.startswith("<details>\n<summary>Solution</summary>") for text in gone] == [True]
    assert texts(student)[-1] == "Text after."
    assert [cell for cell in student.cells if cell.cell_type == "code"] == [
        cell for cell in whole.cells if cell.cell_type == "code"
    ]
    assert "colab" in texts(whole)[0]
    assert "colab" not in texts(student)[0]
    assert "Read as a page" in texts(student)[0]


def output(text):
    return v4.new_output("stream", name="stdout", text=text)


# What somebody might do, and what must be said of it.
LEAKS = {
    "a fold": (
        lambda n: n.cells.append(v4.new_markdown_cell("<details><summary> Solution</summary></details>")),
        "a fold",
    ),
    "the code in a text": (
        lambda n: n.cells.append(v4.new_markdown_cell("```python\nreturn total / len(numbers)\n```")),
        "line 'return total / len(numbers)'",
    ),
    "a line in the stub": (
        lambda n: n.cells[5].update(source=n.cells[5].source.replace("...", "total = sum(numbers)")),
        "line 'total = sum(numbers)'",
    ),
    "another stub": (
        lambda n: n.cells[5].update(source=n.cells[5].source.replace("...", "return 1")),
        "an exercise's cell that is not its stub",
    ),
    "another spacing, inside a line": (
        lambda n: n.cells.append(v4.new_raw_cell("f = lambda: (0, [return total/len( numbers )])")),
        "line 'return total / len(numbers)'",
    ),
    "a comment": (
        lambda n: n.cells.append(v4.new_code_cell("# total = sum(numbers)  # of all\n")),
        "line 'total = sum(numbers)  # of all'",
    ),
    "an output": (
        lambda n: n.cells[3].update(outputs=[output("    total = sum(numbers)\n")]),
        "line 'total = sum(numbers)'",
    ),
    "metadata of a cell": (
        lambda n: n.cells[0].metadata.update(hint={"deep": ["return total / len(numbers)"]}),
        "line 'return total / len(numbers)'",
    ),
    "metadata of the notebook": (
        lambda n: n.metadata.update({"total = sum(numbers)": 1}),
        "line 'total = sum(numbers)'",
    ),
    "an attachment": (
        lambda n: n.cells[0].update(attachments={"a.txt": {"text/plain": "return total / len(numbers)"}}),
        "line 'return total / len(numbers)'",
    ),
    "HTML": (
        lambda n: n.cells[3].update(
            outputs=[v4.new_output("display_data", {"text/html": "<pre>return total &#47; len(numbers)</pre>"})]
        ),
        "line 'return total / len(numbers)'",
    ),
    "the prose": (
        lambda n: n.cells.append(v4.new_markdown_cell("(An *empty list* divides\nby zero, and nobody is told!)")),
        "words 'an empty list divides by zero'",
    ),
    "the prose behind the code": (
        lambda n: n.cells[1].update(source="# divides before adding rounds once for every number\n"),
        "words 'divides before adding rounds once for'",
    ),
    "a solved exercise": (
        lambda n: n.cells[5].update(outputs=[output("Checked:\n✓ the mean\n")]),
        "the output of a solved exercise",
    ),
}


@pytest.mark.parametrize("name", LEAKS)
def test_every_leak_is_found(solved, chapter, student, name):
    leak, message = LEAKS[name]
    exercises = read_exercises(chapter, solved.book)
    assert leaks(student, exercises) == []
    leak(student)
    assert any(message in found for found in leaks(student, exercises)), leaks(student, exercises)


def test_what_the_book_says_with_its_solutions_is_full_of_leaks(solved, chapter):
    found = leaks(keep_outputs(chapter, solved.book), read_exercises(chapter, solved.book))
    for part in (
        "a fold",
        "line 'total = sum(numbers)'",
        "line 'return total / len(numbers)'",
        "the prediction an",
    ):
        assert any(part in one for one in found), part


def test_a_chapter_that_repeats_its_solution_has_no_student_notebook(sample):
    sample.write(BODY.replace("Text after.", "So `return total / len(numbers)` it is."))
    build(sample.book, sample.book.chapters, lambda line: None)
    with pytest.raises(ProblemsError, match="student notebook: Exercise 1 · the mean"):
        write_students(sample.book, sample.root / "students")
    assert not (sample.root / "students").exists()


def test_code_that_was_not_executed_has_no_student_notebook(sample):
    chapter = sample.write(BODY)
    with pytest.raises(ProblemError, match="expected the code cells of its notebook, got others"):
        student_notebook(chapter, sample.book)


def test_a_solution_in_a_box_is_not_cut_but_found(sample):
    boxed = BODY.replace(":::{dropdown} Solution", "::::{note}\n\n:::{dropdown} Solution")
    chapter = sample.write(boxed.replace("of the list.\n:::", "of the list.\n:::\n::::"))
    build(sample.book, sample.book.chapters, lambda line: None)
    with pytest.raises(ProblemError, match="line 'total = sum"):
        student_notebook(chapter, sample.book)


def test_files_and_archive_hold_the_same_every_time(solved, tmp_path):
    first = write_students(solved.book, tmp_path / "students").read_bytes()
    archive = write_students(solved.book, tmp_path / "students")
    assert archive.read_bytes() == first
    with ZipFile(archive) as zipped:
        assert zipped.namelist() == ["01_sample.ipynb"]
        assert zipped.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)  # no clock
        assert zipped.read("01_sample.ipynb") == (tmp_path / "students" / "01_sample.ipynb").read_bytes()
