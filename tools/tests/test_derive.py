"""The notebook as a whole, before it runs."""

import subprocess
import sys
from importlib import util

import nbformat
import pytest
from notebooks.derive import derive
from notebooks.errors import ProblemError

CODE = "```{code-cell} ipython3\n:tags: [hide-input]\n\nx = 1\n```\n\n"


def test_order_metadata_and_lines(sample, body_line):
    derived = derive(sample.write(f"Before {{cite:t}}`one`.\n\n{CODE}After.\n"), sample.book)
    notebook = derived.notebook
    nbformat.validate(notebook)
    assert [cell.cell_type for cell in notebook.cells] == [
        "markdown", "code", "markdown", "code", "markdown", "markdown",
    ]  # fmt: skip
    heading, install, before, code, after, references = notebook.cells
    assert heading.source.startswith("# A *sample*\n\n[Open in Colab](https://colab.research.google.com/github/")
    assert heading.source.endswith("5 minutes · You need: counting · Downloads: nothing")
    assert install.metadata == {"tags": ["install"]}
    assert before.source.startswith("Before [Vaswani")
    assert (code.source, code.metadata) == ("x = 1", {"tags": ["hide-input"]})
    assert after.source == "After."
    assert references.source.startswith("## References\n\n- Vaswani, A.")
    assert derived.lines == (body_line - 2, None, body_line, body_line + 2, body_line + 8, None)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }


def test_references_are_in_order_of_authors(sample):
    references = sample.derive("{cite:p}`one, three, two`\n").cells[-1].source
    assert [line.split(",")[0] for line in references.split("\n")[2:]] == ["- Knuth", "- Müller", "- Vaswani"]


def test_a_chapter_without_citations_has_no_references(sample):
    assert len(sample.derive("Text.\n").cells) == 3


def test_ids_follow_content_and_nothing_else(sample):
    first = [cell.id for cell in sample.derive(f"{CODE}{CODE}Text.\n").cells]
    assert len(set(first)) == len(first)
    assert [cell.id for cell in sample.derive(f"{CODE}{CODE}Text.\n").cells] == first
    inserted = [cell.id for cell in sample.derive(f"New.\n\n{CODE}{CODE}Text.\n").cells]
    assert set(first) < set(inserted)


@pytest.mark.parametrize(
    ("body", "offset", "message"),
    [
        ("```{code-cell} ipython3\nx = 1\nif x\n```\n", 2, "expected plain Python, got expected ':'"),
        ("```{code-cell} ipython3\n%timeit 1\n```\n", 1, "expected plain Python"),
    ],
)
def test_code_that_is_no_python_is_refused(sample, body_line, body, offset, message):
    with pytest.raises(ProblemError, match=message) as caught:
        sample.derive(body)
    assert caught.value.line == body_line + offset


def test_a_chapter_begins_with_its_title(sample):
    chapter = sample.write("Text.\n")
    text = chapter.path.read_text()
    chapter.path.write_text(text.replace("# A *sample*\n", ""))
    with pytest.raises(ProblemError, match="expected the chapter to begin with its title"):
        sample.derive_file()


def test_a_chapter_says_what_to_bring(sample):
    sample.write("Text.\n")
    sample.chapter_path.write_text(sample.chapter_path.read_text().replace("  minutes: 5\n", ""))
    with pytest.raises(
        ProblemError, match=r"expected \['downloads', 'minutes', 'prerequisites'\], got \['downloads'"
    ):
        sample.derive_file()


def test_a_gpu_is_asked_for_where_one_pays(sample):
    plain = sample.derive("Text.\n")
    assert "accelerator" not in plain.metadata
    text = sample.chapter_path.read_text()
    sample.chapter_path.write_text(text.replace("  downloads: none\n", "  downloads: none\n  gpu: it is long\n"))
    asking = sample.derive_file()
    assert asking.metadata == plain.metadata | {"accelerator": "GPU", "colab": {"gpuType": "T4"}}
    assert asking.cells[0].source == plain.cells[0].source + " · A GPU pays: it is long"
    sample.chapter_path.write_text(text.replace("  downloads: none\n", "  downloads: none\n  gpu: true\n"))
    with pytest.raises(ProblemError, match="gpu: expected why one pays, got True"):
        sample.derive_file()


@pytest.mark.parametrize("present", [True, False])
def test_install_cell_installs_only_what_is_missing_and_prints_the_same(sample, monkeypatch, capsys, present):
    ran = []
    monkeypatch.setattr(util, "find_spec", lambda name: object() if present else None)
    monkeypatch.setattr(subprocess, "run", lambda command, check: ran.append((command, check)))
    exec(sample.derive("Text.\n").cells[1].source, {})
    assert capsys.readouterr().out == "transformer_book is ready\n"
    if present:
        assert ran == []
    else:
        [(command, check)] = ran
        assert check
        assert command[:4] == [sys.executable, "-m", "pip", "install"]
        assert command[command.index("--upgrade-strategy") + 1] == "only-if-needed"
        assert command[-1] == "git+https://github.com/Some-Owner/a-book@trunk"
