"""On a GPU: it learns what a CPU learns, is not waited for, and what is not finite spoils nothing."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from transformer_book.tasks.copying import Copying
from transformer_book.training import TrainingConfig, read_checkpoint, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
Make = Callable[..., Any]
CUDA = torch.device("cuda", 0)
CONFIG = TrainingConfig(steps=50, batch_size=12, learning_rate=0.01, seed=11, average_last=3, average_every=7)


@pytest.mark.parametrize("kind", ["recurrent", "transformer"])
@pytest.mark.parametrize("changes", [{}, {"parts": 3}, {"weight_decay": 0.1}], ids=str)
def test_a_gpu_learns_what_a_cpu_does(
    task: Copying, make_model: Make, make_transformer: Make, kind: str, changes: dict[str, Any]
) -> None:
    config = replace(CONFIG, **changes)
    losses = []
    for device in (torch.device("cpu"), CUDA):
        model = make_model(score="additive") if kind == "recurrent" else make_transformer(dropout=0.0)
        losses.append(train(model, task, config, device))
    assert losses[1] == pytest.approx(losses[0], abs=2e-3)


@pytest.mark.parametrize("kind", ["recurrent", "transformer"])
def test_bfloat16_learns_what_float32_does(
    task: Copying, make_model: Make, make_transformer: Make, kind: str
) -> None:
    losses = []
    for precision in ("float32", "bfloat16"):
        model = make_model(score="additive") if kind == "recurrent" else make_transformer(dropout=0.0)
        losses.append(train(model, task, replace(CONFIG, precision=precision), CUDA))
        assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_what_is_not_finite_spoils_nothing(task: Copying, make_transformer: Make, tmp_path: Path) -> None:
    """The third step of eight is the first that is not finite; the look comes after the last."""
    config = replace(CONFIG, steps=8, average_last=1)
    two, model = make_transformer(), make_transformer()

    def stop(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(two, task, config, CUDA, after_step=stop)
    calls: list[Tensor] = []

    def hook(_: nn.Module, __: object, logits: Tensor) -> Tensor:
        calls.append(logits)
        return logits * float("nan") if len(calls) == 3 else logits

    model.register_forward_hook(hook)
    with pytest.raises(FloatingPointError, match=r"^step 2: expected a finite loss"):
        train(model, task, config, CUDA, tmp_path / "checkpoint")
    assert len(calls) == 8
    assert len(read_checkpoint(tmp_path / "checkpoint")["losses"]) == 2
    for one, other in zip(model.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_the_loop_does_not_wait_for_the_device(task: Copying, make_transformer: Make) -> None:
    """Of 60 steps it waits at three, to read the losses."""
    model = make_transformer()
    train(model, task, replace(CONFIG, steps=20, average_last=1), CUDA)
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            train(model, task, replace(CONFIG, steps=60, average_last=1), CUDA)
        finally:
            torch.cuda.set_sync_debug_mode(before)
    waits = [warning for warning in caught if warning.filename.endswith("training/loop.py")]
    assert len(waits) <= 5
