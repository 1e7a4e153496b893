"""Diagrams that follow the theme: `book/figures/*.svg` become part of the page.

A style sheet cannot reach into an ``<img>``, so the colours of a diagram would stay light in the dark theme.
In HTML the file's own SVG stands in the page instead, where its ``var(--tb-…)`` colours resolve; other
builders get the file. Its ids and its styles are made the figure's own, so that two diagrams on a page do not
mix, and the alternative text is its accessible name. A diagram without one is a warning (type
``inline_svg``).
"""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

_LOGGER = logging.getLogger(__name__)
FOLDER = "book/figures/"
_SVG = "{http://www.w3.org/2000/svg}"
_XLINK_HREF = "{http://www.w3.org/1999/xlink}href"  # what older drawing programs write for href
ElementTree.register_namespace("", _SVG.strip("{}"))  # <svg> as HTML writes it, not <ns0:svg>
_REFERENCE = re.compile(r"url\(\s*['\"]?#([^)'\"\s]+)['\"]?\s*\)")


def inline(text: str, name: str, alt: str) -> str:
    """Turn the text of an SVG file into an element for a page.

    Parameters
    ----------
    text
        The file.
    name
        Id of the element, and prefix of every id in it.
    alt
        Its accessible name.

    Returns
    -------
    str
        ``<svg …>`` without XML declaration, comments, title and fixed size.

    Raises
    ------
    ValueError
        The text is no SVG, has no ``viewBox``, or runs scripts.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"expected well-formed XML ({error})") from None
    if root.tag != f"{_SVG}svg":
        raise ValueError(f"expected an <svg> of the SVG namespace, got <{root.tag}>")
    if "viewBox" not in root.attrib:
        raise ValueError("expected a viewBox, found none")
    _strip(root)
    ids = {element.attrib["id"] for element in root.iter() if "id" in element.attrib}
    for element in root.iter():
        if element.tag == f"{_SVG}script" or any(key.startswith("on") for key in element.attrib):
            raise ValueError("expected a still picture, got a script")
        _rename(element, name, ids)
    # Its own title would be a second name and a tooltip; its size is the page's affair.
    for attribute in ("width", "height", "aria-labelledby", "aria-describedby"):
        root.attrib.pop(attribute, None)
    width = root.attrib["viewBox"].replace(",", " ").split()[2]
    root.attrib.update(
        {
            "id": name,
            "class": f"{root.get('class', '')} tb-figure".strip(),
            "role": "img",
            "aria-label": alt,
            "style": f"max-width: {width}px",
        }
    )
    return ElementTree.tostring(root, encoding="unicode")


def _strip(root: ElementTree.Element) -> None:
    for child in [child for child in root if child.tag in (f"{_SVG}title", f"{_SVG}desc")]:
        root.remove(child)


def _rename(element: ElementTree.Element, name: str, ids: set[str]) -> None:
    references = rf"url(#{name}-\1)"
    if _XLINK_HREF in element.attrib:
        element.set("href", element.attrib.pop(_XLINK_HREF))
    for key, value in element.attrib.items():
        if key == "id":
            element.set(key, f"{name}-{value}")
        elif key == "href" and value.startswith("#"):
            element.set(key, f"#{name}-{value[1:]}")
        else:
            element.set(key, _REFERENCE.sub(references, value))
    if element.tag == f"{_SVG}style" and element.text:
        # Rules of a style element hold for the whole page; nested in the figure's id they hold for the figure.
        names = "|".join(map(re.escape, sorted(ids, key=len, reverse=True))) or "(?!)"
        rules = re.sub(rf"#({names})(?![\w-])", rf"#{name}-\1", element.text)
        element.text = f"#{name} {{ {rules} }}"


class InlineSvg(SphinxPostTransform):
    """Replaces the images from `book/figures` in HTML output."""

    default_priority = 300
    formats = ("html",)

    def run(self, **_: Any) -> None:
        """Replace each diagram of the document by its SVG."""
        images = [node for node in self.document.findall(nodes.image) if _is_diagram(node["uri"])]
        for number, node in enumerate(images, start=1):
            path = Path(self.env.srcdir, node["uri"])
            alt = node.get("alt", "").strip()
            if not alt:
                _warn("expected an alternative text (:alt:), found none", node)
            try:
                svg = inline(path.read_text(encoding="utf-8"), f"tb-figure-{number}-{path.stem}", alt)
            except ValueError as error:
                _warn(f"{node['uri']}: {error}", node)
                continue
            node.replace_self(nodes.raw("", svg, format="html"))


def _is_diagram(uri: str) -> bool:
    return uri.startswith(FOLDER) and uri.endswith(".svg")


def _warn(message: str, node: nodes.Element) -> None:
    _LOGGER.warning("%s", message, type="inline_svg", location=node)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transform."""
    app.add_post_transform(InlineSvg)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
