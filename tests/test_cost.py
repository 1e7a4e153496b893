"""Costs: equal to torch's counter, to real modules and to Hugging Face's Llama; a machine's ceilings."""

import random
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from transformer_book import cost
from transformer_book.cost import (
    PARTS,
    PRESETS,
    Ceiling,
    Load,
    Sizes,
    Work,
    activation_bytes,
    cache_bytes,
    count_flops,
    crossing_length,
    layer_flops,
    measure_ceiling,
    memory_share,
    parameters,
    predict_seconds,
    product,
    work,
)
from transformer_book.device import CPU
from transformer_book.experiments.date_models import new_reader
from transformer_book.experiments.flop_count import draw
from transformer_book.experiments.parameter_count import BASE, by_formula
from transformer_book.training import load_asset, masked_cross_entropy
from transformer_book.transformer import Transformer, TransformerConfig, encoder_layer


def counted(run) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def total(parts: dict[str, int]) -> int:
    return sum(parts.values())


@pytest.mark.parametrize("seed", range(25))
def test_operations_and_parameters_are_torch_s(seed: int) -> None:
    config, load = draw(random.Random(f"test/{seed}"))
    sizes, model = Sizes.of(config), Transformer(config)
    source = torch.randint(3, config.source_vocab, (load.batch, load.source_length))
    target = torch.randint(3, config.target_vocab, (load.batch, load.length + 1))
    assert counted(lambda: model(source, target[:, :-1])) == total(count_flops(sizes, load))
    training = counted(lambda: masked_cross_entropy(model(source, target[:, :-1]), target[:, 1:]).backward())
    assert training == total(count_flops(sizes, load, training=True))
    memory = model.encode(source)
    state = model.decode(target[:, :-1], memory).state
    step = Load(load.batch, 1, load.source_length, cached=load.length)
    assert counted(lambda: model.decode(target[:, -1:], memory, state)) == total(count_flops(sizes, step))
    assert parameters(sizes) == by_formula(config)


@pytest.mark.parametrize(("heads", "shared"), [(6, 6), (6, 3), (6, 1), (1, 1)])
@pytest.mark.parametrize("tied", [False, True])
def test_llama_is_hugging_face_s(heads: int, shared: int, tied: bool) -> None:
    shape = {"hidden_size": 6 * 14, "num_attention_heads": heads, "num_key_value_heads": shared}
    config = LlamaConfig(
        vocab_size=97, intermediate_size=53, num_hidden_layers=3, tie_word_embeddings=tied, pad_token_id=0, **shape
    )
    config._attn_implementation = "eager"
    theirs = LlamaForCausalLM(config)
    sizes = Sizes(84, heads, 53, 3, 97, kv_heads=shared, style="llama", tied=tied)
    assert total(parameters(sizes)) == sum(weight.numel() for weight in theirs.parameters())
    ids = torch.randint(3, 97, (5, 11))
    with torch.no_grad():
        assert counted(lambda: theirs(ids)) == total(count_flops(sizes, Load(5, 11)))


def test_a_layer_is_counted_by_hand_and_by_torch() -> None:
    assert layer_flops(3, 2, 8) == {"projections": 96, "attention": 72, "feed-forward": 192}
    layer = encoder_layer(TransformerConfig(5, 5, d_model=22, num_heads=2, d_ff=37, dropout=0.0))
    for length in (1, 7, 19):
        assert counted(lambda n=length: layer(torch.randn(1, n, 22))) == total(layer_flops(length, 22, 37))


def test_heads_change_no_operation_and_the_last_table_grows_with_the_square() -> None:
    few, many = (count_flops(Sizes(60, heads, 97, 2, 101), Load(3, 19)) for heads in (1, 12))
    assert few == many
    once, twice = (count_flops(Sizes(60, 3, 97, 2, 101), Load(3, n)) for n in (17, 34))
    assert {part: twice[part] / once[part] for part in PARTS if once[part]} == {
        "projections": 2,
        "attention": 4,
        "feed-forward": 2,
        "readout": 2,
    }


def test_a_product_moves_three_matrices() -> None:
    assert product("readout", 3, 5, 7) == Work("readout", 210, 21 + 35 + 15)
    assert product("readout", 3, 5, 7, count=11) == Work("readout", 2310, 11 * 71)


def test_the_crossing_is_where_both_are_equal() -> None:
    for width, hidden in ((64, 256), (30, 97)):
        length = crossing_length(width, hidden)
        parts = layer_flops(length, width, hidden)
        assert parts["projections"] + parts["attention"] == parts["feed-forward"]
    assert crossing_length(64, 100) == 0


def test_presets_are_the_published_models() -> None:
    published = {"base model of 2017": total(by_formula(BASE)), "SmolLM2-135M": 134_515_008}
    for name, count in published.items():
        assert total(parameters(PRESETS[name][0])) == count
    for name, model in {"date reader": new_reader(0), "translator": load_asset("translation")[0]}.items():
        assert PRESETS[name][0] == Sizes.of(model.config)
        assert total(parameters(PRESETS[name][0])) == sum(weight.numel() for weight in model.parameters())


def test_the_cache_is_shared_by_heads_and_halved_by_bfloat16() -> None:
    sizes, load = Sizes(66, 6, 97, 5, 101, 3), Load(7, 1, 13, cached=18)
    assert cache_bytes(sizes, load) == 2 * 4 * 5 * 7 * (19 + 13) * 66
    assert cache_bytes(replace(sizes, kv_heads=2), load, 2) == cache_bytes(sizes, load) // 6
    alone = replace(sizes, encoder_layers=0)
    assert cache_bytes(alone, load) == 2 * 4 * 5 * 7 * 19 * 66  # no source


def test_a_fused_kernel_keeps_no_table() -> None:
    sizes = Sizes(64, 4, 256, 2, 101, 2)
    kept = [activation_bytes(sizes, Load(3, n, n), fused=True) for n in (64, 128, 256)]
    assert kept[2] - kept[1] == 2 * (kept[1] - kept[0])  # a straight line
    explicit = [activation_bytes(sizes, Load(3, n, n)) for n in (64, 128, 256)]
    assert explicit[2] - explicit[1] > 3 * (explicit[1] - explicit[0])


def test_time_is_the_larger_of_two() -> None:
    steps = [
        Work("attention", 100, 1),
        Work("attention", 10, 50),
        Work("norms", 0, 30),
        Work("norms", 0, 7, "table"),
    ]
    ceiling = Ceiling(10.0, 20.0)
    assert ceiling.ridge == 0.5
    seconds = predict_seconds(steps, ceiling, number_bytes=4)
    assert seconds == dict.fromkeys(PARTS, 0.0) | {"attention": 10 + 10, "norms": 6 + 1.4}
    assert predict_seconds(steps, ceiling, 4, fused=True)["norms"] == 6
    assert predict_seconds(steps, ceiling, 2)["attention"] == 10 + 5
    assert predict_seconds(steps, ceiling, 4, training=True)["attention"] == 60
    shares = memory_share(steps, ceiling, 4)
    assert shares == dict.fromkeys(PARTS, 0.0) | {"attention": 0.5, "norms": 1.0}


def test_one_token_waits_for_memory_and_a_batch_does_not() -> None:
    sizes, ceiling = PRESETS["SmolLM2-135M"][0], Ceiling(1e11, 2e10)
    one, many = (memory_share(work(sizes, load), ceiling, 4) for load in (Load(1, 1, cached=99), Load(1, 512)))
    assert one["feed-forward"] > 0.99
    assert many["feed-forward"] < 0.1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_ceilings_are_measured(precision: str) -> None:
    found = measure_ceiling(CPU, precision, matrices=(64, 128), megabytes=(2,), repeats=2)
    assert found.matrix in (64, 128)
    assert found.copied == 2 * 2**20
    assert 1e7 < found.ceiling.flops < 1e16
    assert 1e6 < found.ceiling.bandwidth < 1e14


def test_the_fastest_run_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = iter([0, 9, 10, 13, 20, 21, 30, 35])  # the first run is not counted
    monkeypatch.setattr(cost, "quiet_clock", lambda device: lambda: next(stamps))
    assert cost.fastest(lambda: None, 3, CPU) == 1


WRONG = [
    ({"num_heads": 5}, "num_heads: expected a divisor of d_model 12, got num_heads 5"),
    ({"kv_heads": 2}, "kv_heads: expected a divisor of num_heads 3, got 2"),
    ({"kv_heads": 0}, "kv_heads: expected a divisor of num_heads 3, got 0"),
    ({"decoder_layers": 0}, "decoder_layers and encoder_layers: expected integers ≥ 1 and ≥ 0, got 0 and 0"),
    ({"source_vocabulary": 0}, "source_vocabulary: expected an integer ≥ 1, got 0"),
    ({"style": "gpt"}, "style: expected one of paper, llama, got 'gpt'"),
    ({"d_ff": 0}, "d_ff: expected .* got 0"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_sizes_that_do_not_fit_are_named(change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(Sizes(12, 3, 17, 1, 11), **change)


def test_learned_positions_and_odd_measurements_are_refused() -> None:
    with pytest.raises(ValueError, match="positions without parameters, got 'learned'"):
        Sizes.of(TransformerConfig(5, 5, positions="learned"))
    with pytest.raises(ValueError, match="precision: expected one of float32, bfloat16, got 'float16'"):
        measure_ceiling(CPU, "float16")
    with pytest.raises(ValueError, match="expected sizes and repeats ≥ 1"):
        measure_ceiling(CPU, matrices=())
