"""Four ways to compare a query with a key. Axis letters are those of `transformer_book.shapes`."""

import math

import torch
from torch import Tensor, nn

from transformer_book.shapes import check_widths, shape_text


def check_score(query: Tensor, key: Tensor, d_query: int | None = None, d_key: int | None = None) -> None:
    """Check the arguments every score takes.

    Parameters
    ----------
    query
        Floating point, ``(B, T, Dq)``.
    key
        Floating point, ``(B, S, Dk)``.
    d_query, d_key
        The widths expected; None asks for equal widths of query and key.

    Raises
    ------
    TypeError
        An argument is not a floating-point tensor, or dtypes differ.
    ValueError
        Shapes do not fit together.
    """
    for name, tensor, width in (("query", query, d_query), ("key", key, d_key)):
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"{name}: expected a floating-point tensor, got {got}")
        if tensor.ndim != 3 or tensor.shape[-1] == 0 or width not in (None, tensor.shape[-1]):
            expected = f"(B, length, {'width ≥ 1' if width is None else width})"
            raise ValueError(f"{name}: expected shape {expected}, got {shape_text(tensor)}")
    if query.dtype != key.dtype:
        raise TypeError(f"key: expected the dtype of query, {query.dtype}, got {key.dtype}")
    if query.shape[0] != key.shape[0] or (d_query is None and query.shape[-1] != key.shape[-1]):
        width = " and the same width" if d_query is None else ""
        raise ValueError(
            f"query and key: expected the same batch size{width}, got {shape_text(query)} and {shape_text(key)}"
        )


class AdditiveScore(nn.Module):
    """Compare by a small network: vᵀ tanh(W_q q + W_k k).

    It holds a vector of width F for every pair of positions: B · T · S · F numbers, where the other scores hold
    B · T · S.

    Parameters
    ----------
    d_query, d_key
        Widths of queries and keys; they may differ.
    d_hidden
        Width F of the network's hidden layer.

    Raises
    ------
    ValueError
        A width is below 1.

    Notes
    -----
    Source: Bahdanau, Cho & Bengio 2015, appendix A.1.2.
    """

    def __init__(self, d_query: int, d_key: int, d_hidden: int) -> None:
        super().__init__()
        check_widths(d_query=d_query, d_key=d_key, d_hidden=d_hidden)
        self.query = nn.Linear(d_query, d_hidden, bias=False)
        self.key = nn.Linear(d_key, d_hidden, bias=False)
        self.value = nn.Linear(d_hidden, 1, bias=False)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Score queries ``(B, T, Dq)`` against keys ``(B, S, Dk)``: ``(B, T, S)``.

        Raises
        ------
        TypeError, ValueError
            As `check_score`.
        """
        check_score(query, key, self.query.in_features, self.key.in_features)
        pairs = self.query(query)[:, :, None] + self.key(key)[:, None]  # (B, T, S, F)
        return self.value(pairs.tanh_()).squeeze(-1)  # (B, T, S); tanh in place: one such tensor, not two


class DotScore(nn.Module):
    """Compare by the dot product: qᵀk. Queries and keys have one width.

    Notes
    -----
    Source: Luong, Pham & Manning 2015, equation 8 ("dot").
    """

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Score queries ``(B, T, D)`` against keys ``(B, S, D)``: ``(B, T, S)``.

        Raises
        ------
        TypeError, ValueError
            As `check_score`.
        """
        check_score(query, key)
        return query @ key.transpose(-2, -1)  # (B, T, S)


class ScaledDotScore(nn.Module):
    """Compare by the dot product divided by the root of the width: qᵀk / √D.

    Notes
    -----
    Source: Vaswani et al. 2017, section 3.2.1.
    """

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Score queries ``(B, T, D)`` against keys ``(B, S, D)``: ``(B, T, S)``.

        Raises
        ------
        TypeError, ValueError
            As `check_score`.
        """
        check_score(query, key)
        return query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])  # (B, T, S)


class BilinearScore(nn.Module):
    """Compare through a learned matrix: qᵀ W k. Queries and keys may differ in width.

    Parameters
    ----------
    d_query, d_key
        Widths of queries and keys.

    Raises
    ------
    ValueError
        A width is below 1.

    Notes
    -----
    Source: Luong, Pham & Manning 2015, equation 8 ("general").
    """

    def __init__(self, d_query: int, d_key: int) -> None:
        super().__init__()
        check_widths(d_query=d_query, d_key=d_key)
        self.weight = nn.Parameter(torch.empty(d_query, d_key))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Score queries ``(B, T, Dq)`` against keys ``(B, S, Dk)``: ``(B, T, S)``.

        Raises
        ------
        TypeError, ValueError
            As `check_score`.
        """
        check_score(query, key, *self.weight.shape)
        return query @ self.weight @ key.transpose(-2, -1)  # (B, T, S)
