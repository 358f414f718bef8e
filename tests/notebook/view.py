"""One view of a widget on a notebook's page: its picture, and a person's hands on it.

A view marks itself by a host element `[data-nbviz-view]` that holds an open shadow root,
and raises the number in its `data-nbviz-drawn` with each paint. Selectors reach into the
shadow root. Places are CSS pixels from the top left corner of an element of the view, the
first canvas unless said otherwise.
"""

from __future__ import annotations

import base64
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from notebook_page import Notebook
    from playwright.sync_api import Locator

VIEW = "[data-nbviz-view]"
SECONDS = 60

_TEXT = """host => [...(host.shadowRoot ?? host).children]
  .filter(child => child.tagName !== 'STYLE').map(child => child.innerText).join('\\n')"""
_PIXELS = """canvas => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d');
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
  let text = '';
  for (let start = 0; start < data.length; start += 32768)
    text += String.fromCharCode(...data.subarray(start, start + 32768));
  return [canvas.height, canvas.width, btoa(text)];
}"""
_FRAMES = """(element, [step, frames]) => new Promise(resolve => {
  const act = eval(step), intervals = [];
  let last = null;
  requestAnimationFrame(function frame(now) {
    if (last !== null) intervals.push(now - last);
    last = now;
    if (intervals.length === frames) return resolve(intervals);
    act(element, intervals.length);
    requestAnimationFrame(frame);
  });
})"""
SCROLL = "(element, frame) => { element.scrollTop += 24; }"
_COPY_PICTURE = """async text => {
  const bytes = Uint8Array.from(atob(text), character => character.charCodeAt(0));
  const picture = new Blob([bytes], { type: 'image/png' });
  await navigator.clipboard.write([new ClipboardItem({ 'image/png': picture })]);
}"""


class View:
    """A view at a place in page order; it stays valid when the page is loaded again."""

    def __init__(self, notebook: Notebook, index: int) -> None:
        self.notebook, self.index = notebook, index

    @property
    def host(self) -> Locator:
        """The element that holds the view's shadow root."""
        return self.notebook.page.locator(self.notebook.selector).nth(self.index)

    def find(self, selector: str) -> Locator:
        """Elements within the view."""
        return self.host.locator(selector)

    def text(self) -> str:
        """What a person reads in the view."""
        return self.host.evaluate(_TEXT)

    def show(self) -> None:
        """Scroll the page until the view is on screen."""
        self.host.scroll_into_view_if_needed()

    # Drawing

    def drawn(self) -> int:
        """How often the view has painted (0 before the first)."""
        return int(self.host.get_attribute("data-nbviz-drawn") or 0)

    def wait_drawn(self, times: int = 1, *, timeout: float = SECONDS) -> None:
        """Wait until the view has painted at least so often."""
        self.notebook.wait_for(
            "Number(document.querySelectorAll(arg[0])[arg[1]]?.dataset.nbvizDrawn) >= arg[2]",
            f"view {self.index} to have drawn {times} times",
            [self.notebook.selector, self.index, times],
            timeout=timeout,
        )

    @contextmanager
    def redrawn(self) -> Iterator[None]:
        """Wait at the end of the block until the view has painted again."""
        with self.notebook.redrawn(self):
            yield

    def pixels(self, selector: str = "canvas") -> np.ndarray:
        """Pixels of a canvas: uint8, shape (height, width, 4), RGBA."""
        height, width, data = self.find(selector).first.evaluate(_PIXELS)
        return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)

    def screenshot(self, name: str) -> Path:
        """Save a picture of the view as it shows on the page."""
        path = self.notebook.shots / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.host.screenshot(path=path)
        return path

    # Hands

    def hover(self, x: float, y: float, selector: str = "canvas") -> None:
        """Move the pointer to a place."""
        self.notebook.page.mouse.move(*self._place(x, y, selector))

    def click(self, x: float, y: float, selector: str = "canvas", *, count: int = 1) -> None:
        """Click a place, or double-click it with `count=2`."""
        self.notebook.page.mouse.click(*self._place(x, y, selector), click_count=count)

    def drag(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        selector: str = "canvas",
        *,
        steps: int = 10,
    ) -> None:
        """Press at one place, move in `steps` to another and let go."""
        mouse = self.notebook.page.mouse
        # Both places first: getting one scrolls, which would move the other.
        (x0, y0), (left, top) = self._place(*start, selector), self._corner(selector)
        mouse.move(x0, y0)
        mouse.down()
        mouse.move(left + end[0], top + end[1], steps=steps)
        mouse.up()

    def wheel(
        self, x: float, y: float, dy: float, selector: str = "canvas", *, key: str | None = None
    ) -> None:
        """Turn the wheel over a place by `dy` CSS pixels, with a key such as "Control" held."""
        self.hover(x, y, selector)
        if key:
            self.notebook.page.keyboard.down(key)
        self.notebook.page.mouse.wheel(0, dy)
        if key:
            self.notebook.page.keyboard.up(key)

    def press(self, *keys: str) -> None:
        """Press keys, such as "ArrowRight", in whatever has the focus."""
        for key in keys:
            self.notebook.page.keyboard.press(key)

    def choose_file(
        self, file: Path | bytes, selector: str = "button", *, name: str = "picture.png"
    ) -> None:
        """Choose a file, or `bytes` under a `name`, in the dialog that an element's click opens."""
        with self.notebook.page.expect_file_chooser() as chooser:
            self.find(selector).first.click()
        chooser.value.set_files(self._on_disk(file, name))

    def drop_file(
        self, file: Path | bytes, selector: str | None = None, *, name: str = "picture.png"
    ) -> None:
        """Drag a file from outside the browser over an element (or the view) and let it go."""
        with self.dragged_file(file, selector, name=name):
            pass

    @contextmanager
    def dragged_file(
        self, file: Path | bytes, selector: str | None = None, *, name: str = "picture.png"
    ) -> Iterator[None]:
        """Hold a file over the middle of an element (or the view); it drops after the block."""
        target = self.find(selector).first if selector else self.host
        target.scroll_into_view_if_needed()
        box = target.bounding_box()
        if box is None:
            raise RuntimeError(
                f"{selector or 'the view'!r} of view {self.index} is not on the page"
            )
        page = self.notebook.page
        session = page.context.new_cdp_session(page)
        path = str(self._on_disk(file, name))
        drag = {
            "x": box["x"] + box["width"] / 2,
            "y": box["y"] + box["height"] / 2,
            "data": {"items": [], "files": [path], "dragOperationsMask": 1},
        }
        try:
            session.send("Input.dispatchDragEvent", {"type": "dragEnter", **drag})
            session.send("Input.dispatchDragEvent", {"type": "dragOver", **drag})
            yield
            session.send("Input.dispatchDragEvent", {"type": "dragOver", **drag})
            session.send("Input.dispatchDragEvent", {"type": "drop", **drag})
        finally:
            session.detach()

    def paste_picture(self, png: bytes) -> None:
        """Put a PNG into the clipboard and paste it into whatever has the focus."""
        self.notebook.page.evaluate(_COPY_PICTURE, base64.b64encode(png).decode())
        self.press("Control+V")

    def _on_disk(self, file: Path | bytes, name: str) -> Path:
        if not isinstance(file, bytes):
            return file
        # It stays: the page may read it long after it was dropped.
        path = self.notebook.lab.folder / "files" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(file)
        return path

    # Timing

    def frame_times(
        self, selector: str = "canvas", *, step: str = SCROLL, frames: int = 120
    ) -> np.ndarray:
        """Milliseconds between animation frames while something happens in each.

        Parameters
        ----------
        selector : str
            The element that `step` acts on.
        step : str
            A JavaScript function of the element and the frame's number; it scrolls down by
            default.
        frames : int
            How many intervals to measure.

        Returns
        -------
        ndarray, shape (frames,)
            16.7 where the page kept up with a screen of 60 Hz.
        """
        return np.array(self.find(selector).first.evaluate(_FRAMES, [step, frames]))

    def _place(self, x: float, y: float, selector: str) -> tuple[float, float]:
        self.find(selector).first.scroll_into_view_if_needed()
        left, top = self._corner(selector)
        return left + x, top + y

    def _corner(self, selector: str) -> tuple[float, float]:
        box = self.find(selector).first.bounding_box()
        if box is None:
            raise RuntimeError(f"{selector!r} of view {self.index} is not on the page")
        return box["x"], box["y"]
