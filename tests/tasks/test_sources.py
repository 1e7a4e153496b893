"""Sources: what is fetched, checked and kept, from an index on this machine; every way in which it can fail."""

import base64
import errno
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from nbformat import v4
from notebooks.execute import Kernel

from transformer_book.tasks import sources
from transformer_book.tasks.sources import SOURCES, Source, SourceError, cache_folder, fetch

ROOT = Path(__file__).resolve().parents[2]
WORDS = b"tiny T AY1 N IY0\n" * 997
LARGE = 70_000_000  # bytes of an archive
INFO = "tiny_data-1.0.0.dist-info"
HINT = (
    "By hand: get tiny_data-1.0.0-py3-none-any.whl from https://pypi.org/project/tiny-data/1.0.0/#files, "
    "then: transformer-book fetch tiny --from PATH. PATH may also be tiny_data/words.txt out of it."
)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(**members: bytes) -> bytes:
    """Make a wheel of tiny-data 1.0.0 with files ``tiny_data/NAME.txt``, whose module may not be imported."""
    files = {
        "tiny_data/__init__.py": b"raise AssertionError('imported')",
        f"{INFO}/METADATA": b"Metadata-Version: 2.1\nName: tiny-data\nVersion: 1.0.0\nRequires-Dist: absent\n",
        f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{INFO}/RECORD": b"",
    } | {f"tiny_data/{name}.txt": data for name, data in members.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


WHEEL = wheel(words=WORDS)
TINY = Source(
    name="tiny",
    package="tiny-data",
    version="1.0.0",
    archive="tiny_data-1.0.0-py3-none-any.whl",
    archive_bytes=len(WHEEL),
    archive_sha256=sha256(WHEEL),
    member="tiny_data/words.txt",
    member_sha256=sha256(WORDS),
    licence="MIT",
    publisher="nobody",
)


@dataclass
class Index:
    """A package index on this machine.

    Parameters
    ----------
    files
        What it offers of tiny-data: file name → content.
    missing
        How many bytes of each file it withholds.
    requests
        Paths asked for so far.
    status, password
        Answer of every page; what a reader must send as Authorization.
    """

    files: dict[str, bytes]
    missing: int = 0
    requests: list[str] = field(default_factory=list)
    address: str = ""
    status: int = 200
    password: str = ""


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Put the cache into an empty folder; return where the file of TINY is kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "transformer-book" / "tiny-data-1.0.0" / "words.txt"


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, kept: Path) -> Iterator[Index]:
    """Serve an index, and configure pip to know no other."""
    served = Index({TINY.archive: WHEEL})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.requests.append(self.path)
            name = self.path.rpartition("/")[2]
            links = "".join(f'<a href="/files/{name}">{name}</a>' for name in served.files)
            data = served.files.get(name, links.encode())
            known = self.headers.get("Authorization", "") == served.password
            self.send_response(served.status if known else 401)
            self.send_header("Content-Type", "application/zip" if name in served.files else "text/html")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) - served.missing] if name in served.files else data)

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    for name in [*os.environ]:
        if name.upper().startswith("PIP_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.address = f"http://127.0.0.1:{server.server_port}/simple"
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", served.address)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail when anything is downloaded."""

    def run(*_: Any, **__: Any) -> None:
        raise AssertionError("downloaded")

    monkeypatch.setattr(sources.subprocess, "run", run)


def keep(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(data)


def only_file(folder: Path) -> Path:
    [path] = [path for path in folder.rglob("*") if path.is_file()]
    return path


def error_of(source: Source, from_path: Path | None = None) -> str:
    with pytest.raises(SourceError) as caught:
        fetch(source, from_path)
    assert caught.value.__context__ is None or caught.value.__suppress_context__  # a reader sees one error
    return str(caught.value)


@pytest.mark.parametrize("configured", ["in the environment", "in a file"])
def test_the_file_comes_from_the_index_that_pip_is_configured_for(
    index: Index, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, configured: str
) -> None:
    if configured == "in a file":
        (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {index.address}\n")
        monkeypatch.delenv("PIP_INDEX_URL")
        monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    assert fetch(TINY) == kept
    assert kept.read_bytes() == WORDS
    assert only_file(cache_folder()) == kept  # no wheel, no half file
    assert index.requests == ["/simple/tiny-data/", f"/files/{TINY.archive}"]  # and nothing that it requires
    assert "tiny_data" not in sys.modules


def test_a_file_in_the_cache_is_not_fetched_again(kept: Path, no_pip: None) -> None:
    keep(kept, WORDS)
    before = kept.stat()
    assert fetch(TINY) == kept
    assert (kept.stat().st_ino, kept.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("damaged", [WORDS[:-1], b"", b"T" + WORDS[1:]], ids=["cut off", "empty", "one byte"])
def test_a_damaged_file_in_the_cache_is_fetched_again(index: Index, kept: Path, damaged: bytes) -> None:
    keep(kept, damaged)
    assert fetch(TINY).read_bytes() == WORDS
    assert only_file(cache_folder()) == kept


def test_the_cache_is_under_the_home_folder_unless_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for unset in (lambda: monkeypatch.setenv("XDG_CACHE_HOME", ""), lambda: monkeypatch.delenv("XDG_CACHE_HOME")):
        unset()
        assert cache_folder() == tmp_path / ".cache" / "transformer-book"


def test_two_versions_are_kept_apart(kept: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes(WORDS)
    for version in ("1.0.0", "1.1.0"):
        path = fetch(replace(TINY, version=version), tmp_path / "words.txt")
        assert path == kept.parents[1] / f"tiny-data-{version}" / "words.txt"


@pytest.mark.parametrize("name", ["anything.zip", "words.txt"])
@pytest.mark.parametrize("data", [WHEEL, WORDS], ids=["the wheel", "the file"])
def test_supplied_by_hand(kept: Path, tmp_path: Path, no_pip: None, data: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert fetch(TINY, tmp_path / name) == kept
    assert kept.read_bytes() == WORDS
    assert fetch(TINY) == kept
    assert (tmp_path / name).read_bytes() == data


def test_what_is_supplied_mends_the_cache(kept: Path, tmp_path: Path, no_pip: None) -> None:
    keep(kept, WORDS[:5])
    (tmp_path / "x").write_bytes(WHEEL)
    assert fetch(TINY, tmp_path / "x").read_bytes() == WORDS


def test_another_file_on_the_index_is_refused(index: Index, kept: Path) -> None:
    keep(kept, b"old")
    other = wheel(words=WORDS + b"more")
    index.files[TINY.archive] = other
    assert error_of(TINY) == (
        f"tiny: {TINY.archive}: expected {len(WHEEL):,} bytes with sha256 {sha256(WHEEL)}, "
        f"got {len(other):,} bytes with sha256 {sha256(other)}\n  {HINT}"
    )
    assert only_file(cache_folder()).read_bytes() == b"old"


@pytest.mark.parametrize(
    "data", [WHEEL[:-1], WHEEL[:100], b"", WORDS[:-1]], ids=["one byte short", "start", "empty", "of the file"]
)
def test_a_cut_off_file_supplied_by_hand_is_refused(kept: Path, tmp_path: Path, data: bytes) -> None:
    keep(kept, WORDS)
    path = tmp_path / "given.whl"
    path.write_bytes(data)
    assert error_of(TINY, path) == (
        f"tiny: {path}: expected {len(WHEEL):,} bytes with sha256 {sha256(WHEEL)}, "
        f"got {len(data):,} bytes with sha256 {sha256(data)}\n  {HINT}"
    )
    assert only_file(cache_folder()).read_bytes() == WORDS


def test_a_transfer_that_breaks_off(index: Index, kept: Path) -> None:
    index.missing = 300
    assert re.fullmatch(
        rf"tiny: (could not download {re.escape(TINY.archive)}: .+|.+: expected {len(WHEEL):,} bytes .+)\n"
        rf"  {re.escape(HINT)}",
        error_of(TINY),
    )
    assert not cache_folder().exists()


def test_no_network(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # the discard port: nobody listens
    monkeypatch.setenv("PIP_RETRIES", "1")
    message = error_of(TINY)
    expected = f"tiny: could not download {TINY.archive}: no connection to the package index ("
    assert message.startswith(expected)
    assert message.endswith(f")\n  {HINT}")
    assert not cache_folder().exists()


def test_a_package_that_the_index_has_not(index: Index) -> None:
    index.files.clear()
    assert error_of(TINY) == (
        f"tiny: could not download {TINY.archive}: Could not find a version that satisfies the requirement "
        f"tiny-data==1.0.0 (from versions: none)\n  {HINT}"
    )


def test_another_build_of_the_wheel(index: Index) -> None:
    other = "tiny_data-1.0.0-1-py3-none-any.whl"
    index.files = {other: WHEEL}
    assert error_of(TINY) == (f"tiny: could not download {TINY.archive}: the index has {other} instead\n  {HINT}")


def test_the_setup_of_a_source_archive_is_never_run(index: Index, tmp_path: Path) -> None:
    setup = f"open({str(tmp_path / 'it ran')!r}, 'w')".encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("tiny_data-1.0.0/setup.py")
        info.size = len(setup)
        archive.addfile(info, io.BytesIO(setup))
    index.files = {"tiny_data-1.0.0.tar.gz": buffer.getvalue()}
    assert "Could not find a version that satisfies the requirement tiny-data==1.0.0" in error_of(TINY)
    assert index.requests == ["/simple/tiny-data/"]
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("/usr/bin/python: No module named pip\n", "/usr/bin/python: No module named pip"),
        ("WARNING: x\nERROR: the first\nERROR: the second\n", "the first"),
        ("Traceback (most recent call last):\nMemoryError\n", "MemoryError"),
        ("", "pip says nothing"),
    ],
)
def test_what_pip_says_is_passed_on(kept: Path, monkeypatch: pytest.MonkeyPatch, said: str, reason: str) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", said)

    monkeypatch.setattr(sources.subprocess, "run", run)
    assert error_of(TINY) == f"tiny: could not download {TINY.archive}: {reason}\n  {HINT}"


def test_what_pip_says_may_be_in_any_encoding(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_bytes(b"#!/bin/sh\nprintf 'ERROR: r\\351seau\\n' >&2\nexit 1\n")  # Latin-1, as a console may be
    python.chmod(0o755)
    monkeypatch.setattr(sources.sys, "executable", str(python))
    assert error_of(TINY) == f"tiny: could not download {TINY.archive}: r\N{REPLACEMENT CHARACTER}seau\n  {HINT}"


def test_a_wheel_without_the_file(kept: Path, tmp_path: Path) -> None:
    path = tmp_path / "given.whl"
    path.write_bytes(WHEEL)
    assert error_of(replace(TINY, member="tiny_data/other.txt"), path) == (
        f"tiny: {TINY.archive}: expected a wheel with tiny_data/other.txt: "
        "\"There is no item named 'tiny_data/other.txt' in the archive\""
    )
    assert error_of(replace(TINY, member_sha256=sha256(b"")), path) == (
        f"tiny: tiny_data/words.txt in {TINY.archive}: expected sha256 {sha256(b'')}, got {sha256(WORDS)}"
    )
    path.write_bytes(b"no archive")
    assert error_of(replace(TINY, archive_sha256=sha256(b"no archive")), path) == (
        f"tiny: {TINY.archive}: expected a wheel with tiny_data/words.txt: File is not a zip file"
    )
    assert not cache_folder().exists()


@pytest.mark.parametrize(
    ("name", "reason"), [("absent.whl", "No such file or directory"), (".", "Is a directory")]
)
def test_no_file_where_it_was_to_be(kept: Path, tmp_path: Path, name: str, reason: str) -> None:
    assert error_of(TINY, tmp_path / name) == f"tiny: {tmp_path / name}: {reason}\n  {HINT}"


def test_a_cache_that_cannot_be_written(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "given.whl").write_bytes(WHEEL)
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    hint = f"  The cache is {cache_folder()}; the variable XDG_CACHE_HOME puts it elsewhere."
    assert error_of(TINY, tmp_path / "given.whl") == f"tiny: {kept.parent}: Not a directory\n{hint}"

    def mkdir(path: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "mkdir", mkdir)  # who runs as root may write everywhere
    assert error_of(TINY, tmp_path / "given.whl") == f"tiny: {kept.parent}: Permission denied\n{hint}"
    assert (tmp_path / "cache").read_bytes() == b"a file where the folder should be"


def test_a_full_disk_leaves_the_cache_as_it_was(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(kept, b"old")
    (tmp_path / "given.whl").write_bytes(WHEEL)

    def write_half(path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", write_half)
    assert error_of(TINY, tmp_path / "given.whl") == (
        f"tiny: {kept}: No space left on device\n"
        f"  The cache is {cache_folder()}; the variable XDG_CACHE_HOME puts it elsewhere."
    )
    assert only_file(cache_folder()).read_bytes() == b"old"


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_pinned_and_credited(name: str) -> None:
    source = SOURCES[name]
    assert source.name == name
    package = source.package.replace("-", "_")
    if source.archive.endswith(".whl"):
        assert source.archive == f"{package}-{source.version}-py3-none-any.whl"
        assert all(member.startswith(f"{package}/") for member in source.files)
    else:
        assert source.archive == f"{package}-{source.version}.tar.gz"
        assert all(member.startswith(f"{package}-{source.version}/") for member in source.files)
    about = (ROOT / "book" / "about.md").read_text(encoding="utf-8")
    [row] = [line for line in about.splitlines() if f"{source.package} {source.version}" in line]
    address = re.search(r"https://\S+", source.publisher)
    assert address
    assert address[0] in row
    assert f"{source.archive_bytes / 1e6:.1f} MB" in row
    assert source.licence in row


@pytest.mark.parametrize("name", SOURCES)
def test_the_real_source(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Download it; a large one goes to the reader's own cache, where other tests need it, and is fetched once."""
    monkeypatch.setenv("PIP_RETRIES", "1")
    source = SOURCES[name]
    large = source.archive_bytes > LARGE
    if not large:
        request.getfixturevalue("kept")
    try:
        path = fetch(source)
    except SourceError as error:
        if "expected" in str(error):
            raise
        pytest.skip(str(error).partition("\n")[0])
    kept = {
        path.with_name(Path(member.replace("*", "all")).name): digest for member, digest in source.files.items()
    }
    for file, expected in kept.items():
        assert sha256(file.read_bytes()) == expected
    if not large:
        assert {found for found in cache_folder().rglob("*") if found.is_file()} == set(kept)


# --- several files of one archive ------------------------------------------------------------------------------


def two_files() -> tuple[Source, bytes]:
    data = wheel(words=WORDS, more=b"more")
    others = (("tiny_data/more.txt", sha256(b"more")),)
    return replace(TINY, archive_bytes=len(data), archive_sha256=sha256(data), others=others), data


def test_further_files_lie_beside_the_first(kept: Path, tmp_path: Path, no_pip: None) -> None:
    source, data = two_files()
    (tmp_path / "given.whl").write_bytes(data)
    assert fetch(source, tmp_path / "given.whl") == kept
    assert kept.read_bytes() == WORDS
    assert kept.with_name("more.txt").read_bytes() == b"more"
    assert fetch(source) == kept  # nothing is downloaded


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"mere")])
def test_a_further_file_that_is_gone_or_damaged_is_fetched_again(
    index: Index, kept: Path, damage: Callable[[Path], Any]
) -> None:
    source, index.files[TINY.archive] = two_files()
    fetch(source)
    damage(kept.with_name("more.txt"))
    assert fetch(source) == kept
    assert kept.with_name("more.txt").read_bytes() == b"more"


def test_one_file_of_several_is_not_enough(kept: Path, tmp_path: Path) -> None:
    source, _ = two_files()
    (tmp_path / "words.txt").write_bytes(WORDS)
    with pytest.raises(SourceError, match=r"expected [\d,]+ bytes with sha256") as caught:
        fetch(source, tmp_path / "words.txt")
    assert "PATH may also" not in str(caught.value)
    wrong = replace(source, others=(("tiny_data/more.txt", "0" * 64),))
    (tmp_path / "given.whl").write_bytes(two_files()[1])
    with pytest.raises(SourceError, match=r"tiny_data/more\.txt in .*: expected sha256 0{64}, got"):
        fetch(wrong, tmp_path / "given.whl")
    assert not kept.exists()  # all are checked before one is kept


# --- source archives -------------------------------------------------------------------------------------------


def source_archive(**members: bytes) -> bytes:
    """Make a source archive of tiny-data 1.0.0 with files ``NAME.txt``, whose setup must not run."""
    files = {"setup.py": b"raise AssertionError('run')"} | {f"{name}.txt": data for name, data in members.items()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"tiny_data-1.0.0/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


SDIST = source_archive(words=WORDS)
TINY_SDIST = replace(
    TINY,
    archive="tiny_data-1.0.0.tar.gz",
    archive_bytes=len(SDIST),
    archive_sha256=sha256(SDIST),
    member="tiny_data-1.0.0/words.txt",
)
SDIST_HINT = HINT.replace(TINY.archive, TINY_SDIST.archive).replace(TINY.member, TINY_SDIST.member)


@pytest.fixture
def archives(index: Index) -> Index:
    """Let the index offer a source archive, and another version of it."""
    index.files = {"tiny_data-0.9.0.tar.gz": b"old", TINY_SDIST.archive: SDIST}
    return index


@pytest.mark.parametrize("configured", ["in the environment", "in a file", "for downloads", "as one more"])
def test_a_source_archive_comes_from_the_index_that_pip_is_configured_for(
    archives: Index,
    kept: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    configured: str,
) -> None:
    if configured != "in the environment":
        nowhere = "http://127.0.0.1:9/simple"
        settings = {
            "in a file": f"[global]\nindex-url = {archives.address}\n",
            "for downloads": f"[global]\nindex-url = {nowhere}\n[download]\nindex-url = {archives.address}/\n",
            "as one more": f"[global]\nindex-url = {nowhere}\nextra-index-url =\n  {archives.address}\n",
        }
        (tmp_path / "pip.conf").write_text(settings[configured])
        monkeypatch.delenv("PIP_INDEX_URL")
        monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    assert fetch(TINY_SDIST) == kept
    assert kept.read_bytes() == WORDS
    assert only_file(cache_folder()) == kept
    assert archives.requests == ["/simple/tiny-data/", f"/files/{TINY_SDIST.archive}"]
    assert capsys.readouterr() == ("", "")  # a progress bar is for terminals


def test_a_cell_that_fetches_shows_nothing_of_it(archives: Index, kept: Path) -> None:
    """A bar would be an output that a notebook has the first time only, and a widget that no page can show."""
    cell = v4.new_code_cell(f"from transformer_book.tasks.sources import *\n_ = fetch({TINY_SDIST!r})")
    with Kernel() as kernel:
        kernel.run(cell)
    assert cell.outputs == []
    assert kept.read_bytes() == WORDS


def test_a_source_archive_from_a_folder(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "simple" / "tiny-data" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f'<a href="../../files/{TINY_SDIST.archive}#sha256=0">{TINY_SDIST.archive}</a>')
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / TINY_SDIST.archive).write_bytes(SDIST)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    assert fetch(TINY_SDIST).read_bytes() == WORDS


def test_a_user_and_a_password_in_the_address_are_sent_and_not_told(
    archives: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives.password = "Basic " + base64.b64encode(b"me:s3cr@t").decode()
    monkeypatch.setenv("PIP_INDEX_URL", archives.address.replace("http://", "http://me:s3cr%40t@"))
    assert fetch(TINY_SDIST).read_bytes() == WORDS
    archives.password = "another"
    cache_folder().rename(cache_folder().with_name("before"))
    assert "s3cr" not in error_of(TINY_SDIST)


@pytest.mark.parametrize("data", [SDIST, WORDS], ids=["the archive", "the file"])
def test_a_source_archive_supplied_by_hand(kept: Path, tmp_path: Path, no_pip: None, data: bytes) -> None:
    (tmp_path / "given").write_bytes(data)
    assert fetch(TINY_SDIST, tmp_path / "given") == kept
    assert fetch(TINY_SDIST).read_bytes() == WORDS


def test_a_source_archive_that_breaks_off_is_not_kept(archives: Index, kept: Path) -> None:
    archives.missing = 300
    keep(kept, b"old")
    message = error_of(TINY_SDIST)
    assert message.startswith(f"tiny: {TINY_SDIST.archive}: expected {len(SDIST):,} bytes with sha256 ")
    assert message.endswith(SDIST_HINT)
    assert only_file(cache_folder()).read_bytes() == b"old"


def test_an_interrupted_download_leaves_the_cache_as_it_was(
    archives: Index, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(kept, b"old")

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sources.tqdm, "update", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(TINY_SDIST)
    assert only_file(cache_folder()).read_bytes() == b"old"


def test_no_network_for_a_source_archive(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    message = error_of(TINY_SDIST)
    reason = "no connection to the package index (ConnectionRefusedError"
    assert message.startswith(f"tiny: could not download {TINY_SDIST.archive}: {reason}")
    assert message.endswith(f"\n  {SDIST_HINT}")
    assert not cache_folder().exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"files": {}}, f"no index has {TINY_SDIST.archive}"),
        ({"files": {"tiny_data-1.0.1.tar.gz": SDIST}}, f"no index has {TINY_SDIST.archive}"),
        ({"status": 404}, f"no index has {TINY_SDIST.archive}"),
        ({"status": 503}, "the package index answers 503 Service Unavailable"),
    ],
)
def test_an_index_without_the_source_archive(archives: Index, change: dict[str, Any], reason: str) -> None:
    for name, value in change.items():
        setattr(archives, name, value)
    assert error_of(TINY_SDIST) == f"tiny: could not download {TINY_SDIST.archive}: {reason}\n  {SDIST_HINT}"


def test_pip_may_be_told_to_ask_no_index(archives: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert f"no index has {TINY_SDIST.archive}" in error_of(TINY_SDIST)
    assert archives.requests == []


def test_a_source_archive_without_the_file(kept: Path, tmp_path: Path) -> None:
    path = tmp_path / "given.tar.gz"
    path.write_bytes(SDIST)
    assert error_of(replace(TINY_SDIST, member="tiny_data-1.0.0/other.txt"), path) == (
        f"tiny: {TINY_SDIST.archive}: expected a source archive with tiny_data-1.0.0/other.txt: "
        "\"filename 'tiny_data-1.0.0/other.txt' not found\""
    )
    path.write_bytes(SDIST[: len(SDIST) // 2])
    cut = replace(TINY_SDIST, archive_sha256=sha256(SDIST[: len(SDIST) // 2]))
    assert error_of(cut, path).startswith(f"tiny: {TINY_SDIST.archive}: expected a source archive with tiny_data")
    path.write_bytes(b"no archive")
    none = replace(TINY_SDIST, archive_sha256=sha256(b"no archive"))
    assert error_of(none, path).endswith("not a gzip file")
    assert not cache_folder().exists()


# --- several files read as one ---------------------------------------------------------------------------------


def test_a_star_stands_for_all_files_that_match(kept: Path, tmp_path: Path) -> None:
    archive = source_archive(b=b"second", a=b"first")
    joined = b"first\fsecond"
    source = replace(
        TINY_SDIST,
        archive_bytes=len(archive),
        archive_sha256=sha256(archive),
        member="tiny_data-1.0.0/*.txt",
        member_sha256=sha256(joined),
    )
    path = tmp_path / "archive"
    path.write_bytes(archive)
    assert fetch(source, path) == kept.with_name("all.txt")
    assert kept.with_name("all.txt").read_bytes() == joined
    assert fetch(source) == kept.with_name("all.txt")
    assert sources._by_hand(source).endswith("--from PATH.")  # no single file of it will do
    with pytest.raises(SourceError, match=r"expected a source archive with tiny_data-1\.0\.0/\*\.csv"):
        fetch(replace(source, member="tiny_data-1.0.0/*.csv", member_sha256="0" * 64), path)
