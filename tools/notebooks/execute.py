"""Running a notebook in a fresh kernel of this environment, in an empty folder."""

import copy
import os
import re
import subprocess
import tempfile

from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

CELL_SECONDS = 600
# Anything a reader's machine sets that would change what is printed.
LEFT_OUT = frozenset({"PYTHONPATH", "PYTHONSTARTUP", "PYTHONWARNINGS", "MPLBACKEND", "MATPLOTLIBRC"})


class CellError(Exception):
    """A cell that did not run.

    Parameters
    ----------
    cell
        Its index in the notebook.
    message
        The traceback, or what happened instead.
    """

    def __init__(self, cell: int, message: str) -> None:
        super().__init__(f"cell {cell}: {message}")
        self.cell = cell
        self.message = message


class _ThisEnvironment(KernelSpecManager):
    """Finds one kernel: the Python that is running now, whatever kernels the user has installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())


def execute(notebook: NotebookNode) -> NotebookNode:
    """Run every code cell of a copy of the notebook, in order.

    The working folder is temporary and empty, so nothing can depend on the checkout or leave anything in it.

    Raises
    ------
    CellError
        A cell raised, ran out of time or took the kernel down.
    """
    notebook = copy.deepcopy(notebook)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as profile:
        environment = {key: value for key, value in os.environ.items() if key not in LEFT_OUT}
        environment |= {"PYTHONHASHSEED": "0", "IPYTHONDIR": profile}
        client = NotebookClient(
            notebook,
            km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=_ThisEnvironment()),
            resources={"metadata": {"path": folder}},
            timeout=CELL_SECONDS,
            record_timing=False,
            store_widget_state=False,
        )
        try:
            # What the kernel itself says goes to its own stderr, what a cell says does not.
            client.execute(env=environment, stderr=subprocess.DEVNULL, cleanup_kc=True)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            text = error.traceback if isinstance(error, CellExecutionError) else str(error)
            message = re.sub(r"\x1b\[[0-9;]*m", "", text).strip()
            raise CellError(_reached(notebook), message) from None
    return notebook


def _reached(notebook: NotebookNode) -> int:
    """Return the cell at which execution stopped: the one with an error, else the first without a count."""
    code = [(index, cell) for index, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    failed = [index for index, cell in code if any(output.output_type == "error" for output in cell.outputs)]
    waiting = [index for index, cell in code if cell.execution_count is None]
    return [*failed, *waiting, len(notebook.cells) - 1][0]
