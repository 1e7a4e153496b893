"""The layers a Transformer is stacked from. Axis letters are those of `transformer_book.shapes`.

A layer is made from its parts: attention, feed-forward, and a `Residual` for each of them, which decides where the
layer norm stands.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_book.attention import MultiHeadAttention
from transformer_book.shapes import check_widths


class FeedForward(nn.Module):
    """Transform each position by itself: W₂ max(0, W₁ x + b₁) + b₂.

    Parameters
    ----------
    d_model
        Width D of input and output.
    d_ff
        Hidden width F.

    Raises
    ------
    ValueError
        A width is below 1.

    Notes
    -----
    Source: Vaswani et al. 2017, section 3.3, equation 2.
    """

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        check_widths(d_model=d_model, d_ff=d_ff)
        self.hidden = nn.Linear(d_model, d_ff)
        self.output = nn.Linear(d_ff, d_model)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``inputs (B, T, D)`` to ``(B, T, D)``."""
        return self.output(self.hidden(inputs).relu())  # (B, T, F) -> (B, T, D)


class GELUFeedForward(FeedForward):
    """Transform each position by itself, with GELU in place of max(0, ·): W₂ GELU(W₁ x + b₁) + b₂.

    Parameters
    ----------
    d_model, d_ff
        As for `FeedForward`.

    Notes
    -----
    Source: Hendrycks & Gimpel 2016, section 2; the exact form x Φ(x), not an approximation of it. A departure from
    Vaswani et al. 2017.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``inputs (B, T, D)`` to ``(B, T, D)``."""
        return self.output(F.gelu(self.hidden(inputs)))  # (B, T, F) -> (B, T, D)


class GatedFeedForward(nn.Module):
    """Transform each position by itself, each hidden unit times a gate: W₂ (SiLU(W_g x) ⊙ W₁ x), "SwiGLU".

    Three matrices and no biases: as many weights as a `FeedForward` of 3/2 the hidden width.

    Parameters
    ----------
    d_model, d_ff
        As for `FeedForward`.

    Notes
    -----
    Source: Shazeer 2020, section 2, equation 6. A departure from Vaswani et al. 2017.
    """

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        check_widths(d_model=d_model, d_ff=d_ff)
        self.gate = nn.Linear(d_model, d_ff, bias=False)
        self.hidden = nn.Linear(d_model, d_ff, bias=False)
        self.output = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``inputs (B, T, D)`` to ``(B, T, D)``."""
        return self.output(F.silu(self.gate(inputs)) * self.hidden(inputs))  # (B, T, F) -> (B, T, D)


#: Name → feed-forward layer, made with ``(d_model, d_ff)``.
FEED_FORWARDS: dict[str, Callable[[int, int], nn.Module]] = {
    "relu": FeedForward,
    "gelu": GELUFeedForward,
    "swiglu": GatedFeedForward,
}


class PostNorm(nn.Module):
    """Add a sub-layer to the residual stream, then normalise the sum: LayerNorm(x + Dropout(f(x))).

    Parameters
    ----------
    d_model
        Width D.
    dropout
        Share of the sub-layer's output set to zero in training.
    norm
        Makes the norm from the width.

    Notes
    -----
    Source: Vaswani et al. 2017, sections 3.1 and 5.4.
    """

    def __init__(
        self, d_model: int, dropout: float = 0.0, norm: Callable[[int], nn.Module] = nn.LayerNorm
    ) -> None:
        super().__init__()
        self.norm = norm(d_model)
        self.dropout = nn.Dropout(dropout)

    def enter(self, stream: Tensor) -> Tensor:
        """Return what the sub-layer reads, ``(B, T, D)``: the stream itself."""
        return stream

    def leave(self, stream: Tensor, output: Tensor) -> Tensor:
        """Return the stream after the sub-layer wrote `output`; all ``(B, T, D)``."""
        return self.norm(stream + self.dropout(output))


class PreNorm(nn.Module):
    """Normalise what a sub-layer reads and leave the residual stream itself alone: x + Dropout(f(LayerNorm(x))).

    Parameters
    ----------
    d_model, dropout, norm
        As for `PostNorm`.

    Notes
    -----
    Source: Xiong et al. 2020, section 3. A departure from Vaswani et al. 2017.
    """

    def __init__(
        self, d_model: int, dropout: float = 0.0, norm: Callable[[int], nn.Module] = nn.LayerNorm
    ) -> None:
        super().__init__()
        self.norm = norm(d_model)
        self.dropout = nn.Dropout(dropout)

    def enter(self, stream: Tensor) -> Tensor:
        """Return what the sub-layer reads, ``(B, T, D)``: the stream, normalised."""
        return self.norm(stream)

    def leave(self, stream: Tensor, output: Tensor) -> Tensor:
        """Return the stream after the sub-layer wrote `output`; all ``(B, T, D)``."""
        return stream + self.dropout(output)


Residual: TypeAlias = PostNorm | PreNorm


class EncoderLayer(nn.Module):
    """Let every position look at all others, then think by itself.

    Parameters
    ----------
    attention
        Self-attention.
    feed_forward
        Maps ``(B, S, D)`` to ``(B, S, D)``, position by position.
    residual
        Makes the `PostNorm` or `PreNorm` around a sub-layer; called once for each.

    Notes
    -----
    Source: Vaswani et al. 2017, section 3.1 and figure 1, left.
    """

    def __init__(
        self, attention: MultiHeadAttention, feed_forward: nn.Module, residual: Callable[[], Residual]
    ) -> None:
        super().__init__()
        self.attention, self.attention_residual = attention, residual()
        self.feed_forward, self.feed_forward_residual = feed_forward, residual()

    def forward(self, stream: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the stream after this layer, and the attention weights.

        Parameters
        ----------
        stream
            Shape ``(B, S, D)``.
        mask
            Boolean, True = may attend, broadcastable to ``(B, H, S, S)``.

        Returns
        -------
        stream : Tensor
            Shape ``(B, S, D)``.
        weights : Tensor
            Shape ``(B, H, S, S)``.
        """
        seen = self.attention_residual.enter(stream)
        output, weights = self.attention(seen, seen, seen, mask)
        stream = self.attention_residual.leave(stream, output)
        output = self.feed_forward(self.feed_forward_residual.enter(stream))
        return self.feed_forward_residual.leave(stream, output), weights


KeysValues: TypeAlias = tuple[Tensor, Tensor]


class LayerCache(NamedTuple):
    """What a decoder layer keeps from step to step: projected keys and values, ``(B, H, length, K)`` each.

    own
        Of the tokens written so far.
    source
        Of the encoder's states, projected once.
    """

    own: KeysValues
    source: KeysValues


class DecoderLayer(nn.Module):
    """Look at what has been written, look at the source, then think.

    Parameters
    ----------
    attention
        Self-attention.
    cross_attention
        Attention to the encoder's states.
    feed_forward, residual
        As for `EncoderLayer`.

    Notes
    -----
    Source: Vaswani et al. 2017, section 3.1 and figure 1, right.
    """

    def __init__(
        self,
        attention: MultiHeadAttention,
        cross_attention: MultiHeadAttention,
        feed_forward: nn.Module,
        residual: Callable[[], Residual],
    ) -> None:
        super().__init__()
        self.attention, self.attention_residual = attention, residual()
        self.cross_attention, self.cross_residual = cross_attention, residual()
        self.feed_forward, self.feed_forward_residual = feed_forward, residual()

    def start(self, memory: Tensor) -> LayerCache:
        """Return the cache before the first token: nothing written, ``memory (B, S, D)`` projected."""
        return LayerCache(
            self.attention.project(memory[:, :0], memory[:, :0]), self.cross_attention.project(memory, memory)
        )

    def forward(
        self, stream: Tensor, cache: LayerCache, mask: Tensor | None = None, source_mask: Tensor | None = None
    ) -> tuple[Tensor, LayerCache, Tensor, Tensor]:
        """Return the stream after this layer, the cache with the new tokens, and both attentions' weights.

        Parameters
        ----------
        stream
            Of the new tokens, ``(B, T, D)``.
        cache
            From `start`, or from the call for the tokens before these.
        mask
            Boolean, True = may attend, broadcastable to ``(B, H, T, P + T)`` for P tokens in the cache.
        source_mask
            Boolean, broadcastable to ``(B, H, T, S)``.

        Returns
        -------
        stream : Tensor
            Shape ``(B, T, D)``.
        cache : LayerCache
            Of P + T tokens; the one given is left as it is.
        weights, cross_weights : Tensor
            Shapes ``(B, H, T, P + T)`` and ``(B, H, T, S)``.
        """
        seen = self.attention_residual.enter(stream)
        new = self.attention.project(seen, seen)  # (B, H, T, K) each
        own = (torch.cat([cache.own[0], new[0]], dim=-2), torch.cat([cache.own[1], new[1]], dim=-2))
        output, weights = self.attention.attend(seen, *own, mask)
        stream = self.attention_residual.leave(stream, output)
        seen = self.cross_residual.enter(stream)
        output, cross_weights = self.cross_attention.attend(seen, *cache.source, source_mask)
        stream = self.cross_residual.leave(stream, output)
        output = self.feed_forward(self.feed_forward_residual.enter(stream))
        stream = self.feed_forward_residual.leave(stream, output)
        return stream, LayerCache(own, cache.source), weights, cross_weights
