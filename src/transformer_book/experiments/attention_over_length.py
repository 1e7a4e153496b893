"""C3.1 and C3.2: copying with one context vector and with attention, on one budget."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.experiments.copying_models import (
    accuracy_by_length,
    first_jacobian,
    new_copier,
    train_copier,
)
from transformer_book.plotting import MODELS, PALETTE, draw_series, figure_style, new_figure

#: Name in `MODELS` → score of the decoder.
SCORES = {"gru": "none", "attention": "additive"}
LENGTHS = (1, 2, 4, 6, 8, 10, 12, 15, 20, 25, 30, 35, 40, 50)
DISTANCES = (2, 4, 8, 12, 16, 20, 24, 30)


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    lengths: Sequence[int] = LENGTHS,
    width: int = 64,
    longest: int = 30,
    steps: int = 800,
    count: int = 200,
    distances: Sequence[int] = DISTANCES,
    progress: bool = False,
) -> Result:
    """Train a GRU copier with one context vector and one with attention, on the same batches.

    The first output of a copier is its first input symbol. On the way from the one to the other, a model with one
    context vector passes as many steps as the string has symbols; attention has a way of one step. How much of the
    gradient arrives is measured as the norm of a Jacobian, see `first_jacobian`.

    Parameters
    ----------
    seeds
        One set of first weights and of training batches each.
    device
        Where to compute.
    lengths
        Lengths to test, ascending; some beyond `longest`.
    width
        Width D of the states.
    longest, steps
        Training strings have 1 … `longest` digits; `steps` batches of 64.
    count
        Test strings per length.
    distances
        Lengths of the strings whose gradient is measured, ascending; at least two.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        For ``gru`` and ``attention``: ``token_*`` and ``exact_*`` by length; ``first_*`` and ``trained_*``, median
        norm of the Jacobian at the first weights and after training, by distance; and ``parameters_*``.
    """

    def one_seed(seed: int) -> dict[str, object]:
        row: dict[str, object] = {}
        for name, score in SCORES.items():
            model = new_copier("gru", score, width, seed).to(device)
            row[f"first_{name}"] = [float(first_jacobian(model, s, 64, seed).median()) for s in distances]
            train_copier(model, longest, steps, seed, device)
            row[f"trained_{name}"] = [float(first_jacobian(model, s, 64, seed).median()) for s in distances]
            accuracy = accuracy_by_length(model, lengths, count, seed)
            row[f"token_{name}"], row[f"exact_{name}"] = accuracy["token"], accuracy["exact"]
            row[f"parameters_{name}"] = sum(parameter.numel() for parameter in model.parameters())
        return row

    settings = {
        "lengths": list(lengths),
        "width": width,
        "longest": longest,
        "steps": steps,
        "count": count,
        "distances": list(distances),
    }
    return run_seeds("attention_over_length", seeds, device, settings, one_seed, progress)


@figure_style()
def plot(result: Result) -> Figure:
    """Token accuracy and exact match by length, with and without attention; the shaded lengths were trained on."""
    settings = result.settings
    figure, axes = new_figure(2, height=3.6)
    for axis, quantity, title in zip(
        axes, ("token", "exact"), ("symbols right", "whole strings right"), strict=True
    ):
        for name in SCORES:
            role, marker, label = MODELS[name]
            key = f"{quantity}_{name}"
            label = "GRU, one context vector" if name == "gru" else label
            draw_series(axis, settings["lengths"], result.mean(key), result.half_width(key), role, marker, label)
        axis.axvspan(1, settings["longest"], color=PALETTE["muted"], alpha=0.08, lw=0, label="trained lengths")
        axis.set(xlabel="length of the string", ylabel="accuracy", ylim=(-0.02, 1.05), title=title)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def step_factor(result: Result, quantity: str) -> float:
    """Fit the factor by which a quantity changes per step of distance (a line through its logarithm)."""
    slope = np.polyfit(result.settings["distances"], np.log(result.mean(quantity)), 1)[0]
    return float(np.exp(slope))


@figure_style()
def plot_gradient(result: Result) -> Figure:
    """Norm of the Jacobian by distance, at the first weights and after training."""
    figure, axes = new_figure(2, height=3.4)
    for axis, stage, title in zip(
        axes, ("first", "trained"), ("at the first weights", "after training"), strict=True
    ):
        for name in SCORES:
            role, marker, label = MODELS[name]
            key = f"{stage}_{name}"
            label = "GRU, one context vector" if name == "gru" else label
            mean, spread = result.mean(key), result.half_width(key)
            draw_series(axis, result.settings["distances"], mean, spread, role, marker, label)
        axis.set(yscale="log", xlabel="length = steps to the first symbol", title=title)
    axes[0].set_ylabel("‖∂ first output / ∂ first symbol‖")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _judge_accuracy(result: Result) -> Verdict:
    longest = result.settings["longest"]
    far = result.settings["lengths"].index(longest)
    without, given = (result.mean(f"token_{name}")[far] for name in SCORES)
    whole, whole_given = (result.mean(f"exact_{name}")[far] for name in SCORES)
    figure = (
        f"token accuracy at length {longest}: {without:.2f} with one context vector, {given:.3f} with attention; "
        f"whole strings right: {whole:.2f} and {whole_given:.2f}"
    )
    return Verdict(bool(without < 0.5 and given > 0.95 and whole_given > whole + 0.5), figure)


def _judge_gradient(result: Result) -> Verdict:
    factor = {name: step_factor(result, name) for name in ("first_gru", "first_attention", "trained_attention")}
    nearest, farthest = result.settings["distances"][0], result.settings["distances"][-1]
    left = {name: result.mean(f"first_{name}")[-1] / result.mean(f"first_{name}")[0] for name in SCORES}
    figure = (
        f"from {nearest} to {farthest} steps, at the first weights: × {left['gru']:.0e} with one context vector "
        f"(× {factor['first_gru']:.2f} a step), × {left['attention']:.2f} with attention; after training with "
        f"attention × {factor['trained_attention']:.3f} a step"
    )
    level = abs(np.log(factor["trained_attention"])) < 0.02
    return Verdict(bool(factor["first_gru"] < 0.8 and left["attention"] > 1000 * left["gru"] and level), figure)


CLAIMS = {
    "C3.1": Claim(
        "C3.1",
        "On the same task and budget, attention copies strings of every trained length; one context vector "
        "does not.",
        _judge_accuracy,
    ),
    "C3.2": Claim(
        "C3.2",
        "With attention the gradient that reaches the first input symbol no longer falls geometrically with "
        "distance; after training it does not fall at all.",
        _judge_gradient,
    ),
}
