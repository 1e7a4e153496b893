"""Checks for the exercises of the chapter on multi-head attention.

Each check takes the reader's function, calls it on fresh random inputs and prints one short feedback that
names the mistake. Axis letters are those of `transformer_book.shapes`; masks are boolean, True = may attend.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from transformer_book.attention import merge_heads, split_heads
from transformer_book.exercises._feedback import Answer, Case, Draw, Exercise, Mistake, Option, combinations, judge

Triple = tuple[Tensor, Tensor, Tensor]

_DTYPE = "Right in float32, not in float64: constants must follow the inputs."
_GRADIENT = "Right without gradients: stay in torch, and out of place, from inputs to result."
_ONE_HEAD = "With one head nothing is cut: shape (B, 1, T, D) inside, (B, T, D) outside."


# Exercise 1: merge the heads --------------------------------------------------------------------------------

_MERGE_HEADS = Exercise(
    returns="the heads side by side, shape (B, T, H·K)",
    outputs=("merged",),
    reference=merge_heads,
    mistakes=combinations(
        lambda merge: merge,
        (
            Option(merge_heads),
            Option(
                lambda heads: heads.reshape(len(heads), heads.shape[2], -1),
                "reshaped without transposing: rows mix the tokens",
                "reshape keeps the order in memory, a head's tokens side by side: move H next to K first.",
            ),
            Option(
                lambda heads: heads.movedim(1, -1).flatten(-2),
                "the heads interleaved, not side by side",
                "All K coordinates of head 0 come first, then those of head 1: (B, T, H, K), not (B, T, K, H).",
            ),
            Option(
                lambda heads: heads.flip(1).transpose(1, 2).flatten(-2),
                "the heads in reverse order",
                "Head 0 comes first.",
            ),
            Option(
                lambda heads: heads.transpose(1, 2),
                "not flattened: H and K are still two axes",
                "The width D is the last two axes taken as one: flatten(-2).",
            ),
            Option(
                lambda heads: heads.flatten(1, 2),
                "head after head along the tokens, not along the width",
                "Each token keeps one row; the heads lie side by side in it.",
            ),
            Option(
                lambda heads: heads.mean(1),
                "the heads averaged, not side by side",
                "An average could no longer say which head saw what.",
            ),
            Option(
                lambda heads: heads.sum(1),
                "the heads added, not side by side",
                "A sum could no longer say which head saw what.",
            ),
            Option(
                lambda heads: heads[:, :1].expand_as(heads).transpose(1, 2).flatten(-2),
                "the first head repeated",
                "Each head has a place of its own.",
            ),
        ),
    ),
    passed="merged: each token's heads side by side, in order",
)


def check_merge_heads(answer: Callable[[Tensor], Tensor]) -> None:
    """Check the merging of heads and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(heads (B, H, T, K)) -> merged (B, T, H·K)``.
    """
    draw = Draw()
    cases = (
        Case(
            "for several heads",
            {"heads": draw.normal(2, 3, 5, 7)},
            "merged[b, t, h·K + k] is heads[b, h, t, k].",
        ),
        Case("for one head", {"heads": draw.normal(2, 1, 3, 5)}, "Shape (B, T, K): nothing is reordered."),
        Case("for one token", {"heads": draw.normal(3, 5, 1, 2)}, "Shape (B, 1, H·K)."),
        Case("in float64", {"heads": draw.normal(2, 3, 5, 2, dtype=torch.float64)}, _DTYPE),
        Case("with gradients", {"heads": draw.normal(2, 3, 5, 2, grad=True)}, _GRADIENT),
    )
    print(judge(answer, _MERGE_HEADS, cases))


# Exercise 2: three maps in one product ----------------------------------------------------------------------


def _packed(cut: Answer, order: Answer) -> Answer:
    return lambda packed, num_heads: order(cut(packed, num_heads))


def _split_each(split: Callable[[Tensor, int], Tensor]) -> Answer:
    return lambda packed, num_heads: tuple(split(part, num_heads) for part in packed.chunk(3, dim=-1))


_SPLIT_PACKED = Exercise(
    returns="(q, k, v), each of shape (B, H, T, K)",
    outputs=("q", "k", "v"),
    reference=_split_each(split_heads),
    mistakes=combinations(
        _packed,
        (
            Option(_split_each(split_heads)),
            Option(
                _split_each(lambda part, heads: part.reshape(len(part), heads, part.shape[1], -1)),
                "reshaped to (B, H, T, K) at once: heads mix the tokens",
                "Cut only the last axis, (B, T, H, K), and then transpose T and H.",
            ),
            Option(
                _split_each(lambda part, heads: part.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2)),
                "every H-th coordinate to a head, not K neighbours",
                "The last axis is H pieces of K: unflatten to (H, K), not (K, H).",
            ),
            Option(
                _split_each(lambda part, heads: part.unflatten(-1, (heads, -1))),
                "not transposed: (B, T, H, K)",
                "The product of queries and keys needs T and K last: one more transpose.",
            ),
            Option(
                _split_each(lambda part, heads: split_heads(part, heads).mT),
                "one transpose too many: (B, H, K, T)",
                "Only H and T change places.",
            ),
            Option(
                _split_each(lambda part, heads: split_heads(part, heads).flip(1)),
                "the heads in reverse order",
                "Head 0 has the first K coordinates.",
            ),
            Option(
                lambda packed, heads: split_heads(packed, heads).chunk(3, dim=-1),
                "cut into heads before q, k and v",
                "The first D columns are q's, all its heads; the packing is (q, k, v), each of H·K.",
            ),
            Option(
                lambda packed, heads: packed.chunk(3, dim=-1),
                "not cut into heads",
                "Each of the three is (B, T, H·K) still.",
            ),
        ),
        (
            Option(lambda parts: parts),
            Option(lambda parts: (parts[1], parts[0], parts[2]), "q and k exchanged", "The order is q, k, v."),
            Option(lambda parts: (parts[0], parts[2], parts[1]), "k and v exchanged", "The order is q, k, v."),
            Option(lambda parts: parts[::-1], "v, k, q: the wrong way round", "The order is q, k, v."),
            Option(
                lambda parts: (parts[0], parts[0], parts[0]),
                "the same third three times",
                "q, k and v are three different maps of the input.",
            ),
        ),
    ),
    passed="three maps from one product, each cut into its heads",
)


def check_split_packed(answer: Callable[[Tensor, int], Triple]) -> None:
    """Check the cutting of a packed projection into q, k, v and heads and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(packed (B, T, 3·H·K), num_heads H) -> (q, k, v)``, each (B, H, T, K).
    """
    draw = Draw()

    def inputs(batch: int, length: int, heads: int, width: int, **kind: object) -> dict[str, object]:
        packed = draw.normal(batch, length, 3 * heads * width, **kind)  # type: ignore[arg-type]
        return {"packed": packed, "num_heads": heads}

    cases = (
        Case(
            "for several heads", inputs(2, 5, 3, 7), "First q, k and v: thirds of the last axis. Then the heads."
        ),
        Case("for one head", inputs(2, 5, 1, 3), _ONE_HEAD),
        Case("in float64", inputs(2, 3, 5, 2, dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs(2, 3, 5, 2, grad=True), _GRADIENT),
    )
    print(judge(answer, _SPLIT_PACKED, cases))


# Exercise 3: the whole thing --------------------------------------------------------------------------------


def _multi_head(
    apply: Answer,
    split: Answer,
    divisor: Answer,
    place: Answer,
    axis: int,
    blend: Answer,
    merge: Answer,
    end: Answer,
) -> Answer:
    def answer(
        query: Tensor,
        source: Tensor,
        w_query: Tensor,
        w_key: Tensor,
        w_value: Tensor,
        w_output: Tensor,
        num_heads: int,
        mask: Tensor,
    ) -> Tensor:
        pairs = ((query, w_query), (source, w_key), (source, w_value))
        q, k, v = (split(apply(x, w), num_heads) for x, w in pairs)  # (B, H, T, K), (B, H, S, K)
        scores = q @ k.mT / divisor(q.shape[-1], num_heads)  # (B, H, T, S)
        weights = place(scores, mask).softmax(axis)
        return end(apply, merge(blend(weights, k, v)), w_output)

    return answer


def _hide(scores: Tensor, visible: Tensor) -> Tensor:
    return scores.masked_fill(~visible, torch.finfo(scores.dtype).min)


_MULTI_HEAD = Exercise(
    returns="the output, shape (B, T, D)",
    outputs=("output",),
    reference=_multi_head(
        lambda x, w: x @ w.mT,
        split_heads,
        lambda width, heads: math.sqrt(width),
        lambda scores, mask: _hide(scores, mask[:, None, None]),
        -1,
        lambda weights, k, v: weights @ v,
        merge_heads,
        lambda apply, merged, w: apply(merged, w),
    ),
    mistakes=combinations(
        _multi_head,
        (
            Option(lambda x, w: x @ w.mT),
            Option(
                lambda x, w: x @ w,
                "the matrices the wrong way round",
                "A weight is (out, in), as in nn.Linear: x @ w.T.",
            ),
        ),
        (
            Option(split_heads),
            Option(
                lambda x, heads: x.reshape(len(x), heads, x.shape[1], -1),
                "reshaped to (B, H, T, K) at once: heads mix the tokens",
                "Cut only the last axis, (B, T, H, K), and then transpose T and H.",
            ),
            Option(
                lambda x, heads: x.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2),
                "every H-th coordinate to a head, not K neighbours",
                "The last axis is H pieces of K: unflatten to (H, K), not (K, H).",
            ),
            Option(
                lambda x, heads: split_heads(x, heads)[:, :1].expand(-1, heads, -1, -1),
                "the first head repeated",
                "Each head has its own K coordinates of q, k and v.",
            ),
            Option(
                lambda x, heads: x[:, None],
                "one head as wide as the model",
                "Cut q, k and v into heads before they meet.",
            ),
        ),
        (
            Option(lambda width, heads: math.sqrt(width)),
            Option(
                lambda width, heads: math.sqrt(width * heads),
                "divided by √D, not √K",
                "A head's q·k is a sum over its own width K = D/H.",
            ),
            Option(lambda width, heads: 1.0, "not divided by √K", "Each head is scaled dot-product attention."),
            Option(lambda width, heads: width, "divided by K, not √K", "The spread of q·k is √K."),
            Option(
                lambda width, heads: math.sqrt(heads), "divided by √H, not √K", "K is D/H, the width of a head."
            ),
        ),
        (
            Option(lambda scores, mask: _hide(scores, mask[:, None, None])),
            Option(
                lambda scores, mask: _hide(scores, mask[:, None]),
                "the mask of sequence b laid over head b",
                "Axes are matched from the right: give (B, S) two axes in the middle, mask[:, None, None].",
            ),
            Option(
                lambda scores, mask: _hide(scores, mask),
                "the mask of sequence b laid over query b",
                "Axes are matched from the right: give (B, S) two axes in the middle, mask[:, None, None].",
            ),
            Option(lambda scores, mask: scores, "mask ignored", "Padding gets a share."),
            Option(
                lambda scores, mask: _hide(scores, ~mask[:, None, None]),
                "mask inverted",
                "True marks the real tokens; nn.MultiheadAttention means the opposite.",
            ),
        ),
        (
            Option(-1),
            Option(-2, "softmax over the queries", "Each query's shares over the keys sum to one: dim=-1."),
            Option(1, "softmax over the heads", "Each head has a distribution of its own over the keys: dim=-1."),
        ),
        (
            Option(lambda weights, k, v: weights @ v),
            Option(lambda weights, k, v: weights @ k, "blended the keys, not the values", "Keys only choose."),
            Option(
                lambda weights, k, v: weights.mean(1, keepdim=True) @ v,
                "the weights averaged over the heads",
                "Then every head looks where all look; each blends its values with its own weights.",
            ),
        ),
        (
            Option(merge_heads),
            Option(
                lambda heads: heads.reshape(len(heads), heads.shape[2], -1),
                "merged without transposing back",
                "The axes are (B, H, T, K): bring H next to K before the two become one.",
            ),
            Option(
                lambda heads: heads.movedim(1, -1).flatten(-2),
                "merged with the heads interleaved",
                "All K coordinates of head 0 come first: (B, T, H, K), not (B, T, K, H).",
            ),
        ),
        (
            Option(lambda apply, merged, w: apply(merged, w)),
            Option(
                lambda apply, merged, w: merged,
                "no output projection",
                "Without W_o what a head found stays in its own K coordinates.",
            ),
        ),
    ),
    passed="multi-head attention: map, split, attend, merge, map",
)


def check_multi_head(answer: Callable[..., Tensor]) -> None:
    """Check multi-head attention from end to end and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(query (B, T, D), source (B, S, D), w_query, w_key, w_value, w_output (D, D) each, num_heads H,
        mask (B, S)) -> output (B, T, D)``: keys and values come from the source, a weight is applied as
        ``x @ w.T``, and the mask is True at the real tokens of the source.
    """
    draw = Draw()

    def inputs(sizes: tuple[int, int, int, int, int], lengths: list[int], **kind: object) -> dict[str, object]:
        batch, target, source, heads, head_width = sizes
        width = heads * head_width
        drawn: dict[str, object] = {
            "query": draw.normal(batch, target, width, **kind),  # type: ignore[arg-type]
            "source": draw.normal(batch, source, width, **kind),  # type: ignore[arg-type]
        }
        for name in ("w_query", "w_key", "w_value", "w_output"):
            drawn[name] = draw.normal(width, width, std=width**-0.5, **kind)  # type: ignore[arg-type]
        real = torch.arange(source, device="cpu") < torch.tensor(lengths, device="cpu")[:, None]
        return drawn | {"num_heads": heads, "mask": real}

    # Where B = H = T a mask laid over the wrong axis raises nothing.
    cases = (
        Case(
            "without padding",
            inputs((3, 3, 5, 3, 2), [5, 5, 5]),
            "Map, split, scores, weights, blend, merge, map: check the shapes one by one.",
        ),
        Case("with padding", inputs((3, 3, 5, 3, 2), [5, 2, 3]), "Only real tokens may have a share."),
        Case("for other sizes", inputs((2, 7, 11, 3, 5), [11, 4]), "Take every size from the inputs."),
        Case("with one head", inputs((2, 3, 5, 1, 7), [4, 5]), _ONE_HEAD),
        Case("in float64", inputs((2, 3, 5, 3, 2), [4, 5], dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs((2, 3, 5, 3, 2), [4, 5], grad=True), _GRADIENT),
    )
    print(judge(answer, _MULTI_HEAD, cases))


# Exercise 4: which head matters -----------------------------------------------------------------------------


def _importance(product: Answer, inner: Answer, outer: Answer) -> Answer:
    return lambda blend, gradient: outer(inner(product(blend, gradient)))


_ABSOLUTE_LAST = Option(
    lambda blend, gradient: (blend * gradient).sum((-2, -1)).mean(0).abs(),
    "absolute value after the mean over the examples",
    "Examples in which removal helps and those in which it hurts would cancel.",
)
_HEAD_IMPORTANCE = Exercise(
    returns="one number per head, shape (H,)",
    outputs=("importance",),
    reference=_importance(lambda b, g: b * g, lambda p: p.sum((-2, -1)).abs(), lambda heads: heads.mean(0)),
    mistakes=[
        Mistake((_ABSOLUTE_LAST,), _ABSOLUTE_LAST.part),
        *combinations(
            _importance,
            (
                Option(lambda blend, gradient: blend * gradient),
                Option(
                    lambda blend, gradient: gradient,
                    "the gradient alone",
                    "A slope matters only if there is something to take away: times the head's output.",
                ),
                Option(
                    lambda blend, gradient: blend,
                    "the head's output alone",
                    "A loud head matters only if the loss listens: times the gradient.",
                ),
                Option(
                    lambda blend, gradient: (blend * gradient).square(),
                    "squared",
                    "The change of the loss is the sum of the products; squares are something else.",
                ),
            ),
            (
                Option(lambda product: product.sum((-2, -1)).abs()),
                Option(
                    lambda product: product.sum((-2, -1)),
                    "no absolute value",
                    "Examples in which removal helps and those in which it hurts would cancel.",
                ),
                Option(
                    lambda product: product.abs().sum((-2, -1)),
                    "absolute value before the sum over tokens and coordinates",
                    "A head is removed as a whole: what its coordinates do together is a sum, with signs.",
                ),
                Option(
                    lambda product: product.sum(-1).abs().sum(-1),
                    "absolute value before the sum over tokens",
                    "A head is removed at all tokens at once: sum over them, with signs.",
                ),
                Option(
                    lambda product: product.mean((-2, -1)).abs(),
                    "averaged over tokens and coordinates, not summed",
                    "The change of the loss is the sum over all that is taken away.",
                ),
                Option(
                    lambda product: product.sum(-1).abs().mean(-1),
                    "absolute value before the tokens, and averaged over them",
                    "Sum over tokens and coordinates first.",
                ),
            ),
            (
                Option(lambda heads: heads.mean(0)),
                Option(
                    lambda heads: heads.sum(0), "summed over the examples, not averaged", "An expectation: mean."
                ),
                Option(lambda heads: heads.amax(0), "the largest over the examples", "An expectation: mean."),
                Option(
                    lambda heads: heads.mean(1),
                    "averaged over the heads, not the examples",
                    "One number per head.",
                ),
                Option(lambda heads: heads, "not averaged over the examples", "One number per head."),
                Option(
                    lambda heads: heads.mean(0) / heads.mean(0).sum(),
                    "made to sum to one",
                    "Return the estimate itself.",
                ),
            ),
        ),
    ],
    passed="importance: how much the loss would change, to first order, without this head",
)


def check_head_importance(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Check the gradient estimate of a head's importance and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(blend (B, H, T, K), gradient (B, H, T, K)) -> importance (H,)``: what each head hands over, and the
        gradient of each example's loss with respect to it.
    """
    draw = Draw()

    def inputs(*shape: int, dtype: torch.dtype = torch.float32, grad: bool = False) -> dict[str, Tensor]:
        blend, gradient = (draw.normal(*shape, dtype=dtype) for _ in range(2))
        falls = (blend * gradient).sum((0, 2, 3)) > 0
        gradient[:, falls] *= -1  # every head's mean is negative, so that no absolute value can be left out
        return {"blend": blend.requires_grad_(grad), "gradient": gradient}

    cases = (
        Case("for several examples", inputs(5, 3, 7, 2), "Mean over b of |Σ over t and k of blend · gradient|."),
        Case("for one example", inputs(1, 5, 3, 2), "Shape (H,): |Σ over t and k of blend · gradient|."),
        Case("in float64", inputs(5, 2, 3, 7, dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs(3, 2, 5, 3, grad=True), _GRADIENT),
    )
    print(judge(answer, _HEAD_IMPORTANCE, cases))


# Exercise 5: queries in groups ------------------------------------------------------------------------------


def _shared(tensor: Tensor, num_heads: int) -> Tensor:
    return tensor.repeat_interleave(num_heads // tensor.shape[1], dim=1)


def _grouped(share: Answer, divisor: Answer, axis: int, end: Answer) -> Answer:
    def answer(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        heads, groups = query.shape[1], key.shape[1]
        k, v = share(key, heads), share(value, heads)
        scores = query @ k.mT / divisor(query.shape[-1], heads, groups)  # (B, H, T, S)
        return end(scores.softmax(axis) @ v, groups)

    return answer


_GROUPED = Exercise(
    returns="the blends, shape (B, H, T, K)",
    outputs=("blend",),
    reference=_grouped(_shared, lambda width, heads, groups: math.sqrt(width), -1, lambda blend, groups: blend),
    mistakes=combinations(
        _grouped,
        (
            Option(_shared),
            Option(
                lambda tensor, heads: tensor.repeat(1, heads // tensor.shape[1], 1, 1),
                "groups in turn: head h uses group h % G",
                "Neighbouring heads share: head h uses group h // (H/G). repeat_interleave, not repeat.",
            ),
            Option(
                lambda tensor, heads: tensor[:, :1],
                "every head uses the first group",
                "That is right for G = 1 alone.",
            ),
            Option(
                lambda tensor, heads: tensor.mean(1, keepdim=True),
                "keys and values averaged over the groups",
                "Each group keeps its own.",
            ),
            Option(
                lambda tensor, heads: _shared(tensor.flip(1), heads),
                "the groups in reverse order",
                "The first heads use group 0.",
            ),
        ),
        (
            Option(lambda width, heads, groups: math.sqrt(width)),
            Option(lambda width, heads, groups: 1.0, "not divided by √K", "Sharing keys changes no width."),
            Option(
                lambda width, heads, groups: math.sqrt(width * heads),
                "divided by √D, not √K",
                "A head's q·k is a sum over its own width K.",
            ),
            Option(
                lambda width, heads, groups: math.sqrt(width * heads / groups),
                "divided by the root of a whole group's width, not √K",
                "A head's q·k is a sum over its own width K.",
            ),
            Option(lambda width, heads, groups: width, "divided by K, not √K", "The spread of q·k is √K."),
        ),
        (
            Option(-1),
            Option(-2, "softmax over the queries", "Each query's shares over the keys sum to one: dim=-1."),
            Option(1, "softmax over the heads", "Each head has a distribution of its own over the keys: dim=-1."),
        ),
        (
            Option(lambda blend, groups: blend),
            Option(
                lambda blend, groups: blend.unflatten(1, (groups, -1)).mean(2),
                "the heads of a group averaged",
                "They share keys and values, but each asks its own question: H heads go out.",
            ),
            Option(
                lambda blend, groups: merge_heads(blend),
                "merged already",
                "Return the heads apart, (B, H, T, K).",
            ),
        ),
    ),
    passed="grouped queries: H questions to G sets of keys and values",
)


def check_grouped_attention(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Check attention whose heads share keys and values in groups and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(query (B, H, T, K), key (B, G, S, K), value (B, G, S, K)) -> blend (B, H, T, K)``; G divides H, and
        head h uses keys and values of group h // (H/G).
    """
    draw = Draw()

    def inputs(heads: int, groups: int, **kind: object) -> dict[str, Tensor]:
        shapes = {"query": (2, heads, 5, 7), "key": (2, groups, 11, 7), "value": (2, groups, 11, 7)}
        return {name: draw.normal(*shape, **kind) for name, shape in shapes.items()}  # type: ignore[arg-type]

    cases = (
        Case("for 6 heads in 2 groups", inputs(6, 2), "Give each head its group's keys and values, then attend."),
        Case("for one group", inputs(3, 1), "All heads share one set of keys and values."),
        Case("for groups of one head", inputs(3, 3), "With G = H this is the attention of the chapter."),
        Case("in float64", inputs(6, 3, dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs(6, 3, grad=True), _GRADIENT),
    )
    print(judge(answer, _GROUPED, cases))
