"""Checks for the exercises of the chapter on the whole Transformer.

Each check takes the reader's function, calls it on fresh random inputs and prints one short feedback that
names the mistake. Axis letters are those of `transformer_book.shapes`; masks are boolean, True = may attend.
"""

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from transformer_book.exercises._feedback import Answer, Case, Draw, Exercise, Option, combinations, judge

_DTYPE = "Right in float32, not in float64: constants must follow the inputs."
_GRADIENT = "Right without gradients: stay in torch, and out of place, from inputs to result."


# Exercise 1: layer norm -------------------------------------------------------------------------------------


def _layer_norm(centre: Answer, spread: Answer, end: Answer) -> Answer:
    return lambda x, weight, bias, eps: end(centre(x) / spread(x, eps), weight, bias)


_LAYER_NORM = Exercise(
    returns="the normalised vectors, shape (..., D)",
    outputs=("output",),
    reference=lambda x, weight, bias, eps: F.layer_norm(x, weight.shape, weight, bias, eps),
    mistakes=combinations(
        _layer_norm,
        (
            Option(lambda x: x - x.mean(-1, keepdim=True)),
            Option(lambda x: x, "the mean not subtracted", "Subtract each vector's own mean first."),
            Option(
                lambda x: x - x.mean(-2, keepdim=True),
                "the mean taken over the tokens",
                "Each token's vector has a mean of its own, over its D coordinates: dim=-1.",
            ),
            Option(lambda x: x - x.mean(), "one mean for all tokens", "dim=-1, with keepdim=True."),
        ),
        (
            Option(lambda x, eps: (x.var(-1, correction=0, keepdim=True) + eps).sqrt()),
            Option(
                lambda x, eps: (x.var(-1, keepdim=True) + eps).sqrt(),
                "variance divided by D − 1, not D",
                "Tensor.var corrects for samples by default; LayerNorm does not: correction=0.",
            ),
            Option(
                lambda x, eps: x.std(-1, correction=0, keepdim=True) + eps,
                "ε added to the standard deviation, not to the variance",
                "ε stands inside the root: √(variance + ε).",
            ),
            Option(
                lambda x, eps: x.std(-1, keepdim=True) + eps,
                "variance divided by D − 1, and ε outside the root",
                "A well-known implementation has both; the outputs are then not those of nn.LayerNorm.",
            ),
            Option(
                lambda x, eps: x.std(-1, correction=0, keepdim=True),
                "ε forgotten",
                "A vector of equal coordinates would be divided by zero.",
            ),
            Option(
                lambda x, eps: x.var(-1, correction=0, keepdim=True) + eps,
                "divided by the variance, not by its root",
                "The standard deviation is the root of the variance.",
            ),
            Option(
                lambda x, eps: (x.var(-2, correction=0, keepdim=True) + eps).sqrt(),
                "the variance taken over the tokens",
                "Each token's vector has a variance of its own, over its D coordinates: dim=-1.",
            ),
            Option(
                lambda x, eps: (x.var(correction=0) + eps).sqrt(),
                "one variance for all tokens",
                "dim=-1, with keepdim=True.",
            ),
            Option(
                lambda x, eps: (x.square().mean(-1, keepdim=True) + eps).sqrt(),
                "divided by the root mean square of what was not centred",
                "Centre first, then take the variance: that of x − mean.",
            ),
        ),
        (
            Option(lambda x, weight, bias: x * weight + bias),
            Option(lambda x, weight, bias: x, "weight and bias forgotten", "weight · normalised + bias."),
            Option(lambda x, weight, bias: x * weight, "bias forgotten", "weight · normalised + bias."),
            Option(lambda x, weight, bias: x + bias, "weight forgotten", "weight · normalised + bias."),
            Option(
                lambda x, weight, bias: (x + bias) * weight,
                "bias added before the weight",
                "weight · normalised + bias.",
            ),
        ),
    ),
    passed="layer norm as nn.LayerNorm has it: variance over D, ε inside the root",
)


def check_layer_norm(answer: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> None:
    """Check a layer norm and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(x (..., D), weight (D,), bias (D,), eps) -> output (..., D)``.
    """
    draw = Draw()

    def inputs(*shape: int, **kind: object) -> dict[str, object]:
        width = shape[-1]
        return {
            "x": draw.normal(*shape, std=1.5, **kind) + 1,  # type: ignore[arg-type]
            "weight": draw.uniform(0.5, 2.0, width, **kind),  # type: ignore[arg-type]
            "bias": draw.normal(width, **kind),  # type: ignore[arg-type]
            "eps": 0.5,
        }

    cases = (
        Case("for a batch", inputs(2, 3, 7), "weight · (x − mean) / √(variance + ε) + bias, along the last axis."),
        Case("for one sequence", inputs(5, 11), "Any number of axes may come before the last."),
        Case("in float64", inputs(2, 3, 5, dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs(2, 3, 7, grad=True), _GRADIENT),
    )
    print(judge(answer, _LAYER_NORM, cases))


# Exercise 2: one pre-norm sub-layer -------------------------------------------------------------------------


def _normal(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])


def _pre_norm(block: Answer, forward: Answer) -> Answer:
    return lambda stream, w1, b1, w2, b2: block(stream, lambda x: forward(x, w1, b1, w2, b2))


_PRE_NORM = Exercise(
    returns="the stream after the sub-layer, shape (B, T, D)",
    outputs=("stream",),
    reference=_pre_norm(
        lambda x, f: x + f(_normal(x)), lambda x, a, b, c, d: F.linear(F.linear(x, a, b).relu(), c, d)
    ),
    mistakes=combinations(
        _pre_norm,
        (
            Option(lambda x, f: x + f(_normal(x))),
            Option(
                lambda x, f: _normal(x + f(x)),
                "post-norm: the sum is normalised, and the sub-layer reads the raw stream",
                "Pre-norm leaves the stream alone: x + f(norm(x)).",
            ),
            Option(
                lambda x, f: _normal(x) + f(_normal(x)),
                "added to the normalised stream, not to the stream",
                "What goes round the sub-layer is x itself; a variable x = norm(x) has lost it.",
            ),
            Option(
                lambda x, f: _normal(x + f(_normal(x))),
                "a second norm after the sum",
                "Nothing stands on the stream: x + f(norm(x)).",
            ),
            Option(lambda x, f: x + f(x), "no norm", "The sub-layer reads norm(x)."),
            Option(
                lambda x, f: f(_normal(x)),
                "no residual",
                "x + f(norm(x)): the sub-layer adds, it does not replace.",
            ),
            Option(
                lambda x, f: x + _normal(f(x)),
                "the norm after the sub-layer, not before it",
                "The sub-layer reads norm(x).",
            ),
            Option(lambda x, f: x * f(_normal(x)), "multiplied, not added", "x + f(norm(x))."),
        ),
        (
            Option(lambda x, a, b, c, d: F.linear(F.linear(x, a, b).relu(), c, d)),
            Option(
                lambda x, a, b, c, d: F.linear(F.linear(x, a, b), c, d),
                "no relu between the two maps",
                "Without it the two are one linear map.",
            ),
            Option(
                lambda x, a, b, c, d: F.linear(F.linear(x, a, b), c, d).relu(),
                "relu after the second map, not between the two",
                "A sub-layer that can only add positive numbers cannot take back.",
            ),
            Option(
                lambda x, a, b, c, d: F.linear(F.linear(x, a, b).relu(), c, d).relu(),
                "a second relu after the second map",
                "A sub-layer that can only add positive numbers cannot take back.",
            ),
            Option(
                lambda x, a, b, c, d: F.linear(F.linear(x, a).relu(), c, d),
                "the first bias forgotten",
                "W₂ relu(W₁ x + b₁) + b₂.",
            ),
            Option(
                lambda x, a, b, c, d: F.linear(F.linear(x, a, b).relu(), c),
                "the second bias forgotten",
                "W₂ relu(W₁ x + b₁) + b₂.",
            ),
            Option(
                lambda x, a, b, c, d: F.linear(F.gelu(F.linear(x, a, b)), c, d),
                "gelu, not relu",
                "Later models use it; the paper and this package have max(0, ·).",
            ),
        ),
    ),
    passed="a pre-norm sub-layer: norm on the branch, a sum on the stream",
)


def check_pre_norm(answer: Callable[..., Tensor]) -> None:
    """Check a pre-norm feed-forward sub-layer and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(stream (B, T, D), w1 (F, D), b1 (F,), w2 (D, F), b2 (D,)) -> stream (B, T, D)``; the norm has no weight
        and no bias.
    """
    draw = Draw()

    def inputs(batch: int, length: int, width: int, hidden: int, **kind: object) -> dict[str, Tensor]:
        shapes = {"w1": (hidden, width), "b1": (hidden,), "w2": (width, hidden), "b2": (width,)}
        drawn = {name: draw.normal(*shape, **kind) for name, shape in shapes.items()}  # type: ignore[arg-type]
        return {"stream": draw.normal(batch, length, width, std=2.0, **kind), **drawn}  # type: ignore[arg-type]

    cases = (
        Case("for a batch", inputs(2, 3, 5, 11), "stream + W₂ relu(W₁ norm(stream) + b₁) + b₂."),
        Case("for one token", inputs(1, 1, 7, 13), "Each position by itself."),
        Case("in float64", inputs(2, 3, 5, 7, dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs(2, 3, 5, 7, grad=True), _GRADIENT),
    )
    print(judge(answer, _PRE_NORM, cases))


# Exercise 3: the decoder's mask -----------------------------------------------------------------------------


def _mask(causal: Answer, padding: Answer, join: Answer, end: Answer) -> Answer:
    def answer(ids: Tensor, pad_id: int) -> Tensor:
        length = len(ids)
        steps = torch.ones(length, length, dtype=torch.bool)
        return end(join(causal(steps), padding(ids, pad_id)))

    return answer


_DECODER_MASK = Exercise(
    returns="the mask, boolean (T, T)",
    outputs=("mask",),
    reference=_mask(
        lambda steps: steps.tril(), lambda ids, pad: (ids != pad)[None, :], lambda a, b: a & b, lambda mask: mask
    ),
    mistakes=combinations(
        _mask,
        (
            Option(lambda steps: steps.tril()),
            Option(
                lambda steps: steps.triu(),
                "sees the future and not the past",
                "Row t may see columns 0 … t: tril.",
            ),
            Option(
                lambda steps: steps.tril(-1),
                "a token does not see itself",
                "The diagonal is allowed: tril(), not tril(-1).",
            ),
            Option(
                lambda steps: steps.tril(1),
                "sees one token ahead",
                "tril(), not tril(1): the next token is the answer.",
            ),
            Option(
                lambda steps: steps,
                "not causal",
                "Every row sees the future: in training it would copy the answer.",
            ),
        ),
        (
            Option(lambda ids, pad: (ids != pad)[None, :]),
            Option(
                lambda ids, pad: (ids != pad)[:, None],
                "padding hidden as a query, not as a key",
                "Columns are keys: it is the columns at padding that nobody may look at.",
            ),
            Option(
                lambda ids, pad: (ids == pad)[None, :], "padding mask inverted", "True at what is NOT padding."
            ),
            Option(
                lambda ids, pad: torch.ones_like(ids, dtype=torch.bool)[None, :],
                "padding not hidden",
                "Join the causal mask with ids != pad_id.",
            ),
            Option(
                lambda ids, pad: (ids != pad)[None, :] & (ids != pad)[:, None],
                "padding hidden as a query as well",
                "Only columns: what a query at padding sees is of no interest to anybody.",
            ),
            Option(
                lambda ids, pad: (ids != 0)[None, :],
                "padding taken to be id 0",
                "Compare with pad_id.",
            ),
        ),
        (
            Option(lambda a, b: a & b),
            Option(lambda a, b: a | b, "joined with or", "Both must allow it: &."),
        ),
        (
            Option(lambda mask: mask),
            Option(
                lambda mask: ~mask, "mask inverted", "True means may attend; nn.Transformer means the opposite."
            ),
        ),
    ),
    passed="the decoder's mask: nothing later, and no padding",
)


def check_decoder_mask(answer: Callable[[Tensor, int], Tensor]) -> None:
    """Check the mask of the decoder's self-attention and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(ids (T,), pad_id) -> mask (T, T)``, rows are queries, True = may attend.
    """

    def inputs(ids: list[int], pad_id: int) -> dict[str, object]:
        return {"ids": torch.tensor(ids, device="cpu"), "pad_id": pad_id}

    cases = (
        Case(
            "with padding in the middle", inputs([7, 5, 3, 0, 3, 6, 5], 3), "Row t: columns 0 … t without padding."
        ),
        Case("with padding at the end", inputs([1, 8, 0, 6, 9, 9], 9), "Row t: columns 0 … t without padding."),
        Case("without padding", inputs([4, 5, 6], 0), "The causal mask is left."),
    )
    print(judge(answer, _DECODER_MASK, cases))


# Exercise 4: parameters -------------------------------------------------------------------------------------


def _parameters(attention: Answer, counts: Answer, forward: Answer, norms: Answer) -> Answer:
    def answer(d_model: int, d_ff: int, encoder_layers: int, decoder_layers: int) -> Tensor:
        total = (
            counts(encoder_layers, decoder_layers) * attention(d_model)
            + forward(d_model, d_ff, encoder_layers, decoder_layers)
            + norms(encoder_layers, decoder_layers) * 2 * d_model
        )
        return torch.tensor(float(total), dtype=torch.float64)

    return answer


_PARAMETERS = Exercise(
    returns="the number of parameters of both stacks",
    outputs=("number",),
    reference=_parameters(
        lambda d: 4 * d * d + 4 * d,
        lambda e, c: e + 2 * c,
        lambda d, f, e, c: (e + c) * (2 * d * f + f + d),
        lambda e, c: 2 * e + 3 * c + 2,
    ),
    mistakes=combinations(
        _parameters,
        (
            Option(lambda d: 4 * d * d + 4 * d),
            Option(lambda d: 4 * d * d, "attention without its biases", "Each of the four maps has D of them."),
            Option(
                lambda d: 3 * d * d + 3 * d,
                "attention without its output map",
                "Four maps: query, key, value and output.",
            ),
        ),
        (
            Option(lambda e, c: e + 2 * c),
            Option(lambda e, c: e + c, "one attention in a decoder layer", "Two: to itself, and to the source."),
            Option(
                lambda e, c: 2 * e + 2 * c,
                "two attentions in an encoder layer",
                "Only the decoder looks at two places.",
            ),
        ),
        (
            Option(lambda d, f, e, c: (e + c) * (2 * d * f + f + d)),
            Option(
                lambda d, f, e, c: (e + c) * 2 * d * f,
                "feed-forward without its biases",
                "F of the first map, D of the second.",
            ),
            Option(
                lambda d, f, e, c: (e + c) * (d * f + f),
                "one map in a feed-forward layer",
                "Two: D to F, and back.",
            ),
            Option(
                lambda d, f, e, c: (e + c) * (2 * d * f + 2 * f),
                "both biases of the feed-forward F wide",
                "The second map ends in D.",
            ),
        ),
        (
            Option(lambda e, c: 2 * e + 3 * c + 2),
            Option(lambda e, c: 2 * e + 3 * c, "the final norms forgotten", "Each stack ends in a norm."),
            Option(
                lambda e, c: 2 * e + 2 * c + 2,
                "two norms in a decoder layer",
                "One for each sub-layer: three in a decoder layer.",
            ),
            Option(lambda e, c: 0, "the norms forgotten", "Each has a weight and a bias, 2 · D."),
            Option(
                lambda e, c: e + 1.5 * c + 1, "norms without their biases", "Each has a weight and a bias, 2 · D."
            ),
            Option(lambda e, c: e + c + 2, "one norm in a layer", "One for each sub-layer: two, or three."),
        ),
    ),
    passed="every parameter of both stacks counted",
)


def check_parameters(answer: Callable[[int, int, int, int], int]) -> None:
    """Check a count of parameters and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(d_model D, d_ff F, num_encoder_layers, num_decoder_layers) -> int``: of both stacks, final norms
        included, embeddings and readout not.
    """
    draw = Draw()

    @functools.wraps(answer)
    def as_tensor(*sizes: int) -> object:
        number = answer(*sizes)
        whole = isinstance(number, int | float) and not isinstance(number, bool)
        return torch.tensor(float(number), dtype=torch.float64) if whole else number

    def inputs(encoder_layers: int, decoder_layers: int) -> dict[str, int]:
        # sizes at which no two mistakes miss the same number of parameters, few enough that one of them shows
        d_model, d_ff = ((8, 19), (8, 22), (8, 27), (9, 16), (9, 22), (9, 28))[draw.whole(0, 5)]
        return {
            "d_model": d_model,
            "d_ff": d_ff,
            "num_encoder_layers": encoder_layers,
            "num_decoder_layers": decoder_layers,
        }

    cases = (
        Case(
            "for 2 and 3 layers",
            inputs(2, 3),
            "Attentions, feed-forward layers, norms, and one more norm a stack.",
        ),
        Case("for 5 and 1 layers", inputs(5, 1), "The two stacks may differ in depth."),
    )
    print(judge(answer if not callable(answer) else as_tensor, _PARAMETERS, cases))


# Exercise 5: who wrote the logit? ---------------------------------------------------------------------------


def _parts(centre: Answer, spread: Answer, dot: Answer) -> Answer:
    return lambda writes, weight, readout, eps: dot(centre(writes) / spread(writes, eps), weight, readout)


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(-1, keepdim=True)


_LOGIT_PARTS = Exercise(
    returns="the parts of the logit, shape (N, T)",
    outputs=("parts",),
    reference=_parts(
        _centred,
        lambda x, eps: (x.sum(0).var(-1, correction=0, keepdim=True) + eps).sqrt(),
        lambda x, weight, readout: (x * weight) @ readout,
    ),
    mistakes=combinations(
        _parts,
        (
            Option(_centred),
            Option(
                lambda x: x,
                "the writes not centred",
                "The norm subtracts the stream's mean, which is the sum of the writes' means.",
            ),
            Option(
                lambda x: x - x.sum(0).mean(-1, keepdim=True),
                "the stream's whole mean taken from every write",
                "Each write has its own share of the mean: its own.",
            ),
        ),
        (
            Option(lambda x, eps: (x.sum(0).var(-1, correction=0, keepdim=True) + eps).sqrt()),
            Option(
                lambda x, eps: (x.var(-1, correction=0, keepdim=True) + eps).sqrt(),
                "each write divided by its own spread",
                "There is one norm, of the stream: all writes are divided by the spread of their sum.",
            ),
            Option(
                lambda x, eps: (x[-1].var(-1, correction=0, keepdim=True) + eps).sqrt(),
                "divided by the spread of the last write",
                "The norm sees the stream: the sum of all writes.",
            ),
            Option(
                lambda x, eps: (x.mean(0).var(-1, correction=0, keepdim=True) + eps).sqrt(),
                "divided by the spread of the mean write",
                "The stream is the sum of the writes.",
            ),
            Option(
                lambda x, eps: 1.0,
                "not divided by the spread of the stream",
                "That is the other half of the norm.",
            ),
            Option(
                lambda x, eps: (x.sum(0).var(-1, keepdim=True) + eps).sqrt(),
                "variance divided by D − 1, not D",
                "As in exercise 1: correction=0.",
            ),
            Option(
                lambda x, eps: x.sum(0).std(-1, correction=0, keepdim=True) + eps,
                "ε added to the standard deviation, not to the variance",
                "As in exercise 1: √(variance + ε).",
            ),
        ),
        (
            Option(lambda x, weight, readout: (x * weight) @ readout),
            Option(
                lambda x, weight, readout: x @ readout,
                "the norm's weight forgotten",
                "weight · normalised, then the readout's row.",
            ),
            Option(
                lambda x, weight, readout: ((x * weight) @ readout).sum(0),
                "summed over the writes",
                "Who wrote how much? Leave the parts apart.",
            ),
        ),
    ),
    passed="the logit taken apart: one part per write, and they add up",
)


def check_logit_parts(answer: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> None:
    """Check the taking apart of a logit and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(writes (N, T, D), weight (D,), readout (D,), eps) -> parts (N, T)``: the stream is the sum of the
        writes; its layer norm has `weight` and no bias; the logit is the product with `readout`.
    """
    draw = Draw()

    def inputs(*shape: int, dtype: torch.dtype = torch.float32, grad: bool = False) -> dict[str, object]:
        width = shape[-1]
        return {
            "writes": draw.normal(*shape, dtype=dtype, grad=grad),
            "weight": draw.uniform(0.5, 2.0, width, dtype=dtype, grad=grad),
            "readout": draw.normal(width, dtype=dtype, grad=grad),
            "eps": 0.5,
        }

    cases = (
        Case("for five writes", inputs(5, 3, 7), "Centre each write, divide by the spread of the sum, multiply."),
        Case("for one write", inputs(1, 2, 5), "Then the part is the whole logit."),
        Case("in float64", inputs(3, 2, 5, dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs(3, 2, 5, grad=True), _GRADIENT),
    )
    print(judge(answer, _LOGIT_PARTS, cases))
