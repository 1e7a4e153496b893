"""C6.3's instrument: a removed head writes nothing, the others stay, and sensitivity is a derivative."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from transformer_book.experiments import head_pruning
from transformer_book.experiments.date_models import new_reader
from transformer_book.experiments.head_pruning import (
    Head,
    attention_of,
    heads_of,
    loss,
    losses_without,
    remove,
    sensitivity,
    spared,
)
from transformer_book.tasks.task import Batch
from transformer_book.transformer import Transformer

H, K = 3, 5
BATCH = Batch(*torch.randint(3, 12, (2, 2, 7), generator=torch.Generator().manual_seed(1)))


def make() -> Transformer:
    sizes = {"d_model": H * K, "num_heads": H, "num_encoder_layers": 2, "num_decoder_layers": 1}
    return new_reader(2, **sizes).double().eval()


def gated(model: Transformer, gates: dict[Head, Tensor]) -> Transformer:
    """Multiply what each head writes by its gate, before the output projection sees it."""
    for head, gate in gates.items():
        output = attention_of(model, head.kind, head.layer).output

        def multiply(_: nn.Module, inputs: tuple[Tensor], head: Head = head, gate: Tensor = gate) -> Tensor:
            factors = torch.ones(H * K, dtype=torch.float64)
            factors = torch.cat([factors[: head.head * K], gate.expand(K), factors[(head.head + 1) * K :]])
            return inputs[0] * factors

        output.register_forward_pre_hook(multiply)
    return model


def test_all_heads_are_listed_once() -> None:
    heads = heads_of(make())
    assert len(set(heads)) == len(heads) == (2 + 1 + 1) * H
    assert [head.kind for head in heads] == ["encoder"] * 6 + ["decoder"] * 3 + ["cross"] * 3
    assert heads[4] == Head("encoder", 1, 1)


@pytest.mark.parametrize("head", heads_of(make()), ids=str)
def test_a_removed_head_writes_nothing_and_the_others_stay(head: Head) -> None:
    model, whole = make(), make()
    remove(model, head)
    closed = gated(make(), {head: torch.zeros(1, dtype=torch.float64)})
    torch.testing.assert_close(model(*BATCH), closed(*BATCH), atol=1e-12, rtol=1e-12)
    assert not torch.allclose(model(*BATCH), whole(*BATCH))


def test_sensitivity_is_the_derivative_of_the_loss_by_a_gate() -> None:
    measured = sensitivity(make(), BATCH)
    expected = dict.fromkeys(measured, 0.0)
    for row in range(2):
        gates = {head: torch.ones(1, dtype=torch.float64, requires_grad=True) for head in expected}
        one = Batch(BATCH.source[row : row + 1], BATCH.target[row : row + 1])
        derivatives = torch.autograd.grad(loss(gated(make(), gates), one), list(gates.values()))
        for head, derivative in zip(gates, derivatives, strict=True):
            expected[head] += abs(derivative.item()) / 2
    assert measured == pytest.approx(expected, rel=1e-9)
    assert min(measured.values()) > 0


def test_trying_leaves_the_model_as_it_was() -> None:
    model = make()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    heads = heads_of(model)
    tried = losses_without(model, heads, BATCH)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    for head, value in zip(heads, tried, strict=True):
        other = make()
        remove(other, head)
        assert value == pytest.approx(loss(other, BATCH).item(), rel=1e-12)


def test_heads_spared_by_hand(made_up) -> None:
    exact = [[1.0, 0.96, 0.95, 0.9, 0.97], [0.8, 0.7, 0.79, 0.8, 0.8], [0.5, 0.5, 0.5, 0.5, 0.5]]
    result = made_up("head_pruning", {"exact_random": exact})
    assert spared(result, "random").tolist() == [2, 0, 4]


def test_a_measurement_has_every_quantity() -> None:
    result = head_pruning.measure([0], steps=50, count=3, tried=5)
    for order in head_pruning.ORDERS:
        assert result.array(f"exact_{order}").shape == (1, 25)
    assert result.array("rise").shape == (1, 24)
    [removed] = result.array("removed")
    assert sorted(removed) == list(range(24))
    [rise] = result.array("rise")
    assert removed[0] == np.argmin(rise)  # the first to go is the one that costs least
