"""Where things are: the folders of the repository and its public addresses, all from `_config.yml`."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import yaml

from notebooks.errors import ProblemError

# What Jupyter Book switches on where `_config.yml` says nothing.
DEFAULT_EXTENSIONS = ("colon_fence", "dollarmath", "linkify", "substitution", "tasklist")


@dataclass(frozen=True)
class Book:
    """A checkout of the book.

    Parameters
    ----------
    root
        The repository's top folder, which holds `_config.yml`.
    """

    root: Path

    @property
    def chapters(self) -> list[Path]:
        """The chapter sources, in order."""
        return sorted((self.root / "chapters").glob("*.md"))

    @property
    def source(self) -> Path:
        """The folder that holds the package."""
        return self.root / "src"

    @property
    def bibliography(self) -> Path:
        """The BibTeX file that citations refer to."""
        return self.root / "book" / "references.bib"

    @property
    def contributing(self) -> Path:
        """The document that lists the whitelist."""
        return self.root / "CONTRIBUTING.md"

    def shown(self, path: Path) -> Path:
        """Shorten a path to the way messages name it: relative to the root."""
        return path.relative_to(self.root) if path.is_relative_to(self.root) else path

    @cached_property
    def config(self) -> dict[str, Any]:
        """What `_config.yml` says."""
        path = self.root / "_config.yml"
        try:
            config = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ProblemError("_config.yml", None, f"expected in {self.root}, found none") from None
        if not isinstance(config, dict):
            raise ProblemError("_config.yml", None, f"expected a mapping, got {type(config).__name__}")
        return config

    @property
    def extensions(self) -> frozenset[str]:
        """The MyST syntax extensions that the book is built with."""
        parse = self.config.get("parse") or {}
        return frozenset(parse.get("myst_enable_extensions") or DEFAULT_EXTENSIONS)

    @property
    def repository(self) -> str:
        """Address of the repository, ``https://github.com/owner/name``."""
        url = str((self.config.get("repository") or {}).get("url", "")).rstrip("/")
        parts = urlsplit(url)
        if parts.netloc != "github.com" or len(self._segments(url)) != 2:
            raise ProblemError(
                "_config.yml", None, f"repository.url: expected https://github.com/owner/name, got {url!r}"
            )
        return url

    @property
    def branch(self) -> str:
        """Branch that Colab and the images' addresses point to."""
        return str((self.config.get("repository") or {}).get("branch", "main"))

    @staticmethod
    def _segments(url: str) -> list[str]:
        return [part for part in urlsplit(url).path.split("/") if part]

    @property
    def requirement(self) -> str:
        """What pip installs the package from."""
        return f"git+{self.repository}@{self.branch}"

    def raw_url(self, path: Path) -> str:
        """Address at which GitHub serves the bytes of a file of the repository."""
        owner, name = self._segments(self.repository)
        relative = quote(path.relative_to(self.root).as_posix())
        return f"https://raw.githubusercontent.com/{owner}/{name}/{self.branch}/{relative}"

    def colab_url(self, notebook: Path) -> str:
        """Address that opens a notebook of the repository in Colab."""
        owner, name = self._segments(self.repository)
        relative = quote(notebook.relative_to(self.root).as_posix())
        return f"https://colab.research.google.com/github/{owner}/{name}/blob/{self.branch}/{relative}"

    def page_url(self, source: Path, anchor: str = "") -> str:
        """Address of the published page made from a source file, on GitHub Pages."""
        owner, name = self._segments(self.repository)
        relative = quote(source.relative_to(self.root).with_suffix(".html").as_posix())
        return f"https://{owner.lower()}.github.io/{name}/{relative}" + (f"#{anchor}" if anchor else "")
