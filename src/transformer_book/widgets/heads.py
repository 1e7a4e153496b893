"""Heads: every attention head of a trained Transformer as a small picture; hover, pin, compare."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import traitlets
from torch import Tensor

from transformer_book.shapes import shape_text
from transformer_book.tasks.task import Example, Task, collate
from transformer_book.training import load_asset, predict
from transformer_book.transformer import AttentionMaps, Transformer
from transformer_book.widgets._base import Widget, check_choice, check_integer

KINDS = AttentionMaps._fields  # encoder, decoder, cross
START_SIGN, END_SIGN = "⊢", "⊣"
TEXTS = ("23 november 2026", "lundi 3 mars 1997", "2026年11月23日", "Mittwoch, 14. Juli 2021", "31.12.1999")
MAX_PINS = 2


@dataclass(frozen=True)
class Maps:
    """What all heads do with one input.

    Parameters
    ----------
    source
        Its S symbols.
    target
        The T symbols written for it, the last of them `END_SIGN`.
    encoder, decoder, cross
        Weights ``(layers, H, S, S)``, ``(layers, H, T, T)`` and ``(layers, H, T, S)``. Row t of the last two
        belongs to the step that writes ``target[t]``; the decoder's columns are what was fed to it, `START_SIGN`
        and all written symbols but the last.

    Raises
    ------
    ValueError
        A shape does not fit the symbols.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    encoder: Tensor
    decoder: Tensor
    cross: Tensor

    def __post_init__(self) -> None:
        s, t = len(self.source), len(self.target)
        for kind, ends in (("encoder", (s, s)), ("decoder", (t, t)), ("cross", (t, s))):
            weights: Tensor = getattr(self, kind)
            if weights.ndim != 4 or tuple(weights.shape[2:]) != ends:
                raise ValueError(
                    f"{kind}: expected shape (layers, H, {ends[0]}, {ends[1]}), got {shape_text(weights)}"
                )


@torch.no_grad()
def read_maps(model: Transformer, task: Task, text: str) -> Maps:
    """Let a model read a text and write, greedily, and keep where every head looked.

    Raises
    ------
    ValueError
        The task cannot read the text.
    """
    source = task.parse(text)
    written = predict(model, task, [source])[0]
    device = next(model.parameters()).device
    batch = collate([Example(source, written)], task.source_vocabulary, task.target_vocabulary, device)
    maps = model.attention_maps(batch.source, batch.target[:, :-1])
    stacked = (torch.stack([layer[0] for layer in layers]).cpu() for layers in maps)
    return Maps(tuple(source), (*written, END_SIGN), *stacked)


class Heads(Widget):
    """Look at all heads of a trained Transformer at once, pin one or two, and compare them row by row.

    Parameters
    ----------
    texts
        What the model reads; the reader chooses among them.
    model, task
        A trained Transformer and its task; default: the one trained on dates that comes with the package.
    chosen
        Number of the text shown.
    pinned
        At most two heads shown large, each ``"KIND-LAYER-HEAD"`` with layer and head counted from 1, as in
        ``"cross-1-2"``.

    Attributes
    ----------
    chosen, pinned
        As above; synced both ways.
    inputs : list of dict
        For each text its ``source`` and ``target`` symbols, and the weights of each of `KINDS` as bytes in base64,
        255 for a weight of 1.
    layers, num_heads : dict, int
        Layers of each kind; heads of each layer.

    Raises
    ------
    TypeError
        `chosen` is not an integer.
    ValueError
        There is no text, the task cannot read one, or there is no such text or head.
    """

    inputs = traitlets.List(traitlets.Dict(), read_only=True).tag(sync=True)
    layers = traitlets.Dict(read_only=True).tag(sync=True)
    num_heads = traitlets.Int(read_only=True).tag(sync=True)
    chosen = traitlets.Int(0).tag(sync=True)
    pinned = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(
        self,
        texts: Sequence[str] = TEXTS,
        model: Transformer | None = None,
        task: Task | None = None,
        chosen: int = 0,
        pinned: Sequence[str] = ("cross-2-3",),
    ) -> None:
        if not texts:
            raise ValueError("texts: expected at least one, got none")
        if (model is None) != (task is None):
            raise ValueError("model and task: expected both or neither, got one of them")
        if model is None or task is None:
            loaded, task, _ = load_asset("dates_transformer")
            assert isinstance(loaded, Transformer)
            model = loaded
        self._maps = [read_maps(model, task, text) for text in texts]
        first = self._maps[0]
        self.set_trait("inputs", [_packed(maps) for maps in self._maps])
        self.set_trait("layers", {kind: len(getattr(first, kind)) for kind in KINDS})
        self.set_trait("num_heads", first.encoder.shape[1])
        check_integer("chosen", chosen, 0, len(texts) - 1)
        super().__init__(chosen=chosen, pinned=list(pinned))

    @traitlets.validate("chosen")
    def _check_chosen(self, proposal: traitlets.Bunch) -> int:
        return check_integer("chosen", proposal["value"], 0, len(self._maps) - 1)

    @traitlets.validate("pinned")
    def _check_pinned(self, proposal: traitlets.Bunch) -> list[str]:
        pinned = proposal["value"]
        if len(pinned) > MAX_PINS or len(set(pinned)) < len(pinned):
            raise ValueError(f"pinned: expected at most {MAX_PINS} heads, each once, got {pinned}")
        for name in pinned:
            check_choice("pinned", name, self.names())
        return pinned

    def names(self) -> list[str]:
        """Name all heads, as in `pinned`."""
        return [
            f"{kind}-{layer + 1}-{head + 1}"
            for kind in KINDS
            for layer in range(self.layers[kind])
            for head in range(self.num_heads)
        ]

    def maps(self) -> Maps:
        """Return symbols and weights of the text shown."""
        return self._maps[self.chosen]

    def weights(self, name: str) -> Tensor:
        """Return the weights of one head for the text shown, ``(queries, keys)``.

        Raises
        ------
        ValueError
            There is no such head.
        """
        kind, layer, head = str(check_choice("name", name, self.names())).split("-")
        return getattr(self.maps(), kind)[int(layer) - 1, int(head) - 1]

    def entropy(self, name: str) -> float:
        """Return the mean entropy of a head's rows, in bits: 0 if every query looks at one key alone."""
        weights = self.weights(name)
        return float(-(torch.special.xlogy(weights, weights).sum(dim=-1) / torch.log(torch.tensor(2.0))).mean())

    def describe(self) -> str:
        """Say what is read and written, how many heads there are, and what the pinned ones do."""
        maps = self.maps()
        pins = [
            f"{name.replace('-', ' ')}, mean entropy {self.entropy(name):.1f} bits, largest weight "
            f"{float(self.weights(name).max()):.2f}"
            for name in self.pinned
        ]
        return (
            f"{len(self.names())} heads of a Transformer that reads {''.join(maps.source)!r} and writes "
            f"{''.join(maps.target[:-1])!r}. Pinned: {'; '.join(pins) or 'none'}."
        )


def _packed(maps: Maps) -> dict[str, Any]:
    packed = {
        kind: base64.b64encode(
            bytes((getattr(maps, kind) * 255).round().to(torch.uint8).flatten().tolist())
        ).decode()
        for kind in KINDS
    }
    return {"source": list(maps.source), "target": list(maps.target), **packed}
