"""C7.3: what the comparison of encodings measures."""

import numpy as np
import pytest
import torch

from transformer_book.experiments import Result
from transformer_book.experiments.position_encodings import MAX_LENGTH, measure, new_copier, plot, table
from transformer_book.plotting import ENCODINGS


@pytest.fixture(scope="module")
def result() -> Result:
    return measure(seeds=[0], lengths=(2, 4), shortest=1, longest=3, steps=12, count=8, looked_at=5)


def test_copiers_differ_in_their_positions_alone() -> None:
    weights = {name: new_copier(name, 3).state_dict() for name in ENCODINGS}
    for name in ("sinusoidal", "rotary"):
        assert weights[name].keys() == weights["none"].keys()
        assert all(torch.equal(weight, weights["none"][key]) for key, weight in weights[name].items())
    extra = weights["learned"].keys() - weights["none"].keys()
    assert extra == {"source_embedding.positions.table", "target_embedding.positions.table"}
    assert {key: weight.shape for key, weight in weights["learned"].items() if key not in extra} == {
        key: weight.shape for key, weight in weights["none"].items()
    }


def test_quantities_have_their_shapes(result: Result) -> None:
    for name in ENCODINGS:
        assert result.array(f"exact_{name}").shape == result.array(f"token_{name}").shape == (1, 2)
        assert result.array(f"place_{name}").shape == (1, 5)
        assert (result.array(f"token_{name}") >= result.array(f"exact_{name}") - 1e-9).all()
        assert result.array(f"loss_{name}") < 3
    extra = result.array("parameters_learned") - result.array("parameters_none")
    assert extra == [2 * MAX_LENGTH * 64]
    assert result.array("parameters_rotary") == result.array("parameters_sinusoidal")


def test_the_table_has_a_line_for_each_encoding(result: Result) -> None:
    lines = table(result).split("\n")
    assert lines[0].split() == ["length", "2", "4"]
    for line, name in zip(lines[1:], ENCODINGS, strict=True):
        assert line.split() == [name, *(f"{share:.2f}" for share in result.mean(f"exact_{name}"))]


def test_a_length_beyond_the_tables_is_refused() -> None:
    with pytest.raises(ValueError, match=f"expected positions in 0 … {MAX_LENGTH - 1}"):
        measure([0], encodings=["learned"], lengths=[MAX_LENGTH + 1], steps=1, count=2, looked_at=3)


@pytest.mark.usefixtures("close_figures")
def test_the_figure_shows_what_was_measured(result: Result) -> None:
    left, right = plot(result).axes
    for container, line, name in zip(left.containers, right.lines, ENCODINGS, strict=False):
        assert container.lines[0].get_ydata() == pytest.approx(result.mean(f"exact_{name}"))
        assert line.get_ydata() == pytest.approx(result.mean(f"place_{name}"))
    assert np.allclose(right.lines[-1].get_ydata(), 0.1)  # guessing one of ten digits
