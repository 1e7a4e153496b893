"""Data flow at work in a browser, offline from a file: pointer, keyboard, playing, both widths, both themes."""

import pytest
from widget_pages import WidgetPage, notebook_page, said

from transformer_book.widgets import DataFlow

MODEL = """
from transformer_book.experiments.date_models import new_reader
from transformer_book.tasks.dates import Dates
from transformer_book.widgets import DataFlow

model = new_reader(3, num_encoder_layers=2, num_decoder_layers=2)
flow = DataFlow(["3 may 2026", "poniedziałek, 23 listopada 2026"], model, Dates())
"""
PAGE = notebook_page("Data flow", f"{MODEL}\nflow")


@pytest.fixture(scope="module")
def twin() -> DataFlow:
    """Give the same widget in Python."""
    names = {}
    exec(MODEL, names)
    return names["flow"]


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def number(x):
    return f"{x:.2f}".replace("-0.00", "0.00").replace("-", "−")


def test_every_stop_shows_what_python_computes(page, twin):
    twin.chosen = 0
    dial = page.get_by_label("stop", exact=True)
    dial.press("Home")
    for i, name in enumerate(twin.names()):
        row = twin.row(i)
        text = said(page)
        assert text.startswith(f"Stop {i + 1} of {len(twin.names())}, {name}. Position ")
        if name == "decoder logits":
            assert f"“{twin.symbols[int(row.argmax())]}” {number(float(row.max()))}" in text
        elif name == "decoder probabilities":
            assert f"“{twin.symbols[int(row.argmax())]}” {float(row.max()):.3f}" in text
        else:
            assert f"norm {number(float(row.norm()))}, " in text
            first = page.locator(".tb-flow-numbers").inner_text().split()
            assert [float(x.replace("−", "-")) for x in first[:8]] == pytest.approx(row[:8].tolist(), abs=0.0051)
        dial.press("ArrowRight")


def test_buttons_step_and_the_places_are_followed(page, twin):
    press(page, "Rewind") if page.get_by_role("button", name="Rewind").is_enabled() else None
    assert page.get_by_role("button", name="Back", exact=True).is_disabled()
    press(page, "Step")
    press(page, "Step")
    press(page, "Back")
    assert ", encoder position. Position 4, which reads “a”" in said(page)
    page.get_by_label("encoder: follow").press("End")
    assert ", encoder position. Position 10, which reads “6”" in said(page)
    page.locator('[data-stop="18"]').press("Enter")
    assert twin.names()[18] == "decoder 1 attention"
    assert ", decoder 1 attention. Position 6, which writes " in said(page)
    page.get_by_label("decoder: writes").press("Home")
    assert "Position 1, which writes " in said(page)
    page.get_by_label("reads").select_option("1")
    assert page.locator("output").first.inner_text() == "".join(twin.inputs[1]["target"][:-1])
    page.locator('[data-stop="0"]').click()
    canvas = page.locator("canvas")
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] / 2, "y": 15 * 6.5})
    assert "Position 7, which reads “z”" in said(page)


def test_two_stops_are_compared(page, twin):
    twin.chosen = 0
    page.locator('[data-stop="2"]').click()
    press(page, "Pin to compare")
    assert page.get_by_role("button", name="Unpin").is_visible()
    page.locator('[data-stop="5"]').click()
    a, b = twin.row(2), twin.row(5)
    cosine = float(a @ b / a.norm() / b.norm())
    text = page.locator(".tb-flow-compared").inner_text()
    assert f"cosine {number(cosine)}, difference of norm {number(float((a - b).norm()))}." in text
    page.locator(f'[data-stop="{len(twin.names()) - 1}"]').click()
    assert "cannot be compared" in page.locator(".tb-flow-compared").inner_text()


def test_it_plays_until_the_end_and_pauses(page, twin):
    last = len(twin.names())
    page.locator(f'[data-stop="{last - 3}"]').click()
    press(page, "Play")
    page.wait_for_function(f"document.querySelector('p[aria-live]').innerText.startsWith('Stop {last - 1} of')")
    press(page, "Pause")
    page.wait_for_timeout(1500)
    assert said(page).startswith(f"Stop {last - 1} of")
    press(page, "Play")
    page.wait_for_function(f"document.querySelector('p[aria-live]').innerText.startsWith('Stop {last} of')")
    assert page.get_by_role("button", name="Play", exact=True).is_visible()


class TestPage(WidgetPage):
    ALTERNATIVES = {0: "a Transformer reads '3 may 2026' and writes '"}

    def crowd(self, page):
        page.get_by_label("reads").select_option("1")

    def controls(self, page):
        page.get_by_label("reads").select_option("1")
        return {name: page.get_by_label(name, exact=True) for name in ("stop", "encoder: follow")}
