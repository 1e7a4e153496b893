"""C9.5's instrument: one switch at a time, and what a model says of its own doubts."""

import pytest
import torch

from transformer_book.experiments import Result, load_result, recipe_parts
from transformer_book.experiments.date_models import new_reader
from transformer_book.experiments.recipe_parts import LABELS, RECIPE, SWITCHES, gain, token_statistics


@pytest.fixture(scope="module")
def result() -> Result:
    return recipe_parts.measure([0], steps=6, count=20, every=2, last=2, switches=("recipe", "no_smoothing"))


def test_every_quantity_is_measured_for_every_switch(result: Result) -> None:
    for name in ("recipe", "no_smoothing"):
        assert result.array(f"curve_{name}").shape == (1, 3)
        for quantity in ("exact", "averaged", "nats", "right", "confidence"):
            assert result.array(f"{quantity}_{name}").shape == (1,)
    assert 0 < result.array("padding_length")[0] < 0.2 * result.array("padding_random")[0]


def test_a_switch_changes_the_recipe_and_has_a_name() -> None:
    assert set(LABELS) == set(SWITCHES)
    for name, changes in SWITCHES.items():
        assert all(getattr(RECIPE, key) != value for key, value in changes.items()), name
    assert SWITCHES["fast_no_warmup"] == SWITCHES["fast"] | SWITCHES["no_warmup"]


def test_the_average_is_that_of_the_last_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def average(states):
        given.append([state["readout.bias"].clone() for state in states])
        return states[-1]

    monkeypatch.setattr(recipe_parts, "average_weights", average)
    recipe_parts.measure([0], steps=6, count=5, every=2, last=2, switches=("recipe",))
    [(first, second)] = given
    assert not torch.equal(first, second)


def test_the_average_is_read_with_after_the_last_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(*arguments: object):
        model = new_reader(0)
        average = {name: torch.full_like(weight, 7) for name, weight in model.state_dict().items()}
        return model, [0.0], average

    def filled(model: torch.nn.Module, *arguments: object) -> float:
        return float(all((weight == 7).all() for weight in model.parameters()))

    monkeypatch.setattr(recipe_parts, "_trained", trained)
    monkeypatch.setattr(recipe_parts, "exact_match", filled)
    monkeypatch.setattr(recipe_parts, "token_statistics", lambda model, *rest: [filled(model)] * 3)
    live = recipe_parts.measure([0], steps=1, every=1, switches=("recipe",))
    assert live.array("averaged_recipe").tolist() == [1]
    for quantity in ("exact", "nats", "right", "confidence"):
        assert live.array(f"{quantity}_recipe").tolist() == [0]


def test_test_days_are_looked_at_at_the_end_only(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    sample = recipe_parts.Dates.sample

    def spied(self, count: int, generator, split="train"):
        looks.append(split)
        return sample(self, count, generator, split)

    monkeypatch.setattr(recipe_parts.Dates, "sample", spied)
    recipe_parts.measure([0], steps=2, count=5, every=1, last=1, switches=("recipe",))
    on_the_way = looks[: looks.index("test")]
    assert on_the_way[0] == "validation"
    assert set(on_the_way[1:]) == {"train"}


def test_token_statistics_of_a_model_that_knows_nothing() -> None:
    model = new_reader(0)
    with torch.no_grad():
        model.readout.weight.zero_()
        model.readout.bias.zero_()
        model.readout.bias[2] = 1.0  # END, one of eleven tokens of each target
    nats, right, confidence = token_statistics(model, 30, seed=0)
    count = len(model.readout.bias)
    best = torch.e / (torch.e + count - 1)
    assert right == pytest.approx(1 / 11)
    assert confidence == pytest.approx(float(best), rel=1e-5)
    total = torch.log(torch.tensor(torch.e + count - 1)).item()
    assert nats == pytest.approx(total - 1 / 11, rel=1e-5)


def test_what_is_stored_in_numbers() -> None:
    stored = load_result("recipe_parts")
    right, sure = stored.mean("right_recipe"), stored.mean("confidence_recipe")
    assert right - sure > 0.08
    assert abs(stored.mean("right_no_smoothing") - stored.mean("confidence_no_smoothing")) < 0.01
    assert stored.mean("nats_recipe") > 5 * stored.mean("nats_no_smoothing")
    assert (stored.array("exact_fast") - stored.array("exact_fast_no_warmup")).min() > 0.2
    assert (stored.array("averaged_inverse_sqrt") > stored.array("exact_inverse_sqrt")).all()
    assert gain(stored, "by_length").min() > 0


def test_smoothing_makes_a_model_doubt_again() -> None:
    live = recipe_parts.measure([100], steps=150, count=200, switches=("recipe", "no_smoothing"))
    doubt = {
        name: live.mean(f"right_{name}") - live.mean(f"confidence_{name}") for name in ("recipe", "no_smoothing")
    }
    assert doubt["recipe"] > doubt["no_smoothing"]
    for batching in ("random", "length"):
        stored = load_result("recipe_parts").mean(f"padding_{batching}")
        assert live.mean(f"padding_{batching}") == pytest.approx(float(stored), abs=0.02)
