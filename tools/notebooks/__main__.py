"""The command: ``python -m notebooks build``, ``prose``, ``students``, ``mark`` and ``check``."""

import argparse
import sys
from pathlib import Path

from notebooks.book import Book
from notebooks.build import build, rewrite
from notebooks.check import check
from notebooks.errors import ProblemError, ProblemsError
from notebooks.mark import mark_folder
from notebooks.students import write_students

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 if all is well, 1 if something has to be put right."""
    parser = argparse.ArgumentParser(prog="python -m notebooks", description="The book's notebooks.")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout (default: the one this file is in)")
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build", help="copy shown code into the chapters, run them, write notebooks")
    building.add_argument("chapters", nargs="*", metavar="CHAPTER", help="chapters/NN_slug.md (default: all)")
    prose = commands.add_parser(
        "prose", help="write notebooks whose code is unchanged, with the outputs they have"
    )
    prose.add_argument("chapters", nargs="*", metavar="CHAPTER", help="chapters/NN_slug.md (default: all)")
    students = commands.add_parser("students", help="write notebooks without solutions, checked for leaks")
    students.add_argument("folder", type=Path, help="where to; what is there is replaced")
    marking = commands.add_parser("mark", help="run the exercises of handed-in notebooks and ask the checks")
    marking.add_argument("folder", type=Path, help="where the notebooks are")
    commands.add_parser("check", help="name every drift between package, chapters and notebooks; runs nothing")
    options = parser.parse_args(arguments)
    book = Book(options.root.resolve())
    try:
        if options.command == "check":
            problems = check(book)
        elif options.command == "students":
            print(f"{len(book.chapters)} notebooks without solutions: {write_students(book, options.folder)}")
            return 0
        elif options.command == "mark":
            for line in mark_folder(options.folder, book):
                print(line, flush=True)
            return 0
        else:
            paths = [Path(name).resolve() for name in options.chapters] or book.chapters
            if strangers := [path for path in paths if path not in book.chapters]:
                parser.error(f"expected chapters of the book, got {strangers[0]}")
            if options.command == "build":
                build(book, paths)
            else:
                for path in rewrite(book, paths):
                    print(f"{book.shown(path).as_posix()}: written")
            return 0
    except ProblemsError as error:
        problems = error.problems
    except ProblemError as problem:
        problems = [problem]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
