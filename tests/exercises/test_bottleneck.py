"""Mutation tests of the exercise checks: every known wrong answer gets its own message, right ones pass."""

import math

import torch
from exercise_checks import ExerciseChecks
from torch.nn import functional as F

from transformer_book.exercises import bottleneck as checks

# Exercise 1 ---------------------------------------------------------------------------------------------


def right_accuracy(predicted, target):
    real = target != 0
    return (predicted[real] == target[real]).float().mean()


ACCURACY = [
    (lambda p, t: (p == t).float().mean(), "✗ padding counted as tokens"),
    (lambda p, t: ((p == t) & (t != 0)).float().mean(), "✗ padding counted below the line"),
    (lambda p, t: (p == t).sum() / (t != 0).sum(), "✗ padding counted above the line"),
    (
        lambda p, t: torch.stack([right_accuracy(a, b) for a, b in zip(p, t, strict=True)]).mean(),
        "✗ averaged over sequences, not over tokens",
    ),
    (lambda p, t: ((p == t) | (t == 0)).all(-1).float().mean(), "✗ exact match, not token accuracy"),
    (lambda p, t: ((p == t) & (t != 0)).sum().float(), "✗ a count, not a share"),
    (lambda p, t: 1 - right_accuracy(p, t), "✗ the share of wrong tokens"),
    (lambda p, t: right_accuracy(p, t).item(), "✗ expected a tensor, got float"),
    (lambda p, t: right_accuracy(p, t).double(), "✗ accuracy: expected torch.float32, got torch.float64"),
]

# Exercise 2 ---------------------------------------------------------------------------------------------


def right_state(states, lengths):
    return states[torch.arange(len(states)), lengths - 1]


STATE = [
    (lambda s, n: s[:, -1], "✗ the state after the padding"),
    (lambda s, n: s[torch.arange(len(s)), n.clamp(max=s.shape[1] - 1)], "✗ one position too late"),
    (lambda s, n: s[torch.arange(len(s)), (n - 2).clamp(min=0)], "✗ one position too early"),
    (lambda s, n: s[:, n.max() - 1], "✗ one position for all rows"),
    (lambda s, n: s[:, n.min() - 1], "✗ one position for all rows"),
    (lambda s, n: s[:, 0], "✗ the first state, not the last"),
    (lambda s, n: s.mean(1), "✗ an average over positions"),
    (lambda s, n: s.sum(1) / n[:, None], "✗ an average over positions"),
    (lambda s, n: s[:, n - 1], "✗ state: expected shape (5, 3), got (5, 5, 3)"),
    (lambda s, n: right_state(s.detach(), n), "✗ right values, but no gradient reaches states"),
]

# Exercise 3 ---------------------------------------------------------------------------------------------


def right_loss(logits, target):
    return F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=0)


def losses(logits, target, start=1):
    expected = target[:, start:] if start else target[:, :-1]
    return F.cross_entropy(logits.transpose(1, 2), expected, reduction="none"), expected != 0


def averaged_over_sequences(logits, target):
    each, real = losses(logits, target)
    return ((each * real).sum(1) / real.sum(1)).mean()


LOSS = [
    (
        lambda g, t: F.cross_entropy(g.flatten(0, 1), t[:, :-1].flatten(), ignore_index=0),
        "✗ not shifted: the token just read, not the next one",
    ),
    (lambda g, t: losses(g, t)[0].mean(), "✗ padding counted"),
    (lambda g, t: (losses(g, t)[0] * losses(g, t)[1]).mean(), "✗ padding counted below the line"),
    (
        lambda g, t: F.cross_entropy(g.flatten(0, 1), t[:, 1:].flatten(), ignore_index=0, reduction="sum"),
        "✗ summed, not averaged",
    ),
    (averaged_over_sequences, "✗ averaged over sequences, not over tokens"),
    (lambda g, t: -right_loss(g, t), "✗ the wrong sign"),
    (lambda g, t: right_loss(g, t) / math.log(2), "✗ in bits, not in nats"),
    (lambda g, t: right_loss(g.detach(), t), "✗ right values, but no gradient reaches logits"),
    (lambda g, t: right_loss(g, t).float(), "✗ loss: expected torch.float64, got torch.float32"),
]

# Exercise 4 ---------------------------------------------------------------------------------------------


def right_bits(logits, symbols):
    log_p = logits.log_softmax(-1).gather(-1, symbols[..., None])[..., 0]  # (N, S)
    return math.log2(logits.shape[-1]) + log_p.mean(0) / math.log(2)


def nats(logits, symbols):
    return -logits.log_softmax(-1).gather(-1, symbols[..., None])[..., 0].mean(0)


def entropy_of_guesses(logits, symbols):
    p = logits.softmax(-1)
    return math.log2(logits.shape[-1]) + (p * p.log2()).sum(-1).mean(0)


BITS = [
    (lambda g, s: math.log(g.shape[-1]) - nats(g, s), "✗ ln C, not log₂ C; and cross-entropy in nats"),
    (lambda g, s: math.log2(g.shape[-1]) - nats(g, s), "✗ cross-entropy in nats"),
    (lambda g, s: math.log(g.shape[-1]) - nats(g, s) / math.log(2), "✗ ln C, not log₂ C"),
    (lambda g, s: -nats(g, s) / math.log(2), "✗ the cross-entropy itself, with a minus"),
    (lambda g, s: right_bits(g, s) - math.log2(g.shape[-1] / g.shape[0]), "✗ log₂ of the number of strings"),
    (lambda g, s: right_bits(g, s).mean().expand(g.shape[1]), "✗ one average for all positions"),
    (entropy_of_guesses, "✗ the entropy of the guesses, not their cross-entropy"),
    (lambda g, s: right_bits(g, s).mean(), "✗ bits: expected shape (1,), got ()"),
    (lambda g, s: right_bits(g.float(), s).double(), "✗ bits: expected torch.float32, got torch.float64"),
]

# Exercise 5 ---------------------------------------------------------------------------------------------


def right_reach(lengths, accuracy, level):
    i = int((accuracy < level).nonzero()[0])
    share = (accuracy[i - 1] - level) / (accuracy[i - 1] - accuracy[i])
    return lengths[i - 1] + share * (lengths[i] - lengths[i - 1])


def last_fall(lengths, accuracy, level):
    i = int((accuracy >= level).nonzero()[-1]) + 1
    share = (accuracy[i - 1] - level) / (accuracy[i - 1] - accuracy[i])
    return lengths[i - 1] + share * (lengths[i] - lengths[i - 1])


def wrong_end(lengths, accuracy, level):
    i = int((accuracy < level).nonzero()[0])
    share = (accuracy[i - 1] - level) / (accuracy[i - 1] - accuracy[i])
    return lengths[i] - share * (lengths[i] - lengths[i - 1])


REACH = [
    (lambda n, a, v: n[a < v][0], "✗ the first length that fails, not interpolated"),
    (lambda n, a, v: n[(a < v).nonzero()[0] - 1][0], "✗ the last length that succeeds, not interpolated"),
    (
        lambda n, a, v: (n[a < v][0] + n[(a < v).nonzero()[0] - 1][0]) / 2,
        "✗ the middle, not interpolated",
    ),
    (last_fall, "✗ the last fall below the level, not the first"),
    (wrong_end, "✗ interpolated from the wrong end"),
    (lambda n, a, v: right_reach(n, a, v) * 2, "✗ reach: wrong for a curve that falls"),
]


class TestChecks(ExerciseChecks):
    TABLES = {
        checks.check_token_accuracy: (ACCURACY, checks._TOKEN_ACCURACY),
        checks.check_last_state: (STATE, checks._LAST_STATE),
        checks.check_forced_loss: (LOSS, checks._FORCED_LOSS),
        checks.check_bits_left: (BITS, checks._BITS_LEFT),
        checks.check_reach: (REACH, checks._REACH),
    }
    RIGHT = {
        checks.check_token_accuracy: [
            right_accuracy,
            lambda p, t: ((p == t) * (t != 0)).sum() / (t != 0).sum(),
        ],
        checks.check_last_state: [
            right_state,
            lambda s, n: s.gather(1, (n - 1)[:, None, None].expand(-1, 1, s.shape[-1]))[:, 0],
        ],
        checks.check_forced_loss: [
            right_loss,
            lambda g, t: losses(g, t)[0][losses(g, t)[1]].mean(),
        ],
        checks.check_bits_left: [
            right_bits,
            lambda g, s: math.log2(g.shape[-1]) - nats(g, s) / math.log(2),
        ],
        checks.check_reach: [
            right_reach,
            lambda n, a, v: next(
                n[i] + (a[i] - v) / (a[i] - a[i + 1]) * (n[i + 1] - n[i])
                for i in range(len(n) - 1)
                if a[i + 1] < v
            ),
        ],
    }
