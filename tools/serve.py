"""Serve the built book on this machine, rebuild it when a source changes, and reload the page."""

import argparse
import subprocess
import sys
from pathlib import Path

from livereload import Server

ROOT = Path(__file__).resolve().parents[1]
WATCHED = (
    "_config.yml",
    "_toc.yml",
    "chapters/*.md",
    "book/*.md",
    "book/*.yml",
    "book/*.bib",
    "book/figures/*",
    "book/results/*",
    "book/style/*",
    "src/transformer_book/**/*.*",
)


def rebuild() -> None:
    """Build the book; a build that fails says so, and the last good pages go on being served."""
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", "--warningiserror", "--nitpick", "."]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        print("The build failed; serving the pages of the last good one.", file=sys.stderr)


def main() -> None:
    """Watch and serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="make serve", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="port on 127.0.0.1 (default 8000)")
    options = parser.parse_args()
    server = Server()
    for pattern in WATCHED:
        server.watch(str(ROOT / pattern), rebuild, delay=1)
    server.serve(host="127.0.0.1", port=options.port, root=str(ROOT / "_build" / "html"))


if __name__ == "__main__":
    main()
