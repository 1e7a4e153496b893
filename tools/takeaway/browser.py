"""The installed Chromium: takes pictures of widgets, and prints.

It knows no host but this machine, so that whatever a file would fetch is missing from it and is seen to be.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Error, Page, sync_playwright

from takeaway.errors import TakeawayError

#: Where a Chromium may be: the command that CHROMIUM names, or what distributions call it.
COMMANDS = ("chromium", "chromium-browser", "google-chrome")
#: Width in CSS pixels of what is photographed, and pixels of the picture for each.
WIDTH, SCALE = 760, 2
_LOOKS = 20


def command(own: str) -> str:
    """Find the browser.

    Parameters
    ----------
    own
        Where Playwright's own would be, which `playwright install chromium` fetches.

    Raises
    ------
    TakeawayError
        None is installed.
    """
    names = (os.environ.get("CHROMIUM", ""), *COMMANDS, own)
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise TakeawayError("no Chromium found: apt-get install chromium, or set CHROMIUM=/path/to/it")
    return found


@contextmanager
def browser() -> Iterator[Browser]:
    """Give a headless Chromium."""
    with sync_playwright() as playwright:
        path = command(playwright.chromium.executable_path)
        try:
            running = playwright.chromium.launch(
                executable_path=path,
                args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
            )
        except Error as error:
            raise TakeawayError(f"{path} does not start: {error.message.splitlines()[0]}") from None
        yield running
        running.close()


class Camera:
    """Takes the pictures of a book's widgets, page by page."""

    def __init__(self, browser: Browser, html: Path) -> None:
        self._html = html
        self._name = ""
        self._page = browser.new_page(
            viewport={"width": WIDTH, "height": 1000},
            device_scale_factor=SCALE,
            color_scheme="light",
            reduced_motion="reduce",
        )

    def __call__(self, name: str, number: int) -> bytes:
        """Take the picture of a page's n-th widget, counted from 0, once it no longer changes.

        Parameters
        ----------
        name
            The page, such as ``chapters/01_recurrence``.

        Returns
        -------
        bytes
            PNG of at most 256 colours.

        Raises
        ------
        TakeawayError
            The widget is not mounted, or goes on changing.
        """
        if name != self._name:
            self._page.goto((self._html / f"{name}.html").absolute().as_uri())
            self._name = name
        try:
            self._page.locator(f".tb-widget >> nth={number}").and_(
                self._page.locator('[data-tb-mounted="true"]')
            ).wait_for(timeout=30_000)
        except Error:
            raise TakeawayError(f"{name}: expected widget {number + 1} to appear within 30 s") from None
        shown = self._page.locator(f".tb-widget >> nth={number} >> .tb-root").first
        before = b""
        for _ in range(_LOOKS):
            now = shown.screenshot(animations="disabled", caret="hide")
            if now == before:
                return compress(now)
            before = now
            self._page.wait_for_timeout(200)
        raise TakeawayError(f"{name}: expected widget {number + 1} to come to rest")


def compress(png: bytes) -> bytes:
    """Store a picture with at most 256 colours, which is what a drawn one has but for its edges."""
    small = BytesIO()
    with Image.open(BytesIO(png)) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def open_file(browser: Browser, path: Path) -> Page:
    """Open a file and wait for its fonts and pictures.

    Raises
    ------
    TakeawayError
        Something it refers to could not be loaded.
    """
    page = browser.new_page()
    failed: list[str] = []
    page.on("requestfailed", lambda request: failed.append(request.url))
    page.goto(path.absolute().as_uri(), wait_until="load")
    page.evaluate("document.fonts.ready.then(() => true)")
    if failed:
        raise TakeawayError(f"{path.name}: expected everything it shows to be there, could not load {failed[0]}")
    return page
