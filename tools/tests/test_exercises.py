"""The shape of an exercise."""

import pytest
from notebooks.errors import ProblemError
from notebooks.exercises import read_exercises

ASKED = ":::{admonition} Exercise 1 · halve it · ★☆☆ · 5 min\n:class: exercise\n\nHalve it.\n:::\n\n"
STUB = "```{code-cell} ipython3\n:tags: [exercise]\n\ndef half(x): ...\n\n\ncheck_half(half)\n```\n\n"
SOLUTION = ":::{dropdown} Solution\nDivide.\n\n```python\ndef half(x):\n    return x / 2\n```\n:::\n\n"
PLAIN = "```{code-cell} ipython3\n1\n```\n\n"


def test_reads_all_parts(sample, body_line):
    second = ASKED.replace("Exercise 1", "Exercise 2")
    first, second = read_exercises(
        sample.write(f"{PLAIN}{ASKED}{STUB}{SOLUTION}{second}{STUB}{SOLUTION}{PLAIN}"), sample.book
    )
    assert first.title == "Exercise 1 · halve it · ★☆☆ · 5 min"
    assert first.line == body_line + PLAIN.count("\n")
    assert first.stub.source.startswith("def half(x): ...")
    assert first.check == "check_half(half)"
    assert first.solution == "def half(x):\n    return x / 2"
    assert second.title.startswith("Exercise 2")


def test_a_chapter_may_have_none(sample):
    assert read_exercises(sample.write("Text.\n\n:::{dropdown} Why?\nSo.\n:::\n"), sample.book) == []


@pytest.mark.parametrize(
    ("body", "offset", "message"),
    [
        (ASKED, 0, "exercise 1: expected a code cell and a dropdown “Solution” after it"),
        (ASKED + STUB, 0, "expected a code cell and a dropdown"),
        (STUB, 0, "expected its admonition, then one code cell"),
        (ASKED + STUB + STUB, 15, "expected its admonition, then one code cell"),
        (ASKED + PLAIN, 6, "expected a code cell tagged `exercise`"),
        (ASKED + SOLUTION, 6, "expected a code cell before its solution"),
        (ASKED + STUB + ASKED, 15, "expected its solution before the next exercise"),
        (ASKED.replace(" · 5 min", ""), 0, "expected the title “Exercise N · name · ★★☆ · M min”"),
        (ASKED.replace("1", "2"), 0, "expected the title"),
        (
            ASKED + STUB + SOLUTION.replace("```python", "```text"),
            15,
            r"one ```python fence in the solution, got \['text'\]",
        ),
        (ASKED + STUB.replace("check_half(half)", "half(1)") + SOLUTION, 6, "end with the call of its check"),
    ],
)
def test_a_part_out_of_place_is_named(sample, body_line, body, offset, message):
    with pytest.raises(ProblemError, match=message) as caught:
        read_exercises(sample.write(body), sample.book)
    assert caught.value.line == body_line + offset
