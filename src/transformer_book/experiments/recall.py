"""What the experiments on recurrent layers share: how a layer starts, and recalling the first symbol."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_book.device import seeded
from transformer_book.recurrent import GRU, LSTM, Recurrent, SimpleRNN

NUM_SYMBOLS = 10
TEST_SEQUENCES = 1000

#: What makes each kind of layer, ``(d_input, d_hidden) -> layer``.
Cells = Mapping[str, Callable[[int, int], Recurrent]]
CELLS: Cells = {"rnn": SimpleRNN, "gru": GRU, "lstm": LSTM}


@dataclass(frozen=True)
class Start:
    """How a layer is started.

    Parameters
    ----------
    cell
        A name of `CELLS`.
    scale
        The recurrent weights are multiplied by it.
    keep
        Added to the bias of the gate that keeps the state: the GRU's update gate, the LSTM's forget gate.
    """

    cell: str
    scale: float = 1.0
    keep: float = 0.0


#: As torch starts them, and each with a gradient that lasts: larger weights without gates, open gates with them.
STARTS: dict[str, Start] = {
    "rnn": Start("rnn"),
    "gru": Start("gru"),
    "lstm": Start("lstm"),
    "rnn_scaled": Start("rnn", scale=2.0),
    "gru_open": Start("gru", keep=3.0),
    "lstm_open": Start("lstm", keep=3.0),
}


def new_layer(start: Start, d_input: int, d_hidden: int, seed: int, cells: Cells = CELLS) -> Recurrent:
    """Make a layer from a seed of its own; torch's global generator is left alone.

    Parameters
    ----------
    start
        Which cell, and how it starts.
    d_input, d_hidden
        Widths I and D.
    seed
        Of the initial weights.
    cells
        The classes; the chapter passes the reader's own.
    """
    with seeded(seed):
        layer = cells[start.cell](d_input, d_hidden)
    with torch.no_grad():
        layer.weight_hh_l0.mul_(start.scale)
        layer.bias_ih_l0[d_hidden : 2 * d_hidden].add_(start.keep)  # the second block keeps; a simple RNN has none
    return layer


class Recaller(nn.Module):
    """Read symbols one-hot, and name the first of them from the last hidden vector.

    Parameters
    ----------
    layer
        A recurrent layer of input width `NUM_SYMBOLS`.
    """

    def __init__(self, layer: Recurrent) -> None:
        super().__init__()
        self.layer = layer
        self.readout = nn.Linear(layer.d_hidden, NUM_SYMBOLS)

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids ``(B, T)`` to logits over the symbols ``(B, V)``."""
        inputs = F.one_hot(ids, NUM_SYMBOLS).to(self.readout.weight.dtype)  # (B, T, V)
        return self.readout(self.layer(inputs)[0][:, -1])


def new_recaller(start: Start, width: int, seed: int, cells: Cells, device: torch.device) -> Recaller:
    """Make a recaller from a seed of its own; torch's global generator is left alone."""
    layer = new_layer(start, NUM_SYMBOLS, width, seed, cells)
    with seeded(seed):
        return Recaller(layer).to(device)


def draw_ids(count: int, length: int, generator: torch.Generator) -> Tensor:
    """Draw sequences of independent symbols, ``(count, length)``."""
    return torch.randint(NUM_SYMBOLS, (count, length), generator=generator)


def descend(
    model: Recaller,
    optimiser: torch.optim.Optimizer,
    lengths: tuple[int, int],
    clip: float,
    steps: int,
    generator: torch.Generator,
    batch: int = 64,
) -> Iterator[float]:
    """Train, and yield each step's loss after the step is taken.

    Parameters
    ----------
    model, optimiser
        What is trained, and how.
    lengths
        Shortest and longest; each batch has one length, drawn uniformly.
    clip
        Largest norm of the gradient of all weights together; ``math.inf`` does not clip.
    steps
        How many.
    generator
        Of the sequences, on the CPU.
    batch
        Sequences per step.
    """
    for _ in range(steps):
        length = int(torch.randint(lengths[0], lengths[1] + 1, (), generator=generator))
        ids = draw_ids(batch, length, generator).to(model.readout.weight.device)
        loss = F.cross_entropy(model(ids), ids[:, 0])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimiser.step()
        yield loss.item()


@torch.no_grad()
def recall(model: Recaller, length: int, generator: torch.Generator) -> float:
    """Share of fresh sequences of one length whose first symbol the model names; chance is 1 / `NUM_SYMBOLS`."""
    ids = draw_ids(TEST_SEQUENCES, length, generator).to(model.readout.weight.device)
    return (model(ids).argmax(dim=-1) == ids[:, 0]).float().mean().item()
