"""C8.1: the parameters of a Transformer, by formula and counted, and where they are."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from transformer_book.attention import MultiHeadAttention
from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.layers import FeedForward
from transformer_book.plotting import PALETTE, figure_style, new_figure
from transformer_book.positions import POSITIONS
from transformer_book.transformer import Embedding, Transformer, TransformerConfig

#: Part of a model → its colour's role.
PARTS = {
    "attention": "weight",
    "feed-forward": "query",
    "embeddings": "key",
    "readout": "value",
    "norms": "muted",
}

#: The base model of Vaswani et al. 2017 (table 3, "base"), with its one vocabulary of "about 37000 tokens" (5.1).
BASE = TransformerConfig(
    37000,
    37000,
    d_model=512,
    num_heads=8,
    d_ff=2048,
    num_encoder_layers=6,
    num_decoder_layers=6,
    shared_embeddings=True,
)

#: Rows of the paper's table 3 whose heads are as wide as the model allows → configuration, millions of parameters
#: as printed there.
PAPER: dict[str, tuple[TransformerConfig, int]] = {
    "base": (BASE, 65),
    "N = 2": (replace(BASE, num_encoder_layers=2, num_decoder_layers=2), 36),
    "N = 4": (replace(BASE, num_encoder_layers=4, num_decoder_layers=4), 50),
    "N = 8": (replace(BASE, num_encoder_layers=8, num_decoder_layers=8), 80),
    "D = 256": (replace(BASE, d_model=256), 28),
    "D = 1024": (replace(BASE, d_model=1024), 168),
    "F = 1024": (replace(BASE, d_ff=1024), 53),
    "F = 4096": (replace(BASE, d_ff=4096), 90),
    "big": (replace(BASE, d_model=1024, num_heads=16, d_ff=4096), 213),
}


def by_formula(config: TransformerConfig) -> dict[str, int]:
    """Compute how many parameters each part of a Transformer has, from its sizes alone.

    Parameters
    ----------
    config
        Sizes D, F, V of the model, and its depths.

    Returns
    -------
    dict
        For each of `PARTS`. A matrix used in several places counts once, as an embedding.
    """
    d, f, depth = config.d_model, config.d_ff, (config.num_encoder_layers, config.num_decoder_layers)
    attentions = depth[0] + 2 * depth[1]
    norms = 2 * depth[0] + 3 * depth[1] + 2  # one around each sub-layer, one after each stack
    learned = 2 * config.max_length if config.positions == "learned" else 0
    vocabularies = config.source_vocab + config.target_vocab
    return {
        "attention": attentions * (4 * d * d + 4 * d),
        "feed-forward": sum(depth) * (2 * d * f + f + d),
        "embeddings": ((config.source_vocab if config.shared_embeddings else vocabularies) + learned) * d,
        "readout": config.target_vocab * (1 if config.shared_embeddings else d + 1),
        "norms": norms * 2 * d,
    }


def counted(model: Transformer) -> dict[str, int]:
    """Count the parameters of a model, module by module; what is used in several places counts where it is first.

    Returns
    -------
    dict
        For each of `PARTS`.
    """
    kinds = {
        "embeddings": Embedding,
        "attention": MultiHeadAttention,
        "feed-forward": FeedForward,
        "norms": nn.LayerNorm,
        "readout": nn.Linear,  # what no other part has
    }
    seen: set[int] = set()
    counts = dict.fromkeys(PARTS, 0)
    for part, kind in kinds.items():
        for module in model.modules():
            if isinstance(module, kind):
                for parameter in module.parameters():
                    counts[part] += 0 if id(parameter) in seen else parameter.numel()
                    seen.add(id(parameter))
    return counts


def draw_config(generator: random.Random) -> TransformerConfig:
    """Draw a small configuration: widths, depths, heads, vocabularies, positions, sharing and order of norms."""
    heads = generator.randint(1, 6)
    source, target = generator.randint(5, 200), generator.randint(5, 200)
    shared = generator.random() < 0.5
    return TransformerConfig(
        source,
        source if shared else target,
        d_model=heads * 2 * generator.randint(1, 12),
        num_heads=heads,
        d_ff=generator.randint(1, 150),
        num_encoder_layers=generator.randint(1, 3),
        num_decoder_layers=generator.randint(1, 3),
        norm_first=generator.random() < 0.5,
        max_length=generator.randint(1, 80),
        positions=generator.choice(list(POSITIONS)),
        shared_embeddings=shared,
    )


def stacks_by_torch(config: TransformerConfig) -> int:
    """Count the parameters of `torch.nn.Transformer`, which has no embeddings and no readout."""
    depths = (config.num_encoder_layers, config.num_decoder_layers)
    heads = 2  # of any number, since it changes no count; nn.Transformer warns of an odd one
    theirs = nn.Transformer(config.d_model, heads, *depths, config.d_ff, device="meta", batch_first=True)
    return sum(parameter.numel() for parameter in theirs.parameters())


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    count: int = 40,
    make: Callable[[TransformerConfig], Transformer] = Transformer,
    progress: bool = False,
) -> Result:
    """Count random Transformers, and those of the paper's table 3, and compare with the formula.

    The models are made on torch's device "meta": they have shapes and no numbers, so the large ones cost nothing.

    Parameters
    ----------
    seeds
        One set of random configurations each.
    device
        Recorded; nothing is computed on it.
    count
        Random configurations a seed.
    make
        Makes a model; the chapter passes the reader's own class.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        Of the random models, ``(count,)``: ``counted`` and ``formula``, all parameters; ``stacks`` and
        ``stacks_torch``, those of encoder and decoder here and in `torch.nn.Transformer`. Of the models of
        `PAPER`, ``paper``, ``(rows, parts)``: counted.
    """

    def one_seed(seed: int) -> dict[str, object]:
        generator = random.Random(f"parameters/{seed}")
        configs = [draw_config(generator) for _ in range(count)]
        with torch.device("meta"):
            models = [make(config) for config in configs]
            paper = [list(counted(make(config)).values()) for config, _ in PAPER.values()]
        parts = [counted(model) for model in models]
        return {
            "counted": [sum(parameter.numel() for parameter in model.parameters()) for model in models],
            "formula": [sum(by_formula(config).values()) for config in configs],
            "stacks": [part["attention"] + part["feed-forward"] + part["norms"] for part in parts],
            "stacks_torch": [stacks_by_torch(config) for config in configs],
            "paper": paper,
        }

    return run_seeds("parameter_count", seeds, device, {"count": count}, one_seed, progress)


def implied_vocabulary(row: str) -> float:
    """Return the vocabulary at which a row of `PAPER` has the parameters printed in the paper."""
    config, millions = PAPER[row]
    parts = by_formula(config)
    return (1e6 * millions - sum(parts.values()) + parts["embeddings"] + parts["readout"]) / (config.d_model + 1)


@figure_style()
def plot(result: Result) -> Figure:
    """Where the parameters of the paper's models are; and counted against printed, for its table 3."""
    figure, axes = new_figure(2, height=3.6)
    paper = result.mean("paper") / 1e6  # (rows, parts)
    shown = ("D = 256", "base", "big")
    rows = [list(PAPER).index(name) for name in shown]
    left = np.zeros(len(rows))
    for part, role in PARTS.items():
        share = 100 * paper[rows, list(PARTS).index(part)] / paper[rows].sum(axis=1)
        axes[0].barh(shown, share, left=left, color=PALETTE[role], label=part, edgecolor="white")
        for y, (start, width) in enumerate(zip(left, share, strict=True)):
            if width > 6:
                axes[0].text(start + width / 2, y, f"{width:.0f}", ha="center", va="center", color="white")
        left += share
    axes[0].set(xlabel="% of all parameters", title="Where they are", xlim=(0, 100))
    axes[0].grid(visible=False)
    printed = np.array([millions for _, millions in PAPER.values()])
    axes[1].axline((0, 0), slope=1, color=PALETTE["muted"], linestyle=":")
    axes[1].plot(printed, paper.sum(axis=1), "o", color=PALETTE["query"], markersize=6)
    for name in ("base", "D = 256", "big"):
        row = list(PAPER).index(name)
        axes[1].annotate(name, (printed[row], paper[row].sum()), (8, -10), textcoords="offset points")
    axes[1].set(xlabel="printed in table 3, millions", ylabel="counted here, millions", title="The paper's table")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def _judge(result: Result) -> Verdict:
    ours, formula = result.array("counted"), result.array("formula")
    exact = bool((ours == formula).all())
    stacks = bool((result.array("stacks") == result.array("stacks_torch")).all())
    paper = result.mean("paper") / 1e6  # (rows, parts)
    by_rule = np.array([list(by_formula(config).values()) for config, _ in PAPER.values()]) / 1e6
    printed = np.array([millions for _, millions in PAPER.values()])
    off = 100 * (paper.sum(axis=1) / printed - 1)
    base = dict(zip(PARTS, paper[0], strict=True))
    total = sum(base.values())
    shares = {name: base[name] / total for name in ("feed-forward", "attention", "embeddings")}
    figure = (
        f"formula = counted for {int((ours == formula).sum()):,} of {ours.size:,} random models, and "
        f"{int((result.array('stacks') == result.array('stacks_torch')).sum()):,} stacks have as many as "
        f"torch.nn.Transformer's; the paper's base model with its 37,000 tokens: {total:.1f} million, printed "
        f"{printed[0]} (nine rows of table 3: {off.min():+.1f} to {off.max():+.1f} %); of these "
        + ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    )
    same = np.allclose(paper, by_rule, rtol=0, atol=1e-9)
    close = (np.abs(off) < 8).all() and abs(off[0]) < 5
    forward, attention, embeddings = shares.values()
    order = forward > attention and 0.35 < forward < 0.45 and 0.25 < embeddings < 0.35
    return Verdict(bool(exact and stacks and same and close and order), figure)


CLAIMS = {
    "C8.1": Claim(
        "C8.1",
        "The parameters of a Transformer follow exactly from its sizes. In the paper's base model the "
        "feed-forward layers have two in five, all attentions together fewer, and the one matrix of embeddings "
        "nearly a third.",
        _judge,
    )
}
