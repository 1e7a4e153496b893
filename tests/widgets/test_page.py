"""The published page: what the extension writes, and the widgets at work in a browser, offline from a file."""

import re

import nbformat
import pytest
import torch
from widget_pages import WidgetPage, view

from transformer_book.attention import causal_mask, scaled_dot_product_attention

WHY, BOXED, ALONE = 0, 1, 2  # the views on the page, in order
TIMED = ((WHY, "width d"), (WHY, "keys"), (ALONE, "q₀"))


@pytest.fixture(scope="module")
def folder(built):
    return built


def page_data(folder):
    text = (folder / "index.html").read_text(encoding="utf-8")
    return re.search(r'<script type="application/json" id="tb-widget-data">(.*?)</script>', text, re.DOTALL).group(
        1
    )


def cell(page, number, matrix, row, column):
    return view(page, number).locator(f'.tb-walk-cell[data-of={matrix}][data-at="{row},{column}"]')


def test_page_asks_for_nothing_from_elsewhere_and_holds_each_thing_once(built):
    text = (built / "index.html").read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(https?:)?//', text)
    assert "require" not in text
    assert "html-manager" not in text
    assert text.count("function render(") == 2  # one module of each kind for three views
    assert len(page_data(built).encode()) < 120_000
    assert len(re.findall(r'data-tb-model="w\d"', text)) == 3
    assert "static_widgets.js" not in (built / "genindex.html").read_text(encoding="utf-8")


def test_text_of_boxes_is_plain_html(built):
    text = (built / "index.html").read_text(encoding="utf-8")
    assert '<div class="tb-text"><b>torch</b> answers 1 &lt; 2 </script></div>' in text
    assert '<div class="tb-text">a &lt; b</div>' in text
    assert "WhySqrtD" not in re.sub(r"<pre>.*?</pre>|<script.*?</script>", "", text, flags=re.DOTALL)


def test_state_survives_the_cache_and_does_not_change_from_build_to_build(project, built, sphinx):
    again = project.with_name("again")
    done = sphinx(project, again)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Using cached notebook" in done.stdout + done.stderr
    assert page_data(again) == page_data(built)


def test_other_builders_get_the_text(project, built, sphinx):
    assert built.is_dir()  # so that the notebook's outputs are in the cache
    target = project.with_name("text")
    done = sphinx(project, target, "text")
    assert done.returncode == 0, done.stdout + done.stderr
    text = " ".join((target / "index.txt").read_text(encoding="utf-8").split())
    assert "one query and 32 keys of width d = 64, scores not divided." in text
    assert text.count("Query sat gives weight") == 2
    assert "torch answers 1 < 2" in text


def notebook(model, traits, view_of="m"):
    """Write a notebook whose one output shows the model called "m"."""
    output = nbformat.v4.new_output(
        "display_data", data={"text/plain": "x", "application/vnd.jupyter.widget-view+json": {"model_id": view_of}}
    )
    cell = nbformat.v4.new_code_cell("x", outputs=[output], execution_count=1)
    state = {"m": {"model_name": model[1], "model_module": model[0], "state": traits}}
    widgets = {"application/vnd.jupyter.widget-state+json": {"state": state, "version_major": 2}}
    metadata = {"kernelspec": {"name": "python3", "display_name": "p"}, "widgets": widgets}
    title = nbformat.v4.new_markdown_cell("# Title")
    return nbformat.v4.new_notebook(cells=[title, cell], metadata=metadata)


def test_what_cannot_be_shown_is_a_warning_that_names_it(tmp_path, sphinx):
    controls = "@jupyter-widgets/controls"
    source = tmp_path / "book"
    source.mkdir()
    settings = 'extensions = ["static_widgets"]\nhtml_theme = "basic"\nnb_execution_mode = "off"\n'
    (source / "conf.py").write_text(settings, encoding="utf-8")
    (source / "index.md").write_text("# Pages\n\n```{toctree}\nslider\nboxed\ngone\n```\n", encoding="utf-8")
    pages = {
        "slider": notebook((controls, "IntSliderModel"), {}),
        "boxed": notebook((controls, "VBoxModel"), {"children": ["IPY_MODEL_lost"]}),
        "gone": notebook((controls, "HTMLModel"), {"value": ""}, view_of="other"),
    }
    for name, content in pages.items():
        nbformat.write(content, source / f"{name}.ipynb")
    done = sphinx(source, tmp_path / "html")
    assert done.returncode != 0
    assert re.search(r"slider\.ipynb.*got IntSliderModel of @jupyter-widgets/controls", done.stderr)
    assert re.search(r"boxed\.ipynb.*to hold model lost", done.stderr)
    assert re.search(r"gone\.ipynb.*to hold model other", done.stderr)


def test_paper_says_where_the_live_widget_is(tmp_path, sphinx):
    traits = {"_esm": "export default {};", "_anywidget_id": "A", "alternative": "A dial."}
    settings = (
        'extensions = ["static_widgets"]\nhtml_theme = "basic"\nnb_execution_mode = "off"\n'
        'html_baseurl = "https://book.example/here/"\nsuppress_warnings = ["myst-nb.lexer"]\n'
    )
    (tmp_path / "conf.py").write_text(settings, encoding="utf-8")
    nbformat.write(notebook(("anywidget", "AnyModel"), traits), tmp_path / "index.ipynb")
    done = sphinx(tmp_path, tmp_path / "html")
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "html" / "index.html").read_text(encoding="utf-8")
    address = "https://book.example/here/index.html"
    assert (
        f'<p class="tb-where-live">A still picture; the live one is at <a href="{address}">{address}</a>.</p>'
        in text
    )


def test_every_view_is_mounted_in_place_of_its_text(built, open_page):
    page = open_page(built / "index.html")
    boxes = page.locator(".tb-widget")
    assert [boxes.nth(i).get_attribute("data-tb-mounted") for i in range(boxes.count())] == ["true"] * 3
    assert page.locator(".tb-widget-alternative:visible").count() == 0


def test_width_dial_answers_keyboard_and_mouse(built, open_page):
    page = open_page(built / "index.html")
    why = view(page, WHY)
    dial, shown = why.get_by_label("width d"), why.locator("output").first
    before = why.locator("p[aria-live]").inner_text()
    dial.press("ArrowRight")
    assert shown.inner_text() == "96"
    assert dial.get_attribute("aria-valuetext") == "d = 96"
    assert why.locator("p[aria-live]").inner_text() != before
    box = dial.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] + 9, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    assert shown.inner_text() == "4096"
    assert "collapsed" in why.locator("p[aria-live]").inner_text()
    why.get_by_label("√d", exact=True).check()
    assert "d = 4096, scores divided by √d" in why.locator("p[aria-live]").inner_text()
    assert "Some keys are preferred" in why.locator("p[aria-live]").inner_text()
    why.get_by_label("d", exact=True).check()
    assert "almost even" in why.locator("p[aria-live]").inner_text()
    why.get_by_label("keys").press("End")
    assert "of 6.00 bits" in why.locator("p[aria-live]").inner_text()
    draw = why.get_by_role("button")
    for name in ("2 of 3", "3 of 3", "1 of 3"):
        draw.press("Enter")
        assert draw.inner_text() == f"new draw ({name})"


def test_labels_of_the_charts_never_overlap(built, open_page):
    page = open_page(built / "index.html", width=390)
    overlaps = """root => {
        const keys = root.querySelector(".tb-why-keys input");
        let count = 0;
        const look = () => {
            for (const figure of root.querySelectorAll("figure")) {
                const boxes = [...figure.querySelectorAll("text")].map(node => node.getBoundingClientRect());
                boxes.forEach((a, i) => boxes.slice(i + 1).forEach(b => {
                    count += a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom;
                }));
            }
        };
        for (let draw = 0; draw < 3; draw += 1) {
            for (const amount of [8, 20, 64]) {
                keys.value = amount;
                keys.dispatchEvent(new Event("input"));
                for (const radio of root.querySelectorAll("[type=radio]")) {
                    radio.click();
                    look();
                }
            }
            root.querySelector("button").click();
        }
        return count;
    }"""
    assert view(page, WHY).evaluate(overlaps) == 0


def test_walk_shows_what_the_mouse_points_at_and_keeps_what_is_clicked(built, open_page):
    page = open_page(built / "index.html")
    walk = view(page, ALONE)
    said = walk.locator(".tb-walk-sum")
    kept = said.inner_text()
    assert kept.startswith("Query sat gives weight 0.14 to the, 0.48 to cat, 0.38 to sat, 0.00 to down.")
    assert "0.14 · 1.00 + 0.48 · 0.00 + 0.38 · (−1.00) + 0.00 · 0.30 = −0.24" in kept

    cell(page, ALONE, "weights", 1, 0).hover()
    score, weight = said.inner_text().split("\n\n")
    assert score.startswith(
        "Score of query cat and key the = 0.20 · 0.80 + (−1.00) · 0.10 + 0.80 · (−0.50) = −0.34"
    )
    assert weight.endswith("= 0.56")
    lit = {"query": "1,", "key": ",0", "scores": "1,"}
    for matrix, part in lit.items():
        places = walk.locator(f".tb-walk-cell.lit[data-of={matrix}]").evaluate_all(
            "cells => cells.map(c => c.dataset.at)"
        )
        assert places
        assert all(part in place for place in places)
    assert walk.locator(".tb-walk-cell.chosen").get_attribute("data-at") == "1,0"

    page.mouse.move(2, 2)
    assert said.inner_text() == kept
    cell(page, ALONE, "scores", 0, 3).click()
    page.mouse.move(2, 2)
    assert "The mask bars query the from key down" in said.inner_text()
    assert view(page, BOXED).locator(".tb-walk-sum").inner_text() == said.inner_text()  # one model, two views


def test_walk_follows_the_arrow_keys(built, open_page):
    page = open_page(built / "index.html")
    walk = view(page, ALONE)
    cell(page, ALONE, "output", 2, 0).focus()
    for key, place in {
        "ArrowRight": "2,1",
        "ArrowUp": "1,1",
        "End": "1,2",
        "ArrowDown": "2,2",
        "Home": "2,0",
    }.items():
        page.keyboard.press(key)
        focused = page.evaluate("[document.activeElement.dataset.of, document.activeElement.dataset.at]")
        assert focused == ["output", place]
        assert walk.locator('[aria-selected="true"]').get_attribute("data-at") == place
    for matrix in ("scores", "weights", "output"):  # each matrix is one stop of the Tab key
        assert walk.locator(f'.tb-walk-cell[data-of={matrix}][tabindex="0"]').count() == 1
    page.keyboard.press("ArrowUp")
    assert walk.locator(".tb-walk-sum").inner_text().startswith("Query cat gives weight")


def test_dragged_query_gives_the_packages_numbers(built, open_page):
    query = torch.tensor([[1.0, 0.5, -0.3], [0.2, -1.0, 0.8], [-0.7, 0.4, 1.2], [0.9, 1.1, -0.6]])
    key = torch.tensor([[0.8, 0.1, -0.5], [-0.4, 0.9, 0.3], [0.5, -0.6, 1.0], [1.2, 0.7, 0.2]])
    value = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, -0.5], [-1.0, 0.5, 1.0], [0.3, -0.8, 0.2]])
    page = open_page(built / "index.html")

    def shown(number):
        rows = range(4)
        texts = [[cell(page, number, "output", i, j).inner_text() for j in range(3)] for i in rows]
        return torch.tensor([[float(text.replace("−", "-")) for text in row] for row in texts])

    def close(expected):
        for number in (BOXED, ALONE):
            torch.testing.assert_close(shown(number), expected, atol=0.00501, rtol=0)

    close(scaled_dot_product_attention(query, key, value, causal_mask(4))[0])
    slider = view(page, ALONE).get_by_label("q₀")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] + 9, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    view(page, ALONE).get_by_label("q₂").press("Home")
    query[2, 0], query[2, 2] = 3.0, -3.0
    close(scaled_dot_product_attention(query, key, value, causal_mask(4))[0])
    view(page, BOXED).get_by_label("mask").uncheck()
    close(scaled_dot_product_attention(query, key, value)[0])
    view(page, BOXED).get_by_label("divide by").uncheck()
    close(scaled_dot_product_attention(query * 3**0.5, key, value)[0])
    view(page, ALONE).get_by_role("button", name="reset Q").click()
    query[2] = torch.tensor([-0.7, 0.4, 1.2])
    close(scaled_dot_product_attention(query * 3**0.5, key, value)[0])


def test_reduced_motion_and_focus_ring(built, open_page):
    moving = "node => getComputedStyle(node).transitionDuration"
    for preference, duration in {"reduce": "0s", "no-preference": "0.12s"}.items():
        page = open_page(built / "index.html", reduced_motion=preference)
        assert view(page, WHY).locator("rect.weight").first.evaluate(moving) == duration
    page.keyboard.press("Tab")
    for _ in range(20):
        if page.evaluate("document.activeElement.closest('.tb-root') !== null"):
            break
        page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_broken_module_leaves_its_text_and_the_others_alive(built, open_page):
    text = (built / "index.html").read_text(encoding="utf-8")
    broken = built / "broken.html"
    broken.write_text(text.replace('"modules":["', '"modules":["throw new Error(0);', 1), encoding="utf-8")
    complaints = []
    page = open_page(broken, complaints=complaints)
    assert view(page, WHY).get_attribute("data-tb-mounted") == "false"
    assert view(page, WHY).locator(".tb-widget-alternative").is_visible()
    assert view(page, ALONE).get_attribute("data-tb-mounted") == "true"
    assert len(complaints) == 1
    assert "widget w0 of this page could not be shown" in complaints[0]


class TestPage(WidgetPage):
    FRAME = """(input, i) => {
        input.value = input.min * 1 + ((input.max - input.min) * (i + 1)) / 50;
        input.dispatchEvent(new Event("input", { bubbles: true }));
    }"""
    ALTERNATIVES = {
        WHY: "one query and 32 keys of width d = 64",
        BOXED: r"softmax\(QKᵀ/√D, masked\) V for 4 queries and 4 keys\. Query sat gives",
        ALONE: r"softmax\(QKᵀ/√D, masked\) V for 4 queries and 4 keys\. Query sat gives",
    }

    def crowd(self, page):
        spilling = (
            "cells => cells.filter(cell => cell.scrollWidth > cell.clientWidth + 1).map(cell => cell.textContent)"
        )
        assert page.locator(".tb-walk-cell").evaluate_all(spilling) == []

    def controls(self, page):
        return {label: view(page, number).get_by_label(label) for number, label in TIMED}
