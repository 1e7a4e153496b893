"""C11.6: what `torch.compile` makes of attention that is written out, beside the kernel that is fused by hand."""

import shutil
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from transformer_book.attention import MultiHeadAttention
from transformer_book.cost import quiet_clock
from transformer_book.device import CPU, seeded, synchronize
from transformer_book.experiments._cost import interleaved_seconds, one_thread
from transformer_book.experiments._result import Claim, Result, Verdict, half_width, run_seeds
from transformer_book.experiments.attention_overtakes import fused_attention
from transformer_book.experiments.mixed_precision import VOCABULARY, training_step
from transformer_book.plotting import PALETTE, draw_series, figure_style, new_figure
from transformer_book.training import new_model
from transformer_book.transformer import Transformer, TransformerConfig

LENGTHS = (64, 512, 2048)
COMPILERS = ("g++", "clang++")


def check_compiler(device: torch.device) -> None:
    """Make sure that `torch.compile` can make machine code for this device.

    Raises
    ------
    FileNotFoundError
        The device is a CPU, and a C++ compiler or the header files of Python are missing.
    """
    if device.type != "cpu":
        return
    if not any(map(shutil.which, COMPILERS)):
        missing = f"a C++ compiler ({' or '.join(COMPILERS)}); on Debian, apt-get install g++"
    elif not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        missing = "Python's header files; on Debian, apt-get install python3-dev"
    else:
        return
    raise FileNotFoundError(f"torch.compile: expected {missing}; found none")


@contextmanager
def nothing_compiled() -> Iterator[None]:
    """Hide, in a ``with`` block, what was compiled before: in memory, and on the disk."""
    from torch._inductor.utils import fresh_inductor_cache  # takes seconds to import, and only this needs it

    torch.compiler.reset()
    with fresh_inductor_cache():
        yield


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Time one run by the clock on the wall."""
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    lengths: Sequence[int] = LENGTHS,
    step_widths: Sequence[int] = (128,),
    width: int = 128,
    head_width: int = 64,
    tokens: int = 2048,
    repeats: int = 5,
    progress: bool = False,
) -> Result:
    """Time self-attention as it stands, compiled and fused, forward; and training steps, compiled or not.

    Each seed compiles anew. On a CPU one thread computes, and the time that the processor gave it counts; the
    time to compile is that of the clock on the wall.

    Parameters
    ----------
    seeds
        Weights, inputs, compilations and one independent round of timings each.
    device
        Where to compute.
    lengths
        Lengths T of the attention, ascending.
    step_widths
        Widths of whole Transformers, whose training step is timed: two layers in each stack, batches of 16
        pairs with 32 tokens each, as for C11.5. Compiling one takes minutes.
    width, head_width
        Width D of the attention, and K of each head.
    tokens
        A batch of the attention has this many tokens, at least one sequence.
    repeats
        Timed rounds per seed.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        ``(lengths,)``: ``speedup_compiled`` and ``speedup_fused``, median over rounds of the time of explicit
        attention divided by that of the other; ``seconds_compile``, of the first call; ``difference``, the
        largest between the outputs of compiled and explicit attention. ``(step_widths,)``: ``step_speedup`` and
        ``step_compile``, the same of a training step.

    Raises
    ------
    FileNotFoundError
        `torch.compile` lacks what it needs on this machine.
    """
    check_compiler(device)

    def attend(seed: int, length: int) -> dict[str, float]:
        with seeded(seed):
            attention = MultiHeadAttention(width, width // head_width).to(device)
            inputs = torch.randn(max(1, tokens // length), length, width).to(device)  # (B, T, D)
        mask = torch.ones(1, 1, 1, length, dtype=torch.bool, device=device)  # no padding
        compiled = torch.compile(attention, dynamic=False)
        works: dict[str, Callable[[], Tensor]] = {
            "explicit": lambda: attention(inputs, inputs, inputs, mask)[0],
            "compiled": lambda: compiled(inputs, inputs, inputs, mask)[0],
            "fused": lambda: fused_attention(attention, inputs),
        }
        with nothing_compiled(), torch.no_grad():
            row = {"seconds_compile": seconds_of(works["compiled"], device)}
            row["difference"] = float((works["compiled"]() - works["explicit"]()).abs().max())
            timed = interleaved_seconds(works, repeats, device, quiet_clock(device))
        for name in ("compiled", "fused"):
            row[f"speedup_{name}"] = float(np.median(np.divide(timed["explicit"], timed[name])))
        return row

    def train(seed: int, step_width: int) -> dict[str, float]:
        sizes: dict[str, Any] = {"d_model": step_width, "num_heads": step_width // 32, "d_ff": 4 * step_width}
        config = TransformerConfig(VOCABULARY, VOCABULARY, **sizes, dropout=0.0)
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(3, VOCABULARY, (2, 16, 33), generator=generator).to(device)
        models = {"plain": new_model(config, seed).to(device)}
        models["compiled"] = cast("Transformer", torch.compile(new_model(config, seed).to(device), dynamic=False))
        works = {name: training_step(model, ids[0, :, 1:], ids[1], "float32") for name, model in models.items()}
        with nothing_compiled():
            row = {"step_compile": seconds_of(works["compiled"], device)}
            timed = interleaved_seconds(works, repeats, device, quiet_clock(device))
        return {**row, "step_speedup": float(np.median(np.divide(timed["plain"], timed["compiled"])))}

    def one_seed(seed: int) -> dict[str, Any]:
        with one_thread():
            rows = [attend(seed, length) for length in lengths]
            steps = [train(seed, step_width) for step_width in step_widths]
        values: dict[str, Any] = {key: [row[key] for row in rows] for key in rows[0]}
        return values | {key: [step[key] for step in steps] for key in ("step_speedup", "step_compile")}

    settings = {"lengths": list(lengths), "step_widths": list(step_widths), "width": width}
    settings |= {"head_width": head_width, "tokens": tokens, "repeats": repeats}
    return run_seeds("compiled_attention", seeds, device, settings, one_seed, progress)


@figure_style()
def plot(result: Result) -> Figure:
    """Speed of compiled and of fused attention against explicit attention, by length; seconds to compile."""
    lengths = result.settings["lengths"]
    figure, axes = new_figure(2, height=3.4)
    for name, role, marker in (("compiled", "key", "s"), ("fused", "value", "o")):
        speedup = result.array(f"speedup_{name}")
        draw_series(axes[0], lengths, speedup.mean(axis=0), half_width(speedup), role, marker, name)
    axes[0].axhline(1, color=PALETTE["muted"], linewidth=0.8)
    axes[0].set(title="Speed of attention", ylabel="times as fast as explicit", xlabel="length T", ylim=(0, None))
    axes[0].legend()
    seconds = result.array("seconds_compile")
    draw_series(axes[1], lengths, seconds.mean(axis=0), half_width(seconds), "weight", "D", "attention")
    axes[1].set(title="Time to compile", ylabel="s", xlabel="length T", ylim=(0, None))
    for axis in axes:
        axis.set_xscale("log", base=2)
        axis.set_xticks(lengths, [str(length) for length in lengths])
    return figure


def _judge(result: Result) -> Verdict:
    lengths, compiled, fused = (
        result.settings["lengths"],
        result.mean("speedup_compiled"),
        result.mean("speedup_fused"),
    )
    apart, step = float(result.array("difference").max()), result.array("step_speedup")
    figure = (
        f"compiled, attention of width {result.settings['width']} is "
        f"{', '.join(f'{each:.2f}' for each in compiled)} times as fast as explicit at lengths "
        f"{', '.join(map(str, lengths))}, the fused kernel {', '.join(f'{each:.2f}' for each in fused)}; outputs "
        f"differ by {apart:.1e} at most; compiling takes {result.array('seconds_compile').mean():.0f} s"
    )
    for i, step_width in enumerate(result.settings["step_widths"]):
        figure += (
            f"; a training step of width {step_width} is {step[:, i].mean():.2f} times as fast compiled, after "
            f"{result.array('step_compile')[:, i].mean():.0f} s of compiling"
        )
    helps = compiled[-1] > 1.1 and compiled[-1] > compiled[0] + 0.1
    return Verdict(bool(helps and fused[-1] > compiled[-1] and apart < 1e-4), figure)


CLAIMS = {
    "C11.6": Claim(
        "C11.6",
        "torch.compile makes written-out attention faster where its table of scores is large, hardly where it is "
        "small, and never as fast as the fused kernel, which keeps no table.",
        _judge,
    )
}
