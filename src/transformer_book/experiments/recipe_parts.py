"""C9.5: what each part of the recipe buys: label smoothing, warm-up, averaged checkpoints, batches by length."""

import copy
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, half_width, run_seeds
from transformer_book.experiments.date_models import exact_match, new_reader
from transformer_book.plotting import PALETTE, figure_style, new_figure
from transformer_book.tasks.dates import Dates
from transformer_book.tasks.task import collate
from transformer_book.training import TrainingConfig, average_weights, evaluate, padding_share, train
from transformer_book.transformer import Transformer

#: What is switched, each by itself; "recipe" is all of it as it is.
SWITCHES: dict[str, dict[str, Any]] = {
    "recipe": {},
    "no_smoothing": {"label_smoothing": 0.0},
    "no_warmup": {"warmup": 0.0},
    "fast": {"learning_rate": 3e-2},
    "fast_no_warmup": {"learning_rate": 3e-2, "warmup": 0.0},
    "inverse_sqrt": {"schedule": "inverse_sqrt"},
    "by_length": {"batching": "length"},
}
LABELS = {
    "recipe": "recipe",
    "no_smoothing": "no smoothing",
    "no_warmup": "no warm-up",
    "fast": "three times the rate",
    "fast_no_warmup": "the same, no warm-up",
    "inverse_sqrt": "falls as 1/√step",
    "by_length": "batches by length",
}
RECIPE = TrainingConfig(batch_size=64, learning_rate=1e-2, warmup=0.1, label_smoothing=0.1)


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    steps: int = 1000,
    count: int = 2000,
    every: int = 50,
    last: int = 5,
    switches: Sequence[str] = tuple(SWITCHES),
    progress: bool = False,
) -> Result:
    """Train the same Transformer on dates with one part of the recipe changed at a time.

    Parameters
    ----------
    seeds
        One set of first weights, batches and test dates each, the same with every switch.
    device
        Where to compute.
    steps
        Batches of 64 dates; a multiple of `every`.
    count
        Test dates, of days that no training date has.
    every
        Steps between looks at 256 validation dates, and between the weights that are averaged.
    last
        How many of those are averaged, up to the end.
    switches
        Some of `SWITCHES`, "recipe" among them.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        For each switch: ``exact_*``, share of test dates read right; ``averaged_*``, the same with the average of
        the last weights; ``curve_*``, share of validation dates read right, by look; ``nats_*``, −log p of the
        right token without any smoothing; ``right_*``, share of tokens that are the most probable, and
        ``confidence_*``, the mean probability of the most probable one, both with teacher forcing.
        ``padding_random`` and ``padding_length``: share of padding in training batches, see `padding_share`.
    """

    def one_seed(seed: int) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for name in switches:
            config = replace(RECIPE, steps=steps, seed=seed, **SWITCHES[name])
            model, curve, average = _trained(config, device, every, last)
            row[f"curve_{name}"] = curve
            row[f"exact_{name}"] = exact_match(model, count, seed)
            row[f"nats_{name}"], row[f"right_{name}"], row[f"confidence_{name}"] = token_statistics(
                model, count, seed
            )
            model.load_state_dict(average)
            row[f"averaged_{name}"] = exact_match(model, count, seed)
        for batching in ("random", "length"):
            row[f"padding_{batching}"] = padding_share(Dates(), replace(RECIPE, seed=seed, batching=batching))
        return row

    settings = {"steps": steps, "count": count, "every": every, "last": last, "switches": list(switches)}
    return run_seeds("recipe_parts", seeds, device, settings, one_seed, progress)


def _trained(
    config: TrainingConfig, device: torch.device, every: int, last: int
) -> tuple[Transformer, list[float], dict[str, Tensor]]:
    """Train a reader; return it, its validation curve, and the average of its last weights."""
    task, model = Dates(), new_reader(config.seed)
    examples = task.sample(256, random.Random(f"validation/{config.seed}"), split="validation")
    curve: list[float] = []
    kept: list[dict[str, Tensor]] = []

    def look(done: int) -> None:
        if done % every == 0:
            curve.append(evaluate(model, task, examples)["exact_match"])
            kept.append(copy.deepcopy(model.state_dict()))
            del kept[:-last]

    train(model, task, config, device, after_step=look)
    return model, curve, average_weights(kept)


@torch.no_grad()
def token_statistics(model: Transformer, count: int, seed: int) -> tuple[float, float, float]:
    """Return −log p of the right token, the share of tokens foreseen, and the mean of the largest probability."""
    task, device = Dates(), next(model.parameters()).device
    examples = task.sample(count, random.Random(f"test/{seed}"), split="test")
    batch = collate(examples, task.source_vocabulary, task.target_vocabulary, device)
    logs = model.eval()(batch.source, batch.target[:, :-1]).log_softmax(dim=-1)  # (B, T, V): dates are all as long
    best, guess = logs.max(dim=-1)  # (B, T)
    wanted = batch.target[:, 1:]
    nats = -logs.gather(-1, wanted[..., None]).mean().item()
    return nats, (guess == wanted).float().mean().item(), best.exp().mean().item()


def gain(result: Result, name: str, quantity: str = "exact") -> np.ndarray:
    """By how much the recipe beats it with that switch, by seed."""
    return result.array(f"{quantity}_recipe") - result.array(f"{quantity}_{name}")


def table(result: Result) -> str:
    """Lay the figures out as text: one line for each switch, means and half-widths over seeds.

    The doubt is the share of tokens that are right beyond the mean probability of the most probable one.
    """
    lines = [f"{'':>20}  dates read right  averaged  nats/token   doubt"]
    for name in result.settings["switches"]:
        exact, spread = float(result.mean(f"exact_{name}")), float(result.half_width(f"exact_{name}"))
        doubt = float(result.mean(f"right_{name}") - result.mean(f"confidence_{name}"))
        lines.append(
            f"{LABELS[name]:>20}     {exact:.3f} ± {spread:.3f}     {float(result.mean(f'averaged_{name}')):.3f}"
            f"  {float(result.mean(f'nats_{name}')):10.4f}  {doubt:+.3f}"
        )
    return "\n".join(lines)


@figure_style()
def plot(result: Result) -> Figure:
    """Dates read right with each switch, seed by seed, with last and averaged weights; and over training."""
    figure, axes = new_figure(2, height=3.8)
    names = result.settings["switches"]
    places = np.arange(len(names))[::-1]
    for kind, role, marker, shift in (("exact", "query", "o", 0.15), ("averaged", "accent", "D", -0.15)):
        label = "last weights" if kind == "exact" else f"average of the last {result.settings['last']}"
        for place, name in zip(places, names, strict=True):
            values = result.array(f"{kind}_{name}")
            row = np.full(len(values), place + shift)
            axes[0].plot(values, row, color=PALETTE[role], marker=marker, lw=0, alpha=0.8, label=label)
            label = None
    axes[0].set_yticks(places, [LABELS[name] for name in names])
    axes[0].set(xlabel="unseen dates read right", title="At the end")
    looks = np.arange(1, result.mean("curve_recipe").shape[0] + 1) * result.settings["every"]
    styles = {"recipe": ("query", "o"), "no_smoothing": ("key", "s"), "no_warmup": ("value", "^")}
    styles |= {"fast_no_warmup": ("muted", "v"), "inverse_sqrt": ("weight", "D"), "by_length": ("accent", "P")}
    for name, (role, marker) in styles.items():
        if name in names:
            curve = result.mean(f"curve_{name}")
            axes[1].plot(looks, curve, color=PALETTE[role], marker=marker, markevery=4, lw=1.2, label=LABELS[name])
    axes[1].set(xlabel="training step", ylabel="validation dates read right", title="On the way")
    axes[0].legend(loc="upper center", bbox_to_anchor=(0.3, -0.2))
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _judge(result: Result) -> Verdict:
    smoothing, warmup = gain(result, "no_smoothing"), gain(result, "no_warmup")
    fast = result.array("exact_fast") - result.array("exact_fast_no_warmup")
    averaged = {
        name: result.array(f"averaged_{name}") - result.array(f"exact_{name}")
        for name in ("recipe", "inverse_sqrt")
    }
    doubt = {
        name: result.array(f"right_{name}") - result.array(f"confidence_{name}")
        for name in ("recipe", "no_smoothing")
    }

    def signed(values: np.ndarray) -> str:
        return f"{values.mean():+.3f} ± {half_width(values):.3f}"

    figure = (
        f"dates read right: label smoothing {signed(smoothing)}; warm-up {signed(warmup)}, and {signed(fast)} at "
        f"three times the learning rate; averaging {signed(averaged['recipe'])} where the rate falls to zero and "
        f"{signed(averaged['inverse_sqrt'])} where it falls as 1/√step; tokens right beyond the confidence "
        f"{signed(doubt['recipe'])} with smoothing, {signed(doubt['no_smoothing'])} without"
    )
    useless = smoothing.mean() < 0.01 and doubt["recipe"].min() > 0.05 > 5 * abs(doubt["no_smoothing"].mean())
    needed = fast.mean() - half_width(fast) > 0.05 > abs(warmup.mean())
    late = averaged["inverse_sqrt"].mean() > half_width(averaged["inverse_sqrt"])
    return Verdict(bool(useless and needed and late and averaged["recipe"].mean() < 0.005), figure)


CLAIMS = {
    "C9.5": Claim(
        "C9.5",
        "On dates label smoothing buys no reading and makes a model doubt what it gets right. Warm-up is worth "
        "little at the usual learning rate and a great deal at three times of it. Averaging weights helps where "
        "the learning rate is still high at the end, and not where it has fallen to zero.",
        _judge,
    )
}
