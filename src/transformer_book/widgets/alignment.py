"""Alignment: a trained network reads a date in the page, and shows where it looks for each character it writes."""

from functools import cache

import torch
import traitlets
from torch import Tensor

from transformer_book.seq2seq import Seq2Seq
from transformer_book.tasks.dates import Dates
from transformer_book.tasks.task import Task
from transformer_book.tasks.vocabulary import NUM_SPECIAL, START
from transformer_book.training import load_asset
from transformer_book.widgets import _network as network
from transformer_book.widgets._base import Widget, check_integer

#: Language tag, the language's own name for itself, and a date as it is written there.
EXAMPLES = (
    ("en", "English", "Thursday, March 5, 2026"),
    ("zh", "中文", "2019年10月27日星期日"),
    ("de", "Deutsch", "Mittwoch, 14. Februar 2018"),
    ("es", "español", "sábado, 30 de mayo de 2015"),
    ("fr", "français", "lundi 8 janvier 2024"),
    ("ja", "日本語", "2021年7月4日日曜日"),
    ("pl", "polski", "poniedziałek, 11 listopada 2013"),
    ("ru", "русский", "19 августа 2022 г."),
)


@cache
def shipped() -> tuple[Seq2Seq, Task]:
    """Give the model, trained on dates, that comes with the package, and its task.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    model, task, _ = load_asset("dates")
    assert isinstance(model, Seq2Seq)
    return model, task


class Alignment(Widget):
    """Type a date in one of many languages; a network writes it as 2026-11-23 and shows where it looked.

    A GRU with additive attention, trained on `transformer_book.tasks.dates.Dates`, runs in the page and decodes
    greedily. Pointing at a character it has written, or moving there with the arrow keys, shows its row of the
    alignment matrix: the weights over the characters of the source.

    Parameters
    ----------
    text
        A date as people write it; see `transformer_book.tasks.dates.Dates.parse`.
    row
        The written character chosen at first, from 0.
    model
        A GRU with additive attention, trained on ``Dates()``; default: the one that comes with the package.

    Attributes
    ----------
    text : str
        What the reader last typed or chose; observe it, or assign to it.
    row : int
        The chosen row of the matrix; the last one where fewer characters are written.
    examples : list
        Language tag, name of the language, and a date in it.
    network : dict
        The model's weights, rounded to float16.

    Raises
    ------
    TypeError
        `row` is not an integer.
    ValueError
        The text is not one date or too long, or has a character that is in no date; the model cannot be shown.
    FileNotFoundError
        The package comes without its model.

    Notes
    -----
    Source: Bahdanau, Cho & Bengio 2015, section 3.1 and figure 3.
    """

    text = traitlets.Unicode().tag(sync=True)
    row = traitlets.Int().tag(sync=True)
    examples = traitlets.List(read_only=True).tag(sync=True)
    network = traitlets.Dict(read_only=True).tag(sync=True)

    def __init__(self, text: str = "23 november 2026", row: int = 0, *, model: Seq2Seq | None = None) -> None:
        model, self._task = shipped() if model is None else (model, Dates())
        self._model = network.rounded(model, self._task)
        if self._model.config.score == "none":
            raise ValueError("model: expected a model with attention, got one with a single context vector")
        self.set_trait("network", network.pack(self._model, self._task))
        self.set_trait("examples", [list(example) for example in EXAMPLES])
        super().__init__(text=text, row=row)

    @traitlets.validate("text")
    def _check_text(self, proposal: dict) -> str:
        self._task.parse(proposal["value"])
        return proposal["value"]

    @traitlets.validate("row")
    def _check_row(self, proposal: dict) -> int:
        return check_integer("row", proposal["value"], 0, self._task.max_target_length - 2)

    def source(self) -> str:
        """Give the characters that the network reads: `text`, normalised."""
        return "".join(self._task.parse(self.text))

    def decoded(self) -> str:
        """Give what the network writes."""
        return "".join(self._run()[0])

    def weights(self) -> Tensor:
        """Give where it looks: float32 ``(T, S)``, one row of weights over the source per character written."""
        return self._run()[1]

    def _run(self) -> tuple[list[str], Tensor]:
        symbols, written = network.run(self._model, self._task, self.source(), self._task.max_target_length)
        target = torch.cat([torch.tensor([[START]]), written[:, :-1]], dim=1)  # (1, T)
        with torch.no_grad():
            weights = self._model.alignments(network.source_ids(self._task, self.source()), target)  # (1, T, S)
        return symbols, weights[0, written[0] >= NUM_SPECIAL]

    def describe(self) -> str:
        """Say in sentences what the widget shows in its present state."""
        source, (symbols, weights) = self.source(), self._run()
        looks = [
            f"{symbol} at “{source[place]}” (character {place + 1}, {weight:.0%})"
            for symbol, weight, place in zip(symbols, *(part.tolist() for part in weights.max(dim=1)), strict=True)
        ]
        reads = f"a GRU with attention reads “{source}” and writes {''.join(symbols) or 'nothing'}."
        return f"{reads} Where it looks most while it writes {', '.join(looks)}." if looks else reads
