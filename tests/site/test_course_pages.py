"""The pages Validate and For teachers: what stands there is what the chapters say, counted once more."""

import json
import re
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

from transformer_book.experiments import CHAPTERS

ROOT = Path(__file__).resolve().parents[2]
SLUGS = [f"{number:02d}_{slug}" for number, slug in CHAPTERS.items()]


@pytest.fixture(scope="module")
def table(site):
    """Return a function that gives the rows of the n-th table of a kind, as texts."""

    def rows(page, kind, number=0):
        text = (site / "book" / f"{page}.html").read_text(encoding="utf-8")
        found = BeautifulSoup(text, "html.parser").select(f"table.{kind}")[number]
        return [[cell.get_text(" ", strip=True) for cell in row.select("td")] for row in found.select("tbody tr")]

    return rows


def test_validation_table_counts_every_code_cell_once(table):
    *chapters, total = table("validation", "tb-validation")
    assert len(chapters) == len(SLUGS)
    for slug, (_, *numbers) in zip(SLUGS, chapters, strict=True):
        cells, compared, *reasons = (int(number or 0) for number in numbers)
        notebook = json.loads((ROOT / "chapters" / f"{slug}.ipynb").read_text(encoding="utf-8"))
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        assert cells == len(code) == compared + sum(reasons)
        printing = [cell for cell in code if any(output["output_type"] == "stream" for output in cell["outputs"])]
        assert 0 < len(printing) <= compared
        assert reasons[2] == sum("nbval-ignore-output" in cell["metadata"].get("tags", []) for cell in code)
    sums = [sum(int(row[column] or 0) for row in chapters) for column in range(1, len(total))]
    assert [int(number or 0) for number in total[1:]] == sums


def test_platforms_are_those_that_were_run(table):
    records = json.loads((ROOT / "book" / "validated.json").read_text(encoding="utf-8"))
    rows = table("validation", "tb-platforms")
    assert [row[0] for row in rows] == list(records) == ["usual", "other"]
    for (_, settings, machine, came), record in zip(rows, records.values(), strict=True):
        assert settings.split() == [f"{name}={value}" for name, value in record["settings"].items()]
        assert record["machine"] in machine
        assert came.startswith(f"{record['cells']} code cells of {len(SLUGS)} notebooks")
    usual, other = (record["settings"] for record in records.values())
    for changed in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "LC_ALL", "TZ", "PYTHONHASHSEED"):
        assert other[changed] != usual.get(changed)


def test_syllabus_has_the_minutes_of_the_chapters(table):
    texts = [(ROOT / "chapters" / f"{slug}.md").read_text(encoding="utf-8") for slug in SLUGS]
    reading = sum(yaml.safe_load(text.split("---")[1])["chapter"]["minutes"] for text in texts)
    working = sum(int(m) for text in texts for m in re.findall(r"Exercise \d+ · .* · (\d+) min", text))
    six, twelve = table("teachers", "tb-syllabus"), table("teachers", "tb-syllabus", 1)
    assert (len(six), len(twelve)) == (6, 12)
    minutes = [[sum(int(row[-1].split(" + ")[part]) for row in rows) for part in (0, 1)] for rows in (six, twelve)]
    assert minutes[1] == [reading, working]
    assert minutes[0][0] == reading
    assert 0 < minutes[0][1] < working


def test_every_exercise_is_listed_with_what_it_trains_and_its_mistakes(table):
    for number, slug in enumerate(SLUGS):
        text = (ROOT / "chapters" / f"{slug}.md").read_text(encoding="utf-8")
        titles = re.findall(r"\} Exercise (\d+) · (.*) · (\S+) · (\d+) min", text)
        rows = table("teachers", "tb-trained", number)
        assert [row[:2] for row in rows] == [
            [f"{n} · {name} {stars}".replace("'", "’"), minutes] for n, name, stars, minutes in titles
        ]
        assert all(trains and " · " in mistakes for _, _, trains, mistakes in rows)
