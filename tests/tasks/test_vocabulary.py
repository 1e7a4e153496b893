"""The vocabulary: numbering, both ways, and every error's text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_book.tasks.vocabulary import END, PAD, START, Vocabulary


def test_the_special_ids_come_first_and_the_symbols_keep_their_order() -> None:
    vocabulary = Vocabulary("cab")
    assert (PAD, START, END) == (0, 1, 2)
    assert vocabulary.symbols == ("c", "a", "b")
    assert vocabulary.encode("abc") == [4, 5, 3]
    assert len(vocabulary) == 6


def test_symbols_may_be_longer_than_a_character() -> None:
    vocabulary = Vocabulary(["AA1", "B", "AA"])
    assert vocabulary.encode(["AA", "AA1", "B"]) == [5, 3, 4]
    assert vocabulary.decode([3, 5]) == ["AA1", "AA"]


@given(st.lists(st.text(max_size=3), min_size=1, max_size=13, unique=True), st.data())
def test_decoding_undoes_encoding(symbols: list[str], data: st.DataObject) -> None:
    vocabulary = Vocabulary(symbols)
    sequence = data.draw(st.lists(st.sampled_from(symbols)))
    ids = vocabulary.encode(sequence)
    assert vocabulary.decode(ids) == sequence
    assert all(2 < id_ < len(vocabulary) for id_ in ids)


def test_decoding_stops_at_the_first_end_and_skips_padding_and_start() -> None:
    vocabulary = Vocabulary("abc")
    assert vocabulary.decode([START, 3, PAD, 4, END, 5, END]) == ["a", "b"]
    assert vocabulary.decode(iter([END, 99])) == []


@pytest.mark.parametrize(
    ("sequence", "unknown", "position"), [("abxa", "x", 2), (["B", "a"], "B", 0), ("aa ", " ", 2)]
)
def test_an_unknown_symbol_is_named_with_its_position(sequence: str, unknown: str, position: int) -> None:
    message = f"sequence: expected only symbols of the vocabulary, got {unknown!r} at position {position}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Vocabulary("ab").encode(sequence)


@pytest.mark.parametrize("id_", [-1, 5])
def test_an_id_outside_the_vocabulary_is_refused(id_: int) -> None:
    with pytest.raises(ValueError, match=rf"^ids: expected values in 0 … 4, got {id_}$"):
        Vocabulary("ab").decode([3, id_])


@pytest.mark.parametrize(("symbols", "got"), [("", "none"), ("abcacb", "'a', 'b', 'c' twice")])
def test_symbols_are_needed_each_once(symbols: str, got: str) -> None:
    with pytest.raises(ValueError, match=f"^symbols: expected at least one, each once, got {got}$"):
        Vocabulary(symbols)
