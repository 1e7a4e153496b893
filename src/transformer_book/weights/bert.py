"""Read published weights of the BERT family."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from transformer_book.bert import Bert
from transformer_book.weights._fill import Part, fill

_EMBEDDING = {
    "embedding.tokens.weight": "embeddings.word_embeddings.weight",
    "embedding.positions.table": "embeddings.position_embeddings.weight",
    "embedding.segments.weight": "embeddings.token_type_embeddings.weight",
    "embedding.norm.weight": "embeddings.LayerNorm.weight",
    "embedding.norm.bias": "embeddings.LayerNorm.bias",
}
_LAYER = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.output": "attention.output.dense",
    "attention_residual.norm": "attention.output.LayerNorm",
    "feed_forward.hidden": "intermediate.dense",
    "feed_forward.output": "output.dense",
    "feed_forward_residual.norm": "output.LayerNorm",
}
# Not part of the encoder: positions 0, 1, 2 … as a tensor, and what classifies sentences.
_SPARE = ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias")


def load_bert(ours: Bert, path: Path) -> None:
    """Copy a checkpoint of the BERT family, with the names that Hugging Face gives its tensors, into a `Bert`.

    Parameters
    ----------
    ours
        Of the checkpoint's sizes. Unchanged when an error is raised.
    path
        A safetensors file. The pooler is not read.

    Raises
    ------
    ValueError
        The file is no safetensors file, is truncated, or has a tensor missing, of another shape or unknown; the
        message names it.
    OSError
        The file cannot be read.
    """
    names = dict(_EMBEDDING)
    for i in range(len(ours.layers)):
        for our_part, their_part in _LAYER.items():
            for kind in ("weight", "bias"):
                names[f"layers.{i}.{our_part}.{kind}"] = f"encoder.layer.{i}.{their_part}.{kind}"
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            parts = {name: (parameter, Part(names[name])) for name, parameter in ours.named_parameters()}
            fill(path, parts, shapes, file.get_tensor, _SPARE)
    except SafetensorError as error:
        raise ValueError(f"{path}: {_cut_off(path)}expected a safetensors file: {error}") from None


def _cut_off(path: Path) -> str:
    """Name the first tensor that the end of the file cuts off, or return nothing."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8:start])
        ends = {name: about["data_offsets"][1] for name, about in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    cut = [name for end, name in sorted((end, name) for name, end in ends.items()) if start + end > len(data)]
    return f"{cut[0]}: the file ends in it or before; " if cut else ""
