"""C1.1, C1.2: how the gradient of a recurrent layer falls or grows with distance, and what tames it."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, half_width, run_seeds
from transformer_book.experiments.recall import (
    CELLS,
    NUM_SYMBOLS,
    STARTS,
    Cells,
    Start,
    descend,
    draw_ids,
    new_layer,
    new_recaller,
)
from transformer_book.plotting import MODELS, PALETTE, draw_series, figure_style, new_figure
from transformer_book.recurrent import Recurrent

D_INPUT = 16
SCALES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
#: Name → largest norm of the gradient that plain gradient descent is given.
CLIPS = {"plain": math.inf, "clipped": 1.0}
CLIP_SCALE, CLIP_LENGTH, CLIP_STEPS, CLIP_RATE = 4.0, 50, 50, 0.1


def state_jacobians(layer: Recurrent, inputs: Tensor) -> Tensor:
    """Jacobians ∂h_T/∂s_t of the last hidden vector with respect to the state at each step.

    The state s is all that a step hands to the next: the hidden vector, and in an LSTM the cell as well.

    Parameters
    ----------
    layer
        A recurrent layer.
    inputs
        One sequence, ``(T, I)``.

    Returns
    -------
    Tensor
        Shape ``(T, D, parts · D)``, in order of t; an LSTM's state has two parts.
    """
    width = layer.d_hidden
    state, states = None, []
    for now in inputs.unbind():  # (I,)
        # one copy of the sequence for each coordinate of h_T: copy i gives row i of every Jacobian
        state = layer(now.expand(width, 1, -1), state)[1]
        # a clone, so that the cell's gradient does not count its way through this step's hidden vector as well
        parts = [part.clone() for part in (state if isinstance(state, tuple) else (state,))]
        state = tuple(parts) if isinstance(state, tuple) else parts[0]
        states.append(parts)
    trace = states[-1][0].diagonal().sum()
    flat = [part for parts in states for part in parts]
    gradients = torch.autograd.grad(trace, flat, materialize_grads=True)
    rows = torch.stack(gradients).unflatten(0, (len(states), -1))  # (T, parts, D, D)
    return rows.transpose(1, 2).flatten(-2)  # (T, D, parts · D)


def jacobian_norms(layer: Recurrent, inputs: Tensor) -> Tensor:
    """Spectral norm of ∂h_T/∂s_t: the most a gradient at the last step can be stretched on its way back.

    Parameters
    ----------
    layer, inputs
        As for `state_jacobians`.

    Returns
    -------
    Tensor
        By distance T − t = 0 … T − 1, shape ``(T,)``; 1 at distance 0.
    """
    return torch.linalg.matrix_norm(state_jacobians(layer, inputs), 2).flip(0)


def spectral_radius(layer: Recurrent) -> float:
    """Largest absolute eigenvalue of the recurrent weights of what becomes the state; gates do not count."""
    block = {1: 0, 3: 2, 4: 2}[layer.blocks]  # the candidate of GRU and LSTM is their third block
    weight = layer.weight_hh_l0.detach().chunk(layer.blocks)[block]  # (D, D)
    return torch.linalg.eigvals(weight.cpu()).abs().max().item()


def step_factor(norms: NDArray[np.float64], distances: Sequence[int]) -> NDArray[np.float64]:
    """Factor per step from distance 10, or the first after it, to the greatest: ``(…, distances)`` → ``(…)``."""
    first = next(index for index, distance in enumerate(distances) if distance >= 10)
    return (norms[..., -1] / norms[..., first]) ** (1 / (distances[-1] - distances[first]))


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    length: int = 100,
    width: int = 64,
    scales: Sequence[float] = SCALES,
    cells: Cells = CELLS,
    progress: bool = False,
) -> Result:
    """Follow the gradient back through freshly started layers, with normal random inputs.

    Parameters
    ----------
    seeds
        One start and one input sequence each.
    device
        Where to compute.
    length
        Greatest distance, a multiple of 10 and at least 20.
    width
        Width D of the state.
    scales
        Multiples of the recurrent weights, ascending; 1 is torch's start.
    cells
        ``"rnn"``, ``"gru"`` and ``"lstm"`` → class; the chapter passes the reader's own.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        For each of `STARTS`: ``norm_*``, the norm of ∂h_T/∂s_t at ``settings["distances"]``, and ``factor_*``,
        its factor per step from distance 10 on. For each cell and scale: ``scaled_*``, that factor, and
        ``radius_*``, the spectral radius; ``slope_rnn``, the root mean square of tanh′. For gradient descent
        from an exploding start, [plain, clipped]: ``clip_step``, the longest step; ``clip_moved``, the way from
        first to last weights over the length of the first; ``clip_loss``, the mean of the last ten;
        ``clip_gradient``, the norm of ∂h_T/∂s_t over that many steps at the end.
    """
    distances = [1, *range(10, length + 1, 10)]

    def norms_of(layer: Recurrent, inputs: Tensor) -> list[float]:
        return jacobian_norms(layer.to(device, torch.float64), inputs)[distances].tolist()

    def one_seed(seed: int) -> dict[str, object]:
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randn(length + 1, D_INPUT, generator=generator, dtype=torch.float64).to(device)  # (T, I)
        values: dict[str, object] = {}
        for name, start in STARTS.items():
            norms = norms_of(new_layer(start, D_INPUT, width, seed, cells), inputs)
            values[f"norm_{name}"] = norms
            values[f"factor_{name}"] = float(step_factor(np.array(norms), distances))
        slopes = []
        for cell in ("rnn", "gru", "lstm"):
            factors, radii = [], []
            for scale in scales:
                layer = new_layer(Start(cell, scale), D_INPUT, width, seed, cells)
                factors.append(float(step_factor(np.array(norms_of(layer, inputs)), distances)))
                radii.append(spectral_radius(layer))
                if cell == "rnn":
                    slopes.append(tanh_slope(layer, inputs))
            values |= {f"scaled_{cell}": factors, f"radius_{cell}": radii}
        descents = [_descend_from_explosion(seed, width, clip, device, cells) for clip in CLIPS.values()]
        clipping = {f"clip_{key}": [descent[key] for descent in descents] for key in descents[0]}
        return {**values, "slope_rnn": slopes, **clipping}

    settings = {"length": length, "width": width, "scales": list(scales), "distances": distances}
    return run_seeds("gradient_through_time", seeds, device, settings, one_seed, progress)


@torch.no_grad()
def tanh_slope(layer: Recurrent, inputs: Tensor) -> float:
    """Root mean square of tanh′ = 1 − h² over one sequence ``(T, I)`` and all coordinates of a simple RNN."""
    hidden = layer(inputs[None])[0]  # (1, T, D)
    return (1 - hidden.square()).square().mean().sqrt().item()


def _descend_from_explosion(
    seed: int, width: int, clip: float, device: torch.device, cells: Cells
) -> dict[str, float]:
    """Train a simple RNN with too large weights by plain gradient descent, and see where it goes."""
    model = new_recaller(Start("rnn", CLIP_SCALE), width, seed, cells, device)
    weights = nn.utils.parameters_to_vector(model.parameters()).detach()
    optimiser = torch.optim.SGD(model.parameters(), CLIP_RATE)
    generator = torch.Generator().manual_seed(seed)
    losses, steps, before = [], [], weights
    for loss in descend(model, optimiser, (CLIP_LENGTH, CLIP_LENGTH), clip, CLIP_STEPS, generator):
        after = nn.utils.parameters_to_vector(model.parameters()).detach()
        steps.append((after - before).norm().item())
        losses.append(loss)
        before = after
    [ids] = draw_ids(1, CLIP_LENGTH + 1, generator)
    inputs = nn.functional.one_hot(ids, NUM_SYMBOLS).to(device, torch.float64)  # (T, V)
    return {
        "step": max(steps),
        "moved": ((before - weights).norm() / weights.norm()).item(),
        "loss": float(np.mean(losses[-10:])),
        "gradient": jacobian_norms(model.layer.double(), inputs)[CLIP_LENGTH].item(),
    }


@figure_style()
def plot(result: Result) -> Figure:
    """Norm against distance for both kinds of start, and the factor per step against the spectral radius."""
    distances = result.settings["distances"]
    figure, axes = new_figure(3, height=3.6)
    panels = (("As torch starts them", ""), ("Started to last", "_open"))
    for axis, (title, ending) in zip(axes, panels, strict=False):
        for cell in CELLS:
            role, marker, label = MODELS[cell]
            name = cell if not ending else "rnn_scaled" if cell == "rnn" else cell + ending
            logs = np.log10(result.array(f"norm_{name}"))
            mean, half = logs.mean(axis=0), half_width(logs)
            draw_series(axis, distances, mean, half, role, marker, label)
        axis.set(xlabel="distance T − t, steps", title=title)
    axes[0].set_ylabel("log₁₀ ‖∂h_T/∂s_t‖")
    for cell in CELLS:
        role, marker, label = MODELS[cell]
        factor = f"scaled_{cell}"
        radius = result.mean(f"radius_{cell}")
        draw_series(axes[2], radius, result.mean(factor), result.half_width(factor), role, marker, label)
    axes[2].axline((1, 1), slope=1, color=PALETTE["muted"], linestyle=":", label="no tanh, no gates")
    axes[2].axhline(1, color=PALETTE["muted"], linestyle="--")
    axes[2].set(xscale="log", xlabel="spectral radius ρ", ylabel="factor per step", title="Larger weights")
    axes[2].set_ylim(0, 2.4)
    figure.legend(*axes[2].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def crossing(result: Result, cell: str) -> float:
    """Spectral radius at which the factor per step passes 1, between the scales measured."""
    return float(np.interp(1.0, result.mean(f"scaled_{cell}"), result.mean(f"radius_{cell}")))


def straightness(norms: NDArray[np.float64], distances: Sequence[int]) -> float:
    """Share of the variance of log-norms that a straight line in the distance explains; 1 when geometric."""
    return float(np.corrcoef(distances, np.log(norms))[0, 1] ** 2)


def _with_spread(result: Result, quantity: str) -> str:
    return f"{float(result.mean(quantity)):.3f} ± {float(result.half_width(quantity)):.3f}"


def _judge_falls(result: Result) -> Verdict:
    distances = result.settings["distances"]
    factor = {name: float(result.mean(f"factor_{name}")) for name in STARTS}
    straight = min(
        straightness(norms, distances) for cell in CELLS for norms in result.array(f"norm_{cell}")
    )  # of every seed
    started = ", ".join(f"{MODELS[cell][2]} {_with_spread(result, f'factor_{cell}')}" for cell in CELLS)
    figure = (
        f"factor per step as torch starts them: {started} (straight lines on a logarithmic axis: at least "
        f"{straight:.4f} of the variance); started to last: simple RNN, weights doubled, "
        f"{factor['rnn_scaled']:.3f}; GRU, gate open, {factor['gru_open']:.3f}; LSTM {factor['lstm_open']:.3f}"
    )
    falls = factor["rnn"] < min(factor["gru"], factor["lstm"]) and max(factor[cell] for cell in CELLS) < 0.75
    lasts = min(factor[name] for name in STARTS if name not in CELLS) > 0.88
    return Verdict(straight > 0.99 and falls and lasts, figure)


def _judge_grows(result: Result) -> Verdict:
    radius = {cell: crossing(result, cell) for cell in CELLS}
    largest = {cell: float(result.mean(f"scaled_{cell}")[-1]) for cell in CELLS}
    widest = float(result.mean("radius_rnn")[-1])
    step, moved = result.mean("clip_step"), result.mean("clip_moved")
    after = np.median(result.array("clip_gradient"), axis=0)
    figure = (
        f"the factor passes 1 at spectral radius {radius['rnn']:.2f} (simple RNN), {radius['gru']:.2f} (GRU), "
        f"{radius['lstm']:.2f} (LSTM); at radius {widest:.0f} it is {largest['rnn']:.2f}, {largest['gru']:.2f}, "
        f"{largest['lstm']:.2f}; longest step of gradient descent {step[0]:.0e} plain, {step[1]:.2f} clipped; "
        f"then the gradient over {CLIP_LENGTH} steps is {after[0]:.0e} plain, still {after[1]:.0e} clipped"
    )
    explodes = 1.05 < radius["rnn"] < 2 and largest["rnn"] > 1.3
    saturates = largest["rnn"] < widest / 2
    gated = min(radius["gru"], radius["lstm"]) > 1.4 * radius["rnn"] and min(largest["gru"], largest["lstm"]) > 1
    clipped = step[1] <= CLIP_RATE * CLIPS["clipped"] * 1.001 and step[0] > 100 * step[1]
    harmed = moved[0] > 5 and moved[1] < 0.5 and after[0] < 1e-6 and after[1] > 10
    return Verdict(bool(explodes and saturates and gated and clipped and harmed), figure)


CLAIMS = {
    "C1.1": Claim(
        "C1.1",
        "The gradient ‖∂h_T/∂s_t‖ falls geometrically with distance, and as PyTorch starts them a GRU and an "
        "LSTM are hardly better than a simple RNN. Gates that start open let it last; so do larger weights and "
        "no gate at all.",
        _judge_falls,
    ),
    "C1.2": Claim(
        "C1.2",
        "With larger recurrent weights the same gradient explodes, though later and slower than the spectral "
        "radius says, because tanh saturates. Gates put the explosion off and do not exclude it; clipping bounds "
        "the step and leaves the gradient's path as it was.",
        _judge_grows,
    ),
}
