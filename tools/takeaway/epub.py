"""One EPUB of the whole book: a page of XHTML for each page of the site, packed, and judged by epubcheck.

Formulas are the MathML that KaTeX puts beside what a browser shows. There are no scripts, and nothing is fetched.
"""

import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from bs4 import Tag
from playwright.sync_api import Browser

from takeaway.errors import TakeawayError
from takeaway.volume import Page, Volume, anchor_of, find, new_tag, text_of
from transformer_book.plotting import PALETTE

STYLE = Path(__file__).with_name("reader.css")
COVER = (1200, 1800)
_TYPES = {".png": "image/png", ".svg": "image/svg+xml", ".xhtml": "application/xhtml+xml", ".css": "text/css"}
_CONTAINER = """\
<?xml version="1.0" encoding="utf-8"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="book/package.opf" media-type="application/oebps-package+xml"/></rootfiles>
</container>
"""
_XHTML = """\
<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops" lang="{language}" \
xml:lang="{language}">
<head><title>{title}</title><link rel="stylesheet" type="text/css" href="style.css"/></head>
<body>
{body}
</body>
</html>
"""
_ABILITIES = {
    "accessMode": ("textual", "visual"),
    "accessModeSufficient": ("textual,visual", "textual"),
    "accessibilityFeature": (
        "alternativeText",
        "MathML",
        "readingOrder",
        "structuralNavigation",
        "tableOfContents",
    ),
    "accessibilityHazard": ("none",),
    "accessibilitySummary": (
        "Every figure has an alternative text, formulas are MathML, and widgets are pictures described in words.",
    ),
}


def pages_of(volume: Volume) -> Iterator[tuple[str, str]]:
    """Write every page as XHTML; yield the file's name and its text."""
    homes = {name: page for page in volume.pages for name in page.ids()}
    for page in volume.pages:
        for link in page.body.select('a[href^="#"]'):
            target = str(link["href"])[1:]
            home = homes[target]
            link["href"] = ("" if home is page else f"{home.slug}.xhtml") + (
                f"#{target}" if target != home.slug or home is page else ""
            )
        _simplify(page)
        yield f"{page.slug}.xhtml", _page(volume, page.title, page.body.decode(formatter="minimal"))


def _page(volume: Volume, title: str, body: str) -> str:
    return _XHTML.format(language=volume.language, title=escape(title), body=body)


def _simplify(page: Page) -> None:
    """Leave of a page what a reader of books understands."""
    for formula in page.body.select(".katex"):
        maths = find(formula, "math").extract()
        maths["alttext"] = text_of(find(maths, "annotation"))
        whole = formula.parent if formula.find_parent(class_="katex-display") else formula
        assert whole is not None
        whole.replace_with(maths)
    for image in page.body.select("img"):
        for name in ("loading", "decoding"):
            del image[name]


def contents(volume: Volume) -> str:
    """Write the navigation: parts, chapters, sections."""

    def listed(page: Page) -> Tag:
        entry, sections = new_tag("li"), new_tag("ol")
        entry.append(new_tag("a", page.title, href=f"{page.slug}.xhtml"))
        for heading in page.headings(2)[1:]:
            line = new_tag("li")
            line.append(new_tag("a", text_of(heading), href=f"{page.slug}.xhtml#{anchor_of(heading)}"))
            sections.append(line)
        if sections.contents:
            entry.append(sections)
        return entry

    outer = new_tag("ol")
    for part, pages in volume.parts:
        if not part:
            outer.extend(listed(page) for page in pages)
            continue
        entry, inner = new_tag("li"), new_tag("ol")
        entry.append(new_tag("span", part))
        inner.extend(listed(page) for page in pages)
        entry.append(inner)
        outer.append(entry)
    toc = f'<nav epub:type="toc" role="doc-toc"><h1>Contents</h1>{outer.decode(formatter="minimal")}</nav>'
    first = volume.pages[0]
    marks = "".join(
        f'<li><a epub:type="{kind}" href="{name}">{text}</a></li>'
        for kind, name, text in (
            ("cover", "cover.xhtml", "Cover"),
            ("toc", "nav.xhtml", "Contents"),
            ("bodymatter", f"{first.slug}.xhtml", "Beginning"),
        )
    )
    landmarks = f'<nav epub:type="landmarks" hidden=""><h2>Landmarks</h2><ol>{marks}</ol></nav>'
    return _page(volume, "Contents", f"{toc}\n{landmarks}")


def package(volume: Volume, files: dict[str, bytes], modified: datetime) -> str:
    """Describe the book and list its files: those of the pages in reading order."""
    site = volume.book.page_url(volume.book.root / "index.md").removesuffix("index.html")
    abilities = "".join(
        f'<meta property="schema:{name}">{value}</meta>\n'
        for name, values in _ABILITIES.items()
        for value in values
    )
    items = "".join(
        f'<item id="{_id(name)}" href="{name}"{_properties(name, data)} media-type="{_TYPES[Path(name).suffix]}"/>'
        for name, data in files.items()
    )
    spine = ["cover.xhtml", "nav.xhtml", *(f"{page.slug}.xhtml" for page in volume.pages)]
    return f"""\
<?xml version="1.0" encoding="utf-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id" xml:lang="{volume.language}">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:identifier id="id">urn:uuid:{uuid5(NAMESPACE_URL, site)}</dc:identifier>
<dc:title>{escape(volume.title)}</dc:title>
<dc:creator>{escape(volume.author)}</dc:creator>
<dc:language>{volume.language}</dc:language>
<dc:source>{site}</dc:source>
<meta property="dcterms:modified">{modified:%Y-%m-%dT%H:%M:%SZ}</meta>
{abilities}<meta name="cover" content="{_id("cover.png")}"/>
</metadata>
<manifest>
{items}
</manifest>
<spine>
{"".join(f'<itemref idref="{_id(name)}"/>' for name in spine)}
</spine>
</package>
"""


def _id(name: str) -> str:
    return "f-" + re.sub(r"[^\w.-]", "-", name)


def _properties(name: str, data: bytes) -> str:
    if name == "cover.png":
        return ' properties="cover-image"'
    if name == "nav.xhtml":
        return ' properties="nav"'
    return ' properties="mathml"' if name.endswith(".xhtml") and b"<math" in data else ""


def draw_cover(browser: Browser, volume: Volume) -> bytes:
    """Draw the cover, our logo and the title, as PNG."""
    logo = (volume.book.root / str(volume.book.config["logo"])).read_text(encoding="utf-8")
    width, height = COVER
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_content(
        f"""<!DOCTYPE html><html lang="{volume.language}"><style>
        body {{ margin: 0; height: 100vh; display: flex; flex-direction: column; align-items: center;
                justify-content: space-between; box-sizing: border-box; padding: 160px 90px; text-align: center;
                background: #ffffff; color: #1b1f24; border-top: 60px solid {PALETTE["query"]};
                font-family: system-ui, sans-serif; }}
        h1 {{ margin: 0; font-size: 104px; line-height: 1.2 }}
        svg {{ width: 520px }}
        p {{ margin: 0; font-size: 40px; color: {PALETTE["muted"]} }}
        </style><h1>{escape(volume.title)}</h1>{logo}<p>{escape(volume.author)}</p></html>"""
    )
    cover = page.screenshot()
    page.close()
    return cover


def make(browser: Browser, volume: Volume, path: Path) -> None:
    """Pack the volume and check what came of it.

    Parameters
    ----------
    path
        The file to write.

    Raises
    ------
    TakeawayError
        epubcheck finds an error or has a warning, or is missing.
    """
    command = checker()
    pack(browser, volume, path)
    if problems := judge(command, path):
        raise TakeawayError("epubcheck does not accept the EPUB:\n" + "\n".join(problems))


def pack(browser: Browser, volume: Volume, path: Path) -> None:
    """Write the volume as an EPUB; its pages are changed."""
    newest = max((volume.html / f"{page.name}.html").stat().st_mtime for page in volume.pages[:-1])
    cover = new_tag("img", src="cover.png", alt=f"Cover: {volume.title}", class_="cover")
    body = f'<section epub:type="cover">{cover.decode(formatter="minimal")}</section>'
    pages = dict(pages_of(volume))
    texts = {"cover.xhtml": _page(volume, volume.title, body), "nav.xhtml": contents(volume), **pages}
    texts["style.css"] = STYLE.read_text(encoding="utf-8") + code_colours(volume.html)
    files = {name: text.encode() for name, text in texts.items()} | {"cover.png": draw_cover(browser, volume)}
    files |= volume.files
    description = package(volume, files, datetime.fromtimestamp(newest, UTC))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(zipfile.ZipInfo("mimetype"), "application/epub+zip", zipfile.ZIP_STORED)
        _put(packed, "META-INF/container.xml", _CONTAINER.encode())
        _put(packed, "book/package.opf", description.encode())
        for name, data in files.items():
            _put(packed, f"book/{name}", data)


def _put(packed: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name)  # of no date: the same pages give the same file
    entry.compress_type = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
    packed.writestr(entry, data)


def code_colours(html: Path) -> str:
    """Return the rules by which the pages colour code in the light theme."""
    text = (html / "_static" / "pygments.css").read_text(encoding="utf-8")
    rules = re.findall(r'^html\[data-theme="light"\] (\.highlight [^{]*\{[^}]*\})', text, re.MULTILINE)
    if not rules:
        raise TakeawayError("pygments.css: expected rules for the light theme, found none")
    return "\n".join(rules) + "\n"


def checker() -> list[str]:
    """Return the command that starts epubcheck.

    Raises
    ------
    TakeawayError
        It is not installed, or Java is not.
    """
    found = shutil.which("epubcheck")
    if found is None:
        raise TakeawayError("no epubcheck found: apt-get install epubcheck")
    if Path(found).read_bytes()[:2] != b"PK":
        return [found]
    if shutil.which("java") is None:  # Debian's command is a Java archive
        raise TakeawayError(f"no Java found to run {found}: apt-get install default-jre-headless")
    return ["java", "-jar", found]


def judge(command: list[str], path: Path) -> list[str]:
    """Return epubcheck's errors and warnings about a file, a line each."""
    options = ["--failonwarnings", "--quiet", str(path)]
    judged = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    said = judged.stderr.splitlines() or judged.stdout.splitlines() or ["it failed and said nothing"]
    return said if judged.returncode else []
