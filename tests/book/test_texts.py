"""What the pages and diagrams promise is there: axes, terms, colours, commands."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from transformer_book.experiments import REGISTRY
from transformer_book.shapes import AXES

ROOT = Path(__file__).resolve().parents[2]
DIAGRAMS = sorted((ROOT / "book" / "figures").glob("*.svg"))
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "book").glob("*.md"))]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_notation_has_the_axes_of_the_package() -> None:
    axes = read("book/notation.md").partition("## Axes")[2].partition("## Symbols")[0]
    rows = dict(re.findall(r"^\| \$(\w)\$ \| (.+) \|$", axes, flags=re.MULTILINE))
    assert list(rows) == list(AXES)
    for letter, meaning in AXES.items():
        plain = re.sub(r" \(.*?\)", "", meaning)  # "target (query) length" begins as "target length"
        assert rows[letter].startswith(plain), letter


def test_glossary_gives_each_term_once_with_its_chinese() -> None:
    body = read("book/glossary.md").partition(":sorted:")[2].rpartition(":::")[0]
    entries = re.findall(r"^(\S.*)\n  (.+)$", body, flags=re.MULTILINE)
    terms = [term.lower() for term, _ in entries]
    assert len(terms) >= 40
    assert terms == sorted(set(terms))
    assert len(re.findall(r"^\S", body, flags=re.MULTILINE)) == len(entries)  # each has its definition
    for term, definition in entries:
        assert re.match(r"\*\*[^*]*[一-鿿][^*]*\*\* · \S", definition), term


def colours(rule: str) -> dict[str, str]:
    """Custom properties of one rule of the book's style sheet."""
    block = re.search(rf"^{re.escape(rule)} {{(.*?)}}", read("book/style/theme.css"), re.MULTILINE | re.DOTALL)
    assert block is not None, rule
    return dict(re.findall(r"--(tb-[\w-]+):\s*(#\w+);", block[1]))


@pytest.mark.parametrize("path", DIAGRAMS, ids=lambda path: path.stem)
def test_diagram_uses_colours_that_both_themes_define(path: Path) -> None:
    light, dark = colours("html"), colours('html[data-theme="dark"]')
    text = path.read_text(encoding="utf-8")
    used = set(re.findall(r"var\(--(tb-[\w-]+),\s*(#\w+)\)", text))
    assert len(used) > 3
    assert text.count("var(") == len(re.findall(r"var\(--tb-[\w-]+,\s*#\w+\)", text))  # each has its fallback
    for name, fallback in used:
        assert fallback == light[name], name  # what Colab and GitHub show is what the light page shows
        assert name in dark
    bare = re.sub(r"var\([^)]*\)", "", text)
    assert not re.findall(r"(?:fill|stroke)[:=]\"?#", bare)


@pytest.mark.parametrize("path", DIAGRAMS, ids=lambda path: path.stem)
def test_diagram_can_be_read_at_the_width_of_a_phone(path: Path) -> None:
    root = ElementTree.parse(path).getroot()
    width = float(root.attrib["viewBox"].split()[2])
    sizes = [float(size) for size in re.findall(r"font-size[:=]\"?([\d.]+)", path.read_text(encoding="utf-8"))]
    assert sizes
    assert min(sizes) * min(1, 340 / width) >= 10  # pixels, where the page is 340 wide


def test_pages_name_targets_and_experiments_that_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), flags=re.MULTILINE))
    named, measured = set(), set()
    for path in TEXTS:
        text = path.read_text(encoding="utf-8")
        for commands in re.findall(r"(?:`|^|&& |html )make ((?:[a-z]+ ?)+)", text, flags=re.MULTILINE):
            named.update(commands.split())
        measured.update(re.findall(r"transformer-book measure ([a-z_]+)", text))
    assert {"book", "test", "serve", "notebooks", "address"} <= named <= targets
    assert measured
    assert measured <= {*REGISTRY, "all"}
