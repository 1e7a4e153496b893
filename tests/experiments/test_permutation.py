"""C7.1: what the experiment on permuted inputs measures, and that its claim can fail."""

import math

import numpy as np
import pytest
import torch

from transformer_book.experiments import Result, permutation
from transformer_book.experiments.permutation import (
    CLAIMS,
    DEPTHS,
    START,
    VOCABULARY,
    change,
    decoder_states,
    encoder_error,
    equivariance_error,
    measure,
    past_change,
    place_read,
    plot,
    untrained,
)
from transformer_book.plotting import ENCODINGS

judge = CLAIMS["C7.1"].judge


@pytest.fixture(scope="module")
def result() -> Result:
    return measure(seeds=[0, 1], length=11, draws=3, depths=(1, 2), read=200)


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda x: 3 * x, 0.0),
        (lambda x: x - x.mean(dim=1, keepdim=True), 0.0),
        (lambda x: x + torch.arange(3.0)[:, None], 2.0),
        (lambda x: x.cumsum(dim=1), 8.0),
    ],
)
def test_equivariance_error_by_hand(function, error: float) -> None:
    inputs = torch.tensor([[[1.0], [2.0], [5.0]]])
    order = torch.tensor([2, 0, 1])  # 5, 1, 2: sums 5, 6, 8 against 8, 1, 3
    assert equivariance_error(function, inputs, order) == pytest.approx(5.0 if error == 8.0 else error)


def test_the_place_is_read_where_it_stands_and_nowhere_else() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(300, 13, 5, generator=generator)
    assert place_read(noise) == pytest.approx(0, abs=0.02)
    told = noise.clone()
    told[..., 2] = 7 - 3 * torch.arange(1, 14).log()
    assert place_read(told) == pytest.approx(1, abs=1e-4)
    half = noise.clone()
    half[..., 2] += torch.arange(1, 14).log() / torch.arange(1, 14).log().std(correction=0)
    assert place_read(half) == pytest.approx(0.5, abs=0.05)


def test_only_the_tokens_between_start_and_last_change_places() -> None:
    seen = []

    def model(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        seen.append(target)
        return torch.zeros(1, target.shape[1], 5)

    target = torch.tensor([[START, 11, 12, 13, 14]])
    past_change(model, target, target, torch.tensor([3, 2, 0, 1]))  # type: ignore[arg-type]
    assert seen[0].tolist() == [[START, 11, 12, 13, 14]]
    assert seen[1].tolist() == [[START, 13, 11, 12, 14]]


def test_a_change_is_one_of_log_probabilities() -> None:
    logits = torch.tensor([[0.0, math.log(3)]])  # probabilities 1/4 and 3/4
    assert change(logits, logits + 5) == pytest.approx(0, abs=1e-6)
    assert change(logits, torch.zeros(1, 2)) == pytest.approx(math.log(2))


def test_decoder_states_are_what_the_readout_reads() -> None:
    model = untrained("sinusoidal", 0)
    source, target = torch.randint(3, VOCABULARY, (2, 2, 7), generator=torch.Generator().manual_seed(0))
    states = decoder_states(model, source, target)
    torch.testing.assert_close(model.readout(states), model(source, target))
    assert not model.decoder_norm._forward_hooks


def test_quantities_have_their_shapes(result: Result) -> None:
    assert result.settings == {"length": 11, "draws": 3, "depths": [1, 2], "read": 200}
    for name in ENCODINGS:
        assert result.array(f"encoder_{name}").shape == result.array(f"prediction_{name}").shape == (2, 3)
    assert result.array("past").shape == result.array("read_decoder").shape == (2, 2)
    assert result.array("read_encoder").shape == (2,)
    assert 0 < result.array("float32_none").max() < 1e-5


def test_the_claim_holds_on_a_small_run(result: Result) -> None:
    assert judge(result).holds is True
    assert (result.array("past")[:, 0] < 1e-12).all()
    assert (result.array("past")[:, 1] > 0.01).all()


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        ("encoder_none", 1e-9),
        ("prediction_none", 1e-9),
        ("float32_none", 1e-3),
        ("encoder_rotary", 1e-3),
        ("prediction_learned", 1e-3),
        ("read_encoder", 0.3),
    ],
)
def test_the_claim_can_fail(result: Result, tamper, quantity: str, value: float) -> None:
    assert judge(tamper(result, quantity, lambda values: values * 0 + value)).holds is False


@pytest.mark.parametrize(("depth", "value"), [(0, 1e-9), (1, 1e-3)])
def test_the_claim_depends_on_the_decoder_s_past(result: Result, tamper, depth: int, value: float) -> None:
    def put(values: np.ndarray) -> np.ndarray:
        values[:, depth] = value
        return values

    assert judge(tamper(result, "past", put)).holds is False
    assert judge(tamper(result, "read_decoder", lambda values: values * 0 + 0.05)).holds is False


@pytest.mark.parametrize("swapped", [("none", "sinusoidal"), ("rotary", "none")])
def test_the_claim_fails_with_other_positions_than_it_says(
    monkeypatch: pytest.MonkeyPatch, swapped: tuple[str, str]
) -> None:
    name, other = swapped

    def wrong(positions: str, seed: int, depth: int = 2):
        return untrained(other if positions == name else positions, seed, depth)

    monkeypatch.setattr(permutation, "untrained", wrong)
    assert judge(measure(seeds=[0], length=11, draws=2, depths=(1, 2), read=100)).holds is False


def test_an_encoder_is_blind_for_any_weights_and_either_order_of_norms() -> None:
    """The equation says for all weights: also for large ones, and whatever stands around attention."""
    model = untrained("none", 3).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3)
    source = torch.randint(3, VOCABULARY, (1, 11), generator=torch.Generator().manual_seed(1))
    assert encoder_error(model, source, torch.randperm(11, generator=torch.Generator().manual_seed(2))) < 1e-11


@pytest.mark.usefixtures("close_figures")
def test_the_figure_shows_what_was_measured(result: Result) -> None:
    figure = plot(result)
    left, right = figure.axes
    heights = [line.get_ydata() for line in left.lines]
    assert len(heights) == 2 * len(ENCODINGS)
    assert heights[0] == pytest.approx(result.array("encoder_none").ravel(), rel=1e-6)
    assert heights[-1] == pytest.approx(result.array("prediction_rotary").ravel())
    assert [tick.get_text() for tick in left.get_xticklabels()] == list(ENCODINGS)
    assert len(right.lines) == 2
    assert right.lines[1].get_ydata() == pytest.approx(result.array("past")[1])


def test_depths_begin_with_one_layer() -> None:
    assert DEPTHS[0] == 1  # the judge takes the first column for a single layer
