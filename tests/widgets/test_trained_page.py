"""The widgets that run a network in the page, at work in a browser, offline from a file."""

import json
import re

import pytest
import torch
from widget_pages import WidgetPage, notebook_page, said, view

from transformer_book.widgets import Alignment, Squeeze

# Untrained networks of the size of the trained ones: what is tested is the page, not what they have learnt.
MODELS = """
import torch

from transformer_book.seq2seq import Seq2Seq, Seq2SeqConfig
from transformer_book.tasks.dates import Dates
from transformer_book.widgets import Alignment, Squeeze
from transformer_book.widgets.squeeze import Copier

torch.manual_seed(3)
copiers = [
    Copier(Seq2Seq(Seq2SeqConfig(13, 13, 32, width)), [[3.3 / (t + 1) for t in range(n)] for n in range(1, 31)])
    for width in (16, 32, 64)
]
task = Dates()
sizes = (len(task.source_vocabulary), len(task.target_vocabulary))
reader = Seq2Seq(Seq2SeqConfig(*sizes, d_embed=32, d_hidden=64, score="additive"))
with torch.no_grad():
    for model in [copier.model for copier in copiers] + [reader]:
        for weight in model.parameters():
            weight.mul_(3)
        model.decoder.readout.bias[:3] -= 100  # nothing special is written, so every place shows a symbol
"""
PAGE = notebook_page(
    "Networks",
    f"{MODELS}\nSqueeze(copiers=copiers)",
    "alignment = Alignment(model=reader)\nalignment",
    "alignment",
)
SQUEEZE, ALIGNMENT, SECOND = 0, 1, 2  # the views on the page, in order


@pytest.fixture(scope="module")
def twins():
    """Give the widgets of the page, in Python."""
    names = {}
    exec(MODELS, names)
    return Squeeze(copiers=names["copiers"]), Alignment(model=names["reader"])


def row(page, kind):
    """Texts of one row of the comparison, over all its lines; without the marks of errors."""
    cells = view(page, SQUEEZE).locator(f".tb-squeeze-{kind} [role=cell]")
    return [text.split("\n")[0] for text in cells.all_inner_texts()]


def shown_weights(page):
    """Read the matrix off the page, in whole percent and a decimal; a cell without a share shows none."""
    shares = """rows => rows.map(row => [...row.querySelectorAll("i")]
        .map(cell => parseFloat(cell.style.getPropertyValue("--share") || "0") / 100))"""
    return torch.tensor(view(page, ALIGNMENT).locator(".tb-align-row[data-row]").evaluate_all(shares))


def test_the_state_of_a_widget_is_small(folder):
    text = (folder / "index.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="tb-widget-data">(.*?)</script>', text, re.DOTALL).group(1))
    assert len(data["models"]) == 2  # two views of one model
    for model in data["models"].values():
        assert len(json.dumps(model["state"]).encode()) < 250_000
    assert all("\nimport " not in module for module in data["modules"])


def test_squeeze_shows_what_python_computes(page, twins):
    squeeze, _ = twins
    for width, length in ((64, 30), (16, 7), (32, 1)):
        view(page, SQUEEZE).get_by_label(str(width), exact=True).check()
        dial = view(page, SQUEEZE).get_by_label("length")
        dial.evaluate("(dial, n) => { dial.value = n; dial.dispatchEvent(new Event('input')); }", length)
        squeeze.width, squeeze.source = width, squeeze.strings[0][:length]
        decoded = squeeze.decoded()
        assert "".join(row(page, "read")) == squeeze.source + "–" * (len(decoded) - length)
        assert "".join(row(page, "written")) == decoded
        left = torch.tensor([float(text) for text in row(page, "left")[:length]])
        torch.testing.assert_close(left, torch.tensor(squeeze.bits()), atol=0.0501, rtol=0)
        wrong = [t for t in range(len(decoded)) if decoded[t] != squeeze.source[t : t + 1]]
        marks = "cells => cells.flatMap((cell, t) => cell.querySelector('[aria-label=wrong]') ? [t] : [])"
        marked = view(page, SQUEEZE).locator(".tb-squeeze-written [role=cell]").evaluate_all(marks)
        assert marked == wrong
        strip = view(page, SQUEEZE).locator(".tb-squeeze-strip span:visible i")
        heights = strip.evaluate_all("bars => bars.map(bar => parseFloat(bar.style.transform.slice(7)))")
        torch.testing.assert_close(torch.tensor(heights), squeeze.context(), atol=0.0006, rtol=0)
        right = length - sum(t < length for t in wrong)
        assert f"Width {width}: {right} of {length} digits written right" in said(page, SQUEEZE)


def test_squeeze_answers_the_keyboard_and_what_is_typed(page):
    squeeze = view(page, SQUEEZE)
    typed, dial = squeeze.get_by_role("textbox", name="string"), squeeze.get_by_label("length")
    first = typed.input_value()
    assert len(first) == 12
    dial.press("ArrowRight")
    assert dial.get_attribute("aria-valuetext") == "13 digits"
    assert typed.input_value()[:12] == first
    dial.press("Home")
    assert typed.input_value() == first[0]
    squeeze.get_by_role("button", name="new string").press("Enter")
    assert len(typed.input_value()) == 1
    assert typed.input_value() != first
    squeeze.get_by_label("16", exact=True).press("ArrowRight")
    assert "Width 32" in said(page, SQUEEZE)
    typed.fill("")
    typed.press_sequentially("271828")
    assert "".join(row(page, "read")).startswith("271828")
    assert dial.input_value() == "6"


def test_squeeze_says_what_it_cannot_read(page):
    squeeze = view(page, SQUEEZE)
    typed, problem = squeeze.get_by_role("textbox", name="string"), squeeze.get_by_role("alert")
    before = row(page, "read")
    typed.fill("12½4")
    assert problem.inner_text() == "The network knows only the digits 0 … 9, not “½”."
    assert typed.get_attribute("aria-invalid") == "true"
    assert row(page, "read") == before
    typed.fill("")
    assert problem.inner_text() == "Type 1 … 30 digits."
    typed.fill("124")
    assert problem.is_hidden()
    assert typed.get_attribute("aria-invalid") == "false"
    assert "".join(row(page, "read")).startswith("124")
    typed.fill("12x")
    squeeze.get_by_role("button", name="new string").click()
    assert problem.is_hidden()
    assert re.fullmatch(r"\d{3}", typed.input_value())


def test_alignment_shows_what_python_computes(page, twins):
    _, alignment = twins
    texts = ["23 november 2026"] + [text for *_, text in alignment.examples]
    buttons = view(page, ALIGNMENT).get_by_role("button").all()
    assert len(buttons) == len(texts) - 1
    for text, button in zip(texts, [None, *buttons], strict=True):
        if button:
            button.click()
        alignment.text = text
        written = "".join(view(page, ALIGNMENT).locator(".tb-align-written label").all_inner_texts())
        assert written.replace("␣", " ") == alignment.decoded()
        torch.testing.assert_close(shown_weights(page), alignment.weights(), atol=0.00101, rtol=0)
        shown = view(page, ALIGNMENT).locator(".tb-align-character b").all_inner_texts()
        assert "".join(shown).replace("␣", " ") == alignment.source()
        assert said(page, ALIGNMENT).startswith(f"Written: {alignment.decoded()}. ")


def test_alignment_shows_what_is_pointed_at_and_keeps_what_is_chosen(page, twins):
    _, alignment = twins
    alignment.text = "23 november 2026"
    one = view(page, ALIGNMENT)
    boxes, weights = one.locator(".tb-align-written input"), alignment.weights()
    kept = said(page, ALIGNMENT)

    def looked(number):
        share, place = (part.item() for part in weights[number].max(dim=0))
        name = f"“{alignment.source()[place]}”".replace("“ ”", "a space")
        return (
            f"For its character {number + 1}, “{alignment.decoded()[number]}”, the network looked "
            f"{share:.0%} at {name} (character {place + 1})"
        )

    assert looked(0) in kept
    boxes.nth(4).hover()
    assert looked(4) in said(page, ALIGNMENT)
    assert one.locator("label.lit").get_attribute("data-row") == "4"
    assert set(one.locator(".tb-align-row.lit").evaluate_all("all => all.map(row => row.dataset.row)")) == {"4"}
    page.mouse.move(2, 2)
    assert said(page, ALIGNMENT) == kept
    one.locator('.tb-align-row[data-row="7"] i').first.hover()
    assert looked(7) in said(page, ALIGNMENT)
    one.locator('.tb-align-row[data-row="7"] i').first.click()
    page.mouse.move(2, 2)
    assert looked(7) in said(page, ALIGNMENT)
    assert boxes.nth(7).is_checked()
    assert said(page, SECOND) == said(page, ALIGNMENT)  # one model, two views

    boxes.nth(7).focus()
    for key, number in (("ArrowRight", 8), ("ArrowDown", 9), ("ArrowLeft", 8)):
        page.keyboard.press(key)
        assert looked(number) in said(page, ALIGNMENT)
        assert boxes.nth(number).is_checked()
        assert view(page, SECOND).locator("label.lit").get_attribute("data-row") == str(number)
    focused = one.locator("label:has(:focus-visible)")
    assert focused.evaluate("box => getComputedStyle(box).outlineStyle") == "solid"


def test_alignment_reads_what_is_typed_and_says_what_it_cannot_read(page, twins):
    _, alignment = twins
    typed = view(page, ALIGNMENT).get_by_role("textbox", name="date")
    problem = view(page, ALIGNMENT).get_by_role("alert")
    typed.fill(" ２０２６年１１月23日 ")
    alignment.text = "2026年11月23日"
    assert f"Written: {alignment.decoded()}." in said(page, ALIGNMENT)
    assert view(page, SECOND).get_by_role("textbox", name="date").input_value() == " ２０２６年１１月23日 "
    before = said(page, ALIGNMENT)
    cases = {
        "": "Type a date.",
        "1 may 2026; 2 may 2026": "Type one date, without “;”.",
        "23 § november % 2026 §": "No date that the network was trained on has “§”, “%”.",
        "1" * 41: "Too long: 41 characters; the network reads up to 40.",
    }
    for text, complaint in cases.items():
        typed.fill(text)
        assert problem.inner_text() == complaint
        assert typed.get_attribute("aria-invalid") == "true"
        assert said(page, ALIGNMENT) == before
    typed.fill("1" * 40)
    assert problem.is_hidden()
    assert view(page, ALIGNMENT).locator(".tb-align-character").count() == 40


SPILLING = """root =>
    [...root.querySelectorAll("[role=cell], .tb-align-row b, .tb-align-character, button, label")]
    .filter(node => node.scrollWidth > node.clientWidth + 1).map(node => node.outerHTML)"""
OVERLAPPING = """root => {
    const texts = [...root.querySelectorAll("*")].filter(node => node.childElementCount === 0
        && node.textContent.trim() && node.checkVisibility());
    const boxes = texts.map(node => {
        const range = document.createRange();
        range.selectNodeContents(node);
        return [node.textContent, range.getBoundingClientRect()];
    });
    return boxes.flatMap(([one, a], i) => boxes.slice(i + 1).filter(([, b]) =>
        a.left + 0.5 < b.right && b.left + 0.5 < a.right && a.top + 4 < b.bottom && b.top + 4 < a.bottom
    ).map(([other]) => `${one} | ${other}`));
}"""


def test_the_matrix_turns_where_it_is_narrow(folder, open_page):
    layouts = {}
    for width in (390, 1280):
        page = open_page(folder / "index.html", width=width)
        for text in ("1 may 2026", "a" * 40):
            view(page, ALIGNMENT).get_by_role("textbox", name="date").fill(text)
            layouts[width, len(text)] = view(page, ALIGNMENT).locator(".tb-align-map").get_attribute("data-layout")
    assert layouts == {(390, 10): "wide", (390, 40): "tall", (1280, 10): "wide", (1280, 40): "wide"}


class TestPage(WidgetPage):
    FRAME = """(input, i) => {
        input.value = input.type === "range" ? 1 + (i % 30) : "poniedziałek, 23 listopada 20" + (10 + i);
        input.dispatchEvent(new Event("input", { bubbles: true }));
    }"""
    ALTERNATIVES = {
        SQUEEZE: "a GRU with a state of 32 numbers reads ",
        ALIGNMENT: "a GRU with attention reads “23 november 2026” and writes ",
    }

    def crowd(self, page):
        typed = view(page, ALIGNMENT).get_by_role("textbox", name="date")
        for length, date in (("Home", "1"), ("End", "w" * 40), (None, "poniedziałek, 23 listopada 2026 §")):
            if length:
                view(page, SQUEEZE).get_by_label("length").press(length)
            typed.fill(date)
            page.wait_for_timeout(50)  # for the observer of the width
            width = page.viewport_size["width"]
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            for number in (SQUEEZE, ALIGNMENT):
                assert view(page, number).evaluate(SPILLING) == []
                assert view(page, number).evaluate(OVERLAPPING) == []

    def controls(self, page):
        view(page, SQUEEZE).get_by_label("64", exact=True).check()
        return {
            "length": view(page, SQUEEZE).get_by_label("length"),
            "date": view(page, ALIGNMENT).get_by_role("textbox", name="date"),  # draws both of its views
        }
