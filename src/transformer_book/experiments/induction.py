"""C10.3: copying from the context: what two layers learn on sequences that repeat, and one does not."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from transformer_book.device import CPU, seeded
from transformer_book.experiments._cost import one_thread
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.gpt import GPT, GPTConfig
from transformer_book.plotting import PALETTE, draw_series, figure_style, new_figure

#: What is compared: layers, and the width D. One layer of width 96 has more weights than two of width 64.
MODELS: dict[str, tuple[int, int]] = {"one": (1, 64), "wide": (1, 96), "two": (2, 64)}
LABELS = {"one": "one layer", "wide": "one wide layer", "two": "two layers"}
STYLES = {"one": ("key", "s"), "wide": ("muted", "^"), "two": ("query", "o")}


class Repeated(NamedTuple):
    """Sequences that repeat.

    ids
        ``(B, T + 1)``: a block of different symbols in random order, over and over.
    periods
        ``(B,)``, the length of each one's block.
    """

    ids: Tensor
    periods: Tensor


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    models: Sequence[str] = tuple(MODELS),
    steps: int = 300,
    every: int = 25,
    symbols: int = 24,
    periods: tuple[int, int] = (6, 18),
    length: int = 40,
    batch_size: int = 32,
    shrink: int = 1,
    progress: bool = False,
) -> Result:
    """Train GPTs of one layer and of two to predict the next symbol of random sequences that repeat.

    Each layer has one head, so that there is no doubt which to look at; positions are rotary. From the second time
    on every symbol is certain, to whoever finds where the present one stood before and looks one further. Blocks
    have random lengths: no fixed distance leads there.

    Parameters
    ----------
    seeds
        One set of first weights and batches each; the batches are the same for all models.
    device
        Where to compute.
    models
        Some of `MODELS`.
    steps
        Batches to train on; a multiple of `every`.
    every
        Steps between looks at the accuracy.
    symbols
        Size V of the alphabet; a guess is right once in V times.
    periods
        Least and greatest length of a block.
    length
        Tokens T that are predicted.
    batch_size
        Sequences B of a batch.
    shrink
        Divides all widths, for a quick look.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        For each model, over places where the block has been seen once: ``accuracy_*``, share of symbols foreseen,
        and ``nats_*``, the loss; ``curve_*``, that accuracy by look; ``weights_*``, number of weights;
        ``match_*`` and ``previous_*``, by layer: how much of its attention the best head has on the symbol that
        followed the present one before, see `induction_score`, and on the previous symbol.
    """

    def one_seed(seed: int) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for name in models:
            layers, width = MODELS[name]
            sizes: dict[str, Any] = {"d_model": width // shrink, "d_ff": 4 * width // shrink, "num_heads": 1}
            config = GPTConfig(
                symbols, num_layers=layers, dropout=0.0, positions="rotary", max_length=length, **sizes
            )
            with seeded(seed), one_thread():
                model = GPT(config).to(device)
                test = repeated(256, symbols, periods, length, torch.Generator().manual_seed(10**6 + seed))
                test = Repeated(test.ids.to(device), test.periods.to(device))
                curve = []
                generator = torch.Generator().manual_seed(seed)
                optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
                for step in range(steps):
                    batch = repeated(batch_size, symbols, periods, length, generator)
                    train_step(model, batch.ids.to(device), optimizer, 3e-3 * rate(step, steps))
                    if (step + 1) % every == 0:
                        curve.append(look(model, test)[0])
                row[f"accuracy_{name}"], row[f"nats_{name}"] = look(model, test)
                row[f"curve_{name}"] = curve
                maps = attention_of(model, test)
                row[f"match_{name}"] = [induction_score(weights, test.periods) for weights in maps]
                row[f"previous_{name}"] = [previous_score(weights) for weights in maps]
                row[f"weights_{name}"] = sum(weight.numel() for weight in model.parameters())
        return row

    settings = {"models": list(models), "steps": steps, "every": every, "symbols": symbols}
    settings |= {"periods": list(periods), "length": length, "batch_size": batch_size, "shrink": shrink}
    return run_seeds("induction", seeds, device, settings, one_seed, progress)


def repeated(
    count: int, symbols: int, periods: tuple[int, int], length: int, generator: torch.Generator
) -> Repeated:
    """Draw sequences, each a random block of different symbols over and over.

    Parameters
    ----------
    count, symbols, periods, length
        Sequences B, size V of the alphabet, least and greatest block, and T: ids are ``(B, T + 1)``.
    generator
        Source of the random numbers.

    Raises
    ------
    ValueError
        A block is longer than the alphabet, or than half the sequence.
    """
    low, high = periods
    if not 1 <= low <= high <= min(symbols, length // 2):
        raise ValueError(f"periods: expected 1 ≤ low ≤ high ≤ {min(symbols, length // 2)}, got {low} and {high}")
    blocks = torch.rand(count, symbols, generator=generator).argsort(dim=1)  # (B, V): a random order each
    lengths = torch.randint(low, high + 1, (count,), generator=generator)  # (B,)
    places = torch.arange(length + 1) % lengths[:, None]  # (B, T + 1)
    return Repeated(blocks.gather(1, places), lengths)


def rate(step: int, steps: int) -> float:
    """Share of the full learning rate: up over the first eighth of the steps, then down to zero."""
    return min(1.0, 8 * (step + 1) / steps) * (1 - step / steps)


def train_step(model: GPT, ids: Tensor, optimizer: torch.optim.Optimizer, learning_rate: float) -> float:
    """Predict each next token of ``ids (B, T + 1)`` and change the weights once; return the loss in nats."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    loss = F.cross_entropy(model.train()(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()
    clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


@torch.no_grad()
def look(model: GPT, test: Repeated) -> tuple[float, float]:
    """Return the accuracy, and the loss in nats, at places where the whole block has been seen."""
    logits = model.eval()(test.ids[:, :-1])  # (B, T, V)
    places = torch.arange(logits.shape[1], device=logits.device)
    known = places >= test.periods[:, None]  # (B, T)
    right = (logits.argmax(dim=-1) == test.ids[:, 1:])[known]
    nats = F.cross_entropy(logits[known], test.ids[:, 1:][known])
    return right.float().mean().item(), nats.item()


@torch.no_grad()
def attention_of(model: GPT, test: Repeated) -> tuple[Tensor, ...]:
    """Return the attention weights ``(B, H, T, T)`` of each layer."""
    return model.eval().attention_maps(test.ids[:, :-1])


def induction_score(weights: Tensor, periods: Tensor) -> float:
    """Tell how much attention the best head has on the symbol that followed the present one before.

    Parameters
    ----------
    weights
        Attention of one layer, ``(B, H, T, T)``.
    periods
        Lengths n of the blocks, ``(B,)``: from place t ≥ n the symbol to look at stands at t − n + 1.

    Returns
    -------
    float
        Mean over all such places, of the head that has most; 0 … 1.

    Notes
    -----
    Source: Olsson et al. 2022, "prefix matching score".
    """
    places = torch.arange(weights.shape[2], device=weights.device)
    known = places >= periods[:, None]  # (B, T)
    wanted = (places - periods[:, None] + 1).clamp(min=0)  # (B, T)
    index = wanted[:, None, :, None].expand(-1, weights.shape[1], -1, -1)  # (B, H, T, 1)
    on_match = weights.gather(-1, index)[..., 0].transpose(1, 2)  # (B, T, H)
    return on_match[known].mean(dim=0).max().item()


def previous_score(weights: Tensor) -> float:
    """Tell how much attention of ``weights (B, H, T, T)`` the best head has on the symbol just before; 0 … 1."""
    return weights.diagonal(-1, dim1=2, dim2=3).mean(dim=(0, 2)).max().item()


def table(result: Result) -> str:
    """Lay the figures out as text: one line for each model, means and half-widths over seeds."""
    lines = [f"{'':>14}  weights   foreseen        nats/symbol   on previous   on match"]
    for name in result.settings["models"]:
        exact, spread = float(result.mean(f"accuracy_{name}")), float(result.half_width(f"accuracy_{name}"))
        scores = [result.mean(f"{kind}_{name}") for kind in ("previous", "match")]
        by_layer = ["  ".join(f"{score:.2f}" for score in kind) for kind in scores]
        lines.append(
            f"{LABELS[name]:>14}  {float(result.mean(f'weights_{name}')):7,.0f}   {exact:.3f} ± {spread:.3f}  "
            f"{float(result.mean(f'nats_{name}')):9.3f}     {by_layer[0]:<11}   {by_layer[1]}"
        )
    return "\n".join(lines)


@figure_style()
def plot(result: Result) -> Figure:
    """Accuracy over training, by model; and where the heads of each layer look at the end."""
    figure, axes = new_figure(2, height=3.6)
    names = result.settings["models"]
    steps = np.arange(1, result.mean(f"curve_{names[0]}").shape[0] + 1) * result.settings["every"]
    for name in names:
        role, marker = STYLES[name]
        curve, spread = result.mean(f"curve_{name}"), result.half_width(f"curve_{name}")
        draw_series(axes[0], steps, curve, spread, role, marker, LABELS[name])
    axes[0].axhline(1 / result.settings["symbols"], color=PALETTE["muted"], lw=1, ls=":")
    axes[0].set(xlabel="training step", ylabel="repeated symbols foreseen", ylim=(0, 1.02), title="Copying")
    axes[0].legend()
    places = []
    for name in names:
        for layer in range(len(result.mean(f"match_{name}"))):
            place = len(places)
            places.append(LABELS[name] if MODELS[name][0] == 1 else f"{LABELS[name]}, {layer + 1}")
            for kind, role, marker in (("previous", "value", "v"), ("match", "accent", "D")):
                values = result.array(f"{kind}_{name}")[:, layer]
                label = {"previous": "on the symbol before", "match": "on what followed"}[kind]
                axes[1].plot(
                    values,
                    np.full(len(values), place),
                    color=PALETTE[role],
                    marker=marker,
                    lw=0,
                    alpha=0.8,
                    label=None if place else label,
                )
    axes[1].set_yticks(range(len(places)), places)
    axes[1].invert_yaxis()
    axes[1].set(xlabel="attention of the best head", xlim=(-0.03, 1.03), title="Where a layer looks")
    axes[1].legend()
    return figure


def _judge(result: Result) -> Verdict:
    accuracy = {name: result.array(f"accuracy_{name}") for name in MODELS}
    match, previous = result.array("match_two"), result.array("previous_two")
    single = max(result.array(f"match_{name}").max() for name in ("one", "wide"))
    figure = (
        f"repeated symbols foreseen: {accuracy['two'].mean():.3f} with two layers (least of "
        f"{len(result.seeds)} seeds {accuracy['two'].min():.3f}), {accuracy['one'].mean():.3f} with one, "
        f"{accuracy['wide'].mean():.3f} with one that has more weights; attention on what followed before: "
        f"{match[:, 1].mean():.2f} in the second of two layers, on the symbol before: "
        f"{previous[:, 0].mean():.2f} in the first; at most {single:.2f} on what followed in a single layer"
    )
    copies = accuracy["two"].min() > 0.5 > 0.25 > max(accuracy[name].max() for name in ("one", "wide"))
    alone = max(result.array(f"previous_{name}").max() for name in ("one", "wide"))
    heads = match[:, 1].min() > 2 * single and previous[:, 0].min() > 2 * alone
    return Verdict(bool(copies and heads), figure)


CLAIMS = {
    "C10.3": Claim(
        "C10.3",
        "On random sequences that repeat, a GPT of two layers learns to copy from the context and one of a single "
        "layer does not, not even with more weights. Of the two layers the first turns to the symbol before, the "
        "second to what followed the present symbol when it stood there before; a single layer does neither.",
        _judge,
    )
}
