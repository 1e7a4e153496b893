"""Tell attention where each token stands. Axis letters are those of `transformer_book.shapes`.

Every encoding that is added takes an `offset`: the position of the first vector it is given. A decoder that writes
one token at a time hands over one vector at a time, and without an offset each would stand at position 0.
`RotaryAttention` adds nothing and turns queries and keys instead; it finds the offset by itself.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from transformer_book.attention import MultiHeadAttention, merge_heads, scaled_dot_product_attention, split_heads
from transformer_book.shapes import check_inputs, check_widths, shape_text


def sinusoids(length: int, d_model: int, base: float = 10000.0) -> Tensor:
    """Describe each position by sines and cosines of falling frequency.

    Parameters
    ----------
    length
        Number of positions T ≥ 1.
    d_model
        Width D. Column 2i holds sin(t / base^(2i/D)), column 2i + 1 the cosine of the same angle.
    base
        10000 in the paper; a larger one turns more slowly.

    Returns
    -------
    Tensor
        float32 ``(T, D)``.

    Raises
    ------
    ValueError
        `length` or `d_model` is below 1, or `base` is not above 0.

    Notes
    -----
    Source: Vaswani et al. 2017, section 3.5. Angles are computed in float64: rounded to float32 they would be
    off by up to 2e-3 at position 50,000.
    """
    check_widths(length=length, d_model=d_model)
    if base <= 0:
        raise ValueError(f"base: expected a number > 0, got {base}")
    columns = torch.arange(0, d_model, 2, dtype=torch.float64)  # (⌈D/2⌉,)
    frequencies = torch.exp(-math.log(base) / d_model * columns)  # (⌈D/2⌉,)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies  # (T, ⌈D/2⌉)
    table = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)  # (T, D) or one column more
    return table[:, :d_model].float()  # an odd width ends on a sine


class Positions(nn.Module):
    """Add to each embedding a vector that depends on its position: a row of `table`, ``(max_length, D)``.

    Made with ``(d_model, max_length)``, width D and most positions; a size below 1 raises ValueError.
    """

    table: Tensor

    def forward(self, inputs: Tensor, offset: int = 0) -> Tensor:
        """Add to ``inputs (B, T, D)`` the positions `offset` … `offset` + T − 1.

        Raises
        ------
        ValueError
            A shape does not fit, or a position is not in 0 … `max_length` − 1.
        """
        check_inputs(self.table.shape[1], inputs=inputs)
        last = offset + inputs.shape[1] - 1
        if offset < 0 or last >= len(self.table):
            raise ValueError(f"inputs: expected positions in 0 … {len(self.table) - 1}, got {offset} … {last}")
        return inputs + self.table[offset : last + 1]  # (B, T, D)


class SinusoidalPositions(Positions):
    """Fixed sines and cosines.

    Notes
    -----
    Source: Vaswani et al. 2017, section 3.5.
    """

    def __init__(self, d_model: int, max_length: int) -> None:
        super().__init__()
        self.register_buffer("table", sinusoids(max_length, d_model), persistent=False)


class LearnedPositions(Positions):
    """One learned vector per position; one that is never trained on keeps its first random numbers.

    Notes
    -----
    Source: Gehring et al. 2017, section 3.1; Vaswani et al. 2017, table 3, row E. They start as small as the
    embeddings are before their scaling, from N(0, 1/D).
    """

    def __init__(self, d_model: int, max_length: int) -> None:
        super().__init__()
        check_widths(d_model=d_model, max_length=max_length)
        self.table = nn.Parameter(torch.randn(max_length, d_model) / math.sqrt(d_model))


class NoPositions(Positions):
    """Nothing is added: a token does not know where it stands."""

    def __init__(self, d_model: int, max_length: int) -> None:
        super().__init__()
        check_widths(d_model=d_model, max_length=max_length)
        self.register_buffer("table", torch.zeros(max_length, d_model), persistent=False)


#: Name → what is added to the embeddings, made with ``(d_model, max_length)``; "rotary" adds nothing to them, and
#: has `RotaryAttention` instead.
POSITIONS: dict[str, Callable[[int, int], Positions]] = {
    "sinusoidal": SinusoidalPositions,
    "learned": LearnedPositions,
    "rotary": NoPositions,
    "none": NoPositions,
}


def rotate(tensor: Tensor, table: Tensor) -> Tensor:
    """Turn each pair of coordinates (2i, 2i + 1) of the vector at position t by the angle t / 10000^(2i/K).

    The dot product of two turned vectors depends on their positions by the difference alone, and a turn leaves the
    length of a vector as it is.

    Parameters
    ----------
    tensor
        Shape ``(..., T, K)``, K even.
    table
        Sines and cosines of the angles, ``(T, K)``: rows of ``sinusoids(length, K)``.

    Returns
    -------
    Tensor
        Shape ``(..., T, K)``.

    Raises
    ------
    ValueError
        K is odd, or `table` has another shape than the last two axes of `tensor`.

    Notes
    -----
    Source: Su et al. 2021, section 3.2.2 and equation 34.
    """
    if tensor.shape[-2:] != table.shape or tensor.shape[-1] % 2:
        raise ValueError(
            "tensor and table: expected shapes (..., T, K) and (T, K) with K even, "
            f"got {shape_text(tensor)} and {shape_text(table)}"
        )
    sines, cosines = table[:, 0::2], table[:, 1::2]  # (T, K/2)
    first, second = tensor[..., 0::2], tensor[..., 1::2]  # (..., T, K/2)
    turned = (first * cosines - second * sines, first * sines + second * cosines)
    return torch.stack(turned, dim=-1).flatten(-2).to(tensor.dtype)  # (..., T, K/2, 2) -> (..., T, K)


class RotaryAttention(MultiHeadAttention):
    """Self-attention whose queries and keys are turned by their positions; the values are not.

    Keys stand at positions 0 … S − 1 and queries at the last T of these, so a decoder that keeps earlier keys
    needs no offset. Only for self-attention: across two sequences "the last T" means nothing.

    Parameters
    ----------
    d_model, num_heads
        As for `MultiHeadAttention`; D / H must be even.
    max_length
        Most keys S.
    base
        As for `sinusoids`.

    Raises
    ------
    ValueError
        A size does not fit. In use also: there are more than `max_length` keys, or fewer than queries.

    Notes
    -----
    Source: Su et al. 2021, section 3.2. A departure from Vaswani et al. 2017.
    """

    def __init__(self, d_model: int, num_heads: int, max_length: int, base: float = 10000.0) -> None:
        super().__init__(d_model, num_heads)
        width = d_model // num_heads
        if width % 2:
            raise ValueError(
                f"d_model: expected an even number of coordinates per head, got {width}, of d_model {d_model} and "
                f"num_heads {num_heads}"
            )
        self.register_buffer("table", sinusoids(max_length, width, base), persistent=False)

    table: Tensor

    def attend(self, query: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Attend to keys and values that `project` has made; otherwise as `forward`."""
        check_inputs(self.query.in_features, query=query)
        length, keys = query.shape[1], k.shape[-2]
        if not length <= keys <= len(self.table):
            got = f"{length} queries and {keys} keys"
            raise ValueError(
                f"query: expected at most as many queries as keys, of which at most {len(self.table)}, got {got}"
            )
        q = rotate(
            split_heads(self.query(query), self.num_heads), self.table[keys - length : keys]
        )  # (B, H, T, K)
        k = rotate(k, self.table[:keys])  # (B, H, S, K)
        blend, weights = scaled_dot_product_attention(q, k, v, mask)  # (B, H, T, K), (B, H, T, S)
        return self.output(merge_heads(blend)), weights  # (B, T, D)


class GroupedQueryAttention(RotaryAttention):
    """Rotary attention with fewer heads of keys and values than of queries: each serves a group of query heads.

    What a decoder keeps per token shrinks by the ratio H / G. No projection has a bias.

    Parameters
    ----------
    d_model, num_heads, max_length, base
        As for `RotaryAttention`.
    num_groups
        Heads G of keys and values; divides `num_heads`. Head h of the queries reads head ⌊h · G / H⌋ of these.

    Raises
    ------
    ValueError
        A size does not fit; in use as `RotaryAttention`.

    Notes
    -----
    Source: Ainslie et al. 2023, section 2.2; without biases as Touvron et al. 2023. A departure from Vaswani et
    al. 2017. `project` returns keys and values ``(B, G, S, K)``.
    """

    def __init__(
        self, d_model: int, num_heads: int, num_groups: int, max_length: int, base: float = 10000.0
    ) -> None:
        super().__init__(d_model, num_heads, max_length, base)
        if num_groups < 1 or num_heads % num_groups:
            raise ValueError(
                f"num_groups: expected a divisor of num_heads {num_heads}, at least 1, got {num_groups}"
            )
        self.num_groups = num_groups
        narrow = d_model // num_heads * num_groups
        self.query, self.output = (nn.Linear(d_model, d_model, bias=False) for _ in range(2))
        self.key, self.value = (nn.Linear(d_model, narrow, bias=False) for _ in range(2))

    def project(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Project keys and values and cut them into heads, ``(B, G, S, K)`` each; otherwise as the base class."""
        check_inputs(self.key.in_features, key=key, value=value)
        return split_heads(self.key(key), self.num_groups), split_heads(self.value(value), self.num_groups)

    def attend(self, query: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Attend to keys and values that `project` has made; otherwise as `forward`."""
        size = self.num_heads // self.num_groups
        k, v = (part.repeat_interleave(size, dim=1) for part in (k, v))  # (B, G, S, K) -> (B, H, S, K)
        return super().attend(query, k, v, mask)
