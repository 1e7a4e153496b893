"""A chapter's source, read the way the book reads it, and its shown cells rewritten from the package."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from myst_nb.core.read import MystMetadataParsingError, is_myst_markdown_notebook, read_myst_markdown_notebook
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.directives import parse_directive_text

from notebooks.book import Book
from notebooks.errors import ProblemError
from notebooks.syntax import CODE_CELL, directive_shape, line_of, parser
from notebooks.whitelist import CELL_OPTIONS, SOURCE_TAG, TAGS


@dataclass(frozen=True)
class Cell:
    """One cell of a chapter.

    Parameters
    ----------
    kind
        "markdown" or "code".
    source
        Its text.
    metadata
        Its options: `tags`, `mystnb`.
    line
        Line of the file on which a Markdown cell's text, or a code cell's fence, begins.
    """

    kind: str
    source: str
    metadata: dict[str, Any]
    line: int

    @property
    def tags(self) -> list[str]:
        """The cell's tags."""
        return list(self.metadata.get("tags", []))

    @property
    def shows(self) -> str | None:
        """Dotted path of the package object that the cell shows, if it shows one."""
        return next((tag.removeprefix(SOURCE_TAG) for tag in self.tags if tag.startswith(SOURCE_TAG)), None)


@dataclass(frozen=True)
class Chapter:
    """A chapter's source.

    Parameters
    ----------
    path
        The ``.md`` file.
    shown
        The same, as messages name it.
    front_matter
        The YAML at its top.
    cells
        Its cells in order.
    """

    path: Path
    shown: Path
    front_matter: dict[str, Any]
    cells: tuple[Cell, ...]

    @property
    def notebook(self) -> Path:
        """The derived notebook beside the source."""
        return self.path.with_suffix(".ipynb")


def read_chapter(path: Path, book: Book) -> Chapter:
    """Read a chapter.

    Raises
    ------
    ProblemError
        It is not a MyST text notebook, or a cell has an option or tag that is not on the whitelist.
    """
    shown = book.shown(path)
    text = path.read_text(encoding="utf-8")
    if not is_myst_markdown_notebook(text):
        raise ProblemError(
            shown, 1, "front matter: expected jupytext.text_representation.format_name: myst at the top"
        )
    config = MdParserConfig(enable_extensions=set(book.extensions))
    try:
        notebook = read_myst_markdown_notebook(text, config=config, add_source_map=True, path=str(path))
    except MystMetadataParsingError as error:
        raise ProblemError(shown, None, str(error)) from None
    lines = text.splitlines()
    cells = []
    for node, start in zip(notebook.cells, notebook.metadata.pop("source_map"), strict=True):
        if node.cell_type == "code":
            cells.append(Cell("code", node.source, dict(node.metadata), start))
        elif node.cell_type == "markdown":
            while not lines[start]:  # the reader strips the blank lines in front
                start += 1
            cells.append(Cell("markdown", node.source, dict(node.metadata), start + 1))
        else:
            raise ProblemError(shown, start, f"{node.cell_type} cell: expected only code cells and Markdown")
        _check_options(cells[-1], shown)
    return Chapter(path, shown, dict(notebook.metadata), tuple(cells))


def _check_options(cell: Cell, shown: Path) -> None:
    if unknown := sorted(set(cell.metadata) - CELL_OPTIONS):
        raise ProblemError(shown, cell.line, f"cell option :{unknown[0]}: expected one of {sorted(CELL_OPTIONS)}")
    for tag in cell.tags:
        if not str(tag).startswith(SOURCE_TAG) and tag not in TAGS:
            raise ProblemError(shown, cell.line, f"tag {tag!r}: expected one of {[f'{SOURCE_TAG}…', *TAGS]}")
    if sum(tag.startswith(SOURCE_TAG) for tag in cell.tags) > 1:
        raise ProblemError(shown, cell.line, f"tags {cell.tags}: expected at most one {SOURCE_TAG} tag")


def replace_shown_cells(text: str, book: Book, source_of: Callable[[str, int], str]) -> str:
    """Put the package's source into every ``src:`` cell of a chapter's text and change nothing else.

    Parameters
    ----------
    text
        The chapter.
    source_of
        Given the dotted path and the line of the cell, returns the source to stand there.
    """
    shape = directive_shape(required=False, optional=True, options=CELL_OPTIONS)
    lines = text.split("\n")
    for token in reversed(parser(book.extensions).parse(text)):
        if token.level or token.type != "fence" or not token.info.startswith(CODE_CELL) or not token.map:
            continue
        content = token.content.rstrip()
        parsed = parse_directive_text(shape, "", content, validate_options=False)
        tags = parsed.options.get("tags") or []
        shows = next((tag.removeprefix(SOURCE_TAG) for tag in tags if tag.startswith(SOURCE_TAG)), None)
        if shows is None:
            continue
        source = source_of(shows, line_of(token, 1))
        options = content.splitlines()[: len(content.splitlines()) - len(parsed.body)]
        if options and options[-1].startswith(":"):
            options.append("")
        # A docstring may hold a fence of its own: ours must be longer.
        longest = max((len(run) for run in re.findall("`+", source)), default=0)
        fence = "`" * max(3, longest + 1)
        start, stop = token.map
        lines[start:stop] = [fence + token.info, *options, *source.split("\n"), fence]
    return "\n".join(lines)
