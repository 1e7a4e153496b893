"""The tables of the page Benchmarks: what is stored stands in them, and a wrong kind is a warning."""

from collections.abc import Callable
from typing import Any

import numpy as np
from bs4 import BeautifulSoup

from transformer_book.experiments.peers import PRECISION, load_benchmarks, paired_ratio


def test_tables_hold_what_is_stored_and_a_wrong_kind_is_named(make_book: Callable[[], Any]) -> None:
    book = make_book()
    kinds = ("training", "attention", "cooking")
    tables = "".join(f"```{{benchmarks-table}} {kind}\n```\n\n" for kind in kinds)
    book.write("book/bench.md", f"# Benchmarks\n\n{tables}```{{benchmarks-precision}}\n```\n")
    book.write_toc("book/bench")
    done = book.build()
    assert done.returncode == 0, done.stdout
    assert "expected one of training, decoding, attention, levers, levers, bfloat16; got 'cooking'" in done.stdout
    page = BeautifulSoup(book.page("book/bench"), "html.parser")
    training, attention, _, precision = page.select("table.tb-benchmarks")
    result = load_benchmarks()
    base, fast = (result.array(f"training/S/{name}/seconds") for name in ("torch", "fast"))
    rows = [[cell.get_text().strip() for cell in row.select("td")] for row in training.select("tbody tr")]
    expected = ["fast", "S", str(paired_ratio(base, fast)), f"{1e3 * np.median(fast):.1f}"]
    assert expected in [row[:4] for row in rows]
    assert len(rows) == sum(key.startswith("training/") for key in result.values) // 2
    lengths = [row.select("td")[2].get_text().strip() for row in attention.select("tbody tr")]
    assert set(lengths) == {str(length) for length in result.settings["lengths"]}
    assert len(precision.select("tbody tr")) == len(load_benchmarks(name=PRECISION).seeds) + 1
    assert result.commit in page.get_text()
