"""What each part of the recipe buys in translation: the same training, with one part after another left out."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, run_seeds
from transformer_book.experiments.translation_models import SIZES, new_translator, training_config, translate
from transformer_book.plotting import PALETTE, figure_style, new_figure
from transformer_book.tasks.bleu import bleu, signatures
from transformer_book.tasks.translation import Translation
from transformer_book.training import train

#: Name of a training → its label, what is another in the model, what is another in the training.
VARIANTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "recipe": ("the recipe", {}, {}),
    "no_smoothing": ("no label smoothing", {}, {"label_smoothing": 0.0}),
    "straight": ("rate falls in a line", {}, {"schedule": "linear"}),
    "no_warmup": ("… without warm-up", {}, {"warmup": 0.0, "schedule": "linear"}),
    "no_averaging": ("last weights, no mean", {}, {"average_last": 1}),
    "random_batches": ("batches of all lengths", {}, {"batching": "random"}),
    "little_dropout": ("dropout 0.1", {"dropout": 0.1}, {}),
    "own_embeddings": ("three embeddings", {"shared_embeddings": False}, {}),
    "post_norm": ("norms after", {"norm_first": False}, {}),
}


def measure(
    seeds: Sequence[int] = range(3),
    device: torch.device = CPU,
    size: str | None = None,
    steps: int | None = None,
    pairs: str | None = None,
    vocabulary_size: int | None = None,
    variants: Sequence[str] = tuple(VARIANTS),
    progress: bool = False,
) -> Result:
    """Train the Transformer once with the recipe and once with each part of it changed; judge on validation.

    The paper's schedule has no meaning without warm-up. So the learning rate also falls in a straight line, after
    warm-up and without: these two are to be compared.

    Parameters
    ----------
    seeds
        One set of first weights, batches and dropout each, the same for all variants.
    device
        Where to compute.
    size, pairs, vocabulary_size
        As for `transformer_book.experiments.translation.measure`.
    steps
        Steps of each training; None takes a third of the size's.
    variants
        Some of `VARIANTS`.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        For each variant: ``bleu_*``, without a beam, on the whole validation split; ``loss_*``, of training, mean
        over the last tenth of the steps, in nats per subword, which label smoothing makes larger; ``seconds_*``.
    """
    name = size or ("small" if device.type == "cpu" else "base")
    sizes = SIZES[name]
    task = Translation("fr", pairs, vocabulary_size or sizes.vocabulary_size)
    steps = int(sizes.training["steps"]) // 3 if steps is None else steps

    def one_seed(seed: int) -> dict[str, object]:
        examples = task.examples("validation")
        references = [task.text(example.target) for example in examples]
        task.examples("train")  # read now, so that no training has to wait for it
        row: dict[str, object] = {}
        for variant in variants:
            _, parts, changes = VARIANTS[variant]
            model = new_translator(task, seed, sizes, **parts)
            start = time.perf_counter()
            losses = train(model, task, training_config(sizes, seed, steps=steps, **changes), device)
            row[f"seconds_{variant}"] = time.perf_counter() - start
            row[f"loss_{variant}"] = float(np.mean(losses[-max(1, len(losses) // 10) :]))
            row[f"bleu_{variant}"] = bleu(translate(model, task, examples), references).value
        return row

    settings = {
        "size": name,
        "steps": steps,
        "variants": list(variants),
        "subwords": len(task.source_vocabulary),
        "signature": signatures()["bleu"],
    }
    return run_seeds("translation_recipe", seeds, device, settings, one_seed, progress)


def table(result: Result) -> str:
    """Lay the figures out as text: one line for each variant, and what it is above or below the recipe."""
    lines = [f"{'':>22}   BLEU           beside the recipe   minutes"]
    recipe = result.array("bleu_recipe")
    for variant in result.settings["variants"]:
        score, spread = float(result.mean(f"bleu_{variant}")), float(result.half_width(f"bleu_{variant}"))
        difference = float((result.array(f"bleu_{variant}") - recipe).mean())
        minutes = float(result.mean(f"seconds_{variant}")) / 60
        lines.append(
            f"{VARIANTS[variant][0]:>22}  {score:5.1f} ± {spread:4.1f}  {difference:+12.1f}  {minutes:14.1f}"
        )
    return "\n".join(lines)


@figure_style()
def plot(result: Result) -> Figure:
    """Draw validation BLEU of each variant, seed by seed, and its mean."""
    figure, [axis] = new_figure(height=3.4)
    names = result.settings["variants"]
    for place, name in enumerate(names):
        scores = result.array(f"bleu_{name}")
        role, marker = ("query", "o") if name == "recipe" else ("key", "s")
        axis.plot(scores, np.full(len(scores), place), color=PALETTE[role], marker=marker, lw=0, alpha=0.6)
        axis.plot([scores.mean()], [place], color=PALETTE[role], marker="|", ms=14, mew=2)
    axis.set_yticks(range(len(names)), [VARIANTS[name][0] for name in names])
    axis.invert_yaxis()
    axis.set(xlabel="BLEU, validation, greedy")
    return figure


CLAIMS: dict[str, Claim] = {}
