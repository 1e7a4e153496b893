"""What every page with a widget is tested for; a widget's file holds its page and what only that widget does.

A file names its page as ``PAGE`` (the fixtures `folder` and `page` build and open it) and inherits the tests::

    class TestPage(WidgetPage):
        ALTERNATIVES = {0: "12 keys and "}

        def controls(self, page):
            return {"keys": view(page).get_by_label("keys")}
"""

import re
from statistics import median
from typing import ClassVar

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page

AXE = Axe()
MOST_MS = 16
#: Moves a range to another place with each number.
FRAME = """(input, i) => {
    input.value = input.min * 1 + ((i * 7) % 19) / 19 * (input.max - input.min);
    input.dispatchEvent(new Event("input", { bubbles: true }));
}"""


def notebook_page(title: str, *cells: str) -> str:
    """Write the source of a page that runs these cells."""
    head = f"---\nkernelspec: {{name: python3, display_name: Python 3}}\nfile_format: mystnb\n---\n# {title}\n"
    return head + "".join(f"\n```{{code-cell}} ipython3\n{cell.strip()}\n```\n" for cell in cells)


def view(page: Page, number: int = 0) -> Locator:
    """Give one of the widgets on the page, in their order."""
    return page.locator(".tb-widget").nth(number)


def said(page: Page, number: int = 0) -> str:
    """Give the sentence in which a widget says what it shows."""
    return view(page, number).locator("p[aria-live]").inner_text()


class WidgetPage:
    """A page fits narrow and wide screens in both themes, axe finds nothing, frames are quick, text stands in.

    Attributes
    ----------
    FRAME
        JavaScript function of a control and 0 … 49 that makes the widget draw something else.
    ALTERNATIVES
        For each widget, what its text without JavaScript matches from its beginning.
    """

    FRAME: ClassVar[str] = FRAME
    ALTERNATIVES: ClassVar[dict[int, str]]

    def controls(self, page: Page) -> dict[str, Locator]:
        """Prepare the page and give the controls whose frames are timed, by name."""
        raise NotImplementedError

    def crowd(self, page: Page) -> None:
        """Bring the page into its widest state, and check what else must fit there."""

    @pytest.mark.parametrize(("width", "theme"), [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")])
    def test_fits_the_screen_and_axe_finds_nothing(self, folder, open_page, width, theme):
        page = open_page(folder / "index.html", width=width, theme=theme)
        self.crowd(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # No preload: it would fetch the page's style sheets, which a browser forbids to a page opened from a file.
        found = AXE.run(page, context=".tb-widget", options={"preload": False, "resultTypes": ["violations"]})
        assert found.violations_count == 0, found.generate_report()

    @pytest.mark.alone
    def test_a_frame_takes_at_most_16_ms(self, page, frame_times):
        for name, control in self.controls(page).items():
            times = frame_times(page, control, self.FRAME)
            assert 0 < median(times) <= MOST_MS, (name, sorted(times))

    def test_without_javascript_the_text_stays(self, folder, open_page):
        page = open_page(folder / "index.html", java_script_enabled=False)
        texts = page.locator(".tb-widget-alternative:visible").all_inner_texts()
        assert len(texts) == page.locator(".tb-widget").count() > 0
        for number, expected in self.ALTERNATIVES.items():
            assert re.match(expected, texts[number])
