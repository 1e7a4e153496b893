"""A machine like Colab's: its published versions in an environment of their own, and one reader per chapter."""

import copy
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode, v4
from notebooks.book import Book
from side_by_side import SideBySide

BOOK = Book(Path(__file__).resolve().parents[2])
VERSIONS = Path(__file__).with_name("versions.txt")
PACKAGE = "transformer-book"
#: What Colab has not, and the package brings along.
ADDED = ("colorama", "gguf", "portalocker", "sacrebleu")
PLACE = "import transformer_book\nprint(transformer_book.__file__)"


def chapters() -> list[Path]:
    """Every chapter where COLAB_CHAPTERS=all, as in `make colab`; otherwise the first and the last."""
    every = BOOK.chapters
    return every if os.environ.get("COLAB_CHAPTERS") == "all" else sorted({every[0], every[-1]})


@dataclass(frozen=True)
class Environment:
    """An environment with Colab's versions.

    Parameters
    ----------
    python
        Its interpreter.
    preinstalled
        Name and version of everything in it before a reader comes.
    """

    python: Path
    preinstalled: dict[str, str]

    def packages(self) -> dict[str, str]:
        """Name and version, or address, of everything installed now."""
        return frozen(self.python)


def frozen(python: Path) -> dict[str, str]:
    lines = run([python, "-m", "pip", "freeze", "--all"]).splitlines()
    pairs = (line.replace(" @ ", "==", 1).partition("==") for line in lines)
    return {name: version for name, _, version in pairs}


def run(command: list[str | Path], **options) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def leave(python: Path) -> None:
    """Take away what an earlier reader's first cell has added."""
    run([python, "-m", "pip", "uninstall", "--quiet", "--yes", PACKAGE, *ADDED])


def pins() -> dict[str, str]:
    """The versions of versions.txt."""
    lines = [line.strip() for line in VERSIONS.read_text(encoding="utf-8").splitlines()]
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


@pytest.fixture(scope="session")
def colab_versions() -> dict[str, str]:
    return pins()


@pytest.fixture(scope="session")
def added() -> set[str]:
    return set(ADDED)


@pytest.fixture(scope="session")
def environment() -> Iterator[Environment]:
    """Make the environment, or find it where an earlier run left it; one user at a time."""
    import torch

    wanted = pins() | {"torch": torch.__version__.partition("+")[0]}
    requirements = [f"{name}=={version}" for name, version in wanted.items()]
    key = hashlib.sha256("\n".join([sys.version, *requirements]).encode()).hexdigest()[:12]
    builds = BOOK.root / "_build"
    builds.mkdir(exist_ok=True)
    folder = builds / f"colab-env-{key}"
    with (builds / "colab-env.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for old in builds.glob("colab-env-*"):
            if old != folder or not (old / "ready").exists():
                shutil.rmtree(old)
        python = folder / "bin" / "python"
        if not folder.exists():
            run([sys.executable, "-m", "venv", str(folder)])
            run([python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", *requirements])
            (folder / "ready").touch()
        leave(python)
        yield Environment(python, frozen(python))


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Commit the working tree, uncommitted changes included, to a repository of its own."""
    folder = tmp_path_factory.mktemp("repository")
    git = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    listed = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=BOOK.root, env=git)
    for name in filter(None, listed.split("\0")):
        if (BOOK.root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(BOOK.root / name, folder / name)
    for command in (
        ["init", "--quiet", f"--initial-branch={BOOK.branch}"],
        ["add", "--all"],
        ["-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "--quiet", "--message=snapshot"],
    ):
        run(["git", *command], cwd=folder, env=git)
    return folder


class _Kernels(KernelSpecManager):
    """Finds one kernel: that of the given Python."""

    def __init__(self, python: Path) -> None:
        super().__init__()
        self._argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(argv=self._argv, display_name="Colab", language="python")


class Reader:
    """Someone in front of a fresh kernel of the environment, in an empty folder far from the checkout."""

    def __init__(self, environment: Environment, repository: Path, folder: Path, side_by_side: SideBySide) -> None:
        self._kernels = _Kernels(environment.python)
        self._folder = folder
        self._side_by_side = side_by_side
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("GIT_", "PYTHON", "MPL", "VIRTUAL_ENV", "PYTEST"))
        }
        # The first cell names the public address; git fetches the snapshot from there.
        self._variables = kept | {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf",
            "GIT_CONFIG_VALUE_0": BOOK.repository,
            "IPYTHONDIR": str(folder / ".ipython"),
            "PYTHONHASHSEED": "0",
        }

    def runs(self, cells: list[NotebookNode]) -> tuple[NotebookNode, float]:
        """Run cells in a fresh kernel; return them executed, and the seconds the first code cell took."""
        notebook = v4.new_notebook(cells=copy.deepcopy(cells))
        client = NotebookClient(
            notebook,
            km=AsyncKernelManager(kernel_name="colab", kernel_spec_manager=self._kernels),
            resources={"metadata": {"path": str(self._folder)}},
            timeout=600,
            store_widget_state=False,
        )
        seconds = []
        with client.setup_kernel(env=self._variables, stderr=subprocess.DEVNULL, cleanup_kc=True):
            for index, cell in enumerate(notebook.cells):
                if cell.cell_type == "code":
                    with nullcontext() if seconds else self._side_by_side.alone():
                        start = time.perf_counter()
                        client.execute_cell(cell, index)
                        seconds.append(time.perf_counter() - start)
        return notebook, seconds[0]


@dataclass(frozen=True)
class Visit:
    """What a reader saw who opened a chapter on Colab.

    Parameters
    ----------
    committed, executed
        The notebook as it stands in the repository, and as it ran.
    seconds
        How long its first code cell took.
    before, after
        What was installed before the first cell and after the last.
    place
        Where the package was imported from.
    again, at_the_end
        The first cell run once more, in a new kernel, and what was installed then.
    """

    committed: NotebookNode
    executed: NotebookNode
    seconds: float
    before: dict[str, str]
    after: dict[str, str]
    place: Path
    again: NotebookNode
    at_the_end: dict[str, str]


@pytest.fixture(scope="session", params=chapters(), ids=lambda path: path.stem)
def visit(
    request: pytest.FixtureRequest,
    environment: Environment,
    repository: Path,
    tmp_path_factory: pytest.TempPathFactory,
    side_by_side: SideBySide,
) -> Visit:
    committed = nbformat.read(request.param.with_suffix(".ipynb"), as_version=4)
    leave(environment.python)
    before = environment.packages()
    reader = Reader(environment, repository, tmp_path_factory.mktemp("content"), side_by_side)
    executed, seconds = reader.runs([*committed.cells, v4.new_code_cell(PLACE)])
    place = Path(executed.cells.pop().outputs[0].text.strip())
    after = environment.packages()
    first = next(cell for cell in committed.cells if cell.cell_type == "code")
    again, _ = reader.runs([first])
    return Visit(committed, executed, seconds, before, after, place, again.cells[0], environment.packages())
