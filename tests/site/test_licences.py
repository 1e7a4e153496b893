"""Whose every served file is: ours, or of a work whose licence stands on the page *About* and lies beside it."""

import fnmatch
from pathlib import Path

import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = yaml.safe_load((ROOT / "book" / "licences.yml").read_text(encoding="utf-8"))
#: Made from the book's own sources while it is built.
MADE = (
    "[!_]*.html",
    "_sources/*",
    "_images/*",
    "_downloads/*",
    "_static/licences/*",
    "searchindex.js",
    "objects.inv",
    ".buildinfo",
    "sitemap.xml",
    "robots.txt",
    "*.pdf",  # by `make pdf` and `make epub`
    "*.epub",
)
#: Words that a licence's text must have; what one licence calls for, one of an entry's texts has.
WORDS = {
    "MIT": "Permission is hereby granted, free of charge",
    "BSD-2-Clause": "Redistribution and use in source and binary forms",
    "BSD-3-Clause": "Redistribution and use in source and binary forms",
    "SIL OFL 1.1": "SIL OPEN FONT LICENSE",
    "CC BY 4.0": "https://creativecommons.org/licenses/by/4.0/",
}


def served(site):
    return sorted(path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file())


def is_one_of(name, patterns):
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def is_ours(site, name):
    """Whether it is made by the build, or a copy of a file of this repository's own."""
    if is_one_of(name, MADE):
        return True
    own = [ROOT / "book" / folder / Path(name).name for folder in ("style", "extensions", "figures")]
    return any(path.is_file() and path.read_bytes() == (site / name).read_bytes() for path in own)


def test_every_file_that_is_not_ours_has_an_entry(site):
    theirs = [name for name in served(site) if not is_ours(site, name)]
    patterns = [pattern for entry in ENTRIES for pattern in entry["files"]]
    assert [name for name in theirs if not is_one_of(name, patterns)] == []
    assert [name for name in served(site) if name not in theirs and is_one_of(name, patterns)] == []


def test_every_entry_has_a_file(site):
    assert [
        entry["what"] for entry in ENTRIES if not any(is_one_of(n, entry["files"]) for n in served(site))
    ] == []


def test_about_names_every_work_with_its_licence(site):
    page = BeautifulSoup((site / "book" / "about.html").read_text(encoding="utf-8"), "html.parser")
    rows = page.select("table.tb-licences tbody tr")
    assert len(rows) == len(ENTRIES)
    for row, entry in zip(rows, ENTRIES, strict=True):
        what, where, licence = (cell.get_text(" ", strip=True) for cell in row.select("td"))
        assert what == entry["what"]
        assert where
        assert licence.startswith(entry["licence"])


def test_the_texts_of_the_licences_go_with_the_pages(site):
    page = site / "book" / "about.html"
    rows = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").select("table.tb-licences tbody tr")
    for row, entry in zip(rows, ENTRIES, strict=True):
        links = row.select('a[href*="_static/licences/"]')
        texts = [(page.parent / link["href"]).read_text(encoding="utf-8") for link in links]
        assert len(texts) == len(entry["texts"])
        for licence in entry["licence"].split(", "):
            assert any(WORDS[licence] in " ".join(text.split()) for text in texts), f"{entry['what']}: {licence}"
