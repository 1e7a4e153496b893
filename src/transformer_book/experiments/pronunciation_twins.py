"""C3.5: words to phonemes with one context vector and with attention, twins in everything else, by word length."""

import random
from collections.abc import Sequence

import torch
from matplotlib.figure import Figure

from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.plotting import MODELS, draw_series, figure_style, new_figure
from transformer_book.seq2seq import Seq2SeqConfig
from transformer_book.tasks.pronunciation import Pronunciation, phoneme_error, words_of
from transformer_book.training import TrainingConfig, new_model, predict, train

#: Name in `MODELS` → score of the decoder.
SCORES = {"gru": "none", "attention": "additive"}
LETTERS = ((3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 16))


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    width: int = 128,
    steps: int = 1500,
    count: int = 290,
    letters: Sequence[tuple[int, int]] = LETTERS,
    progress: bool = False,
) -> Result:
    """Train both twins on the same words in the same order, and compare their phoneme errors on unseen words.

    Parameters
    ----------
    seeds
        One set of first weights, batches and test words each.
    device
        Where to compute.
    width
        Width D of the states; embeddings have 32.
    steps
        Batches of 64 words.
    count
        Test words per group.
    letters
        Shortest and longest word of each group.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        For ``gru`` and ``attention``: ``error_*``, phoneme error by group, each word against the closest
        pronunciation listed; ``parameters_*``.

    Raises
    ------
    transformer_book.tasks.sources.SourceError
        The dictionary cannot be had.
    """
    task = Pronunciation()
    sizes = (len(task.source_vocabulary), len(task.target_vocabulary))

    def one_seed(seed: int) -> dict[str, object]:
        groups = [
            random.Random(f"{seed}/{low}").sample(words_of("test", low, high), count) for low, high in letters
        ]
        row: dict[str, object] = {}
        for name, score in SCORES.items():
            model = new_model(Seq2SeqConfig(*sizes, d_hidden=width, score=score), seed)
            config = TrainingConfig(steps=steps, batch_size=64, learning_rate=5e-3, seed=seed)
            train(model, task, config, device=device)
            row[f"error_{name}"] = [phoneme_error(predict(model, task, words), words) for words in groups]
            row[f"parameters_{name}"] = sum(parameter.numel() for parameter in model.parameters())
        return row

    settings = {"width": width, "steps": steps, "count": count, "letters": [list(group) for group in letters]}
    return run_seeds("pronunciation_twins", seeds, device, settings, one_seed, progress)


@figure_style()
def plot(result: Result) -> Figure:
    """Phoneme error of both twins by word length."""
    figure, [axis] = new_figure(height=3.2)
    groups = result.settings["letters"]
    for name in SCORES:
        role, marker, label = MODELS[name]
        label = "GRU, one context vector" if name == "gru" else label
        mean, spread = result.mean(f"error_{name}"), result.half_width(f"error_{name}")
        draw_series(axis, range(len(groups)), mean, spread, role, marker, label)
    axis.set_xticks(range(len(groups)), [f"{low}–{high}" for low, high in groups])
    axis.set(xlabel="letters in the word", ylabel="phoneme error, unseen words", ylim=(0, None))
    axis.legend()
    return figure


def _judge(result: Result) -> Verdict:
    error = {name: result.mean(f"error_{name}") for name in SCORES}
    short, long = (error["gru"][i] - error["attention"][i] for i in (1, -1))
    low, high = result.settings["letters"][1], result.settings["letters"][-1]
    figure = (
        f"phoneme error, {low[0]}–{low[1]} letters: {error['gru'][1]:.3f} with one vector, "
        f"{error['attention'][1]:.3f} with attention; {high[0]}–{high[1]} letters: {error['gru'][-1]:.3f} and "
        f"{error['attention'][-1]:.3f}"
    )
    return Verdict(bool(long > 2 * abs(short) and long > 0.05), figure)


CLAIMS = {
    "C3.5": Claim(
        "C3.5",
        "Of two twins trained on the same words, the one with a single context vector does worse the longer the "
        "word; attention takes the difference away. So the rise in error is the vector's, not the rare words'.",
        _judge,
    )
}
