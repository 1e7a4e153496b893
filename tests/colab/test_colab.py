"""The notebooks as on Colab: their own first cell, then all the others, with Colab's versions.

Differences from Colab: Python and torch are those of this environment, and the repository is a snapshot of this
working tree, which git fetches in place of the public address.
"""

import tomllib
from pathlib import Path

import pytest
from notebooks.normalise import WIDGET, normalise
from packaging.requirements import Requirement

pytestmark = pytest.mark.colab

ROOT = Path(__file__).resolve().parents[2]
FIRST_CELL_SECONDS = 30
WIDGET_TEXT = 110


def said(notebook):
    """Return the text of each output of each cell, which is what nbval compares.

    One difference is allowed: ipywidgets 7 cuts the text of a widget after 110 characters, so here both are cut.
    """

    def text(output):
        if output.output_type == "stream":
            return output.text
        words = output.data["text/plain"]
        return words[:WIDGET_TEXT].rstrip("…") if WIDGET in output.metadata.get("dropped", []) else words

    return [[text(output) for output in cell.get("outputs", [])] for cell in normalise(notebook).cells]


def test_package_asks_for_nothing_newer_than_colab_has(colab_versions, added):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [Requirement(text) for text in project["dependencies"]]
    assert {requirement.name for requirement in requirements} - set(colab_versions) <= added
    for requirement in requirements:
        assert requirement.name in added or requirement.specifier.contains(colab_versions[requirement.name]), (
            requirement
        )


def test_environment_has_colabs_versions(environment, colab_versions):
    installed = {name.lower(): version for name, version in environment.preinstalled.items()}
    for name, version in colab_versions.items():
        assert name == "torch" or installed[name] == version, name
    assert "transformer-book" not in installed


def test_first_cell_adds_the_package_and_changes_nothing(visit, environment, added):
    assert visit.before == environment.preinstalled
    assert {name: visit.after[name] for name in visit.before} == visit.before
    assert set(visit.after) - set(visit.before) == {"transformer-book", *added}
    assert environment.python.parents[1] in visit.place.parents


def test_first_cell_is_quick(visit):
    print(f"the first cell took {visit.seconds:.1f} s")
    assert visit.seconds < FIRST_CELL_SECONDS


def test_first_cell_may_run_again(visit):
    assert visit.at_the_end == visit.after
    assert [output.text for output in visit.again.outputs] == ["transformer_book is ready\n"]


def test_outputs_are_those_of_the_committed_notebook(visit):
    for index, (here, there) in enumerate(zip(said(visit.executed), said(visit.committed), strict=True)):
        assert here == there, f"cell {index}:\n{visit.committed.cells[index].source}"
