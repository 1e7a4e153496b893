"""C3.3: where a decoder with attention looks while it writes a date, scored against the known source spans."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.experiments.date_models import new_recurrent_reader, train_reader
from transformer_book.plotting import PALETTE, figure_style, new_figure
from transformer_book.seq2seq import Seq2Seq
from transformer_book.tasks.dates import DateExample, Dates
from transformer_book.tasks.task import collate
from transformer_book.training import evaluate

#: Field → its characters in ``2026-11-23``.
FIELDS = {"year": range(4), "month": range(5, 7), "day": range(8, 10)}


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    steps: int = 1500,
    count: int = 1000,
    progress: bool = False,
) -> Result:
    """Train on dates, then compare the weights on unseen days with the spans the digits are read from.

    Parameters
    ----------
    seeds
        One set of first weights, batches and test dates each.
    device
        Where to compute.
    steps
        Batches of 64 dates.
    count
        Test dates, of days that no training date has.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        ``exact``: share of test dates read right. For each of `FIELDS`: ``mass_*``, the mean share of the weights
        on the true span; ``top_*``, how often the largest weight lies in it; ``chance_*``, the span's share of
        the source, which uniform weights would have; ``beside_*``, the share on the span or one of the two
        characters after it.
    """

    def one_seed(seed: int) -> dict[str, float]:
        model = new_recurrent_reader(seed)
        train_reader(model, steps, seed, device)
        task = Dates()
        examples = task.sample(count, random.Random(f"test/{seed}"), split="test")
        row = {"exact": evaluate(model, task, examples)["exact_match"]}
        return row | share_on_spans(model, task, examples)

    return run_seeds("date_alignment", seeds, device, {"steps": steps, "count": count}, one_seed, progress)


def share_on_spans(model: Seq2Seq, task: Dates, examples: Sequence[DateExample]) -> dict[str, float]:
    """Compare a model's weights, while it is fed the right target, with the known spans.

    Parameters
    ----------
    model
        With attention.
    task
        Its task.
    examples
        At least one.

    Returns
    -------
    dict
        ``mass_*``, ``beside_*``, ``top_*`` and ``chance_*`` as in `measure`, for each of `FIELDS`.
    """
    device = next(model.parameters()).device
    batch = collate(examples, task.source_vocabulary, task.target_vocabulary, device)
    with torch.no_grad():
        weights = model.alignments(batch.source, batch.target[:, :-1]).cpu()  # (B, T, S)
    row: dict[str, float] = {}
    for field, places in FIELDS.items():
        sums = np.zeros(4)
        for example, matrix in zip(examples, weights, strict=True):
            for place in places:
                span = example.spans[place]
                assert span is not None  # digits have one; only separators have none
                start, stop = span
                looked = matrix[place]  # (S,)
                near = looked[start : stop + 2].sum()
                top = start <= int(looked.argmax()) < stop
                sums += [looked[start:stop].sum(), near, top, (stop - start) / len(example.source)]
        mean = sums / (len(examples) * len(places))
        row |= {
            f"{name}_{field}": float(m) for name, m in zip(("mass", "beside", "top", "chance"), mean, strict=True)
        }
    return row


@figure_style()
def plot(result: Result) -> Figure:
    """Share of the weights on the true span, per field, beside what uniform weights would have."""
    figure, [axis] = new_figure(height=3.2)
    x = np.arange(len(FIELDS))
    series = {
        "mass": ("weight", "on the true span"),
        "beside": ("query", "or just after it"),
        "chance": ("muted", "uniform"),
    }
    for i, (name, (role, label)) in enumerate(series.items()):
        mean = [float(result.mean(f"{name}_{field}")) for field in FIELDS]
        spread = [float(result.half_width(f"{name}_{field}")) for field in FIELDS]
        axis.bar(x + 0.27 * (i - 1), mean, 0.25, yerr=spread, color=PALETTE[role], label=label, capsize=2)
    axis.set_xticks(x, list(FIELDS))
    axis.set(ylabel="share of the weights", ylim=(0, 1.05), xlabel="field of the written date")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _judge(result: Result) -> Verdict:
    share = {
        name: float(np.mean([result.mean(f"{name}_{field}") for field in FIELDS]))
        for name in ("mass", "beside", "chance")
    }
    figure = (
        f"{result.mean('exact'):.3f} of unseen dates read right; share of the weights on the true span "
        f"{share['mass']:.2f} (uniform: {share['chance']:.2f}), "
        f"with the two characters after it {share['beside']:.2f}"
    )
    each = all(result.mean(f"mass_{field}") > 1.5 * result.mean(f"chance_{field}") for field in FIELDS)
    return Verdict(bool(result.mean("exact") > 0.9 and each), figure)


CLAIMS = {
    "C3.3": Claim(
        "C3.3",
        "Nobody tells the decoder where to look; trained on dates, it puts most of its weight on or just behind "
        "the characters a digit is read from.",
        _judge,
    )
}
