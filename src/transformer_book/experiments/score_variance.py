"""C5.1: the variance of a dot product grows with the width, as fast as the width itself."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, half_width, run_seeds
from transformer_book.plotting import MARKERS, PALETTE, draw_series, figure_style, new_figure

WIDTHS = (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)

#: Independent entries of mean 0 and variance 1, from three very different distributions.
DISTRIBUTIONS: dict[str, Callable[..., Tensor]] = {
    "normal": lambda *size, generator: torch.randn(*size, generator=generator),
    "uniform": lambda *size, generator: (torch.rand(*size, generator=generator) - 0.5) * 12**0.5,
    "sign": lambda *size, generator: torch.randint(0, 2, size, generator=generator) * 2.0 - 1.0,
}


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    widths: Sequence[int] = WIDTHS,
    samples: int = 4096,
    progress: bool = False,
) -> Result:
    """Draw many query–key pairs of each width and take the variance of their dot products.

    Parameters
    ----------
    seeds
        One independent repetition each.
    device
        Where the products are computed; the draws come from the CPU generator, so they are the same everywhere.
    widths
        Widths d, each ≥ 1; at least two.
    samples
        Pairs per width and distribution.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        ``variance_normal``, ``variance_uniform``, ``variance_sign``: Var(q·k) per width; ``slope``: Var(q·k)/d
        averaged over widths and distributions; ``exponent``: p in Var(q·k) ∝ d^p, a least-squares fit in logs.
    """

    def one_seed(seed: int) -> dict[str, object]:
        generator = torch.Generator().manual_seed(seed)
        values: dict[str, list[float]] = {}
        for name, draw in DISTRIBUTIONS.items():
            values[f"variance_{name}"] = []
            for width in widths:
                query = draw(samples, width, generator=generator).to(device)  # (samples, D)
                key = draw(samples, width, generator=generator).to(device)  # (samples, D)
                products = (query * key).sum(dim=-1)  # (samples,)
                values[f"variance_{name}"].append(products.var().item())
        variance = np.array(list(values.values()))  # (distributions, widths)
        exponent = np.polyfit(np.log(widths), np.log(variance).mean(axis=0), 1)[0]
        return {**values, "slope": float((variance / np.array(widths)).mean()), "exponent": float(exponent)}

    settings = {"widths": list(widths), "samples": samples}
    return run_seeds("score_variance", seeds, device, settings, one_seed, progress)


@figure_style()
def plot(result: Result) -> Figure:
    """Variance against width for the three distributions, on the line Var = d; both axes logarithmic."""
    widths = np.array(result.settings["widths"])
    figure, (left, right) = new_figure(2)
    left.plot(widths, widths, color=PALETTE["muted"], linestyle="--", label="Var = d")
    for name, marker, role in zip(DISTRIBUTIONS, MARKERS, ("query", "key", "value"), strict=False):
        values = result.array(f"variance_{name}")
        ratio = values / widths
        draw_series(left, widths, values.mean(axis=0), half_width(values), role, marker, name)
        draw_series(right, widths, ratio.mean(axis=0), half_width(ratio), role, marker, name)
    right.axhline(1.0, color=PALETTE["muted"], linestyle="--")
    left.set(xscale="log", yscale="log", xlabel="width d", ylabel="Var(q·k)", title="The variance is the width")
    right.set(xscale="log", ylim=(0.8, 1.2), xlabel="width d", ylabel="Var(q·k) / d", title="… at every width")
    left.legend()
    return figure


def _judge(result: Result) -> Verdict:
    slope, exponent = float(result.mean("slope")), float(result.mean("exponent"))
    figure = (
        f"Var(q·k) = {slope:.3f} ± {float(result.half_width('slope')):.3f} × d; "
        f"exponent of d {exponent:.3f} ± {float(result.half_width('exponent')):.3f}"
    )
    return Verdict(abs(slope - 1) < 0.03 and abs(exponent - 1) < 0.02, figure)


CLAIMS = {
    "C5.1": Claim(
        "C5.1",
        "The dot product of two vectors with independent entries of variance 1 has variance d, whatever the "
        "distribution of the entries.",
        _judge,
    )
}
