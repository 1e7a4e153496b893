"""What the pages serve of others, and its licences, from `book/licences.yml`.

``{licences-table}``
    One row for each work: what it is, where it comes from, its licence.

Most of these licences want their text to go with the work. The texts are put into ``_static/licences``, and the
table links to them; other builders than ``html`` serve none of the works, and get no texts.

An entry that is incomplete or whose text cannot be found is a warning (type ``book_tables``), so a build with
``-W`` fails.
"""

from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from book_tables import Cell, GeneratedTable
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

ENTRIES = "book/licences.yml"
KEYS = {"what", "where", "licence", "files", "texts"}
FOLDER = "_static/licences"


def published_name(text: str) -> str:
    """Name of a licence's text beside the pages: that of the work."""
    package, _, name = text.partition(": ")
    path = PurePosixPath(text)
    if name:
        return f"{package}.txt"
    return f"{path.parent.name if path.stem == 'LICENSE' else path.stem}.txt"


def read_text(root: Path, text: str) -> str:
    """Read the text of a licence.

    Parameters
    ----------
    root
        The checkout.
    text
        Path of a file in it, or ``package: file`` for one that an installed package brings among its metadata.

    Raises
    ------
    FileNotFoundError
        There is no such file, or no such package.
    """
    package, _, name = text.partition(": ")
    if not name:
        return (root / text).read_text(encoding="utf-8")
    try:
        found = [path for path in files(package) or () if path.name == name and ".dist-info" in str(path)]
    except PackageNotFoundError:
        found = []
    if not found:
        raise FileNotFoundError(f"{package}: expected {name} among its metadata, found none")
    return found[0].read_text(encoding="utf-8")


class LicencesTable(GeneratedTable):
    """``{licences-table}``."""

    columns = (("What", 30), ("Where it comes from", 40), ("Licence", 20))
    label = "tb-licences"

    def rows(self) -> Iterator[Sequence[Cell]]:
        """One row for each work of others."""
        path = self.root / ENTRIES
        self.env.note_dependency(str(path))
        for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
            if set(entry) != KEYS:
                got = ", ".join(sorted(entry))
                self.warn(f"{ENTRIES}: expected the keys {', '.join(sorted(KEYS))}; got {got}")
                continue
            links = addnodes.only(expr="builder_html")
            paragraph = nodes.paragraph()
            for text in entry["texts"]:
                name = published_name(text)
                try:
                    self.licences[name] = read_text(self.root, text)
                except FileNotFoundError as error:
                    self.warn(str(error))
                address = "../" * self.env.docname.count("/") + f"{FOLDER}/{name}"
                paragraph += [nodes.reference("", name, refuri=address), nodes.Text(" ")]
            links += paragraph
            yield self.text(entry["what"]), self.text(entry["where"]), [*self.text(entry["licence"]), links]

    @property
    def licences(self) -> dict[str, str]:
        """Texts that go with the pages, by their names; kept with what Sphinx has read."""
        if not hasattr(self.env, "tb_licences"):
            self.env.tb_licences = {}  # type: ignore[attr-defined]
        return self.env.tb_licences  # type: ignore[attr-defined]


def write_texts(app: Sphinx, exception: Exception | None) -> None:
    """Put the texts beside the pages."""
    if exception is None and app.builder.name == "html":
        folder = Path(app.outdir, FOLDER)
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in getattr(app.env, "tb_licences", {}).items():
            (folder / name).write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive and the step that writes the texts."""
    app.add_directive("licences-table", LicencesTable)
    app.connect("build-finished", write_texts)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
