"""C9.6's instrument: the same tokens for both models at every length."""

import numpy as np
import pytest
import torch

from transformer_book.experiments import load_result, parallel_time
from transformer_book.experiments.parallel_time import NAMES, new_pair, training_step


@pytest.mark.parametrize("name", NAMES)
def test_a_step_leaves_a_gradient_in_every_weight(name: str) -> None:
    model = new_pair(name, width=12, longest=5, seed=0)
    training_step(model, batch_size=3, length=5, seed=0)()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_both_learn_from_the_same_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[torch.Tensor]] = {}
    for name in NAMES:
        model = new_pair(name, width=12, longest=7, seed=0)
        model.register_forward_hook(lambda _, inputs, __, name=name: seen.setdefault(name, []).extend(inputs))
        training_step(model, batch_size=3, length=7, seed=4)()
    for ours, theirs in zip(*seen.values(), strict=True):
        assert ours.shape == (3, 7)
        assert torch.equal(ours, theirs)
        assert (ours != 0).all()


def test_a_measurement_has_every_quantity() -> None:
    result = parallel_time.measure([0], lengths=(4, 8), tokens=16, width=12, repeats=1)
    times = {name: result.array(f"seconds_{name}") for name in NAMES}
    assert all(values.shape == (1, 2) and (values > 0).all() for values in times.values())
    assert result.array("ratio") == pytest.approx(times["attention"] / times["transformer"])  # one round
    weights = [int(result.array(f"parameters_{name}")[0]) for name in NAMES]
    assert weights == [sum(w.numel() for w in new_pair(name, 12, 8, 0).parameters()) for name in NAMES]


def test_a_second_step_starts_from_no_gradient() -> None:
    model = new_pair("attention", width=12, longest=5, seed=0)
    step = training_step(model, batch_size=3, length=5, seed=0)
    gradients = []
    for _ in range(2):
        step()
        gradients.append([weight.grad.clone() for weight in model.parameters()])
    assert all(map(torch.equal, *gradients))


def test_times_are_those_of_a_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, times = [], {"attention/4": [8.0], "attention/8": [8.0], "transformer/4": [2.0], "transformer/8": [1.0]}

    def made(model, batch_size: int, length: int, seed: int):
        sizes.append((batch_size, length))
        return lambda: None

    monkeypatch.setattr(parallel_time, "training_step", made)
    monkeypatch.setattr(parallel_time, "interleaved_seconds", lambda works, *rest: {n: times[n] for n in works})
    live = parallel_time.measure([0], lengths=(4, 8), tokens=16, width=12)
    assert set(sizes) == {(4, 4), (2, 8)}
    assert live.array("seconds_attention").tolist() == [[2, 4]]  # of four sequences, and of two
    assert live.array("seconds_transformer").tolist() == [[0.5, 0.5]]
    assert live.array("ratio").tolist() == [[4, 8]]


def test_lengths_divide_the_tokens() -> None:
    with pytest.raises(ValueError, match=r"^lengths: expected divisors of 16 tokens, got 5$"):
        parallel_time.measure([0], lengths=(4, 5), tokens=16)


def test_the_claim_can_fail(made_up) -> None:
    values = {"ratio": [[1.0, 3.0, 8.0]], "parameters_attention": [100], "parameters_transformer": [110]}
    settings = {"lengths": [8, 64, 512], "tokens": 1024}
    judge = parallel_time.CLAIMS["C9.6"].judge
    assert judge(made_up("parallel_time", values, **settings)).holds is True
    for change in ({"ratio": [[1.0, 3.0, 1.9]]}, {"ratio": [[0.5, 1.5, 8.0]]}, {"parameters_attention": [50]}):
        assert judge(made_up("parallel_time", {**values, **change}, **settings)).holds is False, change


@pytest.mark.alone
def test_the_ratio_grows_in_the_stored_result_and_in_a_quick_run() -> None:
    stored = load_result("parallel_time")
    assert (np.diff(stored.mean("ratio")) > 0).all()
    assert stored.mean("ratio")[-1] > 5
    live = parallel_time.measure([100], lengths=(8, 128), tokens=256, repeats=3)
    first, last = live.mean("ratio")
    assert last > 1.5 * first
    assert stored.settings["width"] == live.settings["width"]
