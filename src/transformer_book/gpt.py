"""GPT: the decoder alone, which writes on. Axis letters are those of `transformer_book.shapes`.

With other parts, named in its `GPTConfig`, the same model is a small GPT-2 or a Llama.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias, cast

import torch
from torch import Tensor, nn

from transformer_book.attention import MultiHeadAttention, causal_mask
from transformer_book.layers import FEED_FORWARDS, EncoderLayer, KeysValues, PreNorm
from transformer_book.positions import POSITIONS, GroupedQueryAttention, RotaryAttention
from transformer_book.shapes import check_dropout, check_heads, check_ids, check_widths

#: Keys and values of the tokens so far, one pair per layer.
Cache: TypeAlias = tuple[KeysValues, ...]

#: Name → norm, made with the width and ``eps``.
NORMS: dict[str, Callable[..., nn.Module]] = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}


class Written(NamedTuple):
    """What a `GPT` returns.

    logits
        For the token after each token given, ``(B, T, V)``.
    state
        Cache of keys and values of the P tokens before and the T tokens now; hand it back to go on.
    weights
        Attention of each layer, ``(B, H, T, P + T)``.
    """

    logits: Tensor
    state: Cache
    weights: tuple[Tensor, ...]


@dataclass(frozen=True)
class GPTConfig:
    """Sizes and parts of a `GPT`; the defaults are GPT-2, smaller.

    Parameters
    ----------
    vocab_size
        Number of ids V.
    d_model
        Width D of the residual stream.
    num_heads
        Heads H of queries.
    d_ff
        Hidden width F of the feed-forward layers.
    num_layers
        Depth.
    dropout
        Share set to zero in training, of the embeddings and of every sub-layer's output. GPT-2 drops attention
        weights too; this does not.
    max_length
        Most tokens in all.
    positions
        ``"learned"`` (as GPT-2), ``"sinusoidal"``, ``"rotary"`` (as Llama) or ``"none"``.
    rotary_base
        As `transformer_book.positions.RotaryAttention` takes it.
    num_groups
        With rotary positions: heads of keys and values, a divisor of `num_heads`; attention is then a
        `transformer_book.positions.GroupedQueryAttention`, without biases. None: as many as `num_heads`, with
        biases.
    feed_forward
        ``"gelu"`` (as GPT-2, exact), ``"relu"`` or ``"swiglu"`` (as Llama).
    norm
        ``"layer"`` (as GPT-2) or ``"rms"`` (as Llama).
    norm_eps
        Added to the variance, or to the mean square, in every norm.

    Raises
    ------
    ValueError
        A value is out of range.
    """

    vocab_size: int
    d_model: int = 128
    num_heads: int = 4
    d_ff: int = 512
    num_layers: int = 2
    dropout: float = 0.1
    max_length: int = 256
    positions: str = "learned"
    rotary_base: float = 10000.0
    num_groups: int | None = None
    feed_forward: str = "gelu"
    norm: str = "layer"
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "d_model", "num_heads", "d_ff", "num_layers", "max_length")
        check_widths(**{name: getattr(self, name) for name in sizes})
        check_heads(self.d_model, self.num_heads)
        check_dropout(self.dropout)
        for name, known in (("positions", POSITIONS), ("feed_forward", FEED_FORWARDS), ("norm", NORMS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.num_groups is not None and self.positions != "rotary":
            raise ValueError(f"num_groups: expected None unless positions are rotary, got {self.num_groups}")


class GPTLayer(EncoderLayer):
    """An `EncoderLayer` that keeps keys and values: a decoder layer without a source to look at.

    Notes
    -----
    Source: Radford et al. 2018, section 3.1; pre-norm as Radford et al. 2019, section 2.3.
    """

    def start(self, stream: Tensor) -> KeysValues:
        """Return the cache before the first token, empty, for a ``stream (B, T, D)`` to come."""
        return self.attention.project(stream[:, :0], stream[:, :0])

    def step(
        self, stream: Tensor, cache: KeysValues, mask: Tensor | None = None
    ) -> tuple[Tensor, KeysValues, Tensor]:
        """Return the stream after this layer, the cache with the new tokens, and the attention weights.

        Parameters
        ----------
        stream
            Of the new tokens, ``(B, T, D)``.
        cache
            From `start`, or from the call for the P tokens before these.
        mask
            Boolean, True = may attend, broadcastable to ``(B, H, T, P + T)``.

        Returns
        -------
        stream : Tensor
            Shape ``(B, T, D)``.
        cache : KeysValues
            Of P + T tokens; the one given is left as it is.
        weights : Tensor
            Shape ``(B, H, T, P + T)``.
        """
        seen = self.attention_residual.enter(stream)
        new = self.attention.project(seen, seen)  # (B, G, T, K) each
        k, v = (torch.cat(parts, dim=-2) for parts in zip(cache, new, strict=True))  # (B, G, P + T, K)
        output, weights = self.attention.attend(seen, k, v, mask)
        stream = self.attention_residual.leave(stream, output)
        output = self.feed_forward(self.feed_forward_residual.enter(stream))
        return self.feed_forward_residual.leave(stream, output), (k, v), weights


class GPT(nn.Module):
    """A decoder by itself: every token looks at those before it, and the next one is predicted.

    Parameters
    ----------
    config
        Its sizes and parts.

    Notes
    -----
    Source: Radford et al. 2019, section 2.3; with the parts of Touvron et al. 2023, section 2.2, it is a Llama.
    The readout is the transposed embedding, without a bias. `transformer_book.weights.load_llama` makes one of
    published weights.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        nn.init.normal_(self.tokens.weight, std=config.d_model**-0.5)
        self.positions = POSITIONS[config.positions](config.d_model, config.max_length)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(gpt_layer(config) for _ in range(config.num_layers))
        self.norm = NORMS[config.norm](config.d_model, eps=config.norm_eps)
        self.readout = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.readout.weight = self.tokens.weight
        for weight in self.layers.parameters():
            if weight.ndim > 1:
                nn.init.xavier_uniform_(weight)

    def decode(self, ids: Tensor, state: Cache | None = None) -> Written:
        """Predict the token after each of `ids`.

        Parameters
        ----------
        ids
            Integer ``(B, T)``: a text, or only what stands after `state`. Padding, if any, to the right.
        state
            What an earlier call returned; the new tokens stand after the ones it has seen.

        Raises
        ------
        TypeError, ValueError
            Ids are not integers or not in the vocabulary, or there are more than `max_length` in all.
        """
        check_ids("ids", ids, self.config.vocab_size)
        stream, layers = self.tokens(ids), cast(list[GPTLayer], self.layers)  # (B, T, D)
        state = tuple(layer.start(stream) for layer in layers) if state is None else state
        past, length = state[0][0].shape[-2], ids.shape[1]
        stream = self.dropout(self.positions(stream, offset=past))
        mask = causal_mask(past + length, ids.device)[past:]  # (T, P + T)
        caches, maps = [], []
        for layer, cache in zip(layers, state, strict=True):
            stream, cache, weights = layer.step(stream, cache, mask)
            caches.append(cache)
            maps.append(weights)
        return Written(self.readout(self.norm(stream)), tuple(caches), tuple(maps))

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits ``(B, T, V)`` for what follows each token of ``ids (B, T)``.

        Raises
        ------
        TypeError, ValueError
            As `decode`.
        """
        return self.decode(ids).logits

    def attention_maps(self, ids: Tensor) -> tuple[Tensor, ...]:
        """Return where every head looks while ``ids (B, T)`` are read: ``(B, H, T, T)`` per layer.

        Raises
        ------
        TypeError, ValueError
            As `decode`.
        """
        return self.decode(ids).weights


def gpt_layer(config: GPTConfig) -> GPTLayer:
    """Make one layer from the parts that the configuration names."""
    norm = partial(NORMS[config.norm], eps=config.norm_eps)
    return GPTLayer(
        self_attention(config),
        FEED_FORWARDS[config.feed_forward](config.d_model, config.d_ff),
        partial(PreNorm, config.d_model, config.dropout, norm),
    )


def self_attention(config: GPTConfig) -> MultiHeadAttention:
    """Make the attention that goes with the positions and the number of heads of keys and values."""
    sizes = (config.d_model, config.num_heads)
    if config.positions != "rotary":
        return MultiHeadAttention(*sizes)
    if config.num_groups is None:
        return RotaryAttention(*sizes, config.max_length, config.rotary_base)
    return GroupedQueryAttention(*sizes, config.num_groups, config.max_length, config.rotary_base)
