"""Axis names, and the checks that hold a tensor to them.

Every docstring and shape comment in this package uses these letters, always with this meaning:

======  =====================================================================
letter  axis
======  =====================================================================
``B``   batch: independent sequences processed together
``T``   target length: number of query positions
``S``   source length: number of key (and value) positions
``H``   heads
``K``   width of one head
``D``   model width; in a function on single heads, the width of a query or key
``F``   hidden width of the feed-forward layer
``V``   vocabulary size
``I``   input width of a recurrent layer
======  =====================================================================

``...`` stands for any leading axes, none included. A mask is boolean and **True means "may attend"**, as in
`torch.nn.functional.scaled_dot_product_attention`; `torch.nn.MultiheadAttention` means the opposite.
"""

from typing import TypeAlias

import torch
from torch import Tensor

AXES: dict[str, str] = {
    "B": "batch",
    "T": "target (query) length",
    "S": "source (key) length",
    "H": "heads",
    "K": "width of one head",
    "D": "model width",
    "F": "hidden width of the feed-forward layer",
    "V": "vocabulary size",
    "I": "input width of a recurrent layer",
}

Shape: TypeAlias = tuple[int, ...]


def shape_text(tensor: Tensor) -> str:
    """Write a tensor's shape as ``(2, 3, 5)``, for error messages."""
    return str(tuple(tensor.shape))


def check_mask(mask: Tensor | None, scores_shape: Shape) -> None:
    """Check that a mask is boolean and broadcasts to the scores.

    Parameters
    ----------
    mask
        Boolean tensor, True = may attend, or None.
    scores_shape
        Shape of the scores the mask applies to, ``(..., T, S)``.

    Raises
    ------
    TypeError
        The mask is not a boolean tensor.
    ValueError
        The mask does not broadcast to `scores_shape`, or would enlarge it.
    """
    if mask is None:
        return
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"mask: expected a torch.bool tensor with True = may attend, got {got}")
    fits = mask.ndim <= len(scores_shape) and all(
        m in (1, s) for m, s in zip(reversed(mask.shape), reversed(scores_shape), strict=False)
    )
    if not fits:
        raise ValueError(
            f"mask: expected a shape that broadcasts to the scores {scores_shape}, got {shape_text(mask)}"
        )


def check_lengths(lengths: Tensor) -> None:
    """Check the lengths of a batch of sequences.

    Parameters
    ----------
    lengths
        Integer ``(B,)``.

    Raises
    ------
    TypeError
        `lengths` is not an integer tensor.
    ValueError
        `lengths` does not have shape ``(B,)`` with B ≥ 1.
    """
    integer = isinstance(lengths, Tensor) and not (
        lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool
    )
    if not integer:
        got = lengths.dtype if isinstance(lengths, Tensor) else type(lengths).__name__
        raise TypeError(f"lengths: expected an integer tensor, got {got}")
    if lengths.ndim != 1 or lengths.numel() == 0:
        raise ValueError(f"lengths: expected shape (B,) with B ≥ 1, got {shape_text(lengths)}")


def check_widths(**widths: int) -> None:
    """Check the widths a module is made with.

    Parameters
    ----------
    widths
        By name, each ≥ 1.

    Raises
    ------
    ValueError
        A width is below 1; the message names it.
    """
    for name, width in widths.items():
        if width < 1:
            raise ValueError(f"{name}: expected an integer ≥ 1, got {width}")


def check_heads(d_model: int, num_heads: int) -> None:
    """Check that the heads share the width evenly.

    Raises
    ------
    ValueError
        `num_heads` does not divide `d_model`.
    """
    if d_model % num_heads:
        raise ValueError(
            f"d_model: expected a multiple of num_heads, got d_model {d_model} and num_heads {num_heads}"
        )


def check_dropout(dropout: float) -> None:
    """Check a share of numbers to set to zero in training.

    Raises
    ------
    ValueError
        It is below 0, or 1 or more.
    """
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout: expected a share from 0 to below 1, got {dropout}")


def check_inputs(d_model: int, **inputs: Tensor) -> None:
    """Check the inputs of a layer.

    Parameters
    ----------
    d_model
        Width D expected.
    inputs
        By name, each ``(B, length, D)``.

    Raises
    ------
    ValueError
        A tensor has another width or other than three axes; the message names it.
    """
    for name, tensor in inputs.items():
        if tensor.ndim != 3 or tensor.shape[-1] != d_model:
            raise ValueError(f"{name}: expected shape (B, length, {d_model}), got {shape_text(tensor)}")


def check_ids(name: str, ids: Tensor, vocabulary_size: int) -> None:
    """Check a batch of token ids.

    Parameters
    ----------
    name
        What to call it in the error.
    ids
        Integer ``(B, T)``, B and T ≥ 1, each in 0 … `vocabulary_size` − 1.
    vocabulary_size
        Number of ids V.

    Raises
    ------
    TypeError
        `ids` is not an integer tensor.
    ValueError
        It does not have two axes, is empty, or holds an id outside the vocabulary.
    """
    if not isinstance(ids, Tensor) or ids.dtype not in (torch.int64, torch.int32):
        got = ids.dtype if isinstance(ids, Tensor) else type(ids).__name__
        raise TypeError(f"{name}: expected an int64 or int32 tensor of ids, got {got}")
    if ids.ndim != 2 or ids.numel() == 0:
        raise ValueError(f"{name}: expected shape (B, length) with B and length ≥ 1, got {shape_text(ids)}")
    low, high = (int(edge) for edge in ids.aminmax())
    if low < 0 or high >= vocabulary_size:
        raise ValueError(f"{name}: expected ids in 0 … {vocabulary_size - 1}, got {low} … {high}")


def check_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> None:
    """Check the arguments every attention function takes.

    Parameters
    ----------
    query
        Shape ``(..., T, D)``.
    key
        Shape ``(..., S, D)``.
    value
        Shape ``(..., S, Dv)``.
    mask
        Boolean, True = may attend, broadcastable to the scores of query and key ``(..., T, S)``, or None.

    Raises
    ------
    TypeError
        An argument is not a floating-point tensor, dtypes differ, or the mask is not boolean.
    ValueError
        Shapes or devices do not fit together; the message says what was expected and what came.
    """
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"{name}: expected a floating-point tensor, got {got}")
        if tensor.ndim < 2:
            raise ValueError(f"{name}: expected at least 2 axes (..., length, width), got {shape_text(tensor)}")
        if tensor.dtype != query.dtype:
            raise TypeError(f"{name}: expected the dtype of query, {query.dtype}, got {tensor.dtype}")
        if tensor.device != query.device:
            raise ValueError(f"{name}: expected the device of query, {query.device}, got {tensor.device}")
    if query.shape[-1] == 0 or key.shape[-1] != query.shape[-1]:
        raise ValueError(
            "query and key: expected the same width D ≥ 1 (last axis), "
            f"got query {shape_text(query)} and key {shape_text(key)}"
        )
    if key.shape[-2] != value.shape[-2]:
        raise ValueError(
            "key and value: expected the same length S (second-last axis), "
            f"got key {shape_text(key)} and value {shape_text(value)}"
        )
    try:
        leading = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2])
        torch.broadcast_shapes(leading, value.shape[:-2])
    except RuntimeError:
        raise ValueError(
            "query, key and value: expected leading axes that broadcast together, "
            f"got {shape_text(query)}, {shape_text(key)} and {shape_text(value)}"
        ) from None
    check_mask(mask, (*leading, query.shape[-2], key.shape[-2]))
