"""C7.3: four ways to tell a Transformer the order of its tokens, inside and beyond the lengths trained on."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.experiments.copying_models import accuracy_by_length, accuracy_by_position
from transformer_book.plotting import ENCODINGS, PALETTE, draw_series, figure_style, new_figure
from transformer_book.tasks.copying import Copying
from transformer_book.training import TrainingConfig, new_model, train
from transformer_book.transformer import Transformer, TransformerConfig

LENGTHS = (5, 10, 15, 18, 20, 21, 22, 24, 28, 32, 40)
MAX_LENGTH = 64  # rows of the tables: also for lengths that no training string has
LEARNING_RATE = 5e-3


def new_copier(positions: str, seed: int) -> Transformer:
    """Make an untrained Transformer that copies digits: width 64, two heads, one layer in each stack.

    From one seed come the same first weights whatever the encoding, but for "learned": its tables are drawn before
    the layers.
    """
    vocabulary = len(Copying().source_vocabulary)
    sizes = {"d_model": 64, "num_heads": 2, "d_ff": 128, "num_encoder_layers": 1, "num_decoder_layers": 1}
    parts = {"dropout": 0.0, "norm_first": True, "max_length": MAX_LENGTH, "positions": positions}
    return new_model(TransformerConfig(vocabulary, vocabulary, **sizes, **parts), seed)


def train_copier(
    model: Transformer, shortest: int, longest: int, steps: int, seed: int, device: torch.device
) -> list[float]:
    """Train on `steps` batches of 64 strings of `shortest` … `longest` digits; return the loss of each step."""
    training = TrainingConfig(steps=steps, batch_size=64, learning_rate=LEARNING_RATE, seed=seed)
    return train(model, Copying("copy", shortest, longest), training, device)


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    encodings: Sequence[str] = tuple(ENCODINGS),
    lengths: Sequence[int] = LENGTHS,
    shortest: int = 5,
    longest: int = 20,
    steps: int = 650,
    count: int = 200,
    looked_at: int = 28,
    progress: bool = False,
) -> Result:
    """Train the same small Transformer to copy digits, once with each encoding, and test it at every length.

    Parameters
    ----------
    seeds
        One set of first weights, batches and test strings each; encodings see the same strings.
    device
        Where to compute.
    encodings
        As in ``TransformerConfig.positions``.
    lengths
        Lengths to test, ascending, below `MAX_LENGTH`; some beyond `longest`.
    shortest, longest
        Training strings have that many digits, every length equally often.
    steps
        Batches of 64 strings.
    count
        Test strings per length.
    looked_at
        Length of the strings whose accuracy is also measured place by place; beyond `longest`.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        For each encoding: ``exact_*`` and ``token_*`` by length, share of strings and of digits copied right;
        ``place_*``, share of digits right by place in strings of the length `looked_at`; ``loss_*``, mean
        training loss over the last tenth of the steps, in nats per token; ``parameters_*``.
    """

    def one_seed(seed: int) -> dict[str, object]:
        row: dict[str, object] = {}
        for name in encodings:
            model = new_copier(name, seed)
            losses = train_copier(model, shortest, longest, steps, seed, device)
            model.eval()
            accuracy = accuracy_by_length(model, lengths, count, seed)
            row[f"exact_{name}"], row[f"token_{name}"] = accuracy["exact"], accuracy["token"]
            row[f"place_{name}"] = accuracy_by_position(model, looked_at, count, seed)
            row[f"loss_{name}"] = float(np.mean(losses[-max(steps // 10, 1) :]))
            row[f"parameters_{name}"] = sum(weight.numel() for weight in model.parameters())
        return row

    settings = {
        "encodings": list(encodings),
        "lengths": list(lengths),
        "shortest": shortest,
        "longest": longest,
        "steps": steps,
        "count": count,
        "looked_at": looked_at,
    }
    return run_seeds("position_encodings", seeds, device, settings, one_seed, progress)


@figure_style()
def plot(result: Result) -> Figure:
    """Whole strings right by length, and digits right by place in strings longer than any in training."""
    settings = result.settings
    figure, axes = new_figure(2, height=3.6)
    places = np.arange(1, settings["looked_at"] + 1)
    for name in settings["encodings"]:
        role, marker, label = ENCODINGS[name]
        exact, place = f"exact_{name}", f"place_{name}"
        draw_series(
            axes[0], settings["lengths"], result.mean(exact), result.half_width(exact), role, marker, label
        )
        axes[1].plot(places, result.mean(place), color=PALETTE[role], marker=marker, ms=3.5, label=label)
    axes[0].axvspan(
        settings["shortest"], settings["longest"], color=PALETTE["muted"], alpha=0.08, lw=0, label="trained"
    )
    axes[1].axvspan(1, settings["longest"], color=PALETTE["muted"], alpha=0.08, lw=0)
    axes[1].axhline(0.1, color=PALETTE["muted"], linestyle="--", lw=1)
    axes[0].set(xlabel="length of the string", ylabel="share right", title="Whole strings")
    axes[1].set(xlabel=f"place in a string of {settings['looked_at']}", title="Digits, by place")
    for axis in axes:
        axis.set_ylim(-0.03, 1.05)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def table(result: Result) -> str:
    """Lay out as text which share of whole strings is right: one line for each encoding, means over seeds."""
    lengths = result.settings["lengths"]
    head = f"{'length':>10}" + "".join(f"{length:5d}" for length in lengths)
    rows = [
        f"{name:>10}" + "".join(f"{share:5.2f}" for share in result.mean(f"exact_{name}"))
        for name in result.settings["encodings"]
    ]
    return "\n".join([head, *rows])


def _judge(result: Result) -> Verdict:
    settings = result.settings
    lengths, longest = np.array(settings["lengths"]), settings["longest"]
    exact = {name: result.array(f"exact_{name}") for name in settings["encodings"]}  # (seeds, lengths)
    inside, beyond = lengths <= longest, lengths > longest + 1
    at = int(np.flatnonzero(beyond)[1])  # the second length that is more than one beyond
    least = {name: float(values[:, inside].mean(axis=0).min()) for name, values in exact.items()}
    most = {name: float(values[:, beyond].max()) for name, values in exact.items()}
    further = exact["rotary"][:, at]
    figure = (
        f"whole strings copied, at the worst of the trained lengths {settings['shortest']} to {longest}: none "
        f"{least['none']:.2f}, sinusoidal {least['sinusoidal']:.2f}, learned {least['learned']:.2f}, rotary "
        f"{least['rotary']:.2f}; at length {lengths[at]}: sinusoidal {exact['sinusoidal'][:, at].mean():.2f}, "
        f"learned {exact['learned'][:, at].mean():.2f}, rotary {further.mean():.2f} "
        f"({further.min():.2f} to {further.max():.2f}); rotary at {lengths[-1]}: "
        f"{exact['rotary'][:, -1].mean():.2f}"
    )
    learnt = least["sinusoidal"] > 0.9 and least["learned"] > 0.9 and least["rotary"] > 0.5
    nothing = max(most["none"], most["sinusoidal"], most["learned"]) < 0.1
    rotary = exact["rotary"].mean(axis=0)[beyond]
    some = further.mean() > 0.2 and rotary[-1] < 0.2 and np.diff(rotary).max() < 0.05
    order = exact["none"][:, inside].mean() < 0.1
    return Verdict(bool(learnt and nothing and some and order), figure)


CLAIMS = {
    "C7.3": Claim(
        "C7.3",
        "Without positions a Transformer does not learn to copy; with any of three encodings it does, inside the "
        "lengths it is trained on. Two or more symbols beyond, sinusoidal and learned positions get next to no "
        "string right; rotary ones still some, the fewer the longer the string.",
        _judge,
    )
}
