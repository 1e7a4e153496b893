"""What each idea in `transformer_book.fast` buys: the training step with one of them switched off.

A contender runs in a process of its own, so it may replace a part of the module there.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from transformer_book import fast
from transformer_book.attention import MultiHeadAttention


class AllPlaces(fast.Rows):
    """Rows whose padding is packed like any token."""

    def __init__(self, real: Tensor, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(torch.ones_like(real), dtype)
        self.real = real


def three_products(attention: MultiHeadAttention, seen: Tensor, rows: fast.Rows, bias: Tensor) -> Tensor:
    """Do as `fast.self_attention`, without rotary positions and with one product each for query, key and value."""
    parts = (attention.query, attention.key, attention.value)
    query, key, value = (rows.split(fast._linear(seen, part), 1, attention.num_heads)[0] for part in parts)
    return fast._linear(rows.merge(fast.attend(query, key, value, bias)), attention.output)


def torch_dropout(like: Tensor, dropout: float) -> Tensor:
    """Draw a mask as `torch.nn.functional.dropout` does."""
    return F.dropout(torch.ones_like(like), dropout)


def torch_indexing(inputs: Tensor, there: Tensor, back: Tensor) -> Tensor:
    """Copy rows, with the gradient that torch has for it."""
    return inputs.index_select(0, there)


def torch_loss(
    hidden: Tensor, weight: Tensor, bias: Tensor, label: Tensor, pad_id: int, smoothing: float
) -> Tensor:
    """Read out all logits, then compute the loss."""
    logits = F.linear(hidden, weight, bias).float()
    return F.cross_entropy(logits, label, ignore_index=pad_id, label_smoothing=smoothing)


def torch_add(stream: Tensor, output: Tensor, mask: Tensor) -> Tensor:
    """Multiply, then add, with the gradients that torch has for it."""
    return stream + output * mask


def _function(apply: Callable[..., Tensor]) -> Any:
    return SimpleNamespace(apply=apply)


#: Idea that is switched off → the parts of `fast` that are replaced.
WITHOUT: dict[str, dict[str, Any]] = {
    "packing": {"Rows": AllPlaces},
    "one product for Q, K, V": {"self_attention": three_products},
    "masks from bytes": {"dropout_mask": torch_dropout},
    "explicit attention": {"FUSED_FROM": 0, "FUSED_FROM_IN_BFLOAT16": 0},
    "gradient of copies": {"_Spread": _function(torch_indexing)},
    "gradient of dropout": {"_AddProduct": _function(torch_add)},
    "loss by chunks": {"_CrossEntropy": _function(torch_loss)},
    "rounded counts": {"ROUND_TO": 1},
}


def replace_parts(without: str | None) -> None:
    """Switch one idea off, in this process."""
    for name, part in WITHOUT.get(without or "", {}).items():
        setattr(fast, name, part)
