"""Checks for the exercises of the chapter on BERT, GPT and Whisper.

Each check takes the reader's function, calls it on fresh random inputs and prints one short feedback that
names the mistake. Axis letters are those of `transformer_book.shapes`; G groups of heads share keys and values.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from transformer_book.exercises._feedback import Answer, Case, Draw, Exercise, Option, combinations, judge

_DTYPE = "Right in float32, not in float64: constants must follow the inputs."
_GRADIENT = "Right without gradients: stay in torch, and out of place, from inputs to result."


# Exercise 1: counts, discounted and interpolated ------------------------------------------------------------


def _interpolation(keep: Answer, freed: Answer, blend: Answer, end: Answer) -> Answer:
    def answer(count: Tensor, total: Tensor, kinds: Tensor, lower: Tensor, discount: float) -> Tensor:
        inside = blend(keep(count, discount), freed(kinds, total, discount), lower)
        return end(inside, total, lower)

    return answer


_INTERPOLATION = Exercise(
    returns="the probability of each token, shape (N,)",
    outputs=("probability",),
    reference=_interpolation(
        lambda count, discount: (count - discount).clamp(min=0),
        lambda kinds, total, discount: discount * kinds,
        lambda kept, freed, lower: kept + freed * lower,
        lambda inside, total, lower: torch.where(total > 0, inside / total.clamp(min=1), lower),
    ),
    mistakes=combinations(
        _interpolation,
        (
            Option(lambda count, discount: (count - discount).clamp(min=0)),
            Option(
                lambda count, discount: count - discount,
                "a count of zero is discounted too: its probability may be negative",
                "Only what was counted can give something away: not below 0.",
            ),
            Option(
                lambda count, discount: count,
                "the counts keep all they had, and the sum is above one",
                "What is freed for the shorter context has to be taken from the counts.",
            ),
        ),
        (
            Option(lambda kinds, total, discount: discount * kinds),
            Option(
                lambda kinds, total, discount: discount,
                "one discount is freed, not one for each kind of token seen",
                "Each of the tokens seen after the context gives one discount away.",
            ),
            Option(
                lambda kinds, total, discount: discount * total,
                "a discount for each time the context was seen",
                "A token seen five times gives away one discount, not five: times kinds, not times total.",
            ),
            Option(
                lambda kinds, total, discount: 0 * kinds,
                "what is freed is lost",
                "It is shared out by what the shorter context says.",
            ),
        ),
        (
            Option(lambda kept, freed, lower: kept + freed * lower),
            Option(
                lambda kept, freed, lower: torch.where(kept > 0, kept, freed * lower),
                "only tokens never seen get a share: backing off, not interpolating",
                "Every token gets its share of what is freed, also one that was counted; then the sum is one.",
            ),
        ),
        (
            Option(lambda inside, total, lower: torch.where(total > 0, inside / total.clamp(min=1), lower)),
            Option(
                lambda inside, total, lower: inside / total,
                "zero divided by zero after a context never seen",
                "Of such a context nothing is known but what the shorter one says: lower.",
            ),
            Option(
                lambda inside, total, lower: inside / total.clamp(min=1),
                "after a context never seen nothing is probable",
                "Of such a context nothing is known but what the shorter one says: lower.",
            ),
            Option(
                lambda inside, total, lower: inside,
                "not divided by how often the context was seen",
                "Counts become probabilities by division.",
            ),
        ),
    ),
    passed="discounted, interpolated, and sure of itself nowhere",
)


def check_interpolation(answer: Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]) -> None:
    """Check an interpolated n-gram probability and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(count (N,), total (N,), kinds (N,), lower (N,), discount) -> probability (N,)``.
    """
    draw = Draw()

    def inputs(dtype: torch.dtype = torch.float32, unseen: bool = False) -> dict[str, object]:
        counts = torch.randint(2, 9, (11,), generator=draw.generator).to(dtype)
        counts[:3] = 0
        total, kinds = counts.sum().expand(11).clone(), (counts > 0).sum().expand(11).to(dtype).clone()
        if unseen:
            counts, total, kinds = 0 * counts, 0 * total, 0 * kinds
        lower = draw.uniform(0.1, 1.0, 11, dtype=dtype)
        return {"count": counts, "total": total, "kinds": kinds, "lower": lower / lower.sum(), "discount": 0.7}

    cases = (
        Case("for tokens seen and not seen", inputs(), "(max(count − d, 0) + d · kinds · lower) / total."),
        Case("after a context never seen", inputs(unseen=True), "Then it is lower."),
        Case("in float64", inputs(torch.float64), _DTYPE),
    )
    print(judge(answer, _INTERPOLATION, cases))


# Exercise 2: the norm that forgot the mean ------------------------------------------------------------------


def _rms(centre: Answer, size: Answer, root: Answer, scale: Answer) -> Answer:
    def answer(x: Tensor, weight: Tensor, eps: float) -> Tensor:
        x = centre(x)
        return scale(x / root(size(x), eps), weight)

    return answer


_RMS = Exercise(
    returns="the normalised vectors, as large as x",
    outputs=("normalised",),
    reference=_rms(
        lambda x: x,
        lambda x: (x * x).mean(-1, keepdim=True),
        lambda square, eps: (square + eps).sqrt(),
        lambda x, weight: x * weight,
    ),
    mistakes=combinations(
        _rms,
        (
            Option(lambda x: x),
            Option(
                lambda x: x - x.mean(-1, keepdim=True),
                "the mean is taken away: that is LayerNorm",
                "RMSNorm only divides; that is what it saves.",
            ),
        ),
        (
            Option(lambda x: (x * x).mean(-1, keepdim=True)),
            Option(
                lambda x: (x * x).sum(-1, keepdim=True),
                "divided by the length of the vector, not by its root mean square",
                "The mean of the squares, not their sum: a coordinate is then about 1, whatever the width.",
            ),
            Option(
                lambda x: (x * x).mean(0, keepdim=True).expand_as(x),
                "the mean over the first axis",
                "Each vector by itself: over its coordinates, the last axis.",
            ),
            Option(
                lambda x: (x * x).mean(),
                "one mean for all vectors together",
                "Each vector by itself: over its coordinates, the last axis.",
            ),
            Option(
                lambda x: x.abs().mean(-1, keepdim=True) ** 2, "the mean of |x|", "The root of the mean square."
            ),
        ),
        (
            Option(lambda square, eps: (square + eps).sqrt()),
            Option(
                lambda square, eps: square.sqrt() + eps,
                "eps is added outside the root",
                "Inside, as in every norm of PyTorch: √(mean of squares + eps).",
            ),
            Option(lambda square, eps: square.sqrt(), "no eps", "A vector of zeros would give 0/0."),
            Option(
                lambda square, eps: square + eps,
                "divided by the mean square: the root is missing",
                "Twice as large a vector must give the same result.",
            ),
        ),
        (
            Option(lambda x, weight: x * weight),
            Option(lambda x, weight: x, "weight is left out", "Each coordinate is multiplied by its weight."),
            Option(
                lambda x, weight: x * (1 + weight),
                "multiplied by 1 + weight",
                "Some models store it so; here the weight is the factor itself.",
            ),
        ),
    ),
    passed="LayerNorm without the mean and without the bias",
)


def check_rms_norm(answer: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """Check an RMSNorm and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(x (B, T, D), weight (D,), eps) -> normalised (B, T, D)``.
    """
    draw = Draw()

    def inputs(eps: float = 0.3, **kind: object) -> dict[str, object]:
        x = draw.normal(3, 5, 7, **kind)  # type: ignore[arg-type]
        return {"x": x, "weight": draw.normal(7, **kind), "eps": eps}  # type: ignore[arg-type]

    zeros = inputs(1e-5)
    zeros["x"] = torch.zeros(2, 3, 7)
    cases = (
        Case("for ordinary vectors", inputs(), "x / √(mean of x² + eps) · weight, over the last axis."),
        Case("for a vector of zeros", zeros, "It stays zero: eps is inside the root."),
        Case("in float64", inputs(dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs(grad=True), _GRADIENT),
    )
    print(judge(answer, _RMS, cases))


# Exercise 3: heads that share -------------------------------------------------------------------------------


def _shared(repeat: Answer) -> Answer:
    def answer(k: Tensor, num_heads: int) -> Tensor:
        return repeat(k, num_heads // k.shape[1])

    return answer


_SHARED = Exercise(
    returns="what each of the H heads reads, shape (B, H, S, K)",
    outputs=("shared",),
    reference=_shared(lambda k, times: k.repeat_interleave(times, dim=1)),
    mistakes=combinations(
        _shared,
        (
            Option(lambda k, times: k.repeat_interleave(times, dim=1)),
            Option(
                lambda k, times: k.repeat(1, times, 1, 1),
                "dealt out in turn: head 1 gets the second group",
                "Neighbouring heads share: with 6 heads and 2 groups, heads 0, 1, 2 read group 0.",
            ),
            Option(
                lambda k, times: k.repeat_interleave(times, dim=2),
                "the positions are repeated, not the heads",
                "Axis 1 is that of the heads.",
            ),
            Option(
                lambda k, times: k.flip(1).repeat_interleave(times, dim=1),
                "the groups are in reverse order",
                "The first heads read the first group.",
            ),
            Option(
                lambda k, times: k[:, :1].expand(-1, times * k.shape[1], -1, -1),
                "all heads read the first group",
                "That is multi-query attention, of one group.",
            ),
            Option(lambda k, times: k, "nothing is repeated", "There are H heads of queries and G of keys."),
        ),
    ),
    passed="G groups of keys serve H heads",
)


def check_shared_heads(answer: Callable[[Tensor, int], Tensor]) -> None:
    """Check how keys of G groups are handed to H heads and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(k (B, G, S, K), num_heads) -> shared (B, H, S, K)``; H is a multiple of G.
    """
    draw = Draw()

    def inputs(groups: int, heads: int, **kind: object) -> dict[str, object]:
        return {"k": draw.normal(2, groups, 5, 7, **kind), "num_heads": heads}  # type: ignore[arg-type]

    cases = (
        Case("for three groups and nine heads", inputs(3, 9), "Each group H / G times, one copy after the other."),
        Case("for one group", inputs(1, 4), "All heads read it."),
        Case("for as many groups as heads", inputs(5, 5), "Then nothing changes."),
        Case(
            "with gradients", inputs(2, 6, grad=True), "Copies must pass their gradients on to the one original."
        ),
    )
    print(judge(answer, _SHARED, cases))


# Exercise 4: one vector for a sentence ----------------------------------------------------------------------


def _pooled(pick: Answer, divide: Answer, end: Answer) -> Answer:
    def answer(states: Tensor, mask: Tensor) -> Tensor:
        return end(divide(pick(states, mask), mask))

    return answer


_POOLED = Exercise(
    returns="one vector for each sentence, shape (B, D)",
    outputs=("vector",),
    reference=_pooled(
        lambda states, mask: states.masked_fill(~mask[..., None], 0.0).sum(1),
        lambda total, mask: total / mask.sum(1, keepdim=True),
        lambda vector: vector / vector.norm(dim=-1, keepdim=True),
    ),
    mistakes=combinations(
        _pooled,
        (
            Option(lambda states, mask: states.masked_fill(~mask[..., None], 0.0).sum(1)),
            Option(
                lambda states, mask: states.sum(1),
                "padding is averaged in",
                "A sentence's vector must not depend on how long its neighbours in the batch are.",
            ),
            Option(
                lambda states, mask: states[:, 0] * mask.sum(1, keepdim=True),
                "the first token's state, not the mean of all",
                "BERT's classifiers read the first token; MiniLM was trained with the mean.",
            ),
            Option(
                lambda states, mask: (
                    states.masked_fill(~mask[..., None], -1e9).amax(1) * mask.sum(1, keepdim=True)
                ),
                "the largest of each coordinate, not the mean",
                "Mean pooling: the sum over real tokens, divided by their number.",
            ),
        ),
        (Option(lambda total, mask: total / mask.sum(1, keepdim=True)),),
        (
            Option(lambda vector: vector / vector.norm(dim=-1, keepdim=True)),
            Option(
                lambda vector: vector,
                "not of length one",
                "Divided by its length: then a dot product is a cosine.",
            ),
            Option(
                lambda vector: vector / vector.norm(),
                "divided by the length of the whole batch",
                "Each row by its own length.",
            ),
            Option(
                lambda vector: vector / vector.sum(-1, keepdim=True),
                "divided by the sum of its coordinates",
                "By its length: the root of the sum of squares.",
            ),
            Option(lambda vector: vector.softmax(-1), "a softmax", "It is a direction, not a distribution."),
        ),
    ),
    passed="a direction for each sentence, whatever it was padded with",
)


def check_sentence_vector(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Check mean pooling with length one and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(states (B, S, D), mask (B, S), True at real tokens) -> vector (B, D)``.
    """
    draw = Draw()

    def inputs(**kind: object) -> dict[str, object]:
        lengths = torch.tensor([7, 3, 5])
        return {
            "states": draw.normal(3, 7, 11, **kind),  # type: ignore[arg-type]
            "mask": torch.arange(7) < lengths[:, None],
        }

    spoilt = inputs()
    mask = spoilt["mask"]
    assert isinstance(mask, Tensor)
    assert isinstance(spoilt["states"], Tensor)
    spoilt["states"] = spoilt["states"].masked_fill(~mask[..., None], 1e4)
    cases = (
        Case(
            "for sentences of several lengths",
            inputs(),
            "Sum over real tokens, divide by their number, by the length.",
        ),
        Case("where padding holds large numbers", spoilt, "What stands at padding means nothing."),
        Case("in float64", inputs(dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs(grad=True), _GRADIENT),
    )
    print(judge(answer, _POOLED, cases))


# Exercise 5: how much a head copies -------------------------------------------------------------------------


def _matching(place: Answer, first: Answer, end: Answer) -> Answer:
    def answer(weights: Tensor, period: int) -> Tensor:
        t = torch.arange(first(period), weights.shape[-1])
        return end(weights[:, :, t, place(t, period)])  # (B, H, places)

    return answer


_MATCHING = Exercise(
    returns="the score of each head, shape (H,)",
    outputs=("score",),
    reference=_matching(
        lambda t, period: t - period + 1, lambda period: period, lambda found: found.mean(dim=(0, 2))
    ),
    mistakes=combinations(
        _matching,
        (
            Option(lambda t, period: t - period + 1),
            Option(
                lambda t, period: t - period,
                "where the same symbol stood before, not what followed it",
                "The head must read the next symbol: one place further on.",
            ),
            Option(
                lambda t, period: t - 1,
                "the symbol just before",
                "That is the head of the first layer. This one looks one period back, and one on.",
            ),
            Option(
                lambda t, period: t - period + 2,
                "one place too far",
                "From t one period back is the same symbol; what followed it stands at t − period + 1.",
            ),
            Option(lambda t, period: t, "the symbol itself", "What followed it before: at t − period + 1."),
        ),
        (
            Option(lambda period: period),
            Option(
                lambda period: period + 1,
                "starts one place late",
                "At place t = period the first symbol is there for the second time.",
            ),
            Option(
                lambda period: 2 * period,
                "starts with the third time",
                "At place t = period the first symbol is there for the second time.",
            ),
            Option(
                lambda period: period - 1,
                "starts one place early",
                "At t = period − 1 no symbol has been there before; t − period + 1 is the first place of all.",
            ),
        ),
        (
            Option(lambda found: found.mean(dim=(0, 2))),
            Option(
                lambda found: found.sum(dim=2).mean(dim=0), "summed over places", "The mean over places and batch."
            ),
            Option(lambda found: found.mean(), "averaged over the heads too", "One number for each head."),
            Option(lambda found: found.amax(dim=(0, 2)), "the largest, not the mean", "One place can be chance."),
        ),
    ),
    passed="this finds an induction head",
)


def check_matching(answer: Callable[[Tensor, int], Tensor]) -> None:
    """Check the score of an induction head and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(weights (B, H, T, T), period) -> score (H,)``: the mean attention, from places t ≥ period on, on what
        followed the present symbol one period ago.
    """
    draw = Draw()

    def inputs(length: int, period: int, **kind: object) -> dict[str, object]:
        return {"weights": draw.uniform(0.0, 1.0, 2, 3, length, length, **kind), "period": period}  # type: ignore[arg-type]

    cases = (
        Case("for a period of five", inputs(17, 5), "Mean over t = period … T − 1 of weights[t, t − period + 1]."),
        Case("for other sizes", inputs(23, draw.whole(6, 9)), "Mean over t = period … T − 1."),
        Case("in float64", inputs(13, 4, dtype=torch.float64), _DTYPE),
    )
    print(judge(answer, _MATCHING, cases))
