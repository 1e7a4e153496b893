"""C8.2's instruments: Jacobians through the whole model are autograd's; falls and powers by hand."""

import pytest
import torch
from torch import Tensor

from transformer_book.device import CPU
from transformer_book.experiments import path_length
from transformer_book.experiments.path_length import (
    fall,
    growth,
    input_norms,
    new_transformer,
    position_norms,
    train_to_recall,
)
from transformer_book.recurrent import GRU


@pytest.mark.parametrize("way", ["source", "own"])
def test_norms_are_those_of_the_full_jacobian(way: str) -> None:
    model = new_transformer(3, width=8, depth=2, max_length=9).double().eval()
    source, target = torch.tensor([5, 3, 9, 4, 12, 7, 8]), torch.tensor([1, 6, 6, 3, 11])
    norms = position_norms(model, source, target)[way]
    embedding = model.source_embedding if way == "source" else model.target_embedding
    vectors = embedding(source[None] if way == "source" else target[None]).detach()

    def last(vectors: Tensor) -> Tensor:
        twin = new_transformer(3, width=8, depth=2, max_length=9).double().eval()
        other = twin.source_embedding if way == "source" else twin.target_embedding
        other.forward = lambda ids, offset=0: vectors
        seen = []
        twin.decoder_norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
        twin(source[None], target[None])
        return seen[0][0, -1]

    full = torch.autograd.functional.jacobian(last, vectors)[:, 0]  # (D, positions, D)
    expected = torch.stack([torch.linalg.svdvals(full[:, t])[0] for t in range(full.shape[1])])
    torch.testing.assert_close(norms, expected, rtol=1e-8, atol=1e-12)
    assert not model.decoder_norm._forward_hooks  # nothing is left hanging on the model


def test_input_norms_are_those_of_the_full_jacobian() -> None:
    torch.manual_seed(0)
    layer = GRU(3, 5).double()
    inputs = torch.randn(7, 3, dtype=torch.float64)
    full = torch.autograd.functional.jacobian(lambda x: layer(x[None])[0][0, -1], inputs)  # (D, T, I)
    expected = torch.stack([torch.linalg.svdvals(full[:, t])[0] for t in range(7)])
    torch.testing.assert_close(input_norms(layer, inputs), expected, rtol=1e-8, atol=1e-12)


def test_falls_and_powers_by_hand(made_up) -> None:
    values = {"norm_source": [[2.0, 1.0, 0.5], [1.0, 1.0, 3.0]], "far_source": [[1.0, 0.25], [4.0, 1.0]]}
    result = made_up("path_length", values, lengths=[10, 40])
    assert fall(result, "source") == pytest.approx([0.25, 3.0])
    assert growth(result, "source") == pytest.approx(-1.0)


def test_a_small_transformer_learns_to_recall() -> None:
    untrained = train_to_recall(new_transformer(0, 16, 1, 12), 12, 0, 0, CPU)
    trained = train_to_recall(new_transformer(0, 16, 1, 12), 12, 150, 0, CPU)
    assert untrained < 0.25
    assert trained > 0.9


def test_a_measurement_has_every_quantity() -> None:
    result = path_length.measure([0, 1], length=20, width=8, depth=1, lengths=(5, 20), steps=2)
    assert result.settings["distances"] == [1, 10, 20]
    for name in ("rnn", "gru", "lstm", "source", "own"):
        assert result.array(f"norm_{name}").shape == (2, 3)
        assert result.array(f"far_{name}").shape == (2, 2)
        # the farthest position of 20 is the one at distance 20
        assert result.array(f"far_{name}")[:, 1] == pytest.approx(result.array(f"norm_{name}")[:, 2])
    assert result.array("trained").shape == (2, 21)
    assert (fall(result, "rnn") < 1e-2).all()
    assert "recall" not in path_length.measure([0], length=20, width=8, lengths=(5,), steps=0).values
