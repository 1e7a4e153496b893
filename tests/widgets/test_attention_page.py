"""Soft lookup and Heads at work in a browser, offline from a file: pointer, keyboard, both widths, both themes."""

import pytest
from widget_pages import WidgetPage, notebook_page, said, view

from transformer_book.widgets import Heads, SoftLookup

MODELS = """
from transformer_book.experiments.date_models import new_reader
from transformer_book.tasks.dates import Dates
from transformer_book.widgets import Heads, SoftLookup

lookup = SoftLookup()
model = new_reader(3, num_encoder_layers=2, num_decoder_layers=2)
heads = Heads(["3 may 2026", "2026年11月23日", "poniedziałek, 23 listopada 2026"], model, Dates())
"""
PAGE = notebook_page("Attention", f"{MODELS}\nlookup", "heads", "lookup")
LOOKUP, HEADS, SECOND = 0, 1, 2  # the views on the page, in order


@pytest.fixture(scope="module")
def twin() -> Heads:
    """Give the same heads in Python."""
    names = {}
    exec(MODELS, names)
    return names["heads"]


def shares(page):
    texts = view(page, LOOKUP).locator(".tb-lookup-row .tb-number").all_inner_texts()
    return [float(text) for text in texts]


def test_soft_lookup_shows_what_python_computes(page):
    for score in ("additive", "bilinear", "scaled dot", "dot"):
        view(page, LOOKUP).get_by_label(score, exact=True).check()
        widget = SoftLookup(score=score.replace(" ", "_"))
        assert shares(page) == pytest.approx(widget.weights().tolist(), abs=0.0051)
        x, y = widget.output().tolist()
        assert f"the output is ({x:.2f}, {y:.2f})".replace("-", "−") in said(page, LOOKUP)
        lost = "Every key wins somewhere." if score == "additive" else "Nowhere in this plane does E win."
        assert said(page, LOOKUP).endswith(lost)
        assert said(page, SECOND) == said(page, LOOKUP)  # one model, two views
        assert view(page, LOOKUP).get_by_label("W turns q by").is_visible() == (score == "bilinear")


def test_soft_lookup_follows_the_pointer(page):
    plane = view(page, LOOKUP).locator("svg")
    box = plane.bounding_box()

    def at(x, y):
        return box["x"] + (x + 2) / 4 * box["width"], box["y"] + (2 - y) / 4 * box["height"]

    page.mouse.move(*at(1.2, 0.4))
    page.mouse.down()
    page.mouse.move(*at(-1.0, 1.5), steps=4)
    page.mouse.up()
    assert "the query at (−1.00, 1.50)" in said(page, LOOKUP)
    assert shares(page) == pytest.approx(SoftLookup((-1.0, 1.5)).weights().tolist(), abs=0.0051)
    page.mouse.move(*at(0.5, -0.5))  # no button is down any more
    assert "the query at (−1.00, 1.50)" in said(page, LOOKUP)
    page.mouse.move(*at(0.0, 0.0))
    page.mouse.down()  # on key E, drawn over nothing else
    page.mouse.move(*at(1.8, 1.8), steps=3)
    page.mouse.move(*at(9, 9))  # beyond the plane it stays at the edge
    page.mouse.up()
    assert view(page, LOOKUP).get_by_label("E", exact=True).is_checked()
    assert said(page, LOOKUP).endswith("Nowhere in this plane does D win.")


def test_soft_lookup_answers_the_keyboard(page):
    one = view(page, LOOKUP)
    one.get_by_label("x", exact=True).press("ArrowRight")
    one.get_by_label("y", exact=True).press("End")
    assert "the query at (1.25, 2.00)" in said(page, LOOKUP)
    one.get_by_label("query", exact=True).press("ArrowRight")
    assert one.get_by_label("A", exact=True).is_checked()
    one.get_by_label("x", exact=True).press("Home")
    keys = [list(key) for key in SoftLookup().key]
    keys[0][0] = -2.0
    expected = SoftLookup((1.25, 2.0), key=keys)
    assert shares(page) == pytest.approx(expected.weights().tolist(), abs=0.0051)
    one.get_by_label("dot", exact=True).press("ArrowRight")
    one.get_by_label("scaled dot", exact=True).press("ArrowRight")
    turn = one.get_by_label("W turns q by")
    turn.press("Home")
    assert one.locator("output").first.inner_text() == "−180°"


def looks(twin, name, row):
    """What the page says a head's query looks at first."""
    kind = name.split("-")[0]
    maps = twin.maps()
    symbols = maps.source if kind == "encoder" else maps.target
    weights = twin.weights(name)[row]
    share, place = (part.item() for part in weights.max(dim=0))
    columns = ("⊢", *maps.target[:-1]) if kind == "decoder" else maps.source
    shown = [symbol.replace(" ", "␣") for symbol in (symbols[row], columns[place])]
    return f"{shown[0]} (place {row + 1}) looks at {shown[1]} (place {place + 1}) {share:.2f}"


def test_heads_shows_what_python_computes(page, twin):
    one = view(page, HEADS)
    assert one.get_by_role("button").count() == len(twin.names()) == 24
    for chosen in (0, 1):
        one.get_by_label("reads").select_option(str(chosen))
        twin.chosen = chosen
        assert one.locator("output").first.inner_text() == "".join(twin.maps().target[:-1])
        habits = one.locator(".tb-heads-habit").all_inner_texts()
        bits = [float(text.split()[0]) for text in habits]
        assert bits == pytest.approx([twin.entropy(name) for name in twin.names()], abs=0.08)
        assert looks(twin, "cross-2-3", 0) in said(page, HEADS)


def test_heads_pins_compares_and_points(page, twin):
    one = view(page, HEADS)
    twin.chosen = 0
    pinned = "buttons => buttons.filter(b => b.ariaPressed === 'true').map(b => b.dataset.head)"

    def pins():
        return one.get_by_role("button").evaluate_all(pinned)

    assert pins() == ["cross-2-3"]
    one.locator("button[data-head=encoder-1-2] .tb-heads-name").click()
    assert pins() == ["encoder-1-2", "cross-2-3"]
    assert one.locator("figure").count() == 2
    one.locator("button[data-head=decoder-2-1]").press("Enter")  # a third takes the place of the first
    assert pins() == ["encoder-1-2", "decoder-2-1"]
    dials = one.get_by_role("slider")
    dials.nth(0).press("ArrowRight")
    assert looks(twin, "encoder-1-2", 1) in said(page, HEADS)
    assert looks(twin, "decoder-2-1", 0) in said(page, HEADS)  # another sequence of queries
    dials.nth(1).press("End")
    assert looks(twin, "decoder-2-1", 11) in said(page, HEADS)
    picture = one.locator("figure svg").nth(1)
    box = picture.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * (20 + 3.5 * 16) / (22 + 12 * 16))
    assert looks(twin, "decoder-2-1", 3) in said(page, HEADS)
    small = one.locator("button[data-head=encoder-2-2] canvas")
    small.scroll_into_view_if_needed()
    box = small.bounding_box()
    page.mouse.move(box["x"] + 9, box["y"] + box["height"] * 4.5 / 10)
    assert looks(twin, "encoder-1-2", 4) in said(page, HEADS)
    for name in ("encoder-1-2", "decoder-2-1"):
        one.locator(f"button[data-head={name}]").press("Enter")
    assert said(page, HEADS) == "No head is pinned."
    assert one.locator("figure").count() == 0


PIXELS = """(canvas, [places, rows, columns]) => {
    const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return places.map(([row, column]) => {
        const x = Math.floor((column + 0.5) * canvas.width / columns);
        const y = Math.floor((row + 0.5) * canvas.height / rows);
        return [...all.slice(4 * (y * canvas.width + x), 4 * (y * canvas.width + x) + 4)];
    });
}"""


def test_small_pictures_hold_the_weights_in_the_theme_s_colour(folder, browser, twin):
    """The page opens as a reader's does, and the theme is touched only after the first look."""
    twin.chosen = 0
    weights = twin.weights("cross-1-1")
    rows, columns = weights.shape
    places = [[1, 3], [4, 7], [9, 2], list(divmod(int(weights.argmax()), columns))]
    page = browser.new_page(color_scheme="light")
    page.goto((folder / "index.html").as_uri())
    page.wait_for_selector("button[data-head=cross-1-1] canvas")
    page.wait_for_timeout(100)
    canvas = page.locator("button[data-head=cross-1-1] canvas")
    light = canvas.evaluate(PIXELS, [places, rows, columns])
    shown = [pixel[3] / 255 for pixel in light]
    assert shown == pytest.approx([float(weights[row, column]) for row, column in places], abs=0.02)
    assert light[-1][:3] == pytest.approx([0x66, 0x22, 0x8A], abs=6)  # --w-weight, rounded by the transparency
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_timeout(50)
    dark = canvas.evaluate(PIXELS, [places, rows, columns])
    assert dark[-1][:3] == pytest.approx([0xA8, 0x70, 0xFA], abs=6)
    assert light[-1][3] == dark[-1][3]
    page.close()


class TestPage(WidgetPage):
    ALTERNATIVES = {
        LOOKUP: r"a query at \(1\.2, 0\.4\) among 5 keys, compared by the dot product\. Weights: A ",
        HEADS: "24 heads of a Transformer that reads '3 may 2026' and writes '",
    }

    def crowd(self, page):
        view(page, HEADS).get_by_label("reads").select_option("2")
        view(page, LOOKUP).get_by_label("bilinear", exact=True).check()

    def controls(self, page):
        view(page, HEADS).get_by_label("reads").select_option("2")
        return {
            "query": view(page, LOOKUP).get_by_label("x", exact=True),  # draws both of its views
            "row": view(page, HEADS).get_by_role("slider").first,
        }
