"""Addresses, all from one place."""

import pytest
from notebooks.book import DEFAULT_EXTENSIONS, Book
from notebooks.errors import ProblemError


def test_every_address_follows_from_the_repository(sample):
    book = sample.book
    path = sample.root / "chapters" / "01 a.ipynb"
    assert book.requirement == "git+https://github.com/Some-Owner/a-book@trunk"
    assert book.raw_url(path) == "https://raw.githubusercontent.com/Some-Owner/a-book/trunk/chapters/01%20a.ipynb"
    assert book.colab_url(path) == (
        "https://colab.research.google.com/github/Some-Owner/a-book/blob/trunk/chapters/01%20a.ipynb"
    )
    assert book.page_url(path, "part") == "https://some-owner.github.io/a-book/chapters/01%20a.html#part"


@pytest.mark.parametrize("url", ["", "https://gitlab.com/a/b", "https://github.com/a"])
def test_another_address_is_refused(sample, url):
    (sample.root / "_config.yml").write_text(f"repository:\n  url: '{url}'\n")
    with pytest.raises(
        ProblemError, match=r"_config\.yml: repository\.url: expected https://github\.com/owner/name"
    ):
        _ = Book(sample.root).repository


def test_a_missing_or_broken_config_is_named(tmp_path):
    with pytest.raises(ProblemError, match=r"_config\.yml: expected in"):
        _ = Book(tmp_path).repository
    (tmp_path / "_config.yml").write_text("- a list\n")
    with pytest.raises(ProblemError, match="expected a mapping, got list"):
        _ = Book(tmp_path).repository


def test_syntax_is_what_the_book_switches_on(sample):
    assert sample.book.extensions == set(DEFAULT_EXTENSIONS)
    (sample.root / "_config.yml").write_text("parse:\n  myst_enable_extensions: [dollarmath]\n")
    assert Book(sample.root).extensions == {"dollarmath"}
