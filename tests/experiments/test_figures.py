"""Figures of stored results: seen and told apart by everyone, also on a phone, and told with their numbers."""

import re
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from colours import contrast
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.colors import to_hex, to_rgba
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from transformer_book.experiments import REGISTRY, Result, load_result
from transformer_book.plotting import PALETTE, BookFigure

CHAPTERS = sorted((Path(__file__).resolve().parents[2] / "chapters").glob("*.md"))
#: Experiments of which the book shows the result of a GPU.
ON_GPU = {"translation"}
FIGURES = [(name, plot) for name, module in REGISTRY.items() for plot in vars(module) if plot.startswith("plot")]
#: (experiment, function) → alternative text of the cell of a chapter that draws it.
CELL = re.compile(r"    alt: (.+)\n  figure:\n(?:.+\n)+?---\n(?:stored = .+\n)?_ = (\w+)\.(plot\w*)\(stored\)")
ALTS = {
    (name, plot): alt
    for chapter in CHAPTERS
    for alt, name, plot in CELL.findall(chapter.read_text(encoding="utf-8"))
}
NUMBER = re.compile(r"(?<![\w.])\d+(?:[.,]\d+)?(?:e-?\d+)?")
#: CSS pixels that a figure has on a window of 390, between the page's margins and its own frame (tests/site).
PHONE = 330


def stored(name: str) -> Result:
    return load_result(name, "cuda" if name in ON_GPU else "cpu")


@pytest.fixture(scope="module", params=FIGURES, ids=".".join)
def drawn(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param


@pytest.fixture(scope="module")
def figure(drawn: tuple[str, str]) -> Iterator[BookFigure]:
    name, plot = drawn
    figure = getattr(REGISTRY[name], plot)(stored(name))
    figure.canvas.draw()
    yield figure
    plt.close(figure)


def texts(figure: BookFigure) -> Iterator[Text]:
    """Give the texts that are drawn; labels of ticks outside the axes' limits are not."""
    for axis in figure.axes:
        for line in (axis.xaxis, axis.yaxis):
            low, high = sorted(line.get_view_interval())
            drawn = {tick.label1 for tick in line.get_major_ticks() if low <= tick.get_loc() <= high}
            drawn |= {tick.label1 for tick in line.get_minor_ticks() if low <= tick.get_loc() <= high}
            for tick in (*line.get_major_ticks(), *line.get_minor_ticks()):
                tick.label1.set_in_layout(tick.label1 in drawn)
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_in_layout() and text.get_text().strip():
            yield text


def colour_on_white(artist: Artist, colour: object) -> str:
    """Blend a half transparent colour with the white it is drawn on."""
    red_green_blue, alpha = np.array(to_rgba(colour)[:3]), to_rgba(colour, artist.get_alpha())[3]
    return to_hex(red_green_blue * alpha + 1 - alpha)


def test_is_a_figure_with_something_drawn(figure):
    assert isinstance(figure, BookFigure)
    for axis in figure.axes:
        assert axis.has_data()
        assert axis.get_xlabel() or axis.get_title() or axis.get_xticklabels()
    drawn = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    assert 0.02 < (drawn < 250).any(axis=-1).mean() < 0.6


def test_text_can_be_read(figure):
    for text in texts(figure):
        behind = "#ffffff"
        for axis in figure.axes:  # numbers stand on bars
            for bar in axis.patches:
                if text.axes is axis and isinstance(bar, Rectangle) and bar.get_alpha() is None:
                    where = text.get_transform().transform(text.get_position())
                    behind = to_hex(bar.get_facecolor()) if bar.contains_point(where) else behind
        assert contrast(to_hex(text.get_color()), behind) >= 4.5, text


def test_what_is_drawn_can_be_seen(figure):
    for axis in figure.axes:
        for line in axis.lines:
            drawn = line.get_markeredgecolor() if line.get_linestyle() == "None" else line.get_color()
            assert contrast(colour_on_white(line, drawn), "#ffffff") >= 3, line
        for points in axis.collections:
            for colour in (*points.get_edgecolor(), *points.get_facecolor()):
                assert contrast(colour_on_white(points, colour), "#ffffff") >= 3, points


def look(handle: Artist) -> tuple[object, ...]:
    """Give what an entry of a legend looks like, but for its colour."""
    if isinstance(handle, ErrorbarContainer):
        handle = handle.lines[0]
    if isinstance(handle, Line2D):
        return "line", handle.get_marker(), handle.get_linestyle(), handle.is_dashed()
    if isinstance(handle, BarContainer):
        return "bar", id(handle)  # bars stand side by side, in the order of the legend
    return "points", id(type(handle)), handle.get_label()


def test_no_two_series_differ_in_colour_alone(figure):
    for axis in figure.axes:
        handles, labels = axis.get_legend_handles_labels()
        for (one, name), (other, its_name) in combinations(zip(handles, labels, strict=True), 2):
            assert look(one) != look(other), f"{name} and {its_name}"


def test_colours_are_those_of_the_palette(figure):
    known = {*PALETTE.values(), "#000000", "#ffffff"}
    for axis in figure.axes:
        for line in axis.lines:
            drawn = line.get_markeredgecolor() if line.get_linestyle() == "None" else line.get_color()
            assert to_hex(drawn) in known, line
        for patch in axis.patches:
            assert to_hex(patch.get_facecolor()) in known, patch


def test_a_phone_can_show_it(figure):
    with figure.narrow():
        figure.canvas.draw()
        pixels = PHONE / figure.get_size_inches()[0] / 72  # for a point
        for text in texts(figure):
            assert text.get_fontsize() * pixels >= 10, text
            box = text.get_window_extent()
            assert figure.bbox.x0 - 1 <= box.x0, text
            assert box.x1 <= figure.bbox.x1 + 1, text
            assert figure.bbox.y0 - 1 <= box.y0, text
            assert box.y1 <= figure.bbox.y1 + 1, text
        boxes = [axis.get_tightbbox() for axis in figure.axes]
        assert all(above.y0 >= below.y1 - 1 for above, below in pairwise(boxes))


def known_numbers(name: str, figure: BookFigure) -> np.ndarray:
    """Give what a figure's alternative text may say: its experiment's settings and verdicts, and what is drawn."""
    result = stored(name)
    said = [claim.judge(result).figure for claim in REGISTRY[name].CLAIMS.values()] + [str(result.settings)]
    said += [text.get_text() for text in texts(figure)]
    numbers = [float(number.replace(",", "")) for text in said for number in NUMBER.findall(text)]
    for axis in figure.axes:
        for line in axis.lines:
            numbers += [value for value in np.ravel(line.get_xydata()).tolist() if np.isfinite(value)]
        for bar in axis.patches:
            if isinstance(bar, Rectangle):
                numbers += [bar.get_height(), bar.get_width()]
        for points in axis.collections:
            numbers += np.ravel(points.get_offsets()).tolist()
    return np.abs(numbers)


def test_numbers_of_the_alternative_text_are_there(drawn, figure):
    known = known_numbers(drawn[0], figure)
    for number in NUMBER.findall(ALTS[drawn]):
        value, decimals = float(number.replace(",", "")), len(number.partition(".")[2])
        if "e" in number:  # 2.7e-06 to its digits, 1e-06 as an order of magnitude
            least = 1.02 if "." in number else 10**0.5
            near = (value / least <= known) & (known <= value * least)
        else:
            near = np.abs(np.multiply.outer((1, 100), known) - value) <= 0.51 * 10**-decimals
        assert near.any(), f"{number} in: {ALTS[drawn]}"
