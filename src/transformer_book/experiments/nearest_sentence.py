"""Translation without learning: find the sentence most like this one, and say what its translation was."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from transformer_book.tasks.metrics import edit_distance

_NOWHERE = np.array([], dtype=np.int64)
_WORDS = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def words(sentence: str) -> tuple[str, ...]:
    """List the words of a sentence, without case and punctuation; *don't* is one."""
    return tuple(_WORDS.findall(sentence.casefold()))


class Nearest(NamedTuple):
    """Which of the sentences is nearest, from 0, and how many words have to be added, left out or replaced."""

    number: int
    distance: int


class SentenceIndex:
    """Find the nearest of many sentences by the edit distance of their words, without comparing with all of them.

    Two sentences of m and n words that share k, counted as often as both have them, are at least max(m, n) − k
    edits apart. An index of words gives k for all sentences at once, and only those are compared whose bound is
    below the best distance so far.

    Parameters
    ----------
    sentences
        At least one.

    Raises
    ------
    ValueError
        There are none.
    """

    def __init__(self, sentences: Sequence[str]) -> None:
        if not sentences:
            raise ValueError("sentences: expected at least one, got none")
        self._words = [words(sentence) for sentence in sentences]
        self._lengths = np.array([len(found) for found in self._words])
        places: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        for index, found in enumerate(self._words):
            for word, count in Counter(found).items():
                for nth in range(count):
                    places[word, nth].append(index)
        self._places = {key: np.array(found) for key, found in places.items()}

    def nearest(self, sentence: str) -> Nearest:
        """Find the nearest; of several, one that shares most words for its length, and of these the first."""
        asked = words(sentence)
        shared = np.zeros(len(self._words), dtype=np.int64)
        for word, count in Counter(asked).items():
            for nth in range(count):
                shared[self._places.get((word, nth), _NOWHERE)] += 1
        bounds = np.maximum(self._lengths, len(asked)) - shared
        best = Nearest(-1, max(len(asked), int(self._lengths.max())) + 1)
        for index in np.argsort(bounds, kind="stable"):
            if bounds[index] >= best.distance:
                break
            if (distance := edit_distance(asked, self._words[index])) < best.distance:
                best = Nearest(int(index), distance)
        return best
