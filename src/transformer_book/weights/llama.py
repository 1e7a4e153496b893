"""Read published weights of the Llama family, from GGUF files."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import gguf
import torch
from torch import Tensor

from transformer_book.gpt import GPT, GPTConfig
from transformer_book.weights._fill import Part, fill

_LAYER = {
    "attention.query": "attn_q",
    "attention.key": "attn_k",
    "attention.value": "attn_v",
    "attention.output": "attn_output",
    "attention_residual.norm": "attn_norm",
    "feed_forward.gate": "ffn_gate",
    "feed_forward.hidden": "ffn_up",
    "feed_forward.output": "ffn_down",
    "feed_forward_residual.norm": "ffn_norm",
}
# Number formats whose blocks `gguf` can turn back into floats.
_FORMATS = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")
_ROTARY_BASE, _NORM_EPS = 10000.0, 1e-5  # of a file that does not say


class _Reader(gguf.GGUFReader):
    def _build_tensors(self, start_offs: int, fields: list[Any]) -> None:
        """Name the tensor that the end of the file cuts off."""
        for field in fields:
            try:
                super()._build_tensors(start_offs, [field])
            except ValueError:
                raise ValueError(f"{field.name}: the file ends in it or before") from None
        super()._build_tensors(start_offs, fields)


def open_gguf(path: Path) -> gguf.GGUFReader:
    """Open a GGUF file.

    Raises
    ------
    ValueError
        It is no GGUF file, or is truncated; the message names the tensor, if it gets that far.
    OSError
        It cannot be read.
    """
    about = path.stat()
    if about.st_size == 0:
        raise ValueError(f"{path}: expected a GGUF file, got an empty one")
    try:
        return _open(path, about.st_size, about.st_mtime_ns)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"{path}: expected a GGUF file: {error}") from None


@lru_cache(maxsize=1)
def _open(path: Path, size: int, modified: int) -> gguf.GGUFReader:
    """Open a file, once as long as it stays the same: a large vocabulary takes seconds to read."""
    return _Reader(path)


def read_llama_config(path: Path, max_length: int | None = None) -> GPTConfig:
    """Read from a GGUF file what sizes its model has.

    Parameters
    ----------
    path
        A GGUF file with a model of the Llama family.
    max_length
        Most tokens; default: as many as the model was made for.

    Raises
    ------
    ValueError
        The file is no GGUF file, is truncated, has a model of another family, or does not say a size.
    OSError
        The file cannot be read.
    """
    reader = open_gguf(path)
    family = metadata(path, reader, "general.architecture")
    if family != "llama":
        raise ValueError(f"{path}: general.architecture: expected 'llama', got {family!r}")
    width, heads = (
        metadata(path, reader, f"llama.{name}") for name in ("embedding_length", "attention.head_count")
    )
    turned = metadata(path, reader, "llama.rope.dimension_count", width // heads)
    if turned != width // heads:
        raise ValueError(f"{path}: llama.rope.dimension_count: expected {width // heads}, got {turned}")
    return GPTConfig(
        vocab_size=len(metadata(path, reader, "tokenizer.ggml.tokens")),
        d_model=width,
        num_heads=heads,
        d_ff=metadata(path, reader, "llama.feed_forward_length"),
        num_layers=metadata(path, reader, "llama.block_count"),
        dropout=0.0,
        max_length=max_length or metadata(path, reader, "llama.context_length"),
        positions="rotary",
        rotary_base=metadata(path, reader, "llama.rope.freq_base", _ROTARY_BASE),
        num_groups=metadata(path, reader, "llama.attention.head_count_kv", heads),
        feed_forward="swiglu",
        norm="rms",
        norm_eps=metadata(path, reader, "llama.attention.layer_norm_rms_epsilon", _NORM_EPS),
    )


def load_llama(ours: GPT, path: Path) -> None:
    """Copy a model of the Llama family, out of a GGUF file, into a `GPT` of its configuration.

    Quantised weights are turned back into floats, one tensor at a time.

    Parameters
    ----------
    ours
        Made from `read_llama_config`. Unchanged when an error is raised.
    path
        A GGUF file. Rows of its query and key matrices stand so that rotation turns coordinates 2i and 2i + 1
        together, as `transformer_book.positions.rotate` does.

    Raises
    ------
    ValueError
        The file is no GGUF file, is truncated, or has a tensor missing, of another shape, in a format that cannot
        be read, or unknown (such as a readout that is not the embedding); the message names it.
    OSError
        The file cannot be read.
    """
    tensors = {tensor.name: tensor for tensor in open_gguf(path).tensors}
    for name, tensor in tensors.items():
        if tensor.tensor_type.name not in _FORMATS:
            raise ValueError(
                f"{path}: {name}: expected a format of {', '.join(_FORMATS)}, got {tensor.tensor_type.name}"
            )
    names = {"tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}
    for i in range(len(ours.layers)):
        names |= {f"layers.{i}.{our}.weight": f"blk.{i}.{their}.weight" for our, their in _LAYER.items()}
    parameters = dict(ours.named_parameters())  # the readout is the embedding, and named once
    if foreign := sorted(set(parameters) - set(names)):
        raise ValueError(f"ours: expected a model as read_llama_config describes, got one with {foreign[0]}")
    parts = {name: (parameter, Part(names[name])) for name, parameter in parameters.items()}
    shapes = {name: tuple(int(size) for size in reversed(tensor.shape)) for name, tensor in tensors.items()}

    def read(name: str) -> Tensor:
        tensor = tensors[name]
        floats = gguf.dequantize(tensor.data, tensor.tensor_type)
        return torch.from_numpy(floats.reshape(shapes[name]).astype("float32", copy=True))

    fill(path, parts, shapes, read)


def metadata(path: Path, reader: gguf.GGUFReader, name: str, default: Any = None) -> Any:
    """Read one entry of what a GGUF file says about itself.

    Raises
    ------
    ValueError
        There is no such entry and no default.
    """
    field = reader.get_field(name)
    if field is None and default is None:
        raise ValueError(f"{path}: {name}: expected an entry of that name, got none")
    return default if field is None else field.contents()
