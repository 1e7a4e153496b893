"""Checks for the exercises of the chapter on attention added to the encoder–decoder.

Each check takes the reader's function, calls it on fresh random inputs and prints one short feedback that
names the mistake. Axis letters are those of `transformer_book.shapes`; masks are boolean, True = real token.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from transformer_book.exercises._feedback import Answer, Case, Draw, Exercise, Option, combinations, judge

_DTYPE = "Right in float32, not in float64: constants must follow the inputs."
_GRADIENT = "Right without gradients: stay in torch, and out of place, from inputs to result."


# Exercise 1: one step of attention --------------------------------------------------------------------------


def _look(scores: Answer, weigh: Answer, blend: Answer) -> Answer:
    def answer(query: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        return blend(weigh(scores(query, states), mask), states)

    return answer


_LOOK = Exercise(
    returns="the context, shape (B, D)",
    outputs=("context",),
    reference=_look(
        lambda query, states: (states @ query[:, :, None])[..., 0],
        lambda scores, mask: scores.masked_fill(~mask, -math.inf).softmax(-1),
        lambda weights, states: (weights[..., None] * states).sum(1),
    ),
    mistakes=combinations(
        _look,
        (
            Option(lambda query, states: (states @ query[:, :, None])[..., 0]),
            Option(
                lambda query, states: (states @ query[:, :, None])[..., 0] / math.sqrt(states.shape[-1]),
                "scores divided by √D",
                "That is the score of chapter 5; here it is the plain dot product.",
            ),
            Option(
                lambda query, states: -(states @ query[:, :, None])[..., 0],
                "the sign of the scores turned round",
                "The better a state matches, the larger its share.",
            ),
        ),
        (
            Option(lambda scores, mask: scores.masked_fill(~mask, -math.inf).softmax(-1)),
            Option(
                lambda scores, mask: scores.softmax(-1),
                "mask ignored",
                "States at padding get a share, and the context depends on how much padding there is.",
            ),
            Option(
                lambda scores, mask: scores.masked_fill(mask, -math.inf).softmax(-1),
                "mask inverted",
                "True marks the real tokens.",
            ),
            Option(
                lambda scores, mask: scores.softmax(-1) * mask,
                "masked after the softmax, not before",
                "The shares no longer sum to one: padding still counts in the denominator.",
            ),
            Option(
                lambda scores, mask: (scores * mask).softmax(-1),
                "scores at padding set to 0, not to −∞",
                "A score of 0 still has weight: e⁰ = 1.",
            ),
            Option(
                lambda scores, mask: scores.masked_fill(~mask, -math.inf).softmax(0),
                "softmax over the batch, not over the source",
                "The shares of one sequence sum to one over its own positions.",
            ),
            Option(
                lambda scores, mask: mask / mask.sum(-1, keepdim=True),
                "the same share for every state",
                "The scores have to go through a softmax.",
            ),
            Option(
                lambda scores, mask: scores * mask,
                "no softmax",
                "Scores are not shares yet: they are not positive and do not sum to one.",
            ),
        ),
        (
            Option(lambda weights, states: (weights[..., None] * states).sum(1)),
            Option(
                lambda weights, states: (weights[..., None] * states).mean(1),
                "averaged after weighing",
                "The shares sum to one already: sum, do not divide once more.",
            ),
            Option(
                lambda weights, states: weights,
                "returned the weights, not the context",
                "Blend the states with them.",
            ),
            Option(
                lambda weights, states: states[torch.arange(len(states), device="cpu"), weights.argmax(-1)],
                "the best state, not a blend",
                "A choice has no slope: nothing could be learnt through it.",
            ),
        ),
    ),
    passed="one look back: shares over the real tokens, and the blend of their states",
)


def check_look_back(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Check one step of attention with the dot score and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(query (B, D), states (B, S, D), mask (B, S)) -> context (B, D)``; the mask is True at real tokens.
    """
    draw = Draw()

    def inputs(lengths: list[int], width: int, **kind: object) -> dict[str, Tensor]:
        size = max(lengths) + 2 * (min(lengths) < max(lengths))
        mask = torch.arange(size, device="cpu") < torch.tensor(lengths, device="cpu")[:, None]
        return {
            "query": draw.normal(len(lengths), width, **kind),  # type: ignore[arg-type]
            "states": draw.normal(len(lengths), size, width, **kind),  # type: ignore[arg-type]
            "mask": mask,
        }

    cases = (
        Case("without padding", inputs([5, 5, 5], 3), "Scores, shares, blend: check the shapes one by one."),
        Case("with padding", inputs([7, 3, 5], 2), "Only real tokens may have a share."),
        Case("in float64", inputs([5, 3], 7, dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs([5, 3], 2, grad=True), _GRADIENT),
    )
    print(judge(answer, _LOOK, cases))


# Exercise 2: the additive score -----------------------------------------------------------------------------


def _additive(join: Answer, bend: Answer, finish: Answer) -> Answer:
    def answer(query: Tensor, key: Tensor, w_query: Tensor, w_key: Tensor, v: Tensor) -> Tensor:
        pairs = join((query @ w_query.T)[:, :, None], (key @ w_key.T)[:, None])  # (B, T, S, F)
        return finish(bend(pairs) @ v)

    return answer


_ADDITIVE = Exercise(
    returns="the scores, shape (B, T, S)",
    outputs=("scores",),
    reference=_additive(lambda q, k: q + k, torch.tanh, lambda scores: scores),
    mistakes=[
        *combinations(
            _additive,
            (
                Option(lambda q, k: q + k),
                Option(lambda q, k: q * k, "multiplied, not added", "The additive score adds the two maps."),
                Option(lambda q, k: q - k, "subtracted, not added", "The additive score adds the two maps."),
                Option(lambda q, k: q + 0 * k, "the key left out", "Add W_k k as well."),
                Option(lambda q, k: 0 * q + k, "the query left out", "Add W_q q as well."),
            ),
            (
                Option(torch.tanh),
                Option(
                    lambda pairs: pairs,
                    "no tanh",
                    "Without it the query's part is the same for every key and drops out of the softmax.",
                ),
                Option(torch.sigmoid, "a sigmoid, not tanh", "The paper's network bends with tanh."),
                Option(torch.relu, "a ReLU, not tanh", "The paper's network bends with tanh."),
            ),
            (
                Option(lambda scores: scores),
                Option(
                    lambda scores: scores.transpose(1, 2),
                    "transposed",
                    "One row per query: (B, T, S), not (B, S, T).",
                ),
                Option(lambda scores: scores.softmax(-1), "softmax already applied", "Return the scores."),
                Option(torch.tanh, "tanh of the score", "Bend the sum of the maps, then multiply by v."),
            ),
        ),
    ],
    passed="the additive score: vᵀ tanh(W_q q + W_k k) for every pair",
)


def check_additive_score(answer: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]) -> None:
    """Check the additive score and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(query (B, T, Dq), key (B, S, Dk), w_query (F, Dq), w_key (F, Dk), v (F,)) -> scores (B, T, S)``.
    """
    draw = Draw()

    def inputs(*sizes: int, **kind: object) -> dict[str, Tensor]:
        batch, t, s, d_query, d_key, f = sizes
        shapes = {"query": (batch, t, d_query), "key": (batch, s, d_key)}
        shapes |= {"w_query": (f, d_query), "w_key": (f, d_key), "v": (f,)}
        return {name: draw.normal(*shape, **kind) for name, shape in shapes.items()}  # type: ignore[arg-type]

    cases = (
        Case(
            "for several queries and keys",
            inputs(2, 3, 5, 7, 11, 13),
            "Give queries axis 1 and keys axis 2, then add.",
        ),
        Case("for one query", inputs(3, 1, 7, 2, 2, 5), "Shape (B, 1, S)."),
        Case("in float64", inputs(2, 3, 5, 2, 3, 7, dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs(2, 3, 5, 2, 3, 7, grad=True), _GRADIENT),
    )
    print(judge(answer, _ADDITIVE, cases))


# Exercise 3: the share on the true span ---------------------------------------------------------------------


def _share(choose: Answer, measure: Answer) -> Answer:
    def answer(weights: Tensor, spans: Tensor) -> Tensor:
        position = torch.arange(weights.shape[1], device="cpu")
        inside = choose(position, spans[:, :1], spans[:, 1:])  # (T, S)
        return measure(weights, inside)

    return answer


_SHARE = Exercise(
    returns="each row's share on its span, shape (T,)",
    outputs=("share",),
    reference=_share(lambda p, a, b: (p >= a) & (p < b), lambda w, inside: (w * inside).sum(-1)),
    mistakes=combinations(
        _share,
        (
            Option(lambda p, a, b: (p >= a) & (p < b)),
            Option(
                lambda p, a, b: (p >= a) & (p <= b),
                "the stop counted as inside",
                "A span (start, stop) is like a slice: stop is the first position after it.",
            ),
            Option(
                lambda p, a, b: (p > a) & (p < b),
                "the start left out",
                "The span begins at start, itself included.",
            ),
            Option(
                lambda p, a, b: (p < a) | (p >= b), "outside the span, not inside", "Turn the condition round."
            ),
            Option(lambda p, a, b: p < b, "all before the stop", "The span also has a start."),
        ),
        (
            Option(lambda w, inside: (w * inside).sum(-1)),
            Option(
                lambda w, inside: (w * inside).sum(-1) / inside.sum(-1),
                "divided by the span's length",
                "The share is what lies there in sum, not on average.",
            ),
            Option(
                lambda w, inside: (w * inside).amax(-1),
                "the largest weight, not the sum",
                "Add up all weights of the span.",
            ),
            Option(
                lambda w, inside: inside.gather(1, w.argmax(-1, keepdim=True))[:, 0].to(w.dtype),
                "whether the largest weight lies there, not how much",
                "Add up all weights of the span.",
            ),
            Option(
                lambda w, inside: (w * inside).sum(0),
                "summed over the rows, not over the source",
                "One number per written character.",
            ),
            Option(
                lambda w, inside: (w * inside).sum(-1).mean().expand(len(w)),
                "one average for all rows",
                "One number per written character.",
            ),
        ),
    ),
    passed="the share of the weights on the true span",
)


def check_share_on_span(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Check the share on a span and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(weights (T, S), spans (T, 2)) -> share (T,)``; row t of the spans holds start and stop, as of a slice.
    """
    draw = Draw()

    def inputs(rows: int, width: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        starts = torch.tensor([draw.whole(1, width - 5) for _ in range(rows)], device="cpu")
        stops = starts + torch.tensor([draw.whole(2, 4) for _ in range(rows)], device="cpu")
        weights = draw.normal(rows, width, dtype=dtype).softmax(-1)
        return {"weights": weights, "spans": torch.stack([starts, stops], dim=1)}

    cases = (
        Case("for several rows", inputs(5, 11), "Sum each row from its start up to, not including, its stop."),
        Case("for one row", inputs(1, 7), "Shape (1,)."),
        Case("in float64", inputs(3, 13, torch.float64), _DTYPE),
    )
    print(judge(answer, _SHARE, cases))


# Exercise 4: where it looks, on average ---------------------------------------------------------------------

_POSITION = Exercise(
    returns="each row's average position, shape (T,)",
    outputs=("position",),
    reference=lambda weights: weights @ torch.arange(weights.shape[-1], dtype=weights.dtype, device="cpu"),
    mistakes=combinations(
        lambda place: place,
        (
            Option(lambda weights: weights @ torch.arange(weights.shape[-1], dtype=weights.dtype, device="cpu")),
            Option(
                lambda weights: (
                    weights @ torch.arange(1.0, weights.shape[-1] + 1, dtype=weights.dtype, device="cpu")
                ),
                "counted from one",
                "Positions count from 0.",
            ),
            Option(
                lambda weights: weights.argmax(-1).to(weights.dtype),
                "the position of the largest weight, not the average",
                "Every position counts, each with its weight.",
            ),
            Option(
                lambda weights: (
                    weights
                    @ torch.arange(weights.shape[-1], dtype=weights.dtype, device="cpu")
                    / weights.shape[-1]
                ),
                "divided by the length",
                "The weights sum to one already.",
            ),
            Option(
                lambda weights: torch.arange(len(weights), dtype=weights.dtype, device="cpu") @ weights,
                "averaged over the rows, not over the source",
                "One number per written character.",
            ),
        ),
    ),
    passed="where each character looks, on average",
)


def check_average_position(answer: Callable[[Tensor], Tensor]) -> None:
    """Check the average position of an alignment and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(weights (T, S)) -> position (T,)``: the mean source position under each row of weights.
    """
    draw = Draw()
    cases = (
        Case("for several rows", {"weights": draw.normal(5, 7).softmax(-1)}, "Σ_s weights[t, s] · s."),
        Case("in float64", {"weights": draw.normal(3, 11, dtype=torch.float64).softmax(-1)}, _DTYPE),
        Case("with gradients", {"weights": draw.uniform(0.0, 1.0, 3, 5, grad=True)}, _GRADIENT),
    )
    print(judge(answer, _POSITION, cases))


# Exercise 5: the factor per step ----------------------------------------------------------------------------


def _slope(x: Tensor, y: Tensor) -> Tensor:
    x, y = x - x.mean(), y - y.mean()
    return (x * y).sum() / (x * x).sum()


_FACTOR = Exercise(
    returns="the factor per step, a tensor with one number",
    outputs=("factor",),
    reference=lambda distances, norms: _slope(distances, norms.log()).exp(),
    mistakes=combinations(
        lambda fit: fit,
        (
            Option(lambda distances, norms: _slope(distances, norms.log()).exp()),
            Option(
                lambda distances, norms: _slope(distances, norms.log()),
                "the slope of the logarithm, not the factor",
                "log norm falls by log factor a step: exponentiate the slope.",
            ),
            Option(
                lambda distances, norms: _slope(distances, norms),
                "a line through the norms, not through their logarithms",
                "A factor per step is a straight line in the logarithm.",
            ),
            Option(
                lambda distances, norms: _slope(distances, norms.log10()).exp(),
                "log₁₀ undone with exp",
                "Undo a logarithm with its own base.",
            ),
            Option(
                lambda distances, norms: _slope(distances.log(), norms.log()).exp(),
                "the logarithm of the distance, too",
                "That fits a power of the distance, not a factor per step.",
            ),
            Option(
                lambda distances, norms: (norms[1:] / norms[:-1]).mean(),
                "the ratio of neighbours, whatever lies between them",
                "The distances are not one step apart.",
            ),
            Option(
                lambda distances, norms: (norms[-1] / norms[0]) ** (1 / (distances[-1] - distances[0])),
                "from the two ends only",
                "A line through all points does not hang on two of them.",
            ),
        ),
    ),
    passed="the factor per step, from a line through the logarithms",
)


def check_step_factor(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Check the fitted factor per step and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(distances (N,), norms (N,)) -> factor ()``: e to the slope of the least-squares line through
        (distance, log norm).
    """
    draw = Draw()

    def inputs(factor: float, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        distances = torch.tensor([2, 4, 7, 12, 20], dtype=dtype, device="cpu")
        noise = draw.normal(5, std=0.1, dtype=dtype).exp()
        return {"distances": distances, "norms": factor**distances * noise}

    cases = (
        Case(
            "for a norm that falls", inputs(0.7), "Least squares: Σ(x − x̄)(y − ȳ) / Σ(x − x̄)², with y = log norm."
        ),
        Case("for a norm that grows", inputs(1.3), "The same line; the factor is above one."),
        Case("in float64", inputs(0.9, torch.float64), _DTYPE),
    )
    print(judge(answer, _FACTOR, cases))
