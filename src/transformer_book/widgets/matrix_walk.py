"""Matrix walk: every number of a small attention, and the arithmetic behind the one you point at."""

import math
from collections.abc import Sequence

import torch
import traitlets
from torch import Tensor

from transformer_book.attention import masked_softmax
from transformer_book.shapes import check_attention, shape_text
from transformer_book.widgets._base import Widget, check_choice, check_integer

MAX_TOKENS, MAX_WIDTH = 6, 4
MATRICES = ("scores", "weights", "output")

Matrix = Tensor | Sequence[Sequence[float]]


class MatrixWalk(Widget):
    """Walk through softmax(QKᵀ/√D) V cell by cell, with the arithmetic of the chosen cell written out.

    Pointing at, or moving with the arrow keys to, a cell of the scores, the weights or the output lights up the
    row of Q, the columns of Kᵀ, the weights and the rows of V that it is made of. Sliders change the chosen row
    of Q; the mask and the division by √D can be switched off.

    Parameters
    ----------
    query
        Tensor or nested list ``(T, D)``, T ≤ 6, D ≤ 4.
    key
        ``(S, D)``, S ≤ 6.
    value
        ``(S, Dv)``, Dv ≤ 4.
    mask
        Boolean ``(T, S)``, or broadcastable to it; True = may attend. None shows no switch for the mask.
    query_labels, key_labels
        A short name for each query and each key, such as its token; default: its number, from 0.
    matrix, row, column
        The cell chosen at first: ``"scores"``, ``"weights"`` or ``"output"``, and its place, from 0.
    masked, scaled
        Whether the mask and the division by √D are on at first.

    Attributes
    ----------
    query : list[list[float]]
        The query as the reader last dragged it; observe it, or assign to it.
    key, value, mask : list
        As given; `mask` is an empty list if there is none.
    matrix, row, column, masked, scaled
        As above; synced both ways.

    Raises
    ------
    TypeError
        The mask is not boolean, or a place is not an integer.
    ValueError
        Shapes do not fit together or are too large to show, a number is not finite, there are not as many labels
        as rows, or the chosen cell is outside its matrix.

    Notes
    -----
    Source: Vaswani et al. 2017, section 3.2.1, equation 1.
    """

    query = traitlets.List().tag(sync=True)
    key = traitlets.List(read_only=True).tag(sync=True)
    value = traitlets.List(read_only=True).tag(sync=True)
    mask = traitlets.List(read_only=True).tag(sync=True)
    query_labels = traitlets.List(read_only=True).tag(sync=True)
    key_labels = traitlets.List(read_only=True).tag(sync=True)
    matrix = traitlets.Unicode().tag(sync=True)
    row = traitlets.Int().tag(sync=True)
    column = traitlets.Int().tag(sync=True)
    masked = traitlets.Bool().tag(sync=True)
    scaled = traitlets.Bool().tag(sync=True)

    def __init__(
        self,
        query: Matrix,
        key: Matrix,
        value: Matrix,
        mask: Tensor | Sequence[Sequence[bool]] | None = None,
        *,
        query_labels: Sequence[str] | None = None,
        key_labels: Sequence[str] | None = None,
        matrix: str = "output",
        row: int = 0,
        column: int = 0,
        masked: bool = True,
        scaled: bool = True,
    ) -> None:
        tensors = {"query": _as_matrix("query", query), "key": _as_matrix("key", key)}
        tensors["value"] = _as_matrix("value", value)
        given = None if mask is None else torch.as_tensor(mask)
        check_attention(tensors["query"], tensors["key"], tensors["value"], given)
        shape = (len(tensors["query"]), len(tensors["key"]))
        self.set_trait("key", tensors["key"].tolist())
        self.set_trait("value", tensors["value"].tolist())
        self.set_trait("mask", [] if given is None else given.expand(shape).tolist())
        self.set_trait("query_labels", _labels("query_labels", query_labels, shape[0]))
        self.set_trait("key_labels", _labels("key_labels", key_labels, shape[1]))
        check_choice("matrix", matrix, MATRICES)
        check_integer("row", row, 0, shape[0] - 1)
        check_integer("column", column, 0, self._last_column(matrix))
        super().__init__(
            query=tensors["query"].tolist(), matrix=matrix, row=row, column=column, masked=masked, scaled=scaled
        )

    def _last_column(self, matrix: str) -> int:
        return len(self.value[0] if matrix == "output" else self.key) - 1

    @traitlets.validate("query")
    def _check_query(self, proposal: dict) -> list:
        query = _as_matrix("query", proposal["value"])
        expected = (len(self.query_labels), len(self.key[0]))
        if tuple(query.shape) != expected:
            raise ValueError(f"query: expected shape {expected}, got {shape_text(query)}")
        return proposal["value"]

    @traitlets.validate("matrix")
    def _check_matrix(self, proposal: dict) -> object:
        return check_choice("matrix", proposal["value"], MATRICES)

    @traitlets.validate("row")
    def _check_row(self, proposal: dict) -> int:
        return check_integer("row", proposal["value"], 0, len(self.query_labels) - 1)

    @traitlets.validate("column")
    def _check_column(self, proposal: dict) -> int:
        widest = max(self._last_column(matrix) for matrix in MATRICES)
        return check_integer("column", proposal["value"], 0, widest)

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Give ``(query, key, value, mask)`` as they are now, ready for `scaled_dot_product_attention`.

        Returns
        -------
        tuple
            float32 ``(T, D)``, ``(S, D)``, ``(S, Dv)``, and a boolean ``(T, S)`` or, where there is no mask or it
            is switched off, None.
        """
        mask = torch.tensor(self.mask) if self.mask and self.masked else None
        return torch.tensor(self.query), torch.tensor(self.key), torch.tensor(self.value), mask

    def weights(self) -> Tensor:
        """Give the weights that are shown, mask and scale as they are switched; float32 ``(T, S)``."""
        query, key, _, mask = self.tensors()
        scores = query @ key.T  # (T, S)
        return masked_softmax(scores / math.sqrt(query.shape[-1]) if self.scaled else scores, mask)

    def output(self) -> Tensor:
        """Give the output that is shown, float32 ``(T, Dv)``."""
        return self.weights() @ torch.tensor(self.value)

    def describe(self) -> str:
        """Say in sentences what the widget shows in its present state."""
        row = min(self.row, len(self.query_labels) - 1)
        weights, output = self.weights()[row].tolist(), self.output()[row].tolist()
        shares = ", ".join(
            f"{weight:.2f} to {name}" for weight, name in zip(weights, self.key_labels, strict=True)
        )
        scores = "QKᵀ/√D" if self.scaled else "QKᵀ"
        mask = ", masked" if self.mask and self.masked else ""
        return (
            f"softmax({scores}{mask}) V for {len(self.query)} queries and {len(self.key)} keys. "
            f"Query {self.query_labels[row]} gives weight {shares}; "
            f"its output is ({', '.join(f'{number:.2f}' for number in output)})."
        )


def _as_matrix(name: str, given: Matrix) -> Tensor:
    """Turn what was given into a float32 matrix, and check that it is small enough to show."""
    matrix = torch.as_tensor(given, dtype=torch.float32).detach().cpu()
    if matrix.ndim != 2 or not (1 <= len(matrix) <= MAX_TOKENS and 1 <= matrix.shape[1] <= MAX_WIDTH):
        raise ValueError(
            f"{name}: expected a matrix of 1 … {MAX_TOKENS} rows and 1 … {MAX_WIDTH} columns, got shape "
            f"{shape_text(matrix)}"
        )
    if not matrix.isfinite().all():
        raise ValueError(f"{name}: expected finite numbers, got {matrix[~matrix.isfinite()][0].item()}")
    return matrix


def _labels(name: str, given: Sequence[str] | None, count: int) -> list[str]:
    """Check the names of rows, or number them."""
    labels = [str(number) for number in range(count)] if given is None else [str(label) for label in given]
    if len(labels) != count:
        raise ValueError(f"{name}: expected {count} labels, got {len(labels)}")
    return labels
