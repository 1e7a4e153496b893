"""The book's colours in both themes: enough contrast on the page and on the soft fills, for all kinds of sight."""

import re
from itertools import combinations
from pathlib import Path

import pytest
from colours import SIGHTS, contrast, difference

from transformer_book.plotting import PALETTE

CSS = Path(__file__).resolve().parents[2] / "book" / "style" / "theme.css"
HUES = ("query", "key", "value", "weight", "accent", "muted")


def colours(selector):
    block = re.search(rf"^{re.escape(selector)} {{(.*?)^}}", CSS.read_text(encoding="utf-8"), re.M | re.S)
    return dict(re.findall(r"--tb-([\w-]+): (#[0-9a-f]{6});", block[1]))


@pytest.mark.parametrize("selector", ["html", 'html[data-theme="dark"]'])
def test_text_colours_can_be_read(selector):
    theme = colours(selector)
    assert contrast(theme["ink"], theme["paper"]) >= 7
    assert contrast(theme["line"], theme["paper"]) >= 3  # lines and frames, not text
    for hue in HUES:
        assert contrast(theme[hue], theme["paper"]) >= 4.5, hue
        assert contrast(theme["ink"], theme[f"{hue}-soft"]) >= 7, hue
        assert contrast(theme[hue], theme[f"{hue}-soft"]) >= 4.5, hue


@pytest.mark.parametrize("selector", ["html", 'html[data-theme="dark"]'])
@pytest.mark.parametrize("sight", SIGHTS)
def test_colours_are_told_apart_by_everyone(selector, sight):
    theme = colours(selector)
    for one, other in combinations(HUES, 2):
        assert difference(theme[one], theme[other], sight) >= 11, (one, other)


@pytest.mark.parametrize("sight", SIGHTS)
def test_dimmed_figures_of_the_dark_theme_are_told_apart_too(sight):
    left = float(
        re.search(r"cell_output img {\s+filter: brightness\(([\d.]+)\);", CSS.read_text(encoding="utf-8"))[1]
    )

    def dim(colour):
        return "#" + bytes(round(part * left) for part in bytes.fromhex(colour[1:])).hex()

    for one, other in combinations(PALETTE.values(), 2):
        assert difference(dim(one), dim(other), sight) >= 10, (one, other)
        assert contrast(dim(one), dim("#ffffff")) >= 4.5, one


def test_figures_of_both_kinds_have_the_same_colours():
    light = colours("html")
    assert {hue: light[hue] for hue in HUES} == PALETTE


def test_both_themes_define_the_same_colours():
    assert set(colours("html")) == set(colours('html[data-theme="dark"]'))
