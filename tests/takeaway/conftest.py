"""A small book as `make book` leaves it: a few pages in the form that Sphinx gives them, written by hand."""

from collections.abc import Callable
from pathlib import Path

import pytest
from notebooks.book import Book
from takeaway.volume import Volume, read_volume

CONFIG = """\
title: A small book
author: someone
logo: book/style/logo.svg
repository: {url: https://github.com/Some/small}
sphinx: {config: {language: en}}
"""
TOC = """\
root: book/intro
parts:
  - caption: Part I
    chapters:
      - file: chapters/01_first
      - file: chapters/02_second
"""
PAGE = """\
<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>A page</title>
<link rel="stylesheet" href="../_static/pygments.css?v=1"><link rel="stylesheet" href="../_static/print.css">
</head>
<body><header>the theme's</header><article class="bd-article">{body}</article>{after}</body></html>
"""
FORMULA = (
    '<span class="katex"><span class="katex-mathml"><math xmlns="http://www.w3.org/1998/Math/MathML"><semantics>'
    "<msup><mi>x</mi><mn>2</mn></msup>"
    '<annotation encoding="application/x-tex">x^2</annotation></semantics></math></span>'
    '<span class="katex-html" aria-hidden="true"><span>x</span><sup>2</sup></span></span>'
)
FIRST = f"""\
<section id="one"><h1>First things<a class="headerlink" href="#one">#</a></h1>
<p>A formula, <span class="math">{FORMULA}</span>, and 自注意力. See <a href="02_second.html#deep">the next</a>,
<a href="../book/intro.html">the beginning</a>, <a href="https://pytorch.org">PyTorch</a> and
<a href="../_static/data.txt">data</a>.</p>
<section id="drawn"><h2>Drawn<a class="headerlink" href="#drawn">#</a></h2>
<figure id="fig"><svg id="tb-figure-1-square" class="tb-figure" role="img" aria-label="A square.">
<rect width="9" height="9"></rect></svg><figcaption><p>A figure.</p></figcaption></figure>
<div class="cell"><div class="cell_output"><div class="tb-widget" data-tb-model="w0">
<p class="tb-widget-alternative">A dial at 3.</p></div></div></div>
<picture><source media="screen and (max-width: 9rem)" srcset="../_images/narrow.png" width="1" height="2"/><img
src="../_images/dot.png" alt="A dot." loading="lazy"></picture>
<div class="exercise admonition"><p class="admonition-title">Exercise 1 · add · ★☆☆ · 1 min</p><p>Add.</p></div>
<details class="sd-dropdown"><summary><span class="sd-summary-text">Solution</span></summary>
<div class="sd-summary-content"><p id="answer">Four, as in <a href="#fig">the figure</a>.</p></div></details>
<p>The <a href="#answer">answer</a>.</p>
<details><summary>More</summary><p>Unfolded text.</p></details></section></section>
<script type="application/json" id="tb-widget-data">{{}}</script>
"""
SECOND = """\
<section id="two"><h1>Second thoughts</h1><section id="deep"><h2>Deep</h2><p>Back to
<a href="01_first.html#fig">the figure</a>.</p></section></section>
"""
INTRO = """\
<section id="a-small-book"><h1>A small book</h1><p>Hello.</p>
<div class="tb-takeaway docutils container">
<p>Not here.</p>
</div></section>
"""
MOUNT = """\
<script>
document.querySelector(".tb-widget").dataset.tbMounted = "true";
document.querySelector(".tb-widget").insertAdjacentHTML("beforeend", `<div class="tb-root"
style="width:90px;height:60px;background:linear-gradient(red, blue)"></div>`);
</script>
"""
DOT = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415478da63f8ffff3f0005fe02fe"
    "a735810c0000000049454e44ae426082"
)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Lay out the book; give its top folder."""
    files = {
        "_config.yml": CONFIG,
        "_toc.yml": TOC,
        "book/style/logo.svg": '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><circle r="4"/></svg>',
        "book/figures/square.svg": (
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 90 60">'
            '<rect width="9" height="9" style="fill:var(--tb-ink, #1b1f24)"/></svg>'
        ),
        "_build/html/book/intro.html": PAGE.format(body=INTRO, after=""),
        "_build/html/chapters/01_first.html": PAGE.format(body=FIRST, after=MOUNT),
        "_build/html/chapters/02_second.html": PAGE.format(body=SECOND, after=""),
        "_build/html/_static/pygments.css": 'html[data-theme="light"] .highlight .k { color: #00f }\n',
        "_build/html/_static/print.css": "@page { size: A4 }\n",
        "_build/html/_static/data.txt": "1\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    dot = tmp_path / "_build/html/_images/dot.png"
    dot.parent.mkdir()
    dot.write_bytes(DOT)
    return tmp_path


@pytest.fixture
def read(small: Path) -> Callable[[], Volume]:
    """Return a function that reads the book, with one picture for every widget."""
    return lambda: read_volume(Book(small), small / "_build" / "html", lambda _name, _number: DOT)
