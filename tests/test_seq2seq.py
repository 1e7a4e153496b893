import re

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_book.recurrent import GRU
from transformer_book.scoring import AdditiveScore, BilinearScore, DotScore, ScaledDotScore
from transformer_book.seq2seq import (
    CELLS,
    SCORES,
    AttentionDecoder,
    ContextDecoder,
    Encoder,
    Seq2Seq,
    Seq2SeqConfig,
    hidden,
    make_score,
)

# Every axis has a prime of its own: B 3, S 7, T 5, source ids 17, target ids 13, embedding 11, D 19.
BATCH, SOURCE, TARGET, EMBED, WIDTH = 3, 7, 5, 11, 19
SOURCE_IDS, TARGET_IDS = 17, 13
EVERY = [(cell, score) for cell in CELLS for score in SCORES]


def model_of(cell: str = "gru", score: str = "none", dtype: torch.dtype = torch.float64) -> Seq2Seq:
    torch.manual_seed(0)
    config = Seq2SeqConfig(SOURCE_IDS, TARGET_IDS, d_embed=EMBED, d_hidden=WIDTH, cell=cell, score=score)
    return Seq2Seq(config).to(dtype)


def ids(length: int, vocabulary: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, vocabulary, (BATCH, length), generator=generator)


@pytest.fixture
def source() -> Tensor:
    return ids(SOURCE, SOURCE_IDS)


@pytest.fixture
def target() -> Tensor:
    return ids(TARGET, TARGET_IDS, seed=1)


# --- equal to an independent computation with torch.nn -------------------------------------------------------

TORCH = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def torch_layer(ours: nn.Module, cell: str) -> nn.Module:
    weight = ours.weight_ih_l0
    layer = TORCH[cell](weight.shape[1], WIDTH, batch_first=True).to(weight.dtype)
    layer.load_state_dict(ours.state_dict())
    return layer


def torch_score(score: nn.Module, query: Tensor, key: Tensor) -> Tensor:
    """Score one query ``(D)`` against one key ``(D)``, from the equations."""
    if isinstance(score, AdditiveScore):
        return (score.value.weight @ torch.tanh(score.query.weight @ query + score.key.weight @ key)).squeeze()
    if isinstance(score, BilinearScore):
        return query @ score.weight @ key
    return query @ key / (WIDTH**0.5 if isinstance(score, ScaledDotScore) else 1)


def by_torch(model: Seq2Seq, cell: str, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
    """Compute logits and weights with torch.nn's layers, a sequence and a step at a time, without padding."""
    encoder, decoder = torch_layer(model.encoder.recurrent, cell), torch_layer(model.decoder.recurrent, cell)
    all_logits, all_weights = [], []
    for row, written in zip(source, target, strict=True):
        states, state = encoder(model.encoder.embedding(row[row != 0])[None])  # (1, S, D)
        last = state[0] if isinstance(state, tuple) else state  # (1, 1, D)
        logits, weights = [], []
        for token in written:
            if model.config.score == "none":
                context = last[0, 0]
            else:
                now = state[0] if isinstance(state, tuple) else state
                scores = torch.stack([torch_score(model.decoder.score, now[0, 0], key) for key in states[0]])
                weights.append(F.pad(scores.softmax(0), (0, source.shape[1] - len(scores))))
                context = sum(w * s for w, s in zip(weights[-1], states[0], strict=False))
            inputs = torch.cat([model.decoder.embedding(token), context])[None, None]
            output, state = decoder(inputs, state)
            logits.append(model.decoder.readout(torch.cat([output[0, 0], context])))
        all_logits.append(torch.stack(logits))
        all_weights.append(torch.stack(weights) if weights else None)
    if model.config.score == "none":
        return torch.stack(all_logits), None
    return torch.stack(all_logits), torch.stack(all_weights)


@pytest.mark.parametrize(("cell", "score"), EVERY)
def test_equal_to_the_equations_with_torchs_layers(cell: str, score: str, source: Tensor, target: Tensor) -> None:
    model = model_of(cell, score)
    source[1, 4:] = 0
    logits = model(source, target)
    expected, weights = by_torch(model, cell, source, target)
    assert logits.shape == (BATCH, TARGET, TARGET_IDS)
    torch.testing.assert_close(logits, expected, rtol=1e-12, atol=1e-12)
    if weights is not None:
        torch.testing.assert_close(model.alignments(source, target), weights, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("cell", "score"), EVERY)
def test_gradients_equal_those_of_torchs_layers(cell: str, score: str, source: Tensor, target: Tensor) -> None:
    model = model_of(cell, score)
    direction = torch.randn(BATCH, TARGET, TARGET_IDS, dtype=torch.float64)
    shared = [p for name, p in model.named_parameters() if "recurrent" not in name]
    ours = torch.autograd.grad((model(source, target) * direction).sum(), shared)
    theirs = torch.autograd.grad((by_torch(model, cell, source, target)[0] * direction).sum(), shared)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("cell", "score"), EVERY)
def test_every_parameter_learns(cell: str, score: str, source: Tensor, target: Tensor) -> None:
    model = model_of(cell, score)
    model(source, target).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


# --- properties ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cell", "score"), EVERY)
def test_padding_changes_nothing(cell: str, score: str, source: Tensor, target: Tensor) -> None:
    model = model_of(cell, score)
    padded = F.pad(source, (0, 6))
    torch.testing.assert_close(model(padded, target), model(source, target), rtol=0, atol=1e-13)
    # a short sequence in a batch of long ones, against the same sequence alone
    source[1, 2:] = 0
    torch.testing.assert_close(
        model(source, target)[1], model(source[1:2, :2], target[1:2])[0], rtol=0, atol=1e-13
    )


@pytest.mark.parametrize(("cell", "score"), EVERY)
def test_no_gradient_reaches_padding(cell: str, score: str, source: Tensor, target: Tensor) -> None:
    model = model_of(cell, score)
    source[1, 2:] = 0
    model(source, target).square().sum().backward()
    gradient = model.encoder.embedding.weight.grad
    assert gradient is not None
    assert gradient[0].abs().max() == 0
    assert gradient[source[1, 0]].abs().max() > 0


@pytest.mark.parametrize(("cell", "score"), EVERY)
def test_later_target_tokens_move_nothing_before_them(
    cell: str, score: str, source: Tensor, target: Tensor
) -> None:
    model = model_of(cell, score)
    before = model(source, target)
    changed = target.clone()
    changed[:, 3] = (changed[:, 3] - 3 + 1) % (TARGET_IDS - 3) + 3
    after = model(source, changed)
    assert torch.equal(after[:, :3], before[:, :3])
    assert (after[:, 3:] != before[:, 3:]).any(dim=-1).all()


@pytest.mark.parametrize(("cell", "score"), EVERY)
def test_one_token_at_a_time_gives_the_teacher_forced_logits(
    cell: str, score: str, source: Tensor, target: Tensor
) -> None:
    model = model_of(cell, score)
    memory, state, steps = model.encode(source), None, []
    for t in range(TARGET):
        logits, state, _ = model.decode(target[:, t : t + 1], memory, state)
        steps.append(logits)
    torch.testing.assert_close(torch.cat(steps, dim=1), model(source, target), rtol=0, atol=1e-13)


@pytest.mark.parametrize("score", SCORES[1:])
def test_alignments_are_shares_of_the_real_tokens(score: str, source: Tensor, target: Tensor) -> None:
    model = model_of("gru", score)
    source[2, 3:] = 0
    weights = model.alignments(source, target)
    assert weights.shape == (BATCH, TARGET, SOURCE)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(BATCH, TARGET, dtype=torch.float64))
    assert (weights >= 0).all()
    assert (weights[2, :, 3:] == 0).all()
    assert (weights[:2] > 0).all()


def test_one_context_vector_sees_the_source_only_through_the_last_state(source: Tensor, target: Tensor) -> None:
    model = model_of("lstm")
    memory = model.encode(source)
    blind = memory._replace(states=torch.full_like(memory.states, torch.nan))
    assert torch.equal(model.decode(target, blind).logits, model.decode(target, memory).logits)


def test_attention_sees_every_state(source: Tensor, target: Tensor) -> None:
    model = model_of("gru", "additive")
    memory = model.encode(source)
    states = memory.states.detach().requires_grad_()
    model.decode(target, memory._replace(states=states)).logits.sum().backward()
    assert states.grad is not None
    assert (states.grad.abs().sum(dim=-1) > 0).all()


def test_the_first_query_is_the_encoders_last_state(source: Tensor, target: Tensor) -> None:
    model = model_of("gru", "dot")
    memory = model.encode(source)
    scores = torch.einsum("bd,bsd->bs", hidden(memory.state), memory.states)
    torch.testing.assert_close(model.alignments(source, target)[:, 0], scores.softmax(dim=-1))


def test_the_two_decoders_differ_only_in_the_score() -> None:
    plain, attention = model_of("gru", "none"), model_of("gru", "additive")
    names = {name for name, _ in plain.named_parameters()}
    extra = {name for name, _ in attention.named_parameters()} - names
    assert names < {name for name, _ in attention.named_parameters()}
    assert extra == {"decoder.score.query.weight", "decoder.score.key.weight", "decoder.score.value.weight"}


def test_the_encoder_hands_over_states_mask_and_last_state(source: Tensor) -> None:
    encoder = Encoder(SOURCE_IDS, EMBED, GRU(EMBED, WIDTH))
    source[1, 4:] = 0
    memory = encoder(source)
    assert memory.states.shape == (BATCH, SOURCE, WIDTH)
    assert memory.mask.tolist() == [[[True] * 7], [[True] * 4 + [False] * 3], [[True] * 7]]
    expected = torch.stack([memory.states[0, 6], memory.states[1, 3], memory.states[2, 6]])
    assert torch.equal(hidden(memory.state), expected)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("additive", AdditiveScore), ("dot", DotScore), ("scaled_dot", ScaledDotScore), ("bilinear", BilinearScore)],
)
def test_scores_by_name(name: str, kind: type[nn.Module]) -> None:
    assert type(make_score(name, 5)) is kind


@pytest.mark.parametrize("decoder", [ContextDecoder, AttentionDecoder])
def test_decoders_stand_alone(decoder: type[nn.Module], source: Tensor, target: Tensor) -> None:
    parts = (TARGET_IDS, EMBED, GRU(EMBED + WIDTH, WIDTH))
    module = decoder(*parts) if decoder is ContextDecoder else decoder(*parts, DotScore())
    memory = Encoder(SOURCE_IDS, EMBED, GRU(EMBED, WIDTH))(source)
    logits, state, weights = module(target, memory)
    assert logits.shape == (BATCH, TARGET, TARGET_IDS)
    assert state.shape == (BATCH, WIDTH)
    assert (weights is None) == (decoder is ContextDecoder)


# --- wrong use -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d_hidden": 0}, "d_hidden: expected an integer ≥ 1, got 0"),
        ({"source_vocab": -1}, "source_vocab: expected an integer ≥ 1, got -1"),
        ({"cell": "elman"}, "cell: expected one of rnn, gru, lstm, got 'elman'"),
        ({"score": "cosine"}, "score: expected one of none, additive, dot, scaled_dot, bilinear, got 'cosine'"),
    ],
)
def test_a_wrong_config_says_expected_and_got(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Seq2SeqConfig(**({"source_vocab": 13, "target_vocab": 13} | change))


def test_an_unknown_score_says_expected_and_got() -> None:
    with pytest.raises(
        ValueError, match=r"^score: expected one of additive, dot, scaled_dot, bilinear, got 'none'$"
    ):
        make_score("none", 5)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([[3, 0, 4]], ValueError, "source: expected at least one token per row and padding only after them"),
        ([[0, 3, 4]], ValueError, "source: expected at least one token per row and padding only after them"),
        ([[0, 0, 0]], ValueError, "source: expected at least one token per row and padding only after them"),
        ([[3, 17, 4]], ValueError, "source: expected ids in 0 … 16, got 3 … 17"),
        ([[3, -1, 4]], ValueError, "source: expected ids in 0 … 16, got -1 … 4"),
        ([3, 4], ValueError, "source: expected shape (B, length) with B and length ≥ 1, got (2,)"),
        ([[]], TypeError, "source: expected an int64 or int32 tensor of ids, got torch.float32"),
        ([[3.0]], TypeError, "source: expected an int64 or int32 tensor of ids, got torch.float32"),
    ],
)
def test_a_wrong_source_says_expected_and_got(rows: list, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        model_of(dtype=torch.float32).encode(torch.tensor(rows))


@pytest.mark.parametrize("score", ["none", "additive"])
def test_a_wrong_target_says_expected_and_got(score: str, source: Tensor) -> None:
    with pytest.raises(ValueError, match=r"^target: expected ids in 0 … 12, got 3 … 13$"):
        model_of("gru", score)(source, torch.tensor([[3, 13]] * BATCH))
    with pytest.raises(
        ValueError, match=r"^target: expected shape \(B, length\) with B and length ≥ 1, got \(3, 0\)$"
    ):
        model_of("gru", score)(source, torch.zeros(BATCH, 0, dtype=torch.int64))


def test_a_model_without_attention_has_no_alignments(source: Tensor, target: Tensor) -> None:
    message = "score: expected a model with attention, got one with a single context vector"
    with pytest.raises(ValueError, match=f"^{message}$"):
        model_of().alignments(source, target)
