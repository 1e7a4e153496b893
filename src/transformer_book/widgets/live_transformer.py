"""Live Transformer: a trained encoder–decoder reads a date in the page, and shows all it does on the way."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import traitlets
from torch import Tensor

from transformer_book.decoding import beam_search
from transformer_book.tasks.dates import LONGEST, Dates
from transformer_book.tasks.task import Task
from transformer_book.tasks.vocabulary import END, START
from transformer_book.training import load_asset
from transformer_book.transformer import AttentionMaps, Transformer
from transformer_book.widgets import _transformer as engine
from transformer_book.widgets._base import Widget, check_choice, check_integer
from transformer_book.widgets._picture import PICTURE_ALT, draw_picture
from transformer_book.widgets._transformer import Broken

START_SIGN, END_SIGN = "⊢", "⊣"
MOST_BEGINNINGS = 5

#: Language tag, the language's own name for itself, and a date as it is written there.
EXAMPLES = (
    ("en", "English", "Thursday, March 5, 2026"),
    ("zh", "中文", "2019年10月27日星期日"),
    ("ja", "日本語", "2021年7月4日日曜日"),
    ("ko", "한국어", "1999년 12월 31일 금요일"),
    ("ru", "русский", "19 августа 2022 г."),
    ("el", "Ελληνικά", "Δευτέρα 3 Ιουνίου 2013"),
    ("vi", "Tiếng Việt", "Thứ Sáu, 17 tháng 2, 2012"),
    ("de", "Deutsch", "Mittwoch, den 14. Februar 2018"),
    ("fr", "français", "1er janvier 2024"),
    ("tr", "Türkçe", "8 Eylül 1978 Cuma"),
    ("pl", "polski", "poniedziałek, 11 listopada 2013"),
    ("hu", "magyar", "2004. augusztus 20., péntek"),
)


class Reading(NamedTuple):
    """What the model made of one text.

    source, target
        The S characters read and the T written, the last of them `END_SIGN` where it came to an end.
    ids
        Of the target, ``(T,)``.
    score
        Log-probability of the target, in nats, over its penalised length.
    logits
        ``(T, V)``, each row as it was when that character was written; columns as in ``symbols``.
    maps
        Attention of each layer, ``(H, S, S)``, ``(H, T, T)`` and ``(H, T, S)``, while the last character was
        written.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    ids: Tensor
    score: float
    logits: Tensor
    maps: AttentionMaps


class LiveTransformer(Widget):
    """Type a date in one of many languages; a Transformer writes it as 2026-11-23 and shows its every number.

    The model runs in the page: encoder, decoder with a cache, and a beam. Shown are the attention of all heads,
    one of them large, the residual stream, the distribution over the next character and the tree of the beam.
    Parts can be taken out, and the answer changes at once.

    Parameters
    ----------
    model, task
        A trained Transformer of at most 300,000 weights, and its ``Dates()``; default: the model that comes with
        the package. An untrained one is run, too, and writes nonsense.
    text
        A date as people write it; see `transformer_book.tasks.dates.Dates.parse`.
    step
        The written character shown, from 0; the last one where fewer are written.
    place
        The source character followed in the encoder, from 0; the last one where the text is shorter.
    pinned
        The head shown large, as ``"cross-2-3"``; see `names`.
    beam
        Beginnings kept, 1 … 5; 1 is greedy.
    penalty
        Exponent α of the length, 0 … 2; see `transformer_book.decoding.penalised_length`.
    no_mask, no_scale, no_positions
        Take out the causal mask, the division by √K, the positions.
    removed
        Names of heads that no longer write.

    Attributes
    ----------
    text, step, place, pinned, beam, penalty, no_mask, no_scale, no_positions, removed
        As above; synced both ways.
    task : Dates
        What the model was trained on.
    network : dict
        Sizes, weights rounded to float16, and characters, for the page.
    examples : list
        Language tag, name of the language, and a date in it.
    symbols : list of str
        What the columns of the logits stand for.

    Raises
    ------
    TypeError
        A number is not an integer, or the model no Transformer.
    ValueError
        The page cannot run the model, the text is not one date or too long or has a character that is in no date,
        or there is no such head, step or place.
    FileNotFoundError
        The package comes without its model.
    """

    network = traitlets.Dict(read_only=True).tag(sync=True)
    examples = traitlets.List(read_only=True).tag(sync=True)
    symbols = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)
    step = traitlets.Int().tag(sync=True)
    place = traitlets.Int().tag(sync=True)
    pinned = traitlets.Unicode().tag(sync=True)
    beam = traitlets.Int().tag(sync=True)
    penalty = traitlets.Float().tag(sync=True)
    no_mask = traitlets.Bool(False).tag(sync=True)
    no_scale = traitlets.Bool(False).tag(sync=True)
    no_positions = traitlets.Bool(False).tag(sync=True)
    removed = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _picture = traitlets.Dict().tag(sync=True)  # for a page without JavaScript

    def __init__(
        self,
        model: Transformer | None = None,
        task: Task | None = None,
        text: str = "23 november 2026",
        step: int = 5,
        place: int = 3,
        pinned: str | None = None,
        beam: int = 3,
        penalty: float = 0.6,
        no_mask: bool = False,
        no_scale: bool = False,
        no_positions: bool = False,
        removed: Sequence[str] = (),
    ) -> None:
        if (model is None) != (task is None):
            raise ValueError("model and task: expected both or neither, got one of them")
        if model is None or task is None:
            loaded, task, _ = load_asset("dates_transformer")
            assert isinstance(loaded, Transformer)
            model = loaded
        if not isinstance(task, Dates) or task.dates_in_a_row != 1:
            got = f"{task.dates_in_a_row} of them" if isinstance(task, Dates) else type(task).__name__
            raise ValueError(f"task: expected Dates with one date in a row, got {got}")
        self.task = task
        self._model = engine.rounded(engine.check_model(model, task, LONGEST))
        self.set_trait("network", engine.pack(self._model, task))
        self.set_trait("examples", [list(example) for example in EXAMPLES])
        self.set_trait("symbols", ["pad", START_SIGN, END_SIGN, *task.target_vocabulary.symbols])
        numbers: dict[str, Any] = {"step": step, "place": place, "beam": beam}
        for name, value in numbers.items():  # a trait would take 1.0 for 1
            self._check_number(traitlets.Bunch(trait=getattr(type(self), name), value=value))
        super().__init__(
            text=text,
            pinned=self.names()[-1] if pinned is None else pinned,
            penalty=penalty,
            no_mask=no_mask,
            no_scale=no_scale,
            no_positions=no_positions,
            removed=list(removed),
            **numbers,
        )
        self._picture = {"svg": draw_picture(self.reading(), self.symbols, self.step), "alt": PICTURE_ALT}

    @traitlets.validate("text")
    def _check_text(self, proposal: traitlets.Bunch) -> str:
        self.task.parse(proposal["value"])
        return proposal["value"]

    @traitlets.validate("step", "place", "beam")
    def _check_number(self, proposal: traitlets.Bunch) -> int:
        name = proposal["trait"].name
        ranges = {
            "step": (0, self.task.max_target_length - 1),
            "place": (0, LONGEST - 1),
            "beam": (1, MOST_BEGINNINGS),
        }
        return check_integer(name, proposal["value"], *ranges[name])

    @traitlets.validate("penalty")
    def _check_penalty(self, proposal: traitlets.Bunch) -> float:
        if not 0 <= proposal["value"] <= 2:
            raise ValueError(f"penalty: expected a number in 0 … 2, got {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("pinned")
    def _check_pinned(self, proposal: traitlets.Bunch) -> str:
        check_choice("pinned", proposal["value"], self.names())
        return proposal["value"]

    @traitlets.validate("removed")
    def _check_removed(self, proposal: traitlets.Bunch) -> list[str]:
        for name in proposal["value"]:
            check_choice("removed", name, self.names())
        return proposal["value"]

    def names(self) -> list[str]:
        """Name all heads, as in `pinned`."""
        return engine.head_names(self._model)

    def broken(self) -> Broken:
        """Tell what is taken out now."""
        return Broken(self.no_mask, self.no_scale, self.no_positions, tuple(self.removed))

    def model(self) -> Transformer:
        """Give the model that the page runs now: weights rounded to float16, and parts taken out."""
        return engine.broken(self._model, self.broken())

    def source(self) -> str:
        """Give the characters that the model reads: `text`, normalised."""
        return self.task.parse(self.text)

    def written(self) -> str:
        """Give what the model writes."""
        return self.task.text(self.task.target_vocabulary.decode(self.reading().ids.tolist()))

    @torch.no_grad()
    def reading(self) -> Reading:
        """Let the model in its present state read and write, and keep what it did."""
        model, source = self.model(), self.source()
        inputs = torch.tensor([self.task.source_vocabulary.encode(source)])  # (1, S)
        ids, scores = beam_search(model, inputs, self.beam, self.task.max_target_length, self.penalty)  # (1, T)
        fed = torch.cat([torch.tensor([[START]]), ids[:, :-1]], dim=1)  # (1, T)
        memory, state, steps = model.encode(inputs), None, []
        for token in fed.split(1, dim=1):  # (1, 1)
            logits, state, *_ = model.decode(token, memory, state)  # (1, 1, V)
            steps.append(logits[0])
        last = model.decode(fed, memory)
        maps = (tuple(layer[0] for layer in part) for part in (memory.weights, last.weights, last.cross_weights))
        target = tuple(END_SIGN if id_ == END else self.symbols[id_] for id_ in ids[0].tolist())
        return Reading(tuple(source), target, ids[0], float(scores), torch.cat(steps), AttentionMaps(*maps))

    def probabilities(self) -> Tensor:
        """Give the distribution over the next character at each step, ``(T, V)``; columns as in `symbols`."""
        return self.reading().logits.softmax(dim=-1)

    def attention(self, name: str | None = None) -> Tensor:
        """Give the weights of a head, the pinned one by default: ``(S, S)``, ``(T, T)`` or ``(T, S)``.

        Raises
        ------
        ValueError
            There is no such head.
        """
        check_choice("name", name := self.pinned if name is None else name, self.names())
        kind, layer, head = name.split("-")
        return getattr(self.reading().maps, kind)[int(layer) - 1][int(head) - 1]

    def describe(self) -> str:
        """Say what is read and written, what is taken out, and what the pinned head looks at."""
        reading = self.reading()
        what = self.broken()
        out = [f"no {name}" for name in ("mask", "scale", "positions") if getattr(what, name)]
        out += [f"no head {name}" for name in what.removed]
        step = min(self.step, len(reading.target) - 1)
        kind, layer, head = self.pinned.split("-")
        weights = getattr(reading.maps, kind)[int(layer) - 1][int(head) - 1]
        row = weights[min(self.place, len(weights) - 1) if kind == "encoder" else step]
        seen = (START_SIGN, *reading.target[:-1]) if kind == "decoder" else reading.source
        share, place = row.max(dim=0)
        best = float(reading.logits[step].softmax(dim=-1).max())
        return (
            f"a Transformer of {sum(weight.numel() for weight in self._model.parameters()):,} weights reads "
            f"“{''.join(reading.source)}” and writes {self.written() or 'nothing'}, with a beam of {self.beam}"
            f"{' and ' + ', '.join(out) if out else ''}. Its most probable character {step + 1} has {best:.0%}; "
            f"head {self.pinned} looks most at “{seen[int(place)]}” ({float(share):.0%})."
        )
