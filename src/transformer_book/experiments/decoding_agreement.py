"""C9.3: one token at a time or all at once, with a cache or without: what a decoder says must be the same."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from transformer_book.decoding import beam_search, greedy_decode
from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.plotting import MARKERS, PALETTE, figure_style, new_figure
from transformer_book.tasks.metrics import exact_match
from transformer_book.tasks.task import collate
from transformer_book.training import load_asset, new_model
from transformer_book.transformer import Transformer, TransformerConfig

ORDERS = {"post": False, "pre": True}
POSITIONS = ("sinusoidal", "learned", "rotary", "none")
DTYPES = {"float32": torch.float32, "float64": torch.float64}

Greedy = Callable[[Transformer, Tensor, int], Tensor]
Beam = Callable[[Transformer, Tensor, int, int], tuple[Tensor, Tensor]]


def measure(
    seeds: Sequence[int] = range(10),
    device: torch.device = CPU,
    length: int = 24,
    batch_size: int = 6,
    count: int = 500,
    greedy: Greedy = greedy_decode,
    beam: Beam = beam_search,
    progress: bool = False,
) -> Result:
    """Decode with random models, and with the book's reader of dates, in ways that must agree, and in a wrong one.

    Parameters
    ----------
    seeds
        For each: a model of each order of norms with each kind of positions, padded sources, and a target.
    device
        Where to compute.
    length
        Tokens of a target, and most tokens of a source; ≥ 2.
    batch_size
        Sequences at once.
    count
        Test dates that the trained reader writes, with its positions right and with the mistake.
    greedy, beam
        Decoders; the chapter passes the reader's own.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        By order of norms (`ORDERS`) and positions (`POSITIONS`), largest absolute difference of logits:
        ``steps_*``, one token at a time with the cache against teacher forcing; ``cache_*``, the same against
        the whole beginning read anew at each step; for each of `DTYPES`. ``beam``, tokens in which a beam of one
        is not greedy decoding; ``mistake``, largest difference from teacher forcing, in float64, when every new
        token is put at position 0. ``exact_right`` and ``exact_mistake``: share of dates that the shipped reader
        writes right, without and with that mistake.
    """

    def one_seed(seed: int) -> dict[str, object]:
        shape = (len(ORDERS), len(POSITIONS))
        names = [f"{kind}_{dtype}" for kind in ("steps", "cache") for dtype in DTYPES]
        found = {name: np.zeros(shape) for name in (*names, "beam", "mistake")}
        source, target = _draw(seed, batch_size, length, device)
        for i, norm_first in enumerate(ORDERS.values()):
            for j, positions in enumerate(POSITIONS):
                for name, dtype in DTYPES.items():
                    model = random_model(seed, norm_first, positions).to(device, dtype).eval()
                    forced, stepped, reread = all_ways(model, source, target)
                    found[f"steps_{name}"][i, j] = (stepped - forced).abs().max().item()
                    found[f"cache_{name}"][i, j] = (stepped - reread).abs().max().item()
                model = random_model(seed, norm_first, positions).to(device, torch.float64).eval()
                found["beam"][i, j] = _differing(greedy(model, source, length), beam(model, source, 1, length)[0])
                forced = all_ways(model, source, target)[0]
                forget_positions(model)
                found["mistake"][i, j] = (step_by_step(model, source, target) - forced).abs().max().item()
        right, mistaken = _dates_read(seed, count, device, greedy)
        lists = {name: values.tolist() for name, values in found.items()}
        return {**lists, "exact_right": right, "exact_mistake": mistaken}

    settings = {"length": length, "batch_size": batch_size, "count": count}
    return run_seeds("decoding_agreement", seeds, device, settings, one_seed, progress)


def random_model(seed: int, norm_first: bool, positions: str) -> Transformer:
    """Make a small Transformer of random weights, two layers in each stack."""
    sizes: dict[str, Any] = {"d_model": 24, "num_heads": 3, "d_ff": 40, "max_length": 64}
    return new_model(TransformerConfig(17, 13, **sizes, norm_first=norm_first, positions=positions), seed)


@torch.no_grad()
def all_ways(model: Transformer, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits ``(B, T, V)`` by teacher forcing, token by token with a cache, and without one."""
    memory = model.encode(source)
    reread = [model.decode(target[:, : t + 1], memory).logits[:, -1:] for t in range(target.shape[1])]
    return model.decode(target, memory).logits, step_by_step(model, source, target), torch.cat(reread, dim=1)


@torch.no_grad()
def step_by_step(model: Transformer, source: Tensor, target: Tensor) -> Tensor:
    """Hand ``target (B, T)`` over one token at a time, with what was kept, and return the logits ``(B, T, V)``."""
    memory, state, steps = model.encode(source), None, []
    for token in target.split(1, dim=1):  # (B, 1)
        logits, state, *_ = model.decode(token, memory, state)  # (B, 1, V)
        steps.append(logits)
    return torch.cat(steps, dim=1)


class AtZero(nn.Module):
    """The mistake: an embedding that does not ask how many tokens stand before, and begins at position 0."""

    def __init__(self, embedding: nn.Module) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, ids: Tensor, offset: int = 0) -> Tensor:
        """Map ``ids (B, T)`` to ``(B, T, D)``, `offset` forgotten."""
        return self.embedding(ids)


def forget_positions(model: Transformer) -> None:
    """Build the mistake into a model: every token that is written alone stands at position 0."""
    model.target_embedding = AtZero(model.target_embedding)  # pyright: ignore[reportAttributeAccessIssue]


def _draw(seed: int, batch_size: int, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Draw sources ``(B, S)`` of different lengths, padded, and targets ``(B, T)`` that begin with START."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(3, 17, (batch_size, length), generator=generator)  # (B, S)
    lengths = torch.randint(1, length + 1, (batch_size, 1), generator=generator)  # (B, 1)
    lengths[0] = length
    source = source.masked_fill(torch.arange(length) >= lengths, 0)
    target = torch.randint(3, 13, (batch_size, length), generator=generator)  # (B, T)
    target[:, 0] = 1
    return source.to(device), target.to(device)


def _differing(ours: Tensor, theirs: Tensor) -> int:
    """Count the places at which two batches of ids differ; all of them if their shapes do."""
    return int((ours != theirs).sum()) if ours.shape == theirs.shape else max(ours.numel(), theirs.numel())


def _dates_read(seed: int, count: int, device: torch.device, greedy: Greedy) -> tuple[float, float]:
    shares = []
    model, task, _ = load_asset("dates_transformer")
    assert isinstance(model, Transformer)
    model.to(device).eval()
    examples = task.sample(count, random.Random(f"decoding/{seed}"), split="test")
    source = collate(examples, task.source_vocabulary, task.target_vocabulary, device).source
    for prepare in (lambda _: None, forget_positions):
        prepare(model)
        rows = greedy(model, source, task.max_target_length).tolist()
        written = [task.target_vocabulary.decode(row) for row in rows]
        shares.append(exact_match(written, [example.target for example in examples]))
    return shares[0], shares[1]


@figure_style()
def plot(result: Result) -> Figure:
    """Largest difference from teacher forcing by kind of positions: right in two precisions, and the mistake."""
    figure, axes = new_figure(2, height=3.6)
    places = np.arange(len(POSITIONS))
    series = (
        ("mistake", "accent", "position 0 for every token"),
        ("steps_float32", "query", "right, float32"),
        ("steps_float64", "value", "right, float64"),
    )
    for axis, (i, order) in zip(axes, enumerate(ORDERS), strict=True):
        for (name, role, label), marker in zip(series, MARKERS, strict=False):
            worst = result.array(name)[:, i].max(axis=0).clip(1e-17)  # a difference of zero stands at the bottom
            axis.plot(places, worst, color=PALETTE[role], marker=marker, lw=0, ms=8, label=label)
        axis.set(yscale="log", ylim=(3e-18, 30), title=f"{order.capitalize()}-norm")
        axis.set_xticks(places, POSITIONS)
    axes[0].set_ylabel("largest difference of a logit")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _judge(result: Result) -> Verdict:
    worst = {
        name: float(max(result.array(f"{kind}_{name}").max() for kind in ("steps", "cache"))) for name in DTYPES
    }
    beams = int(result.array("beam").sum())
    added = [POSITIONS.index(name) for name in ("sinusoidal", "learned")]
    mistake = float(result.array("mistake")[..., added].min())
    right, wrong = float(result.mean("exact_right")), float(result.mean("exact_mistake"))
    figure = (
        f"largest difference of a logit {worst['float64']:.0e} in float64, {worst['float32']:.0e} in float32; a "
        f"beam of one differs from greedy decoding in {beams} tokens; with every token at position 0 the "
        f"difference is at least {mistake:.2f}, and a reader of dates that reads {right:.3f} of them reads "
        f"{wrong:.3f}"
    )
    same = worst["float64"] < 1e-12 and worst["float32"] < 1e-4 and beams == 0
    return Verdict(bool(same and mistake > 0.05 and right > 0.98 and wrong < 0.5), figure)


CLAIMS = {
    "C9.3": Claim(
        "C9.3",
        "Writing one token at a time gives the logits of teacher forcing, with a cache and without, with either "
        "order of norms and all kinds of positions; a beam of one is greedy decoding. A decoder that puts every "
        "new token at position 0 runs without an error, and this comparison is what finds it.",
        _judge,
    )
}
