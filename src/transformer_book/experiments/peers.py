"""What the benchmarks beside other libraries found: `benchmarks` of the checkout measures it, this reads it.

It is no experiment of the registry: it needs packages that the book does not, and decides no claim.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transformer_book.experiments._result import Result

NAME = "benchmarks"
LEVERS = "benchmarks_levers"
PRECISION = "benchmarks_precision"


class Ratio(NamedTuple):
    """The median of paired ratios, and the ends of an interval that holds the true median in 95 of 100 cases."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """Write as ``1.83 (1.79 to 1.90)``."""
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def load_benchmarks(device: str = "cpu", name: str = NAME) -> Result:
    """Read the stored benchmarks: a `Result` whose first axis is rounds, not seeds.

    `LEVERS` are the benchmarks of the fast form with one idea after the other switched off; `PRECISION` the
    trainings in two precisions, whose first axis is seeds. The quantities of the
    benchmarks are called ``KIND/SIZE/CONTENDER/seconds`` and ``…/bytes``, for example ``training/S/fast/seconds``.

    Raises
    ------
    FileNotFoundError
        None are stored for that device; the message has the command that makes them.
    ValueError
        The file is no result.
    """
    from transformer_book.experiments import results_folder  # the package imports this module's neighbours

    path = results_folder() / benchmarks_file(device, name)
    if not path.exists():
        raise FileNotFoundError(f"{path}: not measured; in a checkout, run: make bench (for {device})")
    return Result.load(path)


def benchmarks_file(device: str, name: str = NAME) -> str:
    """File name of the stored benchmarks of a device type."""
    return f"{name}.json" if device == "cpu" else f"{name}.{device}.json"


def paired_ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> Ratio:
    """Compare two series of timings round by round.

    Parameters
    ----------
    numerator, denominator
        Seconds of the same rounds, ``(rounds,)``.

    Returns
    -------
    Ratio
        The interval is that between two of the ordered ratios, chosen by the binomial distribution: whatever the
        noise looks like, it holds the median in at least 95 % of cases. Fewer than 6 rounds cannot promise that,
        and give the smallest and the largest.

    Raises
    ------
    ValueError
        The series differ in length or are empty.
    """
    if numerator.shape != denominator.shape or numerator.ndim != 1 or not len(numerator):
        raise ValueError(
            "numerator and denominator: expected two series of one length ≥ 1, got shapes "
            f"{numerator.shape} and {denominator.shape}"
        )
    ratios = np.sort(numerator / denominator)
    count = len(ratios)
    chances = (
        np.cumprod([1.0, *((count - k) / (k + 1) for k in range(count))]) / 2.0**count
    )  # of k below the median
    outside = np.cumsum(chances)  # that at most k are
    skipped = max(0, int((2 * outside <= 0.05).sum()) - 1)
    return Ratio(float(np.median(ratios)), float(ratios[skipped]), float(ratios[count - 1 - skipped]))
