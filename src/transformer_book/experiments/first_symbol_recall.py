"""C1.3: how far back a recurrent layer learns to look, when every training sequence has the same length."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure

from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.experiments.recall import (
    CELLS,
    NUM_SYMBOLS,
    STARTS,
    Cells,
    descend,
    new_recaller,
    recall,
)
from transformer_book.plotting import MODELS, PALETTE, draw_series, figure_style, new_figure

LENGTHS = (5, 10, 20, 40, 80)
LEARNING_RATE = 5e-3

#: Each as torch starts it → the same, started so that its gradient lasts.
BETTER = {"rnn": "rnn_scaled", "gru": "gru_open", "lstm": "lstm_open"}


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    lengths: Sequence[int] = LENGTHS,
    steps: int = 400,
    width: int = 32,
    starts: Sequence[str] = tuple(STARTS),
    cells: Cells = CELLS,
    progress: bool = False,
) -> Result:
    """Train a fresh layer at each length to name the first symbol it read, and test it at that length.

    Parameters
    ----------
    seeds
        Initial weights and sequences.
    device
        Where to train.
    lengths
        Ascending, each ≥ 1.
    steps
        Steps of Adam, 64 sequences each; the same at every length.
    width
        Width D of the state.
    starts
        Names of `STARTS`; the simple RNN's, and with each better start the one it improves on.
    cells
        ``"rnn"``, ``"gru"`` and ``"lstm"`` → class; the chapter passes the reader's own.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        ``recall_*`` for each start, by length: share of 1,000 fresh sequences whose first symbol is named.
    """

    def one_seed(seed: int) -> dict[str, list[float]]:
        return {f"recall_{name}": [learn(name, length, seed) for length in lengths] for name in starts}

    def learn(name: str, length: int, seed: int) -> float:
        model = new_recaller(STARTS[name], width, seed, cells, device)
        optimiser = torch.optim.Adam(model.parameters(), LEARNING_RATE)
        generator = torch.Generator().manual_seed(seed)
        list(descend(model, optimiser, (length, length), 1.0, steps, generator))
        return recall(model, length, generator)

    settings = {"lengths": list(lengths), "steps": steps, "width": width, "starts": list(starts)}
    return run_seeds("first_symbol_recall", seeds, device, settings, one_seed, progress)


@figure_style()
def plot(result: Result) -> Figure:
    """Recall against length, as torch starts the layers and started to last."""
    lengths = result.settings["lengths"]
    figure, axes = new_figure(2, height=3.6)
    panels = (("As torch starts them", {cell: cell for cell in CELLS}), ("Started to last", BETTER))
    for axis, (title, names) in zip(axes, panels, strict=True):
        for cell, name in names.items():
            key = f"recall_{name}"
            draw_series(axis, lengths, result.mean(key), result.half_width(key), *MODELS[cell])
        axis.axhline(1 / NUM_SYMBOLS, color=PALETTE["muted"], linestyle="--", label="chance")
        axis.set(xscale="log", xlabel="length", title=title, ylim=(0, 1.05), xticks=lengths)
        axis.set_xticklabels(lengths)
        axis.minorticks_off()
    axes[0].set_ylabel("recall of the first symbol")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def reach(result: Result, start: str) -> int:
    """Greatest length at which at least half of the first symbols are recalled, on average; 0 if there is none."""
    means = result.mean(f"recall_{start}")
    lengths = result.settings["lengths"]
    return max((length for length, mean in zip(lengths, means, strict=True) if mean >= 0.5), default=0)


def _judge(result: Result) -> Verdict:
    starts, longest = result.settings["starts"], result.settings["lengths"][-1]
    reaches = {name: reach(result, name) for name in starts}
    last = {name: float(result.mean(f"recall_{name}")[-1]) for name in starts}
    plain = [name for name in starts if name in CELLS]
    better = {BETTER[name]: name for name in plain if BETTER[name] in starts}

    def listed(names: Sequence[str]) -> str:
        return ", ".join(f"{MODELS[better.get(name, name)][2]} {reaches[name]}" for name in names)

    figure = (
        f"greatest length with half of the symbols recalled: {listed(plain)} as torch starts them; "
        f"{listed(list(better))} started to last; recall at {longest}: {min(last.values()):.2f} to "
        f"{max(last.values()):.2f}"
    )
    ordered = all(0 < reaches[name] < longest and reaches[name] <= reaches["rnn"] for name in plain)
    gained = all(reaches[name] > reaches[worse] for name, worse in better.items())
    falls = max(last[name] for name in plain) < 0.5
    return Verdict(bool(ordered and gained and falls), figure)


CLAIMS = {
    "C1.3": Claim(
        "C1.3",
        "Trained at one length, every recurrent layer fails to recall the first symbol once the length passes "
        "what its gradient spans; as PyTorch starts them a GRU and an LSTM get no further than a simple RNN, and "
        "each gets further when started so that its gradient lasts.",
        _judge,
    )
}
