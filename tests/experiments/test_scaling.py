"""Instruments of chapter 11: counts, crossings, memory that is kept, two processes, two precisions."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from transformer_book.cli import main
from transformer_book.cost import Load, Sizes, activation_bytes, count_flops
from transformer_book.device import CPU
from transformer_book.experiments import (
    attention_overtakes,
    compiled_attention,
    data_parallel,
    flop_count,
    load_result,
    memory_use,
    mixed_precision,
)
from transformer_book.experiments._cost import held_bytes
from transformer_book.experiments.attention_overtakes import counted_ratio, crossing, fused_attention
from transformer_book.experiments.memory_use import blocks_of, cache_tensors, fill_cache, kept_bytes
from transformer_book.training import masked_cross_entropy, new_model
from transformer_book.transformer import TransformerConfig

# --- C11.1 ---------------------------------------------------------------------------------------------------


def test_counts_agree_again_and_a_wrong_counter_is_found() -> None:
    live = flop_count.measure([100], count=4)
    assert flop_count.CLAIMS["C11.1"].judge(live).holds is True

    def without_cross_attention(sizes: Sizes, load: Load, training: bool = False) -> dict[str, int]:
        return count_flops(
            Sizes(sizes.d_model, 1, sizes.d_ff, sizes.decoder_layers, sizes.vocabulary), load, training
        )

    wrong = flop_count.measure([100], count=2, counter=without_cross_attention)
    assert flop_count.CLAIMS["C11.1"].judge(wrong).holds is False


def test_drawn_models_differ() -> None:
    drawn = [flop_count.draw(random.Random(seed)) for seed in range(40)]
    for name in ("num_heads", "d_ff", "num_encoder_layers", "num_decoder_layers", "positions", "norm_first"):
        assert len({getattr(config, name) for config, _ in drawn}) > 1, name
    assert len({load for _, load in drawn}) == 40


# --- C11.2 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "length"),
    [
        ([0.25, 0.5, 2.0], 200 * 2**0.5),
        ([2.0, 3.0, 4.0], 100.0),
        ([0.1, 0.2, 0.3], 400.0),
        ([0.5, 1.0, 2.0], 200.0),
    ],
)
def test_a_crossing_lies_between_two_lengths(ratio: list[float], length: float) -> None:
    assert crossing((100, 200, 400), np.array(ratio)) == pytest.approx(length)


def test_fused_attention_is_attention() -> None:
    attention = attention_overtakes.MultiHeadAttention(30, 3)
    inputs = torch.randn(2, 7, 30)
    torch.testing.assert_close(fused_attention(attention, inputs), attention(inputs, inputs, inputs)[0])


def test_operations_cross_where_the_formula_says() -> None:
    assert counted_ratio(256, 128) == 1
    assert counted_ratio(128, 128) < 1 < counted_ratio(257, 128)


def test_a_crossing_is_measured_in_full() -> None:
    live = attention_overtakes.measure([0], lengths=(16, 64), widths=(64,), tokens=64, repeats=1)
    for way in attention_overtakes.WAYS:
        assert live.array(f"ratio_{way}").shape == live.array(f"roofline_{way}").shape == (1, 1, 2)
        assert live.array(f"crossing_{way}").shape == (1, 1)
        assert (live.array(f"seconds_{way}") > 0).all()
    assert (live.array("roofline_explicit") > live.array("roofline_fused")).all()


def test_the_stored_crossings() -> None:
    stored = load_result("attention_overtakes")
    share = {way: stored.mean(f"crossing_{way}") / [256, 512, 768] for way in attention_overtakes.WAYS}
    assert share["fused"].min() > 0.55
    assert share["fused"].max() < 1.3
    assert (share["explicit"] < 0.6 * share["fused"]).all()


# --- C11.3 ---------------------------------------------------------------------------------------------------


def model_of(**changes) -> tuple[TransformerConfig, nn.Module]:
    sizes = {"d_model": 22, "num_heads": 2, "d_ff": 37, "num_encoder_layers": 2, "num_decoder_layers": 3}
    config = TransformerConfig(31, 29, **{**sizes, "dropout": 0.0, **changes})
    return config, new_model(config, 0)


@pytest.mark.parametrize("norm_first", [False, True])
def test_what_is_kept_is_predicted_to_the_byte(norm_first: bool) -> None:
    config, model = model_of(norm_first=norm_first)
    source, target = torch.randint(3, 29, (5, 13)), torch.randint(3, 29, (5, 8))
    kept = kept_bytes(model, lambda: masked_cross_entropy(model(source, target[:, :-1]), target[:, 1:]))
    assert kept == activation_bytes(Sizes.of(config), Load(5, 7, 13))


def test_ids_and_weights_are_not_counted_and_each_block_is_counted_once() -> None:
    linear = nn.Linear(7, 5, bias=False)
    inputs = torch.randn(3, 7)
    assert kept_bytes(linear, lambda: linear(inputs).sum() + (linear(inputs) * 2).sum()) == 3 * 7 * 4
    whole = torch.empty(10)
    assert blocks_of([whole, whole[:3], torch.empty(2)]) == 48


def test_a_cache_filled_in_pieces_is_the_cache() -> None:
    _, model = model_of(max_length=200)
    source = torch.randint(3, 29, (2, 13))
    with torch.no_grad():
        pieces = fill_cache(model, source, 130)
        whole = model.decode(source[:, :1].expand(-1, 130), model.encode(source)).state
    for one, other in zip(cache_tensors(pieces), cache_tensors(whole), strict=True):
        torch.testing.assert_close(one, other)
    assert held_bytes(lambda: fill_cache(model, source, 130), CPU) == blocks_of(cache_tensors(pieces))


def test_what_is_held_is_what_is_left() -> None:
    def run() -> torch.Tensor:
        torch.empty(5000)
        return torch.empty(1000)

    assert held_bytes(run, CPU) == 4000


def test_memory_again() -> None:
    live = memory_use.measure([100], written=(32, 64), lengths=(8, 16), d_model=32, num_layers=1, batch_size=2)
    assert memory_use.CLAIMS["C11.3"].judge(live).holds is True


# --- C11.4 ---------------------------------------------------------------------------------------------------


def test_two_processes_have_the_losses_of_one() -> None:
    live = data_parallel.measure([1], steps=8, batch_size=8, width=16)
    losses = live.array("losses")
    assert losses.shape == (1, 2, 8)
    assert np.abs(losses[:, 0] - losses[:, 1]).max() < 1e-5
    assert live.array("examples") == pytest.approx(8 / live.array("seconds"))


def test_a_training_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"torchrun: expected 1 processes to train, got ValueError: .*d_model"):
        data_parallel.run(1, 0, 1, 8, width=0, device=CPU)


# --- C11.5 ---------------------------------------------------------------------------------------------------


def test_both_precisions_are_timed_and_trained() -> None:
    live = mixed_precision.measure([0], widths=(32, 64), batch_size=2, length=5, repeats=1, steps=2, read=10)
    for name in ("float32", "bfloat16"):
        assert live.array(f"utilisation_{name}").shape == (1, 2)
        assert live.array(f"utilisation_{name}").min() > 0
    assert live.array("loss_float32") != live.array("loss_bfloat16")  # another precision, and not by much
    assert live.array("loss_float32") == pytest.approx(live.array("loss_bfloat16"), rel=0.02)


def test_a_step_changes_the_weights_alike_in_both_precisions() -> None:
    ids = torch.randint(3, 29, (2, 3, 8), generator=torch.Generator().manual_seed(0))
    changed = {}
    for name in ("float32", "bfloat16"):
        _, model = model_of()
        before = torch.cat([weight.detach().flatten().clone() for weight in model.parameters()])
        mixed_precision.training_step(model, ids[0], ids[1], name)()
        changed[name] = torch.cat([weight.detach().flatten() for weight in model.parameters()]) - before
    assert changed["float32"].dtype == changed["bfloat16"].dtype == torch.float32
    similar = torch.nn.functional.cosine_similarity(changed["float32"], changed["bfloat16"], dim=0)
    assert 0.9 < similar < 0.99999


# --- C11.6 ---------------------------------------------------------------------------------------------------


def lacking() -> str:
    """Say what compilation lacks here; nothing if it lacks nothing."""
    try:
        compiled_attention.check_compiler(CPU)
    except FileNotFoundError as error:
        return str(error)
    return ""


# Importing the compiler, torch warns of a module of its own.
@pytest.mark.skipif(bool(lacking()), reason=lacking() or "nothing is lacking")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_compiled_attention_is_attention_and_compiled_anew() -> None:
    live = compiled_attention.measure([0, 1], lengths=(7,), step_widths=(), width=22, head_width=11, repeats=1)
    assert 0 < live.array("difference").max() < 1e-5  # other code, the same numbers
    seconds = live.array("seconds_compile")[:, 0]
    assert seconds[1] > seconds[0] / 20  # what the first seed compiled was not found by the second


@pytest.mark.parametrize(
    ("hidden", "message"),
    [("compiler", r"expected a C\+\+ compiler \(g\+\+ or clang\+\+\)"), ("headers", "Python's header files")],
)
def test_what_compilation_needs_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, hidden: str, message: str
) -> None:
    if hidden == "compiler":
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        monkeypatch.setattr(compiled_attention.shutil, "which", lambda name: f"/usr/bin/{name}")
        monkeypatch.setattr(compiled_attention.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=message):
        compiled_attention.measure([0])
    with pytest.raises(SystemExit):  # the command says it in a line
        main(["measure", "compiled_attention", "--seeds", "1", "--device", "cpu"])
    assert re.search(message, capsys.readouterr().err.splitlines()[-1])
