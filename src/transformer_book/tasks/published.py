"""Published models in the modules of this book: one compares sentences, one answers, one transcribes."""

import json
import re
import wave
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from torch.nn import functional as F

from transformer_book.bert import Bert, BertConfig
from transformer_book.decoding import most_probable, write_on
from transformer_book.gpt import GPT
from transformer_book.tasks.metrics import edit_distance
from transformer_book.tasks.sources import SOURCES, fetch
from transformer_book.weights import load_bert, load_llama, load_whisper, read_llama_config, read_whisper_config
from transformer_book.weights.llama import metadata, open_gguf
from transformer_book.whisper import SAMPLE_RATE, SECONDS, Whisper, log_mel

MINILM = BertConfig(vocab_size=30_522, d_model=384, num_heads=12, d_ff=1536, num_layers=6, dropout=0.0)
BERT_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MINILM_LENGTH = 256  # tokens of a sentence that its publishers let it read
SMOLLM2_LENGTH = 2048  # tokens; the model was made for four times as many
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
_CONTROL = 3  # a token of GGUF that no text is cut into

M = TypeVar("M", Bert, GPT, Whisper)


class Published(NamedTuple, Generic[M]):
    """A published model, in evaluation mode, and what turns text into its ids and back.

    model
        Made of the book's modules.
    tokenizer
        Made of the vocabulary that came with it.
    """

    model: M
    tokenizer: Tokenizer


@cache
def load_minilm() -> Published[Bert]:
    """Load all-MiniLM-L6-v2, an encoder whose states, averaged, tell how alike two sentences are.

    Raises
    ------
    transformer_book.tasks.sources.SourceError
        The weights cannot be had.
    """
    path = fetch(SOURCES["minilm"])
    model = Bert(MINILM).eval()
    load_bert(model, path)
    return Published(model, wordpiece_tokenizer(path.with_name("vocab.txt"), MINILM_LENGTH))


def wordpiece_tokenizer(path: Path, max_length: int) -> Tokenizer:
    """Make BERT's tokenizer, small letters only, from its list of tokens.

    Parameters
    ----------
    path
        A text file, one token a line, that has ``[PAD]``, ``[UNK]``, ``[CLS]`` and ``[SEP]``.
    max_length
        Most tokens of a text, the first and last included; what is beyond is cut off.
    """
    tokens = path.read_text(encoding="utf-8").splitlines()
    ids = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.add_special_tokens([token for token in BERT_TOKENS if token in ids])
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    edges = [(token, ids[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=edges)
    tokenizer.enable_truncation(max_length)
    tokenizer.enable_padding(pad_id=ids["[PAD]"], pad_token="[PAD]")
    return tokenizer


@torch.no_grad()
def sentence_vectors(minilm: Published[Bert], sentences: Sequence[str]) -> Tensor:
    """Turn each sentence into a vector of length 1: the mean of its states. A dot product is then a cosine.

    Parameters
    ----------
    minilm
        From `load_minilm`.
    sentences
        At least one. What is beyond 256 tokens is not read.

    Returns
    -------
    Tensor
        ``(B, D)``, on the CPU or where the model is.

    Raises
    ------
    ValueError
        There is no sentence.

    Notes
    -----
    Source: Reimers & Gurevych 2019, section 3 (mean pooling).
    """
    if not sentences:
        raise ValueError("sentences: expected at least one, got none")
    device = next(minilm.model.parameters()).device
    ids = torch.tensor([text.ids for text in minilm.tokenizer.encode_batch(list(sentences))], device=device)
    encoded = minilm.model.encode(ids)  # (B, S, D)
    real = encoded.mask[:, 0, 0, :, None]  # (B, S, 1)
    return F.normalize((encoded.states * real).sum(dim=1) / real.sum(dim=1), dim=-1)  # (B, D)


@cache
def load_smollm2() -> Published[GPT]:
    """Load SmolLM2-135M-Instruct, a Llama that answers. Its weights, 4 bits each, become 540 MB of float32.

    Raises
    ------
    transformer_book.tasks.sources.SourceError
        The weights cannot be had.
    """
    path = fetch(SOURCES["smollm2"])
    model = GPT(read_llama_config(path, SMOLLM2_LENGTH)).eval()
    load_llama(model, path)
    return Published(model, gguf_tokenizer(path))


def gguf_tokenizer(path: Path) -> Tokenizer:
    """Make SmolLM2's tokenizer, byte pairs of bytes, from what its GGUF file says.

    Raises
    ------
    ValueError
        The file is no GGUF file, or its tokenizer is of another kind.
    """
    reader = open_gguf(path)
    kind, digits, tokens, kinds, merges = (
        metadata(path, reader, f"tokenizer.ggml.{name}")
        for name in ("model", "pre", "tokens", "token_type", "merges")
    )
    if (kind, digits) != ("gpt2", "smollm"):
        raise ValueError(f"{path}: tokenizer: expected gpt2 with smollm, got {kind} with {digits}")
    pairs = [(left, right) for left, right in (merge.split(" ") for merge in merges)]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, pairs))
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True) for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def chat_prompt(message: str, system: str = SYSTEM) -> str:
    """Write the text after which SmolLM2 was trained to answer a message."""
    turns = (("system", system), ("user", message))
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns) + "<|im_start|>assistant\n"


def generate(
    smollm2: Published[GPT],
    prompt: str,
    max_length: int = 100,
    choose: Callable[[Tensor], Tensor] = most_probable,
) -> str:
    """Write on after a prompt, with the cache, until the model ends the turn.

    Parameters
    ----------
    smollm2
        From `load_smollm2`.
    prompt
        A text as it is, or a `chat_prompt`.
    max_length
        Most tokens to write; ≥ 1.
    choose
        As for `transformer_book.decoding.write_on`.

    Returns
    -------
    str
        What was written, without the prompt and without the end.

    Raises
    ------
    ValueError
        The prompt is empty, `max_length` is below 1, or the two together are longer than the model reads.
    """
    model, tokenizer = smollm2
    ids = tokenizer.encode(prompt).ids
    if not ids:
        raise ValueError("prompt: expected a text, got an empty one")
    if len(ids) + max_length > model.config.max_length:
        got = f"{len(ids)} of the prompt and {max_length} to write"
        raise ValueError(f"prompt: expected at most {model.config.max_length} tokens in all, got {got}")
    device = next(model.parameters()).device
    written = write_on(
        model.decode,
        torch.tensor([ids], device=device),
        max_length,
        tokenizer.token_to_id("<|im_end|>"),
        choose,
    )
    return tokenizer.decode(written[0].tolist())


@cache
def load_whisper_tiny() -> Published[Whisper]:
    """Load Whisper tiny.en, which transcribes English speech.

    Raises
    ------
    transformer_book.tasks.sources.SourceError
        The weights cannot be had.
    """
    path = fetch(SOURCES["whisper"])
    model = Whisper(read_whisper_config(path)).eval()
    load_whisper(model, path)
    return Published(model, Tokenizer.from_file(str(path.with_name("tokenizer.json"))))


@cache
def suppressed_ids() -> tuple[list[int], list[int]]:
    """List the tokens that Whisper must never write, such as ``♪``, and those it must not begin with.

    Raises
    ------
    transformer_book.tasks.sources.SourceError
        The list, which is published with the weights, cannot be had.
    """
    path = fetch(SOURCES["whisper"]).with_name("config.json")
    settings = json.loads(path.read_text(encoding="utf-8"))
    return settings["suppress_ids"], settings["suppress_ids_begin"]


@torch.no_grad()
def transcript_ids(whisper: Published[Whisper], spectra: Tensor) -> Tensor:
    """Write down what is said, greedily, with the cache.

    Parameters
    ----------
    whisper
        From `load_whisper_tiny`.
    spectra
        ``(B, M, 3000)``, from `transformer_book.whisper.log_mel`.

    Returns
    -------
    Tensor
        Ids ``(B, T)``, without the start, with the end.

    Raises
    ------
    transformer_book.tasks.sources.SourceError
        The list of what must not be written cannot be had.
    """
    model, tokenizer = whisper
    never, not_first = suppressed_ids()
    start, no_times, end = (
        tokenizer.token_to_id(f"<|{name}|>") for name in ("startoftranscript", "notimestamps", "endoftext")
    )
    memory = model.encode(spectra)
    prompt = torch.tensor([[start, no_times]] * len(spectra), device=spectra.device)  # (B, 2)

    def step(ids: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        decoded = model.decode(ids, memory, state)
        banned = torch.tensor(never + not_first if state is None else never, device=ids.device)
        return decoded.logits.index_fill(-1, banned, -torch.inf), decoded.state

    return write_on(step, prompt, model.config.max_length - prompt.shape[1], end)


def transcribe(whisper: Published[Whisper], sound: Tensor) -> str:
    """Write down what is said, in pieces of 30 seconds; a word that is cut in two may be misheard.

    Parameters
    ----------
    whisper
        From `load_whisper_tiny`.
    sound
        Samples between −1 and 1, ``(N,)``, 16,000 of them a second.

    Raises
    ------
    TypeError, ValueError
        As `transformer_book.whisper.log_mel`.
    transformer_book.tasks.sources.SourceError
        The list of what must not be written cannot be had.
    """
    bands, device = whisper.model.config.num_bands, next(whisper.model.parameters()).device
    texts = []
    for piece in sound.split(SECONDS * SAMPLE_RATE):
        ids = transcript_ids(whisper, log_mel(piece, bands)[None].to(device))
        texts.append(whisper.tokenizer.decode(ids[0].tolist()).strip())
    return " ".join(texts)


def read_wave(path: Path) -> Tensor:
    """Read a recording: a WAV file of 16-bit samples, 16,000 a second; of several channels their mean.

    Returns
    -------
    Tensor
        float32 ``(N,)``, between −1 and 1.

    Raises
    ------
    ValueError
        It is no such file; the message says what it is, and how to make one.
    OSError
        It cannot be read.
    """
    how = f"ffmpeg -i {path} -ac 1 -ar {SAMPLE_RATE} -c:a pcm_s16le speech.wav makes one"
    try:
        with wave.open(str(path)) as file:
            about = file.getparams()
            data = file.readframes(about.nframes)
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path}: expected a WAV file: {error}; {how}") from None
    if (about.sampwidth, about.framerate) != (2, SAMPLE_RATE):
        got = f"{8 * about.sampwidth} bits, {about.framerate} a second"
        raise ValueError(f"{path}: expected samples of 16 bits, {SAMPLE_RATE} a second, got {got}; {how}")
    if len(data) != 2 * about.nchannels * about.nframes:
        raise ValueError(f"{path}: expected {about.nframes} samples, got fewer: the file is cut off")
    samples = np.frombuffer(data, "<i2").reshape(-1, about.nchannels)
    return torch.from_numpy(samples.mean(axis=1, dtype=np.float32) / 2**15)


class Recording(NamedTuple):
    """Speech, and what is said.

    name
        Of the file.
    sound
        Samples, ``(N,)``.
    text
        In small letters, without punctuation.
    """

    name: str
    sound: Tensor
    text: str


@cache
def recordings() -> tuple[Recording, ...]:
    """Read five sentences of *Sense and Sensibility*, spoken by a volunteer of LibriVox.

    Raises
    ------
    transformer_book.tasks.sources.SourceError
        They cannot be had.
    """
    path = fetch(SOURCES["librivox"])
    lines = re.findall(r"<s> (.*) </s> \((.*)\)", path.read_text(encoding="utf-8"))
    return tuple(Recording(name, read_wave(path.with_name(f"{name}.wav")), text) for text, name in lines)


def spoken_words(text: str) -> list[str]:
    """Cut a text into words as they are spoken: small letters, no punctuation, "Mr." in full."""
    words = re.findall(r"[a-z0-9']+", text.lower())
    return ["mister" if word == "mr" else word for word in words]


def word_error_rate(texts: Sequence[str], right: Sequence[str]) -> float:
    """Count the words to insert, delete or replace, per word of what is right, over all texts.

    Parameters
    ----------
    texts, right
        As many of each; capitals and punctuation do not count.

    Raises
    ------
    ValueError
        There are none, numbers differ, or nothing right has a word.
    """
    if not right or len(texts) != len(right):
        raise ValueError(f"texts and right: expected as many, at least one, got {len(texts)} and {len(right)}")
    pairs = [(spoken_words(text), spoken_words(target)) for text, target in zip(texts, right, strict=True)]
    length = sum(len(target) for _, target in pairs)
    if length == 0:
        raise ValueError("right: expected at least one word, got none")
    return sum(edit_distance(text, target) for text, target in pairs) / length
