"""C9.6: one training step of a Transformer and of a GRU with attention, by the length of the sequences."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from transformer_book.cost import quiet_clock
from transformer_book.device import CPU
from transformer_book.experiments._cost import interleaved_seconds, one_thread
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.plotting import MODELS, PALETTE, draw_series, figure_style, new_figure
from transformer_book.seq2seq import Seq2SeqConfig
from transformer_book.training import Model, masked_cross_entropy, new_model
from transformer_book.transformer import TransformerConfig

LENGTHS = (8, 16, 32, 64, 128, 256, 512)
VOCABULARY = 100
NAMES = ("attention", "transformer")


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    lengths: Sequence[int] = LENGTHS,
    tokens: int = 1024,
    width: int = 64,
    repeats: int = 3,
    progress: bool = False,
) -> Result:
    """Time loss and gradient of a batch of `tokens` source and `tokens` target tokens, cut into each length.

    The GRU has additive attention, as in chapter 3. On a CPU one thread computes.

    Parameters
    ----------
    seeds
        One set of weights, batches and timings each.
    device
        Where to compute.
    lengths
        Divisors of `tokens`, ascending: lengths of source and target alike.
    tokens
        Tokens on each side: a batch has ``tokens / length`` sequences.
    width
        Width of the residual stream, and of the GRU's states and embeddings.
    repeats
        Timed rounds per seed; a round times everything once.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        By length: ``seconds_*`` of a sequence, median over rounds; ``ratio``, median over rounds of the GRU's time
        divided by the Transformer's in the same round. ``parameters_*``.

    Raises
    ------
    ValueError
        A length does not divide `tokens`.
    """
    for length in lengths:
        if tokens % length:
            raise ValueError(f"lengths: expected divisors of {tokens} tokens, got {length}")

    def one_seed(seed: int) -> dict[str, object]:
        models = {name: new_pair(name, width, max(lengths), seed).to(device) for name in NAMES}
        works = {
            f"{name}/{length}": training_step(model, tokens // length, length, seed)
            for length in lengths
            for name, model in models.items()
        }
        with one_thread():
            rounds = interleaved_seconds(works, repeats, device, quiet_clock(device))
            seconds = {key: np.array(times) for key, times in rounds.items()}
        row: dict[str, object] = {
            f"seconds_{name}": [float(np.median(seconds[f"{name}/{n}"])) * n / tokens for n in lengths]
            for name in NAMES
        }
        ratios = [seconds[f"attention/{n}"] / seconds[f"transformer/{n}"] for n in lengths]
        counts = {
            f"parameters_{name}": sum(weight.numel() for weight in model.parameters())
            for name, model in models.items()
        }
        return {**row, "ratio": [float(np.median(ratio)) for ratio in ratios], **counts}

    settings = {"lengths": list(lengths), "tokens": tokens, "width": width, "repeats": repeats}
    return run_seeds("parallel_time", seeds, device, settings, one_seed, progress)


def new_pair(name: str, width: int, longest: int, seed: int) -> Model:
    """Make the GRU with attention or the Transformer, with about equally many weights."""
    if name == "attention":
        config = Seq2SeqConfig(VOCABULARY, VOCABULARY, d_embed=width, d_hidden=width, score="additive")
        return new_model(config, seed)
    sizes: dict[str, Any] = {"d_model": width, "num_heads": 4, "d_ff": 2 * width, "dropout": 0.0}
    sizes |= {"num_encoder_layers": 1, "num_decoder_layers": 1, "max_length": longest}
    return new_model(TransformerConfig(VOCABULARY, VOCABULARY, **sizes), seed)


def training_step(model: Model, batch_size: int, length: int, seed: int) -> Callable[[], object]:
    """Make a function that computes loss and gradient of one batch of random tokens, nothing padded."""
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    shape = (batch_size, length)
    source, target, wanted = (
        torch.randint(3, VOCABULARY, shape, generator=generator).to(device) for _ in range(3)
    )

    def step() -> None:
        model.zero_grad()
        masked_cross_entropy(model(source, target), wanted).backward()

    return step


@figure_style()
def plot(result: Result) -> Figure:
    """Time of a training step per sequence, and its ratio, by length."""
    figure, axes = new_figure(2, height=3.6)
    lengths = np.array(result.settings["lengths"])
    for name in NAMES:
        role, marker, label = MODELS[name]
        mean, spread = (
            1e3 * part for part in (result.mean(f"seconds_{name}"), result.half_width(f"seconds_{name}"))
        )
        draw_series(axes[0], lengths, mean, spread, role, marker, label)
    axes[0].set(yscale="log", ylabel="milliseconds per sequence", title="Loss and gradient")
    axes[0].legend()
    draw_series(
        axes[1], lengths, result.mean("ratio"), result.half_width("ratio"), "muted", "o", "GRU ÷ Transformer"
    )
    axes[1].axhline(1, color=PALETTE["muted"], lw=0.8, ls="--")
    axes[1].set(ylabel="GRU's time ÷ Transformer's", title="Ratio")
    axes[1].set_ylim(bottom=0)
    for axis in axes:
        axis.set(xscale="log", xlabel="length of source and target")
        axis.set_xticks(lengths, [str(length) for length in lengths])
        axis.minorticks_off()
    return figure


def _judge(result: Result) -> Verdict:
    lengths = result.settings["lengths"]
    ratio = result.mean("ratio")
    first, middle, last = lengths.index(8), lengths.index(64), -1
    weights = {name: float(result.mean(f"parameters_{name}")) for name in NAMES}
    figure = (
        f"{result.settings['tokens']} tokens a side in sequences of {lengths[first]}, {lengths[middle]} and "
        f"{lengths[last]}: the GRU with attention takes {ratio[first]:.1f}, {ratio[middle]:.1f} and "
        f"{ratio[last]:.1f} times as long as the Transformer, with {weights['attention']:,.0f} weights against "
        f"{weights['transformer']:,.0f}"
    )
    grows = result.array("ratio")[:, last] > 2 * result.array("ratio")[:, first]
    alike = 0.7 < weights["attention"] / weights["transformer"] < 1.4
    return Verdict(bool(grows.all() and ratio[middle] > 2 and alike), figure)


CLAIMS = {
    "C9.6": Claim(
        "C9.6",
        "In training a Transformer computes all positions at once and a recurrent decoder one after the other: "
        "for the same tokens the recurrent one takes longer, and the more so the longer the sequences.",
        _judge,
    )
}
