"""What the theme's pages need to be read offline, and by everyone.

- Jupyter Book always loads sphinx-thebe, which puts two scripts on every page and an error in the console
  even where it is switched off. It is silenced.
- docutils marks the list of references with ARIA roles that do not go together (a list without list items).
- Pictures are fetched when a reader comes near them; their place is kept free until then, so no text jumps.
- Figures of more than 80 kB are packed better.
- The links at the foot say that a chapter comes next, and which.
"""

from pathlib import Path
from typing import Any

from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.images import get_image_size
from sphinx.writers.html5 import HTML5Translator

_LOGGER = logging.getLogger(__name__)
CHAPTERS = "chapters/"
FIGURE_BYTES = 80_000


def silence_thebe(app: Sphinx) -> None:
    """Disconnect everything that sphinx-thebe does to pages, and drop the style sheet it would have copied."""
    thebe = [
        listener.id
        for listeners in app.events.listeners.values()
        for listener in listeners
        if listener.handler.__module__ == "sphinx_thebe"
    ]
    for listener in thebe:
        app.disconnect(listener)
    app.registry.css_files[:] = [entry for entry in app.registry.css_files if entry[0] != "sphinx-thebe.css"]


def visit_citation(translator: HTML5Translator, node: nodes.citation) -> None:
    """Open a reference, and before the first one the list."""
    if not isinstance(node.previous_sibling(), nodes.citation):
        translator.body.append('<div role="list" class="citation-list">\n')
    translator.body.append(translator.starttag(node, "div", CLASS="citation", role="listitem"))


def depart_citation(translator: HTML5Translator, node: nodes.citation) -> None:
    """Close a reference, and after the last one the list."""
    translator.body.append("</div>\n")
    if not isinstance(node.next_node(descend=False, siblings=True), nodes.citation):
        translator.body.append("</div>\n")


def visit_image(translator: HTML5Translator, node: nodes.image) -> None:
    """Write a picture with its size, as attributes: a style sheet may still make it narrower, and then lower."""
    size = get_image_size(str(Path(translator.builder.srcdir, node["uri"])))
    HTML5Translator.visit_image(translator, node)
    attributes = 'loading="lazy"'
    if size and not {"width", "height", "scale"} & set(node.attributes):
        attributes += f' width="{size[0]}" height="{size[1]}"'
    translator.body[-1] = translator.body[-1].replace("<img ", f"<img {attributes} ", 1)


def depart_image(translator: HTML5Translator, node: nodes.image) -> None:
    """End a picture as Sphinx does."""
    HTML5Translator.depart_image(translator, node)


def lighten_figures(app: Sphinx, exception: Exception | None) -> None:
    """Write figures that are too heavy once more, without an alpha channel that hides nothing and packed better.

    One that is still too heavy is a warning (type ``page_polish``).
    """
    if exception is not None or app.builder.format != "html":
        return
    for path in sorted(Path(app.outdir, "_images").glob("*.png")):
        if path.stat().st_size <= FIGURE_BYTES:
            continue
        picture = Image.open(path)
        if picture.mode == "RGBA" and picture.getextrema()[-1] == (255, 255):
            picture = picture.convert("RGB")
        picture.save(path, optimize=True)
        if (size := path.stat().st_size) > FIGURE_BYTES:
            message = f"expected figures of at most {FIGURE_BYTES} bytes, got {size} in {path.name}"
            _LOGGER.warning("%s", message, type="page_polish")


def name_neighbours(
    app: Sphinx, page: str, _template: str, context: dict[str, Any], _doctree: nodes.document | None
) -> None:
    """Tell the template of the links at the foot (`prev-next.html`) what they lead to."""
    _, before, after = app.builder.relations.get(page, (None, None, None))  # type: ignore[attr-defined]
    context["neighbours"] = {
        side: "chapter" if name and name.startswith(CHAPTERS) else "page"
        for side, name in (("before", before), ("after", after))
    }


def setup(app: Sphinx) -> dict[str, Any]:
    """Make the repairs; sphinx-thebe is one of Jupyter Book's own extensions, loaded before local ones."""
    silence_thebe(app)
    app.add_node(nodes.citation, override=True, html=(visit_citation, depart_citation))
    app.add_node(nodes.image, override=True, html=(visit_image, depart_image))
    app.connect("html-page-context", name_neighbours)
    app.connect("build-finished", lighten_figures)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
