"""One process of `data_parallel`, which starts it with torchrun."""

import json
import sys
import time
from itertools import pairwise
from pathlib import Path

import torch

from transformer_book.device import pick_device
from transformer_book.experiments.date_models import new_reader
from transformer_book.tasks.dates import Dates
from transformer_book.training import TrainingConfig, train
from transformer_book.training.parallel import own_device, place, working_together

#: Parts of each batch: one for each process, or all for the only one.
PARTS = 2
#: Steps at the start of a training that are not timed.
WARM_UP = 5


def train_here(file: Path, seed: int, steps: int, batch_size: int, width: int, kind: str) -> None:
    """Do this process's share of a training; the first process writes losses and seconds a step to `file`.

    Parameters
    ----------
    file
        Where to write, as JSON.
    seed, steps, batch_size
        As for `TrainingConfig`.
    width
        Width D of the model; its feed-forward layers are four times as wide.
    kind
        ``"cpu"``, or ``"cuda"`` for a GPU of its own.
    """
    device, stamps = pick_device(own_device(kind)), []
    with working_together(device):
        config = TrainingConfig(steps=steps, batch_size=batch_size, seed=seed, parts=PARTS)
        model = new_reader(seed, d_model=width, d_ff=4 * width)
        losses = train(model, Dates(), config, device, after_step=lambda _: stamps.append(time.perf_counter()))
        if place()[0] == 0:
            seconds = [after - before for before, after in pairwise(stamps)]
            file.write_text(json.dumps({"losses": losses, "seconds": seconds[WARM_UP:]}), encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    seed, steps, batch_size, width = map(int, sys.argv[2:6])
    train_here(Path(sys.argv[1]), seed, steps, batch_size, width, sys.argv[6])
