"""Loaders of published checkpoints: small files of each format, whole, foreign, cut off and mis-shaped."""

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from transformer_book.bert import Bert, BertConfig
from transformer_book.gpt import GPT
from transformer_book.weights import load_bert, load_llama, load_whisper, read_llama_config, read_whisper_config
from transformer_book.whisper import Whisper, WhisperConfig

BERT = BertConfig(29, d_model=12, num_heads=3, d_ff=17, num_layers=2, max_length=11)


def values(module: nn.Module) -> list[Tensor]:
    return [tensor.clone() for tensor in module.state_dict().values()]


def assert_refused(load: Callable[[Any, Path], None], ours: nn.Module, path: Path, message: str) -> None:
    """Check that a file is refused with a message, named, and that ours stays as it is."""
    before = values(ours)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {message}"):
        load(ours, path)
    for tensor, kept in zip(values(ours), before, strict=True):
        assert torch.equal(tensor, kept)


# --- BERT, safetensors ---------------------------------------------------------------------------------------


def bert_tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (29, 12),
        "embeddings.position_embeddings.weight": (11, 12),
        "embeddings.token_type_embeddings.weight": (2, 12),
        "embeddings.LayerNorm.weight": (12,),
        "embeddings.LayerNorm.bias": (12,),
        "pooler.dense.weight": (12, 12),
        "pooler.dense.bias": (12,),
    }
    for i in range(2):
        layer = f"encoder.layer.{i}"
        for name, (rows, columns) in {
            "attention.self.query": (12, 12),
            "attention.self.key": (12, 12),
            "attention.self.value": (12, 12),
            "attention.output.dense": (12, 12),
            "intermediate.dense": (17, 12),
            "output.dense": (12, 17),
        }.items():
            shapes |= {f"{layer}.{name}.weight": (rows, columns), f"{layer}.{name}.bias": (rows,)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{layer}.{name}.weight": (12,), f"{layer}.{name}.bias": (12,)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def test_a_bert_is_read(tmp_path: Path) -> None:
    tensors = bert_tensors()
    save_file(tensors, tmp_path / "model.safetensors")
    ours = Bert(BERT)
    load_bert(ours, tmp_path / "model.safetensors")
    layer = ours.layers[1]
    assert torch.equal(layer.attention.key.weight, tensors["encoder.layer.1.attention.self.key.weight"])
    assert torch.equal(layer.feed_forward.output.bias, tensors["encoder.layer.1.output.dense.bias"])
    assert torch.equal(layer.feed_forward_residual.norm.weight, tensors["encoder.layer.1.output.LayerNorm.weight"])
    assert torch.equal(ours.embedding.positions.table, tensors["embeddings.position_embeddings.weight"])
    assert ours.embedding.norm.eps == 1e-12


NAME = "encoder.layer.1.attention.self.key.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(NAME), rf"{NAME}: expected a tensor \(12, 12\), got none$"),
        (
            lambda t: t.update({NAME: torch.ones(12, 13)}),
            rf"{NAME}: expected a tensor \(12, 12\), got \(12, 13\)$",
        ),
        (lambda t: t.update({NAME: torch.ones(144)}), rf"{NAME}: expected a tensor \(12, 12\), got \(144,\)$"),
        (lambda t: t.update(more=torch.ones(3)), r"more: expected no such tensor, got one \(3,\)$"),
        (
            lambda t: t.update({"encoder.layer.2.output.dense.bias": torch.ones(12)}),
            r"encoder\.layer\.2\.output\.dense\.bias: expected no such tensor",
        ),
    ],
)
def test_a_bert_of_another_kind_is_refused(tmp_path: Path, change: Callable[[Any], Any], message: str) -> None:
    tensors = bert_tensors()
    change(tensors)
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    assert_refused(load_bert, Bert(BERT), path, message)


def test_a_bert_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(bert_tensors(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert_refused(
        load_bert, Bert(BERT), path, r"[a-z.]+\S*: the file ends in it or before; expected a safetensors"
    )
    for data in (b"", whole[:4], whole[:40], b"not a model at all, but a sentence"):
        path.write_bytes(data)
        assert_refused(load_bert, Bert(BERT), path, "expected a safetensors file: ")


# --- Llama, GGUF ---------------------------------------------------------------------------------------------


def llama_file(
    path: Path, change: Callable[[dict[str, Any]], None] = lambda _: None, **facts: Any
) -> dict[str, Any]:
    """Write a Llama of 2 layers, width 64, 4 heads of queries and 2 of keys; return its tensors."""
    random = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (29, 64), "output_norm.weight": (64,)}
    for i in range(2):
        for name, shape in {
            "attn_q": (64, 64),
            "attn_k": (32, 64),
            "attn_v": (32, 64),
            "attn_output": (64, 64),
            "attn_norm": (64,),
            "ffn_norm": (64,),
            "ffn_gate": (96, 64),
            "ffn_up": (96, 64),
            "ffn_down": (64, 96),
        }.items():
            shapes[f"blk.{i}.{name}.weight"] = shape
    tensors: dict[str, Any] = {
        name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()
    }
    change(tensors)
    writer = gguf.GGUFWriter(path, facts.pop("architecture", "llama"))
    numbers = {
        "embedding_length": 64,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "feed_forward_length": 96,
        "block_count": 2,
        "context_length": 13,
    }
    for name, number in (numbers | facts).items():
        if number is not None:
            writer.add_uint32(f"llama.{name}", number)
    writer.add_float32("llama.rope.freq_base", 1e5)
    writer.add_array("tokenizer.ggml.tokens", [f"t{i}" for i in range(29)])
    for name, tensor in tensors.items():
        kind = gguf.GGMLQuantizationType.Q8_0 if name.endswith("ffn_up.weight") else None
        writer.add_tensor(name, tensor if kind is None else gguf.quantize(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def test_a_llama_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    tensors = llama_file(path)
    config = read_llama_config(path)
    assert (config.num_groups, config.rotary_base, config.max_length, config.norm) == (2, 1e5, 13, "rms")
    assert read_llama_config(path, 7).max_length == 7
    ours = GPT(config)
    load_llama(ours, path)
    layer = ours.layers[1]
    np.testing.assert_array_equal(layer.attention.key.weight.detach(), tensors["blk.1.attn_k.weight"])
    np.testing.assert_array_equal(layer.feed_forward.gate.weight.detach(), tensors["blk.1.ffn_gate.weight"])
    np.testing.assert_allclose(
        layer.feed_forward.hidden.weight.detach(), tensors["blk.1.ffn_up.weight"], atol=0.03
    )
    np.testing.assert_array_equal(ours.readout.weight.detach(), tensors["token_embd.weight"])


KEY = "blk.1.attn_k.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(KEY), rf"{KEY}: expected a tensor \(32, 64\), got none$"),
        (lambda t: t.update({KEY: t[KEY].T.copy()}), rf"{KEY}: expected a tensor \(32, 64\), got \(64, 32\)$"),
        (lambda t: t.update({KEY: np.ones((32, 64), np.int8)}), rf"{KEY}: expected a format of F32, .*, got I8$"),
        (
            lambda t: t.update({"output.weight": t["token_embd.weight"]}),
            r"output\.weight: expected no such tensor, got one \(29, 64\)$",
        ),
    ],
)
def test_a_llama_of_another_kind_is_refused(tmp_path: Path, change: Callable[[Any], Any], message: str) -> None:
    whole = tmp_path / "whole.gguf"
    llama_file(whole)
    path = tmp_path / "model.gguf"
    llama_file(path, change)
    assert_refused(load_llama, GPT(read_llama_config(whole)), path, message)


def test_a_llama_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    llama_file(path)
    ours, whole = GPT(read_llama_config(path)), path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    named = r"expected a GGUF file: blk\.[01]\.\S+\.weight: the file ends in it or before$"
    assert_refused(load_llama, ours, path, named)
    for data in (whole[:3], whole[:100], whole[:1000], b"not a model at all, but a sentence"):
        path.write_bytes(data)
        assert_refused(load_llama, ours, path, "expected a GGUF file: ")
    path.write_bytes(b"")
    assert_refused(load_llama, ours, path, "expected a GGUF file, got an empty one$")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"architecture": "mamba"}, "general.architecture: expected 'llama', got 'mamba'$"),
        ({"block_count": None}, "llama.block_count: expected an entry of that name, got none$"),
        ({"rope.dimension_count": 8}, "llama.rope.dimension_count: expected 16, got 8$"),
    ],
)
def test_what_a_llama_must_say_is_named(tmp_path: Path, facts: dict[str, Any], message: str) -> None:
    path = tmp_path / "model.gguf"
    llama_file(path, **facts)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {message}"):
        read_llama_config(path)


def test_a_model_with_other_parts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    llama_file(path)
    with pytest.raises(ValueError, match=r"^ours: expected a model as read_llama_config describes, got one with "):
        load_llama(GPT(read_llama_config(path).__class__(29)), path)


# --- Whisper, CTranslate2 ------------------------------------------------------------------------------------

SIZES = WhisperConfig(
    29, num_bands=7, d_model=12, num_heads=3, d_ff=17, num_encoder_layers=1, num_decoder_layers=2,
    max_source_length=5, max_length=11,
)  # fmt: skip


def whisper_variables() -> dict[str, Any]:
    random = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "decoder/embeddings/weight": (29, 12),
        "decoder/position_encodings/encodings": (11, 12),
        "encoder/position_encodings/encodings": (5, 12),
        "encoder/conv1/weight": (12, 7, 3),
        "encoder/conv1/bias": (12,),
        "encoder/conv2/weight": (12, 12, 3),
        "encoder/conv2/bias": (12,),
    }
    for side, depth in (("encoder", 1), ("decoder", 2)):
        linears = {"self_attention/linear_0": (36, 12), "self_attention/linear_1": (12, 12)}
        linears |= {"ffn/linear_0": (17, 12), "ffn/linear_1": (12, 17)}
        norms = ["self_attention", "ffn"]
        if side == "decoder":
            linears |= {
                "attention/linear_0": (12, 12),
                "attention/linear_1": (24, 12),
                "attention/linear_2": (12, 12),
            }
            norms.append("attention")
        for i in range(depth):
            for name, shape in linears.items():
                shapes |= {f"{side}/layer_{i}/{name}/weight": shape, f"{side}/layer_{i}/{name}/bias": shape[:1]}
            shapes |= {
                f"{side}/layer_{i}/{name}/layer_norm/{kind}": (12,) for name in norms for kind in ("gamma", "beta")
            }
        shapes |= {f"{side}/layer_norm/{kind}": (12,) for kind in ("gamma", "beta")}
    found: dict[str, Any] = {name: random.standard_normal(shape).astype("<f2") for name, shape in shapes.items()}
    return found | {"encoder/num_heads": np.array(3, "<i2"), "decoder/pre_norm": np.array(1, "<i1")}


def whisper_bytes(variables: dict[str, Any], version: int = 6, spec: str = "WhisperSpec") -> bytes:
    """Write CTranslate2's format."""

    def text(word: str) -> bytes:
        return struct.pack("<H", len(word) + 1) + word.encode() + b"\0"

    data = struct.pack("<I", version) + text(spec) + struct.pack("<II", 3, len(variables))
    for name, array in variables.items():
        kind = ["<f4", "|i1", "<i2", "<i4", "<f2"].index(array.dtype.str)
        data += text(name) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        data += struct.pack("<BI", kind, array.nbytes) + array.tobytes()
    return data + struct.pack("<I", 1) + text("decoder/projection/weight") + text("decoder/embeddings/weight")


def test_a_whisper_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    variables = whisper_variables()
    path.write_bytes(whisper_bytes(variables))
    assert read_whisper_config(path) == SIZES
    ours = Whisper(SIZES)
    load_whisper(ours, path)
    layer = ours.decoder_layers[1]
    together = variables["decoder/layer_1/attention/linear_1/weight"].astype(np.float32)
    np.testing.assert_array_equal(layer.cross_attention.key.weight.detach(), together[:12])
    np.testing.assert_array_equal(layer.cross_attention.value.weight.detach(), together[12:])
    together = variables["decoder/layer_1/self_attention/linear_0/bias"].astype(np.float32)
    np.testing.assert_array_equal(layer.attention.value.bias.detach(), together[24:])
    norm = variables["encoder/layer_0/ffn/layer_norm/gamma"].astype(np.float32)
    np.testing.assert_array_equal(ours.encoder_layers[0].feed_forward_residual.norm.weight.detach(), norm)
    table = variables["encoder/position_encodings/encodings"].astype(np.float32)
    np.testing.assert_array_equal(ours.sound.positions.table, table)


QKV = "encoder/layer_0/self_attention/linear_0/weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop(QKV), rf"{QKV}: expected a tensor \(36, 12\), got none$"),
        (lambda v: v.update({QKV: v[QKV][:24]}), rf"{QKV}: expected a tensor \(36, 12\), got \(24, 12\)$"),
        (lambda v: v.update({QKV: v[QKV].astype("i1")}), rf"{QKV}: expected floats, got <i1$"),
        (lambda v: v.update(more=v[QKV]), r"more: expected no such tensor, got one \(36, 12\)$"),
    ],
)
def test_a_whisper_of_another_kind_is_refused(tmp_path: Path, change: Callable[[Any], Any], message: str) -> None:
    variables = whisper_variables()
    change(variables)
    path = tmp_path / "model.bin"
    path.write_bytes(whisper_bytes(variables))
    assert_refused(load_whisper, Whisper(SIZES), path, message)


def test_a_whisper_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    path, ours = tmp_path / "model.bin", Whisper(SIZES)
    whole = whisper_bytes(whisper_variables())
    for length in (0, 5, 20, 40, 101, len(whole) // 3, len(whole) // 2, len(whole) - 300):
        path.write_bytes(whole[:length])
        assert_refused(load_whisper, ours, path, r".+: expected \d+ bytes, got \d+: the file ends in it$")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"version": 5},
            "expected a CTranslate2 file, version 6, of a WhisperSpec, got version 5, 'WhisperSpec'$",
        ),
        ({"spec": "BertSpec"}, "expected a CTranslate2 file, .*, got version 6, 'BertSpec'$"),
    ],
)
def test_a_foreign_file_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(whisper_bytes(whisper_variables(), **changes))
    assert_refused(load_whisper, Whisper(SIZES), path, message)
    with pytest.raises(ValueError, match=message):
        read_whisper_config(path)


def test_a_whisper_without_a_size_is_named(tmp_path: Path) -> None:
    variables = whisper_variables()
    del variables["encoder/num_heads"]
    path = tmp_path / "model.bin"
    path.write_bytes(whisper_bytes(variables))
    with pytest.raises(ValueError, match=r"encoder/num_heads: expected a tensor of 0 axes, got none$"):
        read_whisper_config(path)
