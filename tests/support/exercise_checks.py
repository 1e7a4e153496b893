"""What the exercise checks of every chapter are tested for; a chapter's file holds its answers only.

A file names its answers and inherits the tests::

    class TestChecks(ExerciseChecks):
        TABLES = {checks.check_scores: (SCORES, checks._SCORES)}
        RIGHT = {checks.check_scores: [by_hand, by_torch]}
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from transformer_book.exercises._feedback import Exercise

Answer = Callable[..., Any]
Check = Callable[[Any], None]
#: Wrong answers, each with the first line that it must be told; one that ends in "…" stands for its beginning.
Table = list[tuple[Answer, str]]


def feedback(capsys: pytest.CaptureFixture[str], check: Check, answer: Any) -> str:
    """Return what a check prints; it prints to stdout only and returns nothing."""
    assert check(answer) is None
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out.rstrip("\n")


def first_line(text: str) -> str:
    return text.partition("\n")[0]


def matches(line: str, message: str) -> bool:
    return line.startswith(message[:-1]) if message.endswith("…") else line == message


def _dots(*inputs): ...


def _unfinished(*inputs):
    raise NotImplementedError


def _unfinished_with_a_word(*inputs):
    raise NotImplementedError("your line here")


ODD = [3, "heads", ..., [], {}, np.ones(3), torch.tensor(1.0), torch.zeros(0), nn.Linear(2, 3)]
ODD += [torch.full(shape, math.nan) for shape in ((7, 11), (2, 5, 21))]
ODD += [torch.zeros(7, 11, dtype=dtype) for dtype in (torch.complex64, torch.int64, torch.bfloat16, torch.bool)]
ODD += [torch.ones(7, 11).to_sparse(), torch.ones(7, 7).to_sparse(), torch.ones(5, 13).to_sparse()]


class ExerciseChecks:
    """Every known wrong answer gets its own message, right ones pass, nothing of the reader's is touched.

    Attributes
    ----------
    TABLES
        For each check, its wrong answers and the exercise that it judges.
    RIGHT
        For each check, at least two right answers of different make.
    SAME_INPUTS
        Checks with a case whose inputs never change, or are one of few; the others draw all of theirs afresh.
    DRAWS
        How often each answer is judged, each time on fresh inputs.
    """

    TABLES: ClassVar[dict[Check, tuple[Table, Exercise]]]
    RIGHT: ClassVar[dict[Check, list[Answer]]]
    SAME_INPUTS: ClassVar[set[Check]] = set()
    DRAWS: ClassVar[int] = 10

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Give a test every wrong answer, every right one, or every check, by the names of its arguments."""

        def give(names: str, rows: Iterable[tuple[Any, ...]]) -> None:
            counted = [pytest.param(*row, id=f"{row[0].__name__}-{n}") for n, row in enumerate(rows)]
            metafunc.parametrize(names, counted)

        if "message" in metafunc.fixturenames:
            give("check, answer, message", ((c, *row) for c, (table, _) in self.TABLES.items() for row in table))
        elif "answer" in metafunc.fixturenames:
            give("check, answer", ((check, answer) for check, answers in self.RIGHT.items() for answer in answers))
        elif "check" in metafunc.fixturenames:
            metafunc.parametrize("check", self.TABLES, ids=lambda check: check.__name__)

    def test_a_wrong_answer_is_told_its_own_mistake_every_time(self, capsys, check, answer, message):
        lines = [first_line(feedback(capsys, check, answer)) for _ in range(self.DRAWS)]
        assert [line for line in lines if not matches(line, message)] == []

    def test_a_right_answer_passes_every_time_with_the_same_text(self, capsys, check, answer):
        texts = {feedback(capsys, check, answer) for _ in range(self.DRAWS)}
        assert len(texts) == 1
        text = texts.pop()
        assert text.startswith("✓ "), text
        assert "\n" not in text

    def test_there_are_right_answers_of_different_make(self, check):
        assert len(self.RIGHT[check]) >= 2

    def test_every_named_mistake_is_caught_in_some_wrong_answer(self, check):
        table, exercise = self.TABLES[check]
        named = {f"✗ {mistake.wrong[0].name}" for mistake in exercise.mistakes if len(mistake.wrong) == 1}
        assert named - {message for _, message in table} == set()

    def test_a_name_stands_for_one_mistake(self, check):
        """Two ways to the same wrong result may share a name, and then give the same reason."""
        _, exercise = self.TABLES[check]
        single = [mistake.wrong[0] for mistake in exercise.mistakes if len(mistake.wrong) == 1]
        assert len({option.name for option in single}) == len({(option.name, option.why) for option in single})

    def test_a_stub_is_told_what_is_missing(self, capsys, check):
        missing = f"○ not written yet: return {self.TABLES[check][1].returns}"
        for stub in (_dots, _unfinished, _unfinished_with_a_word):
            assert feedback(capsys, check, stub) == missing

    def test_an_exception_is_reported_with_the_inputs(self, capsys, check):
        def broken(*inputs):
            raise TypeError("no such thing")

        text = feedback(capsys, check, broken)
        assert first_line(text) == "✗ your function raised TypeError: no such thing"
        assert "\n  Called with " in text

    def test_a_function_of_too_many_arguments_is_reported(self, capsys, check):
        def greedy(a, b, c, d, e, f, g, h, i, j):
            return a

        assert "greedy() missing" in first_line(feedback(capsys, check, greedy))

    def test_a_result_in_place_of_the_function_is_pointed_out(self, capsys, check):
        assert first_line(feedback(capsys, check, torch.zeros(2))) == "✗ expected a function, got Tensor"

    def test_warnings_of_the_answer_do_not_become_errors(self, capsys, check):
        def warned(*inputs):
            torch.zeros(2, 3, 5).T  # noqa: B018 - deprecated for more than two axes, and warns
            return self.RIGHT[check][0](*inputs)

        assert feedback(capsys, check, warned).startswith("✓ ")

    def test_checks_draw_fresh_inputs_and_leave_the_readers_random_state_alone(self, capsys, check):
        seen = []

        def remember(*inputs):
            seen.append(str(inputs))
            return self.RIGHT[check][0](*inputs)

        torch.manual_seed(0)
        expected = torch.rand(3)
        for _ in range(2):
            torch.manual_seed(0)
            feedback(capsys, check, remember)
            assert torch.equal(torch.rand(3), expected)
        half = len(seen) // 2
        if check not in self.SAME_INPUTS:
            assert all(a != b for a, b in zip(seen[:half], seen[half:], strict=True))

    def test_checks_work_under_no_grad_and_another_default_dtype(self, capsys, check):
        torch.set_default_dtype(torch.float64)
        try:
            with torch.no_grad():
                assert feedback(capsys, check, self.RIGHT[check][0]).startswith("✓ ")
        finally:
            torch.set_default_dtype(torch.float32)

    def test_checks_work_where_the_default_device_is_another(self, capsys, check):
        with torch.device("meta"):
            assert feedback(capsys, check, self.RIGHT[check][0]).startswith("✓ ")

    def test_an_odd_result_is_rejected_and_raises_nothing(self, capsys, check):
        for odd in ODD:
            for result in (odd, (odd, odd, odd)):
                assert feedback(capsys, check, lambda *inputs, result=result: result).startswith("✗ ")
