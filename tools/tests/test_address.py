"""`make address`: every copy of the repository's address, in a copy of this checkout."""

import shutil
import subprocess
from pathlib import Path

import address
import pytest
from notebooks.book import Book
from notebooks.check import check

ROOT = Path(__file__).parents[2]
NEW = "https://github.com/Somebody-Else/a.book"
# Tests speak of addresses of their own.
TESTS = ("tests", "tools/tests")


@pytest.fixture
def copy(tmp_path):
    """Copy the checkout, uncommitted changes included."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def content(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_no_old_address_is_left_and_all_is_in_step(copy, capsys):
    old = Book(copy).repository
    before = content(copy)
    assert address.main(["--root", str(copy), NEW]) == 0
    after = content(copy)
    assert {name for name in before if before[name] != after[name]} == {
        line.removesuffix(": rewritten") for line in capsys.readouterr().out.splitlines()
    }
    assert Book(copy).repository == NEW
    owner, name = address.parse_address(old)
    traces = [trace.encode() for trace in (f"{owner}/{name}", f"{owner.lower()}.github.io/{name}")]
    left = [
        path
        for path, data in after.items()
        if any(trace in data for trace in traces) and not path.startswith(TESTS)
    ]
    assert left == []
    assert b"Somebody-Else/a.book" in after["chapters/05_scaled_dot_product.ipynb"]
    assert b"somebody-else.github.io/a.book" in after["chapters/05_scaled_dot_product.ipynb"]
    assert check(Book(copy)) == []

    assert address.main(["--root", str(copy), old]) == 0
    assert content(copy) == before


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "owner/name",
        "http://github.com/owner/name",
        "https://gitlab.com/owner/name",
        "https://github.com/owner",
        "https://github.com/owner/name/tree/main",
        "https://github.com/-owner/name",
        "https://github.com/owner/na me",
        "https://github.com/owner/..",
        "git@github.com:owner/name.git",
    ],
)
def test_a_wrong_address_changes_nothing(copy, wrong, capsys):
    before = content(copy)
    assert address.main(["--root", str(copy), wrong]) == 2
    assert f"expected https://github.com/owner/name, got {wrong!r}" in capsys.readouterr().err
    assert content(copy) == before


@pytest.mark.parametrize("right", [NEW, f"{NEW}/", f"{NEW}.git", f" {NEW}"])
def test_usual_spellings_mean_the_same(right):
    assert address.parse_address(right) == ("Somebody-Else", "a.book")


def test_a_book_out_of_step_is_left_alone(copy, capsys):
    chapter = copy / "chapters" / "05_scaled_dot_product.md"
    chapter.write_text(chapter.read_text(encoding="utf-8") + "\nOne more line.\n", encoding="utf-8")
    before = content(copy)
    assert address.main(["--root", str(copy), NEW]) == 2
    assert "run `make notebooks`" in capsys.readouterr().err
    assert content(copy) == before
