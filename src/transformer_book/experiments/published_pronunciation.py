"""C2.4: published weights that squeeze a word through one vector: phoneme error by word length."""

import random
from collections.abc import Sequence

import torch
from matplotlib.figure import Figure

from transformer_book.decoding import greedy_decode
from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.plotting import draw_series, figure_style, new_figure
from transformer_book.seq2seq import Seq2Seq
from transformer_book.tasks.pronunciation import (
    LETTERS,
    PUBLISHED_PHONEMES,
    load_published,
    phoneme_error,
    pronunciations,
)
from transformer_book.weights import load_published_g2p

LENGTHS = (3, 5, 7, 9, 11, 13, 15, 17)
_FIRST_LETTER, _END, _FIRST_PHONEME = 3, 2, 4  # ids of the published vocabularies


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    lengths: Sequence[int] = LENGTHS,
    count: int = 400,
    progress: bool = False,
) -> Result:
    """Let the published model pronounce random words of the CMU dictionary, most of which it was trained on.

    Parameters
    ----------
    seeds
        One sample of words each.
    device
        Where to compute.
    lengths
        Numbers of letters, ascending; at least two.
    count
        Words per length; all there are, if they are fewer.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        ``error``: phoneme error by length, each word against the closest pronunciation listed.

    Raises
    ------
    transformer_book.tasks.sources.SourceError
        The weights or the dictionary cannot be had.
    """
    model = load_published_g2p(load_published()).to(device)
    words = {n: sorted(word for word in pronunciations() if len(word) == n) for n in lengths}

    def one_seed(seed: int) -> dict[str, list[float]]:
        chosen = [random.Random(f"{seed}/{n}").sample(words[n], min(count, len(words[n]))) for n in lengths]
        return {"error": [phoneme_error(pronounce(model, group), group) for group in chosen]}

    settings = {"lengths": list(lengths), "count": count}
    return run_seeds("published_pronunciation", seeds, device, settings, one_seed, progress)


def pronounce(model: Seq2Seq, words: Sequence[str]) -> list[list[str]]:
    """Let the published model write the phonemes of words, greedily.

    Parameters
    ----------
    model
        From `transformer_book.weights.load_published_g2p`.
    words
        Of the letters a … z, all of one length.
    """
    ids = [[_FIRST_LETTER + LETTERS.index(letter) for letter in word] + [_END] for word in words]
    source = torch.tensor(ids, device=next(model.parameters()).device)  # (B, S)
    rows = greedy_decode(model, source, max_length=2 * source.shape[1]).tolist()
    return [[PUBLISHED_PHONEMES[i - _FIRST_PHONEME] for i in row if i >= _FIRST_PHONEME] for row in rows]


@figure_style()
def plot(result: Result) -> Figure:
    """Phoneme error by word length."""
    figure, [axis] = new_figure(height=3.0)
    mean, spread = result.mean("error"), result.half_width("error")
    draw_series(axis, result.settings["lengths"], mean, spread, "query", "o", "published GRU, one context vector")
    axis.set(xlabel="letters in the word", ylabel="phoneme error", ylim=(0, None))
    axis.legend()
    return figure


def _judge(result: Result) -> Verdict:
    lengths, error = result.settings["lengths"], result.mean("error")
    figure = "phoneme error by letters: " + ", ".join(f"{n}: {e:.3f}" for n, e in zip(lengths, error, strict=True))
    return Verdict(bool(error[-1] > 2 * error[1] and lengths[1] <= 7), figure)


CLAIMS = {
    "C2.4": Claim(
        "C2.4",
        "A published model that passes every word through one vector makes more errors, per phoneme, on longer "
        "words. This is a correlation: long words are rarer, too.",
        _judge,
    )
}
