"""One matplotlib style for every figure of the book: palette, sizes, and a panel that both themes can show."""

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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

MARKERS: tuple[str, ...] = ("o", "s", "^", "D", "v", "P")

_STYLE = {
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
    "axes.prop_cycle": mpl.cycler(color=list(PALETTE.values())),
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Apply the book's style inside a ``with`` block and leave matplotlib's settings as they were."""
    with mpl.rc_context(_STYLE):
        yield


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
