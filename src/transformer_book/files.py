"""Write files whole, and say which state of the code wrote them."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a new file to write in place of `path`: at the end it takes that name, or after an error it is gone.

    Whatever happens, a kill included, `path` is the old file or the new one and never half of either. Missing
    parent folders are made.

    Parameters
    ----------
    path
        The file to write or to replace.

    Yields
    ------
    Path
        A path beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Find out whether `replacing` can write `path`, before the work whose result goes there.

    Raises
    ------
    OSError
        It is a folder, or its folder cannot be made or written to.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path}: expected a file, got a folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    probe = path.with_name(f"{path.name}.{os.getpid()}.part")
    probe.touch()
    probe.unlink()


def commit() -> str:
    """Short commit of the checkout the package lies in, with ``+`` when the package has been changed since."""
    here = Path(__file__).resolve().parent
    git = ["git", "-C", str(here)]
    try:
        found = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "."], check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return "no checkout"
    return found.stdout.strip() + ("+" if changed else "")
