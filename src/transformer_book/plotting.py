"""One matplotlib style for every figure of the book: palette, markers, sizes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

#: The same thing always has the same colour. Distinguishable in the common forms of colour blindness, and
#: every series also has a marker of its own.
PALETTE: dict[str, str] = {
    "query": "#0b6bcb",
    "key": "#b35900",
    "value": "#1a7f37",
    "weight": "#8250df",
    "accent": "#bf3989",
    "muted": "#57606a",
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
    "grid.color": "#d8dee4",
    "grid.linewidth": 0.6,
    "font.size": 10,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "axes.prop_cycle": cycler(color=list(PALETTE.values())),
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Apply the book's style in a ``with`` block, or to a decorated function, and then restore matplotlib."""
    with mpl.rc_context(_STYLE):
        yield
        interactive = mpl.is_interactive()
    mpl.interactive(interactive)  # a notebook's backend turns this on with the first figure; it must stay on


def new_figure(columns: int = 1, height: float = 3.2) -> tuple[Figure, list[Axes]]:
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
    figure, axes = plt.subplots(1, columns, figsize=(7.2, height), layout="constrained", squeeze=False)
    return figure, list(axes[0])


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
