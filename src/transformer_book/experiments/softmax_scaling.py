"""C5.2: what the divisor does to the softmax: none, √d and d."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from transformer_book.attention import masked_softmax
from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.plotting import MARKERS, PALETTE, draw_series, figure_style, new_figure

WIDTHS = (1, 4, 16, 64, 256, 1024, 4096)

#: Name → divisor of the scores at width d.
DIVISORS: dict[str, Callable[[int], float]] = {
    "none": lambda width: 1.0,
    "sqrt_d": lambda width: math.sqrt(width),
    "d": lambda width: float(width),
}
LABELS = {"none": "not divided", "sqrt_d": "divided by √d", "d": "divided by d"}


def entropy_bits(weights: Tensor) -> Tensor:
    """Entropy of each row of weights, in bits: ``(..., S)`` → ``(...)``; log₂ S when uniform, 0 when one-hot."""
    return -torch.special.xlogy(weights, weights).sum(dim=-1) / math.log(2)


def jacobian_norm(weights: Tensor) -> Tensor:
    """Frobenius norm of ∂weights/∂scores = diag(p) − p pᵀ for each row: ``(..., S)`` → ``(...)``."""
    # Entry by entry: the closed form Σp² − 2Σp³ + (Σp²)² cancels to noise where one weight is nearly 1.
    jacobian = torch.diag_embed(weights) - weights[..., :, None] * weights[..., None, :]  # (..., S, S)
    return jacobian.flatten(-2).norm(dim=-1)


def query_gradient_norm(weights: Tensor, key: Tensor, divisor: float) -> Tensor:
    """Frobenius norm of ∂weights/∂query = (diag(p) − p pᵀ) K / divisor for each row.

    Parameters
    ----------
    weights
        Shape ``(N, S)``.
    key
        Shape ``(N, S, D)``: the keys of each row.
    divisor
        What the scores were divided by.

    Returns
    -------
    Tensor
        Shape ``(N,)``.
    """
    mean_key = (weights[:, :, None] * key).sum(dim=1, keepdim=True)  # (N, 1, D)
    jacobian = weights[:, :, None] * (key - mean_key)  # (N, S, D)
    return jacobian.flatten(1).norm(dim=-1) / divisor


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    widths: Sequence[int] = WIDTHS,
    num_keys: int = 64,
    queries: int = 256,
    softmax: Callable[[Tensor], Tensor] = masked_softmax,
    progress: bool = False,
) -> Result:
    """Send unit-variance queries and keys through the softmax with each divisor.

    Parameters
    ----------
    seeds
        One independent repetition each.
    device
        Where to compute.
    widths
        Widths d, each ≥ 1.
    num_keys
        Keys S that each query is compared with.
    queries
        Queries per width, each with keys of its own.
    softmax
        Scores ``(N, S)`` → weights ``(N, S)``; the chapter passes the reader's own.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        Per divisor (``none``, ``sqrt_d``, ``d``) and width: ``entropy_*`` (bits, mean over queries),
        ``jacobian_*`` (median over queries of the norm of ∂weights/∂scores), ``jacobian_mean_*`` (its mean),
        ``query_gradient_*`` (median norm of ∂weights/∂query).
    """

    def one_seed(seed: int) -> dict[str, list[float]]:
        generator = torch.Generator().manual_seed(seed)
        values: dict[str, list[float]] = {
            f"{quantity}_{name}": []
            for name in DIVISORS
            for quantity in ("entropy", "jacobian", "jacobian_mean", "query_gradient")
        }
        for width in widths:
            query = torch.randn(queries, 1, width, generator=generator).to(device)  # (N, 1, D)
            key = torch.randn(queries, num_keys, width, generator=generator).to(device)  # (N, S, D)
            scores = (query * key).sum(dim=-1)  # (N, S)
            for name, divisor in DIVISORS.items():
                weights = softmax(scores / divisor(width))
                jacobian = jacobian_norm(weights)
                gradient = query_gradient_norm(weights, key, divisor(width))
                values[f"entropy_{name}"].append(entropy_bits(weights).mean().item())
                values[f"jacobian_{name}"].append(jacobian.median().item())
                values[f"jacobian_mean_{name}"].append(jacobian.mean().item())
                values[f"query_gradient_{name}"].append(gradient.median().item())
        return values

    settings = {"widths": list(widths), "num_keys": num_keys, "queries": queries}
    return run_seeds("softmax_scaling", seeds, device, settings, one_seed, progress)


@figure_style()
def plot(result: Result) -> Figure:
    """Entropy of the weights, and the typical gradient to scores and query, against width for each divisor."""
    widths = result.settings["widths"]
    figure, axes = new_figure(3, height=3.4)
    panels = (
        ("entropy", "entropy of the weights, bits", "Spread"),
        ("jacobian", "‖∂weights/∂scores‖, median", "Gradient to scores"),
        ("query_gradient", "‖∂weights/∂query‖, median", "Gradient to query"),
    )
    for axis, (quantity, label, title) in zip(axes, panels, strict=True):
        for name, marker, role in zip(DIVISORS, MARKERS, ("accent", "query", "key"), strict=False):
            key = f"{quantity}_{name}"
            draw_series(axis, widths, result.mean(key), result.half_width(key), role, marker, LABELS[name])
        axis.set(xscale="log", xlabel="width d", ylabel=label, title=title)
    uniform = math.log2(result.settings["num_keys"])
    axes[0].axhline(uniform, color=PALETTE["muted"], linestyle=":", label="uniform")
    axes[0].set_ylim(0, uniform * 1.1)
    for axis in axes[1:]:
        axis.set_yscale("log")
        axis.set_ylim(bottom=1e-6)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _judge(result: Result) -> Verdict:
    first = result.settings["widths"].index(16)
    ends = {key: (result.mean(key)[first], result.mean(key)[-1]) for key in result.values}
    uniform = math.log2(result.settings["num_keys"])
    widest = result.settings["widths"][-1]
    entropy = {name: ends[f"entropy_{name}"] for name in DIVISORS}
    jacobian = {name: ends[f"jacobian_{name}"] for name in DIVISORS}
    gradient = {name: ends[f"query_gradient_{name}"] for name in DIVISORS}
    collapse = entropy["none"][1] < 0.1 * uniform and jacobian["none"][1] < 0.01 * jacobian["none"][0]
    level = all(abs(np.log(b / a)) < 0.1 for a, b in (entropy["sqrt_d"], jacobian["sqrt_d"], gradient["sqrt_d"]))
    flat = entropy["d"][1] > 0.99 * uniform and gradient["d"][1] < 0.2 * gradient["d"][0]
    change = {name: last / first for name, (first, last) in gradient.items()}
    figure = (
        f"entropy at d = {widest}, of {uniform:.0f} bits: {entropy['none'][1]:.2f} undivided, "
        f"{entropy['sqrt_d'][1]:.2f} with √d, {entropy['d'][1]:.2f} with d; "
        f"typical gradient to the query, d = 16 to {widest}: × {change['none']:.0e} undivided, "
        f"× {change['sqrt_d']:.2f} with √d, × {change['d']:.2f} with d"
    )
    return Verdict(bool(collapse and level and flat), figure)


CLAIMS = {
    "C5.2": Claim(
        "C5.2",
        "Undivided scores collapse the softmax as d grows: entropy and the typical gradient vanish. Divided by "
        "√d both stay level. Divided by d the weights flatten to uniform, and the gradient to the query shrinks.",
        _judge,
    )
}
