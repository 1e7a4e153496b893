"""Recurrent layers against torch's, computed here; properties that need no reference; every error's text."""

import copy
import math
import re
import time
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from transformer_book.recurrent import GRU, LSTM, Recurrent, SimpleRNN, State

Theirs = nn.RNN | nn.GRU | nn.LSTM

# A different prime for every axis, so that a swapped axis cannot pass.
B, T, INPUT, D = 3, 7, 5, 11
LENGTHS = torch.tensor([4, T, 1])

OURS: dict[str, type[Recurrent]] = {"rnn": SimpleRNN, "gru": GRU, "lstm": LSTM}
THEIRS: dict[str, type[Theirs]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
BLOCKS = {"rnn": 1, "gru": 3, "lstm": 4}
every_layer = pytest.mark.parametrize("name", OURS)

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}
every_dtype = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def draw(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def parts_of(state: State) -> list[Tensor]:
    return list(state) if isinstance(state, tuple) else [state]


def make_pair(
    name: str, d_input: int = INPUT, d_hidden: int = D, dtype: torch.dtype = torch.float64
) -> tuple[Recurrent, Theirs]:
    """Ours with the weights of theirs; the weights are large enough to bend tanh and the gates."""
    theirs = THEIRS[name](d_input, d_hidden, batch_first=True, dtype=dtype)
    with torch.no_grad():
        for parameter, value in zip(
            theirs.parameters(), draw(*(p.shape for p in theirs.parameters()), dtype=dtype, seed=7), strict=True
        ):
            parameter.copy_(value / math.sqrt(d_hidden))
    ours = OURS[name](d_input, d_hidden).to(dtype)
    assert str(ours.load_state_dict(theirs.state_dict())) == "<All keys matched successfully>"
    return ours, theirs


def make_layer(name: str) -> Recurrent:
    return make_pair(name)[0]


def make_state(name: str, dtype: torch.dtype = torch.float64, batch: int = B, width: int = D) -> list[Tensor]:
    """Hidden state, and a cell for the LSTM, that are not zeros."""
    return draw(*[(batch, width)] * (2 if name == "lstm" else 1), dtype=dtype, seed=3)


def run_ours(layer: Recurrent, inputs: Tensor, state: list[Tensor], lengths: Tensor | None) -> list[Tensor]:
    start = None if not state else state[0] if len(state) == 1 else (state[0], state[1])
    outputs, last = layer(inputs, start, lengths)
    return [outputs, *parts_of(last)]


def run_theirs(layer: Theirs, inputs: Tensor, state: list[Tensor], lengths: Tensor | None) -> list[Tensor]:
    _, length, _ = inputs.shape
    start = [part[None] for part in state]
    start = None if not state else start[0] if len(state) == 1 else tuple(start)
    if lengths is None:
        outputs, last = layer(inputs, start)
    else:
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        outputs, last = layer(packed, start)
        outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=length)
    return [outputs, *(part[0] for part in parts_of(last))]


def results_and_gradients(
    run: Callable[..., list[Tensor]], layer: nn.Module, inputs: Tensor, state: list[Tensor], lengths: Tensor | None
) -> dict[str, Tensor]:
    """Outputs, last state, and gradients to inputs, first state and every parameter, by name."""
    inputs, *state = (tensor.detach().clone().requires_grad_() for tensor in (inputs, *state))
    outputs, *last = run(layer, inputs, state, lengths)
    if lengths is not None:  # at padding, torch's packed sequences give zeros and ours give anything
        outputs = outputs * (torch.arange(inputs.shape[1]) < lengths[:, None])[..., None]
    results = {"outputs": outputs} | {f"last {index}": part for index, part in enumerate(last)}
    upstream = draw(*(result.shape for result in results.values()), dtype=inputs.dtype, seed=1)
    leaves = {"inputs": inputs} | {f"state {index}": part for index, part in enumerate(state)}
    leaves |= dict(layer.named_parameters())
    gradients = torch.autograd.grad(list(results.values()), list(leaves.values()), upstream)
    return {name: result.detach() for name, result in results.items()} | dict(
        zip((f"gradient of {leaf}" for leaf in leaves), gradients, strict=True)
    )


def assert_agree(
    ours: Recurrent, theirs: Theirs, inputs: Tensor, state: list[Tensor], lengths: Tensor | None
) -> None:
    got = results_and_gradients(run_ours, ours, inputs, state, lengths)
    expected = results_and_gradients(run_theirs, theirs, inputs, state, lengths)
    assert got.keys() == expected.keys()
    for name in got:
        # A gradient sums over all steps and rows; measure its error by its size.
        tolerance = TOLERANCE[inputs.dtype] * max(1.0, expected[name].abs().max().item())
        torch.testing.assert_close(
            got[name], expected[name], rtol=0, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


# --- agreement with torch ------------------------------------------------------------------------------------


@every_layer
@every_dtype
@pytest.mark.parametrize("given_state", [False, True], ids=["from zeros", "from a state"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "padded"])
def test_outputs_state_and_gradients_are_those_of_torch(
    name: str, dtype: torch.dtype, given_state: bool, lengths: Tensor | None
) -> None:
    [inputs] = draw((B, T, INPUT), dtype=dtype)
    state = make_state(name, dtype) if given_state else []
    assert_agree(*make_pair(name, dtype=dtype), inputs, state, lengths)


@every_layer
@every_dtype
def test_long_sequences_agree_with_torch(name: str, dtype: torch.dtype) -> None:
    [inputs] = draw((2, 101, 13), dtype=dtype)
    assert_agree(*make_pair(name, 13, 31, dtype), inputs, make_state(name, dtype, 2, 31), torch.tensor([101, 67]))


@every_layer
@given(
    sizes=st.tuples(*[st.integers(1, 5)] * 4),
    given_state=st.booleans(),
    padded=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_any_sizes_agree_with_torch(
    name: str, sizes: tuple[int, int, int, int], given_state: bool, padded: bool, seed: int
) -> None:
    batch, length, d_input, d_hidden = sizes
    [inputs] = draw((batch, length, d_input), seed=seed)
    state = make_state(name, batch=batch, width=d_hidden) if given_state else []
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, length + 1, (batch,), generator=generator) if padded else None
    assert_agree(*make_pair(name, d_input, d_hidden), inputs, state, lengths)


@every_layer
def test_weights_load_both_ways_and_have_torchs_names_and_shapes(name: str) -> None:
    ours, theirs = make_pair(name)
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], tensor)
    back = THEIRS[name](INPUT, D, dtype=torch.float64)
    back.load_state_dict(ours.state_dict())
    assert [key for key, _ in ours.named_parameters()] == [key for key, _ in theirs.named_parameters()]
    assert ours.weight_ih_l0.shape == (BLOCKS[name] * D, INPUT)
    assert ours.weight_hh_l0.shape == (BLOCKS[name] * D, D)
    assert ours.bias_ih_l0.shape == ours.bias_hh_l0.shape == (BLOCKS[name] * D,)


@every_layer
def test_one_seed_gives_the_weights_that_torch_starts_from(name: str) -> None:
    torch.manual_seed(5)
    ours = OURS[name](INPUT, D)
    torch.manual_seed(5)
    theirs = THEIRS[name](INPUT, D)
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], tensor)


@every_layer
def test_weights_start_uniform_within_one_over_the_root_of_the_width(name: str) -> None:
    torch.manual_seed(0)
    for key, parameter in OURS[name](127, 64).named_parameters():
        largest = parameter.abs().max().item()
        assert 0.9 / 8 < largest <= 1 / 8, key
        assert abs(parameter.mean().item()) < 0.02, key
        assert parameter.requires_grad, key
        assert parameter.dtype == torch.float32, key


@every_layer
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "padded"])
def test_derivatives_of_first_and_second_order_are_those_of_differences(name: str, lengths: Tensor | None) -> None:
    layer = OURS[name](2, 3).double()
    inputs, *state = draw((B, T, 2), *[(B, 3)] * (2 if name == "lstm" else 1))
    leaves = [tensor.requires_grad_() for tensor in (inputs[:, :3], *state)]
    clipped = None if lengths is None else lengths.clamp(max=3)

    def run(inputs: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        outputs, *last = run_ours(layer, inputs, list(state), clipped)
        return outputs, *last

    assert gradcheck(run, leaves)
    assert gradgradcheck(run, leaves)


# --- the equations, where a gate is shut or open -------------------------------------------------------------


def set_block(layer: Recurrent, block: int, bias: float) -> None:
    """Let one block of weights see nothing and have this bias."""
    rows = slice(block * layer.d_hidden, (block + 1) * layer.d_hidden)
    with torch.no_grad():
        for parameter in (layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0):
            parameter[rows] = 0
        layer.bias_ih_l0[rows] = bias


@pytest.fixture
def inputs() -> Tensor:
    return draw((B, T, INPUT))[0]


def test_a_simple_rnn_is_a_tanh_of_two_products_and_two_biases() -> None:
    layer = SimpleRNN(1, 1)
    with torch.no_grad():
        for parameter, value in zip(layer.parameters(), (0.5, -2.0, 0.25, 0.125), strict=True):
            parameter.fill_(value)
    outputs, state = layer(torch.tensor([[[3.0], [1.0]]]))
    first = math.tanh(0.5 * 3 + 0.375)
    second = math.tanh(0.5 * 1 + 0.375 - 2 * first)
    assert outputs.flatten().tolist() == pytest.approx([first, second])
    assert state.item() == pytest.approx(second)


def test_an_open_update_gate_keeps_the_state(inputs: Tensor) -> None:
    layer, [state] = make_layer("gru"), make_state("gru")
    set_block(layer, 1, 50.0)
    outputs, last = layer(inputs, state)
    torch.testing.assert_close(outputs, state[:, None].expand_as(outputs), rtol=0, atol=1e-12)
    torch.testing.assert_close(last, state, rtol=0, atol=1e-12)


def test_a_shut_update_gate_takes_the_candidate_and_a_shut_reset_gate_hides_the_state(inputs: Tensor) -> None:
    layer, [state] = make_layer("gru"), make_state("gru")
    set_block(layer, 0, -50.0)
    set_block(layer, 1, -50.0)
    outputs, _ = layer(inputs, state)
    weight, bias = layer.weight_ih_l0[2 * D :], layer.bias_ih_l0[2 * D :]  # not bias_hh: it is behind the gate
    torch.testing.assert_close(outputs, (inputs @ weight.T + bias).tanh(), rtol=0, atol=1e-12)


def test_an_open_forget_gate_and_a_shut_input_gate_keep_the_cell(inputs: Tensor) -> None:
    layer, (hidden, cell) = make_layer("lstm"), make_state("lstm")
    set_block(layer, 0, -50.0)
    set_block(layer, 1, 50.0)
    set_block(layer, 3, 50.0)
    outputs, (last, last_cell) = layer(inputs, (hidden, cell))
    torch.testing.assert_close(last_cell, cell, rtol=0, atol=1e-12)
    torch.testing.assert_close(outputs, cell.tanh()[:, None].expand_as(outputs), rtol=0, atol=1e-12)
    torch.testing.assert_close(last, cell.tanh(), rtol=0, atol=1e-12)


def test_a_shut_output_gate_hides_the_cell(inputs: Tensor) -> None:
    layer = make_layer("lstm")
    set_block(layer, 3, -50.0)
    outputs, (_, cell) = layer(inputs)
    assert outputs.abs().max() < 1e-12
    assert cell.abs().max() > 0.1


# --- properties ----------------------------------------------------------------------------------------------


@every_layer
def test_the_last_state_is_the_last_output(name: str, inputs: Tensor) -> None:
    outputs, *state = run_ours(make_layer(name), inputs, [], None)
    assert outputs.shape == (B, T, D)
    assert [part.shape for part in state] == [(B, D)] * (2 if name == "lstm" else 1)
    assert torch.equal(outputs[:, -1], state[0])


@every_layer
def test_without_a_state_a_layer_starts_from_zeros(name: str, inputs: Tensor) -> None:
    layer, state = make_layer(name), make_state(name)
    silent = run_ours(layer, inputs, [], None)
    zeros = run_ours(layer, inputs, [torch.zeros_like(part) for part in state], None)
    assert all(torch.equal(a, b) for a, b in zip(silent, zeros, strict=True))
    assert all(torch.equal(part, torch.zeros(2, D)) for part in parts_of(layer.float().initial_state(2)))


def test_hidden_vector_and_cell_of_a_first_state_share_no_memory() -> None:
    hidden, cell = LSTM(INPUT, D).initial_state(B)
    hidden += 1
    assert not cell.any()


@every_layer
def test_each_part_of_the_first_state_counts(name: str, inputs: Tensor) -> None:
    layer, state = make_layer(name), make_state(name)
    before, *_ = run_ours(layer, inputs, state, None)
    for index in range(len(state)):
        other = [part + (place == index) for place, part in enumerate(state)]
        outputs, *_ = run_ours(layer, inputs, other, None)
        assert (outputs - before)[:, 0].abs().amax(dim=-1).min() > 1e-3


@every_layer
@pytest.mark.parametrize("cut", [1, 3, T - 1])
def test_a_sequence_in_two_pieces_is_the_sequence(name: str, cut: int, inputs: Tensor) -> None:
    layer, state = make_layer(name), make_state(name)
    first, *middle = run_ours(layer, inputs[:, :cut], state, None)
    second, *last = run_ours(layer, inputs[:, cut:], middle, None)
    whole = run_ours(layer, inputs, state, None)
    for got, expected in zip((torch.cat([first, second], dim=1), *last), whole, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-14)


@every_layer
def test_the_future_moves_nothing_and_gets_no_gradient(name: str, inputs: Tensor) -> None:
    layer = make_layer(name)
    before, *_ = run_ours(layer, inputs, [], None)
    for cut in range(1, T):
        changed = inputs.clone()
        changed[:, cut:] += 1
        after, *_ = run_ours(layer, changed.requires_grad_(), [], None)
        assert torch.equal(after[:, :cut], before[:, :cut])
        assert (after - before)[:, cut:].abs().amax(dim=-1).min() > 1e-4
        [gradient] = torch.autograd.grad(after[:, cut - 1].sum(), changed)
        assert not gradient[:, cut:].any()
        assert gradient[:, :cut].abs().amax(dim=-1).min() > 0


@every_layer
def test_padding_moves_nothing_and_gets_no_gradient(name: str, inputs: Tensor) -> None:
    layer, state = make_layer(name), make_state(name)
    _, *before = run_ours(layer, inputs, state, LENGTHS)
    noisy = inputs.clone()
    for row, length in enumerate(LENGTHS.tolist()):
        noisy[row, length:] = 100.0
    noisy.requires_grad_()
    _, *after = run_ours(layer, noisy, state, LENGTHS)
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    [gradient] = torch.autograd.grad(sum(part.sum() for part in after), noisy)
    for row, length in enumerate(LENGTHS.tolist()):
        assert not gradient[row, length:].any()
        assert gradient[row, length - 1].any()


@every_layer
def test_a_row_of_a_padded_batch_is_the_sequence_alone(name: str, inputs: Tensor) -> None:
    layer, state = make_layer(name), make_state(name)
    outputs, *last = run_ours(layer, inputs, state, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone, *end = run_ours(
            layer, inputs[row : row + 1, :length], [part[row : row + 1] for part in state], None
        )
        torch.testing.assert_close(outputs[row, :length], alone[0], rtol=0, atol=1e-13)
        for got, expected in zip(last, end, strict=True):
            torch.testing.assert_close(got[row], expected[0], rtol=0, atol=1e-13)


@every_layer
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64], ids=str)
def test_lengths_of_any_integer_type(name: str, dtype: torch.dtype, inputs: Tensor) -> None:
    layer = make_layer(name)
    expected = run_ours(layer, inputs, [], LENGTHS)
    got = run_ours(layer, inputs, [], LENGTHS.to(dtype))
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@every_layer
def test_full_lengths_are_no_lengths(name: str, inputs: Tensor) -> None:
    layer = make_layer(name)
    whole = run_ours(layer, inputs, [], None)
    full = run_ours(layer, inputs, [], torch.full((B,), T))
    assert all(torch.equal(a, b) for a, b in zip(full, whole, strict=True))


@every_layer
def test_memory_layout_does_not_matter_and_arguments_are_left_as_they_were(name: str, inputs: Tensor) -> None:
    layer, state = make_layer(name), make_state(name)
    strided = inputs.transpose(0, 1).contiguous().transpose(0, 1)
    arguments = [strided, *state, lengths := LENGTHS.clone()]
    before = [tensor.clone() for tensor in arguments]
    got = run_ours(layer, strided, state, lengths)
    expected = run_ours(layer, inputs, state, LENGTHS)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-14)
    assert all(torch.equal(tensor, old) for tensor, old in zip(arguments, before, strict=True))


@every_layer
def test_a_layer_can_be_copied_and_knows_its_widths(name: str, inputs: Tensor) -> None:
    layer = make_layer(name)
    assert (layer.d_input, layer.d_hidden, layer.blocks) == (INPUT, D, BLOCKS[name])
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        layer.weight_hh_l0.zero_()
    assert not torch.equal(twin(inputs)[0], layer(inputs)[0])


def test_the_base_class_has_no_step_of_its_own() -> None:
    class Nothing(Recurrent):
        blocks = 1

    with pytest.raises(NotImplementedError):
        Nothing(INPUT, D)(torch.zeros(B, T, INPUT))


# --- cost ----------------------------------------------------------------------------------------------------


def seconds(layer: nn.Module, inputs: Tensor) -> float:
    start = time.process_time()
    layer(inputs)[0].sum().backward()
    return time.process_time() - start


@pytest.mark.alone
@every_layer
def test_a_training_step_costs_little_more_than_torchs(name: str) -> None:
    # The goal at length 100 and width 128 is 0.9 times torch's speed, 0.5 for the LSTM. This is looser, for a busy
    # machine, and longer: indexing the projected inputs instead of unbinding them would write a gradient of full
    # size at every step, and reach 0.1 to 0.3.
    least = {"rnn": 0.6, "gru": 0.5, "lstm": 0.2}[name]
    ours, theirs = make_pair(name, 16, 64, torch.float32)
    [inputs] = draw((32, 400, 16), dtype=torch.float32)
    times = [(seconds(theirs, inputs), seconds(ours, inputs)) for _ in range(5)]
    best_of_theirs, best_of_ours = (min(column) for column in zip(*times, strict=True))
    assert best_of_theirs / best_of_ours > least


# --- errors --------------------------------------------------------------------------------------------------


def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(shape, dtype=dtype)


def lengths_of(*values: int) -> Tensor:
    return torch.tensor(values)


pair = (zeros(2, 7), zeros(2, 7))
INPUTS_SHAPE = "inputs: expected shape (B, T, 5) with B and T ≥ 1, got "
WRONG_USE: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "no input": (lambda: SimpleRNN(0, 7), ValueError, "d_input: expected an integer ≥ 1, got 0"),
    "no state": (lambda: GRU(5, 0), ValueError, "d_hidden: expected an integer ≥ 1, got 0"),
    "negative width": (lambda: LSTM(5, -1), ValueError, "d_hidden: expected an integer ≥ 1, got -1"),
    "two axes": (lambda: GRU(5, 7)(zeros(3, 5)), ValueError, INPUTS_SHAPE + "(3, 5)"),
    "four axes": (lambda: GRU(5, 7)(zeros(1, 2, 3, 5)), ValueError, INPUTS_SHAPE + "(1, 2, 3, 5)"),
    "other width": (lambda: LSTM(5, 7)(zeros(2, 3, 7)), ValueError, INPUTS_SHAPE + "(2, 3, 7)"),
    "no steps": (lambda: SimpleRNN(5, 7)(zeros(2, 0, 5)), ValueError, INPUTS_SHAPE + "(2, 0, 5)"),
    "no rows": (lambda: SimpleRNN(5, 7)(zeros(0, 3, 5)), ValueError, INPUTS_SHAPE + "(0, 3, 5)"),
    "inputs of another dtype": (
        lambda: GRU(5, 7)(zeros(2, 3, 5, dtype=torch.float64)),
        TypeError,
        "inputs: expected a tensor of the weights' dtype, torch.float32, got torch.float64",
    ),
    "ids for inputs": (
        lambda: GRU(5, 7)(lengths_of(1, 2)),
        TypeError,
        "inputs: expected a tensor of the weights' dtype, torch.float32, got torch.int64",
    ),
    "a list for inputs": (
        lambda: GRU(5, 7)([1.0]),
        TypeError,
        "inputs: expected a tensor of the weights' dtype, torch.float32, got list",
    ),
    "state of another width": (
        lambda: GRU(5, 7)(zeros(2, 3, 5), zeros(2, 5)),
        ValueError,
        "state: expected a tensor (2, 7), got a tensor (2, 5)",
    ),
    "state of another batch": (
        lambda: SimpleRNN(5, 7)(zeros(2, 3, 5), zeros(1, 7)),
        ValueError,
        "state: expected a tensor (2, 7), got a tensor (1, 7)",
    ),
    "state of torch's shape": (
        lambda: GRU(5, 7)(zeros(2, 3, 5), zeros(1, 2, 7)),
        ValueError,
        "state: expected a tensor (2, 7), got a tensor (1, 2, 7)",
    ),
    "a pair for one": (
        lambda: GRU(5, 7)(zeros(2, 3, 5), pair),
        ValueError,
        "state: expected a tensor (2, 7), got a tuple of 2: ((2, 7), (2, 7))",
    ),
    "one for a pair": (
        lambda: LSTM(5, 7)(zeros(2, 3, 5), zeros(2, 7)),
        ValueError,
        "state: expected a tuple of 2: ((2, 7), (2, 7)), got a tensor (2, 7)",
    ),
    "nothing for a pair": (
        lambda: LSTM(5, 7)(zeros(2, 3, 5), ()),
        ValueError,
        "state: expected a tuple of 2: ((2, 7), (2, 7)), got a tuple of 0: ()",
    ),
    "a cell of another width": (
        lambda: LSTM(5, 7)(zeros(2, 3, 5), (zeros(2, 7), zeros(2, 5))),
        ValueError,
        "state: expected a tuple of 2: ((2, 7), (2, 7)), got a tuple of 2: ((2, 7), (2, 5))",
    ),
    "a cell of another dtype": (
        lambda: LSTM(5, 7)(zeros(2, 3, 5), (zeros(2, 7), zeros(2, 7, dtype=torch.float64))),
        TypeError,
        "state: expected the weights' dtype, torch.float32, got torch.float64",
    ),
    "a list for a pair": (
        lambda: LSTM(5, 7)(zeros(2, 3, 5), list(pair)),
        TypeError,
        "state: expected the weights' dtype, torch.float32, got list",
    ),
    "length zero": (
        lambda: GRU(5, 7)(zeros(2, 3, 5), lengths=lengths_of(0, 3)),
        ValueError,
        "lengths: expected 2 values in 1 … 3, got [0, 3]",
    ),
    "length past the end": (
        lambda: GRU(5, 7)(zeros(2, 3, 5), lengths=lengths_of(1, 4)),
        ValueError,
        "lengths: expected 2 values in 1 … 3, got [1, 4]",
    ),
    "too few lengths": (
        lambda: GRU(5, 7)(zeros(2, 3, 5), lengths=lengths_of(2)),
        ValueError,
        "lengths: expected 2 values in 1 … 3, got [2]",
    ),
    "lengths of two axes": (
        lambda: GRU(5, 7)(zeros(2, 3, 5), lengths=lengths_of(1, 2)[:, None]),
        ValueError,
        "lengths: expected shape (B,) with B ≥ 1, got (2, 1)",
    ),
    "floating lengths": (
        lambda: LSTM(5, 7)(zeros(2, 3, 5), lengths=zeros(2)),
        TypeError,
        "lengths: expected an integer tensor, got torch.float32",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), WRONG_USE.values(), ids=WRONG_USE.keys())
def test_errors_say_what_was_expected_and_what_came(
    call: Callable[[], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
