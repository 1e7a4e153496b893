"""What a Transformer costs, from its sizes alone: operations, bytes, parameters, memory, and time at a ceiling.

Axis letters are those of `transformer_book.shapes`. Counted are the operations of matrix products, two for each
product of two numbers, as `torch.utils.flop_counter` counts them. Bytes are those that a product or a step over
all numbers must read and write, once each, if nothing stays in a cache.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from transformer_book.device import CPU, synchronize
from transformer_book.shapes import check_widths
from transformer_book.transformer import TransformerConfig

#: The parts that operations, bytes and time are booked under.
PARTS: tuple[str, ...] = ("projections", "attention", "feed-forward", "norms", "readout")
#: Kinds of model: the paper's, and that of Llama: gated feed-forward, RMSNorm, no biases.
STYLES = ("paper", "llama")
#: Bytes of a number.
NUMBER_BYTES = {"float32": 4, "bfloat16": 2}
#: A score is read and written by each of scaling, clamping, masking, softmax and masking again.
TABLE_TRAFFIC = 10
#: A backward pass has two products for each of the forward pass: one for either factor's gradient.
TRAINING = 3

#: Precision → type of a tensor.
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Sizes:
    """Sizes of a Transformer: all that its cost depends on.

    Parameters
    ----------
    d_model, d_ff
        Widths D and F.
    num_heads
        Heads H of every attention; each is K = D / H wide.
    encoder_layers, decoder_layers
        Depth of either stack; without an encoder the decoder has no cross-attention.
    vocabulary
        Number of ids V that the readout chooses from.
    source_vocabulary
        Ids of the encoder's embedding; None where both sides share one matrix.
    kv_heads
        Heads of keys and values, if fewer than H; several query heads then share them.
    style
        ``"paper"``, or ``"llama"``: a third, gating matrix in the feed-forward layer, norms without a shift, no
        biases.
    tied
        Embedding and readout are one matrix.

    Raises
    ------
    ValueError
        A size is out of range, or two do not fit together.

    Notes
    -----
    Source: Vaswani et al. 2017; Ainslie et al. 2023, section 2.2 (shared keys and values); Touvron et al. 2023,
    section 2.2 (``"llama"``).
    """

    d_model: int
    num_heads: int
    d_ff: int
    decoder_layers: int
    vocabulary: int
    encoder_layers: int = 0
    source_vocabulary: int | None = None
    kv_heads: int | None = None
    style: str = "paper"
    tied: bool = False

    def __post_init__(self) -> None:
        check_widths(d_model=self.d_model, num_heads=self.num_heads, d_ff=self.d_ff, vocabulary=self.vocabulary)
        if self.d_model % self.num_heads:
            raise ValueError(
                f"num_heads: expected a divisor of d_model {self.d_model}, got num_heads {self.num_heads}"
            )
        if self.shared_heads < 1 or self.num_heads % self.shared_heads:
            raise ValueError(f"kv_heads: expected a divisor of num_heads {self.num_heads}, got {self.kv_heads}")
        if self.decoder_layers < 1 or self.encoder_layers < 0:
            raise ValueError(
                "decoder_layers and encoder_layers: expected integers ≥ 1 and ≥ 0, "
                f"got {self.decoder_layers} and {self.encoder_layers}"
            )
        if self.source_vocabulary is not None and self.source_vocabulary < 1:
            raise ValueError(f"source_vocabulary: expected an integer ≥ 1, got {self.source_vocabulary}")
        if self.style not in STYLES:
            raise ValueError(f"style: expected one of {', '.join(STYLES)}, got {self.style!r}")

    @classmethod
    def of(cls, config: TransformerConfig) -> "Sizes":
        """Read the sizes of a `Transformer`.

        Raises
        ------
        ValueError
            Its positions are learned: their parameters are not counted here.
        """
        if config.positions == "learned":
            raise ValueError("config: expected positions without parameters, got 'learned'")
        return cls(
            config.d_model,
            config.num_heads,
            config.d_ff,
            config.num_decoder_layers,
            config.target_vocab,
            config.num_encoder_layers,
            None if config.shared_embeddings else config.source_vocab,
            tied=config.shared_embeddings,
        )

    @property
    def shared_heads(self) -> int:
        """Heads of keys and values: `kv_heads`, or H."""
        return self.num_heads if self.kv_heads is None else self.kv_heads

    @property
    def kv_width(self) -> int:
        """Width of keys, and of values, of all heads together."""
        return self.shared_heads * (self.d_model // self.num_heads)

    @property
    def matrices(self) -> int:
        """Matrices of a feed-forward layer: two, or three with a gate."""
        return 3 if self.style == "llama" else 2


class Load(NamedTuple):
    """What a model is to do at once.

    batch
        Sequences B.
    length
        New tokens T of each.
    source_length
        Tokens S of each source; of no account without an encoder.
    cached
        Tokens already written, whose keys and values are kept. If there are any, the encoder has done its work,
        and the source's keys and values are kept as well.
    """

    batch: int
    length: int
    source_length: int = 0
    cached: int = 0


#: Published models, and this book's own: sizes, and a typical load. Of Whisper its Transformer only: it has two
#: convolutions in front and positions with parameters.
PRESETS: dict[str, tuple[Sizes, Load]] = {
    "base model of 2017": (Sizes(512, 8, 2048, 6, 37000, 6, tied=True), Load(64, 64, 64)),
    "date reader": (Sizes(32, 4, 64, 1, 15, 1, 161), Load(64, 11, 24)),
    "translator": (Sizes(192, 4, 768, 3, 4003, 3, tied=True), Load(64, 16, 16)),
    "SmolLM2-135M": (Sizes(576, 9, 1536, 30, 49152, kv_heads=3, style="llama", tied=True), Load(1, 2048)),
    "Whisper tiny": (Sizes(384, 6, 1536, 4, 51864, 4, tied=True), Load(1, 64, 1500)),
}


class Work(NamedTuple):
    """One step of a computation: the part it is booked under, its operations, and the numbers it moves.

    kind
        ``"product"``, ``"table"`` for what touches every score of an attention, or ``"numbers"``.
    """

    part: str
    flops: int
    moved: int
    kind: str = "product"


class Ceiling(NamedTuple):
    """What a machine can do at most: operations per second in matrix products, and bytes per second."""

    flops: float
    bandwidth: float

    @property
    def ridge(self) -> float:
        """Operations per byte from which on a step is limited by arithmetic and no longer by memory."""
        return self.flops / self.bandwidth


def product(part: str, m: int, n: int, k: int, count: int = 1) -> Work:
    """Count one matrix product, ``(m, k) @ (k, n)``, or `count` of them.

    Each of its m · n numbers is a sum of k products: a multiplication and an addition, 2mnk operations in all. It
    reads two matrices and writes one.
    """
    return Work(part, 2 * count * m * n * k, count * (m * k + k * n + m * n))


def layer_flops(length: int, d_model: int, d_ff: int) -> dict[str, int]:
    """Count the operations of one encoder layer for one sequence.

    Parameters
    ----------
    length, d_model, d_ff
        T, D and F. The number of heads does not matter.

    Returns
    -------
    dict
        Of the four projections, of scores and blends, and of the feed-forward layer.

    Notes
    -----
    Source: Kaplan et al. 2020, table 1, with the products of two numbers counted as here.
    """
    return {
        "projections": 4 * 2 * length * d_model * d_model,
        "attention": 2 * 2 * length * length * d_model,  # scores, then blends
        "feed-forward": 2 * 2 * length * d_model * d_ff,
    }


def attention_work(sizes: Sizes, batch: int, queries: int, new_keys: int, keys: int) -> list[Work]:
    """List the work of one attention: projections, scores, softmax, blends, projection, residual and norm.

    Parameters
    ----------
    sizes, batch
        The model, and B.
    queries, keys
        Lengths T and S.
    new_keys
        Keys that are not in a cache and have to be projected.
    """
    d, heads, size = sizes.d_model, sizes.num_heads, sizes.d_model // sizes.num_heads
    table = batch * heads * queries * keys  # one score for each head, query and key
    ends = batch * (heads * queries + sizes.shared_heads * keys) * size  # queries and keys, or blends and values
    return [
        product("projections", batch * queries, d, d),
        product("projections", batch * new_keys, sizes.kv_width, d),
        product("projections", batch * new_keys, sizes.kv_width, d),
        Work("attention", 2 * table * size, ends),
        Work("attention", 0, 2 * table, "table"),  # the scores are written, the weights read
        Work("attention", 0, TABLE_TRAFFIC * table, "table"),
        Work("attention", 2 * table * size, ends),
        product("projections", batch * queries, d, d),
        around(sizes, batch * queries),
    ]


def around(sizes: Sizes, tokens: int) -> Work:
    """Count what stands around a sub-layer: a sum reads two and writes one, a norm reads and writes one."""
    return Work("norms", 0, 5 * tokens * sizes.d_model, "numbers")


def feed_forward_work(sizes: Sizes, tokens: int) -> list[Work]:
    """List the work of one feed-forward layer on `tokens` tokens: its products, and the bend between them."""
    d, hidden = sizes.d_model, sizes.d_ff
    into = [product("feed-forward", tokens, hidden, d)] * (sizes.matrices - 1)
    bend = Work("feed-forward", 0, (2 * sizes.matrices - 2) * tokens * hidden, "numbers")
    return [*into, bend, product("feed-forward", tokens, d, hidden), around(sizes, tokens)]


def work(sizes: Sizes, load: Load) -> list[Work]:
    """List all steps of a forward pass, except the look-up of embeddings.

    Parameters
    ----------
    sizes
        The model.
    load
        What it is to do.

    Returns
    -------
    list of Work
        Sums of it are what the functions below give.
    """
    batch, length, source, cached = load
    tokens, source_tokens, steps = batch * length, batch * source, []
    if sizes.encoder_layers and not cached:
        layer = attention_work(sizes, batch, source, source, source) + feed_forward_work(sizes, source_tokens)
        steps += layer * sizes.encoder_layers
    layer = attention_work(sizes, batch, length, length, cached + length)
    if sizes.encoder_layers:
        layer += attention_work(sizes, batch, length, 0 if cached else source, source)
    steps += (layer + feed_forward_work(sizes, tokens)) * sizes.decoder_layers
    return [*steps, product("readout", tokens, sizes.vocabulary, sizes.d_model)]


def count_flops(sizes: Sizes, load: Load, training: bool = False) -> dict[str, int]:
    """Count the operations of each of `PARTS`, forward, or with `training` forward and backward.

    Returns
    -------
    dict
        Their sum is what `torch.utils.flop_counter` finds for the readable `Transformer`.
    """
    totals = dict.fromkeys(PARTS, 0)
    for step in work(sizes, load):
        totals[step.part] += step.flops * (TRAINING if training else 1)
    return totals


def predict_seconds(
    steps: Iterable[Work], ceiling: Ceiling, number_bytes: int, fused: bool = False, training: bool = False
) -> dict[str, float]:
    """Predict the time of each of `PARTS`: a step takes as long as its arithmetic or its bytes, whichever is more.

    Parameters
    ----------
    steps
        From `work`.
    ceiling
        Of the machine.
    number_bytes
        Bytes of a number: 4 for float32, 2 for bfloat16.
    fused
        The scores never reach memory, as with a fused kernel.
    training
        Three times the forward pass: exact for the operations, a guess for the bytes.

    Notes
    -----
    Source: Williams, Waterman & Patterson 2009 (the roofline).
    """
    totals = dict.fromkeys(PARTS, 0.0)
    for step in steps:
        totals[step.part] += max(both_seconds(step, ceiling, number_bytes, fused))
    return {part: seconds * (TRAINING if training else 1) for part, seconds in totals.items()}


def memory_share(
    steps: Iterable[Work], ceiling: Ceiling, number_bytes: int, fused: bool = False
) -> dict[str, float]:
    """Say which share of each part's predicted time goes into steps that wait for memory, not for arithmetic.

    Parameters
    ----------
    steps, ceiling, number_bytes, fused
        As for `predict_seconds`.

    Returns
    -------
    dict
        0 … 1 for each of `PARTS`; 0 for one without work.
    """
    totals, waits = dict.fromkeys(PARTS, 0.0), dict.fromkeys(PARTS, 0.0)
    for step in steps:
        arithmetic, memory = both_seconds(step, ceiling, number_bytes, fused)
        totals[step.part] += max(arithmetic, memory)
        waits[step.part] += memory if memory > arithmetic else 0.0
    return {part: waits[part] / totals[part] if totals[part] else 0.0 for part in PARTS}


def both_seconds(step: Work, ceiling: Ceiling, number_bytes: int, fused: bool) -> tuple[float, float]:
    """Return the seconds that a step's arithmetic takes at a ceiling, and those that its bytes take."""
    moved = 0 if fused and step.kind == "table" else number_bytes * step.moved
    return step.flops / ceiling.flops, moved / ceiling.bandwidth


def parameters(sizes: Sizes) -> dict[str, int]:
    """Count the parameters of each part; positions are taken to have none.

    Returns
    -------
    dict
        A matrix that is embedding and readout counts once, as an embedding.
    """
    d, f, kv = sizes.d_model, sizes.d_ff, sizes.kv_width
    encoder, decoder, cross = sizes.encoder_layers, sizes.decoder_layers, bool(sizes.encoder_layers)
    biases = sizes.style == "paper"
    attentions = encoder + (1 + cross) * decoder
    norms = 2 * encoder + (2 + cross) * decoder + 1 + cross  # around each sub-layer, and after each stack
    vocabularies = (sizes.source_vocabulary or 0) + sizes.vocabulary
    return {
        "attention": attentions * (2 * d * d + 2 * d * kv + biases * (2 * d + 2 * kv)),
        "feed-forward": (encoder + decoder) * (sizes.matrices * d * f + biases * (f + d)),
        "embeddings": vocabularies * d,
        "readout": (0 if sizes.tied else sizes.vocabulary * d) + biases * sizes.vocabulary,
        "norms": norms * (1 + biases) * d,
    }


def cache_bytes(sizes: Sizes, load: Load, number_bytes: int = 4) -> int:
    """Predict what a decoder keeps after `load`: keys and values of all tokens, and of the source, in each layer.

    Returns
    -------
    int
        Bytes.
    """
    kept = load.cached + load.length + (load.source_length if sizes.encoder_layers else 0)
    return 2 * number_bytes * sizes.decoder_layers * load.batch * kept * sizes.kv_width


def activation_bytes(sizes: Sizes, load: Load, number_bytes: int = 4, fused: bool = False) -> int:
    """Predict what a forward pass and its loss keep for the backward pass.

    Exact for the readable `Transformer` in float32 without dropout, ids and labels not counted. A fused kernel
    keeps one number for each row of scores and recomputes the rest; a gated feed-forward layer keeps four tables
    of width F where the paper's keeps one.

    Returns
    -------
    int
        Bytes.
    """
    d, hidden = sizes.d_model, sizes.d_ff * (4 if sizes.style == "llama" else 1)
    batch, length, source = load.batch, load.length, load.source_length

    def scores(queries: int, keys: int) -> int:
        return batch * sizes.num_heads * queries * (1 if fused else 3 * keys)

    # of a token: input and output of each norm, queries, keys, values, blend; the norm's mean and spread
    own = 6 * d + 2 * sizes.kv_width + hidden + 4
    numbers = sizes.decoder_layers * (batch * length * own + scores(length, length))
    numbers += batch * length * (2 * d + 2 + sizes.vocabulary)  # last norm, readout, loss
    masks = sizes.decoder_layers * 2 * length * length
    if sizes.encoder_layers:
        numbers += sizes.encoder_layers * (batch * source * own + scores(source, source))
        numbers += batch * source * (2 * d + 2)  # last norm; the states that cross-attention reads
        of_cross = batch * length * (4 * d + 2) + 2 * batch * source * sizes.kv_width + scores(length, source)
        numbers += sizes.decoder_layers * of_cross
        masks += (sizes.encoder_layers + sizes.decoder_layers) * 2 * batch * source
    return number_bytes * numbers + (0 if fused else masks)


def crossing_length(d_model: int, d_ff: int) -> int:
    """Return the length from which on attention has more operations than the feed-forward layer.

    8 T D² + 4 T² D = 4 T D F at T = F − 2 D; with F = 4 D at 2 D.
    """
    return max(0, d_ff - 2 * d_model)


class Measured(NamedTuple):
    """A ceiling, and what it was measured on: size of the square matrices, and bytes copied."""

    ceiling: Ceiling
    matrix: int
    copied: int


@torch.no_grad()
def measure_ceiling(
    device: torch.device = CPU,
    precision: str = "float32",
    matrices: Sequence[int] = (512, 1024),
    megabytes: Sequence[int] = (64,),
    repeats: int = 5,
) -> Measured:
    """Measure what this machine reaches: the best matrix product and the best copy.

    Parameters
    ----------
    device
        Where to compute; a CPU uses the threads that torch is set to.
    precision
        ``"float32"`` or ``"bfloat16"``.
    matrices
        Sizes n of the products ``(n, n) @ (n, n)`` to try.
    megabytes
        Sizes in MiB of the blocks to copy; larger than the caches of the machine, or these are what is measured.
    repeats
        Each is done so often, after once for nothing; the fastest counts, for other programs only slow it down.

    Returns
    -------
    Measured
        A copy reads and writes: it moves twice its size.

    Raises
    ------
    ValueError
        `precision` is unknown, or there is nothing to try.

    Notes
    -----
    Source: Williams, Waterman & Patterson 2009; McCalpin 1995 (the copy of STREAM).
    """
    if precision not in TYPES:
        raise ValueError(f"precision: expected one of {', '.join(TYPES)}, got {precision!r}")
    if not (matrices and megabytes) or repeats < 1:
        raise ValueError(f"expected sizes and repeats ≥ 1, got {matrices}, {megabytes} and repeats {repeats}")
    rates = {}
    for n in matrices:
        left, right = torch.randn(2, n, n, device=device).to(TYPES[precision]).unbind()
        out = torch.empty_like(left)
        rates[n] = 2 * n**3 / fastest(lambda a=left, b=right, c=out: torch.mm(a, b, out=c), repeats, device)
    speeds = {}
    for size in megabytes:
        block = torch.ones(size * 2**18, device=device)
        other = torch.empty_like(block)
        speeds[size] = 2 * size * 2**20 / fastest(lambda a=other, b=block: a.copy_(b), repeats, device)
    matrix, size = max(rates, key=rates.__getitem__), max(speeds, key=speeds.__getitem__)
    return Measured(Ceiling(rates[matrix], speeds[size]), matrix, size * 2**20)


def quiet_clock(device: torch.device) -> Callable[[], float]:
    """Choose a clock that other programs disturb least.

    Where one thread computes, the time that the processor gave it; on a GPU, or with several threads, the time
    that passed.
    """
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time.thread_time if alone else time.perf_counter


def fastest(step: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Return the seconds of the fastest of several runs, after one that does not count.

    Parameters
    ----------
    step
        What to run.
    repeats
        How often, ≥ 1.
    device
        Where it runs; it is waited for.
    """
    clock, times = quiet_clock(device), []
    for _ in range(1 + repeats):
        synchronize(device)
        start = clock()
        step()
        synchronize(device)
        times.append(clock() - start)
    return min(times[1:])
