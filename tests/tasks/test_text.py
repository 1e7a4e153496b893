"""Text: splits, words, windows, masks; the real works and sentences where they can be had."""

import re
from collections import Counter

import pytest
import torch

from transformer_book.tasks import text
from transformer_book.tasks.sources import SourceError
from transformer_book.tasks.text import UNKNOWN, characters, cut_words, mask_tokens, padded, windows, words
from transformer_book.tasks.translation import split
from transformer_book.tasks.vocabulary import END, PAD, START

WORKS = [f"work {chr(97 + number)}\n" * (number + 1) for number in range(15)]
SENTENCES = [
    f"the {word} is {other} ." for word in ["cat", "dog", "owl", "fox", "bat"] for other in ["red", "blue", "old"]
]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_every_work_is_in_one_split_and_comes_back():
    corpus = characters(WORKS)
    assert [len(part) for part in corpus[1:]] == [13, 1, 1]
    read = ["".join(corpus.vocabulary.decode(work.tolist())) for part in corpus[1:] for work in part]
    assert sorted(read) == sorted(WORKS)
    assert read[-2:] == [WORKS[12], WORKS[5]]


def test_too_few_works():
    with pytest.raises(ValueError, match="works and every: expected at least 13, got 12 and 14"):
        characters(WORKS[:12])


@pytest.mark.parametrize(
    ("sentence", "cut"),
    [
        ("Don't!", ["don't", "!"]),
        ("It's 10:30, José.", ["it's", "10", ":", "30", ",", "josé", "."]),
        ("rock-'n'-roll", ["rock", "-", "'", "n", "'", "-", "roll"]),
        ("a_b", ["a", "_", "b"]),
    ],
)
def test_words_are_cut(sentence, cut):
    assert cut_words(sentence) == cut


def test_the_most_frequent_training_words_are_kept_and_the_others_unknown():
    corpus = words(SENTENCES, vocabulary_size=4)
    train = [sentence for sentence in SENTENCES if split(sentence) == "train"]
    counts = Counter(word for sentence in train for word in cut_words(sentence))
    kept = sorted(counts, key=lambda word: (-counts[word], word))[:4]
    assert list(corpus.vocabulary.symbols[2:]) == kept
    for sentence, ids in zip(train, corpus.train, strict=True):
        assert ids[-1] == END
        expected = [word if word in kept else UNKNOWN for word in cut_words(sentence)]
        assert corpus.vocabulary.decode(ids.tolist()) == expected
    assert sum(map(len, corpus[1:])) == len(SENTENCES)


def test_words_of_nothing():
    with pytest.raises(ValueError, match="sentences: expected at least one for training, got none"):
        words([])


def test_windows_are_pieces_of_the_sequences_and_all_places_are_drawn():
    sequences = [torch.arange(10, 17), torch.arange(3), torch.arange(20, 25)]
    pieces = windows(sequences, 400, 5, seeded())
    assert pieces.shape == (400, 5)
    assert (pieces.diff(dim=1) == 1).all()
    counts = Counter(pieces[:, 0].tolist())
    assert set(counts) == {10, 11, 12, 20}  # three places in the first, none in the second, one in the third
    assert min(counts.values()) > 70
    assert torch.equal(pieces, windows(sequences, 400, 5, seeded()))


def test_windows_of_too_short_sequences():
    with pytest.raises(ValueError, match="sequences: expected one of at least 5 tokens, got none"):
        windows([torch.arange(4)], 3, 5, seeded())


def test_masks_hide_words_only_and_one_at_least():
    ids = padded([torch.tensor([*range(5, 5 + length), END]) for length in (1, 2, 23, 47)])  # (B, S)
    assert ids.shape == (4, 49)
    share = []
    for seed in range(50):
        seen, wanted = mask_tokens(ids, 0.2, 4, seeded(seed))
        hidden = seen != ids
        assert (seen[hidden] == 4).all()
        assert torch.equal(wanted[hidden], ids[hidden])
        assert (wanted[~hidden] == PAD).all()
        assert hidden.any(dim=1).all()
        assert not hidden[(ids == PAD) | (ids == START) | (ids == END)].any()
        share.append(hidden[3].sum().item() / 47)
    assert 0.17 < sum(share) / len(share) < 0.23


def test_the_real_texts_are_what_the_book_says():
    try:
        works, sentences = text.shakespeare_works(), text.tatoeba_sentences()
    except SourceError as error:
        pytest.skip(str(error).partition("\n")[0])
    assert len(works) == 42
    assert len(set("".join(works))) == 84
    assert "To be, or not to be" in "".join(works)
    assert not re.search("gutenberg", "".join(works), re.IGNORECASE)
    assert len(sentences) == len(set(sentences)) > 178_000
