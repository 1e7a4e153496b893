"""C10.3's instrument: sequences that repeat, and the scores of heads that are made by hand."""

import pytest
import torch

from transformer_book.experiments import induction, load_result
from transformer_book.experiments.induction import induction_score, previous_score, repeated


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_sequences_repeat_blocks_of_different_symbols() -> None:
    ids, periods = repeated(50, 13, (3, 7), 17, seeded())
    assert ids.shape == (50, 18)
    assert set(periods.tolist()) == {3, 4, 5, 6, 7}
    for row, period in zip(ids.tolist(), periods.tolist(), strict=True):
        assert len(set(row[:period])) == period
        assert row[period:] == row[:-period]
    assert len({tuple(row[:3]) for row in ids.tolist()}) > 45


@pytest.mark.parametrize("periods", [(0, 3), (5, 4), (3, 14), (3, 9)])
def test_wrong_periods(periods: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"periods: expected 1 ≤ low ≤ high ≤ 8, got"):
        repeated(2, 13, periods, 17, seeded())


def made_by_hand(periods: torch.Tensor, length: int, shift: int) -> torch.Tensor:
    """Two heads: an even one, and one whose attention from t is all on t − n + `shift`, ``(B, 2, T, T)``."""
    places = torch.arange(length)
    target = (places - periods[:, None] + shift).clamp(min=0)
    sharp = torch.nn.functional.one_hot(target, length).float()
    even = torch.full_like(sharp, 1 / length)
    return torch.stack([even, sharp], dim=1)


@pytest.mark.parametrize(("shift", "score"), [(1, 1.0), (0, 1 / 17), (2, 1 / 17)])
def test_score_of_a_head_that_copies_and_of_one_that_is_off_by_one(shift: int, score: float) -> None:
    periods = torch.tensor([5, 7, 8])
    assert induction_score(made_by_hand(periods, 17, shift), periods) == pytest.approx(score)


def test_score_of_a_head_that_looks_at_the_symbol_before() -> None:
    before = torch.eye(11).roll(1, dims=0).tril().expand(2, 3, 11, 11)  # row t has its one at t − 1
    assert previous_score(before) == 1.0
    assert previous_score(torch.eye(11).expand(2, 3, 11, 11)) == 0.0


def test_every_quantity_is_measured_and_repeats() -> None:
    settings = {
        "steps": 4,
        "every": 2,
        "symbols": 13,
        "periods": (3, 5),
        "length": 11,
        "batch_size": 3,
        "shrink": 4,
    }
    result, again = (induction.measure([1], **settings) for _ in range(2))  # type: ignore[arg-type]
    assert result.values == again.values
    for name, layers in (("one", 1), ("wide", 1), ("two", 2)):
        assert result.array(f"curve_{name}").shape == (1, 2)
        assert result.array(f"match_{name}").shape == result.array(f"previous_{name}").shape == (1, layers)
        assert 0 <= result.array(f"accuracy_{name}")[0] <= 1
        assert result.array(f"nats_{name}")[0] > 1
    assert len(induction.table(result).splitlines()) == 4
    induction.plot(result)


def test_one_wide_layer_has_more_weights_than_two_narrow_ones() -> None:
    stored = load_result("induction")
    assert stored.mean("weights_wide") > stored.mean("weights_two") > stored.mean("weights_one")
