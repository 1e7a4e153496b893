"""BERT: the encoder alone, trained to fill in what is hidden.

Axis letters are those of `transformer_book.shapes`.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_book.attention import MultiHeadAttention
from transformer_book.layers import EncoderLayer, GELUFeedForward, PostNorm
from transformer_book.positions import LearnedPositions
from transformer_book.shapes import check_dropout, check_heads, check_ids, check_widths, shape_text
from transformer_book.transformer import Encoded


@dataclass(frozen=True)
class BertConfig:
    """Sizes of a `Bert`.

    Parameters
    ----------
    vocab_size
        Number of ids V, the special ones included.
    d_model
        Width D of the residual stream.
    num_heads
        Heads H of every attention.
    d_ff
        Hidden width F of the feed-forward layers.
    num_layers
        Depth.
    dropout
        Share set to zero in training, of the embeddings and of every sub-layer's output. BERT drops attention
        weights too; this does not.
    max_length
        Most tokens of a sequence.
    num_segments
        Kinds of segment a token can stand in; two, when sentences are read in pairs.
    norm_eps
        Added to the variance in every layer norm.
    pad_id
        Id of padding.

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
    max_length: int = 512
    num_segments: int = 2
    norm_eps: float = 1e-12
    pad_id: int = 0

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "d_model", "num_heads", "d_ff", "num_layers", "max_length", "num_segments")
        check_widths(**{name: getattr(self, name) for name in sizes})
        check_heads(self.d_model, self.num_heads)
        check_dropout(self.dropout)
        if not 0 <= self.pad_id < self.vocab_size:
            raise ValueError(f"pad_id: expected an id in 0 … {self.vocab_size - 1}, got {self.pad_id}")


class BertEmbedding(nn.Module):
    """Add up what a token is, where it stands and which segment it is in; normalise the sum.

    Unlike `transformer_book.transformer.Embedding`, nothing is multiplied by √D: the norm sets the scale.

    Notes
    -----
    Source: Devlin et al. 2019, section 3 and figure 2.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.segments = nn.Embedding(config.num_segments, config.d_model)
        for table in (self.tokens, self.segments):
            nn.init.normal_(table.weight, std=config.d_model**-0.5)
        self.positions = LearnedPositions(config.d_model, config.max_length)
        self.norm = nn.LayerNorm(config.d_model, eps=config.norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        """Map ``ids (B, S)`` and their ``segments (B, S)``, by default all 0, to ``(B, S, D)``.

        Raises
        ------
        TypeError, ValueError
            Ids or segments are not integers, out of range or of different shapes, or there are more tokens than
            `max_length`.
        """
        check_ids("ids", ids, self.tokens.num_embeddings)
        segments = torch.zeros_like(ids) if segments is None else segments
        check_ids("segments", segments, self.segments.num_embeddings)
        if segments.shape != ids.shape:
            raise ValueError(f"segments: expected shape {shape_text(ids)}, as ids, got {shape_text(segments)}")
        vectors = self.positions(self.tokens(ids) + self.segments(segments))  # (B, S, D)
        return self.dropout(self.norm(vectors))


class Bert(nn.Module):
    """An encoder by itself: every token looks at all others, in both directions.

    Parameters
    ----------
    config
        Its sizes.

    Notes
    -----
    Source: Devlin et al. 2019, section 3: the encoder of Vaswani et al. 2017, post-norm as there, with GELU,
    learned positions and segments. `transformer_book.weights.load_bert` makes one of published weights.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = BertEmbedding(config)
        norm = partial(nn.LayerNorm, eps=config.norm_eps)
        self.layers = nn.ModuleList(
            EncoderLayer(
                MultiHeadAttention(config.d_model, config.num_heads),
                GELUFeedForward(config.d_model, config.d_ff),
                partial(PostNorm, config.d_model, config.dropout, norm),
            )
            for _ in range(config.num_layers)
        )
        for weight in self.layers.parameters():
            if weight.ndim > 1:
                nn.init.xavier_uniform_(weight)

    def encode(self, ids: Tensor, segments: Tensor | None = None) -> Encoded:
        """Read sequences.

        Parameters
        ----------
        ids
            Integer ``(B, S)``, with `pad_id` where there is no token.
        segments
            Integer ``(B, S)``, which segment each token is in; None: all in segment 0.

        Returns
        -------
        Encoded
            States ``(B, S, D)``, those at padding without meaning; the mask; attention weights of each layer,
            ``(B, H, S, S)``.

        Raises
        ------
        TypeError, ValueError
            Ids or segments are not integers or out of range, a sequence has no token, or there are more than
            `max_length`.
        """
        stream = self.embedding(ids, segments)  # (B, S, D)
        mask = (ids != self.config.pad_id)[:, None, None, :]  # (B, 1, 1, S)
        if not mask.any(dim=-1).all():
            raise ValueError("ids: expected at least one token per row, got a row of padding")
        maps = []
        for layer in self.layers:
            stream, weights = layer(stream, mask)
            maps.append(weights)
        return Encoded(stream, mask, tuple(maps))

    def forward(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        """Return the states ``(B, S, D)`` of ``ids (B, S)``.

        Raises
        ------
        TypeError, ValueError
            As `encode`.
        """
        return self.encode(ids, segments).states


class MaskedLM(nn.Module):
    """Guess hidden tokens: a `Bert`, one more transformation, and the embedding as readout.

    Parameters
    ----------
    config
        Sizes of its encoder.

    Notes
    -----
    Source: Devlin et al. 2019, section 3.1, task 1. As in the published code, the readout is the transposed token
    embedding plus a bias per token, after a linear map, GELU and a layer norm.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = Bert(config)
        self.transform = nn.Linear(config.d_model, config.d_model)
        self.norm = nn.LayerNorm(config.d_model, eps=config.norm_eps)
        self.readout = nn.Linear(config.d_model, config.vocab_size)
        self.readout.weight = self.bert.embedding.tokens.weight
        nn.init.zeros_(self.readout.bias)

    def forward(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        """Return logits ``(B, S, V)`` for what stands at each place of ``ids (B, S)``.

        Raises
        ------
        TypeError, ValueError
            As `Bert.encode`.
        """
        return self.readout(self.norm(F.gelu(self.transform(self.bert(ids, segments)))))
