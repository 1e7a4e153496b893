"""A small book in a temporary folder, built by the real command with the real configuration and extensions."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from transformer_book.experiments import CHAPTERS

ROOT = Path(__file__).resolve().parents[2]
CHAPTER = "chapters/05_scaled_dot_product"

CHAPTER_TEXT = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
chapter:
  minutes: 5
  prerequisites: counting
  downloads: none
---

# A small chapter

$$
a^2 + b^2 = c^2
$$ (pythagoras)

Equation {eq}`pythagoras` holds for $a = 3$. See {cite:t}`someone2020`.

:::{figure} ../book/figures/square.svg
:name: a-square
:alt: A square with one corner marked, to show how diagrams are put into pages.

A square.
:::

```{code-cell} ipython3
:tags: ["src:transformer_book.small.answer"]

import sys
from pathlib import Path

sys.path.insert(0, "../src")
with Path("../executions.txt").open("a") as executions:
    executions.write("once\\n")
from transformer_book_small import answer

print("the answer is", answer())
```
"""

PAGES = {
    "book/intro.md": "# A small book\n\nNothing much.\n\n```{container} tb-takeaway\nNone.\n```\n",
    "book/references.md": "# References\n\n```{bibliography}\n```\n",
    "book/references.bib": "@book{someone2020, title={A}, author={Someone, Ann}, publisher={P}, year={2020}}\n",
    "book/figures/square.svg": (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100" width="900">'
        "<title>square</title><style>.corner { fill: red }</style>"
        '<rect id="corner" class="corner" width="10" height="10" fill="var(--tb-query, #1064fe)"/></svg>'
    ),
    "src/transformer_book_small.py": "def answer():\n    return 'forty-two'\n",
    "src/transformer_book/small.py": "def answer(): ...\n",
    "tests/test_small.py": "",
    "constraints.txt": "",
    f"{CHAPTER}.md": CHAPTER_TEXT,
    f"{CHAPTER}.ipynb": '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
}


@dataclass(frozen=True)
class SmallBook:
    """A book in a folder of its own."""

    root: Path

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text(encoding="utf-8")
        assert old in text, f"{name}: expected {old!r}"
        self.write(name, text.replace(old, new))

    def page(self, name: str) -> str:
        return (self.root / "_build" / "html" / f"{name}.html").read_text(encoding="utf-8")

    @property
    def executions(self) -> int:
        log = self.root / "executions.txt"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def start(self, *options: str, **environment: str) -> subprocess.Popen[str]:
        """Begin ``jupyter-book build .`` as a reader would type it."""
        return subprocess.Popen(
            [Path(sys.executable).with_name("jupyter-book"), "build", *options, "."],
            cwd=self.root,
            env={**os.environ, "JUPYTER_PLATFORM_DIRS": "1", "NO_COLOR": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )

    def build(self, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ``jupyter-book build .`` to its end."""
        with self.start(*options, **environment) as process:
            said, _ = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, said)

    def write_toc(self, *pages: str) -> None:
        toc = {"format": "jb-book", "root": "book/intro", "chapters": [{"file": page} for page in pages]}
        self.write("_toc.yml", yaml.safe_dump(toc))


@pytest.fixture(scope="session")
def extension() -> Callable[[str], ModuleType]:
    """Return a function that imports one of the book's extensions by name."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, ROOT / "book" / "extensions" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def paper_entry() -> Callable[[str], dict[str, Any]]:
    """Return a function that writes an entry of the map of the paper; only that of section 3.2.1 has anything."""

    def write(place: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"place": place, "says": f"What {place} says.", "here": "Nothing is here."}
        if place != "section 3.2.1":
            return entry | {"relation": ["not here"], "chapters": [], "code": [], "claims": []}
        return entry | {
            "relation": ["built", "measured", "departed"],
            "here": "Divided by $\\sqrt d$.",
            "chapters": ["scaled_dot_product", "recurrence"],
            "code": ["transformer_book.small.answer"],
            "claims": ["C5.1", "C5.2"],
        }

    return write


@pytest.fixture(scope="session")
def make_book(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], SmallBook]:
    """Return a function that lays out a small book with the real configuration, extensions and styles."""

    def make() -> SmallBook:
        book = SmallBook(tmp_path_factory.mktemp("a small book"))  # a path with spaces
        shutil.copy(ROOT / "_config.yml", book.root)
        for folder in ("extensions", "katex", "style", "templates"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / "book" / folder, book.root / "book" / folder, ignore=ignored)
        for name, text in PAGES.items():
            book.write(name, text)
        book.write_toc(CHAPTER, "book/references")
        return book

    return make


@pytest.fixture(scope="session")
def built(
    make_book: Callable[[], SmallBook],
    extension: Callable[[str], ModuleType],
    paper_entry: Callable[[str], dict[str, Any]],
) -> SmallBook:
    """Give a small book that was built once; tests only read it."""
    book = make_book()
    book.write("book/paper.md", "# Paper\n\nEach place.\n\n```{paper-map}\n```\n")
    book.write("book/paper.yml", json.dumps(list(map(paper_entry, extension("book_tables").PLACES))))
    book.write("book/index.md", "# Code index\n\n```{code-index}\n```\n")
    book.write("book/claims.md", "# Claims\n\n```{claims-table}\n```\n")
    book.write("book/api.md", "# API\n\n```{py:function} transformer_book.small.answer()\n```\n")
    book.write("book/notes.md", "# Notes\n\n```{notes-map}\n```\n")
    book.write(
        "book/notes.yml",
        "- sentence_zh: 除以 d\n  sentence_en: Divide by d.\n  chapter: scaled_dot_product\n"
        "  claims: [C5.1, C5.2]\n  verdict: wrong\n  explanation: It is $\\sqrt d$.\n",
    )
    others = [f"chapters/{number:02d}_{slug}" for number, slug in CHAPTERS.items() if not CHAPTER.endswith(slug)]
    for name in others:  # the table of claims leads to every chapter that has claims
        head, _, _ = CHAPTER_TEXT.partition("# A small chapter")
        book.write(f"{name}.md", f"{head}# Another chapter\n")
    pages = (f"book/{name}" for name in ("index", "claims", "api", "notes", "paper", "references"))
    book.write_toc(CHAPTER, *others, *pages)
    result = book.build("-W", "-n", "--keep-going")
    assert result.returncode == 0, result.stdout
    return book
