"""Live Transformer at work in a browser, offline from a file: what it shows is what Python computes."""

import gzip
import json
import random
import re
from statistics import median

import pytest
import torch
from axe_playwright_python.sync_playwright import Axe

from transformer_book.training import predict
from transformer_book.widgets import LiveTransformer
from transformer_book.widgets.data_flow import trace

MODEL = """
from transformer_book.training import new_model
from transformer_book.transformer import TransformerConfig
from transformer_book.widgets import LiveTransformer

live = LiveTransformer()
sizes = {"d_model": 96, "num_heads": 4, "d_ff": 256, "num_encoder_layers": 1, "num_decoder_layers": 1}
large = LiveTransformer(new_model(TransformerConfig(161, 15, **sizes, max_length=64), 0), live.task, beam=5)
"""
PAGE = f"""---
kernelspec: {{name: python3, display_name: Python 3}}
file_format: mystnb
---
# Live

```{{code-cell}} ipython3
{MODEL}
live
```

```{{code-cell}} ipython3
large
```
"""
BUDGET = 250_000  # bytes of model and code, compressed
LONG = "poniedziałek, 23 listopada 2026"


@pytest.fixture(scope="module")
def folder(make_project, sphinx):
    source = make_project(PAGE)
    target = source.with_name("html")
    done = sphinx(source, target)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture
def twin():
    """Give the same widget in Python."""
    return LiveTransformer()


@pytest.fixture
def page(folder, open_page):
    return open_page(folder / "index.html")


def view(page, number=0):
    return page.locator(".tb-live").nth(number)


def type_in(page, text):
    view(page).get_by_role("textbox", name="A date").fill(text)


def press(page, name):
    view(page).get_by_role("button", name=name, exact=True).click()


def switch(page, name, on=True):
    view(page).get_by_label(name).set_checked(on)


def written(page, number=0):
    view(page, number).locator("xpath=self::*[@aria-busy='false']").wait_for()
    return "".join(view(page, number).locator(".tb-live-target b").all_inner_texts())


def said(page):
    return view(page).locator("p[aria-live]").text_content()


def shown(symbols):
    return "".join(symbols).replace(" ", "␣")


def shares(page):
    """Give the bars: symbol and what stands above it."""
    return {
        bar.locator("b").inner_text(): bar.locator("small").inner_text()
        for bar in view(page).locator(".tb-live-bar").all()
    }


def test_every_key_has_its_answer(page, twin):
    text = "3 may 1999"
    type_in(page, "")
    assert "Type a date." in view(page).get_by_role("alert").inner_text()
    box = view(page).get_by_role("textbox", name="A date")
    for end in range(1, len(text) + 1):
        box.press_sequentially(text[end - 1])
        twin.text = text[:end]
        assert written(page) == shown(twin.reading().target), text[:end]
        assert view(page).locator(".tb-live-source b").all_inner_texts() == list(shown(twin.source()))
    assert view(page).get_by_role("alert").count() == 0
    assert f"Reads “{text}”, 10 characters, and writes 1999-05-03." in said(page)
    assert "That day is a Monday." in view(page).locator(".tb-live-verdict").inner_text()
    type_in(page, "November 31, 2026")
    assert written(page) == "2026-11-31⊣"
    assert "No calendar has that day" in view(page).locator(".tb-live-verdict").inner_text()


@pytest.mark.parametrize("broken", [{}, {"no_mask": True}])
def test_every_picture_in_numbers(page, twin, broken):
    """Weights of the pinned head, distribution, beam and stream, at several characters, against Python."""
    if broken:
        switch(page, "no causal mask")
        twin.no_mask = True
    twin.text = "5 Mart 1978"
    type_in(page, twin.text)
    reading, model = twin.reading(), twin.model()
    source = torch.tensor([twin.task.source_vocabulary.encode(twin.source())])
    fed = torch.cat([torch.tensor([[1]]), reading.ids[None, :-1]], dim=1)
    for t, head in ((0, "cross-1-2"), (5, "cross-2-4"), (len(reading.ids) - 1, "decoder-1-4"), (2, "encoder-2-1")):
        view(page).locator(".tb-live-target input").nth(t).check()
        view(page).locator(f'.tb-live-map input[value="{head}"]').check()
        kind, layer, number = head.split("-")
        with torch.no_grad():
            memory = model.encode(source)
            passes = model.decode(fed[:, : t + 1], memory)  # what was known when character t was written
        maps = {"encoder": memory.weights, "decoder": passes.weights, "cross": passes.cross_weights}
        row = maps[kind][int(layer) - 1][0, int(number) - 1, 3 if kind == "encoder" else t]
        best = int(row.argmax())
        looks = view(page).locator(".tb-live-looks").inner_text()
        assert f" looks {100 * float(row[best]):.0f}% at " in looks
        assert f"(character {best + 1})" in looks
        probabilities = reading.logits[t].softmax(-1)
        expected = {
            shown(symbol): f"{100 * p:.0f}" if p >= 0.005 else ""
            for symbol, p in zip(twin.symbols[2:], probabilities[2:].tolist(), strict=True)
        }
        assert shares(page) == expected
        if not broken:
            stops = {stop.name: stop.values for stop in trace(model, source, fed)}
            norms = [
                [float(values[place].norm()) for name, values in stops.items() if side in name and mark in name]
                for side, place, mark in (("encoder", 3, " add "), ("decoder", t, " add "))
            ]
            seen = [
                [float(number) for number in half.locator(".tb-number").all_inner_texts()]
                for half in view(page).locator(".tb-live-half").all()
            ]
            assert [half[1:] for half in seen] == [pytest.approx(each, abs=0.051) for each in norms]
            guesses = view(page).locator(".tb-live-guess").all_inner_texts()
            with torch.no_grad():
                names = [name for name in stops if " add " in name and "decoder" in name]
                for guess, name in zip(guesses[1:], names, strict=True):
                    chances = model.readout(model.decoder_norm(stops[name][t])).softmax(-1)
                    symbol = shown("⊣" if int(chances.argmax()) == 2 else twin.symbols[int(chances.argmax())])
                    assert guess == f"{symbol} {100 * float(chances.max()):.0f}%"


def test_the_beam_and_its_scores(page, twin):
    twin.text, twin.beam, twin.penalty, twin.no_scale = "Mittwoch, den 14. Februar 2018", 4, 1.2, True
    type_in(page, twin.text)
    switch(page, "no scaling by √K")
    view(page).get_by_label("size").select_option("4")
    view(page).get_by_label("length penalty").evaluate(
        "input => { input.value = 1.2; input.dispatchEvent(new Event('input')); }"
    )
    reading = twin.reading()
    assert written(page) == shown(reading.target)
    view(page).locator(".tb-live-target input").last.check()
    first = view(page).locator(".tb-live-beginnings li").first.inner_text()
    assert f"score {reading.score:.2f}".replace("-", "−") in first
    nodes = view(page).locator(".tb-live-tree .node")
    assert nodes.count() % 4 == 1  # START, and four beginnings a step
    assert nodes.count() > 4 * len(reading.ids) - 4
    best = view(page).locator(".tb-live-tree .node.best text:not(.score)").all_text_contents()
    assert "".join(best[1:]).rstrip("·") == shown(reading.target)


def test_breaking_and_mending(page, twin):
    text = "Mittwoch, den 14. Februar 2018"
    type_in(page, text)
    twin.text = text
    whole = written(page)
    compare = view(page).locator(".tb-live-compare")
    view(page).locator('.tb-live-map input[value="cross-2-4"]').check()
    for label, trait, value in (
        ("no causal mask", "no_mask", True),
        ("no scaling by √K", "no_scale", True),
        ("no positions", "no_positions", True),
        ("no head cross-2-4", "removed", ["cross-2-4"]),
    ):
        switch(page, label)
        twin.set_trait(trait, value)
        assert written(page) == shown(twin.reading().target), label
        assert compare.inner_text().startswith(f"With {label} it writes {twin.written()}")
        if twin.written() != "2018-02-14":
            assert compare.inner_text().endswith("the whole model writes 2018-02-14.")
            assert view(page).locator(".tb-live-target .differs").count() > 0
        switch(page, label, on=False)
        twin.set_trait(trait, [] if trait == "removed" else False)
        assert written(page) == whole
        assert compare.inner_text() == ""
    for label in ("no positions", "no head cross-2-4"):
        switch(page, label)
    assert written(page) != whole
    assert "this head is removed" in view(page).locator(".tb-live-looks").inner_text()
    press(page, "Mend all")
    assert written(page) == whole
    assert view(page).get_by_role("button", name="Mend all").is_disabled()
    assert not view(page).get_by_label("no positions").is_checked()


def test_what_it_cannot_read_is_said_and_is_text(page):
    before = written(page)
    alert = view(page).get_by_role("alert")
    for text, problem in (
        ("<img src=x onerror=window.hit=1>", "No date that the network was trained on has “<”, “=”, “>”."),
        ("٢٣ نوفمبر ٢٠٢٦", "No date that the network was trained on has “\u2068ن\u2069”, "),
        ("כ״ג בנובמבר 2026", "No date that the network was trained on has “\u2068כ\u2069”, "),
        ("23 नवंबर 2026", "No date that the network was trained on has “न”, "),
        ("x" * 41, "Too long: 41 characters; the network reads up to 40."),
        ("3 may 2026; 4 may 2026", "Type one date, without “;”."),
        ("   ", "Type a date."),
    ):
        type_in(page, text)
        assert alert.text_content().startswith(problem)
        assert "Below is still what the model makes of “23 november 2026”." in alert.text_content()
        assert written(page) == before
        assert "stale" in view(page).get_attribute("class")
    assert page.evaluate("window.hit") is None
    assert view(page).locator("img").count() == 0
    type_in(page, "23.11.2026")
    assert written(page) == "2026-11-23⊣"
    assert alert.count() == 0
    assert "stale" not in view(page).get_attribute("class")


def test_scripts_from_right_to_left_and_east_asia(page, twin):
    box = view(page).get_by_role("textbox", name="A date")
    for text in ("٢٣.١١.٢٠٢٦", "２０２６年１１月２３日", "2026년 11월 23일 월요일"):
        type_in(page, text)
        twin.text = text
        assert written(page) == shown(twin.reading().target) == "2026-11-23⊣"
        assert view(page).locator(".tb-live-source b").all_inner_texts() == list(shown(twin.source()))
    assert box.get_attribute("dir") == "auto"
    view(page).get_by_label("or one in").select_option(label="日本語")
    assert box.input_value() == "2021年7月4日日曜日"
    assert written(page) == "2021-07-04⊣"


def test_step_play_rewind(page):
    count = view(page).locator(".tb-live-transport output")
    press(page, "Rewind")
    assert count.inner_text() == "character 1 of 11"
    assert view(page).get_by_role("button", name="Back", exact=True).is_disabled()
    press(page, "Step")
    press(page, "Step")
    press(page, "Back")
    assert count.inner_text() == "character 2 of 11"
    assert view(page).locator(".tb-live-target .later").count() == 9
    view(page).locator(".tb-live-target input").nth(8).check()
    press(page, "Play")
    view(page).get_by_text("character 10 of 11").wait_for()
    press(page, "Pause")
    page.wait_for_timeout(900)
    assert count.inner_text() == "character 10 of 11"
    press(page, "Play")
    view(page).get_by_text("character 11 of 11").wait_for()
    assert view(page).get_by_role("button", name="Play", exact=True).is_visible()


def test_keyboard_from_end_to_end(page):
    box = view(page).get_by_role("textbox", name="A date")
    box.focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("5 May 1999")
    assert written(page) == "1999-05-05⊣"
    names = []
    for _ in range(16):
        page.keyboard.press("Tab")
        focused = "(a => a.ariaLabel || a.labels?.[0]?.innerText || a.innerText)(document.activeElement)"
        names.append(page.evaluate(focused).strip())
        if "read" in names[-1].split():
            page.keyboard.press("ArrowRight")
            assert view(page).locator(".tb-live-source .lit b").inner_text() == "y"
        if "written" in names[-1].split():
            page.keyboard.press("ArrowLeft")
            assert "character 5 of 11" in view(page).locator(".tb-live-transport").inner_text()
        if names[-1] == "no positions":
            page.keyboard.press("Space")
            assert written(page) != "1999-05-05⊣"
            assert "With no positions it writes " in view(page).locator(".tb-live-compare").inner_text()
        if names[-1].startswith("cross-attention, layer 2, head 4"):
            page.keyboard.press("ArrowLeft")
            assert view(page).locator(".tb-live-map.lit input").get_attribute("value") == "cross-2-3"
            break
    assert names[0].startswith("or one in")
    assert "length penalty α" in names[-2]


def test_nothing_moves_for_who_does_not_want_it(folder, open_page):
    durations = "all => all.map(each => getComputedStyle(each).transitionDuration)"
    for wish, moves in (("reduce", False), ("no-preference", True)):
        page = open_page(folder / "index.html", reduced_motion=wish)
        bars = view(page).locator(".tb-live-bar i")
        assert any(each != "0s" for each in bars.evaluate_all(durations)) == moves


def test_two_views_do_not_share_their_radios(page):
    first = view(page).locator(".tb-live-target input:checked").get_attribute("value")
    view(page, 1).locator(".tb-live-target input").last.check()
    assert view(page).locator(".tb-live-target input:checked").get_attribute("value") == first


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")])
def test_fits_the_screen_and_axe_finds_nothing(folder, open_page, width, theme):
    page = open_page(folder / "index.html", width=width, theme=theme)
    type_in(page, LONG)
    switch(page, "no scaling by √K")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page, context=".tb-live", options={"preload": False, "resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()
    widths = (
        view(page)
        .locator(".tb-live-pinned canvas, .tb-live-tree svg")
        .evaluate_all(
            "all => all.map(e => e.getBoundingClientRect().right - e.parentElement.getBoundingClientRect().right)"
        )
    )
    assert max(widths) < 1


def test_a_thousand_dates_in_the_browser(page, twin):
    """The page's own module, in the page, on dates of days that no training saw, writes what Python writes."""
    task = twin.task
    sources = [example.source for example in task.sample(1000, random.Random("thousand"), "test")]
    seen = page.evaluate(
        """async sources => {
            const { models, modules } = JSON.parse(document.getElementById("tb-widget-data").textContent);
            const { module, state } = models.w0;
            const address = URL.createObjectURL(new Blob([modules[module]], { type: "text/javascript" }));
            const { answerAtOnce, normalise } = await import(address);
            const whole = { mask: false, scale: false, positions: false, removed: [] };
            return sources.map(source => {
                const ids = [...normalise(source)].map(each => state.network.source_symbols.indexOf(each) + 3);
                return answerAtOnce(state.network, whole, ids, 1, 11, 0.6).ids;
            });
        }""",
        sources,
    )
    strings = ["".join(task.target_vocabulary.decode(ids)) for ids in seen]
    assert strings == ["".join(symbols) for symbols in predict(twin.model(), task, sources)]


def test_model_and_code_fit_the_budget(folder):
    html = (folder / "index.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="tb-widget-data">(.*?)</script>', html, re.DOTALL)[1])
    model = data["models"]["w0"]
    parts = {
        "model": json.dumps(model),
        "code": data["modules"][model["module"]],
        "style": "".join(data["styles"]),
    }
    sizes = {name: len(gzip.compress(text.encode())) for name, text in parts.items()}
    print(sizes)
    assert sum(sizes.values()) <= BUDGET
    assert "_picture" not in model["state"]


TYPE = """(input, i) => {
    input.value = i % 2 ? "23 november 2026" : "poniedziałek, 23 listopada 2026";
    input.dispatchEvent(new Event("input", { bubbles: true }));
}"""
STEP = """(input, i) => {
    const all = input.closest(".tb-live").querySelectorAll(".tb-live-target input");
    all[i % all.length].click();
}"""


def test_a_character_takes_at_most_20_ms_and_a_step_at_most_16(page, frame_times):
    box = view(page).get_by_role("textbox", name="A date")
    typing, stepping = (median(frame_times(page, box, frame)) for frame in (TYPE, STEP))
    print(f"typing {typing:.1f} ms, stepping {stepping:.1f} ms")
    assert 0 < typing <= 20
    assert 0 < stepping <= 16


def test_the_first_answer_takes_less_than_a_second_of_the_page(folder, browser):
    """All that the page's thread has done until the answer is on the screen: other programs do not count."""
    context = browser.new_context(offline=True)
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto((folder / "index.html").as_uri(), wait_until="commit")
    page.wait_for_selector(".tb-live-target b")
    metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    context.close()
    print(f"first answer after {metrics['TaskDuration']:.2f} s")
    assert 0 < metrics["TaskDuration"] <= 1


def test_a_large_model_works_in_slices(page):
    """Typing returns before the answer is there, and the answer comes nevertheless."""
    names = {}
    exec(MODEL, names)
    twin = names["large"]
    twin.text = LONG
    busy = (
        view(page, 1)
        .get_by_role("textbox", name="A date")
        .evaluate(
            """(input, text) => {
            input.value = text;
            input.dispatchEvent(new Event("input", { bubbles: true }));
            return input.closest(".tb-live").getAttribute("aria-busy");
        }""",
            LONG,
        )
    )
    assert busy == "true"
    assert written(page, 1).replace("∅", "pad") == shown(twin.reading().target)


def test_without_javascript_there_is_a_picture(folder, open_page):
    page = open_page(folder / "index.html", java_script_enabled=False)
    alternative = page.locator(".tb-widget-alternative").first
    assert alternative.inner_text().startswith(
        "a Transformer of 49,007 weights reads “23 november 2026” and writes"
    )
    picture = alternative.locator("img")
    assert picture.get_attribute("alt").startswith("A still picture. Above, the characters read")
    assert picture.evaluate("image => image.complete && image.naturalWidth") == 640
