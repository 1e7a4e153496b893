"""Share the work of a training out over the processes that torchrun has started."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage] - it is documented

#: Processes wait this long for each other: the first may judge the model meanwhile. torchrun ends what is stuck.
PATIENCE = timedelta(hours=6)


def launched() -> bool:
    """Whether torchrun has started this process."""
    return dist.is_available() and dist.is_torchelastic_launched()


def place() -> tuple[int, int]:
    """Return the number of this process, and how many work together; (0, 1) for one that works alone."""
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def own_device(name: str) -> str:
    """Give each process of a machine a GPU of its own, where ``"auto"`` or ``"cuda"`` leaves that open."""
    if launched() and name in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return name


@contextmanager
def working_together(device: torch.device) -> Iterator[None]:
    """Join the processes that torchrun has started, to the end of a ``with`` block; alone, this does nothing.

    When one process fails, torchrun asks the others to end: that then counts as an interrupt, so that the first
    still writes its checkpoint.

    Parameters
    ----------
    device
        Where this process computes: gradients travel by NCCL between GPUs, by Gloo otherwise.
    """
    if not launched():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
        dist.init_process_group("nccl", timeout=PATIENCE, device_id=device)
    else:
        dist.init_process_group("gloo", timeout=PATIENCE)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        dist.destroy_process_group()


def first_to_tell() -> bool:
    """Whether no other process has told yet why it ends; asked by each once, before it tells.

    When one process fails or all are interrupted, the others fail as well; one message is enough.
    """
    if not launched():
        return True
    try:  # torchrun itself keeps this store, so it outlives the processes
        store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
        return store.add(f"told/{os.environ['TORCHELASTIC_RESTART_COUNT']}", 1) == 1
    except RuntimeError:  # it has ended too
        return False


def add_up(tensors: Sequence[Tensor]) -> None:
    """Give each tensor the sum of what it is in all processes, in place; alone, this does nothing.

    Parameters
    ----------
    tensors
        Of one dtype and one device; in all processes the same shapes in the same order.

    Raises
    ------
    ConnectionError
        Another process has ended.
    """
    if place()[1] == 1:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])  # one message, not one for each weight
    try:
        dist.all_reduce(flat)
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConnectionError(f"expected all processes to go on, but another one has ended ({reason})") from None
    pieces = flat.split([tensor.numel() for tensor in tensors])
    for tensor, piece in zip(tensors, pieces, strict=True):
        tensor.copy_(piece.view_as(tensor))


def wait_for_all() -> None:
    """Return once every process has come to this point."""
    if place()[1] > 1:
        dist.barrier()
