"""What all tests share: one hypothesis profile, figures that need no display, one thread, one browser."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import pytest
from hypothesis import settings
from side_by_side import SideBySide

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest.register_assert_rewrite("exercise_checks", "widget_pages")
mpl.use("Agg")  # not through the environment: kernels that tests start would inherit it and show no figures
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests' tensors are tiny: threads only wait for each other

# Derandomised: a run that passes once passes again; no deadline: the machine may be shared.
settings.register_profile("book", deadline=None, derandomize=True, max_examples=40, print_blob=False)
settings.load_profile("book")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SideBySide(), SideBySide.__name__)


@pytest.fixture(scope="session")
def side_by_side(pytestconfig: pytest.Config) -> SideBySide:
    """Give what keeps the processes of one run apart."""
    return pytestconfig.pluginmanager.get_plugin(SideBySide.__name__)


@pytest.fixture
def close_figures() -> Iterator[None]:
    """Close the figures a test has opened."""
    from matplotlib import pyplot as plt

    yield
    plt.close("all")


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Give a headless Chromium that knows no host but this machine.

    It is the one that CHROMIUM names, or the first that is installed. Without one the tests are skipped, but fail
    where CI=true. One for all tests, because Playwright runs once in a process.
    """
    from playwright.sync_api import sync_playwright

    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    with sync_playwright() as playwright:
        if path is None and not Path(playwright.chromium.executable_path).exists():
            hint = "no Chromium found: apt-get install chromium, or set CHROMIUM=/path/to/it"
            pytest.fail(hint) if os.environ.get("CI") == "true" else pytest.skip(hint)
        running = playwright.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        )
        yield running
        running.close()
