"""Published weights in the implementations of `transformers`, to compare ours with.

The book's chapters do not need that library, and this package does not depend on it; the measurement does.
"""

from functools import cache
from types import ModuleType
from typing import Any

import gguf
import torch
from torch import Tensor

from transformer_book.tasks.published import MINILM, load_smollm2, suppressed_ids
from transformer_book.tasks.sources import SOURCES, fetch
from transformer_book.weights.llama import open_gguf
from transformer_book.weights.whisper import read_variables

# Theirs → the files', for a part of a layer.
_LLAMA = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "input_layernorm": "attn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "post_attention_layernorm": "ffn_norm",
}
_WHISPER = {
    "self_attn.out_proj": "self_attention/linear_1",
    "self_attn_layer_norm": "self_attention/layer_norm",
    "encoder_attn.q_proj": "attention/linear_0",
    "encoder_attn.out_proj": "attention/linear_2",
    "encoder_attn_layer_norm": "attention/layer_norm",
    "fc1": "ffn/linear_0",
    "fc2": "ffn/linear_1",
    "final_layer_norm": "ffn/layer_norm",
}


def reference_library() -> ModuleType:
    """Import `transformers`.

    Raises
    ------
    ModuleNotFoundError
        It is not installed; the message has the command that installs it.
    """
    try:
        import transformers
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise ModuleNotFoundError(
            "transformers: expected to be installed, for it is what the published models are compared with; "
            "run: pip install transformers",
            name="transformers",
        ) from None
    transformers.logging.set_verbosity_error()
    return transformers


@cache
def reference_minilm() -> Any:
    """Load MiniLM as `transformers` computes it."""
    from safetensors.torch import load_file

    library = reference_library()
    config = library.BertConfig(
        vocab_size=MINILM.vocab_size,
        hidden_size=MINILM.d_model,
        num_attention_heads=MINILM.num_heads,
        intermediate_size=MINILM.d_ff,
        num_hidden_layers=MINILM.num_layers,
    )
    model = library.BertModel(config).eval()
    weights = load_file(fetch(SOURCES["minilm"]))
    weights.pop("embeddings.position_ids", None)
    model.load_state_dict(weights)
    return model


@cache
def reference_smollm2() -> Any:
    """Load SmolLM2 as `transformers` computes it, from the same file.

    Rows of queries and keys are put back in that library's order: it turns coordinates i and K/2 + i of a head
    together, so what stands side by side in the file stands half a head apart there.
    """
    library = reference_library()
    ours = load_smollm2().model.config
    config = library.LlamaConfig(
        vocab_size=ours.vocab_size,
        hidden_size=ours.d_model,
        num_attention_heads=ours.num_heads,
        num_key_value_heads=ours.num_groups,
        intermediate_size=ours.d_ff,
        num_hidden_layers=ours.num_layers,
        max_position_embeddings=ours.max_length,
        rms_norm_eps=ours.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": ours.rotary_base},
        tie_word_embeddings=True,
    )
    model = library.LlamaForCausalLM(config).eval()
    tensors = {tensor.name: tensor for tensor in open_gguf(fetch(SOURCES["smollm2"])).tensors}
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "token_embd"}
    for i in range(ours.num_layers):
        names |= {f"model.layers.{i}.{their}": f"blk.{i}.{part}" for their, part in _LLAMA.items()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            tensor = tensors[f"{names.pop(name.removesuffix('.weight'))}.weight"]
            weight = torch.tensor(gguf.dequantize(tensor.data, tensor.tensor_type)).view(parameter.shape)
            turned = name.endswith(("q_proj.weight", "k_proj.weight"))
            parameter.copy_(apart(weight, ours.d_model // ours.num_heads) if turned else weight)
    return model


def apart(weight: Tensor, width: int) -> Tensor:
    """Put the even rows of each head, `width` rows of ``weight (H·K, D)``, before the odd ones."""
    return weight.unflatten(0, (-1, width // 2, 2)).transpose(1, 2).reshape(weight.shape)


@cache
def reference_whisper() -> Any:
    """Load Whisper tiny.en as `transformers` computes it, with what it needs to generate."""
    library = reference_library()
    never, not_first = suppressed_ids()
    config = library.WhisperConfig(
        vocab_size=51_864,
        num_mel_bins=80,
        d_model=384,
        encoder_layers=4,
        decoder_layers=4,
        encoder_attention_heads=6,
        decoder_attention_heads=6,
        encoder_ffn_dim=1536,
        decoder_ffn_dim=1536,
        bos_token_id=50_256,
        eos_token_id=50_256,
        pad_token_id=50_256,
        decoder_start_token_id=50_257,
    )
    model = library.WhisperForConditionalGeneration(config).eval()
    variables = read_variables(fetch(SOURCES["whisper"]))
    stored = {name: torch.tensor(found.array().astype("float32")) for name, found in variables.items()}
    model.load_state_dict(_whisper_weights(stored))
    settings = model.generation_config
    settings.suppress_tokens, settings.begin_suppress_tokens = never, not_first
    settings.no_timestamps_token_id, settings.is_multilingual = 50_362, False
    settings.max_length = config.max_target_positions  # as published; the library's own default is 20
    return model


def _whisper_weights(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    weights = {
        f"model.encoder.conv{i}.{kind}": stored[f"encoder/conv{i}/{kind}"]
        for i in (1, 2)
        for kind in ("weight", "bias")
    }
    embedding = stored["decoder/embeddings/weight"]
    weights |= {"model.decoder.embed_tokens.weight": embedding, "proj_out.weight": embedding}
    for side in ("encoder", "decoder"):
        positions = stored[f"{side}/position_encodings/encodings"]
        weights[f"model.{side}.embed_positions.weight"] = positions
        weights |= _kinds(f"model.{side}.layer_norm", stored, f"{side}/layer_norm")
        for i in range(4):
            theirs, part = f"model.{side}.layers.{i}", f"{side}/layer_{i}"
            for name, module in _WHISPER.items():
                if side == "decoder" or not name.startswith("encoder_attn"):
                    weights |= _kinds(f"{theirs}.{name}", stored, f"{part}/{module}")
            together = {
                "self_attn": ("self_attention/linear_0", "qkv"),
                "encoder_attn": ("attention/linear_1", "kv"),
            }
            for name, (module, letters) in together.items():
                if side == "decoder" or name == "self_attn":
                    for kind in ("weight", "bias"):
                        chunks = stored[f"{part}/{module}/{kind}"].chunk(len(letters))
                        for letter, chunk in zip(letters, chunks, strict=True):
                            weights[f"{theirs}.{name}.{letter}_proj.{kind}"] = chunk
                    weights.pop(f"{theirs}.{name}.k_proj.bias")  # zeros; that library has none
    return weights


def _kinds(theirs: str, stored: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    kinds = ("gamma", "beta") if "norm" in name else ("weight", "bias")
    return {
        f"{theirs}.{kind}": stored[f"{name}/{ours}"] for kind, ours in zip(("weight", "bias"), kinds, strict=True)
    }
