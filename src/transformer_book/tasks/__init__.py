"""The tasks the book's models learn, by name."""

from typing import Any

from transformer_book.tasks.copying import Copying
from transformer_book.tasks.dates import Dates
from transformer_book.tasks.pronunciation import Pronunciation
from transformer_book.tasks.task import Task
from transformer_book.tasks.translation import Translation

#: Name → class; a task is rebuilt by ``make_task(task.name, **task.settings())``.
TASKS: dict[str, type[Task]] = {
    "copying": Copying,
    "dates": Dates,
    "pronunciation": Pronunciation,
    "translation": Translation,
}


def make_task(name: str, **settings: Any) -> Task:
    """Make a task from its name and settings.

    Parameters
    ----------
    name
        One of `TASKS`.
    **settings
        Arguments of its class.

    Raises
    ------
    ValueError
        There is no such task, or a setting is out of range.
    TypeError
        The task has no such setting.
    """
    if name not in TASKS:
        raise ValueError(f"name: expected one of {', '.join(TASKS)}, got {name!r}")
    return TASKS[name](**settings)
