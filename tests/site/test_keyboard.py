"""Without a mouse: the Tab key through whole pages and back, and everything a reader does, with keys."""

import os

import pytest

#: The chapter with most kinds of controls; WALK=all walks through every page.
RICHEST = "chapters/09_training_and_decoding"
#: Marks what can be focused, in the order of the document, and gives how it looks without focus.
LIST_STOPS = """() => {
    const selector = "a[href], button, input, select, textarea, summary, [tabindex]";
    const shown = (e) => e.checkVisibility({ visibilityProperty: true }) && !e.closest("[inert]");
    const inWay = (e) => !e.disabled && e.tabIndex >= 0 && shown(e);
    const chosen = (e) => {  // Tab stops once at a group of radio buttons, where one is chosen
        if (e.type !== "radio") return true;
        const group = [...(e.form ?? document).querySelectorAll("input[type=radio]")]
            .filter((other) => other.name === e.name && inWay(other));
        return e === (group.find((other) => other.checked) ?? e);
    };
    const stops = [...document.querySelectorAll(selector)]
        .filter((e) => e.id !== "pst-back-to-top")  // comes and goes with the direction in which a page moves
        .filter((e) => inWay(e) && chosen(e));
    stops.forEach((e, i) => { e.dataset.stop = i; });
    return stops.map((e) => e.outerHTML.slice(0, 160));
}"""
#: Describes what has the focus: its number, and what is wrong with it.
LOOK_AT_FOCUS = """async () => {
    const e = document.activeElement;
    if (!e || e === document.body) return { stop: null, problems: [] };
    const moving = document.getAnimations().filter(({ effect }) => effect.getTiming().iterations !== Infinity);
    await Promise.all(moving.map((animation) => animation.finished));  // the skip link slides in and out
    const problems = [];
    const style = getComputedStyle(e);
    const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1
        && !/, 0\\)$|transparent/.test(style.outlineColor);
    if (!ring && style.boxShadow === "none") problems.push("no mark of focus");
    const boxes = [...e.getClientRects()].filter((box) => box.width > 0 && box.height > 0);
    const inside = boxes.find((b) => b.right > 0 && b.left < innerWidth && b.bottom > 0 && b.top < innerHeight);
    if (!inside) problems.push("outside the window");
    else {
        const x = (Math.max(inside.left, 0) + Math.min(inside.right, innerWidth)) / 2;
        const y = (Math.max(inside.top, 0) + Math.min(inside.bottom, innerHeight)) / 2;
        const top = document.elementFromPoint(x, y);
        if (top && !e.contains(top) && !top.contains(e) && !top.closest("label")?.contains(e))
            problems.push(`covered by ${top.outerHTML.slice(0, 120)}`);
    }
    const stop = e.dataset.stop === undefined ? null : Number(e.dataset.stop);
    return { stop, html: e.outerHTML.slice(0, 160), problems };
}"""


def walk(page, key, stops):
    """Press a key until it leads out of the page or round to its beginning; give the stops and what was wrong."""
    numbers, problems = [], []
    for _ in range(len(stops) + 20):
        page.keyboard.press(key)
        found = page.evaluate(LOOK_AT_FOCUS)
        if "html" not in found or [found["stop"]] == numbers[:1]:
            return numbers, problems
        if "pst-back-to-top" in found["html"]:
            continue
        if found["stop"] is None:
            problems.append(f"no known control: {found['html']}")
        numbers.append(found["stop"])
        problems += [f"{problem}: {found['html']}" for problem in found["problems"]]
    return numbers, [*problems, "the page could not be left"]


@pytest.fixture(params=["narrow", "wide"])
def width(request):
    return {"narrow": 390, "wide": 1280}[request.param]


def test_tab_reaches_everything_in_order_and_leads_back(visit, name, width):
    if name != RICHEST and os.environ.get("WALK") != "all":
        pytest.skip("WALK=all walks through every page")
    page = visit(name, width=width).page
    page.evaluate("document.querySelectorAll('main details').forEach((box) => { box.open = true; })")
    stops = page.evaluate(LIST_STOPS)
    there, problems = walk(page, "Tab", stops)
    assert problems == [], "\n".join(problems)
    missed = [stops[i] for i in sorted(set(range(len(stops))) - set(there))]
    assert missed == []
    assert there == sorted(there)
    back, problems = walk(page, "Shift+Tab", stops)
    assert problems == [], "\n".join(problems)
    assert back == there[::-1]


def test_skip_link_is_first_and_leads_past_the_menus(visit):
    page = visit(RICHEST).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent.trim()") == "Skip to main content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("Boolean(document.activeElement.closest('main'))")
    assert page.evaluate("!document.activeElement.closest('.bd-sidebar-primary')")


def test_menus_of_the_header_open_and_close(visit):
    page = visit(RICHEST).page
    for menu in page.locator(".article-header-buttons .dropdown-toggle").all():
        menu.focus()
        menu.press("Enter")
        assert menu.get_attribute("aria-expanded") == "true"
        page.keyboard.press("ArrowDown")
        assert page.evaluate("document.activeElement.matches('.dropdown-menu.show .dropdown-item')")
        page.keyboard.press("Escape")
        assert menu.get_attribute("aria-expanded") == "false"
        assert menu.evaluate("menu => menu === document.activeElement")


def test_search_opens_closes_and_gives_the_focus_back(visit, width):
    page = visit(RICHEST, width=width).page
    opener = page.locator(".search-button__button:visible").first
    opener.focus()
    opener.press("Enter")
    page.wait_for_function("document.activeElement.matches('#pst-search-dialog input[type=search]')")
    page.keyboard.press("Escape")
    page.locator("#pst-search-dialog").wait_for(state="hidden")
    page.wait_for_function("document.activeElement.matches('.search-button__button')")
    assert opener.evaluate("opener => opener === document.activeElement")


def test_a_solution_a_cell_a_slider_and_the_theme(visit, server):
    page = visit(RICHEST, base=server).page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    solution = page.locator("main details > summary").first
    solution.focus()
    solution.press("Enter")
    assert page.locator("main details").first.evaluate("box => box.open")

    button = page.locator("main .cell_input .copybtn").first
    button.focus()
    button.press("Enter")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.strip() == page.locator("main .cell_input pre").first.inner_text().strip() != ""

    slider = page.locator(".tb-widget input[type=range]").first
    slider.focus()
    before = slider.input_value()
    slider.press("Home" if before == slider.get_attribute("max") else "ArrowRight")
    assert slider.input_value() != before

    themes = set()
    switch = page.locator(".article-header-buttons .theme-switch-button")
    switch.focus()
    for _ in range(3):  # light, dark, as the system says
        switch.press("Enter")
        themes.add(page.evaluate("document.documentElement.dataset.theme"))
    assert themes == {"light", "dark"}


def test_on_to_the_next_chapter(visit):
    page = visit(RICHEST).page
    onward = page.locator(".prev-next-area a.right-next")
    onward.focus()
    onward.press("Enter")
    page.wait_for_url("**/chapters/10_*")
