"""Every page in a real browser: two widths, two themes, opened as a file and from a server, no network."""

import json

import pytest
from colours import contrast

NARROW_PIXELS = 648
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


#: Uses every control of every widget once, and opens what is folded.
STIR = """() => {
    for (const box of document.querySelectorAll("main details")) box.open = true;
    const tell = (e) => ["input", "change"].forEach((type) => e.dispatchEvent(new Event(type, { bubbles: true })));
    for (const widget of document.querySelectorAll(".tb-widget")) {
        for (const e of widget.querySelectorAll("input, select, button")) {
            if (e.disabled || !e.checkVisibility()) continue;
            if (e.type === "range") e.value = e.value === e.max ? e.min : e.max;
            if (e.type === "text") e.value = "#";  // what no widget expects: problems are texts, too
            if (e.tagName === "SELECT") e.selectedIndex = e.options.length - 1;
            if (["range", "text", "select-one"].includes(e.type)) tell(e);
            else e.click();
        }
    }
}"""


def test_stirred_chapters_stay_accessible(visit, chapter):
    opened = visit(chapter)
    opened.page.evaluate(STIR)
    opened.page.wait_for_timeout(200)  # the live model gives way while it computes
    found = {}
    for theme in ("light", "dark"):
        opened.page.emulate_media(color_scheme=theme)
        opened.page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)
        found[theme] = opened.serious_violations(within="main details, .tb-widget")
    assert found == {"light": [], "dark": []}


def test_menus_and_search_are_accessible_while_open(visit):
    opened = visit(CHAPTER)
    for menu in opened.page.locator(".article-header-buttons .dropdown-toggle").all():
        menu.click()
        assert opened.serious_violations(within=".bd-header-article") == []
    opened.page.keyboard.press("Escape")
    opened.page.keyboard.press("Control+k")
    opened.page.locator("#pst-search-dialog input[type=search]").fill("softmax")
    assert opened.serious_violations(within="#pst-search-dialog") == []
    opened.page.keyboard.press("Enter")
    opened.page.locator("ul.search a").first.wait_for()
    assert opened.serious_violations(within="#search-results") == []


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


#: Texts and lines of the diagrams: what kind, what they say, their colour, and that of what lies behind.
DIAGRAM_PARTS = """() => {
    const clear = (colour) => colour === "none" || /, 0\\)$/.test(colour);
    const paper = getComputedStyle(document.documentElement).getPropertyValue("--tb-paper").trim();
    const behind = (x, y, self) => {
        for (const e of document.elementsFromPoint(x, y)) {
            if (!e.closest("svg.tb-figure")) break;
            if (e === self || self.contains(e) || e.matches("svg, text, tspan")) continue;
            const { fill, fillOpacity } = getComputedStyle(e);
            if (!clear(fill) && fillOpacity === "1") return fill;
        }
        return paper;
    };
    const parts = [];
    for (const svg of document.querySelectorAll("svg.tb-figure")) {
        if (!svg.checkVisibility()) continue;
        svg.scrollIntoView({ block: "center" });
        for (const e of svg.querySelectorAll("text, tspan")) {
            const own = [...e.childNodes].filter((n) => n.nodeType === 3 && n.textContent.trim());
            if (!own.length) continue;
            const range = document.createRange();
            range.selectNodeContents(own[0]);
            const box = range.getBoundingClientRect();
            const { fill, opacity } = getComputedStyle(e);
            const under = behind(box.x + box.width / 2, box.y + box.height / 2, e);
            parts.push(["text", svg.id, own[0].textContent.trim(), fill, under, opacity]);
        }
        for (const e of svg.querySelectorAll("path, line, polyline, rect, circle, ellipse, polygon")) {
            if (e.closest("defs, marker, clipPath, pattern")) continue;
            const { stroke, opacity, strokeOpacity } = getComputedStyle(e);
            if (clear(stroke) || e.outerHTML.includes("stroke:var(--tb-paper")) continue;  // a gap, not a line
            const strength = String(opacity * strokeOpacity);
            parts.push(["line", svg.id, e.outerHTML.slice(0, 120), stroke, paper, strength]);
        }
    }
    return parts;
}"""


def test_diagrams_follow_the_theme_and_can_be_seen_in_both(visit, chapter):
    opened = visit(chapter)
    shown = {}
    for theme in ("light", "dark"):
        opened.page.emulate_media(color_scheme=theme)
        opened.page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)
        shown[theme] = opened.page.evaluate(DIAGRAM_PARTS)
    assert shown["light"]
    used = {theme: [(part[1], part[3]) for part in parts] for theme, parts in shown.items()}
    for diagram in {name for name, _ in used["light"]}:
        light, dark = ({colour for name, colour in used[theme] if name == diagram} for theme in used)
        assert light != dark, diagram
    faint = [
        (theme, round(contrast(colour, behind), 2), *part[:3])
        for theme, parts in shown.items()
        for part in parts
        for kind, _, _, colour, behind, opacity in [part]
        if opacity != "1" or contrast(colour, behind) < (4.5 if kind == "text" else 3)
    ]
    assert faint == []


def test_figures_are_wide_on_a_screen_and_narrow_on_a_phone(visit, site, chapter):
    page = visit(chapter).page
    read = """async () => {
        const images = [...document.querySelectorAll(".cell_output img:not(.tb-widget img)")];
        for (const image of images) { image.loading = "eager"; await image.decode(); }
        return images.map((image) => {
            const { width, height } = image.getBoundingClientRect();
            const { paddingTop, borderTopWidth } = getComputedStyle(image);
            const frame = 2 * (parseFloat(paddingTop) + parseFloat(borderTopWidth));
            const stretched = (width - frame) / (height - frame) * image.naturalHeight / image.naturalWidth;
            return [image.currentSrc, image.naturalWidth, width, stretched];
        });
    }"""
    wide = page.evaluate(read)
    page.set_viewport_size({"width": 390, "height": 900})
    narrow = page.evaluate(read)
    assert wide
    for (source, natural, _, stretched), (on_phone, pixels, width, on_phone_too) in zip(wide, narrow, strict=True):
        assert source != on_phone
        assert stretched == pytest.approx(1, abs=0.01)
        assert on_phone_too == pytest.approx(1, abs=0.01)
        assert natural > pixels == NARROW_PIXELS
        assert width >= 330  # of which tests/experiments/test_figures.py computes the size of the letters


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
