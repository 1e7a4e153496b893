"""Turn a model's logits into a sequence. Axis letters are those of `transformer_book.shapes`."""

from typing import Any, Protocol

import torch
from torch import Tensor


class EncoderDecoder(Protocol):
    """A model that can write step by step, for example `transformer_book.seq2seq.Seq2Seq`."""

    pad_id: int
    start_id: int
    end_id: int

    def encode(self, source: Tensor) -> Any:
        """Read ``source (B, S)`` once."""
        ...

    def decode(self, target: Tensor, memory: Any, state: Any = None) -> Any:
        """Return a tuple that begins with logits ``(B, T, V)`` and the state to go on from."""
        ...


@torch.no_grad()
def greedy_decode(model: EncoderDecoder, source: Tensor, max_length: int) -> Tensor:
    """Write the most probable token, feed it back, and go on until every sequence has ended.

    Parameters
    ----------
    model
        In evaluation mode if it has dropout.
    source
        Integer ids ``(B, S)``.
    max_length
        Most tokens to write, the end token included; ≥ 1.

    Returns
    -------
    Tensor
        Ids ``(B, T)`` with T ≤ `max_length`: without the start token, with the end token, padding after it.

    Raises
    ------
    ValueError
        `max_length` is below 1.
    """
    if max_length < 1:
        raise ValueError(f"max_length: expected an integer ≥ 1, got {max_length}")
    memory, state, written = model.encode(source), None, []
    token = torch.full_like(source[:, :1], model.start_id)  # (B, 1)
    ended = torch.zeros_like(token, dtype=torch.bool)  # (B, 1)
    while len(written) < max_length and not ended.all():
        logits, state, *_ = model.decode(token, memory, state)  # (B, 1, V)
        token = logits.argmax(dim=-1).masked_fill(ended, model.pad_id)  # (B, 1)
        written.append(token)
        ended |= token == model.end_id
    return torch.cat(written, dim=1)  # (B, T)
