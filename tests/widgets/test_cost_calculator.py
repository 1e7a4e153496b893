"""Cost calculator: its numbers are those of `transformer_book.cost`, in Python and in the page; its errors."""

import random
from dataclasses import replace

import pytest

from transformer_book import cost
from transformer_book.cost import NUMBER_BYTES, PARTS, PRESETS, Ceiling, Load
from transformer_book.widgets import CostCalculator
from transformer_book.widgets.cost_calculator import MODES


def state(widget: CostCalculator) -> dict[str, object]:
    """Return the dialled values, as the page's module gets them."""
    return {name: getattr(widget, name) for name in widget.trait_names(sync=True) if not name.startswith("_")}


def draw(generator: random.Random) -> CostCalculator:
    widget = CostCalculator(
        generator.choice(list(PRESETS)),
        generator.choice(MODES),
        generator.choice(list(NUMBER_BYTES)),
        fused=generator.random() < 0.5,
        machine=generator.choice(("book", "own")),
        peak=10 ** generator.uniform(1, 6),
        bandwidth=10 ** generator.uniform(0, 4),
    )
    heads = generator.choice((1, 2, 3, 6, 12))
    with widget.hold_trait_notifications():
        widget.d_model, widget.num_heads = 12 * generator.randint(1, 90), heads
        widget.kv_heads = generator.choice([n for n in range(1, heads + 1) if heads % n == 0])
        widget.d_ff, widget.layers = generator.randint(1, 9999), generator.randint(1, 40)
        widget.vocabulary, widget.source_vocabulary = generator.randint(1, 99_999), generator.randint(1, 99_999)
        widget.batch, widget.length = generator.randint(1, 300), generator.randint(1, 9999)
        widget.source_length = generator.randint(1, 9999)
        widget.encoder, widget.tied = generator.random() < 0.5, generator.random() < 0.5
        widget.style = generator.choice(("paper", "llama"))
    return widget


def test_the_page_computes_what_python_computes(run_js):
    generator = random.Random(1)
    widgets = [draw(generator) for _ in range(120)]
    calls = []
    for each in widgets:
        values = {
            name: value for name, value in state(each).items() if name not in ("presets", "layout", "tabbable")
        }
        values = {name: value for name, value in values.items() if isinstance(value, bool | int | float | str)}
        ceiling = each.ceiling()
        calls += [("parameters", [values]), ("cacheBytes", [values]), ("activationBytes", [values])]
        calls.append(("costs", [values, ceiling.flops, ceiling.bandwidth]))
    answers = run_js("cost_calculator", calls)
    kinds = set()
    for number, each in enumerate(widgets):
        count, cache, kept, costs = answers[4 * number : 4 * number + 4]
        assert count == each.parameters()
        assert cache == each.cache_bytes()
        assert kept == each.activation_bytes()
        assert list(costs["flops"]) == list(PARTS)
        assert costs["flops"] == pytest.approx(each.flops(), rel=1e-12)
        assert costs["seconds"] == pytest.approx(each.seconds(), rel=1e-9)
        assert costs["share"] == pytest.approx(each.memory_share(), abs=1e-9)
        kinds.add((each.mode, each.encoder, each.style, each.fused))
    assert len(kinds) > 15  # of 24


def test_sizes_and_load_are_what_is_dialled():
    widget = CostCalculator("date reader", "writing")
    sizes, load = PRESETS["date reader"]
    assert widget.sizes() == replace(sizes, kv_heads=4)
    assert widget.load() == Load(64, 1, 24, cached=11)
    widget.mode = "reading"
    assert widget.load() == load
    widget.encoder = False
    assert widget.load() == Load(64, 11)
    assert widget.sizes().encoder_layers == 0
    assert widget.activation_bytes() == 0
    widget.mode = "training"
    assert widget.activation_bytes() == cost.activation_bytes(widget.sizes(), Load(64, 11))
    assert widget.flops() == cost.count_flops(widget.sizes(), Load(64, 11), training=True)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_can_be_dialled(name):
    widget = CostCalculator("translator")
    widget.dial(name)
    assert widget.parameters() == sum(cost.parameters(PRESETS[name][0]).values())
    assert widget.describe() == CostCalculator(name).describe()


def test_the_ceiling_is_the_book_s_or_the_reader_s():
    widget = CostCalculator(machine="own", peak=312.0, bandwidth=2039.0)
    assert widget.ceiling() == Ceiling(312e9, 2039e9)
    before = sum(widget.seconds().values())
    widget.peak, widget.bandwidth = 624.0, 4078.0
    assert sum(widget.seconds().values()) == pytest.approx(before / 2)
    widget.machine = "book"
    slow = widget.ceiling()
    widget.precision = "bfloat16"
    assert widget.ceiling().bandwidth == slow.bandwidth
    assert widget.ceiling().flops > slow.flops > 1e9


def test_numbers_are_written_short(run_js):
    cases = [("short", [134_515_008]), ("short", [999.7]), ("short", [1536, 1024]), ("short", [12])]
    cases += [("duration", [value]) for value in (90_000, 7200, 1.234, 0.00456, 1.5e-7)]
    written = ["135 M", "1 k", "1.5 Ki", "12 ", "1.04 days", "2 h", "1.23 s", "4.56 ms", "0.15 µs"]
    assert run_js("cost_calculator", cases) == written
    found = run_js(
        "cost_calculator", [("divisors", [12, 128]), ("divisors", [12, 5]), ("nearest", [[1, 4, 16], 9])]
    )
    assert found == [[1, 2, 3, 4, 6, 12], [1, 2, 3, 4], 2]


def test_observe_sees_every_dial():
    widget, seen = CostCalculator(), []
    names = ["length", "batch", "layers", "vocabulary", "mode", "precision", "fused", "peak"]
    widget.observe(lambda change: seen.append(change.name), names)
    widget.length, widget.batch, widget.layers, widget.vocabulary = 9, 8, 7, 100
    widget.mode, widget.precision, widget.fused, widget.peak = "reading", "bfloat16", True, 3.0
    assert seen == names


def test_describe_says_what_is_dialled():
    text = CostCalculator("SmolLM2-135M", "writing", machine="own", peak=100, bandwidth=10).describe()
    assert text.startswith(
        "a Transformer of 134,515,008 parameters (30 layers, width 576, 9 heads); one more token "
    )
    assert "90.0 MiB of keys and values. At 100 GFLOP/s and 10 GB/s it takes at least" in text
    assert "kept for the gradient" not in text
    assert "6 + 6 layers" in CostCalculator().describe()


WRONG = [
    ({"preset": "GPT-5"}, ValueError, "preset: expected one of 'base model of 2017', .* got 'GPT-5'"),
    ({"mode": "thinking"}, ValueError, "mode: expected one of 'training', .* got 'thinking'"),
    ({"precision": "int8"}, ValueError, "precision: expected one of 'float32', 'bfloat16', got 'int8'"),
    ({"machine": "mine"}, ValueError, "machine: expected one of 'book', 'own', got 'mine'"),
    ({"peak": 0}, ValueError, "peak: expected a number above 0 and below 1e12, got 0"),
    ({"bandwidth": "fast"}, TypeError, "bandwidth: expected a number, got 'fast'"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        CostCalculator(**arguments)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_heads", 7, "num_heads: expected a divisor of d_model 512, got num_heads 7"),
        ("kv_heads", 3, "kv_heads: expected a divisor of num_heads 8, got 3"),
        ("length", 0, "length: expected an integer in 1 … 1048576, got 0"),
        ("layers", 257, "layers: expected an integer in 1 … 256, got 257"),
        ("style", "gpt", "style: expected one of 'paper', 'llama', got 'gpt'"),
        ("peak", -1.0, "peak: expected a number above 0"),
    ],
)
def test_wrong_assignments_leave_the_state(name, value, message):
    widget = CostCalculator()
    before = widget.describe()
    with pytest.raises(ValueError, match=message):
        setattr(widget, name, value)
    assert widget.describe() == before
