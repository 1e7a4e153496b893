"""GPT: like `transformers` as GPT-2 and as Llama, outputs and gradients; causal; the cache changes nothing."""

import re

import pytest
import torch
import transformers
from torch import Tensor, nn

from transformer_book.gpt import GPT, GPTConfig
from transformer_book.positions import GroupedQueryAttention

GPT2 = GPTConfig(31, d_model=21, num_heads=3, d_ff=23, num_layers=2, dropout=0.0, max_length=19)
LLAMA = GPTConfig(
    31,
    d_model=24,
    num_heads=6,
    d_ff=23,
    num_layers=2,
    dropout=0.0,
    max_length=19,
    positions="rotary",
    rotary_base=1e5,
    num_groups=2,
    feed_forward="swiglu",
    norm="rms",
)
MIXED = GPTConfig(31, d_model=24, d_ff=23, max_length=19, dropout=0.0, positions="sinusoidal", feed_forward="relu")
ROTARY = GPTConfig(31, d_model=24, d_ff=23, max_length=19, dropout=0.0, positions="rotary")
CONFIGS = {"gpt2": GPT2, "llama": LLAMA, "mixed": MIXED, "rotary": ROTARY}


def model_of(config: GPTConfig) -> GPT:
    torch.manual_seed(0)
    model = GPT(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    return model.eval()


def interleaved(width: int) -> Tensor:
    """Where a head's coordinates stand in their order, which turns i with K/2 + i; ours turns 2i with 2i + 1."""
    return torch.stack([torch.arange(width // 2), torch.arange(width // 2, width)], dim=-1).flatten()


def llama_of(ours: GPT) -> tuple[transformers.LlamaForCausalLM, dict[str, Tensor]]:
    """Give their model with our weights, and how its gradients are called and ordered in ours."""
    config = ours.config
    theirs = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_groups,
            intermediate_size=config.d_ff,
            num_hidden_layers=config.num_layers,
            max_position_embeddings=config.max_length,
            rms_norm_eps=config.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": config.rotary_base},
            tie_word_embeddings=True,
            attn_implementation="eager",
        )
    ).eval()
    names = {
        "attention.query": "self_attn.q_proj",
        "attention.key": "self_attn.k_proj",
        "attention.value": "self_attn.v_proj",
        "attention.output": "self_attn.o_proj",
        "attention_residual.norm": "input_layernorm",
        "feed_forward.gate": "mlp.gate_proj",
        "feed_forward.hidden": "mlp.up_proj",
        "feed_forward.output": "mlp.down_proj",
        "feed_forward_residual.norm": "post_attention_layernorm",
    }
    order = interleaved(config.d_model // config.num_heads)
    known = dict(theirs.named_parameters())
    pairs = {}
    for name, parameter in ours.named_parameters():
        theirs_name = {"tokens.weight": "model.embed_tokens.weight", "norm.weight": "model.norm.weight"}.get(name)
        if theirs_name is None:
            _, number, rest = name.split(".", 2)
            theirs_name = f"model.layers.{number}.{names[rest.removesuffix('.weight')]}.weight"
        weight = known[theirs_name]
        rows = torch.arange(len(parameter))
        if ".query" in name or ".key" in name:
            rows = (torch.arange(0, len(parameter), len(order))[:, None] + order).flatten()
        with torch.no_grad():
            weight[rows] = parameter
        pairs[name] = (weight, rows)
    return theirs, pairs


def test_as_llama_it_is_that_of_transformers() -> None:
    ours = model_of(LLAMA)
    theirs, pairs = llama_of(ours)
    ids = torch.randint(0, 31, (5, 13))
    written, out = ours.decode(ids), theirs(ids, output_attentions=True)
    torch.testing.assert_close(written.logits, out.logits, rtol=1e-4, atol=1e-4)
    for got, expected in zip(written.weights, out.attentions, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    direction = torch.randn_like(out.logits)
    (written.logits * direction).sum().backward()
    (out.logits * direction).sum().backward()
    for name, parameter in ours.named_parameters():
        weight, rows = pairs[name]
        torch.testing.assert_close(parameter.grad, weight.grad[rows], rtol=1e-3, atol=1e-3, msg=name)


def test_as_gpt2_it_is_that_of_transformers() -> None:
    ours = model_of(GPT2)
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=31,
            n_embd=21,
            n_head=3,
            n_inner=23,
            n_layer=2,
            n_positions=19,
            activation_function="gelu",
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            attn_implementation="eager",
            bos_token_id=0,
            eos_token_id=0,
        )
    ).eval()
    known = dict(theirs.transformer.named_parameters())

    def put(name: str, *parts: Tensor) -> None:
        with torch.no_grad():
            known.pop(name).copy_(torch.cat(parts).t())  # their matrices are transposed

    put("wte.weight", ours.tokens.weight.t())
    put("wpe.weight", ours.positions.table.t())
    for name in ("weight", "bias"):
        put(f"ln_f.{name}", getattr(ours.norm, name))
        for i, layer in enumerate(ours.layers):
            attention, feed_forward = layer.attention, layer.feed_forward
            qkv = [getattr(part, name) for part in (attention.query, attention.key, attention.value)]
            put(f"h.{i}.attn.c_attn.{name}", *qkv)
            put(f"h.{i}.attn.c_proj.{name}", getattr(attention.output, name))
            put(f"h.{i}.mlp.c_fc.{name}", getattr(feed_forward.hidden, name))
            put(f"h.{i}.mlp.c_proj.{name}", getattr(feed_forward.output, name))
            put(f"h.{i}.ln_1.{name}", getattr(layer.attention_residual.norm, name))
            put(f"h.{i}.ln_2.{name}", getattr(layer.feed_forward_residual.norm, name))
    assert not known
    ids = torch.randint(0, 31, (5, 13))
    logits, out = ours(ids), theirs(ids).logits
    torch.testing.assert_close(logits, out, rtol=1e-4, atol=1e-4)
    direction = torch.randn_like(out)
    (logits * direction).sum().backward()
    (out * direction).sum().backward()
    theirs_grad = theirs.transformer.wte.weight.grad
    torch.testing.assert_close(ours.tokens.weight.grad, theirs_grad, rtol=1e-3, atol=1e-3)
    first = theirs.transformer.h[0].attn.c_attn.weight.grad.t()[:21]
    torch.testing.assert_close(ours.layers[0].attention.query.weight.grad, first, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("cut", [1, 5])
def test_the_cache_changes_nothing(name: str, cut: int) -> None:
    model = model_of(CONFIGS[name])
    ids = torch.randint(0, 31, (3, 13))
    first = model.decode(ids[:, :cut])
    before = [part.clone() for part in first.state[0]]
    logits, state = [first.logits], first.state
    for t in range(cut, 13):
        written = model.decode(ids[:, t : t + 1], state)
        state = written.state
        logits.append(written.logits)
    torch.testing.assert_close(torch.cat(logits, dim=1), model(ids), rtol=1e-4, atol=1e-4)
    for part, kept in zip(first.state[0], before, strict=True):
        torch.testing.assert_close(part, kept)  # the cache that is handed in is left alone


@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_is_seen_of_what_comes_later(name: str) -> None:
    model = model_of(CONFIGS[name])
    ids = torch.randint(0, 30, (1, 13))
    changed = ids.clone()
    changed[0, 7] += 1
    moved = (model(changed) - model(ids)).abs().amax(dim=-1)[0]
    assert moved[:7].max() == 0
    assert moved[7:].min() > 1e-6
    for weights in model.attention_maps(ids):
        assert weights.shape == (1, CONFIGS[name].num_heads, 13, 13)
        assert weights.triu(1).abs().max() == 0


def test_the_cache_of_a_llama_has_fewer_heads() -> None:
    state = model_of(LLAMA).decode(torch.zeros(3, 7, dtype=torch.long)).state
    assert [tuple(part.shape) for part in state[0]] == [(3, 2, 7, 4)] * 2


def test_parts_are_as_named() -> None:
    model = GPT(LLAMA)
    assert isinstance(model.layers[0].attention, GroupedQueryAttention)
    assert isinstance(model.norm, nn.RMSNorm)
    assert not [name for name, _ in model.named_parameters() if name.endswith("bias")]
    assert model.readout.weight is model.tokens.weight


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": "spiral"}, "positions: expected one of sinusoidal, learned, rotary, none, got 'spiral'"),
        ({"norm": "batch"}, "norm: expected one of layer, rms, got 'batch'"),
        ({"feed_forward": "tanh"}, "feed_forward: expected one of relu, gelu, swiglu, got 'tanh'"),
        ({"num_groups": 1}, "num_groups: expected None unless positions are rotary, got 1"),
        ({"num_layers": 0}, "num_layers: expected an integer ≥ 1, got 0"),
    ],
)
def test_a_configuration_out_of_range_is_named(change, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        GPTConfig(**(vars(GPT2) | change))


@pytest.mark.parametrize("name", CONFIGS)
def test_too_many_tokens_are_named(name: str) -> None:
    model = GPT(CONFIGS[name])
    with pytest.raises(ValueError, match=r"^inputs: expected positions in 0 … 18, got 0 … 19$"):
        model(torch.zeros(1, 20, dtype=torch.long))
    with pytest.raises(ValueError, match=r"^inputs: expected positions in 0 … 18, got 17 … 19$"):
        model.decode(torch.zeros(1, 3, dtype=torch.long), model.decode(torch.zeros(1, 17, dtype=torch.long)).state)
