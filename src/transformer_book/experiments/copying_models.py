"""What the experiments on copying share: training a copier, its accuracy by length, what its context holds."""

import math
import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from transformer_book.decoding import greedy_decode
from transformer_book.seq2seq import Seq2Seq, Seq2SeqConfig
from transformer_book.tasks.copying import Copying
from transformer_book.tasks.metrics import exact_match, token_accuracy
from transformer_book.tasks.task import collate
from transformer_book.training import Model, TrainingConfig, new_model, train

BATCH = 64
LEARNING_RATE = 1e-2


def new_copier(cell: str, score: str, width: int, seed: int) -> Seq2Seq:
    """Make an untrained model that copies digits; `cell`, `score`, ``d_hidden = width`` as in `Seq2SeqConfig`."""
    vocabulary = len(Copying().source_vocabulary)
    return new_model(Seq2SeqConfig(vocabulary, vocabulary, 32, width, cell, score), seed)


def train_copier(model: Seq2Seq, longest: int, steps: int, seed: int, device: torch.device) -> Seq2Seq:
    """Train a model to copy strings of 1 … `longest` digits, on `steps` batches of 64 that depend on `seed`."""
    config = TrainingConfig(steps=steps, batch_size=BATCH, learning_rate=LEARNING_RATE, seed=seed)
    train(model, Copying("copy", shortest=1, longest=longest), config, device=device)
    return model


def copies(model: Model, length: int, count: int, seed: int) -> tuple[list[Any], list[Any]]:
    """Let a model copy fresh strings of one length, greedily.

    Returns
    -------
    predictions, targets
        Each `count` sequences of symbols.
    """
    task = Copying("copy", shortest=length, longest=length)
    examples = task.sample(count, random.Random(f"test/{seed}/{length}"), split="test")
    source = collate(examples, task.source_vocabulary, task.target_vocabulary).source
    source = source.to(next(model.parameters()).device)  # (B, S)
    ids = greedy_decode(model, source, max_length=length + 1)  # (B, T)
    return [task.target_vocabulary.decode(row) for row in ids.tolist()], [list(e.target) for e in examples]


def accuracy_by_length(model: Model, lengths: Sequence[int], count: int, seed: int) -> dict[str, list[float]]:
    """Measure exact match and token accuracy on `count` fresh strings of each length."""
    pairs = [copies(model, length, count, seed) for length in lengths]
    return {
        "exact": [exact_match(*pair) for pair in pairs],
        "token": [token_accuracy(*pair) for pair in pairs],
    }


def accuracy_by_position(model: Model, length: int, count: int, seed: int) -> list[float]:
    """Measure the share of right symbols at each position of strings of one length."""
    predictions, targets = copies(model, length, count, seed)
    return [
        sum(p[t : t + 1] == [target[t]] for p, target in zip(predictions, targets, strict=True)) / count
        for t in range(length)
    ]


def bits_left(model: Seq2Seq, length: int, count: int, seed: int) -> list[float]:
    """Measure what a linear probe can read from the context vector about each symbol of the source.

    A linear softmax classifier per position is fitted to two thirds of `count` context vectors. On the last
    third, its cross-entropy in bits is subtracted from the log₂ 10 bits of a random digit. What a linear probe
    does not find may still be there, so this is a lower bound on the information (but for sampling error).

    Parameters
    ----------
    model
        The context is all its encoder hands to a decoder without attention: the last hidden state, in an LSTM the
        cell as well.
    length
        Length S of the strings.
    count
        Number of strings.
    seed
        Of the strings.

    Returns
    -------
    list of float
        Bits for each position; 0 is nothing (sampling error can make it slightly negative), log₂ 10 everything.
    """
    task = Copying("copy", shortest=length, longest=length)
    examples = task.sample(count, random.Random(f"probe/{seed}/{length}"), split="test")
    source = collate(examples, task.source_vocabulary, task.target_vocabulary).source
    source = source.to(next(model.parameters()).device)  # (B, S)
    with torch.no_grad():
        state = model.encode(source).state
    context = torch.cat(state, dim=-1) if isinstance(state, tuple) else state  # (B, D)
    symbols = source - 3  # (B, S), classes 0 … 9: the ids after the three special ones
    classes, cut = len(task.source_vocabulary) - 3, count * 2 // 3
    losses = probe_loss(context[:cut], symbols[:cut], context[cut:], symbols[cut:], classes)  # (S,)
    return (math.log2(classes) - losses / math.log(2)).tolist()


def probe_loss(train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, classes: int) -> Tensor:
    """Fit one linear softmax classifier per position, and return its loss on held-out data.

    Parameters
    ----------
    train_x, test_x
        Features ``(N, D)``.
    train_y, test_y
        Classes 0 … `classes` − 1, ``(N, S)``.
    classes
        Number of classes C.

    Returns
    -------
    Tensor
        Cross-entropy in nats ``(S,)``.
    """
    mean, spread = train_x.mean(dim=0), train_x.std(dim=0).clamp(min=1e-6)
    train_x, test_x = (train_x - mean) / spread, (test_x - mean) / spread
    length = train_y.shape[1]
    weight = torch.zeros(train_x.shape[1], length * classes, device=train_x.device, requires_grad=True)
    bias = torch.zeros(length * classes, device=train_x.device, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=60, line_search_fn="strong_wolfe")

    def losses(x: Tensor, y: Tensor) -> Tensor:
        logits = (x @ weight + bias).view(len(x), length, classes)  # (N, S, C)
        return F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(len(x), length).mean(0)

    def closure() -> Tensor:
        optimiser.zero_grad()
        objective = losses(train_x, train_y).sum() + 1e-3 * weight.square().sum()
        objective.backward()
        return objective

    optimiser.step(closure)
    with torch.no_grad():
        return losses(test_x, test_y)


def first_jacobian(model: Seq2Seq, length: int, count: int, seed: int) -> Tensor:
    """Measure ‖∂ logits of the first output / ∂ embedding of the first input symbol‖ (Frobenius).

    Parameters
    ----------
    model
        A copier.
    length
        Length S of the strings.
    count
        Number of strings N.
    seed
        Of the strings.

    Returns
    -------
    Tensor
        One norm per string ``(N,)``.
    """
    task = Copying("copy", shortest=length, longest=length)
    examples = task.sample(count, random.Random(f"gradient/{seed}/{length}"), split="test")
    source = collate(examples, task.source_vocabulary, task.target_vocabulary).source
    source = source.to(next(model.parameters()).device)  # (N, S)
    embedded: list[Tensor] = []

    def keep(_module: object, _inputs: object, output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_())  # a leaf in the place of the embeddings
        return embedded[0]

    handle = model.encoder.embedding.register_forward_hook(keep)
    try:
        start = torch.full_like(source[:, :1], model.start_id)  # (N, 1)
        logits = model(source, start)[:, 0]  # (N, V)
    finally:
        handle.remove()
    squares = torch.zeros(len(source), device=source.device)
    for column in logits.unbind(dim=1):  # strings do not mix, so a sum over them gives each its own gradient
        [gradient] = torch.autograd.grad(column.sum(), embedded, retain_graph=True)  # (N, S, d_embed)
        squares += gradient[:, 0].square().sum(dim=-1)
    return squares.sqrt()
