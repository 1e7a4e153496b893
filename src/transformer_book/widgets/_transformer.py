"""A trained Transformer at work in the page: its weights as text, and the same model for Python, whole or broken.

``_transformer.js`` is the other half. Both compute with weights rounded to float16.
"""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from transformer_book.attention import MultiHeadAttention
from transformer_book.layers import DecoderLayer
from transformer_book.positions import NoPositions, RotaryAttention
from transformer_book.tasks.task import Task
from transformer_book.transformer import AttentionMaps, Decoded, Encoded, Transformer
from transformer_book.widgets import _network as network

#: A page carries two bytes for each.
MOST_WEIGHTS = 300_000


class Broken(NamedTuple):
    """What is taken out of a model.

    mask
        The decoder looks at everything it is given, later characters included.
    scale
        Scores are not divided by √K.
    positions
        Nothing tells where a character stands.
    removed
        Heads that no longer write, as ``"cross-2-3"``: the kind, the layer and the head, counted from 1.
    """

    mask: bool = False
    scale: bool = False
    positions: bool = False
    removed: tuple[str, ...] = ()


class Unmasked(Transformer):
    """A Transformer whose decoder has no causal mask.

    What an earlier position holds then depends on all later ones, so no keys and values can be kept: what it hands
    on from step to step are the ids, and each step reads them all again.
    """

    def decode(self, target: Tensor, memory: Encoded, state: Any = None) -> Decoded:
        """Predict the token after each of ``target (B, T)``, as `Transformer.decode` does."""
        ids = target if state is None else torch.cat([state, target], dim=1)  # (B, P + T)
        stream, maps = self.target_embedding(ids), []  # (B, P + T, D)
        for layer in cast(list[DecoderLayer], self.decoder_layers):
            stream, _, *looks = layer(stream, layer.start(memory.states), None, memory.mask)
            maps.append(looks)
        own, cross = (tuple(part) for part in zip(*maps, strict=True))
        logits = self.readout(self.decoder_norm(stream[:, -target.shape[1] :]))  # (B, T, V)
        return Decoded(logits, cast(Any, ids), own, cross)


def check_model(model: object, task: Task, most_read: int) -> Transformer:
    """Return a model if the page can run it.

    Raises
    ------
    TypeError
        It is no `Transformer`.
    ValueError
        Its vocabularies are not the task's, it cannot read `most_read` characters or write the longest target, its
        special ids are others, or it has more than `MOST_WEIGHTS` weights.
    """
    if not isinstance(model, Transformer):
        raise TypeError(f"model: expected a Transformer, got {type(model).__name__}")
    config = model.config
    got = (config.source_vocab, config.target_vocab)
    sizes = (len(task.source_vocabulary), len(task.target_vocabulary))
    if got != sizes:
        raise ValueError(f"model: expected vocabularies of {sizes[0]} and {sizes[1]}, got {got[0]} and {got[1]}")
    if (config.pad_id, config.start_id, config.end_id) != (0, 1, 2):
        got = f"{config.pad_id}, {config.start_id}, {config.end_id}"
        raise ValueError(f"model: expected 0, 1, 2 for padding, start and end, got {got}")
    longest = max(most_read, task.max_target_length)
    if config.max_length < longest:
        raise ValueError(f"model: expected max_length ≥ {longest}, got {config.max_length}")
    weights = sum(weight.numel() for weight in model.parameters())
    if weights > MOST_WEIGHTS:
        raise ValueError(f"model: expected at most {MOST_WEIGHTS:,} weights, got {weights:,}")
    return model


def rounded(model: Transformer) -> Transformer:
    """Copy a model to the CPU with its weights rounded to float16; it goes on computing in float32."""
    twin = Transformer(model.config)
    twin.load_state_dict(model.state_dict())
    return network.round_weights(twin)


def pack(model: Transformer, task: Task) -> dict[str, Any]:
    """Turn a model that `rounded` has made into JSON values: as `_network.pack`, and the ``config`` beside it."""
    names = ("d_model", "num_heads", "num_encoder_layers", "num_decoder_layers", "norm_first", "positions")
    return {**network.pack(model, task), "config": {name: getattr(model.config, name) for name in names}}


def head_names(model: Transformer) -> list[str]:
    """Name all heads, as ``"cross-2-3"``: encoder, decoder, cross; layer by layer."""
    depths = (model.config.num_encoder_layers, model.config.num_decoder_layers, model.config.num_decoder_layers)
    heads = range(1, model.config.num_heads + 1)
    return [
        f"{kind}-{layer}-{head}"
        for kind, depth in zip(AttentionMaps._fields, depths, strict=True)
        for layer in range(1, depth + 1)
        for head in heads
    ]


@torch.no_grad()
def broken(model: Transformer, what: Broken) -> Transformer:
    """Copy a model and take something out of it."""
    config = model.config
    twin = Unmasked(config) if what.mask else Transformer(config)
    twin.load_state_dict(model.state_dict())
    width = config.d_model // config.num_heads
    for part in list(twin.modules()):
        if what.scale and isinstance(part, MultiHeadAttention):  # √K times the queries: dividing takes it away
            part.query.weight.mul_(width**0.5)
            part.query.bias.mul_(width**0.5)
        if what.positions and isinstance(part, RotaryAttention):
            part.table = torch.tensor([0.0, 1.0]).repeat(len(part.table), width // 2)  # sine 0, cosine 1: no turn
    if what.positions:
        for embedding in (twin.source_embedding, twin.target_embedding):
            embedding.positions = NoPositions(config.d_model, config.max_length)
    for name in what.removed:
        kind, layer, head = name.split("-")
        layers = twin.encoder_layers if kind == "encoder" else twin.decoder_layers
        attention = getattr(layers[int(layer) - 1], "cross_attention" if kind == "cross" else "attention")
        attention.output.weight[:, (int(head) - 1) * width : int(head) * width] = 0.0
    return twin.eval()
