"""MyST's own parser, so that the notebook is derived from what the book is built from.

Two things are added: the place of every role and formula within its paragraph, and directives read the way
MyST reads them, checked against the whitelist.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from docutils.parsers.rst import Directive as DocutilsDirective
from docutils.parsers.rst.directives import unchanged
from docutils.parsers.rst.states import MarkupError
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.directives import parse_directive_text
from myst_parser.parsers.mdit import create_md_parser

from notebooks.errors import ProblemError
from notebooks.whitelist import DIRECTIVES

FENCES = ("fence", "colon_fence")
CODE_CELL = "{code-cell}"


@lru_cache
def parser(extensions: frozenset[str]) -> MarkdownIt:
    """Return the book's Markdown parser; roles and formulas carry their place in ``meta["span"]``.

    Parameters
    ----------
    extensions
        MyST extension names, as in `_config.yml`. Substitutions are always recognised, to be refused.
    """
    config = MdParserConfig(enable_extensions=set(extensions) | {"substitution"})
    md = create_md_parser(config, RendererHTML)
    for rule in list(md.inline.ruler.__rules__):
        md.inline.ruler.at(rule.name, _with_span(rule.fn), {"alt": rule.alt})
    return md


def _with_span(rule: Callable[[StateInline, bool], bool]) -> Callable[[StateInline, bool], bool]:
    def spanned(state: StateInline, silent: bool) -> bool:
        start, before = state.pos, len(state.tokens)
        matched = rule(state, silent)
        if matched and not silent:
            for token in state.tokens[before:]:
                token.meta.setdefault("span", (start, state.pos))
        return matched

    return spanned


def span(token: Token) -> tuple[int, int]:
    """Return where a token stands in the text of its paragraph."""
    start, end = token.meta["span"]
    return start, end


def line_of(token: Token, first_line: int) -> int:
    """Return the line of a block token in its file, given the line on which the parsed text begins."""
    return first_line + (token.map[0] if token.map else 0)


@dataclass(frozen=True)
class Used:
    """A directive as used in a chapter.

    Parameters
    ----------
    name, argument, options, body
        As written; the argument is "" where there is none.
    line
        Line of the opening fence in the file.
    body_line
        Line on which the body begins.
    """

    name: str
    argument: str
    options: dict[str, str]
    body: str
    line: int
    body_line: int


def directive_shape(required: bool, optional: bool, options: Iterable[str]) -> type[DocutilsDirective]:
    """Describe to MyST what a directive takes: one argument or none, which options, and a body."""
    members = {
        "required_arguments": int(required),
        "optional_arguments": int(optional),
        "final_argument_whitespace": True,
        "option_spec": dict.fromkeys(options, unchanged),
        "has_content": True,
    }
    return type("Shape", (DocutilsDirective,), members)


def directive_name(token: Token) -> str | None:
    """Return the name between the braces if a block token is a directive, else None."""
    words = token.info.split(maxsplit=1)
    if token.type not in FENCES or not words or not words[0].startswith("{"):
        return None
    return words[0][1:].removesuffix("}")


def read_directive(token: Token, path: Path, first_line: int) -> Used | None:
    """Read a fence as a directive; None if it is an ordinary code fence.

    Raises
    ------
    ProblemError
        The directive, or its use, is not on the whitelist.
    """
    name = directive_name(token)
    if name is None:
        return None
    line = line_of(token, first_line)
    allowed = DIRECTIVES.get(name)
    if allowed is None:
        where = " inside another block" if name == CODE_CELL.strip("{}") else ""
        raise ProblemError(path, line, f"directive {{{name}}}{where}: expected one of {', '.join(DIRECTIVES)}")
    argument = bool(allowed.argument)
    shape = directive_shape(argument and allowed.required, argument and not allowed.required, allowed.options)
    rest = token.info.strip().partition(" ")[2]
    try:
        parsed = parse_directive_text(shape, rest, token.content.rstrip("\n"))
    except MarkupError:
        raise ProblemError(path, line, f"directive {{{name}}}: expected a {allowed.argument} after it") from None
    if parsed.warnings:
        raise ProblemError(path, line, f"directive {{{name}}}: {parsed.warnings[0].msg}")
    if missing := sorted(option for option in allowed.needed if not parsed.options.get(option)):
        raise ProblemError(path, line, f"directive {{{name}}}: expected the option :{missing[0]}:")
    return Used(
        name=name,
        argument=" ".join(parsed.arguments),
        options={key: value or "" for key, value in parsed.options.items()},
        body="\n".join(parsed.body).rstrip("\n"),
        line=line,
        body_line=line + 1 + parsed.body_offset,
    )


def walk(md: MarkdownIt, text: str, path: Path, first_line: int) -> Iterator[tuple[Token, int, Used | None]]:
    """Yield every block token of a text with its line, going into directives whose body is Markdown.

    A directive is yielded before its contents, as its fence token together with what was read from it.
    """
    for token in md.parse(text):
        used = read_directive(token, path, first_line)
        yield token, line_of(token, first_line), used
        if used is not None and DIRECTIVES[used.name].markdown:
            yield from walk(md, used.body, path, used.body_line)
