"""Whisper: like `transformers` with the same weights, outputs and gradients; its ears; the cache; wrong use."""

import re

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from transformer_book.whisper import Whisper, WhisperConfig, log_mel, mel_filters, spread_sinusoids

CONFIG = WhisperConfig(
    31, num_bands=7, d_model=20, num_heads=5, d_ff=23, num_encoder_layers=2, num_decoder_layers=3,
    max_source_length=11, max_length=13,
)  # fmt: skip
PARTS = {
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.out_proj",
    "attention_residual.norm": "self_attn_layer_norm",
    "cross_attention.query": "encoder_attn.q_proj",
    "cross_attention.key": "encoder_attn.k_proj",
    "cross_attention.value": "encoder_attn.v_proj",
    "cross_attention.output": "encoder_attn.out_proj",
    "cross_residual.norm": "encoder_attn_layer_norm",
    "feed_forward.hidden": "fc1",
    "feed_forward.output": "fc2",
    "feed_forward_residual.norm": "final_layer_norm",
}
OUTSIDE = {
    "sound.bands": "encoder.conv1",
    "sound.halve": "encoder.conv2",
    "encoder_norm": "encoder.layer_norm",
    "decoder_norm": "decoder.layer_norm",
    "tokens": "decoder.embed_tokens",
}


def name_of(ours: str) -> str:
    if ours == "positions.table":
        return "model.decoder.embed_positions.weight"
    module, kind = ours.rsplit(".", 1)
    if module in OUTSIDE:
        return f"model.{OUTSIDE[module]}.{kind}"
    side, number, part = module.split(".", 2)
    return f"model.{side.removesuffix('_layers')}.layers.{number}.{PARTS[part]}.{kind}"


@pytest.fixture
def both() -> tuple[Whisper, transformers.WhisperForConditionalGeneration]:
    torch.manual_seed(0)
    theirs = transformers.WhisperForConditionalGeneration(
        transformers.WhisperConfig(
            vocab_size=31,
            num_mel_bins=7,
            d_model=20,
            encoder_attention_heads=5,
            decoder_attention_heads=5,
            encoder_ffn_dim=23,
            decoder_ffn_dim=23,
            encoder_layers=2,
            decoder_layers=3,
            max_source_positions=11,
            max_target_positions=13,
            dropout=0.0,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
            suppress_tokens=[],
            begin_suppress_tokens=[],
        )
    ).eval()
    ours, known = Whisper(CONFIG).eval(), dict(theirs.named_parameters())
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
            if name.endswith("key.bias"):
                parameter.zero_()  # theirs have none
            else:
                known[name_of(name)].copy_(parameter)
    return ours, theirs


def test_logits_states_and_gradients_are_those_of_transformers(both) -> None:
    ours, theirs = both
    spectra, target = torch.randn(3, 7, 22), torch.randint(0, 31, (3, 5))
    out = theirs(spectra, decoder_input_ids=target)
    states = ours.encode(spectra).states
    torch.testing.assert_close(states, out.encoder_last_hidden_state, rtol=1e-4, atol=1e-4)
    logits = ours(spectra, target)
    torch.testing.assert_close(logits, out.logits, rtol=1e-4, atol=1e-4)
    direction = torch.randn_like(logits)
    (logits * direction).sum().backward()
    (out.logits * direction).sum().backward()
    known = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        if name.endswith("key.bias"):
            assert parameter.grad.abs().max() < 1e-3  # a softmax does not notice it
        else:
            expected = known[name_of(name)].grad
            torch.testing.assert_close(parameter.grad, expected, rtol=1e-3, atol=2e-3, msg=name)


def test_the_encoder_s_positions_are_those_of_transformers(both) -> None:
    table = both[1].model.encoder.embed_positions.weight
    torch.testing.assert_close(spread_sinusoids(11, 20), table.detach(), rtol=0, atol=1e-6)


def test_the_cache_changes_nothing(both) -> None:
    model = both[0]
    memory, target = model.encode(torch.randn(3, 7, 22)), torch.randint(0, 31, (3, 7))
    state, logits = None, []
    for t in range(7):
        decoded = model.decode(target[:, t : t + 1], memory, state)
        state = decoded.state
        logits.append(decoded.logits)
    full = model.decode(target, memory)
    torch.testing.assert_close(torch.cat(logits, dim=1), full.logits, rtol=1e-4, atol=1e-4)
    assert full.cross_weights[0].shape == (3, 5, 7, 11)
    assert full.weights[0].triu(1).abs().max() == 0


@pytest.mark.parametrize("bands", [80, 29])
def test_bands_are_those_of_transformers(bands: int) -> None:
    theirs = transformers.WhisperFeatureExtractor(feature_size=bands).mel_filters.T
    np.testing.assert_allclose(mel_filters(bands).numpy(), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("length", [1, 16_001, 480_000])
def test_spectra_are_those_of_transformers(length: int) -> None:
    generator = torch.Generator().manual_seed(length)
    loud = torch.linspace(0, 1, length) ** 3
    sound = loud * (2 * torch.rand(length, generator=generator) - 1)
    theirs = transformers.WhisperFeatureExtractor()(sound.numpy(), sampling_rate=16_000, return_tensors="pt")
    ours = log_mel(sound)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs.input_features[0], rtol=0, atol=1e-4)


def test_a_tone_is_loud_in_its_band() -> None:
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(16_000) / 16_000)
    loudest = log_mel(tone)[:, 50].argmax()
    assert mel_filters(80)[loudest, 25] > 0  # 25 · 40 Hz


@pytest.mark.parametrize(
    ("sound", "error", "message"),
    [
        (torch.zeros(5, dtype=torch.int16), TypeError, "wave: expected floating-point samples between −1 and 1"),
        (torch.zeros(0), ValueError, "wave: expected shape (N,) with N from 1 to 480000, got (0,)"),
        (torch.zeros(2, 5), ValueError, "wave: expected shape (N,) with N from 1 to 480000, got (2, 5)"),
        (torch.zeros(480_001), ValueError, "wave: expected shape (N,) with N from 1 to 480000, got (480001,)"),
        (torch.tensor([0.0, torch.nan]), ValueError, "wave: expected finite samples, got some that are not"),
    ],
)
def test_what_is_no_sound_is_named(sound: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        log_mel(sound)


def test_wrong_inputs_are_named() -> None:
    model = Whisper(CONFIG)
    for shape in ((2, 5, 22), (7, 22), (0, 7, 22)):
        with pytest.raises(ValueError, match=r"^spectra: expected shape \(B, 7, length\)"):
            model.encode(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"^inputs: expected positions in 0 … 10, got 0 … 11$"):
        model.encode(torch.zeros(1, 7, 24))
    memory = model.encode(torch.zeros(2, 7, 22))
    with pytest.raises(ValueError, match=r"^target: expected 2 rows, as the source, got 3$"):
        model.decode(torch.zeros(3, 1, dtype=torch.long), memory)
    with pytest.raises(ValueError, match=r"^d_model: expected an even width of at least 4, got 7$"):
        spread_sinusoids(5, 7)
