"""C9.3's instrument: three ways to the same logits, and a mistake that it has to see."""

import numpy as np
import pytest
import torch
from torch import Tensor

from transformer_book.decoding import greedy_decode
from transformer_book.experiments import Result, decoding_agreement, load_result
from transformer_book.experiments.decoding_agreement import (
    ORDERS,
    POSITIONS,
    all_ways,
    forget_positions,
    random_model,
    step_by_step,
)

judge = decoding_agreement.CLAIMS["C9.3"].judge


@pytest.fixture(scope="module")
def result() -> Result:
    return decoding_agreement.measure([0, 1], length=7, batch_size=3, count=20)


def test_every_quantity_is_measured_in_every_order_and_with_all_positions(result: Result) -> None:
    for name in ("steps_float32", "steps_float64", "cache_float32", "cache_float64", "beam", "mistake"):
        assert result.array(name).shape == (2, len(ORDERS), len(POSITIONS))
    assert result.array("exact_right").shape == result.array("exact_mistake").shape == (2,)


def test_the_right_ways_agree_and_the_mistake_does_not(result: Result) -> None:
    assert judge(result).holds is True
    assert result.array("steps_float64").max() < 1e-13
    added = [POSITIONS.index(name) for name in ("sinusoidal", "learned")]
    inside = [POSITIONS.index(name) for name in ("rotary", "none")]
    assert result.array("mistake")[..., added].min() > 0.05
    assert result.array("mistake")[..., inside].max() < 1e-12  # nothing is added, so nothing is forgotten


def test_a_decoder_that_ignores_its_state_is_seen() -> None:
    class Forgetful:
        """A model whose decoder begins anew with every token."""

        pad_id, start_id, end_id = 0, 1, 2

        def __init__(self) -> None:
            self.model = random_model(0, True, "sinusoidal").double().eval()
            self.encode = self.model.encode

        def decode(self, target: Tensor, memory: object, state: object = None):
            return self.model.decode(target, memory)  # pyright: ignore[reportArgumentType]

    source, target = torch.randint(3, 13, (2, 5)), torch.randint(3, 13, (2, 6))
    forced, stepped, reread = all_ways(Forgetful(), source, target)  # pyright: ignore[reportArgumentType]
    torch.testing.assert_close(reread, forced)
    assert (stepped - forced).abs().amax(dim=-1)[:, 1:].min() > 1e-3


def test_the_mistake_is_position_zero_for_every_token() -> None:
    model = random_model(3, False, "learned").double().eval()
    source, target = torch.randint(3, 13, (2, 5)), torch.randint(3, 13, (2, 6))
    forget_positions(model)
    wrong = step_by_step(model, source, target)
    with torch.no_grad():
        model = random_model(3, False, "learned").double().eval()
        model.target_embedding.positions.table[:] = model.target_embedding.positions.table[0].clone()
        torch.testing.assert_close(wrong, model(source, target))


def test_a_decoder_of_ones_own_is_judged() -> None:
    def second_best(model, source: Tensor, max_length: int) -> Tensor:
        return greedy_decode(model, source, max_length).flip(1)

    assert judge(decoding_agreement.measure([0], length=7, count=10, greedy=second_best)).holds is False


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        ("steps_float64", 1e-9),
        ("cache_float64", 1e-9),
        ("steps_float32", 1e-3),
        ("beam", 1.0),
        ("mistake", 0.01),
        ("exact_right", 0.9),
        ("exact_mistake", 0.7),
    ],
)
def test_changed_values_do_not_hold(result: Result, tamper, quantity: str, value: float) -> None:
    changed = tamper(result, quantity, lambda values: np.where(np.ones_like(values), value, values))
    assert judge(changed).holds is False


def test_a_quick_run_says_what_is_stored() -> None:
    stored = load_result("decoding_agreement")
    live = decoding_agreement.measure([100], length=8, count=50)
    assert judge(live).holds is judge(stored).holds is True
    added = [POSITIONS.index(name) for name in ("sinusoidal", "learned")]
    assert live.array("mistake")[..., added].min() > 0.2 * stored.array("mistake")[..., added].min()
    assert stored.mean("exact_mistake") < 0.05
