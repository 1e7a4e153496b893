"""Citations in author-year form, from the book's BibTeX file."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pybtex.database import parse_file
from pybtex.richtext import Text

VENUE_FIELDS = ("journal", "booktitle", "publisher", "institution", "school", "howpublished")


@dataclass(frozen=True)
class Work:
    """A cited work.

    Parameters
    ----------
    authors
        Short form: "Vaswani et al.".
    year
        Year of publication, or "n.d.".
    url
        Where to read it; "" if the entry gives neither `url`, `doi` nor `eprint`.
    full
        The line for a list of references, in Markdown.
    """

    authors: str
    year: str
    url: str
    full: str

    @property
    def textual(self) -> str:
        """The work as part of a sentence: Vaswani et al. (2017)."""
        return self._linked(f"{self.authors} ({self.year})")

    @property
    def parenthetical(self) -> str:
        """The work as it stands between brackets: Vaswani et al., 2017."""
        return self._linked(f"{self.authors}, {self.year}")

    def _linked(self, text: str) -> str:
        return f"[{text}]({self.url})" if self.url else text


def read_bibliography(path: Path) -> dict[str, Work]:
    """Read a BibTeX file into works by key; a file that is not there holds none."""
    if not path.is_file():
        return {}
    with warnings.catch_warnings():
        # pybtex 0.26 asks setuptools' old plug-in registry, which warns.
        warnings.simplefilter("ignore")
        entries = parse_file(str(path), bib_format="bibtex").entries
    return {key: _work(entry) for key, entry in entries.items()}


def _work(entry: Any) -> Work:
    people = entry.persons.get("author") or entry.persons.get("editor") or []
    families = [_family(person) for person in people]
    if not families:
        short = _field(entry, "organization") or _field(entry, "title")
    elif len(families) == 1:
        short = families[0]
    else:
        short = f"{families[0]} et al." if len(families) > 2 else " and ".join(families)
    year = _field(entry, "year") or "n.d."
    url = _url(entry)
    venue = next((_field(entry, name) for name in VENUE_FIELDS if name in entry.fields), "")
    parts = [f"{_author_list(people) or short} ({year}).", f"*{_field(entry, 'title')}*."]
    if venue:
        parts.append(f"{venue}.")
    if url:
        parts.append(f"<{url}>")
    return Work(short, year, url, " ".join(parts))


def _author_list(people: list[Any]) -> str:
    names = []
    for person in people:
        family = _family(person)
        initials = [f"{_plain(name)[0]}." for name in [*person.first_names, *person.middle_names]]
        names.append(", ".join([family, " ".join(initials)]) if initials else family)
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" & {names[-1]}" if names else ""


def _family(person: Any) -> str:
    return _plain(" ".join([*person.prelast_names, *person.last_names]))


def _url(entry: Any) -> str:
    if url := _raw(entry, "url"):
        return url
    if doi := _raw(entry, "doi"):
        return f"https://doi.org/{doi}"
    if eprint := _raw(entry, "eprint"):
        return f"https://arxiv.org/abs/{eprint}"
    return ""


def _raw(entry: Any, name: str) -> str:
    return str(entry.fields[name]).strip() if name in entry.fields else ""


def _field(entry: Any, name: str) -> str:
    return _plain(_raw(entry, name))


def _plain(latex: str) -> str:
    """Turn LaTeX accents and protecting braces into plain text."""
    return " ".join(str(Text.from_latex(latex)).split()) if latex else ""
