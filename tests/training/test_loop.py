"""The training loop against one written here with torch's own parts; and that stopping it changes nothing."""

import copy
import random
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from transformer_book.seq2seq import Seq2Seq, Seq2SeqConfig
from transformer_book.tasks.copying import Copying
from transformer_book.training import (
    TrainingConfig,
    learning_rate,
    make_batch,
    masked_cross_entropy,
    new_model,
    read_checkpoint,
    seconds_per_step,
    train,
)
from transformer_book.training import loop as loop_module
from transformer_book.training.batches import Examples, cut

Make = Callable[..., Any]
Same = Callable[[nn.Module, nn.Module], bool]
WIDE = {"d_model": 16, "d_ff": 32, "dropout": 0.0, "norm_first": True}
SHORT = TrainingConfig(steps=7, batch_size=3, learning_rate=0.1, warmup=0.3, clip_norm=0.5, seed=11)


# --- the loss ------------------------------------------------------------------------------------------------


def test_loss_is_the_mean_over_real_tokens_and_so_is_its_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[3, 6, 1, 2, 0], [5, 2, 0, 0, 0]])
    ours = masked_cross_entropy(logits, target)
    [gradient] = torch.autograd.grad(ours, logits)
    real = [(b, t) for b in range(2) for t in range(5) if target[b, t] != 0]
    assert len(real) == 6
    log_p = logits.log_softmax(dim=-1)
    theirs = -torch.stack([log_p[b, t, target[b, t]] for b, t in real]).sum() / 6
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient, torch.autograd.grad(theirs, logits)[0])
    assert torch.equal(gradient[target == 0], torch.zeros(4, 7, dtype=torch.float64))


def test_more_padding_does_not_change_the_loss() -> None:
    logits = torch.randn(2, 11, 7, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([[3, 6, 1, 2, 4], [5, 2, 4, 4, 4]])
    longer = torch.cat([target, torch.full((2, 6), 4)], dim=1)
    expected = masked_cross_entropy(logits[:, :5], target, pad_id=4)
    torch.testing.assert_close(masked_cross_entropy(logits, longer, pad_id=4), expected)


@pytest.mark.parametrize(
    ("logits", "target"),
    [((2, 5, 7), (2, 3)), ((2, 5, 7), (3, 5)), ((5, 7), (5,)), ((2, 5, 7), (10,))],
    ids=str,
)
def test_loss_wants_one_target_for_each_prediction(logits: tuple[int, ...], target: tuple[int, ...]) -> None:
    message = f"logits and target: expected shapes (B, T, V) and (B, T), got {logits} and {target}"
    with pytest.raises(ValueError, match=re.escape(message)):
        masked_cross_entropy(torch.zeros(logits), torch.ones(target, dtype=torch.long))


def test_loss_wants_a_token() -> None:
    with pytest.raises(ValueError, match=r"^target: expected at least one token, got only padding$"):
        masked_cross_entropy(torch.zeros(2, 5, 7), torch.zeros(2, 5, dtype=torch.long))


def test_a_smoothed_loss_is_the_cross_entropy_to_a_smoothed_answer() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[3, 6, 1, 2, 0], [5, 2, 0, 0, 0]])
    ours = masked_cross_entropy(logits, target, label_smoothing=0.3)
    answer = torch.full((2, 5, 7), 0.3 / 7, dtype=torch.float64)
    answer.scatter_add_(2, target[..., None], torch.full((2, 5, 1), 0.7, dtype=torch.float64))
    each = -(answer * logits.log_softmax(dim=-1)).sum(dim=-1)
    theirs = each[target != 0].mean()
    torch.testing.assert_close(ours, theirs)
    [gradient], [expected] = (torch.autograd.grad(loss, logits) for loss in (ours, theirs))
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("label_smoothing", [0.1, 0.9])
def test_a_smoothed_loss_stays_finite_where_a_probability_is_zero(label_smoothing: float) -> None:
    logits = torch.tensor([[[0.0, -torch.inf, 1.0, -1e30, 2e5]]], requires_grad=True)
    loss = masked_cross_entropy(logits, torch.tensor([[4]]), label_smoothing=label_smoothing)
    loss.backward()
    assert 100 < loss.item() < 1e4
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_the_least_smoothed_loss_is_at_the_smoothed_answer() -> None:
    answer = torch.tensor([0.1 / 4, 0.9 + 0.1 / 4, 0.1 / 4, 0.1 / 4])
    target = torch.tensor([[1]])
    best = masked_cross_entropy(answer.log()[None, None], target, label_smoothing=0.1)
    assert best.item() == pytest.approx(-(answer * answer.log()).sum().item(), rel=1e-5)
    sure = masked_cross_entropy(torch.tensor([[[0.0, 20.0, 0.0, 0.0]]]), target, label_smoothing=0.1)
    assert best < sure


@pytest.mark.parametrize("label_smoothing", [-0.1, 1.0])
def test_smoothing_out_of_range_is_told(label_smoothing: float) -> None:
    message = f"label_smoothing: expected a probability from 0 to below 1, got {label_smoothing}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        masked_cross_entropy(torch.zeros(1, 1, 3), torch.ones(1, 1, dtype=torch.long), 0, label_smoothing)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        TrainingConfig(label_smoothing=label_smoothing)


# --- the learning rate ---------------------------------------------------------------------------------------


def test_learning_rate_rises_to_the_largest_and_falls_towards_zero() -> None:
    config = TrainingConfig(steps=10, learning_rate=6.0, warmup=0.2)
    expected = [2, 4, 6, *(6 * left / 8 for left in range(7, 0, -1))]
    assert [learning_rate(step, config) for step in range(10)] == pytest.approx(expected)


def test_without_warmup_it_only_falls() -> None:
    config = TrainingConfig(steps=4, learning_rate=1.0, warmup=0.0)
    assert [learning_rate(step, config) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]


@pytest.mark.parametrize(("d_model", "warmup"), [(512, 4000), (32, 7)])
def test_the_paper_s_schedule(d_model: int, warmup: int) -> None:
    steps, largest = 10 * warmup, (d_model * warmup) ** -0.5
    config = TrainingConfig(steps=steps, learning_rate=largest, warmup=0.1, schedule="inverse_sqrt")
    for step in (0, 1, warmup // 2, warmup - 2, warmup - 1, warmup, 3 * warmup, steps - 1):
        number = step + 1  # the paper counts from 1
        expected = d_model**-0.5 * min(number**-0.5, number * warmup**-1.5)
        assert learning_rate(step, config) == pytest.approx(expected, rel=1e-12)


def test_the_paper_s_schedule_without_warmup_starts_at_the_largest() -> None:
    config = TrainingConfig(steps=4, learning_rate=6.0, warmup=0.0, schedule="inverse_sqrt")
    assert [learning_rate(step, config) for step in range(4)] == pytest.approx([6, 6 / 2**0.5, 6 / 3**0.5, 3])


@given(st.integers(1, 300), st.floats(0, 1))
def test_learning_rate_is_never_zero_nor_over_the_largest(steps: int, warmup: float) -> None:
    config = TrainingConfig(steps=steps, learning_rate=0.5, warmup=warmup)
    rates = [learning_rate(step, config) for step in range(steps)]
    assert all(0 < rate <= 0.5 for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert top == min(round(warmup * steps), steps - 1)


# --- seeds ---------------------------------------------------------------------------------------------------


def test_weights_depend_on_the_seed_alone(same: Same) -> None:
    config = Seq2SeqConfig(13, 13, d_embed=3, d_hidden=7)
    torch.manual_seed(1)
    first = new_model(config, 5)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert same(first, new_model(config, 5))
    assert not same(first, new_model(config, 6))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_transformer_s_weights_depend_on_the_seed_alone(
    make_transformer: Callable[..., Any], same: Same
) -> None:
    first = make_transformer(5)
    torch.manual_seed(2)
    assert same(first, make_transformer(5))
    assert not same(first, make_transformer(6))


def test_dropout_depends_on_seed_and_step_alone(
    task: Copying,
    make_transformer: Callable[..., Any],
    same: Same,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Interrupted after two steps and resumed in another random state, it ends in the same weights."""
    whole, again = make_transformer(), make_transformer()
    losses = train(whole, task, SHORT)
    torch.manual_seed(99)
    steps: list[int] = []

    def stop(*_: object) -> None:
        steps.append(1)
        if len(steps) == 3:
            raise KeyboardInterrupt

    handle = again.register_forward_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        train(again, task, SHORT, checkpoint=tmp_path / "checkpoint")
    handle.remove()
    torch.manual_seed(7)
    before = torch.get_rng_state()
    resumed = make_transformer()
    assert train(resumed, task, SHORT, checkpoint=tmp_path / "checkpoint") == losses
    assert same(resumed, whole)
    assert torch.equal(torch.get_rng_state(), before)
    another = make_transformer()
    monkeypatch.setattr(loop_module, "Examples", lambda task, _: Examples(task, SHORT))
    assert train(another, task, replace(SHORT, seed=12)) != losses  # the same examples, other units dropped
    assert len({round(loss, 6) for loss in losses}) == len(losses)


def test_a_batch_depends_on_seed_and_step_alone(task: Copying) -> None:
    batch = make_batch(task, SHORT, 4)
    random.seed(0)
    again = make_batch(task, replace(SHORT, steps=99), 4)
    assert torch.equal(batch.source, again.source)
    assert torch.equal(batch.target, again.target)
    assert batch.source.shape[0] == 3
    another_step, another_seed = make_batch(task, SHORT, 5), make_batch(task, replace(SHORT, seed=12), 4)
    drawn = [drawn.source.tolist() for drawn in (batch, another_step, another_seed)]
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]  # nor is one seed the other some steps later


def test_training_leaves_the_global_random_states(task: Copying, make_model: Make) -> None:
    model = make_model()
    before = random.getstate(), torch.get_rng_state()
    train(model, task, SHORT)
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_only_training_examples_are_seen(task: Copying, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    sample = task.sample

    def spy(count: int, generator: random.Random, split: str = "train") -> Any:
        seen.append((count, split))
        return sample(count, generator, split)

    monkeypatch.setattr(task, "sample", spy)
    make_batch(task, SHORT, 0)
    assert seen == [(3, "train")]


# --- the loop ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("parts", [{}, {"cell": "lstm", "score": "additive"}], ids=["context", "attention"])
def test_train_is_the_loop_written_with_parts_of_torch(
    task: Copying, make_model: Make, parts: dict[str, str], label_smoothing: float
) -> None:
    config = replace(SHORT, label_smoothing=label_smoothing)
    model, theirs = make_model(**parts).double(), make_model(**parts).double()
    optimizer = torch.optim.Adam(theirs.parameters(), lr=0.1, foreach=False)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(step, SHORT) / 0.1)
    criterion = nn.CrossEntropyLoss(ignore_index=0, label_smoothing=label_smoothing)
    expected, shortened = [], 0
    for step in range(SHORT.steps):
        source, target = make_batch(task, SHORT, step)
        optimizer.zero_grad()
        loss = criterion(theirs(source, target[:, :-1]).transpose(1, 2), target[:, 1:])
        loss.backward()
        shortened += bool(nn.utils.clip_grad_norm_(theirs.parameters(), 0.5) > 0.5)
        optimizer.step()
        rates.step()
        expected.append(loss.item())
    assert 0 < shortened < SHORT.steps  # clipping is tried, on and off
    assert train(model, task, config) == pytest.approx(expected, rel=1e-10)
    for ours, other in zip(model.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-9, atol=1e-12)


def test_the_model_is_moved_and_set_to_training(
    task: Copying, make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model().eval()
    moved = []
    monkeypatch.setattr(Seq2Seq, "to", lambda model, device: moved.append(device) or model)
    train(model, task, SHORT, device=torch.device("cpu", 0))
    assert moved == [torch.device("cpu", 0)]
    assert model.training


def test_training_teaches(make_model: Make) -> None:
    task = Copying(longest=2)
    losses = train(make_model(d_hidden=23), task, TrainingConfig(steps=150, batch_size=32, learning_rate=0.02))
    assert len(losses) == 150
    assert sum(losses[:5]) / 5 > 2
    assert sum(losses[-5:]) / 5 < 0.3


@pytest.mark.parametrize("progress", [False, True])
def test_progress_is_shown_when_asked_for(
    task: Copying, make_model: Make, capsys: pytest.CaptureFixture[str], progress: bool
) -> None:
    train(make_model(), task, SHORT, progress=progress)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert ("7/7" in printed.err and "loss=" in printed.err) is progress
    assert progress or printed.err == ""


def test_timing_leaves_the_model(task: Copying, make_model: Make, same: Same) -> None:
    model = make_model()
    assert 0 < seconds_per_step(model, task, SHORT) < 10
    assert same(model, make_model())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "steps: expected an integer ≥ 1, got 0"),
        ({"batch_size": -1}, "batch_size: expected an integer ≥ 1, got -1"),
        ({"learning_rate": 0.0}, "learning_rate: expected a number > 0, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate: expected a number > 0, got nan"),
        ({"clip_norm": float("inf")}, "clip_norm: expected a number > 0, got inf"),
        ({"schedule": "cosine"}, "schedule: expected one of linear, inverse_sqrt, got 'cosine'"),
        ({"warmup": 1.1}, "warmup: expected a part of the steps from 0 to 1, got 1.1"),
        ({"batching": "sorted"}, "batching: expected one of random, length, got 'sorted'"),
        ({"precision": "float16"}, "precision: expected one of float32, bfloat16, got 'float16'"),
        ({"parts": 0}, "parts: expected an integer ≥ 1, got 0"),
        ({"parts": 3}, "parts: expected a divisor of batch_size, got 3 and batch_size 64"),
        ({"beta1": 1.0}, "beta1: expected a share from 0 to below 1, got 1.0"),
        ({"beta2": -0.1}, "beta2: expected a share from 0 to below 1, got -0.1"),
        ({"epsilon": 0.0}, "epsilon: expected a number > 0, got 0.0"),
        ({"weight_decay": -1.0}, "weight_decay: expected a number ≥ 0, got -1.0"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_wrong_settings_are_told(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        TrainingConfig(**values)


def no_number(logits: Tensor) -> Tensor:
    return logits * float("nan")


def infinite_loss(logits: Tensor) -> Tensor:
    """The loss overflows, its gradient does not."""
    offset = torch.full_like(logits, 3e38)
    offset[..., ::2] = -3e38
    return logits + offset


def infinite_gradient(logits: Tensor) -> Tensor:
    logits.register_hook(lambda gradient: gradient * float("inf"))
    return logits


@pytest.mark.parametrize("spoil", [no_number, infinite_loss, infinite_gradient])
def test_what_is_not_finite_ends_the_training_before_it_spoils_a_weight(
    task: Copying, make_model: Make, same: Same, spoil: Callable[[Tensor], Tensor]
) -> None:
    model = make_model()
    calls: list[Tensor] = []

    def hook(_: nn.Module, __: object, logits: Tensor) -> Tensor:
        calls.append(logits)
        return spoil(logits) if len(calls) == 3 else logits

    model.register_forward_hook(hook)
    with pytest.raises(FloatingPointError, match=r"^step 2: expected a finite loss and gradient, got loss "):
        train(model, task, SHORT)
    assert all(weight.isfinite().all() for weight in model.parameters())
    assert not same(model, make_model())  # the two steps before count


# --- parts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [2, 3, 6])
@pytest.mark.parametrize("kind", ["recurrent", "transformer"])
def test_the_parts_of_a_batch_teach_what_the_whole_does(
    task: Copying, make_model: Make, make_transformer: Make, kind: str, parts: int
) -> None:
    """Its parts have unequal numbers of target tokens, so a plain mean over parts would be another loss."""
    config = replace(SHORT, batch_size=6, label_smoothing=0.1)
    make = make_model if kind == "recurrent" else partial(make_transformer, dropout=0.0)
    counts = {sum(len(e.target) for e in part) for part in cut(Examples(task, config).of(0), parts)}
    assert len(counts) > 1
    whole, cut_up = make().double(), make().double()
    expected = train(whole, task, config)
    assert train(cut_up, task, replace(config, parts=parts)) == pytest.approx(expected, abs=1e-12)
    for one, other in zip(cut_up.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert train(make(), task, replace(config, parts=parts)) == pytest.approx(expected, abs=1e-6)


def test_every_part_drops_units_of_its_own(task: Copying, make_transformer: Make) -> None:
    seeds: list[int] = []
    config = replace(SHORT, batch_size=6, parts=3)

    def look(*_: object) -> None:
        seeds.append(torch.initial_seed())

    model = make_transformer()
    model.register_forward_pre_hook(look)
    train(model, task, config)
    assert len(set(seeds)) == 3 * SHORT.steps
    one_part: list[int] = []
    model = make_transformer()
    model.register_forward_pre_hook(lambda *_: one_part.append(torch.initial_seed()))
    train(model, task, replace(config, parts=1))
    assert seeds[::3] == one_part


def test_one_part_is_in_memory_at_a_time(task: Copying, make_model: Make) -> None:
    sizes: list[int] = []
    model = make_model()
    model.register_forward_hook(lambda *arguments: sizes.append(len(arguments[-1])))
    train(model, task, replace(SHORT, batch_size=6, parts=3))
    assert sizes == [2] * 3 * SHORT.steps


# --- precision -----------------------------------------------------------------------------------------------

MODELS = [
    {"cell": "gru"},
    {"cell": "gru", "score": "additive"},
    {"cell": "lstm", "score": "scaled_dot"},
    {"cell": "rnn", "score": "bilinear"},
    {"positions": "sinusoidal"},
    {"positions": "rotary", "norm_first": True, "d_model": 8},
    {"positions": "learned", "shared_embeddings": True},
]


@pytest.mark.parametrize("parts", MODELS, ids=lambda parts: "-".join(map(str, parts.values())))
def test_any_model_trains_in_bfloat16_and_keeps_its_weights_in_float32(
    task: Copying, make_model: Make, make_transformer: Make, parts: dict[str, Any]
) -> None:
    make = partial(make_model if "cell" in parts else make_transformer, **parts)
    config = replace(SHORT, precision="bfloat16", learning_rate=0.01)
    model, exact = make(), make()
    seen: set[torch.dtype] = set()
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(lambda *arguments: seen.add(arguments[-1].dtype))
    losses, expected = train(model, task, config), train(exact, task, replace(config, precision="float32"))
    assert losses == pytest.approx(expected, rel=0.02)
    assert losses != expected
    assert seen == {torch.bfloat16}
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_the_loss_is_taken_in_float32(task: Copying, make_model: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[torch.dtype, bool]] = []

    def spy(logits: Tensor, *arguments: Any) -> Tensor:
        seen.append((logits.dtype, torch.is_autocast_enabled("cpu")))
        return masked_cross_entropy(logits, *arguments)

    monkeypatch.setattr(loop_module, "masked_cross_entropy", spy)
    train(make_model(), task, replace(SHORT, precision="bfloat16"))
    assert seen == [(torch.float32, False)] * SHORT.steps


@pytest.mark.parametrize("kind", ["recurrent", "transformer"])
def test_bfloat16_teaches_as_well(make_model: Make, make_transformer: Make, kind: str) -> None:
    """Of more than two nats a token that are learnt, the mean over three seeds differs by less than 0.05."""
    task = Copying(longest=2)
    make = partial(make_model, d_hidden=23) if kind == "recurrent" else partial(make_transformer, **WIDE)
    last: dict[str, list[float]] = {}
    for precision in ("float32", "bfloat16"):
        for seed in range(3):
            config = TrainingConfig(120, 32, 0.02, seed=seed, precision=precision)
            losses = train(make(seed), task, config)
            last.setdefault(precision, []).append(sum(losses[-10:]) / 10)
    assert max(last["bfloat16"]) < 0.5 < 2.5 < losses[0]
    assert abs(sum(last["bfloat16"]) - sum(last["float32"])) / 3 < 0.05


# --- the optimiser -------------------------------------------------------------------------------------------


def test_decay_and_the_means_of_adam_are_those_asked_for(task: Copying, make_model: Make) -> None:
    config = replace(SHORT, beta1=0.7, beta2=0.98, epsilon=1e-3, weight_decay=0.5)
    model, theirs = make_model().double(), make_model().double()
    groups = [
        {"params": [weight for weight in theirs.parameters() if weight.ndim == 2]},
        {"params": [weight for weight in theirs.parameters() if weight.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, 0.1, (0.7, 0.98), 1e-3, weight_decay=0.5, foreach=False)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(step, SHORT) / 0.1)
    for step in range(SHORT.steps):
        source, target = make_batch(task, SHORT, step)
        optimizer.zero_grad()
        masked_cross_entropy(theirs(source, target[:, :-1]), target[:, 1:]).backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        optimizer.step()
        rates.step()
    train(model, task, config)
    for ours, other in zip(model.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-9, atol=1e-12)


# --- after each step -----------------------------------------------------------------------------------------


def test_what_is_called_after_a_step_does_not_change_the_training(
    task: Copying, make_transformer: Make, same: Same
) -> None:
    plain, watched = make_transformer(), make_transformer()
    losses = train(plain, task, SHORT)
    seen: list[int] = []
    modes: list[bool] = []

    def look(done: int) -> None:
        seen.append(done)
        modes.append(watched.training)
        watched.eval()
        batch = make_batch(task, SHORT, 99)
        masked_cross_entropy(watched(batch.source, batch.target[:, :-1]), batch.target[:, 1:]).backward()
        torch.manual_seed(done)
        torch.rand(7)
        random.random()

    assert train(watched, task, SHORT, after_step=look) == losses
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert all(modes)
    assert watched.training
    assert same(watched, plain)


def test_a_training_that_goes_on_calls_for_the_steps_left(task: Copying, make_model: Make, tmp_path: Path) -> None:
    def interrupt(done: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(make_model(), task, SHORT, checkpoint=tmp_path / "checkpoint", after_step=interrupt)
    seen: list[int] = []
    train(make_model(), task, SHORT, checkpoint=tmp_path / "checkpoint", after_step=seen.append)
    assert seen == [5, 6, 7]


# --- a device that is not waited for ---------------------------------------------------------------------------


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the losses every four steps, as on a GPU."""
    monkeypatch.setattr(loop_module, "LOOK_EVERY", {"cpu": 4})


@pytest.mark.usefixtures("unhurried")
def test_losses_looked_at_later_are_the_same(
    task: Copying, make_model: Make, whole: tuple[Seq2Seq, list[float]], same: Same,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    model = make_model()
    assert train(model, task, SHORT, progress=True) == whole[1]
    assert same(model, whole[0])
    assert "7/7" in capsys.readouterr().err


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("stop", range(1, 8))
def test_interrupted_before_a_look_no_step_is_lost(
    task: Copying, make_model: Make, whole: tuple[Seq2Seq, list[float]], same: Same, tmp_path: Path, stop: int
) -> None:
    def interrupt(done: int) -> None:
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(make_model(), task, SHORT, checkpoint=tmp_path / "checkpoint", after_step=interrupt)
    assert read_checkpoint(tmp_path / "checkpoint")["losses"] == whole[1][:stop]
    again, losses = resumed(make_model, task, tmp_path / "checkpoint")
    assert losses == whole[1]
    assert same(again, whole[0])


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("spoil", [no_number, infinite_loss, infinite_gradient])
def test_what_is_not_finite_spoils_nothing_until_it_is_looked_at(
    task: Copying, make_model: Make, same: Same, tmp_path: Path, spoil: Callable[[Tensor], Tensor]
) -> None:
    """Two more steps come before the look; the weights, the optimiser and the checkpoint must not know of them."""
    config = replace(SHORT, average_last=3, average_every=2)
    whole, model, again = make_model(), make_model(), make_model(seed=99)
    states: list[dict[str, Tensor]] = []
    expected = train(whole, task, config, after_step=lambda _: states.append(copy.deepcopy(whole.state_dict())))
    calls: list[Tensor] = []

    def hook(_: nn.Module, __: object, logits: Tensor) -> Tensor:
        calls.append(logits)
        return spoil(logits) if len(calls) == 2 else logits

    handle = model.register_forward_hook(hook)
    with pytest.raises(FloatingPointError, match=r"^step 1: expected a finite loss and gradient, got loss "):
        train(model, task, config, checkpoint=tmp_path / "checkpoint")
    handle.remove()
    assert len(calls) in (3, 4)
    stored = read_checkpoint(tmp_path / "checkpoint")
    assert stored["losses"] == expected[:1]
    assert all(torch.equal(weight, states[0][name]) for name, weight in stored["model"].items())
    assert all(torch.equal(weight, states[0][name]) for name, weight in model.state_dict().items())
    assert train(again, task, config, checkpoint=tmp_path / "checkpoint") == expected
    assert same(again, whole)


# --- checkpoint and resume -----------------------------------------------------------------------------------


def resumed(make_model: Make, task: Copying, checkpoint: Path) -> tuple[Seq2Seq, list[float]]:
    """Go on in another model, as another process would."""
    model = make_model(seed=99)
    return model, train(model, task, SHORT, checkpoint=checkpoint)


@pytest.fixture
def whole(make_model: Make, task: Copying) -> tuple[Seq2Seq, list[float]]:
    """A training that nothing interrupts, and that keeps no checkpoint."""
    model = make_model()
    return model, train(model, task, SHORT)


@pytest.mark.parametrize("stop", range(1, 8))
@pytest.mark.parametrize("place", ["before the loss", "in the update"])
def test_an_interrupted_training_ends_in_the_same_weights(
    task: Copying,
    make_model: Make,
    whole: tuple[Seq2Seq, list[float]],
    same: Same,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop: int,
    place: str,
) -> None:
    checkpoint = tmp_path / "new" / "checkpoint"
    model = make_model()
    update = torch.optim.AdamW.step
    calls: list[int] = []

    def interrupt(*_: object) -> None:
        calls.append(1)
        if len(calls) == stop:
            raise KeyboardInterrupt

    def half_an_update(optimizer: torch.optim.AdamW) -> None:
        if len(calls) == stop - 1:
            with torch.no_grad():
                next(model.parameters()).add_(1.0)
        interrupt()
        update(optimizer)

    with monkeypatch.context() as patched:
        if place == "in the update":
            patched.setattr(torch.optim.AdamW, "step", half_an_update)
        else:
            model.register_forward_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(model, task, SHORT, checkpoint=checkpoint, checkpoint_every=3)
    done = len(read_checkpoint(checkpoint)["losses"])
    assert done == (stop - 1 if place == "before the loss" else (stop - 1) // 3 * 3)
    again, losses = resumed(make_model, task, checkpoint)
    assert same(again, whole[0])
    assert losses == whole[1]
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


TRACED = ("training/loop.py", "training/batches.py", "training/checkpoint.py", "book/files.py")


@pytest.mark.parametrize("look_every", [1, 2])
def test_interrupted_at_any_line_of_the_loop_it_ends_in_the_same_weights(
    task: Copying, make_model: Make, same: Same, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look_every: int
) -> None:
    """Every line of `train` and of what it writes with, the first time and the last time it is reached."""
    monkeypatch.setattr(loop_module, "LOOK_EVERY", {"cpu": look_every})
    config = replace(SHORT, steps=2, batch_size=2, parts=2, average_last=2, average_every=1)
    whole = make_model(cell="rnn")
    expected = train(whole, task, config)

    def interrupted(checkpoint: Path, moment: int = 0) -> list[tuple[str, int]]:
        """Train, interrupted at a moment if there is one; return the lines reached."""
        lines: list[tuple[str, int]] = []

        def trace(frame: FrameType, event: str, _: object) -> Any:
            if not frame.f_code.co_filename.endswith(TRACED):
                return None
            if event == "line":
                lines.append((frame.f_code.co_filename, frame.f_lineno))
                if len(lines) == moment:
                    raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            train(make_model(cell="rnn"), task, config, checkpoint=checkpoint, checkpoint_every=1)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        return lines

    lines = interrupted(tmp_path / "whole")
    first = {line: moment for moment, line in reversed([*enumerate(lines, 1)])}
    last = {line: moment for moment, line in enumerate(lines, 1)}
    assert len(first) > 80
    for moment in sorted({*first.values(), *last.values()}):
        checkpoint = tmp_path / str(moment)
        assert lines[moment - 1] in interrupted(checkpoint, moment)
        model = make_model(cell="rnn", seed=99 if checkpoint.exists() else 0)  # nothing stored: from the start
        assert train(model, task, config, checkpoint=checkpoint) == expected
        assert same(model, whole)


def test_killed_while_it_writes_the_last_checkpoint_stands(
    task: Copying, make_model: Make, whole: tuple[Seq2Seq, list[float]], same: Same, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    checkpoint = tmp_path / "checkpoint"
    save, writes = torch.save, []

    def half(data: object, path: Path) -> None:
        writes.append(path)
        if len(writes) >= 3:  # at the start, after two steps, and now: nothing more is ever written
            path.write_bytes(b"PK half of")
            raise KeyboardInterrupt
        save(data, path)

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", half)
        with pytest.raises(KeyboardInterrupt):
            train(make_model(), task, SHORT, checkpoint=checkpoint, checkpoint_every=2)
    assert len(read_checkpoint(checkpoint)["losses"]) == 2
    again, losses = resumed(make_model, task, checkpoint)
    assert same(again, whole[0])
    assert losses == whole[1]


def test_a_finished_training_has_nothing_left_to_do(
    task: Copying, make_model: Make, whole: tuple[Seq2Seq, list[float]], same: Same, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    checkpoint = tmp_path / "checkpoint"
    train(make_model(), task, SHORT, checkpoint=checkpoint)
    monkeypatch.delattr(Copying, "sample")
    again, losses = resumed(make_model, task, checkpoint)
    assert same(again, whole[0])
    assert losses == whole[1]


def test_the_progress_goes_on_where_it_stopped(
    task: Copying, make_model: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "checkpoint"
    train(make_model(), task, SHORT, checkpoint=checkpoint)
    train(make_model(), task, SHORT, checkpoint=checkpoint, progress=True)
    shown = capsys.readouterr().err
    assert "7/7" in shown
    assert "0/7" not in shown


def test_checkpoints_come_as_often_as_asked_for(
    task: Copying, make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    monkeypatch.setattr(
        "transformer_book.training.loop.save_checkpoint", lambda *arguments: steps.append(len(arguments[-2]))
    )
    train(make_model(), task, SHORT, checkpoint=tmp_path / "checkpoint", checkpoint_every=3)
    assert steps == [0, 3, 6, 7]


def test_a_checkpoint_that_cannot_be_written_is_known_before_the_first_step(
    task: Copying, make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    monkeypatch.delattr(Copying, "sample")
    with pytest.raises(OSError, match="file"):
        train(make_model(), task, SHORT, checkpoint=file / "below")
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "expected", "got"),
    [
        ({"steps": 8}, "training.steps 8", "training.steps 7"),
        ({"seed": 12}, "training.seed 12", "training.seed 11"),
        ({"learning_rate": 0.2}, "training.learning_rate 0.2", "training.learning_rate 0.1"),
    ],
)
def test_the_checkpoint_of_another_training_is_refused_and_left(
    task: Copying, make_model: Make, same: Same, tmp_path: Path, change: dict[str, Any], expected: str, got: str
) -> None:
    checkpoint = tmp_path / "checkpoint"
    train(make_model(), task, SHORT, checkpoint=checkpoint)
    before = checkpoint.read_bytes()
    model = make_model()
    message = f"{checkpoint}: expected the checkpoint of a training with {expected}; got {got}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        train(model, task, replace(SHORT, **change), checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before
    assert same(model, make_model())


def test_another_task_or_model_is_another_training(task: Copying, make_model: Make, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    train(make_model(), task, SHORT, checkpoint=checkpoint)
    with pytest.raises(ValueError, match=r"with task.longest 6; got task.longest 5$"):
        train(make_model(), Copying(longest=6), SHORT, checkpoint=checkpoint)
    with pytest.raises(
        ValueError, match=r"with model.cell 'rnn', model.score 'dot'; got model.cell 'gru', model.sco"
    ):
        train(make_model(cell="rnn", score="dot"), task, SHORT, checkpoint=checkpoint)
