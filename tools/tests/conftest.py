"""A made-up book of one chapter in a temporary folder, to try the pipeline on."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from nbformat import NotebookNode
from notebooks.book import Book
from notebooks.build import build
from notebooks.chapter import Chapter, read_chapter
from notebooks.derive import derive

FRONT_MATTER = """\
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

"""
# The line of the file on which a chapter's body begins: its title.
FIRST_LINE = FRONT_MATTER.count("\n") + 1

MODULE = '''\
"""A module."""

import functools


@functools.cache
def halve(number):
    """Halve a number."""
    return number / 2


class Outer:
    """Holds things."""

    limit = 3

    @property
    def size(self):
        return self.limit

    class Inner:
        def method(self):
            return "inner"

    def make(self):
        def helper():
            # a comment
            return 1

        return helper
'''

BIBLIOGRAPHY = """\
@inproceedings{one, author = {Vaswani, Ashish and Shazeer, Noam and Parmar, Niki},
  title = {{Attention} Is All You Need}, booktitle = {NeurIPS}, year = {2017}, eprint = {1706.03762}}
@article{two, author = {M{\\"u}ller, Bo and van der Waals, J.}, title = {Gas}, year = {1881},
  url = {https://example.org/gas}}
@book{three, author = {Knuth, Donald}, title = {Programs}, publisher = {Press}, year = {1968}}
"""


@dataclass
class Sample:
    """The made-up book."""

    root: Path

    @property
    def book(self) -> Book:
        return Book(self.root)

    @property
    def chapter_path(self) -> Path:
        return self.root / "chapters" / "01_sample.md"

    @property
    def notebook_path(self) -> Path:
        return self.chapter_path.with_suffix(".ipynb")

    @property
    def module_path(self) -> Path:
        return self.root / "src" / "toy" / "things.py"

    def write(self, body: str, name: str = "01_sample") -> Chapter:
        """Write a chapter that consists of a title and this body, which begins on line FIRST_LINE + 2."""
        path = self.root / "chapters" / f"{name}.md"
        path.write_text(f"{FRONT_MATTER}# A *sample*\n\n{body}", encoding="utf-8")
        return read_chapter(path, self.book)

    def derive(self, body: str) -> NotebookNode:
        """Derive the notebook of such a chapter."""
        return derive(self.write(body), self.book).notebook

    def derive_file(self) -> NotebookNode:
        """Derive the notebook of the chapter as it stands on disk."""
        return derive(read_chapter(self.chapter_path, self.book), self.book).notebook

    def plain(self, body: str) -> str:
        """Derive a body of one Markdown cell, and return that cell's text."""
        return self.derive(body).cells[2].source


def make_sample(root: Path) -> Sample:
    files = {
        "_config.yml": "repository:\n  url: https://github.com/Some-Owner/a-book\n  branch: trunk\n",
        "CONTRIBUTING.md": "# How\n\n<!-- myst-whitelist:start -->\n<!-- myst-whitelist:end -->\n\nEnd.\n",
        "src/toy/__init__.py": "def top():\n    return 0\n",
        "src/toy/things.py": MODULE,
        "book/references.bib": BIBLIOGRAPHY,
        "book/figures/boxes.svg": "<svg/>",
        "book/glossary.md": "# Glossary\n\n(hard-word)=\n## A hard word\n\nText.\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (root / "chapters").mkdir()
    return Sample(root)


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    return make_sample(tmp_path)


@pytest.fixture(scope="module")
def module_sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Give a made-up book to build once for the tests of a file."""
    return make_sample(tmp_path_factory.mktemp("book"))


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build one chapter of a shown cell, a cell that prints, and text; return the book's folder."""
    sample = make_sample(tmp_path_factory.mktemp("book"))
    sample.write(
        'Text.\n\n```{code-cell} ipython3\n:tags: ["src:toy.top"]\n\n```\n\n'
        "```{code-cell} ipython3\nprint(1)\n```\n\nMore.\n"
    )
    build(sample.book, sample.book.chapters, lambda line: None)
    return sample.root


@pytest.fixture
def built(built_once: Path, tmp_path: Path) -> Sample:
    """Return a copy of that book."""
    return Sample(Path(shutil.copytree(built_once, tmp_path / "book")))


@pytest.fixture
def body_line() -> int:
    """Return the line of the file on which the body given to `Sample.write` begins."""
    return FIRST_LINE + 2
