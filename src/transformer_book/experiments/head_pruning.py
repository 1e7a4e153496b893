"""C6.3: remove the heads of a trained Transformer one by one, in three orders, and see what it can still read."""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure

from transformer_book.attention import MultiHeadAttention
from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.experiments.date_models import exact_match, new_reader, train_reader
from transformer_book.plotting import PALETTE, draw_series, figure_style, new_figure
from transformer_book.tasks.dates import Dates
from transformer_book.tasks.task import Batch, collate
from transformer_book.training import masked_cross_entropy
from transformer_book.transformer import AttentionMaps, Transformer

LAYERS, HEADS = 2, 4
#: Order of removal → role, marker, label.
ORDERS = {
    "greedy": ("query", "o", "the one that costs least, tried out"),
    "importance": ("weight", "D", "least sensitive first"),
    "random": ("muted", "s", "at random"),
}
KINDS = AttentionMaps._fields  # encoder, decoder, cross


class Head(NamedTuple):
    """One head of a model: kind of attention (one of `KINDS`), layer, and its place among the heads."""

    kind: str
    layer: int
    head: int


def attention_of(model: Transformer, kind: str, layer: int) -> MultiHeadAttention:
    """Find an attention of a Transformer: self-attention of ``"encoder"`` or ``"decoder"``, or ``"cross"``.

    Raises
    ------
    AttributeError, IndexError
        There is no such attention.
    """
    layers = model.encoder_layers if kind == "encoder" else model.decoder_layers
    attention = getattr(layers[layer], "cross_attention" if kind == "cross" else "attention")
    assert isinstance(attention, MultiHeadAttention)
    return attention


def heads_of(model: Transformer) -> list[Head]:
    """List all heads of a Transformer."""
    depths = {"encoder": len(model.encoder_layers), "decoder": len(model.decoder_layers)}
    depths["cross"] = depths["decoder"]
    return [
        Head(kind, layer, head)
        for kind in KINDS
        for layer in range(depths[kind])
        for head in range(attention_of(model, kind, layer).num_heads)
    ]


def columns(attention: MultiHeadAttention, head: int) -> slice:
    """Columns of ``output.weight`` through which a head reaches the residual stream, and nothing else does."""
    width = attention.output.in_features // attention.num_heads
    return slice(head * width, (head + 1) * width)


@torch.no_grad()
def remove(model: Transformer, head: Head) -> None:
    """Remove a head: what it writes is multiplied by zero from now on. The model is changed in place."""
    attention = attention_of(model, head.kind, head.layer)
    attention.output.weight[:, columns(attention, head.head)] = 0.0


def sensitivity(model: Transformer, batch: Batch) -> dict[Head, float]:
    """Tell how much the loss moves with a gate ξ on each head: the mean size of ∂L/∂ξ over a batch.

    With a gate ξ on what head h writes, W_h ξ b_h, the derivative at ξ = 1 is the sum of W_h ⊙ ∂L/∂W_h: the
    gradient of the weights is all that is needed.

    Parameters
    ----------
    model
        In evaluation mode.
    batch
        Examples, one backward pass each.

    Notes
    -----
    Source: Michel, Levy & Neubig 2019, section 4.1, equation 2 (without its normalisation by layer).
    """
    total = dict.fromkeys(heads_of(model), 0.0)
    for source, target in zip(batch.source.split(1), batch.target.split(1), strict=True):
        model.zero_grad()
        loss(model, Batch(source, target)).backward()
        for head in total:
            attention = attention_of(model, head.kind, head.layer)
            weight, place = attention.output.weight, columns(attention, head.head)
            assert weight.grad is not None
            total[head] += (weight[:, place] * weight.grad[:, place]).sum().abs().item()
    model.zero_grad()
    return {head: value / len(batch.source) for head, value in total.items()}


def loss(model: Transformer, batch: Batch) -> torch.Tensor:
    """Mean −log p of the right characters, fed the right ones before them, in nats."""
    return masked_cross_entropy(model(batch.source, batch.target[:, :-1]), batch.target[:, 1:], model.pad_id)


@torch.no_grad()
def losses_without(model: Transformer, heads: Sequence[Head], batch: Batch) -> list[float]:
    """Loss of a model when one head is removed, for each of `heads` by itself; the model is left as it was."""
    losses = []
    for head in heads:
        weight = attention_of(model, head.kind, head.layer).output.weight
        before = weight.clone()
        remove(model, head)
        losses.append(float(loss(model, batch)))
        weight.copy_(before)
    return losses


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    steps: int = 2000,
    count: int = 500,
    tried: int = 256,
    progress: bool = False,
) -> Result:
    """Train a Transformer of 24 heads on dates, then remove them one by one, without further training.

    Width 32, two layers in each stack, four heads in each attention: 8 heads in the encoder, 8 in the decoder's
    self-attention, 8 that look from the decoder to the source.

    Parameters
    ----------
    seeds
        One set of first weights, batches, test dates and random orders each.
    device
        Where to compute.
    steps
        Batches of 64 dates to train on.
    count
        Test dates, of days that no training date has.
    tried
        Validation dates on which the next head to go is chosen.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        ``exact_*`` for each of `ORDERS`: share of test dates read right with 24, 23, … 0 heads left.
        ``rise``: by how much the loss on the dates tried rises, in nats per character, when one head alone is
        removed; heads in the order of `heads_of`. ``removed``: numbers of the heads, in that order, as
        greedy removal takes them.
    """

    def one_seed(seed: int) -> dict[str, list[float]]:
        model = new_reader(seed, num_encoder_layers=LAYERS, num_decoder_layers=LAYERS, num_heads=HEADS)
        train_reader(model, steps, seed, device)
        model.eval()
        task = Dates()
        examples = task.sample(tried, random.Random(f"prune/{seed}"), split="validation")
        batch = collate(examples, task.source_vocabulary, task.target_vocabulary, device)
        heads = heads_of(model)
        with torch.no_grad():
            whole = float(loss(model, batch))
        importance = sensitivity(model, batch)
        shuffled = random.Random(f"order/{seed}").sample(heads, len(heads))
        choose: dict[str, Callable[[list[Head]], Head]] = {
            "greedy": lambda left: left[int(np.argmin(losses_without(model, left, batch)))],
            "importance": lambda left: min(left, key=importance.__getitem__),
            "random": lambda left: min(left, key=shuffled.index),
        }
        row: dict[str, list[float]] = {
            "rise": [value - whole for value in losses_without(model, heads, batch)],
            "removed": [],
        }
        trained = {name: weight.clone() for name, weight in model.state_dict().items()}
        for order in ORDERS:
            model.load_state_dict(trained)
            left = list(heads)
            row[f"exact_{order}"] = [exact_match(model, count, seed)]
            while left:
                head = choose[order](left)
                remove(model, head)
                left.remove(head)
                row[f"exact_{order}"].append(exact_match(model, count, seed))
                if order == "greedy":
                    row["removed"].append(heads.index(head))
        return row

    settings = {"steps": steps, "count": count, "tried": tried}
    return run_seeds("head_pruning", seeds, device, settings, one_seed, progress)


@figure_style()
def plot(result: Result) -> Figure:
    """Share of dates read right by heads left, for each order; and what each head costs when it goes alone."""
    figure, axes = new_figure(2, height=3.8)
    total = result.array("rise").shape[1]
    left = np.arange(total, -1, -1)
    for order, (role, marker, label) in ORDERS.items():
        mean, spread = result.mean(f"exact_{order}"), result.half_width(f"exact_{order}")
        draw_series(axes[0], left, mean, spread, role, marker, label)
    axes[0].invert_xaxis()
    axes[0].set(xlabel="heads left", ylabel="unseen dates read right", ylim=(-0.02, 1.05), title="One by one")
    rise = np.sort(result.array("rise"), axis=1)[:, ::-1]  # (seeds, heads)
    places = np.arange(1, total + 1)
    for values in rise:
        axes[1].plot(places, values.clip(1e-5), color=PALETTE["query"], marker=".", lw=0.8, alpha=0.8)
    axes[1].set(
        yscale="log", xlabel="head, the dearest first", ylabel="rise of the loss, nats", title="Each alone"
    )
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def spared(result: Result, order: str, kept: float = 0.95) -> np.ndarray:
    """Count, for each seed, the heads that can go in this order before less than `kept` of the reading is left."""
    exact = result.array(f"exact_{order}")  # (seeds, heads + 1)
    return (exact >= kept * exact[:, :1]).cumprod(axis=1).sum(axis=1) - 1


def _judge(result: Result) -> Verdict:
    rise = result.array("rise")  # (seeds, heads)
    dearest = np.sort(rise, axis=1)[:, -3:].sum(axis=1) / rise.clip(0).sum(axis=1)
    counts = {order: spared(result, order) for order in ORDERS}
    total = rise.shape[1]
    text = {order: f"{values.mean():.1f} ({values.min()}–{values.max()})" for order, values in counts.items()}
    figure = (
        f"of {total} heads can go, before less than 95 % of the reading is left: {text['greedy']} tried out, "
        f"{text['importance']} by sensitivity, {text['random']} at random; removed alone, the three dearest heads "
        f"account for {dearest.mean():.0%} of all rises of the loss; the whole model reads "
        f"{result.mean('exact_greedy')[0]:.3f}"
    )
    apart = counts["greedy"].mean() > counts["random"].mean() + 2
    return Verdict(bool(result.mean("exact_greedy")[0] > 0.9 and apart and dearest.mean() > 0.4), figure)


CLAIMS = {
    "C6.3": Claim(
        "C6.3",
        "Trained heads are not alike: a few carry most of the reading and some do next to nothing. Which can go "
        "shows when they are tried out one by one.",
        _judge,
    )
}
