"""Judging pages with Lighthouse: what is read from a report, what is said, what is served. It is not run here."""

import gzip
import importlib.util
import threading
import urllib.error
import urllib.request
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lighthouse():
    spec = importlib.util.spec_from_file_location("lighthouse", ROOT / "tools" / "lighthouse.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def report():
    def write(accessibility, seo=1):
        audits = {
            "label": {
                "title": "Inputs have no names",
                "score": 0,
                "details": {"items": [{"node": {"snippet": "<i>"}}]},
            },
            "hint": {"title": "Only a hint", "score": 0},
            "done": {"title": "Well done", "score": 1},
            "speed": {"title": "Slow", "score": 0.5},
        }
        references = [{"id": name, "weight": name != "hint"} for name in ("label", "hint", "done")]
        categories = {
            "accessibility": {"score": accessibility, "auditRefs": references},
            "best-practices": {"score": 1, "auditRefs": []},
            "seo": {"score": seo, "auditRefs": []},
            "performance": {"score": 0.5, "auditRefs": [{"id": "speed", "weight": 1}]},
        }
        return {"categories": categories, "audits": audits}

    return write


@pytest.fixture
def judged(lighthouse, report, monkeypatch, tmp_path):
    """Return a function that runs the command on pages of the given accessibility."""

    def run(*arguments, **accessibility):
        def judge(program, chromium, url, form_factor):
            page = url.rpartition("/")[2].removesuffix(".html")
            return report(accessibility[page] if form_factor == "mobile" else 1)

        monkeypatch.setattr(lighthouse, "install", lambda folder: folder / "index.js")
        monkeypatch.setattr(lighthouse, "find_chromium", lambda: "true")
        monkeypatch.setattr(lighthouse, "judge", judge)
        return lighthouse.main([*arguments])

    return run


def test_a_page_below_95_fails_and_the_reason_is_named(judged, capsys):
    assert judged("good", "bad", good=0.95, bad=0.94) == 1
    said = capsys.readouterr().out
    head, *rows = said.split("\n\n")[1].splitlines()
    assert head.split() == ["page", "device", "accessibility", "best", "practices", "SEO", "performance"]
    assert [row.split() for row in rows] == [
        ["good", "mobile", "95", "100", "100", "50"],
        ["good", "desktop", "100", "100", "100", "50"],
        ["bad", "mobile", "94", "!", "100", "100", "50"],
        ["bad", "desktop", "100", "100", "100", "50"],
    ]
    assert "bad, mobile, accessibility: Inputs have no names [<i>]" in said
    assert "Only a hint" not in said
    assert "Slow" not in said


def test_all_pages_good_is_success(judged):
    assert judged("good", good=1) == 0


def test_what_is_missing_is_one_line(lighthouse, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CHROMIUM", raising=False)
    assert lighthouse.main(["book/intro"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("make lighthouse: no Chromium found")


def test_every_page_is_judged(lighthouse):
    pages = lighthouse.pages(ROOT)
    assert {"book/intro", "book/about", "search"} <= set(pages)
    assert sum(page.startswith("chapters/") for page in pages) == len([*ROOT.glob("chapters/*.md")])


def test_texts_are_served_compressed(lighthouse, tmp_path):
    (tmp_path / "page.html").write_text("word " * 100)
    (tmp_path / "picture.png").write_bytes(b"bytes")
    handler = partial(lighthouse.CompressedFiles, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        with urllib.request.urlopen(f"{base}/page.html?v=1") as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            assert gzip.decompress(answer.read()).decode() == "word " * 100
        with urllib.request.urlopen(f"{base}/picture.png") as answer:
            assert answer.headers["Content-Encoding"] is None
            assert answer.read() == b"bytes"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{base}/nothing.html")
        server.shutdown()
