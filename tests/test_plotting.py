import math
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb

from transformer_book.plotting import MARKERS, PALETTE, draw_series, figure_style, new_figure

pytestmark = pytest.mark.usefixtures("close_figures")


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_computed_as_wcag_does() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=1e-3)


@pytest.mark.parametrize("role", PALETTE)
def test_every_colour_reads_on_white(role: str) -> None:
    assert contrast(PALETTE[role], "white") >= 4.5


def test_no_two_colours_or_markers_are_the_same() -> None:
    assert len(set(MARKERS)) == len(MARKERS) >= len(PALETTE)
    for one, other in combinations(PALETTE.values(), 2):
        assert math.dist(to_rgb(one), to_rgb(other)) > 0.2


def test_the_style_holds_inside_and_is_gone_outside() -> None:
    before = dict(mpl.rcParams)
    with figure_style():
        assert mpl.rcParams["axes.prop_cycle"].by_key()["color"] == list(PALETTE.values())
        assert mpl.rcParams["axes.spines.top"] is False
        assert mpl.rcParams["figure.facecolor"] == "white"
    assert dict(mpl.rcParams) == before


def test_the_style_is_gone_after_an_error() -> None:
    before = dict(mpl.rcParams)

    @figure_style()
    def fail() -> None:
        assert mpl.rcParams["legend.frameon"] is False
        raise RuntimeError("drawn wrong")

    for _ in range(2):  # a decorated function can be called again
        with pytest.raises(RuntimeError, match="drawn wrong"):
            fail()
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_a_figure_is_one_row_as_wide_as_the_page(columns: int) -> None:
    figure, axes = new_figure(columns, height=2.5)
    assert len(axes) == columns
    assert figure.axes == axes
    assert tuple(figure.get_size_inches()) == (7.2, 2.5)


def test_a_figure_has_a_panel() -> None:
    with pytest.raises(ValueError, match=r"^columns: expected an integer ≥ 1, got 0$"):
        new_figure(0)


def test_a_series_is_drawn_as_measured() -> None:
    _, [axis] = new_figure()
    x, mean, half_width = [1, 2, 4], [3.0, 5.0, 4.0], [0.5, np.nan, 1.0]
    draw_series(axis, x, mean, half_width, "key", "s", "measured")
    [container] = axis.containers
    line, _, (bars,) = container.lines
    assert line.get_xdata().tolist() == x
    assert line.get_ydata().tolist() == mean
    assert to_hex(line.get_color()) == PALETTE["key"]
    assert line.get_marker() == "s"
    assert axis.get_legend_handles_labels()[1] == ["measured"]
    drawn = [segment[:, 1].tolist() for segment in bars.get_segments() if len(segment)]
    assert drawn == [[2.5, 3.5], [3.0, 5.0]]  # none at the NaN


def test_a_role_must_be_in_the_palette() -> None:
    _, [axis] = new_figure()
    with pytest.raises(KeyError, match="mauve"):
        draw_series(axis, [1], [1], [0], "mauve", "o", "x")


def test_a_backend_that_turns_interactive_mode_on_is_left_on() -> None:
    """Inside a notebook the first figure does; switched off again, no later figure would be shown."""
    with figure_style():
        mpl.interactive(True)
    try:
        assert mpl.is_interactive()
    finally:
        mpl.interactive(False)
