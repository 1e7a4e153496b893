import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from transformer_book.attention import MultiHeadAttention
from transformer_book.weights import load_torch

D, H = 21, 3


def make_theirs(**options: object) -> nn.MultiheadAttention:
    torch.manual_seed(1)
    theirs = nn.MultiheadAttention(D, H, **options)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_()
    return theirs


def copy_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_every_weight_lands_in_its_place(batch_first: bool, bias: bool) -> None:
    theirs = make_theirs(batch_first=batch_first, bias=bias)
    ours = MultiHeadAttention(D, H)
    load_torch(ours, theirs)
    for linear, rows in (
        (ours.query, slice(0, D)),
        (ours.key, slice(D, 2 * D)),
        (ours.value, slice(2 * D, 3 * D)),
    ):
        assert torch.equal(linear.weight, theirs.in_proj_weight[rows])
        expected = theirs.in_proj_bias[rows] if bias else torch.zeros(D)
        assert torch.equal(linear.bias, expected)
    assert torch.equal(ours.output.weight, theirs.out_proj.weight)
    assert torch.equal(ours.output.bias, theirs.out_proj.bias if bias else torch.zeros(D))


def test_the_copy_is_a_copy() -> None:
    theirs, ours = make_theirs(), MultiHeadAttention(D, H)
    before = copy_of(theirs)
    load_torch(ours, theirs)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in theirs.state_dict().items())


def test_ours_keeps_its_precision_and_can_be_trained() -> None:
    theirs, ours = make_theirs(dtype=torch.float64), MultiHeadAttention(D, H)
    load_torch(ours, theirs)
    assert all(tensor.dtype == torch.float32 for tensor in ours.state_dict().values())
    assert torch.equal(ours.output.weight, theirs.out_proj.weight.float())
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in ours.parameters())


WRONG_USE: dict[str, tuple[Callable[[], nn.Module], type[Exception], str]] = {
    "another class": (
        lambda: nn.Linear(D, D),
        TypeError,
        "ours and theirs: expected MultiHeadAttention and torch.nn.MultiheadAttention, "
        "got MultiHeadAttention and Linear",
    ),
    "ours for theirs": (
        lambda: MultiHeadAttention(D, H),
        TypeError,
        "ours and theirs: expected MultiHeadAttention and torch.nn.MultiheadAttention, "
        "got MultiHeadAttention and MultiHeadAttention",
    ),
    "other heads": (lambda: nn.MultiheadAttention(D, 7), ValueError, "num_heads: expected 3, got 7"),
    "other width": (
        lambda: nn.MultiheadAttention(2 * D, H),
        ValueError,
        "weight: expected shape (21, 21), got (42, 42)",
    ),
    "other width of keys": (
        lambda: nn.MultiheadAttention(D, H, kdim=5),
        ValueError,
        "weight: expected shape (21, 21), got (21, 5)",
    ),
    "other width of values": (
        lambda: nn.MultiheadAttention(D, H, vdim=8, bias=False),
        ValueError,
        "weight: expected shape (21, 21), got (21, 8)",
    ),
    "an extra key and value": (
        lambda: nn.MultiheadAttention(D, H, add_bias_kv=True),
        ValueError,
        "theirs: expected add_bias_kv=False and add_zero_attn=False, got one of them True",
    ),
    "an extra zero": (
        lambda: nn.MultiheadAttention(D, H, add_zero_attn=True),
        ValueError,
        "theirs: expected add_bias_kv=False and add_zero_attn=False, got one of them True",
    ),
}


@pytest.mark.parametrize(("theirs", "error", "message"), WRONG_USE.values(), ids=WRONG_USE.keys())
def test_an_error_says_why_and_leaves_ours_unchanged(
    theirs: Callable[[], nn.Module], error: type[Exception], message: str
) -> None:
    ours = MultiHeadAttention(D, H)
    before = copy_of(ours)
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        load_torch(ours, theirs())
    assert all(torch.equal(tensor, before[name]) for name, tensor in ours.state_dict().items())


def test_ours_must_be_ours() -> None:
    with pytest.raises(TypeError, match="got Linear and MultiheadAttention"):
        load_torch(nn.Linear(D, D), make_theirs())
