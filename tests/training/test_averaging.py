"""The mean of the last moments' weights: by hand, at the right moments, and not for one that is interrupted."""

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from transformer_book.tasks.copying import Copying
from transformer_book.training import TrainingConfig, average_weights, read_checkpoint, train

Make = Callable[..., Any]
CONFIG = TrainingConfig(steps=11, batch_size=3, learning_rate=0.05, seed=11, average_last=3, average_every=4)


def test_the_mean_is_that_of_each_weight() -> None:
    states = [
        {"a": torch.tensor([1.0, 5.0]), "b": torch.tensor([[2.0]])},
        {"a": torch.tensor([2.0, 7.0]), "b": torch.tensor([[4.0]])},
        {"a": torch.tensor([6.0, 0.0]), "b": torch.tensor([[9.0]])},
    ]
    before = copy.deepcopy(states)
    means = average_weights(states)
    assert torch.equal(means["a"], torch.tensor([3.0, 4.0]))
    assert torch.equal(means["b"], torch.tensor([[5.0]]))
    assert all(
        torch.equal(one[name], other[name]) for one, other in zip(states, before, strict=True) for name in one
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_mean_of_equals_is_each_of_them(dtype: torch.dtype) -> None:
    weight = torch.randn(97, generator=torch.Generator().manual_seed(0)).to(dtype)
    [mean] = average_weights([{"w": weight}] * 7).values()
    assert mean.dtype == dtype
    assert torch.equal(mean, weight)


@pytest.mark.parametrize(
    ("states", "got"),
    [
        ([], "none"),
        ([{"a": torch.zeros(2)}, {"b": torch.zeros(2)}], "some that differ"),
        ([{"a": torch.zeros(2)}, {"a": torch.zeros(1)}], "some that differ"),  # would broadcast
    ],
    ids=["none", "other names", "other shapes"],
)
def test_states_of_several_models_have_no_mean(states: list[dict[str, Tensor]], got: str) -> None:
    message = f"states: expected at least one, all of the same names and shapes, got {got}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        average_weights(states)


def test_a_training_ends_in_the_mean_of_the_moments_asked_for(task: Copying, make_model: Make) -> None:
    plain, averaged = make_model(), make_model()
    states: dict[int, dict[str, Tensor]] = {}

    def keep(done: int) -> None:
        states[done] = copy.deepcopy(plain.state_dict())

    losses = train(plain, task, replace(CONFIG, average_last=1), after_step=keep)
    assert train(averaged, task, CONFIG) == losses  # what is learnt from stays the same
    expected = average_weights([states[3], states[7], states[11]])
    assert all(torch.equal(weight, expected[name]) for name, weight in averaged.state_dict().items())
    assert averaged.training


def test_weights_shared_by_several_places_stay_shared(task: Copying, make_transformer: Make) -> None:
    model = make_transformer(shared_embeddings=True)
    train(model, task, CONFIG)
    assert model.readout.weight is model.source_embedding.tokens.weight


@pytest.mark.parametrize("stop", range(1, 12))
def test_an_interruption_does_not_change_the_mean(
    task: Copying, make_model: Make, same: Callable[[nn.Module, nn.Module], bool], tmp_path: Path, stop: int
) -> None:
    checkpoint = tmp_path / "checkpoint"
    whole, again = make_model(), make_model(seed=99)
    train(whole, task, CONFIG)

    def interrupt(done: int) -> None:
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(make_model(), task, CONFIG, checkpoint=checkpoint, after_step=interrupt)
    assert len(read_checkpoint(checkpoint)["losses"]) == stop
    train(again, task, CONFIG, checkpoint=checkpoint)
    assert same(again, whole)
    assert [*read_checkpoint(checkpoint)["kept"]] == [3, 7, 11]
    third = make_model(seed=98)
    train(third, task, CONFIG, checkpoint=checkpoint)  # done: the checkpoint holds the last weights, not the mean
    assert same(third, whole)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"average_last": 0}, "average_last: expected an integer ≥ 1, got 0"),
        ({"average_every": 0}, "average_every: expected an integer ≥ 1, got 0"),
        ({"steps": 8}, "average_last: expected moments within 8 steps, got 3 of them, 4 steps apart"),
    ],
    ids=str,
)
def test_moments_that_a_training_does_not_have_are_told(values: dict[str, int], message: str) -> None:
    replace(CONFIG, steps=9)  # the first moment is after the first step
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        replace(CONFIG, **values)
