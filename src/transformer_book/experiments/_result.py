"""What an experiment returns, what a claim says about it, and how both are stored."""

import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from transformer_book.device import describe
from transformer_book.files import commit, replacing

SCHEMA = 1

# Two-sided 95 % quantiles of Student's t for 1 … 30 degrees of freedom; beyond, 1.96 + 2.4/df is within 0.1 %.
_T95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


@dataclass(frozen=True)
class Result:
    """One experiment's measurements over several seeds, with all that is needed to repeat it.

    Parameters
    ----------
    name
        Name of the experiment, as in ``transformer-book measure NAME``.
    seeds
        The seeds, in the order of the values.
    settings
        Arguments of the measurement; JSON values only.
    values
        For each measured quantity an array as nested lists, **seeds on the first axis**.
    environment
        Device, versions and platform it ran on.
    command, commit, date, wall_seconds
        How it was made, from which state of the code, when (UTC, ISO 8601), and how long it took: the sum over
        seeds, however many ran at once.
    """

    name: str
    seeds: list[int]
    settings: dict[str, Any]
    values: dict[str, Any]
    environment: dict[str, str]
    command: str
    commit: str
    date: str
    wall_seconds: float
    schema: int = field(default=SCHEMA)

    def array(self, quantity: str) -> NDArray[np.float64]:
        """Return one quantity as an array, seeds on the first axis.

        Raises
        ------
        KeyError
            Nothing of that name was measured; the message lists what was.
        """
        if quantity not in self.values:
            raise KeyError(f"quantity: expected one of {sorted(self.values)}, got {quantity!r}")
        return np.asarray(self.values[quantity], dtype=np.float64)

    def mean(self, quantity: str) -> NDArray[np.float64]:
        """Average over seeds."""
        return self.array(quantity).mean(axis=0)

    def half_width(self, quantity: str) -> NDArray[np.float64]:
        """Half the width of the 95 % interval of the mean (Student's t over seeds); NaN for one seed."""
        return half_width(self.array(quantity))

    def save(self, path: Path) -> None:
        """Write as JSON, atomically: the file is the old one or the new one, never half of either."""
        with replacing(path) as part:
            part.write_text(json.dumps(asdict(self), indent=1, allow_nan=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Result":
        """Read a stored result.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        ValueError
            The file is not a result of this schema.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:  # not JSON, or not even text
            raise ValueError(f"{path}: expected a JSON result, got {error}") from None
        names = {entry.name for entry in fields(cls)}
        if not isinstance(data, dict) or data.get("schema") != SCHEMA or set(data) != names:
            raise ValueError(f"{path}: expected a result of schema {SCHEMA}, got another file")
        return cls(**data)


def join(parts: Sequence[Result]) -> Result:
    """Make one result of several, measured on different seeds by the same experiment in the same way.

    Parameters
    ----------
    parts
        At least one. The first gives command, commit and date; the wall time is the sum of all.

    Raises
    ------
    ValueError
        There is none, a seed occurs twice, or experiment, settings, environment or commit differ.
    """
    if not parts:
        raise ValueError("parts: expected at least one result, got none")
    first, seeds = parts[0], [seed for part in parts for seed in part.seeds]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"parts: expected every seed once, got {seeds}")
    for name in ("name", "settings", "environment", "commit"):
        for part in parts:
            if getattr(part, name) != getattr(first, name):
                raise ValueError(
                    f"parts: expected one {name}, got {getattr(first, name)} and {getattr(part, name)}"
                )
    values = {name: [row for part in parts for row in part.values[name]] for name in first.values}
    seconds = round(sum(part.wall_seconds for part in parts), 1)
    return replace(first, seeds=seeds, values=values, wall_seconds=seconds)


def half_width(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half the width of the 95 % interval of the mean over axis 0 (Student's t); NaN for one value."""
    count = values.shape[0]
    if count < 2:
        return np.full(values.shape[1:], np.nan)
    degrees = count - 1
    quantile = _T95[degrees - 1] if degrees <= len(_T95) else 1.96 + 2.4 / degrees
    return quantile * values.std(axis=0, ddof=1) / np.sqrt(count)


@dataclass(frozen=True)
class Verdict:
    """Whether a claim holds on a result, and the measured figure that says so."""

    holds: bool
    figure: str


@dataclass(frozen=True)
class Claim:
    """A sentence of the book that a measurement can contradict.

    Parameters
    ----------
    id
        Identifier, for example ``"C5.1"``.
    statement
        What is claimed, as one sentence in Markdown.
    judge
        Compares a result with the claim.
    """

    id: str
    statement: str
    judge: Callable[[Result], Verdict]


def run_seeds(
    name: str,
    seeds: Sequence[int],
    device: torch.device,
    settings: dict[str, Any],
    one_seed: Callable[[int], dict[str, Any]],
    progress: bool = False,
) -> Result:
    """Measure once per seed and gather the values.

    Parameters
    ----------
    name
        Name of the experiment.
    seeds
        At least one.
    device
        Where the measurement runs; recorded.
    settings
        Arguments that determine the measurement; recorded. JSON values only.
    one_seed
        Returns the quantities of one seed: numbers or nested lists of numbers.
    progress
        Show a progress bar.

    Raises
    ------
    ValueError
        `seeds` is empty.
    """
    if not seeds:
        raise ValueError("seeds: expected at least one, got none")
    start = time.perf_counter()
    rows = [one_seed(seed) for seed in tqdm(seeds, desc=name, unit="seed", disable=not progress)]
    return Result(
        name=name,
        seeds=list(seeds),
        settings=settings,
        values={key: [row[key] for row in rows] for key in rows[0]},
        environment=environment(device),
        command=f"transformer-book measure {name} --seeds {len(seeds)} --device {device.type}",
        commit=commit(),
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        wall_seconds=round(time.perf_counter() - start, 1),
    )


def environment(device: torch.device) -> dict[str, str]:
    """Device and versions, as recorded with every result."""
    return {
        "device": device.type,
        "device_name": describe(device),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
    }
