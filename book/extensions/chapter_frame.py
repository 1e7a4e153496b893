"""What stands around every chapter: what it takes to read, and when and with what it was last executed.

The line under the title comes from the key ``chapter`` of the front matter (``minutes``, ``prerequisites``,
``downloads``, and ``gpu`` where one pays); one that is missing or unknown is a warning (type ``chapter_frame``).
The line at the end tells of the execution the outputs come from: it is written down beside the cached outputs
when they are made, so a page built from the cache keeps the date and the versions of its outputs.

The reader's download of a chapter is the notebook that the book commits, not the book's own executed copy:
that has MyST in its text, and no cell that installs the package.
"""

import json
import platform
import shutil
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from jupyter_cache import get_cache
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.application import Sphinx
from sphinx.util import logging

_LOGGER = logging.getLogger(__name__)
FOLDER = "chapters/"
PACKAGES = ("torch", "numpy", "matplotlib")
FACTS: dict[str, type] = {"minutes": int, "prerequisites": str, "downloads": str}
GPU = "gpu"


def facts_line(facts: dict[str, Any]) -> str:
    """Word the line under a chapter's title.

    Raises
    ------
    ValueError
        A fact is missing, unknown or of the wrong type.
    """
    if set(facts) - {GPU} != set(FACTS):
        raise ValueError(f"expected the keys {', '.join(FACTS)}; got {', '.join(facts) or 'none'}")
    for name, kind in (FACTS | {GPU: str}).items():
        if name in facts and type(facts[name]) is not kind:
            raise ValueError(f"{name}: expected {kind.__name__}, got {facts[name]!r}")
    downloads = "nothing" if facts["downloads"] == "none" else facts["downloads"]
    pays = f" · A GPU pays: {facts[GPU]}" if GPU in facts else ""
    return f"{facts['minutes']} minutes · You need: {facts['prerequisites']} · Downloads: {downloads}{pays}"


def execution(cache_folder: Path, notebook: nbformat.NotebookNode) -> dict[str, str]:
    """Return date, versions and device of the execution that an executed notebook's outputs come from.

    Written beside the cached outputs the first time they are seen, that is, in the build that executed them.
    """
    key = get_cache(str(cache_folder)).match_cache_notebook(notebook).hashkey
    path = cache_folder / "executed_on" / f"{key}.json"
    if not path.exists():
        from transformer_book.device import describe, pick_device  # imports torch: only after an execution

        path.parent.mkdir(exist_ok=True)
        record = {"date": datetime.now(UTC).date().isoformat(), "device": describe(pick_device())}
        record["Python"] = platform.python_version()
        record |= {package: version(package) for package in PACKAGES}
        path.write_text(json.dumps(record), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def execution_line(record: dict[str, str]) -> str:
    """Word the line at the end of a chapter."""
    date = datetime.fromisoformat(record["date"])
    versions = ", ".join(f"{name} {record[name]}" for name in ("Python", *PACKAGES))
    return f"Executed and checked on {date.day} {date:%B %Y} · {versions} · {record['device']}"


def add_frame(app: Sphinx, doctree: nodes.document) -> None:
    """Add both lines to a chapter that has just been read."""
    docname = app.env.docname
    if not docname.startswith(FOLDER):
        return
    section = next(doctree.findall(nodes.section))
    try:
        line = facts_line(json.loads(app.env.metadata[docname].get("chapter", "{}")))
    except ValueError as error:
        _LOGGER.warning("front matter, chapter: %s", error, type="chapter_frame", location=docname)
    else:
        section.insert(1, nodes.paragraph("", line, classes=["tb-chapter-facts"]))
    executed = NbMetadataCollector.get_exec_data(app.env, docname)  # type: ignore[arg-type]
    if executed and executed["succeeded"]:
        written = Path(app.outdir).parent / "jupyter_execute" / f"{docname}.ipynb"
        notebook = nbformat.read(written, as_version=4)
        record = execution(Path(app.config.nb_execution_cache_path), notebook)
        section += nodes.paragraph("", execution_line(record), classes=["tb-chapter-executed"])


def offer_notebooks(app: Sphinx, exception: Exception | None) -> None:
    """Put the committed notebooks where the download button looks."""
    if exception is None and app.builder.format == "html":
        for source in sorted(Path(app.srcdir, FOLDER).glob("*.ipynb")):
            target = Path(app.outdir, "_sources", FOLDER, source.name)
            if target.exists():
                shutil.copyfile(source, target)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the two steps."""
    app.setup_extension("content_cache")
    app.connect("doctree-read", add_frame)
    app.connect("build-finished", offer_notebooks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
