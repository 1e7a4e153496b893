"""Mutation tests of the exercise checks: every known wrong answer gets its own message, right ones pass."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from transformer_book.exercises import descendants as checks


def feedback(capsys, check, answer) -> str:
    assert check(answer) is None
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out.rstrip("\n")


def first_line(text: str) -> str:
    return text.partition("\n")[0]


# Exercise 1 ---------------------------------------------------------------------------------------------


def probability(count, total, kinds, lower, discount):
    seen = total.clamp(min=1)
    return torch.where(total == 0, lower, F.relu(count - discount) / seen + discount * kinds / seen * lower)


def by_loop(count, total, kinds, lower, discount):
    rows = zip(count, total, kinds, lower, strict=True)
    return torch.stack([(max(c - discount, 0 * c) + discount * k * p) / t if t else p for c, t, k, p in rows])


INTERPOLATION = [
    (
        lambda c, t, k, p, d: torch.where(t > 0, (c - d + d * k * p) / t, p),
        "✗ a count of zero is discounted too: its probability may be negative",
    ),
    (
        lambda c, t, k, p, d: torch.where(t > 0, (c + d * k * p) / t, p),
        "✗ the counts keep all they had, and the sum is above one",
    ),
    (
        lambda c, t, k, p, d: torch.where(t > 0, ((c - d).relu() + d * p) / t, p),
        "✗ one discount is freed, not one for each kind of token seen",
    ),
    (
        lambda c, t, k, p, d: torch.where(t > 0, (c - d).relu() / t + d * p, p),
        "✗ a discount for each time the context was seen",
    ),
    (lambda c, t, k, p, d: torch.where(t > 0, (c - d).relu() / t, p), "✗ what is freed is lost"),
    (
        lambda c, t, k, p, d: torch.where(t == 0, p, torch.where(c > 0, (c - d) / t, d * k / t * p)),
        "✗ only tokens never seen get a share: backing off, not interpolating",
    ),
    (
        lambda c, t, k, p, d: ((c - d).relu() + d * k * p) / t,
        "✗ zero divided by zero after a context never seen",
    ),
    (
        lambda c, t, k, p, d: ((c - d).relu() + d * k * p) / t.clamp(min=1),
        "✗ after a context never seen nothing is probable",
    ),
    (
        lambda c, t, k, p, d: (c - d).relu() + d * k * p,
        "✗ not divided by how often the context was seen",
    ),
    (lambda *a: probability(*a).float(), "✗ probability: expected torch.float64, got torch.float32"),
    (lambda c, t, k, p, d: p, "✗ probability: wrong for tokens seen and not seen"),
]


# Exercise 2 ---------------------------------------------------------------------------------------------


def rms(x, weight, eps):
    return F.rms_norm(x, x.shape[-1:], weight, eps)


def rms_by_hand(x, weight, eps):
    return weight * x * (x.pow(2).mean(-1, keepdim=True) + eps).rsqrt()


def rms_with(size=lambda x: x.pow(2).mean(-1, keepdim=True), root=lambda s, e: (s + e).sqrt()):
    return lambda x, w, e: w * x / root(size(x), e)


RMS = [
    (lambda x, w, e: F.layer_norm(x, x.shape[-1:], w, None, e), "✗ the mean is taken away: that is LayerNorm"),
    (
        rms_with(lambda x: x.pow(2).sum(-1, keepdim=True)),
        "✗ divided by the length of the vector, not by its root mean square",
    ),
    (rms_with(lambda x: x.pow(2).mean(0, keepdim=True)), "✗ the mean over the first axis"),
    (rms_with(lambda x: x.pow(2).mean()), "✗ one mean for all vectors together"),
    (rms_with(lambda x: x.abs().mean(-1, keepdim=True).pow(2)), "✗ the mean of |x|"),
    (rms_with(root=lambda s, e: s.sqrt() + e), "✗ eps is added outside the root"),
    (rms_with(root=lambda s, e: s.sqrt()), "✗ no eps"),
    (rms_with(root=lambda s, e: s + e), "✗ divided by the mean square: the root is missing"),
    (lambda x, w, e: rms(x, None, e), "✗ weight is left out"),
    (lambda x, w, e: rms(x, w + 1, e), "✗ multiplied by 1 + weight"),
    (lambda x, w, e: rms(x.detach(), w, e), "✗ right values, but no gradient reaches x"),
    (lambda x, w, e: rms(x.float(), w.float(), e), "✗ normalised: expected torch.float64, got torch.float32"),
    (lambda x, w, e: x * w, "✗ normalised: wrong for ordinary vectors"),
]


# Exercise 3 ---------------------------------------------------------------------------------------------


def shared(k, num_heads):
    return k[:, torch.arange(num_heads) // (num_heads // k.shape[1])]


def shared_by_expand(k, num_heads):
    return k[:, :, None].expand(-1, -1, num_heads // k.shape[1], -1, -1).flatten(1, 2)


SHARED = [
    (lambda k, h: k[:, torch.arange(h) % k.shape[1]], "✗ dealt out in turn: head 1 gets the second group"),
    (lambda k, h: k.repeat_interleave(h // k.shape[1], 2), "✗ the positions are repeated, not the heads"),
    (lambda k, h: shared(k.flip(1), h), "✗ the groups are in reverse order"),
    (lambda k, h: k[:, torch.zeros(h).long()], "✗ all heads read the first group"),
    (lambda k, h: k * 1, "✗ nothing is repeated"),
    (lambda k, h: shared(k.detach(), h), "✗ right values, but no gradient reaches k"),
    (lambda k, h: shared(k, h) * 2, "✗ shared: wrong for three groups and nine heads"),
]


# Exercise 4 ---------------------------------------------------------------------------------------------


def pooled(states, mask):
    kept = torch.where(mask[..., None], states, 0.0)
    return F.normalize(kept.sum(1) / mask.sum(1)[:, None], dim=-1)


def pooled_by_row(states, mask):
    return torch.stack([F.normalize(row[real].mean(0), dim=0) for row, real in zip(states, mask, strict=True)])


def means(states, mask):
    return torch.stack([row[real].mean(0) for row, real in zip(states, mask, strict=True)])


POOLED = [
    (lambda s, m: F.normalize(s.mean(1), dim=-1), "✗ padding is averaged in"),
    (lambda s, m: F.normalize(s[:, 0], dim=-1), "✗ the first token's state, not the mean of all"),
    (
        lambda s, m: F.normalize(s.masked_fill(~m[..., None], -1e9).amax(1), dim=-1),
        "✗ the largest of each coordinate, not the mean",
    ),
    (means, "✗ not of length one"),
    (lambda s, m: means(s, m) / means(s, m).norm(), "✗ divided by the length of the whole batch"),
    (lambda s, m: means(s, m) / means(s, m).sum(-1, keepdim=True), "✗ divided by the sum of its coordinates"),
    (lambda s, m: means(s, m).softmax(-1), "✗ a softmax"),
    (lambda s, m: pooled(s.detach(), m), "✗ right values, but no gradient reaches states"),
    (lambda s, m: pooled(s, m)[0], "✗ vector: expected shape (3, 11), got (11,)"),
]


# Exercise 5 ---------------------------------------------------------------------------------------------


def matching(weights, period):
    return weights.diagonal(1 - period, -2, -1)[..., 1:].mean((0, 2))


def matching_by_loop(weights, period):
    places = range(period, weights.shape[-1])
    return torch.stack([weights[:, :, t, t - period + 1] for t in places]).mean((0, 1))


def off_diagonal(shift, start, end=lambda found: found.mean((0, 2))):
    def answer(weights, period):
        places = torch.arange(start(period), weights.shape[-1])
        return end(weights[:, :, places, places + shift(period)])

    return answer


def from_period(period):
    return period


def one_on(period):
    return 1 - period


MATCHING = [
    (off_diagonal(lambda n: -n, from_period), "✗ where the same symbol stood before, not what followed it"),
    (off_diagonal(lambda n: -1, from_period), "✗ the symbol just before"),
    (off_diagonal(lambda n: 2 - n, from_period), "✗ one place too far"),
    (off_diagonal(lambda n: 0, from_period), "✗ the symbol itself"),
    (off_diagonal(one_on, lambda n: n + 1), "✗ starts one place late"),
    (off_diagonal(one_on, lambda n: 2 * n), "✗ starts with the third time"),
    (off_diagonal(one_on, lambda n: n - 1), "✗ starts one place early"),
    (off_diagonal(one_on, from_period, lambda found: found.sum(2).mean(0)), "✗ summed over places"),
    (off_diagonal(one_on, from_period, lambda found: found.mean()), "✗ averaged over the heads too"),
    (off_diagonal(one_on, from_period, lambda found: found.amax((0, 2))), "✗ the largest, not the mean"),
    (lambda w, n: matching(w, n).float(), "✗ score: expected torch.float64, got torch.float32"),
    (lambda w, n: w.mean((0, 2, 3)), "✗ score: wrong for a period of five"),
]

ALL = {
    checks.check_interpolation: (INTERPOLATION, (probability, by_loop)),
    checks.check_rms_norm: (RMS, (rms, rms_by_hand)),
    checks.check_shared_heads: (SHARED, (shared, shared_by_expand)),
    checks.check_sentence_vector: (POOLED, (pooled, pooled_by_row)),
    checks.check_matching: (MATCHING, (matching, matching_by_loop)),
}
WRONG = [(check, answer, message) for check, (wrong, _) in ALL.items() for answer, message in wrong]
RIGHT = [(check, answer) for check, (_, right) in ALL.items() for answer in right]


@pytest.mark.parametrize(("check", "answer", "message"), WRONG)
def test_known_wrong_answers_get_their_own_message(capsys, check, answer, message):
    assert first_line(feedback(capsys, check, answer)).startswith(message)


def test_messages_differ():
    for check, (wrong, _) in ALL.items():
        assert len({message for _, message in wrong}) == len(wrong), check


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_right_answers_pass(capsys, check, answer):
    for _ in range(3):
        assert feedback(capsys, check, answer).startswith("✓ ")


@pytest.mark.parametrize("check", ALL)
def test_a_stub_is_told_what_is_missing(capsys, check):
    assert feedback(capsys, check, lambda *_: None).startswith("○ not written yet: return ")


def test_rms_is_pytorchs(capsys):
    module = nn.RMSNorm(7, eps=0.3)
    x = torch.randn(3, 5, 7)
    torch.testing.assert_close(checks._RMS.reference(x, module.weight, 0.3), module(x))
