from base64 import b64decode
from io import BytesIO
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from coloraide import Color
from colours import SIGHTS, contrast, difference, seen
from IPython.core.formatters import DisplayFormatter
from matplotlib.colors import to_hex
from PIL import Image

from transformer_book.plotting import (
    MARKERS,
    NARROW_VARIABLE,
    PALETTE,
    BookFigure,
    draw_series,
    figure_style,
    new_figure,
)

pytestmark = pytest.mark.usefixtures("close_figures")


def test_colours_are_seen_as_published() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=1e-3)
    # The first pair of Sharma, Wu and Dalal's table 1 is 2.0425 apart.
    one, other = (Color("lab-d65", [50, *ab]).to_string(precision=8) for ab in ((2.6772, -79.7751), (0, -82.7485)))
    assert difference(one, other) == pytest.approx(2.0425, abs=2e-3)
    # Who lacks M cones takes this red for this green (a row of Machado's matrix for severity 1).
    assert seen("#ff0000", "deuteranopia").convert("srgb").to_string(hex=True) == "#a39000"


@pytest.mark.parametrize("role", PALETTE)
def test_every_colour_reads_on_white(role: str) -> None:
    assert contrast(PALETTE[role], "#ffffff") >= 4.5


@pytest.mark.parametrize("sight", SIGHTS)
def test_colours_are_told_apart_by_everyone(sight: str) -> None:
    for one, other in combinations(PALETTE, 2):
        assert difference(PALETTE[one], PALETTE[other], sight) >= 11, (one, other)


def test_no_two_markers_are_the_same() -> None:
    assert len(set(MARKERS)) == len(MARKERS) >= len(PALETTE)


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


@pytest.fixture
def figure() -> BookFigure:
    with figure_style():
        figure, axes = new_figure(3)
        for axis in axes:
            for label in ("a long name of a series", "another name", "a third"):
                axis.plot([0, 1], label=label)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def pixels(figure: BookFigure) -> np.ndarray:
    figure.canvas.draw()
    return np.array(figure.canvas.buffer_rgba())


def test_on_a_phone_panels_stand_below_one_another_and_afterwards_nothing_has_changed(figure: BookFigure) -> None:
    before = pixels(figure)
    with figure.narrow():
        drawn = pixels(figure)
        boxes = [axis.get_window_extent().frozen() for axis in figure.axes]
        legend = figure.legends[0].get_window_extent().frozen()
    assert drawn.shape[1] == 648
    assert drawn.shape[0] > 2 * drawn.shape[1]
    assert boxes[0].y0 > boxes[1].y1
    assert boxes[1].y0 > boxes[2].y1
    assert boxes[0].x0 == pytest.approx(boxes[2].x0)
    assert 0 <= legend.x0 < legend.x1 <= 648
    np.testing.assert_array_equal(pixels(figure), before)


def test_an_error_while_it_is_narrow_leaves_it_wide(figure: BookFigure) -> None:
    before = pixels(figure)
    with pytest.raises(RuntimeError, match="full disk"), figure.narrow():
        raise RuntimeError("full disk")
    np.testing.assert_array_equal(pixels(figure), before)


def test_the_narrow_form_is_shown_where_it_is_asked_for(
    figure: BookFigure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(NARROW_VARIABLE, raising=False)
    assert DisplayFormatter().format(figure)[1] == {}
    monkeypatch.setenv(NARROW_VARIABLE, "1")
    _, metadata = DisplayFormatter().format(figure)
    narrow = Image.open(BytesIO(b64decode(metadata["image/png"]["narrow"])))
    assert narrow.format == "PNG"
    assert narrow.width == 648
    shown = {colour for _, colour in narrow.convert("RGB").getcolors(256)}
    first_series = tuple(bytes.fromhex(PALETTE["query"].removeprefix("#")))
    assert first_series in shown
