"""What a PDF of the book must have, read from the file itself."""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pikepdf

#: Structure elements that mean nothing without an alternative text.
_PICTURES = ("/Figure", "/Formula")
_CODES = re.compile(rb"<([0-9A-Fa-f]+)>")


def problems(path: Path, *, title: str, language: str, outline: list[tuple[int, str]], shown: str) -> list[str]:
    """Return what is wrong with a PDF, one sentence each.

    Parameters
    ----------
    path
        The file.
    title, language
        What it must say it is called, and written in.
    outline
        Its bookmarks in order, as level (counted from 1) and text.
    shown
        A text; every character of it that has a shape must be drawn with a font that has it.
    """
    with pikepdf.open(path) as pdf:
        return [
            *_description(pdf, title, language),
            *_outline(pdf, outline),
            *_structure(pdf),
            *_links(pdf),
            *_fonts(pdf, shown),
        ]


def _description(pdf: pikepdf.Pdf, title: str, language: str) -> Iterator[str]:
    if str(pdf.docinfo.get("/Title", "")) != title:
        yield f"title: expected {title!r}, got {str(pdf.docinfo.get('/Title', ''))!r}"
    if str(pdf.Root.get("/Lang", "")) != language:
        yield f"language: expected {language!r}, got {str(pdf.Root.get('/Lang', ''))!r}"
    if not pdf.Root.get("/MarkInfo", {}).get("/Marked") or "/StructTreeRoot" not in pdf.Root:
        yield "tags: expected a tagged file, got one without structure"


def _outline(pdf: pikepdf.Pdf, expected: list[tuple[int, str]]) -> Iterator[str]:
    def walk(items: Any, level: int) -> Iterator[tuple[int, str]]:
        for item in items:
            yield level, " ".join(item.title.split())
            yield from walk(item.children, level + 1)

    with pdf.open_outline(max_depth=len(expected)) as opened:
        got = list(walk(opened.root, 1))
    for place, pair in enumerate(zip(expected, got, strict=False)):
        if pair[0] != pair[1]:
            yield f"bookmark {place + 1}: expected {pair[0]}, got {pair[1]}"
            return
    if len(expected) != len(got):
        yield f"bookmarks: expected {len(expected)}, got {len(got)}"


def _structure(pdf: pikepdf.Pdf) -> Iterator[str]:
    count = 0
    for element in elements(pdf):
        if str(element.S) in _PICTURES:
            count += 1
            if not str(element.get("/Alt", "")).strip():
                yield f"{element.S} {element.objgen[0]}: expected an alternative text, found none"


def elements(pdf: pikepdf.Pdf) -> Iterator[pikepdf.Dictionary]:
    """Go through the elements of a PDF's structure, in the order of the file."""
    for found in pdf.objects:
        if isinstance(found, pikepdf.Dictionary) and found.get("/Type") == "/StructElem":
            yield found


def _links(pdf: pikepdf.Pdf) -> Iterator[str]:
    places = {str(name).lstrip("/") for name in pdf.Root.get("/Dests", {})}
    for number, page in enumerate(pdf.pages, start=1):
        for note in page.get("/Annots", []):
            if note.get("/Subtype") != "/Link":
                continue
            address = str(note.get("/A", {}).get("/URI", ""))
            if "/Dest" in note:
                place = str(note.Dest).lstrip("/")
                if place not in places:
                    yield f"page {number}: expected the link to {place} to lead somewhere"
            elif urlsplit(address).scheme not in ("http", "https", "mailto"):
                yield f"page {number}: expected a link inside the file or to an address, got {address!r}"


def _fonts(pdf: pikepdf.Pdf, shown: str) -> Iterator[str]:
    drawn: set[str] = set()
    for font in fonts(pdf):
        drawn |= characters(font.ToUnicode.read_bytes()) if "/ToUnicode" in font else set()
        if font.Subtype == "/Type3":  # its shapes are drawings in the file
            continue
        described = font.DescendantFonts[0] if font.Subtype == "/Type0" else font
        descriptor = described.get("/FontDescriptor", {})
        if not any(name in descriptor for name in ("/FontFile", "/FontFile2", "/FontFile3")):
            yield f"{font.get('/BaseFont')}: expected an embedded font"
    if missing := sorted(character for character in set(shown) - drawn if _has_shape(character)):
        names = ", ".join(f"{character} (U+{ord(character):04X})" for character in missing)
        yield f"fonts: expected every character to be drawn, no font has {names}; on Debian, fonts-noto-cjk"


def fonts(pdf: pikepdf.Pdf) -> Iterator[pikepdf.Dictionary]:
    """Go through the fonts of a PDF."""
    for found in pdf.objects:
        part = ("/CIDFontType0", "/CIDFontType2")  # of a font that stands elsewhere
        if isinstance(found, pikepdf.Dictionary) and found.get("/Type") == "/Font" and found.Subtype not in part:
            yield found


def _has_shape(character: str) -> bool:
    return unicodedata.category(character)[0] not in "CZ" and not unicodedata.combining(character)


def characters(cmap: bytes) -> set[str]:
    """Return the characters that a font's ToUnicode map names."""
    found: set[str] = set()
    for block in re.findall(rb"beginbfchar(.*?)endbfchar", cmap, re.DOTALL):
        for _, text in re.findall(rb"<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f]+)>", block):
            found |= set(_decode(text))
    for block in re.findall(rb"beginbfrange(.*?)endbfrange", cmap, re.DOTALL):
        for first, last, start in re.findall(rb"<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f]+)>\s*(<[^>]+>|\[[^]]*\])", block):
            texts = [_decode(code) for code in _CODES.findall(start)]
            if start.startswith(b"<"):
                steps = range(int(last, 16) - int(first, 16) + 1)
                texts = [texts[0][:-1] + chr(ord(texts[0][-1]) + step) for step in steps]
            found |= set("".join(texts))
    return found


def _decode(code: bytes) -> str:
    return bytes.fromhex(code.decode()).decode("utf-16-be")
