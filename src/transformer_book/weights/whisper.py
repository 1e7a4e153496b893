"""Read published weights of Whisper, from CTranslate2's format."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transformer_book.weights._fill import Part, fill
from transformer_book.whisper import Whisper, WhisperConfig

VERSION, SPEC = 6, "WhisperSpec"
DTYPES = ("<f4", "<i1", "<i2", "<i4", "<f2")  # by their numbers in the file

# Part of a layer of ours → theirs, and which of the matrices that are stored as one.
_SELF_ATTENTION = {
    "attention.query": Part("self_attention/linear_0", 0, 3),
    "attention.key": Part("self_attention/linear_0", 1, 3),
    "attention.value": Part("self_attention/linear_0", 2, 3),
    "attention.output": Part("self_attention/linear_1"),
    "attention_residual.norm": Part("self_attention/layer_norm"),
}
_CROSS_ATTENTION = {
    "cross_attention.query": Part("attention/linear_0"),
    "cross_attention.key": Part("attention/linear_1", 0, 2),
    "cross_attention.value": Part("attention/linear_1", 1, 2),
    "cross_attention.output": Part("attention/linear_2"),
    "cross_residual.norm": Part("attention/layer_norm"),
}
_FEED_FORWARD = {
    "feed_forward.hidden": Part("ffn/linear_0"),
    "feed_forward.output": Part("ffn/linear_1"),
    "feed_forward_residual.norm": Part("ffn/layer_norm"),
}
_OUTSIDE = {
    "sound.bands.weight": "encoder/conv1/weight",
    "sound.bands.bias": "encoder/conv1/bias",
    "sound.halve.weight": "encoder/conv2/weight",
    "sound.halve.bias": "encoder/conv2/bias",
    "sound.positions.table": "encoder/position_encodings/encodings",
    "encoder_norm.weight": "encoder/layer_norm/gamma",
    "encoder_norm.bias": "encoder/layer_norm/beta",
    "tokens.weight": "decoder/embeddings/weight",
    "positions.table": "decoder/position_encodings/encodings",
    "decoder_norm.weight": "decoder/layer_norm/gamma",
    "decoder_norm.bias": "decoder/layer_norm/beta",
}


class Variable(NamedTuple):
    """One variable of a CTranslate2 file: numpy's name of its type, its shape, its bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def array(self) -> NDArray[np.generic]:
        """Return it as an array."""
        return np.frombuffer(self.data, self.dtype).reshape(self.shape)


class _Bytes:
    """Read little-endian numbers and names one after another."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.place = path, path.read_bytes(), 0

    def take(self, count: int, what: str) -> bytes:
        found = self.data[self.place : self.place + count]
        if len(found) < count:
            raise ValueError(f"{self.path}: {what}: expected {count} bytes, got {len(found)}: the file ends in it")
        self.place += count
        return found

    def number(self, count: int, what: str) -> int:
        return int.from_bytes(self.take(count, what), "little")

    def text(self, what: str) -> str:
        return self.take(self.number(2, what), what).rstrip(b"\0").decode("utf-8", errors="replace")


def read_variables(path: Path) -> dict[str, Variable]:
    """Read every variable of a CTranslate2 file with a Whisper, by name.

    Raises
    ------
    ValueError
        The file is no such file, or is truncated; the message names the variable.
    OSError
        The file cannot be read.
    """
    file = _Bytes(path)
    version, spec = file.number(4, "version"), file.text("name of the model")
    if (version, spec) != (VERSION, SPEC):
        raise ValueError(
            f"{path}: expected a CTranslate2 file, version {VERSION}, of a {SPEC}, got version {version}, {spec!r}"
        )
    file.number(4, "revision")
    return dict(_variables(file, file.number(4, "number of variables")))


def _variables(file: _Bytes, count: int) -> Iterator[tuple[str, Variable]]:
    last = "the first variable"
    for _ in range(count):
        name = last = file.text(f"what follows {last}")
        shape = tuple(file.number(4, name) for _ in range(file.number(1, name)))
        kind, size = file.number(1, name), file.number(4, name)
        if kind >= len(DTYPES):
            raise ValueError(f"{file.path}: {name}: expected a type in 0 … {len(DTYPES) - 1}, got {kind}")
        expected = int(np.prod(shape, dtype=object)) * np.dtype(DTYPES[kind]).itemsize
        if size != expected:
            raise ValueError(f"{file.path}: {name}: expected {expected} bytes for shape {shape}, got {size}")
        yield name, Variable(DTYPES[kind], shape, file.take(size, name))


def read_whisper_config(path: Path) -> WhisperConfig:
    """Read from a CTranslate2 file what sizes its Whisper has.

    Raises
    ------
    ValueError
        The file is no such file, is truncated, or does not say a size; the message names what is missing.
    OSError
        The file cannot be read.
    """
    variables = read_variables(path)

    def shape(name: str, axes: int) -> tuple[int, ...]:
        found = variables[name].shape if name in variables else "none"
        if len(found) != axes or isinstance(found, str):
            raise ValueError(f"{path}: {name}: expected a tensor of {axes} axes, got {found}")
        return found

    shape("encoder/num_heads", 0)
    depths = [
        sum(name.startswith(f"{side}/layer_") and name.endswith("ffn/linear_0/bias") for name in variables)
        for side in ("encoder", "decoder")
    ]
    vocab_size, width = shape("decoder/embeddings/weight", 2)
    return WhisperConfig(
        vocab_size=vocab_size,
        num_bands=shape("encoder/conv1/weight", 3)[1],
        d_model=width,
        num_heads=int(variables["encoder/num_heads"].array()),
        d_ff=shape("encoder/layer_0/ffn/linear_0/weight", 2)[0],
        num_encoder_layers=depths[0],
        num_decoder_layers=depths[1],
        max_source_length=shape("encoder/position_encodings/encodings", 2)[0],
        max_length=shape("decoder/position_encodings/encodings", 2)[0],
    )


def load_whisper(ours: Whisper, path: Path) -> None:
    """Copy a Whisper, out of a CTranslate2 file, into ours.

    Parameters
    ----------
    ours
        Made from `read_whisper_config`. Unchanged when an error is raised.
    path
        A file ``model.bin`` of version 6, of floats, not quantised to integers.

    Raises
    ------
    ValueError
        The file is no such file, is truncated, or has a tensor missing, of another shape, of integers, or unknown;
        the message names it.
    OSError
        The file cannot be read.
    """
    variables = {name: found for name, found in read_variables(path).items() if found.shape}  # no settings
    for name, found in variables.items():
        if "f" not in found.dtype:
            raise ValueError(f"{path}: {name}: expected floats, got {found.dtype}")
    tensors = dict(ours.named_parameters()) | {"sound.positions.table": ours.sound.positions.table}
    parts = {name: (tensors.pop(name), Part(theirs)) for name, theirs in _OUTSIDE.items()}
    for name, tensor in tensors.items():
        side, number, module = name.split(".", 2)
        module, kind = module.rsplit(".", 1)
        part = (_SELF_ATTENTION | _CROSS_ATTENTION | _FEED_FORWARD)[module]
        if module.endswith("norm"):
            kind = {"weight": "gamma", "bias": "beta"}[kind]
        theirs = f"{side.removesuffix('_layers')}/layer_{number}/{part.name}/{kind}"
        parts[name] = (tensor, part._replace(name=theirs))

    def read(name: str) -> Tensor:
        return torch.from_numpy(variables[name].array().astype(np.float32))

    fill(path, parts, {name: found.shape for name, found in variables.items()}, read)
