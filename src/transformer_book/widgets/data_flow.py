"""Data flow: one sentence on its way through every block of a trained Transformer, with its numbers."""

import base64
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
import traitlets
from torch import Tensor

from transformer_book.attention import causal_mask
from transformer_book.layers import DecoderLayer, EncoderLayer, PreNorm, Residual
from transformer_book.tasks.task import Example, Task, collate
from transformer_book.training import load_asset, predict
from transformer_book.transformer import Embedding, Transformer
from transformer_book.widgets._base import Widget, check_integer

START_SIGN, END_SIGN = "⊢", "⊣"
TEXTS = ("23 november 2026", "2026年11月23日", "lundi 3 mars 1997")
STEPS = 32767  # a number is packed as a multiple, −32767 … 32767, of its stop's unit

#: What happens at a stop → sentence for the reader.
KINDS = {
    "embedding": "Each id picks its row of the embedding matrix, times √D.",
    "position": "The row of its position is added: a vector now says what stands where.",
    "norm": "LayerNorm: every vector shifted and scaled to mean 0 and variance 1, then by what was learned.",
    "attention": "What self-attention writes: a blend of the values of all positions it may look at.",
    "cross": "What cross-attention writes: a blend of the values of the encoder's states.",
    "feed-forward": "What the feed-forward layer writes, for each position by itself.",
    "add": "The residual stream: what was there, plus what was written.",
    "logits": "The readout: one number for every symbol that might come next.",
    "probabilities": "Softmax of the logits: how probable each next symbol is.",
}


class Stop(NamedTuple):
    """One place on the way, and what is there.

    name
        As in ``"decoder 1 cross"``, ``"decoder 1 add cross"``; without a number before and after the layers.
    side
        ``"encoder"`` or ``"decoder"``.
    layer
        Counted from 1; 0 before and after the layers.
    kind
        One of `KINDS`.
    values
        ``(S, D)`` in the encoder, ``(T, D)`` in the decoder, ``(T, V)`` at its end; one row per position.
    """

    name: str
    side: str
    layer: int
    kind: str
    values: Tensor


@torch.no_grad()
def trace(model: Transformer, source: Tensor, target: Tensor) -> list[Stop]:
    """Follow one source and target through a model, stop by stop; the last but one is what `forward` returns.

    Parameters
    ----------
    model
        In evaluation mode.
    source, target
        Ids ``(1, S)`` and ``(1, T)``, without padding.
    """
    stops: list[Stop] = []

    def keep(side: str, layer: int, kind: str, values: Tensor, what: str = "") -> Tensor:
        name = f"{side} {layer} {what or kind}" if layer else f"{side} {kind}"
        stops.append(Stop(name, side, layer, kind, values[0]))
        return values

    def embed(side: str, embedding: Embedding, ids: Tensor) -> Tensor:
        vectors = keep(side, 0, "embedding", embedding.tokens(ids) * embedding.tokens.embedding_dim**0.5)
        return keep(side, 0, "position", embedding.positions(vectors))

    def pass_by(
        place: tuple[str, int, str], residual: Residual, stream: Tensor, write: Callable[[Tensor], Tensor]
    ) -> Tensor:
        side, layer, kind = place
        seen = residual.enter(stream)
        if isinstance(residual, PreNorm):
            keep(side, layer, "norm", seen, f"norm before {kind}")
        output = keep(side, layer, kind, write(seen))
        keep(side, layer, "add", stream + output, f"add {kind}")
        stream = residual.leave(stream, output)
        if isinstance(residual, PreNorm):
            return stream
        return keep(side, layer, "norm", stream, f"norm after {kind}")

    stream = embed("encoder", model.source_embedding, source)
    for number, layer in enumerate(cast(list[EncoderLayer], model.encoder_layers), 1):
        look = layer.attention
        stream = pass_by(
            ("encoder", number, "attention"),
            layer.attention_residual,
            stream,
            lambda seen, look=look: look(seen, seen, seen)[0],
        )
        place = ("encoder", number, "feed-forward")
        stream = pass_by(place, layer.feed_forward_residual, stream, layer.feed_forward)
    memory = keep("encoder", 0, "norm", model.encoder_norm(stream))
    mask = causal_mask(target.shape[1], target.device)
    stream = embed("decoder", model.target_embedding, target)
    for number, layer in enumerate(cast(list[DecoderLayer], model.decoder_layers), 1):
        look, cross = layer.attention, layer.cross_attention
        stream = pass_by(
            ("decoder", number, "attention"),
            layer.attention_residual,
            stream,
            lambda seen, look=look: look(seen, seen, seen, mask)[0],
        )
        stream = pass_by(
            ("decoder", number, "cross"),
            layer.cross_residual,
            stream,
            lambda seen, cross=cross: cross(seen, memory, memory)[0],
        )
        place = ("decoder", number, "feed-forward")
        stream = pass_by(place, layer.feed_forward_residual, stream, layer.feed_forward)
    logits = keep("decoder", 0, "logits", model.readout(keep("decoder", 0, "norm", model.decoder_norm(stream))))
    keep("decoder", 0, "probabilities", logits.softmax(dim=-1))
    return stops


class _Input(NamedTuple):
    source: tuple[str, ...]
    target: tuple[str, ...]
    stops: list[Stop]


def _read(model: Transformer, task: Task, text: str) -> _Input:
    source = task.parse(text)
    written = predict(model, task, [source])[0]
    device = next(model.parameters()).device
    batch = collate([Example(source, written)], task.source_vocabulary, task.target_vocabulary, device)
    return _Input(tuple(source), (*written, END_SIGN), trace(model, batch.source, batch.target[:, :-1]))


class DataFlow(Widget):
    """Step a sentence through every block of a trained Transformer, forth and back, and compare two stops.

    In the encoder one source character is followed, in the decoder the position that writes one character.

    Parameters
    ----------
    texts
        What the model reads; the reader chooses among them.
    model, task
        A trained Transformer and its task; default: the one trained on dates that comes with the package.
    chosen
        Number of the text shown.
    stop
        Number of the stop shown, in the order of `names`.
    place
        The source character followed, from 0; the last one where the text is shorter.
    step
        The written character followed, from 0; the last one, `END_SIGN`, where fewer are written.
    pinned
        Number of a stop to compare with; −1 for none.

    Attributes
    ----------
    chosen, stop, place, step, pinned
        As above; synced both ways.
    plan : list of dict
        For each stop its ``name``, ``side``, ``layer``, ``kind`` and what it ``says``.
    inputs : list of dict
        For each text its ``source`` and ``target`` symbols, and for each stop a ``unit`` and its ``values``:
        multiples of the unit as 16-bit integers, little-endian, in base64.
    symbols : list of str
        What the columns of logits and probabilities stand for.

    Raises
    ------
    TypeError
        A number is not an integer.
    ValueError
        There is no text, the task cannot read one, or there is no such text, stop or place.
    """

    plan = traitlets.List(traitlets.Dict(), read_only=True).tag(sync=True)
    inputs = traitlets.List(traitlets.Dict(), read_only=True).tag(sync=True)
    symbols = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    chosen = traitlets.Int(0).tag(sync=True)
    stop = traitlets.Int(0).tag(sync=True)
    place = traitlets.Int(0).tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    pinned = traitlets.Int(-1).tag(sync=True)

    def __init__(
        self,
        texts: Sequence[str] = TEXTS,
        model: Transformer | None = None,
        task: Task | None = None,
        chosen: int = 0,
        stop: int = 0,
        place: int = 3,
        step: int = 5,
        pinned: int = -1,
    ) -> None:
        if not texts:
            raise ValueError("texts: expected at least one, got none")
        if (model is None) != (task is None):
            raise ValueError("model and task: expected both or neither, got one of them")
        if model is None or task is None:
            loaded, task, _ = load_asset("dates_transformer")
            assert isinstance(loaded, Transformer)
            model = loaded
        self._inputs = [_read(model.eval(), task, text) for text in texts]
        self._longest = (model.config.max_length, task.max_target_length)
        stops = self._inputs[0].stops
        plan = [
            {
                "name": each.name,
                "side": each.side,
                "layer": each.layer,
                "kind": each.kind,
                "says": KINDS[each.kind],
            }
            for each in stops
        ]
        self.set_trait("plan", plan)
        self.set_trait("inputs", [_packed(each) for each in self._inputs])
        self.set_trait("symbols", ["pad", START_SIGN, END_SIGN, *task.target_vocabulary.symbols])
        numbers = {"chosen": chosen, "stop": stop, "place": place, "step": step, "pinned": pinned}
        for name, value in numbers.items():  # a trait would take 1.0 for 1
            self._check(name, value)
        super().__init__(**numbers)

    @traitlets.validate("chosen", "stop", "place", "step", "pinned")
    def _check_number(self, proposal: traitlets.Bunch) -> int:
        return self._check(proposal["trait"].name, proposal["value"])

    def _check(self, name: str, value: object) -> int:
        numbers = {
            "chosen": len(self._inputs),
            "stop": len(self.plan),
            "place": self._longest[0],
            "step": self._longest[1],
            "pinned": len(self.plan),
        }
        return check_integer(name, value, -1 if name == "pinned" else 0, numbers[name] - 1)

    def names(self) -> list[str]:
        """Name all stops, in order."""
        return [entry["name"] for entry in self.plan]

    def values(self, stop: int | None = None) -> Tensor:
        """Return what is at a stop, the one shown by default: ``(S, D)``, ``(T, D)`` or ``(T, V)``."""
        return self._inputs[self.chosen].stops[self.stop if stop is None else stop].values

    def row(self, stop: int | None = None) -> Tensor:
        """Return the vector of the position followed, at a stop, the one shown by default."""
        values = self.values(stop)
        encoder = self.plan[self.stop if stop is None else stop]["side"] == "encoder"
        return values[min(self.place if encoder else self.step, len(values) - 1)]

    def describe(self) -> str:
        """Say what is read and written, where we are, and what is there."""
        source, target, _ = self._inputs[self.chosen]
        entry, row = self.plan[self.stop], self.row()
        encoder = entry["side"] == "encoder"
        symbols, place = (source, self.place) if encoder else (target, self.step)
        place = min(place, len(symbols) - 1)
        followed = f"{'reads' if encoder else 'writes'} {symbols[place]!r}"
        first = ", ".join(f"{float(x):.2f}" for x in row[:4])
        return (
            f"a Transformer reads {''.join(source)!r} and writes {''.join(target[:-1])!r}. Stop {self.stop + 1} "
            f"of {len(self.plan)}, {entry['name']}: {entry['says']} The position that {followed}: {first}, …, "
            f"norm {float(row.norm()):.2f}."
        )


def _packed(each: _Input) -> dict[str, Any]:
    stops = []
    for stop in each.stops:
        unit = float(stop.values.abs().max().clamp(min=1e-9)) / STEPS
        whole = (stop.values.double() / unit).round().to(torch.int16)
        stops.append(
            {"unit": unit, "values": base64.b64encode(whole.cpu().numpy().astype("<i2").tobytes()).decode()}
        )
    return {"source": list(each.source), "target": list(each.target), "stops": stops}
