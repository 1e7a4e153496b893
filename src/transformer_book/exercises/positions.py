"""Checks for the exercises of the chapter on positions.

Each check takes the reader's function, calls it on fresh random inputs and prints one short feedback that
names the mistake. Axis letters are those of `transformer_book.shapes`.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from transformer_book.exercises._feedback import Answer, Case, Draw, Exercise, Mistake, Option, combinations, judge

_DTYPE = "Right in float32, not in float64: constants must follow the inputs."
_GRADIENT = "Right without gradients: stay in torch, and out of place, from inputs to result."


def _frequencies(width: int) -> Tensor:
    return 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)  # (K/2,)


# Exercise 1: sines and cosines ------------------------------------------------------------------------------


def _table(speeds: Answer, start: int, arrange: Answer, end: Answer) -> Answer:
    def answer(length: int, d_model: int) -> Tensor:
        positions = torch.arange(start, start + length, dtype=torch.float64)[:, None]  # (T, 1)
        sine, cosine = (positions * speed for speed in speeds(d_model))  # (T, D/2) each
        return end(arrange(sine, cosine).float())

    return answer


def _pairs(first: Tensor, second: Tensor) -> Tensor:
    return torch.stack([first, second], dim=-1).flatten(-2)


def _twice(exponent: Callable[[Tensor, int], Tensor]) -> Answer:
    def speeds(width: int) -> tuple[Tensor, Tensor]:
        even = torch.arange(0, width, 2, dtype=torch.float64)
        speed = 10000.0 ** exponent(even, width)
        return speed, speed

    return speeds


def _own(width: int) -> Tensor:
    return 10000.0 ** (-torch.arange(width, dtype=torch.float64) / width)


_SINUSOIDS = Exercise(
    returns="the table of sines and cosines, shape (T, D)",
    outputs=("table",),
    reference=_table(
        _twice(lambda even, width: -even / width), 0, lambda s, c: _pairs(s.sin(), c.cos()), lambda table: table
    ),
    mistakes=combinations(
        _table,
        (
            Option(_twice(lambda even, width: -even / width)),
            Option(
                _twice(lambda even, width: -even / 2 / width),
                "the exponent is i/D, not 2i/D",
                "Column 2i belongs to the frequency 10000^(−2i/D): the exponents are 0, 2/D, 4/D …",
            ),
            Option(
                _twice(lambda even, width: even / width),
                "frequencies that rise",
                "The angle is t divided by 10000^(2i/D): the first pair turns fastest.",
            ),
            Option(
                _twice(lambda even, width: -even / (width - 2)),
                "the exponent is 2i/(D − 2), not 2i/D",
                "Some code spreads the frequencies to 1/10000 exactly; the paper stops just short of it.",
            ),
            Option(
                _twice(lambda even, width: -even / width * math.log(1000) / math.log(10000)),
                "base 1,000, not 10,000",
                "The base decides how slow the slowest pair is.",
            ),
            Option(
                lambda width: (_own(width)[0::2], _own(width)[1::2]),
                "the cosine has a frequency of its own",
                "Columns 2i and 2i + 1 are sine and cosine of the same angle; only then are they a clock hand.",
            ),
        ),
        (
            Option(0),
            Option(1, "positions counted from 1", "The first token stands at position 0: sines 0, cosines 1."),
        ),
        (
            Option(lambda s, c: _pairs(s.sin(), c.cos())),
            Option(
                lambda s, c: torch.cat([s.sin(), c.cos()], dim=-1),
                "all sines first, then all cosines",
                "Sine and cosine of an angle are neighbours, columns 2i and 2i + 1. (Halves are used, too.)",
            ),
            Option(lambda s, c: _pairs(c.cos(), s.sin()), "cosine before sine", "Even columns hold sines."),
            Option(
                lambda s, c: _pairs(s.sin(), c.sin()),
                "sines only",
                "One sine does not tell an angle from its mirror image, and cannot be shifted by a linear map.",
            ),
        ),
        (
            Option(lambda table: table),
            Option(lambda table: table.T, "transposed: (D, T)", "One row per position."),
        ),
    ),
    passed="sinusoids: each pair of columns a clock hand, the first the fastest",
)


def check_sinusoids(answer: Callable[[int, int], Tensor]) -> None:
    """Check a table of sinusoids and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(length T, d_model D) -> table (T, D)``, float32, D even: column 2i holds sin(t / 10000^(2i/D)), column
        2i + 1 the cosine of the same angle.
    """
    draw = Draw()
    cases = (
        Case(
            "for six columns",
            {"length": draw.whole(9, 13), "d_model": 6},
            "Row t, columns 2i and 2i + 1: sine and cosine of t / 10000^(2i/D).",
        ),
        Case("for one position", {"length": 1, "d_model": 8}, "Position 0: 0, 1, 0, 1, …"),
        Case("for more columns", {"length": draw.whole(3, 5), "d_model": 2 * draw.whole(5, 12)}, "Any even D."),
        Case("for two columns", {"length": 7, "d_model": 2}, "One pair: sin t and cos t."),
    )
    print(judge(answer, _SINUSOIDS, cases))


# Exercise 2: the offset -------------------------------------------------------------------------------------


def _step(start: Answer, rows: Answer, join: Answer) -> Answer:
    return lambda inputs, table, keys: join(inputs, rows(table, start(keys), inputs))


_STEP = Exercise(
    returns="inputs with their positions added, shape (B, T, D)",
    outputs=("stream",),
    reference=_step(
        lambda keys: keys.shape[-2],
        lambda table, start, inputs: table[start : start + inputs.shape[1]],
        lambda inputs, positions: inputs + positions,
    ),
    mistakes=combinations(
        _step,
        (
            Option(lambda keys: keys.shape[-2]),
            Option(
                lambda keys: 0,
                "the new tokens start at position 0",
                "They stand after those in the cache. This very mistake is in published code, see the chapter.",
            ),
            Option(
                lambda keys: keys.shape[-2] - 1, "one position too early", "P tokens before: positions 0 … P − 1."
            ),
            Option(
                lambda keys: keys.shape[-2] + 1, "one position too late", "P tokens before: the next one is at P."
            ),
            Option(
                lambda keys: keys.shape[1],
                "counted the heads of the cache, not its tokens",
                "Keys are (B, H, P, K): P is axis −2.",
            ),
            Option(
                lambda keys: keys.shape[0],
                "counted the sequences of the cache, not its tokens",
                "Keys are (B, H, P, K): P is axis −2.",
            ),
            Option(
                lambda keys: keys.shape[-1],
                "counted the coordinates of a key, not the tokens",
                "Keys are (B, H, P, K): P is axis −2.",
            ),
        ),
        (
            Option(lambda table, start, inputs: table[start : start + inputs.shape[1]]),
            Option(
                lambda table, start, inputs: table[start],
                "all new tokens at the position of the first",
                "T tokens take T rows of the table: start … start + T − 1.",
            ),
            Option(
                lambda table, start, inputs: table[start : start + len(inputs)][:, None],
                "positions along the batch, not along time",
                "Rows of the table belong to axis T; all sequences of a batch get the same ones.",
            ),
            Option(
                lambda table, start, inputs: table[-inputs.shape[1] :],
                "the last rows of the table",
                "The table is longer than any sequence; take rows from the start position on.",
            ),
        ),
        (
            Option(lambda inputs, positions: inputs + positions),
            Option(lambda inputs, positions: inputs * positions, "multiplied, not added", "Positions are added."),
            Option(
                lambda inputs, positions: positions.expand_as(inputs),
                "the inputs are gone",
                "Positions are added to the inputs.",
            ),
        ),
    ),
    passed="each token at its own place, however many come at once",
)


def check_next_positions(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Check the adding of positions in step-by-step decoding and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(inputs (B, T, D), table (M, D), keys (B, H, P, K)) -> stream (B, T, D)``: T new tokens after the P whose
        keys are in the cache.
    """
    draw = Draw()

    def inputs(batch: int, new: int, past: int, dtype: torch.dtype = torch.float32, grad: bool = False) -> dict:
        return {
            "inputs": draw.normal(batch, new, 6, dtype=dtype, grad=grad),
            "table": draw.normal(40, 6, dtype=dtype, grad=grad),
            "keys": draw.normal(batch, 7, past, 11, dtype=dtype),
        }

    cases = (
        Case("for three tokens after five", inputs(2, 3, 5), "Rows P … P + T − 1 of the table."),
        Case("for one token", inputs(3, 1, draw.whole(12, 30)), "Row P of the table."),
        Case("for the first tokens", inputs(2, 5, 0), "Nothing is in the cache: rows 0 … T − 1."),
        Case("in float64", inputs(2, 3, 5, dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs(2, 3, 5, grad=True), _GRADIENT),
    )
    print(judge(answer, _STEP, cases))


# Exercise 3: a shift is a linear map ------------------------------------------------------------------------


def _shift(speeds: Answer, block: Answer, lay: Answer, steps: Answer) -> Answer:
    def answer(k: int, d_model: int) -> Tensor:
        angles = steps(k) * speeds(d_model)  # (D/2,)
        return lay(block(angles.sin(), angles.cos())).float()  # (2, 2, D/2) -> (D, D)

    return answer


def _matrix(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row) for row in rows])


def _blocks(entries: Tensor) -> Tensor:
    return torch.block_diag(*entries.movedim(-1, 0))


def _halves(entries: Tensor) -> Tensor:
    return torch.cat([torch.cat([part.diag() for part in row], dim=1) for row in entries])


_SHIFT = Exercise(
    returns="a matrix, shape (D, D)",
    outputs=("matrix",),
    reference=_shift(_frequencies, lambda s, c: _matrix([[c, s], [-s, c]]), _blocks, lambda k: k),
    mistakes=combinations(
        _shift,
        (
            Option(_frequencies),
            Option(
                lambda width: torch.ones(width // 2, dtype=torch.float64),
                "the same angle for every pair",
                "Pair i turns by k / 10000^(2i/D).",
            ),
            Option(
                lambda width: _frequencies(width).sqrt(),
                "the exponent is i/D, not 2i/D",
                "Pair i turns by k / 10000^(2i/D), i = 0 … D/2 − 1.",
            ),
        ),
        (
            Option(lambda s, c: _matrix([[c, s], [-s, c]])),
            Option(
                lambda s, c: _matrix([[c, -s], [s, c]]),
                "shifts back by k",
                "The pair is (sine, cosine): sin(a + b) = sin a cos b + cos a sin b. Or it is transposed.",
            ),
            Option(
                lambda s, c: _matrix([[c, s], [s, c]]),
                "not a rotation: the minus is missing",
                "cos(a + b) = cos a cos b − sin a sin b.",
            ),
            Option(
                lambda s, c: _matrix([[s, c], [c, -s]]),
                "sine and cosine exchanged in the matrix",
                "For k = 0 it has to be the identity: cosines on the diagonal.",
            ),
            Option(
                lambda s, c: _matrix([[c, 0 * s], [0 * s, c]]),
                "the cosines alone",
                "A shift mixes sine and cosine: each is needed to move the other.",
            ),
        ),
        (
            Option(_blocks),
            Option(
                _halves,
                "for sines first, then cosines",
                "Sine and cosine are neighbours: one 2 × 2 block after the other on the diagonal.",
            ),
        ),
        (
            Option(lambda k: k),
            Option(lambda k: 1, "shifts by 1, not by k", "Every angle grows by k times its frequency."),
        ),
    ),
    passed="a shift by k is one matrix, the same wherever you start",
)


def check_shift(answer: Callable[[int, int], Tensor]) -> None:
    """Check the matrix that shifts sinusoids and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(k, d_model D) -> matrix (D, D)`` with ``matrix @ table[t] == table[t + k]`` for every t, where table is
        ``sinusoids(length, d_model)``; k may be negative.
    """
    draw = Draw()
    cases = (
        Case("for six columns", {"k": draw.whole(2, 9), "d_model": 6}, "Try k = 0 first: the identity."),
        Case("for a shift to the left", {"k": -draw.whole(2, 9), "d_model": 6}, "The same formula, k below 0."),
        Case("for a shift by nothing", {"k": 0, "d_model": 4}, "The identity."),
        Case("for more columns", {"k": draw.whole(10, 90), "d_model": 2 * draw.whole(4, 9)}, "Any even D."),
    )
    print(judge(answer, _SHIFT, cases))


# Exercise 4: rotary, the other way to pair ------------------------------------------------------------------


def _rotary(cut: Answer, turn: Answer, join: Answer) -> Answer:
    return lambda x, angles: join(*turn(*cut(x), angles.sin(), angles.cos()))


def _side_by_side(first: Tensor, second: Tensor) -> Tensor:
    return torch.cat([first, second], dim=-1)


def _neighbours_angles(x: Tensor, angles: Tensor) -> Tensor:
    repeated = angles.repeat_interleave(2, dim=-1)
    first, second = x.chunk(2, dim=-1)
    return x * repeated.cos() + _side_by_side(-second, first) * repeated.sin()


_REPEATED = Option(
    _neighbours_angles,
    "angles repeated for neighbours, coordinates paired by halves",
    "Coordinates i and i + K/2 turn by the same angle: repeat the angles side by side, cat, not interleaved.",
)
_ROTATE_HALVES = Exercise(
    returns="the turned vectors, shape (..., T, K)",
    outputs=("turned",),
    reference=_rotary(
        lambda x: x.chunk(2, dim=-1), lambda a, b, s, c: (a * c - b * s, a * s + b * c), _side_by_side
    ),
    mistakes=[
        Mistake((_REPEATED,), _REPEATED.part),
        *combinations(
            _rotary,
            (
                Option(lambda x: x.chunk(2, dim=-1)),
                Option(
                    lambda x: (x[..., 0::2], x[..., 1::2]),
                    "neighbours taken as pairs",
                    "Here coordinate i goes with i + K/2; 2i with 2i + 1 is the package's way.",
                ),
                Option(
                    lambda x: x.chunk(2, dim=-1)[::-1],
                    "the halves taken in the wrong order",
                    "The first half holds the first coordinate of each pair.",
                ),
            ),
            (
                Option(lambda a, b, s, c: (a * c - b * s, a * s + b * c)),
                Option(
                    lambda a, b, s, c: (a * c + b * s, b * c - a * s),
                    "turned backwards",
                    "Scores would not change, if keys turn backwards as well; with other code they would.",
                ),
                Option(
                    lambda a, b, s, c: (a * c + b * s, a * s + b * c),
                    "not a rotation: the minus is missing",
                    "The length of a vector must stay: a cos − b sin.",
                ),
                Option(
                    lambda a, b, s, c: (a * s - b * c, a * c + b * s),
                    "sine and cosine exchanged",
                    "At position 0 every angle is 0, and nothing may move.",
                ),
                Option(
                    lambda a, b, s, c: (a * c - b * s, (a * c - b * s) * s + b * c),
                    "the second coordinate is made from the new first one",
                    "Both need the old ones: compute both, then put them together.",
                ),
            ),
            (
                Option(_side_by_side),
                Option(
                    _pairs,
                    "put together as neighbours",
                    "First coordinates of all pairs, then second ones: cat.",
                ),
                Option(
                    lambda first, second: _side_by_side(second, first),
                    "put together in the wrong order",
                    "First coordinates of all pairs, then second ones.",
                ),
            ),
        ),
    ],
    passed="rotary with halves: the same turns, other pairs",
)


def check_rotate_halves(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Check rotary positions with pairs (i, i + K/2) and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(x (..., T, K), angles (T, K/2)) -> turned (..., T, K)``: coordinates i and i + K/2 turned as a pair,
        from the first towards the second, by angle i of their position.
    """
    draw = Draw()

    def inputs(*shape: int, dtype: torch.dtype = torch.float32, grad: bool = False) -> dict[str, Tensor]:
        angles = draw.uniform(-3.0, 3.0, shape[-2], shape[-1] // 2, dtype=dtype)
        return {"x": draw.normal(*shape, dtype=dtype, grad=grad), "angles": angles}

    cases = (
        Case("for one sequence", inputs(5, 6), "(a, b) becomes (a cos − b sin, a sin + b cos)."),
        Case("for several heads", inputs(2, 3, 5, 8), "Angles (T, K/2) broadcast over batch and heads."),
        Case("for one pair", inputs(3, 7, 2), "Two coordinates: one pair."),
        Case("in float64", inputs(2, 5, 6, dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs(2, 5, 6, grad=True), _GRADIENT),
    )
    print(judge(answer, _ROTATE_HALVES, cases))


# Exercise 5: convert published weights ----------------------------------------------------------------------


def _convert(order: Answer, scope: Answer, axis: int) -> Answer:
    def answer(weight: Tensor, num_heads: int) -> Tensor:
        if weight.shape[axis] % num_heads:
            raise RuntimeError("this mistake needs as many columns as rows")
        return weight.index_select(axis, scope(order, weight.shape[axis], num_heads))

    return answer


def _per_head(order: Answer, rows: int, num_heads: int) -> Tensor:
    width = rows // num_heads
    return torch.cat([order(width) + head * width for head in range(num_heads)])


def _even_odd(width: int) -> Tensor:
    return torch.arange(width).view(-1, 2).T.flatten()


_TO_HALVES = Exercise(
    returns="the same rows in another order, shape (H·K, D)",
    outputs=("weight",),
    reference=_convert(_even_odd, _per_head, 0),
    mistakes=combinations(
        _convert,
        (
            Option(_even_odd),
            Option(
                lambda width: torch.arange(width).view(2, -1).T.flatten(),
                "from halves to neighbours: the way back",
                "Row 2i goes to place i, row 2i + 1 to place i + K/2: 0, 2, 4, …, 1, 3, 5, …",
            ),
            Option(
                lambda width: torch.arange(width).view(-1, 2).flip(1).T.flatten(),
                "odd rows before even ones",
                "The first coordinate of a pair, 2i, goes to the first half.",
            ),
            Option(
                lambda width: torch.arange(width),
                "nothing has moved",
                "Weights made for neighbours give other scores under halves.",
            ),
        ),
        (
            Option(_per_head),
            Option(
                lambda order, rows, num_heads: order(rows),
                "across all heads at once",
                "Each head has its own K rows, and its own halves.",
            ),
        ),
        (
            Option(0),
            Option(1, "columns, not rows", "A weight is (out, in): the coordinates of queries are its rows."),
        ),
    ),
    passed="weights made for neighbours, ready for halves",
)


def check_to_halves(answer: Callable[[Tensor, int], Tensor]) -> None:
    """Check the conversion of projections from one rotary pairing to the other and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(weight (H·K, D), num_heads H) -> weight (H·K, D)``: rows of a query's or key's projection reordered, so
        that what stood in coordinates 2i and 2i + 1 of a head stands in i and i + K/2.
    """
    draw = Draw()

    def inputs(heads: int, width: int, d_in: int, **kind: object) -> dict[str, object]:
        return {"weight": draw.normal(heads * width, d_in, **kind), "num_heads": heads}  # type: ignore[arg-type]

    cases = (
        Case("for three heads", inputs(3, 6, 18), "Within each head: rows 0, 2, 4, then 1, 3, 5."),
        Case("for one head", inputs(1, 8, 5), "All rows are one head's."),
        Case("for other sizes", inputs(2, 10, 7), "Take K from the number of rows and heads."),
        Case("in float64", inputs(2, 6, 3, dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs(2, 6, 3, grad=True), _GRADIENT),
    )
    print(judge(answer, _TO_HALVES, cases))


# Exercise 6: a price on distance ----------------------------------------------------------------------------


def _alibi(distance: Answer, future: Answer, price: Answer, end: Answer) -> Answer:
    def answer(length: int, slopes: Tensor) -> Tensor:
        places = torch.arange(length)
        costs = price(slopes, distance(places[:, None], places).to(slopes))  # (H, T, T)
        return end(future(costs, places[:, None] < places))

    return answer


_ALIBI = Exercise(
    returns="what is added to the scores, shape (H, T, T)",
    outputs=("bias",),
    reference=_alibi(
        lambda t, s: t - s,
        lambda bias, later: bias.masked_fill(later, -math.inf),
        lambda slopes, distance: -slopes[:, None, None] * distance,
        lambda bias: bias,
    ),
    mistakes=combinations(
        _alibi,
        (
            Option(lambda t, s: t - s),
            Option(
                lambda t, s: s - t,
                "the wrong sign: distance is rewarded",
                "A key costs its distance times the slope, so the bias is never above 0.",
            ),
            Option(
                lambda t, s: -s + 0 * t,
                "counts from the start: equal after the softmax, but not zero at distance 0",
                "A constant per row cancels in the softmax, so this works; asked for is the distance t − s.",
            ),
            Option(lambda t, s: (t - s) ** 2, "the distance squared", "The price is linear in the distance."),
            Option(
                lambda t, s: (t - s).clamp(max=1),
                "the same price for every distance",
                "A key twice as far costs twice as much.",
            ),
        ),
        (
            Option(lambda bias, later: bias.masked_fill(later, -math.inf)),
            Option(lambda bias, later: bias, "the future may be seen", "Keys after the query, s > t, get −∞."),
            Option(
                lambda bias, later: bias.masked_fill(later, 0.0),
                "the future is free",
                "A bias of 0 is no mask: it is the best price there is. Keys after the query get −∞.",
            ),
            Option(
                lambda bias, later: bias.masked_fill(later.T, -math.inf),
                "the past is hidden, not the future",
                "Row t is the query, column s the key: s > t gets −∞.",
            ),
        ),
        (
            Option(lambda slopes, distance: -slopes[:, None, None] * distance),
            Option(
                lambda slopes, distance: -slopes.mean() * distance.expand(len(slopes), -1, -1),
                "one slope for all heads",
                "Each head has its own: some look near, some far.",
            ),
            Option(
                lambda slopes, distance: -(slopes[:, None, None] ** distance),
                "slope to the power of the distance",
                "The bias is −slope · distance; the power comes out of the softmax by itself.",
            ),
        ),
        (
            Option(lambda bias: bias),
            Option(
                lambda bias: bias.movedim(0, -1),
                "heads last: (T, T, H)",
                "Scores are (B, H, T, S): the heads come before both lengths.",
            ),
        ),
    ),
    passed="a price on distance: no position is added anywhere",
)


def check_distance_bias(answer: Callable[[int, Tensor], Tensor]) -> None:
    """Check linear biases by distance and print what is wrong with them.

    Parameters
    ----------
    answer
        ``(length T, slopes (H,)) -> bias (H, T, T)``: −slope · (t − s) for a query at t and a key at s ≤ t, −∞
        for later keys.
    """
    draw = Draw()

    def inputs(heads: int, length: int, **kind: object) -> dict[str, object]:
        return {"length": length, "slopes": draw.uniform(0.1, 0.9, heads, **kind)}  # type: ignore[arg-type]

    cases = (
        Case("for three heads", inputs(3, 7), "Row t: −slope · t … −slope, 0, then −∞."),
        Case("for one head", inputs(1, 5), "Shape (1, T, T)."),
        Case("for one token", inputs(2, 1), "Shape (H, 1, 1), zeros."),
        Case("in float64", inputs(2, 5, dtype=torch.float64), _DTYPE),
    )
    print(judge(answer, _ALIBI, cases))
