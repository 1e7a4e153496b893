"""Which examples a step learns from, how they are cut into parts, and how much of a batch is padding."""

import random
from collections.abc import Sequence

import torch

from transformer_book.device import CPU
from transformer_book.tasks.task import Batch, Example, Task, collate
from transformer_book.tasks.vocabulary import PAD
from transformer_book.training.config import TrainingConfig

#: Batches in a pool of `TrainingConfig.batching` ``"length"``.
POOL = 50


class Examples:
    """The training examples of each step, which depend on the step and the configuration's seed alone.

    Parameters
    ----------
    task
        Where examples come from; only those of its training split are drawn.
    config
        Has the seed, the number of examples a step, and the batching.
    """

    def __init__(self, task: Task, config: TrainingConfig) -> None:
        self.task, self.config = task, config
        self._number, self._pool = -1, []  # the pool drawn last: each is drawn for many steps

    def of(self, step: int) -> Sequence[Example]:
        """Draw the examples of one step; see `make_batch`."""
        config = self.config
        if config.batching == "random":
            return self.task.sample(config.batch_size, random.Random(f"{config.seed}/{step}"), split="train")
        number, place = divmod(step, POOL)
        if number != self._number:
            generator = random.Random(f"{config.seed}/pool {number}")
            drawn = self.task.sample(POOL * config.batch_size, generator, split="train")
            self._number, self._pool = number, by_length(drawn, config.batch_size, generator)
        return self._pool[place]


def by_length(examples: Sequence[Example], batch_size: int, generator: random.Random) -> list[list[Example]]:
    """Put examples of about one length together: sort them, cut them into batches, and shuffle the batches.

    Parameters
    ----------
    examples
        A multiple of `batch_size`.
    batch_size
        Examples in a batch.
    generator
        Shuffles the batches, so that lengths come in no order.

    Returns
    -------
    list
        Of batches; each example is in exactly one.
    """
    ordered = sorted(examples, key=lambda example: (len(example.source), len(example.target)))
    batches = [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]
    generator.shuffle(batches)
    return batches


def make_batch(task: Task, config: TrainingConfig, step: int, device: torch.device = CPU) -> Batch:
    """Draw the training batch of one step, which depends on ``config.seed`` and `step` alone.

    With ``config.batching`` ``"length"``, the examples of `POOL` batches are drawn at once, sorted by length and
    cut into batches, which then come in random order. A batch is as long as its longest example, so this saves
    most of the padding, and with it the time that goes into it; `padding_share` says how much there is. The price
    is that the examples of a step are alike: it can learn less from as many of them.
    """
    return collate(Examples(task, config).of(step), task.source_vocabulary, task.target_vocabulary, device)


def padding_share(task: Task, config: TrainingConfig, steps: int = POOL) -> float:
    """Measure which share of the positions of the first batches is padding, sources and targets together.

    Parameters
    ----------
    task, config
        As for `make_batch`; each part of a batch has a length of its own.
    steps
        Number of batches looked at, at least 1.

    Raises
    ------
    ValueError
        `steps` is below 1.
    """
    if steps < 1:
        raise ValueError(f"steps: expected an integer ≥ 1, got {steps}")
    examples, padding, positions = Examples(task, config), 0, 0
    for step in range(steps):
        for part in cut(examples.of(step), config.parts):
            for ids in collate(part, task.source_vocabulary, task.target_vocabulary):
                padding += int((ids == PAD).sum())
                positions += ids.numel()
    return padding / positions


def cut(examples: Sequence[Example], parts: int) -> list[Sequence[Example]]:
    """Cut the examples of a step into equal parts; neighbours, which may be of one length, stay together."""
    size = len(examples) // parts
    return [examples[start : start + size] for start in range(0, size * parts, size)]
