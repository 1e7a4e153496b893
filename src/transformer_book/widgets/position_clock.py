"""Position clock: pairs of coordinates as clock hands that turn at falling speed, for two positions."""

import math
from functools import cache

import torch
import traitlets
from torch import Tensor

from transformer_book.positions import rotate, sinusoids
from transformer_book.widgets._base import Widget, check_choice, check_integer

WIDTHS = (8, 16, 32, 64)
LAST = 127  # positions 0 … LAST
ENCODINGS = ("sinusoidal", "added", "rotary")
NUM_DRAWS = 3
_ENCODING_TEXT = {
    "sinusoidal": "rows of sinusoids",
    "added": "a query and a key with sinusoids added",
    "rotary": "a query and a key turned by their positions",
}


@cache
def _draw_contents(seed: int) -> list[list[list[float]]]:
    """Draw a query and a key of the widest width from the standard normal: draw, (query, key), coordinate.

    Width K means the first K coordinates. Four significant digits are kept: the page carries every number.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(NUM_DRAWS, 2, WIDTHS[-1], generator=generator, dtype=torch.float64)
    return [[[float(f"{number:.4g}") for number in vector] for vector in pair] for pair in drawn.tolist()]


class PositionClock(Widget):
    """Turn two positions' clock hands, one dial per pair of coordinates, and watch the score of the two.

    A pair of coordinates (2i, 2i + 1) is a point of a plane, drawn as a clock hand. Those of a position t are
    turned by the angle t / 10000^(2i/K): the first dial turns fast, the last one hardly.

    Parameters
    ----------
    first, second
        The two positions, 0 … 127.
    width
        Number of coordinates K: 8, 16, 32 or 64; half as many dials.
    encoding
        ``"sinusoidal"``: both vectors are rows of `sinusoids`. ``"added"``: a query and a key, with these rows
        added. ``"rotary"``: the same query and key, turned by `rotate`.
    draw
        Which of three seeded pairs of query and key, 0 … 2.
    seed
        Seed of all of these.

    Attributes
    ----------
    first, second, width, encoding, draw
        As above; synced both ways, so that Python sees what the reader dialled.
    contents : list
        The drawn queries and keys: ``(3, 2, 64)``.

    Raises
    ------
    TypeError
        A number is not an integer.
    ValueError
        An argument is outside its range, or not among its choices.

    Notes
    -----
    Source: Vaswani et al. 2017, section 3.5; Su et al. 2021, section 3.2.
    """

    first = traitlets.Int().tag(sync=True)
    second = traitlets.Int().tag(sync=True)
    width = traitlets.Int().tag(sync=True)
    encoding = traitlets.Unicode().tag(sync=True)
    draw = traitlets.Int().tag(sync=True)
    contents = traitlets.List(read_only=True).tag(sync=True)

    def __init__(
        self,
        first: int = 20,
        second: int = 23,
        width: int = 16,
        encoding: str = "sinusoidal",
        draw: int = 0,
        *,
        seed: int = 0,
    ) -> None:
        check_integer("first", first, 0, LAST)
        check_integer("second", second, 0, LAST)
        check_integer("width", width, WIDTHS[0], WIDTHS[-1])
        check_choice("width", width, WIDTHS)
        check_choice("encoding", encoding, ENCODINGS)
        check_integer("draw", draw, 0, NUM_DRAWS - 1)
        self.set_trait("contents", _draw_contents(check_integer("seed", seed, 0, 2**63 - 1)))
        super().__init__(first=first, second=second, width=width, encoding=encoding, draw=draw)

    @traitlets.validate("first", "second")
    def _check_position(self, proposal: traitlets.Bunch) -> int:
        return check_integer(proposal["trait"].name, proposal["value"], 0, LAST)

    @traitlets.validate("width")
    def _check_width(self, proposal: traitlets.Bunch) -> object:
        return check_choice("width", proposal["value"], WIDTHS)

    @traitlets.validate("encoding")
    def _check_encoding(self, proposal: traitlets.Bunch) -> object:
        return check_choice("encoding", proposal["value"], ENCODINGS)

    @traitlets.validate("draw")
    def _check_draw(self, proposal: traitlets.Bunch) -> int:
        return check_integer("draw", proposal["value"], 0, NUM_DRAWS - 1)

    def content(self) -> tuple[Tensor, Tensor]:
        """Return query and key before any position: float32 ``(K,)`` each."""
        query, key = torch.tensor(self.contents[self.draw])[:, : self.width]
        return query, key

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Return what is compared, at the first and at the second position: float32 ``(K,)`` each."""
        table = sinusoids(LAST + 1, self.width)  # (128, K)
        return self._at(0, table)[self.first], self._at(1, table)[self.second]

    def score(self) -> float:
        """Return the scaled dot product of the two vectors, a · b / √K."""
        first, second = self.vectors()
        return float(first @ second) / math.sqrt(self.width)

    def scores(self) -> Tensor:
        """Return the score of the first vector with the second at every position 0 … 127: float32 ``(128,)``."""
        first, _ = self.vectors()
        return self._at(1, sinusoids(LAST + 1, self.width)) @ first / math.sqrt(self.width)

    def _at(self, which: int, table: Tensor) -> Tensor:
        """Put query (0) or key (1) at every position of a table: ``(128, K)``."""
        if self.encoding == "sinusoidal":
            return table
        content = self.content()[which].expand_as(table)
        return content + table if self.encoding == "added" else rotate(content, table)

    def describe(self) -> str:
        """Say which positions are compared, in which way, and what score they have."""
        return (
            f"{self.width // 2} dials, one for each pair of coordinates, with a hand for position {self.first} "
            f"and one for position {self.second}, {abs(self.first - self.second)} apart. Compared are "
            f"{_ENCODING_TEXT[self.encoding]}; the score is {self.score():.2f}."
        )
