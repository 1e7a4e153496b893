"""Mutation tests of the exercise checks: every known wrong answer gets its own message, right ones pass."""

import math

import numpy as np
import torch
from exercise_checks import ExerciseChecks, feedback, first_line
from torch.nn import functional as F

from transformer_book.exercises import scaled_dot_product as checks

INF = math.inf


# Wrong answers ------------------------------------------------------------------------------------------


def einsum_two_axes(query, key):
    return torch.einsum("td,sd->ts", query, key) / math.sqrt(query.shape[-1])


def scale_query_in_place(query, key):
    query /= math.sqrt(query.shape[-1])
    return query @ key.transpose(-2, -1)


def right_scores(query, key):
    return query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])


def no_grad_scores(query, key):
    with torch.no_grad():
        return right_scores(query, key)


def half_cut_scores(query, key):
    return right_scores(query, key.detach())


def numpy_scores(query, key):
    return torch.from_numpy(query.numpy() @ np.swapaxes(key.numpy(), -2, -1) / math.sqrt(query.shape[-1]))


SCORES = [
    (lambda q, k: q @ k.mT, "✗ not divided by √D"),
    (lambda q, k: q @ k.mT / q.shape[-1], "✗ divided by D, not √D"),
    (lambda q, k: q @ k.mT * math.sqrt(q.shape[-1]), "✗ multiplied by √D, not divided"),
    (lambda q, k: q @ k.mT * q.shape[-1], "✗ multiplied by D, not divided by √D"),
    (lambda q, k: q @ k.mT / math.sqrt(k.shape[-2]), "✗ divided by √S, not √D"),
    (lambda q, k: q @ k.mT / k.shape[-2], "✗ divided by S, not √D"),
    (lambda q, k: q @ k.mT / math.sqrt(q.shape[-2]), "✗ divided by √T, not √D"),
    (lambda q, k: q @ k.mT / math.sqrt(len(q)), "✗ divided by √T, not √D"),
    (lambda q, k: q @ k.mT / q.shape[-2], "✗ divided by T, not √D"),
    (lambda q, k: q @ k.mT / math.sqrt(q.shape[1]), "✗ divided by √shape[1], not √shape[-1]"),
    (lambda q, k: q @ k.mT / 20, "✗ scores: wrong for two axes"),
    (lambda q, k: q @ k.mT * 10, "✗ scores: wrong for two axes"),
    (lambda q, k: k @ q.mT / math.sqrt(q.shape[-1]), "✗ transposed"),
    (lambda q, k: right_scores(q, k).softmax(-1), "✗ softmax already applied"),
    (lambda q, k: right_scores(q, k).softmax(-2), "✗ softmax already applied, over the queries"),
    (lambda q, k: (q @ k.mT).softmax(-1), "✗ not divided by √D; and softmax already applied"),
    (lambda q, k: k @ q.mT / q.shape[-1], "✗ divided by D, not √D; and transposed"),
    (
        lambda q, k: q @ k.T / math.sqrt(q.shape[-1]),
        "✗ your function raised …",
    ),
    (lambda q, k: q.mm(k.t()) / math.sqrt(q.shape[-1]), "✗ your function raised …"),
    (einsum_two_axes, "✗ your function raised …"),
    (
        lambda q, k: right_scores(q, k).reshape(-1, *q.shape[-2:-1], k.shape[-2])[0],
        "✗ scores: expected shape (2, 3, 5, 7), got (5, 7)",
    ),
    (lambda q, k: right_scores(q, k).float(), "✗ scores: expected torch.float64, got torch.float32"),
    (
        lambda q, k: right_scores(q.float(), k.float()).to(q.dtype),
        "✗ scores: right to a few digits only, though the inputs are torch.float64",
    ),
    (scale_query_in_place, "✗ your function changes its input query in place"),
    (lambda q, k: right_scores(q.detach(), k), "✗ right values, but no gradient reaches query"),
    (half_cut_scores, "✗ right values, but no gradient reaches key"),
    (no_grad_scores, "✗ right values, but no gradient reaches query"),
    (numpy_scores, "✗ your function raised …"),
    (lambda q, k: (right_scores(q, k), q), "✗ expected a tensor, got a tuple of 2"),
    (lambda q, k: right_scores(q, k).tolist(), "✗ expected a tensor, got a list of 7"),
    (lambda q, k: None if q.ndim > 2 else right_scores(q, k), "✗ expected a tensor, got NoneType"),
]


def hidden(scores, mask, fill=-INF):
    return scores.masked_fill(~mask, fill)


def exp_over_sum(scores, mask):
    weights = scores.exp() * mask
    total = weights.sum(-1, keepdim=True)
    return weights / total.masked_fill(total == 0, 1)


def zeroed_in_place(scores, mask):
    weights = hidden(scores, mask, -1e30).softmax(-1)
    weights *= mask
    return weights


def clear_scores_in_place(scores, mask):
    scores.masked_fill_(~mask, -1e30)
    return scores.softmax(-1) * mask


def infinite_addition(scores, mask):
    added = torch.where(mask, 0.0, -INF).to(scores.dtype)
    weights = (scores + added).softmax(-1)
    return torch.where(mask.any(-1, keepdim=True), weights, 0.0)


def right_weights(scores, mask):
    return hidden(scores, mask).softmax(-1).nan_to_num(0.0)


WEIGHTS = [
    (lambda s, m: hidden(s, m).softmax(-2), "✗ softmax over the wrong axis: the queries"),
    (lambda s, m: hidden(s, m).softmax(0), "✗ softmax over the wrong axis: the queries"),
    (lambda s, m: hidden(s, m).flatten().softmax(0).view_as(s), "✗ softmax over all scores at once"),
    (lambda s, m: right_weights(s, m) if s.ndim == 2 else hidden(s, m).softmax(1), "✗ softmax over axis 1"),
    (lambda s, m: right_weights(s, m) if s.ndim == 2 else hidden(s, m, -1e30).softmax(1), "✗ softmax over axis 1"),
    (lambda s, m: hidden(s, ~m).softmax(-1), "✗ mask inverted"),
    (lambda s, m: right_weights(s, ~m), "✗ mask inverted"),
    (lambda s, m: s.softmax(-1) * m, "✗ masked after the softmax, not before"),
    (lambda s, m: s.softmax(-1).masked_fill(~m, 0), "✗ masked after the softmax, not before"),
    (lambda s, m: s.softmax(-1) * ~m, "✗ mask inverted; and masked after the softmax, not before"),
    (lambda s, m: (s * m).softmax(-1), "✗ hidden scores set to 0, not to −∞"),
    (lambda s, m: hidden(s, m, 0).softmax(-1), "✗ hidden scores set to 0, not to −∞"),
    (lambda s, m: hidden(s, m, -1e-9).softmax(-1), "✗ hidden scores set to 0, not to −∞"),
    (lambda s, m: (s + m).softmax(-1), "✗ mask added to the scores as 0 and 1"),
    (lambda s, m: s.softmax(-1), "✗ mask ignored"),
    (lambda s, m: s.softmax(-2), "✗ mask ignored; and softmax over the wrong axis: the queries"),
    (lambda s, m: hidden(s, m).softmax(-1), "✗ NaN for a query that may attend to nothing"),
    (lambda s, m: hidden(s, m, -1e9).softmax(-1), "✗ equal weights for a query that may attend to nothing"),
    (lambda s, m: hidden(s, m, -100.0).softmax(-1) * m.any(-1, keepdim=True), "✗ hidden scores not low enough"),
    (lambda s, m: hidden(s, m, -100.0).softmax(-1) * m, "✗ hidden scores not low enough"),
    (lambda s, m: right_weights(s.clamp(-50, 50), m), "✗ weights: wrong for large scores"),
    (exp_over_sum, "✗ exp overflows for large scores"),
    (
        lambda s, m: s.softmax(-1) * m / (s.softmax(-1) * m).sum(-1, keepdim=True),
        "✗ NaN for a query that may attend to nothing",
    ),
    (lambda s, m: right_weights(s, m).float(), "✗ weights: expected torch.float64, got torch.float32"),
    (
        lambda s, m: right_weights(s, m) + 1e-6,
        "✗ weights: right to a few digits only, though the inputs are torch.float64",
    ),
    (lambda s, m: s - s.mean(), "✗ weights: wrong for two axes"),
    (lambda s, m: right_weights(s, m).detach(), "✗ right values, but no gradient reaches scores"),
    (infinite_addition, "✗ right values, but NaN in the gradient of scores"),
    (lambda s, m: right_weights(s, m) + (s - s.detach()), "✗ right values, but a wrong gradient of scores"),
    (zeroed_in_place, "✗ right values, but backward() raises RuntimeError…"),
    (clear_scores_in_place, "✗ your function changes its input scores in place"),
    (lambda s, m: hidden(s, 1 - m), "✗ your function raised …"),
]


def blended(weights):
    return lambda q, k, v, m: weights(right_scores(q, k), m) @ v


def scaled_by(divisor):
    return lambda q, k, v, m: right_weights(q @ k.mT / divisor(q, k, v), m) @ v


right_attention = blended(right_weights)

ATTENTION = [
    (scaled_by(lambda q, k, v: 1), "✗ not divided by √D"),
    (scaled_by(lambda q, k, v: q.shape[-1]), "✗ divided by D, not √D"),
    (scaled_by(lambda q, k, v: q.shape[-1] ** -0.5), "✗ multiplied by √D, not divided"),
    (scaled_by(lambda q, k, v: 1 / q.shape[-1]), "✗ multiplied by D, not divided by √D"),
    (scaled_by(lambda q, k, v: k.shape[-2]), "✗ divided by S, not √D"),
    (scaled_by(lambda q, k, v: q.shape[-2]), "✗ divided by T, not √D"),
    (scaled_by(lambda q, k, v: 20), "✗ output: wrong for two axes"),
    (scaled_by(lambda q, k, v: 0.1), "✗ output: wrong for two axes"),
    (scaled_by(lambda q, k, v: k.shape[-2] ** 0.5), "✗ divided by √S, not √D"),
    (scaled_by(lambda q, k, v: q.shape[-2] ** 0.5), "✗ divided by √T, not √D"),
    (scaled_by(lambda q, k, v: v.shape[-1] ** 0.5), "✗ divided by √Dv, not √D"),
    (scaled_by(lambda q, k, v: q.shape[1] ** 0.5), "✗ divided by √shape[1], not √shape[-1]"),
    (blended(lambda s, m: hidden(s, m).softmax(-2)), "✗ softmax over the wrong axis: the queries"),
    (blended(lambda s, m: hidden(s, m).flatten().softmax(0).view_as(s)), "✗ softmax over all scores at once"),
    (
        blended(lambda s, m: right_weights(s, m) if s.ndim == 2 else hidden(s, m, -1e30).softmax(1)),
        "✗ softmax over axis 1",
    ),
    (blended(lambda s, m: right_weights(s, ~m)), "✗ mask inverted"),
    (blended(lambda s, m: s.softmax(-1) * m), "✗ masked after the softmax, not before"),
    (blended(lambda s, m: (s * m).softmax(-1)), "✗ hidden scores set to 0, not to −∞"),
    (blended(lambda s, m: (s + m).softmax(-1)), "✗ mask added to the scores as 0 and 1"),
    (blended(lambda s, m: s.softmax(-1)), "✗ mask ignored"),
    (blended(lambda s, m: hidden(s, m).softmax(-1)), "✗ NaN for a query that may attend to nothing"),
    (
        blended(lambda s, m: hidden(s, m, -1e9).softmax(-1)),
        "✗ equal weights for a query that may attend to nothing",
    ),
    (lambda q, k, v, m: right_attention(q, k, v, m).mT, "✗ output transposed"),
    (lambda q, k, v, m: right_attention(q, k, k, m), "✗ blended the keys, not the values"),
    (lambda q, k, v, m: right_weights(right_scores(q, k), m), "✗ returned the weights, not the output"),
    (lambda q, k, v, m: q @ k.mT.softmax(-1) @ v, "✗ output: wrong for two axes"),
    (lambda q, k, v, m: right_weights(q @ k.mT, ~m) @ v, "✗ not divided by √D; and mask inverted"),
    (lambda q, k, v, m: (q @ k.mT).softmax(-1) @ v, "✗ not divided by √D; and mask ignored"),
    (
        lambda q, k, v, m: right_weights(q @ k.mT / q.shape[-1], m) @ k,
        "✗ divided by D, not √D; and blended the keys, not the values",
    ),
    (lambda q, k, v, m: (right_attention(q, k, v, m), m), "✗ expected a tensor, got a tuple of 2"),
    (
        lambda q, k, v, m: v @ right_weights(right_scores(q, k), m),
        "✗ your function raised …",
    ),
    (lambda q, k, v, m: q @ k.T, "✗ output: expected shape (5, 13), got (5, 7)"),
    (
        lambda q, k, v, m: right_attention(q, k, v, m).float(),
        "✗ output: expected torch.float64, got torch.float32",
    ),
    (lambda q, k, v, m: right_attention(q, k, v.detach(), m), "✗ right values, but no gradient reaches value"),
    (lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m), "✗ this calls torch's own attention"),
]


def back(length):
    positions = torch.arange(length)
    return positions[:, None] - positions


def right_window(length, window):
    return (back(length) >= 0) & (back(length) < window)


def wrapping_window(length, window):
    mask = torch.zeros(length, length, dtype=torch.bool)
    for t in range(length):
        mask[t, t - window + 1 : t + 1] = True
    return mask


def window_by_ones(length, window):
    edge = torch.ones(length - window, length - window, dtype=torch.bool).tril()
    return torch.ones(length, length, dtype=torch.bool).tril() & ~F.pad(edge, (0, window, window, 0))


def additive(mask):
    return torch.zeros(mask.shape).masked_fill(~mask, -INF)


WINDOW = [
    (lambda n, w: (back(n) >= 0) & (back(n) <= w), "✗ window one too wide"),
    (lambda n, w: torch.ones(n, n).tril().triu(-w).bool(), "✗ window one too wide"),
    (lambda n, w: (back(n) >= 0) & (back(n) < w - 1), "✗ window one too narrow"),
    (lambda n, w: (back(n) > 0) & (back(n) <= w), "✗ a position cannot see itself"),
    (lambda n, w: (back(n) > 0) & (back(n) < w), "✗ a position cannot see itself"),
    (lambda n, w: back(n).abs() < w, "✗ window on both sides"),
    (lambda n, w: back(n).abs() <= w // 2, "✗ window centred on the position"),
    (lambda n, w: right_window(n, w).T, "✗ looks ahead, not back"),
    (lambda n, w: ~right_window(n, w), "✗ mask inverted"),
    (lambda n, w: (back(n) < 0) | (back(n) > w), "✗ mask inverted; and window one too wide"),
    (lambda n, w: back(n) < w, "✗ looks ahead without limit"),
    (lambda n, w: back(n) > -w, "✗ looks ahead, and back without limit"),
    (lambda n, w: back(n) >= 0, "✗ causal, but without a window"),
    (wrapping_window, "✗ the first rows come out empty"),
    (lambda n, w: right_window(n, w).float(), "✗ mask: expected torch.bool, got torch.float32"),
    (lambda n, w: additive(right_window(n, w)), "✗ mask: expected torch.bool, got torch.float32"),
    (lambda n, w: right_window(n, w)[None], "✗ mask: expected shape (7, 7), got (1, 7, 7)"),
    (lambda n, w: right_window(n, w).numpy(), "✗ expected a tensor, got ndarray"),
    (lambda n, w: right_window(n, min(w, n - 1)), "✗ mask: wrong for a window longer than the sequence"),
    (lambda n, w: right_window(n, w % n), "✗ mask: wrong for a window longer than the sequence"),
    (lambda n, w: right_window(n, max(w, 2)), "✗ window one too wide"),
    (window_by_ones, "✗ your function raised …"),
    (lambda n, w: right_window(n, 3 if n == 7 else w if n < 9 else 3), "✗ mask: wrong for a longer sequence"),
]


def right_offset(target, source):
    return torch.ones(target, source, dtype=torch.bool).tril(source - target)


def tril(target, source, diagonal):
    return torch.ones(target, source, dtype=torch.bool).tril(diagonal)


OFFSET = [
    (lambda t, s: tril(t, s, 0), "✗ aligned to the start, not to the end"),
    (lambda t, s: tril(s, s, 0)[:t], "✗ aligned to the start, not to the end"),
    (lambda t, s: tril(t, s, -1), "✗ aligned to the start, and no query sees itself"),
    (lambda t, s: tril(t, s, s - t - 1), "✗ one too few: no query sees itself"),
    (lambda t, s: tril(t, s, s - t + 1), "✗ one too many: every query sees one position ahead"),
    (lambda t, s: tril(t, s, t), "✗ shifted by T, not by S − T"),
    (lambda t, s: ~right_offset(t, s), "✗ mask inverted"),
    (lambda t, s: torch.ones(t, s, dtype=torch.bool).triu(s - t + 1), "✗ mask inverted"),
    (lambda t, s: right_offset(t, s).T, "✗ transposed"),
    (lambda t, s: tril(s, t, 0), "✗ mask: expected shape (3, 11), got (11, 3)"),
    (lambda t, s: torch.ones(t, s, dtype=torch.bool), "✗ nothing is hidden"),
    (lambda t, s: torch.ones(t, s, dtype=torch.bool).triu(s - t), "✗ looks ahead, not back"),
    (lambda t, s: tril(s, s, 0), "✗ mask for all S queries"),
    (lambda t, s: tril(t, t, 0), "✗ the cached keys are missing"),
    (lambda t, s: ~tril(t, s, 0), "✗ mask inverted; and aligned to the start, not to the end"),
    (lambda t, s: right_offset(t, s).float(), "✗ mask: expected torch.bool, got torch.float32"),
    (lambda t, s: tril(t, s, 0) if t == 1 else right_offset(t, s), "✗ aligned to the start, not to the end"),
    (lambda t, s: right_offset(t, s) if t < s else ~right_offset(t, s), "✗ mask inverted"),
    (lambda t, s: right_offset(t, s - t), "✗ mask: expected shape (3, 11), got (3, 8)"),
]


def rescales(first, second):
    top = torch.maximum(first[0], second[0])
    finite = top.clamp(min=torch.finfo(top.dtype).min)
    return top, (first[0] - finite).exp(), (second[0] - finite).exp()


def right_merge(first, second):
    top, a, b = rescales(first, second)
    return top, a * first[1] + b * second[1], a * first[2] + b * second[2]


def merge_with(rule):
    """Make a merge from `rule(largest 1, largest 2) -> (new largest, factors of the totals, of the blends)`."""

    def merge(first, second):
        top, (a, b), (c, d) = rule(first[0], second[0])
        return top, a * first[1] + b * second[1], c * first[2] + d * second[2]

    return merge


def merge_by(rule):
    return merge_with(lambda x, y: (torch.maximum(x, y), *[rule(x, y, torch.maximum(x, y))] * 2))


def plain_factors(x, y, top):
    return (x - top).exp(), (y - top).exp()


def referred_to_first(first, second):
    factor = (second[0] - first[0]).exp()
    return first[0], first[1] + factor * second[1], first[2] + factor * second[2]


def unstable_quotient(first, second):
    """Put everything on the first chunk's scale before going to the new one."""
    top = torch.maximum(first[0], second[0])
    ratio, back_ = (second[0] - first[0]).exp(), (first[0] - top).exp()
    return top, (first[1] + ratio * second[1]) * back_, (first[2] + ratio * second[2]) * back_


def merge_in_place(first, second):
    top, a, b = rescales(first, second)
    first[1].mul_(a)
    return top, first[1] + b * second[1], a * first[2] + b * second[2]


def divided_merge(first, second):
    top, total, blend = right_merge(first, second)
    return top, total, blend / total


def averaged_merge(first, second):
    top, total, blend = right_merge(first, second)
    return top, total, blend / 2


NOT_RESCALED = (1, 1)
MERGE = [
    (merge_by(lambda x, y, top: NOT_RESCALED), "✗ not rescaled"),
    (merge_by(lambda x, y, top: ((x - top).exp(), 1)), "✗ only the first chunk rescaled"),
    (merge_by(lambda x, y, top: (1, (y - top).exp())), "✗ only the second chunk rescaled"),
    (
        merge_with(lambda x, y: (torch.maximum(x, y), plain_factors(x, y, torch.maximum(x, y)), NOT_RESCALED)),
        "✗ total rescaled, blend not",
    ),
    (
        merge_with(lambda x, y: (torch.maximum(x, y), NOT_RESCALED, plain_factors(x, y, torch.maximum(x, y)))),
        "✗ blend rescaled, total not",
    ),
    (merge_by(lambda x, y, top: ((top - x).exp(), (top - y).exp())), "✗ wrong sign in the exponent"),
    (merge_by(lambda x, y, top: plain_factors(y, x, top)), "✗ factors swapped"),
    (
        merge_by(lambda x, y, top: (x.exp(), y.exp())),
        "✗ rescaled to exp(score), without subtracting the new largest",
    ),
    (merge_by(plain_factors), "✗ NaN for a query that sees nothing in either chunk"),
    (unstable_quotient, "✗ total: wrong for a query that sees nothing in one chunk"),
    (lambda a, b: (a[0] + b[0], *right_merge(a, b)[1:]), "✗ returned the sum of the largest scores"),
    (
        merge_with(lambda x, y: (x + y, plain_factors(x, y, x + y), plain_factors(x, y, x + y))),
        "✗ largest scores added",
    ),
    (lambda a, b: (a[0], *right_merge(a, b)[1:]), "✗ returned the first chunk's largest"),
    (lambda a, b: (b[0], *right_merge(a, b)[1:]), "✗ returned the second chunk's largest"),
    (referred_to_first, "✗ largest taken from the first chunk"),
    (lambda a, b: referred_to_first(b, a), "✗ largest taken from the second chunk"),
    (
        merge_with(lambda x, y: (torch.minimum(x, y), *[plain_factors(x, y, torch.minimum(x, y))] * 2)),
        "✗ the smaller of the largest scores",
    ),
    (averaged_merge, "✗ blends averaged"),
    (
        lambda a, b: (torch.maximum(a[0], b[0]), a[1] + b[1], (a[2] + b[2]) / 2),
        "✗ not rescaled; and blends averaged",
    ),
    (divided_merge, "✗ blend already divided by total"),
    (lambda a, b: right_merge(a, b)[2], "✗ expected a tuple of 3 tensors, got Tensor"),
    (lambda a, b: right_merge(a, b)[1:], "✗ expected a tuple of 3 tensors, got a tuple of 2"),
    (
        lambda a, b: tuple(t.float() for t in right_merge(a, b)),
        "✗ largest: expected torch.float64, got torch.float32",
    ),
    (
        lambda a, b: (*right_merge(a, b)[:2], right_merge(a, b)[2].detach()),
        "✗ right values, but no gradient reaches a part of first",
    ),
    (lambda a, b: tuple(t.detach() for t in right_merge(a, b)), "✗ right values, but no gradient reaches first"),
    (merge_in_place, "✗ your function changes its input first in place"),
    (lambda a, b: a.total, "✗ your function raised AttributeError: 'tuple' object has no attribute 'total'"),
]


# Right answers ------------------------------------------------------------------------------------------


def scores_by_einsum(query, key):
    return torch.einsum("...td,...sd->...ts", query, key) / query.size(-1) ** 0.5


def scores_key_by_key(query, key):
    query = query * query.shape[-1] ** -0.5
    return torch.stack([(query * key[..., s : s + 1, :]).sum(-1) for s in range(key.shape[-2])], dim=-1)


def scores_split_scale(query, key):
    scale = query.shape[-1] ** 0.25
    return (query / scale).matmul((key / scale).transpose(-1, -2))


def weights_by_exp(scores, mask):
    lowest = torch.finfo(scores.dtype).min
    top = scores.masked_fill(~mask, lowest).amax(-1, keepdim=True)
    weights = torch.where(mask, (scores - top).clamp(max=0).exp(), torch.zeros_like(scores))
    total = weights.sum(-1, keepdim=True)
    return weights / torch.where(total > 0, total, torch.ones_like(total))


def weights_filled_twice(scores, mask):
    return F.softmax(scores.masked_fill(mask.logical_not(), -1e9), dim=-1).masked_fill(~mask, 0)


def weights_renormalised(scores, mask):
    weights = scores.softmax(-1) * mask
    return weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(scores.dtype).tiny)


def attention_by_einsum(query, key, value, mask):
    scores = torch.einsum("...td,...sd->...ts", query, key) * query.shape[-1] ** -0.5
    return torch.einsum("...ts,...sv->...tv", weights_filled_twice(scores, mask), value)


def attention_query_by_query(query, key, value, mask):
    mask = mask.expand(*query.shape[:-1], key.shape[-2])
    rows = []
    for t in range(query.shape[-2]):
        scores = (key @ query[..., t, :, None]).squeeze(-1) / math.sqrt(key.shape[-1])
        rows.append((right_weights(scores, mask[..., t, :])[..., None] * value).sum(-2))
    return torch.stack(rows, dim=-2)


def window_by_loop(length, window):
    rows = [[t - window < s <= t for s in range(length)] for t in range(length)]
    return torch.tensor(rows, dtype=torch.bool)


def window_by_triangles(length, window):
    return torch.ones(length, length).tril().triu(1 - window) == 1


def offset_by_positions(target_length, source_length):
    positions = torch.arange(source_length)
    return positions <= positions[source_length - target_length :, None]


def offset_by_slicing(target_length, source_length):
    return torch.ones(source_length, source_length, dtype=torch.bool).tril()[-target_length:]


def merge_stacked(first, second):
    tops = torch.stack([first[0], second[0]])
    top = tops.amax(0)
    factors = torch.where(tops == top, 1.0, (tops - top).exp()).to(top.dtype)
    return [top, *((factors * torch.stack(pair)).sum(0) for pair in zip(first[1:], second[1:], strict=True))]


def merge_guarded(first, second):
    top = torch.maximum(first[0], second[0])
    a, b = (first[0] - top).exp().nan_to_num(0), (second[0] - top).exp().nan_to_num(0)
    return top, first[1] * a + second[1] * b, first[2] * a + second[2] * b


class TestChecks(ExerciseChecks):
    DRAWS = 30
    SAME_INPUTS = {checks.check_sliding_window_mask, checks.check_offset_causal_mask}
    TABLES = {
        checks.check_scaled_scores: (SCORES, checks._SCALED_SCORES),
        checks.check_masked_weights: (WEIGHTS, checks._MASKED_WEIGHTS),
        checks.check_attention: (ATTENTION, checks._ATTENTION),
        checks.check_sliding_window_mask: (WINDOW, checks._SLIDING_WINDOW_MASK),
        checks.check_offset_causal_mask: (OFFSET, checks._OFFSET_CAUSAL_MASK),
        checks.check_merge_chunks: (MERGE, checks._MERGE_CHUNKS),
    }
    RIGHT = {
        checks.check_scaled_scores: [right_scores, scores_by_einsum, scores_key_by_key, scores_split_scale],
        checks.check_masked_weights: [right_weights, weights_by_exp, weights_filled_twice, weights_renormalised],
        checks.check_attention: [right_attention, attention_by_einsum, attention_query_by_query],
        checks.check_sliding_window_mask: [right_window, window_by_loop, window_by_triangles],
        checks.check_offset_causal_mask: [right_offset, offset_by_positions, offset_by_slicing],
        checks.check_merge_chunks: [right_merge, merge_stacked, merge_guarded],
    }


def test_a_named_mistake_says_why_and_nothing_random(capsys):
    texts = {feedback(capsys, checks.check_scaled_scores, lambda q, k: q @ k.mT / q.shape[-1]) for _ in range(5)}
    assert texts == {
        "✗ divided by D, not √D\n  The standard deviation of q·k is √D; /D flattens the weights.",
    }


def test_an_unknown_mistake_says_where_it_shows(capsys):
    text = feedback(capsys, checks.check_masked_weights, lambda s, m: right_weights(s, m).flip(-1))
    assert first_line(text) == "✗ weights: wrong for two axes"
    assert "Called with scores (7, 11), mask (7, 11): " in text
    assert "entries differ, the first at [0, " in text


def test_an_unknown_factor_is_named(capsys):
    text = feedback(capsys, checks.check_scaled_scores, lambda q, k: q @ k.mT / 20)
    assert text.endswith("every entry is 0.112 times the right one.")  # √5 / 20


def test_a_wrong_mask_shows_the_row(capsys):
    text = feedback(capsys, checks.check_sliding_window_mask, lambda n, w: back(n) >= 0)
    assert "length 7, window 3: row 3 should be ○●●●○○○, is ●●●●○○○" in text


def test_an_exception_without_a_word_or_with_too_many(capsys):
    def silent(query, key):
        raise KeyError

    def talkative(query, key):
        raise ValueError("la " * 1000)

    assert first_line(feedback(capsys, checks.check_scaled_scores, silent)) == "✗ your function raised KeyError"
    assert len(first_line(feedback(capsys, checks.check_scaled_scores, talkative))) < 250


def test_torchs_own_not_implemented_error_is_no_stub(capsys):
    text = feedback(capsys, checks.check_masked_weights, lambda scores, mask: mask.softmax(-1))
    assert text.startswith("✗ your function raised ")


def test_a_result_on_another_device_is_pointed_out(capsys):
    text = feedback(capsys, checks.check_sliding_window_mask, lambda n, w: right_window(n, w).to("meta"))
    assert first_line(text) == "✗ mask: expected a tensor on cpu, got one on meta"
