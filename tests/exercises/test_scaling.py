"""Mutation tests of the exercise checks: every known wrong answer gets its own message, right ones pass."""

import math

import pytest
import torch
from torch import nn

from transformer_book.cost import layer_flops
from transformer_book.exercises import scaling as checks


def feedback(capsys, check, answer) -> str:
    assert check(answer) is None
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out.rstrip("\n")


def first_line(text: str) -> str:
    return text.partition("\n")[0]


def flops(own=8, table=4, think=4):
    return lambda t, d, f: own * t * d**2 + table * t**2 * d + think * t * d * f


FLOPS = [
    (flops(4, 2, 2), "✗ a multiplication and an addition counted as one"),
    (flops(own=6), "✗ three projections, not four"),
    (flops(own=0), "✗ the projections are left out"),
    (flops(table=2), "✗ scores or blends, not both"),
    (lambda t, d, f: 8 * t * d**2 + 4 * t * d + 4 * t * d * f, "✗ attention to one position, not to all T"),
    (flops(table=0), "✗ scores and blends are left out"),
    (flops(think=2), "✗ one product in the feed-forward layer"),
    (flops(think=0), "✗ the feed-forward layer is left out"),
]

ROOFLINE = [
    (lambda w, q, p, b: torch.maximum(w / b, q / b), "✗ operations divided by bytes per second"),
    (lambda w, q, p, b: torch.maximum(w * p, q / b), "✗ operations times the peak"),
    (lambda w, q, p, b: torch.maximum(w / p, q / p), "✗ bytes divided by operations per second"),
    (lambda w, q, p, b: torch.maximum(w / p, q * b), "✗ bytes times the bandwidth"),
    (lambda w, q, p, b: torch.minimum(w / p, q / b), "✗ the smaller of the two, not the larger"),
    (lambda w, q, p, b: w / p + q / b, "✗ both times added up"),
    (lambda w, q, p, b: w / p, "✗ memory is left out"),
    (lambda w, q, p, b: q / b, "✗ arithmetic is left out"),
]

CROSSING = [
    (lambda f, d: 1 * f, "✗ the four projections are left out"),
    (lambda f, d: f - d, "✗ half of the projections"),
    (lambda f, d: 2 * f - 2 * d, "✗ the feed-forward layer counted twice"),
    (lambda f, d: 2 * (f - 2 * d), "✗ scores or blends, not both"),
    (lambda f, d: f - 2 * d, "✗ length: wrong where F is below 2D"),
]

SHARED = [
    (lambda t, d, h, g, n: 2 * n * t * g * (d // h), "✗ keys or values, not both"),
    (lambda t, d, h, g, n: 8 * n * t * g * (d // h), "✗ 4 bytes a number, not 2"),
    (lambda t, d, h, g, n: 4 * n * t * d, "✗ every query head with keys of its own"),
    (lambda t, d, h, g, n: 4 * n * t * (h // g) * (d // h), "✗ heads per group, not groups"),
    (lambda t, d, h, g, n: 4 * n * t * g * d, "✗ each head as wide as the model"),
]

JOINED = [
    (lambda g, n: g.mean(dim=0), "✗ parts weigh alike, whatever their tokens"),
    (lambda g, n: g.sum(dim=0), "✗ the sum of the parts"),
    (lambda g, n: n @ g, "✗ not divided by all tokens"),
    (lambda g, n: n @ g / n.sum() / len(n), "✗ divided by the number of parts as well"),
    (
        lambda g, n: (n.float() @ g.float() / n.float().sum()).to(g.dtype),
        "✗ gradient: right to a few digits only, …",
    ),
]

GROUPS = {
    checks.check_layer_flops: (FLOPS, checks._FLOPS),
    checks.check_roofline: (ROOFLINE, checks._ROOFLINE),
    checks.check_crossing: (CROSSING, checks._CROSSING),
    checks.check_shared_cache: (SHARED, checks._SHARED),
    checks.check_joined_gradient: (JOINED, checks._JOINED),
}
WRONG = [(check, *entry) for check, (table, _) in GROUPS.items() for entry in table]


def by_layer(length, d_model, d_ff):
    return torch.tensor([sum(layer_flops(t, d_model, d_ff).values()) for t in length.tolist()])


RIGHT = {
    checks.check_layer_flops: [flops(), by_layer],
    checks.check_roofline: [
        lambda w, q, p, b: torch.maximum(w / p, q / b),
        lambda w, q, p, b: torch.where(w / q > p / b, w / p, q / b),
    ],
    checks.check_crossing: [lambda f, d: (f - 2 * d).clamp(min=0), lambda f, d: (f - 2 * d).relu()],
    checks.check_shared_cache: [
        lambda t, d, h, g, n: 4 * n * t * g * (d // h),
        lambda t, d, h, g, n: 4 * t * n * d // (h // g),
    ],
    checks.check_joined_gradient: [
        lambda g, n: n @ g / n.sum(),
        lambda g, n: torch.einsum("pd,p->d", g, n / n.sum()),
    ],
}


@pytest.mark.parametrize(("check", "answer", "message"), WRONG)
def test_a_wrong_answer_is_told_its_own_mistake_every_time(capsys, check, answer, message: str) -> None:
    for _ in range(10):
        line = first_line(feedback(capsys, check, answer))
        assert line.startswith(message[:-1]) if message.endswith("…") else line == message


@pytest.mark.parametrize(
    ("check", "answer"), [(check, answer) for check, answers in RIGHT.items() for answer in answers]
)
def test_a_right_answer_passes_every_time_with_the_same_text(capsys, check, answer) -> None:
    texts = {feedback(capsys, check, answer) for _ in range(10)}
    assert len(texts) == 1
    assert texts.pop().startswith("✓ ")


@pytest.mark.parametrize("check", GROUPS)
def test_every_named_mistake_is_caught_in_some_wrong_answer(check) -> None:
    table, exercise = GROUPS[check]
    named = {f"✗ {mistake.wrong[0].name}" for mistake in exercise.mistakes if len(mistake.wrong) == 1}
    assert named <= {message for _, message in table}


@pytest.mark.parametrize("check", GROUPS)
def test_an_unwritten_answer_says_what_is_missing(capsys, check) -> None:
    returns = GROUPS[check][1].returns
    assert feedback(capsys, check, lambda *inputs: None) == f"○ not written yet: return {returns}"


@pytest.mark.parametrize("check", GROUPS)
def test_checks_leave_the_readers_random_state_and_settings_alone(capsys, check) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            assert feedback(capsys, check, RIGHT[check][0]).startswith("✓ ")
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("check", GROUPS)
def test_an_odd_result_is_rejected_and_raises_nothing(capsys, check) -> None:
    for odd in (3, "beam", [], torch.tensor(-1.0), torch.full((3,), math.nan), nn.Linear(2, 3)):
        assert feedback(capsys, check, lambda *inputs, odd=odd: odd).startswith("✗ ")
        assert feedback(capsys, check, lambda *inputs, odd=odd: (odd, odd, odd)).startswith("✗ ")


def test_the_messages_differ() -> None:
    for _, exercise in GROUPS.values():
        single = [mistake.wrong[0].name for mistake in exercise.mistakes if len(mistake.wrong) == 1]
        assert len(set(single)) == len(single)
