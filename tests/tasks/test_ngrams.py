"""Count models: numbers counted by hand, probabilities that sum to one, and what each model may look at."""

import math

import pytest
import torch

from transformer_book.tasks.ngrams import Counts, NeighbourModel, NgramModel, interpolate
from transformer_book.tasks.vocabulary import END

A, B, C = 3, 4, 5
SIZE = 6


def ids(*numbers):
    return torch.tensor(numbers)


def test_interpolation_by_hand():
    """After the context: three times one token, once another. Discount one half, two kinds: 1/4 is freed."""
    lower = torch.tensor([0.5, 0.25, 0.25]).double()
    count = torch.tensor([3, 1, 0]).double()
    probability = interpolate(count, torch.tensor(4.0), torch.tensor(2.0), lower, 0.5)
    assert probability.tolist() == [2.5 / 4 + 0.25 * 0.5, 0.5 / 4 + 0.25 * 0.25, 0.25 * 0.25]
    assert probability.sum() == 1
    assert interpolate(count, torch.tensor(0.0), torch.tensor(0.0), lower, 0.5).tolist() == lower.tolist()


def test_bigrams_by_hand():
    """The text is a b a b a c."""
    model = NgramModel([ids(A, B, A, B, A, C)], SIZE, 2, discount=0.5)
    uniform = 1 / SIZE
    single = {A: (2.5 + 1.5 * uniform) / 6, B: (1.5 + 1.5 * uniform) / 6, C: (0.5 + 1.5 * uniform) / 6}
    start = (0.5 + 0.5 * single[A]) / 1  # START was followed by a, once
    after_a = {B: (1.5 + 1.0 * single[B]) / 3, C: (0.5 + 1.0 * single[C]) / 3}
    expected = [start, after_a[C], single[B]]  # nothing was ever seen after c
    assert model.log_probabilities(ids(A, C, B)).exp().tolist() == pytest.approx(expected, abs=1e-12)


def test_discount_is_estimated_from_what_was_seen_once_and_twice():
    table = Counts(ids(0, 0, 0, 1, 1, 2), ids(3, 3, 4, 3, 3, 5), SIZE, None)  # two pairs twice, two once
    assert table.discount == 2 / (2 + 2 * 2)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_ngrams_sum_to_one_and_see_no_further_than_they_may(order):
    generator = torch.Generator().manual_seed(order)
    text = [torch.randint(3, SIZE, (length,), generator=generator) for length in (97, 31)]
    model = NgramModel(text, SIZE, order)
    base = torch.randint(3, SIZE, (11,), generator=generator)
    rows = [torch.cat([base[:7], ids(last)]) for last in range(SIZE)]
    assert sum(model.log_probabilities(row)[-1].exp() for row in rows) == pytest.approx(1.0, abs=1e-9)
    far = base.clone()
    far[10 - order] = 3 + (far[10 - order] - 2) % 3  # one token further back than the context
    assert model.log_probabilities(far)[10] == model.log_probabilities(base)[10]
    if order > 1:
        near = base.clone()
        near[9] = 3 + (near[9] - 2) % 3
        assert model.log_probabilities(near)[10] != model.log_probabilities(base)[10]


def test_longer_contexts_predict_a_text_that_has_them():
    text = ids(*[A, A, B, A, B, B] * 40, C)
    losses = [-NgramModel([text], SIZE, order).log_probabilities(text).mean().item() for order in (1, 2, 3, 4)]
    assert losses == sorted(losses, reverse=True)
    assert losses[3] < 0.1 < losses[1]


@pytest.mark.parametrize(("order", "vocabulary"), [(0, 6), (9, 256)])
def test_wrong_order(order, vocabulary):
    with pytest.raises(ValueError, match="order: expected an integer ≥ 1 with V\\^order below 2\\^63"):
        NgramModel([ids(A)], vocabulary, order)


def test_nothing_to_count():
    with pytest.raises(ValueError, match="sequences: expected at least one token, got none"):
        NgramModel([], SIZE, 2)


def sentences(count, generator):
    rows = [torch.randint(3, SIZE, (5,), generator=generator) for _ in range(count)]
    return [torch.cat([row, ids(END)]) for row in rows]


def test_neighbours_by_bayes_where_both_were_never_seen_together():
    """Seen: a b, and c c; asked for: a ? c, which has no counts of its own."""
    model = NeighbourModel([ids(A, B, END), ids(C, C, END)], SIZE, discount=0.5)
    pairs = NgramModel([ids(A, B, END), ids(C, C, END)], SIZE, 2, discount=0.5)

    def bigram(first, second):
        return math.exp(pairs.log_probabilities(ids(first, second))[1])

    shares = {w: bigram(A, w) * bigram(w, C) for w in (A, B, C)}
    said = model.log_probabilities(ids(A, B, C, END)).exp()
    assert said[1].item() == pytest.approx(shares[B] / sum(shares.values()), rel=1e-5)
    assert len(said) == 3


def test_neighbours_sum_to_one_and_look_both_ways():
    generator = torch.Generator().manual_seed(0)
    model = NeighbourModel(sentences(30, generator), SIZE)
    total = sum(model.log_probabilities(ids(A, w, C, END))[1].exp() for w in (A, B, C))
    assert total.item() == pytest.approx(1.0, abs=1e-5)
    base = model.log_probabilities(ids(A, B, C, A, END))
    right, far = model.log_probabilities(ids(A, B, B, A, END)), model.log_probabilities(ids(A, B, C, B, END))
    assert right[1] != base[1]
    assert far[1] == base[1]
    assert far[2] != base[2]


def test_neighbours_beat_bigrams_where_the_right_side_tells():
    """The word in the middle is that at the end, and nothing before it tells which."""
    text = [ids(A, w, w, END) for w in (A, B, C) * 20]
    both = NeighbourModel(text, SIZE).log_probabilities(text[1])[1].exp()
    left = NgramModel(text, SIZE, 2).log_probabilities(text[1])[1].exp()
    assert both > 0.9 > 0.6 > left
