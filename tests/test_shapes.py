import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from transformer_book import shapes
from transformer_book.shapes import AXES, check_attention, check_mask, check_widths, shape_text


def test_glossary_in_the_docstring_is_the_dictionary() -> None:
    assert shapes.__doc__ is not None
    rows = dict(re.findall(r"^``(\w)``\s+(.+)$", shapes.__doc__, flags=re.MULTILINE))
    assert rows.keys() == AXES.keys()
    for letter, meaning in AXES.items():
        assert rows[letter].split()[0].strip(":;") == meaning.split()[0]


@pytest.mark.parametrize(
    ("shape", "text"), [((), "()"), ((3,), "(3,)"), ((2, 3, 5), "(2, 3, 5)"), ((0, 7), "(0, 7)")]
)
def test_shape_text_is_that_of_a_tuple(shape: tuple[int, ...], text: str) -> None:
    assert shape_text(torch.empty(shape)) == text


axes = st.lists(st.sampled_from([0, 1, 2, 3, 5]), max_size=4).map(tuple)


@given(mask_shape=axes, scores_shape=axes)
def test_check_mask_accepts_exactly_the_shapes_that_broadcast_to_the_scores(
    mask_shape: tuple[int, ...], scores_shape: tuple[int, ...]
) -> None:
    mask = torch.ones(mask_shape, dtype=torch.bool)
    try:
        fits = torch.broadcast_shapes(mask_shape, scores_shape) == torch.Size(scores_shape)
    except RuntimeError:
        fits = False
    if fits:
        check_mask(mask, scores_shape)
    else:
        with pytest.raises(ValueError, match=re.escape(f"scores {scores_shape}, got {mask_shape}")):
            check_mask(mask, scores_shape)


def test_check_mask_accepts_no_mask() -> None:
    check_mask(None, (2, 3))


@pytest.mark.parametrize(
    ("mask", "got"),
    [
        (torch.zeros(2, 3), "torch.float32"),
        (torch.ones(2, 3, dtype=torch.long), "torch.int64"),
        ([[True]], "list"),
        (True, "bool"),
    ],
)
def test_check_mask_refuses_anything_but_booleans(mask: object, got: str) -> None:
    message = f"mask: expected a torch.bool tensor with True = may attend, got {got}"
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        check_mask(mask, (2, 3))


leading = st.lists(st.sampled_from([1, 2, 3]), max_size=3).map(tuple)


@given(query=leading, key=leading, value=leading)
def test_check_attention_accepts_exactly_leading_axes_that_broadcast(
    query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...]
) -> None:
    tensors = torch.empty(*query, 5, 7), torch.empty(*key, 11, 7), torch.empty(*value, 11, 13)
    try:
        torch.broadcast_shapes(query, key, value)
    except RuntimeError:
        message = f"leading axes that broadcast together, got {', '.join(map(shape_text, tensors[:2]))} and "
        with pytest.raises(ValueError, match=re.escape(message + shape_text(tensors[2]))):
            check_attention(*tensors)
    else:
        check_attention(*tensors)


@pytest.mark.parametrize("mask_shape", [(5, 11), (11,), (5, 1), (), (3, 5, 11), (2, 1, 1, 11), (2, 3, 5, 11)])
def test_check_attention_accepts_masks_that_broadcast(mask_shape: tuple[int, ...]) -> None:
    mask = torch.ones(mask_shape, dtype=torch.bool)
    check_attention(torch.empty(2, 3, 5, 7), torch.empty(3, 11, 7), torch.empty(1, 11, 13), mask)


def floats(*shape: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
    return torch.zeros(shape, dtype=dtype, device=device)


WRONG_USE = {
    "query is a list": (
        ([[1.0]], floats(3, 4), floats(3, 4)),
        TypeError,
        "query: expected a floating-point tensor, got list",
    ),
    "key is integer": (
        (floats(2, 4), floats(3, 4).long(), floats(3, 4)),
        TypeError,
        "key: expected a floating-point tensor, got torch.int64",
    ),
    "value is complex": (
        (floats(2, 4), floats(3, 4), floats(3, 4).to(torch.complex64)),
        TypeError,
        "value: expected a floating-point tensor, got torch.complex64",
    ),
    "query has one axis": (
        (floats(4), floats(3, 4), floats(3, 4)),
        ValueError,
        "query: expected at least 2 axes (..., length, width), got (4,)",
    ),
    "value has one axis": (
        (floats(2, 4), floats(3, 4), floats(3)),
        ValueError,
        "value: expected at least 2 axes (..., length, width), got (3,)",
    ),
    "dtypes of query and key differ": (
        (floats(2, 4), floats(3, 4, dtype=torch.float64), floats(3, 4)),
        TypeError,
        "key: expected the dtype of query, torch.float32, got torch.float64",
    ),
    "dtypes of query and value differ": (
        (floats(2, 4), floats(3, 4), floats(3, 4, dtype=torch.bfloat16)),
        TypeError,
        "value: expected the dtype of query, torch.float32, got torch.bfloat16",
    ),
    "devices differ": (
        (floats(2, 4), floats(3, 4), floats(3, 4, device="meta")),
        ValueError,
        "value: expected the device of query, cpu, got meta",
    ),
    "widths differ": (
        (floats(2, 4), floats(3, 5), floats(3, 4)),
        ValueError,
        "query and key: expected the same width D ≥ 1 (last axis), got query (2, 4) and key (3, 5)",
    ),
    "width is zero": (
        (floats(2, 0), floats(3, 0), floats(3, 4)),
        ValueError,
        "query and key: expected the same width D ≥ 1 (last axis), got query (2, 0) and key (3, 0)",
    ),
    "lengths differ": (
        (floats(2, 4), floats(3, 4), floats(2, 4)),
        ValueError,
        "key and value: expected the same length S (second-last axis), got key (3, 4) and value (2, 4)",
    ),
    "leading axes of key differ": (
        (floats(2, 7, 4), floats(3, 5, 4), floats(5, 4)),
        ValueError,
        "query, key and value: expected leading axes that broadcast together, got (2, 7, 4), (3, 5, 4) and (5, 4)",
    ),
    "leading axes of value differ": (
        (floats(2, 7, 4), floats(5, 4), floats(3, 5, 4)),
        ValueError,
        "query, key and value: expected leading axes that broadcast together, got (2, 7, 4), (5, 4) and (3, 5, 4)",
    ),
    "mask does not fit": (
        (floats(2, 4), floats(3, 4), floats(3, 4), torch.ones(3, 2, dtype=torch.bool)),
        ValueError,
        "mask: expected a shape that broadcasts to the scores (2, 3), got (3, 2)",
    ),
    "mask has the leading axes of value alone": (
        (floats(2, 4), floats(3, 4), floats(5, 3, 4), torch.ones(5, 2, 3, dtype=torch.bool)),
        ValueError,
        "mask: expected a shape that broadcasts to the scores (2, 3), got (5, 2, 3)",
    ),
    "mask is additive": (
        (floats(2, 4), floats(3, 4), floats(3, 4), floats(2, 3)),
        TypeError,
        "mask: expected a torch.bool tensor with True = may attend, got torch.float32",
    ),
}


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG_USE.values(), ids=WRONG_USE.keys())
def test_check_attention_says_what_it_expected_and_what_it_got(
    arguments: tuple[Tensor, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        check_attention(*arguments)


def test_check_widths_names_the_first_that_is_below_one() -> None:
    check_widths()
    check_widths(d_input=1, d_hidden=7)
    with pytest.raises(ValueError, match=r"^d_key: expected an integer ≥ 1, got 0$"):
        check_widths(d_query=3, d_key=0, d_hidden=-1)
