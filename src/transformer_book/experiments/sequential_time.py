"""C3.4: the same number of tokens in shorter or longer sequences: what waits, and what does not."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from transformer_book.attention import scaled_dot_product_attention
from transformer_book.cost import quiet_clock
from transformer_book.device import CPU, seeded
from transformer_book.experiments._cost import interleaved_seconds, one_thread
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.plotting import MARKERS, draw_series, figure_style, new_figure
from transformer_book.recurrent import GRU
from transformer_book.scoring import AdditiveScore
from transformer_book.seq2seq import AttentionDecoder, Memory

LENGTHS = (1, 4, 16, 64, 256, 1024)
LABELS = {"recurrent": "GRU", "decoder": "GRU decoder with attention", "attention": "attention alone"}
ROLES = {"recurrent": "query", "decoder": "weight", "attention": "value"}


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    lengths: Sequence[int] = LENGTHS,
    tokens: int = 1024,
    width: int = 64,
    repeats: int = 5,
    progress: bool = False,
) -> Result:
    """Time forward passes over `tokens` tokens, cut into sequences of each length in turn.

    The recurrent layer does the same arithmetic at every length: only the number of steps that must wait for one
    another changes. The decoder reads a memory of 16 positions whatever its own length. On a CPU one thread
    computes, so that threads waiting for each other are not mistaken for steps that do.

    Parameters
    ----------
    seeds
        One set of weights and inputs, and one independent round of timings, each.
    device
        Where to compute.
    lengths
        Divisors of `tokens`, ascending; at least two.
    tokens
        Tokens in a batch: there are ``tokens / length`` sequences.
    width
        Width of inputs and states.
    repeats
        Timed rounds per seed; a round times everything once.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        By length: ``slowdown_*``, the median over rounds of the time divided by that at the shortest length in
        the same round; and ``seconds_*`` (median).

    Raises
    ------
    ValueError
        A length does not divide `tokens`.
    """
    for length in lengths:
        if tokens % length:
            raise ValueError(f"lengths: expected divisors of {tokens} tokens, got {length}")

    def one_seed(seed: int) -> dict[str, list[float]]:
        works = {f"{name}/{length}": work for length in lengths for name, work in _works(length, seed).items()}
        with torch.no_grad(), one_thread():
            rounds = interleaved_seconds(works, repeats, device, quiet_clock(device))
            seconds = {key: np.array(times) for key, times in rounds.items()}
        row: dict[str, list[float]] = {}
        for name in LABELS:
            times = [seconds[f"{name}/{length}"] for length in lengths]
            row[f"seconds_{name}"] = [float(np.median(time)) for time in times]
            row[f"slowdown_{name}"] = [float(np.median(time / times[0])) for time in times]
        return row

    def _works(length: int, seed: int) -> dict[str, Callable[[], object]]:
        with seeded(seed):
            layer = GRU(width, width).to(device)
            decoder = AttentionDecoder(13, width, GRU(2 * width, width), AdditiveScore(width, width, width)).to(
                device
            )
            batch = tokens // length
            inputs = torch.randn(batch, length, width).to(device)  # (B, T, D)
            memory = _memory(batch, width, device)
            target = torch.randint(3, 13, (batch, length)).to(device)  # (B, T)
        return {
            "recurrent": lambda: layer(inputs),
            "decoder": lambda: decoder(target, memory),
            "attention": lambda: scaled_dot_product_attention(inputs, inputs, inputs),
        }

    settings = {"lengths": list(lengths), "tokens": tokens, "width": width, "repeats": repeats}
    return run_seeds("sequential_time", seeds, device, settings, one_seed, progress)


def _memory(batch: int, width: int, device: torch.device) -> Memory:
    states = torch.randn(batch, 16, width).to(device)  # (B, S, D)
    mask = torch.ones(batch, 1, 16, dtype=torch.bool, device=device)  # (B, 1, S)
    return Memory(states, mask, states[:, -1])


@figure_style()
def plot(result: Result) -> Figure:
    """Time for the same number of tokens, by the length of the sequences they are cut into."""
    figure, [axis] = new_figure(height=3.4)
    lengths = np.array(result.settings["lengths"])
    for name, marker in zip(LABELS, MARKERS, strict=False):
        mean, spread = (
            1e3 * part for part in (result.mean(f"seconds_{name}"), result.half_width(f"seconds_{name}"))
        )
        draw_series(axis, lengths, mean, spread, ROLES[name], marker, LABELS[name])
    axis.set(xscale="log", yscale="log", xlabel="length (steps that wait for one another)")
    axis.set_ylabel(f"milliseconds for {result.settings['tokens']} tokens")
    axis.set_xticks(lengths, [str(length) for length in lengths])
    axis.minorticks_off()
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def _judge(result: Result) -> Verdict:
    lengths = result.settings["lengths"]
    some, last = lengths.index(64), -1
    slow = {name: result.mean(f"slowdown_{name}") for name in LABELS}
    seconds = {name: result.mean(f"seconds_{name}") for name in LABELS}
    grows = {name: slow[name][last] / slow[name][some] for name in ("recurrent", "decoder")}
    waits = all(factor > 3 for factor in grows.values())
    faster = seconds["recurrent"][some] / seconds["attention"][some]
    figure = (
        f"{result.settings['tokens']} tokens in sequences of {lengths[last]} instead of {lengths[some]}: "
        f"GRU × {grows['recurrent']:.1f}, decoder with attention × {grows['decoder']:.1f}; "
        f"at {lengths[some]}, attention alone takes 1/{faster:.0f} of the GRU's time"
    )
    return Verdict(bool(waits and faster > 2), figure)


CLAIMS = {
    "C3.4": Claim(
        "C3.4",
        "A recurrent step needs the one before it: the same tokens take longer in longer sequences, with "
        "attention on top as without. Attention's own part has nothing to wait for.",
        _judge,
    )
}
