"""Whitelisted MyST to plain Markdown.

The text itself is never re-rendered: only the places of directives, roles and labelled formulas, as the parser
reports them, are replaced, so everything else stays as the writer wrote it.
"""

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

from markdown_it import MarkdownIt
from markdown_it.token import Token
from sphinx.util.docutils import ReferenceRole

from notebooks.bibliography import Work
from notebooks.book import Book
from notebooks.errors import ProblemError
from notebooks.labels import Labels, anchor, page_labels, page_title
from notebooks.syntax import Used, line_of, parser, read_directive, span
from notebooks.whitelist import ROLES

PLAIN_BLOCKS = {
    *("heading", "paragraph", "blockquote", "bullet_list", "ordered_list", "list_item", "fence", "code_block"),
    *("hr", "table", "thead", "tbody", "tr", "th", "td"),
}
PLAIN_INLINE = {"code_inline", "em", "hardbreak", "link", "softbreak", "strong", "text"}
# Why the things a writer is most likely to try are refused, and what to write instead.
ADVICE = {
    "amsmath": "a bare LaTeX environment: expected it between $$",
    "footnote_ref": "a footnote: expected a citation or a sentence, Colab shows footnotes raw",
    "footnote_reference": "a footnote: expected a citation or a sentence, Colab shows footnotes raw",
    "html_block": "raw HTML: expected Markdown or a directive",
    "html_inline": "raw HTML: expected Markdown",
    "image": "an image: expected the figure directive, with its alt text and caption",
    "math_block_label": "a labelled formula inside a list, quote or table: expected it at the left margin",
    "myst_line_comment": "a % comment: expected none, Colab shows it",
    "myst_target": "a (label)= target: expected a figure's :name: or an equation's label",
    "substitution_block": "a {{ substitution }}: expected the text itself",
    "substitution_inline": "a {{ substitution }}: expected the text itself",
}

Edit = tuple[int, int, str]
T = TypeVar("T")


@dataclass
class Converter:
    """Turns the Markdown of one chapter into plain Markdown, and remembers which works it cites.

    Parameters
    ----------
    book
        The checkout, for addresses.
    path
        The chapter's file, which figures and `doc` links are relative to.
    labels
        What the chapter's references refer to.
    works
        The bibliography.
    """

    book: Book
    path: Path
    labels: Labels
    works: dict[str, Work]
    cited: dict[str, Work] = field(default_factory=dict)

    @property
    def _shown(self) -> Path:
        return self.book.shown(self.path)

    @property
    def _parser(self) -> MarkdownIt:
        return parser(self.book.extensions)

    def _problem(self, line: int, message: str) -> ProblemError:
        return ProblemError(self._shown, line, message)

    # Blocks

    def convert(self, text: str, line: int, quoted: bool = False) -> str:
        """Convert one run of Markdown.

        Parameters
        ----------
        text
            The Markdown, without code cells.
        line
            Line of the file on which it begins.
        quoted
            Whether the result will stand in a block quote, where a formula must stay on one line: Colab and
            JupyterLab cut formulas out of the text before they read it, with the quote's ``>`` signs inside.

        Raises
        ------
        ProblemError
            Something has no plain-Markdown form.
        """
        env: dict = {}
        tokens = self._parser.parse(text, env)
        if references := env.get("references"):
            first = next(iter(references.values()))
            raise self._problem(
                line + first["map"][0], "a link definition: expected the address in the link itself"
            )
        source = _Lines(text)
        edits: list[Edit] = []
        quotes = 0
        for token in tokens:
            kind = token.type.removesuffix("_open").removesuffix("_close")
            if kind == "blockquote":
                quotes += token.nesting
            source.follow(kind, token)
            if token.type == "inline":
                edits += self._paragraph_edits(token, source, line_of(token, line), quoted or quotes > 0)
            elif (replacement := self._block(token, kind, line, quoted, quotes > 0)) is not None:
                edits.append((*source.block(token), replacement))
        return _apply(text, edits)

    def _block(self, token: Token, kind: str, first_line: int, quoted: bool, in_quote: bool) -> str | None:
        """Return what replaces a block, None where it stays as it is."""
        line = line_of(token, first_line)
        if used := read_directive(token, self._shown, first_line):
            if token.level:
                raise self._problem(
                    line, f"directive {{{used.name}}} in a list or quote: expected at the left margin"
                )
            return self._directive(used, quoted)
        if kind == "math_block_label" and not token.level:
            return self._formula(token.content, self.labels.equations[token.info], quoted, line)
        if kind == "math_block":
            if token.level and in_quote and "\n" in token.content:
                raise self._problem(line, "a formula in a quote: expected on one line")
            return self._formula(token.content, None, True, line) if quoted and not token.level else None
        if kind == "colon_fence" or kind not in PLAIN_BLOCKS:
            raise self._problem(
                line, ADVICE.get(kind, f"{kind}: expected plain Markdown or a whitelisted directive")
            )
        return None

    def _directive(self, used: Used, quoted: bool) -> str:
        match used.name:
            case "note" | "tip" | "important" | "warning":
                return self._quote(used, used.name.capitalize())
            case "admonition":
                return self._quote(used, self.inline(used.argument, used.line))
            case "dropdown":
                title = self._parser.renderInline(self.inline(used.argument, used.line))
                body = self.convert(used.body, used.body_line, quoted)
                opened = "<details open>" if "open" in used.options else "<details>"
                return f"{opened}\n<summary>{title}</summary>\n\n{body}\n\n</details>"
            case "figure":
                return self._figure(used, quoted)
            case "math":
                number = self.labels.equations.get(used.options.get("label", ""))
                return self._formula(used.body, number, quoted, used.line)
            case "list-table":
                return self._table(used)
            case _:
                ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", used.body)), default=0))
                return f"{ticks}{used.argument}\n{used.body}\n{ticks}"

    def _quote(self, used: Used, title: str) -> str:
        body = self.convert(used.body, used.body_line, quoted=True)
        return "\n".join(f"> {row}".rstrip() for row in [f"**{title}**", "", *body.split("\n")])

    def _figure(self, used: Used, quoted: bool) -> str:
        image = (self.path.parent / used.argument).resolve()
        if not image.is_file() or not image.is_relative_to(self.book.root.resolve()):
            raise self._problem(
                used.line, f"figure {used.argument}: expected a file of the repository, found none"
            )
        if not used.body.strip():
            raise self._problem(used.line, f"figure {used.argument}: expected a caption")
        alt = re.sub(r"([\\\[\]])", r"\\\1", " ".join(used.options["alt"].split()))
        url = self.book.raw_url(self.book.root / image.relative_to(self.book.root.resolve()))
        caption = self.convert(used.body, used.body_line, quoted)
        return f"![{alt}]({url})\n\n**Figure {self.labels.figures[used.line]}.** {caption}"

    def _formula(self, tex: str, number: int | None, quoted: bool, line: int) -> str:
        tag = "" if number is None else f" \\tag{{{number}}}"
        tex = tex.strip()
        if not quoted:
            return f"$$\n{tex}{tag}\n$$"
        if "\n" in tex and re.search(r"(?<!\\)%", tex):
            raise self._problem(line, "a formula in a box: expected no TeX comment, it has to go on one line")
        return f"$$ {' '.join(tex.split())}{tag} $$"

    def _table(self, used: Used) -> str:
        rows: list[list[str]] = []
        for token in self._parser.parse(used.body):
            line = line_of(token, used.body_line)
            kind = token.type.removesuffix("_open").removesuffix("_close")
            if kind not in ("bullet_list", "list_item", "paragraph", "inline"):
                raise self._problem(line, f"{kind} in a list-table: expected only text in its cells")
            if token.type == "list_item_open" and token.level == 1:
                rows.append([])
            elif token.type == "list_item_open" and token.level == 3:
                rows[-1].append("")
            elif token.type == "inline":
                if token.level != 5 or not rows or not rows[-1]:
                    raise self._problem(line, "list-table: expected a list of rows, each a list of cells")
                text = " ".join(self.inline(token.content, line).split("\n"))
                if "|" in text:
                    raise self._problem(line, "a | in a list-table: expected \\vert in a formula, or another sign")
                rows[-1][-1] = f"{rows[-1][-1]}<br>{text}" if rows[-1][-1] else text
        if len({len(row) for row in rows}) != 1:
            raise self._problem(
                used.line, f"list-table: expected rows of equal length, got {[len(row) for row in rows]}"
            )
        if used.options["header-rows"] != "1":
            raise self._problem(
                used.line, f"list-table: expected :header-rows: 1, got {used.options['header-rows']}"
            )
        head, *body = ["| " + " | ".join(row) + " |" for row in rows]
        title = [f"**{self.inline(used.argument, used.line)}**", ""] if used.argument else []
        return "\n".join([*title, head, "|" + "---|" * len(rows[0]), *body])

    # Inline

    def inline(self, text: str, line: int) -> str:
        """Convert text that is a single paragraph: a title, a caption, a cell."""
        token = self._parser.parseInline(text)[0]
        return _apply(text, self._inline_edits(token, line, quoted=True))

    def _paragraph_edits(self, token: Token, source: "_Lines", line: int, quoted: bool) -> list[Edit]:
        """Return the edits of a paragraph, heading or table cell, placed in the whole text."""
        place = source.place(token)
        edits = self._inline_edits(token, line, quoted)
        if edits and place is None:
            raise self._problem(line, "an escaped | beside a role or formula: expected \\vert, or another sign")
        return [(place(start), place(stop), text) for start, stop, text in edits] if place else []

    def _inline_edits(self, token: Token, line: int, quoted: bool) -> list[Edit]:
        """Return the edits of one paragraph's roles and formulas, placed in its own text."""
        edits: list[Edit] = []
        for child in token.children or []:
            start, stop = span(child) if "span" in child.meta else (0, 0)
            here = line + token.content.count("\n", 0, start)
            kind = child.type.removesuffix("_open").removesuffix("_close")
            if child.type == "myst_role":
                edits.append((start, stop, self._role(child.meta["name"], child.content, here)))
            elif child.type == "math_inline":
                if quoted and "\n" in child.content:
                    edits.append((start, stop, f"${' '.join(child.content.split())}$"))
            elif kind not in PLAIN_INLINE:
                raise self._problem(
                    here, ADVICE.get(kind, f"{kind}: expected plain Markdown or a whitelisted role")
                )
            elif child.type == "text" and "$" in child.content:
                raise self._problem(
                    line, f"a lone $ in {child.content!r}: expected none, Colab reads it as a formula"
                )
            elif child.type == "link_open" and not str(child.attrs["href"]).startswith(("https://", "http://")):
                href = child.attrs["href"]
                raise self._problem(here, f"a link to {href!r}: expected a full address, or the role doc or ref")
        return edits

    def _role(self, name: str, content: str, line: int) -> str:
        if name not in ROLES:
            raise self._problem(line, f"role {{{name}}}: expected one of {', '.join(ROLES)}")
        # Sphinx's own reading of "text <target>".
        explicit = ReferenceRole.explicit_title_re.match(content)
        text, target = explicit.groups() if explicit else ("", content)
        match name:
            case "eq":
                return f"({self._look_up(self.labels.equations, content, 'equation label', line)})"
            case "ref":
                return self._ref(text, target, line)
            case "doc":
                return self._doc(text, target, line)
            case "term":
                return text or target
            case _:
                works = [self._cite(key.strip(), line) for key in content.split(",")]
                if name == "cite:t":
                    return ", ".join(work.textual for work in works)
                return f"({'; '.join(work.parenthetical for work in works)})"

    def _ref(self, text: str, target: str, line: int) -> str:
        if target in self.labels.named_figures:
            return text or f"Figure {self.labels.named_figures[target]}"
        known = page_labels(self.book)
        page, heading = self._look_up(
            known, target, "label of a figure here or a heading on a page of book/", line
        )
        return f"[{text or heading}]({self.book.page_url(page, anchor(target))})"

    def _doc(self, text: str, target: str, line: int) -> str:
        base = self.book.root if target.startswith("/") else self.path.parent
        page = (base / f"{target.strip('/')}.md").resolve()
        root = self.book.root.resolve()
        if not page.is_file() or not page.is_relative_to(root):
            raise self._problem(line, f"doc {target}: expected a page of the book, without .md, found none")
        url = self.book.page_url(self.book.root / page.relative_to(root))
        return f"[{text or page_title(page, self.book)}]({url})"

    def _cite(self, key: str, line: int) -> Work:
        self.cited[key] = self._look_up(self.works, key, "key of book/references.bib", line)
        return self.cited[key]

    def _look_up(self, known: dict[str, T], key: str, what: str, line: int) -> T:
        if key not in known:
            raise self._problem(line, f"{key!r}: expected the {what}")
        return known[key]

    def references(self) -> str:
        """List the works cited so far, by author and year."""
        works = sorted(self.cited.values(), key=lambda work: (work.full, work.year))
        return "\n".join(f"- {work.full}" for work in works)


class _Lines:
    """Finds the place of a token in the text it was parsed from."""

    def __init__(self, text: str) -> None:
        self._rows = text.split("\n")
        self._starts = list(accumulate((len(row) + 1 for row in self._rows), initial=0))
        self._column: int | None = None  # within a table: where the next cell of the row may begin

    def follow(self, kind: str, token: Token) -> None:
        """Take note of entering or leaving a table or a row of it."""
        if kind == "tr":
            self._column = 0
        elif kind == "table":
            self._column = None

    def block(self, token: Token) -> tuple[int, int]:
        """Return where a block begins and ends, without its last line break."""
        start, stop = token.map or (0, 0)
        return self._starts[start], self._starts[stop] - 1

    def place(self, token: Token) -> Callable[[int], int] | None:
        """Return the map from a place in a paragraph's own text to one in the whole; None if not found.

        The parser takes list, quote and heading marks from the front of the lines, so a paragraph is what its
        lines end with; the cells of a table stand in a row from left to right.
        """
        assert token.map
        places, offsets, offset = [], [], 0
        for number, content in enumerate(token.content.split("\n"), start=token.map[0]):
            row = self._rows[number]
            column = row.rfind(content) if self._column is None else row.find(content, self._column)
            if column < 0:
                return None
            if self._column is not None:
                self._column = column + len(content)
            places.append(self._starts[number] + column)
            offsets.append(offset)
            offset += len(content) + 1

        def place(position: int) -> int:
            index = bisect_right(offsets, position) - 1
            return places[index] + position - offsets[index]

        return place


def _apply(text: str, edits: list[Edit]) -> str:
    for start, stop, replacement in sorted(edits, reverse=True):
        text = text[:start] + replacement + text[stop:]
    return text
