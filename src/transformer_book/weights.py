"""Copy weights from torch.nn modules into the modules of this package."""

import torch
from torch import Tensor, nn

from transformer_book.attention import MultiHeadAttention
from transformer_book.shapes import shape_text


@torch.no_grad()
def load_torch(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy the weights of a torch.nn module into the module of this package that computes the same.

    Everything is checked before the first weight is written: `ours` is unchanged when an error is raised.

    Parameters
    ----------
    ours
        A module of this package. Supported: `MultiHeadAttention`.
    theirs
        Its counterpart: `torch.nn.MultiheadAttention` with batch_first=True or False (the weights are the
        same), with or without bias, with or without separate key and value widths equal to the model width.

    Raises
    ------
    TypeError
        There is no way to copy between these two classes.
    ValueError
        Sizes differ, or `theirs` has parts that `ours` has not (bias_kv, zero attention).
    """
    if not (isinstance(ours, MultiHeadAttention) and isinstance(theirs, nn.MultiheadAttention)):
        raise TypeError(
            "ours and theirs: expected MultiHeadAttention and torch.nn.MultiheadAttention, "
            f"got {type(ours).__name__} and {type(theirs).__name__}"
        )
    _load_multi_head(ours, theirs)


def _load_multi_head(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
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
    sources = zip([*weights, theirs.out_proj.weight], [*biases, theirs.out_proj.bias], strict=True)
    pairs = list(zip((ours.query, ours.key, ours.value, ours.output), sources, strict=True))
    for linear, (weight, _) in pairs:
        if weight.shape != linear.weight.shape:
            raise ValueError(f"weight: expected shape {shape_text(linear.weight)}, got {shape_text(weight)}")
    for linear, (weight, bias) in pairs:
        linear.weight.copy_(weight)
        linear.bias.zero_() if bias is None else linear.bias.copy_(bias)
