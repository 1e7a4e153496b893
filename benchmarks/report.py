"""Check that contenders did the same work, and write what was measured as text."""

from collections.abc import Iterator

import numpy as np

from benchmarks.contenders import CONTENDERS, LENGTHS
from benchmarks.measure import Entered
from transformer_book.experiments._result import Result
from transformer_book.experiments.peers import paired_ratio


def check_same_work(kind: str, size: str, entered: dict[str, Entered]) -> None:
    """Compare losses, or what was written, of contenders with the same weights.

    Raises
    ------
    RuntimeError
        They differ.
    """
    same = {name: entry for name, entry in entered.items() if entry.same_weights}
    first_name, first = next(iter(same.items()))
    for name, entry in same.items():
        if kind == "decoding":
            agreed = entry.check == first.check
        else:
            tolerance = 1e-2 if "bfloat16" in name or "bfloat16" in first_name else 1e-4
            agreed = np.allclose(entry.check, first.check, rtol=tolerance)
        if not agreed:
            raise RuntimeError(
                f"{kind} {size}: expected the same from {first_name} and {name}, which have the same weights; got "
                f"{first.check[:5]} and {entry.check[:5]}"
            )


def lines(result: Result) -> Iterator[str]:
    """Yield what is printed: for each comparison, time, ratio to the first contender, and memory."""
    for kind, contenders in CONTENDERS.items():
        for size in result.settings["sizes"]:
            names = [name for name in contenders if f"{kind}/{size}/{name}/seconds" in result.values]
            if not names:
                continue
            yield ""
            base = result.array(f"{kind}/{size}/{names[0]}/seconds")
            yield f"{kind} {size}: times as fast as {names[0]}"
            for name in names:
                seconds = result.array(f"{kind}/{size}/{name}/seconds")
                peak = result.array(f"{kind}/{size}/{name}/bytes")
                if seconds.ndim == 1:
                    parameters = result.settings["contenders"][f"{kind}/{size}/{name}"]["parameters"]
                    yield (
                        f"  {name:28s} {paired_ratio(base, seconds)!s:24s} {1e3 * np.median(seconds):8.1f} ms "
                        f"{peak.max() / 2**20:6.0f} MiB  {parameters:,} parameters"
                    )
                    continue
                for case in range(seconds.shape[1]):
                    what = "forward and backward" if case % 2 else "forward"
                    ratio = paired_ratio(base[:, case], seconds[:, case])
                    yield (
                        f"  {name:16s} {LENGTHS[case // 2]:5d} {what:20s} {ratio!s:24s} "
                        f"{1e3 * np.median(seconds[:, case]):8.2f} ms {peak[:, case].max() / 2**20:6.0f} MiB"
                    )
    for name, reason in result.settings["skipped"].items():
        yield f"skipped: {name} ({reason})"
