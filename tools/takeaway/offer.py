"""The pages offer the files that lie beside them, and no others.

A page of the site has a box of the class ``tb-takeaway`` that says there are none. Whether there is a PDF is not
known when the page is built, since it is made from the pages; so the command that makes a file writes the link.
A page that Sphinx writes anew has none again, until the next `make pdf`.
"""

import re
from pathlib import Path

from takeaway.errors import TakeawayError
from takeaway.volume import new_tag

BOX = re.compile(r'(<div class="tb-takeaway[^"]*">).*?(</div>)', re.DOTALL)
WORDS = {"pdf": "the book as one PDF", "epub": "the book as one EPUB"}


def offer(html: Path, stem: str) -> None:
    """Write links to the files of this name into the boxes that are there for them.

    Raises
    ------
    TakeawayError
        No page has such a box.
    """
    files = [path for kind in WORDS if (path := html / f"{stem}.{kind}").is_file()]
    pages = [page for page in html.rglob("*.html") if BOX.search(page.read_text(encoding="utf-8"))]
    if not pages:
        raise TakeawayError(f"{html}: expected a page with a box of the class tb-takeaway, found none")
    for page in pages:
        up = "../" * (len(page.relative_to(html).parts) - 1)
        lines = [new_tag("li") for _ in files]
        for line, path in zip(lines, files, strict=True):
            line.append(new_tag("a", WORDS[path.suffix[1:]], href=up + path.name, download=""))
            line.append(f", {path.stat().st_size / 1e6:.1f} MB")
        links = f"<ul>{''.join(map(str, lines))}</ul>"
        text = BOX.sub(lambda box: box[1] + links + box[2], page.read_text(encoding="utf-8"))  # noqa: B023
        page.write_text(text, encoding="utf-8")
