"""What others than readers ask of the published book: addresses, descriptions, cards, a page for wrong ones.

The book's address on GitHub Pages follows from the repository's, which stands in `_config.yml` once. From it come
each page's canonical address and Open Graph tags, `sitemap.xml`, `robots.txt`, and the links of `404.html`: that
page answers any wrong address, of whatever depth, so they are absolute. `index.html` leads to the front page and,
because it is what people pass on, has the front page's tags.

A page's description is the beginning of its prose. Its card, the picture beside a link to it, is drawn for the
front page and for each chapter; other pages have the front page's. Why no existing extension does this: see
`book/log.md`.
"""

import html
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
from docutils import nodes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Rectangle
from PIL import Image
from sphinx.application import Sphinx
from sphinx.config import Config

from transformer_book.plotting import PALETTE

#: Characters of a description: fewer say little, and more are not shown.
SHORTEST, LONGEST = 50, 160
#: Pixels of a card, as Open Graph's users recommend.
CARD = (1200, 630)
CARDS = "_images/cards"
SEARCH = "Search the book: words, formulas such as √d, names of code, claims such as C5.2, and Chinese terms."
LOGO = "book/style/logo.png"
NOT_FOUND = "404"
_NOT_FOUND_BODY = """\
<h1>There is no such page</h1>
<p>The address may have changed since the link was made, or there is a slip in it. Search for what you wanted
(Ctrl+K, or the magnifying glass), choose a chapter from the contents, or begin at
<a href="{front}">the front page</a>.</p>
"""
# What is relative to the page: neither a full address nor one of this server, nor a place in the page.
_RELATIVE = re.compile(r'\b(href|src|action|data-content_root)="(?![a-z]+:|[/#])(?:\./)?')


def published_at(repository: str) -> str:
    """Return where GitHub Pages publishes a repository, with a slash at the end.

    Parameters
    ----------
    repository
        ``https://github.com/owner/name``.
    """
    owner, name = urlsplit(repository).path.strip("/").split("/")
    return f"https://{owner.lower()}.github.io/{name}/"


def name_address(_app: Sphinx, config: Config) -> None:
    """Tell Sphinx where the book will stand."""
    config.html_baseurl = published_at(config.html_theme_options["repository_url"])  # type: ignore[attr-defined]


def describe(doctree: nodes.document) -> str:
    """Return what a page is about: the first sentences of its prose, as many as fit, without formulas.

    Where too little fits, the next sentence stands there to its middle.

    Parameters
    ----------
    doctree
        The page.

    Returns
    -------
    str
        At most `LONGEST` characters; empty if the page has no prose.
    """
    description = ""
    for paragraph in doctree.findall(nodes.paragraph):
        framed = any(name.startswith("tb-") for name in paragraph["classes"])  # what chapter_frame says
        if framed or not isinstance(paragraph.parent, nodes.section) or next(paragraph.findall(nodes.math), None):
            continue
        for sentence in re.split(r"(?<=[.?!]) ", " ".join(paragraph.astext().split())):
            longer = f"{description} {sentence}".strip()
            if len(longer) > LONGEST:
                return (
                    description
                    if len(description) >= SHORTEST
                    else textwrap.shorten(longer, LONGEST, placeholder=" …")
                )
            description = longer
    return description


def draw_card(path: Path, above: str, title: str, below: str, logo: Path) -> None:
    """Draw the card of a page and write it as PNG.

    Parameters
    ----------
    path
        File to write.
    above, title, below
        A line over the title, the title, which may take three lines, and a line at the foot.
    logo
        PNG for the corner.
    """
    width, height = CARD
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="white")
    figure.add_artist(Rectangle((0, 0), 1, 24 / height, transform=figure.transFigure, color=PALETTE["query"]))
    figure.figimage(imread(logo), xo=width - 80 - 256, yo=80)
    text = {"family": "DejaVu Sans", "parse_math": False}
    figure.text(80 / width, 1 - 100 / height, above, color=PALETTE["muted"], size=24, va="top", **text)
    figure.text(80 / width, 80 / height, below, color=PALETTE["muted"], size=20, **text)
    lines = textwrap.fill(title, 30)
    large = {"size": 42, "weight": "bold", "va": "top", "linespacing": 1.3}
    figure.text(80 / width, 1 - 170 / height, lines, color="#1b1f24", **large, **text)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Few colours: a third of the bytes, and nobody sees a difference.
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(64).save(path, optimize=True)


def card_of(app: Sphinx, page: str) -> str:
    """Draw the card of a page that has one of its own; return the file's place in the site."""
    facts = json.loads(app.env.metadata[page].get("chapter", "{}"))
    if not facts and page != app.config.root_doc:
        return card_of(app, app.config.root_doc)
    place = f"{CARDS}/{page.rpartition('/')[2]}.png"
    if not (path := Path(app.outdir, place)).exists():
        above, below = app.config.author, app.config.html_baseurl.partition("//")[2].rstrip("/")
        if facts:
            number = int(page.rpartition("/")[2].partition("_")[0])
            above, below = f"{app.config.html_title} · chapter {number}", f"{facts['minutes']} minutes · {below}"
        draw_card(path, above, app.env.titles[page].astext(), below, Path(app.srcdir, LOGO))
    return place


def add_tags(
    app: Sphinx, page: str, _template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Describe a page for search engines, and say what is shown beside a link to it."""
    if doctree is None:
        if page == "search":  # the one page besides that people may find
            context["metatags"] = meta("name", {"description": SEARCH})
        return
    title, description = app.env.titles[page].astext(), describe(doctree)
    width, height = CARD
    tags = {
        "og:type": "article",
        "og:site_name": app.config.html_title,
        "og:title": title,
        "og:description": description,
        "og:url": context["pageurl"],
        "og:image": app.config.html_baseurl + card_of(app, page),
        "og:image:width": width,
        "og:image:height": height,
        "og:image:alt": f"Card with the title: {title}",
    }
    context["metatags"] += meta("name", {"description": description, "twitter:card": "summary_large_image"})
    context["metatags"] += meta("property", tags)


def meta(kind: str, contents: dict[str, Any]) -> str:
    """Write meta elements, without those that have nothing to say."""
    return "".join(
        f'<meta {kind}="{name}" content="{html.escape(str(content))}" />\n'
        for name, content in contents.items()
        if content != ""
    )


def add_not_found_page(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Add the page for wrong addresses."""
    front = app.builder.get_relative_uri(NOT_FOUND, app.config.root_doc)
    body = _NOT_FOUND_BODY.format(front=front)
    yield NOT_FOUND, {"title": "No such page", "body": body, "pageurl": None}, "page.html"


def write_site_files(app: Sphinx, exception: Exception | None) -> None:
    """Make the links of `404.html` absolute; write `sitemap.xml`, `robots.txt` and `index.html`."""
    if exception is not None or app.builder.format != "html":
        return
    base, folder = app.config.html_baseurl, Path(app.outdir)
    not_found = folder / f"{NOT_FOUND}.html"
    text = _RELATIVE.sub(rf'\1="{urlsplit(base).path}', not_found.read_text(encoding="utf-8"))
    not_found.write_text(text, encoding="utf-8")
    pages = "".join(f"<url><loc>{base}{quote(name)}.html</loc></url>\n" for name in sorted(app.env.found_docs))
    schema = "http://www.sitemaps.org/schemas/sitemap/0.9"
    text = f'<?xml version="1.0" encoding="utf-8"?>\n<urlset xmlns="{schema}">\n{pages}</urlset>\n'
    (folder / "sitemap.xml").write_text(text, encoding="utf-8")
    text = f"User-agent: *\nAllow: /\nSitemap: {base}sitemap.xml\n"
    (folder / "robots.txt").write_text(text, encoding="utf-8")
    front = f"{app.config.root_doc}.html"
    kept = r'<title>.*?</title>|<meta (?:name="(?:desc|twitter:)|property)[^>]*>|<link rel="canonical"[^>]*>'
    head = "\n".join(re.findall(kept, (folder / front).read_text(encoding="utf-8")))
    text = (
        f'<!DOCTYPE html>\n<html lang="{app.config.language}">\n<head>\n<meta charset="utf-8" />\n'
        f'<meta http-equiv="refresh" content="0; url={front}" />\n{head}\n</head>\n'
        f'<body><a href="{front}">{html.escape(app.config.html_title)}</a></body>\n</html>\n'
    )
    (folder / "index.html").write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the steps; the address must be known before anything else asks for it."""
    app.connect("config-inited", name_address, priority=100)
    app.connect("html-page-context", add_tags)
    app.connect("html-collect-pages", add_not_found_page)
    app.connect("build-finished", write_site_files)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
