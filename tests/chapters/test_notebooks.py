"""The committed notebooks: in step with their sources, executed, compared by nbval, readable and editable."""

import ast
import builtins
import re

from notebooks.check import check
from notebooks.exercises import read_exercises
from notebooks.guards import (
    COMPARED_SHARE,
    cell_problems,
    figure_problems,
    ignored_problems,
    length_problems,
    uncompared,
)
from notebooks.students import student_notebook

EXERCISES = range(4, 7)
FOLDED = re.compile(r"<details>\n<summary>Solution</summary>.*?</details>", re.DOTALL)
IN_COLAB = re.compile(r"\[Open in Colab\]\(.*?\) · ")


def listed(problems):
    return "\n".join(map(str, problems))


def test_package_chapters_and_notebooks_are_in_step(book):
    assert listed(check(book)) == ""


def test_every_code_cell_was_executed(notebook):
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


def test_most_cells_say_something_that_is_compared(notebook):
    share, silent = uncompared(notebook)
    assert share >= COMPARED_SHARE, f"{share:.0%} are compared; not compared are cells {silent}"


def test_nbval_reproduces_the_notebook(session, notebook):
    """Nothing else in the tests executes a notebook under nbval."""
    cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    last = session.nbval.stdout.strip().split("\n")[-1]
    assert re.fullmatch(rf"=+ {cells} passed in .*", last), f"{session.nbval.stdout}\n{session.nbval.stderr}"
    assert session.nbval.returncode == 0


def test_cells_are_short_and_compute_what_they_print(chapter):
    assert listed(cell_problems(chapter)) == ""


def test_chapter_has_its_length(chapter, book):
    assert listed(length_problems(chapter, book)) == ""


def test_figures_have_alt_text_caption_and_numbers(chapter, notebook):
    assert listed(figure_problems(chapter, notebook)) == ""


def test_what_is_not_compared_is_followed_by_what_is(chapter, notebook):
    assert listed(ignored_problems(chapter, notebook)) == ""


def test_a_chapter_that_shows_code_has_an_edit(chapter, edits):
    shown = {cell.shows for cell in chapter.cells if cell.shows}
    assert {edit["object"] for edit in edits} <= shown
    assert edits or not shown


def test_a_readers_edit_takes_effect(session, edits):
    for edit, (before, after) in zip(edits, session.answers.edited, strict=True):
        place = f"{edit['object']}, {edit['old']!r} replaced by {edit['new']!r}"
        assert edit["gone"] in before, place
        assert edit["gone"] not in after, place
        assert edit["instead"] in after, place


def test_no_cell_depends_on_an_exercise(session, notebook):
    """What each exercise cell had bound or drawn was taken back, and nbval found the cells after it as they were."""
    stubs = [cell for cell in notebook.cells if "exercise" in cell.metadata.get("tags", [])]
    assert session.answers.left_open == len(stubs) > 0
    assert session.nbval.returncode == 0, session.nbval.stdout


def test_exercises_are_complete_and_open(chapter, notebook, book):
    exercises = read_exercises(chapter, book)
    assert len(exercises) in EXERCISES
    stubs = [cell for cell in notebook.cells if "exercise" in cell.metadata.get("tags", [])]
    for exercise, stub in zip(exercises, stubs, strict=True):
        assert [output.text[:1] for output in stub.outputs] == ["○"], exercise.title


def test_every_solution_passes_its_own_check(session, chapter, book):
    for exercise, said in zip(read_exercises(chapter, book), session.answers.solved, strict=True):
        assert said.startswith("✓"), f"{exercise.title}: {said}"


def test_student_notebook_is_the_notebook_without_solutions_and_leaks_none(chapter, notebook, book):
    def parts(cells, kind):
        return [cell for cell in cells if cell.cell_type == kind]

    def text(cells):
        return "\n\n".join(cell.source for cell in parts(cells, "markdown"))

    student = student_notebook(chapter, book)  # looks for leaks itself
    assert parts(student.cells, "code") == parts(notebook.cells, "code")
    assert student.metadata == notebook.metadata
    solved = text(notebook.cells)
    assert len(FOLDED.findall(solved)) == len(read_exercises(chapter, book))
    assert text(student.cells).split() == IN_COLAB.sub("", FOLDED.sub("", solved)).split()


def test_solutions_need_only_imports_and_shown_source(chapter, book):
    """Which is what `make mark` runs before a student's cell."""

    def names(source, *contexts):
        tree = list(ast.walk(ast.parse(source)))
        return {node.id for node in tree if isinstance(node, ast.Name) and isinstance(node.ctx, contexts)}

    def bound(source):
        found = names(source, ast.Store)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.alias):
                found.add(node.asname or node.name)
            elif isinstance(node, ast.arg):
                found.add(node.arg)
        return found

    known = set(dir(builtins))
    for cell in chapter.cells:
        if cell.kind == "code" and ("imports" in cell.tags or cell.shows):
            known |= bound(cell.source)
    for exercise in read_exercises(chapter, book):
        source = f"{exercise.solution}\n{exercise.check}"
        assert names(source, ast.Load) - known - bound(exercise.solution) == set(), exercise.title
