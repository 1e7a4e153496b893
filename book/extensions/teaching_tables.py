"""The tables of the page *For teachers*, from the chapters and from `book/teaching.yml`.

``{syllabus} WEEKS``
    Week by week: what to read, which widget to show, which exercises to do, and how many minutes that takes. The
    weeks' chapters and exercises are those of `book/teaching.yml`; everything else comes from the chapters.
``{exercises-trained}``
    Every exercise of every chapter: difficulty, minutes, what it trains, and the mistakes that its check knows by
    name; a heading and a table for each chapter.

What does not fit together (an exercise or widget without an entry, an entry without an exercise or widget, a
chapter that no week reads) is a warning (type ``book_tables``).
"""

import importlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from book_tables import Cell, GeneratedTable
from docutils import nodes
from sphinx.application import Sphinx

# The reader of chapters and exercises is that of the notebooks' pipeline.
TOOLS = str(Path(__file__).resolve().parents[2] / "tools")
if TOOLS not in sys.path:
    sys.path.append(TOOLS)

DATA = "book/teaching.yml"
KEYS = {"trains", "widgets", "syllabus"}
ALL = "all"


@dataclass(frozen=True)
class Task:
    """One exercise, as a teacher needs to know it.

    Parameters
    ----------
    number
        Its number in the chapter.
    name, stars
        As in its title.
    minutes
        Those of its title.
    check
        Name of the function that judges it.
    mistakes
        What its check calls the mistakes it knows.
    """

    number: int
    name: str
    stars: str
    minutes: int
    check: str
    mistakes: tuple[str, ...]


@dataclass(frozen=True)
class Lesson:
    """One chapter, as a teacher needs to know it."""

    number: int
    docname: str
    minutes: int
    widgets: tuple[str, ...]
    tasks: tuple[Task, ...]


@cache
def lessons(root: Path) -> tuple[Lesson, ...]:
    """Read all chapters."""
    from notebooks.book import Book
    from notebooks.chapter import Chapter, read_chapter
    from notebooks.exercises import read_exercises
    from notebooks.install import chapter_facts

    from transformer_book import widgets  # imports torch: only where a table is built

    book = Book(root)

    def lesson(chapter: Chapter) -> Lesson:
        number, _, slug = chapter.path.stem.partition("_")
        shown = [name for name in widgets.__all__ if any(f"{name}(" in cell.source for cell in chapter.cells)]
        tasks = []
        for exercise in read_exercises(chapter, book):
            title, name, stars, minutes = exercise.title.split(" · ")
            check = exercise.check.partition("(")[0].rpartition(".")[2]
            task = (
                int(title.split()[1]),
                name,
                stars,
                int(minutes.split()[0]),
                check,
                named_mistakes(slug, check),
            )
            tasks.append(Task(*task))
        minutes = chapter_facts(chapter)["minutes"]
        return Lesson(int(number), f"/chapters/{chapter.path.stem}", minutes, tuple(shown), tuple(tasks))

    return tuple(lesson(read_chapter(path, book)) for path in book.chapters)


def named_mistakes(slug: str, check: str) -> tuple[str, ...]:
    """List what the check of an exercise calls the single mistakes that it recognises."""
    from transformer_book.exercises._feedback import Exercise

    module = importlib.import_module(f"transformer_book.exercises.{slug}")
    used = [getattr(module, name, None) for name in getattr(module, check).__code__.co_names]
    exercises = [value for value in used if isinstance(value, Exercise)]
    mistakes = [mistake for exercise in exercises for mistake in exercise.mistakes if len(mistake.wrong) == 1]
    return tuple(dict.fromkeys(mistake.wrong[0].name for mistake in mistakes))


def check_teaching(data: Any, found: Sequence[Lesson]) -> None:
    """Compare `book/teaching.yml` with the chapters.

    Raises
    ------
    ValueError
        A key, exercise, widget or chapter is missing in one of them.
    """
    if not isinstance(data, dict) or set(data) != KEYS:
        raise ValueError(
            f"expected the keys {sorted(KEYS)}, got {sorted(data) if isinstance(data, dict) else data}"
        )
    checks = {task.check for lesson in found for task in lesson.tasks}
    widgets = {widget for lesson in found for widget in lesson.widgets}
    for key, expected in (("trains", checks), ("widgets", widgets)):
        if differing := sorted(expected ^ set(data[key])):
            raise ValueError(f"{key}: expected one entry for each of the chapters', differing are {differing}")
    numbers = {lesson.number: {task.number for task in lesson.tasks} for lesson in found}
    for length, weeks in data["syllabus"].items():
        if len(weeks) != length:
            raise ValueError(f"syllabus {length}: expected {length} weeks, got {len(weeks)}")
        if missing := sorted(set(numbers) ^ {chapter for week in weeks for chapter in week}):
            raise ValueError(f"syllabus {length}: expected every chapter, differing are {missing}")
        for week in weeks:
            for chapter, exercises in week.items():
                if exercises != ALL and not set(exercises) <= numbers[chapter]:
                    raise ValueError(f"syllabus {length}: chapter {chapter} has no such exercises: {exercises}")


class TeachingTable(GeneratedTable):
    """A table from the chapters and from `book/teaching.yml`."""

    def data(self) -> dict[str, Any] | None:
        """Read what is written by hand; None, and a warning, if it does not fit the chapters."""
        self.env.note_reread()  # chapters change without a change of this page
        lessons.cache_clear()
        path = self.root / DATA
        self.env.note_dependency(str(path))
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        try:
            check_teaching(data, lessons(self.root))
        except ValueError as error:
            self.warn(f"{DATA}: {error}")
            return None
        return data


class Syllabus(TeachingTable):
    """``{syllabus}``."""

    required_arguments = 1
    columns = (("Week", 6), ("Read", 28), ("Show", 40), ("Exercises", 16), ("Minutes", 10))
    label = "tb-syllabus"

    def rows(self) -> Iterator[Sequence[Cell]]:
        """One row for each week."""
        if (data := self.data()) is None:
            return
        by_number = {lesson.number: lesson for lesson in lessons(self.root)}
        read: set[int] = set()
        for number, week in enumerate(data["syllabus"][int(self.arguments[0])], start=1):
            chapters = [by_number[chapter] for chapter in week]
            doing = [
                [
                    task
                    for task in lesson.tasks
                    if week[lesson.number] in (ALL,) or task.number in week[lesson.number]
                ]
                for lesson in chapters
            ]
            first = [lesson for lesson in chapters if lesson.number not in read]
            read |= {lesson.number for lesson in first}
            reading = sum(lesson.minutes for lesson in first)
            working = sum(task.minutes for tasks in doing for task in tasks)
            yield (
                [nodes.paragraph("", str(number))],
                [nodes.paragraph("", "", self.link("std", "doc", lesson.docname)) for lesson in chapters],
                [
                    part
                    for lesson in first
                    for widget in lesson.widgets
                    for part in self.text(f"**{widget}.** {data['widgets'][widget]}")
                ],
                [
                    nodes.paragraph("", f"{lesson.number}: {', '.join(str(task.number) for task in tasks)}")
                    for lesson, tasks in zip(chapters, doing, strict=True)
                ],
                [nodes.paragraph("", f"{reading} + {working}")],
            )


class ExercisesTrained(TeachingTable):
    """``{exercises-trained}``."""

    columns = (("Exercise", 22), ("Minutes", 8), ("What it trains", 25), ("Mistakes that its check names", 45))
    label = "tb-trained"

    def run(self) -> list[nodes.Node]:
        """Build a section with a table for each chapter."""
        if (data := self.data()) is None:
            return []
        sections: list[nodes.Node] = []
        for lesson in lessons(self.root):
            title = f"Chapter {lesson.number}"
            section = nodes.section(names=[nodes.fully_normalize_name(title)])
            self.state.document.note_implicit_target(section, section)
            section += nodes.title("", title)
            section += nodes.paragraph("", "", self.link("std", "doc", lesson.docname))
            section += self.table(self.row(task, data["trains"][task.check]) for task in lesson.tasks)
            sections.append(section)
        return sections

    def row(self, task: Task, trains: str) -> Sequence[Cell]:
        """One row."""
        return (
            [nodes.paragraph("", f"{task.number} · {task.name} {task.stars}")],
            [nodes.paragraph("", str(task.minutes))],
            self.text(trains),
            [nodes.paragraph("", " · ".join(task.mistakes))],
        )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.setup_extension("book_tables")
    app.add_directive("syllabus", Syllabus)
    app.add_directive("exercises-trained", ExercisesTrained)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
