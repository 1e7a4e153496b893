"""What the tests of experiments share: changing one stored or measured quantity."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from transformer_book.experiments import Result

Change = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@pytest.fixture
def tamper() -> Callable[[Result, str, Change], Result]:
    """Return a function that gives a result with one quantity changed."""

    def change(result: Result, quantity: str, how: Change) -> Result:
        values = {**result.values, quantity: how(result.array(quantity)).tolist()}
        return replace(result, values=values)

    return change


@pytest.fixture
def made_up() -> Callable[..., Result]:
    """Return a function that makes a result of given values: ``made_up(name, values, **settings)``."""

    def make(name: str, values: dict[str, Any], **settings: Any) -> Result:
        seeds = list(range(len(next(iter(values.values())))))
        return Result(name, seeds, settings, values, {"device": "cpu"}, "", "", "", 0.0)

    return make
