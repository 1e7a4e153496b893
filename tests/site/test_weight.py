"""What a browser fetches before a reader does anything, what figures weigh, and icons that cost nothing."""

import gzip
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

FIRST_LOAD = 450_000  # bytes, compressed as a server does
FIGURE = 80_000
CHAPTER = "chapters/05_scaled_dot_product"
#: What servers compress; pictures and fonts are compressed in themselves.
TEXTS = {".html", ".css", ".js", ".svg", ".json", ".xml"}
#: Controls of the theme that show an icon.
CONTROLS = """.bd-header-article :is(button, a.btn), .bd-sidebar-primary .search-button-field,
    .prev-next-area a, #pst-back-to-top, .dropdown-item"""
#: Boxes whose icon a style sheet draws.
TITLES = ".bd-article .admonition > .admonition-title"


def sent(path):
    """Count the bytes that a server sends for a file."""
    data = path.read_bytes()
    return len(gzip.compress(data, compresslevel=6)) if path.suffix in TEXTS else len(data)


def first_load(page):
    """Give the addresses of all that a page has asked for, once it has its letters too."""
    page.evaluate("document.fonts.ready")
    return page.evaluate("performance.getEntries().filter((e) => e.name.startsWith('http')).map((e) => e.name)")


def test_first_load_is_light(visit, server, site, name):
    addresses = set(first_load(visit(name, base=server).page))
    paths = {site / unquote(urlsplit(address).path).lstrip("/") for address in addresses}
    weights = sorted(((sent(path), path.relative_to(site)) for path in paths), reverse=True)
    total = sum(weight for weight, _ in weights)
    heaviest = "\n".join(f"{weight:>9,} {path}" for weight, path in weights[:8])
    assert total <= FIRST_LOAD, (
        f"{name}: {total:,} bytes on first load; the heaviest of {len(weights)}:\n{heaviest}"
    )
    assert len(weights) > 10  # the measurement sees style sheets and scripts


def test_figures_are_light_and_wait_for_their_reader(site, visit, chapter):
    page = BeautifulSoup((site / f"{chapter}.html").read_text(encoding="utf-8"), "html.parser")
    figures = page.select("article img[src*=_images]")
    assert figures
    for figure in figures:
        assert (site / Path(chapter).parent / figure["src"]).stat().st_size <= FIGURE, figure
        assert figure["loading"] == "lazy"
    # Their places have the right shape before they are there, so nothing jumps when they come.
    shapes = visit(chapter, width=390).page.evaluate(
        """async () => {
            const shapes = [];
            for (const figure of document.querySelectorAll("article img[src*=_images]")) {
                const { width, height } = figure;
                figure.loading = "eager";
                await figure.decode();
                shapes.push([width, height, figure.width, figure.height]);
            }
            return shapes;
        }"""
    )
    for width, height, width_after, height_after in shapes:
        assert width == width_after > 0
        assert abs(height - height_after) <= 1


#: Gives each visible control of the theme as its classes, the size of its icon, and whether that has its colour.
LOOK = """controls => controls.filter((control) => control.checkVisibility()).map((control) => {
    const icons = [...control.querySelectorAll("svg, img")].filter((icon) => icon.checkVisibility());
    const { width, height } = icons[0]?.getBoundingClientRect() ?? { width: 0, height: 0 };
    const path = icons[0]?.querySelector("path");
    const coloured = !path || getComputedStyle(path).fill === getComputedStyle(icons[0]).color;
    return [control.className || control.id, icons.length, Math.min(width, height), coloured];
})"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_control_shows_its_icon(visit, width, theme):
    page = visit(CHAPTER, width=width, theme=theme).page
    page.locator("#pst-back-to-top").evaluate("button => { button.style.display = 'block' }")
    seen = page.locator(CONTROLS).evaluate_all(LOOK)
    for menu in page.locator(".article-header-buttons .dropdown > button").all():
        menu.click()
        page.locator(".dropdown-menu.show").wait_for()
        seen += page.locator(CONTROLS).evaluate_all(LOOK)
        page.keyboard.press("Escape")
    assert all(icons == 1 and size >= 8 and coloured for _, icons, size, coloured in seen), seen
    # Colab; repository, edit, issue; notebook, source, print; and what stands on the page itself.
    assert sum("dropdown-item" in control for control, *_ in seen) == 7
    assert len({control for control, *_ in seen}) >= 7 + 7


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_boxes_show_their_icon(visit, theme):
    page = visit(CHAPTER, theme=theme).page
    masks = page.locator(TITLES).evaluate_all(
        """titles => titles.map((title) => {
            const { content, maskImage, backgroundColor, color, fontFamily } = getComputedStyle(title, "::after");
            return [content, maskImage.slice(0, 24), backgroundColor === color, fontFamily.includes("Awesome")];
        })"""
    )
    assert len(masks) > 5
    assert all(mask == ['""', 'url("data:image/svg+xml,', True, False] for mask in masks), masks
