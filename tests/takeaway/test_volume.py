"""The pages as one text: what moves, what goes, where links lead."""

import re

import pytest
from notebooks.book import Book
from takeaway.errors import TakeawayError
from takeaway.volume import light, read_volume, text_of


@pytest.fixture
def volume(read):
    return read()


def edit(small, page, old, new):
    path = small / "_build" / "html" / f"{page}.html"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_pages_stand_in_order_with_their_parts_and_numbers(volume):
    assert [(page.part, page.title) for page in volume.pages] == [
        ("", "A small book"),
        ("Part I", "1 · First things"),
        ("Part I", "2 · Second thoughts"),
        ("", "Solutions"),
    ]
    assert [(part, len(pages)) for part, pages in volume.parts] == [("", 1), ("Part I", 2), ("", 1)]


def test_solutions_stand_at_the_end_and_not_before(volume):
    *chapters, solutions = volume.pages
    assert "Four" not in "".join(text_of(page.body) for page in chapters)
    assert "Four" in text_of(solutions.body)
    assert [text_of(title) for title in chapters[1].body.select(".tb-unfolded-title")] == ["More"]
    [title] = solutions.body.select("h3")
    assert text_of(title) == "Exercise 1 · add"
    [forth] = chapters[1].body.select(".tb-turn a")
    [back] = solutions.body.select(".tb-turn a")
    assert solutions.body.select_one(f'[id="{forth["href"][1:]}"] h3') is title
    assert "exercise" in chapters[1].body.select_one(f'[id="{back["href"][1:]}"]')["class"]


def test_every_inner_link_leads_to_one_place(volume):
    ids = [name for page in volume.pages for name in page.ids()]
    assert len(ids) == len(set(ids))
    links = [link["href"] for page in volume.pages for link in page.body.select('a[href^="#"]')]
    assert len(links) == 7
    assert {link[1:] for link in links} <= set(ids)


def test_other_links_lead_to_the_published_page_or_stay(volume):
    first = volume.pages[1].body
    hrefs = {text_of(link): link["href"] for link in first.select('a:not([href^="#"])')}
    live = "https://some.github.io/small/chapters/01_first.html"
    assert hrefs == {
        "PyTorch": "https://pytorch.org",
        "data": "https://some.github.io/small/_static/data.txt",
        live: live,
    }


@pytest.mark.parametrize("target", ["02_second.html#deeper", "03_third.html"])
def test_link_to_nowhere_is_an_error(small, read, target):
    edit(small, "chapters/01_first", "02_second.html#deep", target)
    with pytest.raises(TakeawayError, match=re.escape(f"chapters/01_first: expected the link {target}")):
        read()


def test_missing_page_is_an_error(small, read):
    (small / "_build" / "html" / "chapters" / "02_second.html").unlink()
    with pytest.raises(TakeawayError, match=r"02_second\.html: expected a page that `make book` has built"):
        read()


def test_solution_without_an_exercise_is_an_error(small, read):
    edit(small, "chapters/01_first", "exercise admonition", "admonition")
    with pytest.raises(TakeawayError, match="expected an exercise before its solution 1"):
        read()


def test_what_only_a_browser_can_do_is_gone(volume):
    body = volume.pages[1].body
    assert not body.select("picture, source, script, .headerlink, details, svg, header, .tb-widget")
    assert "Unfolded text." in text_of(body)


def test_widget_becomes_a_picture_that_says_what_it_shows(small):
    asked = []
    volume = read_volume(Book(small), small / "_build" / "html", lambda *which: asked.append(which) or b"png")
    assert asked == [("chapters/01_first", 0)]
    [picture] = volume.pages[1].body.select(".tb-still img")
    assert picture["alt"] == "A dial at 3."
    assert volume.files[picture["src"]] == b"png"


def test_widget_with_a_still_picture_keeps_it(small):
    edit(
        small,
        "chapters/01_first",
        "A dial at 3.",
        'A dial.<img src="data:image/svg+xml;base64,PHN2Zy8+" alt="Still.">',
    )
    volume = read_volume(Book(small), small / "_build" / "html", lambda *_: pytest.fail("expected no new picture"))
    [picture] = volume.pages[1].body.select(".tb-still img")
    assert picture["alt"] == "A dial. Still."
    assert volume.files[picture["src"]] == b"<svg/>"


def test_diagram_is_a_file_in_light_colours(volume):
    [diagram] = volume.pages[1].body.select("img.tb-figure")
    assert diagram["alt"] == "A square."
    text = volume.files[diagram["src"]].decode()
    assert "var(" not in text
    assert "fill:#1b1f24" in text
    assert 'width="90" height="60"' in text


def test_size_of_a_diagram_is_the_one_it_is_drawn_in():
    assert light('<svg viewBox="0 0 9 8" width="900"><rect width="1"/></svg>') == (
        '<svg viewBox="0 0 9 8" width="9" height="8"><rect width="1"/></svg>'
    )
