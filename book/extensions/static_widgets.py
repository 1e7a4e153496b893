"""Widgets that stay alive on the published page, with no kernel, no CDN and no network.

MyST-NB's own answer to a widget is require.js and html-manager from CDNs. This extension takes its place: it reads
the widget's state from the executed notebook, writes containers and text as plain HTML, leaves for every anywidget
a box that holds its text alternative, and its still picture if it has one, and puts state, modules and styles on
the page as JSON. `static_widgets.js`
mounts each widget's own module in its box. Without JavaScript, or if mounting fails, the text stays.

What can be shown: any anywidget, ``VBox``, ``HBox``, ``HTML`` and ``Label``. Anything else in a view is a warning
(type ``static_widgets``) that names the model, so a build with ``-W`` fails.

It works in two steps because the state is complete only when the whole notebook has run:

1. A MyST-NB MIME renderer for ``application/vnd.jupyter.widget-view+json`` leaves a placeholder with the
   model's id. MyST-NB finds MIME renderers through entry points of installed distributions, which a folder of
   local extensions is not. But it gathers them in one memoised list, so `setup` appends to that list and makes
   sure that it took.
2. On ``doctree-read`` MyST-NB has just stored the notebook's widget state for its own scripts, in the same way
   whether the notebook was executed now or came from the cache. The state is taken from there, and MyST-NB's
   scripts with it.
"""

import base64
import html
import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_nb.core.render import (
    WIDGET_VIEW_MIMETYPE,
    MimeData,
    MimeRenderPlugin,
    NbElementRenderer,
    load_mime_renders,
)
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.fileutil import copy_asset_file

_LOGGER = logging.getLogger(__name__)
_SCRIPT = Path(__file__).with_suffix(".js")
_BOXES = {"VBoxModel": "tb-vbox", "HBoxModel": "tb-hbox"}
_TEXTS = ("HTMLModel", "LabelModel")
_BOX_STYLE = ".tb-hbox{display:flex;flex-wrap:wrap;gap:.5rem}.tb-hbox>*{flex:1 1 16rem;min-width:0}"
_REFERENCE = "IPY_MODEL_"
# Traits of every ipywidget that a mounted module has no use for.
_FRAME_TRAITS = frozenset({"layout", "tabbable", "tooltip"})

Model = dict[str, Any]


class WidgetViewRenderer(MimeRenderPlugin):
    """MIME renderer: a placeholder for each widget view."""

    @staticmethod
    def handle_mime(renderer: NbElementRenderer, data: MimeData, inline: bool) -> list[nodes.Element] | None:
        """Leave a placeholder that `mount_widgets` fills once the notebook's widget state is known."""
        if data.mime_type != WIDGET_VIEW_MIMETYPE:
            return None
        content: Any = data.content  # JSON, already read
        return [nodes.container(widget_view=content["model_id"])]


class _Page:
    """What the widgets of one page need, each module, style and model once."""

    def __init__(self, state: dict[str, Model], address: str = "") -> None:
        self.state = state
        self.address = address
        self.names: dict[str, str] = {}
        self.models: dict[str, Model] = {}
        self.modules: list[str] = []
        self.styles: list[str] = [_BOX_STYLE]

    def add(self, model_id: str) -> str:
        """Note an anywidget and return its name on the page; the kernel's random id would change every build."""
        if model_id not in self.names:
            name = self.names[model_id] = f"w{len(self.names)}"
            traits = self.state[model_id]["state"]
            _place(self.styles, traits.get("_css", ""))
            self.models[name] = {
                "module": _place(self.modules, traits["_esm"]),
                "state": {
                    trait: value
                    for trait, value in traits.items()
                    if not trait.startswith("_") and trait not in _FRAME_TRAITS
                },
            }
        return self.names[model_id]

    def data(self) -> str:
        """Give the script element with everything in it, safe inside HTML."""
        data = {"models": self.models, "modules": self.modules, "styles": self.styles}
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        return f'<script type="application/json" id="tb-widget-data">{text}</script>'


def _place(items: list[str], item: str) -> int:
    if item not in items:
        items.append(item)
    return items.index(item)


def _problem(state: dict[str, Model], model_id: str) -> str | None:
    """Say why a view of this model cannot be shown, or None if it can."""
    if model_id not in state:
        return f"expected the notebook's widget state to hold model {model_id}, which an output shows; got none"
    model = state[model_id]
    name, traits = model["model_name"], model["state"]
    if name in _BOXES or name in _TEXTS:
        return None
    if model["model_module"] != "anywidget":
        return (
            f"expected an anywidget, VBox, HBox, HTML or Label in a page without a kernel, "
            f"got {name} of {model['model_module']}"
        )
    if model.get("buffers"):
        return f"expected {traits['_anywidget_id']} to sync plain JSON, got binary data"
    return None


def _render(page: _Page, model_id: str, source: nodes.Element) -> Iterator[nodes.Element]:
    """Yield the nodes that show a model; warn about one that cannot be shown."""
    if problem := _problem(page.state, model_id):
        _LOGGER.warning(problem, type="static_widgets", subtype="unsupported", location=source)
        return
    model = page.state[model_id]
    name, traits = model["model_name"], model["state"]
    if name in _BOXES:
        box = nodes.container(classes=["tb-box", _BOXES[name]])
        for child in traits["children"]:
            box += list(_render(page, child.removeprefix(_REFERENCE), source))
        yield box
    elif name in _TEXTS:
        label = html.escape(traits.get("description") or "")
        value = traits["value"] if name == "HTMLModel" else html.escape(traits["value"])
        text = f"<span>{label}</span> {value}" if label else value
        yield nodes.raw("", f'<div class="tb-text">{text}</div>', format="html")
    else:
        yield nodes.raw(
            "",
            f'<div class="tb-widget" data-tb-model="{page.add(model_id)}">'
            f'<p class="tb-widget-alternative">{html.escape(_alternative(traits))}{_picture(traits)}</p></div>'
            f"{_live(page.address)}",
            format="html",
        )


def _alternative(traits: Model) -> str:
    return traits.get("alternative") or f"An interactive figure, {traits['_anywidget_id']}, that needs JavaScript."


def _picture(traits: Model) -> str:
    """Give a widget's still picture, where it has one: ``_picture`` with its ``svg`` and its ``alt``."""
    if not (picture := traits.get("_picture")):
        return ""
    data = base64.b64encode(picture["svg"].encode()).decode()
    alt = html.escape(picture["alt"])
    return f'<br><img src="data:image/svg+xml;base64,{data}" alt="{alt}" style="max-width:100%">'


def _live(address: str) -> str:
    """Say, on paper, where the widget is alive."""
    if not address:
        return ""
    return f'<p class="tb-where-live">A still picture; the live one is at <a href="{address}">{address}</a>.</p>'


def _text(state: dict[str, Model], model_id: str) -> Iterator[nodes.Element]:
    """Yield paragraphs that stand for a model where there is no HTML."""
    if _problem(state, model_id):
        return
    model = state[model_id]
    name, traits = model["model_name"], model["state"]
    if name in _BOXES:
        for child in traits["children"]:
            yield from _text(state, child.removeprefix(_REFERENCE))
    elif name in _TEXTS:
        value = traits["value"]
        text = html.unescape(re.sub(r"<[^>]*>", "", value)) if name == "HTMLModel" else value
        yield nodes.paragraph("", text)
    else:
        yield nodes.paragraph("", _alternative(traits))


def mount_widgets(app: Sphinx, doctree: nodes.document) -> None:
    """Fill the placeholders of one document, and add the data and the script that bring them to life."""
    docname = app.env.docname
    scripts = NbMetadataCollector.get_js_files(app.env, docname)  # type: ignore[arg-type]
    stored = scripts.get("ipywidgets_state")
    for name in [name for name in scripts if name.startswith("ipywidgets_")]:
        del scripts[name]
    site = app.config.html_baseurl  # where the book is published
    address = html.escape(posixpath.join(site, f"{docname}.html")) if site else ""
    page = _Page(json.loads(stored[1]["body"])["state"] if stored else {}, address)
    placeholders = [node for node in doctree.findall(nodes.container) if "widget_view" in node]
    for placeholder in placeholders:
        model_id = placeholder["widget_view"]
        view = placeholder.parent  # the output in this MIME type; beside it stands the one in text/plain
        assert isinstance(view, nodes.Element)
        assert isinstance(view.parent, nodes.Element)
        texts = list(_text(page.state, model_id))
        for other in view.parent.findall(nodes.container):
            if texts and other.get("mime_type") == "text/plain":
                other.clear()
                other += texts
        view.replace(placeholder, list(_render(page, model_id, placeholder)))
    if page.models:
        doctree += nodes.raw("", page.data(), format="html")
        NbMetadataCollector.add_js_file(
            app.env,  # type: ignore[arg-type]
            docname,
            "static_widgets",
            _SCRIPT.name,
            {"loading_method": "defer"},
        )


def copy_script(app: Sphinx) -> None:
    """Put the mounting script among the page assets; only pages with a widget refer to it.

    Not through ``html_static_path``: Jupyter Book puts every script it finds there on every page.
    """
    if app.builder.format == "html":
        static = Path(app.outdir, "_static")
        static.mkdir(parents=True, exist_ok=True)
        copy_asset_file(str(_SCRIPT), str(static))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the MIME renderer and the two steps that follow it."""
    app.setup_extension("myst_nb")
    plugins: list[Any] = load_mime_renders()
    if WidgetViewRenderer not in plugins:
        plugins.append(WidgetViewRenderer)
    if WidgetViewRenderer not in load_mime_renders():
        raise ExtensionError("static_widgets: expected myst_nb.core.render.load_mime_renders to keep one list")
    app.connect("builder-inited", copy_script)
    app.connect("doctree-read", mount_widgets)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
