"""The built wheel, used far from the checkout: what it carries and what it needs."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
# What a reader who only wants the layers need not have.
NOT_FOR_LAYERS = ("matplotlib", "ipywidgets", "anywidget", "IPython", "tqdm", "traitlets")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([*PIP, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def site(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    subprocess.run([*PIP, "install", "--no-deps", "--target", str(folder), str(wheel)], check=True)
    return folder


@pytest.fixture
def python(site, tmp_path):
    """Run code in an empty folder, with the installed wheel before the checkout."""

    def run(code):
        place = f"import transformer_book\nassert transformer_book.__file__.startswith({str(site)!r})\n"
        variables = os.environ | {"PYTHONPATH": str(site)}
        command = [sys.executable, "-c", place + code]
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_wheel_holds_the_package_and_the_results_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    source = ROOT / "src" / "transformer_book"
    results = ROOT / "book" / "results"
    expected = {
        path.relative_to(ROOT / "src").as_posix()
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    expected |= {f"transformer_book/results/{path.name}" for path in results.iterdir()}
    assert names == expected
    assert any(name.endswith(".js") for name in names)
    assert sum(name.endswith(".json") for name in names) >= 4
    assert "transformer_book/py.typed" in names


def test_attention_needs_only_torch(python):
    blocked = f"import sys\nfor name in {NOT_FOR_LAYERS!r}: sys.modules[name] = None\n"
    said = python(
        blocked + "import torch\n"
        "from transformer_book.attention import MultiHeadAttention, scaled_dot_product_attention\n"
        "x = torch.ones(2, 3, 5, 7)\n"
        "print(scaled_dot_product_attention(x, x, x)[0].shape)"
    )
    assert said == "torch.Size([2, 3, 5, 7])\n"


def test_stored_results_come_with_the_package(python):
    said = python(
        "from transformer_book.experiments import REGISTRY, all_verdicts\n"
        "rows = all_verdicts()\n"
        "assert {row.result.name for row in rows} == set(REGISTRY)\n"
        "for row in rows: print(row.claim.id, row.verdict.holds)"
    )
    lines = said.splitlines()
    assert len(lines) >= 4
    # The book says so: on a CPU this one does not hold.
    assert [line for line in lines if not line.endswith(" True")] == ["C9.2 False"], said


def test_widgets_find_their_modules(python):
    assert (
        "why" in python("from transformer_book.widgets import WhySqrtD\nprint(repr(WhySqrtD(width=64)))").lower()
    )


def test_command_is_there(python, site):
    script = (site / "bin" / "transformer-book").read_text(encoding="utf-8")
    assert "from transformer_book.cli import main" in script
    assert "measure" in python(
        "from transformer_book.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    )


def test_dependencies_have_lower_bounds_only():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=3.11"
    for line in project["dependencies"]:
        name, _, bound = line.partition(">=")
        assert name.isidentifier(), line
        assert bound.replace(".", "").isdigit(), line
