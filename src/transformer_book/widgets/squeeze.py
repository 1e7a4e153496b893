"""Squeeze: a string of digits passes through one context vector, and what comes out of it."""

import math
import random
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
import traitlets
from torch import Tensor

from transformer_book.seq2seq import Seq2Seq, hidden
from transformer_book.tasks.copying import Copying
from transformer_book.training import load_asset
from transformer_book.widgets import _network as network
from transformer_book.widgets._base import Widget, check_choice, check_integer

DIGITS = "0123456789"
WIDTHS = (16, 32, 64)


class Copier(NamedTuple):
    """A model that copies strings of digits, and what a linear probe finds in its context vector.

    model
        A GRU without attention, trained on `transformer_book.tasks.copying.Copying`.
    bits
        ``bits[n - 1][t]``: bits left about digit t of a string of n digits, t = 0 … n − 1; one row of n numbers
        for each length n = 1, 2, 3, … that can be shown.
    """

    model: Seq2Seq
    bits: Sequence[Sequence[float]]


@cache
def shipped(width: int) -> Copier:
    """Give the trained copier of that width which comes with the package.

    Its bits were measured when it was trained, and stand in its metadata as ``training["bits_left"]``.

    Raises
    ------
    FileNotFoundError
        There is none of that width.
    """
    model, _, metadata = load_asset(f"copying_{width}")
    assert isinstance(model, Seq2Seq)
    return Copier(model, metadata["training"]["bits_left"])


def _draw_strings(seed: int, length: int) -> list[str]:
    """Draw ten strings of digits, each beginning with another digit: so the first one tells which it is."""
    generator = random.Random(seed)
    return [first + "".join(generator.choices(DIGITS, k=length - 1)) for first in generator.sample(DIGITS, 10)]


class Squeeze(Widget):
    """Send a string of digits through one vector: what the decoder writes, and what the vector still holds.

    A trained GRU reads the string and hands its last state to a decoder, which writes the string again, greedily.
    The network runs in the page. The reader chooses the length, the width of the state, and the string.

    Parameters
    ----------
    length
        Number of digits, 1 … the longest that the copiers' bits were measured for.
    width
        Width of the state, and so of the context vector: one of the copiers'.
    seed
        Of the strings that the widget offers.
    copiers
        Trained models by ascending width; default: those that come with the package, 16, 32 and 64 wide.

    Attributes
    ----------
    source : str
        The string that is read, as the reader last chose or typed it; observe it, or assign to it.
    width : int
        As above; synced both ways.
    widths : list[int]
        Widths to choose from.
    strings : list[str]
        The ten strings offered; the one that begins like `source` continues it when it is made longer.
    networks : list
        The models' weights, rounded to float16, by width.
    probe : list
        Bits left by width, length and position.

    Raises
    ------
    TypeError
        A number is not an integer.
    ValueError
        An argument is outside its range, or a copier cannot be shown.
    FileNotFoundError
        The package comes without its copiers.

    Notes
    -----
    Source: Cho et al. 2014, section 2.2.
    """

    source = traitlets.Unicode().tag(sync=True)
    width = traitlets.Int().tag(sync=True)
    widths = traitlets.List(read_only=True).tag(sync=True)
    strings = traitlets.List(read_only=True).tag(sync=True)
    networks = traitlets.List(read_only=True).tag(sync=True)
    probe = traitlets.List(read_only=True).tag(sync=True)

    def __init__(
        self, length: int = 12, width: int = 32, seed: int = 0, *, copiers: Sequence[Copier] | None = None
    ) -> None:
        copiers = [shipped(each) for each in WIDTHS] if copiers is None else copiers
        self._task = Copying()
        self._models = [network.rounded(copier.model, self._task) for copier in copiers]
        self.set_trait("widths", _widths(self._models))
        self.set_trait("probe", _probe(copiers))
        longest = len(self.probe[0])
        self.set_trait("strings", _draw_strings(check_integer("seed", seed, 0, 2**63 - 1), longest))
        self.set_trait("networks", [network.pack(model, self._task) for model in self._models])
        check_choice("width", width, self.widths)
        source = self.strings[0][: check_integer("length", length, 1, longest)]
        super().__init__(width=width, source=source)

    @traitlets.validate("source")
    def _check_source(self, proposal: dict) -> str:
        source, longest = proposal["value"], len(self.probe[0])
        if not 1 <= len(source) <= longest or not set(source) <= set(DIGITS):
            raise ValueError(f"source: expected 1 … {longest} digits, got {source!r}")
        return source

    @traitlets.validate("width")
    def _check_width(self, proposal: dict) -> object:
        return check_choice("width", proposal["value"], self.widths)

    def context(self) -> Tensor:
        """Give the context vector, float32 ``(D,)``: the state of the encoder after the last digit."""
        with torch.no_grad():
            memory = self._model().encode(network.source_ids(self._task, self.source))
        return hidden(memory.state)[0]

    def decoded(self) -> str:
        """Give the string that the decoder writes; it is stopped after one digit more than it should write."""
        return "".join(network.run(self._model(), self._task, self.source, len(self.source) + 1)[0])

    def bits(self) -> list[float]:
        """Give the bits that a linear probe finds about each digit of strings this long; more may be left."""
        return self.probe[self.widths.index(self.width)][len(self.source) - 1]

    def _model(self) -> Seq2Seq:
        return self._models[self.widths.index(self.width)]

    def describe(self) -> str:
        """Say in sentences what the widget shows in its present state."""
        decoded, length = self.decoded(), len(self.source)
        wrong = [t + 1 for t, digit in enumerate(self.source) if decoded[t : t + 1] != digit]
        first = f", the first wrong one at position {wrong[0]}" if wrong else ""
        return (
            f"a GRU with a state of {self.width} numbers reads {self.source} and writes {decoded or 'nothing'}: "
            f"{length - len(wrong)} of {length} digits right{first}. "
            f"Of the {length * math.log2(len(DIGITS)):.1f} bits in such strings a linear probe finds "
            f"{sum(self.bits()):.1f} in the context vector; there may be more that is not linear."
        )


def _widths(models: Sequence[Seq2Seq]) -> list[int]:
    """Check that the copiers have no attention and ascending widths, and return the widths."""
    widths = [model.config.d_hidden for model in models]
    if not widths or widths != sorted(set(widths)):
        raise ValueError(f"copiers: expected at least one, by ascending width, got widths {widths}")
    if scores := {model.config.score for model in models} - {"none"}:
        raise ValueError(f"copiers: expected models without attention, got score {scores.pop()!r}")
    return widths


def _probe(copiers: Sequence[Copier]) -> list[list[list[float]]]:
    """Check that there are n numbers for each length n; keep what a bar shows: 0 … log₂ 10, two decimals.

    A probe's sampling error can take it below 0, to "less than nothing".
    """
    longest = len(copiers[0].bits)
    for copier in copiers:
        lengths = [len(row) for row in copier.bits]
        if not lengths or lengths != list(range(1, longest + 1)):
            raise ValueError(f"bits: expected {longest or 'some'} rows of 1, 2, … numbers, got rows of {lengths}")
        if not all(math.isfinite(number) for row in copier.bits for number in row):
            raise ValueError("bits: expected finite numbers, got infinite ones or NaN")
    most = math.log2(len(DIGITS))
    return [[[round(min(max(n, 0.0), most), 2) for n in row] for row in copier.bits] for copier in copiers]
