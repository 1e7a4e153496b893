"""Addresses, descriptions, and the files that only a published site needs."""

import pytest
from docutils.core import publish_doctree
from notebooks.book import Book

DESCRIBED = """\
Title
=====

.. class:: tb-chapter-facts

60 minutes

A formula, :math:`x`, is left out. With its whole paragraph.

The first sentence.
It goes on over a line, and is followed by another one.

.. note:: Boxes are left out.

{more}
"""


@pytest.fixture(scope="module")
def site_address(extension):
    return extension("site_address")


def test_the_address_is_that_of_the_notebooks_links(site_address, tmp_path):
    address = "https://github.com/Some-One/the.book"
    (tmp_path / "_config.yml").write_text(f"repository: {{url: {address}}}")
    assert site_address.published_at(address) == "https://some-one.github.io/the.book/"
    page = Book(tmp_path).page_url(tmp_path / "book" / "intro.md")
    assert page == site_address.published_at(address) + "book/intro.html"


@pytest.mark.parametrize(
    ("more", "end"),
    [
        ("Short.", " another one. Short."),
        ("Too long " * 20 + ".", " another one."),
        ("Too " * 18 + "long. Here it ends.", " Too long."),
    ],
)
def test_a_description_is_whole_sentences_of_prose(site_address, more, end):
    text = DESCRIBED.format(more=more)
    described = site_address.describe(publish_doctree(text, settings_overrides={"doctitle_xform": False}))
    assert described.startswith("The first sentence. It goes on over a line, and")
    assert described.endswith(end)
    assert len(described) <= 160


def test_too_little_prose_is_filled_up(site_address):
    text = "Title\n=====\n\nShort. " + "A long sentence goes on " * 12 + "to its end."
    described = site_address.describe(publish_doctree(text, settings_overrides={"doctitle_xform": False}))
    assert described.startswith("Short. A long sentence")
    assert described.endswith(" …")
    assert 140 < len(described) <= 160


def test_a_page_without_prose_has_no_empty_description(built):
    assert 'content=""' not in built.page("book/claims")
    assert 'name="description"' in built.page("book/paper")


def test_another_repository_is_another_address_everywhere(make_book):
    book = make_book()
    book.replace("_config.yml", "https://github.com/OWNER/transformer-book", "https://github.com/Else/where")
    book.write_toc("book/references")
    assert book.build("-W", "-n").returncode == 0
    html = book.root / "_build/html"
    for name in ("index.html", "404.html", "sitemap.xml", "robots.txt", "book/intro.html"):
        assert "else.github.io/where/" in (html / name).read_text().replace('"/where/', "else.github.io/where/")
        assert "owner" not in (html / name).read_text().lower().replace("ownership", "")
