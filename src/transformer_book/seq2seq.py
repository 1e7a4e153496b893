"""Sequence to sequence: an encoder, a decoder fed by one context vector, and a decoder with attention.

The two decoders differ in one thing only: where the context of a step comes from. Axis letters are those of
`transformer_book.shapes`; the encoder's states are as wide as its recurrent layer, D.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from transformer_book.attention import masked_softmax
from transformer_book.recurrent import GRU, LSTM, Recurrent, SimpleRNN, State
from transformer_book.scoring import AdditiveScore, BilinearScore, DotScore, ScaledDotScore
from transformer_book.shapes import check_ids

CELLS: dict[str, type[Recurrent]] = {"rnn": SimpleRNN, "gru": GRU, "lstm": LSTM}
SCORES = ("none", "additive", "dot", "scaled_dot", "bilinear")


class Memory(NamedTuple):
    """What the encoder hands over.

    states
        ``(B, S, D)``, one state per source position; those at padding mean nothing.
    mask
        Boolean ``(B, 1, S)``, True at real tokens.
    state
        The encoder's state after each sequence's last real token.
    """

    states: Tensor
    mask: Tensor
    state: State


class DecoderOutput(NamedTuple):
    """What a decoder returns.

    logits
        ``(B, T, V)``.
    state
        State of its recurrent layer after the last step; hand it back to go on.
    weights
        Alignments ``(B, T, S)``; None for a decoder without attention.
    """

    logits: Tensor
    state: State
    weights: Tensor | None


def hidden(state: State) -> Tensor:
    """Return the hidden vector ``(B, D)`` of a recurrent state, which in an LSTM also has a cell."""
    return state[0] if isinstance(state, tuple) else state


class Encoder(nn.Module):
    """Read a sequence: embed each token, then run a recurrent layer over them.

    Parameters
    ----------
    vocabulary_size
        Number of token ids V.
    d_embed
        Width of an embedding; the recurrent layer's ``d_input``.
    recurrent
        A layer of `transformer_book.recurrent`.
    pad_id
        The id of padding, which stands to the right of the tokens.

    Notes
    -----
    Source: Sutskever, Vinyals & Le 2014, section 2; Cho et al. 2014, section 2.2.
    """

    def __init__(self, vocabulary_size: int, d_embed: int, recurrent: Recurrent, pad_id: int = 0) -> None:
        super().__init__()
        self.pad_id = pad_id
        self.embedding = nn.Embedding(vocabulary_size, d_embed)
        self.recurrent = recurrent

    def forward(self, source: Tensor) -> Memory:
        """Return one state per token, and the last.

        Parameters
        ----------
        source
            Integer ids ``(B, S)``, padded on the right.

        Raises
        ------
        TypeError, ValueError
            Ids are not integers or not in the vocabulary, a sequence is empty, or padding stands before a token.
        """
        check_ids("source", source, self.embedding.num_embeddings)
        real = source != self.pad_id  # (B, S)
        if not real[:, 0].all() or (real[:, 1:] & ~real[:, :-1]).any():
            raise ValueError("source: expected at least one token per row and padding only after them")
        states, state = self.recurrent(self.embedding(source), lengths=real.sum(dim=1))  # (B, S, D)
        return Memory(states, real[:, None, :], state)


class ContextDecoder(nn.Module):
    """Write a sequence from one context vector: the encoder's last hidden state, the same at every step.

    Parameters
    ----------
    vocabulary_size
        Number of token ids V.
    d_embed
        Width of an embedding.
    recurrent
        A layer of `transformer_book.recurrent` with ``d_input = d_embed + d_hidden``.

    Notes
    -----
    Source: Cho et al. 2014, section 2.2: the decoder starts from the context and sees it again at every step.
    """

    def __init__(self, vocabulary_size: int, d_embed: int, recurrent: Recurrent) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, d_embed)
        self.recurrent = recurrent
        self.readout = nn.Linear(2 * recurrent.d_hidden, vocabulary_size)

    def forward(self, target: Tensor, memory: Memory, state: State | None = None) -> DecoderOutput:
        """Predict the token after each token of `target`.

        Parameters
        ----------
        target
            Integer ids ``(B, T)``: the tokens written so far (teacher forcing), or the newest alone with `state`.
        memory
            From the encoder.
        state
            State of the recurrent layer to go on from; default: the encoder's last.

        Raises
        ------
        TypeError, ValueError
            Ids are not integers or not in the vocabulary, or sizes do not fit.
        """
        check_ids("target", target, self.embedding.num_embeddings)
        context = hidden(memory.state)[:, None].expand(-1, target.shape[1], -1)  # (B, T, D)
        inputs = torch.cat([self.embedding(target), context], dim=-1)  # (B, T, I)
        outputs, last = self.recurrent(inputs, memory.state if state is None else state)  # (B, T, D)
        logits = self.readout(torch.cat([outputs, context], dim=-1))  # (B, T, V)
        return DecoderOutput(logits, last, None)


class AttentionDecoder(nn.Module):
    """Write a sequence while looking back: at every step a new context, blended from all encoder states.

    Parameters
    ----------
    vocabulary_size, d_embed, recurrent
        As for `ContextDecoder`.
    score
        A module of `transformer_book.scoring` that compares the decoder's state with the encoder's.

    Notes
    -----
    Source: Bahdanau, Cho & Bengio 2015, section 3.1. The query is the state *before* the step.
    """

    def __init__(self, vocabulary_size: int, d_embed: int, recurrent: Recurrent, score: nn.Module) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, d_embed)
        self.recurrent = recurrent
        self.score = score
        self.readout = nn.Linear(2 * recurrent.d_hidden, vocabulary_size)

    def forward(self, target: Tensor, memory: Memory, state: State | None = None) -> DecoderOutput:
        """Predict the token after each token of `target`, one step after the other.

        Parameters
        ----------
        target, memory, state
            As for `ContextDecoder`.

        Raises
        ------
        TypeError, ValueError
            Ids are not integers or not in the vocabulary, or sizes do not fit.
        """
        check_ids("target", target, self.embedding.num_embeddings)
        now = memory.state if state is None else state
        steps = []
        for embedded in self.embedding(target).split(1, dim=1):  # (B, 1, d_embed)
            query = hidden(now)[:, None]  # (B, 1, D)
            weights = masked_softmax(self.score(query, memory.states), memory.mask)  # (B, 1, S)
            context = weights @ memory.states  # (B, 1, D)
            output, now = self.recurrent(torch.cat([embedded, context], dim=-1), now)  # (B, 1, D)
            steps.append((torch.cat([output, context], dim=-1), weights))
        outputs, weights = (torch.cat(parts, dim=1) for parts in zip(*steps, strict=True))
        return DecoderOutput(self.readout(outputs), now, weights)  # (B, T, V), …, (B, T, S)


@dataclass(frozen=True)
class Seq2SeqConfig:
    """Sizes and parts of a `Seq2Seq` model.

    Parameters
    ----------
    source_vocab, target_vocab
        Numbers of ids, the three special ones included.
    d_embed
        Width of embeddings.
    d_hidden
        Width D of the recurrent layers, and so of the context.
    cell
        Recurrent layer: ``"rnn"``, ``"gru"`` or ``"lstm"``.
    score
        How the decoder compares its state with the encoder's: ``"additive"``, ``"dot"``, ``"scaled_dot"``,
        ``"bilinear"``; ``"none"`` for one context vector and no attention.

    Raises
    ------
    ValueError
        A size is below 1, or there is no such cell or score.
    """

    source_vocab: int
    target_vocab: int
    d_embed: int = 32
    d_hidden: int = 64
    cell: str = "gru"
    score: str = "none"

    def __post_init__(self) -> None:
        for name in ("source_vocab", "target_vocab", "d_embed", "d_hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected an integer ≥ 1, got {getattr(self, name)}")
        if self.cell not in CELLS:
            raise ValueError(f"cell: expected one of {', '.join(CELLS)}, got {self.cell!r}")
        if self.score not in SCORES:
            raise ValueError(f"score: expected one of {', '.join(SCORES)}, got {self.score!r}")


class Seq2Seq(nn.Module):
    """An encoder and a decoder, with one context vector or with attention.

    Parameters
    ----------
    config
        Its sizes and parts.
    """

    pad_id, start_id, end_id = 0, 1, 2

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.config = config
        cell, width = CELLS[config.cell], config.d_hidden
        self.encoder = Encoder(config.source_vocab, config.d_embed, cell(config.d_embed, width), self.pad_id)
        parts = (config.target_vocab, config.d_embed, cell(config.d_embed + width, width))
        if config.score == "none":
            self.decoder = ContextDecoder(*parts)
        else:
            self.decoder = AttentionDecoder(*parts, make_score(config.score, width))

    def encode(self, source: Tensor) -> Memory:
        """Read ``source (B, S)``; see `Encoder`."""
        return self.encoder(source)

    def decode(self, target: Tensor, memory: Memory, state: State | None = None) -> DecoderOutput:
        """Predict what follows each token of ``target (B, T)``; see `ContextDecoder`."""
        return self.decoder(target, memory, state)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Return logits ``(B, T, V)`` for what follows each token of ``target (B, T)``, given ``source (B, S)``.

        Raises
        ------
        TypeError, ValueError
            As the encoder's and the decoder's.
        """
        return self.decode(target, self.encode(source)).logits

    def alignments(self, source: Tensor, target: Tensor) -> Tensor:
        """Return where the decoder looks while it reads ``target (B, T)``: weights ``(B, T, S)``.

        Raises
        ------
        TypeError, ValueError
            As `forward`; also a model without attention, which looks nowhere.
        """
        weights = self.decode(target, self.encode(source)).weights
        if weights is None:
            raise ValueError("score: expected a model with attention, got one with a single context vector")
        return weights


def make_score(name: str, width: int) -> nn.Module:
    """Make the score of that name for queries and keys of one width.

    Parameters
    ----------
    name
        ``"additive"``, ``"dot"``, ``"scaled_dot"`` or ``"bilinear"``.
    width
        Width D of queries and keys, and hidden width of the additive score.

    Raises
    ------
    ValueError
        There is no such score.
    """
    if name == "additive":
        return AdditiveScore(width, width, width)
    if name == "bilinear":
        return BilinearScore(width, width)
    if name in ("dot", "scaled_dot"):
        return DotScore() if name == "dot" else ScaledDotScore()
    raise ValueError(f"score: expected one of {', '.join(SCORES[1:])}, got {name!r}")
