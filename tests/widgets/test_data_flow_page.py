"""Data flow at work in a browser, offline from a file: pointer, keyboard, playing, both widths, both themes."""

from statistics import median

import pytest
from axe_playwright_python.sync_playwright import Axe

from transformer_book.widgets import DataFlow

MODEL = """
from transformer_book.experiments.date_models import new_reader
from transformer_book.tasks.dates import Dates
from transformer_book.widgets import DataFlow

model = new_reader(3, num_encoder_layers=2, num_decoder_layers=2)
flow = DataFlow(["3 may 2026", "poniedziałek, 23 listopada 2026"], model, Dates())
"""
PAGE = f"""---
kernelspec: {{name: python3, display_name: Python 3}}
file_format: mystnb
---
# Data flow

```{{code-cell}} ipython3
{MODEL}
flow
```
"""


@pytest.fixture(scope="module")
def folder(make_project, sphinx):
    source = make_project(PAGE)
    target = source.with_name("html")
    done = sphinx(source, target)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture(scope="module")
def twin() -> DataFlow:
    """Give the same widget in Python."""
    names = {}
    exec(MODEL, names)
    return names["flow"]


@pytest.fixture
def page(folder, open_page):
    return open_page(folder / "index.html")


def said(page):
    return page.locator(".tb-widget p[aria-live]").inner_text()


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


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")])
def test_fits_the_screen_and_axe_finds_nothing(folder, open_page, width, theme):
    page = open_page(folder / "index.html", width=width, theme=theme)
    page.get_by_label("reads").select_option("1")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page, context=".tb-widget", options={"preload": False, "resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()


FRAME = """(input, i) => {
    input.value = input.min * 1 + ((i * 7) % 19) / 19 * (input.max - input.min);
    input.dispatchEvent(new Event("input", { bubbles: true }));
}"""


def test_a_frame_takes_at_most_16_ms(page, frame_times):
    page.get_by_label("reads").select_option("1")
    for name in ("stop", "encoder: follow"):
        times = frame_times(page, page.get_by_label(name, exact=True), FRAME)
        assert 0 < median(times) <= 16, (name, sorted(times))


def test_without_javascript_the_text_stays(folder, open_page):
    page = open_page(folder / "index.html", java_script_enabled=False)
    text = page.locator(".tb-widget-alternative").inner_text()
    assert text.startswith("a Transformer reads '3 may 2026' and writes '")
