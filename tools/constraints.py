"""Write constraints.txt: every package of the current environment, pinned, as the public index knows it."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADER = "# The whole resolved set, so that the book still builds in two years. Written by `make constraints`.\n"
# Parts of torch's CUDA build: a CPU environment has none, and a CUDA one must be free to bring its own.
CUDA_ONLY = re.compile(r"^(nvidia-|cuda-|triton)")


def constraints(frozen: str) -> str:
    """Turn the output of ``pip freeze`` into the text of constraints.txt.

    Parameters
    ----------
    frozen
        Lines ``name==version``; editable and local installs are left out, as are the parts of CUDA. A local
        version such as ``2.13.0+cpu`` loses its suffix, which the public index does not have.

    Returns
    -------
    str
        The file's text, one pin a line, sorted.
    """
    pins = []
    for line in frozen.splitlines():
        name, separator, version = line.strip().partition("==")
        if not separator or name.startswith(("-", "#")) or CUDA_ONLY.match(name.lower()):
            continue
        pins.append(f"{name.lower()}=={version.partition('+')[0]}")
    return HEADER + "".join(f"{pin}\n" for pin in sorted(pins))


def main() -> None:
    """Write the file beside requirements.txt."""
    command = [sys.executable, "-m", "pip", "freeze", "--all", "--exclude-editable", "--exclude", "pip"]
    frozen = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    path = ROOT / "constraints.txt"
    part = path.with_suffix(".part")
    part.write_text(constraints(frozen), encoding="utf-8")
    part.replace(path)
    print(f"{path.name}: {len(path.read_text().splitlines()) - 1} packages")


if __name__ == "__main__":
    main()
