"""C5.3: what the division by √d does to training: one Transformer, scores undivided, divided by √d, and by d."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from transformer_book.attention import MultiHeadAttention
from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, half_width, run_seeds
from transformer_book.experiments.date_models import exact_match, new_reader, train_reader
from transformer_book.experiments.softmax_scaling import DIVISORS, LABELS
from transformer_book.plotting import MARKERS, PALETTE, draw_series, figure_style, new_figure
from transformer_book.transformer import Transformer

ROLES = ("accent", "query", "key")
WINDOW = 25  # steps whose losses are averaged into one point of a curve


class RescaledAttention(MultiHeadAttention):
    """Multi-head attention with another divisor than √K: its keys are multiplied by `factor`.

    Parameters
    ----------
    d_model, num_heads
        As for `MultiHeadAttention`.
    factor
        √K / divisor.
    """

    def __init__(self, d_model: int, num_heads: int, factor: float) -> None:
        super().__init__(d_model, num_heads)
        self.factor = factor

    def attend(self, query: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Attend with rescaled scores; see `MultiHeadAttention`."""
        return super().attend(query, k * self.factor, v, mask)


def rescale(model: Transformer, divisor: str) -> Transformer:
    """Replace every attention of a Transformer by one with the same weights and another divisor, in place.

    Parameters
    ----------
    model
        With √K as divisor, as it is made.
    divisor
        One of `DIVISORS`.
    """
    for layer in (*model.encoder_layers, *model.decoder_layers):
        for name, attention in list(layer.named_children()):
            if isinstance(attention, MultiHeadAttention):
                d_model, num_heads = attention.query.in_features, attention.num_heads
                width = d_model // num_heads
                other = RescaledAttention(d_model, num_heads, math.sqrt(width) / DIVISORS[divisor](width))
                other.load_state_dict(attention.state_dict())
                setattr(layer, name, other)
    return model


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    widths: Sequence[int] = (16, 64, 128),
    rates: Sequence[float] = (1e-2, 3e-3),
    steps: int = 500,
    count: int = 1000,
    progress: bool = False,
) -> Result:
    """Train a Transformer with one head, as wide as the model, with each divisor, at each learning rate.

    One layer in each stack, hidden width 2D, norms first; the same first weights and batches for every divisor.

    Parameters
    ----------
    seeds
        One set of first weights, batches and test dates each.
    device
        Where to compute.
    widths
        Widths D = K of model and head, ascending.
    rates
        Largest learning rates: no divisor shall lose because one rate does not suit it.
    steps
        Batches of 64 dates; a multiple of `WINDOW`.
    count
        Test dates, of days that no training date has.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        ``exact_*`` for each of `DIVISORS`: share of test dates read right, ``(widths, rates)``. ``loss_*``: the
        training loss in nats per character, mean over windows of `WINDOW` steps, ``(widths, rates, windows)``.
    """

    def one_seed(seed: int) -> dict[str, list[list[object]]]:
        row: dict[str, list[list[object]]] = {f"{q}_{name}": [] for name in DIVISORS for q in ("exact", "loss")}
        for width in widths:
            for name in DIVISORS:
                exact, curves = [], []
                for rate in rates:
                    model = rescale(new_reader(seed, d_model=width, d_ff=2 * width, num_heads=1), name)
                    losses = train_reader(model, steps, seed, device, rate)
                    curves.append(np.reshape(losses, (-1, WINDOW)).mean(axis=1).tolist())
                    exact.append(exact_match(model, count, seed))
                row[f"exact_{name}"].append(exact)
                row[f"loss_{name}"].append(curves)
        return row

    settings = {"widths": list(widths), "rates": list(rates), "steps": steps, "count": count}
    return run_seeds("unscaled_training", seeds, device, settings, one_seed, progress)


def best(result: Result, divisor: str) -> np.ndarray:
    """Share of dates read right at the better learning rate of each width: ``(seeds, widths)``."""
    exact = result.array(f"exact_{divisor}")  # (seeds, widths, rates)
    chosen = exact.mean(axis=0).argmax(axis=-1)  # (widths,)
    return np.take_along_axis(exact, chosen[None, :, None], axis=-1)[..., 0]


@figure_style()
def plot(result: Result) -> Figure:
    """Loss at the greatest width, and the share of unseen dates read right by width; best rate of each."""
    settings = result.settings
    figure, axes = new_figure(2, height=3.4)
    ends = np.arange(WINDOW, settings["steps"] + 1, WINDOW)
    places = np.arange(len(settings["widths"]))
    for name, role, marker in zip(DIVISORS, ROLES, MARKERS, strict=False):
        rate = int(result.mean(f"exact_{name}")[-1].argmax())
        curve = result.mean(f"loss_{name}")[-1, rate]
        axes[0].plot(ends, curve, color=PALETTE[role], marker=marker, markevery=2, label=LABELS[name])
        reached = best(result, name)
        spread = half_width(reached)
        draw_series(axes[1], places, reached.mean(axis=0), spread, role, marker, LABELS[name])
    axes[0].set(yscale="log", xlabel="training step", ylabel="loss, nats per character")
    axes[0].set_title(f"Learning, width {settings['widths'][-1]}")
    axes[1].set_xticks(places, [str(width) for width in settings["widths"]])
    axes[1].set(xlabel="width d of the head", ylabel="unseen dates read right", ylim=(-0.02, 1.02))
    axes[1].set_title(f"After {settings['steps']:,} steps")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _judge(result: Result) -> Verdict:
    reached = {name: best(result, name).mean(axis=0) for name in DIVISORS}
    first, last = result.settings["widths"][0], result.settings["widths"][-1]
    parts = [
        f"{LABELS[name]} {values[0]:.2f} at d = {first}, {values[-1]:.2f} at d = {last}"
        for name, values in reached.items()
    ]
    figure = f"unseen dates read right after {result.settings['steps']} steps: " + "; ".join(parts)
    behind = reached["sqrt_d"] - reached["none"]
    return Verdict(bool((behind > 0).all() and behind[-1] > max(0.3, behind[0])), figure)


CLAIMS = {
    "C5.3": Claim(
        "C5.3",
        "On the same budget, a Transformer whose scores are not divided learns to read dates far worse than one "
        "that divides them by √d, the more so the wider its head.",
        _judge,
    )
}
