"""Published models: tokenizers, prompts and recordings by themselves; the real ones, where they can be had."""

import re
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from transformer_book.bert import Bert, BertConfig
from transformer_book.gpt import GPT, GPTConfig
from transformer_book.tasks import published
from transformer_book.tasks.published import (
    Published,
    chat_prompt,
    generate,
    load_minilm,
    load_smollm2,
    load_whisper_tiny,
    read_wave,
    recordings,
    sentence_vectors,
    spoken_words,
    transcribe,
    word_error_rate,
    wordpiece_tokenizer,
)
from transformer_book.tasks.sources import SOURCES, SourceError, fetch

SENTENCES = ["The cats sat, unaffordably!", "Ünïcode café 自注意力 [MASK]", "a" * 300, "", "one two three " * 200]


def real(load: Callable[[], Any]) -> Any:
    """Load what a source has, or skip the test."""
    try:
        return load()
    except SourceError as error:
        pytest.skip(str(error).partition("\n")[0])


@pytest.fixture
def tiny(tmp_path: Path) -> Published[Bert]:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "##s", "sat", ","]
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(tokens) + "\n", encoding="utf-8")
    torch.manual_seed(0)
    model = Bert(BertConfig(len(tokens), d_model=12, num_heads=3, d_ff=7, max_length=6)).eval()
    return Published(model, wordpiece_tokenizer(path, 6))


def test_words_are_cut_as_bert_does(tiny: Published[Bert]) -> None:
    batch = tiny.tokenizer.encode_batch(["The cats, sat", "xyz"])
    assert [text.ids for text in batch] == [[2, 4, 5, 6, 8, 3], [2, 1, 3, 0, 0, 0]]


def test_a_sentence_s_vector_is_the_mean_of_its_states(tiny: Published[Bert]) -> None:
    vectors = sentence_vectors(tiny, ["the cat", "the cats sat"])
    states = tiny.model(torch.tensor([[2, 4, 5, 3]]))[0].detach()
    mean = states.mean(dim=0)
    torch.testing.assert_close(vectors[0], mean / mean.norm())
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2))
    alone = sentence_vectors(tiny, ["the cat"])  # no padding
    torch.testing.assert_close(alone[0], vectors[0])
    with pytest.raises(ValueError, match=r"^sentences: expected at least one, got none$"):
        sentence_vectors(tiny, [])


def test_a_chat_prompt_is_the_published_template() -> None:
    assert chat_prompt("Hi", "Be brief.") == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.fixture
def writer() -> Published[GPT]:
    from tokenizers import models, pre_tokenizers

    ids = {"<|im_end|>": 0, "a": 1, "b": 2, "c": 3}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="a"))
    tokenizer.add_special_tokens(["<|im_end|>"])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    return Published(GPT(GPTConfig(4, d_model=12, num_heads=3, d_ff=7, max_length=9)).eval(), tokenizer)


def test_an_answer_is_without_prompt_and_end(writer: Published[GPT]) -> None:
    script = iter([2, 3, 0, 1])

    def choose(logits: torch.Tensor) -> torch.Tensor:
        return torch.tensor([next(script)])

    assert generate(writer, "a a", 6, choose) == "b c"


def test_what_is_too_long_or_empty_is_told(writer: Published[GPT]) -> None:
    with pytest.raises(ValueError, match=r"^prompt: expected a text, got an empty one$"):
        generate(writer, "", 3)
    with pytest.raises(
        ValueError, match=r"^prompt: expected at most 9 tokens in all, got 4 of the prompt and 6 to"
    ):
        generate(writer, "a b c a", 6)


# --- recordings ----------------------------------------------------------------------------------------------


def write_wave(path: Path, data: bytes, channels: int = 1, width: int = 2, rate: int = 16_000) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)


def test_a_recording_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_wave(path, b"\x00\x40\x00\xc0\x00\x80")
    assert read_wave(path).tolist() == [0.5, -0.5, -1.0]
    write_wave(path, b"\x00\x40\x00\x00\x00\x80\x00\x80", channels=2)
    assert read_wave(path).tolist() == [0.25, -1.0]


@pytest.mark.parametrize(
    ("options", "got"),
    [({"rate": 44_100}, "16 bits, 44100 a second"), ({"width": 1}, "8 bits, 16000 a second")],
)
def test_a_recording_of_another_kind_is_told(tmp_path: Path, options: dict[str, int], got: str) -> None:
    path = tmp_path / "a.wav"
    write_wave(path, b"\0\0\0\0", **options)
    message = f"^{re.escape(str(path))}: expected samples of 16 bits, 16000 a second, got {got}; ffmpeg"
    with pytest.raises(ValueError, match=message):
        read_wave(path)


def test_what_is_no_recording_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_wave(path, b"\0" * 400)
    whole = path.read_bytes()
    for data, message in ((b"", "expected a WAV file"), (b"text" * 20, "a WAV file"), (whole[:-7], "cut off")):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{message}"):
            read_wave(path)


def test_words_are_counted_as_spoken() -> None:
    assert spoken_words("Mr. Dashwood's cold-hearted, 2nd!") == ["mister", "dashwood's", "cold", "hearted", "2nd"]
    assert word_error_rate(["a b c", "x"], ["A, b d.", "X y"]) == pytest.approx(2 / 5)
    with pytest.raises(ValueError, match=r"^texts and right: expected as many, at least one, got 1 and 2$"):
        word_error_rate(["a"], ["a", "b"])
    with pytest.raises(ValueError, match=r"^right: expected at least one word, got none$"):
        word_error_rate(["a"], ["!"])


# --- the real ones -------------------------------------------------------------------------------------------


def test_a_source_that_cannot_be_had_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Any) -> Path:
        raise SourceError(f"{source.name}: no connection")

    monkeypatch.setattr(published, "fetch", refuse)
    for load, name in ((load_minilm, "minilm"), (load_smollm2, "smollm2"), (load_whisper_tiny, "whisper")):
        with pytest.raises(SourceError, match=f"^{name}: no connection$"):
            load.__wrapped__()


def test_minilm_cuts_words_as_its_publishers_and_compares() -> None:
    minilm = real(load_minilm)
    transformers = pytest.importorskip("transformers")
    path = fetch(SOURCES["minilm"]).with_name("vocab.txt")
    theirs = transformers.BertTokenizer(str(path))
    for sentence in SENTENCES:
        expected = theirs(sentence, truncation=True, max_length=256).input_ids
        assert minilm.tokenizer.encode(sentence).ids == expected
    vectors = sentence_vectors(minilm, ["A man is eating food.", "A man eats something.", "A girl plays violin."])
    alike, other = (vectors[0] @ vectors[1:].T).tolist()
    assert alike > 0.8
    assert other < 0.2


def test_whisper_writes_down_what_is_said() -> None:
    whisper, spoken = real(load_whisper_tiny), real(recordings)
    assert [len(recording.sound) for recording in spoken] == [113_600, 47_840, 84_800, 96_800, 52_640]
    text = transcribe(whisper, spoken[4].sound)
    assert spoken_words(text) == spoken_words(spoken[4].text)
