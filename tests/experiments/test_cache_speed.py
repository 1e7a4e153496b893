"""C9.4's instrument: both ways write the same, and bytes are those of the memory that is held."""

import numpy as np
import pytest
import torch

from transformer_book.experiments import Result, cache_speed, load_result
from transformer_book.experiments.cache_speed import cache_bytes, held_bytes, write
from transformer_book.training import new_model
from transformer_book.transformer import Transformer, TransformerConfig


def make(num_heads: int = 3, num_decoder_layers: int = 2) -> Transformer:
    sizes = {"d_model": 30, "num_heads": num_heads, "d_ff": 7, "max_length": 20}
    layers = {"num_encoder_layers": 1, "num_decoder_layers": num_decoder_layers}
    return new_model(TransformerConfig(17, 17, **sizes, **layers), 0).eval()


SOURCE = torch.randint(3, 17, (5, 11), generator=torch.Generator().manual_seed(0))


def test_both_ways_write_the_same_and_what_is_most_probable() -> None:
    model = make()
    ids = write(model, SOURCE, 7, cached=True)
    assert ids.shape == (5, 7)
    assert torch.equal(ids, write(model, SOURCE, 7, cached=False))
    begun = torch.cat([torch.ones(5, 1, dtype=torch.long), ids], dim=1)
    with torch.no_grad():
        assert torch.equal(model(SOURCE, begun[:, :-1]).argmax(dim=-1), ids)


@pytest.mark.parametrize("num_heads", [1, 3, 10])
@pytest.mark.parametrize(("num_decoder_layers", "length"), [(1, 1), (2, 7)])
def test_bytes_are_predicted_whatever_the_heads(num_heads: int, num_decoder_layers: int, length: int) -> None:
    model = make(num_heads, num_decoder_layers)
    predicted = cache_bytes(5, length, 11, 30, num_decoder_layers)
    assert held_bytes(model, SOURCE, length) == predicted == 8 * num_decoder_layers * 5 * (length + 11) * 30


@pytest.fixture(scope="module")
def result() -> Result:
    return cache_speed.measure([0], lengths=(4, 8), source_length=5, batch_size=2, d_model=32, num_layers=1)


def test_every_quantity_is_measured_at_every_length(result: Result) -> None:
    for name in ("tokens_cached", "tokens_reread", "speedup", "bytes", "predicted"):
        assert result.array(name).shape == (1, 2)
    # one round: the ratio of its times
    ratio = result.array("tokens_cached") / result.array("tokens_reread")
    assert result.array("speedup") == pytest.approx(ratio)
    assert result.array("differing").tolist() == [0]
    assert result.array("bytes").tolist() == result.array("predicted").tolist()


def test_the_longest_texts_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    def last_one_wrong(model: Transformer, source: torch.Tensor, length: int, cached: bool) -> torch.Tensor:
        ids = write(model, source, length, cached)
        if cached and length == 8:
            ids[0, -1] += 1
        return ids

    monkeypatch.setattr(cache_speed, "write", last_one_wrong)
    live = cache_speed.measure([0], lengths=(4, 8), source_length=5, batch_size=2, d_model=32, num_layers=1)
    assert live.array("differing").tolist() == [1]


def test_tokens_per_second_and_their_ratio_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"cached/4": [1.0, 2.0, 4.0], "reread/4": [2.0, 6.0, 40.0]}
    times |= {"cached/8": [1.0, 1.0, 1.0], "reread/8": [5.0, 5.0, 5.0]}

    def timed(works, repeats: int, device, clock) -> dict[str, list[float]]:
        for work in works.values():
            work()
        return {name: times[name] for name in works}

    monkeypatch.setattr(cache_speed, "interleaved_seconds", timed)
    live = cache_speed.measure([0], lengths=(4, 8), source_length=5, batch_size=3, d_model=32, num_layers=1)
    assert live.array("tokens_cached").tolist() == [[6, 24]]  # B · T / s: 3 · 4 / 2
    assert live.array("tokens_reread").tolist() == [[2, 4.8]]
    assert live.array("speedup").tolist() == [[3, 5]]


def test_the_claim_can_fail(made_up) -> None:
    values = {
        "tokens_cached": [[100.0, 100.0]],
        "tokens_reread": [[50.0, 10.0]],
        "speedup": [[2.0, 10.0]],
        "bytes": [[8, 16]],
        "predicted": [[8, 16]],
        "differing": [0],
    }
    judge = cache_speed.CLAIMS["C9.4"].judge
    assert judge(made_up("cache_speed", values, lengths=[16, 256])).holds is True
    for change in (
        {"speedup": [[2.0, 3.0]]},
        {"speedup": [[1.0, 2.5]]},
        {"bytes": [[8, 17]]},
        {"differing": [1]},
    ):
        assert judge(made_up("cache_speed", {**values, **change}, lengths=[16, 256])).holds is False, change


def test_the_bytes_are_stored_and_found_again() -> None:
    stored = load_result("cache_speed")
    assert (stored.array("speedup")[:, -1] > 6).all()
    assert (np.diff(stored.mean("speedup")) > 0).all()
    live = cache_speed.measure([100], lengths=(16, 32))
    assert live.mean("bytes").tolist() == stored.mean("bytes")[:2].tolist()
    assert live.array("differing").tolist() == [0]
