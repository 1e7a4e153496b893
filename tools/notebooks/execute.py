"""Running cells in a fresh kernel of this environment, in an empty folder."""

import copy
import os
import re
import subprocess
import tempfile
from contextlib import ExitStack
from typing import Self

from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode, v4

CELL_SECONDS = 600
# Anything a reader's machine sets that would change what is printed.
LEFT_OUT = frozenset({"PYTHONPATH", "PYTHONSTARTUP", "PYTHONWARNINGS", "MPLBACKEND", "MATPLOTLIBRC"})


class CellError(Exception):
    """A cell that did not run to its end: it raised, ran out of time or took the kernel down.

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


class Kernel:
    """A fresh kernel of this environment, in a temporary empty folder, so that nothing depends on the checkout.

    Use it in a ``with`` statement.
    """

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder, profile = (stack.enter_context(tempfile.TemporaryDirectory()) for _ in range(2))
            self._client = NotebookClient(
                v4.new_notebook(),
                km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=_ThisEnvironment()),
                resources={"metadata": {"path": folder}},
                timeout=CELL_SECONDS,
                record_timing=False,
                store_widget_state=False,
            )
            environment = {key: value for key, value in os.environ.items() if key not in LEFT_OUT}
            environment |= {"PYTHONHASHSEED": "0", "IPYTHONDIR": profile}
            # What the kernel itself says goes to its own stderr, what a cell says does not.
            kernel = self._client.setup_kernel(env=environment, stderr=subprocess.DEVNULL, cleanup_kc=True)
            stack.enter_context(kernel)
            self._resources = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._resources.close()

    def run(self, cell: NotebookNode, index: int = 0) -> None:
        """Run one code cell in place.

        Raises
        ------
        CellError
            It did not run to its end. The outputs so far stand in the cell.
        """
        self._client.nb.cells = [cell]
        try:
            self._client.execute_cell(cell, 0)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            text = error.traceback if isinstance(error, CellExecutionError) else str(error)
            raise CellError(index, re.sub(r"\x1b\[[0-9;]*m", "", text).strip()) from None


def execute(notebook: NotebookNode) -> NotebookNode:
    """Run every code cell of a copy of the notebook, in order, in a fresh kernel.

    Raises
    ------
    CellError
        A cell did not run to its end.
    """
    notebook = copy.deepcopy(notebook)
    with Kernel() as kernel:
        for index, cell in enumerate(notebook.cells):
            if cell.cell_type == "code":
                kernel.run(cell, index)
    return notebook
