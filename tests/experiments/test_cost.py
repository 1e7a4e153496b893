"""Memory and time, measured: against sizes computed by hand and against the operating system."""

import os
import subprocess
import sys
import time

import pytest
import torch

from transformer_book.attention import scaled_dot_product_attention
from transformer_book.device import CPU
from transformer_book.experiments import cache_speed, parallel_time, sequential_time
from transformer_book.experiments._cost import interleaved_seconds, peak_bytes

MIB = 2**20


def megabyte(count: float = 1.0) -> torch.Tensor:
    return torch.empty(int(count * MIB), dtype=torch.uint8)


def test_one_allocation_is_its_size() -> None:
    assert peak_bytes(lambda: torch.empty(1000, 1000), CPU) == 4_000_000


def test_what_is_held_together_adds_up() -> None:
    assert peak_bytes(lambda: [megabyte(), megabyte(2), megabyte(4)], CPU) == 7 * MIB


def test_what_is_let_go_in_between_does_not() -> None:
    def work() -> None:
        for size in (3, 1, 2):
            megabyte(size)

    assert peak_bytes(work, CPU) == 3 * MIB


def test_the_peak_is_not_the_end() -> None:
    def work() -> torch.Tensor:
        large = megabyte(5)
        small = megabyte(1)
        del large
        return small

    assert peak_bytes(work, CPU) == 6 * MIB


def test_what_existed_before_is_not_counted_and_no_allocation_is_zero() -> None:
    before = megabyte(8)
    assert peak_bytes(before.zero_, CPU) == 0


def test_one_time_allocations_are_not_counted() -> None:
    kept: list[torch.Tensor] = []

    def work() -> None:
        if not kept:
            kept.append(megabyte(9))
        megabyte(1)

    assert peak_bytes(work, CPU) == MIB


@pytest.mark.parametrize("length", [256, 512])
def test_explicit_attention_holds_three_tables_of_scores(length: int) -> None:
    heads, width = 3, 16
    inputs = torch.randn(3, heads, length, width).unbind()
    table = heads * length * length * 4
    peak = peak_bytes(lambda: scaled_dot_product_attention(*inputs), CPU)
    assert peak == pytest.approx(3 * table, rel=0.1)  # scaled scores, bounded scores, weights


PROGRAM = """
import resource, sys, torch
from pathlib import Path
from transformer_book.attention import scaled_dot_product_attention
from transformer_book.device import CPU
from transformer_book.experiments._cost import peak_bytes

def most_resident():
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, ru_maxrss begins at that of the parent process
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

large, small = torch.randn(3, 4, 2048, 64).unbind(), torch.randn(3, 4, 8, 64).unbind()
scaled_dot_product_attention(*small)
before = most_resident()
scaled_dot_product_attention(*large)
print(most_resident() - before, peak_bytes(lambda: scaled_dot_product_attention(*large), CPU))
"""


def test_the_operating_system_sees_the_same_peak() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    seen, counted = map(int, done.stdout.split())
    assert counted == pytest.approx(3 * 4 * 2048**2 * 4, rel=0.1)
    assert 0.7 < seen / counted < 1.4


def test_standard_error_is_given_back(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        os.write(2, b"inside ")

    peak_bytes(work, CPU)
    os.write(2, b"after")
    assert capfd.readouterr().err == "inside after"  # once from the uncounted run


def test_standard_error_is_given_back_after_a_failure(capfd: pytest.CaptureFixture[str]) -> None:
    runs: list[int] = []

    def work() -> None:
        runs.append(1)
        if len(runs) == 2:
            raise RuntimeError("second run")

    with pytest.raises(RuntimeError, match="second run"):
        peak_bytes(work, CPU)
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_works_take_turns() -> None:
    calls: list[str] = []
    works = {name: (lambda name=name: calls.append(name)) for name in "abc"}
    seconds = interleaved_seconds(works, 3, CPU)
    assert "".join(calls) == "abc" + "abc" * 3
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_seconds_are_those_of_the_work() -> None:
    sleeps = {"slow": 0.03, "quick": 0.0}
    works = {name: (lambda s=s: time.sleep(s)) for name, s in sleeps.items()}
    seconds = interleaved_seconds(works, 2, CPU)
    assert min(seconds["slow"]) >= 0.03
    assert min(seconds["quick"]) < 0.015


def test_there_is_at_least_one_round() -> None:
    with pytest.raises(ValueError, match=r"^repeats: expected an integer ≥ 1, got 0$"):
        interleaved_seconds({"a": lambda: None}, 0, CPU)


@pytest.mark.parametrize("experiment", [cache_speed, parallel_time, sequential_time])
def test_one_thread_is_timed_by_its_own_clock(monkeypatch, experiment) -> None:
    """Beside ten other programs the wall clock once said that C3.4 does not hold."""
    clocks = []

    def remember(works, repeats, device, clock=time.perf_counter):
        clocks.append(clock)
        raise LookupError

    monkeypatch.setattr(experiment, "interleaved_seconds", remember)
    with pytest.raises(LookupError):
        experiment.measure([0])
    assert clocks == [time.thread_time]
