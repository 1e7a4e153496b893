"""The stored results: complete, in favour of their claims, and repeated by a quick live run."""

import inspect
import random
import re
import shutil
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from transformer_book import experiments
from transformer_book.device import CPU
from transformer_book.experiments import (
    CHAPTERS,
    REGISTRY,
    Claim,
    Result,
    Verdict,
    all_verdicts,
    attention_cost,
    attention_over_length,
    date_alignment,
    first_symbol_recall,
    gradient_through_time,
    induction,
    language_models,
    load_result,
    mask_properties,
    norm_order,
    parameter_count,
    path_length,
    permutation,
    position_encodings,
    published_models,
    published_pronunciation,
    result_file,
    results_folder,
    rotary_distance,
    score_variance,
    softmax_scaling,
    translation,
)
from transformer_book.experiments.copying_models import bits_left
from transformer_book.experiments.translation_models import BEAM, COMMON, SIZES, training_config
from transformer_book.tasks.bleu import signatures
from transformer_book.tasks.sources import SourceError
from transformer_book.training import load_asset
from transformer_book.transformer import TransformerConfig

#: Stored by `make bench`, and no experiments.
BENCHMARKS = {"benchmarks", "benchmarks_levers", "benchmarks_precision"}


def within(result: Result, live: Result, quantity: str, index: object, least: float) -> None:
    """Compare one quantity: the live mean must lie in four half-widths (or `least`) around the stored mean."""
    mean = result.mean(quantity)[index]
    spread = np.maximum(4 * result.half_width(quantity)[index], least)
    assert (np.abs(live.mean(quantity) - mean) <= spread).all(), quantity


# --- what is stored ------------------------------------------------------------------------------------------


#: Experiment → device it was measured on and seeds, where these are not the CPU and at least five.
STORED = {"translation": ("cuda", 3), "language_models": ("cpu", 3)}

#: Claims that do not hold, and the device on which they do not; the book says so.
FAILED = {("C9.2", "cpu")}


def device_of(name: str) -> str:
    return STORED.get(name, ("cpu", 5))[0]


@pytest.mark.parametrize("name", REGISTRY)
def test_every_experiment_is_stored_in_full(name: str) -> None:
    device, seeds = STORED.get(name, ("cpu", 5))
    result = load_result(name, device)
    assert result.name == name
    assert len(set(result.seeds)) == len(result.seeds) >= seeds
    assert result.environment["device"] == device
    assert set(result.environment) == {"device", "device_name", "python", "torch", "numpy", "platform"}
    words = rf"transformer-book measure {name} --seeds {len(result.seeds)}( --jobs \d+)? --device {device}"
    assert re.fullmatch(words, result.command)
    assert re.fullmatch(r"[0-9a-f]{7,}\+?", result.commit)
    assert datetime.strptime(result.date, "%Y-%m-%dT%H:%M:%SZ").year >= 2026
    assert result.wall_seconds > 0
    for quantity in result.values:
        values = result.array(quantity)
        assert len(values) == len(result.seeds)
        assert np.isfinite(values).all()


#: Settings that are not simply the default of the parameter of that name.
DERIVED = {
    ("attention_cost", "methods"): list(attention_cost.METHODS),
    ("gradient_through_time", "distances"): [1, *range(10, 101, 10)],
    ("mask_properties", "cut"): 12,
    ("path_length", "distances"): [1, *range(10, 101, 10)],
    ("translation", "size"): "base",
    ("translation", "pairs"): {"train": 31_436, "validation": 1_767, "test": 1_703},
    ("translation", "subwords"): 8003,
    ("translation", "points"): [300, 600, 900, 1200, 1500, 1800, 2100, 2400],
    ("translation", "transformer"): asdict(TransformerConfig(8003, 8003, **COMMON, **SIZES["base"].transformer)),
    ("translation", "training"): asdict(training_config(SIZES["base"], seed=0)),
    ("translation", "beam"): BEAM,
    ("translation", "lengths"): list(translation.LENGTHS),
    ("translation", "signatures"): signatures(),
    ("published_models", "transformers"): version("transformers"),
}


def as_json(value: object) -> object:
    return [as_json(part) for part in value] if isinstance(value, tuple | list) else value


@pytest.mark.parametrize("name", REGISTRY)
def test_the_stored_settings_are_the_defaults_of_today(name: str) -> None:
    parameters = inspect.signature(REGISTRY[name].measure).parameters
    settings = load_result(name, device_of(name)).settings
    for key, stored in settings.items():
        default = DERIVED[name, key] if (name, key) in DERIVED else as_json(parameters[key].default)
        assert stored == default, key
    other = {"seeds", "device", "progress", "cells", "methods", "softmax", "attention", "scores", "make"}
    other |= {"counter", "rotate", "sinusoids", "greedy", "beam", "steps", "vocabulary_size", "precision"}
    assert {key for key in parameters if key not in other} <= set(settings) | other


def test_nothing_else_is_stored() -> None:
    names = {path.name.partition(".")[0] for path in results_folder().iterdir()}
    assert names - BENCHMARKS == set(REGISTRY)


def test_every_stored_claim_holds_but_those_that_are_known_to_fail() -> None:
    rows = all_verdicts()
    counts = ((1, 3), (2, 4), (3, 5), (4, 3), (5, 5), (6, 3), (7, 3), (8, 3), (9, 6), (10, 3), (11, 6))
    assert {row.claim.id for row in rows} == {
        f"C{chapter}.{n}" for chapter, count in counts for n in range(1, count + 1)
    }
    for row in rows:
        expected = (row.claim.id, row.result.environment["device"]) not in FAILED
        assert row.verdict.holds is expected, f"{row.claim.id}: {row.verdict.figure}"
        assert row.claim.statement.endswith(".")
        assert row.chapter == CHAPTERS[int(row.claim.id[1:].partition(".")[0])]


# --- direction and size of each claim, in numbers ------------------------------------------------------------


def test_the_variance_of_a_dot_product_is_the_width() -> None:
    result = load_result("score_variance")
    assert result.mean("slope") == pytest.approx(1, abs=0.02)
    assert result.half_width("slope") < 0.02
    assert result.mean("exponent") == pytest.approx(1, abs=0.01)
    for name in score_variance.DISTRIBUTIONS:
        assert result.mean(f"variance_{name}") == pytest.approx(list(score_variance.WIDTHS), rel=0.05)


def test_only_division_by_the_root_keeps_the_softmax_level() -> None:
    result = load_result("softmax_scaling")
    first, last = softmax_scaling.WIDTHS.index(16), -1
    entropy = {name: result.mean(f"entropy_{name}") for name in softmax_scaling.DIVISORS}
    assert (np.diff(entropy["none"]) < 0).all()
    assert entropy["none"][last] < 0.15
    assert np.ptp(entropy["sqrt_d"][first:]) < 0.05
    assert entropy["sqrt_d"][last] == pytest.approx(5.32, abs=0.03)
    assert (np.diff(entropy["d"]) > 0).all()
    assert entropy["d"][last] > 5.9998
    gradient = {name: result.mean(f"query_gradient_{name}") for name in softmax_scaling.DIVISORS}
    assert gradient["none"][last] < 1e-3 * gradient["none"][first]
    assert gradient["sqrt_d"][last] == pytest.approx(gradient["sqrt_d"][first], rel=0.06)
    # divided by d, the gradient to the query falls as 1/√d: 16-fold from 16 to 4096
    assert gradient["d"][first] / gradient["d"][last] == pytest.approx(16, rel=0.06)


def test_a_mask_is_exact() -> None:
    result = load_result("mask_properties")
    cut = result.settings["cut"]
    assert (result.array("moved_causal")[:, :cut] == 0).all()
    assert (result.array("moved_causal")[:, cut:] > 0.1).all()
    assert (result.array("moved_open") > 0.1).all()
    for quantity in ("future_gradient", "padding_moved", "masked_row", "masked_row_gradient", "nan"):
        assert not result.array(quantity).any()


def test_explicit_memory_is_quadratic_and_chunked_and_fused_are_linear() -> None:
    result = load_result("attention_cost")
    lengths = np.array(result.settings["lengths"])
    assert result.mean("bytes_explicit") == pytest.approx(3 * 4 * 4 * lengths**2, rel=0.02)
    assert np.ptp(result.mean("bytes_chunked") / lengths) < 0.02 * (result.mean("bytes_chunked") / lengths)[0]
    assert attention_cost.memory_exponent(result, "bytes_explicit") == pytest.approx(2, abs=0.02)
    assert attention_cost.memory_exponent(result, "bytes_chunked") == pytest.approx(1, abs=0.02)
    assert attention_cost.memory_exponent(result, "bytes_fused") < 1.1
    assert attention_cost.memory_exponent(result, "training_bytes_chunked") > 1.7
    assert result.mean("bytes_explicit")[-1] / result.mean("bytes_chunked")[-1] > 20
    assert result.mean("bytes_explicit")[-1] / result.mean("bytes_fused")[-1] > 50


def test_the_gradient_falls_geometrically_and_gates_help_only_when_open() -> None:
    result = load_result("gradient_through_time")
    assert result.mean("factor_rnn") == pytest.approx(0.545, abs=0.03)
    assert result.mean("factor_gru") == pytest.approx(0.64, abs=0.02)
    assert result.mean("factor_lstm") == pytest.approx(0.635, abs=0.02)
    for cell in ("rnn", "gru", "lstm"):
        logs = np.log(result.mean(f"norm_{cell}"))
        assert np.corrcoef(result.settings["distances"], logs)[0, 1] < -0.999
    assert result.mean("factor_gru_open") > 0.95
    assert 0.95 < result.mean("factor_lstm_open") < 1.05


def test_large_weights_explode_and_clipping_bounds_the_step_alone() -> None:
    result = load_result("gradient_through_time")
    assert (np.diff(result.mean("scaled_rnn")) > 0).all()
    assert result.mean("scaled_rnn")[-1] == pytest.approx(2.0, abs=0.15)
    assert result.mean("radius_rnn")[-1] > 9
    assert result.mean("clip_step")[0] > 1e4
    assert result.mean("clip_step")[1] == pytest.approx(0.1)
    assert np.median(result.array("clip_gradient"), axis=0)[1] > 100


def test_recall_falls_to_chance_and_open_gates_put_that_off() -> None:
    result = load_result("first_symbol_recall")
    recalls = {name: result.mean(f"recall_{name}") for name in result.settings["starts"]}
    for name in ("rnn", "gru", "lstm"):
        assert recalls[name][0] > 0.99
        assert recalls[name][-1] < 0.15
    at_20 = result.settings["lengths"].index(20)
    assert result.array("recall_gru")[:, at_20].max() < 0.2
    assert result.array("recall_gru_open")[:, at_20].min() > 0.9


def test_one_vector_copies_short_strings_only() -> None:
    result = load_result("context_vector")
    lengths = result.settings["lengths"]
    for cell, least in (("gru", 0.95), ("lstm", 0.95), ("rnn", 0.3)):
        curve = result.mean(f"token_{cell}")
        assert curve[lengths.index(6)] > least
        assert curve[lengths.index(20)] < 0.45
        assert result.array(f"exact_{cell}")[:, lengths.index(20)].max() == 0
        assert (np.diff(curve) < 0.02).all()


def test_the_first_symbol_is_kept_best_by_gated_layers_and_the_last_by_the_simple_one() -> None:
    result = load_result("context_vector")
    for cell in ("gru", "lstm"):
        bits = result.mean(f"bits_{cell}")
        assert bits[0] > 3.2
        assert bits[5:8].max() < 1.1
        assert result.mean(f"position_{cell}")[0] > 0.9
    assert result.mean("bits_rnn")[-1] > 3.2
    assert result.mean("bits_rnn")[:6].max() < 0.9
    assert result.mean("position_rnn").max() < 0.3


def test_training_moves_the_failure_further_than_width() -> None:
    result = load_result("context_width")
    assert result.mean("reach") == pytest.approx([2.8, 4.6, 7.9, 10.6], abs=0.5)
    assert result.array("reach_longer").mean() > result.mean("reach")[-1]
    assert (result.mean("token")[:, -1] < 0.6).all()


def test_the_published_model_errs_more_on_longer_words() -> None:
    result = load_result("published_pronunciation")
    error = dict(zip(result.settings["lengths"], result.mean("error"), strict=True))
    assert error[5] == pytest.approx(0.08, abs=0.01)
    assert error[17] == pytest.approx(0.24, abs=0.02)
    assert error[3] > error[5] < error[9] < error[13] < error[17]


def test_attention_removes_the_bottleneck_within_the_trained_lengths() -> None:
    result = load_result("attention_over_length")
    at_30 = result.settings["lengths"].index(30)
    assert result.array("token_attention")[:, : at_30 + 1].min() > 0.98
    assert result.array("token_gru")[:, at_30].max() < 0.3
    assert result.mean("exact_attention")[at_30] > 0.95
    assert result.mean("exact_attention")[-1] < 0.05  # beyond the trained lengths it fails, too


def test_the_gradient_to_the_first_symbol_has_a_short_way_with_attention() -> None:
    result = load_result("attention_over_length")
    assert attention_over_length.step_factor(result, "first_gru") == pytest.approx(0.63, abs=0.02)
    assert attention_over_length.step_factor(result, "trained_attention") == pytest.approx(1, abs=0.01)
    first = result.mean("first_attention")
    lengths = np.array(result.settings["distances"])
    # untrained weights are even: what arrives falls like 1/length
    assert np.polyfit(np.log(lengths), np.log(first), 1)[0] == pytest.approx(-0.93, abs=0.12)


def test_alignments_lie_on_the_true_spans() -> None:
    result = load_result("date_alignment")
    assert result.array("exact").min() > 0.995
    for field in date_alignment.FIELDS:
        assert result.mean(f"mass_{field}") > 2.5 * result.mean(f"chance_{field}")
        assert result.mean(f"beside_{field}") > 0.94


def test_recurrent_steps_wait() -> None:
    result = load_result("sequential_time")
    at_64 = result.settings["lengths"].index(64)
    for name in ("recurrent", "decoder"):
        slow = result.mean(f"slowdown_{name}")
        assert slow[-1] > 4 * slow[at_64]
    assert result.mean("seconds_attention")[at_64] < 0.5 * result.mean("seconds_recurrent")[at_64]


def test_only_the_twin_without_attention_gets_much_worse_on_long_words() -> None:
    result = load_result("pronunciation_twins")
    without, given = result.mean("error_gru"), result.mean("error_attention")
    assert without[-1] - given[-1] > 0.1
    assert abs(without[1] - given[1]) < 0.04
    assert (result.array("error_gru")[:, -1] > result.array("error_attention")[:, -1]).all()


def test_without_positions_nothing_but_rounding_moves() -> None:
    result = load_result("permutation")
    for quantity in ("encoder", "prediction"):
        assert result.array(f"{quantity}_none").max() < 1e-13
        for name in ("sinusoidal", "learned", "rotary"):
            assert result.array(f"{quantity}_{name}").min() > 0.02
    past = result.array("past")
    assert past[:, 0].max() < 1e-13
    assert past[:, 1:].min() > 0.05
    assert result.mean("read_decoder").min() > 0.2
    assert abs(result.mean("read_encoder")) < 0.02


def test_distance_alone_under_rotary() -> None:
    result = load_result("rotary_distance")
    assert result.array("shift_float64").max() < 1e-13
    assert result.array("shift_float32").max() < 2e-7
    assert result.array("shift_sinusoids").max() < 5e-8
    assert result.mean("shift_added")[1:].min() > 0.05
    assert result.mean("shift_angles32")[-1] > 5 * result.mean("shift_angles32")[1] > 0
    assert result.mean("shift_angles16")[-1] > 0.2
    assert result.mean("cross_share") == pytest.approx(0.5, abs=0.05)


def test_no_encoding_copies_what_is_much_longer_than_trained() -> None:
    result = load_result("position_encodings")
    lengths, longest = np.array(result.settings["lengths"]), result.settings["longest"]
    for name in ("sinusoidal", "learned"):
        exact = result.array(f"exact_{name}")
        assert exact[:, lengths <= longest].min() > 0.95
        assert exact[:, lengths > longest + 1].max() < 0.05
        place = result.mean(f"place_{name}")
        assert place[:longest].min() > 0.9
        assert place[longest + 1 :].max() < 0.1  # below guessing: it has stopped writing
    rotary = result.mean("exact_rotary")
    assert rotary[lengths == 24] > 0.2
    assert rotary[-1] < 0.05
    assert result.array("exact_none").mean() < 0.02


def test_parameters_are_what_the_formula_says() -> None:
    result = load_result("parameter_count")
    assert (result.array("counted") == result.array("formula")).all()
    assert (result.array("stacks") == result.array("stacks_torch")).all()
    base = dict(zip(parameter_count.PARTS, result.mean("paper")[0], strict=True))
    assert base["feed-forward"] == 12 * (2 * 512 * 2048 + 2048 + 512)
    assert base["attention"] == 18 * (4 * 512 * 512 + 4 * 512)
    assert sum(base.values()) == pytest.approx(63.1e6, abs=0.05e6)


def test_the_gradient_s_way_through_a_transformer_has_no_length() -> None:
    result = load_result("path_length")
    for cell in ("rnn", "gru", "lstm"):
        assert path_length.fall(result, cell).max() < 1e-15
    assert path_length.fall(result, "source") == pytest.approx(0.8, abs=0.4)
    assert 1 < path_length.fall(result, "own").min() < path_length.fall(result, "own").max() < 5
    assert path_length.growth(result, "source") == pytest.approx(-0.95, abs=0.15)
    assert path_length.growth(result, "own") == pytest.approx(-0.66, abs=0.15)
    assert np.median(result.array("recall")) == 1
    trained = result.array("trained")
    assert (trained[:, -2:].sum(axis=1) > 0.2 * trained.sum(axis=1)).all()


def test_post_norm_falls_behind_with_depth() -> None:
    result = load_result("norm_order")
    assert result.settings["depths"] == [1, 2, 6]
    for way in norm_order.WAYS:
        assert norm_order.best(result, way)[:, 0].max() < 0.1
    for way in ("pre_warm", "pre_cold"):
        assert norm_order.best(result, way)[:, -1].max() < 0.4
    for way in ("post_warm", "post_cold"):
        assert norm_order.final(result, way)[:, -1].min() > 0.9
    assert norm_order.final(result, "post_cold")[:, -1, 0].min() > 2  # at the highest rate nothing at all


# --- a quick run now agrees with the stored one --------------------------------------------------------------


def test_gradient_through_time_again() -> None:
    stored = load_result("gradient_through_time")
    live = gradient_through_time.measure(seeds=[100, 101])
    for name in ("factor_rnn", "factor_gru", "factor_lstm", "factor_gru_open"):
        within(stored, live, name, ..., 0.03)


def test_first_symbol_recall_again() -> None:
    live = first_symbol_recall.measure(seeds=[100], lengths=(20,), starts=("gru", "gru_open"))
    assert live.mean("recall_gru")[0] < 0.2
    assert live.mean("recall_gru_open")[0] > 0.9


def test_the_shipped_copier_keeps_the_first_digit_best_again() -> None:
    model, _, _ = load_asset("copying_64")
    bits = bits_left(model, length=16, count=1500, seed=100)
    assert bits[0] == max(bits) > 2.5
    assert np.mean(bits[5:11]) < 0.6 * bits[0]


def test_attention_over_length_again() -> None:
    live = attention_over_length.measure(
        seeds=[100], lengths=(1, 8), width=32, longest=8, steps=150, count=50, distances=(2, 8)
    )
    assert live.mean("token_attention")[1] > live.mean("token_gru")[1] + 0.2
    stored = load_result("attention_over_length")
    assert live.mean("parameters_gru") < stored.mean("parameters_gru")


def test_date_alignment_again() -> None:
    model, task, _ = load_asset("dates")
    examples = task.sample(100, random.Random(100), split="test")
    stored, live = load_result("date_alignment"), date_alignment.share_on_spans(model, task, examples)
    for field in date_alignment.FIELDS:
        assert live[f"beside_{field}"] == pytest.approx(float(stored.mean(f"beside_{field}")), abs=0.1)
        assert live[f"chance_{field}"] == pytest.approx(float(stored.mean(f"chance_{field}")), abs=0.05)


def test_published_pronunciation_again() -> None:
    stored = load_result("published_pronunciation")
    try:
        live = published_pronunciation.measure(seeds=[100], lengths=(5, 15), count=100)
    except SourceError as error:
        pytest.skip(str(error).partition("\n")[0])
    index = [stored.settings["lengths"].index(length) for length in (5, 15)]
    within(stored, live, "error", index, 0.05)


def test_minilm_and_whisper_again() -> None:
    """Without SmolLM2, which takes a minute to load twice; tests/test_gpt.py compares its modules at random."""
    stored = load_result("published_models")
    try:
        with torch.no_grad():
            live = published_models.compare_minilm(random.Random(100), 2, CPU)
            live |= published_models.compare_whisper(1, CPU)
    except SourceError as error:
        pytest.skip(str(error).partition("\n")[0])
    for name in ("minilm", "whisper", "whisper_spectra"):
        assert live[name] < 3 * stored.array(name).max(), name
    assert live["whisper_same"] == 1
    assert live["whisper_errors"] == stored.array("whisper_errors")[1]


def test_score_variance_again() -> None:
    stored = load_result("score_variance")
    live = score_variance.measure(seeds=[100, 101], widths=(4, 64, 1024))
    within(stored, live, "slope", ..., 0.05)
    within(stored, live, "exponent", ..., 0.05)


def test_softmax_scaling_again() -> None:
    stored = load_result("softmax_scaling")
    live = softmax_scaling.measure(seeds=[100, 101], widths=(16, 1024), queries=128)
    index = [stored.settings["widths"].index(width) for width in (16, 1024)]
    for name in softmax_scaling.DIVISORS:
        within(stored, live, f"entropy_{name}", index, 0.05)
        within(stored, live, f"jacobian_{name}", index, 0.02)
        within(stored, live, f"query_gradient_{name}", index, 0.02)


def test_mask_properties_again() -> None:
    stored = load_result("mask_properties")
    live = mask_properties.measure(seeds=stored.seeds)
    assert mask_properties.CLAIMS["C5.4"].judge(live).holds is True
    assert live.array("moved_open") == pytest.approx(stored.array("moved_open"), abs=1e-4)
    assert live.array("moved_causal") == pytest.approx(stored.array("moved_causal"), abs=1e-4)


def test_permutation_again() -> None:
    stored = load_result("permutation")
    live = permutation.measure(seeds=stored.seeds[:1], draws=2, depths=(1, 2), read=100)
    for name in ("sinusoidal", "learned", "rotary"):
        typical = stored.mean(f"encoder_{name}").mean()
        assert live.mean(f"encoder_{name}").mean() == pytest.approx(typical, rel=0.7)
    assert live.array("encoder_none").max() < 1e-12


def test_rotary_distance_again() -> None:
    stored = load_result("rotary_distance")
    live = rotary_distance.measure(seeds=[100, 101], pairs=64)
    for name in ("float64", "float32", "added", "sinusoids"):
        assert live.array(f"shift_{name}").max() < 3 * stored.array(f"shift_{name}").max()
    within(stored, live, "similarity_rotary", ..., 0.1)


def test_position_encodings_again() -> None:
    """Shorter strings and fewer steps: right inside, nothing two beyond, as in the full measurement."""
    live = position_encodings.measure(
        [100], encodings=["sinusoidal"], lengths=[4, 6, 8], shortest=2, longest=6, steps=200, count=50, looked_at=8
    )
    exact = live.mean("exact_sinusoidal")
    assert exact[0] > 0.9
    assert exact[2] < 0.1


def test_parameter_count_again() -> None:
    stored, live = load_result("parameter_count"), parameter_count.measure(seeds=[100], count=3)
    assert (live.array("counted") == live.array("formula")).all()
    assert live.mean("paper").tolist() == stored.mean("paper").tolist()


def test_path_length_again() -> None:
    live = path_length.measure(seeds=[100, 101], length=40, width=16, lengths=(10, 40), steps=0)
    for cell in ("rnn", "gru", "lstm"):
        assert path_length.fall(live, cell).max() < 1e-5
    for way in ("source", "own"):
        assert path_length.fall(live, way).min() > 0.1
        assert -2 < path_length.growth(live, way) < -0.2


def test_norm_order_again() -> None:
    live = norm_order.measure(seeds=[100], depths=(6,), rates=(3e-3,), steps=75)
    for end in ("warm", "cold"):
        assert norm_order.final(live, f"pre_{end}").mean() < norm_order.final(live, f"post_{end}").mean()
    assert live.array("gradient_post")[0, -1] > live.array("gradient_post")[0, 0]


def test_induction_again() -> None:
    result = induction.measure([0], models=("one", "two"), steps=250, every=50)
    assert result.mean("accuracy_two") > 0.5 > 0.25 > result.mean("accuracy_one")
    stored = load_result("induction")
    assert abs(result.mean("accuracy_one") - stored.mean("accuracy_one")) < 0.05


def test_language_models_again() -> None:
    """A small GPT on a part of the text is already better than bigrams."""
    try:
        result = language_models.measure([0], models=("gpt",), gpt_steps=160, gpt_width=64, count=100, share=10)
    except SourceError as error:
        pytest.skip(str(error).partition("\n")[0])
    assert result.mean("gpt") < result.mean("bigram")
    assert load_result("language_models").mean("gpt") < result.mean("gpt")


def test_attention_cost_again() -> None:
    stored = load_result("attention_cost")
    live = attention_cost.measure(seeds=[100], lengths=(256, 512), widths=(16, 32), repeats=1)
    assert stored.settings["lengths"][:2] == [256, 512]
    for name in ("explicit", "chunked"):
        for quantity in (f"bytes_{name}", f"training_bytes_{name}"):
            assert live.mean(quantity) == pytest.approx(stored.mean(quantity)[:2], rel=0.05)
            quantity += "_by_width"
            assert live.mean(quantity) == pytest.approx(stored.mean(quantity)[:2], rel=0.05)


# --- finding and ordering them -------------------------------------------------------------------------------


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a copy of the stored results that everything reads from."""
    copy = Path(shutil.copytree(results_folder(), tmp_path / "results"))
    monkeypatch.setattr(experiments, "results_folder", lambda: copy)
    return copy


def test_results_lie_in_the_checkout_or_in_the_installed_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "src" / "transformer_book"
    (package / "experiments").mkdir(parents=True)
    monkeypatch.setattr(experiments, "__file__", str(package / "experiments" / "__init__.py"))
    assert results_folder() == tmp_path / "book" / "results"
    (package / "results").mkdir()
    assert results_folder() == package / "results"


@pytest.mark.parametrize(
    ("device", "file"), [("cpu", "score_variance.json"), ("cuda", "score_variance.cuda.json")]
)
def test_every_kind_of_device_has_a_file(device: str, file: str) -> None:
    assert result_file("score_variance", device) == file


def test_an_unknown_experiment_is_told_the_known_ones() -> None:
    message = f"experiment: expected one of {', '.join(REGISTRY)}; got 'scores'"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load_result("scores")


def test_what_is_not_measured_says_how_to_measure_it(folder: Path) -> None:
    command = "transformer-book measure score_variance --device cuda"
    with pytest.raises(FileNotFoundError, match=f"not measured; run: {command}$"):
        load_result("score_variance", "cuda")


def test_a_result_of_another_device_is_read(folder: Path) -> None:
    shutil.copy(folder / "score_variance.json", folder / "score_variance.cuda.json")
    assert load_result("score_variance", "cuda") == load_result("score_variance")


def test_a_corrupt_result_is_named(folder: Path) -> None:
    (folder / "score_variance.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"score_variance\.json: expected a JSON result"):
        load_result("score_variance")


def test_verdicts_are_ordered_by_claim_and_the_cpu_comes_first(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    text = (folder / "softmax_scaling.json").read_text(encoding="utf-8")
    other = text.replace('"device": "cpu"', '"device": "cuda"')
    (folder / "softmax_scaling.cuda.json").write_text(other, encoding="utf-8")
    extra = Claim("C5.10", "Later.", lambda result: Verdict(False, "no"))
    monkeypatch.setitem(score_variance.CLAIMS, "C5.10", extra)
    every = [(row.claim.id, row.result.environment["device"]) for row in all_verdicts()]
    assert [row[0] for row in every[:4]] == ["C1.1", "C1.2", "C1.3", "C2.1"]
    rows = [row for row in every if row[0].startswith("C5.")]
    assert rows == [
        ("C5.1", "cpu"),
        ("C5.2", "cpu"),
        ("C5.2", "cuda"),
        ("C5.3", "cpu"),
        ("C5.4", "cpu"),
        ("C5.5", "cpu"),
        ("C5.10", "cpu"),
    ]
    [last] = [row for row in all_verdicts() if row.claim.id == "C5.10"]
    assert last.claim is extra
    assert last.verdict == Verdict(False, "no")
    assert last.result.name == "score_variance"


@pytest.mark.parametrize("name", REGISTRY)
def test_claims_are_keyed_by_their_id(name: str) -> None:
    assert REGISTRY[name].CLAIMS
    assert all(key == claim.id for key, claim in REGISTRY[name].CLAIMS.items())
    assert REGISTRY[name].__name__.rpartition(".")[2] == name
