"""Builds that are whole, or that say why they are not.

- Two builds at once would write the same files: the second waits for the first.
- Sphinx notes what it has read before it writes the pages, and next time takes what is noted for written. After a
  build that was killed while it wrote, old pages and half ones would stay. So a mark lies beside the pages while
  they are written; a build that finds one reads everything anew, with the outputs of the cache, and writes it.
- A full disk ends in a traceback of sixty lines. What the matter is stands in a last line after it.
"""

import atexit
import errno
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from sphinx.application import ENV_PICKLE_FILENAME, Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

try:
    import fcntl
except ImportError:  # Windows, where nothing keeps two builds apart
    fcntl = None

_LOGGER = logging.getLogger(__name__)
MARK = ".unfinished"
#: Less than this is no room, in bytes.
ROOM = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_held: list[TextIO] = []


def be_the_only_one(app: Sphinx, _config: object = None) -> None:
    """Wait until no other build writes here, and keep others waiting until this one ends."""
    if fcntl is None:
        return
    lock = Path(app.outdir).parent.joinpath(".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _LOGGER.info("another build is at work in %s: waiting for its end", Path(app.outdir).parent)
        fcntl.flock(lock, fcntl.LOCK_EX)
    _held.append(lock)


def forget_what_was_not_written(app: Sphinx, _config: object = None) -> None:
    """Let Sphinx read everything anew, if the last build did not come to its end."""
    if Path(app.outdir, MARK).exists():
        _LOGGER.info("the last build was stopped while it wrote: reading and writing everything anew")
        Path(app.doctreedir, ENV_PICKLE_FILENAME).unlink(missing_ok=True)


def begin_to_write(app: Sphinx, _environment: BuildEnvironment) -> None:
    """Mark the pages as unfinished; Sphinx is about to note what it has read."""
    Path(app.outdir, MARK).touch()


def end(app: Sphinx, exception: Exception | None) -> None:
    """Take the mark away, or leave it and say what the matter is; let the next build begin."""
    folder = Path(app.outdir)
    full = is_full(exception, folder)
    if full:  # said after the tracebacks; a file that could not be copied is only a warning, and has none
        message = f"The disk with {folder.parent} is full. With more room, the next build completes the book."
        atexit.register(print, message, file=sys.stderr)
    if exception is None and not full:
        (folder / MARK).unlink(missing_ok=True)
    while _held:
        _held.pop().close()


def is_full(exception: BaseException | None, folder: Path) -> bool:
    """Whether a build wants room: one of its errors says so, or nothing is left."""
    numbers = [error.errno for error in _chain(exception) if isinstance(error, OSError)]
    return any(number in _FULL for number in numbers) or shutil.disk_usage(folder).free < ROOM


def _chain(exception: BaseException | None) -> Iterator[BaseException]:
    while exception is not None:
        yield exception
        exception = exception.__cause__ or exception.__context__


def setup(app: Sphinx) -> dict[str, Any]:
    """Stand at the beginning of a build, before anything is written, and at its end."""
    app.connect("config-inited", be_the_only_one, priority=0)
    app.connect("config-inited", forget_what_was_not_written, priority=1)
    app.connect("env-updated", begin_to_write)
    app.connect("build-finished", end, priority=1000)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
