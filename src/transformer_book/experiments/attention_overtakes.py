"""C11.2: the length from which on attention costs more than the feed-forward layer, predicted and measured."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from transformer_book.attention import MultiHeadAttention, merge_heads, split_heads
from transformer_book.cost import (
    Load,
    Sizes,
    activation_bytes,
    attention_work,
    cache_bytes,
    crossing_length,
    feed_forward_work,
    layer_flops,
    measure_ceiling,
    parameters,
    predict_seconds,
    quiet_clock,
)
from transformer_book.device import CPU, seeded
from transformer_book.experiments._cost import interleaved_seconds, one_thread
from transformer_book.experiments._result import Claim, Result, Verdict, half_width, run_seeds
from transformer_book.layers import FeedForward
from transformer_book.plotting import PALETTE, draw_series, figure_style, new_figure

LENGTHS = (32, 64, 128, 256, 512, 1024)
WIDTHS = (128, 256, 384)
#: How attention is computed → colour, marker, label.
WAYS = {"explicit": ("accent", "o", "explicit"), "fused": ("value", "s", "fused kernel")}


def fused_attention(attention: MultiHeadAttention, inputs: Tensor) -> Tensor:
    """Self-attention by torch's fused kernel: ``(B, T, D)`` → ``(B, T, D)``."""
    q, k, v = (
        split_heads(linear(inputs), attention.num_heads)
        for linear in (attention.query, attention.key, attention.value)
    )  # (B, H, T, K) each
    return attention.output(merge_heads(F.scaled_dot_product_attention(q, k, v)))


def crossing(lengths: Sequence[int], ratio: NDArray[np.float64]) -> float:
    """Return the length at which a rising ratio passes 1, between two lengths on logarithmic scales.

    A ratio that is above 1 from the first length on, or never, gives the first or the last length.
    """
    above = np.flatnonzero(ratio >= 1)
    if not len(above):
        return float(lengths[-1])
    last = int(above[0])
    if last == 0:
        return float(lengths[0])
    x, y = np.log(lengths[last - 1 : last + 1]), np.log(ratio[last - 1 : last + 1])
    return float(np.exp(x[0] - y[0] * (x[1] - x[0]) / (y[1] - y[0])))


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    lengths: Sequence[int] = LENGTHS,
    widths: Sequence[int] = WIDTHS,
    head_width: int = 64,
    tokens: int = 1024,
    repeats: int = 3,
    progress: bool = False,
) -> Result:
    """Time an encoder's self-attention, explicit and fused, and its feed-forward layer, forward, by length.

    The feed-forward layer is four times as wide as the model. On a CPU one thread computes, and the time
    that the processor gave it counts.

    Parameters
    ----------
    seeds
        Weights, inputs, ceilings and one independent round of timings each.
    device
        Where to compute.
    lengths
        Lengths T, ascending.
    widths
        Widths D, multiples of `head_width`, ascending.
    head_width
        Width K of a head.
    tokens
        A batch has this many tokens, at least one sequence.
    repeats
        Timed rounds per seed; a round times all lengths of a width in turn.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        Each ``(widths, lengths)``: ``seconds_*`` of attention in either of `WAYS`, and of the ``feed_forward``,
        per sequence; ``ratio_*``, median over rounds of attention's time divided by the feed-forward's;
        ``roofline_*``, what this ratio should be by `predict_seconds`. ``crossing_*`` and ``roofline_crossing_*``,
        ``(widths,)``. ``flops`` and ``bandwidth``, the ceiling.
    """

    def one_width(seed: int, width: int, ceiling: Any) -> dict[str, list[float]]:
        with seeded(seed):
            attention = MultiHeadAttention(width, width // head_width).to(device)
            think = FeedForward(width, 4 * width).to(device)
            inputs = {n: torch.randn(max(1, tokens // n), n, width).to(device) for n in lengths}  # (B, T, D)
        masks = {n: torch.ones(1, 1, 1, n, dtype=torch.bool, device=device) for n in lengths}  # no padding
        works = {}
        for n, x in inputs.items():
            works[f"explicit/{n}"] = lambda x=x, n=n: attention(x, x, x, masks[n])
            works[f"fused/{n}"] = lambda x=x: fused_attention(attention, x)
            works[f"feed_forward/{n}"] = lambda x=x: think(x)
        with torch.no_grad():
            timed = interleaved_seconds(works, repeats, device, quiet_clock(device))
        seconds = {key: np.array(each) for key, each in timed.items()}
        row: dict[str, list[float]] = {
            f"seconds_{name}": [float(np.median(seconds[f"{name}/{n}"])) / len(inputs[n]) for n in lengths]
            for name in (*WAYS, "feed_forward")
        }
        sizes = Sizes(width, width // head_width, 4 * width, 1, 1)
        for way in WAYS:
            ratios = [seconds[f"{way}/{n}"] / seconds[f"feed_forward/{n}"] for n in lengths]
            row[f"ratio_{way}"] = [float(np.median(ratio)) for ratio in ratios]
            row[f"roofline_{way}"] = [
                roofline_ratio(sizes, len(inputs[n]), n, ceiling, way == "fused") for n in lengths
            ]
        return row

    def one_seed(seed: int) -> dict[str, Any]:
        with one_thread():
            ceiling = measure_ceiling(device).ceiling
            rows = [one_width(seed, width, ceiling) for width in widths]
        values: dict[str, Any] = {key: [row[key] for row in rows] for key in rows[0]}
        for way in WAYS:
            values[f"crossing_{way}"] = [crossing(lengths, np.array(row[f"ratio_{way}"])) for row in rows]
            values[f"roofline_crossing_{way}"] = [
                crossing(lengths, np.array(row[f"roofline_{way}"])) for row in rows
            ]
        return {**values, "flops": ceiling.flops, "bandwidth": ceiling.bandwidth}

    settings = {"lengths": list(lengths), "widths": list(widths), "head_width": head_width}
    settings |= {"tokens": tokens, "repeats": repeats}
    return run_seeds("attention_overtakes", seeds, device, settings, one_seed, progress)


def roofline_ratio(sizes: Sizes, batch: int, length: int, ceiling: Any, fused: bool) -> float:
    """Predict the time of attention divided by that of the feed-forward layer, both without residual and norm."""
    steps = attention_work(sizes, batch, length, length, length), feed_forward_work(sizes, batch * length)
    bare = [[step for step in part if step.part != "norms"] for part in steps]
    attention, think = (sum(predict_seconds(part, ceiling, 4, fused).values()) for part in bare)
    return attention / think


def counted_ratio(length: int, width: int) -> float:
    """Divide the operations of attention by those of the feed-forward layer."""
    parts = layer_flops(length, width, 4 * width)
    return (parts["projections"] + parts["attention"]) / parts["feed-forward"]


@figure_style()
def plot(result: Result) -> Figure:
    """Time of attention divided by that of the feed-forward layer, by length; one panel for each width."""
    lengths, widths = result.settings["lengths"], result.settings["widths"]
    figure, axes = new_figure(len(widths), height=3.4)
    for i, (axis, width) in enumerate(zip(axes, widths, strict=True)):
        counted = [counted_ratio(n, width) for n in lengths]
        axis.plot(lengths, counted, color=PALETTE["muted"], linestyle="--", label="operations")
        for (way, (role, marker, label)), line in zip(WAYS.items(), (":", "-."), strict=True):
            roofline = result.mean(f"roofline_{way}")[i]
            axis.plot(lengths, roofline, color=PALETTE[role], linestyle=line, label=f"{label}, roofline")
            values = result.array(f"ratio_{way}")[:, i]
            draw_series(axis, lengths, values.mean(axis=0), half_width(values), role, marker, f"{label}, measured")
        axis.axhline(1, color=PALETTE["muted"], linewidth=0.8)
        axis.set(xscale="log", yscale="log", xlabel="length", title=f"D = {width}")
        axis.set_xticks(lengths[::2], [str(n) for n in lengths[::2]])
        axis.set_yticks((0.5, 1, 2, 4, 8, 16), ("½", "1", "2", "4", "8", "16"))
        axis.minorticks_off()
    axes[0].set_ylabel("attention ÷ feed-forward")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


@figure_style()
def plot_growth(result: Result, width: int = 128) -> Figure:
    """Draw what grows with the length, and how: each quantity of a layer divided by what it is at the shortest.

    Operations, memory and parameters are computed, times are those measured.
    """
    settings = result.settings
    lengths, row = settings["lengths"], settings["widths"].index(width)
    sizes = Sizes(width, width // settings["head_width"], 4 * width, 1, 1)
    loads = [Load(1, n) for n in lengths]
    flops = [layer_flops(n, width, 4 * width) for n in lengths]
    seconds = {name: result.mean(f"seconds_{name}")[row] for name in (*WAYS, "feed_forward")}
    curves = {
        "parameters": [sum(parameters(sizes).values())] * len(lengths),
        "KV cache, bytes": [cache_bytes(sizes, load) for load in loads],
        "feed-forward, operations": [each["feed-forward"] for each in flops],
        "scores and blends, operations": [each["attention"] for each in flops],
        "kept for the gradient, explicit": [activation_bytes(sizes, load) for load in loads],
        "kept for the gradient, fused": [activation_bytes(sizes, load, fused=True) for load in loads],
    }
    styles = (("muted", "-."), ("key", "o"), ("query", "-"), ("weight", "s-"), ("accent", "D--"), ("value", "x"))
    figure, axes = new_figure(2, height=4.8)
    for (label, values), (role, line) in zip(curves.items(), styles, strict=True):
        axes[0].plot(lengths, np.array(values) / values[0], line, color=PALETTE[role], markersize=6, label=label)
    timed = (("explicit", "accent", "o"), ("fused", "value", "s"), ("feed_forward", "query", "^"))
    for name, role, marker in timed:
        label = "feed-forward" if name == "feed_forward" else f"attention, {name}"
        axes[1].plot(lengths, seconds[name] / seconds[name][0], color=PALETTE[role], marker=marker, label=label)
    for axis in axes:
        axis.plot(lengths, np.array(lengths) / lengths[0], color=PALETTE["muted"], linestyle=":", linewidth=1)
        axis.plot(
            lengths, (np.array(lengths) / lengths[0]) ** 2, color=PALETTE["muted"], linestyle=":", linewidth=1
        )
        axis.set(xscale="log", yscale="log", xlabel="length")
        axis.set_xticks(lengths[::2], [str(n) for n in lengths[::2]])
        axis.minorticks_off()
        axis.legend(loc="upper center", bbox_to_anchor=(0.4, -0.17))
    axes[0].set(title="Computed", ylabel=f"times what it is at {lengths[0]}")
    axes[1].set(title="Time, measured")
    return figure


def _judge(result: Result) -> Verdict:
    widths = result.settings["widths"]
    by_count = [crossing_length(width, 4 * width) for width in widths]
    found = {way: result.mean(f"crossing_{way}") for way in WAYS}
    predicted = {way: result.mean(f"roofline_crossing_{way}") for way in WAYS}

    def listed(values: Sequence[float] | NDArray[np.float64]) -> str:
        return ", ".join(f"{value:.0f}" for value in values)

    figure = (
        f"at widths {listed(widths)} attention overtakes the feed-forward layer by operations at lengths "
        f"{listed(by_count)}; measured, with a fused kernel at {listed(found['fused'])} (roofline "
        f"{listed(predicted['fused'])}), explicitly at {listed(found['explicit'])} (roofline "
        f"{listed(predicted['explicit'])}), on {result.mean('flops') / 1e9:.0f} GFLOP/s and "
        f"{result.mean('bandwidth') / 1e9:.1f} GB/s"
    )
    earlier = bool(
        (found["explicit"] < found["fused"]).all() and (found["explicit"] < 0.75 * np.array(by_count)).all()
    )
    grows = all(bool((np.diff(values) > 0).all()) for values in found.values())
    apart = np.abs(np.log2(found["fused"] / np.array(by_count)))
    return Verdict(bool(earlier and grows and (apart < 1).all()), figure)


CLAIMS = {
    "C11.2": Claim(
        "C11.2",
        "Counted in operations, attention overtakes a feed-forward layer of width F at length F − 2D. A fused "
        "kernel crosses within a factor of two of that; explicit attention crosses earlier, because its table of "
        "scores goes through memory again and again. The wider the model, the later.",
        _judge,
    )
}
