"""The map of the 2017 paper and the docstrings that cite it say the same."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import transformer_book

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = yaml.safe_load((ROOT / "book" / "paper.yml").read_text(encoding="utf-8"))


def places_cited(docstring: str) -> set[str]:
    """Places of the paper that a docstring cites, up to the next semicolon or the end of the sentence."""
    text = " ".join(docstring.split())
    places = set()
    for citation in re.findall(r"Vaswani et al\. 2017(.*?)(?:;|\.(?:\s|$)|$)", text):
        number = r"\d+(?:\.\d+)*"
        for numbers in re.findall(rf"sections? ({number}(?:(?:, | and ){number})*)", citation):
            places |= {f"section {one}" for one in re.findall(number, numbers)}
        places |= {f"{kind} {one}" for kind, one in re.findall(r"(equation|figure|table) (\d+)", citation)}
    return places


def documented() -> Iterator[tuple[str, object]]:
    """Yield (dotted name, object) of every function, class and method that a module of the package defines."""
    for info in pkgutil.walk_packages(transformer_book.__path__, "transformer_book."):
        module = importlib.import_module(info.name)
        for name, item in vars(module).items():
            if not (inspect.isfunction(item) or inspect.isclass(item)) or item.__module__ != info.name:
                continue
            yield f"{info.name}.{name}", item
            for inner, method in vars(item).items() if inspect.isclass(item) else ():
                if inspect.isfunction(method):
                    yield f"{info.name}.{name}.{inner}", method


@pytest.mark.parametrize(
    ("docstring", "places"),
    [
        (
            "Wu et al. 2016, section 7; Vaswani et al. 2017, sections 3.1 and\n    5.4.",
            {"section 3.1", "section 5.4"},
        ),
        ("Vaswani et al. 2017, table 3, row E, equation 1. Section 9", {"table 3", "equation 1"}),
        ("Vaswani et al. 2017, section 3.2.1 and figure 1, left", {"section 3.2.1", "figure 1"}),
        ("A departure from Vaswani et al. 2017. As in section 3; Xiong et al. 2020, table 2", set()),
        ("Vaswani et al. 2017, section 6.1 (α = 0.6); Kingma & Ba 2015, section 2.", {"section 6.1"}),
    ],
)
def test_places_cited_are_found(docstring: str, places: set[str]) -> None:
    assert places_cited(docstring) == places


def test_what_cites_a_place_of_the_paper_stands_in_its_row() -> None:
    listed = {entry["place"]: [pkgutil.resolve_name(name) for name in entry["code"]] for entry in ENTRIES}
    cited, missing = 0, []
    for name, item in documented():
        for place in places_cited(getattr(item, "__doc__", None) or ""):
            cited += 1
            if not any(item is known for known in listed.get(place, [])):
                missing.append(f"{place}: expected {name} in book/paper.yml")
    assert cited >= 25
    assert missing == []


def test_every_class_that_departs_stands_in_a_row_that_says_so() -> None:
    departed = [entry for entry in ENTRIES if "departed" in entry["relation"]]
    listed = [pkgutil.resolve_name(name) for entry in departed for name in entry["code"]]
    named = {
        name: item
        for name, item in documented()
        if re.search(r"[Dd]epartures? from Vaswani et al\. 2017", getattr(item, "__doc__", None) or "")
    }
    assert len(named) >= 3
    assert [name for name, item in named.items() if not any(item is known for known in listed)] == []
