"""The four scores against their equations, pair by pair, and against torch; every error's text."""

import math
import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

from transformer_book.device import CPU
from transformer_book.experiments._cost import peak_bytes
from transformer_book.scoring import AdditiveScore, BilinearScore, DotScore, ScaledDotScore

# Every axis has a prime of its own: B 2, T 3, S 5, Dq 7, Dk 11, F 13.
BATCH, TARGET, SOURCE, D_QUERY, D_KEY, HIDDEN = 2, 3, 5, 7, 11, 13


def draw(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype).requires_grad_()


def scores_and_pair(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    modules = {
        "additive": (AdditiveScore(D_QUERY, D_KEY, HIDDEN), D_KEY),
        "bilinear": (BilinearScore(D_QUERY, D_KEY), D_KEY),
        "dot": (DotScore(), D_QUERY),
        "scaled_dot": (ScaledDotScore(), D_QUERY),
    }
    module, d_key = modules[name]
    query = draw(BATCH, TARGET, D_QUERY, dtype=dtype)
    return module.to(dtype), query, draw(BATCH, SOURCE, d_key, dtype=dtype, seed=1)


def one_score(module: nn.Module, q: Tensor, k: Tensor) -> Tensor:
    """Score one query against one key, from the equations."""
    if isinstance(module, AdditiveScore):
        hidden = torch.tanh(module.query.weight @ q + module.key.weight @ k)
        return (module.value.weight @ hidden)[0]
    if isinstance(module, BilinearScore):
        return sum(q[i] * module.weight[i, j] * k[j] for i in range(len(q)) for j in range(len(k)))
    product = sum(q[i] * k[i] for i in range(len(q)))
    return product / math.sqrt(len(q)) if isinstance(module, ScaledDotScore) else product


NAMES = ["additive", "bilinear", "dot", "scaled_dot"]


every_score = pytest.mark.parametrize("name", NAMES)


@every_score
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=str)
def test_scores_and_gradients_are_those_of_the_equation(name: str, dtype: torch.dtype, tolerance: float) -> None:
    module, query, key = scores_and_pair(name, dtype)
    scores = module(query, key)
    expected = torch.stack(
        [
            torch.stack([torch.stack([one_score(module, q, k) for k in keys]) for q in queries])
            for queries, keys in zip(query, key, strict=True)
        ]
    )
    assert scores.shape == (BATCH, TARGET, SOURCE)
    torch.testing.assert_close(scores, expected, rtol=tolerance, atol=tolerance)
    leaves = [query, key, *module.parameters()]
    direction = draw(BATCH, TARGET, SOURCE, dtype=dtype, seed=2).detach()
    ours = torch.autograd.grad(scores, leaves, direction)
    theirs = torch.autograd.grad(expected, leaves, direction)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def torch_score(module: nn.Module, query: Tensor, key: Tensor) -> Tensor:
    """Score all pairs by a function of torch that was made for something else."""
    batch, target, source = len(query), query.shape[1], key.shape[1]
    pairs = [query[:, :, None].expand(-1, -1, source, -1), key[:, None].expand(-1, target, -1, -1)]
    if isinstance(module, BilinearScore):
        return F.bilinear(*(part.contiguous() for part in pairs), module.weight[None]).squeeze(-1)
    if isinstance(module, AdditiveScore):  # one product of the two laid side by side
        weight = torch.cat([module.query.weight, module.key.weight], dim=1)
        return F.linear(F.linear(torch.cat(pairs, dim=-1), weight).tanh(), module.value.weight).squeeze(-1)
    scale = 1 / math.sqrt(query.shape[-1]) if isinstance(module, ScaledDotScore) else 1.0
    return torch.baddbmm(query.new_zeros(batch, target, source), query, key.mT, alpha=scale)


@given(sizes=st.tuples(*[st.integers(1, 5)] * 6), seed=st.integers(0, 2**31))
def test_any_sizes_agree_with_torch(sizes: tuple[int, int, int, int, int, int], seed: int) -> None:
    batch, target, source, d_query, d_key, d_hidden = sizes
    query, key = draw(batch, target, d_query, seed=seed), draw(batch, source, d_key, seed=seed + 1)
    same = draw(batch, source, d_query, seed=seed + 2)
    modules = [(AdditiveScore(d_query, d_key, d_hidden), key), (BilinearScore(d_query, d_key), key)]
    for module, keys in [*modules, (DotScore(), same), (ScaledDotScore(), same)]:
        module.double()
        torch.testing.assert_close(module(query, keys), torch_score(module, query, keys), rtol=0, atol=1e-12)


@every_score
def test_derivatives_of_first_and_second_order_are_those_of_differences(name: str) -> None:
    module, query, key = scores_and_pair(name)
    assert gradcheck(module, (query, key))
    assert gradgradcheck(module, (query, key))


def test_the_weights_of_scaled_dot_product_attention_are_its_softmax() -> None:
    query, key = draw(BATCH, TARGET, D_QUERY), draw(BATCH, SOURCE, D_QUERY, seed=1)
    identity = torch.eye(SOURCE, dtype=torch.float64).expand(BATCH, -1, -1)
    weights = F.scaled_dot_product_attention(query, key, identity)
    torch.testing.assert_close(ScaledDotScore()(query, key).softmax(dim=-1), weights, rtol=0, atol=1e-14)


def test_bilinear_with_the_identity_is_the_dot_product() -> None:
    module = BilinearScore(D_QUERY, D_QUERY).double()
    with torch.no_grad():
        module.weight.copy_(torch.eye(D_QUERY))
    query, key = draw(BATCH, TARGET, D_QUERY), draw(BATCH, SOURCE, D_QUERY, seed=1)
    torch.testing.assert_close(module(query, key), DotScore()(query, key), rtol=0, atol=1e-15)


def test_scaled_is_the_dot_product_over_the_root() -> None:
    query, key = draw(BATCH, TARGET, 49), draw(BATCH, SOURCE, 49, seed=1)
    torch.testing.assert_close(ScaledDotScore()(query, key), DotScore()(query, key) / 7)


@pytest.mark.parametrize(
    ("name", "count"),
    [("additive", HIDDEN * (D_QUERY + D_KEY + 1)), ("bilinear", D_QUERY * D_KEY), ("dot", 0), ("scaled_dot", 0)],
)
def test_parameters_are_those_of_the_equation(name: str, count: int) -> None:
    assert sum(parameter.numel() for parameter in scores_and_pair(name)[0].parameters()) == count


@every_score
def test_a_pair_depends_on_its_own_query_and_key_alone(name: str) -> None:
    module, query, key = scores_and_pair(name)
    scores = module(query, key)
    gradient = torch.autograd.grad(scores[1, 2, 4], [query, key])
    assert (gradient[0].abs().sum(-1) > 0).nonzero().tolist() == [[1, 2]]
    assert (gradient[1].abs().sum(-1) > 0).nonzero().tolist() == [[1, 4]]


@every_score
@pytest.mark.parametrize(("target", "source"), [(0, SOURCE), (TARGET, 0), (0, 0)])
def test_no_positions_give_no_scores(name: str, target: int, source: int) -> None:
    module, query, key = scores_and_pair(name)
    assert module(query[:, :target], key[:, :source]).shape == (BATCH, target, source)


@every_score
def test_queries_and_keys_are_left_as_they_were(name: str) -> None:
    module, query, key = scores_and_pair(name)
    before = query.detach().clone(), key.detach().clone()
    strided = [tensor.detach().mT.contiguous().mT for tensor in (query, key)]
    torch.testing.assert_close(module(*strided), module(query, key), rtol=0, atol=1e-14)
    assert all(torch.equal(a, b) for pair in ((query, key), strided) for a, b in zip(pair, before, strict=True))


def test_a_bilinear_score_starts_neither_silent_nor_loud() -> None:
    torch.manual_seed(0)
    weight = BilinearScore(61, 67).weight
    bound = math.sqrt(6 / (61 + 67))  # Glorot & Bengio 2010, equation 16
    assert 0.95 * bound < weight.abs().max() <= bound
    assert abs(weight.mean()) < 0.01


def test_memory_is_one_number_a_pair_and_for_the_additive_score_one_vector_a_pair() -> None:
    length, width = 128, 16
    [additive, *others] = [
        AdditiveScore(width, width, width),
        DotScore(),
        ScaledDotScore(),
        BilinearScore(width, width),
    ]
    query, key = (torch.randn(1, length, width) for _ in range(2))

    def peak(module: nn.Module) -> float:
        with torch.no_grad():
            return peak_bytes(lambda: module(query, key), CPU) / (4 * length * length)

    assert width <= peak(additive) <= 1.5 * width  # tanh in place
    assert all(peak(module) <= 2.5 for module in others)


# --- errors --------------------------------------------------------------------------------------------------


def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(shape, dtype=dtype)


BOTH = "query and key: expected the same batch size and the same width, got "
WRONG_USE: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "widths that differ": (
        lambda: DotScore()(zeros(2, 3, 7), zeros(2, 5, 11)),
        ValueError,
        BOTH + "(2, 3, 7) and (2, 5, 11)",
    ),
    "batches that differ": (
        lambda: ScaledDotScore()(zeros(2, 3, 7), zeros(3, 5, 7)),
        ValueError,
        BOTH + "(2, 3, 7) and (3, 5, 7)",
    ),
    "batches of one": (
        lambda: DotScore()(zeros(2, 3, 7), zeros(1, 5, 7)),
        ValueError,
        BOTH + "(2, 3, 7) and (1, 5, 7)",
    ),
    "additive, batches that differ": (
        lambda: AdditiveScore(7, 11, 13)(zeros(2, 3, 7), zeros(3, 5, 11)),
        ValueError,
        "query and key: expected the same batch size, got (2, 3, 7) and (3, 5, 11)",
    ),
    "additive, other query": (
        lambda: AdditiveScore(7, 11, 13)(zeros(2, 3, 5), zeros(2, 5, 11)),
        ValueError,
        "query: expected shape (B, length, 7), got (2, 3, 5)",
    ),
    "additive, other key": (
        lambda: AdditiveScore(7, 11, 13)(zeros(2, 3, 7), zeros(2, 5, 7)),
        ValueError,
        "key: expected shape (B, length, 11), got (2, 5, 7)",
    ),
    "bilinear, other query": (
        lambda: BilinearScore(7, 11)(zeros(2, 3, 11), zeros(2, 5, 11)),
        ValueError,
        "query: expected shape (B, length, 7), got (2, 3, 11)",
    ),
    "bilinear, other key": (
        lambda: BilinearScore(7, 11)(zeros(2, 3, 7), zeros(2, 5, 7)),
        ValueError,
        "key: expected shape (B, length, 11), got (2, 5, 7)",
    ),
    "two axes": (
        lambda: DotScore()(zeros(3, 7), zeros(2, 5, 7)),
        ValueError,
        "query: expected shape (B, length, width ≥ 1), got (3, 7)",
    ),
    "four axes": (
        lambda: ScaledDotScore()(zeros(2, 3, 7), zeros(1, 2, 5, 7)),
        ValueError,
        "key: expected shape (B, length, width ≥ 1), got (1, 2, 5, 7)",
    ),
    "no width": (
        lambda: ScaledDotScore()(zeros(2, 3, 0), zeros(2, 5, 0)),
        ValueError,
        "query: expected shape (B, length, width ≥ 1), got (2, 3, 0)",
    ),
    "ids for queries": (
        lambda: DotScore()(zeros(2, 3, 7, dtype=torch.int64), zeros(2, 5, 7)),
        TypeError,
        "query: expected a floating-point tensor, got torch.int64",
    ),
    "a list for keys": (
        lambda: BilinearScore(7, 11)(zeros(2, 3, 7), [1.0]),
        TypeError,
        "key: expected a floating-point tensor, got list",
    ),
    "dtypes that differ": (
        lambda: DotScore()(zeros(2, 3, 7), zeros(2, 5, 7, dtype=torch.float64)),
        TypeError,
        "key: expected the dtype of query, torch.float32, got torch.float64",
    ),
    "additive without query": (
        lambda: AdditiveScore(0, 11, 13),
        ValueError,
        "d_query: expected an integer ≥ 1, got 0",
    ),
    "additive without key": (lambda: AdditiveScore(7, 0, 13), ValueError, "d_key: expected an integer ≥ 1, got 0"),
    "additive without hidden": (
        lambda: AdditiveScore(7, 11, 0),
        ValueError,
        "d_hidden: expected an integer ≥ 1, got 0",
    ),
    "bilinear without query": (lambda: BilinearScore(0, 7), ValueError, "d_query: expected an integer ≥ 1, got 0"),
    "bilinear, negative key": (lambda: BilinearScore(7, -1), ValueError, "d_key: expected an integer ≥ 1, got -1"),
}


@pytest.mark.parametrize(("call", "error", "message"), WRONG_USE.values(), ids=WRONG_USE.keys())
def test_errors_say_what_was_expected_and_what_came(
    call: Callable[[], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
