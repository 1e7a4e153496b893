"""Set the repository's public address: in `_config.yml`, where it stands, and in every copy derived from it."""

import argparse
import re
import sys
from pathlib import Path

from notebooks.book import Book
from notebooks.build import rewrite, write_if_changed
from notebooks.check import check
from notebooks.errors import ProblemError, ProblemsError

ROOT = Path(__file__).resolve().parents[1]
_ADDRESS = re.compile(r"https://github\.com/([A-Za-z0-9][A-Za-z0-9-]*)/([A-Za-z0-9._-]+?)(?:\.git)?/?")
_COPIES = ("*.md", "*.cff", "*.toml", "*.yml", "book/*.md", "book/*.yml", "chapters/*.md", "tools/*.md")


def parse_address(address: str) -> tuple[str, str]:
    """Split ``https://github.com/owner/name`` into owner and name.

    Raises
    ------
    ValueError
        It is not the address of a GitHub repository.
    """
    match = _ADDRESS.fullmatch(address.strip())
    if match is None or match[2] in {".", ".."}:
        raise ValueError(f"expected https://github.com/owner/name, got {address!r}")
    return match[1], match[2]


def readdress(text: str, old: tuple[str, str], new: tuple[str, str]) -> str:
    """Replace the repository's address, and that of its published pages, in a text."""
    old_pages, new_pages = (f"{owner.lower()}.github.io/{name}" for owner, name in (old, new))
    return text.replace("/".join(old), "/".join(new)).replace(old_pages, new_pages)


def set_address(root: Path, address: str) -> list[Path]:
    """Rewrite every copy of the address below `root`.

    Notebooks are derived again from their chapters and keep the outputs they have: the address stands in their
    first two cells and in links, none of which changes what a cell prints. So nothing has to be executed.

    Parameters
    ----------
    root
        The checkout.
    address
        ``https://github.com/owner/name``.

    Returns
    -------
    list of Path
        The files that changed.

    Raises
    ------
    ValueError
        The address is not that of a GitHub repository; nothing is written.
    ProblemsError
        The notebooks are not in step with their chapters; nothing is written.
    """
    new = parse_address(address)
    book = Book(root)
    old = parse_address(book.repository)
    if problems := check(book):
        raise ProblemsError(problems)
    texts = sorted({path for pattern in _COPIES for path in root.glob(pattern)})
    changed = [
        path for path in texts if write_if_changed(path, readdress(path.read_text(encoding="utf-8"), old, new))
    ]
    book = Book(root)
    return changed + rewrite(book, book.chapters)


def main(arguments: list[str] | None = None) -> int:
    """Rewrite and say what was rewritten; return 2 if nothing could be."""
    parser = argparse.ArgumentParser(prog="make address", description=__doc__)
    parser.add_argument("address", help="https://github.com/owner/name")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout (default: the one this file is in)")
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    try:
        changed = set_address(root, options.address)
    except (ValueError, ProblemError, ProblemsError) as error:
        print(f"make address: {error}", file=sys.stderr)
        return 2
    for path in changed:
        print(f"{path.relative_to(root)}: rewritten")
    return 0


if __name__ == "__main__":
    sys.exit(main())
