"""A small book, built once: what each extension puts on the pages."""

import json
import re
from datetime import UTC, datetime
from importlib.metadata import version

import pytest
from bs4 import BeautifulSoup

CHAPTER = "chapters/05_scaled_dot_product"


@pytest.fixture(scope="module")
def page(built):
    return lambda name: BeautifulSoup(built.page(name), "html.parser")


def test_maths_is_typeset_numbered_and_referred_to(page):
    chapter = page(CHAPTER)
    block = chapter.select_one("div.math")
    assert block.select_one(".katex-display .katex-html")
    assert block.select_one("math annotation").text.strip() == "a^2 + b^2 = c^2"
    assert block.select_one(".eqno").get_text().startswith("(1)")
    (reference,) = (link for link in chapter.select(f'p a[href="#{block["id"]}"]'))
    assert reference.text == "(1)"
    assert chapter.select_one("span.math .katex-html")
    assert not re.search(r"\\\(|\\\[|\$\$|mathjax@", str(chapter))


def test_maths_style_and_fonts_are_local(built):
    katex = built.root / "_build/html/_static/katex"
    fonts = re.findall(r"url\(([^)]*)\)", (katex / "katex.min.css").read_text())
    assert len(fonts) == 20
    assert all((katex / font).is_file() for font in fonts)
    assert "_static/katex/katex.min.css" in built.page("book/intro")


def test_diagrams_stand_in_the_page(page):
    svg = page(CHAPTER).select_one("figure svg")
    assert svg["aria-label"].startswith("A square with one corner marked")
    assert svg["style"] == "max-width: 100px"
    assert svg.select_one("rect")["fill"] == "var(--tb-query, #1064fe)"
    assert not page(CHAPTER).select("img[src*=square]")


def test_frame_of_a_chapter(page):
    chapter = page(CHAPTER)
    facts = chapter.select_one("h1 + p.tb-chapter-facts").text
    assert facts == "5 minutes · You need: counting · Downloads: nothing"
    executed = chapter.select_one("p.tb-chapter-executed").text
    today = datetime.now(UTC)
    assert executed.startswith(f"Executed and checked on {today.day} {today:%B %Y} · Python ")
    for package in ("torch", "numpy", "matplotlib"):
        assert f"{package} {version(package)}" in executed
    assert not page("book/intro").select(".tb-chapter-facts, .tb-chapter-executed")


def test_a_chapter_for_which_a_gpu_pays_says_why(extension):
    facts = {"minutes": 5, "prerequisites": "none", "downloads": "none"}
    line = extension("chapter_frame").facts_line
    assert line(facts | {"gpu": "it is long"}) == line(facts) + " · A GPU pays: it is long"
    with pytest.raises(ValueError, match="gpu: expected str, got True"):
        line(facts | {"gpu": True})


def test_download_is_the_committed_notebook(built, page):
    link = page(CHAPTER).select_one("a.btn-download-notebook-button")
    assert link["href"] == f"../_sources/{CHAPTER}.ipynb"
    downloaded = built.root / f"_build/html/_sources/{CHAPTER}.ipynb"
    assert downloaded.read_text() == (built.root / f"{CHAPTER}.ipynb").read_text()


def test_claims(page):
    from transformer_book.experiments import CHAPTERS, all_verdicts

    rows = page("book/claims").select("table.tb-claims tbody tr")
    verdicts = all_verdicts()
    assert len(rows) == len(verdicts) >= 4
    for row, verdict in zip(rows, verdicts, strict=True):
        text = row.get_text(" ", strip=True)
        assert text.startswith(verdict.claim.id)
        assert verdict.result.command in text
        assert ("holds" if verdict.verdict.holds else "contradicted") in text
        number = int(verdict.claim.id[1:].partition(".")[0])
        assert row.find("a", href=f"../chapters/{number:02d}_{CHAPTERS[number]}.html")
    assert page("book/claims").select_one("#claim-c5-1")


def test_code_index(page):
    (row,) = page("book/index").select("table.tb-code-index tbody tr")
    shown, chapter, tests = row.select("td a")
    assert shown.text == "transformer_book.small.answer"
    assert shown["href"] == "api.html#transformer_book.small.answer"
    assert chapter["href"] == "../chapters/05_scaled_dot_product.html"
    assert tests["href"].endswith("/blob/main/tests/test_small.py")


def test_notes(page):
    (row,) = page("book/notes").select("table.tb-notes tbody tr")
    assert row.select_one('[lang="zh"]').text == "除以 d"
    assert row.select_one(".tb-verdict-wrong").text == "wrong"
    assert [link["href"] for link in row.select("a[href*=claim]")] == [
        "claims.html#claim-c5-1",
        "claims.html#claim-c5-2",
    ]
    assert row.select_one(".katex")


def test_paper(page, extension):
    parts = extension("book_tables").PARTS
    sections = page("book/paper").select("section section")
    assert [section.h2.find(string=True) for section in sections] == list(parts)
    for section, places in zip(sections, parts.values(), strict=True):
        rows = section.select("table.tb-paper tbody tr")
        assert [row.td.strong.text.lower() for row in rows] == [f"{place.lower()}." for place in places]
    row = page("book/paper").select_one("#paper-section-3-2-1").find_parent("tr")
    says, here = row.select("td")
    assert says.text.strip() == "Section 3.2.1. What section 3.2.1 says."
    assert [mark.text for mark in here.select(".tb-relations .tb-verdict")] == ["built", "measured", "departed"]
    assert here.select_one(".katex")
    assert [
        [line.strong.text, *(link["href"] for link in line.select("a"))] for line in here.select(".tb-links")
    ] == [
        ["Claims", "claims.html#claim-c5-1", "claims.html#claim-c5-2"],
        ["Chapters", "../chapters/05_scaled_dot_product.html", "../chapters/01_recurrence.html"],
        ["Code", "api.html#transformer_book.small.answer"],
    ]
    assert here.select_one(".tb-links code").text == "answer"
    assert page("book/paper").select_one("#paper-table-4").find_parent("tr").select_one(".tb-relation-not-here")


def test_thebe_is_gone_and_references_are_a_list(built, page):
    assert "thebe" not in built.page(CHAPTER).lower()
    assert page("book/references").select('[role="list"] > [role="listitem"].citation')


def test_what_does_not_fit_fails_the_build(make_book):
    book = make_book()
    book.replace(f"{CHAPTER}.md", "minutes: 5", "minutes: five")
    book.replace(f"{CHAPTER}.md", "a^2 + b^2", r"a^2 + \nonsense")
    book.replace(
        f"{CHAPTER}.md", ":alt: A square with one corner marked, to show how diagrams are put into pages.\n", ""
    )
    (book.root / "tests/test_small.py").unlink()
    book.write("book/index.md", "# Code index\n\n```{code-index}\n```\n")
    book.write("book/notes.md", "# Notes\n\n```{notes-map}\n```\n")
    good = {
        "sentence_zh": "除以 d",
        "sentence_en": "Divide by d.",
        "chapter": "scaled_dot_product",
        "claims": ["C5.1"],
        "verdict": "wrong",
        "explanation": "No.",
    }
    changes = [
        {"claims": ["C99.1"]},
        {"chapter": "nowhere"},
        {"verdict": "maybe"},
        {"sentence_zh": " "},
        {"more": 1},
    ]
    book.write("book/notes.yml", json.dumps([good | change for change in changes]))
    book.write_toc(CHAPTER, "book/index", "book/notes", "book/references")

    result = book.build("-W", "--keep-going")

    assert result.returncode != 0
    for message in (
        "front matter, chapter: minutes: expected int, got 'five'",
        r"Undefined control sequence: \nonsense",
        "expected an alternative text (:alt:), found none",
        "transformer_book.small.answer: expected its tests in tests/test_small.py, found none",
        "book/notes.yml, entry 1: claims: expected a list from",
        "book/notes.yml, entry 2: chapter: expected one file chapters/NN_nowhere.md, found 0",
        "book/notes.yml, entry 3: verdict: expected one of right, imprecise, wrong; got 'maybe'",
        "book/notes.yml, entry 4: sentence_zh: expected a text, got ' '",
        "book/notes.yml, entry 5: expected the keys",
    ):
        assert message in result.stdout, f"{message}\n{result.stdout}"


def test_what_does_not_fit_the_paper_fails_the_build(make_book, extension, paper_entry):
    book = make_book()
    book.write("book/paper.md", "# Paper\n\n```{paper-map}\n```\n")
    book.write("book/claims.md", "# Claims\n\n(claim-c5-1)=\n(claim-c5-2)=\n## C5\n")
    book.write("book/api.md", "# API\n\n```{py:function} transformer_book.small.answer()\n```\n")
    good = paper_entry("section 3.2.1") | {"chapters": ["scaled_dot_product"]}
    changes = {
        "expected the keys": {"more": 1},
        "place: expected one of section 1, section 2,": {"place": "section 3.6"},
        "here: expected a text, got ' '": {"here": " "},
        "code: expected a list without repetitions, got 'answer'": {"code": "answer"},
        "claims: expected a list without repetitions": {"claims": ["C5.1", "C5.1"]},
        "claims: expected a list from": {"claims": ["C99.1"]},
        "chapter: expected one file chapters/NN_nowhere.md, found 0": {"chapters": ["nowhere"]},
        "chapters: expected at least one": {"chapters": []},
        "relation: expected some of built, measured, departed, not here; got ['done']": {"relation": ["done"]},
        "relation: expected some of built, measured, departed, not here; got []": {"relation": []},
        "relation: expected 'not here' to stand alone": {"relation": ["not here"]},
        "relation: expected 'measured' where there are claims": {"relation": ["built"]},
        "relation: expected 'measured' where there are claims, and only there": {"claims": []},
        "relation: expected code where something is built": {"code": []},
        "relation: expected 'built' or 'departed' where there is code": {"relation": ["measured"]},
        "place: expected one entry for section 3.2.1, got another": {},
    }
    entries = [paper_entry(place) for place in extension("book_tables").PLACES if place != "section 3.2.1"]
    first = good | {"code": ["transformer_book.small.answer", "transformer_book.small.question"]}
    wrong = [good | change for change in changes.values()]
    book.write("book/paper.yml", json.dumps([*entries[:-1], first, *wrong]))
    book.write_toc(CHAPTER, "book/paper", "book/claims", "book/api", "book/references")

    result = book.build("-W", "--keep-going")

    assert result.returncode != 0
    number = len(entries)
    messages = [f"book/paper.yml, entry {number + i}: {message}" for i, message in enumerate(changes, start=1)]
    messages += [
        "reference target not found: transformer_book.small.question",
        "book/paper.yml: expected an entry for section 7, found none",
    ]
    for message in messages:
        assert message in result.stdout, f"{message}\n{result.stdout}"
    assert f"{len(messages)} warnings" in result.stdout  # nothing is warned of twice, and nothing else
