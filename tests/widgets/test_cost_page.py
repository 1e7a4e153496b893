"""Cost calculator at work in a browser, offline from a file: every dial, keyboard, both widths, both themes."""

from statistics import median

import pytest
from axe_playwright_python.sync_playwright import Axe

from transformer_book.cost import PRESETS
from transformer_book.widgets import CostCalculator

PAGE = """---
kernelspec: {name: python3, display_name: Python 3}
file_format: mystnb
---
# Costs

```{code-cell} ipython3
from transformer_book.widgets import CostCalculator

calculator = CostCalculator()
calculator
```

```{code-cell} ipython3
calculator
```
"""


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


def fact(page, name, number=0):
    return view(page, number).locator("dl > div", has_text=name).locator("dd").inner_text()


def row(page, part):
    cells = view(page).locator("tbody tr", has=page.get_by_role("rowheader", name=part, exact=True)).locator("td")
    return [float(text.removesuffix(" %")) for text in cells.all_inner_texts()]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("mode", ["training step", "forward pass", "one token, cached"])
def test_shows_what_python_computes(page, name, mode):
    one = view(page)
    one.get_by_label("model", exact=True).select_option(name)
    one.get_by_label(mode, exact=True).check()
    modes = {"training step": "training", "forward pass": "reading", "one token, cached": "writing"}
    widget = CostCalculator(name, modes[mode])
    flops, seconds, shares = widget.flops(), widget.seconds(), widget.memory_share()
    for part, count in flops.items():
        expected = (100 * count / sum(flops.values()), 100 * seconds[part] / sum(seconds.values()))
        assert row(page, part) == pytest.approx([*expected, 100 * shares[part]], abs=0.51)
    assert fact(page, "parameters") == fact(page, "parameters", 1)  # one model, two views
    assert one.get_by_label("model", exact=True).input_value() == name


def test_every_dial_answers_the_keyboard_and_is_shown_at_its_place(page):
    one = view(page)
    one.get_by_label("tied matrices", exact=True).uncheck()
    dials = one.locator("input[type=range]:visible")
    assert dials.count() == 10
    for number in range(10):
        dial = dials.nth(number)
        before = dial.get_attribute("aria-valuetext")
        dial.press("ArrowRight")
        after = dial.get_attribute("aria-valuetext")
        if after == before:  # it stood at its end, as keys and values with as many heads as there are
            dial.press("ArrowLeft")
            after = dial.get_attribute("aria-valuetext")
        assert after != before
    assert one.get_by_label("model", exact=True).input_value() == ""  # a model of your own


def test_what_belongs_to_the_encoder_goes_with_it(page):
    one = view(page)
    one.get_by_label("encoder as well", exact=True).uncheck()
    assert not one.get_by_label("source length", exact=True).is_visible()
    assert not one.get_by_label("source vocabulary", exact=True).is_visible()
    assert one.get_by_label("length", exact=True).is_visible()


def test_heads_follow_the_width(page):
    one = view(page)
    for key in ("Home", "End", "PageUp", "ArrowLeft", "Home"):
        one.get_by_label("width", exact=True).press(key)
        width, heads, shared = (
            int(one.get_by_label(name, exact=True).get_attribute("aria-valuetext").replace(",", ""))
            for name in ("width", "heads", "key–value heads")
        )
        assert width % heads == heads % shared == 0


def test_a_machine_of_the_reader_s_is_typed_and_checked(page):
    one = view(page)
    one.get_by_label("yours", exact=True).check()
    before = one.locator("figcaption .tb-number").nth(1).inner_text()
    for name, text in (("GFLOP/s", "1e5"), ("GB/s", "1e4")):
        one.get_by_label(name, exact=True).fill(text)
    assert one.locator("figcaption .tb-number").nth(1).inner_text() != before
    one.get_by_label("GB/s", exact=True).fill("fast")
    assert one.get_by_role("alert").inner_text() == "expected a number above 0"
    one.get_by_label("the book's", exact=True).check()
    assert not one.get_by_label("GB/s", exact=True).is_visible()


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")])
def test_fits_the_screen_and_axe_finds_nothing(folder, open_page, width, theme):
    page = open_page(folder / "index.html", width=width, theme=theme)
    view(page).get_by_label("yours", exact=True).check()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page, context=".tb-widget", options={"preload": False, "resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()


FRAME = """(input, i) => {
    input.value = input.min * 1 + ((i * 7) % 19) / 19 * (input.max - input.min);
    input.dispatchEvent(new Event("input", { bubbles: true }));
}"""


def test_a_frame_takes_at_most_16_ms(page, frame_times):
    for name in ("length", "width", "layers"):
        times = frame_times(page, view(page).get_by_label(name, exact=True), FRAME)  # draws both views
        assert 0 < median(times) <= 16, (name, sorted(times))


def test_without_javascript_the_text_stays(folder, open_page):
    page = open_page(folder / "index.html", java_script_enabled=False)
    text = page.locator(".tb-widget-alternative").first.inner_text()
    assert text.startswith("a Transformer of 63,121,544 parameters")
