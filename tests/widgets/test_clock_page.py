"""Position clock at work in a browser, offline from a file: mouse, keyboard, both widths, both themes."""

from statistics import median

import pytest
from axe_playwright_python.sync_playwright import Axe

from transformer_book.widgets import PositionClock

PAGE = """---
kernelspec: {name: python3, display_name: Python 3}
file_format: mystnb
---
# Positions

```{code-cell} ipython3
from transformer_book.widgets import PositionClock

clock = PositionClock()
clock
```

```{code-cell} ipython3
clock
```
"""
KINDS = {"sinusoidal": "sinusoids", "added": "content + sinusoids", "rotary": "rotary"}


@pytest.fixture(scope="module")
def folder(make_project, sphinx):
    source = make_project(PAGE)
    target = source.with_name("html")
    done = sphinx(source, target)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture
def page(folder, open_page):
    return open_page(folder / "index.html")


def view(page, number=0):
    return page.locator(".tb-widget").nth(number)


def said(page, number=0):
    return view(page, number).locator("p[aria-live]").inner_text()


def score(page):
    return float(said(page).partition(": score ")[2].partition(". ")[0].replace("−", "-"))


@pytest.mark.parametrize("kind", KINDS)
def test_shows_what_python_computes(page, kind):
    one = view(page)
    one.get_by_label(KINDS[kind], exact=True).check()
    for width in (8, 64):
        one.get_by_label(str(width), exact=True).check()
        assert score(page) == pytest.approx(PositionClock(20, 23, width, kind).score(), abs=0.0051)
        assert one.locator(".tb-clock-dial:visible").count() == width // 2
        assert said(page, 1) == said(page)  # one model, two views


def test_moving_both_keeps_the_distance(page):
    one = view(page)
    for kind, stays in (("sinusoids", True), ("rotary", True), ("content + sinusoids", False)):
        one.get_by_label(kind, exact=True).check()
        one.get_by_label("both").press("Home")
        assert "at positions 0 and 3 (3 apart)" in said(page)
        before = score(page)
        one.get_by_label("both").press("End")
        assert "at positions 124 and 127 (3 apart)" in said(page)
        assert (score(page) == before) is stays
    one.get_by_label("first").press("Home")
    assert "at positions 0 and 127 (127 apart)" in said(page)
    one.get_by_label("both").press("End")  # there is no room to move
    assert "at positions 0 and 127 (127 apart)" in said(page)


def test_answers_the_keyboard(page):
    one = view(page)
    one.get_by_label("first").press("ArrowRight")
    one.get_by_label("second").press("ArrowLeft")
    assert "at positions 21 and 22 (1 apart)" in said(page)
    one.get_by_label("sinusoids", exact=True).press("ArrowRight")
    assert one.get_by_label("content + sinusoids", exact=True).is_checked()
    one.get_by_label("16", exact=True).press("ArrowRight")
    assert "width 32" in said(page)
    button = one.get_by_role("button")
    texts = []
    for _ in range(3):
        button.press("Enter")
        texts.append((button.inner_text(), score(page)))
    assert [text for text, _ in texts] == [f"new query and key ({n} of 3)" for n in (2, 3, 1)]
    expected = [PositionClock(21, 22, 32, "added", draw).score() for draw in (1, 2, 0)]
    assert [seen for _, seen in texts] == pytest.approx(expected, abs=0.0051)
    one.get_by_label("sinusoids", exact=True).check()
    assert not button.is_visible()  # rows of sinusoids have no content


def test_hands_stand_at_their_angles(page):
    """The first dial's first hand at position 20 points to (sin 20, cos 20), up being positive."""
    hand = view(page).locator(".tb-clock-dial .hand.first").first
    x, y = (float(hand.get_attribute(name)) for name in ("x2", "y2"))
    row = PositionClock(20).vectors()[0]
    assert (x / 28, -y / 28) == pytest.approx((float(row[0]), float(row[1])), abs=1e-5)


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")])
def test_fits_the_screen_and_axe_finds_nothing(folder, open_page, width, theme):
    page = open_page(folder / "index.html", width=width, theme=theme)
    view(page).get_by_label("64", exact=True).check()
    view(page).get_by_label("rotary", exact=True).check()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page, context=".tb-widget", options={"preload": False, "resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()


FRAME = """(input, i) => {
    input.value = input.min * 1 + ((i * 7) % 19) / 19 * (input.max - input.min);
    input.dispatchEvent(new Event("input", { bubbles: true }));
}"""


def test_a_frame_takes_at_most_16_ms(page, frame_times):
    view(page).get_by_label("64", exact=True).check()
    view(page).get_by_label("rotary", exact=True).check()
    for name in ("first", "second", "both"):
        times = frame_times(page, view(page).get_by_label(name), FRAME)  # draws both views
        assert 0 < median(times) <= 16, (name, sorted(times))


def test_without_javascript_the_text_stays(folder, open_page):
    page = open_page(folder / "index.html", java_script_enabled=False)
    text = page.locator(".tb-widget-alternative").first.inner_text()
    assert text.startswith("8 dials, one for each pair of coordinates, with a hand for position 20 and one for")
