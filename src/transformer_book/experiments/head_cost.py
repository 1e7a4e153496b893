"""C6.1: what heads cost: operations counted, time and memory measured, at once and one by one."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from transformer_book.attention import MultiHeadAttention, merge_heads, scaled_dot_product_attention, split_heads
from transformer_book.device import CPU, seeded
from transformer_book.experiments._cost import interleaved_seconds, peak_bytes
from transformer_book.experiments._result import Claim, Result, Verdict, half_width, run_seeds
from transformer_book.plotting import MARKERS, draw_series, figure_style, new_figure

HEADS = (1, 2, 4, 8, 16, 32)
LENGTHS = (32, 512)
ROLES = ("query", "key")

Attend = Callable[[MultiHeadAttention, Tensor], object]


def at_once(attention: MultiHeadAttention, inputs: Tensor) -> Tensor:
    """Self-attention of all heads in one batched product: ``(B, T, D)`` → ``(B, T, D)``."""
    return attention(inputs, inputs, inputs)[0]


def one_by_one(attention: MultiHeadAttention, inputs: Tensor) -> Tensor:
    """Self-attention of one head after the other, from the same weights: ``(B, T, D)`` → ``(B, T, D)``.

    Head h reads and writes through its own rows of the projections, h · K to (h + 1) · K, and through its own
    columns of the output.
    """
    size = attention.query.out_features // attention.num_heads
    output = attention.output.bias.expand_as(inputs)  # (B, T, D)
    for start in range(0, attention.query.out_features, size):
        rows = slice(start, start + size)
        q, k, v = (
            inputs @ linear.weight[rows].T + linear.bias[rows]
            for linear in (attention.query, attention.key, attention.value)
        )  # (B, T, K) each
        blend, _ = scaled_dot_product_attention(q, k, v)  # (B, T, K)
        output = output + blend @ attention.output.weight[:, rows].T  # (B, T, D)
    return output


def fused(attention: MultiHeadAttention, inputs: Tensor) -> Tensor:
    """Self-attention of all heads at once by torch's fused kernel, which never holds the weights as a whole."""
    q, k, v = (
        split_heads(linear(inputs), attention.num_heads)
        for linear in (attention.query, attention.key, attention.value)
    )  # (B, H, T, K) each
    return attention.output(merge_heads(F.scaled_dot_product_attention(q, k, v)))  # (B, T, D)


def count_flops(attention: MultiHeadAttention, inputs: Tensor) -> int:
    """Count the floating-point operations of the matrix products, two for each product of two numbers."""
    with FlopCounterMode(display=False) as counter:
        at_once(attention, inputs)
    return counter.get_total_flops()


def flops_by_hand(length: int, d_model: int) -> int:
    """Say what `count_flops` should be for one sequence: four projections, scores and blends; no H in it.

    8 T D² for the projections, 2 T² D for the scores of all heads together, 2 T² D for their blends.
    """
    return 8 * length * d_model**2 + 4 * length**2 * d_model


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    heads: Sequence[int] = HEADS,
    lengths: Sequence[int] = LENGTHS,
    d_model: int = 256,
    batch_size: int = 4,
    repeats: int = 9,
    progress: bool = False,
) -> Result:
    """Run self-attention of one width, cut into more and more heads; time all of them in turn.

    Parameters
    ----------
    seeds
        One random input and set of weights, and one independent round of timings, each.
    device
        Where to compute.
    heads
        Numbers of heads H, ascending, from 1; each divides `d_model`.
    lengths
        Lengths T, ascending.
    d_model
        Width D; each head is D / H wide.
    batch_size
        Sequences B.
    repeats
        Timed rounds per seed and length.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        Each ``(lengths, heads)``: ``flops``, counted; ``bytes``, peak of the forward pass beyond inputs and
        weights (see `peak_bytes`); ``seconds``; ``ratio``, median over rounds of the time divided by that of one
        head in the same round; ``fused_ratio``, the same for the fused kernel; ``loop_ratio``, the time of
        `one_by_one` divided by that of `at_once` with as many heads.
    """

    def one_length(seed: int, length: int) -> dict[str, list[float]]:
        with seeded(seed):
            inputs = torch.randn(batch_size, length, d_model).to(device)  # (B, T, D)
            attentions = {h: MultiHeadAttention(d_model, h).to(device) for h in heads}

        def work(attend: Attend, h: int) -> Callable[[], object]:
            return torch.no_grad()(lambda: attend(attentions[h], inputs))

        works = {f"{name} {h}": work(attend, h) for h in heads for name, attend in WAYS.items()}
        seconds = {name: np.array(s) for name, s in interleaved_seconds(works, repeats, device).items()}
        row: dict[str, list[float]] = {
            name: [] for name in ("flops", "bytes", "seconds", "ratio", "fused_ratio", "loop_ratio")
        }
        for h in heads:
            once, loop = seconds[f"at once {h}"], seconds[f"one by one {h}"]
            row["flops"].append(count_flops(attentions[h], inputs))
            row["bytes"].append(peak_bytes(works[f"at once {h}"], device))
            row["seconds"].append(float(np.median(once)))
            row["ratio"].append(float(np.median(once / seconds[f"at once {heads[0]}"])))
            row["fused_ratio"].append(float(np.median(seconds[f"fused {h}"] / seconds[f"fused {heads[0]}"])))
            row["loop_ratio"].append(float(np.median(loop / once)))
        return row

    def one_seed(seed: int) -> dict[str, list[list[float]]]:
        rows = [one_length(seed, length) for length in lengths]
        return {key: [row[key] for row in rows] for key in rows[0]}

    settings = {
        "heads": list(heads),
        "lengths": list(lengths),
        "d_model": d_model,
        "batch_size": batch_size,
        "repeats": repeats,
    }
    return run_seeds("head_cost", seeds, device, settings, one_seed, progress)


WAYS: dict[str, Attend] = {"at once": at_once, "one by one": one_by_one, "fused": fused}


@figure_style()
def plot(result: Result) -> Figure:
    """Operations, time, the fused kernel's time, and memory by heads; each divided by that of one head."""
    settings = result.settings
    figure, axes = new_figure(4, height=3.4)
    panels = (
        ("flops", "Operations ÷ one head"),
        ("ratio", "Time ÷ one head"),
        ("fused_ratio", "Fused: time ÷ one"),
        ("bytes", "Memory ÷ one head"),
    )
    for axis, (quantity, title) in zip(axes, panels, strict=True):
        values = result.array(quantity)  # (seeds, lengths, heads)
        if quantity in ("flops", "bytes"):
            values = values / values[..., :1]
        for i, (length, role, marker) in enumerate(zip(settings["lengths"], ROLES, MARKERS, strict=False)):
            mean, spread = values[:, i].mean(axis=0), half_width(values[:, i])
            draw_series(axis, settings["heads"], mean, spread, role, marker, f"length {length}")
        axis.set_xscale("log", base=2)
        axis.set_xticks(settings["heads"], [str(h) for h in settings["heads"]])
        axis.set_ylim(bottom=0, top=max(2.0, axis.get_ylim()[1]))
        axis.set_xlabel("heads")
        axis.set_title(title, fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _judge(result: Result) -> Verdict:
    flops = result.array("flops")
    heads, lengths = result.settings["heads"], result.settings["lengths"]
    last = heads[-1]
    time, kernel, loop, memory = (result.mean(name) for name in ("ratio", "fused_ratio", "loop_ratio", "bytes"))
    heavier = memory[-1, -1] / memory[-1, 0]
    figure = (
        f"from one head to {last}, operations change by {np.ptp(flops, axis=-1).max():.0f}; time at length "
        f"{lengths[0]} × {time[0, -1]:.2f}, at {lengths[-1]} × {time[-1, -1]:.1f} (fused kernel × "
        f"{kernel[-1, -1]:.2f}), memory there × {heavier:.0f}; one by one, {last} heads take {loop[0, -1]:.1f} "
        f"times as long as at once at length {lengths[0]}, {loop[-1, -1]:.2f} times at {lengths[-1]}"
    )
    free = not np.ptp(flops, axis=-1).any()
    dear = time[-1, -1] > 3 > time[0, -1] and heavier > 5
    return Verdict(bool(free and dear and loop[0, -1] > 2 and kernel[-1, -1] < time[-1, -1] / 2), figure)


CLAIMS = {
    "C6.1": Claim(
        "C6.1",
        "However many heads the width is cut into, the matrix products take the same number of operations. In "
        "short sequences all heads together cost little more than one. In long ones the table of weights, H times "
        "as large, costs many times the memory and the time, unless a fused kernel never writes it down.",
        _judge,
    )
}
