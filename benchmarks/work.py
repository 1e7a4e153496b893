"""The work every contender is given: sizes and batches. Axis letters are those of `transformer_book.shapes`."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from transformer_book.transformer import TransformerConfig

PAD, START, END = 0, 1, 2
DROPOUT = 0.1
#: Different batches a contender goes through, step after step; once before it is timed, as some kernels are
#: compiled for each new shape.
BATCHES = 16
DECODED_ROWS, DECODED_LENGTH = 32, 64


@dataclass(frozen=True)
class Size:
    """One size of model and batch; a target's length counts its start and its end token."""

    d_model: int
    num_heads: int
    d_ff: int
    layers: int
    vocabulary: int
    batch_size: int
    source_length: int
    target_length: int

    def config(self) -> TransformerConfig:
        """Return the configuration of our model, and so of all."""
        return TransformerConfig(
            source_vocab=self.vocabulary,
            target_vocab=self.vocabulary,
            d_model=self.d_model,
            num_heads=self.num_heads,
            d_ff=self.d_ff,
            num_encoder_layers=self.layers,
            num_decoder_layers=self.layers,
            dropout=DROPOUT,
            max_length=128,
            pad_id=PAD,
            start_id=START,
            end_id=END,
        )


SIZES = {
    "S": Size(128, 4, 512, 2, 100, 128, 32, 12),
    "M": Size(256, 8, 1024, 3, 8000, 64, 32, 32),
}
#: Small enough to try every contender in seconds.
QUICK_SIZES = {
    "S": Size(16, 2, 32, 1, 20, 8, 8, 6),
    "M": Size(32, 4, 64, 1, 50, 8, 8, 8),
}


class Batch(NamedTuple):
    """Padded ids: ``source (B, S)``, ``target (B, T)`` with a start token in front."""

    source: Tensor
    target: Tensor


def make_batches(size: Size, device: torch.device, count: int = BATCHES) -> list[Batch]:
    """Draw the batches of a training, the same in every process.

    Lengths are uniform from a quarter of the longest to the longest, which leaves about 3 in 8 places to padding;
    one row of each batch has full length, so that all batches have one shape.
    """
    generator = torch.Generator().manual_seed(0)
    return [
        Batch(
            _ids(size.batch_size, size.source_length, size.vocabulary, generator).to(device),
            _target(size, generator).to(device),
        )
        for _ in range(count)
    ]


def make_sources(size: Size, device: torch.device) -> Tensor:
    """Draw the sources that are decoded, with lengths as in `make_batches`."""
    generator = torch.Generator().manual_seed(1)
    return _ids(min(DECODED_ROWS, size.batch_size), size.source_length, size.vocabulary, generator).to(device)


def real_tokens(batches: list[Batch]) -> float:
    """Average the number of tokens of a batch that are no padding, sources and targets."""
    return sum(int((ids != PAD).sum()) for batch in batches for ids in batch) / len(batches)


def _ids(rows: int, longest: int, vocabulary: int, generator: torch.Generator) -> Tensor:
    lengths = torch.randint(max(1, longest // 4), longest + 1, (rows, 1), generator=generator)
    lengths[0] = longest
    ids = torch.randint(END + 1, vocabulary, (rows, longest), generator=generator)
    return ids.masked_fill(torch.arange(longest) >= lengths, PAD)


def _target(size: Size, generator: torch.Generator) -> Tensor:
    body = _ids(size.batch_size, size.target_length - 2, size.vocabulary, generator)  # (B, T - 2)
    start, room = torch.full_like(body[:, :1], START), torch.full_like(body[:, :1], PAD)
    target = torch.cat([start, body, room], dim=1)  # (B, T)
    ends = (target != PAD).sum(dim=1, keepdim=True)
    return target.scatter(1, ends, END)
