"""C6.1's instrument: heads at once, one by one and fused are the same numbers; operations counted by hand."""

import numpy as np
import pytest
import torch

from transformer_book.attention import MultiHeadAttention
from transformer_book.experiments import Result, head_cost

judge = head_cost.CLAIMS["C6.1"].judge


def draw(d_model: int, num_heads: int) -> tuple[MultiHeadAttention, torch.Tensor]:
    torch.manual_seed(0)
    attention = MultiHeadAttention(d_model, num_heads).double()
    for parameter in attention.parameters():  # biases start at no special value
        torch.nn.init.normal_(parameter)
    return attention, torch.randn(2, 7, d_model, dtype=torch.double, requires_grad=True)


@pytest.mark.parametrize("way", [head_cost.one_by_one, head_cost.fused])
@pytest.mark.parametrize("num_heads", [1, 3, 5, 15])
def test_all_ways_give_the_outputs_and_gradients_of_heads_at_once(way, num_heads: int) -> None:
    attention, inputs = draw(15, num_heads)
    leaves = [inputs, *attention.parameters()]
    outputs = way(attention, inputs), head_cost.at_once(attention, inputs)
    torch.testing.assert_close(*outputs)
    direction = torch.randn_like(outputs[0])
    for ours, theirs in zip(*(torch.autograd.grad(out, leaves, direction) for out in outputs), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("num_heads", [1, 2, 4, 12])
def test_operations_are_those_counted_by_hand_whatever_the_heads(num_heads: int) -> None:
    attention, inputs = draw(12, num_heads)
    assert head_cost.count_flops(attention, inputs) == 2 * head_cost.flops_by_hand(7, 12)
    assert head_cost.flops_by_hand(7, 12) == 4 * 2 * 7 * 12 * 12 + 2 * (2 * 7 * 7 * 12)


@pytest.fixture(scope="module")
def result() -> Result:
    return head_cost.measure([0, 1], heads=(1, 2, 8), lengths=(3, 256), d_model=16, batch_size=1, repeats=1)


def test_every_quantity_is_measured_at_every_length_with_every_number_of_heads(result: Result) -> None:
    assert set(result.values) == {"flops", "bytes", "seconds", "ratio", "fused_ratio", "loop_ratio"}
    assert all(result.array(name).shape == (2, 2, 3) for name in result.values)
    assert (result.array("ratio")[..., 0] == 1).all()
    assert (result.array("fused_ratio")[..., 0] == 1).all()
    # One round: the ratio of its seconds.
    seconds = result.array("seconds")
    assert result.array("ratio") == pytest.approx(seconds / seconds[..., :1])
    assert (
        result.array("loop_ratio")[:, 0, -1] > 1
    ).all()  # 8 heads of 3 tokens: a loop takes several times as long


def test_memory_is_that_of_the_tables(result: Result) -> None:
    tables = 4 * 256**2 * np.array([1, 2, 8])
    growth = np.diff(result.mean("bytes")[1]) / np.diff(tables)
    assert growth == pytest.approx(growth[0], rel=0.1)  # so many tables for each head
    assert 2 <= growth[0] <= 4


HOLDS = {
    "flops": [[5.0, 5.0], [9.0, 9.0]],
    "bytes": [[1.0, 3.0], [1.0, 20.0]],
    "ratio": [[1.0, 1.4], [1.0, 12.0]],
    "fused_ratio": [[1.0, 1.2], [1.0, 2.0]],
    "loop_ratio": [[1.0, 4.0], [1.0, 0.5]],
}


@pytest.fixture
def holding(made_up) -> Result:
    values = {name: [table] for name, table in HOLDS.items()}
    return made_up("head_cost", values, heads=[1, 32], lengths=[32, 512])


def test_the_claim_holds_where_it_should(holding: Result) -> None:
    verdict = judge(holding)
    assert verdict.holds is True
    assert verdict.figure == (
        "from one head to 32, operations change by 0; time at length 32 × 1.40, at 512 × 12.0 (fused kernel × "
        "2.00), memory there × 20; one by one, 32 heads take 4.0 times as long as at once at length 32, 0.50 "
        "times at 512"
    )


@pytest.mark.parametrize(
    ("quantity", "at", "value"),
    [
        ("flops", (0, 1), 6.0),
        ("bytes", (1, 1), 4.0),
        ("ratio", (0, 1), 3.5),
        ("ratio", (1, 1), 2.5),
        ("fused_ratio", (1, 1), 7.0),
        ("loop_ratio", (0, 1), 1.5),
    ],
)
def test_the_claim_can_fail(holding: Result, tamper, quantity: str, at: tuple[int, int], value: float) -> None:
    def change(values: np.ndarray) -> np.ndarray:
        values[0, *at] = value
        return values

    assert judge(tamper(holding, quantity, change)).holds is False
