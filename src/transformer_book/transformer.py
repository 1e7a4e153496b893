"""The Transformer: encoder, decoder, and all between. Axis letters are those of `transformer_book.shapes`."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias, cast

from torch import Tensor, nn

from transformer_book.attention import MultiHeadAttention, causal_mask
from transformer_book.layers import (
    DecoderLayer,
    EncoderLayer,
    FeedForward,
    LayerCache,
    PostNorm,
    PreNorm,
    Residual,
)
from transformer_book.positions import POSITIONS, RotaryAttention
from transformer_book.shapes import check_dropout, check_heads, check_ids, check_widths

#: One per decoder layer.
Cache: TypeAlias = tuple[LayerCache, ...]


class Encoded(NamedTuple):
    """What the encoder hands over.

    states
        ``(B, S, D)``, one per source position; those at padding mean nothing.
    mask
        Boolean ``(B, 1, 1, S)``, True at real tokens.
    weights
        Self-attention of each layer, ``(B, H, S, S)``.
    """

    states: Tensor
    mask: Tensor
    weights: tuple[Tensor, ...]


class Decoded(NamedTuple):
    """What the decoder returns.

    logits
        ``(B, T, V)``.
    state
        Cache of keys and values of the P tokens before and the T tokens now; hand it back to go on.
    weights
        Self-attention of each layer, ``(B, H, T, P + T)``.
    cross_weights
        Attention of each layer to the source, ``(B, H, T, S)``.
    """

    logits: Tensor
    state: Cache
    weights: tuple[Tensor, ...]
    cross_weights: tuple[Tensor, ...]


class AttentionMaps(NamedTuple):
    """Where every head of every layer looks; one tensor per layer.

    encoder
        ``(B, H, S, S)``.
    decoder
        ``(B, H, T, T)``.
    cross
        ``(B, H, T, S)``.
    """

    encoder: tuple[Tensor, ...]
    decoder: tuple[Tensor, ...]
    cross: tuple[Tensor, ...]


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes and parts of a `Transformer`; the defaults are the base model of the paper, smaller.

    Parameters
    ----------
    source_vocab, target_vocab
        Numbers of ids, the special ones included.
    d_model
        Width D of the residual stream.
    num_heads
        Heads H of every attention.
    d_ff
        Hidden width F of the feed-forward layers.
    num_encoder_layers, num_decoder_layers
        Depth.
    dropout
        Share set to zero in training, of every sub-layer's output and of the embeddings, as in the paper (5.4).
        `torch.nn.Transformer` also drops attention weights and hidden units of the feed-forward layers.
    norm_first
        Normalise what a sub-layer reads (`PreNorm`) instead of what it leaves (`PostNorm`, as in the paper).
    max_length
        Most tokens of a source or target.
    positions
        ``"sinusoidal"`` (as in the paper), ``"learned"``, ``"rotary"`` or ``"none"``.
    shared_embeddings
        Source embedding, target embedding and readout are one matrix, as in the paper (3.4). Both sides must then
        have one vocabulary.
    pad_id, start_id, end_id
        Ids of padding, of the start and of the end of a target.

    Raises
    ------
    ValueError
        A value is out of range.
    """

    source_vocab: int
    target_vocab: int
    d_model: int = 128
    num_heads: int = 4
    d_ff: int = 512
    num_encoder_layers: int = 2
    num_decoder_layers: int = 2
    dropout: float = 0.1
    norm_first: bool = False
    max_length: int = 512
    positions: str = "sinusoidal"
    shared_embeddings: bool = False
    pad_id: int = 0
    start_id: int = 1
    end_id: int = 2

    def __post_init__(self) -> None:
        sizes = ("source_vocab", "target_vocab", "d_model", "num_heads", "d_ff", "max_length")
        depths = ("num_encoder_layers", "num_decoder_layers")
        check_widths(**{name: getattr(self, name) for name in (*sizes, *depths)})
        check_heads(self.d_model, self.num_heads)
        check_dropout(self.dropout)
        if self.positions not in POSITIONS:
            raise ValueError(f"positions: expected one of {', '.join(POSITIONS)}, got {self.positions!r}")
        if self.shared_embeddings and self.source_vocab != self.target_vocab:
            raise ValueError(
                "shared_embeddings: expected one vocabulary, got source_vocab "
                f"{self.source_vocab} and target_vocab {self.target_vocab}"
            )
        smallest = min(self.source_vocab, self.target_vocab)
        for name, vocabulary in (
            ("pad_id", smallest),
            ("start_id", self.target_vocab),
            ("end_id", self.target_vocab),
        ):
            if not 0 <= getattr(self, name) < vocabulary:
                raise ValueError(f"{name}: expected an id in 0 … {vocabulary - 1}, got {getattr(self, name)}")


class Embedding(nn.Module):
    """Turn ids into vectors that know their place: √D · embedding + position, then dropout.

    Parameters
    ----------
    vocabulary_size
        Number of ids V.
    config
        Has the width, the positions and the dropout.

    Notes
    -----
    Source: Vaswani et al. 2017, sections 3.4 and 5.4. Embeddings start from N(0, 1/D), so that times √D their
    coordinates have variance 1.
    """

    def __init__(self, vocabulary_size: int, config: TransformerConfig) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary_size, config.d_model)
        nn.init.normal_(self.tokens.weight, std=config.d_model**-0.5)
        self.positions = POSITIONS[config.positions](config.d_model, config.max_length)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, ids: Tensor, offset: int = 0) -> Tensor:
        """Map ``ids (B, T)``, of which the first stands at position `offset`, to ``(B, T, D)``.

        Raises
        ------
        TypeError, ValueError
            Ids are not integers or not in the vocabulary, or there are more than `max_length`.
        """
        check_ids("ids", ids, self.tokens.num_embeddings)
        vectors = self.tokens(ids) * math.sqrt(self.tokens.embedding_dim)  # (B, T, D)
        return self.dropout(self.positions(vectors, offset))


class Transformer(nn.Module):
    """An encoder that reads a source, and a decoder that writes a target, with nothing recurrent in either.

    Departures from Vaswani et al. 2017: a final layer norm ends each stack with either order of norms, as in
    `torch.nn.Transformer` (the paper has none); embeddings and the readout share their matrix only when asked to
    (3.4 always does), since source and target need not have one vocabulary; the readout has a bias; matrices start
    as Glorot & Bengio 2010 say.

    Parameters
    ----------
    config
        Its sizes and parts.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.pad_id, self.start_id, self.end_id = config.pad_id, config.start_id, config.end_id
        self.source_embedding = Embedding(config.source_vocab, config)
        self.target_embedding = Embedding(config.target_vocab, config)
        self.encoder_layers = nn.ModuleList(encoder_layer(config) for _ in range(config.num_encoder_layers))
        self.decoder_layers = nn.ModuleList(decoder_layer(config) for _ in range(config.num_decoder_layers))
        self.encoder_norm = nn.LayerNorm(config.d_model)
        self.decoder_norm = nn.LayerNorm(config.d_model)
        self.readout = nn.Linear(config.d_model, config.target_vocab)
        if config.shared_embeddings:
            self.source_embedding.tokens = self.target_embedding.tokens
            self.readout.weight = self.target_embedding.tokens.weight
        for weight in (*self.encoder_layers.parameters(), *self.decoder_layers.parameters()):
            if weight.ndim > 1:
                nn.init.xavier_uniform_(weight)

    def encode(self, source: Tensor) -> Encoded:
        """Read a source.

        Parameters
        ----------
        source
            Integer ids ``(B, S)``, with `pad_id` where there is no token.

        Raises
        ------
        TypeError, ValueError
            Ids are not integers or not in the vocabulary, a sequence has no token, or there are more than
            `max_length`.
        """
        stream = self.source_embedding(source)  # (B, S, D)
        mask = (source != self.pad_id)[:, None, None, :]  # (B, 1, 1, S)
        if not mask.any(dim=-1).all():
            raise ValueError("source: expected at least one token per row, got a row of padding")
        maps = []
        for layer in self.encoder_layers:
            stream, weights = layer(stream, mask)
            maps.append(weights)
        return Encoded(self.encoder_norm(stream), mask, tuple(maps))

    def decode(self, target: Tensor, memory: Encoded, state: Cache | None = None) -> Decoded:
        """Predict the token after each token of `target`.

        Parameters
        ----------
        target
            Integer ids ``(B, T)``: the tokens written so far (teacher forcing), or only those after `state`;
            padding stands to the right.
        memory
            From `encode`.
        state
            What an earlier call returned; the new tokens stand after the ones it has seen.

        Raises
        ------
        TypeError, ValueError
            Ids are not integers or not in the vocabulary, batch sizes differ, or there are more than `max_length`
            tokens in all.
        """
        if len(target) != len(memory.states):
            raise ValueError(f"target: expected {len(memory.states)} rows, as the source, got {len(target)}")
        if state is None:
            layers = cast(list[DecoderLayer], self.decoder_layers)
            state = tuple(layer.start(memory.states) for layer in layers)
        past, length = state[0].own[0].shape[-2], target.shape[1]
        stream = self.target_embedding(target, offset=past)  # (B, T, D)
        mask = causal_mask(past + length, target.device)[past:]  # (T, P + T)
        steps = []
        for layer, cache in zip(self.decoder_layers, state, strict=True):
            stream, *rest = layer(stream, cache, mask, memory.mask)
            steps.append(rest)
        caches, weights, cross_weights = (tuple(parts) for parts in zip(*steps, strict=True))
        return Decoded(self.readout(self.decoder_norm(stream)), caches, weights, cross_weights)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Return logits ``(B, T, V)`` for what follows each token of ``target (B, T)``, given ``source (B, S)``.

        Raises
        ------
        TypeError, ValueError
            As `encode` and `decode`.
        """
        return self.decode(target, self.encode(source)).logits

    def attention_maps(self, source: Tensor, target: Tensor) -> AttentionMaps:
        """Return where every head looks while ``source (B, S)`` and ``target (B, T)`` are read.

        Raises
        ------
        TypeError, ValueError
            As `forward`.
        """
        memory = self.encode(source)
        decoded = self.decode(target, memory)
        return AttentionMaps(memory.weights, decoded.weights, decoded.cross_weights)


def encoder_layer(config: TransformerConfig) -> EncoderLayer:
    """Make one layer of the encoder."""
    return EncoderLayer(
        self_attention(config),
        FeedForward(config.d_model, config.d_ff),
        residual_maker(config),
    )


def decoder_layer(config: TransformerConfig) -> DecoderLayer:
    """Make one layer of the decoder."""
    return DecoderLayer(
        self_attention(config),
        MultiHeadAttention(config.d_model, config.num_heads),
        FeedForward(config.d_model, config.d_ff),
        residual_maker(config),
    )


def self_attention(config: TransformerConfig) -> MultiHeadAttention:
    """Make the attention of a sequence to itself, which with rotary positions knows where tokens stand."""
    if config.positions == "rotary":
        return RotaryAttention(config.d_model, config.num_heads, config.max_length)
    return MultiHeadAttention(config.d_model, config.num_heads)


def residual_maker(config: TransformerConfig) -> Callable[[], Residual]:
    """Choose where the layer norms stand."""
    return partial(PreNorm if config.norm_first else PostNorm, config.d_model, config.dropout)
