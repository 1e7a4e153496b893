"""Next token: temperature, top-k and top-p at work on what a real language model says comes next."""

import json
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import traitlets
from torch import Tensor

from transformer_book.decoding import token_probabilities
from transformer_book.widgets._base import Widget, check_integer

KEPT = 200  # tokens stored by name; all others are counted by how probable they are
BIN = 0.1  # nats; tokens within one bin count as equally probable
TEMPERATURES = (0.1, 3.0)
DATA = Path(__file__).with_name("next_token.json")


def distribution(text: str, logits: Tensor, tokens: Sequence[str]) -> dict[str, Any]:
    """Make of a model's logits what the widget needs, and a page can carry.

    Parameters
    ----------
    text
        What the model has read.
    logits
        Of the token that follows, ``(V,)``.
    tokens
        What each of the V ids reads as.

    Returns
    -------
    dict
        ``text``; ``tokens`` and ``logs``, the most probable ones and their ln p; ``tail``, of all the others, as
        pairs of ln p and the number of tokens that have about this.

    Raises
    ------
    ValueError
        There are not as many logits as tokens.
    """
    if logits.shape != (len(tokens),):
        raise ValueError(f"logits: expected one for each of {len(tokens)} tokens, got {tuple(logits.shape)}")
    logs, order = logits.double().log_softmax(dim=0).sort(descending=True)  # (V,)
    rest = logs[KEPT:]
    bins, place, counts = torch.unique((rest / BIN).floor(), return_inverse=True, return_counts=True)
    mass = torch.zeros_like(bins).index_add(0, place, rest.exp())  # the bin's own mean, so that no mass is lost
    return {
        "text": text,
        "tokens": [tokens[id_] for id_ in order[:KEPT].tolist()],
        "logs": [round(log, 5) for log in logs[:KEPT].tolist()],
        "tail": [[round(math.log(m / n), 5), n] for m, n in zip(mass.tolist(), counts.tolist(), strict=True)][
            ::-1
        ],
    }


@cache
def stored_distributions() -> tuple[dict[str, Any], ...]:
    """Read what SmolLM2-135M-Instruct says after ten texts, as ``tools/next_token.py`` has stored it."""
    return tuple(json.loads(DATA.read_text(encoding="utf-8"))["distributions"])


def uniform(seed: int) -> float:
    """Give a number in 0 … 1 that depends on `seed` alone, the same here and in the page (mulberry32)."""
    a = (seed * 0x9E3779B1 + 0x6D2B79F5) & 0xFFFFFFFF
    t = ((a ^ (a >> 15)) * (a | 1)) & 0xFFFFFFFF
    t ^= (t + ((t ^ (t >> 7)) * (t | 61))) & 0xFFFFFFFF
    return ((t ^ (t >> 14)) & 0xFFFFFFFF) / 2**32


class NextToken(Widget):
    """Dial temperature, top-k and top-p, see which tokens may still be drawn, and draw.

    Parameters
    ----------
    distributions
        What `distribution` made, at least one; default: those of SmolLM2 that come with the package.
    chosen
        Number of the one shown.
    temperature
        Divides the logits, 0.1 … 3.
    top_k
        Keep only this many most probable tokens, 1 … 200; 0 keeps all.
    top_p
        Keep only the fewest most probable tokens that together have at least this probability, above 0, at most 1.
    draws
        Tokens drawn so far, 0 … 9999. The one of number n depends on n and the other dials alone.

    Attributes
    ----------
    chosen, temperature, top_k, top_p, draws
        As above; synced both ways.
    distributions : list of dict
        As above.

    Raises
    ------
    TypeError
        `chosen`, `top_k` or `draws` is not an integer.
    ValueError
        There is no distribution, or a value is out of range.
    """

    distributions = traitlets.List(traitlets.Dict(), read_only=True).tag(sync=True)
    chosen = traitlets.Int(0).tag(sync=True)
    temperature = traitlets.Float(1.0).tag(sync=True)
    top_k = traitlets.Int(0).tag(sync=True)
    top_p = traitlets.Float(1.0).tag(sync=True)
    draws = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        distributions: Sequence[dict[str, Any]] | None = None,
        chosen: int = 0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        draws: int = 0,
    ) -> None:
        every = list(stored_distributions() if distributions is None else distributions)
        if not every:
            raise ValueError("distributions: expected at least one, got none")
        self.set_trait("distributions", every)
        check_integer("chosen", chosen, 0, len(every) - 1)
        check_integer("top_k", top_k, 0, KEPT)
        check_integer("draws", draws, 0, 9999)
        super().__init__(chosen=chosen, temperature=temperature, top_k=top_k, top_p=top_p, draws=draws)

    @traitlets.validate("chosen")
    def _check_chosen(self, proposal: dict) -> int:
        return check_integer("chosen", proposal["value"], 0, len(self.distributions) - 1)

    @traitlets.validate("temperature")
    def _check_temperature(self, proposal: dict) -> float:
        low, high = TEMPERATURES
        if not low <= proposal["value"] <= high:
            raise ValueError(f"temperature: expected a number in {low} … {high}, got {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("top_k")
    def _check_top_k(self, proposal: dict) -> int:
        return check_integer("top_k", proposal["value"], 0, KEPT)

    @traitlets.validate("top_p")
    def _check_top_p(self, proposal: dict) -> float:
        if not 0 < proposal["value"] <= 1:
            raise ValueError(f"top_p: expected a probability above 0, at most 1, got {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("draws")
    def _check_draws(self, proposal: dict) -> int:
        return check_integer("draws", proposal["value"], 0, 9999)

    def logits(self) -> Tensor:
        """Give ln p of every token before any dial, ``(V,)``, most probable first; the tail bin by bin."""
        entry = self.distributions[self.chosen]
        tail = torch.tensor(entry["tail"], dtype=torch.float64).reshape(-1, 2)
        return torch.cat(
            [torch.tensor(entry["logs"], dtype=torch.float64), tail[:, 0].repeat_interleave(tail[:, 1].long())]
        )

    def probabilities(self) -> Tensor:
        """Give the probabilities that a token is drawn with, ``(V,)``: what the dials make of `logits`."""
        return token_probabilities(
            self.logits(), self.temperature, self.top_k or None, self.top_p if self.top_p < 1 else None
        )

    def drawn(self, number: int) -> str:
        """Read the token drawn as number 1, 2, …; "…" is one of those stored without a name."""
        sums = self.probabilities().cumsum(dim=0)
        place = int((sums <= uniform(number)).sum())
        tokens = self.distributions[self.chosen]["tokens"]
        return tokens[place] if place < len(tokens) else "…"

    def describe(self) -> str:
        """Say in sentences what the widget shows in its present state."""
        entry, before, after = self.distributions[self.chosen], self.logits().softmax(dim=0), self.probabilities()
        dials = f"temperature {self.temperature:g}, top-k {self.top_k or 'off'}, top-p {self.top_p:g}"
        entropies = [float(torch.special.entr(p).sum() / math.log(2)) for p in (before, after)]
        return (
            f"after {entry['text']!r} the model's most probable token is {entry['tokens'][0]!r} with "
            f"{float(before.max()):.3f}. With {dials}, {int((after > 0).sum()):,} of {len(after):,} tokens may be "
            f"drawn, the first with {float(after.max()):.3f}; the entropy goes from {entropies[0]:.2f} to "
            f"{entropies[1]:.2f} bits."
        )
