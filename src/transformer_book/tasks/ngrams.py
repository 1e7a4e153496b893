"""Count models of text, which a neural one has to beat: n-grams, and a word between its two neighbours.

Each interpolates: what follows a context is what was counted after it, each count less a discount, and the mass
that this frees goes to what a shorter context says.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from transformer_book.tasks.vocabulary import END, PAD, START


def interpolate(count: Tensor, total: Tensor, kinds: Tensor, lower: Tensor, discount: float) -> Tensor:
    """Return the probability of a token after a context, from counts and from what a shorter context says.

    Parameters
    ----------
    count
        How often the token was seen after the context.
    total
        How often the context was seen.
    kinds
        How many different tokens were seen after it.
    lower
        Probability of the token after the shorter context.
    discount
        What each count is lessened by, 0 … 1; the mass that is freed is shared out by `lower`.

    Returns
    -------
    Tensor
        As all arguments broadcast. After a context never seen it is `lower`.

    Notes
    -----
    Source: Ney, Essen & Kneser 1994, section 3 (absolute discounting, interpolated).
    """
    kept = (count - discount).clamp(min=0) + discount * kinds * lower
    return torch.where(total > 0, kept / total.clamp(min=1), lower)


class Counts:
    """How often each token followed each context.

    Parameters
    ----------
    contexts, tokens
        Integer ``(N,)`` each; a context is one number.
    vocabulary_size
        Number of token ids V.
    discount
        For `interpolate`; None estimates n₁ / (n₁ + 2 n₂), where n₁ and n₂ pairs were seen once and twice.
    """

    def __init__(self, contexts: Tensor, tokens: Tensor, vocabulary_size: int, discount: float | None) -> None:
        self.size = vocabulary_size
        self.pairs, self.counts = torch.unique(contexts * vocabulary_size + tokens, return_counts=True)
        seen, place = torch.unique(self.pairs // vocabulary_size, return_inverse=True)
        self.contexts, self.kinds = seen, torch.bincount(place)
        self.totals = torch.bincount(place, self.counts.double()).long()
        once, twice = int((self.counts == 1).sum()), int((self.counts == 2).sum())
        self.discount = (once / (once + 2 * twice) if once else 0.5) if discount is None else discount

    def probability(self, contexts: Tensor, tokens: Tensor, lower: Tensor) -> Tensor:
        """Return the probability of each of ``tokens (N,)`` after its context; `lower` as for `interpolate`."""
        count = _found(self.pairs, self.counts, contexts * self.size + tokens)
        total = _found(self.contexts, self.totals, contexts)
        kinds = _found(self.contexts, self.kinds, contexts)
        return interpolate(count, total, kinds, lower, self.discount)


def _found(keys: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return torch.where(keys[place] == wanted, values[place], 0).double()


class NgramModel:
    """Predict each token from the `order` − 1 tokens before it; shorter contexts down to none fill the gaps.

    Parameters
    ----------
    sequences
        What is counted, ids ``(n,)`` each.
    vocabulary_size
        Number of ids V.
    order
        2 for bigrams, 3 for trigrams.
    discount
        Of every order; None estimates it, see `Counts`.

    Raises
    ------
    ValueError
        `order` is below 1, or so large that V to its power has no 64-bit number; or there is nothing to count.
    """

    def __init__(
        self, sequences: Sequence[Tensor], vocabulary_size: int, order: int, discount: float | None = None
    ) -> None:
        if order < 1 or order * math.log2(vocabulary_size) >= 63:
            raise ValueError(f"order: expected an integer ≥ 1 with V^order below 2^63, got {order}")
        if not any(len(sequence) for sequence in sequences):
            raise ValueError("sequences: expected at least one token, got none")
        self.size, self.order, self.tables = vocabulary_size, order, []
        flat, places = self._flat(sequences)
        for n in range(order):
            self.tables.append(Counts(self._contexts(flat, places, n), flat[places], vocabulary_size, discount))

    def _flat(self, sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Lay all sequences into one, each after as many START as a context needs; return it and their places."""
        starts = torch.full((self.order - 1,), START)
        flat = torch.cat([part for sequence in sequences for part in (starts, sequence)])
        lengths = torch.tensor([len(sequence) for sequence in sequences])
        shifts = (self.order - 1) * torch.arange(1, len(sequences) + 1).repeat_interleave(lengths)
        return flat, torch.arange(int(lengths.sum())) + shifts

    def _contexts(self, flat: Tensor, places: Tensor, length: int) -> Tensor:
        """Make one number of the `length` tokens before each place."""
        contexts = torch.zeros_like(places)
        for back in range(length, 0, -1):
            contexts = contexts * self.size + flat[places - back]
        return contexts

    def log_probabilities(self, sequence: Tensor) -> Tensor:
        """Return ln p of each token of ``sequence (n,)``, given those before it."""
        probability = torch.full(sequence.shape, 1 / self.size, dtype=torch.float64)
        flat, places = self._flat([sequence])
        for length, table in enumerate(self.tables):
            probability = table.probability(self._contexts(flat, places, length), sequence, probability)
        return probability.log()


class NeighbourModel:
    """Predict a word from the word on its left and the word on its right: what counts can do for a masked word.

    Where both neighbours were seen together, what stood between them is counted; the gaps are filled from
    bigrams, by Bayes: p(w | l, r) ∝ p(w | l) · p(r | w).

    Parameters
    ----------
    sequences
        What is counted; each ends with END.
    vocabulary_size
        Number of ids V; two tables of V × V probabilities are kept.
    discount
        As for `NgramModel`.
    """

    def __init__(self, sequences: Sequence[Tensor], vocabulary_size: int, discount: float | None = None) -> None:
        self.size = vocabulary_size
        single, double = NgramModel(sequences, vocabulary_size, 2, discount).tables
        every = torch.arange(vocabulary_size)
        lower = single.probability(torch.zeros_like(every), every, torch.tensor(1 / vocabulary_size).double())
        self.after = lower.float().repeat(vocabulary_size, 1)  # (V, V): p(second | first)
        shares = double.discount * double.kinds / double.totals
        self.after[double.contexts] *= shares.float()[:, None]
        first = double.pairs // vocabulary_size
        kept = (double.counts - double.discount).clamp(min=0) / _found(double.contexts, double.totals, first)
        self.after[first, double.pairs % vocabulary_size] += kept.float()
        self.before = self.after.T.contiguous()  # a row of it is a column of the other, and read much faster
        self.table = Counts(*self._between(sequences), vocabulary_size, discount)

    def _between(self, sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return, for every token but START and END, the two beside it as one number, and itself."""
        start = torch.tensor([START])
        flat = torch.cat([part for sequence in sequences for part in (start, sequence)])
        places = ((flat != START) & (flat != END)).nonzero()[:, 0]
        return flat[places - 1] * self.size + flat[places + 1], flat[places]

    def log_probabilities(self, sequence: Tensor) -> Tensor:
        """Return ln p of each word of ``sequence (n,)`` but its END, given the two beside it, ``(n − 1,)``."""
        contexts, tokens = self._between([sequence])
        left, right = contexts // self.size, contexts % self.size
        both = self.after[left] * self.before[right]  # (n − 1, V)
        both[:, [PAD, START, END]] = 0.0  # none of these stands between two words
        lower = (both.gather(1, tokens[:, None])[:, 0] / both.sum(dim=1)).double()
        return self.table.probability(contexts, tokens, lower).log()
