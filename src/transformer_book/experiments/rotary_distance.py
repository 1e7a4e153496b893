"""C7.2: what a score depends on when positions are turned in, and when they are added."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.plotting import PALETTE, draw_series, figure_style, new_figure
from transformer_book.positions import rotate, sinusoids

OFFSETS = (0, 1, 10, 100, 1000, 3000)
DISTANCES = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
#: How a score is made → role, marker, label of its curve.
WAYS: dict[str, tuple[str, str, str]] = {
    "float64": ("weight", "D", "rotary, float64"),
    "float32": ("query", "o", "rotary, float32"),
    "angles32": ("key", "s", "rotary, angles in float32"),
    "angles16": ("muted", "P", "rotary, angles in bfloat16"),
    "added": ("accent", "^", "sinusoids added to the content"),
    "sinusoids": ("value", "v", "sinusoids alone"),
}

Rotate = Callable[[Tensor, Tensor], Tensor]
Sinusoids = Callable[[int, int], Tensor]


def table_in(dtype: torch.dtype, length: int, width: int) -> Tensor:
    """Sinusoids whose angles are computed in `dtype`, to compare with: ``(length, width)``, `width` even."""
    columns = torch.arange(0, width, 2, dtype=dtype)  # (K/2,)
    angles = torch.arange(length, dtype=dtype)[:, None] * torch.exp(-math.log(10000.0) / width * columns)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)  # (length, K/2, 2) -> (length, K)


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    offsets: Sequence[int] = OFFSETS,
    distances: Sequence[int] = DISTANCES,
    width: int = 64,
    pairs: int = 256,
    rotate: Rotate = rotate,
    sinusoids: Sinusoids = sinusoids,
    progress: bool = False,
) -> Result:
    """Compare queries and keys at a fixed distance while both move on together.

    Queries and keys are standard normal. A query at position m + δ meets a key at position m, for offsets m and
    distances δ. If a score depends on the distance alone, moving m changes nothing.

    Parameters
    ----------
    seeds
        One set of queries and keys each.
    device
        Where to compute.
    offsets
        Positions m of the keys, ascending; the first is 0, with which the others are compared.
    distances
        Distances δ ≥ 0, ascending, from 0.
    width
        Coordinates K of a query, even.
    pairs
        Pairs of a query and a key.
    rotate, sinusoids
        As in `transformer_book.positions`; the chapter passes the reader's own.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        By offset, for each of `WAYS`: ``shift_*``, largest change of a score since offset 0, divided by the
        lengths of the two vectors compared. ``norm``: largest relative change of a vector's length when it is
        turned. By distance: ``similarity_rotary``, mean of q·q' / ‖q‖² of a query with itself turned away, and
        ``similarity_sinusoids``, p·p' / ‖p‖² of two rows of sinusoids. ``cross_share``: the part of the variance
        of scores with added sinusoids, over pairs, that is due to content meeting position.
    """
    starts, steps = torch.tensor(offsets), torch.tensor(distances)
    length = int(starts.max() + steps.max()) + 1
    keys_at = starts[:, None].expand(-1, len(steps)).flatten()  # (offsets · distances,)
    queries_at = (starts[:, None] + steps).flatten()  # (offsets · distances,)
    tables = {
        "float64": table_in(torch.float64, length, width),
        "float32": sinusoids(length, width),
        "angles32": table_in(torch.float32, length, width),
        "angles16": table_in(torch.bfloat16, length, width).float(),
    }
    tables = {name: table.to(device) for name, table in tables.items()}

    def moved(scores: Tensor, query: Tensor, key: Tensor) -> list[float]:
        """Largest change since the first offset: scores and vectors ``(pairs, places, …)`` -> one per offset."""
        relative = (scores / (query.norm(dim=-1) * key.norm(dim=-1))).double()  # (pairs, places)
        relative = relative.unflatten(1, (len(offsets), len(distances)))
        return (relative - relative[:, :1]).abs().amax(dim=(0, 2)).tolist()

    def one_seed(seed: int) -> dict[str, object]:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(2, pairs, 1, width, generator=generator, dtype=torch.float64)
        query64, key64 = drawn.to(device).expand(-1, -1, len(keys_at), -1)  # (pairs, places, K) each
        row: dict[str, object] = {}
        stretched = 0.0
        for name, table in tables.items():
            query, key = (x.to(table.dtype) for x in (query64, key64))
            turned = rotate(query, table[queries_at]), rotate(key, table[keys_at])
            row[f"shift_{name}"] = moved((turned[0] * turned[1]).sum(dim=-1), query, key)
            if name == "float64":
                stretched = max(
                    float((t.norm(dim=-1) / x.norm(dim=-1) - 1).abs().max())
                    for t, x in zip(turned, (query, key), strict=True)
                )
        at_query, at_key = (
            tables["float32"][places].expand_as(query64).double() for places in (queries_at, keys_at)
        )
        added = query64 + at_query, key64 + at_key
        row["shift_added"] = moved((added[0] * added[1]).sum(dim=-1), *added)
        row["shift_sinusoids"] = moved((at_query * at_key).sum(dim=-1), at_query, at_key)
        cross = (query64 * at_key + at_query * key64).sum(dim=-1)  # (pairs, places)
        total = (added[0] * added[1]).sum(dim=-1)
        row["cross_share"] = float((cross.var(dim=0) / total.var(dim=0)).mean())
        row["norm"] = stretched
        first = len(distances)  # places of offset 0, in the order of the distances
        itself = rotate(query64, tables["float64"][queries_at]) * rotate(query64, tables["float64"][keys_at])
        likeness = itself.sum(dim=-1) / query64.square().sum(dim=-1)  # (pairs, places)
        row["similarity_rotary"] = likeness[:, :first].mean(dim=0).tolist()
        sums = (at_query * at_key).sum(dim=-1)[0, :first]
        row["similarity_sinusoids"] = (sums / (width / 2)).tolist()
        return row

    settings = {"offsets": list(offsets), "distances": list(distances), "width": width, "pairs": pairs}
    return run_seeds("rotary_distance", seeds, device, settings, one_seed, progress)


@figure_style()
def plot(result: Result) -> Figure:
    """How far a score moves when query and key move on together; and how alike two positions are, by distance."""
    figure, axes = new_figure(2, height=3.8)
    offsets = result.settings["offsets"]
    for name, (role, marker, label) in WAYS.items():
        values = result.array(f"shift_{name}").max(axis=0)[1:]
        axes[0].plot(offsets[1:], values.clip(1e-17), color=PALETTE[role], marker=marker, label=label)
    axes[0].set(xscale="log", yscale="log", xlabel="both moved on by", ylabel="largest change of a score")
    axes[0].set(ylim=(1e-17, 10), title="The same distance elsewhere")
    distances = np.array(result.settings["distances"]) + 1
    mean, spread = result.mean("similarity_rotary"), result.half_width("similarity_rotary")
    draw_series(axes[1], distances, mean, spread, "query", "o", "a query and itself, turned")
    axes[1].plot(
        distances,
        result.mean("similarity_sinusoids"),
        color=PALETTE["value"],
        marker="v",
        ls=(0, (2, 2)),
        zorder=5,
        label="sinusoids",
    )
    axes[1].set(xscale="log", xlabel="distance + 1", ylabel="similarity", title="By distance")
    axes[1].legend(loc="upper right")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _judge(result: Result) -> Verdict:
    shift = {name: result.array(f"shift_{name}").max(axis=0) for name in WAYS}  # by offset, over seeds
    far, last = result.settings["offsets"][-1], -1
    added = float(result.array("shift_added")[:, 1:].min())
    norm = float(result.array("norm").max())
    gap = float(np.abs(result.mean("similarity_rotary") - result.mean("similarity_sinusoids")).max())
    most = {name: f"{values.max():.0e}" for name, values in shift.items()}
    figure = (
        f"query and key moved on by up to {far:,} at one distance: the score, as a share of the vectors' lengths, "
        f"changes by at most {most['float64']} under rotary in float64 and {most['float32']} in float32 "
        f"({shift['angles32'][last]:.0e} if the angles are float32, too, and {shift['angles16'][last]:.1f} if "
        f"they are bfloat16); with sinusoids added to the content by at least {added:.2f}, though sinusoids alone "
        f"by at most {most['sinusoids']}; turning changes a vector's length by at most {norm:.0e} of itself"
    )
    precise = shift["float64"].max() < 1e-12 and shift["float32"].max() < 2e-6 and norm < 1e-12
    plain = shift["sinusoids"].max() < 2e-6 and added > 0.05
    rounded = shift["angles32"][last] > 10 * shift["float32"][last] and shift["angles16"][last] > 0.1
    return Verdict(bool(precise and plain and rounded and gap < 0.05), figure)


CLAIMS = {
    "C7.2": Claim(
        "C7.2",
        "The score of a query and a key that are turned by their positions depends on the distance alone, to the "
        "precision of the numbers, and turning keeps lengths. Two rows of sinusoids have that property as well; "
        "content to which they are added has lost it.",
        _judge,
    )
}
