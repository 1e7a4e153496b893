"""Checks for the exercises of the chapter on recurrent networks.

Each check takes the reader's function, calls it on fresh random inputs and prints one short feedback that
names the mistake. Axis letters are those of `transformer_book.shapes`; D is the width of the state.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from transformer_book.exercises._feedback import Answer, Case, Draw, Exercise, Option, combinations, judge

_DTYPE = "Right in float32, not in float64: constants must follow the inputs."
_GRADIENT = "Right without gradients: stay in torch, and out of place, from inputs to result."


# Exercise 1: one step of a simple RNN -----------------------------------------------------------------------


def _step(total: Answer, bend: Answer) -> Answer:
    return lambda now, state, w_input, w_state, bias: bend(total(now @ w_input.T, state @ w_state.T, bias))


_SIMPLE_STEP = Exercise(
    returns="the next state, shape (B, D)",
    outputs=("state",),
    reference=_step(lambda x, h, b: x + h + b, torch.tanh),
    mistakes=combinations(
        _step,
        (
            Option(lambda x, h, b: x + h + b),
            Option(lambda x, h, b: x + h, "the bias left out", "Add b before the tanh."),
            Option(
                lambda x, h, b: x + b, "the last state left out", "Without W_hh h the layer remembers nothing."
            ),
            Option(lambda x, h, b: h + b, "the input left out", "Without W_ih x the layer reads nothing."),
            Option(lambda x, h, b: x * h + b, "input and state multiplied", "The two maps are added."),
        ),
        (
            Option(torch.tanh),
            Option(lambda total: total, "no tanh", "Without it the state grows without bound."),
            Option(torch.sigmoid, "a sigmoid, not tanh", "The state of a simple RNN runs from −1 to 1."),
            Option(torch.relu, "a ReLU, not tanh", "The state of a simple RNN runs from −1 to 1."),
        ),
    ),
    passed="one step: tanh(W_ih x + W_hh h + b)",
)


def check_simple_step(answer: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]) -> None:
    """Check one step of a simple RNN and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(now (B, I), state (B, D), w_input (D, I), w_state (D, D), bias (D,)) -> state (B, D)``.
    """
    draw = Draw()

    def inputs(batch: int, d_input: int, width: int, **kind: object) -> dict[str, Tensor]:
        shapes = {"now": (batch, d_input), "state": (batch, width), "w_input": (width, d_input)}
        shapes |= {"w_state": (width, width), "bias": (width,)}
        return {name: draw.normal(*shape, std=0.5, **kind) for name, shape in shapes.items()}  # type: ignore[arg-type]

    cases = (
        Case("for a batch", inputs(3, 5, 7), "x @ W_ih.T has shape (B, D), and so has h @ W_hh.T."),
        Case("in float64", inputs(2, 7, 3, dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs(2, 3, 5, grad=True), _GRADIENT),
    )
    print(judge(answer, _SIMPLE_STEP, cases))


# Exercise 2: the update of a GRU ----------------------------------------------------------------------------

_UPDATE = Exercise(
    returns="the next state, shape (B, D)",
    outputs=("state",),
    reference=lambda state, candidate, logits: torch.lerp(candidate, state, logits.sigmoid()),
    mistakes=combinations(
        lambda gate, mix: lambda state, candidate, logits: mix(state, candidate, gate(logits)),
        (
            Option(torch.sigmoid),
            Option(lambda logits: logits, "no sigmoid", "A gate is a share between 0 and 1."),
            Option(torch.tanh, "tanh, not a sigmoid", "A gate is a share between 0 and 1, not between −1 and 1."),
            Option(
                lambda logits: logits.softmax(-1),
                "a softmax, not a sigmoid",
                "Every coordinate has a gate of its own; they do not compete.",
            ),
        ),
        (
            Option(lambda state, candidate, z: (1 - z) * candidate + z * state),
            Option(
                lambda state, candidate, z: z * candidate + (1 - z) * state,
                "the shares swapped",
                "As in torch, update is what is *kept* of the old state. (The paper of 2014 does it so too.)",
            ),
            Option(
                lambda state, candidate, z: candidate + z * state,
                "the candidate not weighted",
                "What is not kept is replaced: (1 − z) of the candidate.",
            ),
            Option(
                lambda state, candidate, z: (1 - z) * candidate,
                "the old state dropped",
                "z of it is kept; that is the straight way through time.",
            ),
            Option(
                lambda state, candidate, z: z * (candidate + state),
                "both multiplied by the gate",
                "The shares are z and 1 − z.",
            ),
        ),
    ),
    passed="the GRU's update: a share of the old state, the rest of the candidate",
)


def check_gated_update(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Check a GRU's update of the state and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(state (B, D), candidate (B, D), logits (B, D)) -> state (B, D)``; the gate is the sigmoid of the logits.
    """
    draw = Draw()

    def inputs(batch: int, width: int, **kind: object) -> dict[str, Tensor]:
        return {name: draw.normal(batch, width, **kind) for name in ("state", "candidate", "logits")}  # type: ignore[arg-type]

    cases = (
        Case("for a batch", inputs(3, 5), "Gate first: z = sigmoid(logits). Then mix, coordinate by coordinate."),
        Case("in float64", inputs(2, 7, dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs(2, 3, grad=True), _GRADIENT),
    )
    print(judge(answer, _UPDATE, cases))


# Exercise 3: the Jacobian of a step -------------------------------------------------------------------------

_JACOBIAN = Exercise(
    returns="the Jacobian ∂h_t/∂h_{t−1}, shape (D, D)",
    outputs=("jacobian",),
    reference=lambda state, weight: (1 - state.square())[:, None] * weight,
    mistakes=combinations(
        lambda slope, place: lambda state, weight: place(slope(state), weight),
        (
            Option(lambda state: 1 - state.square()),
            Option(lambda state: 1 - state, "1 − h, not 1 − h²", "The slope of tanh is 1 − tanh²."),
            Option(
                lambda state: 1 - state.tanh().square(),
                "tanh taken twice",
                "The state is the tanh already: 1 − h².",
            ),
            Option(
                lambda state: state * (1 - state),
                "the slope of a sigmoid",
                "tanh has the slope 1 − h²; h (1 − h) belongs to the sigmoid.",
            ),
            Option(torch.ones_like, "the slope of tanh left out", "Each row is multiplied by 1 − h²."),
        ),
        (
            Option(lambda slope, weight: slope[:, None] * weight),
            Option(
                lambda slope, weight: slope * weight,
                "columns multiplied, not rows",
                "Row i belongs to output i: diag(1 − h²) stands to the left of W.",
            ),
            Option(
                lambda slope, weight: slope[:, None] * weight.T,
                "W transposed",
                "Entry (i, j) is ∂h_i/∂h_j, and h_i takes W[i, j] of h_j.",
            ),
            Option(
                lambda slope, weight: (slope[:, None] * weight).T,
                "the whole transposed",
                "Rows are outputs, columns inputs.",
            ),
            Option(
                lambda slope, weight: torch.diag(slope) + weight,
                "added, not multiplied",
                "The chain rule multiplies.",
            ),
        ),
    ),
    passed="the Jacobian of one step: diag(1 − h²) W_hh",
)


def check_step_jacobian(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Check the Jacobian of one step and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(state (D,), weight (D, D)) -> jacobian (D, D)``: state h_t after the step, and W_hh.
    """
    draw = Draw()
    cases = (
        Case(
            "for width 5",
            {"state": draw.uniform(-0.9, 0.9, 5), "weight": draw.normal(5, 5)},
            "h_t = tanh(… + W h_{t−1}).",
        ),
        Case(
            "in float64",
            {
                "state": draw.uniform(-0.9, 0.9, 3, dtype=torch.float64),
                "weight": draw.normal(3, 3, dtype=torch.float64),
            },
            _DTYPE,
        ),
    )
    print(judge(answer, _JACOBIAN, cases))


# Exercise 4: clipping ---------------------------------------------------------------------------------------

_CLIPPED = Exercise(
    returns="the clipped gradient, shape (N,)",
    outputs=("clipped",),
    reference=lambda gradient, most: gradient * (most / gradient.norm()).clamp(max=1),
    mistakes=combinations(
        lambda clip: clip,
        (
            Option(lambda gradient, most: gradient * (most / gradient.norm()).clamp(max=1)),
            Option(
                lambda gradient, most: gradient.clamp(-most, most),
                "each entry clipped by itself",
                "That changes the direction; shorten the whole vector.",
            ),
            Option(
                lambda gradient, most: gradient * most / gradient.norm(),
                "short gradients made longer",
                "Only a gradient longer than the limit is changed.",
            ),
            Option(
                lambda gradient, most: gradient / gradient.norm().clamp(min=1),
                "clipped to 1, whatever the limit",
                "The longest that is allowed is `most`.",
            ),
            Option(
                lambda gradient, most: gradient * (most / gradient.square().sum()).clamp(max=1),
                "divided by the square of the norm",
                "The norm is the root of the sum of squares.",
            ),
            Option(
                lambda gradient, most: gradient * (most / gradient.abs().max()).clamp(max=1),
                "measured by the largest entry",
                "The length of the vector is meant, the root of the sum of squares.",
            ),
            Option(
                lambda gradient, most: torch.where(gradient.norm() > most, 0.0, gradient),
                "long gradients thrown away",
                "Keep the direction, shorten the length.",
            ),
            Option(
                lambda gradient, most: gradient,
                "nothing clipped",
                "A gradient longer than the limit is shortened.",
            ),
        ),
    ),
    passed="clipping: the same direction, at most that long",
)


def check_clipping(answer: Callable[[Tensor, float], Tensor]) -> None:
    """Check the clipping of a gradient by its norm and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(gradient (N,), most) -> clipped (N,)``: a gradient longer than `most` is shortened to that length.
    """
    draw = Draw()
    cases = (
        Case(
            "for a long gradient", {"gradient": draw.normal(11, std=5.0), "most": 2.0}, "Multiply by most / norm."
        ),
        Case("for a short gradient", {"gradient": draw.normal(7, std=0.01), "most": 0.5}, "It stays as it is."),
        Case("in float64", {"gradient": draw.normal(5, std=3.0, dtype=torch.float64), "most": 0.7}, _DTYPE),
    )
    print(judge(answer, _CLIPPED, cases))


# Exercise 5: how many steps ---------------------------------------------------------------------------------

_STEPS = Exercise(
    returns="the number of steps, a tensor of the shape of factor",
    outputs=("steps",),
    reference=lambda factor, share: share.log() / factor.log(),
    mistakes=combinations(
        lambda count: count,
        (
            Option(lambda factor, share: share.log() / factor.log()),
            Option(
                lambda factor, share: factor.log() / share.log(), "turned round", "Solve factorⁿ = share for n."
            ),
            Option(
                lambda factor, share: (1 - share) / (1 - factor),
                "as if the same amount were lost at every step",
                "Every step *multiplies* by the factor.",
            ),
            Option(
                lambda factor, share: factor**share,
                "a power, not a number of steps",
                "Solve factorⁿ = share for n.",
            ),
            Option(
                lambda factor, share: -share.log() / factor.log(),
                "the wrong sign",
                "Both logarithms are negative.",
            ),
            Option(
                lambda factor, share: share.log10() / factor.log(),
                "two different logarithms",
                "Any base will do, but the same one above and below.",
            ),
        ),
    ),
    passed="the number of steps after which that share is left",
)


def check_steps_left(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Check the number of steps after which a share is left and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(factor (N,), share ()) -> steps (N,)``: n with factorⁿ = share; both between 0 and 1.
    """
    draw = Draw()
    cases = (
        Case(
            "for several factors",
            {"factor": draw.uniform(0.4, 0.95, 5), "share": draw.uniform(0.001, 0.1)},
            "Take the logarithm of factorⁿ = share.",
        ),
        Case(
            "in float64",
            {
                "factor": draw.uniform(0.4, 0.95, 3, dtype=torch.float64),
                "share": draw.uniform(0.001, 0.1, dtype=torch.float64),
            },
            _DTYPE,
        ),
    )
    print(judge(answer, _STEPS, cases))
