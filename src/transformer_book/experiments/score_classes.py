"""C4.3: what each score can express: bilinear contains the dot product, additive is another class of functions."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_book.device import CPU, seeded
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.plotting import PALETTE, SCORES, draw_series, figure_style, new_figure
from transformer_book.scoring import AdditiveScore, BilinearScore, DotScore, ScaledDotScore

#: Four keys on the corners of a square and one in its middle, inside the hull of the others. Their third
#: coordinate is a constant, like the bias of a linear map: vᵀ tanh(W_q q + W_k k) alone changes sign when q and
#: k both do.
KEYS = torch.tensor([[-1.0, -1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, 1], [0, 0, 1]])  # (S, 3)
MIDDLE = len(KEYS) - 1
HIDDEN = (1, 2, 4, 8, 16, 32)
PLANE_HIDDEN = 16


def train_score(score: nn.Module, query: Tensor, key: Tensor, right: Tensor, steps: int) -> nn.Module:
    """Teach a score to give the right key the largest share: Adam on the cross-entropy of its softmax.

    Parameters
    ----------
    score
        Changed in place; a score without weights is left as it is.
    query
        Shape ``(N, Dq)``.
    key
        Shape ``(S, Dk)``.
    right
        Number of the right key for each query, ``(N,)``.
    steps
        Updates, on all queries each.
    """
    weights = list(score.parameters())
    if weights:
        optimizer = torch.optim.Adam(weights, lr=0.03)
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(score(query[None], key[None])[0], right).backward()
            optimizer.step()
    return score


@torch.no_grad()
def hits(score: nn.Module, query: Tensor, key: Tensor, right: Tensor) -> Tensor:
    """Say for each query whether the right key, and no other, has the largest score: boolean ``(N,)``."""
    scores = score(query[None], key[None])[0]  # (N, S)
    largest = scores == scores.amax(dim=-1, keepdim=True)  # (N, S)
    return largest.gather(-1, right[:, None])[:, 0] & (largest.sum(dim=-1) == 1)


def plane_queries(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw queries around the square ``(N, 3)``, and the number of the key nearest to each ``(N,)``."""
    query = F.pad(3 * torch.rand(count, 2, generator=generator) - 1.5, (0, 1), value=1.0)  # (N, 3)
    return query, torch.cdist(query, KEYS).argmin(dim=-1)


def plane_scores() -> dict[str, nn.Module]:
    """Make one score of each kind for the plane."""
    return {
        "additive": AdditiveScore(3, 3, PLANE_HIDDEN),
        "dot": DotScore(),
        "scaled_dot": ScaledDotScore(),
        "bilinear": BilinearScore(3, 3),
    }


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    hidden: Sequence[int] = HIDDEN,
    names: int = 16,
    steps: int = 600,
    count: int = 1000,
    progress: bool = False,
) -> Result:
    """Ask each score for two things: the nearest of five keys in the plane, and the partner of each name.

    In the plane, four keys lie on the corners of a square and one in the middle. A score that is linear in the
    key has its largest value at a corner, whatever the query: the middle cannot win. Names are one-hot vectors,
    with a random partner each: a table of N × N scores in which every row has its largest number elsewhere.

    Parameters
    ----------
    seeds
        One set of first weights, queries and partners each.
    device
        Where to compute.
    hidden
        Hidden widths F of the additive score that learns partners, ascending.
    names
        How many names N.
    steps
        Updates of each score.
    count
        Queries in the plane to learn from, and as many to test.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        ``identity``: largest difference between the bilinear score with the identity matrix and the dot product.
        For each of `SCORES`: ``middle_*`` and ``corner_*``, share of test queries nearest to the middle and to a
        corner that give the right key the largest score. ``partner_*`` for the scores that are no network: share
        of names that find their partner; ``partner_additive``, the same by `hidden`.
    """

    def one_seed(seed: int) -> dict[str, object]:
        generator = torch.Generator().manual_seed(seed)
        some = torch.randn(2, 3, 5, names, generator=generator)  # query and key, (3, 5, N) each
        same = BilinearScore(names, names)
        with torch.no_grad():
            same.weight.copy_(torch.eye(names))
            row: dict[str, object] = {"identity": float((same(*some) - DotScore()(*some)).abs().max())}
        query, nearest = (part.to(device) for part in plane_queries(count, generator))
        fresh, answer = (part.to(device) for part in plane_queries(count, generator))
        key = KEYS.to(device)
        inner = answer == MIDDLE
        partner = torch.randperm(names, generator=generator).to(device)
        one_hot = torch.eye(names, device=device)
        with seeded(seed):
            plane = {name: score.to(device) for name, score in plane_scores().items()}
            others = {"dot": DotScore(), "scaled_dot": ScaledDotScore(), "bilinear": BilinearScore(names, names)}
            networks = [AdditiveScore(names, names, wide).to(device) for wide in hidden]
        for name, score in plane.items():
            right = hits(train_score(score, query, key, nearest, steps), fresh, key, answer)
            row[f"middle_{name}"] = float(right[inner].float().mean())
            row[f"corner_{name}"] = float(right[~inner].float().mean())

        def share(score: nn.Module) -> float:
            trained = train_score(score.to(device), one_hot, one_hot, partner, steps)
            return float(hits(trained, one_hot, one_hot, partner).float().mean())

        row |= {f"partner_{name}": share(score) for name, score in others.items()}
        row["partner_additive"] = [share(score) for score in networks]
        return row

    settings = {"hidden": list(hidden), "names": names, "steps": steps, "count": count}
    return run_seeds("score_classes", seeds, device, settings, one_seed, progress)


@figure_style()
def plot(result: Result) -> Figure:
    """Share of queries answered right in the plane, and of names that find their partner, by score."""
    figure, axes = new_figure(2, height=3.5)
    places = np.arange(len(SCORES))
    kinds = (("corner", "muted", "a corner is nearest"), ("middle", "accent", "the middle is nearest"))
    for i, (kind, role, label) in enumerate(kinds):
        mean = [float(result.mean(f"{kind}_{name}")) for name in SCORES]
        spread = [float(result.half_width(f"{kind}_{name}")) for name in SCORES]
        axes[0].bar(places + 0.4 * (i - 0.5), mean, 0.36, yerr=spread, color=PALETTE[role], label=label, capsize=2)
    axes[0].set_xticks(places, [label.replace(" ", "\n") for _, _, label in SCORES.values()])
    axes[0].set(ylabel="right key wins", ylim=(0, 1.08), title="Five keys in the plane")
    axes[0].legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=1)
    hidden = result.settings["hidden"]
    for name, (role, marker, label) in SCORES.items():
        mean, spread = result.mean(f"partner_{name}"), result.half_width(f"partner_{name}")
        if name == "additive":
            draw_series(axes[1], hidden, mean, spread, role, marker, label)
        elif name != "scaled_dot":  # the same as dot: the largest score is the same
            line = "--" if name == "dot" else ":"
            axes[1].axhline(float(mean), color=PALETTE[role], ls=line, label=label)
    axes[1].set_xscale("log", base=2)
    axes[1].set_xticks(hidden, [str(wide) for wide in hidden])
    axes[1].set(xlabel="hidden width of the additive score", ylabel="partner found", ylim=(0, 1.08))
    axes[1].set_title(f"{result.settings['names']} names, random partners")
    axes[1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
    return figure


def _judge(result: Result) -> Verdict:
    middle, corner = (
        {name: float(result.mean(f"{kind}_{name}")) for name in SCORES} for kind in ("middle", "corner")
    )
    additive, hidden = result.mean("partner_additive"), result.settings["hidden"]
    bilinear = float(result.mean("partner_bilinear"))
    figure = (
        f"bilinear with the identity differs from dot by {result.array('identity').max():.0e}; a query nearest to "
        f"the middle key finds it in {middle['additive']:.2f} of cases with the additive score, "
        f"{max(middle['dot'], middle['scaled_dot']):.2f} with a dot product, {middle['bilinear']:.2f} bilinear "
        f"(corners {corner['additive']:.2f}, {corner['dot']:.2f}, {corner['bilinear']:.2f}); partners found: "
        f"bilinear {bilinear:.2f}, additive "
        + ", ".join(f"{share:.2f} (F = {wide})" for wide, share in zip(hidden, additive, strict=True))
    )
    linear = ("dot", "scaled_dot", "bilinear")
    never = all(not result.array(f"middle_{name}").any() for name in linear)
    same = result.array("identity").max() == 0
    return Verdict(
        bool(same and never and middle["additive"] > 0.9 and bilinear > 0.99 > 0.5 > additive[0]), figure
    )


CLAIMS = {
    "C4.3": Claim(
        "C4.3",
        "The bilinear score with the identity as its matrix is the dot product. The additive score is another "
        "class of functions: it can pick a key that lies between the others, which no score linear in the key "
        "ever can. With one hidden unit it cannot tell apart what a bilinear score tells apart.",
        _judge,
    )
}
