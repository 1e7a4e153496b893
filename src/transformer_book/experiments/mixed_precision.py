"""C11.5: training in bfloat16 beside float32: speed, share of the ceiling that is used, and quality."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from transformer_book.cost import Load, Sizes, count_flops, measure_ceiling, quiet_clock
from transformer_book.device import CPU
from transformer_book.experiments._cost import interleaved_seconds, one_thread
from transformer_book.experiments._result import Claim, Result, Verdict, half_width, run_seeds
from transformer_book.experiments.date_models import LEARNING_RATE, exact_match, new_reader
from transformer_book.plotting import PALETTE, draw_series, figure_style, new_figure
from transformer_book.tasks.dates import Dates
from transformer_book.training import TrainingConfig, masked_cross_entropy, new_model, train
from transformer_book.training.config import PRECISIONS
from transformer_book.transformer import Transformer, TransformerConfig

WIDTHS = (32, 128, 512)
VOCABULARY = 1000
STYLE = {"float32": ("query", "o"), "bfloat16": ("key", "s")}
#: Losses at the end of a training that are averaged.
LAST = 50


def training_step(model: Transformer, source: Tensor, target: Tensor, precision: str) -> Callable[[], None]:
    """Make a function that takes one step: loss, gradient, Adam; matrix products in `precision`."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step() -> None:
        with torch.autocast(source.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(source, target[:, :-1])  # (B, T, V)
        loss = masked_cross_entropy(logits.float(), target[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    widths: Sequence[int] = WIDTHS,
    batch_size: int = 16,
    length: int = 32,
    repeats: int = 3,
    steps: int = 1000,
    read: int = 1000,
    progress: bool = False,
) -> Result:
    """Time training steps of readable Transformers in both precisions in turn; train readers of dates in both.

    On a CPU one thread computes, and the time that the processor gave it counts.

    Parameters
    ----------
    seeds
        Weights, batches, timings and one pair of trainings each.
    device
        Where to compute.
    widths
        Widths D of the timed models, ascending: heads of 32, two layers in each stack.
    batch_size, length
        Sequences B of the timed steps, and length of source and target.
    repeats
        Timed rounds per seed.
    steps
        Steps of each training on dates, batches of 64.
    read
        Unseen dates to read after it.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        By ``widths``: ``speedup``, median over rounds of the time in float32 divided by that in bfloat16;
        ``utilisation_*``, operations of a step per second, as a share of the ceiling measured in that precision.
        ``ceiling_*``, that ceiling. ``loss_*``, mean of the last 50, and ``exact_*``, of a training on dates.
    """

    def timed(seed: int, width: int, ceilings: dict[str, float]) -> dict[str, float]:
        sizes: dict[str, Any] = {"d_model": width, "num_heads": width // 32, "d_ff": 4 * width, "dropout": 0.0}
        config = TransformerConfig(VOCABULARY, VOCABULARY, **sizes)
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(3, VOCABULARY, (2, batch_size, length + 1), generator=generator).to(device)
        works = {
            name: training_step(new_model(config, seed).to(device), ids[0, :, 1:], ids[1], name)
            for name in PRECISIONS
        }
        rounds = interleaved_seconds(works, repeats, device, quiet_clock(device))
        seconds = {name: np.array(each) for name, each in rounds.items()}
        flops = sum(count_flops(Sizes.of(config), Load(batch_size, length, length), training=True).values())
        row = {
            f"utilisation_{name}": float(flops / np.median(each) / ceilings[name])
            for name, each in seconds.items()
        }
        return {"speedup": float(np.median(seconds["float32"] / seconds["bfloat16"])), **row}

    def trained(seed: int, precision: str) -> tuple[float, float]:
        model = new_reader(seed)
        config = TrainingConfig(steps=steps, learning_rate=LEARNING_RATE, seed=seed, precision=precision)
        losses = train(model, Dates(), config, device)
        return float(np.mean(losses[-LAST:])), exact_match(model, read, seed)

    def one_seed(seed: int) -> dict[str, Any]:
        with one_thread():
            ceilings = {name: measure_ceiling(device, name).ceiling.flops for name in PRECISIONS}
            rows = [timed(seed, width, ceilings) for width in widths]
            ends = {name: trained(seed, name) for name in PRECISIONS}
        values: dict[str, Any] = {key: [row[key] for row in rows] for key in rows[0]}
        for name in PRECISIONS:
            values |= {f"ceiling_{name}": ceilings[name]}
            values |= {f"loss_{name}": ends[name][0], f"exact_{name}": ends[name][1]}
        return values

    settings = {"widths": list(widths), "batch_size": batch_size, "length": length}
    settings |= {"repeats": repeats, "steps": steps, "read": read}
    return run_seeds("mixed_precision", seeds, device, settings, one_seed, progress)


@figure_style()
def plot(result: Result) -> Figure:
    """Speed of bfloat16 against float32 and use of the ceiling, by width; errors on dates, seed by seed."""
    widths = result.settings["widths"]
    figure, axes = new_figure(3, height=3.4)
    speedup = result.array("speedup")
    draw_series(axes[0], widths, speedup.mean(axis=0), half_width(speedup), "weight", "D", "speed")
    axes[0].axhline(1, color=PALETTE["muted"], linewidth=0.8)
    axes[0].set(title="Speed", ylabel="times as fast as float32", xlabel="width D", ylim=(0, None))
    place = partial(axes[2].plot, lw=0)
    for x, (name, (role, marker)) in enumerate(STYLE.items()):
        used = 100 * result.array(f"utilisation_{name}")
        draw_series(axes[1], widths, used.mean(axis=0), half_width(used), role, marker, name)
        wrong = 100 * (1 - result.array(f"exact_{name}"))
        place(np.full(len(wrong), x), wrong, color=PALETTE[role], marker=marker, label=name)
    axes[1].set(title="Ceiling used", ylabel="%", xlabel="width D", ylim=(0, None))
    axes[1].legend()
    for axis in axes[:2]:
        axis.set_xscale("log", base=2)
        axis.set_xticks(widths, [str(width) for width in widths])
    axes[2].set(title="Dates misread", ylabel="%", xlim=(-0.5, 1.5), ylim=(0, None))
    axes[2].set_xticks(range(len(STYLE)), list(STYLE))
    return figure


def _judge(result: Result) -> Verdict:
    speedup, widths = result.mean("speedup"), result.settings["widths"]
    exact = {name: result.mean(f"exact_{name}") for name in PRECISIONS}
    loss = result.array("loss_bfloat16") - result.array("loss_float32")
    used = {name: result.mean(f"utilisation_{name}") for name in PRECISIONS}
    higher = result.mean("ceiling_bfloat16") / result.mean("ceiling_float32")
    figure = (
        f"in bfloat16 a step is {speedup[0]:.2f} times as fast at width {widths[0]}, {speedup[-1]:.2f} at "
        f"{widths[-1]}, where the ceiling is {higher:.1f} times as high; of it are used "
        f"{used['float32'][0]:.0%} and {used['float32'][-1]:.0%} in float32, {used['bfloat16'][0]:.0%} and "
        f"{used['bfloat16'][-1]:.0%} in bfloat16; dates read right: {exact['float32']:.2%} in float32, "
        f"{exact['bfloat16']:.2%} in bfloat16; the loss ends "
        f"{loss.mean():+.4f} ± {half_width(loss):.4f} apart"
    )
    faster = speedup[-1] > 1.2 and speedup[-1] > speedup[0]
    fuller = all(each[-1] > each[0] for each in used.values())
    good = exact["bfloat16"] > exact["float32"] - 0.02
    return Verdict(bool(faster and fuller and good), figure)


CLAIMS = {
    "C11.5": Claim(
        "C11.5",
        "Matrix products in bfloat16 speed up the training of a wide model and not of a narrow one, which uses "
        "little of either ceiling; the model reads as many dates, to within two in a hundred.",
        _judge,
    )
}
