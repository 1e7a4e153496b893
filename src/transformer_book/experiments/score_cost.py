"""C4.2: time and memory of each score against length and width."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from transformer_book.device import CPU, seeded
from transformer_book.experiments._cost import interleaved_seconds, peak_bytes
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.plotting import SCORES, draw_series, figure_style, new_figure
from transformer_book.seq2seq import make_score

LENGTHS = (64, 128, 256, 512, 1024)
WIDTHS = (16, 32, 64, 128, 256)

MakeScore = Callable[[str, int], nn.Module]


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    lengths: Sequence[int] = LENGTHS,
    widths: Sequence[int] = WIDTHS,
    width: int = 64,
    length: int = 256,
    repeats: int = 9,
    make: MakeScore = make_score,
    progress: bool = False,
) -> Result:
    """Compare queries and keys with each score; time it in turn with the others and track its allocations.

    The additive score's hidden width is that of queries and keys.

    Parameters
    ----------
    seeds
        One random input, and one independent round of timings, each.
    device
        Where to compute.
    lengths
        Lengths T = S tried at `width`, ascending; at least two.
    widths
        Widths D tried at `length`, ascending; at least two.
    width, length
        What the other dial stands at.
    repeats
        Timed rounds per seed and size.
    make
        ``(name, width) -> score``; default `transformer_book.seq2seq.make_score`.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        For each of `SCORES` and each dial, ``length`` and ``width``: ``seconds_SCORE_DIAL`` (median, forward),
        ``ratio_SCORE_DIAL`` (median over rounds of its time divided by the dot product's in the same round),
        ``bytes_SCORE_DIAL`` (peak beyond inputs and weights, see `peak_bytes`), and the same with ``training_``
        before it for forward and backward together.
    """

    def one_size(seed: int, size: int, wide: int) -> dict[str, float]:
        generator = torch.Generator().manual_seed(seed)
        query, key = torch.randn((2, 1, size, wide), generator=generator).to(device).unbind()  # (1, T, D) each
        leaves = [tensor.clone().requires_grad_() for tensor in (query, key)]
        with seeded(seed):
            scores = {name: make(name, wide).to(device) for name in SCORES}

        def forward(score: nn.Module) -> Callable[[], object]:
            return torch.no_grad()(lambda: score(query, key))

        def training(score: nn.Module) -> Callable[[], object]:
            wanted = [*leaves, *score.parameters()]
            return lambda: torch.autograd.grad(score(*leaves).sum(), wanted)

        row: dict[str, float] = {}
        for prefix, kind in (("", forward), ("training_", training)):
            works = {name: kind(score) for name, score in scores.items()}
            seconds = {name: np.array(s) for name, s in interleaved_seconds(works, repeats, device).items()}
            for name, work in works.items():
                row[f"{prefix}seconds_{name}"] = float(np.median(seconds[name]))
                row[f"{prefix}ratio_{name}"] = float(np.median(seconds[name] / seconds["dot"]))
                row[f"{prefix}bytes_{name}"] = peak_bytes(work, device)
        return row

    def one_seed(seed: int) -> dict[str, list[float]]:
        dials = {
            "length": [one_size(seed, size, width) for size in lengths],
            "width": [one_size(seed, length, wide) for wide in widths],
        }
        return {f"{key}_{dial}": [row[key] for row in rows] for dial, rows in dials.items() for key in rows[0]}

    settings = {
        "lengths": list(lengths),
        "widths": list(widths),
        "width": width,
        "length": length,
        "repeats": repeats,
    }
    return run_seeds("score_cost", seeds, device, settings, one_seed, progress)


@figure_style()
def plot(result: Result) -> Figure:
    """Time as a multiple of the dot product's, and peak memory; by length and by width; forward and backward."""
    settings = result.settings
    figure, axes = new_figure(4, height=3.6)
    dials = (
        ("length", "lengths", f"width {settings['width']}"),
        ("width", "widths", f"length {settings['length']}"),
    )
    panels = [(dial, quantity) for quantity in ("ratio", "bytes") for dial in dials]
    for axis, ((dial, sizes, fixed), quantity) in zip(axes, panels, strict=True):
        unit = 2**20 if quantity == "bytes" else 1
        for name, (role, marker, label) in SCORES.items():
            key = f"training_{quantity}_{name}_{dial}"
            mean, spread = result.mean(key) / unit, result.half_width(key) / unit
            draw_series(axis, settings[sizes], mean, spread, role, marker, label)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.set_xticks(settings[sizes], [f"{size:,}" for size in settings[sizes]], rotation=60)
        axis.set_xlabel(dial)
        axis.set_title(f"{'Time ÷ dot' if quantity == 'ratio' else 'Memory, MiB'}\n{fixed}", fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def growth(result: Result, quantity: str, sizes: str) -> float:
    """Fit p in quantity ∝ size^p between the two greatest sizes: 1 is linear, 2 quadratic."""
    small, large = result.mean(quantity)[-2:]
    return float(np.log(large / small) / np.log(result.settings[sizes][-1] / result.settings[sizes][-2]))


def _judge(result: Result) -> Verdict:
    longest, widest = result.settings["lengths"][-1], result.settings["widths"][-1]
    slower = {name: result.mean(f"training_ratio_{name}_length")[-1] for name in SCORES}
    heavier = {
        name: result.mean(f"training_bytes_{name}_length")[-1] / result.mean("training_bytes_dot_length")[-1]
        for name in SCORES
    }
    wider, level = (growth(result, f"bytes_{name}_width", "widths") for name in ("additive", "dot"))
    figure = (
        f"forward and backward at length {longest:,}, width {result.settings['width']}, against the dot product: "
        f"additive {slower['additive']:.0f} times the time and {heavier['additive']:.0f} times the memory, "
        f"bilinear {slower['bilinear']:.1f} and {heavier['bilinear']:.1f}, "
        f"scaled {slower['scaled_dot']:.1f} and {heavier['scaled_dot']:.1f}; from width "
        f"{result.settings['widths'][-2]} to {widest} memory of the forward pass grows with power "
        f"{wider:.2f} additive, {level:.2f} dot"
    )
    others = ("bilinear", "scaled_dot")
    fast = slower["additive"] > 10 and max(slower[name] for name in others) < slower["additive"] / 3
    light = heavier["additive"] > 16 and max(heavier[name] for name in others) < 4
    return Verdict(bool(fast and light and wider > 0.9 and level < 0.1), figure)


CLAIMS = {
    "C4.2": Claim(
        "C4.2",
        "Scores that are matrix products cost about the same. The additive score needs many times their time, and "
        "memory for a vector, not a number, per pair of positions: it grows with the width, theirs does not.",
        _judge,
    )
}
