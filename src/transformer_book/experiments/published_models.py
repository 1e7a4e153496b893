"""C10.1: published weights in the book's modules, beside the same weights in another implementation."""

import random
from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from transformer_book.decoding import write_on
from transformer_book.device import CPU
from transformer_book.experiments._references import (
    reference_library,
    reference_minilm,
    reference_smollm2,
    reference_whisper,
)
from transformer_book.experiments._result import Claim, Result, Verdict, run_seeds
from transformer_book.plotting import PALETTE, figure_style, new_figure
from transformer_book.tasks.metrics import edit_distance
from transformer_book.tasks.published import (
    MINILM,
    chat_prompt,
    load_minilm,
    load_smollm2,
    load_whisper_tiny,
    recordings,
    spoken_words,
    transcript_ids,
)
from transformer_book.whisper import log_mel

#: What SmolLM2 is asked, one question a seed.
QUESTIONS = (
    "What is the capital of France?",
    "Why is the sky blue? Answer in one sentence.",
    "Write a short poem about a river.",
    "List three uses of a paper clip.",
    "Explain what a hash table is to a child.",
)
#: Measured difference → what it may be at most.
BOUNDS = {
    "minilm": 1e-5,
    "smollm2": 1e-3,
    "smollm2_cache": 1e-3,
    "whisper": 1e-3,
    "whisper_spectra": 1e-4,
}
_LABELS = {
    "minilm": "MiniLM: states",
    "smollm2": "SmolLM2: logits",
    "smollm2_cache": "SmolLM2: logits,\ncache or not",
    "whisper": "Whisper: logits",
    "whisper_spectra": "Whisper: spectra",
}


def measure(
    seeds: Sequence[int] = range(5),
    device: torch.device = CPU,
    sentences: int = 4,
    tokens: int = 40,
    progress: bool = False,
) -> Result:
    """Run the three published models in our modules and in `transformers`, on the same weights and inputs.

    Parameters
    ----------
    seeds
        One question, one recording and one batch of random sentences each.
    device
        Where to compute.
    sentences
        Sentences in a batch for MiniLM, of random tokens and random lengths.
    tokens
        Most tokens of an answer of SmolLM2.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        Largest differences between ours and theirs: ``minilm``, of the states at real tokens; ``smollm2`` and
        ``whisper``, of logits at all places of the question and answer, or of the transcript; ``whisper_spectra``,
        of the log-mel spectra. ``smollm2_cache``: between our logits token by token and at once. ``smollm2_same``
        and ``whisper_same``: 1 if every token that is written greedily is the same. ``whisper_words``: words
        spoken; ``whisper_errors`` and ``whisper_errors_theirs``: words to insert, delete or replace.

    Raises
    ------
    transformer_book.tasks.sources.SourceError
        Weights or recordings cannot be had.
    ModuleNotFoundError
        `transformers` is not installed.
    """
    reference_library()  # before the work, if it is missing

    @torch.no_grad()
    def one_seed(seed: int) -> dict[str, float]:
        values = compare_minilm(random.Random(seed), sentences, device)
        values |= compare_smollm2(QUESTIONS[seed % len(QUESTIONS)], tokens, device)
        return values | compare_whisper(seed, device)

    settings = {"sentences": sentences, "tokens": tokens, "transformers": reference_library().__version__}
    return run_seeds("published_models", seeds, device, settings, one_seed, progress)


def compare_minilm(generator: random.Random, count: int, device: torch.device) -> dict[str, float]:
    """Compare the states of sentences of random tokens."""
    ours, theirs = load_minilm().model.to(device), reference_minilm().to(device)
    lengths = [generator.randint(2, 60) for _ in range(count)]
    rows = [[generator.randint(1000, MINILM.vocab_size - 1) for _ in range(length)] for length in lengths]
    ids = torch.tensor([row + [MINILM.pad_id] * (max(lengths) - len(row)) for row in rows], device=device)
    real = ids != MINILM.pad_id  # (B, S)
    states = theirs(ids, attention_mask=real.long()).last_hidden_state  # (B, S, D)
    return {"minilm": largest(ours(ids)[real], states[real])}


def compare_smollm2(question: str, tokens: int, device: torch.device) -> dict[str, float]:
    """Compare what is written greedily, and the logits over question and answer."""
    ours, theirs = load_smollm2().model.to(device), reference_smollm2().to(device)
    tokenizer = load_smollm2().tokenizer
    end = tokenizer.token_to_id("<|im_end|>")
    prompt = torch.tensor([tokenizer.encode(chat_prompt(question)).ids], device=device)  # (1, P)
    written = write_on(ours.decode, prompt, tokens, end)  # (1, T)
    asked = {"max_new_tokens": tokens, "do_sample": False, "eos_token_id": end, "pad_token_id": end}
    their_ids = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), **asked)[:, prompt.shape[1] :]
    ids = torch.cat([prompt, written], dim=1)  # (1, P + T)
    logits, state, steps = ours(ids), None, []
    for t in range(ids.shape[1]):
        step, state, _ = ours.decode(ids[:, t : t + 1], state)
        steps.append(step)
    return {
        "smollm2": largest(logits, theirs(ids).logits),
        "smollm2_cache": largest(logits, torch.cat(steps, dim=1)),
        "smollm2_same": float(torch.equal(written, their_ids)),
        "smollm2_tokens": float(written.shape[1]),
    }


def compare_whisper(number: int, device: torch.device) -> dict[str, float]:
    """Compare spectra, logits and transcript of one recording, and the transcript with what is said."""
    whisper, theirs, recording = load_whisper_tiny(), reference_whisper().to(device), recordings()[number % 5]
    ours = whisper.model.to(device)
    extract = reference_library().WhisperFeatureExtractor(feature_size=80)
    their_spectra = extract(recording.sound.numpy(), sampling_rate=16_000, return_tensors="pt").input_features
    spectra = log_mel(recording.sound)[None]  # (1, M, 3000)
    heard = spectra.to(device)
    written = transcript_ids(whisper, heard)  # (1, T)
    their_ids = theirs.generate(heard, do_sample=False, num_beams=1)
    texts = [whisper.tokenizer.decode(ids[0].tolist()) for ids in (written, their_ids)]
    start = torch.tensor([[50_257, 50_362]], device=device)
    target = torch.cat([start, written], dim=1)  # (1, 2 + T)
    words = spoken_words(recording.text)
    return {
        "whisper": largest(ours(heard, target), theirs(heard, decoder_input_ids=target).logits),
        "whisper_spectra": largest(spectra, their_spectra),
        "whisper_same": float(_words_of(written) == _words_of(their_ids)),
        "whisper_words": float(len(words)),
        "whisper_errors": float(edit_distance(spoken_words(texts[0]), words)),
        "whisper_errors_theirs": float(edit_distance(spoken_words(texts[1]), words)),
    }


def _words_of(ids: Tensor) -> list[int]:
    """Leave out the special tokens at either end, which that library may or may not return."""
    return [token for token in ids[0].tolist() if token < 50_256]


def largest(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest absolute difference."""
    return float((ours - theirs).abs().max())


@figure_style()
def plot(result: Result) -> Figure:
    """Largest differences over all seeds, and what they may be at most."""
    figure, [axis] = new_figure(height=2.6)
    found = [result.array(name).max() for name in BOUNDS]
    axis.scatter(found, range(len(BOUNDS)), color=PALETTE["query"], label="measured", zorder=3)
    axis.scatter(
        list(BOUNDS.values()), range(len(BOUNDS)), color=PALETTE["value"], marker="|", s=300, label="bound"
    )
    axis.set(xscale="log", title="Largest difference", ylim=(len(BOUNDS) - 0.5, -0.5))
    axis.set_yticks(range(len(BOUNDS)), [_LABELS[name] for name in BOUNDS])
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def word_errors(result: Result) -> float:
    """Word error rate over all recordings."""
    return float(result.array("whisper_errors").sum() / result.array("whisper_words").sum())


def _judge(result: Result) -> Verdict:
    found = {name: float(result.array(name).max()) for name in BOUNDS}
    same = {name: bool((result.array(f"{name}_same") == 1).all()) for name in ("smollm2", "whisper")}
    count = len(result.seeds)
    differences = f"MiniLM {found['minilm']:.1e}, SmolLM2 {found['smollm2']:.1e}, Whisper {found['whisper']:.1e}"
    written = ", ".join(
        f"{label} {int(result.array(f'{name}_same').sum())} of {count}"
        for name, label in (("smollm2", "SmolLM2"), ("whisper", "Whisper"))
    )
    return Verdict(
        all(found[name] <= bound for name, bound in BOUNDS.items()) and all(same.values()),
        f"largest difference of states or logits: {differences}; written greedily the same: {written}; "
        f"word error rate of Whisper {100 * word_errors(result):.1f} %",
    )


CLAIMS = {
    "C10.1": Claim(
        "C10.1",
        "Published weights in the book's modules compute what they compute in the library `transformers`: "
        "MiniLM's states within 1e-5, SmolLM2's and Whisper's logits within 1e-3, with the cache as without, and "
        "every greedy token is the same.",
        _judge,
    )
}
