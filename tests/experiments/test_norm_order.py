"""C8.3's instruments: first gradients are autograd's, choices and shares by hand, what diverges is not learnt."""

import itertools
import math

import numpy as np
import pytest
import torch

from transformer_book.device import CPU
from transformer_book.experiments import norm_order
from transformer_book.experiments.norm_order import (
    WAYS,
    WINDOW,
    best,
    final,
    first_gradients,
    learning_curve,
    learnt,
    new_config,
    new_task,
)
from transformer_book.training import TrainingConfig, make_batch, masked_cross_entropy, new_model


def test_first_gradients_are_those_of_the_last_map() -> None:
    measured = first_gradients(new_model(new_config(2, True), 3), 3, CPU)
    model = new_model(new_config(2, True), 3)
    batch = make_batch(new_task(), TrainingConfig(batch_size=256, seed=3), 0)
    loss = masked_cross_entropy(model(batch.source, batch.target[:, :-1]), batch.target[:, 1:])
    weights = [model.get_parameter(f"decoder_layers.{i}.feed_forward.output.weight") for i in range(2)]
    expected = [gradient.norm().item() for gradient in torch.autograd.grad(loss, weights)]
    assert measured == pytest.approx(expected, rel=1e-5)


def test_a_training_that_is_not_finite_has_learnt_nothing(monkeypatch) -> None:
    def diverge(*arguments: object) -> list[float]:
        raise FloatingPointError("step 3")

    monkeypatch.setattr(norm_order, "train", diverge)
    curve = learning_curve(new_model(new_config(1, True), 0), 1.0, 0.0, 2 * WINDOW, 0, CPU)
    assert curve == pytest.approx([math.log(13)] * 2)


def test_windows_are_means_of_the_losses(monkeypatch) -> None:
    monkeypatch.setattr(norm_order, "train", lambda *arguments: list(range(2 * WINDOW)))
    curve = learning_curve(new_model(new_config(1, True), 0), 1.0, 0.0, 2 * WINDOW, 0, CPU)
    assert curve == [(WINDOW - 1) / 2, WINDOW + (WINDOW - 1) / 2]


def test_each_way_may_choose_its_rate(made_up) -> None:
    # (seeds, depths, rates, windows)
    losses = [
        [[[2.0, 0.1], [2.0, 0.6]], [[2.0, 1.0], [2.0, 0.2]]],
        [[[2.0, 0.9], [2.0, 0.2]], [[2.0, 1.0], [2.0, 0.8]]],
    ]
    result = made_up("norm_order", {"loss_pre_warm": losses})
    assert final(result, "pre_warm")[1].tolist() == [[0.9, 0.2], [1.0, 0.8]]
    assert best(result, "pre_warm").tolist() == [[0.6, 0.2], [0.2, 0.8]]
    assert learnt(result, "pre_warm").tolist() == [0.5, 0.25]


def test_a_measurement_has_every_quantity_and_uses_the_reader_s_models() -> None:
    made = []

    def make(config, seed):
        made.append((config.norm_first, config.num_encoder_layers, seed))
        return new_model(config, seed)

    result = norm_order.measure([7], depths=(1, 2), rates=(1e-2, 1e-3), steps=WINDOW, make=make)
    for way in WAYS:
        assert result.array(f"loss_{way}").shape == (1, 2, 2, 1)
    for name in ("pre", "post"):
        assert result.array(f"gradient_{name}").shape == (1, 2)
    assert len(made) == 4 * 2 * 2 + 2
    assert set(made) == {(first, depth, 7) for first in (True, False) for depth in (1, 2)}
    for one, other in itertools.combinations(WAYS, 2):
        assert not np.allclose(result.array(f"loss_{one}"), result.array(f"loss_{other}")), (one, other)
