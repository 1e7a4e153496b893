"""One PDF of the whole book: set as one page of HTML, printed by Chromium, finished and checked with pikepdf.

Chromium prints no page numbers into a table of contents (no ``target-counter``), so the book is printed twice: the
first time to learn on which page everything begins, the second with these numbers in their places.
"""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pikepdf
from bs4 import BeautifulSoup, Tag
from playwright.sync_api import Browser

from takeaway import pdf_check
from takeaway.browser import open_file
from takeaway.errors import TakeawayError
from takeaway.volume import HEADINGS, Page, Volume, anchor_of, find, new_tag, text_of

STYLE = Path(__file__).with_name("paper.css")
#: Begins the alternative text of a formula, so that it can be told from a picture's.
FORMULA = "Formula: "


def lay_out(volume: Volume) -> BeautifulSoup:
    """Set the volume as one page of HTML; the page numbers of its contents are still zeros."""
    soup = BeautifulSoup("<!DOCTYPE html><html><head><meta charset='utf-8'></head><body></body></html>", "lxml")
    root, head, body = find(soup, "html"), find(soup, "head"), find(soup, "body")
    root.attrs.update({"lang": volume.language, "data-theme": "light"})
    head.append(new_tag("title", volume.title))
    for sheet in style_sheets(volume):
        head.append(new_tag("link", rel="stylesheet", href=sheet.as_uri()))
    heads = "".join(_running_head(page) for page in volume.pages)
    head.append(new_tag("style", STYLE.read_text(encoding="utf-8") + heads))
    body.append(_title_page(volume))
    body.append(_contents(volume))
    for part, pages in volume.parts:
        for page in pages:
            _set_page(page)
            around = new_tag("div", class_="bd-content", style=f"page: {page.slug}")
            if part and page is pages[0]:
                around.append(new_tag("h1", part, class_="tb-part"))
            inner = new_tag("div", class_="bd-article-container")
            inner.append(page.body)
            around.append(inner)
            body.append(around)
    return soup


def style_sheets(volume: Volume) -> list[Path]:
    """Return the style sheets of the book's pages, each once, in order."""
    found: dict[Path, None] = {}
    for page in volume.pages[:-1]:
        path = volume.html / f"{page.name}.html"
        head, _, _ = path.read_text(encoding="utf-8").partition("</head>")
        for link in BeautifulSoup(head, "lxml").select('link[rel="stylesheet"]'):
            found[(path.parent / str(link["href"]).partition("?")[0]).resolve()] = None
    return list(found)


def _running_head(page: Page) -> str:
    text = page.title.replace("\\", "\\\\").replace('"', '\\"')
    return f'@page {page.slug} {{ @top-center {{ content: "{text}"; font: 9pt sans-serif }} }}\n'


def _title_page(volume: Volume) -> Tag:
    site = volume.book.page_url(volume.book.root / "index.md").removesuffix("index.html")
    front = new_tag("div", class_="tb-title-page")
    logo = volume.book.root / str(volume.book.config["logo"])
    front.append(new_tag("img", src=logo.absolute().as_uri(), alt="", role="presentation"))
    front.append(new_tag("p", volume.title, class_="tb-title"))
    front.append(new_tag("p", volume.author, class_="tb-author"))
    live = new_tag("p", "The pages this was printed from, where the widgets can be worked: ", class_="tb-site")
    live.append(new_tag("a", site, href=site))
    front.append(live)
    return front


def _contents(volume: Volume) -> Tag:
    contents = new_tag("nav", id="contents", class_="tb-contents")
    contents.append(new_tag("h1", "Contents"))
    outer = new_tag("ol")
    for part, pages in volume.parts:
        entry, inner = new_tag("li"), new_tag("ol")
        if part:
            entry.append(new_tag("p", part, class_="tb-part"))
        for page in pages:
            chapter, sections = new_tag("li"), new_tag("ol")
            chapter.append(_entry(page.title, page.slug, "tb-chapter"))
            for section in page.headings(2)[1:]:
                line = new_tag("li")
                line.append(_entry(text_of(section), anchor_of(section)))
                sections.append(line)
            if sections.contents:
                chapter.append(sections)
            inner.append(chapter)
        entry.append(inner)
        outer.append(entry)
    contents.append(outer)
    return contents


def _entry(title: str, target: str, class_: str = "tb-section") -> Tag:
    entry = new_tag("a", href=f"#{target}", class_=class_)
    entry.append(new_tag("span", title))
    entry.append(_page_number())
    return entry


def _page_number() -> Tag:
    """Hold the place for the number of the page to which the link around it leads."""
    return new_tag("span", "000", class_="tb-page-number")


def _set_page(page: Page) -> None:
    """Bring headings one level down, below those of the parts, and make each formula one thing with a name."""
    for heading in page.body.find_all(HEADINGS[:5]) if page.part else []:
        heading.name = HEADINGS[HEADINGS.index(heading.name) + 1]
    for formula in page.body.select(".katex"):
        tex = text_of(find(formula, "annotation"))
        find(formula, ".katex-mathml").decompose()
        del find(formula, ".katex-html")["aria-hidden"]
        formula.attrs.update({"role": "img", "aria-label": FORMULA + tex})
    for figure in page.body.select("figure, figcaption"):
        figure.name = "div"  # as a figure it would be one without an alternative text, around the one that has it
        figure["class"] = " ".join([*map(str, figure.get_attribute_list("class")), "figure"])
    for link in page.body.select(".tb-turn a"):
        link.append(", page ")
        link.append(_page_number())
    for image in page.body.select("img[loading]"):
        del image["loading"]


def make(browser: Browser, volume: Volume, path: Path) -> None:
    """Print the volume and check what came of it.

    Parameters
    ----------
    path
        The file to write; what it is made from is put beside it.

    Raises
    ------
    TakeawayError
        A page number or a target is lost, or the PDF is not as it must be.
    """
    for name, data in volume.files.items():
        (path.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (path.parent / name).write_bytes(data)
    soup = lay_out(volume)
    source, printed = path.with_suffix(".html"), path.with_suffix(".printed.pdf")
    source.write_text(str(soup), encoding="utf-8")
    print_file(browser, source, printed, tagged=False)
    numbers = target_pages(printed)
    for number in soup.select("a .tb-page-number"):
        link = number.find_parent("a")
        target = str(link["href"])[1:] if link else ""
        if target not in numbers:
            raise TakeawayError(f"expected {target} to be on a page of the PDF, found it on none")
        number.string = str(numbers[target])
    source.write_text(str(soup), encoding="utf-8")
    print_file(browser, source, printed, tagged=True)
    if numbers != target_pages(printed):
        raise TakeawayError("expected the page numbers in the contents to move nothing to another page; they did")
    body = find(soup, "body")
    outline = [(HEADINGS.index(heading.name) + 1, text_of(heading)) for heading in body.find_all(HEADINGS)]
    finish(printed, volume, [title for _, title in outline], path)
    problems = pdf_check.problems(
        path,
        title=volume.title,
        language=volume.language,
        outline=outline,
        shown=body.get_text(),
    )
    if problems:
        raise TakeawayError("the PDF is not as it must be:\n" + "\n".join(problems))


def print_file(browser: Browser, source: Path, printed: Path, *, tagged: bool) -> None:
    """Print a file of HTML, with tags and bookmarks or, which is faster, without."""
    page = open_file(browser, source)
    page.emulate_media(media="screen")  # the theme prints a chapter, not a book
    page.pdf(path=printed, prefer_css_page_size=True, print_background=True, tagged=tagged, outline=tagged)
    page.close()


def target_pages(path: Path) -> dict[str, int]:
    """Return for each place that a link of a PDF leads to the number of its page, counted from 1."""
    with pikepdf.open(path) as pdf:
        numbers = {page.obj.objgen: number for number, page in enumerate(pdf.pages, start=1)}
        return {str(name)[1:]: numbers[place[0].objgen] for name, place in pdf.Root.get("/Dests", {}).items()}


#: Radicals for which Unicode gives no character that they are compatible with.
_RADICALS = {"⻓": "长"}


def plain_radicals(cmap: bytes) -> bytes:
    """Name Chinese characters in a font's ToUnicode map as they are written.

    Where a font draws a radical, as ⾃ (U+2F83), and a character, 自 (U+81EA), alike, Chromium takes the first of
    them, and nobody who searches for the character finds it.
    """

    def plain(found: re.Match[bytes]) -> bytes:
        radical = chr(int(found[2], 16))
        return b"%s<%04X>" % (found[1], ord(_RADICALS.get(radical, unicodedata.normalize("NFKC", radical))))

    return re.sub(rb"(^<[0-9A-F]{2,4}> )<(2[EF][0-9A-F]{2})>$", plain, cmap, flags=re.MULTILINE)


def part_words(pdf: pikepdf.Pdf, titles: list[str]) -> None:
    """Put the spaces back into bookmarks: Chromium leaves them out where a heading's line breaks."""

    def walk(items: list[pikepdf.OutlineItem]) -> Iterator[pikepdf.OutlineItem]:
        for item in items:
            yield item
            yield from walk(item.children)

    with pdf.open_outline(max_depth=len(HEADINGS)) as outline:
        for item, title in zip(walk(outline.root), titles, strict=False):  # pdf_check counts them
            if "".join(item.title.split()) == "".join(title.split()):
                item.title = title


def finish(printed: Path, volume: Volume, titles: list[str], path: Path) -> None:
    """Give a printed PDF its description and titles, tell formulas from pictures, and store it small."""
    with pikepdf.open(printed) as pdf:
        part_words(pdf, titles)
        for element in pdf_check.elements(pdf):
            if str(element.get("/Alt", "")).startswith(FORMULA):
                element.S = pikepdf.Name.Formula
        for font in pdf_check.fonts(pdf):
            if "/ToUnicode" in font:
                font.ToUnicode.write(plain_radicals(font.ToUnicode.read_bytes()))
        with pdf.open_metadata() as description:
            description["dc:title"] = volume.title
            description["dc:creator"] = [volume.author]
            description["dc:language"] = {volume.language}
        pdf.save(path, object_stream_mode=pikepdf.ObjectStreamMode.generate)
