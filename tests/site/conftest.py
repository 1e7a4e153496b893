"""The built book, opened in a real browser with no network."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page
from side_by_side import SideBySide

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
#: Beginnings of what the theme says in the console; everything else there is a complaint.
THEME_SAYS = ("[PST]: ", "[togglebutton]: ")
AXE = Axe()
#: Hides tokens of code, and letters of formulas, that look like some before them; gives the style that hides them.
THIN_OUT = """() => {
    const seen = new Set();
    const boxes = ".cell_input, .cell_output, pre, .katex-html, dt.sig, code";
    for (const token of document.querySelectorAll("pre span, .katex-html span, dt.sig span, code span")) {
        const box = token.closest(boxes);
        const row = token.closest("tr, .admonition, details");
        const around = [row?.className, row?.rowIndex % 2, box.className, box.parentElement.className];
        const look = [...around, token.parentElement.className, token.className, token.style.color].join();
        if (seen.has(look)) token.dataset.repeated = "";
        seen.add(look);
    }
    const style = document.createElement("style");
    style.textContent = "[data-repeated] { display: none !important }";
    return document.head.appendChild(style);
}"""


def pages() -> list[str]:
    """Every page of the table of contents, and the search page."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    files = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [toc["root"], *files, "search"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test with the argument ``name`` every page, one with ``chapter`` every chapter."""
    for argument, chosen in (
        ("name", pages()),
        ("chapter", [page for page in pages() if page.startswith("chapters/")]),
    ):
        if argument in metafunc.fixturenames:
            metafunc.parametrize(argument, chosen)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("site")


@pytest.fixture(scope="session")
def site(side_by_side: SideBySide) -> Path:
    """Give the folder of the built book, brought up to date; what has not changed is neither executed nor read."""
    # Without the tests' own setting of threads: what the chapters measure is printed on their pages.
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    with side_by_side.once("site") as to_be_made:
        if to_be_made:
            built = subprocess.run(
                [Path(sys.executable).with_name("jupyter-book"), "build", "-W", "-n", "--keep-going", "."],
                cwd=ROOT,
                env=environment | {"JUPYTER_PLATFORM_DIRS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            assert built.returncode == 0, built.stdout
    return HTML


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def server(site: Path) -> Iterator[str]:
    """Serve the built book on this machine; give its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@dataclass
class Visit:
    """A page in the browser, and everything it has complained of."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def serious_violations(self, within: str | None = None) -> list[str]:
        """Run axe on the page or on what a selector chooses; describe what it finds serious or critical.

        Contrast is by far its slowest rule, so for that one coloured code is thinned out to one token of each
        look: the same token in the same kind of box has the same colours.
        """
        violations = self._axe(within, rules={"color-contrast": {"enabled": False}})
        thinned = self.page.evaluate_handle(THIN_OUT)
        violations += self._axe(within, runOnly=["color-contrast"])
        thinned.evaluate("style => style.remove()")
        return [
            f"{violation['id']}: {node['html'][:200]} ({node['failureSummary']})"
            for violation in violations
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]

    def _axe(self, within: str | None, **options: Any) -> list[dict[str, Any]]:
        if within and not self.page.locator(within).count():
            return []
        options |= {"resultTypes": ["violations"], "preload": False}
        return AXE.run(self.page, context=within, options=options).response["violations"]

    def overflow(self) -> list[str]:
        """Name what the window cuts off: wider than it, and in no box that scrolls."""
        return self.page.evaluate(
            """() => {
                const scrolls = (e) => ["auto", "scroll"].includes(getComputedStyle(e).overflowX);
                const boxed = (e) => { while ((e = e.parentElement)) if (scrolls(e)) return true; return false; };
                const cut = [...document.querySelectorAll("main .bd-article-container *")]
                    .filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
                    .filter((e) => !e.closest(".katex-mathml, svg > *") && !boxed(e));
                const width = document.documentElement.scrollWidth;
                const page = width > innerWidth ? [`page ${width}px wide, window ${innerWidth}px`] : [];
                return [...page, ...cut.slice(0, 5).map((e) => e.outerHTML.slice(0, 120))];
            }"""
        )


@pytest.fixture
def visit(browser: Browser, site: Path) -> Iterator[Callable[..., Visit]]:
    """Return a function that opens a page; afterwards nothing may have complained or asked for the network."""
    contexts, visits = [], []

    def open_page(name: str, *, width: int = 1280, theme: str = "light", base: str | None = None) -> Visit:
        base = base or site.as_uri()
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if theme == "dark" else "light",
            reduced_motion="reduce",
        )
        contexts.append(context)
        visit = Visit(context.new_page())
        visits.append(visit)

        def hear(kind: str, text: str) -> None:
            if not (kind == "log" and text.startswith(THEME_SAYS)):
                visit.complaints.append(f"console {kind}: {text}")

        def note(url: str) -> None:
            if not url.startswith((base, "data:", "blob:")):
                visit.complaints.append(f"request: {url}")

        visit.page.on("console", lambda message: hear(message.type, message.text))
        visit.page.on("pageerror", lambda error: visit.complaints.append(f"error: {error}"))
        visit.page.on("request", lambda request: note(request.url))
        visit.page.on("requestfailed", lambda request: visit.complaints.append(f"failed: {request.url}"))
        visit.page.goto(f"{base}/{name}.html")
        if visit.page.locator(".tb-widget").count():
            visit.page.wait_for_function("!document.querySelector('.tb-widget:not([data-tb-mounted])')")
        return visit

    yield open_page
    complaints = [complaint for visit in visits for complaint in visit.complaints]
    for context in contexts:
        context.close()
    assert not complaints, "\n".join(complaints)
