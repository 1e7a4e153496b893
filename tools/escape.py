"""The way out of Jupyter Book 1, kept open: the same sources built by plain Sphinx.

`jupyter-book config sphinx` turns `_config.yml` into a `conf.py`. Without Jupyter Book's own two extensions that
builds the same pages, and Jupyter Book is no longer needed.

``make escape``
    The book, by the newest Sphinx. What builds the pages is in an environment of its own, always in its newest
    version; what the chapters compute with is that of `.venv`, so the outputs of the cache are used.
``make links``
    Every address in the book, asked for once. It needs the network, and tells what does not answer.
"""

import argparse
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "_build" / "sphinx"
#: Jupyter Book's own: its toc and its commands, and LaTeX.
LEFT_BEHIND = ("jupyter_book", "sphinx_jupyterbook_latex")
#: What the remaining extensions and the theme come from.
PACKAGES = (
    "sphinx",
    "myst-nb",
    "sphinx-book-theme",
    "sphinx-comments",
    "sphinx-copybutton",
    "sphinx-design",
    "sphinx-external-toc",
    "sphinx-thebe",
    "sphinx-togglebutton",
    "sphinxcontrib-bibtex",
    "linkify-it-py",
)
#: What stands behind the configuration in `conf.py`; its paths are relative to the folder that it lies in.
MOVED = """
import sys
from pathlib import Path

root = Path({root!r})
sys.path.insert(0, str(root / "book" / "extensions"))
extensions = [name for name in extensions if name not in {left_behind!r}]
bibtex_bibfiles, html_static_path, templates_path = (
    [str(root / path) for path in paths] for paths in (bibtex_bibfiles, html_static_path, templates_path)
)
html_favicon, html_logo = str(root / html_favicon), str(root / html_logo)
linkcheck_ignore = [r"https://github\\.com/OWNER/"]  # the address that `make address` has not yet replaced
linkcheck_anchors = False  # pages that scripts write have none in what a server sends
linkcheck_timeout, linkcheck_report_timeouts_as_broken = 20, True
"""


def configuration(root: Path, folder: Path) -> Path:
    """Write `conf.py` into a folder outside the sources.

    Parameters
    ----------
    root
        The checkout.
    folder
        Where to write it; made if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(root / name, folder)
    command = [Path(sys.executable).with_name("jupyter-book"), "config", "sphinx", folder]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    path = folder / "conf.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + MOVED.format(root=str(root), left_behind=LEFT_BEHIND), encoding="utf-8")
    return path


def environment(folder: Path) -> Path:
    """Make an environment with the newest Sphinx, or bring it up to date, and return its Python.

    It sees what is in the environment that runs this, after what is its own.
    """
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    [packages] = folder.glob("lib/python*/site-packages")
    [below] = Path(sys.prefix).glob("lib/python*/site-packages")
    (packages / "below.pth").write_text(f"import site; site.addsitedir({str(below)!r})\n", encoding="utf-8")
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--upgrade"]
    # Heard only if it fails: pip always complains that Jupyter Book, below, wants an older Sphinx.
    done = subprocess.run([*pip, *PACKAGES], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{done.stderr}The newest Sphinx could not be installed; pip says above why.")
    return python


def main(arguments: list[str] | None = None) -> int:
    """Build the book or check its addresses, warnings as errors; return Sphinx's exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["escape", "links"])
    what = parser.parse_args(arguments).what
    configuration(ROOT, FOLDER)
    if what == "escape":
        builder, python = "html", environment(FOLDER / "environment")
    else:
        builder, python = "linkcheck", Path(sys.executable)
    # Trees of their own: what they have read, `make book` has not written.
    folders = ["-c", FOLDER, "-d", FOLDER / f"{what}_trees", ROOT, ROOT / "_build" / what]
    options = ["--fail-on-warning", "--nitpicky", "--keep-going"]
    return subprocess.run([python, "-m", "sphinx", "-b", builder, *options, *folders], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
