"""C10.2: a small GPT on Shakespeare and a small masked model on Tatoeba, against counts of the same text."""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from transformer_book.bert import BertConfig, MaskedLM
from transformer_book.decoding import draw, write_on
from transformer_book.device import CPU, seeded
from transformer_book.experiments._cost import one_thread
from transformer_book.experiments._result import Claim, Result, Verdict, half_width, run_seeds
from transformer_book.gpt import GPT, GPTConfig
from transformer_book.layers import EncoderLayer
from transformer_book.plotting import PALETTE, draw_series, figure_style, new_figure
from transformer_book.positions import RotaryAttention
from transformer_book.tasks.ngrams import NeighbourModel, NgramModel
from transformer_book.tasks.text import UNKNOWN, Corpus, characters, mask_tokens, padded, windows, words
from transformer_book.tasks.vocabulary import PAD

ORDERS = {"bigram": 2, "trigram": 3, "fivegram": 5}
LABELS = {"bigram": "bigrams", "trigram": "trigrams", "fivegram": "5-grams", "neighbours": "both neighbours"}
#: Each a sentence with one gap, for the masked model to fill.
GAPS = (
    "i am very <mask> .",
    "he gave me a <mask> of coffee .",
    "where did you <mask> him ?",
    "she <mask> not know it .",
)


def measure(
    seeds: Sequence[int] = range(3),
    device: torch.device = CPU,
    models: Sequence[str] = ("gpt", "bert"),
    gpt_steps: int = 400,
    bert_steps: int = 3000,
    looks: int = 10,
    gpt_width: int = 128,
    bert_width: int = 64,
    count: int = 200,
    length: int = 96,
    vocabulary_size: int = 1000,
    share: int = 1,
    progress: bool = False,
) -> Result:
    """Train both models, and score them and the counts on the same places of text that none of them has seen.

    Parameters
    ----------
    seeds
        One set of first weights, batches and test places each.
    device
        Where to compute.
    models
        Which of the two to train; what belongs to the other is then not measured.
    gpt_steps, bert_steps
        Batches to train on: of 16 windows of characters, and of 64 sentences of at most 12 words.
    looks
        How often each is looked at on validation text.
    gpt_width, bert_width
        Width D of each, of two layers with four heads.
    count
        Windows of test text for the GPT, of which the second half is scored; twice as many sentences for the
        masked model, of which every word is hidden once.
    length
        Characters of a window.
    vocabulary_size
        Words the masked model knows.
    share
        Train and count on one in so many works and sentences, for a quick look.
    progress
        Show a progress bar.

    Returns
    -------
    Result
        ``gpt``, ``bigram``, ``trigram``, ``fivegram``: nats per character. ``bert``, ``bert_bigram``,
        ``bert_trigram``, ``bert_neighbours``: nats per word, the last from counts of a word between its two
        neighbours. ``curve_gpt``, ``curve_bert``: validation loss by look. ``sample``: what each GPT writes, as
        code points. ``guesses``: for each of `GAPS` the masked model's three words, likewise.

    Raises
    ------
    transformer_book.tasks.sources.SourceError
        A text cannot be had.
    """
    parts: list[Callable[[int], dict[str, Any]]] = []
    if "gpt" in models:
        plays = _thinned(characters(), share)
        grams = {name: NgramModel(plays.train, len(plays.vocabulary), order) for name, order in ORDERS.items()}
        half = length // 2

        def gpt_row(seed: int) -> dict[str, Any]:
            model, curve = train_gpt(plays, seed, device, gpt_steps, looks, gpt_width, length)
            test = windows(plays.test, count, length, torch.Generator().manual_seed(10**6 + seed))
            row: dict[str, Any] = {"curve_gpt": curve, "gpt": next_nats(model, test.to(device))}
            for name, gram in grams.items():
                row[name] = -torch.stack([gram.log_probabilities(ids)[half:] for ids in test]).mean().item()
            generator = torch.Generator(device).manual_seed(seed)
            return row | {"sample": sample(model, plays, generator, device)}

        parts.append(gpt_row)
    if "bert" in models:
        sentences = _thinned(words(vocabulary_size=vocabulary_size), share)
        size = len(sentences.vocabulary)
        counts: dict[str, NgramModel | NeighbourModel] = {
            name: NgramModel(sentences.train, size, ORDERS[name]) for name in ("bigram", "trigram")
        }
        counts["neighbours"] = NeighbourModel(sentences.train, size)

        def bert_row(seed: int) -> dict[str, Any]:
            model, curve = train_bert(sentences, seed, device, bert_steps, looks, bert_width)
            order = torch.randperm(len(sentences.test), generator=torch.Generator().manual_seed(seed))
            chosen = [sentences.test[i] for i in order[: 2 * count].tolist()]
            row: dict[str, Any] = {"curve_bert": curve}
            row["bert"] = hidden_nats(model, chosen, sentences.mask_id, device)
            for name, counted in counts.items():
                scores = [counted.log_probabilities(ids)[: len(ids) - 1] for ids in chosen]
                row[f"bert_{name}"] = -torch.cat(scores).mean().item()
            return row | {"guesses": [guess(model, sentences, gap, device) for gap in GAPS]}

        parts.append(bert_row)

    def one_seed(seed: int) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for part in parts:
            with seeded(seed), one_thread():
                row |= part(seed)
        return row

    settings: dict[str, Any] = {"models": list(models), "gpt_steps": gpt_steps, "bert_steps": bert_steps}
    settings |= {"looks": looks, "gpt_width": gpt_width, "bert_width": bert_width, "count": count}
    settings |= {"length": length, "vocabulary_size": vocabulary_size, "share": share}
    return run_seeds("language_models", seeds, device, settings, one_seed, progress)


def _thinned(corpus: Corpus, share: int) -> Corpus:
    return corpus._replace(train=corpus.train[::share])


def _fit(
    model: nn.Module,
    steps: int,
    looks: int,
    largest: float,
    loss_of: Callable[[], Tensor],
    look: Callable[[], float],
) -> list[float]:
    """Train with AdamW, the rate rising for a tenth of the steps, then falling; return what each look saw."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=largest, betas=(0.9, 0.98))
    curve = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = largest * min(1.0, 10 * (step + 1) / steps) * (1 - step / steps)
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % max(1, steps // looks) == 0:
            model.eval()
            curve.append(look())
            model.train()
    model.eval()
    return curve


def train_gpt(
    corpus: Corpus, seed: int, device: torch.device, steps: int, looks: int, width: int, length: int
) -> tuple[GPT, list[float]]:
    """Train a GPT of two layers on windows of text; return it, and its validation loss by look."""
    config = GPTConfig(len(corpus.vocabulary), width, 4, 4 * width, 2, 0.0, max_length=256, positions="rotary")
    model, generator = GPT(config).to(device), torch.Generator().manual_seed(seed)
    check = windows(corpus.validation, 64, length, torch.Generator().manual_seed(seed)).to(device)

    def loss_of() -> Tensor:
        ids = windows(corpus.train, 16, length + 1, generator).to(device)  # (B, T + 1)
        return F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())

    return model, _fit(model, steps, looks, 4e-3, loss_of, lambda: next_nats(model, check))


@torch.no_grad()
def next_nats(model: GPT, ids: Tensor) -> float:
    """Average −ln p of the second half of each window ``ids (B, T)``; the first half is only read."""
    half = ids.shape[1] // 2
    logits = model(ids[:, :-1])[:, half - 1 :]  # (B, T − half, V)
    return F.cross_entropy(logits.flatten(0, 1), ids[:, half:].flatten()).item()


def sample(model: GPT, corpus: Corpus, generator: torch.Generator, device: torch.device) -> list[int]:
    """Let a GPT write 200 characters after a line of a king; return their code points."""
    prompt = torch.tensor([corpus.vocabulary.encode("KING.\n")], device=device)
    ids = write_on(model.decode, prompt, 200, choose=lambda logits: draw(logits, 0.8, generator=generator))
    return code_points("".join(corpus.vocabulary.decode(ids[0].tolist())), 200)


def train_bert(
    corpus: Corpus, seed: int, device: torch.device, steps: int, looks: int, width: int
) -> tuple[MaskedLM, list[float]]:
    """Train a masked model of two layers on sentences; return it, and its validation loss by look.

    Its attention is rotary, a departure from Devlin et al. 2019: with learned positions alone it takes far longer
    to find its neighbours, see the log of decisions.
    """
    longest = 2 + max(len(sentence) for part in corpus[1:] for sentence in part)
    config = BertConfig(len(corpus.vocabulary), width, 4, 4 * width, 2, 0.0, max_length=longest)
    model, generator = MaskedLM(config), torch.Generator().manual_seed(seed)
    for layer in cast(list[EncoderLayer], model.bert.layers):
        layer.attention = RotaryAttention(width, config.num_heads, longest)
    model.to(device)
    order = torch.randperm(len(corpus.validation), generator=torch.Generator().manual_seed(seed))
    check = [corpus.validation[i] for i in order[:200].tolist()]
    short = [ids for ids in corpus.train if len(ids) <= 13]  # less padding

    def loss_of() -> Tensor:
        chosen = torch.randint(len(short), (64,), generator=generator).tolist()
        seen, wanted = mask_tokens(padded([short[i] for i in chosen]), 0.3, corpus.mask_id, generator)
        hidden = (wanted != PAD).to(device)
        states = model.bert(seen.to(device))[hidden]  # (hidden, D): no logits where nothing is asked
        logits = model.readout(model.norm(F.gelu(model.transform(states))))
        return F.cross_entropy(logits, wanted.to(device)[hidden])

    def look() -> float:
        return hidden_nats(model, check, corpus.mask_id, device)

    return model, _fit(model, steps, looks, 3e-3, loss_of, look)


@torch.no_grad()
def hidden_nats(model: MaskedLM, sentences: Sequence[Tensor], mask_id: int, device: torch.device) -> float:
    """Hide each word of each sentence once, by itself, and average −ln p of what was hidden."""
    total, number = 0.0, 0
    for sentence in sentences:
        ids = padded([sentence])[0]  # (S,): START, words, END
        count = len(ids) - 2
        every = torch.arange(count)
        rows = ids.repeat(count, 1)
        rows[every, every + 1] = mask_id
        logs = model(rows.to(device))[every, every + 1].log_softmax(dim=-1)  # (count, V)
        total -= logs[every, ids[1:-1].to(device)].sum().item()
        number += count
    return total / number


@torch.no_grad()
def guess(model: MaskedLM, corpus: Corpus, gap: str, device: torch.device) -> list[int]:
    """Fill the gap of a sentence with the three most probable words; return them as code points."""
    ids = padded([torch.tensor([*corpus.vocabulary.encode(gap.split()), 2])])  # (1, S)
    place = (ids[0] == corpus.mask_id).nonzero()[0, 0]
    shares = model(ids.to(device))[0, place].softmax(dim=-1)  # (V,)
    shares[corpus.vocabulary.encode([UNKNOWN])] = 0.0  # it is a word, but cannot be named
    best = shares.topk(3)
    found = zip(corpus.vocabulary.decode(best.indices.tolist()), best.values.tolist(), strict=True)
    return code_points(", ".join(f"{word} {share:.2f}" for word, share in found), 80)


def code_points(text: str, length: int) -> list[int]:
    """Make numbers of a text, which a result can keep; spaces are added up to `length`."""
    return [ord(character) for character in text.ljust(length)]


def text_of(numbers: Sequence[int]) -> str:
    """Read what `code_points` made."""
    return "".join(map(chr, numbers)).rstrip()


BARS = {"gpt": ("bigram", "trigram", "fivegram"), "bert": ("bert_bigram", "bert_trigram", "bert_neighbours")}


def table(result: Result) -> str:
    """Lay the losses out as text: means and half-widths over seeds, in nats and bits per token."""
    lines = []
    for name, others in BARS.items():
        lines.append({"gpt": "next character", "bert": "hidden word"}[name] + "        nats            bits")
        for quantity in (*others, name):
            label = LABELS.get(quantity.removeprefix("bert_"), "our GPT" if name == "gpt" else "our masked model")
            mean, spread = float(result.mean(quantity)), float(result.half_width(quantity))
            lines.append(f"  {label:<18} {mean:6.3f} ± {spread:.3f}  {mean / math.log(2):6.3f}")
    return "\n".join(lines)


@figure_style()
def plot(result: Result) -> Figure:
    """Draw the validation loss of both models over training; lines show what counts reach on the test text."""
    figure, axes = new_figure(2, height=3.6)
    for axis, (name, others) in zip(axes, BARS.items(), strict=True):
        curve = result.mean(f"curve_{name}")
        steps = np.arange(1, len(curve) + 1) * (result.settings[f"{name}_steps"] // len(curve))
        label = "our GPT" if name == "gpt" else "our masked model"
        draw_series(axis, steps, curve, result.half_width(f"curve_{name}"), "query", "o", label)
        for other, style in zip(others, ("--", "-.", ":"), strict=True):
            level = float(result.mean(other))
            axis.axhline(level, color=PALETTE["key"], ls=style, lw=1.4, label=LABELS[other.removeprefix("bert_")])
        unit = "character" if name == "gpt" else "hidden word"
        axis.set(xlabel="training step", ylabel=f"nats per {unit}", ylim=(0, None), title=f"Next {unit}")
        axis.legend()
    axes[1].set_title("Hidden word")
    return figure


def gain(result: Result, model: str, other: str) -> np.ndarray:
    """By how many nats per token a model is below a count model, by seed."""
    return result.array(other) - result.array(model)


def _judge(result: Result) -> Verdict:
    def text(model: str, other: str) -> str:
        values = gain(result, model, other)
        return f"{values.mean():+.2f} ± {half_width(values):.2f}"

    gpt, bert = float(result.mean("gpt")), float(result.mean("bert"))
    figure = (
        f"next character: {gpt:.2f} nats ({gpt / math.log(2):.2f} bits), below bigrams by "
        f"{text('gpt', 'bigram')}, trigrams by {text('gpt', 'trigram')} "
        f"and 5-grams by {text('gpt', 'fivegram')}; hidden word: {bert:.2f} "
        f"nats, below bigrams by {text('bert', 'bert_bigram')}, trigrams by {text('bert', 'bert_trigram')} and "
        f"counts with both neighbours by {text('bert', 'bert_neighbours')}"
    )
    asked = [gain(result, "gpt", name) for name in ("bigram", "trigram")]
    asked += [gain(result, "bert", f"bert_{name}") for name in ("bigram", "trigram")]
    return Verdict(all(bool((values > 0.02).all()) for values in asked), figure)


CLAIMS = {
    "C10.2": Claim(
        "C10.2",
        "Trained for a minute or two on one CPU thread, a GPT predicts the next character, and a masked model a "
        "hidden word, better than bigrams and trigrams counted on the same text.",
        _judge,
    )
}
