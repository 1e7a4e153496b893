"""C8.2: the way from one position to another, through the whole Transformer and through recurrent layers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, half_width, run_seeds
from transformer_book.experiments.gradient_through_time import step_factor
from transformer_book.experiments.recall import CELLS, NUM_SYMBOLS, STARTS, Cells, draw_ids, new_layer
from transformer_book.plotting import MODELS, draw_series, figure_style, new_figure
from transformer_book.recurrent import Recurrent
from transformer_book.tasks.vocabulary import NUM_SPECIAL, START
from transformer_book.training import new_model
from transformer_book.transformer import Transformer, TransformerConfig

#: Way through a Transformer → how it is drawn: role, marker, label.
WAYS = {
    "source": ("weight", "D", "Transformer, from the source"),
    "own": ("accent", "P", "Transformer, from what is written"),
}
#: Recall by a Transformer: learning rate, sequences a step, sequences tested. Those of C1.3 but for the rate's
#: warm-up, over `WARMUP` steps.
LEARNING_RATE, BATCH, TESTED, WARMUP = 5e-3, 64, 1000, 50


def new_transformer(seed: int, width: int, depth: int, max_length: int) -> Transformer:
    """Make an untrained Transformer over the symbols of C1.3: 4 heads, `depth` layers a stack, no dropout."""
    vocabulary = NUM_SPECIAL + NUM_SYMBOLS
    depths = {"num_encoder_layers": depth, "num_decoder_layers": depth}
    sizes: dict[str, Any] = {**depths, "max_length": max_length, "dropout": 0.0, "norm_first": True}
    config = TransformerConfig(vocabulary, vocabulary, width, 4, 2 * width, **sizes)
    return new_model(config, seed)


def position_norms(model: Transformer, source: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Spectral norms of the Jacobians of the last output with respect to every embedding, through all layers.

    The output is the vector that the readout is given at the last position of the target.

    Parameters
    ----------
    model
        In evaluation mode.
    source, target
        One sequence of ids each, ``(S,)`` and ``(T,)``.

    Returns
    -------
    dict of Tensor
        ``"source"`` ``(S,)`` and ``"own"`` ``(T,)``, in order of position.
    """
    width, found = model.config.d_model, {}

    def keep(name: str) -> object:
        return lambda module, inputs, output: found.__setitem__(name, output)

    places = {"source": model.source_embedding, "own": model.target_embedding, "last": model.decoder_norm}
    handles = [module.register_forward_hook(keep(name)) for name, module in places.items()]
    # one copy of the sequences for each coordinate of the output: copy i gives row i of every Jacobian
    model(source.expand(width, -1), target.expand(width, -1))
    for handle in handles:
        handle.remove()
    trace = found["last"][:, -1].diagonal().sum()
    rows = torch.autograd.grad(trace, [found["source"], found["own"]])  # (D, S, D), (D, T, D)
    norms = (torch.linalg.matrix_norm(each.transpose(0, 1), 2) for each in rows)
    return dict(zip(WAYS, norms, strict=True))


def input_norms(layer: Recurrent, inputs: Tensor) -> Tensor:
    """Spectral norms of ∂h_T/∂x_t for every step of a recurrent layer; ``inputs (T, I)`` gives ``(T,)``."""
    copies = inputs.expand(layer.d_hidden, -1, -1).clone().requires_grad_()  # (D, T, I)
    last = layer(copies)[0][:, -1]  # (D, D)
    [rows] = torch.autograd.grad(last.diagonal().sum(), copies)  # (D, T, I)
    return torch.linalg.matrix_norm(rows.transpose(0, 1), 2)


def train_to_recall(model: Transformer, length: int, steps: int, seed: int, device: torch.device) -> float:
    """Train a Transformer to name the first symbol of sequences of one length, as C1.3 trains recurrent layers.

    Returns
    -------
    float
        Share of fresh sequences whose first symbol it names; chance is 1 / `NUM_SYMBOLS`.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.to(device).parameters())
    start = torch.tensor([[START]], device=device)

    def logits(count: int) -> tuple[Tensor, Tensor]:
        source = NUM_SPECIAL + draw_ids(count, length, generator).to(device)  # (B, S)
        return model(source, start.expand(count, 1))[:, 0], source[:, 0]

    for step in range(steps):
        optimiser.param_groups[0]["lr"] = LEARNING_RATE * min(1.0, (step + 1) / WARMUP)
        guess, first = logits(BATCH)
        loss = F.cross_entropy(guess, first)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    with torch.no_grad():
        guess, first = logits(TESTED)
    return (guess.argmax(dim=-1) == first).float().mean().item()


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    length: int = 100,
    width: int = 32,
    depth: int = 2,
    lengths: Sequence[int] = (10, 20, 50, 100),
    steps: int = 300,
    cells: Cells = CELLS,
    progress: bool = False,
) -> Result:
    """Follow the gradient from the last output back to every position, in models as they start; then train one.

    Parameters
    ----------
    seeds
        One start and one input sequence each.
    device
        Where to compute.
    length
        Greatest distance, a multiple of 10 and at least 20.
    width
        Width D of the recurrent state and of the Transformer.
    depth
        Layers in each stack of the Transformer.
    lengths
        Lengths at which the gradient of the farthest position is measured, ascending.
    steps
        Steps of training the Transformer to name the first of `length` symbols; 0 trains none.
    cells
        ``"rnn"``, ``"gru"`` and ``"lstm"`` → class.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        At ``settings["distances"]``: ``norm_rnn``, ``norm_gru``, ``norm_lstm``, of ∂h_T/∂x_t in a layer as torch
        starts it; ``norm_source`` and ``norm_own``, of the Transformer's last output by an embedding of the
        source, and of the target, as far back. ``far_*`` for the same five: the norm for the farthest position, by
        length. ``recall``: share of sequences whose first symbol the trained Transformer names. ``trained``: its
        norms at all positions of a fresh source, the last one first.
    """
    distances = [1, *range(10, length + 1, 10)]

    def norms_of(seed: int, length: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        ids = draw_ids(2, length + 1, generator)  # source and target
        model = new_transformer(seed, width, depth, length + 1).double().to(device).eval()
        norms = position_norms(model, *(NUM_SPECIAL + ids).to(device))
        inputs = F.one_hot(ids[0], NUM_SYMBOLS).double().to(device)  # (T, V)
        for cell in cells:
            layer = new_layer(STARTS[cell], NUM_SYMBOLS, width, seed, cells).double().to(device)
            norms[cell] = input_norms(layer, inputs)
        return {name: each.flip(0) for name, each in norms.items()}  # by distance

    def one_seed(seed: int) -> dict[str, object]:
        values: dict[str, object] = {}
        for name, norms in norms_of(seed, length).items():
            values[f"norm_{name}"] = norms[distances].tolist()
        far = [norms_of(seed, each) for each in lengths]
        values |= {f"far_{name}": [norms[name][-1].item() for norms in far] for name in far[0]}
        if steps:
            model = new_transformer(seed, width, depth, length + 1)
            values["recall"] = train_to_recall(model, length + 1, steps, seed, device)
            fresh = draw_ids(1, length + 1, torch.Generator().manual_seed(seed + 1000))
            source, target = (NUM_SPECIAL + fresh[0]).to(device), torch.tensor([START], device=device)
            values["trained"] = position_norms(model.double().eval(), source, target)["source"].flip(0).tolist()
        return values

    sizes = {"length": length, "width": width, "depth": depth, "lengths": list(lengths), "steps": steps}
    settings = {**sizes, "distances": distances}
    return run_seeds("path_length", seeds, device, settings, one_seed, progress)


@figure_style()
def plot(result: Result) -> Figure:
    """Norm by distance, relative to distance 1; and the norm for the farthest position, by length."""
    figure, axes = new_figure(2, height=3.8)
    drawn = {**{cell: MODELS[cell] for cell in CELLS}, **WAYS}
    for name, (role, marker, label) in drawn.items():
        norms = result.array(f"norm_{name}")
        logs = np.log10(norms / norms[:, :1])
        draw_series(
            axes[0], result.settings["distances"], logs.mean(axis=0), half_width(logs), role, marker, label
        )
        far = np.log10(result.array(f"far_{name}"))
        draw_series(axes[1], result.settings["lengths"], far.mean(axis=0), half_width(far), role, marker, label)
    axes[0].set(xlabel="distance, positions", ylabel="log₁₀ norm, against distance 1", title="Along one sequence")
    axes[1].set(xscale="log", xlabel="length of the sequence", ylabel="log₁₀ norm", title="From the farthest one")
    axes[1].set_xticks(result.settings["lengths"], [str(each) for each in result.settings["lengths"]])
    axes[1].minorticks_off()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def fall(result: Result, name: str) -> NDArray[np.float64]:
    """Norm at the greatest distance over the norm at distance 1, for each seed."""
    norms = result.array(f"norm_{name}")
    return norms[:, -1] / norms[:, 0]


def growth(result: Result, name: str) -> float:
    """Exponent p of norm ∝ length^p for the farthest position, by a straight line through logarithms."""
    logs = np.log(result.array(f"far_{name}")).mean(axis=0)
    return float(np.polyfit(np.log(result.settings["lengths"]), logs, 1)[0])


def _judge(result: Result) -> Verdict:
    distances = result.settings["distances"]
    falls = {name: fall(result, name) for name in (*CELLS, *WAYS)}
    typical = {name: float(np.exp(np.log(values).mean())) for name, values in falls.items()}
    factor = {name: step_factor(result.array(f"norm_{name}"), distances) for name in falls}
    powers = {name: growth(result, name) for name in WAYS}
    recall = result.array("recall")
    recurrent = ", ".join(f"{MODELS[cell][2]} {typical[cell]:.0e}" for cell in CELLS)
    figure = (
        f"norm at distance {distances[-1]} over norm at distance 1: {recurrent}; Transformer "
        f"{typical['source']:.1f} from the source, {typical['own']:.1f} from what is written; factor per "
        f"step {factor['rnn'].mean():.2f}, {factor['gru'].mean():.2f}, {factor['lstm'].mean():.2f} and "
        f"{factor['source'].mean():.3f}, {factor['own'].mean():.3f}; from the farthest position ∝ "
        f"length^{powers['source']:.2f} and length^{powers['own']:.2f}; trained, it names the first "
        f"of {result.settings['length'] + 1} symbols in {recall.mean():.2f} of cases, {recall.min():.2f} at least"
    )
    lost = all(falls[cell].max() < 1e-6 and factor[cell].max() < 0.7 for cell in CELLS)
    level = all(0.3 < typical[name] < 5 and abs(factor[name].mean() - 1) < 0.02 for name in WAYS)
    shared = all(-1.4 < power < -0.3 for power in powers.values())
    return Verdict(bool(lost and level and shared and recall.min() > 0.5), figure)


CLAIMS = {
    "C8.2": Claim(
        "C8.2",
        "In a Transformer every position is one step of attention away: through the whole model, as it starts, "
        "the gradient does not fade with distance, where recurrent layers of the same width lose a third of it or "
        "more at every step. It is shared out, though: the longer the sequence, the less comes from each "
        "position. Trained, it recalls the first of 101 symbols far above chance.",
        _judge,
    )
}
