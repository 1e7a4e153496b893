"""C7.1: exchange the tokens of a Transformer's input, and see what its outputs make of it."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.plotting import ENCODINGS, PALETTE, figure_style, new_figure
from transformer_book.training import new_model
from transformer_book.transformer import Transformer, TransformerConfig

VOCABULARY, START = 30, 1
DEPTHS = (1, 2, 3, 4)


def equivariance_error(function: Callable[[Tensor], Tensor], inputs: Tensor, order: Tensor) -> float:
    """Largest difference between permuting before a function and permuting after it.

    Parameters
    ----------
    function
        Maps ``(B, T, …)`` to ``(B, T, …)``.
    inputs
        Shape ``(B, T, …)``.
    order
        A permutation of 0 … T − 1, ``(T,)``.

    Returns
    -------
    float
        ``max |f(inputs[:, order]) − f(inputs)[:, order]|``; zero if `function` is permutation equivariant.
    """
    with torch.no_grad():
        return float((function(inputs[:, order]) - function(inputs)[:, order]).abs().max())


def untrained(positions: str, seed: int, depth: int = 2) -> Transformer:
    """Make an untrained Transformer of width 32, four heads and `depth` layers in each stack."""
    sizes = {"d_model": 32, "num_heads": 4, "d_ff": 64, "num_encoder_layers": depth, "num_decoder_layers": depth}
    parts = {"dropout": 0.0, "norm_first": True, "max_length": 64, "positions": positions}
    return new_model(TransformerConfig(VOCABULARY, VOCABULARY, **sizes, **parts), seed).eval()


def place_read(states: Tensor) -> float:
    """How well a linear map reads from a state where it stands: R² of log place on sequences it was not fitted to.

    The logarithm, since what a causal mask gives away is a share: of t tokens seen each has about 1/t.

    Parameters
    ----------
    states
        Shape ``(B, T, D)``: of B sequences; the map is fitted to the first half of them.

    Returns
    -------
    float
        1 is perfectly, 0 no better than the average place; sampling error can make it negative.
    """
    batch, length, _ = states.shape
    features = torch.cat([states, torch.ones_like(states[..., :1])], dim=-1).double()  # (B, T, D + 1)
    places = (
        torch.arange(1, length + 1, device=states.device, dtype=torch.float64).log().expand(batch, -1)
    )  # (B, T)
    half = batch // 2
    fitted, tested = (features[part].flatten(0, 1) for part in (slice(half), slice(half, None)))
    ridge = 1e-6 * len(fitted) * torch.eye(fitted.shape[1], device=states.device, dtype=torch.float64)
    gram = fitted.T @ fitted + ridge  # (D + 1, D + 1)
    weight = torch.linalg.solve(gram, fitted.T @ places[:half].flatten())  # (D + 1,)
    truth = places[half:].flatten()
    return 1 - float((tested @ weight - truth).square().mean() / truth.var(correction=0))


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    length: int = 24,
    draws: int = 10,
    depths: Sequence[int] = DEPTHS,
    read: int = 400,
    progress: bool = False,
) -> Result:
    """Permute the source, and the past of the target, of untrained Transformers; record what moves.

    Parameters
    ----------
    seeds
        One set of weights, sequences and permutations each.
    device
        Where to compute.
    length
        Tokens S of the source, and T of the target after its start token.
    draws
        Permutations and sequences per seed.
    depths
        Numbers of decoder layers to measure.
    read
        Sequences from whose states the place is read, half of them to fit.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        Per draw, in float64: for each of `ENCODINGS` ``encoder_*``, largest difference between the encoder's
        states of a permuted source and its permuted states (states have standard deviation 1), and
        ``prediction_*``, largest change of the decoder's log-probabilities, in nats. ``float32_none``: the first
        of these without positions, in float32. ``past``, by depth of the decoder: largest change of the last
        log-probabilities when all the tokens between the start token and the last are permuted, without
        positions. ``read_decoder`` by depth, and ``read_encoder``: see `place_read`, without positions.
    """

    def one_seed(seed: int) -> dict[str, object]:
        generator = torch.Generator().manual_seed(seed)

        def tokens(count: int) -> Tensor:
            return torch.randint(3, VOCABULARY, (count, length), generator=generator).to(device)  # (B, T)

        def started(ids: Tensor) -> Tensor:
            return torch.cat([torch.full_like(ids[:, :1], START), ids], dim=1)  # (B, 1 + T)

        sources, targets = [[tokens(1) for _ in range(draws)] for _ in range(2)]
        targets = [started(target) for target in targets]
        orders = [torch.randperm(length, generator=generator).to(device) for _ in range(draws)]
        row: dict[str, object] = {}
        for name in ENCODINGS:
            model = untrained(name, seed).to(device)
            if name == "none":
                row["float32_none"] = [
                    encoder_error(model, s, order) for s, order in zip(sources, orders, strict=True)
                ]
            model.double()
            row[f"encoder_{name}"] = [
                encoder_error(model, s, order) for s, order in zip(sources, orders, strict=True)
            ]
            row[f"prediction_{name}"] = [
                change(model(s, target), model(s[:, order], target))
                for s, target, order in zip(sources, targets, orders, strict=True)
            ]
        past, decoder_read = [], []
        many, source = started(tokens(read)), tokens(read)
        for depth in depths:
            model = untrained("none", seed, depth).to(device).double()
            with torch.no_grad():
                changes = [past_change(model, *each) for each in zip(sources, targets, orders, strict=True)]
                past.append(max(changes))
                decoder_read.append(place_read(decoder_states(model, source, many)[:, 1:]))
        with torch.no_grad():
            row["read_encoder"] = place_read(untrained("none", seed).to(device).encode(source).states)
        row["past"], row["read_decoder"] = past, decoder_read
        return row

    settings = {"length": length, "draws": draws, "depths": list(depths), "read": read}
    return run_seeds("permutation", seeds, device, settings, one_seed, progress)


def encoder_error(model: Transformer, source: Tensor, order: Tensor) -> float:
    """Give `equivariance_error` of a model's encoder, ids ``(1, S)`` to states ``(1, S, D)``."""
    return equivariance_error(lambda ids: model.encode(ids).states, source, order)


def change(before: Tensor, after: Tensor) -> float:
    """Largest difference of two predictions in log-probability, in nats; logits ``(..., V)`` each."""
    with torch.no_grad():
        return float((before.log_softmax(dim=-1) - after.log_softmax(dim=-1)).abs().max())


def past_change(model: Transformer, source: Tensor, target: Tensor, order: Tensor) -> float:
    """Largest change of the last prediction when the tokens before the last one are permuted.

    Parameters
    ----------
    model
        Reads and writes.
    source
        Ids ``(1, S)``.
    target
        Ids ``(1, 1 + T)``: a start token, which stays, and T tokens, of which the last stays.
    order
        A permutation of 0 … T − 1; where it sends the last token is left out.
    """
    kept = 1 + order[order < len(order) - 1]  # (T − 1,), places of the tokens that are exchanged
    permuted = torch.cat([target[:, :1], target[:, kept], target[:, -1:]], dim=1)  # (1, 1 + T)
    return change(model(source, target)[:, -1], model(source, permuted)[:, -1])


def decoder_states(model: Transformer, source: Tensor, target: Tensor) -> Tensor:
    """Return what the decoder's readout reads, ``(B, T, D)``, while it predicts what follows ``target (B, T)``."""
    seen: list[Tensor] = []

    def keep(_module: object, _inputs: object, output: Tensor) -> None:
        seen.append(output)

    handle = model.decoder_norm.register_forward_hook(keep)
    try:
        model(source, target)
    finally:
        handle.remove()
    return seen[0]


@figure_style()
def plot(result: Result) -> Figure:
    """Largest change when the source is permuted, by encoding; and when a decoder's own past is, by depth."""
    figure, axes = new_figure(2, height=3.6)
    names, depths = list(ENCODINGS), result.settings["depths"]
    for quantity, marker, role, label, shift in (
        ("encoder", "o", "query", "states against permuted states", -0.12),
        ("prediction", "s", "key", "prediction", 0.12),
    ):
        for place, name in enumerate(names):
            values = result.array(f"{quantity}_{name}").ravel()
            axes[0].plot(
                np.full(len(values), place + shift),
                values.clip(1e-17),
                color=PALETTE[role],
                marker=marker,
                ms=3,
                lw=0,
                label=label if place == 0 else None,
            )
    axes[0].set_xticks(range(len(names)), names)
    axes[0].set(yscale="log", ylabel="largest change", title="The source is permuted")
    past = result.array("past")
    for values in past:
        axes[1].plot(depths, values.clip(1e-17), color=PALETTE["accent"], marker="^", ms=4, lw=0)
    axes[1].set(
        yscale="log", xlabel="layers of a decoder without positions", title="The decoder's past is permuted"
    )
    axes[1].set_xticks(depths)
    for axis in axes:
        axis.set_ylim(1e-17, 30)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _judge(result: Result) -> Verdict:
    depths = result.settings["depths"]
    others = [name for name in ENCODINGS if name != "none"]
    blind = max(float(result.array(f"{quantity}_none").max()) for quantity in ("encoder", "prediction"))
    single = float(result.array("float32_none").max())
    seeing = min(
        float(result.array(f"{quantity}_{name}").min())
        for quantity in ("encoder", "prediction")
        for name in others
    )
    past, reading = result.array("past"), result.mean("read_decoder")
    first, deeper = float(past[:, 0].max()), float(past[:, 1:].min())
    figure = (
        f"without positions a permuted source changes states and predictions by at most {blind:.0e} in float64 "
        f"({single:.0e} in float32), with sinusoidal, learned or rotary positions by at least {seeing:.2f}; a "
        f"permuted past changes the prediction of a decoder without positions by at most {first:.0e} with one "
        f"layer and at least {deeper:.2f} with more; its states tell a linear map the place with R² "
        f"{reading[0]:.2f} at depth {depths[0]} and {reading[-1]:.2f} at depth {depths[-1]}, from an encoder's "
        f"{result.mean('read_encoder'):.2f}"
    )
    exact = blind < 1e-12 and single < 1e-4 and first < 1e-12
    order = bool(result.array("read_decoder").min() > 0.1 and result.array("read_encoder").max() < 0.05)
    return Verdict(bool(exact and seeing > 0.01 and deeper > 0.01 and order), figure)


CLAIMS = {
    "C7.1": Claim(
        "C7.1",
        "Without positions, permuting the source permutes the encoder's states and changes no prediction, to the "
        "precision of the numbers; with any encoding of positions it does. A causal mask alone tells a decoder "
        "something of the order: what a past of the same tokens in another order changes is nothing with one "
        "layer, and plain with two.",
        _judge,
    )
}
