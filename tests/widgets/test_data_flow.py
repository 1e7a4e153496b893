"""Data flow: its stops are the model's, in Python and in the page's module; its errors."""

import math

import pytest
import torch

from transformer_book.experiments.date_models import new_reader
from transformer_book.tasks.dates import Dates
from transformer_book.tasks.task import Example, collate
from transformer_book.training import predict
from transformer_book.widgets import DataFlow
from transformer_book.widgets.data_flow import END_SIGN, KINDS, STEPS, TEXTS, trace

TEXT = "3 may 2026"
ODD = {"d_model": 33, "num_heads": 3, "num_encoder_layers": 2, "num_decoder_layers": 1}


def make_model(**parts):
    return new_reader(3, **{**ODD, **parts}).eval()


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture
def widget(model):
    return DataFlow([TEXT, "2026年11月23日"], model, Dates())


def batch_of(model, text=TEXT):
    task = Dates()
    written = predict(model, task, [text])[0]
    return collate([Example(text, written)], task.source_vocabulary, task.target_vocabulary), written


@pytest.mark.parametrize("parts", [{}, {"norm_first": False}, {"positions": "rotary", "d_model": 36}])
def test_the_last_stops_are_the_model_s_output(parts):
    model = make_model(**parts)
    batch, _ = batch_of(model)
    stops = trace(model, batch.source, batch.target[:, :-1])
    with torch.no_grad():
        logits = model(batch.source, batch.target[:, :-1])[0]
        states = model.encode(batch.source).states[0]
    torch.testing.assert_close(stops[-2].values, logits)
    torch.testing.assert_close(stops[-1].values, logits.softmax(dim=-1))
    [memory] = [stop.values for stop in stops if stop.name == "encoder norm"]
    torch.testing.assert_close(memory, states)
    assert len({stop.name for stop in stops}) == len(stops)
    assert {stop.kind for stop in stops} == set(KINDS)


def test_what_is_written_is_added_to_the_stream(model):
    batch, _ = batch_of(model)
    stops = {stop.name: stop.values for stop in trace(model, batch.source, batch.target[:, :-1])}
    stream = stops["encoder position"]
    for layer in (1, 2):
        for part in ("attention", "feed-forward"):
            stream = stream + stops[f"encoder {layer} {part}"]
            torch.testing.assert_close(stops[f"encoder {layer} add {part}"], stream)
    read = model.encoder_layers[1].feed_forward_residual.norm(stops["encoder 2 add attention"])
    torch.testing.assert_close(stops["encoder 2 norm before feed-forward"], read)


def test_post_norm_normalises_after_the_addition():
    model = make_model(norm_first=False)
    batch, _ = batch_of(model)
    names = [stop.name for stop in trace(model, batch.source, batch.target[:, :-1])]
    assert names[2:5] == ["encoder 1 attention", "encoder 1 add attention", "encoder 1 norm after attention"]


def test_rows_and_values_are_those_followed(widget):
    stops = widget.names()
    widget.stop, widget.place = stops.index("encoder 2 attention"), 4
    assert widget.values().shape == (len(TEXT), 33)
    assert torch.equal(widget.row(), widget.values()[4])
    widget.stop, widget.step = stops.index("decoder 1 cross"), 2
    assert torch.equal(widget.row(), widget.values()[min(2, len(widget.values()) - 1)])
    assert torch.equal(widget.row(0), widget.values(0)[4])
    widget.chosen, widget.place = 1, 9
    assert widget.values(0).shape == (11, 33)
    widget.chosen = 0
    widget.place = 10  # the shorter text has only ten characters: the last one
    assert torch.equal(widget.row(0), widget.values(0)[9])


def test_the_page_unpacks_what_python_packed(widget, run_js):
    packed = widget.inputs[0]
    calls = [
        ("unpack", [stop["values"], stop["unit"], len(widget.values(i))]) for i, stop in enumerate(packed["stops"])
    ]
    for i, seen in enumerate(run_js("data_flow", calls)):
        expected = widget.values(i)
        off = (torch.tensor(seen, dtype=torch.float64) - expected).abs().max().item()
        assert off <= 0.51 * float(expected.abs().max()) / STEPS
    assert packed["source"] == list(TEXT)
    assert packed["target"][-1] == END_SIGN


def test_the_page_sums_up_as_python_does(widget, run_js):
    a, b = widget.values(3)[2], widget.values(4)[2]
    size, (mean, spread), angle, nothing, order = run_js(
        "data_flow",
        [
            ("norm", [a.tolist()]),
            ("meanAndSpread", [a.tolist()]),
            ("cosine", [a.tolist(), b.tolist()]),
            ("cosine", [[0.0] * 33, b.tolist()]),
            ("ranked", [a.tolist(), 4]),
        ],
    )
    assert size == pytest.approx(float(a.norm()), rel=1e-5)
    assert mean == pytest.approx(float(a.mean()), abs=1e-5)
    assert spread == pytest.approx(float(a.std(correction=0)), rel=1e-5)
    assert angle == pytest.approx(float(torch.cosine_similarity(a, b, dim=0)), abs=1e-5)
    assert nothing == 0
    assert order == a.topk(4).indices.tolist()


def test_the_model_that_comes_with_the_book_reads_every_text():
    widget = DataFlow()
    assert len(TEXTS) == len(widget.inputs)
    written = ["".join(each["target"][:-1]) for each in widget.inputs]
    assert written == ["2026-11-23", "2026-11-23", "1997-03-03"]
    widget.stop = len(widget.names()) - 1
    symbol = widget.symbols[int(widget.row().argmax())]
    assert symbol == widget.inputs[0]["target"][widget.step]


def test_describe_says_where_we_are(widget):
    widget.stop = widget.names().index("encoder 1 add attention")
    row = widget.row()
    assert "Stop 5 of 29, encoder 1 add attention: The residual stream" in widget.describe()
    assert f"The position that reads 'a': {float(row[0]):.2f}, " in (
        widget.describe() if widget.place == 3 else ""
    )
    assert widget.describe().endswith(f"norm {math.sqrt(float(row.square().sum())):.2f}.")
    widget.stop = len(widget.names()) - 1
    assert "The position that writes " in widget.describe()


def test_observe_sees_every_number(widget):
    seen = []
    names = ["chosen", "stop", "place", "step", "pinned"]
    widget.observe(lambda change: seen.append((change.name, change.new)), names)
    for name in names:
        setattr(widget, name, 1)
    assert seen == [(name, 1) for name in names]


def test_wrong_arguments(model):
    with pytest.raises(ValueError, match="texts: expected at least one, got none"):
        DataFlow([], model, Dates())
    with pytest.raises(ValueError, match="model and task: expected both or neither, got one of them"):
        DataFlow([TEXT], model)
    with pytest.raises(ValueError, match=r"text: "):
        DataFlow([""], model, Dates())
    with pytest.raises(TypeError, match=r"stop: expected an integer, got 1\.0"):
        DataFlow([TEXT], model, Dates(), stop=1.0)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("chosen", 2, "chosen: expected an integer in 0 … 1, got 2"),
        ("stop", 29, "stop: expected an integer in 0 … 28, got 29"),
        ("stop", -1, "stop: expected an integer in 0 … 28, got -1"),
        ("place", 64, "place: expected an integer in 0 … 63, got 64"),
        ("step", 11, "step: expected an integer in 0 … 10, got 11"),
        ("pinned", -2, "pinned: expected an integer in -1 … 28, got -2"),
    ],
)
def test_wrong_assignments_leave_the_state(widget, name, value, message):
    before = widget.describe()
    with pytest.raises(ValueError, match=message):
        setattr(widget, name, value)
    assert widget.describe() == before
