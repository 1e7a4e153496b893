"""What all tests share: one hypothesis profile, figures that need no display, one thread."""

import os
from collections.abc import Iterator

import matplotlib as mpl
import pytest
from hypothesis import settings

mpl.use("Agg")  # not through the environment: kernels that tests start would inherit it and show no figures
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests' tensors are tiny: threads only wait for each other

# Derandomised: a run that passes once passes again; no deadline: the machine may be shared.
settings.register_profile("book", deadline=None, derandomize=True, max_examples=40, print_blob=False)
settings.load_profile("book")


@pytest.fixture
def close_figures() -> Iterator[None]:
    """Close the figures a test has opened."""
    from matplotlib import pyplot as plt

    yield
    plt.close("all")
