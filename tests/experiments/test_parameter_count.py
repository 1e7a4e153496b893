"""C8.1's instruments: the formula, the count, and the paper's table."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from transformer_book.experiments import parameter_count
from transformer_book.experiments.parameter_count import (
    BASE,
    PAPER,
    PARTS,
    by_formula,
    counted,
    draw_config,
    implied_vocabulary,
    stacks_by_torch,
)
from transformer_book.transformer import Transformer, TransformerConfig

SMALL = TransformerConfig(11, 13, d_model=6, num_heads=2, d_ff=17, num_encoder_layers=2, num_decoder_layers=3)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"positions": "learned", "max_length": 19},
        {"positions": "rotary", "d_model": 8},
        {"target_vocab": 11, "shared_embeddings": True},
        {"target_vocab": 11, "shared_embeddings": True, "positions": "learned"},
        {"norm_first": True, "num_encoder_layers": 1},
    ],
)
def test_the_formula_counts_every_part_of_a_real_model(changes) -> None:
    config = replace(SMALL, **changes)
    model = Transformer(config)
    assert counted(model) == by_formula(config)
    assert sum(by_formula(config).values()) == sum(parameter.numel() for parameter in model.parameters())


def test_a_count_by_hand() -> None:
    parts = by_formula(SMALL)
    assert list(parts) == list(PARTS)
    assert parts["attention"] == 8 * (4 * 36 + 24)
    assert parts["feed-forward"] == 5 * (2 * 6 * 17 + 17 + 6)
    assert parts["norms"] == (4 + 9 + 2) * 12
    assert parts["embeddings"] == 24 * 6
    assert parts["readout"] == 13 * 7


def test_the_stacks_are_counted_by_torch() -> None:
    theirs = nn.Transformer(6, 2, 2, 3, 17, batch_first=True)
    expected = sum(parameter.numel() for parameter in theirs.parameters())
    assert stacks_by_torch(replace(SMALL, num_heads=1)) == expected
    parts = by_formula(SMALL)
    assert parts["attention"] + parts["feed-forward"] + parts["norms"] == expected


def test_drawn_configurations_differ_in_everything() -> None:
    configs = [draw_config(random.Random(seed)) for seed in range(60)]
    for name in ("positions", "shared_embeddings", "norm_first", "num_encoder_layers", "num_decoder_layers"):
        assert len({getattr(config, name) for config in configs}) > 1, name


@pytest.mark.parametrize("row", PAPER)
def test_the_implied_vocabulary_gives_the_printed_number(row: str) -> None:
    config, millions = PAPER[row]
    size = round(implied_vocabulary(row))
    total = sum(by_formula(replace(config, source_vocab=size, target_vocab=size)).values())
    assert total == pytest.approx(1e6 * millions, abs=config.d_model + 1)


def test_the_base_model_is_the_paper_s() -> None:
    assert (BASE.d_model, BASE.num_heads, BASE.d_ff, BASE.num_encoder_layers) == (512, 8, 2048, 6)
    assert sum(by_formula(BASE).values()) == 63_121_544


def test_a_reader_s_own_model_is_counted() -> None:
    class Wider(Transformer):
        def __init__(self, config: TransformerConfig) -> None:
            super().__init__(config)
            self.extra = nn.Parameter(torch.zeros(1))

    result = parameter_count.measure([0], count=2, make=Wider)
    assert (result.array("counted") == result.array("formula") + 1).all()
    assert parameter_count._judge(result).holds is False


def test_a_measurement_has_every_quantity() -> None:
    result = parameter_count.measure([0, 1], count=3)
    for name in ("counted", "formula", "stacks", "stacks_torch"):
        assert result.array(name).shape == (2, 3)
    assert result.array("paper").shape == (2, len(PAPER), len(PARTS))
    assert (result.array("counted")[0] != result.array("counted")[1]).any()
    assert np.ptp(result.array("paper"), axis=0).max() == 0
