"""Checks for the exercises of the chapter on what a Transformer costs.

Each check takes the reader's function, calls it on fresh random inputs and prints one short feedback that
names the mistake. Axis letters are those of `transformer_book.shapes`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from transformer_book.exercises._feedback import Answer, Case, Draw, Exercise, Option, combinations, judge

# Exercise 1: operations of a layer --------------------------------------------------------------------------


def _flops(each: float, projections: Answer, attention: Answer, feed_forward: Answer) -> Answer:
    def answer(length: Tensor, d_model: int, d_ff: int) -> Tensor:
        own, table = projections(length, d_model), attention(length, d_model)
        return each * (own + table + feed_forward(length, d_model, d_ff))

    return answer


_FLOPS = Exercise(
    returns="the operations of one layer, shape (N,)",
    outputs=("operations",),
    reference=_flops(2, lambda t, d: 4 * t * d * d, lambda t, d: 2 * t * t * d, lambda t, d, f: 2 * t * d * f),
    mistakes=combinations(
        _flops,
        (
            Option(2),
            Option(
                1, "a multiplication and an addition counted as one", "2 · m · n · k for each product of matrices."
            ),
        ),
        (
            Option(lambda t, d: 4 * t * d * d),
            Option(
                lambda t, d: 3 * t * d * d, "three projections, not four", "The merged heads are projected too."
            ),
            Option(lambda t, d: 0 * t, "the projections are left out", "Four products of (T, D) and (D, D)."),
        ),
        (
            Option(lambda t, d: 2 * t * t * d),
            Option(
                lambda t, d: t * t * d, "scores or blends, not both", "QKᵀ and the weights times V: two products."
            ),
            Option(lambda t, d: 2 * t * d, "attention to one position, not to all T", "T queries meet T keys."),
            Option(lambda t, d: 0 * t, "scores and blends are left out", "They are what grows with T²."),
        ),
        (
            Option(lambda t, d, f: 2 * t * d * f),
            Option(lambda t, d, f: t * d * f, "one product in the feed-forward layer", "Into F, and back into D."),
            Option(lambda t, d, f: 0 * t, "the feed-forward layer is left out", "Into F, and back into D."),
        ),
        most=1,
    ),
    passed="operations of a layer, and heads do not matter.",
)


def check_layer_flops(answer: Callable[[Tensor, int, int], Tensor]) -> None:
    """Check a count of an encoder layer's operations and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(length (N,), d_model, d_ff) -> operations (N,)``, for one sequence.
    """
    draw = Draw()

    def inputs(lengths: list[int]) -> dict[str, object]:
        d_model = draw.whole(11, 40)  # F = 4D would make two mistakes the same number
        return {"length": torch.tensor(lengths), "d_model": d_model, "d_ff": 3 * d_model + draw.whole(1, 9)}

    cases = (
        Case("for one token", inputs([1]), "8 D² + 4 D + 4 D F."),
        Case("for several lengths", inputs([2, 7, 19]), "8 T D² + 4 T² D + 4 T D F."),
    )
    print(judge(answer, _FLOPS, cases))


# Exercise 2: the roofline -----------------------------------------------------------------------------------


def _roofline(arithmetic: Answer, memory: Answer, join: Answer) -> Answer:
    def answer(flops: Tensor, moved: Tensor, peak: float, bandwidth: float) -> Tensor:
        return join(arithmetic(flops, peak, bandwidth), memory(moved, peak, bandwidth))

    return answer


_ROOFLINE = Exercise(
    returns="the least time of each step, shape (N,)",
    outputs=("seconds",),
    reference=_roofline(lambda n, peak, band: n / peak, lambda n, peak, band: n / band, torch.maximum),
    mistakes=combinations(
        _roofline,
        (
            Option(lambda n, peak, band: n / peak),
            Option(
                lambda n, peak, band: n / band, "operations divided by bytes per second", "They take flops / peak."
            ),
            Option(lambda n, peak, band: n * peak, "operations times the peak", "More per second is less time."),
        ),
        (
            Option(lambda n, peak, band: n / band),
            Option(
                lambda n, peak, band: n / peak,
                "bytes divided by operations per second",
                "They take moved / bandwidth.",
            ),
            Option(lambda n, peak, band: n * band, "bytes times the bandwidth", "More per second is less time."),
        ),
        (
            Option(torch.maximum),
            Option(torch.minimum, "the smaller of the two, not the larger", "The slower one is waited for."),
            Option(lambda one, other: one + other, "both times added up", "They overlap: the longer one counts."),
            Option(lambda one, other: one, "memory is left out", "A step without operations takes time too."),
            Option(lambda one, other: other, "arithmetic is left out", "A large product is limited by it."),
        ),
        most=1,
    ),
    passed="the roofline: the larger of two times.",
)


def check_roofline(answer: Callable[[Tensor, Tensor, float, float], Tensor]) -> None:
    """Check the least time of steps on a machine and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(flops (N,), moved (N,), peak, bandwidth) -> seconds (N,)``.
    """
    draw = Draw()
    peak, bandwidth = float(draw.uniform(50, 90)), float(draw.uniform(3, 9))

    def inputs(ratios: list[float]) -> dict[str, object]:
        moved = draw.uniform(1, 5, len(ratios))
        flops = moved * torch.tensor(ratios) * peak / bandwidth
        return {"flops": flops, "moved": moved, "peak": peak, "bandwidth": bandwidth}

    cases = (
        Case("for steps on both sides of the ridge", inputs([0.0, 0.4, 3.0, 8.0]), "The larger of the two times."),
        Case("for other steps", inputs([0.1, 2.0, 0.5]), "The larger of the two times."),
    )
    print(judge(answer, _ROOFLINE, cases))


# Exercise 3: where attention overtakes ----------------------------------------------------------------------


def _crossing(own: float, width: float, share: float) -> Answer:
    return lambda d_ff, d_model: ((width * d_ff - own * d_model) / share).clamp(min=0)


_CROSSING = Exercise(
    returns="the length at which both have the same operations, shape (N,)",
    outputs=("length",),
    reference=_crossing(2, 1, 1),
    mistakes=combinations(
        _crossing,
        (
            Option(2),
            Option(0, "the four projections are left out", "They belong to attention: 8 T D²."),
            Option(1, "half of the projections", "Four of them: 8 T D² operations, 2 D in the length."),
        ),
        (Option(1), Option(2, "the feed-forward layer counted twice", "Two products, 4 T D F operations in all.")),
        (Option(1), Option(0.5, "scores or blends, not both", "Two products with T² in them: 4 T² D.")),
        most=1,
    ),
    passed="the crossing: F − 2D, and never below zero.",
)


def check_crossing(answer: Callable[[Tensor, int], Tensor]) -> None:
    """Check the length at which attention overtakes the feed-forward layer and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(d_ff (N,), d_model) -> length (N,)``; 0 where attention is ahead from the first token on.
    """
    draw = Draw()
    width = draw.whole(20, 60)
    wide = torch.tensor([4.0 * width, 3.0 * width, 8.0 * width]) + draw.whole(1, 9)
    narrow = torch.tensor([1.0 * width, 4.0 * width])
    hint = "8 T D² + 4 T² D = 4 T D F."
    cases = (
        Case("for wide layers", {"d_ff": wide, "d_model": width}, hint),
        Case("where F is below 2D", {"d_ff": narrow, "d_model": width}, "There is no length below zero."),
    )
    print(judge(answer, _CROSSING, cases))


# Exercise 4: a cache with shared heads ----------------------------------------------------------------------


def _shared(tables: int, heads: Answer, width: Answer) -> Answer:
    def answer(length: Tensor, d_model: int, num_heads: int, kv_heads: int, layers: int) -> Tensor:
        return tables * 2 * layers * length * heads(num_heads, kv_heads) * width(d_model, num_heads, kv_heads)

    return answer


_SHARED = Exercise(
    returns="the bytes of keys and values, shape (N,)",
    outputs=("bytes",),
    reference=_shared(2, lambda h, g: g, lambda d, h, g: d // h),
    mistakes=combinations(
        _shared,
        (
            Option(2),
            Option(1, "keys or values, not both", "A token leaves a key and a value in every layer."),
            Option(4, "4 bytes a number, not 2", "bfloat16 has 16 bits."),
        ),
        (
            Option(lambda h, g: g),
            Option(lambda h, g: h, "every query head with keys of its own", "Only kv_heads of them are kept."),
            Option(lambda h, g: h // g, "heads per group, not groups", "kv_heads is what is kept."),
        ),
        (
            Option(lambda d, h, g: d // h),
            Option(lambda d, h, g: d, "each head as wide as the model", "A head is D / H wide."),
        ),
        most=1,
    ),
    passed="a cache of shared heads.",
)


def check_shared_cache(answer: Callable[[Tensor, int, int, int, int], Tensor]) -> None:
    """Check the size of a cache whose keys and values are shared by several heads, and print what is wrong.

    Parameters
    ----------
    answer
        ``(length (N,), d_model, num_heads, kv_heads, layers) -> bytes (N,)``, in bfloat16, for one sequence.
    """
    draw = Draw()

    def inputs(shared: int, groups: int) -> dict[str, object]:
        heads = shared * groups
        sizes = {"d_model": heads * draw.whole(5, 40), "num_heads": heads, "kv_heads": groups}
        return {"length": torch.tensor([1, 5, 11]), **sizes, "layers": draw.whole(3, 30)}

    cases = (
        Case("for groups of five heads", inputs(5, 3), "2 · 2 · N · T · kv_heads · D / H bytes."),
        Case("for heads that share nothing", inputs(1, 7), "Then kv_heads = H: 2 · 2 · N · T · D bytes."),
    )
    print(judge(answer, _SHARED, cases))


# Exercise 5: gradients of parts -----------------------------------------------------------------------------


def _joined(weights: Answer) -> Answer:
    return lambda gradients, tokens: (weights(tokens)[:, None] * gradients).sum(dim=0)


_JOINED = Exercise(
    returns="the gradient of the whole batch, shape (D,)",
    outputs=("gradient",),
    reference=_joined(lambda n: n / n.sum()),
    mistakes=combinations(
        _joined,
        (
            Option(lambda n: n / n.sum()),
            Option(
                lambda n: torch.ones_like(n) / len(n),
                "parts weigh alike, whatever their tokens",
                "The loss is a mean over tokens: a part with more of them counts for more.",
            ),
            Option(
                torch.ones_like,
                "the sum of the parts",
                "Each is a mean already: weigh them so that all sum to one.",
            ),
            Option(lambda n: n, "not divided by all tokens", "The weights are tokens / tokens.sum()."),
            Option(
                lambda n: n / n.sum() / len(n),
                "divided by the number of parts as well",
                "The weights tokens / tokens.sum() sum to one already.",
            ),
        ),
    ),
    passed="parts weighted by their tokens.",
)


def check_joined_gradient(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Check how the gradients of a batch's parts are joined and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(gradients (P, D), tokens (P,)) -> gradient (D,)``: each row is the gradient of a mean over its tokens.
    """
    draw = Draw()

    def inputs(tokens: list[float], dtype: torch.dtype = torch.float32) -> dict[str, object]:
        gradients = draw.normal(len(tokens), 7, dtype=dtype)
        return {"gradients": gradients, "tokens": torch.tensor(tokens, dtype=dtype)}

    hint = "Σ tokens · gradient / Σ tokens."
    cases = (
        Case("for two parts", inputs([11.0, 3.0]), hint),
        Case("for three parts", inputs([2.0, 17.0, 5.0]), hint),
        Case("in float64", inputs([5.0, 8.0], torch.float64), "Constants must follow the inputs."),
    )
    print(judge(answer, _JOINED, cases))
