"""C9.1's instrument: one table for all, nobody with more weights than the Transformer, rates chosen alike."""

import random
from types import SimpleNamespace

import numpy as np
import pytest

from transformer_book.device import CPU
from transformer_book.experiments import Result, date_readers, load_result
from transformer_book.experiments.date_readers import NAMES, new_date_reader, parameters, steps_to
from transformer_book.seq2seq import Seq2Seq
from transformer_book.tasks.dates import LOCALES
from transformer_book.training import TrainingConfig

judge = date_readers.CLAIMS["C9.1"].judge


@pytest.mark.parametrize("name", ["gru", "attention"])
def test_a_gru_is_as_wide_as_it_can_be_with_no_more_weights(name: str) -> None:
    limit = parameters(new_date_reader("transformer", 0))
    model = new_date_reader(name, 0)
    assert isinstance(model, Seq2Seq)
    assert parameters(model) <= limit
    assert parameters(model) > 0.95 * limit
    assert (model.config.score == "none") == (name == "gru")


@pytest.fixture(scope="module")
def result() -> Result:
    return date_readers.measure([0], steps=4, rates=(1e-3, 1e-2), count=60, every=2)


def test_every_quantity_is_measured_for_every_model(result: Result) -> None:
    for name in NAMES:
        assert result.array(f"curve_{name}").shape == (1, 2)
        wrong = result.array(f"wrong_{name}")
        assert wrong.shape == (1, len(LOCALES))
        assert result.array(f"exact_{name}") == pytest.approx(1 - wrong.sum(axis=1) / 60)
        assert result.array(f"rate_{name}")[0] in (1e-3, 1e-2)
        assert result.array(f"seconds_{name}")[0] > 0
    assert result.array("ratio_transformer").tolist() == [1.0]


def test_the_rate_is_the_one_that_validation_days_prefer(monkeypatch: pytest.MonkeyPatch) -> None:
    splits = []

    def evaluated(model, task, examples) -> dict[str, float]:
        splits.extend({len(examples)})
        return {"exact_match": model.rate}

    def trained(model, config: TrainingConfig, device, every) -> tuple[list[float], float]:
        model.rate = 0.9 if config.learning_rate == 2e-3 else 0.5
        return [config.learning_rate], 1.0

    monkeypatch.setattr(date_readers, "evaluate", evaluated)
    monkeypatch.setattr(date_readers, "_trained", trained)
    live = date_readers.measure([0], steps=2, rates=(1e-3, 2e-3, 3e-3), count=5, every=2)
    for name in NAMES:
        assert live.array(f"rate_{name}").tolist() == [2e-3]
        assert live.array(f"curve_{name}").tolist() == [[2e-3]]  # of the model that is kept
    assert splits == [1000] * 9


def test_looks_take_no_time_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def evaluated(*arguments: object) -> dict[str, float]:
        now[0] += 100
        return {"exact_match": 0.5}

    def trained(model, task, config: TrainingConfig, device, after_step) -> None:
        for done in range(1, config.steps + 1):
            now[0] += 1
            after_step(done)

    monkeypatch.setattr(date_readers, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(date_readers, "evaluate", evaluated)
    monkeypatch.setattr(date_readers, "train", trained)
    model = new_date_reader("gru", 0)
    curve, seconds = date_readers._trained(model, TrainingConfig(steps=6, batch_size=2), CPU, 2)
    assert curve == [0.5] * 3
    assert seconds == 6


def test_a_step_is_compared_with_the_transformer_s(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(works, repeats: int, device) -> dict[str, list[float]]:
        assert list(works) == list(NAMES)
        return {"gru": [3.0, 8.0, 9.0], "attention": [1.0, 2.0, 30.0], "transformer": [1.0, 2.0, 3.0]}

    monkeypatch.setattr(date_readers, "interleaved_seconds", timed)
    live = date_readers.measure([0], steps=1, rates=(1e-3,), count=5, every=1)
    assert [float(live.mean(f"ratio_{name}")) for name in NAMES] == [3, 1, 1]


def test_choice_and_test_share_no_day(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, set] = {}
    sample = date_readers.Dates.sample

    def spied(self, count: int, generator: random.Random, split: str = "train"):
        examples = sample(self, count, generator, split)  # pyright: ignore[reportArgumentType]
        drawn.setdefault(split, set()).update(day for example in examples for day in example.days)
        return examples

    monkeypatch.setattr(date_readers.Dates, "sample", spied)
    date_readers.measure([0], steps=1, rates=(1e-3,), count=40, every=1)
    assert set(drawn) == {"train", "validation", "test"}
    assert not drawn["test"] & (drawn["train"] | drawn["validation"])


def test_steps_to_by_hand(made_up) -> None:
    curves = [[0.1, 0.96, 0.9, 1.0], [0.0, 0.1, 0.2, 0.3]]
    result = made_up("date_readers", {"curve_gru": curves}, every=50)
    assert steps_to(result, "gru")[0] == 100
    assert np.isnan(steps_to(result, "gru")[1])


def test_a_short_training_again() -> None:
    stored = load_result("date_readers")
    live = date_readers.measure([100], steps=300, rates=(1e-2,), count=300, every=100)
    for name in NAMES:
        assert live.mean(f"parameters_{name}") == stored.mean(f"parameters_{name}")
    exact = {name: float(live.mean(f"exact_{name}")) for name in NAMES}
    assert exact["attention"] > exact["transformer"] + 0.1 > exact["gru"] + 0.3


def test_what_is_stored_in_numbers() -> None:
    stored = load_result("date_readers")
    assert stored.array("exact_transformer").min() >= 0.995
    assert stored.array("exact_attention").min() >= 0.995
    wrong = {name: 1 - float(stored.mean(f"exact_{name}")) for name in NAMES}
    assert wrong["gru"] > 2 * wrong["transformer"]
    assert steps_to(stored, "attention").max() < steps_to(stored, "transformer").min()
