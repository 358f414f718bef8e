"""ImageMap in a real JupyterLab: frames, first picture, bytes and hovering, against peers.

Run it: ``.venv/bin/python benchmarks/bench_image_map.py [frames] [points] [plotly] [first] [hover]
[--quick]``. Peers show the same points (jupyter-scatter, embedding-atlas) or the same pictures
(plotly) and get the same gestures (`gestures`), all in one browser; `map_peers` has the settings.
Chromium may use a WebGPU of software, which embedding-atlas asks for. ``--quick`` takes few images,
to see that it runs.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "notebook"))

import gestures
import map_peers
import numpy as np
from bench_filter_grid import notebooks
from map_sight import sight
from playwright.sync_api import Error as PlaywrightError
from tables import table

FLAGS = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", gestures.PORT_FLAG)
WINDOW = (1280, 1000)
PICTURES, POINTS, PLOTLY = (1_000, 10_000, 20_000, 50_000, 100_000), (100_000, 1_000_000), 3_000
FIRST, HOVERED, MOVEMENTS, REPEATS = (10_000, 50_000), 100_000, 100, 3


@dataclass(frozen=True)
class Sizes:
    """How many images each part takes."""

    pictures: tuple[int, ...] = PICTURES
    points: tuple[int, ...] = POINTS
    plotly: int = PLOTLY
    first: tuple[int, ...] = FIRST
    hovered: int = HOVERED
    repeats: int = REPEATS


QUICK = Sizes((1_000,), (10_000,), 200, (1_000,), 1_000, 1)


@dataclass
class Received:
    """Bytes that a page got from the server on its sockets."""

    size: int = 0
    sockets: list = field(default_factory=list)

    def listen(self, page):
        def opened(socket):
            self.sockets.append(socket)
            socket.on("framereceived", self._add)

        page.on("websocket", opened)

    def _add(self, payload):
        self.size += len(payload)


def settled(notebook, timeout=600):
    """Wait until the map has nothing more to do or to fetch."""
    notebook.wait_python("shown.progress['finished']", timeout=timeout)
    last, count = None, -1
    while count != last:
        last = count
        notebook.page.wait_for_timeout(1500)
        count = notebook.ask("asked_tiles['answers']")


def open_plot(open_notebook, plot, count):
    """A notebook in which a plot stands, and the box of what it is drawn in; or why not."""
    notebook = open_notebook([map_peers.setup(count, plot), plot.cell])
    notebook.resize(*WINDOW)
    notebook.page.evaluate(gestures.WATCH)
    notebook.run_all(timeout=300)
    place = notebook.page.locator(plot.at)
    place.wait_for(state="attached", timeout=120_000)
    if plot.ours:
        settled(notebook)
    notebook.page.wait_for_timeout(3000)
    if said := [line for line in notebook.problems.take() if "WebGPU" in line]:
        return notebook, None, said[0].removeprefix("console: ")
    place.scroll_into_view_if_needed()
    return notebook, place.bounding_box(), ""


def measured(open_notebook, plot, count):
    """Figures of panning and zooming; the reason in their place where a plot does not run."""
    try:
        notebook, box, why = open_plot(open_notebook, plot, count)
        if box is None:
            notebook.close()
            return [why, "", "", ""]
        mouse = gestures.Mouse(notebook)
        # A view may take the wheel only once it was clicked, so each is, beside its points.
        notebook.page.mouse.click(box["x"] + 5, box["y"] + box["height"] - 5)
        found = [
            *gestures.figures(mouse.pan(box), drawing=plot.drawing),
            *gestures.figures(mouse.zoom(box), drawing=plot.drawing),
        ]
        mouse.close()
        notebook.close()
    except (PlaywrightError, TimeoutError, RuntimeError) as error:
        return [f"did not run: {str(error).splitlines()[0][:80]}", "", "", ""]
    return found


HEAD = ["panning, frames/s", "95 %, ms", "zooming, frames/s", "95 %, ms"]


def frames(open_notebook, sizes):
    rows = []
    for count in sizes.pictures:
        for thumbnails in ("thinned", "all"):
            plot = map_peers.nbviz_map(thumbnails)
            rows.append([f"{count:,}", thumbnails, *measured(open_notebook, plot, count)])
    table("Thumbnails of 32 px: frames drawn a second", ["images", "", *HEAD], rows)


def points(open_notebook, sizes):
    plots = (map_peers.nbviz_map("dots"), map_peers.SCATTER, map_peers.ATLAS)
    rows = [
        [f"{count:,}", plot.name, *measured(open_notebook, plot, count)]
        for count in sizes.points
        for plot in plots
    ]
    table("Points: frames drawn a second", ["points", "", *HEAD], rows)


def plotly(open_notebook, sizes):
    plots = (map_peers.nbviz_map("all"), map_peers.IMAGES)
    rows = [[plot.name, *measured(open_notebook, plot, sizes.plotly)] for plot in plots]
    table(
        f"{sizes.plotly:,} pictures, all of them at 32 px: frames a second (plotly's SVG: frames "
        "of the page)",
        ["", *HEAD],
        rows,
    )


# From running the cell to the first paint, to the first picture (pure colours, which only the
# pictures have), both in ms.
_FIRST = """async ([path, index]) => {
  const app = window.jupyterapp;
  const panel = [...app.shell.widgets('main')].find(w => w.context?.path === path);
  panel.content.deselectAll();
  panel.content.activeCellIndex = index;
  const cell = panel.content.widgets[index];
  cell.model.outputs?.clear();
  await new Promise(requestAnimationFrame);
  const small = new OffscreenCanvas(240, 120).getContext('2d', { willReadFrequently: true });
  small.imageSmoothingEnabled = false;
  const host = () => cell.node.querySelector('[data-nbviz-view]');
  const drawn = () => Number(host()?.dataset.nbvizDrawn) > 0;
  const picture = () => {
    const canvas = host().shadowRoot.querySelector('.stage canvas');
    if (!canvas?.width) return false;
    small.clearRect(0, 0, 240, 120);
    small.drawImage(canvas, 0, 0, 240, 120);
    const { data } = small.getImageData(0, 0, 240, 120);
    let pure = 0;
    for (let i = 0; i < data.length; i += 4) {
      const ends = [data[i], data[i + 1], data[i + 2]].map(c => (c > 250 ? 1 : c < 5 ? 0 : 9));
      const sum = ends[0] + ends[1] + ends[2];
      if (data[i + 3] > 250 && (sum === 1 || sum === 2)) pure++;
    }
    return pure > 60;
  };
  const until = async stands => {
    while (!stands()) await new Promise(requestAnimationFrame);
    return performance.now() - start;
  };
  const start = performance.now();
  const run = app.commands.execute('notebook:run-cell');
  const first = await until(drawn);
  const pictures = await until(picture);
  await run;
  return [first, pictures];
}"""


SENT = ["tiles sent", "JPEG in them", "ratio", "state", "bundle", "still picture", "all"]


def sizes_sent(notebook, received):
    sent, jpeg = notebook.ask("(asked_tiles['sent'], asked_tiles['jpeg'])")
    parts = notebook.ask("parts_sent(shown)")
    kilobytes = (f"{size / 1000:,.0f} kB" for size in (*parts, received))
    return [f"{sent:,}", f"{jpeg:,}", f"{sent / max(1, jpeg):.3f}", *kilobytes]


def first(open_notebook, sizes):
    rows = []
    plot = map_peers.nbviz_map("thinned")
    for count in sizes.first:
        notebook = open_notebook([map_peers.setup(count, plot), plot.cell])
        notebook.resize(*WINDOW)
        received = Received()
        received.listen(notebook.page)
        notebook.reload()
        notebook.run(0, timeout=240)
        times = []
        for _ in range(sizes.repeats):
            before = received.size
            notebook.execute("asked_tiles.update(answers=0, sent=0, jpeg=0)")
            times.append(notebook.page.evaluate(_FIRST, [notebook.path, 1]))
            settled(notebook)
            sent = sizes_sent(notebook, received.size - before)
        painted, pictures = (median(time[i] for time in times) for i in (0, 1))
        rows.append([f"{count:,}", f"{painted:.0f}", f"{pictures:.0f}", *sent])
        notebook.close()
    table(
        "From running the cell, milliseconds, median of "
        f"{sizes.repeats}; and bytes to the page until all in view stands",
        ["images", "first paint", "pictures", *SENT],
        rows,
    )


# From a movement of the pointer until the card has pictures of other neighbours; -1 where it does
# not change.
_MOVE = """() => {
  const { shadowRoot } = document.querySelector('[data-nbviz-view]');
  const said = () => shadowRoot.querySelector('.hover-card')?.textContent ?? '';
  const before = said();
  window.nbvizMove = new Promise(resolve => {
    document.addEventListener('pointermove', event => {
      const look = () => {
        const took = performance.now() - event.timeStamp;
        if (took > 2000) resolve(-1);
        else if (said() !== before && /in feature space/.test(said())) resolve(took);
        else setTimeout(look);
      };
      setTimeout(look);
    }, { once: true, capture: true });
  });
}"""


def hover(open_notebook, sizes):
    plot = map_peers.nbviz_map("dots")
    notebook, box, _ = open_plot(open_notebook, plot, sizes.hovered)
    page, took = notebook.page, []
    there = sight(notebook, notebook.view())
    rows = np.random.default_rng(0).permutation(there.inside(20))[:MOVEMENTS]
    for x, y in there.screen[rows] + (box["x"], box["y"]):
        page.evaluate(_MOVE)
        page.mouse.move(x, y)
        took.append(page.evaluate("() => window.nbvizMove"))
    notebook.close()
    times = [time for time in took if time >= 0]
    parts = [f"{np.percentile(times, part):.0f}" for part in (50, 95, 100)] if times else [""] * 3
    table(
        f"{sizes.hovered:,} images: milliseconds from the pointer's movement to the neighbours on "
        "the page (aim 50 at 95 %)",
        ["movements", "answered", "median", "95 %", "worst"],
        [[len(took), len(times), *parts]],
    )


def renderer(open_notebook):
    notebook = open_notebook(["1"])
    webgl, webgpu = notebook.page.evaluate(gestures.RENDERER)
    notebook.close()
    table("What draws", ["", ""], [["WebGL", webgl], ["WebGPU", webgpu]])


def main(arguments):
    sizes = QUICK if "--quick" in arguments else Sizes()
    parts = {"frames": frames, "points": points, "plotly": plotly, "first": first, "hover": hover}
    with notebooks(*FLAGS) as open_notebook:
        renderer(open_notebook)
        for name in [a for a in arguments if not a.startswith("--")] or parts:
            parts[name](open_notebook, sizes)


if __name__ == "__main__":
    main(sys.argv[1:])
