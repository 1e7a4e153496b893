"""Why √d: what the width of queries and keys does to scores, weights, entropy and gradient."""

import math
from functools import cache

import torch
import traitlets
from torch import Tensor

from transformer_book.attention import masked_softmax
from transformer_book.widgets._base import Widget, check_choice, check_integer

WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
SCALES = ("none", "sqrt", "d")
MIN_KEYS, MAX_KEYS = 8, 64
NUM_DRAWS = 3
_DIVISOR_TEXT = {"none": "not divided", "sqrt": "divided by √d", "d": "divided by d"}


@cache
def _draw_products(seed: int) -> list[list[list[float]]]:
    """Draw queries and keys from the standard normal; return q·k by draw, width and key.

    Width d means the first d coordinates of the widest query and keys, so that turning the dial adds
    coordinates to the same vectors. Four significant digits are kept: the page carries every number.
    """
    generator = torch.Generator().manual_seed(seed)
    draws = []
    for _ in range(NUM_DRAWS):
        query = torch.randn(WIDTHS[-1], generator=generator, dtype=torch.float64)  # (D,)
        key = torch.randn(MAX_KEYS, WIDTHS[-1], generator=generator, dtype=torch.float64)  # (S, D)
        partial = (query * key).cumsum(dim=1)[:, [width - 1 for width in WIDTHS]]  # (S, widths)
        draws.append([[float(f"{product:.4g}") for product in row] for row in partial.T.tolist()])
    return draws


class WhySqrtD(Widget):
    """Dial the width d and watch scores spread, weights collapse or flatten, and the gradient go.

    One query and up to 64 keys with independent standard-normal coordinates, drawn with torch from `seed`. The
    reader chooses d and what the products q·k are divided by: nothing, √d or d.

    Parameters
    ----------
    width
        Number of coordinates d, one of `WIDTHS` (1, 2, 3, 4, 6, 8, 12, 16, … 4096).
    scale
        What q·k is divided by: ``"none"``, ``"sqrt"`` (√d) or ``"d"``.
    num_keys
        Number of keys S the query is compared with, 8 … 64.
    draw
        Which of the three seeded draws of query and keys, 0 … 2.
    seed
        Seed of all the draws.

    Attributes
    ----------
    width, scale, num_keys, draw
        As above; synced both ways, so that Python sees what the reader dialled.
    widths : list[int]
        The stops of the dial.
    products : list
        The drawn q·k, by draw, width and key: ``(3, 24, 64)``.

    Raises
    ------
    TypeError
        A number is not an integer.
    ValueError
        An argument is outside its range, or not among its choices.

    Notes
    -----
    Source: Vaswani et al. 2017, section 3.2.1 and its footnote 4.
    """

    width = traitlets.Int().tag(sync=True)
    scale = traitlets.Unicode().tag(sync=True)
    num_keys = traitlets.Int().tag(sync=True)
    draw = traitlets.Int().tag(sync=True)
    widths = traitlets.List(read_only=True).tag(sync=True)
    products = traitlets.List(read_only=True).tag(sync=True)

    def __init__(
        self, width: int = 64, scale: str = "none", num_keys: int = 32, draw: int = 0, *, seed: int = 0
    ) -> None:
        check_integer("width", width, WIDTHS[0], WIDTHS[-1])
        check_choice("width", width, WIDTHS)
        check_choice("scale", scale, SCALES)
        check_integer("num_keys", num_keys, MIN_KEYS, MAX_KEYS)
        check_integer("draw", draw, 0, NUM_DRAWS - 1)
        self.set_trait("widths", list(WIDTHS))
        self.set_trait("products", _draw_products(check_integer("seed", seed, 0, 2**63 - 1)))
        super().__init__(width=width, scale=scale, num_keys=num_keys, draw=draw)

    @traitlets.validate("width")
    def _check_width(self, proposal: dict) -> object:
        return check_choice("width", proposal["value"], WIDTHS)

    @traitlets.validate("scale")
    def _check_scale(self, proposal: dict) -> object:
        return check_choice("scale", proposal["value"], SCALES)

    @traitlets.validate("num_keys")
    def _check_num_keys(self, proposal: dict) -> int:
        return check_integer("num_keys", proposal["value"], MIN_KEYS, MAX_KEYS)

    @traitlets.validate("draw")
    def _check_draw(self, proposal: dict) -> int:
        return check_integer("draw", proposal["value"], 0, NUM_DRAWS - 1)

    def scores(self) -> Tensor:
        """Give the divided scores that are shown, float64 ``(S,)``."""
        products = self.products[self.draw][WIDTHS.index(self.width)][: self.num_keys]
        divisor = {"none": 1.0, "sqrt": math.sqrt(self.width), "d": float(self.width)}[self.scale]
        return torch.tensor(products, dtype=torch.float64) / divisor

    def weights(self) -> Tensor:
        """Give the attention weights that are shown, float64 ``(S,)``."""
        return masked_softmax(self.scores())

    def entropy(self) -> float:
        """Give the entropy of the weights in bits: 0 for one key only, log2 S for all keys alike."""
        return float(torch.special.entr(self.weights()).sum() / math.log(2))

    def gradient(self) -> float:
        """Give the Frobenius norm of softmax's Jacobian diag(p) - p pᵀ: how much gradient passes, 0 … ½."""
        weights = self.weights()
        return float((weights.diag() - weights.outer(weights)).norm())

    def describe(self) -> str:
        """Say in sentences what the widget shows in its present state."""
        return (
            f"one query and {self.num_keys} keys of width d = {self.width}, scores {_DIVISOR_TEXT[self.scale]}. "
            f"The scores have standard deviation {float(self.scores().std(correction=0)):.2f}, "
            f"the largest weight is {float(self.weights().max()):.2f}, "
            f"the entropy {self.entropy():.2f} of {math.log2(self.num_keys):.2f} bits, "
            f"and the norm of softmax's gradient {self.gradient():.3f}."
        )
