"""Tables that nobody writes by hand: the claims, the code index, and the notes, claim by claim.

``{claims-table}``
    Every claim with its measured figure, verdict, chapter, and the command that repeats the measurement;
    from the stored results.
``{code-index}``
    Every object whose source a chapter shows: its reference, the chapter, and its tests; from the cells
    tagged ``src:`` and from the files in `tests`.
``{notes-map}``
    Every sentence of the source notes that has been checked, from `book/notes.yml`.

What does not fit together (an unknown claim, chapter or verdict, a shown object without tests or shown twice,
a claim without a stored result) is a warning (type ``book_tables``), so a build with ``-W`` fails.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from docutils.utils.smartquotes import smartchars
from myst_nb.core.read import read_myst_markdown_notebook
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

_LOGGER = logging.getLogger(__name__)
NOTES = "book/notes.yml"
VERDICTS = ("right", "imprecise", "wrong")
NOTE_KEYS = {"sentence_zh", "sentence_en", "chapter", "claims", "verdict", "explanation"}
SOURCE_TAG = "src:"

Cell = list[nodes.Node]


def claim_anchor(claim_id: str) -> str:
    """Id of a claim's row on the page *Claims*: ``claim-c5-1`` for C5.1."""
    return f"claim-{claim_id.lower().replace('.', '-')}"


def chapter_docname(root: Path, slug: str) -> str:
    """Document of a chapter.

    Raises
    ------
    ValueError
        No chapter, or more than one, has that slug.
    """
    found = [path for path in (root / "chapters").glob("*.md") if path.stem.partition("_")[2] == slug]
    if len(found) != 1:
        raise ValueError(f"chapter: expected one file chapters/NN_{slug}.md, found {len(found)}")
    return f"/chapters/{found[0].stem}"


def shown_objects(root: Path) -> Iterator[tuple[str, str]]:
    """Yield (dotted name, chapter document) of every object that a chapter shows, in the order of reading."""
    for path in sorted((root / "chapters").glob("*.md")):
        notebook = read_myst_markdown_notebook(path.read_text(encoding="utf-8"), path=str(path))
        for cell in notebook.cells:
            for tag in cell.metadata.get("tags", []):
                if tag.startswith(SOURCE_TAG):
                    yield tag.removeprefix(SOURCE_TAG), f"/chapters/{path.stem}"


def tests_of(root: Path, name: str) -> str:
    """Path of the tests of an object; `tests` mirrors `src/transformer_book`.

    Raises
    ------
    ValueError
        The package has no such module, or the module no tests.
    """
    parts = name.split(".")
    for length in range(len(parts) - 1, 1, -1):
        if Path(root, "src", *parts[: length - 1], f"{parts[length - 1]}.py").is_file():
            tests = Path("tests", *parts[1 : length - 1], f"test_{parts[length - 1]}.py")
            if not (root / tests).is_file():
                raise ValueError(f"{name}: expected its tests in {tests.as_posix()}, found none")
            return tests.as_posix()
    raise ValueError(f"{name}: expected an object of a module under src, found none")


class GeneratedTable(SphinxDirective):
    """A table whose rows come from elsewhere."""

    columns: tuple[tuple[str, int], ...]
    label: str

    def rows(self) -> Iterator[Sequence[Cell]]:
        """Yield the cells of each row."""
        raise NotImplementedError

    @cached_property
    def root(self) -> Path:
        """The top folder of the book."""
        return Path(self.env.srcdir)

    def warn(self, message: str) -> None:
        """Warn at the directive."""
        _LOGGER.warning("%s", message, type="book_tables", location=self.get_location())

    def text(self, markdown: str, *classes: str) -> Cell:
        """Parse a cell's Markdown."""
        cell = nodes.container()
        self.state.nested_parse(StringList(markdown.splitlines(), source=self.get_location()), 0, cell)
        for child in cell.children:
            if isinstance(child, nodes.Element):
                child["classes"] += classes
        return list(cell.children)

    def link(self, domain: str, kind: str, target: str, text: str | None = None) -> nodes.Element:
        """Refer to a document, a label or an object; an unknown one is Sphinx's own warning."""
        inner = (nodes.literal if domain == "py" else nodes.inline)("", text or target)
        reference = addnodes.pending_xref(
            "",
            inner,
            refdomain=domain,
            reftype=kind,
            reftarget=target,
            refdoc=self.env.docname,
            refexplicit=text is not None,
            refwarn=True,
        )
        self.set_source_info(reference)
        return reference

    def anchor(self, element: nodes.Element, label: str, text: str) -> None:
        """Make an element a target of ``{ref}``."""
        element["ids"].append(label)
        self.env.domaindata["std"]["labels"][label] = (self.env.docname, label, text)
        self.env.domaindata["std"]["anonlabels"][label] = (self.env.docname, label)

    def address(self, path: str) -> str:
        """Address of a file in the public repository."""
        options = self.config.html_theme_options
        return f"{options['repository_url']}/blob/{options['repository_branch']}/{path}"

    def run(self) -> list[nodes.Node]:
        """Build the table, in a box that scrolls where the page is too narrow."""
        group = nodes.tgroup(cols=len(self.columns))
        group += [nodes.colspec(colwidth=width) for _, width in self.columns]
        head = nodes.row()
        head += [nodes.entry("", nodes.paragraph("", title)) for title, _ in self.columns]
        group += nodes.thead("", head)
        body = nodes.tbody()
        for cells in self.rows():
            row = nodes.row()
            row += [nodes.entry("", *cell) for cell in cells]
            body += row
        group += body
        return [nodes.table("", group, classes=["tb-generated", self.label])]


class ClaimsTable(GeneratedTable):
    """``{claims-table}``."""

    columns = (("Claim", 30), ("Measured", 30), ("Verdict", 10), ("Chapter", 15), ("Repeat it", 25))
    label = "tb-claims"

    def rows(self) -> Iterator[Sequence[Cell]]:
        """One row for each claim and each device it was measured on."""
        from transformer_book.experiments import all_verdicts  # imports torch: only where the table is built

        try:
            rows = all_verdicts()
        except (FileNotFoundError, ValueError) as error:
            self.warn(str(error))
            return
        named: set[str] = set()
        for row in rows:
            claim, result = row.claim, row.result
            statement = self.text(f"**{claim.id}** {claim.statement}")
            if claim.id not in named and isinstance(statement[0], nodes.Element):
                named.add(claim.id)
                self.anchor(statement[0], claim_anchor(claim.id), claim.id)
            verdict = "holds" if row.verdict.holds else "contradicted"
            seeds = "1 seed" if len(result.seeds) == 1 else f"{len(result.seeds)} seeds"
            yield (
                statement,
                self.text(row.verdict.figure),
                self.text(verdict, "tb-verdict", f"tb-verdict-{verdict}"),
                [nodes.paragraph("", "", self.link("std", "doc", chapter_docname(self.root, row.chapter)))],
                [
                    nodes.paragraph("", "", nodes.literal("", result.command)),
                    nodes.paragraph("", f"{seeds}, {result.date[:10]}, {result.environment['device_name']}"),
                ],
            )


class CodeIndex(GeneratedTable):
    """``{code-index}``."""

    columns = (("Object", 40), ("Shown in", 25), ("Tests", 25))
    label = "tb-code-index"

    def rows(self) -> Iterator[Sequence[Cell]]:
        """One row for each object that a chapter shows."""
        self.env.note_reread()  # chapters and tests come and go without a change of this page
        shown: dict[str, str] = {}
        for name, chapter in shown_objects(self.root):
            if name in shown:
                self.warn(f"{name}: expected to be shown once, shown in {shown[name]} and {chapter}")
                continue
            shown[name] = chapter
            try:
                tests = tests_of(self.root, name)
            except ValueError as error:
                self.warn(str(error))
                continue
            source = nodes.reference("", "", nodes.literal("", tests), refuri=self.address(tests), internal=False)
            yield (
                [nodes.paragraph("", "", self.link("py", "obj", name))],
                [nodes.paragraph("", "", self.link("std", "doc", chapter))],
                [nodes.paragraph("", "", source)],
            )


class NotesMap(GeneratedTable):
    """``{notes-map}``."""

    columns = (("The notes say", 30), ("Verdict", 10), ("What was found", 45), ("Chapter", 15))
    label = "tb-notes"

    def rows(self) -> Iterator[Sequence[Cell]]:
        """One row for each sentence."""
        from transformer_book.experiments import REGISTRY  # imports torch: only where the table is built

        known = {claim for experiment in REGISTRY.values() for claim in experiment.CLAIMS}
        path = self.root / NOTES
        self.env.note_dependency(str(path))
        notes = yaml.safe_load(path.read_text(encoding="utf-8"))
        for number, note in enumerate(notes, start=1):
            try:
                chapter = check_note(self.root, note, known)
            except ValueError as error:
                self.warn(f"{NOTES}, entry {number}: {error}")
                continue
            yield (
                [
                    *self.text(note["sentence_zh"], "language-zh"),
                    *self.text(note["sentence_en"]),
                ],
                self.text(note["verdict"], "tb-verdict", f"tb-verdict-{note['verdict']}"),
                [*self.text(note["explanation"]), *self.claims(note["claims"])],
                [nodes.paragraph("", "", self.link("std", "doc", chapter))],
            )

    def claims(self, claims: list[str]) -> Cell:
        """Link to the claims that decide."""
        if not claims:
            return []
        paragraph = nodes.paragraph("", "Claims " if len(claims) > 1 else "Claim ")
        for number, claim in enumerate(claims):
            if number:
                paragraph += nodes.Text(", ")
            paragraph += self.link("std", "ref", claim_anchor(claim), claim)
        return [paragraph]


def check_note(root: Path, note: Any, known_claims: set[str]) -> str:
    """Validate one entry of `book/notes.yml`, and return the document of its chapter.

    Raises
    ------
    ValueError
        A key is missing or unknown, or names a claim, chapter or verdict that does not exist.
    """
    if not isinstance(note, dict) or set(note) != NOTE_KEYS:
        got = sorted(note) if isinstance(note, dict) else note
        raise ValueError(f"expected the keys {sorted(NOTE_KEYS)}, got {got}")
    for key in ("sentence_zh", "sentence_en", "chapter", "explanation"):
        if not isinstance(note[key], str) or not note[key].strip():
            raise ValueError(f"{key}: expected a text, got {note[key]!r}")
    if note["verdict"] not in VERDICTS:
        raise ValueError(f"verdict: expected one of {', '.join(VERDICTS)}; got {note['verdict']!r}")
    if not isinstance(note["claims"], list) or not set(note["claims"]) <= known_claims:
        raise ValueError(f"claims: expected a list from {sorted(known_claims)}, got {note['claims']!r}")
    return chapter_docname(root, note["chapter"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the three directives."""
    smartchars.quotes.setdefault("zh", "“”‘’")  # docutils knows Chinese quotes only as zh-cn and zh-tw
    app.add_directive("claims-table", ClaimsTable)
    app.add_directive("code-index", CodeIndex)
    app.add_directive("notes-map", NotesMap)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
