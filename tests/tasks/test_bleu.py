"""BLEU, chrF and the bootstrap: against sacreBLEU called directly, against counts by hand, against known cases."""

import random

import numpy as np
import pytest
import sacrebleu

from transformer_book.tasks.bleu import (
    bleu,
    bleu_of_sums,
    chrf,
    paired_bootstrap,
    sentence_statistics,
    signatures,
)

REFERENCES = [
    "Le chat est sur le tapis.",
    "Il ne m'a pas vu ; c'est dommage, n'est-ce pas ?",
    "Où est la gare ?",
    "Je n'en sais rien du tout.",
    "Oui.",
]
PREDICTIONS = [
    "Le chat est sur la table.",
    "Il ne m'a pas vu, c'est dommage !",
    "Où se trouve la gare ?",
    "je n'en sais rien du tout",
    "",
]


def shuffled(texts: list[str], share: float, seed: int) -> list[str]:
    """Spoil a share of the texts by putting their words in another order."""
    generator = random.Random(seed)

    def spoilt(text: str) -> str:
        words = text.split()
        generator.shuffle(words)
        return " ".join(words)

    return [spoilt(text) if generator.random() < share else text for text in texts]


LONG = [
    f"le {a} voit le {b} près de la {c} de {d} ." for a in "ABCD" for b in "EFGHI" for c in "JKL" for d in "MN"
]


@pytest.mark.parametrize(("ours", "theirs"), [(bleu, sacrebleu.corpus_bleu), (chrf, sacrebleu.corpus_chrf)])
def test_scores_are_those_of_sacrebleu_on_the_texts(ours, theirs) -> None:
    assert 0 < ours(PREDICTIONS, REFERENCES).value < 100
    assert ours(PREDICTIONS, REFERENCES).value == theirs(PREDICTIONS, [REFERENCES]).score
    assert ours(REFERENCES, REFERENCES).value == pytest.approx(100)


def test_the_signature_says_how() -> None:
    version = f"version:{sacrebleu.__version__}"
    assert bleu(PREDICTIONS, REFERENCES).signature == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|{version}"
    assert chrf(PREDICTIONS, REFERENCES).signature == f"nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|{version}"
    assert signatures() == {
        "bleu": bleu(PREDICTIONS, REFERENCES).signature,
        "chrf": chrf(PREDICTIONS, REFERENCES).signature,
    }


def test_statistics_counted_by_hand() -> None:
    [row] = sentence_statistics(["the the cat sat ."], ["the cat sat down ."])
    # runs shared: the, cat, sat, . / "the cat", "cat sat" / "the cat sat" / none; runs in all; words of both
    assert row.tolist() == [4, 2, 1, 0, 5, 4, 3, 2, 5, 5]


@pytest.mark.parametrize("predictions", [PREDICTIONS, PREDICTIONS[:1] * 5, ["non"] * 5, [""] * 5])
def test_bleu_is_a_function_of_the_sum_of_statistics(predictions: list[str]) -> None:
    sums = sentence_statistics(predictions, REFERENCES).sum(axis=0)
    assert bleu_of_sums(sums) == pytest.approx(bleu(predictions, REFERENCES).value, abs=1e-12)


def test_two_equal_systems_do_not_differ() -> None:
    rows = sentence_statistics(shuffled(LONG, 0.5, 0), LONG)
    assert paired_bootstrap(rows, rows, samples=31) == (0.0, 0.0, 0.0, 1.0)


def test_a_better_system_is_better_on_all_samples() -> None:
    good, bad = (sentence_statistics(shuffled(LONG, share, 1), LONG) for share in (0.1, 0.9))
    found = paired_bootstrap(good, bad, samples=199)
    assert found.bleu == pytest.approx(bleu_of_sums(good.sum(axis=0)) - bleu_of_sums(bad.sum(axis=0)))
    assert 0 < found.low < found.bleu < found.high
    assert found.p_value == 0.0
    turned = paired_bootstrap(bad, good, samples=199)
    assert turned == pytest.approx((-found.bleu, -found.high, -found.low, 0.0))


def test_systems_better_on_one_half_each_cannot_be_told_apart() -> None:
    perfect, none = (sentence_statistics(texts, LONG) for texts in (LONG, shuffled(LONG, 1, 2)))
    half = len(LONG) // 2
    first = np.concatenate([perfect[:half], none[half:]])
    second = np.concatenate([none[:half], perfect[half:]])
    found = paired_bootstrap(first, second, samples=499)
    assert found.low < 0 < found.high
    assert 0.1 < found.p_value < 0.9


def test_the_interval_is_that_of_samples_drawn_one_by_one() -> None:
    first, second = (sentence_statistics(shuffled(LONG, share, 3), LONG) for share in (0.3, 0.5))
    generator = np.random.default_rng(7)
    differences = []
    for _ in range(2000):
        rows = generator.integers(len(LONG), size=len(LONG))
        differences.append(bleu_of_sums(first[rows].sum(axis=0)) - bleu_of_sums(second[rows].sum(axis=0)))
    found = paired_bootstrap(first, second, samples=2000, seed=11)
    low, high = np.quantile(differences, (0.025, 0.975))
    spread = float(np.std(differences))
    assert found.low == pytest.approx(low, abs=spread / 4)
    assert found.high == pytest.approx(high, abs=spread / 4)
    assert found == paired_bootstrap(first, second, samples=2000, seed=11)
    assert found != paired_bootstrap(first, second, samples=2000, seed=12)


@pytest.mark.parametrize("function", [bleu, chrf, sentence_statistics])
@pytest.mark.parametrize(("predictions", "references"), [([], []), (["a"], ["a", "b"])])
def test_texts_that_do_not_fit(function, predictions: list[str], references: list[str]) -> None:
    message = (
        "predictions and references: expected equally many, at least one, got "
        f"{len(predictions)} predictions and {len(references)} references"
    )
    with pytest.raises(ValueError, match=f"^{message}$"):
        function(predictions, references)


def test_systems_that_do_not_fit() -> None:
    rows = sentence_statistics(PREDICTIONS, REFERENCES)
    for first, second, samples in ((rows, rows[:3], 5), (rows, rows, 0)):
        with pytest.raises(ValueError, match=r"^first, second and samples: expected as many sentences"):
            paired_bootstrap(first, second, samples)
