"""Mutation tests of the exercise checks: every known wrong answer gets its own message, right ones pass."""

import torch
from exercise_checks import ExerciseChecks, feedback
from torch import nn
from torch.nn import functional as F

from transformer_book.exercises import transformer as checks
from transformer_book.experiments.parameter_count import by_formula
from transformer_book.transformer import TransformerConfig

# Exercise 1 ---------------------------------------------------------------------------------------------


def by_hand(unbiased=False, dim=-1, inside=True, centre=True):
    def answer(x, weight, bias, eps):
        mean = x.mean(dim, keepdim=True)
        variance = (x - mean).pow(2).sum(dim, keepdim=True) / (x.shape[dim] - unbiased)
        spread = torch.sqrt(variance + eps) if inside else torch.sqrt(variance) + eps
        return weight * (x - mean if centre else x) / spread + bias

    return answer


NORM = [
    (by_hand(centre=False), "✗ the mean not subtracted"),
    (by_hand(unbiased=True), "✗ variance divided by D − 1, not D"),
    (by_hand(inside=False), "✗ ε added to the standard deviation, not to the variance"),
    (by_hand(unbiased=True, inside=False), "✗ variance divided by D − 1, and ε outside the root"),
    (by_hand(dim=-2), "✗ the mean taken over the tokens; and the variance taken over the tokens"),
    (
        lambda x, w, b, e: (
            w * (x - x.mean(-2, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + e).sqrt() + b
        ),
        "✗ the mean taken over the tokens",
    ),
    (
        lambda x, w, b, e: (
            w * (x - x.mean(-1, keepdim=True)) / (x.var(-2, correction=0, keepdim=True) + e).sqrt() + b
        ),
        "✗ the variance taken over the tokens",
    ),
    (
        lambda x, w, b, e: w * (x - x.mean()) / (x.var(-1, correction=0, keepdim=True) + e).sqrt() + b,
        "✗ one mean for all tokens",
    ),
    (
        lambda x, w, b, e: w * (x - x.mean(-1, keepdim=True)) / (x.var(correction=0) + e).sqrt() + b,
        "✗ one variance for all tokens",
    ),
    (lambda x, w, b, e: F.layer_norm(x, w.shape, w, b, 0.0), "✗ ε forgotten"),
    (
        lambda x, w, b, e: w * (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + e) + b,
        "✗ divided by the variance, not by its root",
    ),
    (
        lambda x, w, b, e: w * (x - x.mean(-1, keepdim=True)) / (x.pow(2).mean(-1, keepdim=True) + e).sqrt() + b,
        "✗ divided by the root mean square of what was not centred",
    ),
    (lambda x, w, b, e: F.layer_norm(x, w.shape, eps=e), "✗ weight and bias forgotten"),
    (lambda x, w, b, e: F.layer_norm(x, w.shape, w, eps=e), "✗ bias forgotten"),
    (lambda x, w, b, e: F.layer_norm(x, w.shape, None, b, e), "✗ weight forgotten"),
    (lambda x, w, b, e: (F.layer_norm(x, w.shape, eps=e) + b) * w, "✗ bias added before the weight"),
    (lambda x, w, b, e: 2 * by_hand()(x, w, b, e), "✗ output: wrong for a batch"),
    (lambda x, w, b, e: by_hand()(x.detach(), w, b, e), "✗ right values, but no gradient reaches x"),
    (lambda x, w, b, e: by_hand()(x.float(), w.float(), b.float(), e), "✗ output: expected torch.float64, …"),
    (lambda x, w, b, e: F.layer_norm(x, (7,), w, b, e), "✗ your function raised …"),
]


# Exercise 2 ---------------------------------------------------------------------------------------------


def norm(x):
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()


def think(x, a, b, c, d):
    return (x @ a.T + b).clamp(min=0) @ c.T + d


def around(block, f=think):
    return lambda stream, *weights: block(stream, lambda x: f(x, *weights))


def pre(x, f):
    return x + f(norm(x))


BLOCK = [
    (
        around(lambda x, f: norm(x + f(x))),
        "✗ post-norm: the sum is normalised, and the sub-layer reads the raw stream",
    ),
    (around(lambda x, f: norm(x) + f(norm(x))), "✗ added to the normalised stream, not to the stream"),
    (around(lambda x, f: norm(pre(x, f))), "✗ a second norm after the sum"),
    (around(lambda x, f: x + f(x)), "✗ no norm"),
    (around(lambda x, f: f(norm(x))), "✗ no residual"),
    (around(lambda x, f: x + norm(f(x))), "✗ the norm after the sub-layer, not before it"),
    (around(lambda x, f: x * f(norm(x))), "✗ multiplied, not added"),
    (around(pre, lambda x, a, b, c, d: (x @ a.T + b) @ c.T + d), "✗ no relu between the two maps"),
    (
        around(pre, lambda x, a, b, c, d: ((x @ a.T + b) @ c.T + d).relu()),
        "✗ relu after the second map, not between the two",
    ),
    (around(pre, lambda *a: think(*a).relu()), "✗ a second relu after the second map"),
    (around(pre, lambda x, a, b, c, d: think(x, a, 0 * b, c, d)), "✗ the first bias forgotten"),
    (around(pre, lambda x, a, b, c, d: think(x, a, b, c, 0 * d)), "✗ the second bias forgotten"),
    (around(pre, lambda x, a, b, c, d: F.gelu(x @ a.T + b) @ c.T + d), "✗ gelu, not relu"),
    (
        around(lambda x, f: f(norm(x)), lambda x, a, b, c, d: think(x, a, 0 * b, c, d)),
        "✗ no residual; and the first bias forgotten",
    ),
    (around(pre, lambda x, a, b, c, d: think(x, a.T, b, c.T, d)), "✗ your function raised …"),
    (around(lambda x, f: x + f(norm(x.detach()))), "✗ right values, but a wrong gradient of stream"),
]


# Exercise 3 ---------------------------------------------------------------------------------------------


def right_mask(ids, pad):
    steps = torch.arange(len(ids))
    return (steps[None, :] <= steps[:, None]) & (ids != pad)


def built(see=torch.tril, keep=lambda ids, pad: ids != pad, join=torch.logical_and):
    return lambda ids, pad: join(see(torch.ones(len(ids), len(ids)).bool()), keep(ids, pad))


MASK = [
    (built(torch.triu), "✗ sees the future and not the past"),
    (built(lambda m: m.tril(-1)), "✗ a token does not see itself"),
    (built(lambda m: m.tril(1)), "✗ sees one token ahead"),
    (built(lambda m: m), "✗ not causal"),
    (built(keep=lambda ids, pad: (ids != pad)[:, None]), "✗ padding hidden as a query, not as a key"),
    (built(keep=lambda ids, pad: ids == pad), "✗ padding mask inverted"),
    (built(keep=lambda ids, pad: ids > -1), "✗ padding not hidden"),
    (
        built(keep=lambda ids, pad: torch.outer(ids != pad, ids != pad)),
        "✗ padding hidden as a query as well",
    ),
    (built(keep=lambda ids, pad: ids != 0), "✗ padding taken to be id 0"),
    (built(join=torch.logical_or), "✗ joined with or"),
    (lambda ids, pad: ~right_mask(ids, pad), "✗ mask inverted"),
    (lambda ids, pad: right_mask(ids, pad).float(), "✗ mask: expected torch.bool, got torch.float32"),
    (lambda ids, pad: right_mask(ids, pad)[None], "✗ mask: expected shape (7, 7), got (1, 7, 7)"),
]


# Exercise 4 ---------------------------------------------------------------------------------------------


def right_number(d, f, e, c):
    parts = by_formula(TransformerConfig(9, 9, d, 1, f, e, c))
    return parts["attention"] + parts["feed-forward"] + parts["norms"]


COUNT = [
    (lambda d, f, e, c: right_number(d, f, e, c) - (e + 2 * c) * 4 * d, "✗ attention without its biases"),
    (
        lambda d, f, e, c: right_number(d, f, e, c) - (e + 2 * c) * (d * d + d),
        "✗ attention without its output map",
    ),
    (
        lambda d, f, e, c: right_number(d, f, e, c) - c * (4 * d * d + 4 * d),
        "✗ one attention in a decoder layer",
    ),
    (
        lambda d, f, e, c: right_number(d, f, e, c) + e * (4 * d * d + 4 * d),
        "✗ two attentions in an encoder layer",
    ),
    (lambda d, f, e, c: right_number(d, f, e, c) - (e + c) * (f + d), "✗ feed-forward without its biases"),
    (lambda d, f, e, c: right_number(d, f, e, c) - (e + c) * (d * f + d), "✗ one map in a feed-forward layer"),
    (
        lambda d, f, e, c: right_number(d, f, e, c) + (e + c) * (f - d),
        "✗ both biases of the feed-forward F wide",
    ),
    (lambda d, f, e, c: right_number(d, f, e, c) - 4 * d, "✗ the final norms forgotten"),
    (lambda d, f, e, c: right_number(d, f, e, c) - 2 * c * d, "✗ two norms in a decoder layer"),
    (lambda d, f, e, c: right_number(d, f, e, c) - (2 * e + 3 * c + 2) * 2 * d, "✗ the norms forgotten"),
    (lambda d, f, e, c: right_number(d, f, e, c) - (2 * e + 3 * c + 2) * d, "✗ norms without their biases"),
    (lambda d, f, e, c: right_number(d, f, e, c) - (e + 2 * c) * 2 * d, "✗ one norm in a layer"),
    (
        lambda d, f, e, c: right_number(d, f, e, c) - c * (4 * d * d + 4 * d) - 2 * c * d,
        "✗ one attention in a decoder layer; and two norms in a decoder layer",
    ),
    (lambda d, f, e, c: right_number(d, f, e, c) + 1, "✗ number: wrong for 2 and 3 layers"),
    (lambda d, f, e, c: str(right_number(d, f, e, c)), "✗ expected a tensor, got str"),
]


# Exercise 5 ---------------------------------------------------------------------------------------------


def right_parts(writes, weight, readout, eps):
    stream = writes.sum(0)
    spread = (stream.var(-1, correction=0) + eps).sqrt()  # (T,)
    centred = writes - writes.mean(-1, keepdim=True)
    return torch.einsum("ntd,d->nt", centred, weight * readout) / spread


def parts(centre=lambda w: w - w.mean(-1, keepdim=True), of=lambda w: w.sum(0), spread=None, weigh=True):
    def answer(writes, weight, readout, eps):
        scale = spread(of(writes), eps) if spread else (of(writes).var(-1, correction=0) + eps).sqrt()
        return centre(writes) @ (weight * readout if weigh else readout) / scale

    return answer


LOGIT = [
    (parts(centre=lambda w: w), "✗ the writes not centred"),
    (
        parts(centre=lambda w: w - w.sum(0).mean(-1, keepdim=True)),
        "✗ the stream's whole mean taken from every write",
    ),
    (parts(of=lambda w: w), "✗ each write divided by its own spread"),
    (parts(of=lambda w: w[-1]), "✗ divided by the spread of the last write"),
    (parts(of=lambda w: w.mean(0)), "✗ divided by the spread of the mean write"),
    (parts(spread=lambda s, e: 1.0), "✗ not divided by the spread of the stream"),
    (parts(spread=lambda s, e: (s.var(-1) + e).sqrt()), "✗ variance divided by D − 1, not D"),
    (
        parts(spread=lambda s, e: s.std(-1, correction=0) + e),
        "✗ ε added to the standard deviation, not to the variance",
    ),
    (parts(weigh=False), "✗ the norm's weight forgotten"),
    (lambda *a: right_parts(*a).sum(0), "✗ summed over the writes"),
    (
        parts(of=lambda w: w, weigh=False),
        "✗ each write divided by its own spread; and the norm's weight forgotten",
    ),
    (lambda *a: right_parts(*a).T, "✗ parts: expected shape (5, 3), got (3, 5)"),
    (lambda w, *a: right_parts(w.detach(), *a), "✗ right values, but no gradient reaches writes"),
]


# Right answers ------------------------------------------------------------------------------------------


def by_module(stream, a, b, c, d):
    hidden = F.relu(F.linear(F.layer_norm(stream, stream.shape[-1:]), a, b))
    return stream + F.linear(hidden, c, d)


def counted(d, f, e, c):
    with torch.device("meta"):
        encoder = nn.TransformerEncoderLayer(d, 1, f, batch_first=True)
        decoder = nn.TransformerDecoderLayer(d, 1, f, batch_first=True)
    sizes = [sum(p.numel() for p in layer.parameters()) for layer in (encoder, decoder)]
    return e * sizes[0] + c * sizes[1] + 4 * d


def one_by_one(writes, weight, readout, eps):
    """By linearity: what the logit would lose if the write were zero and the spread stayed."""
    spread = (writes.sum(0).var(-1, correction=0, keepdim=True) + eps).sqrt()
    rows = [((write - write.mean(-1, keepdim=True)) / spread * weight * readout).sum(-1) for write in writes]
    return torch.stack(rows)


class TestChecks(ExerciseChecks):
    SAME_INPUTS = {checks.check_decoder_mask, checks.check_parameters}
    TABLES = {
        checks.check_layer_norm: (NORM, checks._LAYER_NORM),
        checks.check_pre_norm: (BLOCK, checks._PRE_NORM),
        checks.check_decoder_mask: (MASK, checks._DECODER_MASK),
        checks.check_parameters: (COUNT, checks._PARAMETERS),
        checks.check_logit_parts: (LOGIT, checks._LOGIT_PARTS),
    }
    RIGHT = {
        checks.check_layer_norm: [by_hand(), lambda x, w, b, e: F.layer_norm(x, w.shape, w, b, e)],
        checks.check_pre_norm: [around(pre), by_module],
        checks.check_decoder_mask: [right_mask, built()],
        checks.check_parameters: [right_number, counted],
        checks.check_logit_parts: [right_parts, one_by_one],
    }


def test_a_named_mistake_says_why(capsys) -> None:
    text = feedback(capsys, checks.check_layer_norm, by_hand(inside=False))
    assert text == (
        "✗ ε added to the standard deviation, not to the variance\n  ε stands inside the root: √(variance + ε)."
    )
