"""Squeeze: its strings, what passes through the vector, its errors, and the same from JavaScript."""

import math
import random

import pytest
import torch

from transformer_book.decoding import greedy_decode
from transformer_book.seq2seq import Seq2Seq, Seq2SeqConfig
from transformer_book.widgets import Squeeze
from transformer_book.widgets.squeeze import Copier, _draw_strings

WIDTHS, LONGEST = (3, 5, 11), 13
MOST = math.log2(10)


def make_copiers(widths=WIDTHS, longest=LONGEST, **parts):
    """Make untrained copiers; the bits tell their width, the length and the position."""
    torch.manual_seed(0)
    return [
        Copier(
            Seq2Seq(Seq2SeqConfig(13, 13, 7, width, **parts)),
            [[width / 10 + length / 100 + t / 1000 for t in range(length)] for length in range(1, longest + 1)],
        )
        for width in widths
    ]


def make(length=7, width=5, seed=0):
    return Squeeze(length, width, seed, copiers=make_copiers())


@pytest.mark.parametrize("width", WIDTHS)
def test_context_and_copy_are_those_of_the_rounded_model(width):
    model = next(copier.model for copier in make_copiers() if copier.model.config.d_hidden == width)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.half())
    widget = make(width=width)
    widget.source = "90210"
    ids = torch.tensor([[12, 3, 5, 4, 3]])
    torch.testing.assert_close(widget.context(), model.encode(ids).state[0], rtol=0, atol=0)
    written = greedy_decode(model, ids, 6)[0].tolist()
    assert widget.decoded() == "".join(str(id_ - 3) for id_ in written if id_ > 2)


@pytest.mark.parametrize("width", WIDTHS)
def test_javascript_squeezes_as_python_does(run_js, width):
    widget = make(width=width)
    packed = widget.networks[WIDTHS.index(width)]
    generator = random.Random(0)
    strings = ["".join(generator.choices("0123456789", k=length)) for length in range(1, LONGEST + 1)]
    for source, seen in zip(strings, run_js("squeeze", [("squeeze", [packed, s]) for s in strings]), strict=True):
        widget.source = source
        assert seen["decoded"] == widget.decoded()
        torch.testing.assert_close(torch.tensor(seen["context"]), widget.context(), rtol=1e-5, atol=1e-6)


def test_bits_are_those_of_width_and_length():
    widget = make(length=4, width=11)
    assert widget.bits() == [1.14, 1.14, 1.14, 1.14]
    widget.width, widget.source = 3, "0" * 13
    assert widget.bits() == [round(0.3 + 0.13 + t / 1000, 2) for t in range(13)]


def test_bits_are_cut_to_what_a_bar_can_show():
    [copier] = make_copiers(widths=(3,), longest=2)
    widget = Squeeze(2, 3, copiers=[copier._replace(bits=[[-0.25], [9.0, 1.234]])])
    assert widget.probe == [[[0.0], [round(MOST, 2), 1.23]]]


def test_strings_begin_differently_and_depend_on_the_seed_alone():
    strings = make(seed=4).strings
    assert sorted(string[0] for string in strings) == list("0123456789")
    assert {len(string) for string in strings} == {LONGEST}
    assert strings == _draw_strings(4, LONGEST) != _draw_strings(5, LONGEST)
    assert make(length=6, seed=4).source == strings[0][:6]


def test_a_string_is_cut_and_continued(run_js):
    strings = make().strings
    typed = strings[3][0] + "55555"
    calls = [
        ("resized", [typed, 2, strings]),
        ("resized", [typed, 9, strings]),
        ("resized", [strings[3][:1], LONGEST, strings]),
        ("following", [typed, strings]),
        ("following", [strings[9][:4], strings]),
    ]
    expected = [typed[:2], typed + strings[3][6:9], strings[3], strings[4][:6], strings[0][:4]]
    assert run_js("squeeze", calls) == expected


def test_describe_counts_what_is_right(monkeypatch):
    widget = make(length=4, width=5)
    widget.source = "1234"
    texts = {
        "1234": "writes 1234: 4 of 4 digits right. ",
        "1934": "writes 1934: 3 of 4 digits right, the first wrong one at position 2. ",
        "123": "writes 123: 3 of 4 digits right, the first wrong one at position 4. ",
        "12345": "writes 12345: 4 of 4 digits right. ",
        "": "writes nothing: 0 of 4 digits right, the first wrong one at position 1. ",
    }
    for decoded, text in texts.items():
        monkeypatch.setattr(widget, "decoded", lambda decoded=decoded: decoded)
        assert text in widget.describe()
    assert "a state of 5 numbers reads 1234" in widget.describe()
    assert "Of the 13.3 bits in such strings a linear probe finds 2.2 in" in widget.describe()


def test_observe_sees_what_is_chosen():
    widget, seen = make(), []
    widget.observe(lambda change: seen.append((change.name, change.new)), ["source", "width"])
    widget.source, widget.width = "42", 11
    assert seen == [("source", "42"), ("width", 11)]


WRONG = [
    ({"length": 0}, ValueError, "length: expected an integer in 1 … 13, got 0"),
    ({"length": 14}, ValueError, "length: expected an integer in 1 … 13, got 14"),
    ({"length": 2.0}, TypeError, "length: expected an integer, got 2.0"),
    ({"width": 4}, ValueError, "width: expected one of 3, 5, 11, got 4"),
    ({"seed": -1}, ValueError, "seed: expected an integer in 0 … "),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        make(**arguments)


@pytest.mark.parametrize("source", ["", "12a", "1" * 14, "１２"])
def test_wrong_strings_leave_the_state(source):
    widget = make()
    before = widget.source
    with pytest.raises(ValueError, match=f"source: expected 1 … 13 digits, got '{source}'"):
        widget.source = source
    assert widget.source == before


def test_wrong_copiers():
    one, two, three = make_copiers()
    cases = [
        ([], r"copiers: expected at least one, by ascending width, got widths \[\]"),
        ([two, one], r"by ascending width, got widths \[5, 3\]"),
        ([one, one], r"by ascending width, got widths \[3, 3\]"),
        (make_copiers(score="additive"), "copiers: expected models without attention, got score 'additive'"),
        (
            [one, two._replace(bits=two.bits[:-1])],
            r"bits: expected 13 rows of 1, 2, … numbers, got rows of \[1, 2, ",
        ),
        ([three._replace(bits=[[1.0, 1.0]])], r"bits: expected 1 rows of 1, 2, … numbers, got rows of \[2\]"),
        ([three._replace(bits=[])], r"bits: expected some rows of 1, 2, … numbers, got rows of \[\]"),
        ([three._replace(bits=[[math.nan]])], "bits: expected finite numbers, got infinite ones or NaN"),
    ]
    for copiers, message in cases:
        with pytest.raises(ValueError, match=message):
            Squeeze(1, 5, copiers=copiers)


def test_the_copiers_that_come_with_the_package():
    widget = Squeeze()
    assert widget.widths == [16, 32, 64]
    rights = []
    for width in widget.widths:
        widget.width, right = width, 0
        for string in widget.strings:
            widget.source = string[:4]
            right += widget.decoded() == widget.source
            widget.source = string
            assert len(widget.bits()) == len(string)
            right += widget.decoded() == widget.source
        rights.append(right)
    assert rights[-1] >= 9  # of ten short strings and ten of the longest
    assert max(rights) < 20  # something is lost
