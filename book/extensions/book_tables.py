"""Tables that nobody writes by hand: the claims, the code index, the notes claim by claim, the paper.

``{chapters-table}``
    Every chapter of `_toc.yml`, with the minutes that it and its exercises take, and what they add up to; from the
    chapters' front matter and the titles of their exercises.
``{claims-table}``
    Every claim with its measured figure, verdict, chapter, and the command that repeats the measurement;
    from the stored results.
``{code-index}``
    Every object whose source a chapter shows: its reference, the chapter, and its tests; from the cells
    tagged ``src:`` and from the files in `tests`.
``{notes-map}``
    Every sentence of the source notes that has been checked, from `book/notes.yml`.
``{paper-map}``
    Every section, displayed equation, figure and table of the 2017 paper, with chapter, code and claims, from
    `book/paper.yml`; a heading and a table for each part of the paper.

What does not fit together (an unknown claim, chapter, object or verdict, a shown object without tests or shown
twice, a claim without a stored result, a place of the paper without an entry) is a warning (type ``book_tables``,
or Sphinx's own), so a build with ``-W`` fails.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
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
PAPER = "book/paper.yml"
_EXERCISE = re.compile(r"^:+\{admonition\} Exercise .* · (\d+) min$", re.M)
#: How the book can stand to a place of the paper.
RELATIONS = ("built", "measured", "departed", "not here")
PLACE_KEYS = {"place", "says", "relation", "here", "chapters", "code", "claims"}
#: Part of the paper -> its places, in the paper's order: each section, displayed equation, figure and table.
PARTS: dict[str, tuple[str, ...]] = {
    "1, 2 · Introduction, background": ("section 1", "section 2"),
    "3 · Model architecture": (
        *("section 3", "figure 1", "section 3.1", "section 3.2", "section 3.2.1", "equation 1"),
        *("section 3.2.2", "figure 2", "equation MultiHead", "section 3.2.3", "section 3.3", "equation 2"),
        *("section 3.4", "section 3.5", "equation PE"),
    ),
    "4 · Why self-attention": ("section 4", "table 1", "figure 3", "figure 4", "figure 5"),
    "5 · Training": ("section 5", "section 5.1", "section 5.2", "section 5.3", "equation 3", "section 5.4"),
    "6 · Results": ("section 6", "section 6.1", "table 2", "section 6.2", "table 3", "section 6.3", "table 4"),
    "7 · Conclusion": ("section 7",),
}
PLACES = tuple(place for places in PARTS.values() for place in places)

Cell = list[nodes.Node]


def claim_anchor(claim_id: str) -> str:
    """Id of a claim's row on the page *Claims*: ``claim-c5-1`` for C5.1."""
    return f"claim-{claim_id.lower().replace('.', '-')}"


def place_anchor(place: str) -> str:
    """Id of the row of a place of the paper: ``paper-section-3-2-1``."""
    return nodes.make_id(f"paper {place}")


def known_claims() -> set[str]:
    """Ids of all claims of the package."""
    from transformer_book.experiments import REGISTRY  # imports torch: only where a table is built

    return {claim for experiment in REGISTRY.values() for claim in experiment.CLAIMS}


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
        """Build the table."""
        return [self.table(self.rows())]

    def table(self, rows: Iterable[Sequence[Cell]]) -> nodes.table:
        """Build a table, in a box that scrolls where the page is too narrow."""
        group = nodes.tgroup(cols=len(self.columns))
        group += [nodes.colspec(colwidth=width) for _, width in self.columns]
        head = nodes.row()
        head += [nodes.entry("", nodes.paragraph("", title)) for title, _ in self.columns]
        group += nodes.thead("", head)
        body = nodes.tbody()
        for cells in rows:
            row = nodes.row()
            row += [nodes.entry("", *cell) for cell in cells]
            body += row
        group += body
        return nodes.table("", group, classes=["tb-generated", self.label])


def hours(minutes: int) -> str:
    """Word a time: ``45 min``, ``2 h``, ``2 h 5 min``."""
    parts = ((minutes // 60, "h"), (minutes % 60, "min"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 min"


class ChaptersTable(GeneratedTable):
    """``{chapters-table}``."""

    columns = (("Part", 24), ("Chapter", 44), ("To read", 14), ("Exercises", 18))
    label = "tb-chapters"

    def rows(self) -> Iterator[Sequence[Cell]]:
        """One row for each chapter, and one for all of them."""
        toc = self.root / "_toc.yml"
        self.env.note_dependency(str(toc))
        reading = solving = count = 0
        for part in yaml.safe_load(toc.read_text(encoding="utf-8"))["parts"]:
            for name in (chapter["file"] for chapter in part["chapters"]):
                if not name.startswith("chapters/"):
                    continue
                path = self.root / f"{name}.md"
                self.env.note_dependency(str(path))
                text = path.read_text(encoding="utf-8")
                minutes = yaml.safe_load(text.split("---\n")[1])["chapter"]["minutes"]
                exercises = [int(found) for found in _EXERCISE.findall(text)]
                link = nodes.paragraph("", "", self.link("std", "doc", f"/{name}"))
                yield (
                    self.text(part["caption"].removeprefix("Part ")),
                    [link],
                    self.text(hours(minutes)),
                    self.text(f"{len(exercises)} · {hours(sum(exercises))}"),
                )
                reading, solving, count = reading + minutes, solving + sum(exercises), count + len(exercises)
        yield (
            self.text("**Together**"),
            [],
            self.text(f"**{hours(reading)}**"),
            self.text(f"**{count} · {hours(solving)}**"),
        )


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
        known = known_claims()
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


class PaperMap(GeneratedTable):
    """``{paper-map}``."""

    columns = (("The paper", 38), ("In this book", 62))
    label = "tb-paper"

    def run(self) -> list[nodes.Node]:
        """Build a section with a table for each part of the paper."""
        entries = self.entries()
        for place in PLACES:
            if place not in entries:
                self.warn(f"{PAPER}: expected an entry for {place}, found none")
        sections: list[nodes.Node] = []
        for title, places in PARTS.items():
            section = nodes.section(names=[nodes.fully_normalize_name(title)])
            self.state.document.note_implicit_target(section, section)
            section += nodes.title("", title)
            section += self.table(self.row(entries[place]) for place in places if place in entries)
            sections.append(section)
        return sections

    def entries(self) -> dict[str, dict[str, Any]]:
        """Read the entries, by place; those that do not fit are warned of and left out."""
        path = self.root / PAPER
        self.env.note_dependency(str(path))
        entries: dict[str, dict[str, Any]] = {}
        claims = known_claims()
        for number, entry in enumerate(yaml.safe_load(path.read_text(encoding="utf-8")), start=1):
            try:
                check_place(self.root, entry, claims)
                if entry["place"] in entries:
                    raise ValueError(f"place: expected one entry for {entry['place']}, got another")
            except ValueError as error:
                self.warn(f"{PAPER}, entry {number}: {error}")
                continue
            entries[entry["place"]] = entry
        return entries

    def row(self, entry: dict[str, Any]) -> Sequence[Cell]:
        """One row."""
        place = entry["place"]
        says = self.text(f"**{place[0].upper()}{place[1:]}.** {entry['says']}")
        if isinstance(says[0], nodes.Element):
            self.anchor(says[0], place_anchor(place), place)
        relations = nodes.paragraph(classes=["tb-relations"])
        for relation in entry["relation"]:
            name = relation.replace(" ", "-")
            relations += nodes.inline("", relation, classes=["tb-verdict", f"tb-relation-{name}"])
            relations += nodes.Text(" ")
        claims = [self.link("std", "ref", claim_anchor(claim), claim) for claim in entry["claims"]]
        chapters = [self.link("std", "doc", chapter_docname(self.root, slug)) for slug in entry["chapters"]]
        code = [self.link("py", "obj", name, name.rpartition(".")[2]) for name in entry["code"]]
        links = [("Claims", claims), ("Chapters", chapters), ("Code", code)]
        return says, [relations, *self.text(entry["here"]), *(self.line(*each) for each in links if each[1])]

    def line(self, title: str, links: list[nodes.Element]) -> nodes.paragraph:
        """Put links behind a title."""
        paragraph = nodes.paragraph("", "", nodes.strong("", title), classes=["tb-links"])
        for number, link in enumerate(links):
            paragraph += nodes.Text(" · " if number else " ")
            paragraph += link
        return paragraph


def check_place(root: Path, entry: Any, claims: set[str]) -> None:
    """Validate one entry of `book/paper.yml`; that its objects exist is checked by Sphinx when it links to them.

    Raises
    ------
    ValueError
        A key is missing or unknown, or names a place, relation, chapter or claim that does not exist, or the
        relations are not those that code and claims show.
    """
    if not isinstance(entry, dict) or set(entry) != PLACE_KEYS:
        got = sorted(entry) if isinstance(entry, dict) else entry
        raise ValueError(f"expected the keys {sorted(PLACE_KEYS)}, got {got}")
    if entry["place"] not in PLACES:
        raise ValueError(f"place: expected one of {', '.join(PLACES)}; got {entry['place']!r}")
    for key in ("says", "here"):
        if not isinstance(entry[key], str) or not entry[key].strip():
            raise ValueError(f"{key}: expected a text, got {entry[key]!r}")
    for key in ("relation", "chapters", "code", "claims"):
        if not isinstance(entry[key], list) or len(set(map(str, entry[key]))) != len(entry[key]):
            raise ValueError(f"{key}: expected a list without repetitions, got {entry[key]!r}")
    if not set(entry["claims"]) <= claims:
        raise ValueError(f"claims: expected a list from {sorted(claims)}, got {entry['claims']!r}")
    relation = set(entry["relation"])
    if not relation or not relation <= set(RELATIONS):
        raise ValueError(f"relation: expected some of {', '.join(RELATIONS)}; got {entry['relation']!r}")
    if "not here" in relation and (len(relation) > 1 or entry["code"] or entry["claims"]):
        raise ValueError("relation: expected 'not here' to stand alone, without code and claims")
    if ("measured" in relation) != bool(entry["claims"]):
        raise ValueError(f"relation: expected 'measured' where there are claims, and only there, {_got(entry)}")
    if "built" in relation and not entry["code"]:
        raise ValueError(f"relation: expected code where something is built, {_got(entry)}")
    if entry["code"] and not relation & {"built", "departed"}:
        raise ValueError(f"relation: expected 'built' or 'departed' where there is code, {_got(entry)}")
    if "not here" not in relation and not entry["chapters"]:
        raise ValueError(f"chapters: expected at least one, {_got(entry)}")
    for slug in entry["chapters"]:
        chapter_docname(root, slug)


def _got(entry: dict[str, Any]) -> str:
    return f"got {entry['relation']}, code {entry['code']} and claims {entry['claims']}"


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
    """Register the directives."""
    smartchars.quotes.setdefault("zh", "“”‘’")  # docutils knows Chinese quotes only as zh-cn and zh-tw
    app.add_directive("chapters-table", ChaptersTable)
    app.add_directive("claims-table", ClaimsTable)
    app.add_directive("code-index", CodeIndex)
    app.add_directive("notes-map", NotesMap)
    app.add_directive("paper-map", PaperMap)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
