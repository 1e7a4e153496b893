"""Every claim can fail: on stored results that are changed, and on models without the effect."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from transformer_book.experiments import (
    REGISTRY,
    attention_over_length,
    context_width,
    copying_models,
    load_result,
)
from transformer_book.experiments.gradient_through_time import jacobian_norms, state_jacobians
from transformer_book.recurrent import GRU, LSTM, SimpleRNN
from transformer_book.seq2seq import Seq2Seq
from transformer_book.tasks.copying import Copying
from transformer_book.tasks.task import collate


def put(index: object, value: float):
    def change(values):
        values[(slice(None), *np.atleast_1d(index))] = value
        return values

    return change


def times(factor: float):
    return lambda values: values * factor


TAMPERED = [
    ("gradient_through_time", "C1.1", "factor_rnn", put([], 0.8)),
    ("gradient_through_time", "C1.1", "factor_gru", put([], 0.5)),
    ("gradient_through_time", "C1.1", "factor_gru_open", put([], 0.7)),
    ("gradient_through_time", "C1.1", "norm_lstm", put([5], 1.0)),
    ("gradient_through_time", "C1.2", "scaled_rnn", times(0.5)),
    ("gradient_through_time", "C1.2", "scaled_gru", times(2.0)),
    ("gradient_through_time", "C1.2", "clip_step", put([1], 3.0)),
    ("gradient_through_time", "C1.2", "clip_gradient", put([1], 0.1)),
    ("first_symbol_recall", "C1.3", "recall_gru", put([3], 1.0)),
    ("first_symbol_recall", "C1.3", "recall_rnn", put([-1], 0.9)),
    ("first_symbol_recall", "C1.3", "recall_lstm_open", times(0.3)),
    ("context_vector", "C2.1", "token_gru", put([-3], 0.9)),
    ("context_vector", "C2.1", "token_lstm", times(0.5)),
    ("context_vector", "C2.1", "exact_rnn", put([-3], 0.5)),
    ("context_vector", "C2.2", "bits_gru", put([0], 0.5)),
    ("context_vector", "C2.2", "bits_lstm", put([], 2.0)),
    ("context_vector", "C2.2", "bits_rnn", put([-1], 0.6)),
    ("context_width", "C2.3", "reach", put([-1], 5.0)),
    ("context_width", "C2.3", "token", put([-1, -1], 0.95)),
    ("published_pronunciation", "C2.4", "error", put([-1], 0.1)),
    ("attention_over_length", "C3.1", "token_attention", put([10], 0.9)),
    ("attention_over_length", "C3.1", "token_gru", put([10], 0.6)),
    ("attention_over_length", "C3.2", "first_gru", put([], 0.1)),
    ("attention_over_length", "C3.2", "trained_attention", put([-1], 0.5)),
    ("date_alignment", "C3.3", "exact", put([], 0.8)),
    ("date_alignment", "C3.3", "mass_day", put([], 0.15)),
    ("sequential_time", "C3.4", "slowdown_recurrent", put([], 1.0)),
    ("sequential_time", "C3.4", "slowdown_decoder", put([], 1.0)),
    ("sequential_time", "C3.4", "seconds_attention", times(100)),
    ("pronunciation_twins", "C3.5", "error_gru", put([-1], 0.23)),
    ("pronunciation_twins", "C3.5", "error_gru", lambda values: values + 0.15),
    ("score_comparison", "C4.1", "exact_additive", put([], 0.993)),
    ("score_comparison", "C4.1", "exact_scaled_dot", put([], 0.99)),
    ("score_comparison", "C4.1", "exact_dot", put([], 0.998)),
    ("score_comparison", "C4.1", "bytes_additive", times(0.6)),
    ("score_comparison", "C4.1", "ratio_additive", times(0.6)),
    ("score_comparison", "C4.1", "bytes_scaled_dot", times(1.5)),
    ("score_cost", "C4.2", "training_ratio_additive_length", times(0.05)),
    ("score_cost", "C4.2", "training_bytes_additive_length", times(0.05)),
    ("score_cost", "C4.2", "training_ratio_bilinear_length", times(100)),
    ("score_cost", "C4.2", "bytes_additive_width", put([-1], 1e6)),
    ("score_cost", "C4.2", "bytes_dot_width", put([-1], 1e6)),
    ("score_classes", "C4.3", "identity", put([], 1e-7)),
    ("score_classes", "C4.3", "middle_bilinear", put([], 0.01)),
    ("score_classes", "C4.3", "middle_additive", put([], 0.8)),
    ("score_classes", "C4.3", "partner_bilinear", put([], 0.9)),
    ("score_classes", "C4.3", "partner_additive", put([0], 0.6)),
    ("unscaled_training", "C5.3", "exact_none", put([-1], 0.7)),
    ("unscaled_training", "C5.3", "exact_none", put([0], 0.6)),
    ("unscaled_training", "C5.3", "exact_sqrt_d", times(0.3)),
    ("head_cost", "C6.1", "flops", put([0, 1], 1.0)),
    ("head_cost", "C6.1", "ratio", put([], 1.0)),
    ("head_cost", "C6.1", "fused_ratio", times(5)),
    ("head_cost", "C6.1", "loop_ratio", put([], 1.0)),
    ("head_cost", "C6.1", "bytes", put([], 1.0)),
    ("heads_against_one", "C6.2", "exact", put([0], 0.96)),
    ("heads_against_one", "C6.2", "exact", put([-1], 0.96)),
    ("heads_against_one", "C6.2", "parameters", put([0], 1.0)),
    ("head_pruning", "C6.3", "exact_greedy", put([0], 0.8)),
    ("head_pruning", "C6.3", "exact_random", put([], 1.0)),
    ("head_pruning", "C6.3", "rise", put([], 0.01)),
    ("date_readers", "C9.1", "exact_transformer", put([], 0.99)),
    ("date_readers", "C9.1", "exact_attention", put([], 0.99)),
    ("date_readers", "C9.1", "exact_gru", put([], 0.998)),
    ("date_readers", "C9.1", "curve_attention", put([slice(0, 10)], 0.5)),
    ("date_readers", "C9.1", "parameters_gru", times(2)),
    ("translation", "C9.2", "over_recurrent", times(-1)),
    ("translation", "C9.2", "over_recurrent", put([1], -0.1)),
    ("translation", "C9.2", "over_recurrent", put([3], 0.06)),
    ("translation", "C9.2", "over_nearest", put([1], 0.0)),
    ("translation", "C9.2", "parameters_recurrent", times(1.2)),
    ("decoding_agreement", "C9.3", "steps_float64", put([0, 0], 1e-9)),
    ("decoding_agreement", "C9.3", "cache_float64", put([1, 2], 1e-9)),
    ("decoding_agreement", "C9.3", "beam", put([0, 0], 1)),
    ("decoding_agreement", "C9.3", "mistake", times(1e-3)),
    ("decoding_agreement", "C9.3", "exact_mistake", put([], 0.9)),
    ("cache_speed", "C9.4", "speedup", put([-1], 1.5)),
    ("cache_speed", "C9.4", "bytes", times(2)),
    ("cache_speed", "C9.4", "differing", put([], 1)),
    ("recipe_parts", "C9.5", "exact_no_smoothing", put([], 0.92)),
    ("recipe_parts", "C9.5", "confidence_recipe", put([], 0.99)),
    ("recipe_parts", "C9.5", "exact_fast_no_warmup", put([], 0.93)),
    ("recipe_parts", "C9.5", "exact_no_warmup", put([], 0.7)),
    ("recipe_parts", "C9.5", "averaged_inverse_sqrt", put([], 0.9)),
    ("recipe_parts", "C9.5", "averaged_recipe", put([], 0.98)),
    ("parallel_time", "C9.6", "ratio", put([-1], 1.0)),
    ("parallel_time", "C9.6", "parameters_attention", times(0.5)),
    ("permutation", "C7.1", "encoder_none", put([], 1e-9)),
    ("permutation", "C7.1", "prediction_rotary", put([], 1e-3)),
    ("permutation", "C7.1", "past", put([0], 1e-9)),
    ("permutation", "C7.1", "past", put([1], 1e-3)),
    ("permutation", "C7.1", "read_decoder", put([], 0.05)),
    ("rotary_distance", "C7.2", "shift_float64", times(100)),
    ("rotary_distance", "C7.2", "shift_float32", times(100)),
    ("rotary_distance", "C7.2", "shift_angles32", times(0.01)),
    ("rotary_distance", "C7.2", "shift_added", times(0.1)),
    ("rotary_distance", "C7.2", "norm", put([], 1e-9)),
    ("position_encodings", "C7.3", "exact_none", put([1], 0.9)),
    ("position_encodings", "C7.3", "exact_sinusoidal", put([-3], 0.2)),
    ("position_encodings", "C7.3", "exact_learned", put([-4], 0.2)),
    ("position_encodings", "C7.3", "exact_learned", put([2], 0.5)),
    ("position_encodings", "C7.3", "exact_rotary", put([3], 0.4)),
    ("position_encodings", "C7.3", "exact_rotary", put([-4], 0.1)),
    ("position_encodings", "C7.3", "exact_rotary", put([-1], 0.5)),
    ("parameter_count", "C8.1", "counted", put([3], 1000)),
    ("parameter_count", "C8.1", "stacks_torch", put([0], 1000)),
    ("parameter_count", "C8.1", "paper", put([0, 2], 5e6)),
    ("path_length", "C8.2", "norm_gru", put([-1], 1e-3)),
    ("path_length", "C8.2", "norm_source", put([-1], 1e-4)),
    ("path_length", "C8.2", "norm_own", put([-1], 1e-4)),
    ("path_length", "C8.2", "far_source", put([-1], 1.0)),
    ("path_length", "C8.2", "recall", put([], 0.2)),
    ("norm_order", "C8.3", "loss_pre_cold", put([-1], 2.0)),
    ("norm_order", "C8.3", "loss_post_cold", put([-1], 0.1)),
    ("norm_order", "C8.3", "loss_post_warm", put([1], 0.5)),
    ("norm_order", "C8.3", "loss_post_warm", put([0], 1.0)),
    ("norm_order", "C8.3", "gradient_post", put([], 0.2)),
    ("published_models", "C10.1", "minilm", put([], 2e-5)),
    ("published_models", "C10.1", "smollm2", times(100)),
    ("published_models", "C10.1", "smollm2_cache", times(100)),
    ("published_models", "C10.1", "smollm2_same", put([], 0)),
    ("published_models", "C10.1", "whisper", times(100)),
    ("published_models", "C10.1", "whisper_spectra", times(100)),
    ("published_models", "C10.1", "whisper_same", put([], 0)),
    ("language_models", "C10.2", "gpt", times(1.2)),
    ("language_models", "C10.2", "trigram", times(0.8)),
    ("language_models", "C10.2", "bert", times(1.3)),
    ("language_models", "C10.2", "bert_bigram", times(0.7)),
    ("induction", "C10.3", "accuracy_two", put([], 0.4)),
    ("induction", "C10.3", "accuracy_wide", put([], 0.6)),
    ("induction", "C10.3", "match_two", put([1], 0.1)),
    ("induction", "C10.3", "previous_two", put([0], 0.08)),
    ("induction", "C10.3", "match_one", put([0], 0.3)),
    ("flop_count", "C11.1", "counted_reading", put([3], 1001)),
    ("flop_count", "C11.1", "formula_training", put([0], 1001)),
    ("flop_count", "C11.1", "counted_writing", times(2)),
    ("flop_count", "C11.1", "parameters", put([1], 10)),
    ("attention_overtakes", "C11.2", "crossing_explicit", times(5)),
    ("attention_overtakes", "C11.2", "crossing_fused", times(0.4)),
    ("attention_overtakes", "C11.2", "crossing_fused", times(3)),
    ("attention_overtakes", "C11.2", "crossing_fused", put([0], 500)),
    ("memory_use", "C11.3", "cache_float32", put([1], 9e6)),
    ("memory_use", "C11.3", "cache_bfloat16", times(2)),
    ("memory_use", "C11.3", "allocated_float32", times(1.1)),
    ("memory_use", "C11.3", "kept", put([0], 1e7)),
    ("memory_use", "C11.3", "scores", times(0)),
    ("data_parallel", "C11.4", "losses", put([1, 7], 0.5)),
    ("data_parallel", "C11.4", "losses", lambda values: values[:, :, ::-1]),
    ("data_parallel", "C11.4", "examples", put([1], 100)),
    ("mixed_precision", "C11.5", "speedup", put([-1], 1.0)),
    ("mixed_precision", "C11.5", "speedup", put([0], 4.0)),
    ("mixed_precision", "C11.5", "utilisation_bfloat16", put([0], 0.9)),
    ("mixed_precision", "C11.5", "exact_bfloat16", put([], 0.9)),
    ("compiled_attention", "C11.6", "speedup_compiled", put([-1], 1.0)),
    ("compiled_attention", "C11.6", "speedup_compiled", put([0], 2.0)),
    ("compiled_attention", "C11.6", "speedup_fused", put([-1], 1.0)),
    ("compiled_attention", "C11.6", "difference", put([1], 0.01)),
]


@pytest.mark.parametrize(("name", "claim", "quantity", "change"), TAMPERED)
def test_a_changed_result_does_not_hold(tamper, name: str, claim: str, quantity: str, change) -> None:
    result = load_result(name, "cuda" if name == "translation" else "cpu")
    judge = REGISTRY[name].CLAIMS[claim].judge
    assert judge(result).holds is True
    assert judge(tamper(result, quantity, change)).holds is False


def test_every_claim_is_tampered_with() -> None:
    claims = {claim for module in REGISTRY.values() for claim in module.CLAIMS}
    elsewhere = {"C5.1", "C5.2", "C5.4", "C5.5"}  # each in the test file of its experiment
    assert claims == {claim for _, claim, _, _ in TAMPERED} | elsewhere


# --- what the experiments compute ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accuracy", "reach"), [([1, 0.8, 0.5], 2.0), ([0.5, 0.4, 0.3], 0.0), ([1, 1, 0.95], 5.0), ([1, 0.6, 1], 1.5)]
)
def test_reach_by_hand(accuracy: list[float], reach: float) -> None:
    assert context_width.reach([1, 3, 5], accuracy, 0.9) == pytest.approx(reach)


def test_a_geometric_fall_has_its_factor() -> None:
    result = load_result("attention_over_length")
    fall = [[0.7**k for k in result.settings["distances"]]] * len(result.seeds)
    changed = replace(result, values={**result.values, "first_gru": fall})
    assert attention_over_length.step_factor(changed, "first_gru") == pytest.approx(0.7)


@pytest.mark.parametrize("cell", [SimpleRNN, GRU, LSTM])
def test_state_jacobians_are_those_of_autograd(cell) -> None:
    torch.manual_seed(0)
    layer = cell(3, 5).double()
    inputs = torch.randn(7, 3, dtype=torch.float64)
    jacobians = state_jacobians(layer, inputs)
    _, state = layer(inputs[None, :4])
    parts = state if isinstance(state, tuple) else (state,)

    def rest(*parts: torch.Tensor) -> torch.Tensor:
        return layer(inputs[None, 4:], parts if len(parts) > 1 else parts[0])[0][0, -1]

    found = torch.autograd.functional.jacobian(rest, tuple(part.detach() for part in parts))
    expected = torch.cat([part[:, 0] for part in found], dim=1)
    torch.testing.assert_close(jacobians[3], expected, rtol=1e-10, atol=1e-12)
    norm = torch.linalg.svdvals(expected)[0]
    torch.testing.assert_close(jacobian_norms(layer, inputs)[3], norm)


def test_a_probe_finds_what_is_there_and_nothing_else() -> None:
    generator = torch.Generator().manual_seed(0)
    symbols = torch.randint(10, (3000, 2), generator=generator)
    noise = torch.randn(3000, 4, generator=generator)
    features = torch.cat([torch.nn.functional.one_hot(symbols[:, 0], 10).float(), noise], dim=1)
    split = (features[:2000], symbols[:2000], features[2000:], symbols[2000:])
    first, second = (copying_models.probe_loss(*split, classes=10) / np.log(2)).tolist()
    assert first < 0.2
    assert second == pytest.approx(np.log2(10), abs=0.1)


def test_the_jacobian_of_the_first_output_is_that_of_autograd() -> None:
    model = copying_models.new_copier("gru", "additive", width=7, seed=0)
    norms = copying_models.first_jacobian(model, length=5, count=3, seed=4)
    task = Copying("copy", shortest=5, longest=5)
    examples = task.sample(3, random.Random("gradient/4/5"), split="test")
    source = collate(examples, task.source_vocabulary, task.target_vocabulary).source

    def logits(embedded: torch.Tensor, row: int) -> torch.Tensor:
        states, state = model.encoder.recurrent(embedded[None])
        memory = model.encode(source[row : row + 1])._replace(states=states, state=state)
        return model.decode(torch.tensor([[Seq2Seq.start_id]]), memory).logits[0, 0]

    for row in range(3):
        embedded = model.encoder.embedding(source[row]).detach()
        full = torch.autograd.functional.jacobian(lambda e, row=row: logits(e, row), embedded)  # (V, S, d_embed)
        assert norms[row] == pytest.approx(float(full[:, 0].norm()), rel=1e-4)
