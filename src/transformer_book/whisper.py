"""Whisper: an encoder–decoder that reads sound and writes text.

Axis letters are those of `transformer_book.shapes`; M stands for the bands of a spectrum, N for the samples of a
sound.
"""

import math
from dataclasses import dataclass
from functools import cache, partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_book.attention import MultiHeadAttention, causal_mask
from transformer_book.layers import DecoderLayer, EncoderLayer, GELUFeedForward, PreNorm
from transformer_book.positions import LearnedPositions, Positions
from transformer_book.shapes import check_heads, check_ids, check_widths, shape_text
from transformer_book.transformer import Cache, Decoded, Encoded

SAMPLE_RATE = 16_000  # samples per second
WINDOW = 400  # samples that one spectrum is made of, 25 ms
HOP = 160  # samples from one spectrum to the next, 10 ms
SECONDS = 30  # what the model reads at once


@dataclass(frozen=True)
class WhisperConfig:
    """Sizes of a `Whisper`; the defaults are tiny.en.

    Parameters
    ----------
    vocab_size
        Number of ids V, the special ones included.
    num_bands
        Bands M of the spectrum.
    d_model
        Width D of the residual stream.
    num_heads
        Heads H of every attention.
    d_ff
        Hidden width F of the feed-forward layers.
    num_encoder_layers, num_decoder_layers
        Depth.
    max_source_length
        Most states S of the encoder, half as many as spectra.
    max_length
        Most tokens of a text.

    Raises
    ------
    ValueError
        A value is out of range.
    """

    vocab_size: int = 51_864
    num_bands: int = 80
    d_model: int = 384
    num_heads: int = 6
    d_ff: int = 1536
    num_encoder_layers: int = 4
    num_decoder_layers: int = 4
    max_source_length: int = 1500
    max_length: int = 448

    def __post_init__(self) -> None:
        check_widths(**vars(self))
        check_heads(self.d_model, self.num_heads)


def spread_sinusoids(length: int, d_model: int) -> Tensor:
    """Describe each position by sines, then cosines, of D/2 frequencies from 1 down to 1/10000, both included.

    Parameters
    ----------
    length
        Number of positions T ≥ 1.
    d_model
        Width D, even and at least 4. Column i < D/2 holds sin(t / 10000^(i/(D/2 − 1))), column D/2 + i its cosine.

    Returns
    -------
    Tensor
        float32 ``(T, D)``.

    Raises
    ------
    ValueError
        A size does not fit.

    Notes
    -----
    Source: Radford et al. 2023, section 2.2, and its published code. `transformer_book.positions.sinusoids` has
    sines and cosines in turn, and a smallest frequency that is larger than 1/10000.
    """
    check_widths(length=length)
    if d_model < 4 or d_model % 2:
        raise ValueError(f"d_model: expected an even width of at least 4, got {d_model}")
    exponents = torch.linspace(0, 1, d_model // 2, dtype=torch.float64)  # (D/2,)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * 10000.0**-exponents  # (T, D/2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1).float()  # (T, D)


class SpreadPositions(Positions):
    """Fixed sines and cosines, as `spread_sinusoids` lays them out."""

    def __init__(self, d_model: int, max_length: int) -> None:
        super().__init__()
        self.register_buffer("table", spread_sinusoids(max_length, d_model), persistent=False)


class SoundEmbedding(nn.Module):
    """Turn a spectrum every 10 ms into a vector every 20 ms that knows its place: two convolutions over time.

    Notes
    -----
    Source: Radford et al. 2023, section 2.2: width 3, GELU after each, the second with a stride of two.
    """

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.bands = nn.Conv1d(config.num_bands, config.d_model, kernel_size=3, padding=1)
        self.halve = nn.Conv1d(config.d_model, config.d_model, kernel_size=3, padding=1, stride=2)
        self.positions = SpreadPositions(config.d_model, config.max_source_length)

    def forward(self, spectra: Tensor) -> Tensor:
        """Map ``spectra (B, M, 2S)`` to ``(B, S, D)``.

        Raises
        ------
        ValueError
            The shape does not fit, or there are more than twice `max_source_length` spectra.
        """
        bands = self.bands.in_channels
        if spectra.ndim != 3 or spectra.shape[1] != bands or spectra.numel() == 0:
            raise ValueError(
                f"spectra: expected shape (B, {bands}, length) with B and length ≥ 1, got {shape_text(spectra)}"
            )
        stream = F.gelu(self.halve(F.gelu(self.bands(spectra))))  # (B, D, S)
        return self.positions(stream.transpose(1, 2))  # (B, S, D)


class Whisper(nn.Module):
    """The Transformer with ears: pre-norm, GELU, and two convolutions where the source embedding was.

    Parameters
    ----------
    config
        Its sizes.

    Notes
    -----
    Source: Radford et al. 2023, section 2.2. The published keys have no bias; ours have one, which
    `transformer_book.weights.load_whisper` sets to zero, and a softmax does not notice it.
    """

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.config = config
        self.sound = SoundEmbedding(config)
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.positions = LearnedPositions(config.d_model, config.max_length)
        sizes = (config.d_model, config.num_heads)
        residual = partial(PreNorm, config.d_model)
        self.encoder_layers = nn.ModuleList(
            EncoderLayer(MultiHeadAttention(*sizes), GELUFeedForward(config.d_model, config.d_ff), residual)
            for _ in range(config.num_encoder_layers)
        )
        self.decoder_layers = nn.ModuleList(
            DecoderLayer(
                MultiHeadAttention(*sizes),
                MultiHeadAttention(*sizes),
                GELUFeedForward(config.d_model, config.d_ff),
                residual,
            )
            for _ in range(config.num_decoder_layers)
        )
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(config.d_model), nn.LayerNorm(config.d_model)
        self.readout = nn.Linear(config.d_model, config.vocab_size, bias=False)
        nn.init.normal_(self.tokens.weight, std=config.d_model**-0.5)
        self.readout.weight = self.tokens.weight

    def encode(self, spectra: Tensor) -> Encoded:
        """Listen.

        Parameters
        ----------
        spectra
            ``(B, M, 2S)``, as `log_mel` makes them.

        Returns
        -------
        Encoded
            States ``(B, S, D)``; a mask that is True everywhere; attention weights of each layer.

        Raises
        ------
        ValueError
            The shape does not fit.
        """
        stream, maps = self.sound(spectra), []  # (B, S, D)
        for layer in self.encoder_layers:
            stream, weights = layer(stream)
            maps.append(weights)
        mask = torch.ones_like(stream[:, None, None, :, 0], dtype=torch.bool)  # (B, 1, 1, S)
        return Encoded(self.encoder_norm(stream), mask, tuple(maps))

    def decode(self, target: Tensor, memory: Encoded, state: Cache | None = None) -> Decoded:
        """Predict the token after each token of ``target (B, T)``; otherwise as the decoder of a `Transformer`.

        Raises
        ------
        TypeError, ValueError
            Ids are not integers or not in the vocabulary, batch sizes differ, or there are more than `max_length`
            tokens in all.
        """
        check_ids("target", target, self.config.vocab_size)
        if len(target) != len(memory.states):
            raise ValueError(f"target: expected {len(memory.states)} rows, as the source, got {len(target)}")
        layers = cast(list[DecoderLayer], self.decoder_layers)
        state = tuple(layer.start(memory.states) for layer in layers) if state is None else state
        past, length = state[0].own[0].shape[-2], target.shape[1]
        stream = self.positions(self.tokens(target), offset=past)  # (B, T, D)
        mask = causal_mask(past + length, target.device)[past:]  # (T, P + T)
        steps = []
        for layer, kept in zip(layers, state, strict=True):
            stream, *rest = layer(stream, kept, mask, memory.mask)
            steps.append(rest)
        caches, weights, cross_weights = (tuple(parts) for parts in zip(*steps, strict=True))
        return Decoded(self.readout(self.decoder_norm(stream)), caches, weights, cross_weights)

    def forward(self, spectra: Tensor, target: Tensor) -> Tensor:
        """Return logits ``(B, T, V)`` for what follows each token of ``target (B, T)``, given spectra.

        Raises
        ------
        TypeError, ValueError
            As `encode` and `decode`.
        """
        return self.decode(target, self.encode(spectra)).logits


@cache
def mel_filters(num_bands: int, size: int = WINDOW, rate: int = SAMPLE_RATE) -> Tensor:
    """Make the triangles that gather the frequencies of a spectrum into bands, evenly spaced on the mel scale.

    Parameters
    ----------
    num_bands
        Number of triangles M; each reaches from the middle of the one before to the middle of the one after.
    size
        Samples that a spectrum is made of; it has ``size // 2 + 1`` frequencies, from 0 to half the rate.
    rate
        Samples per second.

    Returns
    -------
    Tensor
        float64 ``(M, size // 2 + 1)``; every triangle, over frequency in Hz, has area 1.

    Raises
    ------
    ValueError
        A size is below 1.

    Notes
    -----
    Source: Slaney 1998, "Auditory Toolbox": linear below 1000 Hz, where 200/3 Hz are one mel, logarithmic above,
    where 27 mels are a factor of 6.4. Radford et al. 2023, section 2.2, name 80 bands.
    """
    check_widths(num_bands=num_bands, size=size, rate=rate)
    top = 15 + 27 * math.log(rate / 2 / 1000) / math.log(6.4) if rate > 2000 else rate / 2 / (200 / 3)
    mels = torch.linspace(0, top, num_bands + 2, dtype=torch.float64)  # (M + 2,)
    edges = torch.where(mels < 15, mels * 200 / 3, 1000 * torch.exp((mels - 15) * math.log(6.4) / 27))  # Hz
    frequencies = torch.linspace(0, rate / 2, size // 2 + 1, dtype=torch.float64)  # (size // 2 + 1,)
    low, middle, high = (edges[i : num_bands + i, None] for i in range(3))  # (M, 1) each
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    return rising.minimum(falling).clamp(min=0) * 2 / (high - low)  # (M, size // 2 + 1)


def log_mel(wave: Tensor, num_bands: int = 80, seconds: float = SECONDS) -> Tensor:
    """Describe a sound by how loud it is, in each band of frequencies, every 10 ms.

    Parameters
    ----------
    wave
        Samples between −1 and 1, ``(N,)``, `SAMPLE_RATE` of them a second; silence is added to `seconds`.
    num_bands
        Bands M.
    seconds
        Length of what is described.

    Returns
    -------
    Tensor
        float32 ``(M, 100 · seconds)``: (x + 4) / 4 for x the log₁₀ of the power, at most 8 below the loudest.

    Raises
    ------
    TypeError
        `wave` is not floating point.
    ValueError
        It does not have one axis, is empty or longer than `seconds`, or holds what is no number.

    Notes
    -----
    Source: Radford et al. 2023, section 2.2 (25 ms windows, 10 ms hops), and its published code.
    """
    length = round(seconds * SAMPLE_RATE)
    if not wave.is_floating_point():
        raise TypeError(f"wave: expected floating-point samples between −1 and 1, got {wave.dtype}")
    if wave.ndim != 1 or not 0 < len(wave) <= length:
        raise ValueError(f"wave: expected shape (N,) with N from 1 to {length}, got {shape_text(wave)}")
    if not wave.isfinite().all():
        raise ValueError("wave: expected finite samples, got some that are not")
    wave = F.pad(wave.double(), (0, length - len(wave)))  # (N,)
    window = torch.hann_window(WINDOW, dtype=wave.dtype, device=wave.device)
    spectra = torch.stft(wave, WINDOW, HOP, window=window, return_complex=True)[:, :-1]  # (201, 100 · seconds)
    power = mel_filters(num_bands).to(wave.device) @ spectra.abs() ** 2  # (M, 100 · seconds)
    logs = power.clamp(min=1e-10).log10()
    return ((logs.maximum(logs.max() - 8) + 4) / 4).float()
