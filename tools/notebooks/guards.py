"""Rules of style that a machine can hold chapters to, and the share of cells that nbval really compares."""

import ast
import re
from statistics import median

from nbformat import NotebookNode

from notebooks.book import Book
from notebooks.chapter import Cell, Chapter
from notebooks.errors import ProblemError
from notebooks.normalise import IGNORED_TAG
from notebooks.source_cells import CLASS_LINES, FUNCTION_LINES, code_lines
from notebooks.syntax import parser, read_directive
from notebooks.whitelist import INSTALL_TAG, SOURCE_TAG

COMPARED_SHARE = 0.8
MEDIAN_LINES = 8
PLOT_LINES = 10
WORDS = (2000, 3500)

#: Why a code cell is not compared.
REASONS = ("imports", "shown source", "timings", "a figure or widget only", "nothing printed")

NOT_PROSE = {"dropdown", "math", "code-block"}
# Names that drawing code hangs on.
PLOT_NAMES = {"plt", "ax", "axes", "fig", "figure"}
# <Figure size 640x480 …>, Linear(in_features=…), WhySqrtD: …
REPR = re.compile(r"<.*>|[A-Z]\w*(\(|: )", re.DOTALL)


def code_cells(chapter: Chapter, notebook: NotebookNode) -> list[tuple[Cell, NotebookNode]]:
    """Pair each code cell of a chapter with its executed form; the install cell has no counterpart."""
    executed = [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and INSTALL_TAG not in cell.metadata.get("tags", [])
    ]
    return list(zip((cell for cell in chapter.cells if cell.kind == "code"), executed, strict=True))


def is_compared(cell: NotebookNode) -> bool:
    """Tell whether nbval compares anything a cell says; a figure, a widget or a repr says nothing."""
    for output in cell.outputs:
        if output.output_type == "stream":
            text = output.text
        elif output.metadata.get("dropped") or REPR.match(output.data.get("text/plain", "")):
            continue
        else:
            text = output.data.get("text/plain", "")
        if text.strip():
            return True
    return False


def why_not_compared(cell: NotebookNode) -> str:
    """Return why nbval compares nothing of what a code cell says, one of `REASONS`; "" where it compares."""
    tags = cell.metadata.get("tags", [])
    if IGNORED_TAG in tags:
        return "timings"
    if is_compared(cell):
        return ""
    if INSTALL_TAG in tags or "imports" in tags:
        return "imports"
    if any(tag.startswith(SOURCE_TAG) for tag in tags):
        return "shown source"
    return "a figure or widget only" if cell.outputs else "nothing printed"


def uncompared(notebook: NotebookNode) -> tuple[float, list[int]]:
    """Return the share of a notebook's own cells that are compared, and the indices of those that are not.

    Its own cells are those that are neither shown source, nor the install cell, nor imports.
    """
    own = [
        (index, cell)
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code"
        and not any(
            tag in (INSTALL_TAG, "imports") or tag.startswith(SOURCE_TAG) for tag in cell.metadata.get("tags", [])
        )
    ]
    silent = [index for index, cell in own if not is_compared(cell)]
    return 1 - len(silent) / len(own) if own else 1.0, silent


def cell_problems(chapter: Chapter) -> list[ProblemError]:
    """Hold every code cell to its size, to short drawing code, and to saying more than a constant."""
    problems = []

    def report(cell: Cell, message: str) -> None:
        problems.append(ProblemError(chapter.shown, cell.line, message))

    cells = [cell for cell in chapter.cells if cell.kind == "code"]
    for cell in cells:
        body = ast.parse(cell.source).body
        limit = CLASS_LINES if len(body) == 1 and isinstance(body[0], ast.ClassDef) else FUNCTION_LINES
        if (size := code_lines(cell.source)) > limit:
            report(cell, f"code cell: expected at most {limit} lines, got {size}")
        if (size := plot_lines(cell.source)) > PLOT_LINES:
            report(cell, f"drawing code: expected at most {PLOT_LINES} lines in a chapter, got {size}")
        if only_prints_constants(cell.source):
            report(cell, "code cell: expected it to compute what it prints")
    if cells and (middle := median(code_lines(cell.source) for cell in cells)) > MEDIAN_LINES:
        message = f"code cells: expected a median of at most {MEDIAN_LINES} lines, got {middle:g}"
        problems.append(ProblemError(chapter.shown, None, message))
    return problems


def plot_lines(source: str) -> int:
    """Count the lines of the statements that draw."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        # Compound statements would count their whole body.
        if isinstance(node, ast.stmt) and not hasattr(node, "body"):
            names = {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
            if names & PLOT_NAMES:
                lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def only_prints_constants(source: str) -> bool:
    """Tell whether a cell does nothing but print what is written in it."""
    body = ast.parse(source).body
    return bool(body) and all(
        isinstance(statement, ast.Expr)
        and {name.id for name in ast.walk(statement) if isinstance(name, ast.Name)} <= {"print"}
        for statement in body
    )


def figure_problems(chapter: Chapter, notebook: NotebookNode) -> list[ProblemError]:
    """Ask of a cell that draws: alt text, caption, a printed number beside it; of one with these: a figure."""
    problems = []
    pairs = code_cells(chapter, notebook)
    for number, (cell, executed) in enumerate(pairs):
        options = cell.metadata.get("mystnb") or {}
        if not any(
            mime.startswith("image/")
            for output in executed.outputs
            for mime in output.get("metadata", {}).get("dropped", [])
        ):
            if options:
                message = "mystnb: expected a figure, the cell drew none"
                problems.append(ProblemError(chapter.shown, cell.line, message))
            continue
        for path in (("image", "alt"), ("figure", "caption")):
            if not str((options.get(path[0]) or {}).get(path[1]) or "").strip():
                message = f"a cell that draws: expected mystnb.{'.'.join(path)}"
                problems.append(ProblemError(chapter.shown, cell.line, message))
        beside = [pairs[near][1] for near in (number - 1, number, number + 1) if 0 <= near < len(pairs)]
        if not any(map(is_compared, beside)):
            message = "a cell that draws: expected the numbers it shows to be printed in it or next to it"
            problems.append(ProblemError(chapter.shown, cell.line, message))
    return problems


def ignored_problems(chapter: Chapter, notebook: NotebookNode) -> list[ProblemError]:
    """Ask of every cell whose output is not compared: that the next one prints something that is."""
    pairs = code_cells(chapter, notebook)
    following = [executed for _, executed in pairs[1:]]
    return [
        ProblemError(
            chapter.shown, cell.line, f"{IGNORED_TAG}: expected the next code cell to print what is stable"
        )
        for (cell, _), after in zip(pairs, [*following, None], strict=True)
        if IGNORED_TAG in cell.tags and (after is None or not is_compared(after))
    ]


def word_count(chapter: Chapter, book: Book) -> int:
    """Count the words a reader meets: prose and captions, but not code, formulas or folded text."""
    md = parser(book.extensions)

    def count(text: str, line: int) -> int:
        words = 0
        for token in md.parse(text):
            used = read_directive(token, chapter.shown, line)
            if used is not None and used.name not in NOT_PROSE:
                words += count(used.body, used.body_line)
            texts = [child.content for child in token.children or [] if child.type == "text"]
            words += sum(any(map(str.isalnum, word)) for word in " ".join(texts).split())
        return words

    return sum(count(cell.source, cell.line) for cell in chapter.cells if cell.kind == "markdown")


def length_problems(chapter: Chapter, book: Book) -> list[ProblemError]:
    """Hold a chapter to its length."""
    fewest, most = WORDS
    words = word_count(chapter, book)
    if fewest <= words <= most:
        return []
    return [ProblemError(chapter.shown, None, f"expected {fewest} to {most} words, got {words}")]
