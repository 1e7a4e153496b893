"""C2.3: how far a wider context vector, or a longer training, moves the length at which copying fails."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.experiments.copying_models import accuracy_by_length, bits_left, new_copier, train_copier
from transformer_book.plotting import MARKERS, PALETTE, draw_series, figure_style, new_figure

WIDTHS = (16, 32, 64, 128)
LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 18, 20)


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    widths: Sequence[int] = WIDTHS,
    lengths: Sequence[int] = LENGTHS,
    longest: int = 20,
    steps: int = 1000,
    patience: int = 3,
    count: int = 200,
    level: float = 0.9,
    probe_count: int = 3000,
    progress: bool = False,
) -> Result:
    """Train GRU copiers of several widths alike, and the second-widest once more for longer.

    Parameters
    ----------
    seeds
        One set of first weights and of training batches each.
    device
        Where to compute.
    widths
        Widths D of the state, ascending; at least two.
    lengths
        Lengths to test, ascending.
    longest, steps
        Training strings have 1 … `longest` digits; `steps` batches of 64.
    patience
        How many times as long the longer training is.
    count
        Test strings per length.
    level
        Token accuracy that a length must reach.
    probe_count
        How many contexts the probe sees.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        ``token``: accuracy by width and length; ``reach``: by width, the length where it falls below `level`;
        ``bits``: by width, the total over positions that a linear probe finds in the context of strings of the
        longest tested length within training; ``token_longer``, ``reach_longer``: of the longer training.
    """

    def one_seed(seed: int) -> dict[str, object]:
        token, bits = [], []
        for width in widths:
            model = train_copier(new_copier("gru", "none", width, seed), longest, steps, seed, device)
            token.append(accuracy_by_length(model, lengths, count, seed)["token"])
            bits.append(sum(bits_left(model, longest, probe_count, seed)))
        model = train_copier(new_copier("gru", "none", widths[-2], seed), longest, patience * steps, seed, device)
        longer = accuracy_by_length(model, lengths, count, seed)["token"]
        return {
            "token": token,
            "reach": [reach(lengths, row, level) for row in token],
            "bits": bits,
            "token_longer": longer,
            "reach_longer": reach(lengths, longer, level),
        }

    settings = {
        "widths": list(widths),
        "lengths": list(lengths),
        "longest": longest,
        "steps": steps,
        "patience": patience,
        "count": count,
        "level": level,
        "probe_count": probe_count,
    }
    return run_seeds("context_width", seeds, device, settings, one_seed, progress)


def reach(lengths: Sequence[int], accuracy: Sequence[float], level: float) -> float:
    """Return the length at which accuracy first falls below `level`, interpolated linearly.

    Parameters
    ----------
    lengths
        Ascending.
    accuracy
        One per length.
    level
        What to reach.

    Returns
    -------
    float
        Between the last length before the fall and the first after it; 0 if even the shortest is below, the
        longest tested length if none is.
    """
    below = next((i for i, a in enumerate(accuracy) if a < level), None)
    if below is None:
        return float(lengths[-1])
    if below == 0:
        return 0.0
    (x0, x1), (y0, y1) = lengths[below - 1 : below + 1], accuracy[below - 1 : below + 1]
    return float(x0 + (y0 - level) / (y0 - y1) * (x1 - x0))


@figure_style()
def plot(result: Result) -> Figure:
    """Token accuracy by length for each width, and the reach by width."""
    settings = result.settings
    figure, axes = new_figure(2, height=3.4)
    roles = ("muted", "key", "query", "value")
    for i, (width, role, marker) in enumerate(zip(settings["widths"], roles, MARKERS, strict=False)):
        mean, spread = result.mean("token")[i], result.half_width("token")[i]
        draw_series(axes[0], settings["lengths"], mean, spread, role, marker, f"D = {width}")
    axes[0].axhline(settings["level"], color=PALETTE["muted"], linestyle=":")
    axes[0].set(xlabel="length of the string", ylabel="token accuracy", ylim=(0, 1.05))
    draw_series(
        axes[1],
        settings["widths"],
        result.mean("reach"),
        result.half_width("reach"),
        "query",
        "o",
        "same training",
    )
    longer, spread = result.mean("reach_longer"), result.half_width("reach_longer")
    label = f"{settings['patience']} × as long"
    draw_series(axes[1], [settings["widths"][-2]], [longer], [spread], "accent", "v", label)
    axes[1].set(xscale="log", xlabel="width D", ylabel=f"length at {settings['level']:.0%}", ylim=(0, None))
    axes[1].set_xticks(settings["widths"], [str(width) for width in settings["widths"]], minor=False)
    axes[1].minorticks_off()
    axes[0].legend()
    axes[1].legend()
    return figure


def _judge(result: Result) -> Verdict:
    settings = result.settings
    longest = settings["lengths"].index(settings["longest"])
    reaches, token = result.mean("reach"), result.mean("token")
    moves = bool((np.diff(reaches) > 0).all()) and reaches[-1] > 2 * reaches[0]
    stays = bool((token[:, longest] < settings["level"]).all())
    figure = f"length at {settings['level']:.0%}: " + ", ".join(
        f"{reach:.1f} at D = {width}" for reach, width in zip(reaches, settings["widths"], strict=True)
    )
    longer = (
        f"; {settings['patience']} × the training, D = {settings['widths'][-2]}: {result.mean('reach_longer'):.1f}"
    )
    return Verdict(moves and stays, figure + longer)


CLAIMS = {
    "C2.3": Claim(
        "C2.3",
        "A wider context vector moves the length at which copying fails; it does not remove it.",
        _judge,
    )
}
