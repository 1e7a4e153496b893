"""What a chapter's references lead to: its numbered equations and figures, and labels on other pages."""

from dataclasses import dataclass, field
from pathlib import Path

from docutils.nodes import make_id

from notebooks.book import Book
from notebooks.chapter import Chapter
from notebooks.errors import ProblemError
from notebooks.syntax import parser, walk


@dataclass
class Labels:
    """The numbered things of one chapter.

    Parameters
    ----------
    equations
        Label of an equation to its number.
    figures
        Line of a figure's fence to its number, for every figure.
    named_figures
        Name of a figure to its number, for those that have one.
    """

    equations: dict[str, int] = field(default_factory=dict)
    figures: dict[int, int] = field(default_factory=dict)
    named_figures: dict[str, int] = field(default_factory=dict)


def collect_labels(chapter: Chapter, book: Book) -> Labels:
    """Give numbers to a chapter's labelled equations and its figures, in the order in which they stand.

    A code cell whose ``mystnb.figure`` gives a caption is a figure too.

    Raises
    ------
    ProblemError
        A label is given twice.
    """
    labels = Labels()

    def add(numbers: dict[str, int], label: str, number: int, line: int) -> None:
        if label in numbers:
            raise ProblemError(chapter.shown, line, f"label {label!r}: expected to be given once")
        numbers[label] = number

    for cell in chapter.cells:
        if cell.kind == "code":
            figure = figure_of(cell.metadata)
            if figure.get("caption"):
                labels.figures[cell.line] = len(labels.figures) + 1
                if figure.get("name"):
                    add(labels.named_figures, figure["name"], labels.figures[cell.line], cell.line)
            continue
        for token, line, used in walk(parser(book.extensions), cell.source, chapter.shown, cell.line):
            if token.type == "math_block_label":
                add(labels.equations, token.info, len(labels.equations) + 1, line)
            elif used is not None and used.name == "math" and used.options.get("label"):
                add(labels.equations, used.options["label"], len(labels.equations) + 1, line)
            elif used is not None and used.name == "figure":
                labels.figures[line] = len(labels.figures) + 1
                if used.options.get("name"):
                    add(labels.named_figures, used.options["name"], labels.figures[line], line)
    return labels


def figure_of(metadata: dict) -> dict:
    """Return the caption and name that a code cell gives the figure it draws."""
    return (metadata.get("mystnb") or {}).get("figure") or {}


def page_title(path: Path, book: Book) -> str:
    """Return the first heading of a page of the book."""
    tokens = parser(book.extensions).parse(path.read_text(encoding="utf-8"))
    headings = [tokens[index + 1].content for index, token in enumerate(tokens) if token.type == "heading_open"]
    return headings[0] if headings else path.stem


def page_labels(book: Book) -> dict[str, tuple[Path, str]]:
    """Map every ``(label)=`` on the book's own pages to the page and the heading below the label."""
    found = {}
    for path in sorted((book.root / "book").rglob("*.md")):
        tokens = parser(book.extensions).parse(path.read_text(encoding="utf-8"))
        for index, token in enumerate(tokens):
            if token.type == "myst_target":
                heading = next((after.content for after in tokens[index:] if after.type == "inline"), "")
                found[token.content] = path, heading
    return found


def anchor(label: str) -> str:
    """Return the anchor that Sphinx gives a label on its page."""
    return make_id(label)
