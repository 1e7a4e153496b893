"""Executed outputs that cannot be stale, however the book is built.

jupyter-cache recognises a notebook by the text of its code cells alone. After a change in the package it
would go on serving what the old package printed. Here the cache folder is named by a hash of everything that
the chapters compute with: the package, the stored results and the pinned versions. A change of any of them
leads to a new, empty folder, and so to a new execution; going back finds the old outputs again.

Sphinx, for its part, re-reads only sources that changed. Both the cache folder and a second hash, of the
local extensions, are configuration values that the environment depends on, so when one changes every page is
read anew.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config

#: What the chapters' outputs depend on, relative to the top folder of the book.
INPUTS = ("src", "book/results", "constraints.txt")
#: What the pages depend on besides.
EXTENSIONS = ("book/extensions", "book/katex")
#: Cache folders to keep: the present one and those used last, so that switching branches costs no execution.
KEPT = 4


def content_hash(root: Path, parts: Iterable[str]) -> str:
    """Hash the names and bytes of files.

    Parameters
    ----------
    root
        The folder that `parts` are relative to.
    parts
        Files and folders; folders are walked. Those that do not exist count as empty. Hidden files, byte code and
        the metadata that an editable install leaves behind do not count.

    Returns
    -------
    str
        Sixteen hexadecimal digits.
    """
    digest = hashlib.sha256()
    for part in parts:
        for path in _files(root / part):
            data = path.read_bytes()
            digest.update(f"{path.relative_to(root).as_posix()}\0{len(data)}\0".encode())
            digest.update(data)
    return digest.hexdigest()[:16]


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        for child in sorted(path.iterdir()):
            if not child.name.startswith(".") and child.name != "__pycache__" and child.suffix != ".egg-info":
                yield from _files(child)


def prune(folder: Path, kept: int = KEPT) -> None:
    """Remove all but the cache folders that were used last."""
    caches = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for old in caches[:-kept]:
        shutil.rmtree(old)


def name_cache(app: Sphinx, config: Config) -> None:
    """Point MyST-NB at the cache folder of the present content."""
    root = Path(app.srcdir)
    caches = Path(app.outdir).resolve().parent / ".jupyter_cache"
    cache = caches / content_hash(root, INPUTS)
    cache.mkdir(parents=True, exist_ok=True)
    os.utime(cache)  # its modification time says when it was last used
    prune(caches)
    config.nb_execution_cache_path = str(cache)
    config.content_cache_extensions = content_hash(root, EXTENSIONS)


def setup(app: Sphinx) -> dict[str, Any]:
    """Name the cache as soon as the configuration is known, before MyST-NB reads it."""
    app.add_config_value("content_cache_extensions", "", "env", str)
    app.connect("config-inited", name_cache)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
