"""Checks for the exercises of the chapter on scores.

Each check takes the reader's function, calls it on fresh random inputs and prints one short feedback that
names the mistake. Axis letters are those of `transformer_book.shapes`.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from transformer_book.device import CPU
from transformer_book.exercises._feedback import Answer, Case, Draw, Exercise, Option, combinations, judge
from transformer_book.experiments._cost import peak_bytes

_DTYPE = "Right in float32, not in float64: constants must follow the inputs."
_GRADIENT = "Right without gradients: stay in torch, and out of place, from inputs to result."
_FINISH = (
    Option(lambda scores, query: scores),
    Option(
        lambda scores, query: scores.transpose(-2, -1),
        "transposed",
        "One row per query: the last axis is that of the keys.",
    ),
    Option(lambda scores, query: scores.softmax(-1), "softmax already applied", "Return the scores."),
    Option(
        lambda scores, query: scores / math.sqrt(query.shape[-1]),
        "divided by √D",
        "That is the scaled dot product; here nothing is divided.",
    ),
)


# Exercise 1: the bilinear score -----------------------------------------------------------------------------


def _bilinear(turn: Answer, finish: Answer) -> Answer:
    def answer(query: Tensor, key: Tensor, weight: Tensor) -> Tensor:
        return finish(turn(query, key, weight), query)

    return answer


_BILINEAR = Exercise(
    returns="the scores, shape (B, T, S)",
    outputs=("scores",),
    reference=_bilinear(lambda q, k, w: q @ w @ k.transpose(1, 2), lambda scores, query: scores),
    mistakes=combinations(
        _bilinear,
        (
            Option(lambda q, k, w: q @ w @ k.transpose(1, 2)),
            Option(
                lambda q, k, w: q @ w.T @ k.transpose(1, 2),
                "W transposed",
                "qᵀ W k: the rows of W belong to the query, its columns to the key.",
            ),
            Option(lambda q, k, w: q @ k.transpose(1, 2), "the matrix left out", "Put W between query and key."),
            Option(
                lambda q, k, w: (q @ w) @ (k @ w).transpose(1, 2),
                "W on both sides",
                "It stands once, between the two: this scores qᵀ W Wᵀ k.",
            ),
            Option(
                lambda q, k, w: (q * w.diagonal()) @ k.transpose(1, 2),
                "only the diagonal of W",
                "That weighs each coordinate by itself; W also compares one coordinate with another.",
            ),
        ),
        _FINISH,
    ),
    passed="the bilinear score: qᵀ W k for every pair, in two matrix products",
)


def check_bilinear_score(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Check the bilinear score and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(query (B, T, Dq), key (B, S, Dk), weight (Dq, Dk)) -> scores (B, T, S)``.
    """
    draw = Draw()

    def inputs(batch: int, t: int, s: int, d_query: int, d_key: int, **kind: object) -> dict[str, Tensor]:
        shapes = {"query": (batch, t, d_query), "key": (batch, s, d_key), "weight": (d_query, d_key)}
        return {name: draw.normal(*shape, **kind) for name, shape in shapes.items()}  # type: ignore[arg-type]

    cases = (
        Case("for queries and keys of one width", inputs(2, 5, 5, 3, 3), "Two products: query with W, then key."),
        Case("for two widths", inputs(2, 3, 5, 7, 11), "W is (Dq, Dk); transpose the last two axes of the key."),
        Case("in float64", inputs(2, 3, 5, 2, 3, dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs(2, 3, 5, 2, 3, grad=True), _GRADIENT),
    )
    print(judge(answer, _BILINEAR, cases))


# Exercise 2: two maps are one matrix ------------------------------------------------------------------------

_JOINED = Exercise(
    returns="the matrix W, shape (Dq, Dk)",
    outputs=("weight",),
    reference=lambda w_query, w_key: w_query.T @ w_key,
    mistakes=combinations(
        lambda join, finish: lambda w_query, w_key: finish(join(w_query, w_key)),
        (
            Option(lambda a, b: a.T @ b),
            Option(
                lambda a, b: b.T @ a,
                "query and key exchanged",
                "(W_q q)·(W_k k) = qᵀ (W_qᵀ W_k) k: the query's map stands on the left.",
            ),
            Option(
                lambda a, b: a @ b.T,
                "the sum over the wrong axis",
                "The two maps meet in their common output width r, which is summed over; W is (Dq, Dk).",
            ),
            Option(lambda a, b: a * b, "multiplied entry by entry", "A product of matrices is needed."),
            Option(lambda a, b: a.T + b, "added, not multiplied", "A dot product multiplies the two maps."),
        ),
        (
            Option(lambda weight: weight),
            Option(
                lambda weight: weight / math.sqrt(weight.shape[0]),
                "divided by a root",
                "The scale is no part of this exercise.",
            ),
        ),
    ),
    passed="two linear maps and a dot product are one bilinear score, of rank at most r",
)


def check_joined_maps(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Check the matrix of the bilinear score that two linear maps make, and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(w_query (r, Dq), w_key (r, Dk)) -> weight (Dq, Dk)``, so that qᵀ W k = (W_q q)·(W_k k).
    """
    draw = Draw()

    def inputs(rank: int, d_query: int, d_key: int, **kind: object) -> dict[str, Tensor]:
        return {
            "w_query": draw.normal(rank, d_query, **kind),  # type: ignore[arg-type]
            "w_key": draw.normal(rank, d_key, **kind),  # type: ignore[arg-type]
        }

    cases = (
        Case("for square maps", inputs(3, 3, 3), "Write (W_q q)ᵀ (W_k k) and move the brackets."),
        Case("for a narrow middle", inputs(2, 5, 7), "The result is (Dq, Dk), of rank at most r."),
        Case("in float64", inputs(3, 5, 2, dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs(3, 5, 2, grad=True), _GRADIENT),
    )
    print(judge(answer, _JOINED, cases))


# Exercise 3: the cosine score -------------------------------------------------------------------------------


def _unit(tensor: Tensor, axis: int = -1) -> Tensor:
    return tensor / tensor.norm(dim=axis, keepdim=True)


def _cosine(left: Answer, right: Answer, sharpen: Answer) -> Answer:
    def answer(query: Tensor, key: Tensor, sharpness: float) -> Tensor:
        return sharpen(left(query) @ right(key).transpose(1, 2), sharpness)

    return answer


_COSINE = Exercise(
    returns="the scores, shape (B, T, S)",
    outputs=("scores",),
    reference=_cosine(_unit, _unit, lambda scores, sharpness: sharpness * scores),
    mistakes=combinations(
        _cosine,
        (
            Option(_unit),
            Option(lambda q: q, "the query's length left in", "Divide the query by its norm, too."),
            Option(
                lambda q: _unit(q, 1),
                "norms of the queries over the wrong axis",
                "Each query has a norm of its own: sum its squares over the last axis.",
            ),
            Option(
                lambda q: q / q.square().sum(-1, keepdim=True),
                "the query divided by its squared norm",
                "The norm is the root of the sum of squares.",
            ),
        ),
        (
            Option(_unit),
            Option(lambda k: k, "the key's length left in", "Divide the key by its norm, too."),
            Option(
                lambda k: _unit(k, 1),
                "norms of the keys over the wrong axis",
                "Each key has a norm of its own: sum its squares over the last axis.",
            ),
        ),
        (
            Option(lambda scores, sharpness: sharpness * scores),
            Option(
                lambda scores, sharpness: scores,
                "no sharpness",
                "A cosine lies between −1 and 1: without a factor the weights are nearly even.",
            ),
            Option(
                lambda scores, sharpness: scores / sharpness,
                "divided by the sharpness",
                "Larger is to mean sharper: multiply.",
            ),
            Option(
                lambda scores, sharpness: (sharpness * scores).softmax(-1),
                "softmax already applied",
                "Return the scores.",
            ),
        ),
    ),
    passed="the cosine score: only directions are compared, and a number says how sharply",
)


def check_cosine_score(answer: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """Check the cosine score and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(query (B, T, D), key (B, S, D), sharpness) -> scores (B, T, S)``.
    """
    draw = Draw()

    def inputs(batch: int, t: int, s: int, width: int, sharpness: float, **kind: object) -> dict[str, object]:
        return {
            "query": draw.normal(batch, t, width, std=3, **kind),  # type: ignore[arg-type]
            "key": draw.normal(batch, s, width, std=2, **kind),  # type: ignore[arg-type]
            "sharpness": sharpness,
        }

    cases = (
        Case("for several queries and keys", inputs(2, 3, 5, 7, 4.0), "sharpness · q·k / (‖q‖ ‖k‖)."),
        Case("for one query", inputs(3, 1, 7, 2, 0.5), "Shape (B, 1, S)."),
        Case("in float64", inputs(2, 3, 5, 11, 3.0, dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs(2, 3, 5, 3, 2.0, grad=True), _GRADIENT),
    )
    print(judge(answer, _COSINE, cases))


# Exercise 4: who ever wins ----------------------------------------------------------------------------------


def _winners(pick: Answer, count: Answer) -> Answer:
    def answer(query: Tensor, key: Tensor) -> Tensor:
        return count(pick(query @ key.T), len(key))

    return answer


_WINNERS = Exercise(
    returns="how many queries each key wins, integers, shape (S,)",
    outputs=("wins",),
    reference=_winners(lambda scores: scores.argmax(-1), lambda winners, s: torch.bincount(winners, minlength=s)),
    mistakes=combinations(
        _winners,
        (
            Option(lambda scores: scores.argmax(-1)),
            Option(lambda scores: scores.argmin(-1), "the worst key, not the best", "Look for the largest score."),
            Option(
                lambda scores: scores.abs().argmax(-1),
                "the largest score but for its sign",
                "A very negative score is a bad match, not a good one.",
            ),
            Option(lambda scores: scores[:1].argmax(-1), "only the first query", "Count over all queries."),
            Option(
                lambda scores: scores.argmax(0),
                "the best query of each key, not the best key of each query",
                "A query chooses among the keys: the last axis of the scores.",
            ),
        ),
        (
            Option(lambda winners, s: torch.bincount(winners, minlength=s)),
            Option(
                lambda winners, s: (torch.bincount(winners, minlength=s) > 0).long(),
                "whether it wins, not how often",
                "Count the queries.",
            ),
            Option(
                lambda winners, s: torch.bincount(winners, minlength=s) / len(winners),
                "shares, not counts",
                "Return the number of queries.",
            ),
        ),
    ),
    passed="how often each key wins; with a dot product, those between the others never do",
)


def check_wins(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Check the count of queries that each key wins under the dot score, and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(query (T, D), key (S, D)) -> wins (S,)``, integers.
    """
    draw = Draw()

    def inputs(queries: int, keys: int, width: int) -> dict[str, Tensor]:
        return {"query": draw.normal(queries, width), "key": draw.normal(keys, width)}

    corners = torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]], dtype=torch.float32, device="cpu")
    inside = draw.uniform(-0.8, 0.8, 3, 2)
    cases = (
        Case("for 31 queries", inputs(31, 7, 5), "For each query the key with the largest score."),
        Case(
            "with keys between the others",
            {"query": draw.normal(200, 2), "key": torch.cat([corners, inside])},
            "The last three keys lie inside the square and win nothing: the result still has an entry for each.",
        ),
        Case("for many keys in 11 dimensions", inputs(13, 50, 11), "A key that wins nothing has a zero."),
    )
    print(judge(answer, _WINNERS, cases))


# Exercise 5: the additive score in less memory --------------------------------------------------------------

_ADDITIVE = Exercise(
    returns="the scores, shape (T, S)",
    outputs=("scores",),
    reference=lambda q, k, a, b, v: torch.tanh((q @ a.T)[:, None] + (k @ b.T)[None]) @ v,
    mistakes=combinations(
        lambda bend, finish: lambda q, k, a, b, v: finish(bend((q @ a.T)[:, None] + (k @ b.T)[None]), v),
        (
            Option(torch.tanh),
            Option(lambda pairs: pairs, "no tanh", "Bend each hidden unit before it is weighed with v."),
        ),
        (
            Option(lambda pairs, v: pairs @ v),
            Option(
                lambda pairs, v: pairs[..., -1] * v[-1],
                "only the last hidden unit",
                "Add up over the hidden units: scores = scores + …, not scores = ….",
            ),
            Option(
                lambda pairs, v: pairs.sum(-1),
                "v left out",
                "Each hidden unit has its own weight in v.",
            ),
            Option(
                lambda pairs, v: (pairs @ v).mT.contiguous(),
                "transposed",
                "One row per query: (T, S).",
            ),
            Option(
                lambda pairs, v: torch.tanh(pairs @ v),
                "tanh of the sum",
                "The tanh bends each hidden unit, not their sum.",
            ),
        ),
    ),
    passed="the additive score, and never more than a few tables of T × S at once",
)


def check_additive_in_pieces(answer: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]) -> None:
    """Check the additive score computed piece by piece: its values, and the memory it holds at once.

    Parameters
    ----------
    answer
        ``(query (T, Dq), key (S, Dk), w_query (F, Dq), w_key (F, Dk), v (F,)) -> scores (T, S)``.
    """
    draw = Draw()

    def inputs(t: int, s: int, d_query: int, d_key: int, f: int, **kind: object) -> dict[str, Tensor]:
        shapes = {
            "query": (t, d_query),
            "key": (s, d_key),
            "w_query": (f, d_query),
            "w_key": (f, d_key),
            "v": (f,),
        }
        return {name: draw.normal(*shape, **kind) for name, shape in shapes.items()}  # type: ignore[arg-type]

    cases = (
        Case("for several queries and keys", inputs(3, 5, 7, 11, 13), "Sum over the hidden units, one by one."),
        Case("for one hidden unit", inputs(5, 3, 2, 2, 1), "A single unit is a sum of one."),
        Case("in float64", inputs(3, 5, 2, 3, 7, dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs(3, 5, 2, 3, 7, grad=True), _GRADIENT),
    )
    feedback = judge(answer, _ADDITIVE, cases)
    if feedback.startswith("✓"):
        size, hidden = 128, 64
        large = inputs(size, size, 3, 3, hidden)
        with torch.no_grad(), torch.device("cpu"):
            tables = peak_bytes(lambda: answer(*large.values()), CPU) / (4 * size**2)
        if tables > hidden / 2:
            feedback = (
                f"✗ right values, but {tables:.0f} tables of T × S held at once\n  With F = {hidden} hidden units "
                "that is the whole (T, S, F) block: go through the units one by one and add."
            )
    print(feedback)
