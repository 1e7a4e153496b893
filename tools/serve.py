"""Serve the built book on this machine, rebuild it when a source changes, and then reload the page."""

import argparse
import subprocess
import sys
import threading
import time
from pathlib import Path

from livereload import Server

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("_config.yml", "_toc.yml", "chapters", "book", "src")
# Notebooks are derived from the chapters and not part of the pages; byte code and caches are made by the build.
_NOT_SOURCES = {".ipynb", ".pyc"}
_PAUSE = 0.5  # seconds between two looks


def snapshot(root: Path) -> dict[Path, int]:
    """Time of the last change of each file the pages are made from, in nanoseconds."""
    files = (path for name in SOURCES for path in [root / name, *(root / name).rglob("*")])
    times = {}
    for path in files:
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if not hidden and path.suffix not in _NOT_SOURCES and path.is_file():
            times[path] = path.stat().st_mtime_ns
    return times


def rebuild(root: Path, stamp: Path) -> None:
    """Build the book as `make book` does; `stamp` tells the browser that the build is over."""
    if subprocess.run(["make", "--no-print-directory", "book"], cwd=root, check=False).returncode:
        print(
            "The build failed (see above). Pages are served as they are; save a source to try again.", flush=True
        )
    stamp.parent.mkdir(exist_ok=True)
    stamp.touch()


def keep_built(root: Path, stamp: Path, built: dict[Path, int]) -> None:
    """Build after every change since `built`, for ever."""
    while True:
        time.sleep(_PAUSE)
        now = snapshot(root)
        if now != built:
            rebuild(root, stamp)
            built = now  # what changed during the build is built next


def main() -> None:
    """Build, watch and serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="make serve", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="port on 127.0.0.1 (default 8000)")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout (default: the one this file is in)")
    options = parser.parse_args()
    root = options.root.resolve()
    stamp = root / "_build" / ".served"
    built = snapshot(root)
    try:
        rebuild(root, stamp)
        threading.Thread(target=keep_built, args=(root, stamp, built), daemon=True).start()
        server = Server()
        server.watch(str(stamp))
        server.serve(host="127.0.0.1", port=options.port, root=str(root / "_build" / "html"))
    except KeyboardInterrupt:
        pass
    except OSError as error:
        sys.exit(
            f"make serve: port {options.port} cannot be used: {error.strerror}; name another, make serve PORT=8001"
        )


if __name__ == "__main__":
    main()
