"""The verbatim source of package objects, found with `ast` in the package's files.

Nothing is imported and no running state is asked, so what is shown is what the file says.
"""

import ast
import textwrap
from dataclasses import dataclass
from pathlib import Path

from notebooks.book import Book
from notebooks.chapter import Chapter
from notebooks.errors import ProblemError

FUNCTION_LINES = 25
CLASS_LINES = 45

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Shown:
    """A package object and its source.

    Parameters
    ----------
    name
        Dotted path, ``package.module.object``.
    file, line
        Where it is defined; the line is that of its first decorator, if it has one.
    source
        Its text as in the file, decorators and comments included, moved to the left margin.
    kind
        "function" or "class".
    """

    name: str
    file: Path
    line: int
    source: str
    kind: str

    @property
    def limit(self) -> int:
        """Lines of code that may be shown."""
        return CLASS_LINES if self.kind == "class" else FUNCTION_LINES


def find_source(name: str, book: Book) -> Shown:
    """Find a function, class, method or anything nested in them.

    Raises
    ------
    LookupError
        There is no such module or object, or the name is defined more than once.
    """
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module = book.source.joinpath(*parts[:cut])
        file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
        if file.is_file():
            return _find_in(file, parts[cut:], name, book)
    raise LookupError(
        f"{name}: expected a module of {book.shown(book.source)}/ followed by an object, found no such module"
    )


def _find_in(file: Path, parts: list[str], name: str, book: Book) -> Shown:
    text = file.read_text(encoding="utf-8")
    node: ast.AST = ast.parse(text)
    for part in parts:
        found = [child for child in _definitions(node) if child.name == part]
        if len(found) != 1:
            number = "none" if not found else f"{len(found)}, at lines {[child.lineno for child in found]}"
            raise LookupError(f"{name}: expected one {part!r} in {book.shown(file)}, found {number}")
        node = found[0]
    assert isinstance(node, Definition)  # `parts` is never empty
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    lines = text.split("\n")[first - 1 : node.end_lineno]
    kind = "class" if isinstance(node, ast.ClassDef) else "function"
    return Shown(name, book.shown(file), first, textwrap.dedent("\n".join(lines)), kind)


def _definitions(node: ast.AST) -> list[Definition]:
    """List the definitions directly inside a node, also under `if`, `try` or `with`, but no nested ones."""
    found = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition):
            found.append(child)
        elif isinstance(child, ast.stmt | ast.excepthandler):
            found += _definitions(child)
    return found


def code_lines(source: str) -> int:
    """Count the lines of code; docstrings and blank lines do not count."""
    skipped: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Definition | ast.Module) and ast.get_docstring(node, clean=False) is not None:
            docstring = node.body[0]
            skipped.update(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return sum(
        1 for number, line in enumerate(source.split("\n"), start=1) if number not in skipped and line.strip()
    )


def shown_problems(chapters: list[Chapter], book: Book) -> list[ProblemError]:
    """Compare every ``src:`` cell with the package, and hold the objects shown to their limits."""
    problems = []
    seen: dict[str, str] = {}
    for chapter in chapters:
        for cell in chapter.cells:
            if cell.shows is None:
                continue
            place = f"{chapter.shown.as_posix()}:{cell.line}"
            for other, there in seen.items():
                if other == cell.shows or other.startswith(f"{cell.shows}.") or cell.shows.startswith(f"{other}."):
                    message = f"{cell.shows}: expected each object to be shown once, {there} shows {other}"
                    problems.append(ProblemError(chapter.shown, cell.line, message))
            seen[cell.shows] = place
            try:
                shown = find_source(cell.shows, book)
            except LookupError as error:
                problems.append(ProblemError(chapter.shown, cell.line, str(error)))
                continue
            if cell.source != shown.source:
                message = (
                    f"{shown.name}: the cell differs from {shown.file.as_posix()}:{shown.line}"
                    f" ({_first_difference(shown.source, cell.source)});"
                    " change the package, then run `make notebooks`"
                )
                problems.append(ProblemError(chapter.shown, cell.line, message))
            size = code_lines(shown.source)
            if size > shown.limit:
                message = (
                    f"{shown.name}: expected a shown {shown.kind} to have at most {shown.limit} lines of code,"
                    f" got {size}"
                )
                problems.append(ProblemError(shown.file, shown.line, message))
    return problems


def _first_difference(expected: str, got: str) -> str:
    pairs = zip([*expected.split("\n"), "(end)"], [*got.split("\n"), "(end)"], strict=False)
    line, (left, right) = next((n, pair) for n, pair in enumerate(pairs, start=1) if pair[0] != pair[1])
    return f"line {line}: package has {left!r}, cell has {right!r}"
