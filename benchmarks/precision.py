"""Whether training in bfloat16 learns what training in float32 learns: dates, by the fast form, over seeds."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import torch
from torch.nn.utils import clip_grad_norm_
from tqdm.auto import tqdm

from transformer_book.device import seeded
from transformer_book.experiments._result import Result, environment, half_width
from transformer_book.experiments.peers import PRECISION
from transformer_book.fast import FastTransformer
from transformer_book.files import commit
from transformer_book.tasks import make_task
from transformer_book.training import TrainingConfig, learning_rate, make_batch
from transformer_book.transformer import TransformerConfig

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
#: The last steps, over which losses are averaged.
LAST = 50


def measure(
    seeds: Sequence[int], device: torch.device, command: str, steps: int = 600, batch_size: int = 64
) -> Result:
    """Train on dates in both precisions, from the same weights, on the same batches, with the same dropout.

    Parameters
    ----------
    seeds
        One training in each precision for each of them.
    device
        Where to train.
    command
        To be recorded.
    steps, batch_size
        Length of a training.

    Returns
    -------
    Result
        ``float32`` and ``bfloat16``: mean loss of the last 50 steps, in nats per token, ``(seeds,)``;
        ``…/losses``, those of all steps, ``(seeds, steps)``.
    """
    start = time.perf_counter()
    values: dict[str, list[float | list[float]]] = {}
    for seed in tqdm(seeds, desc="precision", unit="seed", leave=False):
        for name, dtype in PRECISIONS.items():
            losses = _train(seed, device, dtype, steps, batch_size)
            values.setdefault(name, []).append(sum(losses[-LAST:]) / len(losses[-LAST:]))
            values.setdefault(f"{name}/losses", []).append(losses)
    return Result(
        name=PRECISION,
        seeds=list(seeds),
        settings={"steps": steps, "batch_size": batch_size, "last": LAST},
        values=values,
        environment=environment(device),
        command=command,
        commit=commit(),
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        wall_seconds=round(time.perf_counter() - start, 1),
    )


def lines(result: Result) -> Iterator[str]:
    """Yield what is printed: the losses, and their difference seed by seed with its 95 % interval."""
    full, half = result.array("float32"), result.array("bfloat16")
    difference = half - full
    yield ""
    yield f"dates, {result.settings['steps']} steps, {len(result.seeds)} seeds: mean loss of the last steps"
    yield f"  float32 {full.mean():.4f}, bfloat16 {half.mean():.4f} nats per token"
    by_seed = ", ".join(f"{value:+.4f}" for value in difference)
    spread = f" ± {half_width(difference):.4f}" if len(difference) > 1 else ""
    yield f"  bfloat16 - float32: {difference.mean():+.4f}{spread}; by seed {by_seed}"


def _train(seed: int, device: torch.device, dtype: torch.dtype, steps: int, batch_size: int) -> list[float]:
    task = make_task("dates")
    config = TrainingConfig(steps=steps, batch_size=batch_size, learning_rate=3e-3, seed=seed)
    sizes = (len(task.source_vocabulary), len(task.target_vocabulary))
    with seeded(seed, device):
        model = FastTransformer(TransformerConfig(*sizes, d_model=32, num_heads=2, d_ff=64)).to(device)
        optimizer = torch.optim.Adam(model.parameters(), fused=True)
        losses = []
        for step in range(steps):
            batch = make_batch(task, config, step, device)
            optimizer.zero_grad()
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype != torch.float32):
                loss = model.loss(batch.source, batch.target)
            loss.backward()
            clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.param_groups[0]["lr"] = learning_rate(step, config)
            optimizer.step()
            losses.append(loss.item())
    return losses
