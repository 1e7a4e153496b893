"""C5.4: what a mask guarantees, checked by changing what must not matter."""

from collections.abc import Callable, Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from transformer_book.attention import causal_mask, padding_mask, scaled_dot_product_attention
from transformer_book.device import CPU
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.plotting import PALETTE, draw_series, figure_style, new_figure

Attention = Callable[[Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    length: int = 24,
    width: int = 16,
    attention: Attention = scaled_dot_product_attention,
    progress: bool = False,
) -> Result:
    """Change the future, change the padding, mask a whole row; record what moved.

    Parameters
    ----------
    seeds
        One random input and one random cut each.
    device
        Where to compute.
    length, width
        Sequence length T = S ≥ 4, and width D.
    attention
        ``(query, key, value, mask) -> (output, weights)``; the chapter passes the reader's own.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        Largest absolute change of the output at each position when everything after a cut is replaced, with the
        causal mask (``moved_causal``) and without (``moved_open``), positions counted from the cut
        (cut at ``length // 2``); ``future_gradient``: largest gradient from outputs before the cut to inputs
        after it; ``padding_moved``: change of the outputs when the padding is replaced; ``masked_row``: largest
        output of a row that may attend to nothing; ``masked_row_gradient``: largest gradient it passes back;
        ``nan``: how many NaN in that output and gradient.
    """
    cut = length // 2

    def output_of(inputs: Sequence[Tensor], mask: Tensor | None) -> Tensor:
        query, key, value = inputs
        return attention(query, key, value, mask)[0]  # (1, T, D)

    def one_seed(seed: int) -> dict[str, object]:
        generator = torch.Generator().manual_seed(seed)

        def draw() -> Tensor:
            return torch.randn(1, length, width, generator=generator).to(device)  # (1, T, D)

        def after_cut(old: Tensor, new: Tensor) -> Tensor:
            return torch.cat([old[:, :cut], new[:, cut:]], dim=1)  # (1, T, D)

        before = [draw() for _ in range(3)]
        after = [after_cut(tensor, draw()) for tensor in before]
        causal = causal_mask(length, device=device)
        padding = padding_mask(torch.tensor([cut], device=device), length)[:, 0]  # (1, 1, S)
        moved = {
            name: (output_of(after, mask) - output_of(before, mask)).abs().amax(dim=(0, 2)).tolist()
            for name, mask in (("causal", causal), ("open", None))
        }
        padded = [before[0], *after[1:]]  # the queries stay, keys and values of the padding change
        padding_moved = output_of(padded, padding) - output_of(before, padding)

        leaves = [tensor.clone().requires_grad_() for tensor in before]
        output = output_of(leaves, causal)
        future = torch.autograd.grad(output[:, :cut].square().sum(), leaves)
        nowhere = torch.ones(length, length, dtype=torch.bool, device=device)
        nowhere[cut] = False
        output = output_of(leaves, nowhere)
        row = output[:, cut]
        passed = torch.autograd.grad(row.sum(), leaves)
        return {
            "moved_causal": moved["causal"],
            "moved_open": moved["open"],
            "future_gradient": max(g[:, cut:].abs().max().item() for g in future),
            "padding_moved": padding_moved.abs().max().item(),
            "masked_row": row.abs().nan_to_num(nan=1.0).max().item(),
            "masked_row_gradient": max(g.abs().nan_to_num(nan=1.0).max().item() for g in passed),
            "nan": int(row.isnan().sum()) + sum(int(g.isnan().sum()) for g in passed),
        }

    settings = {"length": length, "width": width, "cut": cut}
    return run_seeds("mask_properties", seeds, device, settings, one_seed, progress)


@figure_style()
def plot(result: Result) -> Figure:
    """How far each output moves when everything after the cut is replaced, with and without the causal mask."""
    cut = result.settings["cut"]
    positions = range(result.settings["length"])
    figure, (axis,) = new_figure()
    for key, role, marker, label in (
        ("moved_open", "accent", "s", "no mask"),
        ("moved_causal", "query", "o", "causal mask"),
    ):
        draw_series(axis, positions, result.mean(key), result.half_width(key), role, marker, label)
    axis.axvline(cut - 0.5, color=PALETTE["muted"], linestyle="--")
    axis.annotate(
        "replaced from here on →", (cut - 0.3, 1.03), xycoords=("data", "axes fraction"), color=PALETTE["muted"]
    )
    axis.set(xlabel="position", ylabel="largest change of the output")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _judge(result: Result) -> Verdict:
    cut = result.settings["cut"]
    before = float(result.array("moved_causal")[:, :cut].max())
    unmasked = float(result.array("moved_open")[:, :cut].min())
    zeros = {
        key: float(result.array(key).max())
        for key in ("future_gradient", "padding_moved", "masked_row", "masked_row_gradient", "nan")
    }
    figure = (
        f"change before the cut {before:g} with the causal mask (at least {unmasked:.2f} without); "
        f"gradient to the future {zeros['future_gradient']:g}; change when the padding changes "
        f"{zeros['padding_moved']:g}; fully masked row: output {zeros['masked_row']:g}, gradient "
        f"{zeros['masked_row_gradient']:g}, NaN {zeros['nan']:g}"
    )
    return Verdict(before == 0 and unmasked > 0 and not any(zeros.values()), figure)


CLAIMS = {
    "C5.4": Claim(
        "C5.4",
        "With the causal mask, changing the future moves nothing before it, not by one bit, and no gradient flows "
        "back; padding behind a mask does not matter; a row that may attend to nothing gives zeros, not NaN.",
        _judge,
    )
}
