"""Slides: what of a page is chosen, how it is packed, and that a slide which does not fit is found."""

from pathlib import Path

import pytest
from slides.choose import Piece, Topic, topics
from slides.fit import HEIGHT, SMALLER, SMALLEST, WIDTH, Slide, deck, measure, overflowing, pack

CSS = Path(__file__).parents[2] / "tools" / "slides" / "slides.css"
PROSE = "word " * 60


def cell(code, printed="", tag="", figure=""):
    out = f'<div class="output"><pre>{printed}</pre></div>' if printed else ""
    out = f'<div class="cell_output">{out}{figure}</div>' if out or figure else ""
    source = f'<div class="cell_input"><div class="highlight"><pre>{code}</pre></div></div>'
    return f'<div class="cell {tag}">{source}{out}</div>'


FIGURE = (
    '<figure id="fig"><img alt="Falls." loading="lazy" src="../_images/a.png">'
    '<figcaption><p><span class="caption-number">Fig. 1 </span>'
    '<span class="caption-text">It falls. Much more is said.</span></p></figcaption></figure>'
)
MATHS = (
    '<span class="katex"><span class="katex-mathml"><math><mi>d</mi><annotation>d</annotation></math></span>'
    '<span class="katex-html">d</span></span>'
)
PAGE = f"""<article><section id="top"><h1>A title<a class="headerlink" href="#top">#</a></h1>
<p class="tb-chapter-facts">5 minutes</p>
<p>{PROSE}</p>
<p><strong>By the end of this chapter you</strong> will know.</p>
<div class="tip admonition"><p class="admonition-title">Predict first</p><p>How much?</p></div>
{cell("import torch", tag="tag_imports")}{cell("set_up()", "set up")}
<section id="one"><h2>First</h2>
<p>Short <a class="reference" href="x.html">lead</a>, here. The rest of it.</p>
<div class="math" id="equation-1">x<span class="eqno">(1)</span></div>
{cell("short()", "short &lt;1&gt;")}
{cell("long()" + chr(10) + "x" + chr(10) * 20 + "end", "of a long one")}
{cell("silent()")}
{
    cell(
        '<span class="k">def</span> f():'
        + chr(10)
        + '    <span class="sd">&quot;&quot;&quot;Doc.&quot;&quot;&quot;</span>'
        + chr(10)
        + "    return 1",
        tag="tag_src:transformer_book.f",
    )
}
{cell("plot()", "numbers", figure=FIGURE)}
<p>And {MATHS} <strong>this is a bold statement indeed.</strong> So <strong>it is</strong>.</p>
<details><summary>Solution</summary><p>secret</p></details>
<section id="deep"><h3>Deeper</h3><ul><li>one</li><li>two</li></ul></section>
</section>
<section id="exercises"><h2>Exercises</h2>
<div class="exercise admonition"><p class="admonition-title">Exercise 1</p><details>secret</details></div>
{cell("stub()", "○ not yet", tag="tag_exercise")}
</section>
<section id="further-reading"><h2>Further reading</h2><ul><li>books</li></ul></section>
<p class="tb-chapter-executed">Executed</p>
</section></article>"""


@pytest.fixture(scope="module")
def chosen():
    return topics(PAGE)


def shown(topic):
    return [piece.html for piece in topic.pieces if piece.shown]


def test_headings_and_what_has_no_slide(chosen):
    assert [topic.heading for topic in chosen] == ["A title", "First", "Deeper", "Exercises"]
    every = "".join(piece.html for topic in chosen for piece in topic.pieces)
    for absent in (
        "secret",
        "<details",
        "books",
        "import torch",
        "set_up",
        "plot()",
        "stub",
        "silent",
        "Executed",
    ):
        assert absent not in every, absent


def test_the_first_slide_promises(chosen):
    facts, promise, prediction = shown(chosen[0])
    assert "5 minutes" in facts
    assert promise == ('<p class="statement"><strong>By the end of this chapter you</strong> will know.</p>')
    assert "How much?" in prediction
    said = [piece.html for piece in chosen[0].pieces if not piece.shown]
    assert said[0] == f"<p>{PROSE}</p>"


def test_what_a_section_shows(chosen):
    lead, formula, short, printed, source, figure, statement = shown(chosen[1])
    assert lead == '<p class="lead">Short lead, here.</p>'
    assert formula == '<div class="math">x<span class="eqno">(1)</span></div>'
    assert short == '<div class="highlight"><pre>short()</pre></div><pre class="printed">short &lt;1&gt;</pre>'
    assert printed == '<pre class="printed">of a long one</pre>'
    assert source == '<div class="highlight"><pre><span class="k">def</span> f():\n    return 1</pre></div>'
    assert '<img alt="Falls." src="../_images/a.png"/>' in figure
    assert '<figcaption>It falls.</figcaption></figure><pre class="printed">numbers</pre>' in figure
    assert statement == '<p class="statement">this is a bold statement indeed.</p>'
    said = [piece.html for piece in chosen[1].pieces if not piece.shown]
    assert said[1].startswith("<p>And <math><mi>d</mi></math> <strong>")
    assert shown(chosen[2]) == ["<ul><li>one</li></ul>", "<ul><li>two</li></ul>"]


def test_a_page_without_a_title_is_no_chapter():
    with pytest.raises(ValueError, match="expected the page of a chapter"):
        topics("<article><section><h2>Only</h2></section></article>")


def packed(*heights, pictures=(), said=()):
    pieces = [
        Piece(f"<figure>{n}</figure>" if n in pictures else f"<p>{n}</p>", shown=n not in said)
        for n in range(len(heights))
    ]
    return pack(Topic("Heading", pieces), heights, room=100)


def test_pieces_go_on_slides_in_order_and_words_stay_beside_them():
    slides = packed(40, 0, 60, 0, 1, 99, said=(1, 3))
    assert [slide.shown for slide in slides] == [["<p>0</p>", "<p>2</p>"], ["<p>4</p>", "<p>5</p>"]]
    assert [slide.said for slide in slides] == [["<p>1</p>", "<p>3</p>"], []]


def test_what_is_too_tall_is_made_smaller_or_left_to_the_page():
    [slide] = packed(100 / SMALLEST - 1)
    assert slide.shown[0].startswith('<div style="zoom: 0.6')
    [slide] = packed(100 / SMALLEST + 1)
    assert slide.shown == []
    assert "too tall for a slide" in slide.said[0]


def test_a_picture_shrinks_a_little_to_stay_beside_what_leads_to_it():
    [slide] = packed(40, 60 / SMALLER - 1, pictures=(1,))
    assert slide.shown[1].startswith('<div style="zoom: 0.7')
    assert len(packed(40, 60 / SMALLER + 1, pictures=(1,))) == 2
    assert len(packed(40, 60 / SMALLER - 1)) == 2


def test_a_heading_with_nothing_below_has_no_slide():
    assert pack(Topic("Heading"), [], 100) == []


@pytest.fixture
def page(browser):
    page = browser.new_page()
    yield page
    page.close()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "slides.css").write_text(CSS.read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path


def block(height, width=100):
    return f'<div style="height: {height}px; width: {width}px"></div>'


def test_what_was_measured_fits_and_what_does_not_fit_is_found(page, folder):
    [[first, second, words, third]], [room] = measure(
        page,
        folder,
        [Topic("A heading", [Piece(block(300)), Piece(block(200)), Piece("said", False), Piece(block(300))])],
    )
    assert (first, second, words, third) == (316, 216, 0, 316)  # 8 pixels above and below
    assert HEIGHT - 200 < room < HEIGHT - 100

    def write(*slides):
        path = folder / "deck.html"
        # The last rule stands for reveal.js, which is not here.
        html = deck("Title", [slide.html(n == 0) for n, slide in enumerate(slides)], "assets", scripts=False)
        path.write_text(html.replace("</head>", "<style>section { position: relative }</style></head>"))
        return overflowing(page, path)

    topic = Topic(
        "A heading", [Piece(block(room - 16)), Piece(block(2 * room)), Piece(block(1.3 * room)), Piece(block(9))]
    )
    heights, rooms = measure(page, folder, [topic])
    slides = pack(topic, heights[0], rooms[0])
    assert len(slides) == 3
    assert write(*slides) == (3, [])
    hidden = '<div style="width: 100px; overflow: hidden"><div style="width: 300px; height: 9px"></div></div>'
    wrong = {
        block(HEIGHT): "slide 2: div is",
        block(9, WIDTH): "slide 2: div is",
        hidden: "slide 2: div hides a part of itself",
        '<img src="none.png" style="width: 9px; height: 9px">': "slide 2: the picture none.png is not there",
    }
    for html, problem in wrong.items():
        count, problems = write(Slide("Fits"), Slide("Does not", [html]))
        assert count == 2
        assert [text[: len(problem)] for text in problems] == [problem], problems
