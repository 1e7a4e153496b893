"""C8.3: layer norm before or after a sub-layer, with and without warm-up, at several depths, and what trains."""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, half_width, run_seeds
from transformer_book.layers import DecoderLayer, FeedForward
from transformer_book.plotting import PALETTE, draw_series, figure_style, new_figure
from transformer_book.tasks.copying import Copying
from transformer_book.training import TrainingConfig, make_batch, masked_cross_entropy, new_model, train
from transformer_book.transformer import Transformer, TransformerConfig

#: Way to train → norms first, part of the steps in which the learning rate rises; role, marker, label.
WAYS: dict[str, tuple[bool, float, str, str, str]] = {
    "pre_warm": (True, 0.3, "query", "o", "pre-norm, warm-up"),
    "pre_cold": (True, 0.0, "value", "^", "pre-norm, no warm-up"),
    "post_warm": (False, 0.3, "weight", "D", "post-norm, warm-up"),
    "post_cold": (False, 0.0, "key", "s", "post-norm, no warm-up"),
}
WINDOW = 25  # steps whose losses are averaged into one point of a curve
LEARNT = 0.5  # nats per symbol; one who knows nothing but the lengths loses about four times that
BATCH = 32

#: Makes an untrained model from a configuration and a seed.
Maker = Callable[[TransformerConfig, int], Transformer]


def new_task() -> Copying:
    """Make the task: to copy strings of one to eight digits."""
    return Copying("copy", shortest=1, longest=8)


def new_config(depth: int, norm_first: bool) -> TransformerConfig:
    """Give the sizes: width 32, 4 heads, `depth` layers in each stack, no dropout."""
    vocabulary = len(new_task().source_vocabulary)
    sizes: dict[str, Any] = {"num_encoder_layers": depth, "num_decoder_layers": depth, "max_length": 16}
    return TransformerConfig(vocabulary, vocabulary, 32, 4, 64, **sizes, dropout=0.0, norm_first=norm_first)


def learning_curve(
    model: Transformer, rate: float, warmup: float, steps: int, seed: int, device: torch.device
) -> list[float]:
    """Train a model to copy and return its loss, a mean for every `WINDOW` steps.

    A training whose loss or gradient stops being finite has learnt nothing: its curve is that of guessing evenly.
    """
    config = TrainingConfig(steps=steps, batch_size=BATCH, learning_rate=rate, warmup=warmup, seed=seed)
    try:
        losses = train(model, new_task(), config, device)
    except FloatingPointError:
        losses = [math.log(model.config.target_vocab)] * steps
    return np.reshape(losses, (-1, WINDOW)).mean(axis=1).tolist()


def first_gradients(model: Transformer, seed: int, device: torch.device) -> list[float]:
    """Norm of the first gradient of each decoder layer's W₂, the last map of its feed-forward."""
    task = new_task()
    batch = make_batch(task, TrainingConfig(batch_size=256, seed=seed), 0, device)
    model.to(device).train()
    masked_cross_entropy(model(batch.source, batch.target[:, :-1]), batch.target[:, 1:]).backward()
    norms = []
    for layer in cast(list[DecoderLayer], model.decoder_layers):
        gradient = cast(FeedForward, layer.feed_forward).output.weight.grad
        assert gradient is not None
        norms.append(gradient.norm().item())
    return norms


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    depths: Sequence[int] = (1, 2, 6),
    rates: Sequence[float] = (1e-2, 3e-3, 1e-3),
    steps: int = 250,
    make: Maker = new_model,
    progress: bool = False,
) -> Result:
    """Train Transformers to copy, in each of `WAYS`, at each depth and learning rate.

    The same first weights and batches for both orders and with or without warm-up; Adam, gradients clipped to 1;
    the rate falls in a straight line to zero, after its warm-up if there is one.

    Parameters
    ----------
    seeds
        One set of first weights and batches each.
    device
        Where to compute.
    depths
        Layers in each stack, ascending.
    rates
        Largest learning rates: no way shall lose because one rate does not suit it.
    steps
        Batches of `BATCH` strings; a multiple of `WINDOW`.
    make
        Makes the models; the chapter passes the reader's own.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        ``loss_*`` for each of `WAYS`: the training loss in nats per symbol, mean over windows of `WINDOW` steps,
        ``(depths, rates, windows)``. ``gradient_pre`` and ``gradient_post``, of the deepest model before its
        first step: norm of the gradient of each decoder layer's W₂, ``(layers,)``.
    """

    def one_seed(seed: int) -> dict[str, object]:
        row: dict[str, object] = {}
        for name, (norm_first, warmup, *_) in WAYS.items():
            row[f"loss_{name}"] = [
                [
                    learning_curve(make(new_config(depth, norm_first), seed), rate, warmup, steps, seed, device)
                    for rate in rates
                ]
                for depth in depths
            ]
        for name, norm_first in (("pre", True), ("post", False)):
            row[f"gradient_{name}"] = first_gradients(make(new_config(depths[-1], norm_first), seed), seed, device)
        return row

    settings = {"depths": list(depths), "rates": list(rates), "steps": steps}
    return run_seeds("norm_order", seeds, device, settings, one_seed, progress)


def final(result: Result, way: str) -> NDArray[np.float64]:
    """Loss of the last window, ``(seeds, depths, rates)``."""
    return result.array(f"loss_{way}")[..., -1]


def best(result: Result, way: str) -> NDArray[np.float64]:
    """Last loss at the learning rate that is best for this way and depth on average: ``(seeds, depths)``."""
    losses = final(result, way)
    chosen = losses.mean(axis=0).argmin(axis=-1)  # (depths,)
    return np.take_along_axis(losses, chosen[None, :, None], axis=-1)[..., 0]


def learnt(result: Result, way: str) -> NDArray[np.float64]:
    """Share of all runs, over seeds and rates, whose last loss is below `LEARNT`: ``(depths,)``."""
    return (final(result, way) < LEARNT).mean(axis=(0, 2))


@figure_style()
def plot(result: Result) -> Figure:
    """Learning of the deepest model at each way's best rate; last loss by depth; first gradients by layer."""
    settings = result.settings
    figure, axes = new_figure(3, height=3.8)
    ends = np.arange(WINDOW, settings["steps"] + 1, WINDOW)
    places = np.arange(len(settings["depths"]))
    for way, (_, _, role, marker, label) in WAYS.items():
        rate = int(final(result, way)[:, -1].mean(axis=0).argmin())
        curve = result.mean(f"loss_{way}")[-1, rate]
        axes[0].plot(ends, curve, color=PALETTE[role], marker=marker, label=label)
        reached = np.log10(best(result, way))
        draw_series(axes[1], places, reached.mean(axis=0), half_width(reached), role, marker, label)
    axes[0].set(xlabel="training step", ylabel="loss, nats per symbol", yscale="log")
    axes[0].set_title(f"{settings['depths'][-1]} layers, best rate")
    axes[1].set_xticks(places, [str(depth) for depth in settings["depths"]])
    axes[1].set(xlabel="layers in each stack", ylabel="log₁₀ of the last loss", title="By depth")
    layers = np.arange(1, settings["depths"][-1] + 1)
    for name, way in (("pre", "pre_warm"), ("post", "post_warm")):
        gradient = result.array(f"gradient_{name}")
        gradient /= gradient.mean(axis=1, keepdims=True)  # seeds differ in the size of all of them
        _, _, role, marker, _ = WAYS[way]
        draw_series(axes[2], layers, gradient.mean(axis=0), half_width(gradient), role, marker, f"{name}-norm")
    axes[2].set(xlabel="decoder layer", ylabel="gradient, against the mean", title="Before step 1", xticks=layers)
    axes[2].set_ylim(bottom=0)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _judge(result: Result) -> Verdict:
    depths = result.settings["depths"]
    last = {way: best(result, way).mean(axis=0) for way in WAYS}
    share = {way: learnt(result, way) for way in WAYS}
    parts = [
        f"{label} {last[way][0]:.2f} with {depths[0]}, {last[way][-1]:.2f} with {depths[-1]} "
        f"({share[way][-1]:.0%} of runs learn)"
        for way, (*_, label) in WAYS.items()
    ]
    gradient = {name: result.mean(f"gradient_{name}") for name in ("pre", "post")}
    steep = {name: values[-1] / values[0] for name, values in gradient.items()}
    figure = (
        f"loss after {result.settings['steps']} steps, by layers in each stack, each at its best of "
        f"{len(result.settings['rates'])} rates: " + "; ".join(parts) + "; before the first step the gradient of "
        f"the last decoder layer is {steep['post']:.1f} × the first's with post-norm, {steep['pre']:.1f} × with "
        "pre-norm"
    )
    shallow = all(values[0] < LEARNT for values in last.values())
    pre = all((last[way] < LEARNT).all() for way in ("pre_warm", "pre_cold"))
    deepest = {way: final(result, way)[:, -1].mean(axis=0) for way in WAYS}  # (rates,)
    at_every_rate = all((deepest[f"post_{end}"] > deepest[f"pre_{end}"]).all() for end in ("warm", "cold"))
    behind = last["post_cold"][-1] > 3 * last["pre_cold"][-1] and last["post_warm"][-1] > 2 * last["pre_warm"][-1]
    helps = (last["post_warm"] < last["post_cold"])[1:].all()
    return Verdict(
        bool(shallow and pre and at_every_rate and behind and helps and steep["post"] > 2 * steep["pre"]), figure
    )


CLAIMS = {
    "C8.3": Claim(
        "C8.3",
        "With one layer in each stack the order of norms hardly matters. The deeper the stacks, the more "
        "post-norm falls behind at every learning rate tried; warm-up helps it and does not close the gap. "
        "Pre-norm learns at every depth, with warm-up and without.",
        _judge,
    )
}
