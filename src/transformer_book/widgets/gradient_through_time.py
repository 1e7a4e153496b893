"""Gradient through time: how much of a gradient is left on its way back through a recurrent layer."""

import math
from functools import cache

import torch
import traitlets

from transformer_book.device import seeded
from transformer_book.experiments.gradient_through_time import state_jacobians
from transformer_book.recurrent import GRU, LSTM, Recurrent, SimpleRNN
from transformer_book.widgets._base import Widget, check_choice, check_integer

CELLS: dict[str, type[Recurrent]] = {"rnn": SimpleRNN, "gru": GRU, "lstm": LSTM}
NAMES = {"rnn": "simple RNN", "gru": "GRU", "lstm": "LSTM"}
D_INPUT, WIDTH = 4, 8
SHORTEST, LONGEST = 5, 60
LEAST, MOST = 0.2, 3.0


@cache
def _draw(seed: int) -> tuple[list[list[float]], dict[str, dict[str, list]]]:
    """Draw inputs and the weights of one layer of each kind, as torch starts them; four digits are kept."""
    generator = torch.Generator().manual_seed(seed)

    def short(values: torch.Tensor) -> list:
        return (values.double() * 1e4).round().div(1e4).tolist()

    inputs = short(torch.randn(LONGEST + 1, D_INPUT, generator=generator))
    layers = {}
    for cell, kind in CELLS.items():
        with seeded(seed):
            layer = kind(D_INPUT, WIDTH)
        layers[cell] = {name: short(weight.detach()) for name, weight in layer.state_dict().items()}
    return inputs, layers


class GradientThroughTime(Widget):
    """Turn up the recurrent weights and watch the gradient vanish, last or explode on its way back.

    A layer of width 8 reads random inputs. Shown is, for each distance k, ‖∂h_T/∂s_{T−k}‖_F / √8: how much a
    gradient is stretched on its way from the last hidden vector h_T to the state k steps back, as root mean square
    over the coordinates of h_T. The state s is all that a step hands to the next, in an LSTM the hidden vector and
    the cell.

    Parameters
    ----------
    scale
        What torch's first recurrent weights are multiplied by, 0.2 … 3.
    length
        Greatest distance, 5 … 60.
    cell
        ``"rnn"``, ``"gru"`` or ``"lstm"``.
    seed
        Of weights and inputs.

    Attributes
    ----------
    scale, length, cell
        As above; synced both ways, so that Python sees what the reader dialled.
    inputs : list
        The inputs read, ``(61, 4)``; `length` + 1 of them are used.
    layers : dict
        Cell → the layer's weights by name, before they are multiplied.

    Raises
    ------
    TypeError
        `length` or `seed` is not an integer, or `scale` not a number.
    ValueError
        An argument is outside its range, or not among its choices.

    Notes
    -----
    Source: Bengio, Simard & Frasconi 1994, section III; Pascanu, Mikolov & Bengio 2013, section 2.
    """

    scale = traitlets.Float().tag(sync=True)
    length = traitlets.Int().tag(sync=True)
    cell = traitlets.Unicode().tag(sync=True)
    inputs = traitlets.List(read_only=True).tag(sync=True)
    layers = traitlets.Dict(read_only=True).tag(sync=True)

    def __init__(self, scale: float = 1.0, length: int = 30, cell: str = "rnn", *, seed: int = 0) -> None:
        inputs, layers = _draw(check_integer("seed", seed, 0, 2**63 - 1))
        self.set_trait("inputs", inputs)
        self.set_trait("layers", layers)
        super().__init__(
            scale=_check_scale(scale),
            length=check_integer("length", length, SHORTEST, LONGEST),
            cell=check_choice("cell", cell, tuple(CELLS)),
        )

    @traitlets.validate("scale")
    def _validate_scale(self, proposal: dict) -> float:
        return _check_scale(proposal["value"])

    @traitlets.validate("length")
    def _validate_length(self, proposal: dict) -> int:
        return check_integer("length", proposal["value"], SHORTEST, LONGEST)

    @traitlets.validate("cell")
    def _validate_cell(self, proposal: dict) -> object:
        return check_choice("cell", proposal["value"], tuple(CELLS))

    def layer(self) -> Recurrent:
        """Make the layer that is shown, its recurrent weights multiplied; float64."""
        layer = CELLS[self.cell](D_INPUT, WIDTH).double()
        weights = {name: torch.tensor(rows, dtype=torch.float64) for name, rows in self.layers[self.cell].items()}
        layer.load_state_dict(weights | {"weight_hh_l0": self.scale * weights["weight_hh_l0"]})
        return layer

    def profile(self) -> list[float]:
        """Give what is left by distance, 0 … `length`, computed by torch's autograd; 1 at distance 0."""
        inputs = torch.tensor(self.inputs[: self.length + 1], dtype=torch.float64)  # (T, I)
        jacobians = state_jacobians(self.layer(), inputs)  # (T, D, parts · D)
        return (torch.linalg.matrix_norm(jacobians) / math.sqrt(WIDTH)).flip(0).tolist()

    def factor(self) -> float:
        """Give the factor per step: e to the slope of the line fitted to log profile from distance 1."""
        y = torch.tensor(self.profile()[1:], dtype=torch.float64).log()
        x = torch.arange(1.0, len(y) + 1, dtype=torch.float64)
        x, y = x - x.mean(), y - y.mean()
        return float(((x * y).sum() / (x * x).sum()).exp())

    def describe(self) -> str:
        """Say in sentences what the widget shows in its present state."""
        return (
            f"{NAMES[self.cell]} with recurrent weights {self.scale:.2f} times those torch starts with. On its "
            f"way back the gradient changes by a factor of {self.factor():.2f} a step; after {self.length} steps "
            f"{self.profile()[-1]:.0e} of it is left."
        )


def _check_scale(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"scale: expected a number, got {value!r}")
    if not LEAST <= value <= MOST:
        raise ValueError(f"scale: expected a number in {LEAST} … {MOST}, got {value}")
    return float(value)
