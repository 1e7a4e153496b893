"""Checks for the exercises of the chapter on scaled dot-product attention.

Each check takes the reader's function, calls it on fresh random inputs and prints one short feedback that
names the mistake. Axis letters are those of `transformer_book.shapes`; masks are boolean, True = may attend.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from transformer_book.attention import masked_softmax, scaled_dot_product_attention
from transformer_book.exercises._feedback import Answer, Case, Draw, Exercise, Mistake, Option, combinations, judge

Triple = tuple[Tensor, Tensor, Tensor]

_FROM_THE_END = (
    "Right for two axes, not with more in front: count axes from the end, shape[-1], transpose(-2, -1)."
)
_DTYPE = "Right in float32, not in float64: constants must follow the inputs."
_GRADIENT = "Right without gradients: stay in torch, and out of place, from inputs to result."
_NO_KEYS = "Right as long as every query may attend to something; a query that may not gets zeros."

_DIVISORS = (
    Option(lambda size: math.sqrt(size["D"])),
    Option(
        lambda _: 1.0,
        "not divided by √D",
        "Var(q·k) = D: scores grow with the width, and the softmax turns one-hot.",
    ),
    Option(
        lambda size: size["D"],
        "divided by D, not √D",
        "The standard deviation of q·k is √D; /D flattens the weights.",
    ),
    Option(
        lambda size: size["D"] ** -0.5, "multiplied by √D, not divided", "That makes large scores larger still."
    ),
    Option(
        lambda size: 1 / size["D"], "multiplied by D, not divided by √D", "That makes large scores larger still."
    ),
    Option(
        lambda size: math.sqrt(size["S"]),
        "divided by √S, not √D",
        "S counts the keys; q·k is a sum over the width D.",
    ),
    Option(lambda size: size["S"], "divided by S, not √D", "S counts the keys; q·k is a sum over the width D."),
    Option(
        lambda size: math.sqrt(size["T"]),
        "divided by √T, not √D",
        "T counts the queries; q·k is a sum over the width D.",
    ),
    Option(lambda size: size["T"], "divided by T, not √D", "T counts the queries; q·k is a sum over the width D."),
    Option(lambda size: math.sqrt(size["axis 1"]), "divided by √shape[1], not √shape[-1]", _FROM_THE_END),
)


def _sizes(query: Tensor, key: Tensor, value: Tensor | None = None) -> dict[str, int]:
    sizes = {"T": query.shape[-2], "S": key.shape[-2], "D": query.shape[-1], "axis 1": query.shape[1]}
    return sizes if value is None else sizes | {"Dv": value.shape[-1]}


def _scores(divisor: Callable[[dict[str, int]], float], layout: Answer, ending: Answer) -> Answer:
    def answer(query: Tensor, key: Tensor) -> Tensor:
        return ending(layout(query @ key.transpose(-2, -1) / divisor(_sizes(query, key))))

    return answer


_SCALED_SCORES = Exercise(
    returns="the scores QKᵀ/√D, shape (..., T, S)",
    outputs=("scores",),
    reference=lambda query, key: query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1]),
    mistakes=combinations(
        _scores,
        _DIVISORS,
        (
            Option(lambda scores: scores),
            Option(
                lambda scores: scores.transpose(-2, -1),
                "transposed",
                "One row per query: (..., T, S), not (..., S, T).",
            ),
        ),
        (
            Option(lambda scores: scores),
            Option(
                lambda scores: scores.softmax(-1), "softmax already applied", "Return the scores that go into it."
            ),
            Option(
                lambda scores: scores.softmax(-2),
                "softmax already applied, over the queries",
                "Return plain scores.",
            ),
        ),
    ),
    passed="scaled scores: QKᵀ/√D, for any leading axes",
)


def check_scaled_scores(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Check scores QKᵀ/√D and print what is wrong with them.

    Parameters
    ----------
    answer
        ``(query (..., T, D), key (..., S, D)) -> scores (..., T, S)``.
    """
    draw = Draw()
    cases = (
        Case(
            "for two axes",
            {"query": draw.normal(7, 5), "key": draw.normal(11, 5)},
            "One score for each query and key: their dot product over D, divided by √D.",
        ),
        Case(
            "with axes in front",
            {"query": draw.normal(2, 3, 5, 11), "key": draw.normal(2, 3, 7, 11)},
            _FROM_THE_END,
        ),
        Case(
            "in float64",
            {"query": draw.normal(5, 3, dtype=torch.float64), "key": draw.normal(7, 3, dtype=torch.float64)},
            _DTYPE,
        ),
        Case(
            "with gradients",
            {"query": draw.normal(2, 5, 3, grad=True), "key": draw.normal(2, 7, 3, grad=True)},
            _GRADIENT,
        ),
    )
    print(judge(answer, _SCALED_SCORES, cases))


def _softmax_over_all(scores: Tensor) -> Tensor:
    return scores.flatten(-2).softmax(-1).view_as(scores)


def _exp_over_sum(scores: Tensor, mask: Tensor) -> Tensor:
    weights = scores.exp() * mask
    total = weights.sum(-1, keepdim=True)
    return weights / total.masked_fill(total == 0, 1.0)


def _low_fill(scores: Tensor, mask: Tensor) -> Tensor:
    return scores.masked_fill(~mask, -100.0).softmax(-1) * mask.any(-1, keepdim=True)


_SIDES = (
    Option(lambda mask: mask),
    Option(lambda mask: ~mask, "mask inverted", "True = may attend, so what is hidden is ~mask."),
)
_PLACES = (
    Option(lambda scores, mask, softmax: softmax(scores.masked_fill(~mask, -1e30)).masked_fill(~mask, 0.0)),
    Option(lambda scores, mask, softmax: softmax(scores), "mask ignored", "Hidden keys keep their weight."),
    Option(
        lambda scores, mask, softmax: softmax(scores) * mask,
        "masked after the softmax, not before",
        "The rows no longer sum to one: hidden keys still count in the denominator.",
    ),
    Option(
        lambda scores, mask, softmax: softmax(scores * mask),
        "hidden scores set to 0, not to −∞",
        "A score of 0 still has weight: e⁰ = 1.",
    ),
    Option(
        lambda scores, mask, softmax: softmax(scores + mask),
        "mask added to the scores as 0 and 1",
        "That shifts a score by one; a hidden one has to go to −∞.",
    ),
    Option(
        lambda scores, mask, softmax: softmax(scores.masked_fill(~mask, -math.inf)),
        "NaN for a query that may attend to nothing",
        "All its scores are −∞, and the softmax divides 0 by 0; such a row is to be zeros.",
    ),
    Option(
        lambda scores, mask, softmax: softmax(scores.masked_fill(~mask, -1e30)),
        "equal weights for a query that may attend to nothing",
        "All its scores are the same low number; such a row is to be zeros.",
    ),
)
_AXES = (
    Option(lambda scores: scores.softmax(-1)),
    Option(
        lambda scores: scores.softmax(-2),
        "softmax over the wrong axis: the queries",
        "Each query's weights over the keys sum to one: dim=-1.",
    ),
    Option(
        _softmax_over_all,
        "softmax over all scores at once",
        "Each query's weights over the keys sum to one: dim=-1.",
    ),
    Option(lambda scores: scores.softmax(1), "softmax over axis 1", _FROM_THE_END),
)


def _weights(side: Answer, place: Answer, axis: Answer) -> Answer:
    return lambda scores, mask: place(scores, side(mask), axis)


_NOT_LOW = Option(
    _low_fill,
    "hidden scores not low enough",
    "Beside scores near −200, a fill of −100 is large: fill with −∞ or torch.finfo(dtype).min.",
)
_OVERFLOW = Option(
    _exp_over_sum,
    "exp overflows for large scores",
    "Subtract each row's largest score first (torch.softmax does); the weights stay the same.",
)
_MASKED_WEIGHTS = Exercise(
    returns="the weights, shape (..., T, S), each row summing to one (or all zeros)",
    outputs=("weights",),
    reference=masked_softmax,
    mistakes=[
        Mistake((_NOT_LOW,), _NOT_LOW.part),
        Mistake((_NOT_LOW,), lambda scores, mask: _NOT_LOW.part(scores, mask) * mask),
        Mistake((_OVERFLOW,), _OVERFLOW.part),
        *combinations(_weights, _SIDES, _PLACES, _AXES),
    ],
    passed="masked weights: rows sum to one, hidden keys get exactly nothing, no NaN anywhere",
)


def check_masked_weights(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Check a masked softmax and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(scores (..., T, S), mask) -> weights (..., T, S)``; the boolean mask, True = may attend,
        broadcasts to the scores. A row that may attend to nothing is zeros.
    """
    draw = Draw()
    one_empty_row = draw.mask(2, 1, 5, 7)
    one_empty_row[1, 0, 3] = False
    near_200 = 200.0 * torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0], device="cpu")[:, None]
    cases = (
        Case(
            "for two axes",
            {"scores": draw.normal(7, 11), "mask": draw.mask(7, 11)},
            "A softmax over the keys a query may attend to; the other weights are zero.",
        ),
        Case(
            "with axes in front",
            {"scores": draw.normal(2, 3, 5, 7), "mask": draw.mask(2, 3, 1, 7)},
            "The mask broadcasts to the scores, and the keys are axis -1.",
        ),
        Case(
            "for a query that may attend to nothing",
            {"scores": draw.normal(2, 3, 5, 7), "mask": one_empty_row},
            _NO_KEYS,
        ),
        Case(
            "for large scores",
            {"scores": draw.normal(5, 7) + near_200, "mask": draw.mask(5, 7)},
            "Scores near ±200: exp overflows or vanishes unless each row's largest score is subtracted first.",
        ),
        Case("in float64", {"scores": draw.normal(5, 7, dtype=torch.float64), "mask": draw.mask(5, 7)}, _DTYPE),
        Case(
            "with gradients",
            {"scores": draw.normal(2, 3, 5, 7, grad=True), "mask": one_empty_row},
            f"{_GRADIENT} A query that may attend to nothing passes zero gradient.",
        ),
    )
    print(judge(answer, _MASKED_WEIGHTS, cases))


def _attention(divisor: Answer, side: Answer, place: Answer, axis: Answer, blend: Answer) -> Answer:
    def answer(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        scores = query @ key.transpose(-2, -1) / divisor(_sizes(query, key, value))
        return blend(place(scores, side(mask), axis), key, value)

    return answer


_ATTENTION = Exercise(
    returns="the blend of values, shape (..., T, Dv)",
    outputs=("output",),
    reference=lambda query, key, value, mask: scaled_dot_product_attention(query, key, value, mask)[0],
    mistakes=combinations(
        _attention,
        (
            *_DIVISORS,
            Option(
                lambda size: math.sqrt(size["Dv"]),
                "divided by √Dv, not √D",
                "q·k is a sum over the width of queries and keys; the values have no part in it.",
            ),
        ),
        _SIDES,
        _PLACES,
        _AXES,
        (
            Option(lambda weights, key, value: weights @ value),
            Option(
                lambda weights, key, value: weights @ key,
                "blended the keys, not the values",
                "Keys choose, values are what is chosen.",
            ),
            Option(
                lambda weights, key, value: weights,
                "returned the weights, not the output",
                "One step is missing: weights @ value.",
            ),
            Option(
                lambda weights, key, value: (weights @ value).transpose(-2, -1),
                "output transposed",
                "One row per query: (..., T, Dv), not (..., Dv, T).",
            ),
        ),
    ),
    passed="attention: softmax(QKᵀ/√D) V, with masks, for any leading axes",
)


# Queries this small keep the weights from one-hot even when scores are multiplied by D, so no scale looks right.
_SMALL = 0.1


class _NoticeFused(TorchFunctionMode):
    """Notice a call of torch's own scaled dot-product attention."""

    used = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.used = self.used or func is F.scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


def check_attention(answer: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> None:
    """Check scaled dot-product attention and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(query (..., T, D), key (..., S, D), value (..., S, Dv), mask) -> output (..., T, Dv)``; the boolean
        mask, True = may attend, broadcasts to (..., T, S). The output of a query that may attend to nothing
        is zeros.
    """
    draw = Draw()
    one_empty_row = draw.mask(2, 1, 5, 7)
    one_empty_row[1, 0, 3] = False

    def inputs(*leading: int, mask: Tensor, **kind: Any) -> dict[str, Tensor]:
        return {
            "query": draw.normal(*leading, 5, 11, std=_SMALL, **kind),
            "key": draw.normal(*leading, 7, 11, **kind),
            "value": draw.normal(*leading, 7, 13, **kind),
            "mask": mask,
        }

    cases = (
        Case(
            "for two axes",
            inputs(mask=draw.mask(5, 7)),
            "Check scores, weights and blend one by one, shapes first.",
        ),
        Case("with axes in front", inputs(2, 3, mask=draw.mask(2, 3, 1, 7)), _FROM_THE_END),
        Case("for a query that may attend to nothing", inputs(2, 3, mask=one_empty_row), _NO_KEYS),
        Case("in float64", inputs(mask=draw.mask(5, 7), dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs(2, 3, mask=one_empty_row, grad=True), _GRADIENT),
    )
    with _NoticeFused() as notice:
        feedback = judge(answer, _ATTENTION, cases)
    if notice.used:
        feedback = "✗ this calls torch's own attention\n  Write the steps yourself: scores, weights, blend."
    print(feedback)


def _distance(length: int) -> Tensor:
    """How far each key (column) lies before each query (row), (T, T)."""
    positions = torch.arange(length)
    return positions[:, None] - positions


def _wrapping_rows(length: int, window: int) -> Tensor:
    mask = torch.zeros(length, length, dtype=torch.bool)
    for row in range(length):
        mask[row, row - window + 1 : row + 1] = True
    return mask


def _from_distance(rule: Callable[[Tensor, int], Tensor]) -> Answer:
    return lambda length, window: rule(_distance(length), window)


_SLIDING_WINDOW_MASK = Exercise(
    returns="the mask, boolean, shape (T, T)",
    outputs=("mask",),
    reference=_from_distance(lambda back, window: (back >= 0) & (back < window)),
    mistakes=combinations(
        lambda side, rule: lambda length, window: side(rule(length, window)),
        _SIDES,
        (
            Option(_from_distance(lambda back, window: (back >= 0) & (back < window))),
            Option(
                _from_distance(lambda back, window: (back >= 0) & (back <= window)),
                "window one too wide",
                "It counts the position itself: itself and the window − 1 before it.",
            ),
            Option(
                _from_distance(lambda back, window: (back >= 0) & (back < window - 1)),
                "window one too narrow",
                "Itself and the window − 1 before it make window positions.",
            ),
            Option(
                _from_distance(lambda back, window: (back > 0) & (back <= window)),
                "a position cannot see itself",
                "The window ends at the position itself; here it ends one before.",
            ),
            Option(
                _from_distance(lambda back, window: (back > 0) & (back < window)),
                "a position cannot see itself",
                "The window ends at the position itself; here it ends one before.",
            ),
            Option(
                _from_distance(lambda back, window: back.abs() < window),
                "window on both sides",
                "It looks window − 1 back, and also ahead; what lies ahead is hidden.",
            ),
            Option(
                _from_distance(lambda back, window: back.abs() <= window // 2),
                "window centred on the position",
                "It ends there: nothing that lies ahead may be seen.",
            ),
            Option(
                _from_distance(lambda back, window: (back <= 0) & (back > -window)),
                "looks ahead, not back",
                "Rows are queries: mask[t, s] is True where s is at t or before.",
            ),
            Option(
                _from_distance(lambda back, window: back < window),
                "looks ahead without limit",
                "The far past is hidden, the future is not: the mask has to be causal too.",
            ),
            Option(
                _from_distance(lambda back, window: back > -window),
                "looks ahead, and back without limit",
                "The band lies on the other side of the diagonal.",
            ),
            Option(
                _from_distance(lambda back, window: back >= 0),
                "causal, but without a window",
                "Positions window or more steps back are to be hidden.",
            ),
            Option(
                _wrapping_rows,
                "the first rows come out empty",
                "A negative start counts from the end in Python: begin at max(0, t − window + 1).",
            ),
        ),
    ),
    passed="sliding window: each position sees itself and the window − 1 before it",
)


def check_sliding_window_mask(answer: Callable[[int, int], Tensor]) -> None:
    """Check a causal sliding-window mask and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(length T, window) -> mask (T, T)``, boolean; each position may attend to itself and to the
        window − 1 positions before it.
    """
    draw = Draw()
    band = "mask[t, s] is True where s is one of the last `window` positions up to t."
    wide = "A window as long as the sequence or longer hides nothing of the past: the causal mask."
    small = [(length, window) for length in range(1, 7) for window in range(1, 9)]
    cases = (
        Case("for length 7 and window 3", {"length": 7, "window": 3}, band),
        Case("for a window of 1", {"length": 5, "window": 1}, "Each position sees itself alone: the diagonal."),
        Case("for a window longer than the sequence", {"length": 5, "window": 11}, wide),
        *(Case("for some small sizes", {"length": n, "window": w}, wide if w >= n else band) for n, w in small),
        Case("for a longer sequence", {"length": draw.whole(20, 40), "window": draw.whole(8, 19)}, band),
    )
    print(judge(answer, _SLIDING_WINDOW_MASK, cases))


def _shifted(rule: Callable[[Tensor, Tensor, int, int], Tensor]) -> Answer:
    def answer(target_length: int, source_length: int) -> Tensor:
        query, key = torch.arange(target_length)[:, None], torch.arange(source_length)
        return rule(query, key, target_length, source_length)

    return answer


_OFFSET_CAUSAL_MASK = Exercise(
    returns="the mask, boolean, shape (T, S)",
    outputs=("mask",),
    reference=_shifted(lambda query, key, length, size: key <= query + size - length),
    mistakes=combinations(
        lambda side, rule, layout: lambda target, source: layout(side(rule(target, source))),
        _SIDES,
        (
            Option(_shifted(lambda query, key, length, size: key <= query + size - length)),
            Option(
                _shifted(lambda query, key, length, size: key <= query),
                "aligned to the start, not to the end",
                "Query 0 stands at position S − T, not 0. torch's is_causal=True makes this very mask when T < S.",
            ),
            Option(
                _shifted(lambda query, key, length, size: key < query),
                "aligned to the start, and no query sees itself",
                "Query t stands at position S − T + t and sees all up to and including it.",
            ),
            Option(
                _shifted(lambda query, key, length, size: key < query + size - length),
                "one too few: no query sees itself",
                "Query t stands at position S − T + t and sees all up to and including it.",
            ),
            Option(
                _shifted(lambda query, key, length, size: key <= query + size - length + 1),
                "one too many: every query sees one position ahead",
                "Query t stands at position S − T + t, counted from 0: the last of the S positions is S − 1.",
            ),
            Option(
                _shifted(lambda query, key, length, size: key <= query + length),
                "shifted by T, not by S − T",
                "There are S − T positions before query 0.",
            ),
            Option(
                _shifted(lambda query, key, length, size: key <= query + size),
                "nothing is hidden",
                "That is right for one query alone; of several, the earlier ones would see the later.",
            ),
            Option(
                _shifted(lambda query, key, length, size: key >= query + size - length),
                "looks ahead, not back",
                "The comparison is the wrong way round.",
            ),
            Option(
                lambda target, source: torch.ones(source, source, dtype=torch.bool).tril(),
                "mask for all S queries",
                "Only the last T of its rows are asked for.",
            ),
            Option(
                lambda target, source: torch.ones(target, target, dtype=torch.bool).tril(),
                "the cached keys are missing",
                "The T queries look at S keys: S − T more columns, to the left.",
            ),
        ),
        (
            Option(lambda mask: mask),
            Option(lambda mask: mask.mT, "transposed", "Rows are queries: (T, S), not (S, T)."),
        ),
    ),
    passed="causal mask with a cache: the queries are the last T of the S positions",
)


def check_offset_causal_mask(answer: Callable[[int, int], Tensor]) -> None:
    """Check the causal mask of decoding with a cache and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(target_length T, source_length S ≥ T) -> mask (T, S)``, boolean; the T queries are the last T of
        the S positions, and each may attend to itself and to all before it.
    """
    draw = Draw()
    rule = "Query t stands at position S − T + t."
    small = [(target, source) for source in range(1, 8) for target in range(1, source + 1)]
    target = draw.whole(8, 19)
    cases = (
        Case("for 3 queries and 11 keys", {"target_length": 3, "source_length": 11}, rule),
        Case(
            "for a single query", {"target_length": 1, "source_length": 5}, "It is the newest and sees everything."
        ),
        Case(
            "without a cache",
            {"target_length": 5, "source_length": 5},
            "With T = S this is the causal mask of the chapter.",
        ),
        *(Case("for some small sizes", {"target_length": t, "source_length": s}, rule) for t, s in small),
        Case(
            "for longer sequences",
            {"target_length": target, "source_length": target + draw.whole(8, 19)},
            rule,
        ),
    )
    print(judge(answer, _OFFSET_CAUSAL_MASK, cases))


_LARGER = "It is the larger of the two, query by query."


def _lowest(largest: Tensor) -> float:
    return torch.finfo(largest.dtype).min


def _merge(reference: Answer, factors: Answer, blending: Answer, reported: Answer) -> Answer:
    def answer(first: Triple, second: Triple) -> Triple:
        top = reference(first[0], second[0])
        totals, blends = factors(first[0], second[0], top)
        total = totals[0] * first[1] + totals[1] * second[1]
        blend = blends[0] * first[2] + blends[1] * second[2]
        return reported(first[0], second[0], top), total, blending(blend, total)

    return answer


def _factors(first: Tensor, second: Tensor, top: Tensor) -> tuple[Tensor, Tensor]:
    """exp(largest − top) for both chunks; zero, not NaN, for a chunk without a visible key."""
    finite = top.clamp(min=_lowest(top))
    return (first - finite).exp(), (second - finite).exp()


def _twice(rule: Callable[[Tensor, Tensor, Tensor], Any]) -> Answer:
    def factors(first: Tensor, second: Tensor, top: Tensor) -> Any:
        pair = rule(first, second, top)
        return pair, pair

    return factors


_MERGE_CHUNKS = Exercise(
    returns="the merged (largest, total, blend)",
    outputs=("largest", "total", "blend"),
    reference=_merge(torch.maximum, _twice(_factors), lambda blend, _: blend, lambda first, second, top: top),
    mistakes=combinations(
        _merge,
        (
            Option(torch.maximum),
            Option(
                lambda first, second: first,
                "largest taken from the first chunk",
                _LARGER,
            ),
            Option(
                lambda first, second: second,
                "largest taken from the second chunk",
                _LARGER,
            ),
            Option(
                lambda first, second: first + second,
                "largest scores added",
                _LARGER,
            ),
            Option(
                torch.minimum,
                "the smaller of the largest scores",
                "It is the larger of the two, query by query: exp of the rest then stays ≤ 1.",
            ),
        ),
        (
            Option(_twice(_factors)),
            Option(
                _twice(lambda first, second, top: (1.0, 1.0)),
                "not rescaled",
                "Each chunk's sums refer to its own largest score: times exp(its largest − the new largest).",
            ),
            Option(
                lambda first, second, top: (_factors(first, second, top), (1.0, 1.0)),
                "total rescaled, blend not",
                "Both are sums of exponentials, and both need the factor.",
            ),
            Option(
                lambda first, second, top: ((1.0, 1.0), _factors(first, second, top)),
                "blend rescaled, total not",
                "Both are sums of exponentials, and both need the factor.",
            ),
            Option(
                _twice(lambda first, second, top: ((first - top).exp(), 1.0)),
                "only the first chunk rescaled",
                "Where the first has the larger score, it is the second that must shrink.",
            ),
            Option(
                _twice(lambda first, second, top: (1.0, (second - top).exp())),
                "only the second chunk rescaled",
                "Where the second has the larger score, it is the first that must shrink.",
            ),
            Option(
                _twice(lambda first, second, top: ((top - first).exp(), (top - second).exp())),
                "wrong sign in the exponent",
                "The factor is exp(its largest − the new largest), never more than 1.",
            ),
            Option(
                _twice(lambda first, second, top: ((second - top).exp(), (first - top).exp())),
                "factors swapped",
                "Each chunk is rescaled with its own largest score.",
            ),
            Option(
                _twice(lambda first, second, top: (first.exp(), second.exp())),
                "rescaled to exp(score), without subtracting the new largest",
                "That overflows for large scores: the factor is exp(its largest − the new largest).",
            ),
            Option(
                _twice(lambda first, second, top: ((first - top).exp(), (second - top).exp())),
                "NaN for a query that sees nothing in either chunk",
                "−∞ − (−∞) is NaN: such a chunk's factor has to be a number, its sums are zero anyway.",
            ),
        ),
        (
            Option(lambda blend, total: blend),
            Option(
                lambda blend, total: blend / 2, "blends averaged", "They are sums over different keys: add them."
            ),
            Option(
                lambda blend, total: blend / total,
                "blend already divided by total",
                "The division comes once, after the last chunk; a later merge would divide twice.",
            ),
        ),
        (
            Option(lambda first, second, top: top),
            Option(lambda first, second, top: first, "returned the first chunk's largest", _LARGER),
            Option(lambda first, second, top: second, "returned the second chunk's largest", _LARGER),
            Option(lambda first, second, top: first + second, "returned the sum of the largest scores", _LARGER),
        ),
    ),
    passed="merged chunks: as if the softmax had seen all the keys at once",
)


def _chunks(draw: Draw, *shape: int, width: int, dtype: torch.dtype = torch.float32, grad: bool = False) -> Any:
    """Draw two chunks; for every other query the first holds the larger score."""
    middle, half = draw.normal(*shape, 1, dtype=dtype), draw.uniform(0.3, 1.0, *shape, 1, dtype=dtype)
    half[..., ::2, :] *= -1
    return {
        name: (
            largest,
            draw.uniform(1.0, 5.0, *shape, 1, dtype=dtype, grad=grad),
            draw.normal(*shape, width, dtype=dtype, grad=grad),
        )
        for name, largest in (("first", middle - half), ("second", middle + half))
    }


def _hide(chunk: Triple, row: int, largest: float) -> None:
    """Leave one query without a visible key in this chunk."""
    for part, value in zip(chunk, (largest, 0.0, 0.0), strict=True):
        part[..., row, :] = value


def check_merge_chunks(answer: Callable[[Triple, Triple], Triple]) -> None:
    """Check the merging of two chunks of online softmax and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(first, second) -> merged``, each a tuple of the largest score (..., T, 1), the total of
        exp(score − largest) (..., T, 1) and the blend of values with these exponentials (..., T, Dv), not
        yet divided by the total. A query that sees nothing in a chunk has total 0, blend 0 and largest −∞ or
        the lowest finite number there.
    """
    draw = Draw()
    large = _chunks(draw, 7, width=3)
    for name, (largest, total, blend) in large.items():
        large[name] = (largest + 200.0, total, blend)
    masked = _chunks(draw, 2, 5, width=3)
    _hide(masked["first"], 0, -math.inf)
    _hide(masked["second"], 1, -math.inf)
    _hide(masked["first"], 2, _lowest(masked["first"][0]))
    _hide(masked["second"], 3, _lowest(masked["second"][0]))
    both = _chunks(draw, 2, 5, width=3)
    for chunk in both.values():
        _hide(chunk, 0, -math.inf)
        _hide(chunk, 3, _lowest(chunk[0]))
    cases = (
        Case(
            "for two axes",
            _chunks(draw, 7, width=3),
            "The new largest is the larger one; each chunk's sums shrink by exp(its largest − the new largest).",
        ),
        Case("with axes in front", _chunks(draw, 2, 3, 5, width=7), _FROM_THE_END),
        Case("for large scores", large, "Scores near 200: no exponent may be above zero, or exp overflows."),
        Case(
            "for a query that sees nothing in one chunk",
            masked,
            "Then the merged sums are those of the other chunk: no factor may be infinite or NaN.",
        ),
        Case(
            "for a query that sees nothing in either chunk",
            both,
            "Largest stays as it came, total and blend stay 0; −∞ − (−∞) is NaN, so guard it.",
        ),
        Case("in float64", _chunks(draw, 7, width=3, dtype=torch.float64), _DTYPE),
        Case("with gradients", _chunks(draw, 2, 5, width=3, grad=True), _GRADIENT),
    )
    print(judge(answer, _MERGE_CHUNKS, cases))
