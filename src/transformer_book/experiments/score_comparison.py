"""C4.1: the four scores in one table: the same decoder, the same dates, the same budget; quality, time, memory."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from transformer_book.device import CPU
from transformer_book.experiments._cost import interleaved_seconds, peak_bytes
from transformer_book.experiments._result import Claim, Result, Verdict, half_width, run_seeds
from transformer_book.experiments.date_models import exact_match, new_recurrent_reader, train_reader
from transformer_book.plotting import PALETTE, SCORES, figure_style, new_figure
from transformer_book.tasks.dates import Dates
from transformer_book.training import TrainingConfig, make_batch, masked_cross_entropy

WINDOW = 25  # steps whose losses are averaged into one point of a curve


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    steps: int = 800,
    count: int = 2000,
    repeats: int = 9,
    progress: bool = False,
) -> Result:
    """Train a GRU with attention to read dates, once with each score; time their training steps in turn.

    Parameters
    ----------
    seeds
        One set of first weights, batches, test dates and timings each. Scores see the same batches.
    device
        Where to compute.
    steps
        Batches of 64 dates; a multiple of `WINDOW`.
    count
        Test dates, of days that no training date has.
    repeats
        Timed training steps of each model, in turn.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        For each of `SCORES`: ``exact_*``, share of test dates read right; ``loss_*``, training loss in nats per
        character, mean over windows of `WINDOW` steps; ``ratio_*``, median over rounds of the time of a training
        step divided by that with the dot product in the same round, and ``seconds_*``, its median; ``bytes_*``,
        most memory a training step had allocated at once (see `peak_bytes`); ``parameters_*``, of the score.
    """

    def one_seed(seed: int) -> dict[str, object]:
        row: dict[str, object] = {}
        for name in SCORES:
            model = new_recurrent_reader(seed, name)
            losses = train_reader(model, steps, seed, device)
            row[f"loss_{name}"] = np.reshape(losses, (-1, WINDOW)).mean(axis=1).tolist()
            row[f"exact_{name}"] = exact_match(model, count, seed)
            row[f"parameters_{name}"] = sum(
                weight.numel() for weight in model.decoder.get_submodule("score").parameters()
            )
        works = {name: training_step(name, seed, device) for name in SCORES}
        seconds = {name: np.array(s) for name, s in interleaved_seconds(works, repeats, device).items()}
        for name, work in works.items():
            row[f"seconds_{name}"] = float(np.median(seconds[name]))
            row[f"ratio_{name}"] = float(np.median(seconds[name] / seconds["dot"]))
            row[f"bytes_{name}"] = peak_bytes(work, device)
        return row

    settings = {"steps": steps, "count": count, "repeats": repeats}
    return run_seeds("score_comparison", seeds, device, settings, one_seed, progress)


def training_step(score: str, seed: int, device: torch.device) -> Callable[[], object]:
    """Make a function that computes loss and gradient of one batch of 64 dates, the same for every score."""
    task = Dates()
    model = new_recurrent_reader(seed, score).to(device)
    batch = make_batch(task, TrainingConfig(batch_size=64, seed=seed), 0, device)

    def step() -> None:
        model.zero_grad()
        masked_cross_entropy(model(batch.source, batch.target[:, :-1]), batch.target[:, 1:]).backward()

    return step


def table(result: Result) -> str:
    """Lay the figures out as text: one line for each score, means and half-widths over seeds."""
    lines = [f"{'score':>12}  dates read right  time ÷ dot  memory, MiB  weights of the score"]
    for name, (_, _, label) in SCORES.items():
        exact, spread = float(result.mean(f"exact_{name}")), float(result.half_width(f"exact_{name}"))
        ratio, mib = float(result.mean(f"ratio_{name}")), float(result.mean(f"bytes_{name}")) / 2**20
        weights = float(result.mean(f"parameters_{name}"))
        lines.append(f"{label:>12}     {exact:.3f} ± {spread:.3f}  {ratio:10.2f}  {mib:11.1f}  {weights:20,.0f}")
    return "\n".join(lines)


@figure_style()
def plot(result: Result) -> Figure:
    """Training loss by step; dates read right, seed by seed; time and memory of a training step."""
    figure, axes = new_figure(3, height=3.6)
    ends = np.arange(WINDOW, result.settings["steps"] + 1, WINDOW)
    places = np.arange(len(SCORES))
    for place, (name, (role, marker, label)) in zip(places, SCORES.items(), strict=True):
        color = PALETTE[role]
        axes[0].plot(ends, result.mean(f"loss_{name}"), color=color, marker=marker, markevery=4, label=label)
        exact = result.array(f"exact_{name}")
        axes[1].plot(np.full(len(exact), place), exact, color=color, marker=marker, lw=0, alpha=0.8)
        spread = result.half_width(f"exact_{name}")
        axes[1].errorbar(place + 0.25, exact.mean(), yerr=spread, color=color, marker="_", capsize=3)
        mib = result.mean(f"bytes_{name}") / 2**20
        axes[2].errorbar(
            result.mean(f"ratio_{name}"),
            mib,
            xerr=result.half_width(f"ratio_{name}"),
            color=color,
            marker=marker,
            lw=0,
            elinewidth=1.5,
            capsize=2,
        )
    axes[0].set(yscale="log", xlabel="training step", ylabel="loss, nats per character", title="Learning")
    axes[1].set_xticks(places, [label.replace(" ", "\n") for _, _, label in SCORES.values()], fontsize=8)
    axes[1].set(ylabel="unseen dates read right", title="Quality")
    axes[2].set(xlabel="time ÷ dot", ylabel="memory of a step, MiB", title="Cost of a step")
    axes[2].set_ylim(0, 1.1 * axes[2].get_ylim()[1])
    axes[2].set_xlim(0, 1.1 * axes[2].get_xlim()[1])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def steps_to(result: Result, score: str, loss: float) -> np.ndarray:
    """First step at which the training loss, over `WINDOW` steps, is below `loss`, by seed; NaN if never."""
    below = result.array(f"loss_{score}") < loss  # (seeds, windows)
    return np.where(below.any(axis=1), (below.argmax(axis=1) + 1.0) * WINDOW, np.nan)


def _judge(result: Result) -> Verdict:
    exact = {name: result.array(f"exact_{name}") for name in SCORES}
    memory, time = (
        {name: float(result.mean(f"{quantity}_{name}") / result.mean(f"{quantity}_dot")) for name in SCORES}
        for quantity in ("bytes", "ratio")
    )
    parts = [
        f"{SCORES[name][2]} {values.mean():.3f} ± {half_width(values):.3f} (a loss of 0.1 after "
        f"{steps_to(result, name, 0.1).mean():.0f} steps, time × {time[name]:.2f}, memory × {memory[name]:.2f})"
        for name, values in exact.items()
    ]
    figure = f"dates read right after {result.settings['steps']} steps: {'; '.join(parts)}"
    wrong = {name: 1 - float(values.mean()) for name, values in exact.items()}
    better = 2 * max(wrong["additive"], wrong["scaled_dot"]) < min(wrong["dot"], wrong["bilinear"])
    free = max(memory["scaled_dot"], time["scaled_dot"]) < 1.2
    return Verdict(bool(better and free and min(memory["additive"], time["additive"]) > 1.3), figure)


CLAIMS = {
    "C4.1": Claim(
        "C4.1",
        "In a recurrent decoder of width 64, on one task and one budget, the additive and the scaled dot score "
        "leave less than half as many dates misread as the plain dot product and the bilinear score. The additive "
        "score pays for it with time and memory, the scaled one pays nothing.",
        _judge,
    )
}
