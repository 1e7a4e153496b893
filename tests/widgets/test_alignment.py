"""Alignment: what the network reads, writes and looks at, its errors, and the same from JavaScript."""

import sys
import unicodedata

import pytest
import torch

from transformer_book.seq2seq import Seq2Seq, Seq2SeqConfig
from transformer_book.tasks.dates import LONGEST, Dates, normalise
from transformer_book.widgets import Alignment
from transformer_book.widgets import _network as network
from transformer_book.widgets.alignment import EXAMPLES

TASK = Dates()
SEEDS = (2, 3, 5, 10)  # see test_the_models_tested_…
TEXTS = [text for *_, text in EXAMPLES] + ["1", "Nov. 3rd, ’99", " ２０２６年  11 月 23 日 ", "a" * LONGEST]


def make_model(seed=1, score="additive", scale=8.0):
    """Make an untrained model whose weights are larger than at first, so that it writes more than one symbol."""
    torch.manual_seed(seed)
    sizes = (len(TASK.source_vocabulary), len(TASK.target_vocabulary))
    model = Seq2Seq(Seq2SeqConfig(*sizes, d_embed=5, d_hidden=7, score=score))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(scale)
    return model


def make(text="23 november 2026", row=0, **options):
    return Alignment(text, row, model=make_model(**options))


@pytest.mark.parametrize("seed", SEEDS)
def test_weights_are_those_of_the_written_characters(seed):
    widget = make(" 23  NOVEMBER 2026", seed=seed)
    model = network.rounded(make_model(seed), TASK)
    ids = torch.tensor([TASK.source_vocabulary.encode("23 november 2026")])
    token, state, memory = torch.tensor([[1]]), None, model.encode(ids)
    written, rows = [], []
    with torch.no_grad():
        while len(written) < 11 and token.item() != 2:
            logits, state, weights = model.decode(token, memory, state)
            token = logits.argmax(dim=-1)
            written.append(token.item())
            rows.append(weights[0, 0])
    kept = [t for t, id_ in enumerate(written) if id_ > 2]
    assert widget.source() == "23 november 2026"
    assert widget.decoded() == "".join(TASK.target_vocabulary.decode(written))
    assert widget.weights().shape == (len(kept), 16)
    expected = torch.stack([rows[t] for t in kept]) if kept else torch.empty(0, 16)
    torch.testing.assert_close(widget.weights(), expected)


def test_the_models_tested_write_special_symbols_and_end_at_different_places():
    """The comparisons here see a START in the middle, an END and none."""
    runs = [network.run(make_model(seed), TASK, "23 november 2026", 11)[1][0].tolist() for seed in SEEDS]
    assert any(ids[-1] == 2 for ids in runs)
    assert any(2 not in ids for ids in runs)
    assert any(set(ids[:-1]) & {0, 1} for ids in runs)


@pytest.mark.parametrize("seed", SEEDS)
def test_javascript_aligns_as_python_does(run_js, seed):
    widget = make(seed=seed)
    for text, seen in zip(
        TEXTS,
        run_js("alignment", [("translate", [widget.network, TASK.parse(text)]) for text in TEXTS]),
        strict=True,
    ):
        widget.text = text
        assert "".join(seen["decoded"]) == widget.decoded()
        weights = torch.tensor(seen["weights"], dtype=torch.float32).view(widget.weights().shape)
        torch.testing.assert_close(weights, widget.weights(), rtol=1e-5, atol=1e-6)


def test_javascript_normalises_every_character_as_python_does(run_js):
    known = [c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) not in ("Cn", "Co", "Cs")]
    texts = ["x ".join(known[i : i + 5000]) for i in range(0, len(known), 5000)]
    seen = run_js("alignment", [("normalise", [text]) for text in texts])
    for text, text_seen in zip(texts, seen, strict=True):
        assert text_seen == normalise(text)
    composed = "3 ma\u200di\u200d\u0308"  # what stands between a letter and its accent goes
    assert run_js("alignment", [("normalise", [composed])]) == [normalise(composed)] == ["3 maï"]


def test_javascript_splits_as_the_task_does(run_js):
    texts = ["", " ; ", "1;", ";1 ; 2", "1 2"]
    expected = [[], [], ["1"], ["1", "2"], ["1 2"]]
    assert run_js("alignment", [("sourcesOf", [text]) for text in texts]) == expected
    for text, sources in zip(texts, expected, strict=True):
        if len(sources) == 1:
            assert TASK.parse(text) == sources[0]
        else:
            with pytest.raises(ValueError, match="text: expected 1 date, got "):
                TASK.parse(text)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([0.004, 0.996, 0.0, 0.0], "100% at “b” (character 2)"),
        ([0.2, 0.0, 0.7, 0.1], "70% at a space (character 3), 20% at “a” (character 1), 10% at “d” (character 4)"),
        ([0.04, 0.93, 0.03, 0.0], "93% at “b” (character 2), 7% elsewhere"),
        ([0.3, 0.3, 0.0, 0.4], "40% at “d” (character 4), 30% at “a” (character 1), 30% at “b” (character 2)"),
    ],
)
def test_weights_in_words(run_js, weights, words):
    assert run_js("alignment", [("inWords", [["a", "b", " ", "d"], weights])]) == [words]


def test_weights_spread_thin_are_not_all_named(run_js):
    source, thin, few = list("abcdefghijklmnopqrstuvwxyz"), [1 / 26] * 26, [0.0] * 20 + [1 / 6] * 6
    assert run_js("alignment", [("inWords", [source, weights]) for weights in (thin, few)]) == [
        "4% at “a” (character 1), 96% elsewhere",
        "17% at “u” (character 21), 17% at “v” (character 22), 17% at “w” (character 23), "
        "17% at “x” (character 24), 33% elsewhere",
    ]


def test_every_example_can_be_read():
    for *_, text in EXAMPLES:
        make(text)
    assert {"en", "zh"} < {language for language, _, _ in EXAMPLES}


def test_describe_names_where_it_looks_most(monkeypatch):
    widget = make("3 may 2026")
    weights = torch.tensor([[0.1, 0.2, 0.7], [0.875, 0.125, 0.0]])
    monkeypatch.setattr(widget, "_run", lambda: (["0", "5"], weights))
    assert widget.describe() == (
        "a GRU with attention reads “3 may 2026” and writes 05. "
        "Where it looks most while it writes 0 at “m” (character 3, 70%), 5 at “3” (character 1, 88%)."
    )
    monkeypatch.setattr(widget, "_run", lambda: ([], torch.empty(0, 3)))
    assert widget.describe() == "a GRU with attention reads “3 may 2026” and writes nothing."


def test_observe_sees_text_and_row():
    widget, seen = make(), []
    widget.observe(lambda change: seen.append((change.name, change.new)), ["text", "row"])
    widget.text, widget.row = "2026年5月1日", 9
    assert seen == [("text", "2026年5月1日"), ("row", 9)]


WRONG = [
    ({"text": " "}, ValueError, "text: expected 1 date, got none"),
    ({"text": "1 may 2026; 2 may 2026"}, ValueError, "text: expected 1 date, got 2"),
    ({"text": "1" * (LONGEST + 1)}, ValueError, f"text: expected at most {LONGEST} characters, got {LONGEST + 1}"),
    ({"text": "23 §"}, ValueError, "got '§' at position 3"),
    ({"row": 10}, ValueError, "row: expected an integer in 0 … 9, got 10"),
    ({"row": -1}, ValueError, "row: expected an integer in 0 … 9, got -1"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        make(**arguments)


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG)
def test_wrong_assignments_leave_the_state(arguments, error, message):
    widget = make()
    before = widget.describe()
    ((name, value),) = arguments.items()
    with pytest.raises(error, match=message):
        setattr(widget, name, value)
    assert (widget.describe(), widget.row) == (before, 0)


def test_a_model_without_attention_has_nothing_to_show():
    with pytest.raises(ValueError, match="model: expected a model with attention, got one with a single context"):
        make(score="none")


def test_the_model_that_comes_with_the_package_reads_every_example():
    """Its weights rounded to float16."""
    days = [
        "2026-03-05",
        "2019-10-27",
        "2018-02-14",
        "2015-05-30",
        "2024-01-08",
        "2021-07-04",
        "2013-11-11",
        "2022-08-19",
    ]
    widget = Alignment()
    assert widget.decoded() == "2026-11-23"
    for (*_, text), day in zip(EXAMPLES, days, strict=True):
        widget.text = text
        assert widget.decoded() == day
