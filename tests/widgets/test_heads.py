"""Heads: its maps are the model's, in Python and in the page's module; its errors."""

import pytest
import torch

from transformer_book.experiments.date_models import new_reader
from transformer_book.tasks.dates import Dates
from transformer_book.tasks.task import Example, collate
from transformer_book.training import load_asset, predict
from transformer_book.widgets import Heads
from transformer_book.widgets.heads import END_SIGN, KINDS, TEXTS, Maps, read_maps

TEXT = "3 may 2026"


@pytest.fixture(scope="module")
def model():
    return new_reader(3, num_encoder_layers=2, num_decoder_layers=1, d_model=33, num_heads=3).eval()


@pytest.fixture
def widget(model):
    return Heads([TEXT, "2026年11月23日"], model, Dates(), pinned=["encoder-2-3"])


def test_the_model_that_comes_with_the_book_reads_every_text_of_the_widget():
    model, task, _ = load_asset("dates_transformer")
    expected = ["2026-11-23", "1997-03-03", "2026-11-23", "2021-07-14", "1999-12-31"]
    assert ["".join(symbols) for symbols in predict(model, task, [task.parse(text) for text in TEXTS])] == expected


def test_maps_are_those_of_the_model_while_it_writes(model):
    task = Dates()
    maps = read_maps(model, task, TEXT)
    written = predict(model, task, [TEXT])[0]
    assert maps.source == tuple(TEXT)
    assert maps.target == (*written, END_SIGN)
    batch = collate([Example(TEXT, written)], task.source_vocabulary, task.target_vocabulary)
    with torch.no_grad():
        expected = model.attention_maps(batch.source, batch.target[:, :-1])
    for kind, layers in zip(KINDS, expected, strict=True):
        torch.testing.assert_close(getattr(maps, kind), torch.stack([layer[0] for layer in layers]))
    assert maps.cross.shape == (1, 3, len(written) + 1, len(TEXT))


def test_weights_are_found_by_name(widget):
    assert widget.names()[:4] == ["encoder-1-1", "encoder-1-2", "encoder-1-3", "encoder-2-1"]
    assert len(widget.names()) == (2 + 1 + 1) * 3
    assert torch.equal(widget.weights("encoder-2-3"), widget.maps().encoder[1, 2])
    assert torch.equal(widget.weights("cross-1-2"), widget.maps().cross[0, 1])
    widget.chosen = 1
    assert widget.weights("encoder-1-1").shape == (11, 11)
    with pytest.raises(ValueError, match=r"name: expected one of 'encoder-1-1', .* got 'cross-2-1'"):
        widget.weights("cross-2-1")


def test_the_page_unpacks_what_python_packed(widget, run_js):
    for number, maps in enumerate(widget._maps):
        s, t = len(maps.source), len(maps.target)
        packed = widget.inputs[number]
        sizes = {"encoder": (2, 3, s, s), "decoder": (1, 3, t, t), "cross": (1, 3, t, s)}
        unpacked = run_js("heads", [("unpack", [packed[kind], *sizes[kind]]) for kind in KINDS])
        for kind, seen in zip(KINDS, unpacked, strict=True):
            expected = getattr(maps, kind)
            torch.testing.assert_close(torch.tensor(seen).to(expected), expected, atol=0.5 / 255 + 1e-6, rtol=0)


def test_the_page_sums_up_as_python_does(widget, run_js):
    for name in ("encoder-2-1", "decoder-1-2", "cross-1-3"):
        weights = widget.weights(name)
        matrix = weights.tolist()
        entropy, itself, back, on, top = run_js(
            "heads",
            [
                ("meanEntropy", [matrix]),
                ("shareAt", [matrix, 0]),
                ("shareAt", [matrix, -1]),
                ("shareAt", [matrix, 1]),
                ("largest", [matrix[0], 3]),
            ],
        )
        assert entropy == pytest.approx(widget.entropy(name), abs=1e-4)
        rows = len(weights)
        for distance, share in ((0, itself), (-1, back), (1, on)):
            assert share == pytest.approx(float(weights.diagonal(distance)[:rows].sum()) / rows, abs=1e-5)
        assert weights[0, top].tolist() == pytest.approx(weights[0].topk(len(top)).values.tolist())


def test_observe_sees_what_is_chosen_and_pinned(widget):
    seen = []
    widget.observe(lambda change: seen.append((change.name, change.new)), ["chosen", "pinned"])
    widget.chosen, widget.pinned = 1, ["cross-1-1", "decoder-1-2"]
    assert seen == [("chosen", 1), ("pinned", ["cross-1-1", "decoder-1-2"])]


def test_describe_names_input_and_pins(widget):
    written = "".join(widget.maps().target[:-1])
    assert widget.describe().startswith(
        f"12 heads of a Transformer that reads '{TEXT}' and writes {written!r}. Pinned: encoder 2 3, mean entropy "
    )
    widget.pinned = []
    assert widget.describe().endswith("Pinned: none.")


def test_wrong_arguments(model):
    with pytest.raises(ValueError, match="texts: expected at least one, got none"):
        Heads([], model, Dates())
    with pytest.raises(ValueError, match="model and task: expected both or neither, got one of them"):
        Heads([TEXT], model)
    with pytest.raises(ValueError, match="chosen: expected an integer in 0 … 0, got 1"):
        Heads([TEXT], model, Dates(), chosen=1)
    with pytest.raises(TypeError, match=r"chosen: expected an integer, got 0\.0"):
        Heads([TEXT], model, Dates(), chosen=0.0)
    with pytest.raises(ValueError, match=r"text: "):
        Heads([""], model, Dates())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("chosen", 2, "chosen: expected an integer in 0 … 1, got 2"),
        ("pinned", ["cross-1-4"], r"pinned: expected one of 'encoder-1-1', .* got 'cross-1-4'"),
        ("pinned", ["cross-1-1"] * 2, "pinned: expected at most 2 heads, each once, got"),
        ("pinned", ["cross-1-1", "cross-1-2", "cross-1-3"], "pinned: expected at most 2 heads, each once, got"),
    ],
)
def test_wrong_assignments_leave_the_state(widget, name, value, message):
    before = widget.describe()
    with pytest.raises(ValueError, match=message):
        setattr(widget, name, value)
    assert widget.describe() == before


def test_maps_must_fit_their_symbols():
    one = torch.ones(1, 1, 2, 2)
    with pytest.raises(ValueError, match=r"^cross: expected shape \(layers, H, 2, 3\), got \(1, 1, 2, 2\)$"):
        Maps(("a", "b", "c"), ("d", END_SIGN), torch.ones(1, 1, 3, 3), one, one)
