"""One small task and model for all tests of training."""

from collections.abc import Callable

import pytest
import torch

from transformer_book.seq2seq import Seq2Seq, Seq2SeqConfig
from transformer_book.tasks.copying import Copying
from transformer_book.training import new_model
from transformer_book.transformer import Transformer, TransformerConfig


@pytest.fixture
def task() -> Copying:
    return Copying(longest=5)


@pytest.fixture
def make_model(task: Copying) -> Callable[..., Seq2Seq]:
    """Make a model for the task; other parts and another seed on request."""

    def make(seed: int = 0, **parts: object) -> Seq2Seq:
        vocabularies = (len(task.source_vocabulary), len(task.target_vocabulary))
        return new_model(Seq2SeqConfig(*vocabularies, **{"d_embed": 3, "d_hidden": 7, **parts}), seed)

    return make


@pytest.fixture
def make_transformer(task: Copying) -> Callable[..., Transformer]:
    """Make a Transformer with dropout for the task; other parts and another seed on request."""

    def make(seed: int = 0, **parts: object) -> Transformer:
        vocabularies = (len(task.source_vocabulary), len(task.target_vocabulary))
        sizes = {"d_model": 6, "num_heads": 2, "d_ff": 7, "num_encoder_layers": 1, "num_decoder_layers": 1}
        return new_model(TransformerConfig(*vocabularies, **{**sizes, "dropout": 0.3, **parts}), seed)

    return make


@pytest.fixture
def same() -> Callable[[torch.nn.Module, torch.nn.Module], bool]:
    """Whether two models have the same weights, to the last bit."""

    def compare(one: torch.nn.Module, other: torch.nn.Module) -> bool:
        weights = other.state_dict()
        return all(torch.equal(weight, weights[name]) for name, weight in one.state_dict().items())

    return compare
