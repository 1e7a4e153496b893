"""What the theme's pages need to be read offline, and by everyone.

- Jupyter Book always loads sphinx-thebe, which puts two scripts on every page and an error in the console
  even where it is switched off. It is silenced.
- docutils marks the list of references with ARIA roles that do not go together (a list without list items).
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator


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


def setup(app: Sphinx) -> dict[str, Any]:
    """Make the repairs; sphinx-thebe is one of Jupyter Book's own extensions, loaded before local ones."""
    silence_thebe(app)
    app.add_node(nodes.citation, override=True, html=(visit_citation, depart_citation))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
