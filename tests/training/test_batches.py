"""Which examples a step learns from: all of a pool once, alike in length, and known from seed and step alone."""

import random
from collections import Counter
from dataclasses import replace

import pytest
import torch

from transformer_book.tasks.copying import Copying
from transformer_book.tasks.dates import Dates
from transformer_book.tasks.task import Example
from transformer_book.training import TrainingConfig, make_batch, padding_share
from transformer_book.training.batches import POOL, Examples, by_length, cut

CONFIG = TrainingConfig(batch_size=6, seed=11, batching="length")


@pytest.fixture
def long_task() -> Copying:
    return Copying(longest=19)


def test_every_example_of_a_pool_is_used_once_in_batches_of_one_length(long_task: Copying) -> None:
    drawn: list[list[Example]] = []
    sample = long_task.sample

    def spy(count: int, generator: random.Random, split: str = "train") -> list[Example]:
        assert (count, split) == (POOL * 6, "train")
        drawn.append(sample(count, generator, "train"))
        return drawn[-1]

    long_task.sample = spy
    examples = Examples(long_task, CONFIG)
    batches = [examples.of(step) for step in range(2 * POOL)]
    assert len(drawn) == 2  # a pool is drawn once, not at every step
    for pool, its_batches in zip(drawn, (batches[:POOL], batches[POOL:]), strict=True):
        used = [example for batch in its_batches for example in batch]
        assert Counter((e.source, e.target) for e in used) == Counter((e.source, e.target) for e in pool)
        assert all(len(batch) == 6 for batch in its_batches)
        lengths = [{len(example.source) for example in batch} for batch in its_batches]
        assert sum(max(several) - min(several) for several in lengths) <= 19 - 1  # sorted: at most once through
        longest = [max(several) for several in lengths]
        assert longest not in (sorted(longest), sorted(longest, reverse=True))
    assert batches[:POOL] != batches[POOL:]


def test_length_is_the_source_s_and_then_the_target_s() -> None:
    examples = [Example("a" * n, "b" * m) for n, m in ((2, 5), (1, 7), (2, 1), (1, 3))]
    batches = by_length(examples, 1, random.Random(0))
    assert sorted((len(e.source), len(e.target)) for [e] in batches) == [(1, 3), (1, 7), (2, 1), (2, 5)]
    pairs = {
        tuple((len(e.source), len(e.target)) for e in batch) for batch in by_length(examples, 2, random.Random(0))
    }
    assert pairs == {((1, 3), (1, 7)), ((2, 1), (2, 5))}


@pytest.mark.parametrize("batching", ["random", "length"])
def test_a_batch_depends_on_seed_and_step_alone(long_task: Copying, batching: str) -> None:
    config = replace(CONFIG, batching=batching)
    in_order = Examples(long_task, config)
    batches = [in_order.of(step) for step in range(POOL + 3)]
    random.seed(0)
    assert Examples(long_task, config).of(POOL + 2) == batches[POOL + 2]  # another process that goes on there
    batch = make_batch(long_task, replace(config, steps=99), 7)
    assert torch.equal(batch.source, make_batch(long_task, config, 7).source)
    assert batch.source.shape[0] == 6
    assert Examples(long_task, config).of(7) == batches[7]
    assert Examples(long_task, replace(config, seed=12)).of(7) != batches[7]
    assert in_order.of(0) == batches[0]  # back in an earlier pool


def test_batches_of_one_length_have_less_padding() -> None:
    task = Dates()
    shares = {
        batching: padding_share(task, TrainingConfig(batch_size=8, batching=batching), 20)
        for batching in ("random", "length")
    }
    assert shares["random"] > 0.2
    assert shares["length"] < 0.05


def test_the_share_of_padding_is_counted(task: Copying) -> None:
    config = TrainingConfig(batch_size=4, parts=2, seed=3)
    padding = positions = 0
    for step in range(3):
        examples = Examples(task, config).of(step)
        for part in (examples[:2], examples[2:]):
            for lengths in ([len(e.source) for e in part], [len(e.target) + 2 for e in part]):
                positions += 2 * max(lengths)
                padding += 2 * max(lengths) - sum(lengths)
    assert padding > 0
    assert padding_share(task, config, 3) == padding / positions
    with pytest.raises(ValueError, match=r"^steps: expected an integer ≥ 1, got 0$"):
        padding_share(task, config, 0)


def test_parts_are_equal_and_make_up_the_whole() -> None:
    examples = [Example(str(n), str(n)) for n in range(12)]
    parts = cut(examples, 3)
    assert [len(part) for part in parts] == [4, 4, 4]
    assert [example for part in parts for example in part] == examples
