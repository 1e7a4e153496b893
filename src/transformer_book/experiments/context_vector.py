"""C2.1 and C2.2: what passes through one fixed context vector, by length, by cell and by position."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.experiments.copying_models import (
    accuracy_by_length,
    accuracy_by_position,
    bits_left,
    new_copier,
    train_copier,
)
from transformer_book.plotting import MODELS, PALETTE, draw_series, figure_style, new_figure

CELLS = ("rnn", "gru", "lstm")
LENGTHS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30)


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    cells: Sequence[str] = CELLS,
    lengths: Sequence[int] = LENGTHS,
    width: int = 64,
    longest: int = 20,
    steps: int = 1000,
    count: int = 200,
    probe_length: int = 12,
    probe_count: int = 6000,
    progress: bool = False,
) -> Result:
    """Train one copier per cell, all alike; measure accuracy by length and position, and probe the context.

    Parameters
    ----------
    seeds
        One set of first weights and of training batches each.
    device
        Where to compute.
    cells
        Recurrent layers, of encoder and decoder: ``"rnn"``, ``"gru"``, ``"lstm"``.
    lengths
        Lengths to test, ascending; strings are of random digits.
    width
        Width D of the state; of an LSTM's hidden state and cell each.
    longest, steps
        Training strings have 1 … `longest` digits; `steps` batches of 64.
    count
        Test strings per length.
    probe_length, probe_count
        Length of the strings whose positions are compared, and how many contexts the probe sees.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        Per cell: ``token_*`` and ``exact_*`` by length, ``position_*`` (share of right symbols) and ``bits_*``
        (information a linear probe finds in the context) by position.
    """

    def one_seed(seed: int) -> dict[str, list[float]]:
        row: dict[str, list[float]] = {}
        for cell in cells:
            model = train_copier(new_copier(cell, "none", width, seed), longest, steps, seed, device)
            accuracy = accuracy_by_length(model, lengths, count, seed)
            row[f"token_{cell}"], row[f"exact_{cell}"] = accuracy["token"], accuracy["exact"]
            row[f"position_{cell}"] = accuracy_by_position(model, probe_length, 5 * count, seed)
            row[f"bits_{cell}"] = bits_left(model, probe_length, probe_count, seed)
        return row

    settings = {
        "cells": list(cells),
        "lengths": list(lengths),
        "width": width,
        "longest": longest,
        "steps": steps,
        "count": count,
        "probe_length": probe_length,
        "probe_count": probe_count,
    }
    return run_seeds("context_vector", seeds, device, settings, one_seed, progress)


@figure_style()
def plot(result: Result) -> Figure:
    """Token accuracy by length, for each cell; the shaded lengths were trained on."""
    figure, [axis] = new_figure(height=3.4)
    _draw(axis, result, "token", result.settings["lengths"])
    axis.axvspan(1, result.settings["longest"], color=PALETTE["muted"], alpha=0.08, lw=0, label="trained lengths")
    axis.axhline(0.1, color=PALETTE["muted"], linestyle=":", label="guessing")
    axis.set(xlabel="length of the string", ylabel="token accuracy", ylim=(0, 1.05))
    figure.legend(loc="outside lower center", ncols=5)
    return figure


@figure_style()
def plot_positions(result: Result) -> Figure:
    """Accuracy and bits left in the context vector, by position in strings of one length."""
    length = result.settings["probe_length"]
    figure, axes = new_figure(2, height=3.4)
    positions = np.arange(1, length + 1)
    for axis, quantity in zip(axes, ("position", "bits"), strict=True):
        _draw(axis, result, quantity, positions)
    axes[0].axhline(0.1, color=PALETTE["muted"], linestyle=":", label="guessing")
    axes[1].axhline(np.log2(10), color=PALETTE["muted"], linestyle="--", label="all of a digit")
    axes[0].set(xlabel="position", ylabel="share copied right", ylim=(0, 1.05), title=f"copied, length {length}")
    axes[1].set(xlabel="position", ylabel="bits", ylim=(-0.2, 3.6), title="left in the context vector")
    handles = {t: h for axis in axes for h, t in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5)
    return figure


def _draw(axis, result: Result, quantity: str, x) -> None:
    for cell in result.settings["cells"]:
        role, marker, label = MODELS[cell]
        key = f"{quantity}_{cell}"
        draw_series(axis, x, result.mean(key), result.half_width(key), role, marker, label)


def _judge_length(result: Result) -> Verdict:
    lengths, longest = result.settings["lengths"], result.settings["longest"]
    short, far = lengths.index(2), lengths.index(longest)
    token = {cell: result.mean(f"token_{cell}") for cell in result.settings["cells"]}
    fails = all(curve[short] > 0.9 and curve[far] < 0.6 for curve in token.values())
    none_whole = all(result.mean(f"exact_{cell}")[far] < 0.05 for cell in token)
    gates_help = min(curve.mean() for curve in token.values()) == token["rnn"].mean()
    figure = f"token accuracy at length 2 → {longest} with D = {result.settings['width']}: " + ", ".join(
        f"{MODELS[cell][2]} {curve[short]:.2f} → {curve[far]:.2f}" for cell, curve in token.items()
    )
    return Verdict(bool(fails and none_whole and gates_help), figure)


def _judge_positions(result: Result) -> Verdict:
    length = result.settings["probe_length"]
    bits = {cell: result.mean(f"bits_{cell}") for cell in result.settings["cells"]}
    middle = slice(length // 3, 2 * length // 3)
    first_kept = all(bits[cell][0] > 1.5 * bits[cell][middle].mean() for cell in ("gru", "lstm"))
    last_kept = bits["rnn"][-1] > 2 * bits["rnn"][: length // 2].mean()
    figure = (
        f"bits left of {np.log2(10):.2f} about the first, a middle and the last symbol of {length}: "
        + ", ".join(
            f"{MODELS[cell][2]} {curve[0]:.1f}, {curve[middle].mean():.1f}, {curve[-1]:.1f}"
            for cell, curve in bits.items()
        )
    )
    return Verdict(bool(first_kept and last_kept), figure)


CLAIMS = {
    "C2.1": Claim(
        "C2.1",
        "Through one context vector of fixed width, short strings are copied right and long ones are not, though "
        "both were trained on; gates move the length at which copying fails, they do not remove it.",
        _judge_length,
    ),
    "C2.2": Claim(
        "C2.2",
        "What is lost is not simply the earliest: the simple RNN keeps the last symbols, but a trained GRU or "
        "LSTM keeps the *first* one best and loses the middle.",
        _judge_positions,
    ),
}
