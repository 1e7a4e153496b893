"""Cost calculator: parameters, operations, memory and least time of a Transformer, by its sizes and its load."""

from typing import Any

import traitlets

from transformer_book import cost
from transformer_book.cost import NUMBER_BYTES, PRESETS, STYLES, Ceiling, Load, Sizes
from transformer_book.experiments import load_result
from transformer_book.widgets._base import Widget, check_choice, check_integer

MODES = ("training", "reading", "writing")
MACHINES = ("book", "own")
_SIZES = ("d_model", "num_heads", "kv_heads", "d_ff", "layers", "vocabulary", "source_vocabulary")
#: Largest value of each dial; the smallest is 1.
_MOST = {
    "d_model": 65_536,
    "num_heads": 1024,
    "kv_heads": 1024,
    "d_ff": 1_048_576,
    "layers": 256,
    "vocabulary": 2_097_152,
    "source_vocabulary": 2_097_152,
    "batch": 65_536,
    "length": 1_048_576,
    "source_length": 1_048_576,
}
_MODE_TEXT = {
    "training": "a training step on",
    "reading": "a forward pass over",
    "writing": "one more token after",
}


def _book_machine() -> dict[str, float | str]:
    """Read the ceilings that were measured for this book: three digits of GFLOP/s and GB/s."""
    crossing, precision = load_result("attention_overtakes"), load_result("mixed_precision")
    figures = {
        "float32": precision.mean("ceiling_float32"),
        "bfloat16": precision.mean("ceiling_bfloat16"),
        "bandwidth": crossing.mean("bandwidth"),
    }
    device = crossing.environment["device_name"]
    return {"name": device, **{name: float(f"{figure / 1e9:.3g}") for name, figure in figures.items()}}


def _as_traits(sizes: Sizes, load: Load) -> dict[str, object]:
    """Write sizes and load of a preset as values of the dials."""
    return {
        "d_model": sizes.d_model,
        "num_heads": sizes.num_heads,
        "kv_heads": sizes.shared_heads,
        "d_ff": sizes.d_ff,
        "layers": sizes.decoder_layers,
        "encoder": bool(sizes.encoder_layers),
        "vocabulary": sizes.vocabulary,
        "source_vocabulary": sizes.source_vocabulary or sizes.vocabulary,
        "style": sizes.style,
        "tied": sizes.tied,
        "batch": load.batch,
        "length": load.length,
        "source_length": load.source_length or load.length,
    }


class CostCalculator(Widget):
    """Dial the sizes of a Transformer and what it is to do; see what that costs, and what limits it.

    Parameters
    ----------
    preset
        A name of `transformer_book.cost.PRESETS`, whose sizes and load are dialled.
    mode
        ``"training"`` (forward, loss, backward), ``"reading"`` (forward) or ``"writing"`` (one token, the others
        in a cache).
    precision
        ``"float32"`` or ``"bfloat16"``.
    fused
        Scores never reach memory, as with a fused kernel.
    machine
        Whose ceilings: ``"book"``, those measured for this book, or ``"own"``: `peak` and `bandwidth`.
    peak, bandwidth
        Ceilings of a machine of the reader's, in GFLOP/s and GB/s.

    Attributes
    ----------
    d_model, num_heads, kv_heads, d_ff, layers, vocabulary, source_vocabulary, encoder, style, tied
        Sizes, as in `transformer_book.cost.Sizes`; with an `encoder` both stacks have `layers` layers, and without
        `tied` matrices its vocabulary counts. Two that must fit together are set inside
        ``with calculator.hold_trait_notifications():``.
    batch, length, source_length
        Sequences B, tokens T of each, and tokens S of each source.
    mode, precision, fused, machine, peak, bandwidth
        As above. All are synced both ways, so that Python sees what the reader dialled.
    presets, book : list, dict
        The presets as values of the dials, and the book's machine.

    Raises
    ------
    TypeError
        A number is not of its type.
    ValueError
        An argument is out of range, or two do not fit together.
    FileNotFoundError
        No ceilings are stored; the message has the command that measures them.

    Notes
    -----
    Source: Williams, Waterman & Patterson 2009.
    """

    d_model, num_heads, kv_heads, d_ff = (traitlets.Int(1).tag(sync=True) for _ in range(4))
    layers, vocabulary, batch = (traitlets.Int(1).tag(sync=True) for _ in range(3))
    length, source_length, source_vocabulary = (traitlets.Int(1).tag(sync=True) for _ in range(3))
    encoder, tied, fused = (traitlets.Bool().tag(sync=True) for _ in range(3))
    style = traitlets.Unicode("paper").tag(sync=True)
    mode, precision, machine = (traitlets.Unicode().tag(sync=True) for _ in range(3))
    peak, bandwidth = (traitlets.Float().tag(sync=True) for _ in range(2))
    presets = traitlets.List(read_only=True).tag(sync=True)
    book = traitlets.Dict(read_only=True).tag(sync=True)

    def __init__(
        self,
        preset: str = "base model of 2017",
        mode: str = "training",
        precision: str = "float32",
        *,
        fused: bool = False,
        machine: str = "book",
        peak: float = 100.0,
        bandwidth: float = 10.0,
    ) -> None:
        check_choice("preset", preset, list(PRESETS))
        check_choice("mode", mode, MODES)
        check_choice("precision", precision, list(NUMBER_BYTES))
        check_choice("machine", machine, MACHINES)
        rates = {"peak": _check_rate("peak", peak), "bandwidth": _check_rate("bandwidth", bandwidth)}
        self.set_trait("presets", [{"name": name, **_as_traits(*each)} for name, each in PRESETS.items()])
        self.set_trait("book", _book_machine())
        chosen = {"mode": mode, "precision": precision, "fused": fused, "machine": machine}
        super().__init__(**_as_traits(*PRESETS[preset]), **chosen, **rates)

    @traitlets.validate(*_MOST)
    def _check_size(self, proposal: dict) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        check_integer(name, value, 1, _MOST[name])
        if name in _SIZES:
            self._sizes(**{name: value})  # complains of what does not fit together
        return value

    @traitlets.validate("style", "mode", "precision", "machine")
    def _check_choice(self, proposal: dict) -> object:
        choices = {"style": STYLES, "mode": MODES, "precision": tuple(NUMBER_BYTES), "machine": MACHINES}
        name = proposal["trait"].name
        return check_choice(name, proposal["value"], choices[name])

    @traitlets.validate("peak", "bandwidth")
    def _check_ceiling(self, proposal: dict) -> float:
        return _check_rate(proposal["trait"].name, proposal["value"])

    def dial(self, preset: str) -> None:
        """Dial the sizes and the load of a preset.

        Raises
        ------
        ValueError
            There is none of that name.
        """
        check_choice("preset", preset, list(PRESETS))
        with self.hold_trait_notifications():
            for name, value in _as_traits(*PRESETS[preset]).items():
                setattr(self, name, value)

    def sizes(self) -> Sizes:
        """Give the sizes that are dialled."""
        return self._sizes()

    def _sizes(self, **changes: int) -> Sizes:
        values: dict[str, Any] = {name: changes.get(name, getattr(self, name)) for name in _SIZES}
        layers, source = values.pop("layers"), values.pop("source_vocabulary")
        return Sizes(
            **values,
            decoder_layers=layers,
            encoder_layers=layers if self.encoder else 0,
            source_vocabulary=source if self.encoder and not self.tied else None,
            style=self.style,
            tied=self.tied,
        )

    def load(self) -> Load:
        """Give what the model is to do: in writing, one token each, after `length` that are cached."""
        source = self.source_length if self.encoder else 0
        if self.mode == "writing":
            return Load(self.batch, 1, source, cached=self.length)
        return Load(self.batch, self.length, source)

    def ceiling(self) -> Ceiling:
        """Give the ceiling in use, in operations and bytes per second."""
        if self.machine == "own":
            return Ceiling(1e9 * self.peak, 1e9 * self.bandwidth)
        return Ceiling(1e9 * self.book[self.precision], 1e9 * self.book["bandwidth"])

    def parameters(self) -> int:
        """Count the parameters."""
        return sum(cost.parameters(self.sizes()).values())

    def flops(self) -> dict[str, int]:
        """Count the operations of each part."""
        return cost.count_flops(self.sizes(), self.load(), training=self.mode == "training")

    def seconds(self) -> dict[str, float]:
        """Predict the least time of each part, in seconds."""
        steps = cost.work(self.sizes(), self.load())
        size, training = NUMBER_BYTES[self.precision], self.mode == "training"
        return cost.predict_seconds(steps, self.ceiling(), size, self.fused, training)

    def memory_share(self) -> dict[str, float]:
        """Say which share of each part's time waits for memory."""
        steps = cost.work(self.sizes(), self.load())
        return cost.memory_share(steps, self.ceiling(), NUMBER_BYTES[self.precision], self.fused)

    def cache_bytes(self) -> int:
        """Count the bytes of keys and values after this load."""
        return cost.cache_bytes(self.sizes(), self.load(), NUMBER_BYTES[self.precision])

    def activation_bytes(self) -> int:
        """Count the bytes kept for the backward pass; 0 unless it is a training step."""
        if self.mode != "training":
            return 0
        return cost.activation_bytes(self.sizes(), self.load(), NUMBER_BYTES[self.precision], self.fused)

    def describe(self) -> str:
        """Say in sentences what the widget shows in its present state."""
        flops, seconds, waits = self.flops(), self.seconds(), self.memory_share()
        total, share = sum(seconds.values()), sum(seconds[part] * waits[part] for part in seconds)
        most, longest = max(flops, key=flops.__getitem__), max(seconds, key=seconds.__getitem__)
        stacks = f"{self.layers} + {self.layers} layers" if self.encoder else f"{self.layers} layers"
        kept = f"{self.activation_bytes() / 2**20:,.1f} MiB kept for the gradient, "
        ceiling = self.ceiling()
        return (
            f"a Transformer of {self.parameters():,} parameters ({stacks}, width {self.d_model}, {self.num_heads} "
            f"heads); {_MODE_TEXT[self.mode]} {self.batch} × {self.length} tokens in {self.precision} takes "
            f"{sum(flops.values()):.3g} operations, most of them in {most}; "
            f"{kept if self.mode == 'training' else ''}{self.cache_bytes() / 2**20:,.1f} MiB of keys and values. "
            f"At {ceiling.flops / 1e9:,.3g} GFLOP/s and {ceiling.bandwidth / 1e9:,.3g} GB/s it takes at least "
            f"{total:.3g} s, most of it in {longest}; {share / total:.0%} of it waits for memory."
        )


def _check_rate(name: str, value: object) -> float:
    """Return a ceiling if it is a number above zero and finite.

    Raises
    ------
    TypeError, ValueError
        It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    if not 0 < value < 1e12:
        raise ValueError(f"{name}: expected a number above 0 and below 1e12, got {value}")
    return float(value)
