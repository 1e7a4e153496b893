"""Matrix walk: what it hands to Python, and its errors."""

import pytest
import torch
import torch.nn.functional as F

from transformer_book.attention import causal_mask, scaled_dot_product_attention
from transformer_book.widgets import MatrixWalk

T, S, D, DV = 3, 5, 2, 4


def inputs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((T, D), (S, D), (S, DV))
    query, key, value = (torch.randn(shape, generator=generator) for shape in shapes)
    return query, key, value, torch.rand(T, S, generator=generator) > 0.4


def test_tensors_go_straight_into_attention():
    query, key, value, mask = inputs()
    widget = MatrixWalk(query, key, value, mask)
    for given, handed in zip((query, key, value, mask), widget.tensors(), strict=True):
        assert torch.equal(given, handed)
    output, weights = scaled_dot_product_attention(*widget.tensors())
    torch.testing.assert_close(widget.output(), output)
    torch.testing.assert_close(widget.weights(), weights)


def test_switches():
    query, key, value, mask = inputs()
    widget = MatrixWalk(query, key, value, mask, masked=False)
    torch.testing.assert_close(widget.output(), F.scaled_dot_product_attention(query, key, value))
    assert widget.tensors()[3] is None
    widget.masked, widget.scaled = True, False
    expected = F.scaled_dot_product_attention(query, key, value, mask, scale=1.0)
    torch.testing.assert_close(widget.output(), expected)


def test_query_is_observed_and_changes_the_answer():
    query, key, value, _ = inputs()
    widget, seen = MatrixWalk(query, key, value), []
    widget.observe(lambda change: seen.append(widget.output()), "query")
    moved = query.clone()
    moved[1, 0] = 2.5
    widget.query = moved.tolist()
    torch.testing.assert_close(seen, [F.scaled_dot_product_attention(moved, key, value)])


def test_given_tensors_are_not_kept():
    query, key, value, _ = inputs()
    widget = MatrixWalk(query.requires_grad_(), key, value)
    with torch.no_grad():
        query.zero_()
    assert widget.tensors()[0].abs().sum() > 0


def test_mask_broadcasts_and_a_barred_row_gives_zeros():
    query, key, value, _ = inputs()
    widget = MatrixWalk(query, key, value, [[False] * S])
    assert widget.mask == [[False] * S] * T
    assert torch.equal(widget.output(), torch.zeros(T, DV))
    assert "its output is (0.00, 0.00, 0.00, 0.00)" in widget.describe()


def test_describe_names_tokens_and_numbers():
    eye = torch.eye(2)
    text = MatrixWalk(
        eye, eye, 2 * eye, causal_mask(2), query_labels=["le", "chat"], key_labels=["the", "cat"]
    ).describe()
    assert "Query le gives weight 1.00 to the, 0.00 to cat; its output is (2.00, 0.00)" in text


WRONG = [
    (
        {"query": torch.ones(3)},
        ValueError,
        r"query: expected a matrix of 1 … 6 rows and 1 … 4 columns, got shape \(3,\)",
    ),
    ({"query": torch.ones(7, D)}, ValueError, r"query: expected a matrix .* got shape \(7, 2\)"),
    ({"value": torch.ones(S, 5)}, ValueError, r"value: expected a matrix .* got shape \(5, 5\)"),
    ({"key": torch.ones(S, 0)}, ValueError, r"key: expected a matrix .* got shape \(5, 0\)"),
    ({"key": torch.ones(S, D + 1)}, ValueError, "query and key: expected the same width"),
    ({"value": torch.ones(S - 1, DV)}, ValueError, "key and value: expected the same length"),
    ({"key": torch.full((S, D), torch.inf)}, ValueError, "key: expected finite numbers, got inf"),
    ({"mask": torch.ones(T, S)}, TypeError, "mask: expected a torch.bool tensor"),
    ({"mask": torch.ones(S, T, dtype=torch.bool)}, ValueError, "mask: expected a shape that broadcasts"),
    ({"query_labels": ["a", "b"]}, ValueError, "query_labels: expected 3 labels, got 2"),
    ({"key_labels": ["a"]}, ValueError, "key_labels: expected 5 labels, got 1"),
    ({"matrix": "key"}, ValueError, "matrix: expected one of 'scores', 'weights', 'output', got 'key'"),
    ({"row": T}, ValueError, "row: expected an integer in 0 … 2, got 3"),
    ({"row": 1.0}, TypeError, "row: expected an integer, got 1.0"),
    ({"column": DV}, ValueError, "column: expected an integer in 0 … 3, got 4"),
    ({"matrix": "weights", "column": S}, ValueError, "column: expected an integer in 0 … 4, got 5"),
]


@pytest.mark.parametrize(("changed", "error", "message"), WRONG)
def test_wrong_arguments(changed, error, message):
    query, key, value, mask = inputs()
    with pytest.raises(error, match=message):
        MatrixWalk(**({"query": query, "key": key, "value": value, "mask": mask} | changed))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("query", [[1.0] * D], r"query: expected shape \(3, 2\), got \(1, 2\)"),
        ("query", [[float("nan")] * D] * T, "query: expected finite numbers, got nan"),
        ("row", -1, "row: expected an integer in 0 … 2, got -1"),
        ("column", 5, "column: expected an integer in 0 … 4, got 5"),
        ("matrix", "mask", "matrix: expected one of"),
    ],
)
def test_wrong_assignments_leave_the_state(name, value, message):
    widget = MatrixWalk(*inputs())
    before = getattr(widget, name)
    with pytest.raises(ValueError, match=message):
        setattr(widget, name, value)
    assert getattr(widget, name) == before
