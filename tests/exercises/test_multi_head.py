"""Mutation tests of the exercise checks: every known wrong answer gets its own message, right ones pass."""

import math

import torch
from exercise_checks import ExerciseChecks, feedback
from torch.nn import functional as F

from transformer_book.exercises import multi_head as checks

# Exercise 1 ---------------------------------------------------------------------------------------------


def right_merge(heads):
    return torch.cat(heads.unbind(1), dim=-1)


MERGE = [
    (
        lambda h: h.reshape(h.shape[0], h.shape[2], h.shape[1] * h.shape[3]),
        "✗ reshaped without transposing: rows mix the tokens",
    ),
    (lambda h: h.permute(0, 2, 3, 1).flatten(2), "✗ the heads interleaved, not side by side"),
    (lambda h: torch.cat(h.unbind(1)[::-1], dim=-1), "✗ the heads in reverse order"),
    (lambda h: h.permute(0, 2, 1, 3), "✗ not flattened: H and K are still two axes"),
    (
        lambda h: torch.cat(h.unbind(1), dim=1),
        "✗ head after head along the tokens, not along the width",
    ),
    (lambda h: h.mean(1), "✗ the heads averaged, not side by side"),
    (lambda h: h.sum(1), "✗ the heads added, not side by side"),
    (lambda h: torch.cat([h[:, 0]] * h.shape[1], dim=-1), "✗ the first head repeated"),
    (lambda h: h.permute(0, 2, 1, 3).view(h.shape[0], h.shape[2], -1), "✗ your function raised …"),
    (lambda h: right_merge(h).mT, "✗ merged: expected shape (2, 5, 21), got (2, 21, 5)"),
    (lambda h: 2 * right_merge(h), "✗ merged: wrong for several heads"),
    (lambda h: right_merge(h).float(), "✗ merged: expected torch.float64, got torch.float32"),
    (lambda h: right_merge(h.detach()), "✗ right values, but no gradient reaches heads"),
]


# Exercise 2 ---------------------------------------------------------------------------------------------


def cut(part, heads):
    return part.view(*part.shape[:2], heads, part.shape[-1] // heads).permute(0, 2, 1, 3)


def right_packed(packed, heads):
    return tuple(cut(part, heads) for part in packed.split(packed.shape[-1] // 3, dim=-1))


def thirds(packed):
    return packed.tensor_split(3, dim=-1)


def every_coordinate(part, heads):
    return torch.stack([part[..., h::heads] for h in range(heads)], dim=1)


def per_head_packing(packed, heads):
    batch, length, width = packed.shape
    return packed.view(batch, length, heads, width // heads).transpose(1, 2).chunk(3, dim=-1)


PACKED = [
    (
        lambda p, n: tuple(x.reshape(len(x), n, x.shape[1], -1) for x in thirds(p)),
        "✗ reshaped to (B, H, T, K) at once: heads mix the tokens",
    ),
    (
        lambda p, n: tuple(every_coordinate(x, n) for x in thirds(p)),
        "✗ every H-th coordinate to a head, not K neighbours",
    ),
    (
        lambda p, n: tuple(x.view(*x.shape[:2], n, -1) for x in thirds(p)),
        "✗ not transposed: (B, T, H, K)",
    ),
    (lambda p, n: tuple(x.mT for x in right_packed(p, n)), "✗ one transpose too many: (B, H, K, T)"),
    (lambda p, n: tuple(x.flip(1) for x in right_packed(p, n)), "✗ the heads in reverse order"),
    (per_head_packing, "✗ cut into heads before q, k and v"),
    (
        lambda p, n: p.view(*p.shape[:2], n, 3, -1).permute(3, 0, 2, 1, 4).unbind(),
        "✗ cut into heads before q, k and v",
    ),
    (lambda p, n: thirds(p), "✗ not cut into heads"),
    (lambda p, n: [right_packed(p, n)[i] for i in (1, 0, 2)], "✗ q and k exchanged"),
    (lambda p, n: [right_packed(p, n)[i] for i in (0, 2, 1)], "✗ k and v exchanged"),
    (lambda p, n: right_packed(p, n)[::-1], "✗ v, k, q: the wrong way round"),
    (lambda p, n: right_packed(p, n)[:1] * 3, "✗ the same third three times"),
    (
        lambda p, n: [every_coordinate(x, n) for x in thirds(p)][::-1],
        "✗ every H-th coordinate to a head, not K neighbours; and v, k, q: the wrong way round",
    ),
    (lambda p, n: torch.stack(right_packed(p, n)), "✗ expected a tuple of 3 tensors, got Tensor"),
    (lambda p, n: right_packed(p.detach(), n), "✗ right values, but no gradient reaches packed"),
]


# Exercise 3 ---------------------------------------------------------------------------------------------


def mapped(query, source, w_query, w_key, w_value):
    return F.linear(query, w_query), F.linear(source, w_key), F.linear(source, w_value)


def attend(q, k, v, mask, scale=None, dim=-1):
    scores = torch.einsum("bhtk,bhsk->bhts", q, k) / (math.sqrt(q.shape[-1]) if scale is None else scale)
    return scores.masked_fill(~mask, -1e30).softmax(dim) @ v


def whole(split=cut, look=attend, mask=lambda m: m[:, None, None, :], merge=right_merge, end=F.linear):
    def answer(query, source, w_query, w_key, w_value, w_output, num_heads, real):
        q, k, v = (split(x, num_heads) for x in mapped(query, source, w_query, w_key, w_value))
        return end(merge(look(q, k, v, mask(real))), w_output)

    return answer


def first_repeated(part, heads):
    return torch.stack([cut(part, heads)[:, 0]] * heads, dim=1)


def averaged(q, k, v, mask):
    scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~mask, -1e30)
    return scores.softmax(-1).mean(1, keepdim=True) @ v


def transposed_maps(query, source, w_query, w_key, w_value, w_output, num_heads, real):
    return whole()(query, source, w_query.T, w_key.T, w_value.T, w_output.T, num_heads, real)


def root_of_model(q, k, v, mask):
    return attend(q, k, v, mask, scale=math.sqrt(q.shape[1] * q.shape[3]))


WHOLE = [
    (
        whole(split=lambda x, n: x.reshape(len(x), n, x.shape[1], -1)),
        "✗ reshaped to (B, H, T, K) at once: heads mix the tokens",
    ),
    (whole(split=every_coordinate), "✗ every H-th coordinate to a head, not K neighbours"),
    (whole(split=first_repeated), "✗ the first head repeated"),
    (whole(split=lambda x, n: x.unsqueeze(1)), "✗ one head as wide as the model"),
    (whole(look=root_of_model), "✗ divided by √D, not √K"),
    (whole(look=lambda *a: attend(*a, scale=1.0)), "✗ not divided by √K"),
    (whole(look=lambda q, *a: attend(q, *a, scale=q.shape[-1])), "✗ divided by K, not √K"),
    (whole(look=lambda q, *a: attend(q, *a, scale=math.sqrt(q.shape[1]))), "✗ divided by √H, not √K"),
    (whole(mask=lambda m: m[:, None, :]), "✗ the mask of sequence b laid over head b"),
    (whole(mask=lambda m: m), "✗ the mask of sequence b laid over query b"),
    (whole(mask=torch.ones_like, look=lambda q, k, v, m: attend(q, k, v, m[:, None, None])), "✗ mask ignored"),
    (whole(mask=lambda m: ~m[:, None, None]), "✗ mask inverted"),
    (whole(look=lambda *a: attend(*a, dim=-2)), "✗ softmax over the queries"),
    (whole(look=lambda *a: attend(*a, dim=1)), "✗ softmax over the heads"),
    (whole(look=lambda q, k, v, m: attend(q, k, k, m)), "✗ blended the keys, not the values"),
    (whole(look=averaged), "✗ the weights averaged over the heads"),
    (
        whole(merge=lambda h: h.reshape(h.shape[0], h.shape[2], -1)),
        "✗ merged without transposing back",
    ),
    (whole(merge=lambda h: h.permute(0, 2, 3, 1).flatten(2)), "✗ merged with the heads interleaved"),
    (whole(end=lambda merged, w: merged), "✗ no output projection"),
    (transposed_maps, "✗ the matrices the wrong way round"),
    (
        whole(look=root_of_model, end=lambda merged, w: merged),
        "✗ divided by √D, not √K; and no output projection",
    ),
    (whole(mask=lambda m: m[:, None, :, None]), "✗ your function raised …"),
    (
        lambda q, s, a, b, c, d, n, m: whole()(q, s, a, b, c, d, 3, m),
        "✗ your function raised …",
    ),
    (
        lambda q, s, a, b, c, d, n, m: whole()(q, s.detach(), a, b, c, d, n, m),
        "✗ right values, but no gradient reaches source",
    ),
    (
        lambda q, s, a, b, c, d, n, m: whole()(q, s, a, b, c, d.detach(), n, m),
        "✗ right values, but no gradient reaches w_output",
    ),
]


# Exercise 4 ---------------------------------------------------------------------------------------------


def right_importance(blend, gradient):
    return torch.einsum("bhtk,bhtk->bh", blend, gradient).abs().mean(0)


def each(blend, gradient):
    return torch.einsum("bhtk,bhtk->bh", blend, gradient)


IMPORTANCE = [
    (lambda b, g: g.sum((2, 3)).abs().mean(0), "✗ the gradient alone"),
    (lambda b, g: b.sum((2, 3)).abs().mean(0), "✗ the head's output alone"),
    (lambda b, g: (b * g).pow(2).sum((2, 3)).mean(0), "✗ squared"),
    (lambda b, g: each(b, g).mean(0), "✗ no absolute value"),
    (
        lambda b, g: (b * g).abs().sum((2, 3)).mean(0),
        "✗ absolute value before the sum over tokens and coordinates",
    ),
    (lambda b, g: (b * g).sum(3).abs().sum(2).mean(0), "✗ absolute value before the sum over tokens"),
    (
        lambda b, g: (b * g).mean((2, 3)).abs().mean(0),
        "✗ averaged over tokens and coordinates, not summed",
    ),
    (
        lambda b, g: (b * g).sum(3).abs().mean((0, 2)),
        "✗ absolute value before the tokens, and averaged over them",
    ),
    (lambda b, g: each(b, g).mean(0).abs(), "✗ absolute value after the mean over the examples"),
    (lambda b, g: each(b, g).abs().sum(0), "✗ summed over the examples, not averaged"),
    (lambda b, g: each(b, g).abs().max(0).values, "✗ the largest over the examples"),
    (lambda b, g: each(b, g).abs().mean(1), "✗ averaged over the heads, not the examples"),
    (lambda b, g: each(b, g).abs(), "✗ not averaged over the examples"),
    (lambda b, g: right_importance(b, g) / right_importance(b, g).sum(), "✗ made to sum to one"),
    (lambda b, g: right_importance(b.detach(), g), "✗ right values, but no gradient reaches blend"),
]


# Exercise 5 ---------------------------------------------------------------------------------------------


def right_grouped(query, key, value):
    batch, heads, length, width = query.shape
    groups = key.shape[1]
    q = query.reshape(batch, groups, heads // groups, length, width)
    return F.scaled_dot_product_attention(q, key[:, :, None], value[:, :, None]).flatten(1, 2)


def shared_by(share, scale=None, dim=-1):
    def answer(query, key, value):
        k, v = (share(t, query.shape[1]) for t in (key, value))
        scores = query @ k.mT / (math.sqrt(query.shape[-1]) if scale is None else scale(query, key))
        return scores.softmax(dim) @ v

    return answer


def neighbours(tensor, heads):
    return tensor.repeat_interleave(heads // tensor.shape[1], dim=1)


GROUPED = [
    (
        shared_by(lambda t, n: torch.cat([t] * (n // t.shape[1]), dim=1)),
        "✗ groups in turn: head h uses group h % G",
    ),
    (shared_by(lambda t, n: t[:, 0:1]), "✗ every head uses the first group"),
    (shared_by(lambda t, n: t.mean(1, keepdim=True)), "✗ keys and values averaged over the groups"),
    (shared_by(lambda t, n: neighbours(t, n).flip(1)), "✗ the groups in reverse order"),
    (shared_by(neighbours, lambda q, k: 1.0), "✗ not divided by √K"),
    (
        shared_by(neighbours, lambda q, k: math.sqrt(q.shape[1] * q.shape[3])),
        "✗ divided by √D, not √K",
    ),
    (
        shared_by(neighbours, lambda q, k: math.sqrt(q.shape[1] // k.shape[1] * q.shape[3])),
        "✗ divided by the root of a whole group's width, not √K",
    ),
    (shared_by(neighbours, lambda q, k: q.shape[-1]), "✗ divided by K, not √K"),
    (shared_by(neighbours, dim=-2), "✗ softmax over the queries"),
    (shared_by(neighbours, dim=1), "✗ softmax over the heads"),
    (
        lambda q, k, v: right_grouped(q, k, v).reshape(2, k.shape[1], -1, 5, 7).mean(2),
        "✗ the heads of a group averaged",
    ),
    (lambda q, k, v: right_merge(right_grouped(q, k, v)), "✗ merged already"),
    (shared_by(lambda t, n: t), "✗ your function raised …"),
    (
        lambda q, k, v: right_grouped(q, k, v.detach()),
        "✗ right values, but no gradient reaches value",
    ),
    (
        lambda q, k, v: right_grouped(q.float(), k.float(), v.float()),
        "✗ blend: expected torch.float64, got torch.float32",
    ),
]


# Right answers ------------------------------------------------------------------------------------------


def by_torch(query, source, w_query, w_key, w_value, w_output, num_heads, mask):
    width = query.shape[-1]
    return F.multi_head_attention_forward(
        *(x.transpose(0, 1) for x in (query, source, source)),
        embed_dim_to_check=width,
        num_heads=num_heads,
        in_proj_weight=torch.cat([w_query, w_key, w_value]),
        in_proj_bias=None,
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=0.0,
        out_proj_weight=w_output,
        out_proj_bias=None,  # pyright: ignore[reportArgumentType]
        key_padding_mask=~mask,
        need_weights=False,
    )[0].transpose(0, 1)


def head_by_head(query, source, w_query, w_key, w_value, w_output, num_heads, mask):
    """Add up what each head writes: its own rows of the three maps, its own columns of the last."""
    output = torch.zeros_like(query)
    for h in range(num_heads):
        own = slice(h * w_query.shape[0] // num_heads, (h + 1) * w_query.shape[0] // num_heads)
        q, k, v = mapped(query, source, w_query[own], w_key[own], w_value[own])
        weights = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~mask[:, None], -1e30).softmax(-1)
        output = output + weights @ v @ w_output[:, own].T
    return output


class TestChecks(ExerciseChecks):
    TABLES = {
        checks.check_merge_heads: (MERGE, checks._MERGE_HEADS),
        checks.check_split_packed: (PACKED, checks._SPLIT_PACKED),
        checks.check_multi_head: (WHOLE, checks._MULTI_HEAD),
        checks.check_head_importance: (IMPORTANCE, checks._HEAD_IMPORTANCE),
        checks.check_grouped_attention: (GROUPED, checks._GROUPED),
    }
    RIGHT = {
        checks.check_merge_heads: [
            right_merge,
            lambda h: h.transpose(1, 2).reshape(h.shape[0], h.shape[2], -1),
            lambda h: torch.einsum("bhtk->bthk", h).flatten(2),
        ],
        checks.check_split_packed: [
            right_packed,
            lambda p, n: list(right_packed(p, n)),
            lambda p, n: p.unflatten(-1, (3, n, -1)).permute(2, 0, 3, 1, 4).unbind(),
            lambda p, n: cut(p, 3 * n).chunk(3, dim=1),
        ],
        checks.check_multi_head: [whole(), by_torch, head_by_head],
        checks.check_head_importance: [
            right_importance,
            lambda b, g: torch.stack([(x * y).sum((1, 2)).abs() for x, y in zip(b, g, strict=True)]).mean(0),
        ],
        checks.check_grouped_attention: [
            right_grouped,
            shared_by(neighbours),
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True),
            lambda q, k, v: torch.cat(
                [
                    F.scaled_dot_product_attention(part, k[:, g : g + 1], v[:, g : g + 1])
                    for g, part in enumerate(q.chunk(k.shape[1], dim=1))
                ],
                dim=1,
            ),
        ],
    }


def test_a_named_mistake_says_why(capsys) -> None:
    text = feedback(capsys, checks.check_multi_head, whole(look=root_of_model))
    assert text == "✗ divided by √D, not √K\n  A head's q·k is a sum over its own width K = D/H."
