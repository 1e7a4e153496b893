"""`make gpu`: the tests, chapters and quick measurements on a CUDA device.

1. The tests marked `gpu`; none may be skipped.
2. Every committed notebook, executed with the device. A cell fails if it raises, so every ``assert`` of the
   chapters holds there too. What a cell prints must be what the notebook holds, but for numbers and the name of
   the device: the words are the conclusions (``holds``, ``True``, ``✓``, names in their order), and digits differ
   from device to device. Cells tagged ``nbval-ignore-output`` are not compared here either.
3. Every experiment that takes at most `QUICK` seconds on a CPU, measured in full, with as many seeds; its result
   lies beside the CPU's, as ``NAME.cuda.json``, and names the device. Each claim must get the CPU's verdict. What
   takes longer is listed with its command.

It ends with status 0, with 1 and what was different, or with 2 where there is no such device.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import torch
from nbformat import NotebookNode
from notebooks.book import Book
from notebooks.execute import CellError, execute
from notebooks.normalise import UnstableError, normalise

from transformer_book.device import describe, pick_device
from transformer_book.experiments import REGISTRY, Result, load_result, result_file, results_folder

ROOT = Path(__file__).resolve().parents[1]
#: Seconds of a full measurement on a CPU, as stored, up to which it is repeated here.
QUICK = 120
_DEVICE = re.compile(r", device='\w+(:\d+)?'")
_NUMBER = re.compile(r"[-+−]?(\d[\d.,]*(e[-+]?\d+)?|\binf\b|\bnan\b)")


def words(text: str) -> str:
    """Leave out of a printed text what may differ between devices: numbers, spaces that align them, the device."""
    return " ".join(_NUMBER.sub("#", _DEVICE.sub("", text)).split())


def differences(executed: NotebookNode, committed: NotebookNode) -> Iterator[str]:
    """Name each cell that says something else than the committed notebook.

    Raises
    ------
    UnstableError
        A cell warned.
    """
    for index, (here, there) in enumerate(zip(normalise(executed).cells, committed.cells, strict=True)):
        one, other = (
            [words(output.get("text") or output.get("data", {}).get("text/plain", "")) for output in outputs]
            for outputs in (here.get("outputs", []), there.get("outputs", []))
        )
        if one != other:
            yield f"cell {index}: expected {other}, got {one}"


def check_chapter(path: Path, device: torch.device) -> list[str]:
    """Execute a notebook and say what is different on this device; nothing, if its conclusions are the same."""
    committed = nbformat.read(path, as_version=4)
    try:
        executed = execute(committed)
        found = list(differences(executed, committed))
    except (CellError, UnstableError) as error:
        return [str(error)]
    chooses = any("pick_device()" in cell.source for cell in committed.cells if cell.cell_type == "code")
    said = [output.get("text", "") for cell in executed.cells for output in cell.get("outputs", [])]
    if chooses and describe(device) not in "".join(said):
        found.append(f"expected it to say that it computes on {describe(device)}")
    return found


def quick() -> list[str]:
    """Names of the experiments whose stored measurement took at most `QUICK` seconds."""
    return [name for name in REGISTRY if load_result(name).wall_seconds <= QUICK]


def check_experiment(name: str, device: torch.device, folder: Path) -> list[str]:
    """Measure in full, store the result, and say which claims get another verdict than on the CPU."""
    stored = load_result(name)
    options = ["--seeds", str(len(stored.seeds)), "--device", str(device), "--output", str(folder)]
    command = [sys.executable, "-m", "transformer_book", "measure", name, *options]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 1):  # 1: a claim does not hold, which is judged here
        return [f"not measured: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}"]
    result = Result.load(folder / result_file(name, device.type))
    found = []
    for claim in REGISTRY[name].CLAIMS.values():
        here, there = claim.judge(result), claim.judge(stored)
        if here.holds != there.holds:
            found.append(f"{claim.id} is {here.holds}, on the CPU {there.holds}: {here.figure}")
    return found


def run_tests() -> list[str]:
    """Run the tests marked `gpu`; say so if one fails, is skipped, or there are none."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "tests"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    last = (done.stdout.strip() or "nothing said").splitlines()[-1]
    return [] if done.returncode == 0 and "skipped" not in last else [f"{done.stdout}\n{last}"]


def main() -> int:
    """Do all three and return the exit status."""
    try:
        device = pick_device("cuda")
    except ValueError as error:
        print(f"make gpu: needs a CUDA device that torch can use; {error}", file=sys.stderr)
        return 2
    print(f"on {describe(device)}", flush=True)
    failed = report("tests", run_tests())
    for path in Book(ROOT).chapters:
        failed |= report(path.stem, check_chapter(path.with_suffix(".ipynb"), device))
    for name in quick():
        failed |= report(name, check_experiment(name, device, results_folder()))
    for name in [name for name in REGISTRY if name not in quick()]:
        print(f"left out, takes long: transformer-book measure {name} --device cuda")
    return int(failed)


def report(name: str, found: list[str]) -> bool:
    """Print what was found of one thing, and return whether anything was."""
    print(f"{name}: {'as on the CPU' if not found else 'DIFFERENT'}", *found, sep="\n  ", flush=True)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
