"""Every whitelisted directive and role as plain Markdown, and everything else refused with file and line."""

import pytest
from notebooks.errors import ProblemError
from notebooks.whitelist import DIRECTIVES, ROLES

RAW = "https://raw.githubusercontent.com/Some-Owner/a-book/trunk"
PAGES = "https://some-owner.github.io/a-book"
VASWANI = "https://arxiv.org/abs/1706.03762"

DIRECTIVE_EXAMPLES = {
    "note": (":::{note}\nSee *this*.\n:::", "> **Note**\n>\n> See *this*."),
    "tip": ("```{tip}\n- a\n- b\n```", "> **Tip**\n>\n> - a\n> - b"),
    "important": (":::{important} At once.\n:::", "> **Important**\n>\n> At once."),
    "warning": (":::{warning}\n:class: wide\n\nA\n\nB\n:::", "> **Warning**\n>\n> A\n>\n> B"),
    "admonition": (
        "::::{admonition} Exercise 1 · $x$ {cite:t}`one`\n:class: exercise\n\n"
        ":::{note}\nInner.\n:::\n\n$$\na \\\\\nb\n$$ (in)\n::::",
        f"> **Exercise 1 · $x$ [Vaswani et al. (2017)]({VASWANI})**\n>\n> > **Note**\n> >\n> > Inner.\n>\n"
        "> $$ a \\\\ b \\tag{1} $$",
    ),
    "dropdown": (
        ":::{dropdown} Solution of `f` & more\nTry:\n\n```python\nf()\n```\n:::",
        "<details>\n<summary>Solution of <code>f</code> &amp; more</summary>\n\n"
        "Try:\n\n```python\nf()\n```\n\n</details>",
    ),
    "figure": (
        ":::{figure} ../book/figures/boxes.svg\n:alt: Two [nested] boxes.\n:name: boxes\n\n"
        "The boxes, {eq}`e`.\n:::\n\n$$\nx\n$$ (e)",
        f"![Two \\[nested\\] boxes.]({RAW}/book/figures/boxes.svg)\n\n"
        "**Figure 1.** The boxes, (1).\n\n$$\nx \\tag{1}\n$$",
    ),
    "math": (
        "```{math}\n:label: area\na = b\n```\n\n```{math}\nc\n```",
        "$$\na = b \\tag{1}\n$$\n\n$$\nc\n$$",
    ),
    "list-table": (
        ":::{list-table} Sizes\n:header-rows: 1\n\n"
        "* - name\n  - {term}`size`\n* - one\n  - two\n    lines\n\n    and a paragraph\n:::",
        "**Sizes**\n\n| name | size |\n|---|---|\n| one | two lines<br>and a paragraph |",
    ),
    "code-block": ("````{code-block} text\n```\nhi\n```\n````", "````text\n```\nhi\n```\n````"),
}

ROLE_EXAMPLES = {
    "eq": ("By {eq}`e`:\n\n$$\nx\n$$ (e)", "By (1):\n\n$$\nx \\tag{1}\n$$"),
    "ref": (
        "See {ref}`hard-word` and {ref}`that <hard-word>`.",
        f"See [A hard word]({PAGES}/book/glossary.html#hard-word)"
        f" and [that]({PAGES}/book/glossary.html#hard-word).",
    ),
    "doc": (
        "{doc}`/book/glossary`, {doc}`words <../book/glossary>`",
        f"[Glossary]({PAGES}/book/glossary.html), [words]({PAGES}/book/glossary.html)",
    ),
    "term": ("A {term}`query`, some {term}`keys <key>`.", "A query, some keys."),
    "cite:p": (
        "So it is {cite:p}`one, two`.",
        f"So it is ([Vaswani et al., 2017]({VASWANI}); [Müller and van der Waals, 1881](https://example.org/gas)).",
    ),
    "cite:t": ("{cite:t}`three` and {cite:t}`one`", f"Knuth (1968) and [Vaswani et al. (2017)]({VASWANI})"),
}


def test_there_is_an_example_of_everything():
    assert DIRECTIVE_EXAMPLES.keys() == DIRECTIVES.keys()
    assert ROLE_EXAMPLES.keys() == ROLES.keys()
    assert len(DIRECTIVES) <= 12
    assert len(ROLES) <= 6


@pytest.mark.parametrize("name", DIRECTIVES)
def test_directives(sample, name):
    source, expected = DIRECTIVE_EXAMPLES[name]
    assert sample.plain(source) == expected


@pytest.mark.parametrize("name", ROLES)
def test_roles(sample, name):
    source, expected = ROLE_EXAMPLES[name]
    assert sample.plain(source) == expected


@pytest.mark.parametrize(
    "text",
    [
        "# no\n\n## Head *a* `b` ##\n\nSetext\n------\n\n1. one\n   more\n2. two\n\n"
        "   > quote $x$\n\n---\n\n    code",
        "| a | b |\n|---|--:|\n| `x` | y \\| z |",
        "```python\nprint('{eq}`x`')\n```\n\n`{eq}` and \\{eq}, <https://example.org> [a](https://a.org 'b').",
        "$$\n\\begin{aligned} a &= b \\\\ c &= \\frac{{a}}{{b}} \\end{aligned}\n$$\n\n"
        "and $a_{i}$,  \nhard **break**",
    ],
)
def test_plain_markdown_is_left_as_it_is(sample, text):
    assert sample.plain(text) == text


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("- a {term}`b`\n  c {term}`d`\n  - {term}`e` a {term}`b`", "- a b\n  c d\n  - e a b"),
        ("> a {term}`b`\n> c {term}`d`", "> a b\n> c d"),
        ("## A {term}`b` ##\n\nA {term}`b`\n===", "## A b ##\n\nA b\n==="),
        ("**x {term}`b`** [{term}`c`](https://a.org) *{term}`d`*", "**x b** [c](https://a.org) *d*"),
        (
            "| {term}`a` | a | {term}`a` |\n|---|---|---|\n| b | {term}`a` | {term}`b` |\n\n{term}`c`",
            "| a | a | a |\n|---|---|---|\n| b | a | b |\n\nc",
        ),
        ("{term}`two\nlines` after\nthem {term}`x`", "two lines after\nthem x"),
        ("Ä {term}`ö` 线 {term}`性`", "Ä ö 线 性"),
        ("> so $a +\n> b$ is", "> so $a + b$ is"),
    ],
)
def test_roles_are_replaced_where_they_stand(sample, source, expected):
    assert sample.plain(source) == expected


def test_equations_and_figures_count_through_the_chapter(sample):
    figure = ":::{figure} ../book/figures/boxes.svg\n:alt: Boxes.\n:name: NAME\n\nCaption.\n:::\n"
    cell = (
        "```{code-cell} ipython3\n---\nmystnb:\n  figure:\n    caption: Drawn, $x$.\n    name: drawn\n---\n"
        "draw()\n```\n"
    )
    notebook = sample.derive(
        f"{figure.replace('NAME', 'first')}\n$$\na\n$$ (a)\n\n{cell}\n:::{{note}}\n$$\nb\n$$ (b)\n:::\n\n"
        "```{math}\n:label: c\nc\n```\n\n"
        f"{figure.replace('NAME', 'last')}\n"
        "{ref}`drawn`, {ref}`last`, {ref}`it <first>`, {eq}`a`, {eq}`b`, {eq}`c`\n"
    )
    _, _, before, _, caption, after = notebook.cells
    assert "**Figure 1.** Caption.\n\n$$\na \\tag{1}\n$$" in before.source
    assert caption.source == "**Figure 2.** Drawn, $x$."
    assert "> $$ b \\tag{2} $$" in after.source
    assert after.source.endswith("**Figure 3.** Caption.\n\nFigure 2, Figure 3, it, (1), (2), (3)")


@pytest.mark.parametrize(
    ("source", "offset", "message"),
    [
        ("Text\n\n:::{tabs}\nx\n:::", 2, r"directive \{tabs\}: expected one of note, tip"),
        (":::{note}\nText\n\n```{mermaid}\nx\n```\n:::", 3, r"directive \{mermaid\}: expected one of"),
        (":::{note}\n```{code-cell}\n1\n```\n:::", 1, r"directive \{code-cell\} inside another block"),
        ("- item\n\n  :::{note}\n  x\n  :::", 2, r"directive \{note\} in a list or quote"),
        (":::{note}\n:wide:\nx\n:::", 0, r"directive \{note\}: Unknown option keys: \['wide'\]"),
        (":::{admonition}\nx\n:::", 0, r"directive \{admonition\}: expected a title after it"),
        (":::{figure} ../book/figures/boxes.svg\nCaption.\n:::", 0, "expected the option :alt:"),
        (":::{figure} ../book/figures/boxes.svg\n:alt: x\n:::", 0, "expected a caption"),
        (":::{figure} gone.svg\n:alt: x\n\nCaption.\n:::", 0, "figure gone.svg: expected a file"),
        (":::{list-table}\n:header-rows: 1\n\n* - a\n  - b\n* - c\n:::", 0, r"rows of equal length, got \[2, 1\]"),
        (":::{list-table}\n:header-rows: 2\n\n* - a\n:::", 0, "expected :header-rows: 1, got 2"),
        (":::{list-table}\n:header-rows: 1\n\n* - $|a|$\n:::", 3, "in a list-table"),
        (":::{list-table}\n:header-rows: 1\n\n* - ## a\n:::", 3, "heading in a list-table"),
        (":::{list-table}\n:header-rows: 1\n\ntext\n:::", 3, "expected a list of rows"),
        (":::{note}\n$$\na % why\n+ b\n$$\n:::", 1, "expected no TeX comment"),
        ("One\ntwo {abbr}`x`", 1, r"role \{abbr\}: expected one of eq, ref"),
        ("> a\n> b {sub}`x`", 1, r"role \{sub\}"),
        ("| a |\n|---|\n| {sub}`x` |", 2, r"role \{sub\}"),
        (":::{tip}\n\nx {sub}`x`\n:::", 2, r"role \{sub\}"),
        (":::{tip}\n:class: a\n\nx {sub}`x`\n\n\n:::", 3, r"role \{sub\}"),
        (":::{admonition} Title {sub}`x`\nx\n:::", 0, r"role \{sub\}"),
        ("| {term}`x` \\| y |\n|---|", 0, "escaped |"),
        ("x {eq}`gone`", 0, "'gone': expected the equation label"),
        ("{ref}`gone`", 0, "'gone': expected the label"),
        ("{doc}`gone`", 0, "doc gone: expected a page of the book"),
        ("{cite:p}`one,gone`", 0, "'gone': expected the key of book/references.bib"),
        ("a\n\n(target)=\n## b", 2, r"a \(label\)= target"),
        ("a\n\n% comment", 2, "a % comment"),
        ("a {{ name }}", 0, "substitution"),
        ("a\n\n{{ name }}", 2, "substitution"),
        ("a\n\n<div>x</div>", 2, "raw HTML"),
        ("a <b>x</b>", 0, "raw HTML"),
        ("a\n![b](c.png)", 1, "an image: expected the figure directive"),
        ("a [b](other.md)", 0, "a link to 'other.md'"),
        ("a [b](#part)", 0, "a link to '#part'"),
        ("a [b][c]\n\n[c]: https://example.org", 2, "a link definition"),
        ("a[^1]\n\n[^1]: note", 0, "a footnote"),
        ("costs 5$ now", 0, r"a lone \$"),
        ("- a\n\n  $$\n  x\n  $$ (l)", 2, "a labelled formula inside a list"),
        ("> a\n>\n> $$\n> x\n> $$", 2, "a formula in a quote: expected on one line"),
        (":::plain\nx\n:::", 0, "colon_fence"),
        ("$$\na\n$$ (l)\n\n$$\nb\n$$ (l)", 4, "label 'l': expected to be given once"),
    ],
)
def test_everything_else_is_refused_with_file_and_line(sample, body_line, source, offset, message):
    with pytest.raises(ProblemError, match=message) as caught:
        sample.plain(source)
    assert (caught.value.path.as_posix(), caught.value.line) == ("chapters/01_sample.md", body_line + offset)
