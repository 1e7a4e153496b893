"""C9.4: what a cache of keys and values is worth, in tokens per second, and what it takes, in bytes."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from transformer_book.cost import quiet_clock
from transformer_book.device import CPU
from transformer_book.experiments._cost import interleaved_seconds, one_thread
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.plotting import PALETTE, draw_series, figure_style, new_figure
from transformer_book.training import new_model
from transformer_book.transformer import Transformer, TransformerConfig

LENGTHS = (16, 32, 64, 128, 256)
WAYS = {"cached": ("query", "o", "with a cache"), "reread": ("key", "s", "without")}


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    lengths: Sequence[int] = LENGTHS,
    source_length: int = 32,
    batch_size: int = 4,
    d_model: int = 128,
    num_layers: int = 2,
    repeats: int = 1,
    progress: bool = False,
) -> Result:
    """Write greedily to each length, with a cache and by reading the whole beginning anew for every token.

    Weights are random: what is written means nothing, and both ways write the same. On a CPU one thread computes.

    Parameters
    ----------
    seeds
        One model, one batch of sources and one round of timings each.
    device
        Where to compute.
    lengths
        Tokens to write, ascending.
    source_length
        Tokens of each source S.
    batch_size
        Sequences written at once B.
    d_model, num_layers
        Width D, of heads 32 wide, and layers of each stack.
    repeats
        Timed rounds; a round writes to every length both ways.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        By length: ``tokens_*``, tokens per second of `WAYS`, median over rounds; ``speedup``, median over rounds
        of the time without a cache divided by that with one; ``bytes``, memory that the cache holds after the last
        token; ``predicted``, by `cache_bytes`; ``differing``, tokens in which the two ways differ.
    """
    longest = max(lengths)

    def one_seed(seed: int) -> dict[str, Any]:
        sizes: dict[str, Any] = {"d_model": d_model, "num_heads": d_model // 32, "d_ff": 4 * d_model}
        sizes |= {"num_encoder_layers": num_layers, "num_decoder_layers": num_layers, "max_length": longest + 1}
        model = new_model(TransformerConfig(100, 100, **sizes), seed).to(device).eval()
        generator = torch.Generator().manual_seed(seed)
        source = torch.randint(3, 100, (batch_size, source_length), generator=generator).to(device)  # (B, S)
        ids: dict[str, Tensor] = {}

        def work(way: str, length: int) -> None:
            ids[way] = write(model, source, length, way == "cached")  # the last ones written are the longest

        works = {f"{way}/{n}": partial(work, way, n) for n in lengths for way in WAYS}
        with one_thread():
            rounds = interleaved_seconds(works, repeats, device, quiet_clock(device))
            seconds = {key: np.array(times) for key, times in rounds.items()}
        row: dict[str, Any] = {
            f"tokens_{way}": [float(np.median(batch_size * n / seconds[f"{way}/{n}"])) for n in lengths]
            for way in WAYS
        }
        row["speedup"] = [float(np.median(seconds[f"reread/{n}"] / seconds[f"cached/{n}"])) for n in lengths]
        row["bytes"] = [held_bytes(model, source, n) for n in lengths]
        row["predicted"] = [cache_bytes(batch_size, n, source_length, d_model, num_layers) for n in lengths]
        row["differing"] = int((ids["cached"] != ids["reread"]).sum())
        return row

    settings = {"lengths": list(lengths), "source_length": source_length, "batch_size": batch_size}
    settings |= {"d_model": d_model, "num_layers": num_layers, "repeats": repeats}
    return run_seeds("cache_speed", seeds, device, settings, one_seed, progress)


@torch.no_grad()
def write(model: Transformer, source: Tensor, length: int, cached: bool) -> Tensor:
    """Write `length` tokens for each ``source (B, S)``, whatever they are; return ids ``(B, length)``."""
    memory, state = model.encode(source), None
    ids = torch.full_like(source[:, :1], model.start_id)  # (B, 1)
    for _ in range(length):
        if cached:
            logits, state, *_ = model.decode(ids[:, -1:], memory, state)  # (B, 1, V)
        else:
            logits = model.decode(ids, memory).logits  # (B, T, V)
        ids = torch.cat([ids, logits[:, -1:].argmax(dim=-1)], dim=1)  # (B, 1 + T)
    return ids[:, 1:]


def cache_bytes(batch_size: int, length: int, source_length: int, d_model: int, num_layers: int) -> int:
    """Predict what a cache in float32 holds: keys and values, D numbers each, of all tokens, in every layer.

    Parameters
    ----------
    batch_size, length, source_length
        Sequences B, tokens written T, and tokens of the source S, whose keys and values are kept too.
    d_model, num_layers
        Width D, and layers of the decoder.

    Returns
    -------
    int
        2 · 4 · N · B · (T + S) · D bytes. The number of heads is not in it.
    """
    return 2 * 4 * num_layers * batch_size * (length + source_length) * d_model


@torch.no_grad()
def held_bytes(model: Transformer, source: Tensor, length: int) -> int:
    """Count the bytes of memory that a decoder's cache occupies after `length` tokens, each block once."""
    memory, state = model.encode(source), None
    for _ in range(length):
        state = model.decode(source[:, :1], memory, state).state
    assert state is not None
    tensors = [tensor for layer in state for pair in (layer.own, layer.source) for tensor in pair]
    blocks = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(blocks.values())


@figure_style()
def plot(result: Result) -> Figure:
    """Tokens per second and bytes of the cache, by the number of tokens written."""
    figure, axes = new_figure(2, height=3.6)
    lengths = np.array(result.settings["lengths"])
    for way, (role, marker, label) in WAYS.items():
        mean, spread = result.mean(f"tokens_{way}"), result.half_width(f"tokens_{way}")
        draw_series(axes[0], lengths, mean, spread, role, marker, label)
    axes[0].set(xscale="log", ylabel="tokens per second", title="Speed")
    axes[0].set_xticks(lengths, [str(length) for length in lengths])
    axes[0].minorticks_off()
    mib = result.mean("bytes") / 2**20
    predicted = result.mean("predicted") / 2**20
    axes[1].plot(lengths, predicted, color=PALETTE["muted"], lw=1.2, label="predicted")
    axes[1].plot(lengths, mib, color=PALETTE["query"], marker="o", lw=0, label="measured")
    axes[1].set(ylabel="MiB held", title="Memory of the cache")
    for axis in axes:
        axis.set(xlabel="tokens written", ylim=(0, None))
        axis.legend()
    return figure


def _judge(result: Result) -> Verdict:
    lengths = result.settings["lengths"]
    speedup = result.array("speedup")  # (seeds, lengths)
    speed = {way: result.mean(f"tokens_{way}") for way in WAYS}
    exact = bool((result.array("bytes") == result.array("predicted")).all())
    differing = int(result.array("differing").sum())
    figure = (
        f"{lengths[-1]} tokens are written {speedup[:, -1].mean():.1f} times as fast with the cache, {lengths[0]} "
        f"tokens {speedup[:, 0].mean():.1f} times: {speed['cached'][0]:.0f} and {speed['cached'][-1]:.0f} tokens "
        f"per second with it, {speed['reread'][0]:.0f} and {speed['reread'][-1]:.0f} without; "
        f"{result.mean('bytes')[-1] / 2**20:.2f} MiB held, {result.mean('predicted')[-1] / 2**20:.2f} predicted; "
        f"{differing} tokens differ"
    )
    grows = bool((speedup[:, -1] > 2 * speedup[:, 0]).all() and speedup[:, -1].min() > 3)
    return Verdict(grows and exact and not differing, figure)


CLAIMS = {
    "C9.4": Claim(
        "C9.4",
        "With a cache of keys and values the same tokens are written faster, and the more so the longer the text. "
        "It holds exactly 2 · 4 · N · B · (T + S) · D bytes in float32, however many heads there are.",
        _judge,
    )
}
