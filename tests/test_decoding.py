from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from transformer_book.decoding import greedy_decode
from transformer_book.seq2seq import CELLS, Seq2Seq, Seq2SeqConfig

PAD, START, END = 0, 1, 2


class Script:
    """A model that writes what it is told: for each row of the batch, the tokens in order."""

    pad_id, start_id, end_id = PAD, START, END

    def __init__(self, rows: list[list[int]], vocabulary: int = 11) -> None:
        self.rows, self.vocabulary, self.read = rows, vocabulary, []

    def encode(self, source: Tensor) -> SimpleNamespace:
        return SimpleNamespace(source=source)

    def decode(
        self, target: Tensor, memory: SimpleNamespace, state: int | None = None
    ) -> tuple[Tensor, int, None]:
        self.read.append(target[:, 0].tolist())
        step = 0 if state is None else state
        tokens = torch.tensor([row[step] for row in self.rows])
        return F.one_hot(tokens, self.vocabulary).float()[:, None], step + 1, None


def test_it_writes_until_every_sequence_has_ended() -> None:
    model = Script([[5, 6, END, 9, 9], [7, END, 8, 8, 8], [3, 4, 5, END, 9]])
    ids = greedy_decode(model, torch.full((3, 2), 4), max_length=5)
    assert ids.tolist() == [[5, 6, END, PAD], [7, END, PAD, PAD], [3, 4, 5, END]]
    # START first, then what was written; padding once a sequence has ended
    assert model.read == [[START] * 3, [5, 7, 3], [6, END, 4], [END, PAD, 5]]


def test_it_stops_at_the_longest_length() -> None:
    model = Script([[5, 6, 7, END], [4, END, 3, 3]])
    assert greedy_decode(model, torch.full((2, 2), 4), max_length=2).tolist() == [[5, 6], [4, END]]


@pytest.mark.parametrize("score", ["none", "additive"])
@pytest.mark.parametrize("cell", CELLS)
def test_it_is_the_argmax_of_the_whole_prefix_each_time(cell: str, score: str) -> None:
    torch.manual_seed(3)
    model = Seq2Seq(Seq2SeqConfig(17, 13, d_embed=11, d_hidden=19, cell=cell, score=score))
    for parameter in model.parameters():
        parameter.data *= 3  # far from ties
    source = torch.randint(3, 17, (5, 7))
    source[1, 4:] = PAD
    written = torch.full((5, 1), START)
    for _ in range(6):
        with torch.no_grad():
            token = model(source, written)[:, -1].argmax(dim=-1, keepdim=True)
        ended = (written == END).any(dim=1, keepdim=True)
        written = torch.cat([written, token.masked_fill(ended, PAD)], dim=1)
    expected = written[:, 1:]
    longest = int((expected != PAD).sum(dim=1).max())
    assert torch.equal(greedy_decode(model, source, max_length=6), expected[:, :longest])


def test_a_row_does_not_depend_on_the_others() -> None:
    torch.manual_seed(0)
    model = Seq2Seq(Seq2SeqConfig(17, 13, d_hidden=19, score="additive"))
    source = torch.randint(3, 17, (5, 7))
    source[2, 3:] = PAD
    together = greedy_decode(model, source, max_length=8)
    alone = greedy_decode(model, source[2:3, :3], max_length=8)
    assert torch.equal(F.pad(alone, (0, together.shape[1] - alone.shape[1])), together[2:3])


def test_it_records_no_gradient() -> None:
    model = Seq2Seq(Seq2SeqConfig(17, 13, d_hidden=5))
    assert not greedy_decode(model, torch.full((1, 2), 4), max_length=3).requires_grad
    assert torch.is_grad_enabled()


def test_no_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^max_length: expected an integer ≥ 1, got 0$"):
        greedy_decode(Script([[END]]), torch.full((1, 2), 4), max_length=0)
