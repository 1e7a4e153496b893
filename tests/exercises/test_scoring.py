"""Mutation tests of the exercise checks: every known wrong answer gets its own message, right ones pass."""

import math

import torch
from exercise_checks import ExerciseChecks
from torch.nn import functional as F

from transformer_book.exercises import scoring as checks


def right_bilinear(q, k, w):
    return torch.einsum("btd,de,bse->bts", q, w, k)


BILINEAR = [
    (lambda q, k, w: right_bilinear(q, k, w.T), "✗ W transposed"),
    (lambda q, k, w: q @ k.mT, "✗ the matrix left out"),
    (lambda q, k, w: right_bilinear(q, k, w @ w.T), "✗ W on both sides"),
    (lambda q, k, w: right_bilinear(q, k, w.diagonal().diag()), "✗ only the diagonal of W"),
    (lambda q, k, w: right_bilinear(k, q, w.T), "✗ transposed"),
    (lambda q, k, w: right_bilinear(k, q, w), "✗ W transposed; and transposed"),
    (lambda q, k, w: right_bilinear(q, k, w).softmax(-1), "✗ softmax already applied"),
    (lambda q, k, w: right_bilinear(q, k, w) / math.sqrt(q.shape[-1]), "✗ divided by √D"),
    (lambda q, k, w: right_bilinear(q.detach(), k, w), "✗ right values, but no gradient reaches query"),
    (lambda q, k, w: right_bilinear(q, k, w)[0], "✗ scores: expected shape (2, 5, 5), got (5, 5)"),
]
JOINED = [
    (lambda a, b: b.T @ a, "✗ query and key exchanged"),
    (lambda a, b: a @ b.T, "✗ the sum over the wrong axis"),
    (lambda a, b: a * b, "✗ multiplied entry by entry"),
    (lambda a, b: a.T + b, "✗ added, not multiplied"),
    (lambda a, b: a.T @ b / math.sqrt(a.shape[1]), "✗ divided by a root"),
    (lambda a, b: a.detach().T @ b, "✗ right values, but no gradient reaches w_query"),
]


def right_cosine(q, k, s):
    return s * F.cosine_similarity(q[:, :, None], k[:, None], dim=-1)


def unit(x, axis=-1):
    return x / x.norm(dim=axis, keepdim=True)


COSINE = [
    (lambda q, k, s: s * q @ unit(k).mT, "✗ the query's length left in"),
    (lambda q, k, s: s * unit(q) @ k.mT, "✗ the key's length left in"),
    (lambda q, k, s: s * q @ k.mT, "✗ the query's length left in; and the key's length left in"),
    (lambda q, k, s: s * unit(q, 1) @ unit(k).mT, "✗ norms of the queries over the wrong axis"),
    (lambda q, k, s: s * unit(q) @ unit(k, 1).mT, "✗ norms of the keys over the wrong axis"),
    (lambda q, k, s: s * (q / (q * q).sum(-1, True)) @ unit(k).mT, "✗ the query divided by its squared norm"),
    (lambda q, k, s: right_cosine(q, k, 1), "✗ no sharpness"),
    (lambda q, k, s: right_cosine(q, k, 1 / s), "✗ divided by the sharpness"),
    (lambda q, k, s: right_cosine(q, k, s).softmax(-1), "✗ softmax already applied"),
]


def counted(indices, count):
    return (indices[:, None] == torch.arange(count)).sum(dim=0)


def right_wins(q, k):
    return counted((q @ k.T).argmax(dim=1), len(k))


WINS = [
    (lambda q, k: counted((q @ k.T).argmin(dim=1), len(k)), "✗ the worst key, not the best"),
    (lambda q, k: counted((q @ k.T).abs().argmax(dim=1), len(k)), "✗ the largest score but for its sign"),
    (lambda q, k: counted((q[:1] @ k.T).argmax(dim=1), len(k)), "✗ only the first query"),
    (
        lambda q, k: torch.bincount((q @ k.T).argmax(dim=0), minlength=len(k)),
        "✗ the best query of each key, not the best key of each query",
    ),
    (lambda q, k: right_wins(q, k) > 0, "✗ whether it wins, not how often"),
    (lambda q, k: right_wins(q, k) / len(q), "✗ shares, not counts"),
    (lambda q, k: right_wins(q, k).float(), "✗ wins: expected torch.int64, got torch.float32"),
    (lambda q, k: (q @ k.T).argmax(dim=1), "✗ wins: expected shape (7,), got (31,)"),
]


def right_pieces(q, k, a, b, v):
    x, y = q @ a.T, k @ b.T
    return sum(v[f] * torch.tanh(x[:, f, None] + y[None, :, f]) for f in range(len(v)))


def whole_block(q, k, a, b, v):
    return torch.tanh((q @ a.T)[:, None] + (k @ b.T)[None]) @ v


def row_by_row(q, k, a, b, v):
    y = k @ b.T
    return torch.stack([torch.tanh(x + y) @ v for x in q @ a.T])


PIECES = [
    (whole_block, "✗ right values, but 128 tables of T × S held at once"),
    (lambda q, k, a, b, v: ((q @ a.T)[:, None] + (k @ b.T)[None]) @ v, "✗ no tanh"),
    (lambda q, k, a, b, v: right_pieces(q, k, a[-1:], b[-1:], v[-1:]), "✗ only the last hidden unit"),
    (lambda q, k, a, b, v: right_pieces(q, k, a, b, torch.ones_like(v)), "✗ v left out"),
    (lambda q, k, a, b, v: right_pieces(q, k, a, b, v).T, "✗ transposed"),
    (lambda q, k, a, b, v: torch.tanh(right_pieces(q, k, a, b, v)), "✗ tanh of the sum"),
    (lambda q, k, a, b, v: right_pieces(q, k, a, b, v).detach(), "✗ right values, but no gradient reaches query"),
]


class TestChecks(ExerciseChecks):
    TABLES = {
        checks.check_bilinear_score: (BILINEAR, checks._BILINEAR),
        checks.check_joined_maps: (JOINED, checks._JOINED),
        checks.check_cosine_score: (COSINE, checks._COSINE),
        checks.check_wins: (WINS, checks._WINNERS),
        checks.check_additive_in_pieces: (PIECES, checks._ADDITIVE),
    }
    RIGHT = {
        checks.check_bilinear_score: [
            right_bilinear,
            lambda q, k, w: q @ (k @ w.T).transpose(1, 2),
        ],
        checks.check_joined_maps: [
            lambda a, b: a.T @ b,
            lambda a, b: torch.einsum("rd,re->de", a, b),
        ],
        checks.check_cosine_score: [
            right_cosine,
            lambda q, k, s: (s * unit(q)) @ unit(k).mT,
        ],
        checks.check_wins: [
            right_wins,
            lambda q, k: F.one_hot((q @ k.T).argmax(1), len(k)).sum(0),
        ],
        checks.check_additive_in_pieces: [
            right_pieces,
            row_by_row,
        ],
    }
