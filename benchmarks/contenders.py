"""Who is compared. Axis letters are those of `transformer_book.shapes`.

A contender is a function that makes, for a size and a device, the `Work` it does in one kind of comparison. All
that can take our weights start from the same ones, so that their losses and what they write can be compared.
"""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.levers import WITHOUT, replace_parts
from benchmarks.work import (
    BATCHES,
    DECODED_LENGTH,
    DROPOUT,
    END,
    PAD,
    START,
    Batch,
    Size,
    make_batches,
    make_sources,
)
from transformer_book import fast
from transformer_book.attention import MultiHeadAttention
from transformer_book.decoding import greedy_decode
from transformer_book.device import seeded
from transformer_book.training import masked_cross_entropy
from transformer_book.transformer import Transformer
from transformer_book.weights import load_torch

#: Sequence lengths of the comparison of attention, each at about as many tokens.
LENGTHS = (16, 32, 64, 128, 256, 512, 1024)
TOKENS = 2048
#: Batches of a training that sees none twice.
NEW_BATCHES = 64


@dataclass(frozen=True)
class Work:
    """Something to be timed.

    Parameters
    ----------
    cases
        One or more pieces of work, in the same order for all contenders.
    parameters
        Number of trained numbers in the model.
    check
        What must agree between contenders with the same weights: the loss without dropout, or the ids written.
    same_weights
        Whether this contender has them.
    warm_up
        How often each case is done before it is timed.
    """

    cases: Sequence[Callable[[], object]]
    parameters: int
    check: list[float]
    same_weights: bool = True
    warm_up: int = 1


Maker: TypeAlias = Callable[[Size, torch.device], Work]


def reference(size: Size, endless: bool = False) -> tuple[Transformer, nn.Transformer]:
    """Make our model and a `torch.nn.Transformer` with the same weights.

    `endless` makes end and padding improbable: decoding never stops before its length.
    """
    with seeded(0):
        model = Transformer(size.config())
        core = nn.Transformer(
            size.d_model, size.num_heads, size.layers, size.layers, size.d_ff, DROPOUT, batch_first=True
        )
    load_torch(model, core)
    if endless:
        with torch.no_grad():
            model.readout.bias[[PAD, END]] = -1e4
    return model, core


class TorchModel(nn.Module):
    """`torch.nn.Transformer` with our embeddings and readout around it.

    Parameters
    ----------
    model, core
        From `reference`.
    paper_dropout
        Drop where the paper does and nowhere else.
    """

    def __init__(self, model: Transformer, core: nn.Transformer, paper_dropout: bool = False) -> None:
        super().__init__()
        self.source_embedding, self.target_embedding = model.source_embedding, model.target_embedding
        self.core, self.readout = core, model.readout
        if paper_dropout:
            for module in core.modules():
                if isinstance(module, nn.MultiheadAttention):
                    module.dropout = 0.0
                if isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
                    assert isinstance(module.dropout, nn.Dropout)
                    module.dropout.p = 0.0

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Return logits ``(B, T, V)``."""
        padding = source == PAD  # (B, S), True = hidden, as torch has it
        future = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool, device=target.device).triu(1)
        states = self.core(
            self.source_embedding(source),
            self.target_embedding(target),
            tgt_mask=future,
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
            tgt_is_causal=True,
        )
        return self.readout(states)

    @torch.no_grad()
    def greedy(self, source: Tensor, length: int) -> Tensor:
        """Write `length` tokens; without a cache, all of the target is computed again for each."""
        padding = source == PAD
        memory = self.core.encoder(self.source_embedding(source), src_key_padding_mask=padding)
        ids = torch.full_like(source[:, :1], START)
        for _ in range(length):
            future = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).triu(1)
            states = self.core.decoder(
                self.target_embedding(ids), memory, future, memory_key_padding_mask=padding, tgt_is_causal=True
            )
            ids = torch.cat([ids, self.readout(states[:, -1:]).argmax(dim=-1)], dim=1)
        return ids[:, 1:]


def marian(size: Size, device: torch.device, endless: bool = False) -> Any:
    """Make Hugging Face's Marian of this size, with the weights of `reference`.

    Marian has no norm at the end of its stacks; after a last layer with post-norm, ours changes nothing as long as
    its weights are the initial ones.
    """
    transformers = importlib.import_module("transformers")
    transformers.logging.set_verbosity_error()
    config = transformers.MarianConfig(
        vocab_size=size.vocabulary,
        decoder_vocab_size=size.vocabulary,
        d_model=size.d_model,
        encoder_layers=size.layers,
        decoder_layers=size.layers,
        encoder_attention_heads=size.num_heads,
        decoder_attention_heads=size.num_heads,
        encoder_ffn_dim=size.d_ff,
        decoder_ffn_dim=size.d_ff,
        activation_function="relu",
        dropout=DROPOUT,
        attention_dropout=0.0,
        activation_dropout=0.0,
        max_position_embeddings=128,
        scale_embedding=True,
        share_encoder_decoder_embeddings=False,
        tie_word_embeddings=False,
        pad_token_id=PAD,
        eos_token_id=END,
        forced_eos_token_id=None,
        decoder_start_token_id=START,
    )
    model = transformers.MarianMTModel(config)
    ours, _ = reference(size, endless)
    with torch.no_grad():
        model.lm_head.weight.copy_(ours.readout.weight)
        model.final_logits_bias.copy_(ours.readout.bias)
        for stack in ("encoder", "decoder"):
            theirs = getattr(model.model, stack)
            embedding = ours.source_embedding if stack == "encoder" else ours.target_embedding
            theirs.embed_tokens.weight.copy_(embedding.tokens.weight)
            theirs.embed_positions.weight.copy_(embedding.positions.table)
            for one, other in zip(theirs.layers, getattr(ours, f"{stack}_layers"), strict=True):
                _copy_layer(one, other)
    return model.to(device)


def _copy_layer(theirs: Any, ours: Any) -> None:
    attentions = {"self_attn": "attention", "encoder_attn": "cross_attention"}
    parts = {
        **{f"{a}.{t}_proj": f"{b}.{o}" for a, b in attentions.items() for t, o in _PROJECTIONS.items()},
        "self_attn_layer_norm": "attention_residual.norm",
        "encoder_attn_layer_norm": "cross_residual.norm",
        "fc1": "feed_forward.hidden",
        "fc2": "feed_forward.output",
        "final_layer_norm": "feed_forward_residual.norm",
    }
    for target, source in parts.items():
        if not hasattr(theirs, "encoder_attn") and target.startswith("encoder_attn"):
            continue
        theirs.get_submodule(target).load_state_dict(ours.get_submodule(source).state_dict())


_PROJECTIONS = {"q": "query", "k": "key", "v": "value", "out": "output"}


def x_transformer(size: Size, device: torch.device) -> Any:
    """Make lucidrains' XTransformer of this size, with post-norm; its linear layers of attention have no bias."""
    module = importlib.import_module("x_transformers")
    sides: dict[str, Any] = {}
    for side in ("enc", "dec"):
        sides |= {
            f"{side}_num_tokens": size.vocabulary,
            f"{side}_max_seq_len": 128,
            f"{side}_depth": size.layers,
            f"{side}_heads": size.num_heads,
            f"{side}_attn_dim_head": size.d_model // size.num_heads,
            f"{side}_attn_sublayer_dropout": DROPOUT,
            f"{side}_ff_mult": size.d_ff // size.d_model,
            f"{side}_ff_sublayer_dropout": DROPOUT,
            f"{side}_emb_dropout": DROPOUT,
            f"{side}_pre_norm": False,
        }
        sides[f"{side}_ff_custom_activation"] = nn.ReLU()
    with seeded(0):
        model = module.XTransformer(dim=size.d_model, pad_value=PAD, ignore_index=PAD, **sides)
    return model.to(device)


def training_work(
    size: Size,
    device: torch.device,
    model: nn.Module,
    loss: Callable[[Batch], Tensor],
    bfloat16: bool = False,
    same_weights: bool = True,
    fused: bool = True,
    always_new: bool = False,
    packed: bool = False,
) -> Work:
    """Take one training step after the other: loss, gradient, AdamW.

    With `always_new`, on batches that have not been seen before. Otherwise, where the shapes of products depend on
    the batch (`packed`), each has been seen once before the clock runs: kernels may be compiled for each.
    """
    model.to(device).train()
    batches = make_batches(size, device, NEW_BATCHES if always_new else BATCHES)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=fused)
    turn = iter(range(10**9))

    def precision() -> AbstractContextManager[object]:
        return torch.autocast(device.type, dtype=torch.bfloat16) if bfloat16 else nullcontext()

    def step() -> None:
        optimizer.zero_grad()
        with precision():
            value = loss(batches[next(turn) % len(batches)])
        value.backward()
        optimizer.step()

    model.eval()
    with precision():  # with gradients: without, torch.nn.Transformer takes another path
        check = [loss(batches[0]).item()]
    model.train()
    return Work(
        [step],
        _count(model),
        check,
        same_weights,
        warm_up=BATCHES if packed and bfloat16 and not always_new else 2,
    )


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _readable_training(size: Size, device: torch.device, bfloat16: bool = False) -> Work:
    model, _ = reference(size)

    def loss(batch: Batch) -> Tensor:
        return masked_cross_entropy(model(batch.source, batch.target[:, :-1]), batch.target[:, 1:], PAD)

    return training_work(size, device, model, loss, bfloat16)


def _fast_training(
    size: Size, device: torch.device, bfloat16: bool = False, without: str | None = None, **options: bool
) -> Work:
    replace_parts(without)
    model = fast.FastTransformer.sharing(reference(size)[0])
    return training_work(
        size, device, model, lambda batch: model.loss(batch.source, batch.target), bfloat16, packed=True, **options
    )


def _torch_training(size: Size, device: torch.device, bfloat16: bool = False, paper_dropout: bool = False) -> Work:
    model = TorchModel(*reference(size), paper_dropout)

    def loss(batch: Batch) -> Tensor:
        logits = model(batch.source, batch.target[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), batch.target[:, 1:].flatten(), ignore_index=PAD)

    return training_work(size, device, model, loss, bfloat16)


def _marian_training(size: Size, device: torch.device, bfloat16: bool = False) -> Work:
    model = marian(size, device)

    def loss(batch: Batch) -> Tensor:
        labels = batch.target[:, 1:].masked_fill(batch.target[:, 1:] == PAD, -100)
        return model(
            input_ids=batch.source,
            attention_mask=(batch.source != PAD).long(),
            decoder_input_ids=batch.target[:, :-1],
            labels=labels,
        ).loss

    return training_work(size, device, model, loss, bfloat16)


def _x_training(size: Size, device: torch.device, bfloat16: bool = False) -> Work:
    model = x_transformer(size, device)

    def loss(batch: Batch) -> Tensor:
        return model(batch.source, batch.target, mask=batch.source != PAD)

    return training_work(size, device, model, loss, bfloat16, same_weights=False)


def decoding_work(
    size: Size,
    device: torch.device,
    model: nn.Module,
    write: Callable[[Tensor, int], Tensor],
    same_weights: bool = True,
) -> Work:
    """Write 64 tokens for each of 32 sources, always the most probable."""
    model.to(device).eval()
    sources = make_sources(size, device)

    def once() -> Tensor:
        with torch.no_grad():
            return write(sources, DECODED_LENGTH)

    ids = once()
    if ids.shape != (len(sources), DECODED_LENGTH):
        raise RuntimeError(f"expected ids of shape {(len(sources), DECODED_LENGTH)}, got {tuple(ids.shape)}")
    return Work([once], _count(model), ids.flatten().tolist(), same_weights)


def _readable_decoding(size: Size, device: torch.device) -> Work:
    model, _ = reference(size, endless=True)
    return decoding_work(size, device, model, lambda source, length: greedy_decode(model, source, length))


def _fast_decoding(size: Size, device: torch.device, bfloat16: bool = False) -> Work:
    model = fast.FastTransformer.sharing(reference(size, endless=True)[0])

    def write(source: Tensor, length: int) -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
            return model.greedy_decode(source, length)

    return decoding_work(size, device, model, write, same_weights=not bfloat16)


def _torch_decoding(size: Size, device: torch.device) -> Work:
    model = TorchModel(*reference(size, endless=True))
    return decoding_work(size, device, model, model.greedy)


def _marian_decoding(size: Size, device: torch.device) -> Work:
    model = marian(size, device, endless=True)

    def write(source: Tensor, length: int) -> Tensor:
        ids = model.generate(
            input_ids=source,
            attention_mask=(source != PAD).long(),
            num_beams=1,
            do_sample=False,
            use_cache=True,
            max_new_tokens=length,
        )
        return ids[:, 1:]

    return decoding_work(size, device, model, write)


def _x_decoding(size: Size, device: torch.device) -> Work:
    model = x_transformer(size, device)

    def write(source: Tensor, length: int) -> Tensor:
        start = torch.full_like(source[:, :1], START)
        return model.generate(source, start, length, mask=source != PAD, temperature=0.0)

    return decoding_work(size, device, model, write, same_weights=False)


def attention_work(
    size: Size,
    device: torch.device,
    module: nn.Module,
    attend: Callable[[Tensor], Tensor],
    same_weights: bool = True,
) -> Work:
    """Let unpadded sequences of each length attend to themselves: forward only, then with gradient."""
    module.to(device)
    cases: list[Callable[[], object]] = []
    check = []
    for length in LENGTHS:
        with seeded(length):
            inputs = torch.randn(max(1, TOKENS // length), length, size.d_model).to(device)  # (B, T, D)

        def forward(inputs: Tensor = inputs) -> Tensor:
            with torch.no_grad():
                return attend(inputs)

        def both(inputs: Tensor = inputs) -> None:
            module.zero_grad()
            attend(inputs.requires_grad_()).sum().backward()

        check.append(float(forward().square().mean()))
        cases += [forward, both]
    return Work(cases, _count(module), check, same_weights)


def _attentions(size: Size) -> tuple[MultiHeadAttention, nn.MultiheadAttention]:
    with seeded(0):
        ours = MultiHeadAttention(size.d_model, size.num_heads)
        theirs = nn.MultiheadAttention(size.d_model, size.num_heads, batch_first=True)
    load_torch(ours, theirs)
    return ours, theirs


def _readable_attention(size: Size, device: torch.device) -> Work:
    ours, _ = _attentions(size)
    return attention_work(size, device, ours, lambda inputs: ours(inputs, inputs, inputs)[0])


def _fast_attention(size: Size, device: torch.device) -> Work:
    ours, _ = _attentions(size)

    @cache
    def layout(batch: int, length: int) -> tuple[fast.Rows, Tensor]:  # a model makes it once for all its layers
        real = torch.ones(batch, length, dtype=torch.bool, device=device)
        return fast.Rows(real), torch.zeros(length, length, device=device)

    def attend(inputs: Tensor) -> Tensor:
        return fast.self_attention(ours, inputs.flatten(0, 1), *layout(*inputs.shape[:2])).view_as(inputs)

    return attention_work(size, device, ours, attend)


def _torch_attention(size: Size, device: torch.device) -> Work:
    _, theirs = _attentions(size)
    return attention_work(
        size, device, theirs, lambda inputs: theirs(inputs, inputs, inputs, need_weights=False)[0]
    )


def _x_attention(size: Size, device: torch.device) -> Work:
    module = importlib.import_module("x_transformers.x_transformers")
    width = size.d_model // size.num_heads
    with seeded(0):
        theirs = module.Attention(size.d_model, dim_head=width, heads=size.num_heads, flash=True)
    return attention_work(size, device, theirs, lambda inputs: theirs(inputs), same_weights=False)


def _with(maker: Callable[..., Work], **options: Any) -> Maker:
    return lambda size, device: maker(size, device, **options)


#: Kind of work → name → contender. The first is the one that the others are compared with.
CONTENDERS: dict[str, dict[str, Maker]] = {
    "training": {
        "torch": _torch_training,
        "torch, the paper's dropout": _with(_torch_training, paper_dropout=True),
        "torch, bfloat16": _with(_torch_training, bfloat16=True),
        "marian": _marian_training,
        "marian, bfloat16": _with(_marian_training, bfloat16=True),
        "x-transformers": _x_training,
        "x-transformers, bfloat16": _with(_x_training, bfloat16=True),
        "readable": _readable_training,
        "readable, bfloat16": _with(_readable_training, bfloat16=True),
        "fast": _fast_training,
        "fast, bfloat16": _with(_fast_training, bfloat16=True),
    },
    "decoding": {
        "marian": _marian_decoding,
        "x-transformers": _x_decoding,
        "torch, no cache": _torch_decoding,
        "readable": _readable_decoding,
        "fast": _fast_decoding,
        "fast, bfloat16": _with(_fast_decoding, bfloat16=True),
    },
    "attention": {
        "torch": _torch_attention,
        "x-transformers": _x_attention,
        "readable": _readable_attention,
        "fast": _fast_attention,
    },
}
for bfloat16, kind in ((False, "levers"), (True, "levers, bfloat16")):
    CONTENDERS[kind] = {
        "fast": _with(_fast_training, bfloat16=bfloat16),
        **{
            f"without {name}": _with(_fast_training, bfloat16=bfloat16, without=name)
            for name in WITHOUT
            if name != "rounded counts"
        },
        "without fused AdamW": _with(_fast_training, bfloat16=bfloat16, fused=False),
    }
CONTENDERS["levers, bfloat16"] |= {
    "fast, new batches": _with(_fast_training, bfloat16=True, always_new=True),
    "without rounded counts, new batches": _with(
        _fast_training, bfloat16=True, without="rounded counts", always_new=True
    ),
}
#: First word of a contender's name → the package it needs.
PEERS = {"marian": "transformers", "x-transformers": "x_transformers"}


def missing(name: str) -> str | None:
    """Return the package that a contender needs and this environment lacks, if any."""
    package = PEERS.get(name.partition(",")[0])
    return package if package and importlib.util.find_spec(package) is None else None
