"""The two generated cells at the top of a notebook: where to open it, and how the package gets there."""

from typing import Any

from notebooks.book import Book
from notebooks.chapter import Chapter
from notebooks.errors import ProblemError

INSTALLED = "transformer_book is ready"
FACTS = {"minutes", "prerequisites", "downloads"}
#: Why a GPU pays in this chapter; only a chapter where it does has this.
GPU = "gpu"


def chapter_facts(chapter: Chapter) -> dict[str, Any]:
    """Return what the front matter says of a chapter.

    Raises
    ------
    ProblemError
        Its `chapter` does not say `minutes`, `prerequisites` and `downloads`, or says something unknown.
    """
    facts = chapter.front_matter.get("chapter")
    if not isinstance(facts, dict) or set(facts) - {GPU} != FACTS:
        got = sorted(facts) if isinstance(facts, dict) else facts
        raise ProblemError(chapter.shown, 1, f"front matter, chapter: expected {sorted(FACTS)}, got {got}")
    if not isinstance(facts.get(GPU, ""), str):
        raise ProblemError(chapter.shown, 1, f"front matter, gpu: expected why one pays, got {facts[GPU]!r}")
    return facts


def colab_link(chapter: Chapter, book: Book) -> str:
    """Write the link that opens a chapter's notebook in Colab, with what parts it from the next link."""
    return f"[Open in Colab]({book.colab_url(chapter.notebook)}) · "


def heading_cell(title: str, chapter: Chapter, book: Book) -> str:
    """Write the first Markdown cell: the chapter's title, its two addresses, and what to bring."""
    facts = chapter_facts(chapter)
    downloads = "nothing" if facts["downloads"] == "none" else facts["downloads"]
    page = book.page_url(chapter.path)
    pays = f" · A GPU pays: {facts[GPU]}" if GPU in facts else ""
    return (
        f"# {title}\n\n{colab_link(chapter, book)}[Read as a page, with its widgets alive]({page})\n\n"
        f"{facts['minutes']} minutes · You need: {facts['prerequisites']} · Downloads: {downloads}{pays}"
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
