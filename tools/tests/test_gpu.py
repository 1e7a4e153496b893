"""`make gpu`, as far as a machine without a GPU can show it: the rule of comparison, tried on the CPU."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gpu
import pytest
import torch
from nbformat import read, v4, write

from transformer_book.device import describe
from transformer_book.experiments import load_result

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device")
def test_without_a_device_it_is_one_line_and_status_2():
    done = subprocess.run([sys.executable, "tools/gpu.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"make gpu: needs a CUDA device .*\n", done.stderr)


@pytest.mark.parametrize(
    ("here", "there", "alike"),
    [
        ("loss 0.123 holds: True", "loss  1.5e-3 holds: True", True),
        ("tensor([-1., 2.], device='cuda:0')", "tensor([1., 2.])", True),
        ("C5.1 holds", "C5.1 does not hold", False),
        ("gru before lstm", "lstm before gru", False),
        ("✓ right", "✗ right", False),
        ("nan", "0.5", True),
    ],
)
def test_numbers_may_differ_and_words_may_not(here, there, alike):
    assert (gpu.words(here) == gpu.words(there)) is alike


@pytest.fixture
def notebook(tmp_path):
    """Return a function that writes a notebook of two cells, with the outputs that it is to have."""

    def make(source, output):
        cells = [v4.new_code_cell(text) for text in ("print('ready')", source)]
        for cell, text in zip(cells, ("ready\n", output), strict=True):
            cell.outputs = [v4.new_output("stream", text=text)]
        write(v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
        return tmp_path / "a.ipynb"

    return make


def test_a_cell_with_other_numbers_is_the_same_and_one_with_another_verdict_is_not(notebook):
    executed, same, other = (
        read(notebook("print('loss', 1 / 3, True)", f"loss {text}\n"), as_version=4)
        for text in ("0.33 True", "0.25 True", "0.33 False")
    )
    assert list(gpu.differences(executed, same)) == []
    assert list(gpu.differences(executed, other)) == ["cell 1: expected ['loss # False'], got ['loss # True']"]


def test_a_chapter_whose_assertion_fails_or_that_computes_elsewhere_does_not_pass(notebook):
    [found] = gpu.check_chapter(notebook("assert 1 > 2, 'smaller'", ""), CPU)
    assert "AssertionError: smaller" in found
    source = "def pick_device(): ...\npick_device()\nprint('on', 'another GPU')"
    [found] = gpu.check_chapter(notebook(source, "on another GPU\n"), CPU)
    assert found == f"expected it to say that it computes on {describe(CPU)}"


def test_a_measurement_is_stored_and_its_verdicts_compared(tmp_path, monkeypatch):
    """What was measured differently is found: with tampered values the stored verdict is another."""
    name = "mask_properties"
    assert name in gpu.quick()
    assert gpu.check_experiment(name, CPU, tmp_path) == []
    stored = load_result(name)
    assert (tmp_path / f"{name}.json").exists()
    tampered = replace(stored, values={key: [[1.0 for _ in stored.seeds]] for key in stored.values})
    monkeypatch.setattr(gpu, "load_result", lambda _: tampered)
    assert len(gpu.check_experiment(name, CPU, tmp_path)) >= 1


def test_what_takes_long_is_left_out():
    long = [name for name in gpu.REGISTRY if load_result(name).wall_seconds > gpu.QUICK]
    assert set(gpu.quick()) | set(long) == set(gpu.REGISTRY)
    assert "norm_order" in long
