"""Building with a real kernel."""

import json

import nbformat
import pytest
from notebooks.build import build, rewrite, write_if_changed
from notebooks.check import check
from notebooks.errors import ProblemsError

CELL = "```{code-cell} ipython3\n%s\n```\n\n"
BODY = (
    "Text.\n\n"
    + CELL % ':tags: ["src:toy.top"]\n'
    + CELL % "import os\n\nprint(os.listdir(), os.getenv('PYTHONPATH'), hash('a') == hash('a'))"
    + CELL % "import matplotlib.pyplot as plt\n\n_ = plt.plot([1, 2])\nprint('drawn')"
    + CELL % "from ipywidgets import IntSlider\n\nslider = IntSlider(3)\nprint(slider.value)\nslider"
    + CELL % ":tags: [nbval-ignore-output]\nimport time\n\ntime.time_ns()"
    + CELL % "top() + 1"
)


def build_all(sample):
    lines = []
    build(sample.book, sample.book.chapters, lines.append)
    return lines


def test_a_book_is_built_twice_to_the_same_bytes_and_checks(sample):
    sample.write(BODY)
    assert build_all(sample) == ["chapters/01_sample.ipynb: written"]
    first = sample.notebook_path.read_bytes()
    assert build_all(sample) == ["chapters/01_sample.ipynb: unchanged"]
    assert sample.notebook_path.read_bytes() == first
    assert [str(problem) for problem in check(sample.book)] == []

    notebook = nbformat.reads(first.decode(), as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, 8))
    install, top, environment, figure, widget, timing, result = code
    assert install.outputs[0].text == "transformer_book is ready\n"
    assert top.source == "def top():\n    return 0"
    assert environment.outputs[0].text == "[] None True\n"
    assert figure.outputs[-1].data["text/plain"].startswith("<Figure size")
    assert widget.outputs[-1].data == {"text/plain": "IntSlider(value=3)"}
    assert timing.outputs == []
    assert result.outputs[0].data == {"text/plain": "1"}
    assert 'tags: ["src:toy.top"]\n\ndef top():\n    return 0\n```' in sample.chapter_path.read_text()
    assert not list(sample.chapter_path.parent.glob(".*"))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import warnings\n\nwarnings.warn('old')", "UserWarning: old"),
        ("object()", "expected no memory address"),
        ("import os\n\nos._exit(1)", "Kernel died"),
    ],
)
def test_a_failing_chapter_keeps_its_old_notebook_and_is_named(sample, body_line, code, message):
    sample.write("Fine.\n", "02_fine")
    sample.write("Text.\n\n" + CELL % "1" + CELL % code)
    sample.notebook_path.write_text("old")
    with pytest.raises(ProblemsError, match=message) as caught:
        build_all(sample)
    [problem] = caught.value.problems
    assert (problem.path.as_posix(), problem.line) == ("chapters/01_sample.md", body_line + 6)
    assert code in str(problem)
    assert sample.notebook_path.read_text() == "old"
    assert json.loads(sample.notebook_path.with_stem("02_fine").read_text())["cells"]


def test_all_problems_are_named_at_once(sample):
    (sample.root / "chapters" / "00_page.md").write_text("# Only a page\n")
    sample.write(CELL % ':tags: ["src:toy.gone"]\n')
    sample.write(":::{tabs}\nx\n:::\n", "02_b")
    with pytest.raises(ProblemsError) as caught:
        build_all(sample)
    places = [problem.path.name for problem in caught.value.problems]
    assert places == ["00_page.md", "01_sample.md", "02_b.md"]
    assert not list((sample.root / "chapters").glob("*.ipynb"))


def test_only_the_chapters_asked_for_run(sample):
    sample.write("A.\n", "01_a")
    asked = sample.write("B.\n", "02_b")
    build(sample.book, [asked.path], lambda line: None)
    assert [path.name for path in (sample.root / "chapters").glob("*.ipynb")] == ["02_b.ipynb"]


def test_prose_is_rewritten_with_the_outputs_there_are(sample, monkeypatch):
    sample.write("Text.\n\n" + CELL % "print(1)")
    build_all(sample)
    before = nbformat.read(sample.notebook_path, as_version=4)
    monkeypatch.setattr("notebooks.build.execute", lambda notebook: pytest.fail("nothing is to be executed"))
    assert rewrite(sample.book, sample.book.chapters) == []
    sample.write("Other text.\n\n" + CELL % "print(1)" + "More.\n")
    assert rewrite(sample.book, sample.book.chapters) == [sample.notebook_path]
    after = nbformat.read(sample.notebook_path, as_version=4)
    assert [cell.source for cell in after.cells if cell.cell_type == "markdown"][1:] == ["Other text.", "More."]
    assert [cell for cell in after.cells if cell.cell_type == "code"] == [
        cell for cell in before.cells if cell.cell_type == "code"
    ]
    assert check(sample.book) == []


def test_code_that_changed_is_not_given_old_outputs(sample):
    sample.write(CELL % "print(1)", "01_same")
    sample.write(CELL % "print(1)")
    build_all(sample)
    sample.write("More.\n\n" + CELL % "print(1)", "01_same")
    written = sample.notebook_path.with_stem("01_same").read_bytes()
    for body in (CELL % "print(2)", CELL % ":tags: [hide-input]\nprint(1)", CELL % "print(1)" + CELL % "print(1)"):
        sample.write(body)
        with pytest.raises(ProblemsError, match="expected the code cells of its notebook, got others"):
            rewrite(sample.book, sample.book.chapters)
    assert sample.notebook_path.with_stem("01_same").read_bytes() == written


def test_writing_is_all_or_nothing(tmp_path):
    path = tmp_path / "x.txt"
    assert write_if_changed(path, "one")
    assert not write_if_changed(path, "one")
    with pytest.raises(UnicodeEncodeError):
        write_if_changed(path, "two \ud800")
    assert [file.name for file in tmp_path.iterdir()] == ["x.txt"]
    assert path.read_text() == "one"
