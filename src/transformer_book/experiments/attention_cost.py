"""C5.5: time and memory of attention against length and width: explicit, chunked, fused."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from transformer_book.attention import chunked_attention, scaled_dot_product_attention
from transformer_book.device import CPU
from transformer_book.experiments._cost import interleaved_seconds, peak_bytes
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.plotting import MARKERS, draw_series, figure_style, new_figure

ROLES = ("accent", "query", "value")
LENGTHS = (256, 512, 1024, 2048, 4096)
WIDTHS = (16, 32, 64, 128, 256)

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def _explicit(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return scaled_dot_product_attention(query, key, value)[0]


def _fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value)


METHODS: dict[str, Attention] = {"explicit": _explicit, "chunked": chunked_attention, "fused": _fused}


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    lengths: Sequence[int] = LENGTHS,
    widths: Sequence[int] = WIDTHS,
    num_heads: int = 4,
    width: int = 64,
    length: int = 1024,
    repeats: int = 5,
    methods: dict[str, Attention] | None = None,
    progress: bool = False,
) -> Result:
    """Run each method on the same inputs; time it in turn with the others and track its allocations.

    Parameters
    ----------
    seeds
        One random input, and one independent round of timings, each.
    device
        Where to compute.
    lengths
        Lengths T = S tried at `width`, ascending; at least two.
    widths
        Widths of a head tried at `length`, ascending.
    num_heads, width, length
        Inputs are ``(1, num_heads, length, width)`` in float32; what the other dial stands at.
    repeats
        Timed rounds per seed and length.
    methods
        Name → ``(query, key, value) -> output``; default: this package's two, and torch's fused kernel.
        ``explicit`` must be among them.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        Per method and length: ``seconds_*`` (median), ``bytes_*`` (peak beyond the inputs, forward alone),
        ``training_bytes_*`` (forward and backward), ``speed_*`` (median over rounds of the explicit method's
        time divided by this one's in the same round). The same per width, with ``_by_width`` behind the name.
    """
    chosen = METHODS if methods is None else methods

    def one_size(seed: int, size: int, wide: int) -> dict[str, float]:
        generator = torch.Generator().manual_seed(seed)
        shape = (3, 1, num_heads, size, wide)
        inputs = torch.randn(shape, generator=generator).to(device).unbind()  # 3 × (1, H, T, K)
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]

        def forward(method: Attention) -> Callable[[], object]:
            return lambda: method(*inputs)

        def training(method: Attention) -> Callable[[], object]:
            return lambda: torch.autograd.grad(method(*leaves).sum(), leaves)

        works = {name: forward(method) for name, method in chosen.items()}
        seconds = {name: np.array(s) for name, s in interleaved_seconds(works, repeats, device).items()}
        row: dict[str, float] = {}
        for name, method in chosen.items():
            row[f"seconds_{name}"] = float(np.median(seconds[name]))
            row[f"speed_{name}"] = float(np.median(seconds["explicit"] / seconds[name]))
            row[f"bytes_{name}"] = peak_bytes(works[name], device)
            row[f"training_bytes_{name}"] = peak_bytes(training(method), device)
        return row

    def one_seed(seed: int) -> dict[str, list[float]]:
        dials = {
            "": [one_size(seed, size, width) for size in lengths],
            "_by_width": [one_size(seed, length, wide) for wide in widths],
        }
        return {f"{key}{dial}": [row[key] for row in rows] for dial, rows in dials.items() for key in rows[0]}

    settings = {
        "lengths": list(lengths),
        "widths": list(widths),
        "num_heads": num_heads,
        "width": width,
        "length": length,
        "repeats": repeats,
        "methods": list(chosen),
    }
    return run_seeds("attention_cost", seeds, device, settings, one_seed, progress)


def memory_exponent(result: Result, quantity: str) -> float:
    """Fit p in bytes ∝ length^p between the two greatest lengths: 1 is linear, 2 quadratic."""
    lengths = result.settings["lengths"]
    small, large = result.mean(quantity)[-2:]
    return float(np.log(large / small) / np.log(lengths[-1] / lengths[-2]))


@figure_style()
def plot(result: Result) -> Figure:
    """Peak memory, forward and with backward, and speed against the explicit method; by length."""
    lengths = result.settings["lengths"]
    figure, axes = new_figure(3, height=3.4)
    panels = (
        ("bytes", 2**20, "extra memory, MiB", "Forward"),
        ("training_bytes", 2**20, "extra memory, MiB", "Forward + backward"),
        ("speed", 1, "times as fast as explicit", "Speed, forward"),
    )
    for axis, (quantity, unit, label, title) in zip(axes, panels, strict=True):
        for name, marker, role in zip(result.settings["methods"], MARKERS, ROLES, strict=False):
            key = f"{quantity}_{name}"
            draw_series(axis, lengths, result.mean(key) / unit, result.half_width(key) / unit, role, marker, name)
        axis.set_xscale("log", base=2)
        axis.set_xticks(lengths, [f"{length:,}" for length in lengths], rotation=45)
        axis.set(xlabel="length", ylabel=label, title=title)
    for axis in axes[:2]:
        axis.set_yscale("log", base=4)
        axis.yaxis.set_major_formatter("{x:g}")
    axes[2].set_ylim(bottom=0)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _judge(result: Result) -> Verdict:
    exponents = {name: memory_exponent(result, f"bytes_{name}") for name in METHODS}
    training = memory_exponent(result, "training_bytes_chunked")
    longest = result.settings["lengths"][-1]
    saved = result.mean("bytes_explicit")[-1] / result.mean("bytes_chunked")[-1]
    figure = (
        f"memory grows with length to the power {exponents['explicit']:.2f} explicit, "
        f"{exponents['chunked']:.2f} chunked, {exponents['fused']:.2f} fused; at {longest}, chunked needs "
        f"1/{saved:.0f} of explicit and runs {result.mean('speed_chunked')[-1]:.1f} times as fast, fused "
        f"{result.mean('speed_fused')[-1]:.1f} times; with backward, chunked grows with power {training:.2f}"
    )
    linear = max(exponents["chunked"], exponents["fused"]) < 1.2
    return Verdict(bool(exponents["explicit"] > 1.8 and linear and saved > 4), figure)


CLAIMS = {
    "C5.5": Claim(
        "C5.5",
        "Explicit attention needs memory quadratic in the length; computed in chunks with an online softmax, or "
        "by a fused kernel, the forward pass needs memory linear in the length.",
        _judge,
    )
}
