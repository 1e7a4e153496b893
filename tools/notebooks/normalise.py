"""Outputs reduced to what is the same in every run: text that nbval can compare."""

import copy
import re

from nbformat import NotebookNode

IGNORED_TAG = "nbval-ignore-output"
WIDGET = "application/vnd.jupyter.widget-view+json"
# An address, as in <object at 0x7f3a…>; short numbers like 0xff are data.
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")


class UnstableError(Exception):
    """An output that cannot be the same in the next run.

    Parameters
    ----------
    cell
        Its index in the notebook.
    message
        What was found.
    """

    def __init__(self, cell: int, message: str) -> None:
        super().__init__(f"cell {cell}: {message}")
        self.cell = cell
        self.message = message


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Return a copy of an executed notebook that the next run reproduces byte for byte.

    Images and widget views go, their text stays; an output names what it lost under ``metadata.dropped``.
    Cells tagged ``nbval-ignore-output`` keep no output.

    Raises
    ------
    UnstableError
        A cell warned (anything on stderr), or printed a memory address.
    """
    notebook = copy.deepcopy(notebook)
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                raise UnstableError(index, f"expected nothing on stderr, got:\n{output.text.strip()}")
        cell.outputs = [] if IGNORED_TAG in cell.metadata.get("tags", []) else _stable(cell.outputs, index)
        cell.metadata.pop("execution", None)
    notebook.metadata.pop("widgets", None)
    # The kernel adds its exact version, which would differ between machines.
    notebook.metadata.language_info = NotebookNode(name="python")
    count = 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = count
    return notebook


def _stable(outputs: list[NotebookNode], index: int) -> list[NotebookNode]:
    stable: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and stable and stable[-1].output_type == "stream":
            stable[-1].text += output.text
            continue
        if output.output_type != "stream":
            dropped = sorted(mime for mime in output.data if mime.startswith("image/") or mime == WIDGET)
            for mime in dropped:
                del output.data[mime]
            # Only images and widgets leave a trace: what is already normal stays as it is.
            kept = output.metadata.get("dropped", [])
            output.metadata = {"dropped": dropped or kept} if dropped or kept else {}
        stable.append(output)
    for output in stable:
        for text in [output.text] if output.output_type == "stream" else map(str, output.data.values()):
            if found := ADDRESS.search(text):
                raise UnstableError(index, f"expected no memory address in the output, got {found[0]}")
    return stable
