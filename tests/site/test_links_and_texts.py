"""The whole built book, read as files: links, anchors, alternative texts, addresses of scripts and pictures."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def read(site):
    """Return a function that gives a built page as a tree."""
    pages = {}

    def parse(path):
        if path not in pages:
            pages[path] = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        return pages[path]

    return parse


@pytest.fixture(scope="module")
def anchors(read):
    """Return a function that gives the places of a built page that links can lead to."""
    known = {}

    def places(path):
        if path not in known:
            elements = read(path).select("[id], a[name]")
            known[path] = {element.get(key) for element in elements for key in ("id", "name")}
        return known[path]

    return places


@pytest.fixture(scope="module")
def config():
    return yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))


def test_every_link_inside_the_book_leads_somewhere(site, read, anchors, name):
    page = site / f"{name}.html"
    broken = []
    for link in read(page).select("a[href]"):
        url = urlsplit(link["href"])
        if url.scheme:
            continue
        target = (page.parent / unquote(url.path)).resolve() if url.path else page
        found = target.is_file()
        if found and url.fragment and target.suffix == ".html":
            found = unquote(url.fragment) in anchors(target)
        if not found:
            broken.append(link["href"])
    assert broken == []


def test_nothing_comes_from_elsewhere(site, read, name):
    page = site / f"{name}.html"
    for attribute in ("src", "href"):
        for element in read(page).select(
            f"script[{attribute}], link[{attribute}]:not([rel=search], [rel=canonical]), img[{attribute}]"
        ):
            url = urlsplit(element[attribute])
            assert url.scheme in ("", "data"), element
            if not url.scheme:
                assert (page.parent / unquote(url.path)).resolve().is_file(), element


#: Openings that name a kind of picture instead of saying what is to be seen.
NAMES_ONLY = re.compile(
    r"^(an?|the|this|two|three)?\s*(small|simple|schematic|line|bar|scatter)?\s*"
    r"(figures?|plots?|diagrams?|charts?|graphs?|images?|pictures?|illustrations?|screenshots?|drawings?|sketch(es)?)"
    r"\s+(of|showing|with|that|which|for|comparing)\b",
    re.IGNORECASE,
)


def alt_problem(text, caption):
    """Say why a text cannot stand for a picture, or None if it may."""
    if match := NAMES_ONLY.search(text):
        return f"names the picture: {match[0]!r}"
    if len(text) < 60:
        return f"too short: {len(text)} characters"
    plain = [re.sub(r"\W+", " ", part).strip().lower() for part in (text, caption)]
    return "says what the caption says" if plain[0] in plain[1] else None


@pytest.mark.parametrize(
    ("text", "caption", "problem"),
    [
        ("Plot of the loss against the training steps, which falls for all of the five models.", "Loss.", "names"),
        ("A diagram showing how queries, keys and values become weights and then the output.", "A.", "names"),
        ("The loss falls.", "C1.", "too short"),
        ("The loss falls from 2.3 to 0.1 nats within 500 steps for all five of the models.",
         "Fig. 3. The loss falls from 2.3 to 0.1 nats, within 500 steps, for all five of the models.", "caption"),
        ("The loss falls from 2.3 to 0.1 nats within 500 steps for all five of the models.", "Loss.", None),
        ("Plotted against the width, variances of q·k lie on the line variance equals width.", "Var.", None),
    ],
)  # fmt: skip
def test_alternative_texts_are_judged(text, caption, problem):
    found = alt_problem(text, caption)
    assert found is None if problem is None else problem in found


def test_every_picture_says_what_is_to_be_seen(site, read, name):
    for picture in read(site / f"{name}.html").select("img, svg[role=img], canvas"):
        text = picture.get("alt" if picture.name == "img" else "aria-label")
        inside_link = picture.find_parent("a")
        if text == "" and inside_link and inside_link.get_text(strip=True):
            continue  # an ornament beside the text of a link
        assert text, picture
        assert not re.search(r"^[0-9a-f]{16,}|\.(png|svg|jpe?g)$", text), picture
        if picture.find_parent("article") and not picture.find_parent("dialog"):
            figure = picture.find_parent("figure") or picture.find_parent(class_="cell_output")
            caption = figure.find("figcaption") if figure else None
            problem = alt_problem(text, caption.get_text(" ") if caption else "")
            assert problem is None, f"{problem}: {text}"


def test_ids_are_unique(site, read, name):
    ids = [element["id"] for element in read(site / f"{name}.html").select("[id]")]
    assert sorted(ids) == sorted(set(ids))


def test_front_page_is_reached_from_the_top_folder(site):
    assert "url=book/intro.html" in (site / "index.html").read_text(encoding="utf-8")


def test_buttons_of_a_chapter(site, read, config, chapter):
    url, branch = config["repository"]["url"], config["repository"]["branch"]
    owner_and_name = urlsplit(url).path
    page = read(site / f"{chapter}.html")
    links = {link["href"] for link in page.select(".article-header-buttons a[href]")}
    assert f"https://colab.research.google.com/github{owner_and_name}/blob/{branch}/{chapter}.ipynb" in links
    assert f"{url}/edit/{branch}/{chapter}.md" in links
    assert url in links
    assert (ROOT / f"{chapter}.ipynb").is_file()
    downloaded = (site / "_sources" / f"{chapter}.ipynb").read_text(encoding="utf-8")
    assert downloaded == (ROOT / f"{chapter}.ipynb").read_text(encoding="utf-8")


def test_chapters_say_what_they_take_and_when_they_ran(site, read, chapter):
    page = read(site / f"{chapter}.html")
    assert re.search(r"^\d+ minutes · You need: .+ · Downloads: .+", page.select_one(".tb-chapter-facts").text)
    executed = page.select_one(".tb-chapter-executed").text
    assert re.search(
        r"^Executed and checked on \d+ \w+ 20\d\d · Python 3\S+, torch \S+, numpy \S+, matplotlib", executed
    )


def test_the_introduction_adds_up_the_times_of_the_chapters(site, read):
    def minutes(text):
        hours, rest = re.search(r"^(?:(\d+) h)? ?(?:(\d+) min)?$", text).groups(default="0")
        return 60 * int(hours) + int(rest)

    *rows, total = read(site / "book/intro.html").select("table.tb-chapters tbody tr")
    assert len(rows) == len([*ROOT.glob("chapters/*.md")])
    added = [0, 0, 0]
    for row in rows:
        _, chapter, reading, exercises = row.select("td")
        page = read((site / "book" / chapter.a["href"]).resolve())
        assert chapter.text.strip() == page.h1.find(string=True).strip()
        assert page.select_one(".tb-chapter-facts").text.startswith(f"{minutes(reading.text.strip())} minutes ")
        number, _, time = exercises.text.strip().partition(" · ")
        titles = [title.text for title in page.select(".exercise > .admonition-title")]
        assert int(number) == len(titles) > 0
        assert minutes(time) == sum(int(title.split()[-2]) for title in titles)
        for place, value in enumerate((minutes(reading.text.strip()), int(number), minutes(time))):
            added[place] += value
    _, _, reading, exercises = total.select("td")
    number, _, time = exercises.text.strip().partition(" · ")
    assert [minutes(reading.text.strip()), int(number), minutes(time)] == added


def test_the_foot_of_a_page_names_what_comes_next(site, read, name):
    if name == "search":
        return
    for side, word in (("left-prev", "Previous"), ("right-next", "Next")):
        if link := read(site / f"{name}.html").select_one(f".prev-next-area a.{side}"):
            target = (site / name).parent / link["href"]
            kind = "chapter" if target.resolve().parent.name == "chapters" else "page"
            assert link.select_one(".prev-next-subtitle").text == f"{word} {kind}"
            assert link.select_one(".prev-next-title").text == read(target.resolve()).h1.find(string=True)
        else:
            assert name == ("book/intro" if word == "Previous" else "book/about")
