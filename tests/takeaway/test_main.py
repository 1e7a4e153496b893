"""The command: what it leaves behind, what it says, and what the pages then offer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from takeaway import __main__ as command
from takeaway.errors import TakeawayError
from takeaway.offer import offer

ROOT = Path(__file__).resolve().parents[2]


def run(small, kind, **environment):
    return subprocess.run(
        [sys.executable, "-m", "takeaway", "--root", small, kind],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tools"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def names(folder):
    return [path.name for path in folder.iterdir()]


def intro(small):
    return (small / "_build" / "html" / "book" / "intro.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("browser")  # skips where there is no Chromium
def test_pdf_lies_beside_the_pages_and_they_offer_it(small):
    done = run(small, "pdf")
    assert done.returncode == 0, done.stderr
    path = small / "_build" / "html" / "a-small-book.pdf"
    assert path.read_bytes()[:5] == b"%PDF-"
    assert done.stdout.startswith(f"{path}: 0.")
    assert 'href="../a-small-book.pdf"' in intro(small)
    assert ".epub" not in intro(small)
    assert names(small / "_build") == ["html"]  # nothing else is left


def test_missing_chromium_is_one_clear_line(small):
    done = run(small, "pdf", PATH="", CHROMIUM="", PLAYWRIGHT_BROWSERS_PATH=str(small))
    assert done.returncode == 1
    assert done.stderr == "make pdf: no Chromium found: apt-get install chromium, or set CHROMIUM=/path/to/it\n"


@pytest.mark.parametrize("end", [TakeawayError("not as it must be"), KeyboardInterrupt()])
def test_what_goes_wrong_leaves_the_old_file(small, monkeypatch, end):
    old = small / "_build" / "html" / "a-small-book.pdf"
    old.write_bytes(b"old")
    left = small / "_build" / "takeaway" / "half"  # by a run that was killed
    left.parent.mkdir()
    left.touch()

    def stop(_browser, _volume, path):
        path.write_bytes(b"half")
        raise end

    monkeypatch.setattr(command, "browser", NoBrowser)
    monkeypatch.setattr(command, "read_volume", lambda *_: None)
    monkeypatch.setattr(command, "Camera", lambda *_: None)
    monkeypatch.setitem(command.KINDS, "pdf", stop)
    with pytest.raises(type(end)):
        command.take_away("pdf", small)
    assert old.read_bytes() == b"old"
    assert names(small / "_build") == ["html"]
    assert "Not here." in intro(small)


class NoBrowser:
    def __enter__(self):
        return None

    def __exit__(self, *_):
        return None


def test_offer_names_the_files_there_are(small):
    html = small / "_build" / "html"
    (html / "b.epub").write_bytes(b"x" * 1_200_000)
    offer(html, "b")
    assert "Not here." not in intro(small)
    assert '<a download="" href="../b.epub">the book as one EPUB</a>, 1.2 MB' in intro(small)
    assert "b.pdf" not in intro(small)
    (html / "b.pdf").write_bytes(b"x")
    offer(html, "b")
    assert intro(small).count("<li>") == 2
    assert intro(small).count("</section>") == 1


def test_pages_without_a_box_are_an_error(small):
    path = small / "_build" / "html" / "book" / "intro.html"
    path.write_text(intro(small).replace("tb-takeaway", "other"), encoding="utf-8")
    with pytest.raises(TakeawayError, match="expected a page with a box of the class tb-takeaway"):
        offer(small / "_build" / "html", "b")
