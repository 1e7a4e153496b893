"""Time and memory of a piece of work, measured so that the figures can be trusted."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch.autograd.profiler import profile

from transformer_book.device import synchronize

Work = Callable[[], object]


def interleaved_seconds(
    works: Mapping[str, Work], repeats: int, device: torch.device, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Time several pieces of work in turn, A B C A B C …, so that a slow moment hits all of them alike.

    Each is run once before, uncounted. Compare them round by round: their ratio is far steadier than their
    seconds on a shared machine.

    Parameters
    ----------
    works
        Name → function without arguments.
    repeats
        Counted rounds, ≥ 1.
    device
        Device the work runs on; it is waited for before each clock reading.
    clock
        Read before and after; see `transformer_book.cost.quiet_clock`.

    Returns
    -------
    dict
        Name → seconds of each round.

    Raises
    ------
    ValueError
        `repeats` is below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats: expected an integer ≥ 1, got {repeats}")
    for work in works.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            synchronize(device)
            start = clock()
            work()
            synchronize(device)
            seconds[name].append(clock() - start)
    return seconds


def peak_bytes(work: Work, device: torch.device) -> int:
    """Return the most memory a piece of work had allocated at once, beyond what existed before it.

    On CUDA: the caching allocator's peak. Elsewhere: torch's profiler reports every allocation and release of
    torch's allocator; the result is the largest running sum. Memory a math library takes for itself without
    asking torch is not in it.

    Returns
    -------
    int
        Bytes.
    """
    work()  # one-time allocations are not this work's
    return _allocations(work, device)[0]


def held_bytes(work: Work, device: torch.device) -> int:
    """Return by how much a piece of work has more memory allocated at its end, its result still held.

    Measured as `peak_bytes` is.

    Returns
    -------
    int
        Bytes.
    """
    work()
    return _allocations(work, device)[1]


def _allocations(work: Work, device: torch.device) -> tuple[int, int]:
    """Return the most memory allocated at once, and what is allocated while the result is held; both in bytes."""
    if device.type == "cuda":
        synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        result = work()
        synchronize(device)
        held = torch.cuda.memory_allocated(device) - before
        del result
        return torch.cuda.max_memory_allocated(device) - before, held
    profiler = profile(profile_memory=True)
    with _quiet_stderr(), profiler:
        result = work()
    del result  # after the profiler has ended: what it frees is no event
    assert profiler.kineto_results is not None
    events = [event for event in profiler.kineto_results.events() if event.name() == "[memory]"]
    current = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        current += event.nbytes()  # pyright: ignore[reportAttributeAccessIssue]
        peak = max(peak, current)
    return peak, current


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread in a ``with`` block: threads that wait for each other look like steps that do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Send the process's standard error to nowhere: torch's profiler greets there from C++ on some builds."""
    sys.stderr.flush()
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
