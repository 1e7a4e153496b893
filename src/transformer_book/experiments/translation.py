"""C9.2: real sentences, English to French: a Transformer, a GRU with attention as large, and a look-up."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.experiments.nearest_sentence import SentenceIndex, words
from transformer_book.experiments.translation_models import (
    BEAM,
    SIZES,
    count_weights,
    new_recurrent_translator,
    new_translator,
    training_config,
    translate,
)
from transformer_book.plotting import MODELS, PALETTE, draw_series, figure_style, new_figure
from transformer_book.tasks.bleu import bleu, chrf, paired_bootstrap, sentence_statistics, signatures
from transformer_book.tasks.task import Example, Split
from transformer_book.tasks.translation import Translation
from transformer_book.training import Model, train

#: Systems compared, as drawn: role in `PALETTE`, marker, label.
SYSTEMS = {
    "transformer": MODELS["transformer"],
    "recurrent": MODELS["attention"],
    "nearest": ("muted", "s", "nearest sentence"),
}
TRAINED = ("transformer", "recurrent")

#: Most words of an English sentence of each class of length; the last has no bound.
LENGTHS = (5, 8, 12)

#: Points of a curve over training.
POINTS = 8


def measure(
    seeds: Sequence[int] = range(3),
    device: torch.device = CPU,
    size: str | None = None,
    steps: int | None = None,
    language: str = "fr",
    pairs: str | None = None,
    vocabulary_size: int | None = None,
    count: int = 400,
    samples: int = 1000,
    precision: str = "float32",
    progress: bool = False,
) -> Result:
    """Train both models on the same batches, translate the whole test split once, and compare.

    Parameters
    ----------
    seeds
        One set of first weights, batches and dropout each. The sentences and their split are always the same.
    device
        Where to compute.
    size
        One of `SIZES`; None takes ``"small"`` on a CPU and ``"base"`` elsewhere.
    steps
        Steps of each training; None takes the size's.
    language, pairs, vocabulary_size
        As for `Translation`; None takes the size's vocabulary.
    count
        Validation sentences, the first of the split, of the curves.
    samples
        Test sets drawn in the bootstrap.
    precision
        As for `TrainingConfig`.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        For each of `SYSTEMS`: ``bleu_*`` and ``chrf_*`` of the test split, of trained ones with a beam of `BEAM`;
        ``near_*`` and ``far_*``, BLEU of test sentences whose nearest training sentence differs by at most one
        word, and of all others; ``by_length_*``, BLEU by `LENGTHS`.
        For each of `TRAINED`: ``greedy_*``, BLEU without a beam; ``curve_*``, BLEU without a beam on validation
        sentences, before the mean of weights, after each of ``settings["points"]`` steps; ``seconds_*`` of
        training, curve excluded; ``parameters_*``. ``near_share``, the share of such sentences.
        ``over_recurrent`` and ``over_nearest``: BLEU of the Transformer over the other's, the 95 % interval of
        that by the paired bootstrap, and the share of samples in which it is no better; ``(4,)``.
    """
    name = size or ("small" if device.type == "cpu" else "base")
    sizes = SIZES[name]
    task = Translation(language, pairs, vocabulary_size or sizes.vocabulary_size)
    parts: dict[str, Any] = {"precision": precision} | ({} if steps is None else {"steps": steps})
    configs = {seed: training_config(sizes, seed, **parts) for seed in seeds}
    total = next(iter(configs.values())).steps if configs else 0
    points = sorted({max(1, round(total * part / POINTS)) for part in range(1, POINTS + 1)})

    def one_seed(seed: int) -> dict[str, object]:
        test = task.examples("test")
        references = [task.text(example.target) for example in test]
        transformer = new_translator(task, seed, sizes)
        weights = count_weights(transformer)
        models = {
            "transformer": transformer,
            "recurrent": new_recurrent_translator(task, seed, sizes, weights),
        }
        row: dict[str, object] = {}
        texts: dict[str, list[str]] = {}
        for system, model in models.items():
            curve = Curve(model, task, points, count)
            start = time.perf_counter()
            train(model, task, configs[seed], device, after_step=curve)
            row[f"seconds_{system}"] = time.perf_counter() - start - curve.seconds
            row[f"curve_{system}"] = curve.values
            row[f"parameters_{system}"] = count_weights(model)
            row[f"greedy_{system}"] = bleu(translate(model, task, test), references).value
            texts[system] = translate(model, task, test, BEAM)
        distances, texts["nearest"] = nearest_translations(task, "test")
        return row | compare(task, test, references, texts, distances, samples)

    settings = {
        "size": name,
        "language": language,
        "points": points,
        "count": count,
        "samples": samples,
        "pairs": {part: len(task.pairs(part)) for part in ("train", "validation", "test")},
        "subwords": len(task.source_vocabulary),
        "transformer": asdict(new_translator(task, 0, sizes).config),
        "training": asdict(training_config(sizes, 0, **parts)),
        "beam": BEAM,
        "lengths": list(LENGTHS),
        "signatures": signatures(),
    }
    return run_seeds("translation", seeds, device, settings, one_seed, progress)


class Curve:
    """Note BLEU on validation sentences at some moments of a training.

    Parameters
    ----------
    model, task
        What is trained, and on what.
    points
        Numbers of steps done at which to look.
    count
        How many sentences to translate, the first of the validation split.
    """

    def __init__(self, model: Model, task: Translation, points: Sequence[int], count: int) -> None:
        self.model, self.task, self.points = model, task, frozenset(points)
        self.examples = task.examples("validation")[:count]
        self.references = [task.text(example.target) for example in self.examples]
        self.values: list[float] = []
        self.seconds = 0.0

    def __call__(self, done: int) -> None:
        """Look, if the number of steps done is one of the points."""
        if done in self.points:
            start = time.perf_counter()
            self.values.append(bleu(translate(self.model, self.task, self.examples), self.references).value)
            self.seconds += time.perf_counter() - start


def nearest_translations(task: Translation, part: Split) -> tuple[list[int], list[str]]:
    """Translate each sentence of a split by the translation of the nearest training sentence.

    Returns
    -------
    distances : list of int
        Words by which the nearest differs.
    texts : list of str
        Its translation.
    """
    known = task.pairs("train")
    index = SentenceIndex([pair.source for pair in known])
    found = [index.nearest(pair.source) for pair in task.pairs(part)]
    return [nearest.distance for nearest in found], [known[nearest.number].target for nearest in found]


def compare(
    task: Translation,
    examples: Sequence[Example],
    references: Sequence[str],
    texts: dict[str, list[str]],
    distances: Sequence[int],
    samples: int,
) -> dict[str, object]:
    """Score the translations of all `SYSTEMS`: near training sentences, far from them, by length, in pairs."""
    near = np.array(distances) <= 1
    classes = np.searchsorted(LENGTHS, [len(words(task.text(example.source))) for example in examples])
    row: dict[str, object] = {"near_share": float(near.mean())}

    def score(system: str, chosen: np.ndarray) -> float:
        indices = np.flatnonzero(chosen).tolist()
        if not indices:  # a small file need not have a sentence of each kind
            return 0.0
        return bleu([texts[system][i] for i in indices], [references[i] for i in indices]).value

    for system in SYSTEMS:
        row[f"bleu_{system}"] = bleu(texts[system], references).value
        row[f"chrf_{system}"] = chrf(texts[system], references).value
        row[f"near_{system}"], row[f"far_{system}"] = score(system, near), score(system, ~near)
        row[f"by_length_{system}"] = [score(system, classes == number) for number in range(len(LENGTHS) + 1)]
    statistics = {system: sentence_statistics(texts[system], references) for system in SYSTEMS}
    for system in ("recurrent", "nearest"):
        row[f"over_{system}"] = [*paired_bootstrap(statistics["transformer"], statistics[system], samples)]
    return row


def failures(
    task: Translation, examples: Sequence[Example], translations: Sequence[str], each: int = 3
) -> list[dict[str, Any]]:
    """Pick the worst translations of each class of length, by chrF: a rule picks them, nobody's taste.

    Returns
    -------
    list of dict
        ``source``, ``reference``, ``translation`` and ``chrf``; short sentences first, the worst first.
    """
    rows = []
    for example, translation in zip(examples, translations, strict=True):
        source, reference = task.text(example.source), task.text(example.target)
        score = round(chrf([translation], [reference]).value, 1)
        rows.append({"source": source, "reference": reference, "translation": translation, "chrf": score})
    classes = np.searchsorted(LENGTHS, [len(words(row["source"])) for row in rows])
    picked = []
    for number in range(len(LENGTHS) + 1):
        group = [row for row, found in zip(rows, classes, strict=True) if found == number]
        picked += sorted(group, key=lambda row: row["chrf"])[:each]
    return picked


def table(result: Result) -> str:
    """Lay the figures out as text: one line for each system, means and half-widths over seeds."""
    lines = [f"{'':>18}  M weights  min  greedy   beam of {result.settings['beam']}  chrF  near   far"]
    for system, (_, _, label) in SYSTEMS.items():
        score, spread = float(result.mean(f"bleu_{system}")), float(result.half_width(f"bleu_{system}"))
        rest = "".join(f"{float(result.mean(f'{name}_{system}')):6.1f}" for name in ("chrf", "near", "far"))
        start = " " * 22
        if system in TRAINED:
            weights = float(result.mean(f"parameters_{system}")) / 1e6
            minutes = float(result.mean(f"seconds_{system}")) / 60
            start = f"{weights:9.2f}{minutes:5.1f}{float(result.mean(f'greedy_{system}')):8.1f}"
        lines.append(f"{label:>18}  {start}  {score:5.1f} ± {0 if system == 'nearest' else spread:.1f}{rest}")
    return "\n".join(lines)


@figure_style()
def plot(result: Result) -> Figure:
    """BLEU over training; on the test split near training sentences and far from them; by length."""
    figure, axes = new_figure(3, height=3.4)
    points = result.settings["points"]
    for system in TRAINED:
        curve, spread = result.mean(f"curve_{system}"), result.half_width(f"curve_{system}")
        draw_series(axes[0], points, curve, spread, *SYSTEMS[system])
    axes[0].set(xlabel="training step", ylabel="BLEU, validation, greedy", title="Learning", ylim=(0, None))
    kinds = {"bleu": "all", "near": "near", "far": "far"}
    classes = ["–".join(map(str, pair)) for pair in zip((1, 6, 9), LENGTHS, strict=True)] + ["13+"]
    for system, (role, marker, label) in SYSTEMS.items():
        for axis, names, values, spread in (
            (axes[1], kinds.values(), *_columns(result, [f"{kind}_{system}" for kind in kinds])),
            (axes[2], classes, result.mean(f"by_length_{system}"), result.half_width(f"by_length_{system}")),
        ):
            axis.errorbar(
                range(len(names)),
                values,
                yerr=np.nan_to_num(spread),
                color=PALETTE[role],
                marker=marker,
                lw=0 if axis is axes[1] else 1.5,
                elinewidth=1.5,
                capsize=2,
                label=label,
            )
            axis.set_xticks(range(len(names)), names)
    axes[1].set(xlabel="nearest training sentence", ylabel="BLEU, test", title="Near and far", ylim=(0, None))
    axes[1].set_xlim(-0.5, 2.5)
    axes[2].set(xlabel="English words", ylabel="BLEU, test", title="Length", ylim=(0, None))
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _columns(result: Result, quantities: Sequence[str]) -> tuple[list[float], list[float]]:
    means: Callable[[str], float] = lambda name: float(result.mean(name))  # noqa: E731
    return [means(name) for name in quantities], [float(result.half_width(name)) for name in quantities]


def _judge(result: Result) -> Verdict:
    scores = {system: result.array(f"bleu_{system}") for system in SYSTEMS}
    spread = {system: float(result.half_width(f"bleu_{system}")) for system in TRAINED}
    over = {system: result.array(f"over_{system}") for system in ("recurrent", "nearest")}  # (seeds, 4)
    weights = {system: float(result.mean(f"parameters_{system}")) for system in TRAINED}
    figure = (
        f"test BLEU, beam {result.settings['beam']}: Transformer {scores['transformer'].mean():.1f} ± "
        f"{spread['transformer']:.1f} ({weights['transformer'] / 1e6:.2f} M weights), GRU with attention "
        f"{scores['recurrent'].mean():.1f} ± {spread['recurrent']:.1f} ({weights['recurrent'] / 1e6:.2f} M), "
        f"nearest sentence {scores['nearest'].mean():.1f}; over the GRU {over['recurrent'][:, 0].mean():+.1f}, "
        f"lower ends of the 95 % intervals {over['recurrent'][:, 1].min():+.1f} and more, "
        f"p ≤ {over['recurrent'][:, 3].max():.3f}; "
        f"{100 * result.mean('near_share'):.0f} % of sentences are within one word of a training sentence, there "
        f"{float(result.mean('near_transformer')):.1f}, elsewhere {float(result.mean('far_transformer')):.1f}"
    )
    alike = abs(weights["recurrent"] / weights["transformer"] - 1) <= 0.1
    better = all((values[:, 1] > 0).all() and (values[:, 3] < 0.05).all() for values in over.values())
    return Verdict(bool(alike and better), figure)


CLAIMS = {
    "C9.2": Claim(
        "C9.2",
        "On real sentences, English to French, a Transformer translates better than a GRU with attention of the "
        "same size on the same batches, and than the translation of the nearest training sentence: for every "
        "seed, and by more than the choice of test sentences explains.",
        _judge,
    )
}
