"""Position clock at work in a browser, offline from a file: mouse, keyboard, both widths, both themes."""

import pytest
from widget_pages import WidgetPage, notebook_page, said, view

from transformer_book.widgets import PositionClock

CELL = """
from transformer_book.widgets import PositionClock

clock = PositionClock()
clock
"""
PAGE = notebook_page("Positions", CELL, "clock")
KINDS = {"sinusoidal": "sinusoids", "added": "content + sinusoids", "rotary": "rotary"}


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


class TestPage(WidgetPage):
    ALTERNATIVES = {0: "8 dials, one for each pair of coordinates, with a hand for position 20 and one for"}

    def crowd(self, page):
        view(page).get_by_label("64", exact=True).check()
        view(page).get_by_label("rotary", exact=True).check()

    def controls(self, page):
        self.crowd(page)
        return {
            name: view(page).get_by_label(name) for name in ("first", "second", "both")
        }  # both views are drawn
