import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from transformer_book import shapes
from transformer_book.shapes import (
    AXES,
    check_attention,
    check_ids,
    check_inputs,
    check_lengths,
    check_mask,
    check_widths,
    shape_text,
)


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


# --- ids and lengths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("size", [1, 2, 7])
def test_check_ids_accepts_exactly_the_ids_an_embedding_has(size: int, dtype: torch.dtype) -> None:
    embedding = torch.nn.Embedding(size, 2)
    for low in range(-2, size + 2):
        for high in range(low, size + 2):
            ids = torch.tensor([[low, high, low], [high, high, low]], dtype=dtype)
            try:
                embedding(ids)
            except IndexError:
                message = f"source: expected ids in 0 … {size - 1}, got {low} … {high}"
                with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
                    check_ids("source", ids, size)
            else:
                check_ids("source", ids, size)


WRONG_IDS = {
    "a list": ([[1, 2]], TypeError, "target: expected an int64 or int32 tensor of ids, got list"),
    "floats": (floats(2, 3), TypeError, "target: expected an int64 or int32 tensor of ids, got torch.float32"),
    "booleans": (
        torch.ones(2, 3, dtype=torch.bool),
        TypeError,
        "target: expected an int64 or int32 tensor of ids, got torch.bool",
    ),
    "bytes": (
        torch.ones(2, 3, dtype=torch.uint8),
        TypeError,
        "target: expected an int64 or int32 tensor of ids, got torch.uint8",
    ),
    "one axis": (
        torch.ones(3, dtype=torch.int64),
        ValueError,
        "target: expected shape (B, length) with B and length ≥ 1, got (3,)",
    ),
    "three axes": (
        torch.ones(2, 3, 5, dtype=torch.int64),
        ValueError,
        "target: expected shape (B, length) with B and length ≥ 1, got (2, 3, 5)",
    ),
    "no rows": (
        torch.ones(0, 3, dtype=torch.int64),
        ValueError,
        "target: expected shape (B, length) with B and length ≥ 1, got (0, 3)",
    ),
    "no positions": (
        torch.ones(2, 0, dtype=torch.int32),
        ValueError,
        "target: expected shape (B, length) with B and length ≥ 1, got (2, 0)",
    ),
}


@pytest.mark.parametrize(("ids", "error", "message"), WRONG_IDS.values(), ids=WRONG_IDS.keys())
def test_check_ids_says_what_it_expected_and_what_it_got(
    ids: Tensor, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        check_ids("target", ids, 7)


WRONG_LENGTHS = {
    "a list": ([2, 3], TypeError, "lengths: expected an integer tensor, got list"),
    "floats": (floats(2), TypeError, "lengths: expected an integer tensor, got torch.float32"),
    "complex numbers": (
        floats(2).to(torch.complex64),
        TypeError,
        "lengths: expected an integer tensor, got torch.complex64",
    ),
    "booleans": (
        torch.ones(2, dtype=torch.bool),
        TypeError,
        "lengths: expected an integer tensor, got torch.bool",
    ),
    "no axis": (torch.tensor(3), ValueError, "lengths: expected shape (B,) with B ≥ 1, got ()"),
    "two axes": (
        torch.ones(2, 3, dtype=torch.int64),
        ValueError,
        "lengths: expected shape (B,) with B ≥ 1, got (2, 3)",
    ),
    "none": (torch.ones(0, dtype=torch.int64), ValueError, "lengths: expected shape (B,) with B ≥ 1, got (0,)"),
}


@pytest.mark.parametrize(("lengths", "error", "message"), WRONG_LENGTHS.values(), ids=WRONG_LENGTHS.keys())
def test_check_lengths_says_what_it_expected_and_what_it_got(
    lengths: Tensor, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        check_lengths(lengths)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64], ids=str)
def test_check_lengths_accepts_any_integers(dtype: torch.dtype) -> None:
    check_lengths(torch.tensor([3], dtype=dtype))


def test_inputs_of_a_layer_are_three_axes_of_its_width() -> None:
    right = torch.zeros(2, 5, 7)
    check_inputs(7, query=right, key=right[:, :0])
    with pytest.raises(ValueError, match=r"^key: expected shape \(B, length, 7\), got \(2, 5, 6\)$"):
        check_inputs(7, query=right, key=right[..., 1:])
    with pytest.raises(ValueError, match=r"^query: expected shape \(B, length, 7\), got \(5, 7\)$"):
        check_inputs(7, query=right[0], key=right)
