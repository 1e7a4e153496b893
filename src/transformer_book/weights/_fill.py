"""What the loaders of published checkpoints share: everything is checked before the first weight is written."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from transformer_book.shapes import Shape


class Part(NamedTuple):
    """A tensor of a checkpoint, or one of `of` equal parts of it along its first axis."""

    name: str
    number: int = 0
    of: int = 1


def numbered(ours: str, theirs: str, layers: nn.Module) -> dict[str, str]:
    """Map ``OURS.i.`` to ``THEIRSi`` for each layer."""
    return {f"{ours}.{i}.": theirs.format(i) for i, _ in enumerate(layers.children())}


@torch.no_grad()
def fill(
    path: Path,
    parts: Mapping[str, tuple[Tensor, Part]],
    shapes: Mapping[str, Shape],
    read: Callable[[str], Tensor],
    spare: Collection[str] = (),
) -> None:
    """Write a checkpoint into parameters.

    Parameters
    ----------
    path
        The checkpoint, for error messages.
    parts
        Name of each parameter → it, and what is to be written into it.
    shapes
        Shape of every tensor of the checkpoint.
    read
        Reads a tensor; it is called for each once, in the order of `parts`.
    spare
        Names in the checkpoint that are not needed.

    Raises
    ------
    ValueError
        A tensor is missing, has another shape, or is not known; the message names it, and nothing is written.
    """
    for parameter, part in parts.values():
        rows, *rest = parameter.shape
        expected = (rows * part.of, *rest)
        if part.name not in shapes:
            raise ValueError(f"{path}: {part.name}: expected a tensor {expected}, got none")
        if shapes[part.name] != expected:
            raise ValueError(f"{path}: {part.name}: expected a tensor {expected}, got {shapes[part.name]}")
    known = {part.name for _, part in parts.values()} | set(spare)
    if unknown := sorted(set(shapes) - known):
        raise ValueError(f"{path}: {unknown[0]}: expected no such tensor, got one {shapes[unknown[0]]}")
    name, tensor = "", torch.empty(0)
    for parameter, part in parts.values():
        if part.name != name:  # the parts of a tensor follow each other
            name, tensor = part.name, read(part.name)
        parameter.copy_(tensor.chunk(part.of)[part.number])
