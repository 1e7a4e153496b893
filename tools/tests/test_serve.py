"""`make serve` on a small folder whose `make book` copies one page: no build takes longer than a moment."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

SERVE = Path(__file__).parents[1] / "serve.py"
MAKEFILE = """\
.PHONY: book
book:
	@mkdir -p _build/html
	@if grep -q WRONG book/intro.md; then echo "a wrong page"; exit 1; fi
	@(echo "<html><head></head><body>"; cat book/intro.md; echo "</body></html>") > _build/html/index.html
"""


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "intro.md").write_text("first")
    return tmp_path


def hear_interrupts():
    """Undo what a shell does to commands it runs in the background: they ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def serving(root, port):
    command = [sys.executable, str(SERVE), "--root", str(root), "--port", str(port)]
    with (
        (root / "log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=hear_interrupts) as process,
    ):
        yield process
        process.kill()


def wait_for(condition, log):
    """Poll for at most 20 seconds."""
    for _ in range(200):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail(f"waited 20 s; the server said:\n{log.read_text()}")


def test_serves_rebuilds_survives_a_failing_build_and_ends(serving, root, port):
    log, page = root / "log", root / "book" / "intro.md"

    def shows(text):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                return text in answer.read().decode()
        except OSError:
            return False

    wait_for(lambda: shows("first"), log)
    assert shows("livereload.js")
    page.write_text("second")
    wait_for(lambda: shows("second"), log)
    page.write_text("WRONG")
    wait_for(lambda: "The build failed" in log.read_text(), log)
    assert "a wrong page" in log.read_text()
    assert shows("second")
    page.write_text("third")
    wait_for(lambda: shows("third"), log)
    serving.send_signal(signal.SIGINT)
    assert serving.wait(10) == 0
    assert "Traceback" not in log.read_text()


def test_a_port_in_use_is_one_line(root):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, str(SERVE), "--root", str(root), "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert re.search(
        rf"^make serve: port {port} cannot be used: Address already in use; name another",
        done.stderr,
        re.MULTILINE,
    )
    assert "Traceback" not in done.stderr


def test_what_is_watched(tmp_path):
    from serve import snapshot

    for name in ("_config.yml", "chapters/a.md", "chapters/a.ipynb", "src/p/m.py", "src/p/m.pyc", "book/.a.new"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    before = snapshot(tmp_path)
    assert {path.name for path in before} == {"_config.yml", "a.md", "m.py"}
    os.utime(tmp_path / "chapters" / "a.md", ns=(0, 0))
    assert snapshot(tmp_path) != before
