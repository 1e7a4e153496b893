"""Mutation tests of the exercise checks: every known wrong answer gets its own message, right ones pass."""

import math

import torch
from exercise_checks import ExerciseChecks
from torch import nn
from torch.autograd.functional import jacobian

from transformer_book.exercises import recurrence as checks


def right_step(now, state, w_input, w_state, bias):
    return torch.tanh(now @ w_input.T + state @ w_state.T + bias)


def torch_step(now, state, w_input, w_state, bias):
    cell = {"weight_ih": w_input, "weight_hh": w_state, "bias_ih": bias, "bias_hh": 0 * bias}
    layer = nn.RNNCell(now.shape[1], len(bias), dtype=now.dtype)
    return torch.func.functional_call(layer, cell, (now, state))


STEP = [
    (lambda x, h, a, w, b: torch.tanh(x @ a.T + h @ w.T), "✗ the bias left out"),
    (lambda x, h, a, w, b: torch.tanh(x @ a.T + b), "✗ the last state left out"),
    (lambda x, h, a, w, b: torch.tanh(h @ w.T + b), "✗ the input left out"),
    (lambda x, h, a, w, b: torch.tanh((x @ a.T) * (h @ w.T) + b), "✗ input and state multiplied"),
    (lambda x, h, a, w, b: x @ a.T + h @ w.T + b, "✗ no tanh"),
    (lambda x, h, a, w, b: torch.sigmoid(x @ a.T + h @ w.T + b), "✗ a sigmoid, not tanh"),
    (lambda x, h, a, w, b: torch.relu(x @ a.T + h @ w.T + b), "✗ a ReLU, not tanh"),
    (lambda x, h, a, w, b: torch.tanh(x @ a.T + h @ w + b), "✗ state: wrong for a batch"),
    (lambda x, h, a, w, b: right_step(x, h.detach(), a, w, b), "✗ right values, but no gradient reaches state"),
]


def right_update(state, candidate, logits):
    return (1 - logits.sigmoid()) * candidate + logits.sigmoid() * state


UPDATE = [
    (lambda h, n, g: torch.lerp(h, n, g.sigmoid()), "✗ the shares swapped"),
    (lambda h, n, g: n + g.sigmoid() * h, "✗ the candidate not weighted"),
    (lambda h, n, g: (1 - g.sigmoid()) * n, "✗ the old state dropped"),
    (lambda h, n, g: g.sigmoid() * (n + h), "✗ both multiplied by the gate"),
    (lambda h, n, g: torch.lerp(n, h, g), "✗ no sigmoid"),
    (lambda h, n, g: torch.lerp(n, h, g.tanh()), "✗ tanh, not a sigmoid"),
    (lambda h, n, g: torch.lerp(n, h, g.softmax(-1)), "✗ a softmax, not a sigmoid"),
    (lambda h, n, g: right_update(h, n, g).sum(-1), "✗ state: expected shape (3, 5), got (3,)"),
]


def right_jacobian(state, weight):
    return torch.diag(1 - state**2) @ weight


def autograd_jacobian(state, weight):
    before = torch.linalg.solve(weight, state.atanh())
    return jacobian(lambda h: torch.tanh(weight @ h), before).to(state.dtype)


JACOBIAN = [
    (lambda h, w: torch.diag(1 - h) @ w, "✗ 1 − h, not 1 − h²"),
    (lambda h, w: torch.diag(1 - h.tanh() ** 2) @ w, "✗ tanh taken twice"),
    (lambda h, w: torch.diag(h * (1 - h)) @ w, "✗ the slope of a sigmoid"),
    (lambda h, w: w.clone(), "✗ the slope of tanh left out"),
    (lambda h, w: w @ torch.diag(1 - h**2), "✗ columns multiplied, not rows"),
    (lambda h, w: torch.diag(1 - h**2) @ w.T, "✗ W transposed"),
    (lambda h, w: right_jacobian(h, w).T, "✗ the whole transposed"),
    (lambda h, w: torch.diag(1 - h**2) + w, "✗ added, not multiplied"),
    (lambda h, w: (1 - h**2) @ w, "✗ jacobian: expected shape (5, 5), got (5,)"),
]


def right_clip(gradient, most):
    norm = gradient.norm()
    return gradient * (most / norm) if norm > most else gradient


CLIP = [
    (lambda g, m: g.clamp(-m, m), "✗ each entry clipped by itself"),
    (lambda g, m: g / g.norm() * m, "✗ short gradients made longer"),
    (lambda g, m: g / max(1.0, g.norm()), "✗ clipped to 1, whatever the limit"),
    (lambda g, m: g * min(1.0, m / g.square().sum()), "✗ divided by the square of the norm"),
    (lambda g, m: g * min(1.0, m / g.abs().max()), "✗ measured by the largest entry"),
    (lambda g, m: 0 * g if g.norm() > m else g, "✗ long gradients thrown away"),
    (lambda g, m: g, "✗ nothing clipped"),
]


def right_steps(factor, share):
    return torch.log(share) / torch.log(factor)


STEPS = [
    (lambda f, s: f.log() / s.log(), "✗ turned round"),
    (lambda f, s: (1 - s) / (1 - f), "✗ as if the same amount were lost at every step"),
    (lambda f, s: f**s, "✗ a power, not a number of steps"),
    (lambda f, s: -right_steps(f, s), "✗ the wrong sign"),
    (lambda f, s: s.log10() / f.log(), "✗ two different logarithms"),
    (lambda f, s: right_steps(f, s).ceil(), "✗ steps: wrong for several factors"),
]


class TestChecks(ExerciseChecks):
    TABLES = {
        checks.check_simple_step: (STEP, checks._SIMPLE_STEP),
        checks.check_gated_update: (UPDATE, checks._UPDATE),
        checks.check_step_jacobian: (JACOBIAN, checks._JACOBIAN),
        checks.check_clipping: (CLIP, checks._CLIPPED),
        checks.check_steps_left: (STEPS, checks._STEPS),
    }
    RIGHT = {
        checks.check_simple_step: [
            right_step,
            torch_step,
        ],
        checks.check_gated_update: [
            right_update,
            lambda h, n, g: n + g.sigmoid() * (h - n),
        ],
        checks.check_step_jacobian: [
            right_jacobian,
            lambda h, w: w - w * (h**2)[:, None],
        ],
        checks.check_clipping: [
            right_clip,
            lambda g, m: g * min(1.0, m / float(g.norm())),
        ],
        checks.check_steps_left: [
            right_steps,
            lambda f, s: s.log2() / f.log2(),
        ],
    }


def test_the_reference_jacobian_is_that_of_autograd() -> None:
    generator = torch.Generator().manual_seed(0)
    state = 1.8 * torch.rand(5, generator=generator, dtype=torch.float64) - 0.9
    weight = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(right_jacobian(state, weight), autograd_jacobian(state, weight))
    assert math.isclose(float(right_steps(torch.tensor(0.5), torch.tensor(0.125))), 3, rel_tol=1e-6)
