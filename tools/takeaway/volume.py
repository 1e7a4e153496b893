"""The built pages as one text: in the order of the table of contents, without what only a browser can do.

Both files, PDF and EPUB, are made from the pages of `make book`: what a chapter printed is on them already, so
nothing is executed again, and directives, figures, formulas and tables are those of the site. Here the pages are
read, and what differs from a page on a screen is changed once for both:

- an exercise's folded solution moves to the end of the volume, with a link in its place and one back;
- other folded text is unfolded;
- a widget becomes a picture, which `browser.py` takes, with a link to the live one on the published page;
- a diagram becomes a file again, in the colours of the light theme;
- a link leads inside the volume where its page is in it, and to the published page where it is not.

So that text can move, every id is made the book's own: ``PAGE.ID``, and ``PAGE`` for a page's beginning.
"""

import base64
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import yaml
from bs4 import BeautifulSoup, Comment, Tag
from notebooks.book import Book

from takeaway.errors import TakeawayError

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
#: What a page has for a screen only.
_DROPPED = "script, style, noscript, button, .headerlink, .tb-takeaway, .tb-where-live, .sd-summary-state-marker"
_REFERENCES = {"id", "for", "aria-labelledby", "aria-describedby", "headers"}
_VARIABLE = re.compile(r"var\(--[\w-]+,\s*(#[0-9a-fA-F]+)\)")
_DIAGRAM = re.compile(r"tb-figure-\d+-(\w+)$")

_NUMBER = re.compile(r"chapters/(\d+)_")

Picture = Callable[[str, int], bytes]


@dataclass
class Page:
    """One page of the book.

    Parameters
    ----------
    name
        Its source without suffix, such as ``chapters/05_scaled_dot_product``.
    part
        Caption of the part it stands in; empty for the first page and the last.
    body
        What the page says: its ``<article>``.

    Attributes
    ----------
    title : str
        Text of its first heading.
    """

    name: str
    part: str
    body: Tag
    title: str = field(init=False)

    @property
    def slug(self) -> str:
        """Its name in ids and file names."""
        return slug(self.name)

    def __post_init__(self) -> None:
        self.title = text_of(find(self.body, "h1"))

    def ids(self) -> list[str]:
        """Ids that links can lead to."""
        return [str(element["id"]) for element in [self.body, *self.body.find_all(id=True)]]

    def headings(self, deepest: int) -> list[Tag]:
        """Its headings in order, from its title (level 1) down to a level."""
        return self.body.find_all(HEADINGS[:deepest])


@dataclass
class Volume:
    """The whole book, ready to be set on paper or packed.

    Parameters
    ----------
    book
        The checkout it comes from.
    html
        The folder of the built pages.
    pages
        In order; the solutions are the last.
    files
        Pictures, by the name that the pages have for them.
    """

    book: Book
    html: Path
    pages: list[Page]
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Title of the book."""
        return str(self.book.config["title"])

    @property
    def author(self) -> str:
        """Who wrote it."""
        return str(self.book.config["author"])

    @property
    def language(self) -> str:
        """Language of the pages, as in ``<html lang>``."""
        return str(self.book.config["sphinx"]["config"]["language"])

    @property
    def parts(self) -> list[tuple[str, list[Page]]]:
        """The pages under the captions of their parts, in order."""
        found: list[tuple[str, list[Page]]] = []
        for page in self.pages:
            if not found or found[-1][0] != page.part:
                found.append((page.part, []))
            found[-1][1].append(page)
        return found


def slug(name: str) -> str:
    """Turn a title or a page's name into words and hyphens."""
    return re.sub(r"[^\w]+", "-", name.lower()).strip("-")


def text_of(element: Tag) -> str:
    """Text of an element in one line."""
    return " ".join(element.get_text().split())


def find(element: Tag, selector: str) -> Tag:
    """Return the first descendant that a selector names.

    Raises
    ------
    TakeawayError
        There is none.
    """
    found = element.select_one(selector)
    if found is None:
        raise TakeawayError(f"<{element.name} id={element.get('id', '')!r}>: expected {selector}, found none")
    return found


def parse(text: str) -> Tag:
    """Read a piece of HTML that has one outermost element."""
    return find(BeautifulSoup(text, "lxml"), "body > *").extract()


def new_tag(name: str, text: str = "", **attributes: str) -> Tag:
    """Make an element with a text; ``class_`` stands for ``class``."""
    tag = BeautifulSoup("", "lxml").new_tag(name, attrs={key.rstrip("_"): v for key, v in attributes.items()})
    if text:
        tag.string = text
    return tag


def read_volume(book: Book, html: Path, picture: Picture) -> Volume:
    """Read the built pages and make one volume of them.

    Parameters
    ----------
    book
        The checkout.
    html
        The folder that `make book` wrote.
    picture
        Takes the picture of a page's n-th widget, counted from 0: PNG.

    Raises
    ------
    TakeawayError
        A page is missing or is not built as expected, or a link leads nowhere.
    """
    toc = yaml.safe_load((book.root / "_toc.yml").read_text(encoding="utf-8"))
    listed = [("", toc["root"])]
    for part in toc.get("parts", [toc]):
        listed += [(part.get("caption", ""), chapter["file"]) for chapter in part.get("chapters", [])]
    volume = Volume(book, html, [_read(html, name, part) for part, name in listed])
    for page in volume.pages:
        _show_widgets(volume, page, picture)
        _keep_pictures(volume, page)
        _name(page)
    _redirect(volume)
    volume.pages.append(_solutions(volume))
    for page in volume.pages:
        _unfold(page)
    return volume


def _read(html: Path, name: str, part: str) -> Page:
    path = html / f"{name}.html"
    if not path.is_file():
        raise TakeawayError(f"{path}: expected a page that `make book` has built, found none")
    soup = BeautifulSoup(path.read_text(encoding="utf-8"), "lxml")
    body = find(soup, "article.bd-article").extract()
    for element in body.select(_DROPPED):
        element.decompose()
    for choice in body.select("picture"):  # between a wide form and one for phones: a page has room
        for narrow in choice.select("source"):
            narrow.decompose()
        choice.unwrap()
    for comment in body.find_all(string=lambda text: isinstance(text, Comment)):
        comment.extract()
    if number := _NUMBER.match(name):  # by which the chapters call each other
        find(body, "h1").insert(0, f"{int(number[1])} · ")
    return Page(name, part, body)


def _show_widgets(volume: Volume, page: Page, picture: Picture) -> None:
    address = volume.book.page_url(volume.book.root / f"{page.name}.md")
    for number, box in enumerate(page.body.select(".tb-widget[data-tb-model]")):
        alternative = find(box, ".tb-widget-alternative")
        still = alternative.select_one("img")
        alt = text_of(alternative)
        figure = new_tag("figure", class_="tb-still")
        if still:
            alt = f"{alt} {still['alt']}"
            figure.append(new_tag("img", src=str(still["src"]), alt=alt))
        else:
            name = f"images/{page.slug}-widget-{number + 1}.png"
            volume.files[name] = picture(page.name, number)
            figure.append(new_tag("img", src=name, alt=alt))
        caption = new_tag("figcaption", "A still picture. The live one, which you can work, is at ")
        caption.append(new_tag("a", address, href=address))
        figure.append(caption)
        box.replace_with(figure)


def _keep_pictures(volume: Volume, page: Page) -> None:
    for diagram in page.body.select("svg.tb-figure"):
        found = _DIAGRAM.match(str(diagram["id"]))
        source = volume.book.root / "book" / "figures" / f"{found[1] if found else ''}.svg"
        if not source.is_file():
            raise TakeawayError(f"{page.name}: expected a file of book/figures behind {diagram['id']}")
        name = f"images/{source.name}"
        volume.files[name] = light(source.read_text(encoding="utf-8")).encode()
        diagram.replace_with(new_tag("img", class_="tb-figure", src=name, alt=str(diagram["aria-label"])))
    for image in page.body.find_all("img"):
        source = str(image["src"])
        if source in volume.files:
            continue
        if source.startswith("data:image/svg+xml;base64,"):
            data = base64.b64decode(source.partition(",")[2])
            image["src"] = f"images/{page.slug}-{sum(page.slug in name for name in volume.files) + 1}.svg"
            volume.files[str(image["src"])] = data
            continue
        path = (volume.html / page.name).parent / unquote(source)
        if urlsplit(source).scheme or not path.is_file():
            raise TakeawayError(f"{page.name}: expected a picture among the built pages, got {source}")
        image["src"] = f"images/{path.name}"
        volume.files[str(image["src"])] = path.read_bytes()


def light(svg: str) -> str:
    """Give a diagram the colours of the light theme, and the size it is drawn in, which a page sets by itself."""
    found = re.search(r'viewBox="[\d.-]+ [\d.-]+ ([\d.]+) ([\d.]+)"', svg)
    if found is None:
        raise TakeawayError(f"expected a diagram with a viewBox, got {svg[:80]}")
    head, rest = svg[: svg.index(">", found.end())], svg[svg.index(">", found.end()) :]
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return _VARIABLE.sub(r"\1", f'{head} width="{found[1]}" height="{found[2]}"{rest}')


def _name(page: Page) -> None:
    for element in page.body.find_all():  # once through all of them, which are many
        for attribute in element.attrs.keys() & _REFERENCES:
            names = " ".join(element.get_attribute_list(attribute)).split()
            element[attribute] = " ".join(f"{page.slug}.{name}" for name in names)
    page.body["id"] = page.slug


def _redirect(volume: Volume) -> None:
    known = {name for page in volume.pages for name in page.ids()}
    names = {page.name: page.slug for page in volume.pages}
    site = volume.book.page_url(volume.book.root / "index.md").removesuffix("index.html")
    for page in volume.pages:
        for link in page.body.select("a[href]"):
            href = str(link["href"])
            if urlsplit(href).scheme:
                continue
            address, fragment = urldefrag(href)
            path = posixpath.normpath(posixpath.join(posixpath.dirname(page.name), unquote(address)))
            target = page.name if not address else path.removesuffix(".html")
            if target in names:
                link["href"] = "#" + names[target] + (f".{unquote(fragment)}" if fragment else "")
                if link["href"][1:] not in known:
                    raise TakeawayError(f"{page.name}: expected the link {href} to lead somewhere")
            elif (volume.html / path).is_file():
                link["href"] = site + path + (f"#{fragment}" if fragment else "")
            else:
                raise TakeawayError(f"{page.name}: expected the link {href} to lead somewhere")


def _solutions(volume: Volume) -> Page:
    """Move every solution to a page of its own."""
    body = parse('<article id="solutions"><h1>Solutions</h1></article>')
    body.append(new_tag("p", "One way to do each exercise, with the reason. Try first; these will wait."))
    for page in volume.pages:
        boxes = page.body.select("details")
        folded = [box for box in boxes if text_of(find(box, "summary")).startswith("Solution")]
        if not folded:
            continue
        chapter = new_tag("section", id=f"solutions.{page.slug}")
        chapter.append(new_tag("h2", page.title))
        for number, box in enumerate(folded, start=1):
            exercise = box.find_previous(class_="exercise")
            if not isinstance(exercise, Tag):
                raise TakeawayError(f"{page.name}: expected an exercise before its solution {number}, found none")
            exercise["id"] = exercise.get("id") or f"{page.slug}.exercise-{number}"
            title = " · ".join(text_of(find(exercise, ".admonition-title")).split(" · ")[:2])
            solution = new_tag("section", id=f"solutions.{page.slug}.{number}")
            solution.append(new_tag("h3", title))
            forth, back = new_tag("p", class_="tb-turn"), new_tag("p", class_="tb-turn")
            forth.append(new_tag("a", "Solution, at the end of the book", href=f"#{solution['id']}"))
            back.append(new_tag("a", "The exercise", href=f"#{exercise['id']}"))
            solution.append(back)
            for child in list(find(box, "summary").find_next_siblings()):
                solution.append(child.extract())
            box.replace_with(forth)
            chapter.append(solution)
        body.append(chapter)
    return Page("solutions", "", body)


def _unfold(page: Page) -> None:
    for box in page.body.select("details"):
        summary = find(box, "summary")
        summary.name, summary["class"] = "p", "tb-unfolded-title"
        box.name, box["class"] = "div", "tb-unfolded"
        del box["open"]


def anchor_of(heading: Tag) -> str:
    """Return the id that leads to a heading: its own or that of its section.

    Raises
    ------
    TakeawayError
        Neither has one.
    """
    own = heading.get("id") or (heading.parent or heading).get("id")
    if not own:
        raise TakeawayError(f"expected an id for the section {text_of(heading)!r}, found none")
    return str(own)
