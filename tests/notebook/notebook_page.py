"""A notebook open in JupyterLab, driven as a person would drive it.

`Notebook` writes a notebook into the served folder, opens it in a browser context of its
own and runs cells, restarts kernels, saves, reloads and reopens. Cells and kernels go
through Lab's own commands and models (`window.jupyterapp`), whose promises tell when they
are done; all that a person does to a view goes through the mouse and the keyboard, by
`view.View`. Nothing waits for a length of time, only for a state.
"""

from __future__ import annotations

import ast
import json
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from browser import Problems
from playwright.sync_api import Error as PlaywrightError
from view import VIEW, View

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lab import Lab
    from playwright.sync_api import Browser, BrowserContext, Page

Theme = Literal["light", "dark"]

SECONDS = 60
DESKTOP, FULL_HD, NARROW = (1280, 900), (1920, 1080), (360, 740)

_THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
_ANSI = re.compile(r"\x1b\[[0-9;]*m")

_PANEL = """
const app = window.jupyterapp;
const panel = app && [...app.shell.widgets('main')].find(w => w.context?.path === path);
const kernel = panel?.sessionContext.session?.kernel;
"""
# ipykernel 7.0 to 7.3 may leave a message unread until the next one comes (ipykernel, issue 1554).
# nbviz's own questions see to that themselves; a cell's and Lab's need help.
_WAKE_KERNEL = """
setInterval(() => {
  const path = %s;
  %s
  if (/^ipykernel-7[.][0-3][.]/.test(kernel?.name)) kernel.requestKernelInfo().catch(() => null);
}, 5000);
"""
_READY = "panel?.context.isReady && panel.content.widgets.length && kernel?.status === 'idle'"
# What a callback of a view raises in Python reaches the page only as a kernel message that
# belongs to no cell; Lab hides it in its log panel.
_REPORT_CALLBACK_ERRORS = """
panel.sessionContext.iopubMessage.connect((_, message) => {
  if (message.parent_header.msg_type !== 'comm_msg') return;
  if (message.header.msg_type === 'error')
    console.error('Python callback: ' + message.content.traceback.join('\\n'));
  if (message.header.msg_type === 'stream' && message.content.name === 'stderr')
    console.error('Python callback: ' + message.content.text);
});
"""


class CellError(RuntimeError):
    """A cell raised; the message is its traceback."""


class Notebook:
    """One notebook, its page, its kernel and its views.

    Examples
    --------
    >>> notebook = Notebook(lab, browser, "grid.ipynb", shots=folder)  # doctest: +SKIP
    >>> notebook.open(["import nbviz\\nnbviz.FilterGrid(model)"])  # doctest: +SKIP
    >>> notebook.run_all()  # doctest: +SKIP
    >>> view = notebook.view()  # doctest: +SKIP
    """

    page: Page

    def __init__(
        self, lab: Lab, browser: Browser, path: str, *, shots: Path, selector: str = VIEW
    ) -> None:
        self.lab, self.path, self.shots, self.selector = lab, path, shots, selector
        self.problems = Problems()
        self._browser = browser
        self._context: BrowserContext | None = None
        self._options: dict[str, Any] = {}

    # Opening and closing

    def open(
        self,
        cells: Sequence[str],
        *,
        kernel: str = "python3",
        theme: Theme = "light",
        viewport: tuple[int, int] = DESKTOP,
        scale: float = 1,
        camera: bool = True,
    ) -> Notebook:
        """Write the notebook, open it and wait for its kernel.

        Parameters
        ----------
        cells : list of str
            Code of each cell.
        kernel : str
            Name of a kernel of the server.
        viewport : (int, int)
            Width and height of the page in CSS pixels. `fit_output` sets the width by what
            is left to a cell's output.
        scale : float
            Device pixels to a CSS pixel.
        camera : bool
            Whether the page may use the browser's two (made-up) cameras.
        """
        self.lab.write_notebook(self.path, cells, kernel)
        size = {"width": viewport[0], "height": viewport[1]}
        # What is not granted is denied: no dialog asks.
        granted = ["clipboard-read", "clipboard-write", *(["camera"] if camera else [])]
        self._options = {"viewport": size, "device_scale_factor": scale, "permissions": granted}
        self.lab.set_setting("@jupyterlab/apputils-extension:themes", theme=_THEMES[theme])
        self._open_page()
        self._wait_theme(theme)
        return self

    def reload(self, *, save: bool = True) -> None:
        """Load the page again; the kernel goes on. What was not saved is lost to the page."""
        if save:
            self.save()
        self.page.reload()
        self._wait_ready()

    def reopen(self, *, trusted: bool = True) -> None:
        """Save, close, end the kernel, and open again with a kernel that ran no cell.

        A notebook that is not trusted (one that somebody else made) gets no widget from Lab,
        only the picture or text saved beside it.
        """
        self.save()
        self.close()
        self.lab.shutdown_kernels(self.path)
        if not trusted:
            self.lab.distrust(self.path)
        self._open_page()

    def close(self) -> None:
        """Close the page; the kernel goes on."""
        if self._context:
            self._context.close()
            self._context = None

    def _open_page(self) -> None:
        self._context = self._browser.new_context(**self._options)
        self._context.set_default_timeout(SECONDS * 1000)
        self.page = self._context.new_page()
        # Lab asks before a page with unsaved changes is left.
        self.page.on("dialog", lambda dialog: dialog.accept())
        self.problems.listen(self.page)
        self.page.add_init_script(_WAKE_KERNEL % (json.dumps(self.path), _PANEL))
        answer = self.page.goto(self.lab.page_url(self.path))
        if answer is None or not answer.ok:
            raise RuntimeError(
                f"JupyterLab did not open {self.path}: {answer and answer.status_text}"
            )
        self._wait_ready()

    def _wait_ready(self) -> None:
        self.wait_for(_READY, "the notebook and an idle kernel")
        self._lab(_REPORT_CALLBACK_ERRORS)

    # Cells

    def run(self, cell: int, *, timeout: float = SECONDS) -> str:
        """Run a cell to its end; what it printed and returned as text.

        Raises
        ------
        CellError
            If the cell raised; the message is the traceback.
        """
        self.start(cell)
        return self.finish(cell, timeout=timeout)

    def run_all(self, *, timeout: float = SECONDS) -> list[str]:
        """Run every cell in order; the text of each."""
        return [self.run(cell, timeout=timeout) for cell in range(self.cells())]

    def execute(self, code: str, *, timeout: float = SECONDS) -> str:
        """Run code in a new last cell; see `run`."""
        self._lab(
            """const model = panel.content.model.sharedModel;
            model.insertCell(model.cells.length, {cell_type: 'code', source: arg});""",
            code,
        )
        return self.run(self.cells() - 1, timeout=timeout)

    def start(self, cell: int) -> None:
        """Run a cell and come back once the kernel works on it or has it in its queue."""
        self._lab(
            """panel.content.deselectAll();
            panel.content.activeCellIndex = arg;
            const run = {done: false};
            run.promise = app.commands.execute('notebook:run-cell').finally(() => run.done = true);
            (window.nbvizRuns ??= {})[arg] = run;""",
            cell,
        )
        self.wait_for("nbvizRuns[arg].done || kernel?.status === 'busy'", f"cell {cell}", cell)

    def finish(self, cell: int, *, timeout: float = SECONDS) -> str:
        """Wait for a started cell; see `run`."""
        self._lab("await nbvizRuns[arg].promise;", cell, timeout)
        outputs = self.outputs(cell)
        for output in outputs:
            if output["output_type"] == "error":
                raise CellError(_ANSI.sub("", "\n".join(output["traceback"])))
        return "".join(_text(output) for output in outputs)

    def ask(self, expression: str) -> Any:
        """Value of a Python expression in the kernel, without a cell; it must be a literal."""
        answer = self._lab(
            """const future = kernel.requestExecute(
              {code: '', silent: true, user_expressions: {answer: arg}});
            return (await future.done).content.user_expressions.answer;""",
            expression,
        )
        if answer["status"] == "error":
            raise CellError(f"{answer['ename']}: {answer['evalue']}")
        return ast.literal_eval(answer["data"]["text/plain"])

    def wait_python(self, expression: str, *, timeout: float = SECONDS) -> None:
        """Wait until a Python expression in the kernel is true.

        A view's message and a cell may reach Python in either order (they take different
        channels since ipykernel 7), so what a view told Python is waited for.
        """
        deadline = time.monotonic() + timeout
        while not self.ask(f"bool({expression})"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {timeout} s for {expression} in the kernel")

    def outputs(self, cell: int) -> list[dict[str, Any]]:
        """A cell's outputs as the notebook format has them."""
        return self._lab("return panel.content.widgets[arg].model.outputs.toJSON();", cell)

    def cells(self) -> int:
        """Number of cells."""
        return self._lab("return panel.content.widgets.length;")

    def clear(self, cell: int) -> None:
        """Clear a cell's output, which closes its views but not its widgets."""
        self._lab(
            """panel.content.deselectAll();
            panel.content.activeCellIndex = arg;
            await app.commands.execute('notebook:clear-cell-output');""",
            cell,
        )

    # The kernel

    def restart_kernel(self) -> None:
        """Restart the kernel and wait until it is idle; views stay on the page."""
        self._lab("await panel.sessionContext.restartKernel();")
        self.wait_for("kernel?.status === 'idle'", "the kernel to be idle after its restart")

    def interrupt_kernel(self) -> None:
        """Interrupt what the kernel is doing."""
        self._lab("await kernel.interrupt();")

    def shutdown_kernel(self) -> None:
        """End the kernel; the page goes on without one."""
        self._lab("await panel.sessionContext.shutdown();")
        self.wait_for("!kernel", "the kernel to be gone")

    def save(self) -> None:
        """Save the notebook with its outputs and the state of its widgets."""
        self._lab("await panel.context.save();")

    # What it looks like

    def set_theme(self, theme: Theme) -> None:
        """Change the theme of the open page."""
        self._lab(
            "await app.commands.execute('apputils:change-theme', {theme: arg});", _THEMES[theme]
        )
        self._wait_theme(theme)

    def resize(self, width: int, height: int) -> None:
        """Give the page another size, in CSS pixels."""
        self._options["viewport"] = {"width": width, "height": height}
        self.page.set_viewport_size(self._options["viewport"])

    def fit_output(self, width: int, *, cell: int = 0) -> None:
        """Size the page so that a cell's output area is `width` CSS pixels wide."""
        # Lab lays a narrow page out differently, so the margins are measured again after a change.
        for _ in range(5):
            page = self._options["viewport"]
            spare = page["width"] - self.output_width(cell)
            if page["width"] == width + spare:
                return
            self.resize(round(width + spare), page["height"])
        raise RuntimeError(
            f"expected an output of {width} px, got {self.output_width(cell)} px with a page of "
            f"{self._options['viewport']['width']} px"
        )

    def output_width(self, cell: int = 0) -> float:
        """Width left to a cell's output, in CSS pixels, once the page is laid out."""
        return self._lab(
            """const { node } = panel.content.widgets[arg];
            const width = () =>
              node.querySelector('.jp-OutputArea-output').getBoundingClientRect().width;
            for (let last = width(), same = 0; same < 5; last = width()) {
              await new Promise(requestAnimationFrame);
              same = width() === last ? same + 1 : 0;
            }
            return width();""",
            cell,
        )

    def screenshot(self, name: str) -> Path:
        """Save a picture of the page."""
        path = self.shots / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)
        return path

    # Views

    def view(self, index: int = 0, *, timeout: float = SECONDS) -> View:
        """The view at `index` in page order, once it has drawn."""
        view = View(self, index)
        view.wait_drawn(timeout=timeout)
        return view

    def count_views(self) -> int:
        """How many views are on the page."""
        return self.page.locator(self.selector).count()

    def wait_views(self, count: int) -> None:
        """Wait until so many views are on the page."""
        self.wait_for(
            "document.querySelectorAll(arg[0]).length === arg[1]",
            f"{count} views",
            [self.selector, count],
        )

    @contextmanager
    def redrawn(self, *views: View) -> Iterator[None]:
        """Wait at the end of the block until each view has drawn again."""
        before = [view.drawn() for view in views]
        yield
        for view, drawn in zip(views, before, strict=True):
            view.wait_drawn(drawn + 1)

    # Asking the page

    def wait_for(
        self, condition: str, what: str, arg: Any = None, *, timeout: float = SECONDS
    ) -> None:
        """Wait for a JavaScript expression over `app`, `panel`, `kernel` and `arg`."""
        script = f"([path, arg]) => {{ {_PANEL} return {condition}; }}"
        try:
            self.page.wait_for_function(script, arg=[self.path, arg], timeout=timeout * 1000)
        except PlaywrightError as error:
            dialogs = self.page.locator(".jp-Dialog").all_inner_texts()
            raise TimeoutError(
                f"waited {timeout} s for {what}; open dialogs: {dialogs}; "
                f"problems: {self.problems.lines}; picture: {self.screenshot('timeout')}"
            ) from error

    def _wait_theme(self, theme: Theme) -> None:
        light = "true" if theme == "light" else "false"
        self.wait_for("document.body.dataset.jpThemeLight === arg", f"the {theme} theme", light)

    def _lab(self, body: str, arg: Any = None, timeout: float = SECONDS) -> Any:
        """Value of a JavaScript function body over `app`, `panel`, `kernel` and `arg`."""
        # A promise of a kernel that died may never settle, and `evaluate` has no time limit.
        script = f"""([path, arg, ms]) => Promise.race([
            (async () => {{ {_PANEL} {body} }})(),
            new Promise((_, no) => setTimeout(() => no(Error(`no answer in ${{ms}} ms`)), ms)),
        ])"""
        return self.page.evaluate(script, [self.path, arg, timeout * 1000])


def _text(output: dict[str, Any]) -> str:
    text = output.get("text") or output.get("data", {}).get("text/plain", "")
    return "".join(text)
