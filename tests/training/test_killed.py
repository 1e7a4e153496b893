"""A training that is killed, several times and at any moment, ends in the same weights, bit for bit."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from transformer_book.cli import main
from transformer_book.training import load_model

TRAIN = shlex.split(
    "train copying --longest 4 --width 8 --batch 6 --steps 40 --seed 5 --device cpu --checkpoint-every 3"
)
RECURRENT = shlex.split("--model attention --cell rnn --score dot")
TRANSFORMER = shlex.split("--model transformer --layers 1 --heads 2 --feed-forward 8 --dropout 0.3")

# A process of its own for each attempt: forked, so that torch is imported once. It is killed after some more
# checkpoints have been written and then a moment, which differs: in a step, or in the middle of a write.
KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from transformer_book.cli import main

checkpoint, words, generator = Path(sys.argv[1]), sys.argv[2:], random.Random(0)
def stamp():
    try:
        return checkpoint.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
for attempt in range(4):
    child = os.fork()
    if child == 0:
        os._exit(main([*words, "--resume"] if attempt else words))
    for _ in range(3 if attempt < 3 else 0):
        before = stamp()
        while stamp() == before:
            time.sleep(0.001)
    if attempt < 3:
        time.sleep(generator.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert (os.WTERMSIG(status) == signal.SIGKILL) if attempt < 3 else status == 0, (attempt, status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    "options",
    [
        RECURRENT,
        [*TRANSFORMER, "--parts", "3", "--batching", "length"],
        [*TRANSFORMER, "--average-last", "4", "--average-every", "10"],
        [*RECURRENT, "--precision", "bfloat16"],
    ],
    ids=["plain", "parts", "averaged", "bfloat16"],
)
def test_killed_again_and_again_it_ends_in_the_same_weights(tmp_path: Path, options: list[str]) -> None:
    whole, output = tmp_path / "whole.safetensors", tmp_path / "killed.safetensors"
    checkpoint = output.with_name(f"{output.name}.checkpoint")
    assert main([*TRAIN, *options, "--output", str(whole)]) == 0
    words = [*TRAIN, *options, "--output", str(output)]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(checkpoint), *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one, other = (load_model(path)[0].state_dict() for path in (whole, output))
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())
    assert not checkpoint.exists()
