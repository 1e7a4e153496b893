"""What a browser fetches before a reader does anything, what figures weigh, and icons that cost next to nothing."""

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


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_control_shows_its_icon(visit, width, theme):
    page = visit(CHAPTER, width=width, theme=theme).page
    shown = set()

    def look():
        for control in page.locator(CONTROLS).all():
            if not control.is_visible():
                continue
            icon = control.locator("svg:visible, img:visible").first
            box = icon.bounding_box()
            assert min(box["width"], box["height"]) >= 8, control.evaluate("e => e.outerHTML")
            fill = icon.evaluate("e => getComputedStyle(e.querySelector('path') ?? e).fill")
            assert icon.evaluate("e => e.tagName") == "IMG" or fill == control.evaluate(
                "e => getComputedStyle(e.querySelector('svg')).color"
            )
            shown.add(control.evaluate("e => e.className"))

    look()
    for menu in page.locator(".article-header-buttons .dropdown > button").all():
        menu.click()
        page.locator(".dropdown-menu.show").wait_for()
        look()
        page.keyboard.press("Escape")
    page.evaluate("scrollTo(0, 3000)")
    page.wait_for_function("scrollY > 2000")
    page.evaluate("scrollBy(0, -500)")  # the button comes when a reader scrolls back
    page.locator("#pst-back-to-top").wait_for()
    look()
    assert len(shown) >= 12, shown


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
