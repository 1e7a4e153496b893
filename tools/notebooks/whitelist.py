"""All the MyST a chapter may use, as data: directives, roles, and the tags of code cells.

Everything here has a plain-Markdown form that reads well in Colab (`notebooks.plain`); anything else is an
error. The list in CONTRIBUTING.md, between `START` and `END`, is a copy of `as_markdown()`, written by ``build``
and compared by ``check``.
"""

from dataclasses import dataclass, field

START = "<!-- myst-whitelist:start -->"
END = "<!-- myst-whitelist:end -->"


@dataclass(frozen=True)
class Directive:
    """A directive that chapters may use.

    Parameters
    ----------
    name
        As written between the braces.
    becomes
        Its plain-Markdown form, in words.
    argument
        What stands after the name: a word for it, or "" where nothing may stand there.
    required
        Whether the argument must be given.
    options
        Names of the ``:option:`` lines allowed.
    needed
        Those among them that must be given.
    markdown
        Whether the body is Markdown (not TeX, not code).
    """

    name: str
    becomes: str
    argument: str = ""
    required: bool = False
    options: frozenset[str] = field(default_factory=frozenset)
    needed: frozenset[str] = field(default_factory=frozenset)
    markdown: bool = True


@dataclass(frozen=True)
class Role:
    """A role that chapters may use, and its plain-Markdown form in words."""

    name: str
    becomes: str


_BOX = frozenset({"class", "name"})
_QUOTE = "block quote, bold title"

DIRECTIVES = {
    directive.name: directive
    for directive in (
        Directive("note", _QUOTE, options=_BOX),
        Directive("tip", _QUOTE, options=_BOX),
        Directive("important", _QUOTE, options=_BOX),
        Directive("warning", _QUOTE, options=_BOX),
        Directive("admonition", _QUOTE, argument="title", required=True, options=_BOX),
        Directive(
            "dropdown",
            "`<details>` with the title as summary",
            argument="title",
            required=True,
            options=_BOX | {"open"},
        ),
        Directive(
            "figure",
            "image at its address on GitHub, numbered caption below",
            argument="path",
            required=True,
            options=_BOX | {"alt", "width", "align"},
            needed=frozenset({"alt"}),
        ),
        Directive("math", "`$$ … $$` with its number", options=frozenset({"label"}), markdown=False),
        Directive(
            "list-table",
            "table",
            argument="title",
            options=_BOX | {"header-rows", "widths", "align"},
            needed=frozenset({"header-rows"}),
            markdown=False,
        ),
        Directive("code-block", "code fence", argument="language", required=True, options=_BOX, markdown=False),
    )
}

ROLES = {
    role.name: role
    for role in (
        Role("eq", "the equation's number, (1)"),
        Role("ref", "the text given, linked where it leads to another page"),
        Role("doc", "link to the published page"),
        Role("term", "the word itself"),
        Role("cite:p", "(Author et al., year), linked; listed under References at the end"),
        Role("cite:t", "Author et al. (year), linked; listed under References at the end"),
    )
}

SOURCE_TAG = "src:"
INSTALL_TAG = "install"
TAGS = {
    "imports": "imports only; no output expected",
    "exercise": "the reader's stub and the call of its check",
    "nbval-ignore-output": "output that differs from run to run (timings); the notebook keeps none of it",
    "hide-input": "the page folds the code away",
}

CELL_OPTIONS = frozenset({"tags", "mystnb"})


def as_markdown() -> str:
    """Write the whitelist as the Markdown that stands in CONTRIBUTING.md."""
    lines = ["| directive | options | in the notebook |", "|---|---|---|"]
    for directive in DIRECTIVES.values():
        title = f" {directive.argument}" if directive.argument else ""
        options = ", ".join(
            f"`{name}` (required)" if name in directive.needed else f"`{name}`"
            for name in sorted(directive.options)
        )
        lines.append(f"| `{{{directive.name}}}{title}` | {options} | {directive.becomes} |")
    lines += ["", "| role | in the notebook |", "|---|---|"]
    lines += [f"| ``{{{role.name}}}`…` `` | {role.becomes} |" for role in ROLES.values()]
    lines += ["", "| tag of a code cell | meaning |", "|---|---|"]
    lines.append(f"| `{SOURCE_TAG}package.module.name` | holds that object's source, copied from the package |")
    lines += [f"| `{tag}` | {meaning} |" for tag, meaning in TAGS.items()]
    return "\n".join(lines)
