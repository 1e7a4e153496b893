"""Copy weights from torch.nn modules, and from published checkpoints, into the modules of this package."""

from transformer_book.weights.bert import load_bert
from transformer_book.weights.g2p import load_published_g2p
from transformer_book.weights.llama import load_llama, read_llama_config
from transformer_book.weights.torch_modules import load_torch
from transformer_book.weights.whisper import load_whisper, read_whisper_config

__all__ = [
    "load_bert",
    "load_llama",
    "load_published_g2p",
    "load_torch",
    "load_whisper",
    "read_llama_config",
    "read_whisper_config",
]
