"""Next token at work in a browser, offline from a file: dials, keyboard, draws, both widths, both themes."""

import math
from statistics import median

import pytest
import torch
from axe_playwright_python.sync_playwright import Axe

from transformer_book.widgets import NextToken

PAGE = """---
kernelspec: {name: python3, display_name: Python 3}
file_format: mystnb
---
# Next token

```{code-cell} ipython3
from transformer_book.widgets import NextToken
from transformer_book.widgets.next_token import stored_distributions

odd = dict(stored_distributions()[0], text="<b>bold</b> & </script>")
NextToken([*stored_distributions()[:2], odd])
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


def said(page):
    return page.locator(".tb-widget p[aria-live]").inner_text()


def check(page, widget):
    """Hold what the page says against Python."""
    p = widget.probabilities()
    before, after = (float(torch.special.entr(q).sum() / math.log(2)) for q in (widget.logits().softmax(0), p))
    text = said(page)
    assert text.startswith(f"{int((p > 0).sum()):,} of 49,152 tokens may be drawn;")
    assert f"Entropy {before:.2f} bits before, {after:.2f} after." in text


def test_dials_by_keyboard_say_what_python_says(page):
    widget = NextToken()
    check(page, widget)
    page.get_by_role("slider", name="temperature").press("ArrowLeft")
    widget.temperature = 0.95
    check(page, widget)
    page.get_by_role("slider", name="top-p").press("Home")
    for _ in range(40):
        page.get_by_role("slider", name="top-p").press("ArrowRight")
    widget.top_p = 0.45
    check(page, widget)
    assert page.locator(".tb-next-bars li.cut").count() > 5
    page.get_by_role("combobox", name="text").select_option("1")
    widget.chosen = 1
    check(page, widget)
    page.get_by_role("slider", name="top-k").press("Home")
    widget.top_k = 1
    check(page, widget)
    page.get_by_role("button", name="Reset").press("Enter")
    widget.temperature, widget.top_k, widget.top_p = 1.0, 0, 1.0
    check(page, widget)


def test_draws_are_those_of_python(page):
    widget = NextToken()
    for number in range(1, 6):
        page.get_by_role("button", name="Draw a token").click()
        token = widget.drawn(number).replace(" ", "␣").replace("\n", "↵")
        assert said(page).endswith(f"Last drawn: {token}")


def test_texts_are_shown_as_they_are(page):
    page.get_by_role("combobox", name="text").select_option("2")
    assert page.locator(".tb-next-prompt").inner_text().startswith("<b>bold</b> & </script>")


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")])
def test_fits_the_screen_and_axe_finds_nothing(folder, open_page, width, theme):
    page = open_page(folder / "index.html", width=width, theme=theme)
    page.get_by_role("slider", name="top-p").press("PageDown")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page, context=".tb-widget", options={"preload": False, "resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()


FRAME = """(input, i) => {
    input.value = input.min * 1 + ((i * 7) % 19) / 19 * (input.max - input.min);
    input.dispatchEvent(new Event("input", { bubbles: true }));
}"""


def test_a_frame_takes_at_most_16_ms(page, frame_times):
    for name in ("temperature", "top-p"):
        times = frame_times(page, page.get_by_role("slider", name=name), FRAME)
        assert 0 < median(times) <= 16, (name, sorted(times))


def test_without_javascript_the_text_stays(folder, open_page):
    page = open_page(folder / "index.html", java_script_enabled=False)
    text = page.locator(".tb-widget-alternative").inner_text()
    assert text.startswith(
        "after 'The capital of France is' the model's most probable token is ' Paris' with 0.773"
    )
