"""The EPUB: what is in it, that all of it is well formed, and what epubcheck says."""

import os
import shutil
import zipfile
from xml.etree import ElementTree

import pytest
from takeaway import epub
from takeaway.errors import TakeawayError

XHTML = "{http://www.w3.org/1999/xhtml}"
MATHS = "{http://www.w3.org/1998/Math/MathML}"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("epub") / "small.epub"


@pytest.fixture
def book(path, browser, read):
    """Give the small book's EPUB, packed once."""
    if not path.exists():
        epub.pack(browser, read(), path)
    with zipfile.ZipFile(path) as packed:
        yield packed


@pytest.fixture
def pages(book):
    names = [name for name in book.namelist() if name.endswith(".xhtml")]
    return {name.removeprefix("book/"): ElementTree.fromstring(book.read(name)) for name in names}


def test_the_first_entry_says_what_it_is(book):
    first = book.infolist()[0]
    assert first.filename == "mimetype"
    assert first.compress_type == zipfile.ZIP_STORED
    assert book.read(first) == b"application/epub+zip"


def test_description_lists_what_is_there(book):
    package = ElementTree.fromstring(book.read("book/package.opf"))
    opf = "{http://www.idpf.org/2007/opf}"
    listed = {item.get("href") for item in package.iter(f"{opf}item")}
    there = {name.removeprefix("book/") for name in book.namelist() if name.startswith("book/")}
    assert listed == there - {"package.opf"}
    ids = {item.get("id"): item.get("href") for item in package.iter(f"{opf}item")}
    order = [ids[item.get("idref")] for item in package.iter(f"{opf}itemref")]
    assert order[:3] == ["cover.xhtml", "nav.xhtml", "book-intro.xhtml"]
    assert order[-1] == "solutions.xhtml"


def test_links_lead_to_places_that_exist(pages):
    ids = {name: {element.get("id") for element in page.iter()} for name, page in pages.items()}
    followed = 0
    for name, page in pages.items():
        for link in page.iter(f"{XHTML}a"):
            file, _, fragment = (link.get("href") or "").partition("#")
            if not file.startswith("https://"):
                followed += 1
                assert not fragment or fragment in ids[file or name], link.get("href")
                assert not file or file in pages, link.get("href")
    assert followed >= 15


def test_formulas_are_mathml_and_nothing_runs_or_is_fetched(pages):
    first = pages["chapters-01_first.xhtml"]
    [formula] = first.iter(f"{MATHS}math")
    assert formula.get("alttext") == "x^2"
    for page in pages.values():
        for element in page.iter():
            assert element.tag != f"{XHTML}script"
            assert not (element.get("src") or "").startswith(("http", "file", "/"))
            assert not any(key.startswith("on") for key in element.attrib)


def test_every_picture_has_its_words(pages):
    alts = [image.get("alt") for page in pages.values() for image in page.iter(f"{XHTML}img")]
    assert sorted(alts) == ["A dial at 3.", "A dot.", "A square.", "Cover: A small book"]


def test_the_same_pages_give_the_same_file(browser, read, book, tmp_path):
    again = tmp_path / "again.epub"
    epub.pack(browser, read(), again)
    with zipfile.ZipFile(again) as packed:
        assert {name: packed.read(name) for name in packed.namelist() if name != "book/package.opf"} == {
            name: book.read(name) for name in book.namelist() if name != "book/package.opf"
        }


@pytest.mark.skipif(not shutil.which("epubcheck"), reason="no epubcheck: apt-get install epubcheck")
def test_epubcheck_finds_a_mistake_and_no_other(browser, read, tmp_path):
    volume = read()
    volume.pages[1].body["colour"] = "green"
    with pytest.raises(TakeawayError) as stopped:
        epub.make(browser, volume, tmp_path / "wrong.epub")
    [line] = [line for line in str(stopped.value).splitlines() if line.startswith(("ERROR", "WARNING"))]
    assert 'attribute "colour" not allowed' in line


def test_missing_epubcheck_is_one_clear_line(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(TakeawayError, match=r"^no epubcheck found: apt-get install epubcheck$"):
        epub.checker()


def test_java_archive_is_run_by_java(monkeypatch, tmp_path):
    archive = tmp_path / "epubcheck"
    archive.write_bytes(b"PK\x03\x04")
    archive.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TakeawayError, match="no Java found"):
        epub.checker()
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\n")
    java.chmod(0o755)
    assert epub.checker() == ["java", "-jar", os.fspath(archive)]
