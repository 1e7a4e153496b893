"""Checks for the exercises of the chapter on the encoder–decoder with one context vector.

Each check takes the reader's function, calls it on fresh random inputs and prints one short feedback that
names the mistake. Axis letters are those of `transformer_book.shapes`; id 0 is padding.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from transformer_book.exercises._feedback import Answer, Case, Draw, Exercise, Option, combinations, judge

_DTYPE = "Right in float32, not in float64: constants must follow the inputs."
_GRADIENT = "Right without gradients: stay in torch, and out of place, from inputs to result."


def _ids(draw: Draw, lengths: list[int], width: int) -> Tensor:
    """Draw ids 3 … 12, as many per row as `lengths` says, then padding."""
    ids = torch.tensor([[draw.whole(3, 12) for _ in range(width)] for _ in lengths], device="cpu")
    return ids * (torch.arange(width, device="cpu") < torch.tensor(lengths, device="cpu")[:, None])


# Exercise 1: token accuracy ---------------------------------------------------------------------------------


def _accuracy(right: Answer, average: Answer) -> Answer:
    return lambda predicted, target: average(right(predicted, target).double(), target != 0).float()


_TOKEN_ACCURACY = Exercise(
    returns="the share of right tokens, a tensor with one number",
    outputs=("accuracy",),
    reference=_accuracy(lambda predicted, target: predicted == target, lambda right, real: right[real].mean()),
    mistakes=combinations(
        _accuracy,
        (
            Option(lambda predicted, target: predicted == target),
            Option(
                lambda predicted, target: predicted != target,
                "the share of wrong tokens",
                "Count where predicted equals target.",
            ),
        ),
        (
            Option(lambda right, real: (right * real).sum() / real.sum()),
            Option(
                lambda right, real: right.mean(),
                "padding counted as tokens",
                "Where the target is 0 there is nothing to get right: leave it out above and below the line.",
            ),
            Option(
                lambda right, real: (right * real).mean(),
                "padding counted below the line",
                "Divide by the number of real tokens, not by the size of the table.",
            ),
            Option(
                lambda right, real: right.sum() / real.sum(),
                "padding counted above the line",
                "0 == 0 is no token copied right.",
            ),
            Option(
                lambda right, real: ((right * real).sum(-1) / real.sum(-1)).mean(),
                "averaged over sequences, not over tokens",
                "A short sequence weighs as much as a long one that way; count all tokens alike.",
            ),
            Option(
                lambda right, real: (right + ~real).clamp(max=1).prod(-1).mean(),
                "exact match, not token accuracy",
                "Count symbols, not whole sequences.",
            ),
            Option(
                lambda right, real: (right * real).sum(),
                "a count, not a share",
                "Divide by the number of real tokens.",
            ),
        ),
    ),
    passed="token accuracy: right tokens among the real ones",
)


def check_token_accuracy(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Check token accuracy and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(predicted (B, T), target (B, T)) -> accuracy ()``, float32; ids, padding 0 in the target.
    """
    draw = Draw()

    def pair(lengths: list[int], width: int) -> dict[str, Tensor]:
        target = _ids(draw, lengths, width)
        predicted = target.clone()
        predicted[0, 0] += 1
        predicted[1, :2] += 1
        predicted[-1, -1] = 5  # written where nothing was to be written
        return {"predicted": predicted, "target": target}

    cases = (
        Case("without padding", pair([5, 5, 5], 5), "Compare position by position, and average."),
        Case("with padding", pair([7, 3, 5, 2], 7), "Only positions with target != 0 count."),
    )

    @functools.wraps(answer)
    def in_float32(predicted: Tensor, target: Tensor) -> Any:
        share = answer(predicted, target)  # a quotient of two counts has the reader's default dtype
        default = isinstance(share, Tensor) and share.dtype == torch.get_default_dtype()
        return share.float() if default else share

    print(judge(in_float32 if callable(answer) else answer, _TOKEN_ACCURACY, cases))


# Exercise 2: the last real state ----------------------------------------------------------------------------


def _pick(index: Answer) -> Answer:
    return lambda states, lengths: states[torch.arange(len(states), device="cpu"), index(states, lengths)]


_LAST_STATE = Exercise(
    returns="each row's last real state, shape (B, D)",
    outputs=("state",),
    reference=_pick(lambda states, lengths: lengths - 1),
    mistakes=combinations(
        lambda pick: pick,
        (
            Option(_pick(lambda states, lengths: lengths - 1)),
            Option(
                lambda states, lengths: states[:, -1],
                "the state after the padding",
                "Rows are padded: take position lengths − 1 of each, not the last of the table.",
            ),
            Option(
                _pick(lambda states, lengths: lengths.clamp(max=states.shape[1] - 1)),
                "one position too late",
                "Positions count from 0: the last of n is n − 1.",
            ),
            Option(
                _pick(lambda states, lengths: (lengths - 2).clamp(min=0)),
                "one position too early",
                "Positions count from 0: the last of n is n − 1.",
            ),
            Option(
                lambda states, lengths: states[:, int(lengths.max()) - 1],
                "one position for all rows",
                "Every row has a length of its own.",
            ),
            Option(
                lambda states, lengths: states[:, int(lengths.min()) - 1],
                "one position for all rows",
                "Every row has a length of its own.",
            ),
            Option(
                lambda states, lengths: states[:, 0], "the first state, not the last", "Take position lengths − 1."
            ),
            Option(
                lambda states, lengths: states.sum(1) / lengths[:, None],
                "an average over positions",
                "The context is one state, the last real one.",
            ),
            Option(
                lambda states, lengths: states.mean(1),
                "an average over positions",
                "The context is one state, the last real one.",
            ),
        ),
    ),
    passed="the context of each sequence: its state after the last real token",
)


def check_last_state(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Check the choice of the last real state and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(states (B, S, D), lengths (B,)) -> state (B, D)``.
    """
    draw = Draw()
    cases = (
        Case(
            "for rows of different length",
            {"states": draw.normal(5, 8, 3), "lengths": torch.tensor([7, 2, 5, 3, 6], device="cpu")},
            "Index rows and positions together: states[rows, positions].",
        ),
        Case(
            "when every row is padded",
            {"states": draw.normal(3, 11, 2), "lengths": torch.tensor([4, 8, 5], device="cpu")},
            "The padded length may exceed the longest row.",
        ),
        Case(
            "with gradients",
            {"states": draw.normal(3, 5, 2, grad=True), "lengths": torch.tensor([4, 1, 5], device="cpu")},
            _GRADIENT,
        ),
    )
    print(judge(answer, _LAST_STATE, cases))


# Exercise 3: the loss under teacher forcing -----------------------------------------------------------------


def _loss(shift: Answer, reduce: Answer) -> Answer:
    def answer(logits: Tensor, target: Tensor) -> Tensor:
        expected = shift(target)
        losses = F.cross_entropy(logits.transpose(1, 2), expected, reduction="none")
        return reduce(losses, expected != 0)

    return answer


_FORCED_LOSS = Exercise(
    returns="the mean loss per real token, a tensor with one number",
    outputs=("loss",),
    reference=_loss(lambda target: target[:, 1:], lambda losses, real: (losses * real).sum() / real.sum()),
    mistakes=combinations(
        _loss,
        (
            Option(lambda target: target[:, 1:]),
            Option(
                lambda target: target[:, :-1],
                "not shifted: the token just read, not the next one",
                "logits[:, t] has read target[:, : t + 1] and predicts target[:, t + 1].",
            ),
        ),
        (
            Option(lambda losses, real: (losses * real).sum() / real.sum()),
            Option(
                lambda losses, real: losses.mean(),
                "padding counted",
                "A model that has learnt to write padding after the end looks better than it is.",
            ),
            Option(
                lambda losses, real: (losses * real).mean(),
                "padding counted below the line",
                "Divide by the number of real tokens.",
            ),
            Option(
                lambda losses, real: (losses * real).sum(),
                "summed, not averaged",
                "Then the step size depends on how long the strings of a batch happen to be.",
            ),
            Option(
                lambda losses, real: ((losses * real).sum(1) / real.sum(1)).mean(),
                "averaged over sequences, not over tokens",
                "A token of a short sequence weighs more that way.",
            ),
            Option(
                lambda losses, real: -(losses * real).sum() / real.sum(),
                "the wrong sign",
                "The loss is −log p, and it is to become small.",
            ),
            Option(
                lambda losses, real: (losses * real).sum() / real.sum() / math.log(2),
                "in bits, not in nats",
                "Cross-entropy here is with the natural logarithm.",
            ),
        ),
    ),
    passed="the loss under teacher forcing: each real next token, on average",
)


def check_forced_loss(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Check the loss under teacher forcing and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(logits (B, T, V), target (B, T + 1)) -> loss ()``; the target runs from START to END and padding, id 0.
    """
    draw = Draw()

    def inputs(lengths: list[int], width: int, **kind: object) -> dict[str, Tensor]:
        logits = draw.normal(len(lengths), width - 1, 13, std=2.0, **kind)  # type: ignore[arg-type]
        return {"logits": logits, "target": _ids(draw, lengths, width)}

    cases = (
        Case("without padding", inputs([6, 6], 6), "logits[:, t] predicts target[:, t + 1]."),
        Case("with padding", inputs([8, 3, 5], 8), "Only next tokens that are no padding count."),
        Case("in float64", inputs([5, 3], 5, dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs([5, 3], 5, grad=True), _GRADIENT),
    )
    print(judge(answer, _FORCED_LOSS, cases))


# Exercise 4: bits left --------------------------------------------------------------------------------------


def _bits(uniform: Answer, loss: Answer) -> Answer:
    return lambda logits, symbols: uniform(logits) - loss(logits, symbols)


_NATS = "Divide nats by ln 2 to get bits, in both terms."
_BITS_LEFT = Exercise(
    returns="the bits left about each position, shape (S,)",
    outputs=("bits",),
    reference=_bits(
        lambda logits: math.log2(logits.shape[-1]),
        lambda logits, symbols: (
            F.cross_entropy(logits.movedim(-1, 1), symbols, reduction="none").mean(0) / math.log(2)
        ),
    ),
    mistakes=combinations(
        _bits,
        (
            Option(lambda logits: math.log2(logits.shape[-1])),
            Option(lambda logits: math.log(logits.shape[-1]), "ln C, not log₂ C", _NATS),
            Option(
                lambda logits: 0.0,
                "the cross-entropy itself, with a minus",
                "Information is what the probe saves: log₂ C minus its cross-entropy.",
            ),
            Option(
                lambda logits: math.log2(logits.shape[0]),
                "log₂ of the number of strings",
                "C is the number of classes, the last axis of the logits.",
            ),
        ),
        (
            Option(
                lambda logits, symbols: (
                    F.cross_entropy(logits.movedim(-1, 1), symbols, reduction="none").mean(0) / math.log(2)
                )
            ),
            Option(
                lambda logits, symbols: F.cross_entropy(logits.movedim(-1, 1), symbols, reduction="none").mean(0),
                "cross-entropy in nats",
                _NATS,
            ),
            Option(
                lambda logits, symbols: (
                    F.cross_entropy(logits.movedim(-1, 1), symbols, reduction="none").mean() / math.log(2)
                ).expand(logits.shape[1]),
                "one average for all positions",
                "Average over the strings only: one number per position.",
            ),
            Option(
                lambda logits, symbols: (
                    -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean(0) / math.log(2)
                ),
                "the entropy of the guesses, not their cross-entropy",
                "A probe that is sure and wrong would look good; use the probability of the right symbol.",
            ),
        ),
    ),
    passed="bits left: what a probe saves of log₂ C",
)


def check_bits_left(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Check the information left and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(logits (N, S, C), symbols (N, S)) -> bits (S,)``: a probe's logits for each of N strings and S
        positions, and the right classes.
    """
    draw = Draw()

    def inputs(count: int, length: int, classes: int, **kind: object) -> dict[str, Tensor]:
        symbols = torch.tensor(
            [[draw.whole(0, classes - 1) for _ in range(length)] for _ in range(count)], device="cpu"
        )
        return {"logits": draw.normal(count, length, classes, std=2.0, **kind), "symbols": symbols}  # type: ignore[arg-type]

    cases = (
        Case("for one position", inputs(7, 1, 5), "log₂ C minus the mean of −log₂ p(right symbol)."),
        Case("for several positions", inputs(11, 3, 10), "Positions are axis 1; average over axis 0."),
        Case("in float64", inputs(5, 2, 7, dtype=torch.float64), _DTYPE),
    )
    print(judge(answer, _BITS_LEFT, cases))


# Exercise 5: the length at a level --------------------------------------------------------------------------


def _crossing(choose: Answer, read: Answer) -> Answer:
    def answer(lengths: Tensor, accuracy: Tensor, level: float) -> Tensor:
        i = int(choose(accuracy, level))
        return read(lengths, accuracy, level, i)

    return answer


def _first_below(accuracy: Tensor, level: float) -> int:
    return int((accuracy < level).nonzero()[0])


def _between(lengths: Tensor, accuracy: Tensor, level: float, i: int) -> Tensor:
    share = (accuracy[i - 1] - level) / (accuracy[i - 1] - accuracy[i])
    return lengths[i - 1] + share * (lengths[i] - lengths[i - 1])


_REACH = Exercise(
    returns="the length at which accuracy first falls to the level, a tensor with one number",
    outputs=("reach",),
    reference=_crossing(_first_below, _between),
    mistakes=combinations(
        _crossing,
        (
            Option(_first_below),
            Option(
                lambda accuracy, level: int((accuracy >= level).nonzero()[-1]) + 1,
                "the last fall below the level, not the first",
                "Accuracy may wobble: what counts is where it fails first.",
            ),
        ),
        (
            Option(_between),
            Option(
                lambda lengths, accuracy, level, i: lengths[i],
                "the first length that fails, not interpolated",
                "The fall lies between it and the length before: draw a straight line between the two.",
            ),
            Option(
                lambda lengths, accuracy, level, i: lengths[i - 1],
                "the last length that succeeds, not interpolated",
                "The fall lies between it and the next length: draw a straight line between the two.",
            ),
            Option(
                lambda lengths, accuracy, level, i: (lengths[i] + lengths[i - 1]) / 2,
                "the middle, not interpolated",
                "How far between depends on how far each accuracy is from the level.",
            ),
            Option(
                lambda lengths, accuracy, level, i: (
                    lengths[i] + lengths[i - 1] - _between(lengths, accuracy, level, i)
                ),
                "interpolated from the wrong end",
                "If the length before is nearly at the level, the crossing is close to it.",
            ),
        ),
    ),
    passed="the reach: where accuracy first falls to the level, read off a straight line",
)


def check_reach(answer: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """Check the length at a level and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(lengths (N,), accuracy (N,), level) -> reach ()``; lengths ascend, the first accuracy is above the
        level and some later one below it.
    """
    draw = Draw()
    lengths = torch.tensor([1.0, 2, 4, 8, 16, 20], device="cpu")
    # the level is nowhere near the middle of a fall, where two mistakes give the same
    falling = 1 - torch.arange(6, device="cpu") * 0.1 - draw.uniform(0.0, 0.02, 6)
    wobbling = torch.tensor([1.0, 0.97, 0.7, 0.95, 0.6, 0.4], device="cpu") - draw.uniform(0.0, 0.04, 6)
    cases = (
        Case(
            "for a curve that falls",
            {"lengths": lengths, "accuracy": falling, "level": 0.765},
            "Find the first one below.",
        ),
        Case(
            "for a curve that wobbles",
            {"lengths": lengths, "accuracy": wobbling, "level": 0.9},
            "The first fall counts.",
        ),
    )
    print(judge(answer, _REACH, cases))
