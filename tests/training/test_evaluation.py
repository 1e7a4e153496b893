"""Predictions keep the order of the sources, whatever else is in the batch, and are judged by the targets."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from transformer_book.decoding import beam_search
from transformer_book.seq2seq import Seq2Seq
from transformer_book.tasks.copying import Copying
from transformer_book.tasks.metrics import token_accuracy
from transformer_book.tasks.task import Example
from transformer_book.training import TrainingConfig, evaluate, evaluation, predict, train

Make = Callable[..., Seq2Seq]


class Echo(nn.Module):
    """A model that has learnt to copy: writes its source, then the end."""

    pad_id, start_id, end_id = 0, 1, 2

    def __init__(self) -> None:
        super().__init__()
        self.anything = nn.Parameter(torch.zeros(1))
        self.batches: list[tuple[int, ...]] = []

    def encode(self, source: Tensor) -> Tensor:
        self.batches.append(tuple((source != 0).sum(dim=1).tolist()))
        end = torch.zeros_like(source[:, :1])
        return torch.cat([source, end], dim=1).masked_fill(torch.cat([source, end], dim=1) == 0, self.end_id)

    def decode(self, target: Tensor, memory: Tensor, state: int | None = None) -> tuple[Tensor, int, None]:
        step = state or 0
        return nn.functional.one_hot(memory[:, step : step + 1], 13).float(), step + 1, None


@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_predictions_are_in_the_order_of_the_sources(task: Copying, batch_size: int) -> None:
    sources = ["314", "1", "27182", "99", "0", "4242", "5", "31"]
    echo: Any = Echo()
    assert predict(echo, task, sources, batch_size) == [list(source) for source in sources]
    assert max(map(len, echo.batches)) == min(batch_size, 8)
    padding = sum(max(lengths) * len(lengths) - sum(lengths) for lengths in echo.batches)
    assert padding <= {1: 0, 3: 3, 256: 21}[batch_size]  # neighbours in length share a batch


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_beam_writes_what_beam_search_finds(
    task: Copying, make_model: Make, monkeypatch: pytest.MonkeyPatch, beam_size: int
) -> None:
    model = make_model(d_hidden=11)
    asked = []

    def spy(*arguments: Any) -> tuple[Tensor, Tensor]:
        asked.append(arguments[2:])
        return beam_search(*arguments)

    monkeypatch.setattr(evaluation, "beam_search", spy)
    examples = task.sample(9, random.Random(0), "test")
    written = predict(model, task, [example.source for example in examples], 4, beam_size)
    assert asked == ([] if beam_size == 1 else [(3, task.max_target_length)] * 3)
    for example, prediction in zip(examples, written, strict=True):
        source = torch.tensor([task.source_vocabulary.encode(example.source)])
        ids, _ = beam_search(model, source, beam_size, task.max_target_length)
        assert task.target_vocabulary.decode(ids[0].tolist()) == prediction
    found = evaluate(model, task, examples, beam_size=beam_size)
    assert found["token_accuracy"] == token_accuracy(written, [example.target for example in examples])


def test_no_beam_is_refused(task: Copying, make_model: Make) -> None:
    with pytest.raises(ValueError, match=r"^beam_size: expected an integer ≥ 1, got 0$"):
        predict(make_model(), task, ["31"], beam_size=0)


@pytest.mark.parametrize("parts", [{}, {"cell": "lstm"}, {"score": "additive"}], ids=str)
def test_a_prediction_does_not_depend_on_its_batch_mates(
    task: Copying, make_model: Make, parts: dict[str, str]
) -> None:
    model = make_model(d_hidden=23, **parts)
    train(model, task, TrainingConfig(steps=100, learning_rate=0.02))
    sources = [example.source for example in task.sample(60, random.Random(0), "test")]
    together = predict(model, task, sources)
    assert len({tuple(prediction) for prediction in together}) > 20  # there is something to tell apart
    assert len({len(prediction) for prediction in together}) > 2
    assert [predict(model, task, [source])[0] for source in sources] == together
    assert predict(model, task, sources[::-1], batch_size=7) == together[::-1]


def test_nothing_is_longer_than_the_longest_target(task: Copying, make_model: Make) -> None:
    model = make_model()
    with torch.no_grad():
        model.decoder.readout.bias[7] += 100  # never ends
    assert predict(model, task, ["1", "12345"]) == [["4"] * 6] * 2
    assert task.max_target_length == 6


def test_predicting_records_no_gradient_and_draws_no_random_number(task: Copying, make_model: Make) -> None:
    before = torch.get_rng_state()
    model = make_model()
    predict(model, task, ["123"])
    assert not model.training  # no dropout, once a model has some
    assert all(weight.grad is None for weight in model.parameters())
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_to_predict_is_nothing_predicted(task: Copying, make_model: Make) -> None:
    assert predict(make_model(), task, []) == []


@pytest.mark.parametrize("source", ["12x", ""])
def test_a_source_that_the_task_does_not_know_is_told(task: Copying, make_model: Make, source: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        predict(make_model(), task, ["12", source])


def test_evaluate_judges_each_prediction_against_its_own_target(task: Copying) -> None:
    echo: Any = Echo()
    right = [Example("314", "314"), Example("1", "1"), Example("27182", "27182")]
    assert evaluate(echo, task, right) == {"exact_match": 1.0, "token_accuracy": 1.0, "error_rate": 0.0}
    # Written: 314, 1, 27, 5; one wrong token, one missing, of 3 + 1 + 3 + 1; by edits the same two.
    some = [Example("314", "315"), Example("1", "1"), Example("27", "271"), Example("5", "5")]
    assert evaluate(echo, task, some, batch_size=2) == {
        "exact_match": 0.5,
        "token_accuracy": pytest.approx(6 / 8),
        "error_rate": pytest.approx(2 / 8),
    }
    assert [len(lengths) for lengths in echo.batches] == [3, 2, 2]


def test_evaluate_wants_an_example(task: Copying) -> None:
    echo: Any = Echo()
    with pytest.raises(ValueError, match="at least one"):
        evaluate(echo, task, [])
