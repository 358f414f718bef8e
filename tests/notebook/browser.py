"""Chromium for the tests, and a record of what goes wrong in its pages.

`running_browser` starts Debian's Chromium, or another that CHROMIUM_PATH names, or
Playwright's own. `Problems` listens to a page: uncaught exceptions, console errors,
requests that fail. A view whose picture looks right but which threw is broken, so the
fixtures fail a test that leaves a problem behind.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserType, ConsoleMessage, Page, Request, Response

_FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # WebGL drawn in software, where there is no GPU.
    "--enable-unsafe-swiftshader",
    # Two cameras that show a turning disc and the time; a page's context says whether it may see.
    "--use-fake-device-for-media-stream=device-count=2,fps=60",
]

_HARMLESS = [
    # A restart cancels what Lab's debugger and its comm channels had just asked the old kernel.
    re.compile(r"Canceled future for (debug|create_subshell)_request message before replies"),
    # Lab asks each kernel for its widgets, one that has not imported ipywidgets too.
    re.compile(r"Python callback: No such comm: [-\w]+\s*$"),
]
"""What Lab itself reports though nothing is wrong. Each entry says why it may be ignored."""


class PageError(AssertionError):
    """A page reported problems; the message lists them."""


class Problems:
    """What went wrong in a page, one line of text each, oldest first."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def listen(self, page: Page) -> None:
        """Record the problems of a page from now on."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self._add(f"uncaught: {error.stack or error}"))
        page.on("requestfailed", self._request_failed)
        page.on("response", self._response)

    def take(self) -> list[str]:
        """The problems so far, which then count as dealt with."""
        lines, self.lines = self.lines, []
        return lines

    def check(self) -> None:
        """Raise `PageError` if there is a problem that no test has taken."""
        if lines := self.take():
            raise PageError("the page reported problems:\n" + "\n".join(lines))

    def _add(self, line: str) -> None:
        if not any(pattern.search(line) for pattern in _HARMLESS):
            self.lines.append(line)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._add(f"console: {message.text}")

    def _request_failed(self, request: Request) -> None:
        # A page that is left or reloaded drops the requests it still had under way.
        if request.failure != "net::ERR_ABORTED":
            self._add(f"request failed: {request.method} {request.url} ({request.failure})")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self._add(f"response {response.status}: {response.request.method} {response.url}")


@contextmanager
def running_browser(*flags: str) -> Iterator[Browser]:
    """Headless Chromium for the length of the block, started with more `flags` if need be.

    Raises
    ------
    RuntimeError
        If there is no Chromium; the message says how to get one.
    """
    with sync_playwright() as playwright, TemporaryDirectory(prefix="chromium-") as home:
        browser = playwright.chromium.launch(
            executable_path=chromium_path(playwright.chromium),
            args=[*_FLAGS, *flags],
            # Crash reports and caches go here, not to the person's home.
            env={**os.environ, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home},
        )
        try:
            yield browser
        finally:
            browser.close()


def chromium_path(chromium: BrowserType) -> str:
    """Path of the Chromium to drive."""
    wanted = os.environ.get("CHROMIUM_PATH")
    found = wanted or shutil.which("chromium") or chromium.executable_path
    if not Path(found).exists():
        where = f"CHROMIUM_PATH names {wanted!r}, which is not there" if wanted else "none found"
        raise RuntimeError(
            f"the notebook tests need Chromium, but {where}: run `apt-get install chromium` or "
            "`python -m playwright install chromium`, or set CHROMIUM_PATH to one"
        )
    return found
