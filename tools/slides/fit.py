"""Pieces on slides: as many on each as fit, found by measuring them in a browser, and measured once more."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from playwright.sync_api import Page

from slides.choose import Topic

WIDTH, HEIGHT = 1280, 720
#: How far a piece that is too tall is made smaller before it is left to the page.
SMALLEST = 0.6
#: How far a picture is made smaller to stand on a slide that has begun.
SMALLER = 0.75

DECK = Template("""\
<!DOCTYPE html>
<html lang="en" data-theme="light">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
$styles
</head>
<body>
<div class="reveal"><div class="slides">
$slides
</div></div>
$scripts
</body>
</html>
""")
STYLES = ("reveal/reveal.css", "katex/katex.min.css", "pygments.css", "theme.css", "slides.css")
SCRIPTS = ("reveal/reveal.js", "reveal/plugin/notes.js")
START = f"""<script>
Reveal.initialize({{
  width: {WIDTH}, height: {HEIGHT}, margin: 0.02, center: false, transition: "none",
  hash: true, slideNumber: "c/t",
  plugins: [RevealNotes],
}});
</script>"""

LOOK_AT_EVERY_SLIDE = """() => {
    const sections = [...document.querySelectorAll(".slides > section")];
    const problems = [];
    sections.forEach((section, number) => {
        globalThis.Reveal?.slide(number);
        const say = (problem) => problems.push(`slide ${number + 1}: ${problem}`);
        const edge = section.getBoundingClientRect();
        if (!edge.width || !edge.height) say("not shown");
        for (const element of section.querySelectorAll("*")) {
            // What is inside a drawing is cut off at its edge; KaTeX draws roots far longer than it shows them.
            if (element.closest(".katex-mathml, .notes") || element.parentElement.closest("svg")) continue;
            const name = element.tagName.toLowerCase();
            const box = element.getBoundingClientRect();
            const over = Math.max(
                edge.left - box.left, edge.top - box.top, box.right - edge.right, box.bottom - edge.bottom,
            );
            if (box.width && box.height && over > 1) {
                say(`${name} is ${Math.round(over)} px beyond the edge`);
                break;
            }
            if (name === "img" && !element.naturalWidth) {
                say(`the picture ${element.getAttribute("src")} is not there`);
            }
            const hides = getComputedStyle(element).overflowX !== "visible" && name !== "svg";
            if (hides && element.scrollWidth > element.clientWidth + 1) say(`${name} hides a part of itself`);
        }
    });
    return [sections.length, problems];
}"""


@dataclass
class Slide:
    """One slide: its heading, what it shows, and what is said beside it."""

    heading: str
    shown: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def html(self, first: bool) -> str:
        """Write it; the first one of a deck has the chapter's title as its heading."""
        level = "h1" if first else "h2"
        notes = f'<aside class="notes">{"".join(self.said)}</aside>' if self.said else ""
        shown = "\n".join(f'<div class="piece">{html}</div>' for html in self.shown)
        return f"<section>\n<{level}>{self.heading}</{level}>\n{shown}\n{notes}</section>"


def pack(topic: Topic, heights: Sequence[float], room: float) -> list[Slide]:
    """Put the pieces of a topic on slides, in order.

    Parameters
    ----------
    topic
        What to show and say.
    heights
        Height of each of its pieces, what is around it included; that of a piece which is said does not count.
    room
        Height that a slide has for them, below its heading.

    Returns
    -------
    list of Slide
        None, if there is nothing to show or to say. A piece that is too tall is made smaller; one that would have
        to be smaller than `SMALLEST` is named in the notes and stays on the page.
    """
    slides = [Slide(topic.heading)]
    left = room
    for piece, height in zip(topic.pieces, heights, strict=True):
        if not piece.shown:
            slides[-1].said.append(piece.html)
            continue
        html, scale = piece.html, room / height if height > room else 1.0
        if scale < SMALLEST:
            slides[-1].said.append("<p>(Here the page shows something that is too tall for a slide.)</p>")
            continue
        if scale < 1:
            html, height = f'<div style="zoom: {scale:.3f}">{html}</div>', room
        if left < height <= left / SMALLER and "<figure" in html and scale == 1:
            html, height = f'<div style="zoom: {left / height:.3f}">{html}</div>', left
        if height > left and slides[-1].shown:
            slides.append(Slide(topic.heading))
            left = room
        slides[-1].shown.append(html)
        left -= height
    return [slide for slide in slides if slide.shown or slide.said]


def deck(title: str, slides: Sequence[str], assets: str, scripts: bool = True) -> str:
    """Write a deck whose style sheets and scripts lie in the folder `assets`."""
    styles = "\n".join(f'<link rel="stylesheet" href="{assets}/{name}">' for name in STYLES)
    started = "\n".join([*(f'<script src="{assets}/{name}"></script>' for name in SCRIPTS), START])
    return DECK.substitute(
        title=title, styles=styles, slides="\n".join(slides), scripts=started if scripts else ""
    )


def measure(page: Page, folder: Path, topics: Sequence[Topic]) -> tuple[list[list[float]], list[float]]:
    """Measure every piece at the width of a slide, and the room below each heading.

    Parameters
    ----------
    page
        A page of a browser.
    folder
        Where the decks are to lie, with their assets: pictures and fonts are found from there.
    topics
        What is to be measured.

    Returns
    -------
    tuple
        For each topic the height of its pieces, and for each topic the room.
    """
    slides = [
        Slide(topic.heading, [piece.html if piece.shown else "" for piece in topic.pieces]).html(number == 0)
        for number, topic in enumerate(topics)
    ]
    path = folder / ".measured.html"
    path.write_text(deck("measured", slides, "assets", scripts=False), encoding="utf-8")
    try:
        page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        page.goto(path.resolve().as_uri())
        page.evaluate("document.fonts.ready")
        found = page.evaluate(
            """() => [...document.querySelectorAll("section")].map((section) => {
                section.classList.add("measured");
                const box = (element) => element.getBoundingClientRect();
                const style = getComputedStyle(section);
                const bottom = box(section).bottom - parseFloat(style.paddingBottom);
                return {
                    room: bottom - box(section.firstElementChild).bottom,
                    heights: [...section.querySelectorAll(":scope > .piece")].map((piece) => box(piece).height),
                };
            })"""
        )
    finally:
        path.unlink()
    return [topic["heights"] for topic in found], [topic["room"] for topic in found]


def overflowing(page: Page, path: Path) -> tuple[int, list[str]]:
    """Open a deck and every slide of it; return how many there are, and what does not fit, each with its place.

    A slide fits if everything that is seen of it lies within its edges. A deck without scripts is looked at as it
    stands, slide below slide.
    """
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    page.goto(path.resolve().as_uri())
    page.evaluate("document.fonts.ready")
    return tuple(page.evaluate(LOOK_AT_EVERY_SLIDE))
