"""Live Transformer: what Python says of it is what the model does; its errors."""

import xml.etree.ElementTree as ElementTree

import pytest
import torch

from transformer_book.decoding import beam_search
from transformer_book.experiments.date_models import new_reader
from transformer_book.seq2seq import Seq2Seq, Seq2SeqConfig
from transformer_book.tasks.copying import Copying
from transformer_book.tasks.dates import LONGEST, Dates
from transformer_book.widgets import LiveTransformer
from transformer_book.widgets.live_transformer import END_SIGN, EXAMPLES

TASK = Dates()
ODD = {"d_model": 42, "num_heads": 3, "num_encoder_layers": 2, "num_decoder_layers": 1}


@pytest.fixture(scope="module")
def shipped():
    return LiveTransformer()


@pytest.fixture
def live():
    return LiveTransformer(new_reader(3, **ODD), TASK, "3 may 2026", beam=2)


def test_the_model_that_comes_with_the_book_reads_every_example(shipped):
    written = []
    for _, _, text in EXAMPLES:
        shipped.text = text
        written.append(shipped.written())
    assert written == [
        *("2026-03-05", "2019-10-27", "2021-07-04", "1999-12-31", "2022-08-19", "2013-06-03", "2012-02-17"),
        *("2018-02-14", "2024-01-01", "1978-09-08", "2013-11-11", "2004-08-20"),
    ]
    shipped.text = "23 november 2026"
    assert shipped.reading().target == (*"2026-11-23", END_SIGN)


def test_reading_is_what_the_model_does(live):
    model = live.model()
    source = torch.tensor([TASK.source_vocabulary.encode("3 may 2026")])
    ids, scores = beam_search(model, source, 2, 11, 0.6)
    reading = live.reading()
    assert torch.equal(reading.ids, ids[0])
    assert reading.score == float(scores)
    fed = torch.cat([torch.tensor([[1]]), ids[:, :-1]], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(reading.logits, model(source, fed)[0])
        maps = model.attention_maps(source, fed)
    for kind, layers in maps._asdict().items():
        for layer, weights in enumerate(layers, 1):
            for head in range(3):
                torch.testing.assert_close(live.attention(f"{kind}-{layer}-{head + 1}"), weights[0, head])
    torch.testing.assert_close(live.probabilities(), reading.logits.softmax(-1))
    live.pinned = "decoder-1-2"
    assert torch.equal(live.attention(), live.attention("decoder-1-2"))
    assert live.names()[0] == "encoder-1-1"
    assert len(live.names()) == 3 * (2 + 1 + 1)


def test_whatever_is_taken_out_python_knows(live):
    whole = live.reading().logits[0]
    for trait, value in {
        "no_mask": True,
        "no_scale": True,
        "no_positions": True,
        "removed": ["cross-1-1"],
    }.items():
        live.set_trait(trait, value)
        assert live.broken() != LiveTransformer.broken(LiveTransformer(new_reader(3, **ODD), TASK))
        changed = not torch.allclose(live.reading().logits[0], whole, atol=1e-3)
        assert changed == (trait != "no_mask")  # at its first step there is nothing later to see
        live.set_trait(trait, [] if trait == "removed" else False)
    assert torch.equal(live.reading().logits[0], whole)


def test_penalty_and_beam_are_used(live):
    scores = set()
    for beam, penalty in ((1, 0.6), (1, 0.0), (5, 2.0)):
        live.beam, live.penalty = beam, penalty
        scores.add(round(live.reading().score, 4))
    assert len(scores) == 3


def test_describe_says_what_is_seen(live):
    live.no_scale, live.removed, live.pinned, live.place = True, ["cross-1-2"], "encoder-2-1", 4
    row = live.attention()[4]
    text = live.describe()
    assert "reads “3 may 2026” and writes " in text
    assert "with a beam of 2 and no scale, no head cross-1-2." in text
    share = float(row.max())
    assert f"head encoder-2-1 looks most at “{'3 may 2026'[int(row.argmax())]}” ({share:.0%})" in text


def test_the_picture_is_a_picture_of_it():
    picture = LiveTransformer(text="3 may 2026")._picture
    root = ElementTree.fromstring(picture["svg"])
    texts = [node.text for node in root if node.tag.endswith("text")]
    assert texts[2:12] == ["3", "␣", "m", "a", "y", "␣", "2", "0", "2", "6"]
    assert texts[12:23] == [*"2026-05-03", END_SIGN]
    assert "characters written" in picture["alt"]


def test_observe_sees_every_trait(live):
    seen = []
    values = {
        "text": "4 may 2026",
        "step": 1,
        "place": 1,
        "pinned": "encoder-1-1",
        "beam": 1,
        "penalty": 0.0,
        "no_mask": True,
        "no_scale": True,
        "no_positions": True,
        "removed": ["cross-1-1"],
    }
    live.observe(lambda change: seen.append((change.name, change.new)), list(values))
    for name, value in values.items():
        setattr(live, name, value)
    assert seen == list(values.items())


def test_a_model_on_another_device_or_in_training_is_left_as_it_is():
    model = new_reader(3, **{**ODD, "dropout": 0.5}).train()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    live = LiveTransformer(model, TASK, removed=["cross-1-1"], no_positions=True)
    assert live.written() == live.written()  # no dropout
    assert model.training
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_wrong_models():
    with pytest.raises(ValueError, match="model and task: expected both or neither, got one of them"):
        LiveTransformer(new_reader(0))
    with pytest.raises(ValueError, match="task: expected Dates with one date in a row, got Copying"):
        LiveTransformer(new_reader(0), Copying())
    with pytest.raises(ValueError, match="task: expected Dates with one date in a row, got 2 of them"):
        LiveTransformer(new_reader(0), Dates(2))
    sizes = (len(TASK.source_vocabulary), len(TASK.target_vocabulary))
    with pytest.raises(TypeError, match="model: expected a Transformer, got Seq2Seq"):
        LiveTransformer(Seq2Seq(Seq2SeqConfig(*sizes, 4, 4)), TASK)  # pyright: ignore[reportArgumentType]
    model = new_reader(0)
    with torch.no_grad():
        model.readout.bias[2] = 1e6
    with pytest.raises(ValueError, match=r"readout\.bias: expected finite numbers up to 65504, got 1e\+06"):
        LiveTransformer(model, TASK)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("text", "", "text: expected 1 date, got none"),
        ("text", "a" * (LONGEST + 1), "text: expected at most 40 characters, got 41"),
        ("text", "ה", "expected only symbols of the vocabulary, got 'ה' at position 0"),
        ("step", 11, "step: expected an integer in 0 … 10, got 11"),
        ("place", -1, "place: expected an integer in 0 … 39, got -1"),
        ("beam", 6, "beam: expected an integer in 1 … 5, got 6"),
        ("beam", 0, "beam: expected an integer in 1 … 5, got 0"),
        ("penalty", 2.1, r"penalty: expected a number in 0 … 2, got 2\.1"),
        ("penalty", float("nan"), "penalty: expected a number in 0 … 2, got nan"),
        ("pinned", "cross-2-1", "pinned: expected one of 'encoder-1-1', .*, got 'cross-2-1'"),
        ("removed", ["cross-1-1", "x"], "removed: expected one of 'encoder-1-1', .*, got 'x'"),
    ],
)
def test_wrong_assignments_leave_the_state(live, name, value, message):
    before = live.describe()
    with pytest.raises(ValueError, match=message):
        setattr(live, name, value)
    assert live.describe() == before


def test_wrong_arguments(live):
    with pytest.raises(TypeError, match=r"beam: expected an integer, got 1\.0"):
        LiveTransformer(new_reader(3, **ODD), TASK, beam=1.0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"name: expected one of .*, got 'cross-9-1'"):
        live.attention("cross-9-1")


def test_the_page_knows_calendars(run_js):
    texts = ["2026-11-23", "2000-02-29", "2026-11-31", "1900-02-29", "0050-01-01", "2026-00-10", "2026-1-1", ""]
    seen = run_js("live_transformer", [("verdictOf", [text]) for text in texts])
    assert [text.split(":")[0] for text in seen] == [
        *("That day is a Monday.", "That day is a Tuesday."),
        *["No calendar has that day"] * 2,
        *("That day is a Saturday.", "No calendar has that day"),
        *["That is not of the form year-month-day."] * 2,
    ]


def test_probabilities_for_people(run_js):
    numbers = [0.99996, 0.9995, 0.991, 0.5, 0.0312, 0.0]
    seen = run_js("live_transformer", [("share", [number]) for number in numbers])
    assert seen == ["over 99.99%", "99.95%", "99.10%", "50%", "3.1%", "0.0%"]


def test_the_way_to_the_answer_through_the_tree(run_js):
    parents = [[0, 0], [1, 0], [1, 0], [1, 1]]  # from the best of the last level back: 0 ← 1 ← 0 ← 1
    tree = [[{"parent": parent} for parent in level] for level in parents]
    assert run_js("live_transformer", [("pathOf", [tree])]) == [[1, 0, 1, 0]]
