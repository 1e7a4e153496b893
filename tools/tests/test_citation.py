"""CITATION.cff says of the book what the other files say; its form was checked with cffconvert."""

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_it_has_what_the_format_demands():
    assert {"cff-version", "message", "title", "authors"} <= set(CITATION)
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["type"] in ("software", "dataset")
    assert all(author["name"] for author in CITATION["authors"])


def test_it_is_in_step_with_title_version_licence_and_address():
    assert CITATION["title"] == CONFIG["title"]
    assert str(CITATION["version"]) == PROJECT["version"]
    assert CITATION["license"] == PROJECT["license"]
    assert CITATION["repository-code"] == CONFIG["repository"]["url"]
    owner, name = CONFIG["repository"]["url"].split("/")[-2:]
    assert CITATION["url"] == f"https://{owner.lower()}.github.io/{name}/"
    assert [author["name"].lower() for author in CITATION["authors"]] == [CONFIG["author"].lower()]
