"""Tell attention where each token stands. Axis letters are those of `transformer_book.shapes`.

Every encoding takes an `offset`: the position of the first vector it is given. A decoder that writes one token at
a time hands over one vector at a time, and without an offset each would stand at position 0.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from transformer_book.shapes import check_inputs, check_widths


def sinusoids(length: int, d_model: int) -> Tensor:
    """Describe each position by sines and cosines of falling frequency.

    Parameters
    ----------
    length
        Number of positions T ≥ 1.
    d_model
        Width D. Column 2i holds sin(t / 10000^(2i/D)), column 2i + 1 the cosine of the same angle.

    Returns
    -------
    Tensor
        float32 ``(T, D)``.

    Raises
    ------
    ValueError
        `length` or `d_model` is below 1.

    Notes
    -----
    Source: Vaswani et al. 2017, section 3.5. Angles are computed in float64: rounded to float32 they would be
    off by up to 2e-3 at position 50,000.
    """
    check_widths(length=length, d_model=d_model)
    columns = torch.arange(0, d_model, 2, dtype=torch.float64)  # (⌈D/2⌉,)
    frequencies = torch.exp(-math.log(10000.0) / d_model * columns)  # (⌈D/2⌉,)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies  # (T, ⌈D/2⌉)
    table = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)  # (T, D) or one column more
    return table[:, :d_model].float()  # an odd width ends on a sine


class Positions(nn.Module):
    """Add to each embedding a vector that depends on its position: a row of `table`, ``(max_length, D)``.

    Made with ``(d_model, max_length)``, width D and most positions; a size below 1 raises ValueError.
    """

    table: Tensor

    def forward(self, inputs: Tensor, offset: int = 0) -> Tensor:
        """Add to ``inputs (B, T, D)`` the positions `offset` … `offset` + T − 1.

        Raises
        ------
        ValueError
            A shape does not fit, or a position is not in 0 … `max_length` − 1.
        """
        check_inputs(self.table.shape[1], inputs=inputs)
        last = offset + inputs.shape[1] - 1
        if offset < 0 or last >= len(self.table):
            raise ValueError(f"inputs: expected positions in 0 … {len(self.table) - 1}, got {offset} … {last}")
        return inputs + self.table[offset : last + 1]  # (B, T, D)


class SinusoidalPositions(Positions):
    """Fixed sines and cosines.

    Notes
    -----
    Source: Vaswani et al. 2017, section 3.5.
    """

    def __init__(self, d_model: int, max_length: int) -> None:
        super().__init__()
        self.register_buffer("table", sinusoids(max_length, d_model), persistent=False)


class LearnedPositions(Positions):
    """One learned vector per position; one that is never trained on keeps its first random numbers.

    Notes
    -----
    Source: Gehring et al. 2017, section 3.1; Vaswani et al. 2017, table 3, row E. They start as small as the
    embeddings are before their scaling, from N(0, 1/D).
    """

    def __init__(self, d_model: int, max_length: int) -> None:
        super().__init__()
        check_widths(d_model=d_model, max_length=max_length)
        self.table = nn.Parameter(torch.randn(max_length, d_model) / math.sqrt(d_model))


class NoPositions(Positions):
    """Nothing is added: a token does not know where it stands."""

    def __init__(self, d_model: int, max_length: int) -> None:
        super().__init__()
        check_widths(d_model=d_model, max_length=max_length)
        self.register_buffer("table", torch.zeros(max_length, d_model), persistent=False)


#: Name → class, made with ``(d_model, max_length)``.
POSITIONS: dict[str, Callable[[int, int], Positions]] = {
    "sinusoidal": SinusoidalPositions,
    "learned": LearnedPositions,
    "none": NoPositions,
}
