"""Drift in every direction, found without running anything."""

import json

import pytest
from notebooks import __main__ as command
from notebooks.check import check, updated_whitelist
from notebooks.whitelist import as_markdown


def found(sample):
    return [str(problem) for problem in check(sample.book)]


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_what_was_just_built_is_in_step(built):
    assert found(built) == []


def test_a_change_in_the_package_is_found(built, body_line):
    edit(built.root / "src" / "toy" / "__init__.py", "return 0", "return 1")
    [problem] = found(built)
    assert problem.startswith(
        f"chapters/01_sample.md:{body_line + 2}: toy.top: the cell differs from src/toy/__init__.py:1"
    )
    assert "line 2: package has '    return 1', cell has '    return 0'" in problem


def test_a_change_in_a_shown_cell_is_found_on_both_sides(built, body_line):
    edit(built.chapter_path, "return 0", "return 0  # edited")
    shown, notebook = found(built)
    assert shown.startswith(f"chapters/01_sample.md:{body_line + 2}: toy.top: the cell differs")
    assert notebook.startswith(f"chapters/01_sample.ipynb: cell 3 (line {body_line + 2} of the chapter): differs")


def test_even_a_blank_line_in_a_shown_cell_is_found(built):
    edit(built.chapter_path, "def top", "\n\ndef top")
    assert len(found(built)) == 2


@pytest.mark.parametrize(
    ("old", "new", "cell"), [("Text.", "Other text.", 2), ("print(1)", "print(2)", 4), ("# A", "# The", 0)]
)
def test_a_change_in_the_chapter_is_found(built, old, new, cell):
    edit(built.chapter_path, old, new)
    [problem] = found(built)
    assert problem.startswith(f"chapters/01_sample.ipynb: cell {cell} (line")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda nb: nb["cells"][4].update(source="print(3)"), "cell 4 "),
        (lambda nb: nb["cells"][2].update(source="Text!"), "cell 2 "),
        (lambda nb: nb["cells"][3]["metadata"].update(tags=[]), "cell 3 "),
        (lambda nb: nb["cells"][3].update(id="other"), "cell 3 "),
        (lambda nb: nb["cells"].pop(), "cell 5 "),
        (lambda nb: nb["cells"].append(nb["cells"][0] | {"id": "new"}), "cell 6: differs"),
        (lambda nb: nb["cells"][4].update(execution_count=None), "cell 4: expected it executed"),
        (lambda nb: nb["cells"][4].update(execution_count=9), "expected normalised outputs"),
        (lambda nb: nb["cells"][4]["outputs"][0].update(name="stderr"), "expected nothing on stderr"),
        (lambda nb: nb["metadata"].update(colab={}), "metadata: expected"),
    ],
)
def test_a_change_in_the_notebook_is_found(built, change, message):
    notebook = json.loads(built.notebook_path.read_text())
    change(notebook)
    built.notebook_path.write_text(json.dumps(notebook))
    [problem] = found(built)
    assert problem.startswith("chapters/01_sample.ipynb: ")
    assert message in problem


def test_a_notebook_that_is_missing_broken_or_left_over_is_found(built):
    built.notebook_path.rename(built.notebook_path.with_stem("09_old"))
    missing, left_over = found(built)
    assert missing.startswith("chapters/01_sample.ipynb: expected it beside chapters/01_sample.md")
    assert left_over == "chapters/09_old.ipynb: expected a chapter 09_old.md beside it, found none"
    built.notebook_path.with_stem("09_old").unlink()
    built.notebook_path.write_text("{")
    [broken] = found(built)
    assert "expected a notebook, got" in broken


def test_an_exercise_without_solution_is_found(built):
    edit(built.chapter_path, "Text.", ":::{admonition} Exercise 1 · a · ★☆☆ · 5 min\n:class: exercise\nDo.\n:::")
    [problem] = found(built)
    assert "exercise 1: expected a code cell tagged" in problem


def test_a_new_address_is_found(built):
    edit(built.root / "_config.yml", "Some-Owner", "someone")
    assert [problem.split(":")[1][:7] for problem in found(built)] == [" cell 0", " cell 1"]


def test_the_whitelist_in_the_document_is_kept_in_step(built):
    assert as_markdown() in built.book.contributing.read_text()
    edit(built.book.contributing, "block quote", "quote")
    assert found(built) == [
        "CONTRIBUTING.md:3: the whitelist differs from notebooks/whitelist.py; run `make notebooks`"
    ]
    edit(built.book.contributing, "whitelist:end", "other")
    [problem] = found(built)
    assert problem.startswith("CONTRIBUTING.md: expected the whitelist between")
    built.book.contributing.unlink()
    assert found(built) == [problem]


def test_the_whitelist_is_written_between_its_markers_only():
    text = "a\n<!-- myst-whitelist:start -->\nold\n<!-- myst-whitelist:end -->\nb\n"
    new = updated_whitelist(text) or ""
    assert new == f"a\n<!-- myst-whitelist:start -->\n\n{as_markdown()}\n\n<!-- myst-whitelist:end -->\nb\n"
    assert updated_whitelist(new) == new
    assert updated_whitelist("no markers") is None


def test_the_command_checks_and_builds(built, capsys):
    root = ["--root", str(built.root)]
    assert command.main([*root, "check"]) == 0
    edit(built.chapter_path, "More.", "Less.")
    assert command.main([*root, "check"]) == 1
    assert "chapters/01_sample.ipynb: cell 5 (line" in capsys.readouterr().err
    assert command.main([*root, "build", str(built.chapter_path)]) == 0
    assert capsys.readouterr().out == "chapters/01_sample.ipynb: written\n"
    assert command.main([*root, "check"]) == 0
    edit(built.chapter_path, "Less.", "{sub}`x`")
    assert command.main([*root, "build"]) == 1
    assert "role {sub}" in capsys.readouterr().err
    (built.root / "_config.yml").unlink()
    assert command.main([*root, "check"]) == 1
    assert capsys.readouterr().err.startswith("_config.yml: expected in")


def test_the_command_refuses_what_is_no_chapter(built, capsys):
    with pytest.raises(SystemExit) as caught:
        command.main(["--root", str(built.root), "build", "README.md"])
    assert caught.value.code == 2
    assert "expected chapters of the book, got" in capsys.readouterr().err
