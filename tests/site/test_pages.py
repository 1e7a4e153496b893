"""Every page in a real browser: two widths, two themes, opened as a file and from a server, no network."""

import json

import pytest

FRONT, CHAPTER = "book/intro", "chapters/05_scaled_dot_product"


@pytest.mark.parametrize("width", [1280, 390])
def test_page_is_accessible_and_fits(visit, name, width):
    opened = visit(name, width=width)
    found = {}
    for theme in ("light", "dark"):
        opened.page.emulate_media(color_scheme=theme)
        opened.page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)
        found[theme] = opened.serious_violations() + opened.overflow()
    assert found == {"light": [], "dark": []}


def test_formulas_show(visit, name):
    page = visit(name).page
    # Heights, not widths: an empty formula ($\,$) may be narrow, but none is flat.
    flat = page.evaluate(
        """() => [...document.querySelectorAll("main .katex-html")]
            .filter((formula) => !formula.closest("details:not([open])") && formula.offsetHeight === 0)
            .map((formula) => formula.textContent)"""
    )
    assert flat == []
    text = page.locator("main").inner_text()
    assert not any(raw in text for raw in ("$$", "\\(", "\\[", "\\frac", "\\sqrt", "{eq}", "{doc}", "{term}"))
    if page.locator("main .katex").count():
        fonts = page.evaluate(
            """async () => { await document.fonts.ready;
                return [...document.fonts].filter((font) => font.family.startsWith("KaTeX"))
                    .map((font) => font.status); }"""
        )
        assert "loaded" in fonts
        assert "error" not in fonts


@pytest.mark.parametrize("name_there", [FRONT, CHAPTER, "search"])
def test_served_pages_are_as_quiet_as_files(visit, server, name_there):
    opened = visit(name_there, base=server)
    assert opened.page.locator("main h1:visible").count() == 1


@pytest.mark.parametrize("over", ["file", "http"])
def test_search_finds_the_chapter(visit, server, over):
    page = visit(FRONT, base=server if over == "http" else None).page
    page.keyboard.press("Control+k")
    page.locator("#pst-search-dialog input[type=search]").fill("softmax")
    page.keyboard.press("Enter")
    result = page.locator(f"ul.search a[href*='{CHAPTER}']").first
    result.wait_for()
    result.click()
    page.wait_for_url(f"**/{CHAPTER}.html*")


def test_theme_can_be_switched_by_hand(visit):
    page = visit(CHAPTER).page
    colours = set()
    for _ in range(3):  # light, dark, as the system says
        page.locator(".article-header-buttons .theme-switch-button").click()
        colours.add(page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--tb-ink')"))
    assert len(colours) == 2


def test_diagrams_follow_the_theme(visit, chapter):
    opened = visit(chapter)
    read = """() => [...document.querySelectorAll("svg.tb-figure")].map((svg) =>
        [...new Set([...svg.querySelectorAll("*")].flatMap((e) =>
            [getComputedStyle(e).fill, getComputedStyle(e).stroke]))].join())"""
    light = opened.page.evaluate(read)
    opened.page.emulate_media(color_scheme="dark")
    opened.page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    dark = opened.page.evaluate(read)
    assert light
    assert all(one != other for one, other in zip(light, dark, strict=True))


@pytest.mark.parametrize(
    ("where", "box"), [("book/claims", ".pst-scrollable-table-container"), (CHAPTER, "div.math > .tb-scroll")]
)
def test_wide_boxes_are_tab_stops_only_while_they_scroll(visit, where, box):
    page = visit(where, width=390).page
    first = page.locator(f"{box}[tabindex='0']").first
    assert first.get_attribute("aria-label")
    first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.scrollLeft > 0")
    page.set_viewport_size({"width": 2000, "height": 900})
    page.wait_for_function("box => document.querySelector(box).tabIndex !== 0", arg=box)


def test_notebook_downloads(visit, server, chapter):
    page = visit(chapter, base=server).page
    page.locator("button[aria-label='Download this page']").click()
    link = page.locator("a.btn-download-notebook-button")
    assert link.get_attribute("download") is not None  # not every server says that a notebook is to be saved
    with page.expect_download() as download:
        link.click()
    notebook = json.loads(download.value.path().read_text(encoding="utf-8"))
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert "transformer_book" in code[0]
    assert '"pip", "install"' in code[0]
