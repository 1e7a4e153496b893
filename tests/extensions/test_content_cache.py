import json
import os

import pytest


@pytest.fixture(scope="module")
def content_cache(extension):
    return extension("content_cache")


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "src" / "package").mkdir(parents=True)
    (tmp_path / "src" / "package" / "a.py").write_text("1")
    (tmp_path / "src" / "package" / "b.js").write_text("2")
    (tmp_path / "constraints.txt").write_text("3")
    return tmp_path


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "src/package/a.py").write_text("one"),
        lambda root: (root / "src/package/b.js").unlink(),
        lambda root: (root / "src/package/a.py").rename(root / "src/package/c.py"),
        lambda root: (root / "src/package/new.json").write_text(""),
        lambda root: (root / "constraints.txt").write_text("torch==0"),
    ],
)
def test_hash_changes_with_what_chapters_compute_with(content_cache, tree, change):
    before = content_cache.content_hash(tree, content_cache.INPUTS)
    change(tree)
    assert content_cache.content_hash(tree, content_cache.INPUTS) != before


def test_hash_ignores_what_running_leaves_behind(content_cache, tree):
    before = content_cache.content_hash(tree, content_cache.INPUTS)
    for name in (
        "src/package/__pycache__/a.pyc",
        "src/package.egg-info/PKG-INFO",
        "src/.cache/x",
        "chapters/x.md",
    ):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("new")
    assert content_cache.content_hash(tree, content_cache.INPUTS) == before


def test_prune_keeps_those_used_last(content_cache, tmp_path):
    for age in range(6):
        (tmp_path / str(age)).mkdir()
        os.utime(tmp_path / str(age), (1000 - age, 1000 - age))
    content_cache.prune(tmp_path, kept=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def test_a_changed_package_shows_on_the_page_and_nothing_runs_twice(make_book):
    book = make_book()
    page = "chapters/05_scaled_dot_product"

    assert book.build().returncode == 0
    assert "the answer is forty-two" in book.page(page)
    assert book.executions == 1

    result = book.build()  # nothing changed: nothing is read, nothing runs
    assert result.returncode == 0
    assert "0 added, 0 changed, 0 removed" in result.stdout
    assert book.executions == 1

    book.replace("src/transformer_book_small.py", "forty-two", "forty-three")
    assert book.build().returncode == 0
    assert "the answer is forty-three" in book.page(page)
    assert book.executions == 2

    # An extension changed: every page is read again, from the cached outputs.
    book.replace("book/extensions/chapter_frame.py", " minutes · ", " min · ")
    assert book.build().returncode == 0
    assert "5 min · You need: counting" in book.page(page)
    assert book.executions == 2

    # Prose changed, and the cached outputs are older: the page keeps the date of their execution.
    records = book.root.glob("_build/.jupyter_cache/*/executed_on/*.json")
    newest = max(records, key=lambda path: path.stat().st_mtime)
    newest.write_text(json.dumps(json.loads(newest.read_text()) | {"date": "2001-02-03"}))
    book.replace(f"{page}.md", "# A small chapter", "# A small new chapter")
    assert book.build().returncode == 0
    assert "Executed and checked on 3 February 2001" in book.page(page)
    assert book.executions == 2

    # Back to the old package: its outputs are still there.
    book.replace("src/transformer_book_small.py", "forty-three", "forty-two")
    assert book.build().returncode == 0
    assert "the answer is forty-two" in book.page(page)
    assert book.executions == 2


def test_a_cell_that_fails_stops_the_build(make_book):
    book = make_book()
    book.replace("src/transformer_book_small.py", "return 'forty-two'", "raise ValueError('no answer today')")
    result = book.build()  # without -W
    assert result.returncode != 0
    assert "no answer today" in result.stdout
