"""A saved page open from disk in a browser without a network, for `view.View` to look at."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from browser import Problems
from view import VIEW, View

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

SECONDS = 30


class PageFromDisk:
    """One file in a browser context of its own, with every request but for the file refused.

    Parameters
    ----------
    browser : Browser
    path : Path
        Of the file.
    shots : Path
        Folder of the pictures that are taken.
    theme : {"light", "dark"}
    viewport : tuple of int
    """

    def __init__(
        self,
        browser: Browser,
        path: Path,
        shots: Path,
        *,
        theme: str = "light",
        viewport: tuple[int, int] = (1280, 900),
    ) -> None:
        self.selector, self.shots, self.path = VIEW, shots, path
        self.problems, self.requested = Problems(), list[str]()
        width, height = viewport
        self._context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=theme, offline=True
        )
        self.page = self._context.new_page()
        self.problems.listen(self.page)
        address = path.resolve().as_uri()

        def asked(request: Any) -> None:
            if request.url != address and not request.url.startswith("blob:"):
                self.requested.append(request.url)

        self.page.on("request", asked)
        self.page.goto(address)

    def view(self, index: int = 0) -> View:
        """The view at a place in page order, once it has drawn."""
        view = View(self, index)  # type: ignore[arg-type]
        view.wait_drawn(timeout=SECONDS)
        return view

    def wait_for(
        self, condition: str, what: str, arg: Any = None, *, timeout: float = SECONDS
    ) -> None:
        """Wait for a JavaScript expression over `arg`."""
        del what
        self.page.wait_for_function(f"arg => {condition}", arg=arg, timeout=timeout * 1000)

    @contextlib.contextmanager
    def redrawn(self, *views: View) -> Iterator[None]:
        """Wait at the end of the block until each view has drawn again."""
        before = [view.drawn() for view in views]
        yield
        for view, drawn in zip(views, before, strict=True):
            view.wait_drawn(drawn + 1)

    def close(self) -> None:
        """Close it, and raise if anything went wrong or was asked of a network."""
        self._context.close()
        self.problems.check()
        if self.requested:
            raise AssertionError(f"the page asked for {self.requested}")
