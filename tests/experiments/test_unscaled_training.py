"""C5.3's instrument: the same Transformer with another divisor, and nothing else changed."""

import math

import pytest
import torch
from torch.nn import functional as F

from transformer_book.attention import MultiHeadAttention, causal_mask, merge_heads, split_heads
from transformer_book.experiments import unscaled_training
from transformer_book.experiments.date_models import new_reader
from transformer_book.experiments.softmax_scaling import DIVISORS
from transformer_book.experiments.unscaled_training import RescaledAttention, rescale

IDS = torch.randint(3, 12, (2, 2, 7), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("divisor", DIVISORS)
def test_scores_are_divided_by_what_the_name_says(divisor: str) -> None:
    model = rescale(new_reader(0, d_model=33, num_heads=3), divisor)
    attention = model.encoder_layers[0].attention
    inputs = 3 * torch.randn(2, 5, 33)
    query, key, value = (
        split_heads(linear(inputs), 3) for linear in (attention.query, attention.key, attention.value)
    )
    scale = {"none": 1.0, "sqrt_d": 1 / math.sqrt(11), "d": 1 / 11}[divisor]
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=causal_mask(5), scale=scale)
    output, _ = attention(inputs, inputs, inputs, causal_mask(5))
    torch.testing.assert_close(output, attention.output(merge_heads(expected)))


def test_every_attention_is_replaced_and_keeps_its_weights() -> None:
    model, plain = (new_reader(3, num_encoder_layers=2, num_decoder_layers=3) for _ in range(2))
    rescale(model, "none")
    attentions = [module for module in model.modules() if isinstance(module, MultiHeadAttention)]
    assert len(attentions) == 2 + 2 * 3
    assert all(type(attention) is RescaledAttention for attention in attentions)
    assert all(torch.equal(weight, plain.state_dict()[name]) for name, weight in model.state_dict().items())
    assert not torch.allclose(model(*IDS), plain(*IDS))


def test_the_root_is_the_model_as_it_is_made() -> None:
    torch.testing.assert_close(rescale(new_reader(3), "sqrt_d")(*IDS), new_reader(3)(*IDS))


def test_each_divisor_is_judged_at_its_better_rate(made_up) -> None:
    exact = [[[0.1, 0.5], [0.9, 0.2]], [[0.3, 0.3], [0.7, 0.4]]]  # (seeds, widths, rates)
    result = made_up("unscaled_training", {"exact_none": exact})
    assert unscaled_training.best(result, "none").tolist() == [[0.5, 0.9], [0.3, 0.7]]


def test_a_measurement_has_every_quantity() -> None:
    result = unscaled_training.measure([0, 1], widths=(4, 8), rates=(1e-2,), steps=50, count=3)
    for name in DIVISORS:
        assert result.array(f"exact_{name}").shape == (2, 2, 1)
        assert result.array(f"loss_{name}").shape == (2, 2, 1, 2)
        loss = result.array(f"loss_{name}")
        assert (loss[..., 1] < loss[..., 0]).all()
    assert (result.array("loss_none") != result.array("loss_sqrt_d")).all()
