"""Figures that a phone can show: below a width of the window, matplotlib's narrow form takes the wide one's place.

A figure as wide as a page has text of five or six pixels on a phone. So the kernels that execute the chapters are
told, through an environment variable, to hand over each figure of `transformer_book.plotting` in its narrow form
as well, with its panels below one another. It travels as metadata of the picture's own output. Here it becomes a
file beside the picture, and in HTML a ``<source>`` that a browser on a narrow screen loads instead. Print and
EPUB keep the wide form.
"""

import os
from binascii import a2b_base64
from hashlib import sha256
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_nb.core.render import MimeData, MimeRenderPlugin, NbElementRenderer, load_mime_renders
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.environment.collectors import EnvironmentCollector
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.images import get_image_size
from sphinx.util.osutil import relative_uri

from transformer_book.plotting import NARROW_VARIABLE

#: Windows up to this width; beside a wider one's text even a figure's smallest letters have 9 pixels.
NARROW_WINDOW = "screen and (max-width: 48rem)"


class NarrowPictures(MimeRenderPlugin):
    """Renders pictures as MyST-NB does, and writes the narrow form of those that have one."""

    @staticmethod
    def handle_mime(renderer: NbElementRenderer, data: MimeData, inline: int) -> list[nodes.Element] | None:
        """Name the narrow form's file in the image node."""
        narrow = data.output_metadata.get(data.mime_type, {}).get("narrow")
        if inline or not narrow:
            return None
        content = a2b_base64(narrow)
        images = renderer.render_image(data)
        images[0]["narrow"] = renderer.write_file(
            [f"{sha256(content).hexdigest()}.png"], content, overwrite=False, exists_ok=True
        )
        return images


class NarrowCollector(EnvironmentCollector):
    """Registers the narrow forms as images of their page, so that Sphinx copies them."""

    def clear_doc(self, app: Sphinx, env: BuildEnvironment, docname: str) -> None:
        """Do nothing: Sphinx clears its list of images itself."""

    def merge_other(self, app: Sphinx, env: BuildEnvironment, docnames: set[str], other: BuildEnvironment) -> None:
        """Do nothing: Sphinx merges its list of images itself."""

    def process_doc(self, app: Sphinx, doctree: nodes.document) -> None:
        """Resolve and register each narrow form of a page."""
        for image in doctree.findall(nodes.image):
            if "narrow" in image:
                image["narrow"], _ = app.env.relfn2path(image["narrow"], app.env.docname)
                app.env.images.add_file(app.env.docname, image["narrow"])


class NarrowFigures(SphinxPostTransform):
    """Puts ``<picture>`` around each image that has a narrow form."""

    default_priority = 300
    builders = ("html", "dirhtml")

    def run(self, **_: Any) -> None:
        """Write the two elements as HTML of their own, so that the image stays what other extensions know."""
        builder = self.app.builder
        folder = relative_uri(builder.get_target_uri(self.env.docname), builder.imagedir)
        for image in list(self.document.findall(nodes.image)):
            path = image.get("narrow")
            if path is None:
                continue
            name = self.env.images[path][1]
            builder.images[path] = name
            size = get_image_size(str(Path(self.app.srcdir, path)))
            place_kept = f'width="{size[0]}" height="{size[1]}"' if size else ""
            source = f'<source media="{NARROW_WINDOW}" srcset="{folder}/{name}" {place_kept}/>'
            opening, closing = (
                nodes.raw("", text, format="html") for text in (f"<picture>{source}", "</picture>")
            )
            place = image.parent.index(image)
            image.parent[place : place + 1] = [opening, image, closing]


def setup(app: Sphinx) -> dict[str, Any]:
    """Ask the kernels for narrow forms, and take them in."""
    app.setup_extension("myst_nb")
    os.environ[NARROW_VARIABLE] = "1"
    plugins: list[Any] = load_mime_renders()  # one list that MyST-NB keeps; the extension static_widgets checks it
    if NarrowPictures not in plugins:
        plugins.append(NarrowPictures)
    app.add_env_collector(NarrowCollector)
    app.add_post_transform(NarrowFigures)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
