"""Mutation tests of the exercise checks: every known wrong answer gets its own message, right ones pass."""

import math

import numpy as np
import torch
from exercise_checks import ExerciseChecks
from torch.nn import functional as F

from transformer_book.exercises import looking_back as checks

# Exercise 1 ---------------------------------------------------------------------------------------------


def dots(query, states):
    return torch.einsum("bd,bsd->bs", query, states)


def blend(weights, states):
    return torch.einsum("bs,bsd->bd", weights, states)


def right_look(query, states, mask):
    return blend(dots(query, states).masked_fill(~mask, -1e30).softmax(-1), states)


LOOK = [
    (lambda q, h, m: blend(dots(q, h).softmax(-1), h), "✗ mask ignored"),
    (
        lambda q, h, m: blend(dots(q, h).masked_fill(m, -math.inf).softmax(-1), h),
        "✗ mask inverted",
    ),
    (lambda q, h, m: blend(dots(q, h).softmax(-1) * m, h), "✗ masked after the softmax, not before"),
    (lambda q, h, m: blend((dots(q, h) * m).softmax(-1), h), "✗ scores at padding set to 0, not to −∞"),
    (
        lambda q, h, m: blend(dots(q, h).masked_fill(~m, -math.inf).softmax(0), h),
        "✗ softmax over the batch, not over the source",
    ),
    (lambda q, h, m: blend(m / m.sum(-1, keepdim=True), h), "✗ the same share for every state"),
    (lambda q, h, m: blend(dots(q, h) * m, h), "✗ no softmax"),
    (lambda q, h, m: right_look(q / math.sqrt(q.shape[-1]), h, m), "✗ scores divided by √D"),
    (lambda q, h, m: right_look(-q, h, m), "✗ the sign of the scores turned round"),
    (lambda q, h, m: right_look(q, h, m) / h.shape[1], "✗ averaged after weighing"),
    (
        lambda q, h, m: dots(q, h).masked_fill(~m, -1e30).softmax(-1),
        "✗ returned the weights, not the context",
    ),
    (
        lambda q, h, m: h[torch.arange(len(h)), dots(q, h).masked_fill(~m, -1e30).argmax(-1)],
        "✗ the best state, not a blend",
    ),
    (lambda q, h, m: right_look(q, h, m)[:, None], "✗ context: expected shape (3, 3), got (3, 1, 3)"),
    (lambda q, h, m: right_look(q.detach(), h, m), "✗ right values, but no gradient reaches query"),
]

# Exercise 2 ---------------------------------------------------------------------------------------------


def right_additive(query, key, w_query, w_key, v):
    return torch.tanh((query @ w_query.T)[:, :, None] + (key @ w_key.T)[:, None]) @ v


def parts(query, key, w_query, w_key):
    return (query @ w_query.T)[:, :, None], (key @ w_key.T)[:, None]


ADDITIVE = [
    (lambda q, k, a, b, v: sum(parts(q, k, a, b)) @ v, "✗ no tanh"),
    (lambda q, k, a, b, v: torch.tanh(math.prod(parts(q, k, a, b))) @ v, "✗ multiplied, not added"),
    (lambda q, k, a, b, v: right_additive(q, -k, a, b, v), "✗ subtracted, not added"),
    (lambda q, k, a, b, v: right_additive(q, 0 * k, a, b, v), "✗ the key left out"),
    (lambda q, k, a, b, v: right_additive(0 * q, k, a, b, v), "✗ the query left out"),
    (lambda q, k, a, b, v: torch.sigmoid(sum(parts(q, k, a, b))) @ v, "✗ a sigmoid, not tanh"),
    (lambda q, k, a, b, v: torch.relu(sum(parts(q, k, a, b))) @ v, "✗ a ReLU, not tanh"),
    (lambda q, k, a, b, v: right_additive(q, k, a, b, v).transpose(1, 2), "✗ transposed"),
    (lambda q, k, a, b, v: right_additive(q, k, a, b, v).softmax(-1), "✗ softmax already applied"),
    (lambda q, k, a, b, v: torch.tanh(sum(parts(q, k, a, b)) @ v), "✗ no tanh; and tanh of the score"),
    (lambda q, k, a, b, v: torch.tanh(right_additive(q, k, a, b, v)), "✗ tanh of the score"),
]

# Exercise 3 ---------------------------------------------------------------------------------------------


def right_share(weights, spans):
    return torch.stack([row[a:b].sum() for row, (a, b) in zip(weights, spans.tolist(), strict=True)])


def rows(weights, spans, before=0, after=0):
    return [row[a + before : b + after] for row, (a, b) in zip(weights, spans.tolist(), strict=True)]


SHARE = [
    (lambda w, s: torch.stack([r.sum() for r in rows(w, s, after=1)]), "✗ the stop counted as inside"),
    (lambda w, s: torch.stack([r.sum() for r in rows(w, s, before=1)]), "✗ the start left out"),
    (lambda w, s: 1 - right_share(w, s), "✗ outside the span, not inside"),
    (
        lambda w, s: torch.stack([row[:b].sum() for row, (_, b) in zip(w, s.tolist(), strict=True)]),
        "✗ all before the stop",
    ),
    (lambda w, s: torch.stack([r.mean() for r in rows(w, s)]), "✗ divided by the span's length"),
    (lambda w, s: torch.stack([r.max() for r in rows(w, s)]), "✗ the largest weight, not the sum"),
    (
        lambda w, s: ((w.argmax(-1) >= s[:, 0]) & (w.argmax(-1) < s[:, 1])).float(),
        "✗ whether the largest weight lies there, not how much",
    ),
    (
        lambda w, s: sum(F.pad(r, (int(a), w.shape[1] - int(b))) for r, (a, b) in zip(rows(w, s), s, strict=True)),
        "✗ summed over the rows, not over the source",
    ),
    (lambda w, s: right_share(w, s).mean().expand(len(w)), "✗ one average for all rows"),
    (lambda w, s: right_share(w, s).sum(), "✗ share: expected shape (5,), got ()"),
]

# Exercise 4 ---------------------------------------------------------------------------------------------


def right_position(weights):
    return (weights * torch.arange(weights.shape[1])).sum(-1)


POSITION = [
    (lambda w: (w * torch.arange(1, w.shape[1] + 1)).sum(-1), "✗ counted from one"),
    (lambda w: w.argmax(-1).to(w.dtype), "✗ the position of the largest weight, not the average"),
    (lambda w: (w * torch.arange(w.shape[1])).mean(-1), "✗ divided by the length"),
    (
        lambda w: (w * torch.arange(len(w))[:, None]).sum(0),
        "✗ averaged over the rows, not over the source",
    ),
    (lambda w: right_position(w.detach()), "✗ right values, but no gradient reaches weights"),
    (lambda w: right_position(w).float(), "✗ position: expected torch.float64, got torch.float32"),
]

# Exercise 5 ---------------------------------------------------------------------------------------------


def slope(x, y):
    return ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()


def right_factor(distances, norms):
    return slope(distances, norms.log()).exp()


FACTOR = [
    (lambda d, n: slope(d, n.log()), "✗ the slope of the logarithm, not the factor"),
    (slope, "✗ a line through the norms, not through their logarithms"),
    (lambda d, n: slope(d, n.log10()).exp(), "✗ log₁₀ undone with exp"),
    (lambda d, n: slope(d.log(), n.log()).exp(), "✗ the logarithm of the distance, too"),
    (lambda d, n: (n[1:] / n[:-1]).mean(), "✗ the ratio of neighbours, whatever lies between them"),
    (lambda d, n: (n[-1] / n[0]) ** (1 / (d[-1] - d[0])), "✗ from the two ends only"),
]


class TestChecks(ExerciseChecks):
    TABLES = {
        checks.check_look_back: (LOOK, checks._LOOK),
        checks.check_additive_score: (ADDITIVE, checks._ADDITIVE),
        checks.check_share_on_span: (SHARE, checks._SHARE),
        checks.check_average_position: (POSITION, checks._POSITION),
        checks.check_step_factor: (FACTOR, checks._FACTOR),
    }
    RIGHT = {
        checks.check_look_back: [
            right_look,
            lambda q, h, m: torch.stack(
                [(h[b, m[b]] @ q[b]).softmax(0) @ h[b, m[b]] for b in range(len(q))],
            ),
        ],
        checks.check_additive_score: [
            right_additive,
            lambda q, k, a, b, v: torch.einsum("btsf,f->bts", torch.tanh(torch.add(*parts(q, k, a, b))), v),
        ],
        checks.check_share_on_span: [
            right_share,
            lambda w, s: torch.stack([r.sum() for r in rows(w, s)]),
        ],
        checks.check_average_position: [
            right_position,
            lambda w: torch.einsum("ts,s->t", w, torch.arange(w.shape[1]).to(w.dtype)),
        ],
        checks.check_step_factor: [
            right_factor,
            lambda d, n: torch.tensor(np.exp(np.polyfit(d.numpy(), np.log(n.numpy()), 1)[0])).to(n.dtype),
        ],
    }
