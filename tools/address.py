"""Set the repository's public address: in `_config.yml`, where it stands, and in every copy derived from it."""

import argparse
import re
import sys
from pathlib import Path

from notebooks.book import Book
from notebooks.build import build
from notebooks.errors import ProblemError, ProblemsError

ROOT = Path(__file__).resolve().parents[1]
_ADDRESS = re.compile(r"https://github\.com/([A-Za-z0-9][A-Za-z0-9-]*)/([A-Za-z0-9._-]+?)(?:\.git)?/?")
_COPIES = ("*.md", "*.cff", "*.toml", "*.yml", "book/*.md", "book/*.yml", "chapters/*.md")


def parse_address(address: str) -> tuple[str, str]:
    """Split ``https://github.com/owner/name`` into owner and name.

    Raises
    ------
    ValueError
        It is not the address of a GitHub repository.
    """
    match = _ADDRESS.fullmatch(address.strip())
    if match is None:
        raise ValueError(f"address: expected https://github.com/owner/name, got {address!r}")
    return match[1], match[2]


def readdress(text: str, old: tuple[str, str], new: tuple[str, str]) -> str:
    """Replace the repository's address, and that of its published pages, in a text."""
    old_pages, new_pages = (f"{owner.lower()}.github.io/{name}" for owner, name in (old, new))
    return text.replace("/".join(old), "/".join(new)).replace(old_pages, new_pages)


def set_address(root: Path, address: str) -> list[Path]:
    """Rewrite every copy of the address below `root`, notebooks excepted.

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
    """
    new = parse_address(address)
    old = parse_address(Book(root).repository)
    changed = []
    for path in sorted({path for pattern in _COPIES for path in root.glob(pattern)}):
        before = path.read_text(encoding="utf-8")
        after = readdress(before, old, new)
        if after != before:
            part = path.with_name(f".{path.name}.new")
            part.write_text(after, encoding="utf-8")
            part.replace(path)
            changed.append(path)
    return changed


def main() -> int:
    """Rewrite the copies, then make the notebooks anew: their first cell and their figures hold the address."""
    parser = argparse.ArgumentParser(prog="make address", description=__doc__)
    parser.add_argument("address", help="https://github.com/owner/name")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout (default: the one this file is in)")
    options = parser.parse_args()
    try:
        for path in set_address(options.root, options.address):
            print(f"{path.relative_to(options.root)}: rewritten")
        book = Book(options.root)
        build(book, book.chapters)
    except (ValueError, ProblemError, ProblemsError) as error:
        print(f"make address: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
