"""BERT: like `transformers` with the same weights, outputs and gradients; blind to padding; wrong use."""

import re

import pytest
import torch
import transformers
from torch import Tensor

from transformer_book.bert import Bert, BertConfig, MaskedLM

CONFIG = BertConfig(31, d_model=21, num_heads=3, d_ff=23, num_layers=2, dropout=0.0, max_length=17, pad_id=0)
PAIRS = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.output": "attention.output.dense",
    "attention_residual.norm": "attention.output.LayerNorm",
    "feed_forward.hidden": "intermediate.dense",
    "feed_forward.output": "output.dense",
    "feed_forward_residual.norm": "output.LayerNorm",
}


def theirs_of(config: BertConfig) -> transformers.BertConfig:
    return transformers.BertConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.d_model,
        num_attention_heads=config.num_heads,
        intermediate_size=config.d_ff,
        num_hidden_layers=config.num_layers,
        max_position_embeddings=config.max_length,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="eager",
    )


def name_of(ours: str) -> str:
    """Name in `BertForMaskedLM` of a parameter of `MaskedLM`."""
    ours = ours.replace("bert.embedding.tokens", "bert.embeddings.word_embeddings")
    ours = ours.replace("bert.embedding.positions.table", "bert.embeddings.position_embeddings.weight")
    ours = ours.replace("bert.embedding.segments", "bert.embeddings.token_type_embeddings")
    ours = ours.replace("bert.embedding.norm", "bert.embeddings.LayerNorm")
    ours = ours.replace("bert.layers", "bert.encoder.layer")
    for our_part, their_part in PAIRS.items():
        ours = ours.replace(f".{our_part}.", f".{their_part}.")
    ours = re.sub("^transform", "cls.predictions.transform.dense", ours)
    ours = re.sub("^norm", "cls.predictions.transform.LayerNorm", ours)
    return re.sub("^readout", "cls.predictions.decoder", ours)


@pytest.fixture
def both() -> tuple[MaskedLM, transformers.BertForMaskedLM]:
    """Give our model and theirs, with the same random weights, norms and biases too."""
    torch.manual_seed(0)
    ours, theirs = MaskedLM(CONFIG), transformers.BertForMaskedLM(theirs_of(CONFIG))
    known = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
            known[name_of(name) if name != "readout.bias" else "cls.predictions.bias"].copy_(parameter)
    return ours, theirs


def batch() -> tuple[Tensor, Tensor]:
    ids = torch.randint(1, 31, (5, 13))
    ids[1, 7:] = 0
    ids[3, 1:] = 0
    return ids, torch.randint(0, 2, (5, 13))


def test_states_and_weights_are_those_of_transformers(both) -> None:
    ours, theirs = both[0].bert, both[1].bert
    ids, segments = batch()
    encoded = ours.encode(ids, segments)
    out = theirs(ids, attention_mask=(ids != 0).long(), token_type_ids=segments, output_attentions=True)
    real = ids != 0
    torch.testing.assert_close(encoded.states[real], out.last_hidden_state[real], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours(ids, segments), encoded.states)
    for got, expected in zip(encoded.weights, out.attentions, strict=True):
        rows = real[:, None, :, None].expand_as(got)
        torch.testing.assert_close(got[rows], expected[rows], rtol=1e-4, atol=1e-6)


def test_logits_and_gradients_are_those_of_transformers(both) -> None:
    ours, theirs = both
    ids, segments = batch()
    target = torch.randint(0, 31, (5, 13)).masked_fill(ids == 0, -100)
    logits = ours(ids, segments)
    out = theirs(ids, attention_mask=(ids != 0).long(), token_type_ids=segments, labels=target)
    torch.testing.assert_close(logits[ids != 0], out.logits[ids != 0], rtol=1e-4, atol=1e-4)
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten()).backward()
    out.loss.backward()
    known = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        expected = known[name_of(name) if name != "readout.bias" else "cls.predictions.bias"].grad
        torch.testing.assert_close(
            parameter.grad, expected, rtol=1e-3, atol=2e-5, msg=lambda text, n=name: n + text
        )


def test_padding_changes_nothing() -> None:
    model = Bert(CONFIG).eval()
    ids = torch.randint(1, 31, (3, 7))
    longer = torch.cat([ids, torch.zeros(3, 4, dtype=torch.long)], dim=1)
    torch.testing.assert_close(model(longer)[:, :7], model(ids), rtol=1e-5, atol=1e-6)


def test_it_looks_in_both_directions() -> None:
    model = Bert(CONFIG).eval()
    ids = torch.randint(1, 30, (1, 7))
    changed = ids.clone()
    changed[0, 5] += 1
    assert (model(changed) - model(ids)).abs().amax(dim=-1).min() > 1e-6


def test_the_readout_is_the_embedding() -> None:
    model = MaskedLM(CONFIG)
    assert model.readout.weight is model.bert.embedding.tokens.weight


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 0}, "vocab_size: expected an integer ≥ 1, got 0"),
        ({"num_heads": 2}, "d_model: expected a multiple of num_heads, got d_model 21 and num_heads 2"),
        ({"dropout": 1.0}, "dropout: expected a share from 0 to below 1, got 1.0"),
        ({"pad_id": 31}, "pad_id: expected an id in 0 … 30, got 31"),
    ],
)
def test_a_configuration_out_of_range_is_named(change, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        BertConfig(**(vars(CONFIG) | change))


@pytest.mark.parametrize(
    ("ids", "segments", "message"),
    [
        (
            torch.zeros(2, 3, dtype=torch.long),
            None,
            "ids: expected at least one token per row, got a row of padding",
        ),
        (torch.full((2, 3), 31), None, "ids: expected ids in 0 … 30, got 31 … 31"),
        (torch.ones(2, 18, dtype=torch.long), None, "inputs: expected positions in 0 … 16, got 0 … 17"),
        (torch.ones(2, 3, dtype=torch.long), torch.full((2, 3), 2), "segments: expected ids in 0 … 1, got 2 … 2"),
        (
            torch.ones(2, 3, dtype=torch.long),
            torch.ones(3, 2, dtype=torch.long),
            "segments: expected shape (2, 3), as ids, got (3, 2)",
        ),
    ],
)
def test_wrong_inputs_are_named(ids: Tensor, segments: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Bert(CONFIG)(ids, segments)
