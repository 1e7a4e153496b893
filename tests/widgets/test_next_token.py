"""Next token: what is stored of a distribution, the dials, the draws, and the same arithmetic in the page."""

import math

import pytest
import torch

from transformer_book.decoding import token_probabilities
from transformer_book.widgets import NextToken
from transformer_book.widgets.next_token import DATA, KEPT, distribution, stored_distributions, uniform

SIZE = 1009


def made(seed=0, spread=3.0):
    """Make a distribution over 1,009 tokens, as uneven as a language model's."""
    logits = spread * torch.randn(SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return logits, distribution(f"text {seed}", logits, [f" t{number}" for number in range(SIZE)])


DIALS = [
    (1.0, 0, 1.0),
    (0.5, 0, 0.9),
    (1.7, 50, 1.0),
    (3.0, 0, 0.97),
    (0.1, 7, 0.3),
    (1.0, 200, 0.999),
    (2.5, 1, 0.05),
]


def test_what_is_stored_is_the_distribution_but_for_the_bins_of_the_tail():
    logits, entry = made()
    assert len(entry["tokens"]) == len(entry["logs"]) == KEPT
    assert KEPT + sum(count for _, count in entry["tail"]) == SIZE
    best = int(logits.argmax())
    assert entry["tokens"][0] == f" t{best}"
    exact = logits.log_softmax(0).sort(descending=True).values
    widget = NextToken([entry])
    torch.testing.assert_close(widget.logits()[:KEPT], exact[:KEPT], atol=1e-5, rtol=0)
    assert widget.logits().exp().sum().item() == pytest.approx(1.0, abs=1e-4)
    assert (widget.logits() - exact).abs().max() < 0.1 + 1e-5


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), DIALS)
def test_dials_on_what_is_stored_are_close_to_dials_on_all(temperature, top_k, top_p):
    logits, entry = made()
    widget = NextToken([entry], 0, temperature, top_k, top_p)
    exact = token_probabilities(logits, temperature, top_k or None, top_p).sort(descending=True).values
    assert (widget.probabilities() - exact).abs().sum().item() < 0.02


@pytest.mark.parametrize("seed", range(3))
def test_the_page_computes_what_python_computes(run_js, seed):
    _, entry = made(seed)
    [groups] = run_js("next_token", [("groupsOf", [entry])])
    calls = [("afterDials", [groups["logs"], groups["counts"], *dials]) for dials in DIALS]
    for dials, seen in zip(DIALS, run_js("next_token", calls), strict=True):
        widget = NextToken([entry], 0, *dials)
        ours = widget.probabilities()
        kept = torch.tensor(seen["kept"])
        assert int(kept.sum()) == int((ours > 0).sum()), dials
        each = torch.tensor(seen["each"], dtype=torch.float64)
        place = torch.arange(len(each)).repeat_interleave(torch.tensor(groups["counts"]))
        first = torch.cat([torch.zeros(1).long(), torch.tensor(groups["counts"]).cumsum(0)[:-1]])
        order = torch.arange(len(place)) - first[place]
        theirs = torch.where(order < kept[place], each[place], 0.0)
        torch.testing.assert_close(theirs.sort().values, ours.sort().values, atol=1e-5, rtol=0)
        [bits] = run_js("next_token", [("entropyOf", [seen["kept"], seen["each"]])])
        assert bits == pytest.approx(float(torch.special.entr(ours).sum() / math.log(2)), abs=1e-5)
        draws = run_js(
            "next_token", [("drawn", [seen["kept"], seen["each"], uniform(number)]) for number in range(1, 20)]
        )
        names = [entry["tokens"][i] if i < KEPT else "…" for i in draws]
        assert names == [widget.drawn(number) for number in range(1, 20)]


def test_random_numbers_are_the_same_in_the_page_and_spread(run_js):
    ours = [uniform(seed) for seed in range(500)]
    assert run_js("next_token", [("uniformOf", [seed]) for seed in range(500)]) == ours
    assert 0.45 < sum(ours) / 500 < 0.55
    assert len({int(10 * number) for number in ours}) == 10
    assert max(ours.count(number) for number in ours) == 1


def test_spaces_and_line_ends_are_visible(run_js):
    assert run_js("next_token", [("visible", [" a\nb"]), ("visible", [""])]) == ["␣a↵b", "∅"]


def test_draws_follow_the_probabilities():
    widget = NextToken([made()[1]], temperature=0.5, top_k=3)
    drawn = [widget.drawn(number) for number in range(1, 2001)]
    shares = widget.probabilities()[:3].tolist()
    for token, share in zip(widget.distributions[0]["tokens"], shares, strict=False):
        assert drawn.count(token) / 2000 == pytest.approx(share, abs=0.04)


def test_observe_sees_every_dial_and_describe_says_them():
    widget, seen = NextToken([made()[1], made(1)[1]]), []
    widget.observe(lambda change: seen.append(change.name), ["chosen", "temperature", "top_k", "top_p", "draws"])
    widget.chosen, widget.temperature, widget.top_k, widget.top_p, widget.draws = 1, 0.5, 20, 0.5, 3
    assert seen == ["chosen", "temperature", "top_k", "top_p", "draws"]
    assert "temperature 0.5, top-k 20, top-p 0.5" in widget.describe()
    assert "of 1,009 tokens may be drawn" in widget.describe()


WRONG = [
    ({"distributions": []}, ValueError, "distributions: expected at least one, got none"),
    ({"chosen": 1}, ValueError, "chosen: expected an integer in 0 … 0, got 1"),
    ({"top_k": 201}, ValueError, "top_k: expected an integer in 0 … 200, got 201"),
    ({"top_k": 2.5}, TypeError, "top_k: expected an integer, got 2.5"),
    ({"temperature": 0.0}, ValueError, "temperature: expected a number in 0.1 … 3.0, got 0.0"),
    ({"top_p": 0.0}, ValueError, "top_p: expected a probability above 0, at most 1, got 0.0"),
    ({"draws": -1}, ValueError, "draws: expected an integer in 0 … 9999, got -1"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        NextToken(**({"distributions": [made()[1]]} | arguments))


def test_logits_and_tokens_must_fit():
    with pytest.raises(ValueError, match=r"logits: expected one for each of 3 tokens, got \(2,\)"):
        distribution("text", torch.zeros(2), ["a", "b", "c"])


def test_the_stored_ones_are_whole_and_small():
    assert DATA.stat().st_size <= 150_000
    entries = stored_distributions()
    assert len(entries) == 10
    for entry in entries:
        widget = NextToken([entry])
        assert len(widget.logits()) == 49_152
        assert widget.logits().exp().sum().item() == pytest.approx(1.0, abs=1e-3)
        assert entry["logs"] == sorted(entry["logs"], reverse=True)
