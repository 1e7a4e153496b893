"""The whole model against torch.nn.Transformer, and what must hold without any reference."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from transformer_book.attention import causal_mask
from transformer_book.decoding import greedy_decode
from transformer_book.transformer import Transformer, TransformerConfig
from transformer_book.weights import load_torch

PAD, START, END = 0, 1, 2
B, S, T = 3, 7, 5
CONFIG = TransformerConfig(
    source_vocab=17,
    target_vocab=13,
    d_model=33,
    num_heads=3,
    d_ff=19,
    num_encoder_layers=2,
    num_decoder_layers=3,
    dropout=0.0,
    max_length=11,
)
CONFIGS = {
    "post-norm": CONFIG,
    "pre-norm": replace(CONFIG, norm_first=True),
    "learned positions": replace(CONFIG, positions="learned"),
    "rotary positions": replace(CONFIG, positions="rotary", d_model=30),
    "shared embeddings": replace(CONFIG, source_vocab=13, shared_embeddings=True),
    "one head, one layer": replace(CONFIG, num_heads=1, num_encoder_layers=1, num_decoder_layers=1),
    "other ids": replace(CONFIG, pad_id=12, start_id=0, end_id=1),
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def make(config: TransformerConfig = CONFIG) -> Transformer:
    torch.manual_seed(4)
    model = Transformer(config).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter.normal_()
    return model.eval()


def ids(config: TransformerConfig = CONFIG) -> tuple[Tensor, Tensor]:
    torch.manual_seed(5)
    source, target = torch.randint(3, 12, (B, S)), torch.randint(3, 12, (B, T))
    source[1, 4:], source[2, 1:] = config.pad_id, config.pad_id
    target[:, 0] = config.start_id
    target[1, 3:] = config.pad_id
    return source, target


@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")  # torch's remark on its own fast path
@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "rotary positions"])  # torch has none
def test_logits_and_gradients_are_torch_s(name: str) -> None:
    config = CONFIGS[name]
    theirs = nn.Transformer(
        config.d_model,
        config.num_heads,
        config.num_encoder_layers,
        config.num_decoder_layers,
        config.d_ff,
        dropout=0.0,
        batch_first=True,
        norm_first=config.norm_first,
    )
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.3)
    ours = make(config)
    load_torch(ours, theirs)
    theirs.double()
    source, target = ids(config)
    embedded = ours.source_embedding(source).detach(), ours.target_embedding(target).detach()
    padding = source == config.pad_id
    states = theirs(
        *embedded, tgt_mask=~causal_mask(T), src_key_padding_mask=padding, memory_key_padding_mask=padding
    )
    expected = ours.readout(states)
    logits = ours(source, target)
    torch.testing.assert_close(logits, expected, atol=1e-11, rtol=1e-11)
    weight = torch.randn_like(logits)
    pairs = [
        (ours.encoder_layers[0].feed_forward.hidden.weight, theirs.encoder.layers[0].linear1.weight),
        (ours.encoder_layers[0].attention.output.weight, theirs.encoder.layers[0].self_attn.out_proj.weight),
        (
            ours.decoder_layers[0].cross_attention.output.weight,
            theirs.decoder.layers[0].multihead_attn.out_proj.weight,
        ),
        (ours.decoder_layers[0].cross_residual.norm.weight, theirs.decoder.layers[0].norm2.weight),
        (ours.encoder_norm.weight, theirs.encoder.norm.weight),
        (ours.decoder_norm.bias, theirs.decoder.norm.bias),
    ]
    mine, reference = zip(*pairs, strict=True)
    got = torch.autograd.grad((logits * weight).sum(), mine)
    wanted = torch.autograd.grad((expected * weight).sum(), reference)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)


@every_config
def test_a_later_token_changes_nothing_before_it(config: TransformerConfig) -> None:
    model = make(config)
    source, target = ids(config)
    logits = model(source, target)
    for place in range(1, T):
        changed = target.clone()
        changed[:, place] = 11
        difference = (model(source, changed) - logits).abs().amax(dim=(0, 2))
        assert (difference[:place] == 0).all()
        assert difference[place] > 1e-6


@every_config
def test_padding_changes_nothing(config: TransformerConfig) -> None:
    model = make(config)
    source, target = ids(config)
    logits = model(source, target)
    for row, (length, written) in enumerate([(S, T), (4, 3), (1, T)]):
        alone = model(source[row : row + 1, :length], target[row : row + 1, :written])
        torch.testing.assert_close(logits[row, :written], alone[0], atol=1e-12, rtol=1e-12)


@every_config
@pytest.mark.parametrize("steps", [(1,) * T, (2, 1, 2)])
def test_step_by_step_is_teacher_forcing(config: TransformerConfig, steps: tuple[int, ...]) -> None:
    model = make(config)
    source, target = ids(config)
    whole = model(source, target)
    memory, state, parts = model.encode(source), None, []
    for part in target.split(steps, dim=1):
        decoded = model.decode(part, memory, state)
        parts.append(decoded.logits)
        state = decoded.state
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-12, rtol=1e-12)


def test_greedy_decoding_is_the_argmax_of_the_whole_prefix_each_time() -> None:
    model = make()
    source, _ = ids()
    written = torch.full((B, 1), START)
    with torch.no_grad():
        for _ in range(6):
            token = model(source, written)[:, -1].argmax(dim=-1, keepdim=True)
            ended = (written == END).any(dim=1, keepdim=True)
            written = torch.cat([written, token.masked_fill(ended, PAD)], dim=1)
    got = greedy_decode(model, source, 6)
    assert got.tolist() == written[:, 1 : 1 + got.shape[1]].tolist()


def test_a_token_knows_its_place_and_without_positions_it_does_not() -> None:
    source, target = ids()
    order = torch.tensor([3, 0, 2, 1, 4, 6, 5])
    for positions, moves in (("sinusoidal", True), ("learned", True), ("rotary", True), ("none", False)):
        model = make(replace(CONFIG, positions=positions, d_model=30))
        states, permuted = model.encode(source[:1]).states, model.encode(source[:1, order]).states
        assert ((permuted - states[:, order]).abs().max() > 1e-7) == moves
        assert ((model(source[:1, order], target[:1]) - model(source[:1], target[:1])).abs().max() > 1e-7) == moves


def test_maps_are_those_of_every_layer_and_head() -> None:
    model = make()
    source, target = ids()
    maps = model.attention_maps(source, target)
    assert [weights.shape for weights in maps.encoder] == [(B, 3, S, S)] * 2
    assert [weights.shape for weights in maps.decoder] == [(B, 3, T, T)] * 3
    assert [weights.shape for weights in maps.cross] == [(B, 3, T, S)] * 3
    for weights in (*maps.encoder, *maps.decoder, *maps.cross):
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:3], dtype=torch.float64))
    first = model.encoder_layers[0]
    stream = model.source_embedding(source)
    torch.testing.assert_close(maps.encoder[0], first(stream, model.encode(source).mask)[1])
    assert (maps.decoder[0].triu(1) == 0).all()


def test_dropout_falls_where_the_paper_has_it() -> None:
    model = Transformer(replace(CONFIG, dropout=0.25))
    sites = {name for name, module in model.named_modules() if isinstance(module, nn.Dropout) and module.p == 0.25}
    layers = [f"encoder_layers.{i}." for i in range(2)] + [f"decoder_layers.{i}." for i in range(3)]
    expected = {f"{layer}{part}_residual.dropout" for layer in layers for part in ("attention", "feed_forward")}
    expected |= {f"decoder_layers.{i}.cross_residual.dropout" for i in range(3)}
    assert sites == expected | {"source_embedding.dropout", "target_embedding.dropout"}


def test_embeddings_start_with_variance_1_beside_the_positions() -> None:
    model = Transformer(replace(CONFIG, d_model=96, source_vocab=500, positions="none"))
    vectors = model.eval().source_embedding(torch.arange(500)[None, :10])
    assert model.source_embedding.tokens.weight.std().item() == pytest.approx(96**-0.5, rel=0.02)
    assert vectors.var().item() == pytest.approx(1, rel=0.15)


def test_shared_embeddings_are_one_matrix_which_learns_from_all_its_places() -> None:
    model = make(CONFIGS["shared embeddings"])
    source, target = torch.full((1, S), 3), torch.full((1, T), 5)
    logits = model(source, target)
    logits[..., 7].sum().backward()
    weight = model.readout.weight
    assert model.source_embedding.tokens.weight is weight
    assert model.target_embedding.tokens.weight is weight
    assert weight.grad is not None
    assert weight.grad.abs().amax(dim=1).nonzero().flatten().tolist() == [3, 5, 7]
    with torch.no_grad():
        weight[9] += 1.0
    changed = (model(source, target) - logits).abs().amax(dim=(0, 1))
    assert changed.nonzero().flatten().tolist() == [9]


def parameters_by_formula(config: TransformerConfig) -> int:
    d, f = config.d_model, config.d_ff
    attention, feed_forward, norm = 4 * (d * d + d), 2 * d * f + d + f, 2 * d
    encoder = attention + feed_forward + 2 * norm
    decoder = 2 * attention + feed_forward + 3 * norm
    matrices = config.source_vocab if config.shared_embeddings else config.source_vocab + 2 * config.target_vocab
    ends = matrices * d + config.target_vocab + 2 * norm
    positions = 2 * config.max_length * d if config.positions == "learned" else 0
    return config.num_encoder_layers * encoder + config.num_decoder_layers * decoder + ends + positions


@every_config
def test_parameters_are_as_many_as_the_formula_says(config: TransformerConfig) -> None:
    assert sum(parameter.numel() for parameter in make(config).parameters()) == parameters_by_formula(config)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"d_model": 0}, "d_model: expected an integer ≥ 1, got 0"),
        ({"num_decoder_layers": 0}, "num_decoder_layers: expected an integer ≥ 1, got 0"),
        ({"num_heads": 4}, "d_model: expected a multiple of num_heads, got d_model 33 and num_heads 4"),
        ({"dropout": 1.0}, "dropout: expected a share from 0 to below 1, got 1.0"),
        ({"dropout": -0.1}, "dropout: expected a share from 0 to below 1, got -0.1"),
        ({"positions": "rope"}, "positions: expected one of sinusoidal, learned, rotary, none, got 'rope'"),
        ({"pad_id": 13}, "pad_id: expected an id in 0 … 12, got 13"),
        ({"start_id": -1}, "start_id: expected an id in 0 … 12, got -1"),
        ({"end_id": 13}, "end_id: expected an id in 0 … 12, got 13"),
        ({"max_length": 0}, "max_length: expected an integer ≥ 1, got 0"),
        (
            {"shared_embeddings": True},
            "shared_embeddings: expected one vocabulary, got source_vocab 17 and target_vocab 13",
        ),
    ],
)
def test_wrong_settings_are_told(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        replace(CONFIG, **values)


SOURCE, TARGET = ids()
WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "a source too long": (
        lambda: make()(torch.full((B, 12), 5), TARGET),
        "inputs: expected positions in 0 … 10, got 0 … 11",
    ),
    "a target too long": (
        lambda: make()(SOURCE, torch.full((B, 12), 5)),
        "inputs: expected positions in 0 … 10, got 0 … 11",
    ),
    "more steps than positions": (
        lambda: greedy_decode(without_end(make()), SOURCE, 12),
        "inputs: expected positions in 0 … 10, got 11 … 11",
    ),
    "an empty source": (
        lambda: make()(torch.zeros(B, 0, dtype=torch.long), TARGET),
        "ids: expected shape (B, length) with B and length ≥ 1, got (3, 0)",
    ),
    "a source of padding": (
        lambda: make()(torch.tensor([[5], [PAD], [5]]), TARGET),
        "source: expected at least one token per row, got a row of padding",
    ),
    "an unknown id": (lambda: make()(SOURCE + 12, TARGET), "ids: expected ids in 0 … 16, got 12 … 23"),
    "another batch": (lambda: make()(SOURCE, TARGET[:2]), "target: expected 3 rows, as the source, got 2"),
}


def without_end(model: Transformer) -> Transformer:
    with torch.no_grad():
        model.readout.bias[END] = -1e9
    return model


@pytest.mark.parametrize(("work", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_inputs_are_told(work: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        work()
