"""Trained models at work in the page: their weights as text, and the same rounded weights for Python.

The page computes with weights rounded to float16, in float64; Python with the same rounded weights, in float32.
Both therefore show the same numbers, except for the rounding of sums. ``_network.js`` is the other half.
"""

import base64
import copy
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from transformer_book.decoding import greedy_decode
from transformer_book.seq2seq import Seq2Seq
from transformer_book.tasks.task import Task

ModelT = TypeVar("ModelT", bound=nn.Module)

CELLS, SCORES = ("gru",), ("none", "additive")


def rounded(model: Seq2Seq, task: Task) -> Seq2Seq:
    """Copy a model to the CPU with its weights rounded to float16; it goes on computing in float32.

    Raises
    ------
    ValueError
        The page cannot run such a model, its vocabularies are not the task's, or a weight is beyond float16.
    """
    config = model.config
    for name, value, choices in (("cell", config.cell, CELLS), ("score", config.score, SCORES)):
        if value not in choices:
            raise ValueError(f"model: expected {name} {' or '.join(map(repr, choices))}, got {value!r}")
    sizes = (len(task.source_vocabulary), len(task.target_vocabulary))
    if (config.source_vocab, config.target_vocab) != sizes:
        got = f"{config.source_vocab} and {config.target_vocab}"
        raise ValueError(f"model: expected vocabularies of {sizes[0]} and {sizes[1]}, got {got}")
    return round_weights(model)


def round_weights(model: ModelT) -> ModelT:
    """Copy a model to the CPU, in evaluation mode, its weights rounded to float16.

    Raises
    ------
    ValueError
        A weight is beyond float16.
    """
    twin = copy.deepcopy(model).cpu().float().eval()
    for name, weight in twin.state_dict().items():
        half = weight.half()
        if not half.isfinite().all():
            largest = float(weight.abs().max())
            raise ValueError(f"{name}: expected finite numbers up to 65504, got {largest:g}")
        weight.copy_(half)
    return twin


def pack(model: nn.Module, task: Task) -> dict[str, Any]:
    """Turn a model that `round_weights` has made into JSON values.

    Returns
    -------
    dict
        ``source_symbols`` and ``target_symbols``: what ids 3, 4, … stand for; ``tensors``: name, shape and place
        of the first number of each weight; ``data``: all weights one after the other, float16, little-endian, as
        base64.
    """
    tensors, parts, start = [], [], 0
    for name, weight in model.state_dict().items():
        tensors.append([name, list(weight.shape), start])
        parts.append(weight.half().numpy().astype("<f2").tobytes())
        start += weight.numel()
    return {
        "source_symbols": list(task.source_vocabulary.symbols),
        "target_symbols": list(task.target_vocabulary.symbols),
        "tensors": tensors,
        "data": base64.b64encode(b"".join(parts)).decode("ascii"),
    }


def run(model: Seq2Seq, task: Task, source: Sequence[str], max_length: int) -> tuple[list[str], Tensor]:
    """Let a model write the target of one source, greedily.

    Returns
    -------
    symbols : list of str
        At most `max_length`, without the end.
    ids : Tensor
        What was written, ``(1, T)``, the end included.
    """
    ids = greedy_decode(model, source_ids(task, source), max_length)  # (1, T)
    return task.target_vocabulary.decode(ids[0].tolist()), ids


def source_ids(task: Task, source: Sequence[str]) -> Tensor:
    """Turn one source into ids ``(1, S)``."""
    return torch.tensor([task.source_vocabulary.encode(source)])
