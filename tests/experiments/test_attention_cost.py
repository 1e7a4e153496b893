import numpy as np
import pytest

from transformer_book.experiments import Result
from transformer_book.experiments.attention_cost import CLAIMS, METHODS, measure, memory_exponent, plot

judge = CLAIMS["C5.5"].judge


@pytest.fixture(scope="module")
def result() -> Result:
    """One head, because the claim is about great lengths."""
    return measure([0], lengths=(2048, 4096), widths=(16, 64), num_heads=1, width=32, length=512, repeats=1)


def test_every_method_is_measured_at_every_length(result: Result) -> None:
    assert set(result.values) == {
        f"{quantity}_{name}{dial}"
        for quantity in ("seconds", "bytes", "training_bytes", "speed")
        for name in METHODS
        for dial in ("", "_by_width")
    }
    assert all(result.array(key).shape == (1, 2) for key in result.values)
    assert result.settings == {
        "lengths": [2048, 4096],
        "widths": [16, 64],
        "num_heads": 1,
        "width": 32,
        "length": 512,
        "repeats": 1,
        "methods": ["explicit", "chunked", "fused"],
    }


def test_memory_is_that_of_the_tables(result: Result) -> None:
    length, width = np.array([2048, 4096]), 32
    assert result.mean("bytes_explicit") == pytest.approx(3 * 4 * length**2, rel=0.1)
    assert (result.mean("bytes_chunked") < 4 * (3 * 128 * length + 8 * width * length)).all()
    assert (result.mean("bytes_fused") < result.mean("bytes_explicit") / 10).all()
    for name in METHODS:
        assert (result.mean(f"training_bytes_{name}") > result.mean(f"bytes_{name}")).all()


def test_the_table_does_not_know_the_width(result: Result) -> None:
    assert result.mean("bytes_explicit_by_width").tolist() == [3 * 4 * 512**2] * 2
    for name in ("chunked", "fused"):  # they hold blends, which are as wide as the head
        narrow, wide = result.mean(f"bytes_{name}_by_width")
        assert narrow < wide < 3 * 4 * 512**2


def test_speed_is_relative_to_the_explicit_method(result: Result) -> None:
    assert result.mean("speed_explicit").tolist() == [1.0, 1.0]
    for name in METHODS:  # one round: the ratio of its seconds
        ratio = result.mean("seconds_explicit") / result.mean(f"seconds_{name}")
        assert result.mean(f"speed_{name}") == pytest.approx(ratio)


def test_memory_exponent_is_the_slope_between_the_greatest_lengths(result: Result, tamper) -> None:
    changed = tamper(result, "bytes_fused", lambda values: np.array([[5.0, 40.0]]))
    assert memory_exponent(changed, "bytes_fused") == pytest.approx(3)


def test_the_claim_holds_on_a_small_run(result: Result) -> None:
    verdict = judge(result)
    assert verdict.holds is True
    assert verdict.figure.startswith("memory grows with length to the power 2.00 explicit, 1.00 chunked, ")


@pytest.mark.parametrize(
    ("quantity", "last"),
    [
        ("bytes_explicit", lambda first: 2 * first),
        ("bytes_explicit", lambda first: 3.3 * first),
        ("bytes_chunked", lambda first: 4 * first),
        ("bytes_chunked", lambda first: 2.5 * first),
        ("bytes_fused", lambda first: 4 * first),
    ],
)
def test_the_claim_can_fail(result: Result, tamper, quantity: str, last) -> None:
    assert (
        judge(tamper(result, quantity, lambda values: np.stack([values[:, 0], last(values[:, 0])], 1))).holds
        is False
    )


def test_the_claim_needs_chunked_to_save_something(result: Result, tamper) -> None:
    assert judge(tamper(result, "bytes_chunked", lambda values: values * 10)).holds is False


@pytest.mark.parametrize("name", ["chunked", "fused"])
def test_the_claim_fails_on_a_method_that_keeps_the_table(name: str) -> None:
    methods = METHODS | {name: METHODS["explicit"]}
    result = measure(
        seeds=[0], lengths=(1024, 2048), widths=(16,), num_heads=1, width=16, repeats=1, methods=methods
    )
    assert judge(result).holds is False


def test_a_method_of_the_readers_own_is_measured_beside() -> None:
    methods = {"explicit": METHODS["explicit"], "mine": lambda query, key, value: query + key + value}
    result = measure(seeds=[0], lengths=(16, 32), widths=(8,), num_heads=1, width=8, repeats=1, methods=methods)
    assert result.settings["methods"] == ["explicit", "mine"]
    assert result.values["bytes_mine"] == [[2 * 16 * 8 * 4, 2 * 32 * 8 * 4]]  # query + key, and the sum with value


def test_every_seed_has_inputs_of_its_own_and_every_method_the_same() -> None:
    seen: dict[str, set[tuple[float, ...]]] = {"explicit": set(), "other": set()}

    def spy(name: str):
        def method(query, key, value):
            seen[name].add(tuple(tensor.sum().item() for tensor in (query, key, value)))
            return METHODS["explicit"](query, key, value)

        return method

    measure(
        seeds=[0, 1],
        lengths=(4, 8),
        widths=(5,),
        num_heads=2,
        width=3,
        length=6,
        repeats=1,
        methods={name: spy(name) for name in seen},
    )
    assert seen["explicit"] == seen["other"]
    assert len(seen["explicit"]) == 6  # two seeds at two lengths and one width


@pytest.mark.usefixtures("close_figures")
def test_the_figure_shows_what_was_measured(result: Result) -> None:
    figure = plot(result)
    panels = (("bytes", 2**20), ("training_bytes", 2**20), ("speed", 1))
    for axis, (quantity, unit) in zip(figure.axes, panels, strict=True):
        for container, name in zip(axis.containers, METHODS, strict=True):
            line = container.lines[0]
            assert line.get_xdata().tolist() == [2048, 4096]
            assert line.get_ydata() == pytest.approx(result.mean(f"{quantity}_{name}") / unit)
        assert [label.get_text() for label in axis.get_xticklabels()] == ["2,048", "4,096"]
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(METHODS)
