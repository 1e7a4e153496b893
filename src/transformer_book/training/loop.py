"""The training loop: batches, loss, learning rate, one step after the other. Axis letters as in `shapes`."""

import copy
import math
import random
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from tqdm.auto import tqdm

from transformer_book.device import CPU, seeded
from transformer_book.shapes import shape_text
from transformer_book.tasks.task import Batch, Task, collate
from transformer_book.training.checkpoint import load_checkpoint, save_checkpoint
from transformer_book.training.models import Model

#: How the learning rate goes on after its warm-up; see `learning_rate`.
SCHEDULES = ("linear", "inverse_sqrt")


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained.

    Parameters
    ----------
    steps
        Number of updates of the weights.
    batch_size
        Examples a step.
    learning_rate
        The largest one; see `learning_rate`.
    warmup
        Part of the steps in which the learning rate rises, 0 … 1.
    clip_norm
        A gradient longer than this is shortened to it.
    seed
        Which examples are drawn and what dropout drops: both depend, in step i, on this and on i alone.
    schedule
        ``"linear"`` or ``"inverse_sqrt"``; see `learning_rate`.
    label_smoothing
        Probability spread evenly over the vocabulary in place of the right token's; see `masked_cross_entropy`.

    Raises
    ------
    ValueError
        A value is out of range.
    """

    steps: int = 1000
    batch_size: int = 64
    learning_rate: float = 3e-3
    warmup: float = 0.1
    clip_norm: float = 1.0
    seed: int = 0
    schedule: str = "linear"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected an integer ≥ 1, got {getattr(self, name)}")
        for name in ("learning_rate", "clip_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}: expected a number > 0, got {getattr(self, name)}")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup: expected a part of the steps from 0 to 1, got {self.warmup}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule: expected one of {', '.join(SCHEDULES)}, got {self.schedule!r}")
        _check_smoothing(self.label_smoothing)


def masked_cross_entropy(logits: Tensor, target: Tensor, pad_id: int = 0, label_smoothing: float = 0.0) -> Tensor:
    """Average −log p(token) over the tokens that are no padding.

    With label smoothing ε the right answer is 1 − ε for the token and ε spread evenly over all V tokens, and the
    loss is the cross-entropy to that; its least value is then above zero.

    Parameters
    ----------
    logits
        Shape ``(B, T, V)``.
    target
        Integer ids ``(B, T)``.
    pad_id
        The id of padding.
    label_smoothing
        ε, from 0 to below 1. Above 0 a logit counts as at most 10,000 below the largest of its row, so that a
        token of probability zero costs much and not infinitely much.

    Returns
    -------
    Tensor
        A number, in nats per token.

    Raises
    ------
    ValueError
        Shapes do not fit together, all is padding, or `label_smoothing` is out of range.

    Notes
    -----
    Source: Szegedy et al. 2016, section 7; Vaswani et al. 2017, section 5.4.
    """
    _check_smoothing(label_smoothing)
    if logits.ndim != 3 or logits.shape[:2] != target.shape:
        raise ValueError(
            "logits and target: expected shapes (B, T, V) and (B, T), "
            f"got {shape_text(logits)} and {shape_text(target)}"
        )
    if not (target != pad_id).any():
        raise ValueError("target: expected at least one token, got only padding")
    if label_smoothing:
        logits = logits.maximum(logits.detach().amax(dim=-1, keepdim=True) - 1e4)  # (B, T, V), all finite
    return F.cross_entropy(
        logits.flatten(0, 1), target.flatten(), ignore_index=pad_id, label_smoothing=label_smoothing
    )


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Learning rate of a step: rises linearly to its largest value, then falls.

    ``"linear"`` falls in a straight line, to zero after the last step. ``"inverse_sqrt"`` is the paper's: after w
    steps of warm-up it falls as √(w / step). The paper's own largest value is 1 / √(D·w).

    Parameters
    ----------
    step
        0 … ``config.steps`` − 1.
    config
        Has the largest value, the part of the steps in which it rises, and how it falls.

    Notes
    -----
    Source: Vaswani et al. 2017, section 5.3, equation 3 (``"inverse_sqrt"``).
    """
    warmup = round(config.warmup * config.steps)
    if config.schedule == "inverse_sqrt":
        progress = (step + 1) / max(warmup, 1)
        return config.learning_rate * min(progress, progress**-0.5)
    rising = (step + 1) / (warmup + 1)
    falling = (config.steps - step) / (config.steps - warmup) if step >= warmup else 1.0
    return config.learning_rate * min(rising, falling)


def make_batch(task: Task, config: TrainingConfig, step: int, device: torch.device = CPU) -> Batch:
    """Draw the training batch of one step, which depends on ``config.seed`` and `step` alone."""
    generator = random.Random(f"{config.seed}/{step}")
    examples = task.sample(config.batch_size, generator, split="train")
    return collate(examples, task.source_vocabulary, task.target_vocabulary, device)


def train(
    model: Model,
    task: Task,
    config: TrainingConfig,
    device: torch.device = CPU,
    checkpoint: Path | None = None,
    progress: bool = False,
    checkpoint_every: int = 200,
) -> list[float]:
    """Train a model by teacher forcing, with Adam; the model is changed in place.

    Parameters
    ----------
    model
        Moved to `device`.
    task
        Where examples come from.
    config
        How to train.
    device
        Where to compute.
    checkpoint
        File to go on from if it exists, and to write: at the start, every `checkpoint_every` steps, when
        interrupted, and at the end. However often a training is stopped, on a CPU it ends in the same weights.
    progress
        Show a progress bar.
    checkpoint_every
        Steps between checkpoints.

    Returns
    -------
    list of float
        Loss of each step, of those before an interruption too.

    Raises
    ------
    ValueError
        The checkpoint is damaged, foreign, or of another training. It is left as it is.
    OSError
        The checkpoint cannot be written; known before the first step.
    FloatingPointError
        The loss or its gradient is not finite any more.

    Notes
    -----
    Source: Kingma & Ba 2015 (Adam); Pascanu, Mikolov & Bengio 2013, section 3.2 (clipping).
    """
    model.to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)  # one call for all weights: a third of the time
    identity, losses = _identity(model, task, config), []
    if checkpoint is not None and checkpoint.exists():
        losses = load_checkpoint(checkpoint, identity, model, optimizer)

    def save() -> None:
        if checkpoint is not None:
            save_checkpoint(checkpoint, identity, model, optimizer, losses)

    save()  # a place that cannot be written to is found now, not after the work
    consistent = True
    try:
        with tqdm(initial=len(losses), total=config.steps, unit="step", disable=not progress) as bar:
            for step in range(len(losses), config.steps):
                with seeded(random.Random(f"{config.seed}/{step}/dropout").getrandbits(63), device):
                    loss = _gradient(model, make_batch(task, config, step, device), config, step)
                consistent = False  # interrupted from here on, weights would be partly new and partly old
                optimizer.param_groups[0]["lr"] = learning_rate(step, config)
                optimizer.step()
                losses.append(loss)
                consistent = True
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                bar.update()
                if len(losses) % checkpoint_every == 0:
                    save()
    finally:  # done, or interrupted
        if consistent:
            save()
    return losses


def seconds_per_step(model: Model, task: Task, config: TrainingConfig, device: torch.device = CPU) -> float:
    """Time three training steps on a copy of the model, to say beforehand how long a training will take."""
    trial = copy.deepcopy(model)
    train(trial, task, replace(config, steps=1), device)  # the first step of a process is slow
    start = time.perf_counter()
    train(trial, task, replace(config, steps=3), device)
    return (time.perf_counter() - start) / 3


def _gradient(model: Model, batch: Batch, config: TrainingConfig, step: int) -> float:
    """Leave the clipped gradient in the parameters and return the loss."""
    model.zero_grad()
    logits = model(batch.source, batch.target[:, :-1])  # (B, T, V)
    loss = masked_cross_entropy(logits, batch.target[:, 1:], model.pad_id, config.label_smoothing)
    loss.backward()
    norm = clip_grad_norm_(model.parameters(), config.clip_norm)
    if not (loss.isfinite() and norm.isfinite()):
        raise FloatingPointError(
            f"step {step}: expected a finite loss and gradient, got loss {loss.item()} and a gradient of length "
            f"{norm.item()}; a lower learning rate may help"
        )
    return loss.item()


def _check_smoothing(label_smoothing: float) -> None:
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing: expected a probability from 0 to below 1, got {label_smoothing}")


def _identity(model: Model, task: Task, config: TrainingConfig) -> dict[str, Any]:
    return {
        "model": asdict(model.config),
        "task": {"name": task.name, **task.settings()},
        "training": asdict(config),
    }
