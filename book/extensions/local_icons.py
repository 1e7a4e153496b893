"""The theme's icons as SVG in the page, without the script that draws them.

The theme marks the place of an icon (``<i class="fa-solid fa-bars"></i>``) and loads all of Font Awesome to fill
it: a script of 1.5 MB, 540 kB compressed, for the twenty-odd icons that this book shows. Here they are taken from
that script while the book is built, and stand in every page as the script would have put them there, with the
classes for which the theme has styles. Icons that a style sheet draws before or after a text (admonitions) become
masks in ``icons.css``, so that their colour follows the theme. The script and three fonts, which then have no use,
are not published.

An icon that the script does not know is a warning (type ``local_icons``).
"""

import functools
import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pydata_sphinx_theme
from sphinx.application import Sphinx
from sphinx.jinja2glue import BuiltinTemplateLoader
from sphinx.util import logging

_LOGGER = logging.getLogger(__name__)
SCRIPT = Path(pydata_sphinx_theme.__file__).parent / "theme/pydata_sphinx_theme/static/scripts/fontawesome.js"
#: What has no use without the script, relative to ``_static``.
UNUSED = ("scripts/fontawesome.js*", "vendor/fontawesome/webfonts/*")
STYLE = "icons.css"
#: Icons that style sheets draw, and where. The theme draws them as letters of a font.
DRAWN_BY_STYLE = {
    "bell": ".bd-article .admonition > .admonition-title::after",
    "circle-info": ".bd-article .admonition.note > .admonition-title::after",
    "lightbulb": ".bd-article .admonition:is(.tip, .hint) > .admonition-title::after",
    "circle-exclamation": ".bd-article .admonition:is(.important, .attention) > .admonition-title::after",
    "triangle-exclamation": ".bd-article .admonition:is(.warning, .caution, .danger) > .admonition-title::after",
    "pencil": ".bd-article .admonition.exercise > .admonition-title::after",
    "angle-down": ".bd-sidebar-secondary.hide:not(:hover) .onthispage::after",
    "github": ".bd-article a.github::before",
    "magnifying-glass-minus": "div#searchbox p.highlight-link a::before",
}
_PLACE = re.compile(r'<(i|span) class="([^"]*\bfa[a-z-]* fa-[^"]*)"([^>]*)></\1>')
_ICON = re.compile(r'[{,]"?([\w-]+)"?:\[(\d+),(\d+),\[([^\]]*)\],"[0-9a-f]+","([^"]+)"\]')
_FONTS = ("fa-solid", "fas", "fa-brands", "fab")
_SIZES = """\
svg.svg-inline--fa { box-sizing: content-box; display: inline-block; height: 1em; overflow: visible; \
vertical-align: -0.125em; }
svg.svg-inline--fa.fa-lg { vertical-align: -0.2em; }
"""
# An empty text asks for its font as well, so it must not be Font Awesome's. The icon stands amid its line.
_MASK = """\
{ content: ""; font-family: inherit; display: inline-block; width: 1em; height: 1lh; vertical-align: bottom;
background: currentColor; mask: var(--tb-icon) center / auto 1em no-repeat; forced-color-adjust: none;
print-color-adjust: exact; }"""


class Icon(NamedTuple):
    """Outline of an icon: the width and height that it is drawn in, and its path."""

    width: int
    height: int
    path: str


@functools.cache
def icons() -> dict[str, Icon]:
    """Read the theme's icons, each under its name and its older names.

    A name that stands for several drawings gives the solid one, which comes last in the script.
    """
    found = {}
    for name, width, height, others, path in _ICON.findall(SCRIPT.read_text(encoding="utf-8")):
        for each in (name, *re.findall(r'"([\w-]+)"', others)):
            found[each] = Icon(int(width), int(height), path)
    return found


def draw(page: str, source: str) -> str:
    """Put the icons of a page into their places.

    Parameters
    ----------
    page
        The page's HTML, with the theme's places for icons.
    source
        Its name, for warnings.

    Returns
    -------
    str
        The page with SVG elements there. They are ornaments: their button has the name that is read out.
    """

    def fill(place: re.Match[str]) -> str:
        # As the script does: classes that choose the font would bring its styles with them.
        classes = [name for name in place[2].split() if name not in _FONTS]
        attributes = re.sub(r' (title|aria-hidden)="[^"]*"', "", place[3])
        names = [name.removeprefix("fa-") for name in classes if name.startswith("fa-")]
        icon = next((icons()[name] for name in names if name in icons()), None)
        if icon is None:
            _LOGGER.warning("expected an icon of the theme, got %r", place[2], type="local_icons", location=source)
            return place[0]
        return (
            f'<svg class="svg-inline--fa {" ".join(classes)}"{attributes} aria-hidden="true" '
            f'viewBox="0 0 {icon.width} {icon.height}"><path fill="currentColor" d="{icon.path}"/></svg>'
        )

    return _PLACE.sub(fill, page)


def style() -> str:
    """Write the style sheet: the size of icons in the page, and those that style sheets draw."""
    places = ",\n".join(DRAWN_BY_STYLE.values())
    rules = [_SIZES, f"{places} {_MASK}\n"]
    for name, place in DRAWN_BY_STYLE.items():
        icon = icons()[name]
        drawing = quote(
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {icon.width} {icon.height}'>"
            f"<path d='{icon.path}'/></svg>",
            safe="/:=' ",
        )
        rules.append(f'{place} {{ --tb-icon: url("data:image/svg+xml,{drawing}"); }}\n')
    return "".join(rules)


class Templates(BuiltinTemplateLoader):
    """Sphinx's templates, whose pages get their icons (``template_bridge`` in `_config.yml`)."""

    def render(self, template: str, context: dict[str, Any]) -> str:
        """Render a page and draw its icons."""
        return draw(super().render(template, context), context.get("pagename", template))


def write_style(app: Sphinx) -> None:
    """Put the style sheet among the page assets."""
    if app.builder.format == "html":
        static = Path(app.outdir, "_static")
        static.mkdir(parents=True, exist_ok=True)
        (static / STYLE).write_text(style(), encoding="utf-8")


def drop_unused(app: Sphinx, exception: Exception | None) -> None:
    """Delete what Sphinx has copied from the theme and no page asks for."""
    if exception is None and app.builder.format == "html":
        for pattern in UNUSED:
            for path in Path(app.outdir, "_static").glob(pattern):
                path.unlink()


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the style sheet and connect the two steps."""
    app.add_css_file(STYLE)
    app.connect("builder-inited", write_style)
    app.connect("build-finished", drop_unused)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
