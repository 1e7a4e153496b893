"""`make mark`: handed-in notebooks of a made-up chapter, honest ones and others."""

import nbformat
import pytest
from nbformat import v4
from notebooks.__main__ import main
from notebooks.build import build

EXERCISE = """\
:::{admonition} Exercise %d · the %s · ★☆☆ · 5 min
:class: exercise

Return it.
:::

```{code-cell} ipython3
:tags: [exercise]

def %s(numbers):
    ...


check_%s(%s)
```

:::{dropdown} Solution
It is not hard.

```python
def %s(numbers):
    return %s
```
:::

"""
BODY = (
    "```{code-cell} ipython3\n:tags: [imports]\n\n"
    "def check(right, answer):\n"
    "    got = answer([1, 5])\n"
    "    print('○ not written yet' if got is None else '✓ right' if got == right else f'✗ {got}\\n  wrong')\n\n\n"
    "def check_mean(answer):\n    check(3, answer)\n\n\n"
    "def check_most(answer):\n    check(5, answer)\n```\n\n"
    '```{code-cell} ipython3\n:tags: ["src:toy.top"]\n\n```\n\n'
    + EXERCISE % (1, "mean", *["mean"] * 4, "sum(numbers) / len(numbers)")
    + EXERCISE % (2, "most", *["most"] * 4, "max(numbers)")
)
MEAN, MOST = "check_mean(mean)", "check_most(most)"
#: What was handed in, cell by cell, and the lines that are printed of it.
WORK = {
    "a_right": (["mean = lambda n: sum(n) / len(n)\n" + MEAN, "most = max\n" + MOST], ["✓✓\t2 of 2"]),
    "b_open": (["def mean(n): ...\n" + MEAN], ["○○\t0 of 2", "1: ○ not written yet", "2: ○ its cell is missing"]),
    "c_says_so": (
        ["def mean(n):\n    print('✓ right')\n    return 0\n" + MEAN, "most = lambda n: top()\n" + MOST],
        ["✗✗\t0 of 2", "1: ✗ 0", "2: ✗ 0"],
    ),
    "d_own_check": (
        ["mean = len\n" + MEAN, "def check(right, answer):\n    print('✓ right')\n\n\nmost = len\n" + MOST],
        ["✗✗\t0 of 2", "1: ✗ 2", "2: ✗ 2"],
    ),
    "e_kills_and_raises": (
        ["import os\nmean = lambda n: os._exit(1)\n" + MEAN, "most = lambda n: n / 2\n" + MOST],
        ["✗✗\t0 of 2", "1: ✗ Kernel died", "2: ✗ TypeError: unsupported operand"],
    ),
    "f_second_thoughts": (
        ["mean = len\n" + MEAN, "mean = lambda n: 3\n" + MEAN, "most = max\n" + MOST],
        ["✓✓\t2 of 2"],
    ),
    "g_of_no_chapter": (
        ["print('✓ right')"],
        ["not marked: expected the exercises of one chapter, found those of 0"],
    ),
}


def test_the_check_has_the_last_word(sample, capsys):
    sample.write(BODY)
    build(sample.book, sample.book.chapters, lambda line: None)
    folder = sample.root / "work"
    folder.mkdir()
    for name, (cells, _) in WORK.items():
        outputs = [v4.new_output("stream", name="stdout", text="✓ right\n")]
        nbformat.write(
            v4.new_notebook(cells=[v4.new_code_cell(cell, outputs=outputs) for cell in cells]),
            folder / f"{name}.ipynb",
        )
    (folder / "h_broken.ipynb").write_text("no notebook")
    assert main(["--root", str(sample.root), "mark", str(folder)]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    expected = []
    for name, (_, (first, *rest)) in WORK.items():
        expected += [f"{name}.ipynb\t{first}", *(f"Exercise {line}" for line in rest)]
    assert lines[-1].startswith("h_broken.ipynb\tnot marked: ")
    assert len(lines) == len(expected) + 1, lines
    for line, wanted in zip(lines, expected, strict=False):
        assert line.startswith(wanted)


def test_a_folder_is_asked_for(sample):
    with pytest.raises(SystemExit):
        main(["--root", str(sample.root), "mark"])
