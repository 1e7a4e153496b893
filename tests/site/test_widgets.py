"""Every widget of every chapter answers to mouse and keyboard."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What a reader sees of a widget: its elements and texts, without the values of its controls and without tab stops.
LOOK = """widget => widget.innerHTML.replace(/ tabindex="[^"]*"/g, "")"""
# Keys that work each kind of control; a range may stand at its end, a radio button be chosen already.
KEYS = {
    "range": ("Home", "ArrowRight"),
    "radio": ("Space", "ArrowRight"),
    "checkbox": ("Space",),
    "button": ("Enter",),
    "text": ("1",),  # a digit belongs into every field there is
}


def controls(widget):
    found = widget.locator("input, select, button")
    found.evaluate_all("all => all.forEach((control, i) => control.setAttribute('data-control', i))")
    return [widget.locator(f'[data-control="{i}"]') for i in range(found.count())]


def live_controls(widget):
    """Controls that can be used now, each looked at when its turn comes: one may hide another."""
    return (control for control in controls(widget) if control.is_visible() and control.is_enabled())


def kind_of(control):
    return control.evaluate("control => control.type")


def is_chosen(control):
    """Tell whether a control stands for what is shown already: there is nothing to choose then."""
    return control.get_attribute("aria-current") or (kind_of(control) == "radio" and control.is_checked())


@pytest.fixture
def widgets(visit, chapter):
    page = visit(chapter).page
    found = page.locator(".tb-widget").all()
    imported = "transformer_book.widgets" in (ROOT / f"{chapter}.md").read_text(encoding="utf-8")
    assert bool(found) == imported, f"{chapter}: expected {'a' if imported else 'no'} widget, as its source says"
    return found


def test_mounted(widgets):
    for widget in widgets:
        assert widget.get_attribute("data-tb-mounted") == "true"
        assert widget.locator(".tb-root").first.is_visible()
        assert widget.locator(".tb-widget-alternative").is_hidden()


def test_every_control_has_a_name(widgets):
    for widget in widgets:
        for control in controls(widget):
            assert control.evaluate("c => (c.ariaLabel || c.labels?.[0]?.innerText || c.innerText).trim()")


def test_every_control_answers_to_the_keyboard(widgets):
    for widget in widgets:
        for control in live_controls(widget):
            kind = kind_of(control)
            if kind == "button" and is_chosen(control):
                continue
            looks = {widget.evaluate(LOOK)}
            control.focus()
            for key in KEYS.get(kind, ()):
                control.press(key)
                looks.add(widget.evaluate(LOOK))
            if control.evaluate("control => control.tagName") == "SELECT":  # its list opens outside the page
                for option in (1, 0):
                    control.select_option(index=option)
                    looks.add(widget.evaluate(LOOK))
            if kind == "button" and control.inner_text() == "Pause":  # what plays on changes controls to come
                control.press("Enter")
            assert len(looks) > 1, control.evaluate("control => control.outerHTML")


def test_every_control_answers_to_the_mouse(widgets):
    for widget in widgets:
        for control in live_controls(widget):
            chosen_elsewhere = control.evaluate("control => control.tagName") == "SELECT"  # see the keyboard
            if chosen_elsewhere or kind_of(control) == "text" or is_chosen(control):
                continue
            looks = {widget.evaluate(LOOK)}
            for share in (0.1, 0.9):
                if control.is_enabled():  # who goes to the first step is done after one click
                    box = control.bounding_box()  # a button that says something else now has another width
                    control.click(position={"x": box["width"] * share, "y": box["height"] / 2})
                looks.add(widget.evaluate(LOOK))
            assert len(looks) > 1, control.evaluate("control => control.outerHTML")


def test_every_grid_answers_to_mouse_and_keyboard(widgets):
    for widget in widgets:
        for grid in widget.locator("[role=grid]").all():
            cells = grid.locator("[role=gridcell]")
            looks = set()
            for cell in (cells.first, cells.last):
                cell.hover()
                looks.add(widget.evaluate(LOOK))
            assert len(looks) > 1, "mouse"
            cells.first.focus()
            looks = {widget.evaluate(LOOK)}
            for key in ("ArrowRight", "ArrowDown"):
                widget.page.keyboard.press(key)
                looks.add(widget.evaluate(LOOK))
            assert len(looks) > 1, "keyboard"
