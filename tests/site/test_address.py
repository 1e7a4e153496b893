"""What search engines, people who pass on a link, and people with a wrong link get."""

import threading
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
from bs4 import BeautifulSoup
from notebooks.book import Book
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
BOOK = Book(ROOT)
FRONT = "book/intro"


def address(page):
    return BOOK.page_url(ROOT / f"{page}.md")


BASE = address(FRONT).removesuffix(f"{FRONT}.html")


@pytest.fixture(scope="module")
def head(site):
    """Return a function that gives what a page says of itself: title, canonical address, meta elements."""

    def read(name):
        text, _, _ = (site / f"{name}.html").read_text(encoding="utf-8").partition("</head>")
        page = BeautifulSoup(text, "html.parser")
        named = page.select("meta[property], meta[name]:not([name=viewport])")
        said = {meta.get("property") or meta["name"]: meta["content"] for meta in named}
        return said | {"title": page.title.text, "canonical": page.select_one("link[rel=canonical]")["href"]}

    return read


@pytest.fixture(scope="module")
def names(site):
    return [path.relative_to(site).as_posix()[: -len(".html")] for path in site.glob("[!_]*/*.html")]


def test_every_page_says_what_it_is_and_where(site, head, name):
    said = head(name)
    assert said["canonical"] == address(name)
    assert 50 <= len(said["description"]) <= 160
    if name == "search":
        return
    assert said["og:description"] == said["description"]
    assert said["og:title"] in said["title"]
    assert said["og:url"] == address(name)
    card = said["og:image"].removeprefix(BASE)
    with Image.open(site / card) as picture:
        assert picture.size == (int(said["og:image:width"]), int(said["og:image:height"])) == (1200, 630)
    assert (site / card).stat().st_size < 80_000
    own = name.startswith("chapters/") or name == FRONT
    assert (Path(card).stem == Path(name).name) == own


def test_no_two_pages_have_one_description(head, names):
    assert max(Counter(head(name)["description"] for name in names).values()) == 1


def test_site_map_names_every_page_and_nothing_else(site, names):
    root = ElementTree.parse(site / "sitemap.xml").getroot()
    assert sorted(element.text for element in root.iterfind(".//{*}loc")) == sorted(map(address, names))
    assert f"Sitemap: {BASE}sitemap.xml\n" in (site / "robots.txt").read_text()


def test_the_top_folder_has_the_front_pages_tags(head):
    assert head("index") == head(FRONT)


@pytest.fixture
def published(site, tmp_path):
    """Serve the site as GitHub Pages does: in a folder, with 404.html for what is not there; give the address."""
    folder = urlsplit(BASE).path
    assert folder.count("/") == 2
    (tmp_path / folder.strip("/")).symlink_to(site)

    class Handler(SimpleHTTPRequestHandler):
        error_content_type = "text/html"

        def send_error(self, code, message=None, explain=None):
            self.error_message_format = (site / "404.html").read_text(encoding="utf-8").replace("%", "%%")
            super().send_error(code, message, explain)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}{folder}"
        running.shutdown()


@pytest.mark.parametrize("wrong", ["nothing.html", "chapters/nothing.html", "a/b/c/"])
def test_a_wrong_address_of_any_depth_gets_a_page_that_leads_on(browser, published, wrong):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    failed = []
    page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
    page.goto(published + wrong)
    assert failed == [published + wrong]  # style sheets, scripts and pictures of the page are there
    assert page.locator("h1:visible").inner_text() == "There is no such page"
    assert page.locator(".bd-sidebar-primary .navbar-brand img").evaluate("image => image.naturalWidth") > 0
    page.locator(".bd-sidebar-primary a", has_text="Several looks at once").click()
    assert page.url == f"{published}chapters/06_multi_head.html"
    page.goto(published + wrong)
    page.locator("article a").click()
    assert page.url == f"{published}{FRONT}.html"
    page.goto(published + wrong)
    page.keyboard.press("Control+k")
    page.locator("#pst-search-dialog input").fill("softmax")
    page.keyboard.press("Enter")
    page.locator("ul.search a").first.wait_for()
    page.close()
