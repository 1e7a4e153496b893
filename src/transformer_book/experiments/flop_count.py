"""C11.1: operations and parameters of a Transformer, from its sizes and counted while it runs."""

import random
from collections.abc import Callable, Sequence

import torch
from matplotlib.figure import Figure
from torch.utils.flop_counter import FlopCounterMode

from transformer_book.cost import Load, Sizes, count_flops, parameters
from transformer_book.device import CPU, seeded
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.plotting import MARKERS, PALETTE, figure_style, new_figure
from transformer_book.training import masked_cross_entropy
from transformer_book.transformer import Transformer, TransformerConfig

#: What a model is counted at: a forward pass, one with loss and gradient, and one token with a cache.
KINDS = ("reading", "training", "writing")
ROLES = ("query", "weight", "key")

Count = Callable[..., dict[str, int]]


def count_while(run: Callable[[], object]) -> int:
    """Run something and let torch count the operations of its matrix products."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def draw(generator: random.Random) -> tuple[TransformerConfig, Load]:
    """Draw a small model and a load: sizes are often prime, so that no two can be taken for each other."""
    heads, width = generator.choice((1, 2, 3, 5)), generator.choice((2, 6, 14, 22))
    config = TransformerConfig(
        generator.randint(5, 97),
        generator.randint(5, 97),
        d_model=heads * width,
        num_heads=heads,
        d_ff=generator.randint(1, 101),
        num_encoder_layers=generator.randint(1, 3),
        num_decoder_layers=generator.randint(1, 3),
        dropout=0.0,
        norm_first=generator.random() < 0.5,
        positions=generator.choice(("sinusoidal", "rotary", "none")),
    )
    return config, Load(generator.randint(1, 5), generator.randint(1, 31), generator.randint(1, 31))


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    count: int = 20,
    counter: Count = count_flops,
    progress: bool = False,
) -> Result:
    """Draw models and loads; count what they do with torch's counter, and from their sizes.

    Parameters
    ----------
    seeds
        One set of models each.
    device
        Where they run.
    count
        Models a seed.
    counter
        Counts from the sizes: `count_flops`, or the reader's own.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        Each ``(count,)``: for each of `KINDS` the operations ``counted_*`` by torch and by ``formula_*``; and
        ``parameters`` with ``parameters_formula``.
    """

    def one_model(config: TransformerConfig, load: Load, seed: int) -> dict[str, int]:
        with seeded(seed):
            model = Transformer(config).to(device)
            source = torch.randint(3, config.source_vocab, (load.batch, load.source_length)).to(device)  # (B, S)
            target = torch.randint(3, config.target_vocab, (load.batch, load.length + 1)).to(device)  # (B, T + 1)
        memory = model.encode(source)
        state = model.decode(target[:, :-1], memory).state
        runs = {
            "reading": lambda: model(source, target[:, :-1]),
            "training": lambda: masked_cross_entropy(model(source, target[:, :-1]), target[:, 1:]).backward(),
            "writing": lambda: model.decode(target[:, -1:], memory, state),
        }
        sizes, step = Sizes.of(config), Load(load.batch, 1, load.source_length, cached=load.length)
        by_size = {
            "reading": counter(sizes, load),
            "training": counter(sizes, load, training=True),
            "writing": counter(sizes, step),
        }
        row = {f"counted_{kind}": count_while(run) for kind, run in runs.items()}
        row |= {f"formula_{kind}": sum(parts.values()) for kind, parts in by_size.items()}
        row["parameters"] = sum(weight.numel() for weight in model.parameters())
        row["parameters_formula"] = sum(parameters(sizes).values())
        return row

    def one_seed(seed: int) -> dict[str, list[int]]:
        generator = random.Random(f"flops/{seed}")
        rows = [one_model(*draw(generator), seed) for _ in range(count)]
        return {key: [row[key] for row in rows] for key in rows[0]}

    return run_seeds("flop_count", seeds, device, {"count": count}, one_seed, progress)


@figure_style()
def plot(result: Result) -> Figure:
    """Operations by formula against operations counted, one mark for each model and kind of work."""
    figure, axes = new_figure(2, height=3.4)
    for kind, role, marker in zip(KINDS, ROLES, MARKERS, strict=False):
        counted, formula = result.array(f"counted_{kind}").ravel(), result.array(f"formula_{kind}").ravel()
        axes[0].loglog(formula, counted, lw=0, marker=marker, color=PALETTE[role], alpha=0.8, label=kind)
    axes[0].axline((1e5, 1e5), (1e6, 1e6), color=PALETTE["muted"], linestyle=":", linewidth=1)
    axes[0].set(xlabel="by formula", ylabel="counted by torch", title="Operations")
    axes[0].legend()
    axes[1].loglog(
        result.array("parameters_formula").ravel(),
        result.array("parameters").ravel(),
        lw=0,
        marker=MARKERS[0],
        color=PALETTE["value"],
        alpha=0.8,
    )
    axes[1].axline((1e4, 1e4), (1e5, 1e5), color=PALETTE["muted"], linestyle=":", linewidth=1)
    axes[1].set(xlabel="by formula", ylabel="counted in the module", title="Parameters")
    return figure


def _judge(result: Result) -> Verdict:
    same = {kind: result.array(f"counted_{kind}") == result.array(f"formula_{kind}") for kind in KINDS}
    own = result.array("parameters") == result.array("parameters_formula")
    thrice = bool((result.array("counted_training") == 3 * result.array("counted_reading")).all())
    figure = (
        f"of {own.size} random models the formula has exactly torch's operations for "
        + ", ".join(f"{int(agree.sum())} in {kind}" for kind, agree in same.items())
        + f", and exactly the parameters of {int(own.sum())}; loss and gradient take "
        + ("three times the operations of a forward pass in each" if thrice else "not always three times as many")
    )
    return Verdict(bool(all(agree.all() for agree in same.values()) and own.all() and thrice), figure)


CLAIMS = {
    "C11.1": Claim(
        "C11.1",
        "The operations of a Transformer's matrix products follow exactly from its sizes, in reading, in training "
        "and in writing with a cache; training takes three times those of a forward pass.",
        _judge,
    )
}
