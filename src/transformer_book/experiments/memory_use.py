"""C11.3: memory of the cache of keys and values, and of what is kept for the gradient, predicted and measured."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from transformer_book.cost import NUMBER_BYTES, Load, Sizes, activation_bytes, cache_bytes
from transformer_book.device import CPU
from transformer_book.experiments._cost import held_bytes
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.plotting import PALETTE, figure_style, new_figure
from transformer_book.training import masked_cross_entropy, new_model
from transformer_book.transformer import Cache, Transformer, TransformerConfig

WRITTEN = (256, 512, 1024)
LENGTHS = (32, 64, 128, 256)
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
VOCABULARY = 100
SOURCE_LENGTH = 64
CHUNK = 64


def blocks_of(tensors: Sequence[Tensor]) -> int:
    """Add up the memory that tensors occupy, each block once."""
    blocks = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(blocks.values())


def cache_tensors(state: Cache) -> list[Tensor]:
    """List all keys and values of a cache."""
    return [tensor for layer in state for pair in (layer.own, layer.source) for tensor in pair]


@torch.no_grad()
def fill_cache(model: Transformer, source: Tensor, length: int) -> Cache:
    """Let a decoder read `length` tokens, 64 at a time, and return the cache it keeps."""
    memory, state = model.encode(source), None
    for start in range(0, length, CHUNK):
        tokens = source[:, :1].expand(-1, min(CHUNK, length - start))  # (B, T)
        state = model.decode(tokens, memory, state).state
    assert state is not None
    return state


def kept_bytes(model: nn.Module, run: Callable[[], Tensor]) -> int:
    """Add up the memory kept for the backward pass of `run`: numbers and masks, but no weights and no ids."""
    own = {weight.untyped_storage().data_ptr() for weight in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.ndim and (tensor.is_floating_point() or tensor.dtype == torch.bool):
            kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)  # held, so that no address comes twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = run()
    total = blocks_of([tensor for address, tensor in kept.items() if address not in own])
    del loss  # it holds the graph
    return total


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    written: Sequence[int] = WRITTEN,
    lengths: Sequence[int] = LENGTHS,
    d_model: int = 256,
    num_layers: int = 2,
    batch_size: int = 4,
    progress: bool = False,
) -> Result:
    """Fill caches and hold them; run forward passes and count what autograd keeps of them.

    Parameters
    ----------
    seeds
        Weights and tokens; no figure should depend on them.
    device
        Where to compute.
    written
        Tokens in the cache, ascending.
    lengths
        Lengths of source and target in training, ascending.
    d_model, num_layers
        Width D, of heads 32 wide, and layers of each stack.
    batch_size
        Sequences B.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        By ``written`` and for each precision: ``cache_*``, memory that keys and values occupy, ``predicted_*``,
        and ``allocated_*``, by how much torch's allocator held more once the cache was filled. By ``lengths``:
        ``kept`` for the backward pass, ``kept_predicted``, and ``scores``, the part of it that grows with the
        square of the length.
    """
    sizes: dict[str, Any] = {"d_model": d_model, "num_heads": d_model // 32, "d_ff": 4 * d_model, "dropout": 0.0}
    sizes |= {"num_encoder_layers": num_layers, "num_decoder_layers": num_layers}
    config = TransformerConfig(VOCABULARY, VOCABULARY, **sizes, max_length=max(*written, *lengths))
    own = Sizes.of(config)

    def one_seed(seed: int) -> dict[str, list[int]]:
        model = new_model(config, seed).to(device).eval()
        generator = torch.Generator().manual_seed(seed)
        row: dict[str, list[int]] = {"kept": [], "kept_predicted": [], "scores": []}
        for length in lengths:
            source, target = torch.randint(3, VOCABULARY, (2, batch_size, length + 1), generator=generator).to(
                device
            )

            def loss(source: Tensor = source, target: Tensor = target) -> Tensor:
                return masked_cross_entropy(model(source[:, 1:], target[:, :-1]), target[:, 1:])

            row["kept"].append(kept_bytes(model, loss))
            row["kept_predicted"].append(activation_bytes(own, Load(batch_size, length, length)))
            row["scores"].append(3 * 4 * 3 * num_layers * batch_size * own.num_heads * length**2)
        source = torch.randint(3, VOCABULARY, (batch_size, SOURCE_LENGTH), generator=generator).to(
            device
        )  # (B, S)
        for name, kind in TYPES.items():
            model = model.to(kind)
            for quantity in ("cache", "predicted", "allocated"):
                row[f"{quantity}_{name}"] = []
            for length in written:
                state = fill_cache(model, source, length)
                row[f"cache_{name}"].append(blocks_of(cache_tensors(state)))
                load = Load(batch_size, length, SOURCE_LENGTH)
                row[f"predicted_{name}"].append(cache_bytes(own, load, NUMBER_BYTES[name]))
                del state
                fill = partial(fill_cache, model, source, length)
                row[f"allocated_{name}"].append(held_bytes(fill, device))
        return row

    settings = {"written": list(written), "lengths": list(lengths), "d_model": d_model}
    settings |= {"num_layers": num_layers, "batch_size": batch_size}
    return run_seeds("memory_use", seeds, device, settings, one_seed, progress)


@figure_style()
def plot(result: Result) -> Figure:
    """Memory of the cache by tokens written, and of what is kept for the gradient by length."""
    figure, axes = new_figure(2, height=4.4)
    written, lengths = result.settings["written"], result.settings["lengths"]
    looks = (("query", "o", "x", "-"), ("key", "s", "+", "--"))
    for name, (role, marker, cross, line) in zip(TYPES, looks, strict=True):
        predicted = result.mean(f"predicted_{name}") / 2**20
        axes[0].plot(written, predicted, color=PALETTE[role], linestyle=line, label=f"{name}, predicted")
        axes[0].plot(
            written,
            result.mean(f"cache_{name}") / 2**20,
            color=PALETTE[role],
            marker=marker,
            lw=0,
            label="tensors",
        )
        axes[0].plot(
            written,
            result.mean(f"allocated_{name}") / 2**20,
            color=PALETTE[role],
            marker=cross,
            lw=0,
            markersize=7,
            label="allocated",
        )
    axes[0].set(title="Cache", xlabel="tokens written", ylabel="MiB", ylim=(0, None))
    axes[0].set_xticks(written, [str(n) for n in written])
    axes[0].legend(loc="upper center", bbox_to_anchor=(0.4, -0.17))
    kept, scores = result.mean("kept") / 2**20, result.mean("scores") / 2**20
    axes[1].plot(lengths, result.mean("kept_predicted") / 2**20, color=PALETTE["weight"], label="all, predicted")
    axes[1].plot(lengths, kept, color=PALETTE["weight"], marker="o", lw=0, label="all, measured")
    axes[1].plot(lengths, scores, color=PALETTE["accent"], linestyle="--", label="of it scores")
    axes[1].set(title="Kept for the gradient", xlabel="length", ylabel="MiB", ylim=(0, None))
    axes[1].set_xticks(lengths, [str(n) for n in lengths])
    axes[1].legend(loc="upper center", bbox_to_anchor=(0.4, -0.17))
    return figure


def _judge(result: Result) -> Verdict:
    exact = all((result.array(f"cache_{name}") == result.array(f"predicted_{name}")).all() for name in TYPES)
    half = bool((2 * result.array("cache_bfloat16") == result.array("cache_float32")).all())
    kept = bool((result.array("kept") == result.array("kept_predicted")).all())
    grew = result.array("allocated_float32") / result.array("predicted_float32")
    lengths, written = result.settings["lengths"], result.settings["written"]
    share = result.mean("scores") / result.mean("kept")
    figure = (
        f"{written[-1]} tokens: {result.mean('cache_float32')[-1] / 2**20:.1f} MiB in float32, "
        f"{result.mean('predicted_float32')[-1] / 2**20:.1f} predicted, "
        f"{result.mean('cache_bfloat16')[-1] / 2**20:.1f} in bfloat16; torch's allocator holds {grew.max():.3f} "
        f"times the prediction at most; kept for the gradient at length {lengths[-1]}: "
        f"{result.mean('kept')[-1] / 2**20:.1f} MiB, {result.mean('kept_predicted')[-1] / 2**20:.1f} predicted, "
        f"of which scores {share[-1]:.0%} ({share[0]:.0%} at {lengths[0]})"
    )
    return Verdict(
        bool(exact and half and kept and 1 <= grew.min() <= grew.max() < 1.02 and share[-1] > share[0]), figure
    )


CLAIMS = {
    "C11.3": Claim(
        "C11.3",
        "The cache of keys and values, and what a forward pass keeps for the backward pass, have exactly the "
        "bytes that follow from the sizes. The cache grows in a straight line, what explicit attention keeps does "
        "not.",
        _judge,
    )
}
