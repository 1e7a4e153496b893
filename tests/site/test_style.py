"""The book's colours: enough contrast on the page and on the soft fills, in both themes."""

import re
from pathlib import Path

import pytest

CSS = Path(__file__).resolve().parents[2] / "book" / "style" / "theme.css"
HUES = ("query", "key", "value", "weight", "accent", "muted")


def colours(selector):
    block = re.search(rf"^{re.escape(selector)} {{(.*?)^}}", CSS.read_text(encoding="utf-8"), re.M | re.S)
    return dict(re.findall(r"--tb-([\w-]+): (#[0-9a-f]{6});", block[1]))


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("selector", ["html", 'html[data-theme="dark"]'])
def test_text_colours_can_be_read(selector):
    theme = colours(selector)
    assert contrast(theme["ink"], theme["paper"]) >= 7
    assert contrast(theme["line"], theme["paper"]) >= 3  # lines and frames, not text
    for hue in HUES:
        assert contrast(theme[hue], theme["paper"]) >= 4.5, hue
        assert contrast(theme["ink"], theme[f"{hue}-soft"]) >= 7, hue
        assert contrast(theme[hue], theme[f"{hue}-soft"]) >= 4, hue


def test_both_themes_define_the_same_colours():
    assert set(colours("html")) == set(colours('html[data-theme="dark"]'))
