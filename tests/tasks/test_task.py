"""Batches of ids, the arguments of sampling, and what every task of the registry must do."""

import json
import random
import re
import subprocess
import sys

import pytest
import torch

from transformer_book.tasks import TASKS, make_task
from transformer_book.tasks.task import SPLITS, Example, check_sampling, collate
from transformer_book.tasks.vocabulary import END, PAD, START, Vocabulary

LETTERS, DIGITS = Vocabulary("abc"), Vocabulary("0123456789")


def test_a_batch_is_padded_on_the_right_with_start_and_end_around_the_target() -> None:
    examples = [Example("abcab", "10"), Example("c", "3141592"), Example("bc", "")]
    batch = collate(examples, LETTERS, DIGITS)
    a, b, c = 3, 4, 5
    assert batch.source.tolist() == [[a, b, c, a, b], [c, PAD, PAD, PAD, PAD], [b, c, PAD, PAD, PAD]]
    assert batch.target.tolist() == [
        [START, 4, 3, END, PAD, PAD, PAD, PAD, PAD],
        [START, 6, 4, 7, 4, 8, 12, 5, END],
        [START, END, PAD, PAD, PAD, PAD, PAD, PAD, PAD],
    ]
    assert batch.source.dtype == batch.target.dtype == torch.int64


def test_a_batch_of_prime_sizes_reads_back() -> None:
    generator = random.Random(0)
    examples = [Example("".join(generator.choices("abc", k=n)), "7" * (14 - n)) for n in (2, 3, 5, 7, 11, 13, 1)]
    source, target = collate(examples, LETTERS, DIGITS)
    assert source.shape == (7, 13)
    assert target.shape == (7, 15)
    assert ["".join(LETTERS.decode(row)) for row in source.tolist()] == [example.source for example in examples]
    assert ["".join(DIGITS.decode(row)) for row in target.tolist()] == [example.target for example in examples]


def test_a_batch_is_put_where_asked() -> None:
    batch = collate([Example("a", "1")], LETTERS, DIGITS, torch.device("meta"))
    assert batch.source.device.type == batch.target.device.type == "meta"


def test_a_batch_needs_examples_with_sources() -> None:
    message = "examples: expected at least one, each with a source of at least one symbol, got "
    with pytest.raises(ValueError, match=f"^{message}none$"):
        collate([], LETTERS, DIGITS)
    with pytest.raises(ValueError, match=f"^{message}an empty source$"):
        collate([Example("a", "1"), Example("", "1")], LETTERS, DIGITS)


def test_a_batch_knows_its_two_vocabularies_apart() -> None:
    with pytest.raises(ValueError, match="got '1' at position 0"):
        collate([Example("1", "a")], LETTERS, DIGITS)
    with pytest.raises(ValueError, match="got 'a' at position 1"):
        collate([Example("a", "1a")], LETTERS, DIGITS)


def test_the_arguments_of_sampling_are_checked() -> None:
    assert SPLITS == ("train", "validation", "test")
    with pytest.raises(ValueError, match=r"^count: expected an integer ≥ 1, got 0$"):
        check_sampling(0, "train")
    with pytest.raises(ValueError, match=r"^split: expected one of train, validation, test, got 'dev'$"):
        check_sampling(1, "dev")


def test_an_unknown_task_is_refused() -> None:
    message = f"name: expected one of {', '.join(TASKS)}, got 'chess'"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make_task("chess")


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
        make_task("copying", depth=3)


@pytest.mark.parametrize("name", ["copying", "dates"])
class TestEveryTask:
    def test_settings_survive_json_and_rebuild_it(self, name: str) -> None:
        task = make_task(name)
        settings = json.loads(json.dumps(task.settings()))
        again = make_task(name, **settings)
        assert again.name == task.name == name
        assert again.settings() == task.settings() == settings
        assert again.source_vocabulary.symbols == task.source_vocabulary.symbols
        assert again.target_vocabulary.symbols == task.target_vocabulary.symbols
        assert again.max_target_length == task.max_target_length
        assert again.sample(3, random.Random(5)) == task.sample(3, random.Random(5))

    @pytest.mark.parametrize("split", SPLITS)
    def test_examples_depend_on_the_generator_alone_and_fit_the_vocabularies(self, name: str, split: str) -> None:
        task = make_task(name)
        examples = task.sample(101, random.Random("seed"), split)
        assert examples == make_task(name).sample(101, random.Random("seed"), split)
        assert examples != task.sample(101, random.Random("other"), split)
        batch = collate(examples, task.source_vocabulary, task.target_vocabulary)
        assert len(batch.source) == len(batch.target) == len(examples) == 101
        assert batch.target.shape[1] <= task.max_target_length + 1

    def test_a_source_written_out_parses_to_itself(self, name: str) -> None:
        task = make_task(name)
        for example in task.sample(53, random.Random(1), "test"):
            assert task.parse("".join(example.source)) == example.source

    def test_nothing_and_an_unknown_split_are_refused(self, name: str) -> None:
        task = make_task(name)
        with pytest.raises(ValueError, match=r"^(text|source): "):
            task.parse("  ")
        with pytest.raises(ValueError, match=r"^split: "):
            task.sample(1, random.Random(0), "dev")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"^count: "):
            task.sample(0, random.Random(0))


def test_the_tasks_load_without_babel() -> None:
    code = "import sys, transformer_book.tasks as t; t.make_task('copying'); assert 'babel' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
