"""One matplotlib style for every figure of the book: palette, markers, sizes, and a form for phones."""

import os
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.legend import Legend
from numpy.typing import ArrayLike
from PIL import Image

#: The same thing always has the same colour. Any two are at least 11 apart (CIEDE2000), also for those who lack
#: one kind of cone, and in every figure series differ in marker or line as well.
PALETTE: dict[str, str] = {
    "query": "#1064fe",
    "key": "#b41f00",
    "value": "#3c7341",
    "weight": "#66228a",
    "accent": "#af4c8b",
    "muted": "#485054",
}

#: How a model is drawn, in every figure of the book: role in `PALETTE`, marker, label.
MODELS: dict[str, tuple[str, str, str]] = {
    "rnn": ("key", "s", "simple RNN"),
    "gru": ("query", "o", "GRU"),
    "lstm": ("value", "^", "LSTM"),
    "attention": ("weight", "D", "GRU with attention"),
    "transformer": ("accent", "P", "Transformer"),
}

#: How a score is drawn, in every figure of the book: role in `PALETTE`, marker, label.
SCORES: dict[str, tuple[str, str, str]] = {
    "additive": ("weight", "D", "additive"),
    "dot": ("key", "s", "dot"),
    "scaled_dot": ("query", "o", "scaled dot"),
    "bilinear": ("value", "^", "bilinear"),
}

#: How an encoding of positions is drawn, in every figure of the book: role in `PALETTE`, marker, label.
ENCODINGS: dict[str, tuple[str, str, str]] = {
    "none": ("muted", "P", "none"),
    "sinusoidal": ("query", "o", "sinusoidal"),
    "learned": ("key", "s", "learned"),
    "rotary": ("weight", "D", "rotary"),
}

MARKERS: tuple[str, ...] = ("o", "s", "^", "D", "v", "P")

_STYLE: dict[Any, Any] = {
    "figure.figsize": (7.2, 3.4),
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.grid": True,
    "axes.axisbelow": True,  # no grid across bars
    "grid.color": "#d8dee4",
    "grid.linewidth": 0.6,
    "font.size": 10,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "axes.prop_cycle": cycler(color=list(PALETTE.values())),
}


#: Where the environment has this variable, as in the book's build, a figure that is shown carries its narrow form.
NARROW_VARIABLE = "TRANSFORMER_BOOK_NARROW_FIGURES"
_NARROW_WIDTH = 3.6  # inches: half a page, so that a panel of two is as wide as it was
_NARROW_DPI = 180  # a phone's screen has two or three dots to a pixel


class BookFigure(Figure):
    """A figure as wide as a page, which can also stand on a phone: half as wide, one panel below the other."""

    def legend(self, *args: Any, **kwargs: Any) -> Legend:
        """Add the figure's one legend, and remember how: one with fewer columns has to be made anew."""
        self._legend = args, kwargs
        return super().legend(*args, **kwargs)

    @contextmanager
    def narrow(self) -> Iterator[None]:
        """Lay the figure out for a phone in a ``with`` block; text keeps its size in points."""
        (width, height), dpi = self.get_size_inches(), self.dpi
        places = {axis: place for axis in self.axes if (place := axis.get_subplotspec())}
        with mpl.rc_context(_STYLE):
            try:
                self.set_dpi(_NARROW_DPI)
                panel = height if len(places) == 1 else 0.8 * height
                self.set_size_inches(_NARROW_WIDTH, panel * len(places) + self._narrow_legend())
                rows = GridSpec(len(places), 1, figure=self)
                for row, axis in enumerate(places):
                    axis.set_subplotspec(rows[row])
                yield
            finally:
                self.set_dpi(dpi)
                self.set_size_inches(width, height)
                for axis, place in places.items():
                    axis.set_subplotspec(place)
                self._replace_legend()

    def _narrow_legend(self) -> float:
        """Take columns from the figure's legend until it fits; give its height in inches."""
        for columns in (5, 4, 3, 2, 1) if self.legends else ():
            self._replace_legend(ncols=columns)
            box = self.legends[0].get_window_extent()
            if box.width <= _NARROW_WIDTH * self.dpi:
                return box.height / self.dpi
        return 0.0

    def _replace_legend(self, **changes: Any) -> None:
        if self.legends:
            self.legends[0].remove()
            args, kwargs = self._legend
            super().legend(*args, **kwargs | changes)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, dict[str, str]]] | None:
        """Add the narrow form to what IPython shows, as metadata of the picture that it belongs to."""
        if NARROW_VARIABLE not in os.environ:
            return None
        with self.narrow():
            return {}, {"image/png": {"narrow": b64encode(self.small_png()).decode("ascii")}}

    def small_png(self) -> bytes:
        """Draw as a PNG with a palette: a third of the bytes, and all the colours that lines on white need."""
        self.savefig(drawn := BytesIO(), format="png", dpi=self.dpi)  # without dpi: as when the figure was made
        Image.open(drawn).convert("RGB").quantize(256).save(small := BytesIO(), format="png", optimize=True)
        return small.getvalue()


@contextmanager
def figure_style() -> Iterator[None]:
    """Apply the book's style in a ``with`` block, or to a decorated function, and then restore matplotlib."""
    with mpl.rc_context(_STYLE):
        yield
        interactive = mpl.is_interactive()
    mpl.interactive(interactive)  # a notebook's backend turns this on with the first figure; it must stay on


def new_figure(columns: int = 1, height: float = 3.2) -> tuple[BookFigure, list[Axes]]:
    """Make a figure of one row in the book's style.

    Parameters
    ----------
    columns
        Number of panels, ≥ 1.
    height
        Height in inches; the width is that of a page, 7.2.

    Raises
    ------
    ValueError
        `columns` is below 1.
    """
    if columns < 1:
        raise ValueError(f"columns: expected an integer ≥ 1, got {columns}")
    figure = plt.figure(FigureClass=BookFigure, figsize=(7.2, height), layout="constrained")
    assert isinstance(figure, BookFigure)
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def draw_series(
    axis: Axes, x: ArrayLike, mean: ArrayLike, half_width: ArrayLike, role: str, marker: str, label: str
) -> None:
    """Draw one measured series with its interval.

    Parameters
    ----------
    axis
        Where to draw.
    x, mean, half_width
        Positions, means over seeds and half the 95 % interval, all of one length; NaN draws no bar.
    role
        A name of `PALETTE`.
    marker, label
        As in matplotlib.

    Raises
    ------
    KeyError
        `role` is not in the palette.
    """
    axis.errorbar(x, mean, yerr=half_width, color=PALETTE[role], marker=marker, label=label, capsize=2)
