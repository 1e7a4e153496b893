"""What of a chapter's page goes on slides, by these rules.

- a heading begins a slide, and the first sentence below it leads the slide;
- shown are predictions and warnings, what the chapter promises at its beginning, formulas, figures with the first
  sentence of their caption, widgets (a picture, with a link to the page where they live), tables, lists, bold
  statements, and exercises without their solutions;
- code is shown if it is short: a cell of at most `CODE` lines with what it prints, shown source without its
  docstrings of at most `SOURCE` lines; plotting and longer code stay on the page, and so do the cells above the
  first section, which set everything up;
- everything else is what a speaker says: the notes of the slide it stands beside;
- what is folded away, the solutions above all, goes nowhere, and so does the list of further reading.
"""

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString

#: Lines of a cell's code, of shown source, and of what a cell prints, up to which they are shown.
CODE, SOURCE, PRINTED = 12, 26, 12
#: Words from which a bold statement is more than an emphasis, and characters up to which a sentence leads a slide.
STATEMENT, LEAD = 5, 220
NOT_ON_SLIDES = {"details", "script", "style"}
UNSEEN = ("tag_imports", "tag_exercise", "tag_hide-input")
LEFT_OUT = ("further-reading",)


@dataclass
class Piece:
    """Something of a page, in the order of the page.

    Parameters
    ----------
    html
        What it is.
    shown
        Whether it is shown; otherwise it is said.
    widget
        For a widget, the name of its box on the page; its picture is still to be taken.
    """

    html: str
    shown: bool = True
    widget: str = ""


@dataclass
class Topic:
    """What stands under one heading."""

    heading: str
    pieces: list[Piece] = field(default_factory=list)


def topics(page: str) -> list[Topic]:
    """Read a chapter's page; the first topic has the chapter's title.

    Raises
    ------
    ValueError
        It is not the page of a chapter.
    """
    section = BeautifulSoup(page, "html.parser").select_one("article section")
    if section is None or section.find("h1") is None:
        raise ValueError("expected the page of a chapter, found no section with a title")
    for link in section.select("a.headerlink"):
        link.decompose()
    return list(_topics(section))


def _topics(section: Tag) -> Iterator[Topic]:
    heading = section.find(["h1", "h2", "h3"], recursive=False)
    assert isinstance(heading, Tag)
    topic = Topic(_inner(heading))
    for element in section.find_all(recursive=False):
        if element.name == "section":
            if topic is not None:
                yield topic
                topic = None
            if element.get("id") not in LEFT_OUT:
                yield from _topics(element)
        elif element is not heading and topic is not None:
            setting_up = heading.name == "h1" and "cell" in (element.get("class") or [])
            topic.pieces += [] if setting_up else _pieces(element, leads=not topic.pieces)
    if topic is not None:
        yield topic


def _pieces(element: Tag, leads: bool) -> Iterator[Piece]:
    classes = element.get_attribute_list("class")
    if element.name in NOT_ON_SLIDES or "tb-chapter-executed" in classes:
        return
    if "cell" in classes:
        yield from _cell(element, classes)
    elif element.name == "figure":
        yield _figure(element)
    elif element.name in ("ul", "ol"):
        start = int(str(element.get("start") or 1))
        for number, item in enumerate(element.find_all("li", recursive=False), start):
            opened = f'<ol start="{number}">' if element.name == "ol" else "<ul>"
            yield Piece(f"{opened}{_outer(item)}</{element.name}>")
    elif element.name == "p" and "tb-chapter-facts" not in classes:
        if leads and (sentence := first_sentence(element)):
            yield Piece(f'<p class="lead">{sentence}</p>')
        else:
            for strong in element.find_all("strong"):
                if len(strong.get_text().split()) >= STATEMENT:
                    sentence = strong.get_text().rstrip().endswith((".", "!", "?"))
                    yield Piece(f'<p class="statement">{_inner(strong if sentence else element)}</p>')
        yield Piece(_said(element), shown=False)
    else:
        yield Piece(_outer(element))


def _cell(cell: Tag, classes: list[str]) -> Iterator[Piece]:
    code, printed = cell.select_one(".cell_input pre"), cell.select_one(".cell_output")
    figures = printed.select("figure") if printed else []
    widgets = printed.select(".tb-widget") if printed else []
    texts = [pre for pre in printed.select("pre") if not pre.find_parent("figure")] if printed else []
    said = "\n".join(pre.get_text().rstrip("\n") for pre in texts)
    output = f'<pre class="printed">{_escape(said)}</pre>' if 0 < said.count("\n") + bool(said) <= PRINTED else ""
    source = any(name.startswith("tag_src") for name in classes)
    if code and source:
        bare = _without_docstrings(code)
        if len(bare.splitlines()) <= SOURCE:
            yield Piece(f'<div class="highlight"><pre>{bare}</pre></div>')
    elif code and not any(name in UNSEEN for name in classes) and not figures and not widgets:
        rows = len(code.get_text().rstrip("\n").split("\n"))
        if output and rows <= CODE:
            yield Piece(f'<div class="highlight"><pre>{_inner(code)}</pre></div>{output}')
        elif output:
            yield Piece(output)
    for number, figure in enumerate(figures, start=1):
        piece = _figure(figure)
        if number == len(figures):
            piece.html += output
        yield piece
    for widget in widgets:
        yield Piece("", widget=str(widget["data-tb-model"]))


def _figure(figure: Tag) -> Piece:
    picture = figure.find(["svg", "img"])
    caption = figure.select_one("figcaption .caption-text") or figure.select_one("figcaption")
    assert isinstance(picture, Tag)
    said = first_sentence(caption) or _inner(caption) if caption else ""
    return Piece(f"<figure>{_outer(picture, keep_ids=True)}<figcaption>{said}</figcaption></figure>")


def first_sentence(element: Tag) -> str:
    """Return the first sentence of a paragraph as HTML; "" if it is longer than `LEAD` or cannot be told."""
    taken: list[str] = []
    length = 0
    for child in element.children:
        if isinstance(child, NavigableString):
            end = re.search(r"(?<=[.!?])\s", child)
            sentence = child[: end.start()] if end else str(child)
            taken.append(_escape(sentence))
            length += len(sentence)
            if end:
                break
        elif isinstance(child, Tag):
            taken.append(_inner(child) if child.name == "a" else _outer(child))
            length += len(child.get_text())
    else:
        if not element.get_text().rstrip().endswith((".", "!", "?")):
            return ""
    return "".join(taken).strip() if length <= LEAD else ""


def _without_docstrings(code: Tag) -> str:
    bare = copy.copy(code)
    for docstring in bare.select(".sd"):
        docstring.decompose()
    rows = _inner(bare).split("\n")
    return "\n".join(row for row in rows if BeautifulSoup(row, "html.parser").get_text().strip())


def _clean(element: Tag, keep_ids: bool) -> Tag:
    """Copy an element without links, which lead nowhere on a slide, and without ids, which only pictures need."""
    element = copy.copy(element)
    for tag in [element, *element.find_all(True)]:
        tag.attrs.pop("loading", None)  # a picture that comes later cannot be measured
        if not keep_ids and not (tag.name == "svg" or tag.find_parent("svg")):
            tag.attrs.pop("id", None)
    for link in element.find_all("a"):
        link.unwrap()
    for folded in element.find_all("details"):
        folded.decompose()
    return element


def _outer(element: Tag, keep_ids: bool = False) -> str:
    return str(_clean(element, keep_ids))


def _said(element: Tag) -> str:
    """Write an element for the notes, which have no style sheet: formulas as MathML alone."""
    element = _clean(element, keep_ids=False)
    for formula in element.select(".katex"):
        if math := formula.find("math"):
            for source in math.find_all("annotation"):
                source.decompose()
            formula.replace_with(math.extract())
    return str(element)


def _inner(element: Tag) -> str:
    return _clean(element, keep_ids=False).decode_contents().strip()


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
