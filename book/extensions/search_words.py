r"""Search that finds what is no English word: formulas, names of code, claims, Chinese terms.

Sphinx's search cuts texts at everything but letters and digits. That loses the root in √d and the point in C5.2,
and keeps a run of Chinese characters, which has no spaces, as one word that only its own beginning-to-end finds.
Here

- √d, ``\sqrt{d}`` and ``sqrt(d)`` are one word, as are a claim's number and a Greek letter and its name;
- Chinese is cut into pairs of neighbours: 注意力 is found wherever 注意 and 意力 stand, so inside 自注意力 too. No
  dictionary is needed, and the page cuts a query as the build cuts the texts;
- each entry of the glossary can be looked up under its Chinese term as under its English one;
- of a dotted name in a query the short parts are left out (``nn`` of ``nn.LayerNorm``): Sphinx asks for as many
  words of a query as have more than two letters, whichever they are, and would list every page with ``nn``.

What the page does with a query is in ``search_words.js``; it is published inside Sphinx's ``language_data.js``.
"""

import json
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish
from sphinx.util.index_entries import split_index_msg

HAN = r"㐀-䶿一-鿿豈-﫿"
#: Patterns that Python and JavaScript read alike; those with a group become a word of their own.
PATTERNS = {
    "root": r"(?:√\s?[({]?|\\?sqrt\s*[({]|\\sqrt\s)\s*\\?([A-Za-z])[\w₀-ₜ]*",
    "claim": r"\b([Cc]\d+\.\d+)\b",
    "han": f"[{HAN}]+",
}
GREEK = {
    chr(code): unicodedata.name(chr(code)).rpartition(" ")[2].lower().replace("lamda", "lambda")
    for code in range(ord("α"), ord("ω") + 1)
    if "FINAL" not in unicodedata.name(chr(code))
}
_SCRIPT = Path(__file__).with_suffix(".js")
_WORD = re.compile(rf"[^\W{HAN}]+")


def pairs(run: str) -> list[str]:
    """Cut a run of Chinese characters into its pairs of neighbours."""
    return [run[i : i + 2] for i in range(len(run) - 1)]


class BookSearch(SearchEnglish):
    """Sphinx's English, and the words that it does not know."""

    js_splitter_code = (
        f"const SEARCH_PATTERNS = {json.dumps(PATTERNS)};\nconst GREEK = {json.dumps(GREEK)};\n"
        + _SCRIPT.read_text(encoding="utf-8")
    )

    def split(self, input: str) -> list[str]:  # noqa: A002 (Sphinx's name)
        """Cut a text of a page into words, with all parts of those that belong together."""
        words = [f"√{letter}" for letter in re.findall(PATTERNS["root"], input)]
        words += re.findall(PATTERNS["claim"], input)
        for run in re.findall(PATTERNS["han"], input):
            words += [*run, *pairs(run)]
        for word in _WORD.findall(input):
            words += [word, *(GREEK[letter] for letter in word if letter in GREEK)]
        return words


def add_chinese_terms(app: Sphinx, doctree: nodes.document) -> None:
    """Give each entry of the glossary a second name in the index: the Chinese term its text begins with."""
    for glossary in doctree.findall(addnodes.glossary):
        for entry in glossary.findall(nodes.definition_list_item):
            chinese = next(entry.findall(nodes.strong)).astext()
            for index in entry.findall(addnodes.index):
                kind, _, target, main, key = index["entries"][0]
                index_entries(app)[app.env.docname].append((kind, chinese, target, main, key))


def index_entries(app: Sphinx) -> dict[str, list[tuple[str, str, str, str, str | None]]]:
    """Return the entries of each page's index."""
    return app.env.get_domain("index").entries  # type: ignore[attr-defined]


def feed_index_entries(app: Sphinx) -> Iterable[tuple[str, dict[str, Any], str]]:
    """Tell the search of all pages' entries; add no page.

    Sphinx tells it of the pages that a build writes, and what it knew of others from the last build is lost.
    """
    indexer = app.builder.indexer  # type: ignore[attr-defined]
    for page, entries in index_entries(app).items():
        indexer._index_entries[page] = sorted(
            {
                (part, target, main)
                for kind, value, target, main, _ in entries
                for part in split_index_msg(kind, value)
            }
        )
    return ()


def setup(app: Sphinx) -> dict[str, Any]:
    """Take the place of Sphinx's English."""
    app.add_search_language(BookSearch)
    app.connect("doctree-read", add_chinese_terms)
    app.connect("html-collect-pages", feed_index_entries)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
