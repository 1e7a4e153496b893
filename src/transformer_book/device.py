"""Choose the device to compute on, and say which it is."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

CPU = torch.device("cpu")


def pick_device(name: str = "auto") -> torch.device:
    """Return the best device there is: CUDA, then Apple's MPS, then the CPU; or the one asked for.

    Parameters
    ----------
    name
        ``"auto"``, or a torch device such as ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.

    Raises
    ------
    ValueError
        The device is unknown to torch or not present on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # computes there, which "meta" does not
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise ValueError(f"device: expected auto or a device of this machine, got {name!r} ({reason})") from None
    return device


def describe(device: torch.device) -> str:
    """Name the hardware behind a device, for example ``NVIDIA H100 80GB`` or ``AMD EPYC (2 threads)``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"Apple {platform.machine()} GPU"
    return f"{_processor()} ({torch.get_num_threads()} threads)"


@contextmanager
def seeded(seed: int, device: torch.device = CPU) -> Iterator[None]:
    """Let random numbers depend on `seed` alone inside a ``with`` block; afterwards torch's state is what it was.

    Parameters
    ----------
    seed
        0 … 2⁶³ − 1.
    device
        A GPU whose random numbers are to follow the seed too. Those of the CPU always do; no other GPU is touched.
    """
    cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its queued work, so that a clock read next is honest."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "CPU"
