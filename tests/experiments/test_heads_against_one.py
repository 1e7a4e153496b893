"""C6.2's instrument: the same model, cut into other heads."""

import numpy as np
import pytest

from transformer_book.experiments import heads_against_one


def test_a_measurement_has_every_quantity_and_the_same_parameters() -> None:
    result = heads_against_one.measure([0, 1], heads=(1, 2, 16), steps=50, count=3)
    assert result.array("exact").shape == (2, 3)
    assert len(np.unique(result.array("parameters"))) == 1
    for h in (1, 2, 16):
        loss = result.array(f"loss_{h}")
        assert loss.shape == (2, 2)
        assert (loss[:, 1] < loss[:, 0]).all()
    assert (result.array("loss_1") != result.array("loss_2")).all()


def test_gains_are_taken_seed_by_seed(made_up) -> None:
    result = made_up("heads_against_one", {"exact": [[0.5, 0.7, 0.6], [0.8, 0.9, 0.7]]}, heads=[1, 4, 8])
    assert heads_against_one.gain(result, [4], [1]) == pytest.approx([0.2, 0.1])
    assert heads_against_one.gain(result, [4, 8], [1]) == pytest.approx([0.15, 0.0])
    assert heads_against_one.gain(result, [4], [8]) == pytest.approx([0.1, 0.2])
