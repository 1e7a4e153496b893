"""Attention: masks, masked softmax, scaled dot-product, chunked and multi-head attention.

Pure functions first; `MultiHeadAttention` only projects and calls them. Axis letters are those of
`transformer_book.shapes`. Masks are boolean and True means "may attend".
"""

import math

import torch
from torch import Tensor, nn

from transformer_book.shapes import check_attention, check_inputs, check_lengths, check_mask, shape_text


def causal_mask(length: int, device: torch.device | str | None = None) -> Tensor:
    """Let position t attend to positions 0 … t and to nothing later.

    Parameters
    ----------
    length
        Number of positions T ≥ 0.
    device
        Where to put the mask; default: torch's current default device.

    Returns
    -------
    Tensor
        Boolean ``(T, T)``, True on and below the diagonal.

    Raises
    ------
    ValueError
        `length` is negative.

    Notes
    -----
    Source: Vaswani et al. 2017, section 3.2.3 ("masking out … illegal connections").
    """
    if length < 0:
        raise ValueError(f"length: expected an integer ≥ 0, got {length}")
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()  # (T, T)


def padding_mask(lengths: Tensor, max_length: int | None = None) -> Tensor:
    """Let every query attend to the real tokens of its sequence, not to padding.

    Parameters
    ----------
    lengths
        Integer ``(B,)``: how many real tokens each sequence has, before its padding.
    max_length
        Padded length S; default: the longest of `lengths`.

    Returns
    -------
    Tensor
        Boolean ``(B, 1, 1, S)``, on the device of `lengths`.

    Raises
    ------
    TypeError
        `lengths` is not an integer tensor.
    ValueError
        `lengths` is not one-dimensional, or a length is not in 0 … `max_length`.
    """
    check_lengths(lengths)
    shortest, longest = int(lengths.min()), int(lengths.max())
    size = longest if max_length is None else max_length
    if shortest < 0 or longest > size:
        got = f"{shortest} … {longest}"
        raise ValueError(f"lengths: expected values in 0 … {size}, got {got}")
    positions = torch.arange(size, device=lengths.device)  # (S,)
    return (positions < lengths[:, None])[:, None, None, :]  # (B, 1, 1, S)


def masked_softmax(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Turn scores into weights over the last axis, exactly zero where masked.

    Parameters
    ----------
    scores
        Floating point, ``(..., T, S)``. Infinite scores act as very large finite ones.
    mask
        Boolean, broadcastable to `scores`, True = may attend; None allows everything.

    Returns
    -------
    Tensor
        Weights ``(..., T, S)``. Each row sums to one, except a row that may attend to
        nothing: it is all zeros and passes zero gradient, never NaN.

    Raises
    ------
    TypeError
        The mask is not boolean.
    ValueError
        The mask does not broadcast to the scores.
    """
    check_mask(mask, tuple(scores.shape))
    largest = torch.finfo(scores.dtype).max
    scores = scores.clamp(-largest / 2, largest)  # finite, hence no ∞ − ∞ = NaN
    if mask is not None:
        scores = scores.masked_fill(~mask, -largest)  # below any score that counts
    weights = scores.softmax(dim=-1)
    return weights if mask is None else weights.masked_fill(~mask, 0.0)


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Blend the values by how well their keys match the query: softmax(QKᵀ/√D) V.

    Parameters
    ----------
    query
        Shape ``(..., T, D)``.
    key
        Shape ``(..., S, D)``.
    value
        Shape ``(..., S, Dv)``.
    mask
        Boolean, True = may attend, broadcastable to ``(..., T, S)``; None allows all.

    Returns
    -------
    output : Tensor
        Shape ``(..., T, Dv)``; zeros where a query may attend to nothing.
    weights : Tensor
        Shape ``(..., T, S)``.

    Raises
    ------
    TypeError
        An argument is not floating point, dtypes differ, or the mask is not boolean.
    ValueError
        Shapes do not fit together.

    Notes
    -----
    Source: Vaswani et al. 2017, section 3.2.1, equation 1.
    """
    check_attention(query, key, value, mask)
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])  # (..., T, S)
    weights = masked_softmax(scores, mask)
    return weights @ value, weights  # (..., T, Dv), (..., T, S)


def chunked_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, chunk_size: int = 128
) -> Tensor:
    """Compute scaled dot-product attention one chunk of keys at a time.

    Keeps, for each query, the largest score so far, the sum of exponentials and the
    blend of values, and rescales the last two whenever a larger score turns up. Extra
    memory is O(T · chunk_size) instead of O(T · S) when no gradient is recorded;
    autograd keeps every chunk, so a backward pass needs O(T · S).

    Parameters
    ----------
    query, key, value, mask
        As for `scaled_dot_product_attention`.
    chunk_size
        Number of keys handled at once, ≥ 1.

    Returns
    -------
    Tensor
        Output ``(..., T, Dv)``; zeros where a query may attend to nothing.

    Raises
    ------
    TypeError, ValueError
        As for `scaled_dot_product_attention`; also if `chunk_size` is below 1.

    Notes
    -----
    Source: Milakov & Gimelshein 2018, algorithm 3 (online softmax);
    Rabe & Staats 2021, section 3.
    """
    check_attention(query, key, value, mask)
    if chunk_size < 1:
        raise ValueError(f"chunk_size: expected an integer ≥ 1, got {chunk_size}")
    wide = torch.promote_types(query.dtype, torch.float32)  # sums in half lose digits
    query = query.to(wide) / math.sqrt(query.shape[-1])  # (..., T, D)
    nothing = query @ key.to(wide)[..., :0, :].transpose(-2, -1)  # (..., T, 0)
    blend = nothing @ value.to(wide)[..., :0, :]  # (..., T, Dv), zeros
    total = nothing.sum(dim=-1, keepdim=True)  # (..., T, 1), zeros
    largest = torch.full_like(total, torch.finfo(wide).min)  # (..., T, 1)
    for start in range(0, key.shape[-2], chunk_size):
        chunk = slice(start, start + chunk_size)
        scores = query @ key[..., chunk, :].to(wide).transpose(-2, -1)  # (..., T, C)
        if mask is not None:
            visible = mask[..., chunk] if mask.shape[-1:] == key.shape[-2:-1] else mask
            scores = scores.masked_fill(~visible, -math.inf)
        top = scores.detach().amax(dim=-1, keepdim=True).maximum(largest)  # (..., T, 1)
        scores = scores.sub_(top).exp_()  # in place: one buffer; zero where masked
        rescale = (largest - top).exp()  # (..., T, 1)
        total = total * rescale + scores.sum(dim=-1, keepdim=True)
        blend = blend * rescale + scores @ value[..., chunk, :].to(wide)
        largest = top
    return (blend / total.masked_fill(total == 0, 1.0)).to(value.dtype)


def split_heads(tensor: Tensor, num_heads: int) -> Tensor:
    """Cut the model width into heads: ``(B, T, H·K)`` → ``(B, H, T, K)``.

    Raises
    ------
    ValueError
        The last axis is not a multiple of `num_heads`, or `num_heads` is below 1.
    """
    if tensor.ndim < 2 or num_heads < 1 or tensor.shape[-1] % num_heads:
        raise ValueError(
            "tensor: expected shape (..., T, D) with D a multiple of num_heads ≥ 1, "
            f"got {shape_text(tensor)} and num_heads {num_heads}"
        )
    return tensor.unflatten(-1, (num_heads, -1)).transpose(-3, -2)  # (..., T, H, K) -> (..., H, T, K)


def merge_heads(tensor: Tensor) -> Tensor:
    """Lay the heads side by side again, the inverse of `split_heads`: ``(B, H, T, K)`` → ``(B, T, H·K)``.

    Raises
    ------
    ValueError
        `tensor` has fewer than three axes.
    """
    if tensor.ndim < 3:
        raise ValueError(f"tensor: expected shape (..., H, T, K), got {shape_text(tensor)}")
    return tensor.transpose(-3, -2).flatten(-2)  # (..., T, H, K) -> (..., T, H·K)


class MultiHeadAttention(nn.Module):
    """Attend several times at once, each head in its own projection of the input.

    Parameters
    ----------
    d_model
        Width D of inputs and output.
    num_heads
        Number of heads H; each is K = D / H wide.

    Raises
    ------
    ValueError
        `num_heads` is below 1 or does not divide `d_model`.

    Notes
    -----
    Source: Vaswani et al. 2017, section 3.2.2. `transformer_book.weights.load_torch` copies the weights of a
    `torch.nn.MultiheadAttention` into this module.
    """

    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        if num_heads < 1 or d_model < 1 or d_model % num_heads:
            raise ValueError(
                "d_model: expected a positive multiple of num_heads ≥ 1, "
                f"got d_model {d_model} and num_heads {num_heads}"
            )
        self.num_heads = num_heads
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)
        self.output = nn.Linear(d_model, d_model)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Project, attend in every head, merge, project.

        Parameters
        ----------
        query
            Shape ``(B, T, D)``.
        key, value
            Shape ``(B, S, D)``.
        mask
            Boolean, True = may attend, broadcastable to ``(B, H, T, S)``; None allows everything.

        Returns
        -------
        output : Tensor
            Shape ``(B, T, D)``.
        weights : Tensor
            Shape ``(B, H, T, S)``, one matrix per head.

        Raises
        ------
        ValueError
            A width is not `d_model`, or shapes do not fit together.
        """
        return self.attend(query, *self.project(key, value), mask)

    def project(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Project keys and values and cut them into heads, for `attend`.

        Parameters
        ----------
        key, value
            Shape ``(B, S, D)``.

        Returns
        -------
        k, v : Tensor
            Shape ``(B, H, S, K)`` each. A decoder keeps them, for they do not change while it writes.

        Raises
        ------
        ValueError
            A width is not `d_model`, or an argument does not have three axes.
        """
        check_inputs(self.key.in_features, key=key, value=value)
        k = split_heads(self.key(key), self.num_heads)  # (B, H, S, K)
        v = split_heads(self.value(value), self.num_heads)  # (B, H, S, K)
        return k, v

    def attend(self, query: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Attend to keys and values that `project` has made; otherwise as `forward`."""
        check_inputs(self.query.in_features, query=query)
        q = split_heads(self.query(query), self.num_heads)  # (B, H, T, K)
        blend, weights = scaled_dot_product_attention(q, k, v, mask)  # (B, H, T, K), (B, H, T, S)
        return self.output(merge_heads(blend)), weights  # (B, T, D)
