"""The command: ``python -m takeaway pdf`` and ``python -m takeaway epub``, behind `make pdf` and `make epub`."""

import argparse
import shutil
import sys
import time
from pathlib import Path

from notebooks.book import Book
from notebooks.errors import ProblemError

from takeaway import epub, pdf
from takeaway.browser import Camera, browser
from takeaway.errors import TakeawayError
from takeaway.offer import offer
from takeaway.volume import read_volume, slug

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"pdf": pdf.make, "epub": epub.make}


def take_away(kind: str, root: Path) -> Path:
    """Make one of the files beside the built pages, and let the pages offer it.

    It is made and checked under another name, so that a file of its name is whole and right.

    Raises
    ------
    TakeawayError
        The pages cannot be used, or the file is not as it must be.
    """
    book = Book(root)
    html = root / "_build" / "html"
    path = html / f"{slug(str(book.config['title']))}.{kind}"
    folder = html.parent / "takeaway"  # always the same one: what a killed run has left goes with the next
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with browser() as chromium:
            part = folder / path.name
            KINDS[kind](chromium, read_volume(book, html, Camera(chromium, html)), part)
        part.replace(path)
    finally:
        shutil.rmtree(folder)
    offer(html, path.stem)
    return path


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 if the file is made, 1 if it could not be."""
    parser = argparse.ArgumentParser(prog="python -m takeaway", description="The book as one file.")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout (default: the one this file is in)")
    parser.add_argument("kind", choices=KINDS)
    options = parser.parse_args(arguments)
    begun = time.monotonic()
    try:
        path = take_away(options.kind, options.root.resolve())
    except (TakeawayError, ProblemError) as error:
        print(f"make {options.kind}: {error}", file=sys.stderr)
        return 1
    size, seconds = path.stat().st_size / 1e6, time.monotonic() - begun
    print(f"{path}: {size:.1f} MB, made and checked in {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
