"""Pages on paper: the text and not the tools, in light colours, nothing cut; and the whole book as one text."""

import re
from pathlib import Path

import pytest
from notebooks.book import Book
from takeaway.volume import read_volume, text_of

ROOT = Path(__file__).resolve().parents[2]
PAPER = 658  # CSS pixels between the margins of A4
NOT_ON_PAPER = ".bd-sidebar, .bd-header-article, .bd-footer-content, .prev-next-footer, .headerlink, .copybtn"
CHAPTER = "chapters/06_multi_head"


@pytest.fixture
def paper(visit):
    """Return a function that opens a page as it is printed, by a reader whose screen is dark."""

    def open_page(name):
        page = visit(name, width=PAPER, theme="dark").page
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        return page

    return open_page


@pytest.mark.parametrize("name_there", [CHAPTER, "chapters/09_training_and_decoding", "book/claims", "book/api"])
def test_paper_has_the_whole_text_and_no_tools(paper, name_there):
    page = paper(name_there)
    shown = page.evaluate(
        "s => [...document.querySelectorAll(s)].filter((e) => e.offsetHeight).length", NOT_ON_PAPER
    )
    assert shown == 0
    assert page.locator("main article h1").is_visible()
    cut = page.evaluate(
        """width => [...document.querySelectorAll("article :is(pre, table, figure, img, .tb-figure, .katex-html)")]
            .filter((e) => e.offsetHeight !== 0 && e.getBoundingClientRect().right > width + 1)
            .map((e) => e.outerHTML.slice(0, 120))""",
        PAPER,
    )
    assert cut == []
    wider_than_its_box = page.evaluate(
        """() => [...document.querySelectorAll("article :is(pre, .tb-scroll, .output, [class*=scrollable])")]
            .filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.outerHTML.slice(0, 120))"""
    )
    assert wider_than_its_box == []


def test_paper_is_light_and_the_screen_is_dark_again_afterwards(paper):
    page = paper(CHAPTER)
    colours = "() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    paper, ink = page.evaluate(colours)
    assert paper == "rgb(255, 255, 255)"
    assert sum(map(int, re.findall(r"\d+", ink)[:3])) < 200
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_paper_shows_widgets_and_says_what_is_folded(paper):
    page = paper(CHAPTER)
    assert page.locator(".tb-widget .tb-root").first.is_visible()
    after = "e => getComputedStyle(e.querySelector('summary'), '::after').content"
    folded = page.locator("article details").first
    assert "open it on the page before you print" in folded.evaluate(after)
    folded.evaluate("e => { e.open = true; }")
    assert folded.evaluate(after) == "none"


def test_the_whole_book_is_one_text_with_its_solutions_at_the_end(site):
    volume = read_volume(Book(ROOT), site, lambda *_: b"")  # raises where a link leads nowhere
    *pages, solutions = volume.pages
    exercises = [box for page in pages for box in page.body.select(".admonition.exercise")]
    assert len(exercises) == len(solutions.body.select("h3")) >= 50
    stubs = {text_of(link) for page in pages for link in page.body.select(".tb-turn a")}
    assert stubs == {"Solution, at the end of the book"}
    assert not any(page.body.select("details, svg:not(.katex svg), script, .tb-widget") for page in volume.pages)
    assert all(image.get("alt", "").strip() for page in volume.pages for image in page.body.select("img"))
    assert {str(image["src"]) for page in volume.pages for image in page.body.select("img")} == set(volume.files)
