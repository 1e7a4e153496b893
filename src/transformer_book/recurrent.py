"""Recurrent layers from their equations: simple RNN, GRU and LSTM.

All three read a sequence one step after the other and differ only in `step`. Parameters have the names, layout
and gate order of one-layer `torch.nn.RNN`, `torch.nn.GRU` and `torch.nn.LSTM`, so state dicts load across. Axis
letters are those of `transformer_book.shapes`; D is the width of the state.
"""

import math
from contextlib import nullcontext
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_book.shapes import check_lengths, check_widths, shape_text

#: State of a recurrent layer: hidden ``(B, D)``; for an LSTM (hidden, cell), each ``(B, D)``.
State: TypeAlias = Tensor | tuple[Tensor, Tensor]


class Recurrent(nn.Module):
    """What the three layers share: parameters, and the loop over time.

    A layer maps all inputs in one matrix product, `project`, then calls `step` once per position: each call needs
    the state that the call before it has returned. Under `torch.autocast` the product is in the lower precision,
    and the steps are not, since their errors add up over time.

    Parameters
    ----------
    d_input
        Width I of the inputs.
    d_hidden
        Width D of the state.

    Raises
    ------
    ValueError
        A width is below 1.
    """

    blocks: ClassVar[int]  # how many blocks of D rows the weights have, one per gate or candidate
    weight_ih_l0: nn.Parameter
    weight_hh_l0: nn.Parameter
    bias_ih_l0: nn.Parameter
    bias_hh_l0: nn.Parameter

    def __init__(self, d_input: int, d_hidden: int) -> None:
        super().__init__()
        check_widths(d_input=d_input, d_hidden=d_hidden)
        self.d_input, self.d_hidden = d_input, d_hidden
        rows, bound = self.blocks * d_hidden, 1 / math.sqrt(d_hidden)
        shapes = {"weight_ih": (rows, d_input), "weight_hh": (rows, d_hidden)}
        shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        for name, shape in shapes.items():
            self.register_parameter(f"{name}_l0", nn.Parameter(torch.empty(shape).uniform_(-bound, bound)))

    def initial_state(self, batch: int) -> Any:
        """Return a state of zeros for a batch of that size."""
        return self.weight_hh_l0.new_zeros(batch, self.d_hidden)

    def project(self, inputs: Tensor) -> Tensor:
        """Map ``inputs (B, T, I)`` with both biases, W_ih x_t + b_ih + b_hh: ``(B, T, blocks · D)``."""
        return F.linear(inputs, self.weight_ih_l0, self.bias_ih_l0 + self.bias_hh_l0)

    def step(self, projected: Tensor, state: Any) -> Any:
        """Go one step.

        Parameters
        ----------
        projected
            The input of this step as `project` maps it, ``(B, blocks · D)``.
        state
            After the step before.

        Returns
        -------
        State
            After this step.
        """
        raise NotImplementedError

    def forward(
        self, inputs: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Read a batch of sequences.

        Parameters
        ----------
        inputs
            Shape ``(B, T, I)``, T ≥ 1.
        state
            To start from; default: zeros.
        lengths
            Integer ``(B,)``, each in 1 … T: how many real steps each sequence has, before its padding.
            Default: all T.

        Returns
        -------
        outputs : Tensor
            The hidden vector after every step, ``(B, T, D)``; those at padding mean nothing.
        state
            After each sequence's last real step.

        Raises
        ------
        TypeError, ValueError
            Shapes, dtypes or lengths do not fit; the message says what was expected and what came.
        """
        now = _start(self, inputs, state, lengths)
        states = []
        projections = self.project(inputs)  # (B, T, blocks · D)
        mixed = projections.dtype != inputs.dtype  # autocast: rounded once, not again at every step
        with torch.autocast(inputs.device.type, enabled=False) if mixed else nullcontext():
            for projected in projections.to(inputs.dtype).unbind(dim=1):  # (B, blocks · D)
                now = self.step(projected, now)
                states.append(now)
        if isinstance(now, Tensor):
            outputs = torch.stack(states, dim=1)  # (B, T, D)
            return outputs, now if lengths is None else _last(outputs, lengths)
        outputs = torch.stack([hidden for hidden, _ in states], dim=1)  # (B, T, D)
        if lengths is None:
            return outputs, now
        cells = torch.stack([cell for _, cell in states], dim=1)  # (B, T, D)
        return outputs, (_last(outputs, lengths), _last(cells, lengths))


def _start(layer: Recurrent, inputs: Tensor, state: State | None, lengths: Tensor | None) -> Any:
    """Check the arguments of a layer's `forward`, and return the state to start from."""
    weight = layer.weight_hh_l0
    if not isinstance(inputs, Tensor) or inputs.dtype != weight.dtype:
        got = inputs.dtype if isinstance(inputs, Tensor) else type(inputs).__name__
        raise TypeError(f"inputs: expected a tensor of the weights' dtype, {weight.dtype}, got {got}")
    if inputs.ndim != 3 or 0 in inputs.shape or inputs.shape[-1] != layer.d_input:
        raise ValueError(
            f"inputs: expected shape (B, T, {layer.d_input}) with B and T ≥ 1, got {shape_text(inputs)}"
        )
    batch, length, _ = inputs.shape
    if lengths is not None:
        check_lengths(lengths)
        if lengths.shape[0] != batch or lengths.min() < 1 or lengths.max() > length:
            raise ValueError(f"lengths: expected {batch} values in 1 … {length}, got {lengths.tolist()}")
    start = layer.initial_state(batch)
    if state is None:
        return start
    for part in state if isinstance(state, tuple) else (state,):
        if not isinstance(part, Tensor) or part.dtype != weight.dtype:
            got = part.dtype if isinstance(part, Tensor) else type(part).__name__
            raise TypeError(f"state: expected the weights' dtype, {weight.dtype}, got {got}")
    if _state_text(state) != _state_text(start):
        raise ValueError(f"state: expected {_state_text(start)}, got {_state_text(state)}")
    return state


def _state_text(state: State) -> str:
    """Write what a state is made of, for error messages."""
    if isinstance(state, tuple):
        return f"a tuple of {len(state)}: ({', '.join(shape_text(part) for part in state)})"
    return f"a tensor {shape_text(state)}"


def _last(sequence: Tensor, lengths: Tensor) -> Tensor:
    """Pick each row's last real position: ``(B, T, D)`` → ``(B, D)``."""
    rows = torch.arange(len(sequence), device=sequence.device)  # (B,)
    return sequence[rows, lengths.to(sequence.device, torch.int64) - 1]


class SimpleRNN(Recurrent):
    """The plain recurrent network: h_t = tanh(W_ih x_t + b_ih + W_hh h_{t−1} + b_hh).

    Parameters
    ----------
    d_input, d_hidden
        As for `Recurrent`.

    Notes
    -----
    Source: Elman 1990. Equal to `torch.nn.RNN` with tanh.
    """

    blocks = 1

    def step(self, projected: Tensor, state: Tensor) -> Tensor:
        """Map ``projected (B, D)`` and the last state ``(B, D)`` to the next state ``(B, D)``."""
        return torch.tanh(torch.addmm(projected, state, self.weight_hh_l0.T))  # tanh(projected + W_hh state)


class GRU(Recurrent):
    """A recurrent layer with two gates: *reset* what the candidate sees, *update* the state in shares.

    Parameters
    ----------
    d_input, d_hidden
        As for `Recurrent`.

    Notes
    -----
    Source: Cho et al. 2014, section 2.3; there the reset gate acts on the state. Here, as in `torch.nn.GRU`, it
    acts on the state's product with the recurrent weights, bias included. Blocks stand in the order reset, update,
    candidate.
    """

    blocks = 3

    def project(self, inputs: Tensor) -> Tensor:
        """Map ``inputs (B, T, I)`` with their own bias, W_ih x_t + b_ih: ``(B, T, 3·D)``."""
        return F.linear(inputs, self.weight_ih_l0, self.bias_ih_l0)

    def step(self, projected: Tensor, state: Tensor) -> Tensor:
        """Map ``projected (B, 3·D)`` and the last state ``(B, D)`` to the next state ``(B, D)``."""
        reset_x, update_x, candidate_x = projected.chunk(3, dim=-1)  # 3 × (B, D)
        recurrent = F.linear(state, self.weight_hh_l0, self.bias_hh_l0)  # (B, 3·D)
        reset_h, update_h, candidate_h = recurrent.chunk(3, dim=-1)  # 3 × (B, D)
        reset = torch.sigmoid(reset_x + reset_h)
        update = torch.sigmoid(update_x + update_h)
        candidate = torch.tanh(candidate_x + reset * candidate_h)
        return torch.lerp(candidate, state, update)  # (1 − update) · candidate + update · state


class LSTM(Recurrent):
    """A recurrent layer with a cell beside its hidden vector, and three gates.

    *Forget* what the cell held, take in the *candidate* through the *input* gate, show the cell through the
    *output* gate.

    Parameters
    ----------
    d_input, d_hidden
        As for `Recurrent`.

    Notes
    -----
    Source: Hochreiter & Schmidhuber 1997; the forget gate is that of Gers, Schmidhuber & Cummins 2000. As in
    `torch.nn.LSTM`, blocks stand in the order input, forget, candidate, output.
    """

    blocks = 4

    def initial_state(self, batch: int) -> tuple[Tensor, Tensor]:
        """Return a hidden vector and a cell of zeros for a batch of that size."""
        return super().initial_state(batch), super().initial_state(batch)

    def step(self, projected: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Map ``projected (B, 4·D)`` and the last (hidden, cell) to the next, each ``(B, D)``."""
        hidden, cell = state
        blocks = torch.addmm(projected, hidden, self.weight_hh_l0.T)  # projected + W_hh hidden, (B, 4·D)
        input_gate, forget_gate, candidate, output_gate = blocks.chunk(4, dim=-1)  # 4 × (B, D)
        cell = torch.sigmoid(forget_gate) * cell + torch.sigmoid(input_gate) * torch.tanh(candidate)
        return torch.sigmoid(output_gate) * torch.tanh(cell), cell
