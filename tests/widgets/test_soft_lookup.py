"""Soft lookup: its numbers are the package's, in Python and in the page's module; its errors."""

import math

import pytest
import torch
from torch.nn import functional as F

from transformer_book.scoring import AdditiveScore
from transformer_book.widgets import SoftLookup
from transformer_book.widgets.soft_lookup import KEYS, SCORES, closeness_network


def by_hand(widget: SoftLookup) -> list[float]:
    """Scores from the formulas, in plain numbers."""
    (x, y), turned = widget.query, math.radians(widget.turn)
    if widget.score == "additive":
        network = closeness_network().requires_grad_(False)
        query = network.query.weight @ torch.tensor([x, y, 1.0])
        keys = [network.key.weight @ torch.tensor([*key, 1.0]) for key in widget.key]
        return [float(network.value.weight[0] @ torch.tanh(query + key)) for key in keys]
    if widget.score == "bilinear":
        x, y = x * math.cos(turned) - y * math.sin(turned), x * math.sin(turned) + y * math.cos(turned)
    divisor = math.sqrt(3) if widget.score == "scaled_dot" else 1.0
    return [(x * key[0] + y * key[1] + 1) / divisor for key in widget.key]


@pytest.mark.parametrize("score", SCORES)
def test_numbers_are_those_of_the_formulas(score):
    widget = SoftLookup((0.7, -1.3), score, turn=35)
    scores = torch.tensor(by_hand(widget))
    torch.testing.assert_close(widget.scores(), scores, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(widget.weights(), scores.softmax(0), rtol=1e-5, atol=1e-6)
    blend = sum(weight * torch.tensor(key) for weight, key in zip(scores.softmax(0), KEYS, strict=True))
    torch.testing.assert_close(widget.output(), blend, rtol=1e-5, atol=1e-5)


def test_only_the_additive_score_lets_the_key_between_the_others_win():
    """What the widget is there to show."""
    steps = torch.linspace(-2, 2, 17).tolist()
    winners = {score: set() for score in SCORES}
    for score in SCORES:
        widget = SoftLookup(score=score)
        for x in steps:
            for y in steps:
                if (x, y) != (0.0, 0.0):  # there all scores of a product are alike
                    widget.query = [x, y]
                    winners[score].add(int(widget.scores().argmax()))
    assert winners == {
        "dot": {0, 1, 2, 3},
        "scaled_dot": {0, 1, 2, 3},
        "bilinear": {0, 1, 2, 3},
        "additive": set(range(5)),
    }


def test_the_network_measures_closeness():
    network = closeness_network()
    assert isinstance(network, AdditiveScore)
    generator = torch.Generator().manual_seed(0)
    query, key = F.pad(4 * torch.rand(2, 1, 200, 2, generator=generator) - 2, (0, 1), value=1.0).unbind()
    nearest = torch.cdist(query, key)[0].argmin(dim=-1)
    distance = torch.cdist(query, key)[0]
    chosen = distance.gather(1, network(query, key)[0].argmax(dim=-1, keepdim=True))[:, 0]
    assert (chosen - distance.gather(1, nearest[:, None])[:, 0]).median() < 0.05


def test_the_page_computes_what_python_computes(run_js):
    calls, expected = [], []
    generator = torch.Generator().manual_seed(3)
    for number in range(40):
        keys = (4 * torch.rand(2 + number % 7, 2, generator=generator) - 2).tolist()
        query = (4 * torch.rand(2, generator=generator) - 2).tolist()
        widget = SoftLookup(query, SCORES[number % 4], keys, turn=9 * number - 180)
        calls.append(("scoresOf", [widget.score, widget.query, widget.key, widget.turn, widget.network]))
        expected.append(widget)
    for scores, widget in zip(run_js("soft_lookup", calls), expected, strict=True):
        torch.testing.assert_close(torch.tensor(scores), widget.scores(), rtol=1e-5, atol=1e-5)
        weights, winner = run_js("soft_lookup", [("softmax", [scores]), ("winner", [scores])])
        torch.testing.assert_close(torch.tensor(weights), widget.weights(), rtol=1e-5, atol=1e-5)
        assert winner == int(widget.scores().argmax())
        [blend] = run_js("soft_lookup", [("blend", [weights, widget.key])])
        torch.testing.assert_close(torch.tensor(blend), widget.output(), rtol=1e-5, atol=1e-5)


def test_observe_sees_every_dial():
    widget, seen = SoftLookup(), []
    widget.observe(lambda change: seen.append(change.name), ["query", "score", "key", "turn"])
    widget.query, widget.score, widget.key, widget.turn = [0.0, 1.0], "additive", [[0, 0], [1, 1]], 5
    assert seen == ["query", "score", "key", "turn"]


def test_describe_names_query_score_and_weights():
    text = SoftLookup((0.0, 0.0), "additive").describe()
    assert text.startswith("a query at (0.0, 0.0) among 5 keys, compared by an additive score. Weights: A 0.0")
    assert "E 1.00. Output: (0.00, 0.00)." in text


WRONG = [
    ({"query": (1.0,)}, ValueError, r"query: expected two numbers in -2 … 2, got \[1.0\]"),
    ({"query": (2.1, 0.0)}, ValueError, r"query: expected two numbers in -2 … 2, got \[2.1, 0.0\]"),
    ({"query": (float("nan"), 0.0)}, ValueError, r"query: expected two numbers in -2 … 2, got \[nan, 0.0\]"),
    ({"score": "cosine"}, ValueError, "score: expected one of 'dot', .* got 'cosine'"),
    ({"key": [(0, 0)]}, ValueError, "key: expected 2 … 8 points, got 1"),
    ({"key": [(0, 0)] * 9}, ValueError, "key: expected 2 … 8 points, got 9"),
    ({"key": [(0, 0), (0, -3)]}, ValueError, r"key: expected two numbers in -2 … 2, got \[0.0, -3.0\]"),
    ({"turn": 181}, ValueError, "turn: expected an integer in -180 … 180, got 181"),
    ({"turn": 0.5}, TypeError, "turn: expected an integer, got 0.5"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        SoftLookup(**arguments)


@pytest.mark.parametrize(("arguments", "message"), [(a, m) for a, error, m in WRONG if error is ValueError])
def test_wrong_assignments_leave_the_state(arguments, message):
    widget = SoftLookup()
    before = widget.describe()
    ((name, value),) = arguments.items()
    with pytest.raises(ValueError, match=message):
        setattr(
            widget,
            name,
            [list(point) if isinstance(point, tuple) else point for point in value]
            if name in ("query", "key")
            else value,
        )
    assert widget.describe() == before
