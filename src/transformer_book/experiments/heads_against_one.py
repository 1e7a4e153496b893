"""C6.2: several heads against one, with the same number of parameters, on the same dates."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, half_width, run_seeds
from transformer_book.experiments.date_models import exact_match, new_reader, train_reader
from transformer_book.plotting import MARKERS, PALETTE, draw_series, figure_style, new_figure

HEADS = (1, 2, 4, 8, 16)
ROLES = ("muted", "query", "value", "weight", "accent")
WINDOW = 25  # steps whose losses are averaged into one point of a curve


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    heads: Sequence[int] = HEADS,
    steps: int = 1000,
    count: int = 2000,
    progress: bool = False,
) -> Result:
    """Train the same Transformer with another number of heads each time, on the same batches.

    Width 32, one layer in each stack. Cutting the width into more heads makes each narrower: the number of
    parameters is the same.

    Parameters
    ----------
    seeds
        One set of first weights, batches and test dates each; the same for every number of heads.
    device
        Where to compute.
    heads
        Numbers of heads to compare, ascending; each divides 32.
    steps
        Batches of 64 dates; a multiple of `WINDOW`.
    count
        Test dates, of days that no training date has.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        By number of heads: ``exact``, share of test dates read right, and ``parameters``. ``loss_H``, for each
        number of heads H: the training loss in nats per character, mean over windows of `WINDOW` steps.
    """

    def one_seed(seed: int) -> dict[str, list[float]]:
        row: dict[str, list[float]] = {"exact": [], "parameters": []}
        for h in heads:
            model = new_reader(seed, num_heads=h)
            losses = train_reader(model, steps, seed, device)
            row[f"loss_{h}"] = np.reshape(losses, (-1, WINDOW)).mean(axis=1).tolist()
            row["exact"].append(exact_match(model, count, seed))
            row["parameters"].append(sum(weight.numel() for weight in model.parameters()))
        return row

    settings = {"heads": list(heads), "steps": steps, "count": count}
    return run_seeds("heads_against_one", seeds, device, settings, one_seed, progress)


@figure_style()
def plot(result: Result) -> Figure:
    """Training loss by step for each number of heads, and the share of unseen dates read right in the end."""
    heads, steps = result.settings["heads"], result.settings["steps"]
    figure, axes = new_figure(2, height=3.4)
    ends = np.arange(WINDOW, steps + 1, WINDOW)
    for h, role, marker in zip(heads, ROLES, MARKERS, strict=False):
        mean = result.mean(f"loss_{h}")
        label = "1 head" if h == 1 else f"{h} heads"
        axes[0].plot(ends, mean, color=PALETTE[role], marker=marker, markevery=4, label=label)
    axes[0].set(yscale="log", xlabel="training step", ylabel="loss, nats per character", title="Learning")
    places = np.arange(len(heads))
    draw_series(
        axes[1], places, result.mean("exact"), result.half_width("exact"), "query", "o", "mean and interval"
    )
    seeds = result.values["exact"]
    for values in seeds:
        axes[1].plot(places, values, color=PALETTE["muted"], marker=".", lw=0, alpha=0.8)
    axes[1].set_xticks(places, [str(h) for h in heads])
    axes[1].set(xlabel="heads", ylabel="unseen dates read right", title=f"After {steps:,} steps")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(heads))
    return figure


def gain(result: Result, some: Sequence[int], others: Sequence[int]) -> np.ndarray:
    """How many more of the unseen dates are read right with `some` numbers of heads than with `others`.

    Both are averaged over their numbers of heads, seed by seed: ``(seeds,)``.
    """
    exact, heads = result.array("exact"), result.settings["heads"]
    means = [exact[:, [heads.index(h) for h in chosen]].mean(axis=1) for chosen in (some, others)]
    return means[0] - means[1]


def _judge(result: Result) -> Verdict:
    heads = result.settings["heads"]
    reached = ", ".join(f"{h}: {value:.3f}" for h, value in zip(heads, result.mean("exact"), strict=True))
    some, most = heads[1:-1], heads[-1]
    over_one, over_most = gain(result, some, [1]), gain(result, some, [most])
    spreads = half_width(over_one), half_width(over_most)
    figure = (
        f"unseen dates read right after {result.settings['steps']:,} steps, by heads: {reached}; {some[0]} to "
        f"{some[-1]} heads against one, seed by seed: {over_one.mean():+.3f} ± {spreads[0]:.3f}; against {most}: "
        f"{over_most.mean():+.3f} ± {spreads[1]:.3f}; parameters {result.array('parameters').max():,.0f} each"
    )
    same = len(np.unique(result.array("parameters"))) == 1
    return Verdict(bool(same and over_one.mean() > spreads[0] and over_most.mean() > spreads[1]), figure)


CLAIMS = {
    "C6.2": Claim(
        "C6.2",
        "With the same number of parameters and the same training, two to eight heads read more dates right than "
        "one head, and than sixteen heads, each two numbers wide.",
        _judge,
    )
}
