"""The arithmetic of the modules, run in Node, equals the package's to 1e-5."""

import math

import pytest
import torch

from transformer_book.attention import masked_softmax, scaled_dot_product_attention
from transformer_book.widgets import WhySqrtD
from transformer_book.widgets.why_sqrt_d import SCALES, WIDTHS

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def tensor(numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def test_why_sqrt_d_measures_what_python_measures(run_js):
    settings = [(width, scale) for width in WIDTHS for scale in SCALES]
    widget = WhySqrtD(num_keys=23, draw=1)
    calls = [("measure", [widget.products[1][WIDTHS.index(w)][:23], scale, w]) for w, scale in settings]
    for (width, scale), seen in zip(settings, run_js("why_sqrt_d", calls), strict=True):
        widget.width, widget.scale = width, scale
        torch.testing.assert_close(tensor(seen["scores"]), widget.scores(), **CLOSE)
        torch.testing.assert_close(tensor(seen["weights"]), widget.weights(), **CLOSE)
        assert seen["entropy"] == pytest.approx(widget.entropy(), abs=1e-5)
        assert seen["gradient"] == pytest.approx(widget.gradient(), abs=1e-5)
        assert seen["spread"] == pytest.approx(float(widget.scores().std(correction=0)), rel=1e-5)


def test_why_sqrt_d_at_the_extremes(run_js):
    one_hot, alike = [1e4, 0.0, -1e4], [7.0] * 8
    weights, even = run_js("why_sqrt_d", [("softmax", [one_hot]), ("softmax", [alike])])
    assert weights == [1, 0, 0]
    assert even == [1 / 8] * 8
    numbers = [("entropyBits", [weights]), ("jacobianNorm", [weights]), ("entropyBits", [even])]
    assert run_js("why_sqrt_d", numbers) == [0, 0, 3]


def test_matrix_walk_is_scaled_dot_product_attention(run_js):
    generator = torch.Generator().manual_seed(0)
    cases = []
    for _ in range(40):
        t, s, d, dv = (int(torch.randint(1, high, (), generator=generator)) for high in (7, 7, 5, 5))
        scale = float(torch.randint(1, 30, (), generator=generator))
        query = scale * torch.randn(t, d, generator=generator, dtype=torch.float64)
        key = torch.randn(s, d, generator=generator, dtype=torch.float64)
        value = torch.randn(s, dv, generator=generator, dtype=torch.float64)
        mask = torch.rand(t, s, generator=generator) > 0.5  # some rows end up barred altogether
        cases.append((query, key, value, mask))
    assert any(not mask.any(dim=1).all() for *_, mask in cases)
    lists = [[part.tolist() for part in case] for case in cases]
    scaled = run_js("matrix_walk", [("attention", [*case, True]) for case in lists])
    unscaled = run_js("matrix_walk", [("attention", [*case[:3], [], False]) for case in lists])
    for (query, key, value, mask), on, off in zip(cases, scaled, unscaled, strict=True):
        output, weights = scaled_dot_product_attention(query, key, value, mask)
        torch.testing.assert_close(tensor(on["output"]), output, **CLOSE)
        torch.testing.assert_close(tensor(on["weights"]), weights, **CLOSE)
        torch.testing.assert_close(tensor(on["products"]), query @ key.T, **CLOSE)
        torch.testing.assert_close(tensor(on["scores"]), query @ key.T / math.sqrt(key.shape[1]), **CLOSE)
        assert on["allowed"] == mask.tolist()
        torch.testing.assert_close(tensor(off["weights"]), masked_softmax(query @ key.T), **CLOSE)
        torch.testing.assert_close(tensor(off["output"]), masked_softmax(query @ key.T) @ value, **CLOSE)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.625, "0.63"),
        (-0.4, "−0.40"),
        (-0.001, "0.00"),
        (9.996, "10.0"),
        (-12.34, "−12.3"),
        (123.4, "123"),
        (-54321.0, "−5e+4"),
    ],
)
def test_numbers_fit_their_cells(run_js, number, text):
    assert run_js("matrix_walk", [("short", [number])]) == [text]
