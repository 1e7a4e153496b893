"""The mean of several moments of one training."""

from collections.abc import Sequence

import torch
from torch import Tensor


def average_weights(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Average the weights of one model at several moments of its training, each weight by itself.

    Parameters
    ----------
    states
        At least one; ``model.state_dict()`` at each moment.

    Returns
    -------
    dict
        For ``model.load_state_dict``; the mean is taken in float64 and rounded once.

    Raises
    ------
    ValueError
        There are none, or their names or shapes differ.

    Notes
    -----
    Source: Vaswani et al. 2017, section 6.1; Izmailov et al. 2018, section 3, why it helps.
    """
    shapes = [{name: weight.shape for name, weight in state.items()} for state in states]
    if not states or any(shape != shapes[0] for shape in shapes):
        got = "some that differ" if states else "none"
        raise ValueError(f"states: expected at least one, all of the same names and shapes, got {got}")
    means = {}
    for name, weight in states[0].items():
        moments = torch.stack([state[name].double() for state in states])  # (moments, …)
        means[name] = moments.mean(dim=0).to(weight.dtype)
    return means
