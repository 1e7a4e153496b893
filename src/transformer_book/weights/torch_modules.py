"""Copy weights from torch.nn modules into the modules of this package."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_book.attention import MultiHeadAttention
from transformer_book.layers import DecoderLayer, EncoderLayer, PreNorm
from transformer_book.recurrent import GRU, LSTM, Recurrent, SimpleRNN
from transformer_book.shapes import shape_text
from transformer_book.transformer import Transformer

#: What is to be written, and with what; None stands for zeros, where `theirs` has no bias.
_Plan: TypeAlias = list[tuple[Tensor, Tensor | None]]


@torch.no_grad()
def load_torch(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy the weights of a torch.nn module into the module of this package that computes the same.

    Everything is checked before the first weight is written: `ours` is unchanged when an error is raised.

    Parameters
    ----------
    ours
        A module of this package: `MultiHeadAttention`, `SimpleRNN`, `GRU`, `LSTM`, `EncoderLayer`, `DecoderLayer`
        or `Transformer`. Of a `Transformer` the two stacks are copied, their final norms included; embeddings and
        readout, which `torch.nn.Transformer` has not, keep their weights.
    theirs
        Its counterpart: `torch.nn.MultiheadAttention` with or without bias, with or without separate key and
        value widths equal to the model width; `torch.nn.RNN` with tanh, `torch.nn.GRU` or `torch.nn.LSTM` of one
        layer in one direction, with or without bias; `torch.nn.TransformerEncoderLayer`,
        `torch.nn.TransformerDecoderLayer` or `torch.nn.Transformer` with relu, with or without bias, either order
        of norms. batch_first may be True or False: the weights are the same. Dropout rates are not copied.

    Raises
    ------
    TypeError
        There is no way to copy between these two classes.
    ValueError
        Sizes, depths or the order of norms differ, or `theirs` has parts that `ours` has not (bias_kv, zero
        attention; more layers, a second direction, a projection, another nonlinearity or ε of the layer norm).
    """
    for parameter, weight in _plan(ours, theirs):
        parameter.zero_() if weight is None else parameter.copy_(weight)


def _plan(ours: nn.Module, theirs: nn.Module) -> _Plan:
    for classes, plan in _PLANS.items():
        if isinstance(ours, classes[0]) and isinstance(theirs, classes[1]):
            return plan(ours, theirs)
    names = ", ".join(
        ours_class.__name__ for ours_class, _ in _PLANS if ours_class not in (nn.Linear, nn.LayerNorm)
    )
    raise TypeError(
        f"ours and theirs: expected one of {names} and its torch.nn counterpart, "
        f"got {type(ours).__name__} and {type(theirs).__name__}"
    )


def _plan_multi_head(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> _Plan:
    if theirs.num_heads != ours.num_heads:
        raise ValueError(f"num_heads: expected {ours.num_heads}, got {theirs.num_heads}")
    if theirs.bias_k is not None or theirs.bias_v is not None or theirs.add_zero_attn:
        raise ValueError("theirs: expected add_bias_kv=False and add_zero_attn=False, got one of them True")
    if theirs.in_proj_weight is not None:
        weights = list(theirs.in_proj_weight.chunk(3))
    else:
        parts = (theirs.q_proj_weight, theirs.k_proj_weight, theirs.v_proj_weight)
        weights = [part for part in parts if part is not None]
    biases: list[Tensor | None] = [None] * 3 if theirs.in_proj_bias is None else list(theirs.in_proj_bias.chunk(3))
    linears = (ours.query, ours.key, ours.value, ours.output)
    sources = zip([*weights, theirs.out_proj.weight], [*biases, theirs.out_proj.bias], strict=True)
    return [pair for linear, source in zip(linears, sources, strict=True) for pair in _pairs(linear, *source)]


def _plan_leaf(ours: nn.Linear | nn.LayerNorm, theirs: nn.Linear | nn.LayerNorm) -> _Plan:
    ours_eps, theirs_eps = (getattr(module, "eps", None) for module in (ours, theirs))
    if ours_eps != theirs_eps:
        raise ValueError(f"layer_norm_eps: expected {ours_eps}, got {theirs_eps}")
    return _pairs(ours, theirs.weight, theirs.bias)


def _pairs(ours: nn.Linear | nn.LayerNorm, weight: Tensor, bias: Tensor | None) -> _Plan:
    if weight.shape != ours.weight.shape:
        raise ValueError(f"weight: expected shape {shape_text(ours.weight)}, got {shape_text(weight)}")
    return [(ours.weight, weight), (ours.bias, bias)]


def _plan_recurrent(ours: Recurrent, theirs: nn.RNNBase) -> _Plan:
    parts = {
        "num_layers": (theirs.num_layers, 1),
        "bidirectional": (theirs.bidirectional, False),
        "proj_size": (theirs.proj_size, 0),
        "nonlinearity": (getattr(theirs, "nonlinearity", "tanh"), "tanh"),
        "input_size": (theirs.input_size, ours.d_input),
        "hidden_size": (theirs.hidden_size, ours.d_hidden),
    }
    for name, (got, expected) in parts.items():
        if got != expected:
            raise ValueError(f"{name}: expected {expected!r}, got {got!r}")
    weights = dict(theirs.named_parameters())
    return [(parameter, weights.get(name)) for name, parameter in ours.named_parameters()]


# Ours → theirs, for the parts of a layer.
_ENCODER_PARTS = {
    "attention": "self_attn",
    "attention_residual.norm": "norm1",
    "feed_forward.hidden": "linear1",
    "feed_forward.output": "linear2",
    "feed_forward_residual.norm": "norm2",
}
_DECODER_PARTS = {
    **_ENCODER_PARTS,
    "cross_attention": "multihead_attn",
    "cross_residual.norm": "norm2",
    "feed_forward_residual.norm": "norm3",
}


def _plan_layer(
    ours: EncoderLayer | DecoderLayer, theirs: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer
) -> _Plan:
    if theirs.activation not in (F.relu, torch.relu) and not isinstance(theirs.activation, nn.ReLU):
        raise ValueError(f"activation: expected relu, got {theirs.activation}")
    norm_first = isinstance(ours.attention_residual, PreNorm)
    if theirs.norm_first != norm_first:
        raise ValueError(f"norm_first: expected {norm_first}, got {theirs.norm_first}")
    parts = _DECODER_PARTS if isinstance(ours, DecoderLayer) else _ENCODER_PARTS
    return _plan_parts(ours, theirs, parts)


def _plan_transformer(ours: Transformer, theirs: nn.Transformer) -> _Plan:
    parts: dict[str, str] = {}
    for side in ("encoder", "decoder"):
        layers = cast(nn.ModuleList, ours.get_submodule(f"{side}_layers"))
        stack = cast(nn.TransformerEncoder | nn.TransformerDecoder, theirs.get_submodule(side))
        if len(layers) != len(stack.layers):
            raise ValueError(f"num_{side}_layers: expected {len(layers)}, got {len(stack.layers)}")
        if stack.norm is None:
            raise ValueError(f"{side}: expected a final layer norm, got none")
        parts |= {f"{side}_layers.{i}": f"{side}.layers.{i}" for i in range(len(layers))}
        parts[f"{side}_norm"] = f"{side}.norm"
    return _plan_parts(ours, theirs, parts)


def _plan_parts(ours: nn.Module, theirs: nn.Module, parts: Mapping[str, str]) -> _Plan:
    return [
        pair
        for our_name, their_name in parts.items()
        for pair in _plan(ours.get_submodule(our_name), theirs.get_submodule(their_name))
    ]


_PLANS: dict[tuple[type[nn.Module], type[nn.Module]], Callable[[Any, Any], _Plan]] = {
    (MultiHeadAttention, nn.MultiheadAttention): _plan_multi_head,
    (SimpleRNN, nn.RNN): _plan_recurrent,
    (GRU, nn.GRU): _plan_recurrent,
    (LSTM, nn.LSTM): _plan_recurrent,
    (EncoderLayer, nn.TransformerEncoderLayer): _plan_layer,
    (DecoderLayer, nn.TransformerDecoderLayer): _plan_layer,
    (Transformer, nn.Transformer): _plan_transformer,
    (nn.Linear, nn.Linear): _plan_leaf,
    (nn.LayerNorm, nn.LayerNorm): _plan_leaf,
}
