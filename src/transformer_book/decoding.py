"""Turn a model's logits into a sequence. Axis letters are those of `transformer_book.shapes`."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from transformer_book.device import CPU


class EncoderDecoder(Protocol):
    """A model that can write step by step, for example `transformer_book.seq2seq.Seq2Seq`."""

    pad_id: int
    start_id: int
    end_id: int

    def encode(self, source: Tensor) -> Any:
        """Read ``source (B, S)`` once."""
        ...

    def decode(self, target: Tensor, memory: Any, state: Any = None) -> Any:
        """Return a tuple that begins with logits ``(B, T, V)`` and the state to go on from."""
        ...


@torch.no_grad()
def greedy_decode(model: EncoderDecoder, source: Tensor, max_length: int) -> Tensor:
    """Write the most probable token, feed it back, and go on until every sequence has ended.

    Parameters
    ----------
    model
        In evaluation mode if it has dropout.
    source
        Integer ids ``(B, S)``.
    max_length
        Most tokens to write, the end token included; ≥ 1.

    Returns
    -------
    Tensor
        Ids ``(B, T)`` with T ≤ `max_length`: without the start token, with the end token, padding after it.

    Raises
    ------
    ValueError
        `max_length` is below 1.
    """
    if max_length < 1:
        raise ValueError(f"max_length: expected an integer ≥ 1, got {max_length}")
    memory, state, written = model.encode(source), None, []
    token = torch.full_like(source[:, :1], model.start_id)  # (B, 1)
    ended = torch.zeros_like(token, dtype=torch.bool)  # (B, 1)
    while len(written) < max_length and not ended.all():
        logits, state, *_ = model.decode(token, memory, state)  # (B, 1, V)
        token = logits.argmax(dim=-1).masked_fill(ended, model.pad_id)  # (B, 1)
        written.append(token)
        ended |= token == model.end_id
    return torch.cat(written, dim=1)  # (B, T)


class Beams(NamedTuple):
    """Beginnings of sequences, W of each, the best first.

    ids
        ``(B, W, 1 + T)``, from the start token on; padding after the end.
    totals
        Sum of the log-probabilities of each, in nats, ``(B, W)``; −inf where there is no beginning yet.
    lengths
        Tokens of each, the end included, the start not, ``(B, W)``.
    ended
        Boolean ``(B, W)``.
    """

    ids: Tensor
    totals: Tensor
    lengths: Tensor
    ended: Tensor


@torch.no_grad()
def beam_search(
    model: EncoderDecoder, source: Tensor, beam_size: int, max_length: int, length_penalty: float = 0.6
) -> tuple[Tensor, Tensor]:
    """Keep the best `beam_size` beginnings of each sequence, extend them all, and keep the best again.

    A beginning that has ended keeps its place, unextended, for as long as its score is among the best. A beam of
    one is greedy decoding.

    Parameters
    ----------
    model
        In evaluation mode if it has dropout.
    source
        Integer ids ``(B, S)``.
    beam_size
        Number of beginnings W kept per sequence; ≥ 1.
    max_length
        Most tokens to write, the end token included; ≥ 1.
    length_penalty
        Exponent α of the length by which a sum of log-probabilities is divided; 0 compares the sums themselves,
        which favours short sequences. See `penalised_length`.

    Returns
    -------
    ids : Tensor
        The best of each beam, ``(B, T)``, in the form of `greedy_decode`.
    scores : Tensor
        Its log-probability in nats over its penalised length, ``(B,)``.

    Raises
    ------
    ValueError
        `beam_size` or `max_length` is below 1, or `length_penalty` is negative or not finite.

    Notes
    -----
    Source: Wu et al. 2016, section 7; Vaswani et al. 2017, section 6.1 (a beam of 4, α = 0.6).
    """
    for name, number in (("beam_size", beam_size), ("max_length", max_length)):
        if number < 1:
            raise ValueError(f"{name}: expected an integer ≥ 1, got {number}")
    batch, state = len(source), None
    first = torch.arange(batch, device=source.device)[:, None] * beam_size  # (B, 1): its row among B·W
    memory = pick_rows(model.encode(source), (first // beam_size).repeat(1, beam_size).flatten())
    beams = first_beams(model.start_id, batch, beam_size, source.device)
    scores = beams.totals
    while beams.ids.shape[-1] <= max_length and not (beams.ended | beams.totals.isinf()).all():
        logits, state, *_ = model.decode(beams.ids[..., -1:].flatten(0, 1), memory, state)  # (B·W, 1, V)
        steps = logits[:, 0].float().log_softmax(dim=-1).unflatten(0, (batch, beam_size))  # (B, W, V)
        beams, scores, parents = beam_step(beams, steps, model.end_id, model.pad_id, length_penalty)
        state = pick_rows(state, (first + parents).flatten())
    longest = int(beams.lengths[:, 0].max())
    return beams.ids[:, 0, 1 : 1 + longest], scores[:, 0]


def first_beams(start_id: int, batch: int, beam_size: int, device: torch.device = CPU) -> Beams:
    """Begin with the start token. All W beginnings of a sequence are still the same one: it counts once."""
    ids = torch.full((batch, beam_size, 1), start_id, device=device)  # (B, W, 1)
    totals = torch.full((batch, beam_size), -math.inf, device=device)  # (B, W)
    totals[:, 0] = 0.0
    return Beams(ids, totals, torch.zeros_like(totals), torch.zeros_like(totals, dtype=torch.bool))


def beam_step(
    beams: Beams, steps: Tensor, end_id: int, pad_id: int, length_penalty: float = 0.6
) -> tuple[Beams, Tensor, Tensor]:
    """Extend each beginning by every token and keep the W best of each sequence.

    Parameters
    ----------
    beams
        W beginnings of each of B sequences.
    steps
        Log-probability of each next token after each of them, ``(B, W, V)``.
    end_id, pad_id
        Ids of the end, and of padding, with which a beginning that has ended goes on at no cost.
    length_penalty
        See `penalised_length`.

    Returns
    -------
    beams : Beams
        One token longer, best first.
    scores : Tensor
        Log-probability over penalised length of each, ``(B, W)``.
    parents : Tensor
        Which of the beginnings given each one continues, ``(B, W)``.

    Raises
    ------
    ValueError
        `length_penalty` is negative or not finite.
    """
    ended = beams.ended
    steps = steps.masked_fill(ended[..., None], -math.inf)  # (B, W, V)
    steps[..., pad_id] = steps[..., pad_id].masked_fill(ended, 0.0)
    totals, lengths = beams.totals[..., None] + steps, beams.lengths + ~ended  # (B, W, V), (B, W)
    candidates = (totals / penalised_length(lengths[..., None], length_penalty)).flatten(1)  # (B, W·V)
    scores, best = candidates.topk(ended.shape[1], dim=-1)  # (B, W)
    parents, tokens = best // steps.shape[-1], best % steps.shape[-1]  # (B, W)
    rows = torch.arange(len(parents), device=parents.device)[:, None]  # (B, 1)
    ids = torch.cat([beams.ids[rows, parents], tokens[..., None]], dim=-1)  # (B, W, 1 + T)
    ended = ended.gather(1, parents) | (tokens == end_id)
    return Beams(ids, totals.flatten(1).gather(1, best), lengths.gather(1, parents), ended), scores, parents


def penalised_length(length: Tensor, length_penalty: float) -> Tensor:
    """Return ((5 + length) / 6)^α, by which beam search divides a sum of log-probabilities.

    Parameters
    ----------
    length
        Tokens written, the end token included; any shape.
    length_penalty
        The exponent α ≥ 0.

    Raises
    ------
    ValueError
        `length_penalty` is negative or not finite.

    Notes
    -----
    Source: Wu et al. 2016, section 7, equation 14.
    """
    if not 0 <= length_penalty < math.inf:
        raise ValueError(f"length_penalty: expected a number ≥ 0, got {length_penalty}")
    return ((5 + length) / 6) ** length_penalty


def token_probabilities(
    logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """Turn logits into the probabilities that a token is drawn with.

    The temperature comes first, then `top_k`, then `top_p` on what `top_k` left; what stays is renormalised.

    Parameters
    ----------
    logits
        Shape ``(..., V)``.
    temperature
        Divides the logits: below 1 sharpens, above 1 flattens.
    top_k
        Keep only this many most probable tokens, and any that tie with the last of them; None keeps all.
    top_p
        Keep only the smallest set of most probable tokens that together have at least this probability; None
        keeps all.

    Returns
    -------
    Tensor
        Probabilities ``(..., V)``; exactly zero where a token is not kept.

    Raises
    ------
    ValueError
        `temperature` is not above 0 and finite, `top_k` is below 1, or `top_p` is not above 0 and at most 1.

    Notes
    -----
    Source: Fan, Lewis & Dauphin 2018, section 5.1 (top-k); Holtzman et al. 2020, section 3.1 (top-p, "nucleus").
    """
    if not 0 < temperature < math.inf:
        raise ValueError(
            f"temperature: expected a number > 0 (greedy_decode is its limit at 0), got {temperature}"
        )
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k: expected an integer ≥ 1 or None, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p: expected a probability above 0, at most 1, or None, got {top_p}")
    scores = (logits - logits.amax(dim=-1, keepdim=True)) / temperature  # (..., V), none above 0: no overflow
    if top_k is not None:
        last = scores.topk(min(top_k, scores.shape[-1]), dim=-1).values[..., -1:]  # (..., 1)
        scores = scores.masked_fill(scores < last, -math.inf)
    if top_p is not None:
        ordered, order = scores.softmax(dim=-1).sort(dim=-1, descending=True)  # (..., V)
        before = ordered.cumsum(dim=-1) - ordered  # the probability of all that are more probable
        dropped = (before >= top_p).scatter(-1, order, before >= top_p)  # back in the order of the ids
        scores = scores.masked_fill(dropped, -math.inf)
    return scores.softmax(dim=-1)


@torch.no_grad()
def sample_decode(
    model: EncoderDecoder,
    source: Tensor,
    max_length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw each next token at random, by the probability the model gives it.

    Parameters
    ----------
    model, source, max_length
        As for `greedy_decode`.
    temperature, top_k, top_p
        As for `token_probabilities`.
    generator
        Source of the random numbers, on the device of `source`; default: torch's own.

    Returns
    -------
    Tensor
        Ids ``(B, T)``, in the form of `greedy_decode`.

    Raises
    ------
    ValueError
        `max_length` is below 1, or as `token_probabilities`.
    """
    if max_length < 1:
        raise ValueError(f"max_length: expected an integer ≥ 1, got {max_length}")
    memory, state, written = model.encode(source), None, []
    token = torch.full_like(source[:, :1], model.start_id)  # (B, 1)
    ended = torch.zeros_like(token, dtype=torch.bool)  # (B, 1)
    while len(written) < max_length and not ended.all():
        logits, state, *_ = model.decode(token, memory, state)  # (B, 1, V)
        probabilities = token_probabilities(logits[:, 0].float(), temperature, top_k, top_p)  # (B, V)
        token = torch.multinomial(probabilities, 1, generator=generator).masked_fill(ended, model.pad_id)  # (B, 1)
        written.append(token)
        ended |= token == model.end_id
    return torch.cat(written, dim=1)  # (B, T)


class Step(Protocol):
    """One step of a decoder, for example `transformer_book.gpt.GPT.decode`."""

    def __call__(self, ids: Tensor, state: Any = None, /) -> Any:
        """Read ``ids (B, T)`` after `state`; return logits ``(B, T, V)``, a new state, and anything more."""
        ...


def most_probable(logits: Tensor) -> Tensor:
    """Pick the most probable token: ``(B, V)`` → ``(B,)``."""
    return logits.argmax(dim=-1)


def draw(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw a token at random, by the probability it has: ``(B, V)`` → ``(B,)``.

    Parameters
    ----------
    logits, temperature, top_k, top_p
        As for `token_probabilities`.
    generator
        Source of the random numbers, on the device of `logits`; default: torch's own.

    Raises
    ------
    ValueError
        As `token_probabilities`.
    """
    probabilities = token_probabilities(logits.float(), temperature, top_k, top_p)  # (B, V)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]  # (B,)


@torch.no_grad()
def write_on(
    step: Step,
    prompt: Tensor,
    max_length: int,
    end_id: int | None = None,
    choose: Callable[[Tensor], Tensor] = most_probable,
) -> Tensor:
    """Read a prompt at once, then write token by token until every sequence has ended.

    Parameters
    ----------
    step
        What a decoder does with new tokens; of a model in evaluation mode if it has dropout.
    prompt
        Integer ids ``(B, P)``, P ≥ 1, without padding.
    max_length
        Most tokens to write, the end token included; ≥ 1.
    end_id
        The token that ends a sequence, and fills what stands after it; None: none does.
    choose
        Picks tokens ``(B,)`` from logits ``(B, V)``: `most_probable`, or `draw` with its settings.

    Returns
    -------
    Tensor
        Ids ``(B, T)`` with T ≤ `max_length`, the prompt not included.

    Raises
    ------
    ValueError
        `max_length` is below 1.
    """
    if max_length < 1:
        raise ValueError(f"max_length: expected an integer ≥ 1, got {max_length}")
    state, written, token = None, [], prompt
    ended = torch.zeros_like(prompt[:, :1], dtype=torch.bool)  # (B, 1)
    while len(written) < max_length and not ended.all():
        logits, state, *_ = step(token, state)  # (B, P, V), then (B, 1, V)
        token = choose(logits[:, -1])[:, None]  # (B, 1)
        if end_id is not None:
            token = token.masked_fill(ended, end_id)
            ended |= token == end_id
        written.append(token)
    return torch.cat(written, dim=1)  # (B, T)


def pick_rows(tree: Any, rows: Tensor) -> Any:
    """Pick rows of the batch axis in every tensor of nested tuples: in a model's memory, in its state."""
    if isinstance(tree, Tensor):
        return tree.index_select(0, rows)
    if isinstance(tree, tuple):
        parts = [pick_rows(part, rows) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return tree
