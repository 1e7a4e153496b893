"""How good translations are, in the field's own figures, and whether two systems differ by more than chance."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF


class Score(NamedTuple):
    """A figure from 0 to 100, and the signature of how it was come by."""

    value: float
    signature: str


def bleu(predictions: Sequence[str], references: Sequence[str]) -> Score:
    """Compute BLEU: how many words, and runs of two, three and four, a translation shares with its reference.

    Parameters
    ----------
    predictions, references
        Equally many texts, at least one: as a person reads them, cut into words by sacreBLEU alone.

    Raises
    ------
    ValueError
        There are none, or not equally many.

    Notes
    -----
    Source: Papineni et al. 2002; Post 2018 (sacreBLEU, whose signature makes a figure comparable).
    """
    return _score(_bleu(), predictions, references)


def chrf(predictions: Sequence[str], references: Sequence[str]) -> Score:
    """Compute chrF: an F-score of the runs of one to six characters that a translation shares with its reference.

    Parameters
    ----------
    predictions, references
        As for `bleu`.

    Raises
    ------
    ValueError
        There are none, or not equally many.

    Notes
    -----
    Source: Popović 2015; Post 2018.
    """
    from sacrebleu.metrics.chrf import CHRF

    return _score(CHRF(), predictions, references)


def signatures() -> dict[str, str]:
    """Say how `bleu` and `chrf` compute, as sacreBLEU writes it: case, words, smoothing, version."""
    return {"bleu": bleu(["."], ["."]).signature, "chrf": chrf(["."], ["."]).signature}


class Difference(NamedTuple):
    """How two systems compare on one test set.

    bleu
        BLEU of the first less BLEU of the second.
    low, high
        Within these it is in 95 % of the resampled test sets.
    p_value
        Share of the resampled test sets on which the other one is at least as good.
    """

    bleu: float
    low: float
    high: float
    p_value: float


def sentence_statistics(predictions: Sequence[str], references: Sequence[str]) -> NDArray[np.int64]:
    """Count what BLEU is made from, sentence by sentence.

    Parameters
    ----------
    predictions, references
        As for `bleu`.

    Returns
    -------
    array
        Shape ``(N, 10)``: runs of one to four words shared, such runs in the prediction, words of the prediction,
        words of the reference. BLEU is a function of their sum.

    Raises
    ------
    ValueError
        There are none, or not equally many.
    """
    _check(predictions, references)
    metric = _bleu(effective_order=True)
    scores = [metric.sentence_score(ours, [theirs]) for ours, theirs in zip(predictions, references, strict=True)]
    return np.array([[*score.counts, *score.totals, score.sys_len, score.ref_len] for score in scores])


def bleu_of_sums(sums: NDArray[np.int64]) -> float:
    """Compute BLEU from sums ``(10,)`` of `sentence_statistics`."""
    counts, totals, lengths = sums[:4].tolist(), sums[4:8].tolist(), sums[8:].tolist()
    return _bleu().compute_bleu(counts, totals, *lengths, smooth_method="exp").score  # as `bleu` has by itself


def paired_bootstrap(
    first: NDArray[np.int64], second: NDArray[np.int64], samples: int = 1000, seed: int = 0
) -> Difference:
    """Draw test sets anew from one test set, and see how often the better of two systems is better on them.

    Parameters
    ----------
    first, second
        `sentence_statistics` of two systems on the same sentences.
    samples
        Test sets drawn, each of as many sentences, with replacement; both systems are judged on the same.
    seed
        Of the draws.

    Raises
    ------
    ValueError
        The systems have not equally many sentences, or `samples` is below 1.

    Notes
    -----
    Source: Koehn 2004, section 4.
    """
    if first.shape != second.shape or samples < 1:
        raise ValueError(
            "first, second and samples: expected as many sentences and at least one sample, "
            f"got {len(first)} and {len(second)} sentences and {samples} samples"
        )
    count = len(first)
    draws = np.random.default_rng(seed).multinomial(count, [1 / count] * count, size=samples)  # (samples, N)
    differences = np.array(
        [
            bleu_of_sums(ours) - bleu_of_sums(theirs)
            for ours, theirs in zip(draws @ first, draws @ second, strict=True)
        ]
    )
    observed = bleu_of_sums(first.sum(axis=0)) - bleu_of_sums(second.sum(axis=0))
    low, high = np.quantile(differences, (0.025, 0.975))
    return Difference(observed, float(low), float(high), float(np.mean(differences * np.sign(observed) <= 0)))


def _bleu(effective_order: bool = False) -> "BLEU":
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=effective_order)


def _score(metric: "BLEU | CHRF", predictions: Sequence[str], references: Sequence[str]) -> Score:
    _check(predictions, references)
    value = metric.corpus_score(list(predictions), [list(references)]).score
    return Score(value, str(metric.get_signature()))


def _check(predictions: Sequence[str], references: Sequence[str]) -> None:
    if not references or len(predictions) != len(references):
        raise ValueError(
            "predictions and references: expected equally many, at least one, "
            f"got {len(predictions)} predictions and {len(references)} references"
        )
