"""The training loop: batches, loss, learning rate, one step after the other. Axis letters as in `shapes`."""

import copy
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from tqdm.auto import tqdm

from transformer_book.device import CPU, seeded
from transformer_book.shapes import shape_text
from transformer_book.tasks.task import Batch, Example, Task, collate
from transformer_book.training.averaging import average_weights
from transformer_book.training.batches import Examples, cut
from transformer_book.training.checkpoint import load_checkpoint, save_checkpoint
from transformer_book.training.config import TrainingConfig, check_smoothing
from transformer_book.training.models import Model
from transformer_book.training.parallel import add_up, place, wait_for_all

#: Steps between two looks at the losses, where a look has to wait for the device; elsewhere it is 1.
LOOK_EVERY = {"cuda": 20}


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
        Shapes do not fit together, `label_smoothing` is out of range, or all is padding, which is looked at on a
        CPU only; elsewhere the loss is then not finite.

    Notes
    -----
    Source: Szegedy et al. 2016, section 7; Vaswani et al. 2017, section 5.4.
    """
    check_smoothing(label_smoothing)
    if logits.ndim != 3 or logits.shape[:2] != target.shape:
        raise ValueError(
            "logits and target: expected shapes (B, T, V) and (B, T), "
            f"got {shape_text(logits)} and {shape_text(target)}"
        )
    if target.device.type == "cpu" and not (target != pad_id).any():  # a GPU would have to be waited for
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


def train(
    model: Model,
    task: Task,
    config: TrainingConfig,
    device: torch.device = CPU,
    checkpoint: Path | None = None,
    progress: bool = False,
    checkpoint_every: int = 200,
    after_step: Callable[[int], None] | None = None,
) -> list[float]:
    """Train a model by teacher forcing, with Adam; the model is changed in place.

    In a process that torchrun has started, and that has joined the others, this does its share of each step's
    parts; all processes end in the same weights. Only the first of them writes, shows progress and calls back.

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
        interrupted, and at the end. However often a training is stopped, on a CPU it ends in the same weights, and
        it may go on in any number of processes.
    progress
        Show a progress bar.
    checkpoint_every
        Steps between checkpoints.
    after_step
        Called after each step with the number of steps done. It may put the model into evaluation mode, which
        lasts for this call, and draw random numbers: the training goes on as it would have without. It must leave
        the weights alone.

    Returns
    -------
    list of float
        Loss of each step, of those before an interruption too.

    Raises
    ------
    ValueError
        The checkpoint is damaged, foreign, or of another training; it is left as it is. Or the parts cannot be
        shared out evenly over the processes.
    OSError
        The checkpoint cannot be written; known before the first step.
    ConnectionError
        Another process has ended.
    FloatingPointError
        The loss or its gradient is not finite any more. A GPU may tell this some steps later; the weights, and the
        checkpoint, are those before the step it names.

    Notes
    -----
    Source: Kingma & Ba 2015 (Adam); Pascanu, Mikolov & Bengio 2013, section 3.2 (clipping).
    """
    rank, processes = place()
    if config.parts % processes:
        raise ValueError(
            f"parts: expected a multiple of the number of processes, got {config.parts} and {processes} processes"
        )
    run = _Run(model.to(device).train(), config, device)
    identity = _identity(model, task, config)
    if checkpoint is not None and checkpoint.exists():
        run.losses, run.kept = load_checkpoint(checkpoint, identity, model, run.optimizer)
    wait_for_all()  # all have read the checkpoint before the first writes it

    def save() -> None:
        if checkpoint is not None and rank == 0:
            run.read()
            save_checkpoint(checkpoint, identity, model, run.optimizer, run.losses, run.kept)

    save()  # a place that cannot be written to is found now, not after the work
    examples, done = Examples(task, config), len(run.losses)
    try:
        with tqdm(initial=done, total=config.steps, unit="step", disable=rank > 0 or not progress) as bar:
            for step in range(done, config.steps):
                run.keep_if_due()
                run.step(cut(examples.of(step), config.parts), task)
                if after_step is not None and rank == 0:
                    after_step(step + 1)
                    model.train()
                if (step + 1) % run.look_every == 0:
                    run.read()
                    bar.set_postfix(loss=f"{run.losses[-1]:.3f}", refresh=False)
                    bar.update(step + 1 - bar.n)
                if (step + 1) % checkpoint_every == 0:
                    save()
            run.read()
            run.keep_if_due()
            bar.update(config.steps - bar.n)
    finally:  # done, or interrupted
        if run.consistent:
            save()
    if run.kept:
        model.load_state_dict(average_weights(list(run.kept.values())))
    return run.losses


def seconds_per_step(model: Model, task: Task, config: TrainingConfig, device: torch.device = CPU) -> float:
    """Time three training steps on a copy of the model, to say beforehand how long a training will take."""
    trial = copy.deepcopy(model)
    config = replace(config, average_last=1, batching="random")  # few steps have no pool to draw, and no moments
    train(trial, task, replace(config, steps=1), device)  # the first step of a process is slow
    start = time.perf_counter()
    train(trial, task, replace(config, steps=3), device)
    return (time.perf_counter() - start) / 3


class _Run:
    """A training under way: what changes from step to step, and how.

    Attributes
    ----------
    losses
        Of the steps done. The last may still be on the device, as tensors (loss, length of the gradient), until
        `read` is called: a look at each would let the device stand idle while the next step is prepared.
    kept
        Number of steps done → the weights then, on the CPU, for their mean.
    consistent
        False while weights are partly new and partly old.
    moments
        Numbers of steps done at which weights are kept.
    """

    def __init__(self, model: Model, config: TrainingConfig, device: torch.device) -> None:
        self.model, self.config, self.device = model, config, device
        self.weights = list(model.parameters())  # to look for them in all modules takes a while, at every step
        self.optimizer = _new_optimizer(self.weights, config)
        self.losses: list[Any] = []
        self.kept: dict[int, dict[str, Tensor]] = {}
        self.consistent, self.moments = True, config.averaged_steps()
        self.look_every = LOOK_EVERY.get(device.type, 1)
        self.spoilt = torch.zeros((), device=device)  # 1 from the first loss or gradient on that is not finite

    def step(self, parts: Sequence[Sequence[Example]], task: Task) -> None:
        """Update the weights once, by the gradient of all parts together."""
        number = len(self.losses)
        row = self.gradient(number, parts, task)  # (2,)
        if self.look_every == 1:
            _check_finite(number, *row.tolist())
        else:  # the update does nothing where this is 1; Adam has it for loss scaling
            self.spoilt = self.spoilt.maximum((~row.isfinite()).any().float())
            setattr(self.optimizer, "found_inf", self.spoilt)  # noqa: B010 - as torch.amp.GradScaler does
        self.consistent = False  # interrupted from here on, weights would be partly new and partly old
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(number, self.config)
        self.optimizer.step()
        self.losses.append(row)
        self.consistent = True

    def gradient(self, step: int, parts: Sequence[Sequence[Example]], task: Task) -> Tensor:
        """Leave the clipped gradient in the parameters; return the loss and the length it had, ``(2,)``."""
        rank, processes = place()
        share = len(parts) // processes
        tokens = [sum(len(example.target) + 1 for example in part) for part in parts]  # END is predicted too

        def added(numbers: range) -> list[Tensor]:
            """Loss and gradient of parts, halves first: two processes with one half each add up the same."""
            if len(numbers) > 1:
                half = len(numbers) // 2
                pairs = zip(added(numbers[:half]), added(numbers[half:]), strict=True)
                return [one.add_(other) for one, other in pairs]
            [number] = numbers
            batch = _moved(collate(parts[number], task.source_vocabulary, task.target_vocabulary), self.device)
            for weight in self.weights:
                weight.grad = None
            with seeded(_dropout_seed(self.config.seed, step, number), self.device):
                loss = self.loss(batch) * (tokens[number] / sum(tokens))
            loss.backward()
            return [loss.detach(), *(weight.grad for weight in self.weights if weight.grad is not None)]

        loss, *gradients = added(range(rank * share, (rank + 1) * share))
        add_up([loss, *gradients])
        used = [weight for weight in self.weights if weight.grad is not None]
        for weight, gradient in zip(used, gradients, strict=True):
            weight.grad = gradient
        return torch.stack([loss, clip_grad_norm_(used, self.config.clip_norm)])

    def loss(self, batch: Batch) -> Tensor:
        """Average −log p over the target tokens of a batch."""
        bfloat16 = self.config.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
            logits = self.model(batch.source, batch.target[:, :-1])  # (B, T, V)
        logits = logits.float() if bfloat16 else logits  # sums of exponentials lose digits in bfloat16
        return masked_cross_entropy(logits, batch.target[:, 1:], self.model.pad_id, self.config.label_smoothing)

    def read(self) -> None:
        """Bring losses over from the device; one that is not finite raises FloatingPointError, its step undone."""
        first = len(self.losses)
        while first and isinstance(self.losses[first - 1], Tensor):
            first -= 1
        if first == len(self.losses):
            return
        rows = torch.stack(self.losses[first:]).tolist()
        good = list(takewhile(lambda row: all(map(math.isfinite, row)), rows))
        self.losses[first:] = [loss for loss, _ in good]
        if len(good) < len(rows):
            _check_finite(len(self.losses), *rows[len(good)])

    def keep_if_due(self) -> None:
        """Keep the weights if this is one of the moments whose mean the training ends in."""
        done = len(self.losses)
        if done in self.moments:
            self.read()
            state = self.model.state_dict()
            self.kept[done] = {name: weight.to("cpu", copy=True) for name, weight in state.items()}


def _new_optimizer(weights: list[nn.Parameter], config: TrainingConfig) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = [{"params": weights}]
    if config.weight_decay:
        matrices = [weight for weight in weights if weight.ndim > 1]
        others = [weight for weight in weights if weight.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others}]
    return torch.optim.AdamW(  # with no decay it is Adam
        groups,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        weight_decay=0.0,
        fused=True,  # one call for all weights: a third of the time
    )


def _moved(batch: Batch, device: torch.device) -> Batch:
    if device.type == "cuda":  # from pinned memory the copy is queued like all other work, and not waited for
        return Batch(*(ids.pin_memory().to(device, non_blocking=True) for ids in batch))
    return Batch(*(ids.to(device) for ids in batch))


def _dropout_seed(seed: int, step: int, part: int) -> int:
    """Seed of what dropout drops; the first part has the one it had when there were no parts."""
    name = f"{seed}/{step}/dropout" + (f"/{part}" if part else "")
    return random.Random(name).getrandbits(63)


def _check_finite(step: int, loss: float, norm: float) -> None:
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise FloatingPointError(
            f"step {step}: expected a finite loss and gradient, got loss {loss} and a gradient of length {norm}; "
            "a lower learning rate may help"
        )


def _identity(model: Model, task: Task, config: TrainingConfig) -> dict[str, Any]:
    return {
        "model": asdict(model.config),
        "task": {"name": task.name, **task.settings()},
        "training": asdict(config),
    }
