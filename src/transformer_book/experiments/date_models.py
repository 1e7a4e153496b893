"""Small models that read dates: how the experiments and the shipped Transformer make and train them."""

import random
from typing import Any

import torch

from transformer_book.seq2seq import Seq2Seq, Seq2SeqConfig
from transformer_book.tasks.dates import Dates
from transformer_book.training import Model, TrainingConfig, evaluate, new_model, train
from transformer_book.transformer import Transformer, TransformerConfig

#: Largest learning rate of all these trainings; of 5e-3 and 1e-2 the better one on a trial seed.
LEARNING_RATE = 1e-2


#: Sizes of a small Transformer: one layer in each stack. No dropout, since no training date is seen twice.
SMALL: dict[str, Any] = {
    "d_model": 32,
    "num_heads": 4,
    "d_ff": 64,
    "num_encoder_layers": 1,
    "num_decoder_layers": 1,
    "dropout": 0.0,
    "norm_first": True,
    "max_length": 64,
}


def new_reader(seed: int, **parts: Any) -> Transformer:
    """Make an untrained Transformer that reads dates, of the sizes `SMALL` unless `parts` say otherwise."""
    task = Dates()
    sizes = (len(task.source_vocabulary), len(task.target_vocabulary))
    return new_model(TransformerConfig(*sizes, **{**SMALL, **parts}), seed)


def new_recurrent_reader(seed: int, score: str = "additive") -> Seq2Seq:
    """Make an untrained GRU of width 64 that reads dates with attention; `score` as in `Seq2SeqConfig`."""
    task = Dates()
    sizes = (len(task.source_vocabulary), len(task.target_vocabulary))
    return new_model(Seq2SeqConfig(*sizes, d_embed=32, d_hidden=64, score=score), seed)


def train_reader(
    model: Model, steps: int, seed: int, device: torch.device, learning_rate: float = LEARNING_RATE
) -> list[float]:
    """Train on `steps` batches of 64 dates and return the loss of each step."""
    training = TrainingConfig(steps=steps, batch_size=64, learning_rate=learning_rate, seed=seed)
    return train(model, Dates(), training, device)


def exact_match(model: Model, count: int, seed: int) -> float:
    """Share of `count` test dates, of days that no training date has, that the model reads right."""
    task = Dates()
    return evaluate(model, task, task.sample(count, random.Random(f"test/{seed}"), split="test"))["exact_match"]
