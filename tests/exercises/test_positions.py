"""Mutation tests of the exercise checks: every known wrong answer gets its own message, right ones pass."""

import math

import torch
from exercise_checks import ExerciseChecks

from transformer_book.exercises import positions as checks
from transformer_book.positions import rotate, sinusoids

# Exercise 1 ---------------------------------------------------------------------------------------------


def column_by_column(length, d_model):
    table = torch.empty(length, d_model)
    for t in range(length):
        for column in range(0, d_model, 2):
            angle = t / 10000 ** (column / d_model)
            table[t, column], table[t, column + 1] = math.sin(angle), math.cos(angle)
    return table


def complex_table(length, d_model):
    """Powers of one complex number a column pair."""
    step = torch.polar(
        torch.ones(d_model // 2, dtype=torch.float64),
        torch.exp(-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model * math.log(1e4)),
    )
    powers = step ** torch.arange(length)[:, None]
    return torch.stack([powers.imag, powers.real], dim=-1).flatten(1).float()


def with_angles(angle, fill=lambda s, c: (s.sin(), c.cos()), start=0):
    """A table whose angle depends on position, column and width; sine and cosine may have different angles."""

    def answer(length, d_model):
        t = torch.arange(start, length + start, dtype=torch.float64)[:, None]
        columns = torch.arange(0, d_model, 2, dtype=torch.float64)
        table = torch.empty(length, d_model)
        table[:, 0::2], table[:, 1::2] = fill(angle(t, columns, d_model), angle(t, columns, d_model))
        return table

    return answer


def paper(t, c, d):
    return t / 10000 ** (c / d)


def own_columns(length, d_model):
    t, c = torch.arange(length)[:, None], torch.arange(d_model)
    angles = t / 10000 ** (c / d_model)
    return torch.where(c % 2 == 0, angles.sin(), angles.cos())


def halves(length, d_model):
    table = column_by_column(length, d_model)
    return torch.cat([table[:, 0::2], table[:, 1::2]], dim=1)


SINUSOIDS = [
    (with_angles(lambda t, c, d: t / 10000 ** (c / 2 / d)), "✗ the exponent is i/D, not 2i/D"),
    (with_angles(lambda t, c, d: t * 10000 ** (c / d)), "✗ frequencies that rise"),
    (with_angles(lambda t, c, d: t / 10000 ** (c / (d - 2))), "✗ the exponent is 2i/(D − 2), not 2i/D"),
    (with_angles(lambda t, c, d: t / 1000 ** (c / d)), "✗ base 1,000, not 10,000"),
    (own_columns, "✗ the cosine has a frequency of its own"),
    (with_angles(paper, start=1), "✗ positions counted from 1"),
    (halves, "✗ all sines first, then all cosines"),
    (with_angles(paper, lambda s, c: (c.cos(), s.sin())), "✗ cosine before sine"),
    (with_angles(paper, lambda s, c: (s.sin(), c.sin())), "✗ sines only"),
    (lambda n, d: column_by_column(n, d).T, "✗ transposed: (D, T)"),
    (
        with_angles(lambda t, c, d: t / 10000 ** (c / 2 / d), lambda s, c: (c.cos(), s.sin())),
        "✗ the exponent is i/D, not 2i/D; and cosine before sine",
    ),
    (lambda n, d: column_by_column(n, d).double(), "✗ table: expected torch.float32, got torch.float64"),
    (lambda n, d: column_by_column(n, 6), "✗ table: expected shape (1, 8), got (1, 6)"),
    (lambda n, d: column_by_column(n, d) * math.sqrt(d), "✗ table: wrong for six columns"),
    (lambda n, d: column_by_column(d, n), "✗ …"),
]


# Exercise 2 ---------------------------------------------------------------------------------------------


def by_index(inputs, table, keys):
    places = keys.size(2) + torch.arange(inputs.size(1))
    return inputs + table[places]


def one_by_one(inputs, table, keys):
    rows = [inputs[:, t] + table[keys.shape[2] + t] for t in range(inputs.shape[1])]
    return torch.stack(rows, dim=1)


def from_place(start):
    return lambda x, table, keys: x + table.narrow(0, start(keys), x.shape[1])


STEP = [
    (from_place(lambda keys: 0), "✗ the new tokens start at position 0"),
    (from_place(lambda keys: keys.shape[2] - 1), "✗ one position too early"),
    (from_place(lambda keys: keys.shape[2] + 1), "✗ one position too late"),
    (from_place(lambda keys: keys.shape[1]), "✗ counted the heads of the cache, not its tokens"),
    (from_place(len), "✗ counted the sequences of the cache, not its tokens"),
    (from_place(lambda keys: keys.shape[3]), "✗ counted the coordinates of a key, not the tokens"),
    (lambda x, table, keys: x + table[keys.shape[2]], "✗ all new tokens at the position of the first"),
    (
        lambda x, table, keys: x + table[keys.shape[2] : keys.shape[2] + len(x)].unsqueeze(1),
        "✗ positions along the batch, not along time",
    ),
    (lambda x, table, keys: x + table[len(table) - x.shape[1] :], "✗ the last rows of the table"),
    (lambda x, table, keys: x * table[keys.shape[2] :][: x.shape[1]], "✗ multiplied, not added"),
    (
        lambda x, table, keys: torch.stack([table[keys.shape[2] :][: x.shape[1]]] * len(x)),
        "✗ the inputs are gone",
    ),
    (
        lambda x, table, keys: x + table[0],
        "✗ the new tokens start at position 0; and all new tokens at the position of the first",
    ),
    (lambda x, table, keys: x + table, "✗ your function raised …"),
    (
        lambda x, table, keys: x.add_(table[keys.shape[2] :][: x.shape[1]]),
        "✗ your function changes its input inputs in place",
    ),
    (lambda x, table, keys: by_index(x, table.detach(), keys), "✗ right values, but no gradient reaches table"),
    (lambda x, table, keys: by_index(x.float(), table.float(), keys), "✗ stream: expected torch.float64, got …"),
]


# Exercise 3 ---------------------------------------------------------------------------------------------


def solved(k, d_model):
    """Least squares on the table itself, which knows nothing of the addition theorem."""
    table = sinusoids(400, d_model).double()
    base = 150
    return torch.linalg.lstsq(table[base : base + 200], table[base + k : base + k + 200]).solution.T.float()


def filled(k, d_model, angle=lambda k, c, d: k / 10000 ** (c / d), block=lambda s, c: ((c, s), (-s, c))):
    matrix = torch.zeros(d_model, d_model)
    for column in range(0, d_model, 2):
        turn = angle(k, column, d_model)
        matrix[column : column + 2, column : column + 2] = torch.tensor(block(math.sin(turn), math.cos(turn)))
    return matrix


def exponential(k, d_model):
    """The shift by k is the exponential of k times the shift by very little."""
    pairs = [torch.tensor([[0.0, w], [-w, 0.0]]) for w in (1e4 ** (-c / d_model) for c in range(0, d_model, 2))]
    return torch.matrix_exp(k * torch.block_diag(*pairs).double()).float()


def as_halves(k, d_model):
    order = [*range(0, d_model, 2), *range(1, d_model, 2)]
    return filled(k, d_model)[order][:, order]


SHIFT = [
    (lambda k, d: filled(k, d, lambda k, c, d: k), "✗ the same angle for every pair"),
    (lambda k, d: filled(k, d, lambda k, c, d: k / 10000 ** (c / 2 / d)), "✗ the exponent is i/D, not 2i/D"),
    (lambda k, d: filled(k, d).T, "✗ shifts back by k"),
    (lambda k, d: filled(-k, d), "✗ shifts back by k"),
    (lambda k, d: filled(k, d, block=lambda s, c: ((c, s), (s, c))), "✗ not a rotation: the minus is missing"),
    (
        lambda k, d: filled(k, d, block=lambda s, c: ((s, c), (c, -s))),
        "✗ sine and cosine exchanged in the matrix",
    ),
    (lambda k, d: filled(k, d, block=lambda s, c: ((c, 0.0), (0.0, c))), "✗ the cosines alone"),
    (as_halves, "✗ for sines first, then cosines"),
    (lambda k, d: filled(1, d), "✗ shifts by 1, not by k"),
    (lambda k, d: torch.eye(d), "✗ matrix: wrong for six columns"),
    (lambda k, d: filled(k, d).double(), "✗ matrix: expected torch.float32, got torch.float64"),
    (lambda k, d: filled(abs(k), d), "✗ shifts back by k"),
    (lambda k, d: filled(k, 6), "✗ matrix: expected shape (4, 4), got (6, 6)"),
]


# Exercise 4 ---------------------------------------------------------------------------------------------


def rotate_half(x):
    first, second = x.tensor_split(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def usual(x, angles):
    angles = torch.cat([angles, angles], dim=-1)
    return x * angles.cos() + rotate_half(x) * angles.sin()


def by_complex(x, angles):
    half = x.shape[-1] // 2
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag], dim=-1)


def by_package(x, angles):
    """Rearrange, turn neighbours, rearrange back."""
    table = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)
    neighbours = x.unflatten(-1, (2, -1)).transpose(-2, -1).flatten(-2)
    return rotate(neighbours, table).unflatten(-1, (-1, 2)).transpose(-2, -1).flatten(-2)


def neighbours(x, angles):
    return rotate(x, torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2))


def interleaved(angles):
    return torch.stack([angles, angles], dim=-1).flatten(-2)


def from_new(x, angles):
    a, b = x.chunk(2, dim=-1)
    a = a * angles.cos() - b * angles.sin()
    b = a * angles.sin() + b * angles.cos()
    return torch.cat([a, b], dim=-1)


ROTATE = [
    (
        lambda x, a: x * interleaved(a).cos() + rotate_half(x) * interleaved(a).sin(),
        "✗ angles repeated for neighbours, coordinates paired by halves",
    ),
    (neighbours, "✗ neighbours taken as pairs; and put together as neighbours"),
    (
        lambda x, a: neighbours(x, a).unflatten(-1, (-1, 2)).transpose(-2, -1).flatten(-2),
        "✗ neighbours taken as pairs",
    ),
    (
        lambda x, a: by_complex(torch.cat(x.chunk(2, dim=-1)[::-1], dim=-1), a),
        "✗ the halves taken in the wrong order",
    ),
    (lambda x, a: usual(x, -a), "✗ turned backwards"),
    (
        lambda x, a: x * torch.cat([a, a], -1).cos() + rotate_half(x).abs() * torch.cat([a, a], -1).sin(),
        "✗ turned: wrong for one sequence",
    ),
    (
        lambda x, a: (
            x * torch.cat([a, a], -1).cos() + torch.cat(x.chunk(2, -1)[::-1], -1) * torch.cat([a, a], -1).sin()
        ),
        "✗ not a rotation: the minus is missing",
    ),
    (
        lambda x, a: x * torch.cat([a, a], -1).sin() + rotate_half(x) * torch.cat([a, a], -1).cos(),
        "✗ sine and cosine exchanged",
    ),
    (from_new, "✗ the second coordinate is made from the new first one"),
    (lambda x, a: torch.stack(usual(x, a).chunk(2, -1), -1).flatten(-2), "✗ put together as neighbours"),
    (lambda x, a: torch.cat(usual(x, a).chunk(2, -1)[::-1], -1), "✗ put together in the wrong order"),
    (lambda x, a: x, "✗ turned: wrong for one sequence"),
    (lambda x, a: x * a.cos() - x * a.sin(), "✗ your function raised …"),
    (lambda x, a: usual(x.detach(), a), "✗ right values, but no gradient reaches x"),
]


# Exercise 5 ---------------------------------------------------------------------------------------------


def slices(weight, num_heads):
    return torch.cat([torch.cat([part[0::2], part[1::2]]) for part in weight.chunk(num_heads)])


def reshaped(weight, num_heads):
    heads = weight.view(num_heads, -1, 2, weight.shape[1])
    return heads.transpose(1, 2).reshape(weight.shape)


def back(weight, num_heads):
    return weight.view(num_heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


HALVES = [
    (back, "✗ from halves to neighbours: the way back"),
    (
        lambda w, n: torch.cat([torch.cat([part[1::2], part[0::2]]) for part in w.chunk(n)]),
        "✗ odd rows before even ones",
    ),
    (lambda w, n: w, "✗ nothing has moved"),
    (lambda w, n: slices(w, 1), "✗ across all heads at once"),
    (lambda w, n: slices(w.T, n).T, "✗ columns, not rows"),
    (lambda w, n: back(w, 1), "✗ from halves to neighbours: the way back; and across all heads at once"),
    (lambda w, n: slices(w, n)[: len(w) // 2], "✗ weight: expected shape (18, 18), got (9, 18)"),
    (lambda w, n: slices(w, n).float(), "✗ weight: expected torch.float64, got torch.float32"),
    (lambda w, n: slices(w.detach(), n), "✗ right values, but no gradient reaches weight"),
    (lambda w, n: slices(w, 3) if len(w) == 18 else reshaped(w, 1), "✗ across all heads at once"),
]


# Exercise 6 ---------------------------------------------------------------------------------------------


def entry_by_entry(length, slopes):
    bias = torch.full((len(slopes), length, length), -math.inf, dtype=slopes.dtype)
    for t in range(length):
        for s in range(t + 1):
            bias[:, t, s] = -slopes * (t - s)
    return bias


def lower(length, slopes, of=lambda t, s: t - s):
    t, s = torch.arange(length).view(-1, 1), torch.arange(length)
    bias = -torch.einsum("h,ts->hts", slopes, of(t, s).to(slopes.dtype))
    return bias + torch.where(s > t, -math.inf, 0.0)


ALIBI = [
    (lambda n, m: lower(n, -m), "✗ the wrong sign: distance is rewarded"),
    (
        lambda n, m: lower(n, m, lambda t, s: -s.expand(len(t), -1)),
        "✗ counts from the start: equal after the softmax, but not zero at distance 0",
    ),
    (lambda n, m: lower(n, m, lambda t, s: (t - s).square()), "✗ the distance squared"),
    (lambda n, m: lower(n, m, lambda t, s: (t > s).long()), "✗ the same price for every distance"),
    (
        lambda n, m: -m[:, None, None] * (torch.arange(n)[:, None] - torch.arange(n)),
        "✗ the future may be seen",
    ),
    (lambda n, m: entry_by_entry(n, m).tril(), "✗ the future is free"),
    (
        lambda n, m: (m[:, None, None] * (torch.arange(n) - torch.arange(n)[:, None])).masked_fill(
            torch.ones(n, n).tril(-1).bool(), -math.inf
        ),
        "✗ the past is hidden, not the future",
    ),
    (lambda n, m: lower(n, m.mean().expand(len(m))), "✗ one slope for all heads"),
    (
        lambda n, m: (-(m[:, None, None] ** (torch.arange(n)[:, None] - torch.arange(n)))).masked_fill(
            torch.ones(n, n).triu(1).bool(), -math.inf
        ),
        "✗ slope to the power of the distance",
    ),
    (lambda n, m: lower(n, m).permute(1, 2, 0), "✗ heads last: (T, T, H)"),
    (lambda n, m: lower(n, m)[0], "✗ bias: expected shape (3, 7, 7), got (7, 7)"),
    (lambda n, m: lower(n, m.float()), "✗ bias: expected torch.float64, got torch.float32"),
    (lambda n, m: lower(n, m).clamp(min=-1e9), "✗ bias: wrong for three heads"),
]


class TestChecks(ExerciseChecks):
    SAME_INPUTS = {checks.check_sinusoids, checks.check_shift}
    TABLES = {
        checks.check_sinusoids: (SINUSOIDS, checks._SINUSOIDS),
        checks.check_next_positions: (STEP, checks._STEP),
        checks.check_shift: (SHIFT, checks._SHIFT),
        checks.check_rotate_halves: (ROTATE, checks._ROTATE_HALVES),
        checks.check_to_halves: (HALVES, checks._TO_HALVES),
        checks.check_distance_bias: (ALIBI, checks._ALIBI),
    }
    RIGHT = {
        checks.check_sinusoids: [sinusoids, column_by_column, complex_table],
        checks.check_next_positions: [by_index, one_by_one, from_place(lambda keys: keys.shape[-2])],
        checks.check_shift: [exponential, filled],
        checks.check_rotate_halves: [usual, by_complex, by_package],
        checks.check_to_halves: [slices, reshaped],
        checks.check_distance_bias: [entry_by_entry, lower],
    }


def test_the_matrix_asked_for_shifts_every_row() -> None:
    """The reference against the definition, on the package's own table."""
    for k, d_model in ((3, 6), (-7, 10), (50, 64)):
        table, matrix = sinusoids(200, d_model), checks._SHIFT.reference(k, d_model)
        torch.testing.assert_close(table[50:100] @ matrix.T, table[50 + k : 100 + k], rtol=1e-5, atol=1e-5)


def test_converted_weights_give_the_same_scores_under_the_other_pairing() -> None:
    """The reference against what the exercise promises: other weights, other pairs, equal scores."""
    torch.manual_seed(0)
    heads, width, length, d_model = 3, 10, 7, 11
    x, table = torch.randn(length, d_model), sinusoids(length, width)
    angles = torch.atan2(table[:, 0::2], table[:, 1::2])
    query, key = torch.randn(2, heads * width, d_model)

    def scores(weights, turn):
        q, k = (turn((x @ weight.T).view(length, heads, width).transpose(0, 1)) for weight in weights)
        return q @ k.mT

    ours = scores((query, key), lambda vectors: rotate(vectors, table))
    converted = [checks._TO_HALVES.reference(weight, heads) for weight in (query, key)]
    theirs = scores(converted, lambda vectors: checks._ROTATE_HALVES.reference(vectors, angles))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    unchanged = scores((query, key), lambda vectors: checks._ROTATE_HALVES.reference(vectors, angles))
    assert (ours - unchanged).abs().max() > 0.1
