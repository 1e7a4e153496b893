"""What decides how a training goes, and so the weights it ends in."""

import math
from dataclasses import dataclass

#: How the learning rate goes on after its warm-up; see `learning_rate`.
SCHEDULES = ("linear", "inverse_sqrt")
#: How the examples of a batch are chosen; see `make_batch`.
BATCHINGS = ("random", "length")
#: What matrix products are computed in.
PRECISIONS = ("float32", "bfloat16")


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
    batching
        ``"random"``, or ``"length"``: examples of about one length in a batch; see `make_batch`.
    parts
        Number of equal parts a batch is cut into. Each goes through the model by itself and drops units of its
        own, and their gradients add up to that of the whole batch. One process works through them one after the
        other, in the memory of one (gradient accumulation); several share them out (data parallel).
    precision
        ``"float32"``, or ``"bfloat16"``: matrix products in bfloat16; weights, optimiser, loss and the steps of a
        recurrent layer stay float32.
    average_last
        The model ends in the mean of its weights at this many moments; 1 is the last weights themselves.
    average_every
        Steps between these moments; the last moment is the end.
    beta1, beta2, epsilon
        Of Adam: how much of its two running means a step keeps, and what is added to the divisor. The paper has
        0.9, 0.98 and 1e-9.
    weight_decay
        Share of a matrix taken away in each step, times the learning rate (AdamW). Biases and layer norms keep
        theirs.

    Raises
    ------
    ValueError
        A value is out of range, or two do not fit together.

    Notes
    -----
    Source: Vaswani et al. 2017, sections 5.3 (Adam), 5.4 (label smoothing) and 6.1 (averaging, of the last 5
    checkpoints, or 20); Micikevicius et al. 2018, section 3 (weights in float32); Loshchilov & Hutter 2019,
    algorithm 2 (decay of the weights beside Adam).
    """

    steps: int = 1000
    batch_size: int = 64
    learning_rate: float = 3e-3
    warmup: float = 0.1
    clip_norm: float = 1.0
    seed: int = 0
    schedule: str = "linear"
    label_smoothing: float = 0.0
    batching: str = "random"
    parts: int = 1
    precision: str = "float32"
    average_last: int = 1
    average_every: int = 100
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "parts", "average_last", "average_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected an integer ≥ 1, got {getattr(self, name)}")
        for name in ("learning_rate", "clip_norm", "epsilon"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}: expected a number > 0, got {getattr(self, name)}")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}: expected a share from 0 to below 1, got {getattr(self, name)}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay: expected a number ≥ 0, got {self.weight_decay}")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup: expected a part of the steps from 0 to 1, got {self.warmup}")
        for name, known in (("schedule", SCHEDULES), ("batching", BATCHINGS), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}")
        check_smoothing(self.label_smoothing)
        if self.batch_size % self.parts:
            raise ValueError(
                f"parts: expected a divisor of batch_size, got {self.parts} and batch_size {self.batch_size}"
            )
        if self.steps <= (self.average_last - 1) * self.average_every:
            raise ValueError(
                f"average_last: expected moments within {self.steps} steps, got {self.average_last} of them, "
                f"{self.average_every} steps apart"
            )

    def averaged_steps(self) -> set[int]:
        """Numbers of steps done at which weights are kept for the mean: none where `average_last` is 1."""
        if self.average_last == 1:
            return set()
        return {self.steps - number * self.average_every for number in range(self.average_last)}


def check_smoothing(label_smoothing: float) -> None:
    """Raise ValueError where ε of label smoothing is out of range."""
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing: expected a probability from 0 to below 1, got {label_smoothing}")
