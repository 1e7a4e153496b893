"""Time contenders in turn, each in a process of its own.

All processes of a comparison wait while one of them works, so that a slow moment of the machine hits all alike.
And each has its own memory: what a process takes beyond what it had before it made its model is its contender's.
"""

import gc
import multiprocessing
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.contenders import CONTENDERS, Work
from benchmarks.work import QUICK_SIZES, SIZES
from transformer_book.device import synchronize

#: A round of a case takes about this long: repeated, if it is faster.
SECONDS_PER_ROUND = 0.1
#: Imported once for all processes; what is not there is not missed.
PRELOADED = ["benchmarks.measure", "x_transformers", "transformers.models.marian.modeling_marian"]
#: Time for threads of the process before to fall asleep.
PAUSE = 0.02


@dataclass(frozen=True)
class Entered:
    """What a contender says of itself, ready to be timed; see `Work`."""

    parameters: int
    check: list[float]
    same_weights: bool
    cases: int
    round_seconds: float


class Contestant:
    """A contender in a process of its own.

    Parameters
    ----------
    kind, size, name
        Key in `CONTENDERS`, of a size, and of the contender.
    device
        Where it computes.
    threads
        Threads it may use.
    quick
        Whether sizes are the small ones.
    """

    def __init__(self, kind: str, size: str, name: str, device: str, threads: int, quick: bool) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self.name = name
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, kind, size, name, device, threads, quick)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def entered(self) -> Entered:
        """Wait until it is ready."""
        return self._answer()

    def time(self, case: int) -> tuple[float, int]:
        """Do one round of a case: seconds for each piece of work, and the most bytes taken meanwhile."""
        self._pipe.send(case)
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.terminate()

    def _answer(self) -> Any:
        try:
            kind, answer = self._pipe.recv()
        except EOFError:
            raise RuntimeError(f"{self.name}: its process ended before it answered") from None
        if kind == "error":
            raise RuntimeError(f"{self.name}:\n{answer}")
        return answer


def _serve(pipe: Connection, kind: str, size: str, name: str, device_name: str, threads: int, quick: bool) -> None:
    """Run in the contender's process: make the work, then do a round whenever asked to."""
    warnings.filterwarnings("ignore", message=".*nested tensors is in prototype")
    try:
        torch.set_num_threads(threads)
        device = torch.device(device_name)
        memory = Memory(device)
        work = CONTENDERS[kind][name]((QUICK_SIZES if quick else SIZES)[size], device)
        repeats, total = [], 0.0
        for case in work.cases:
            for _ in range(work.warm_up):
                case()
            seconds = _seconds(case, 1, device)
            repeats.append(1 if quick else max(1, min(50, round(SECONDS_PER_ROUND / seconds))))
            total += PAUSE + (1 + repeats[-1]) * seconds
        pipe.send(("ready", Entered(work.parameters, work.check, work.same_weights, len(work.cases), total)))
        while True:
            case = pipe.recv()
            pipe.send(("done", _round(work, case, repeats[case], memory, device)))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        pass  # the other end has closed, or says what happened
    except Exception:
        with suppress(BrokenPipeError):
            pipe.send(("error", traceback.format_exc()))


def _round(work: Work, case: int, repeats: int, memory: "Memory", device: torch.device) -> tuple[float, int]:
    time.sleep(PAUSE)
    _seconds(work.cases[case], 1, device)  # caches hold what the process before needed
    memory.restart()
    return _seconds(work.cases[case], repeats, device), memory.peak()


def _seconds(case: Callable[[], object], repeats: int, device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    for _ in range(repeats):
        case()
    synchronize(device)
    return (time.perf_counter() - start) / repeats


class Memory:
    """The most memory taken since `restart`, beyond what the process had when this was made.

    On CUDA, of torch's allocator. On Linux, of the process, as the kernel counts it (resident set); elsewhere it
    is not known, and 0.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None
        self._before = 0
        self.restart()
        if self._cuda is None:
            self._before = self.peak()

    def restart(self) -> None:
        """Forget the peak so far, and give back to the system what has been freed."""
        gc.collect()
        if self._cuda is not None:
            torch.cuda.reset_peak_memory_stats(self._cuda)
        elif _CLEAR.exists():
            _CLEAR.write_text("5")  # proc(5): resets VmHWM

    def peak(self) -> int:
        """Return bytes."""
        if self._cuda is not None:
            return torch.cuda.max_memory_allocated(self._cuda)
        if not _CLEAR.exists():
            return 0
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 - self._before
        return 0


_CLEAR = Path("/proc/self/clear_refs")
