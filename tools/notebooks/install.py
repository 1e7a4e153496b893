"""The two generated cells at the top of a notebook: where to open it, and how the package gets there."""

from notebooks.book import Book
from notebooks.chapter import Chapter
from notebooks.errors import ProblemError

INSTALLED = "transformer_book is ready"
FACTS = {"minutes", "prerequisites", "downloads"}


def heading_cell(title: str, chapter: Chapter, book: Book) -> str:
    """Write the first Markdown cell: the chapter's title, its two addresses, and what to bring.

    Raises
    ------
    ProblemError
        The front matter's `chapter` does not say `minutes`, `prerequisites` and `downloads`.
    """
    facts = chapter.front_matter.get("chapter")
    if not isinstance(facts, dict) or set(facts) != FACTS:
        got = sorted(facts) if isinstance(facts, dict) else facts
        raise ProblemError(chapter.shown, 1, f"front matter, chapter: expected {sorted(FACTS)}, got {got}")
    downloads = "nothing" if facts["downloads"] == "none" else facts["downloads"]
    colab, page = book.colab_url(chapter.notebook), book.page_url(chapter.path)
    return (
        f"# {title}\n\n[Open in Colab]({colab}) · [Read as a page, with its widgets alive]({page})\n\n"
        f"{facts['minutes']} minutes · You need: {facts['prerequisites']} · Downloads: {downloads}"
    )


def install_cell(book: Book) -> str:
    """Write the install cell: it installs only where the package cannot be imported, and replaces nothing."""
    return f'''\
# Installs this book's package where it is missing (on Colab); anywhere else it does nothing.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("transformer_book") is None:
    package = "{book.requirement}"
    options = ["-qq", "--disable-pip-version-check", "--upgrade-strategy", "only-if-needed"]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, package], check=True)
    importlib.invalidate_caches()
print("{INSTALLED}")'''
