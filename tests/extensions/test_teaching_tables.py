"""What is written by hand for teachers fits the chapters; each way not to fit is named."""

import copy
from pathlib import Path

import pytest
import yaml

from transformer_book.experiments import CHAPTERS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tables(extension):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "book" / "extensions")  # where Sphinx has it
        yield extension("teaching_tables")


@pytest.fixture
def data():
    return yaml.safe_load((ROOT / "book" / "teaching.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def lessons(tables):
    return tables.lessons(ROOT)


def test_what_is_there_fits(tables, lessons, data):
    tables.check_teaching(data, lessons)
    assert [lesson.number for lesson in lessons] == list(CHAPTERS)


def test_lessons_are_the_chapters(lessons):
    first = lessons[0]
    assert (first.docname, first.widgets) == ("/chapters/01_recurrence", ("GradientThroughTime",))
    task = first.tasks[2]
    assert (task.number, task.name, task.stars, task.minutes) == (3, "the Jacobian of a step", "★★☆", 15)
    assert task.check == "check_step_jacobian"
    assert "1 − h, not 1 − h²" in task.mistakes
    assert "" not in task.mistakes


def test_every_check_names_mistakes(lessons):
    for lesson in lessons:
        for task in lesson.tasks:
            assert len(task.mistakes) == len(set(task.mistakes)) >= 4, task


def test_twelve_weeks_do_every_exercise_once(lessons, data):
    done = [
        (number, task)
        for week in data["syllabus"][12]
        for number, tasks in week.items()
        for task in (range(1, len(lessons[number - 1].tasks) + 1) if tasks == "all" else tasks)
    ]
    assert done == [(lesson.number, task.number) for lesson in lessons for task in lesson.tasks]


CHANGES = {
    "expected the keys": lambda data: data.pop("widgets"),
    r"trains: .* differing are \['check_simple_step'\]": lambda data: data["trains"].pop("check_simple_step"),
    r"trains: .* differing are \['check_nothing'\]": lambda data: data["trains"].update(check_nothing="no"),
    r"widgets: .* differing are \['Squeeze'\]": lambda data: data["widgets"].pop("Squeeze"),
    "syllabus 6: expected 6 weeks, got 5": lambda data: data["syllabus"][6].pop(),
    r"syllabus 12: expected every chapter, differing are \[11\]": lambda data: data["syllabus"][12][-1].clear(),
    r"syllabus 6: chapter 1 has no such exercises: \[1, 9\]": lambda data: data["syllabus"][6][0].update(
        {1: [1, 9]}
    ),
}


@pytest.mark.parametrize("message", CHANGES)
def test_what_does_not_fit_is_named(tables, lessons, data, message):
    changed = copy.deepcopy(data)
    CHANGES[message](changed)
    with pytest.raises(ValueError, match=message):
        tables.check_teaching(changed, lessons)
