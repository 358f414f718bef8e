"""TopPatches on a scan of 50,000 images and 512 channels in a real JupyterLab.

Run it: ``.venv/bin/python benchmarks/bench_top_patches.py [paint] [frames] [bytes]``.
The scan's numbers are made up (`made_scan`); its pictures are JPEG files of 500 x 375, decoded
when they are shown. What a figure is set beside was measured in the same kernel of the same run.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "notebook"))

import made_scan
import numpy as np
from bench_filter_grid import notebooks
from tables import table

import nbviz
from nbviz.scanning import Scan
from nbviz.widgets import wire

REPEATS = 5
SIZE, PATCHES = 48, 9

SETUP = """
import sys
sys.path.insert(0, {here!r})
import matplotlib.pyplot as plt, numpy as np, nbviz, made_scan
from nbviz.scanning import Scan
%matplotlib inline
network, data = made_scan.network(), made_scan.Photographs()
plt.figure(figsize=(1, 1)); plt.close("all")

import anywidget
class Empty(anywidget.AnyWidget):
    _esm = \"\"\"export default {{ render({{ el }}) {{
      el.dataset.nbvizView = "empty";
      requestAnimationFrame(() => {{ el.dataset.nbvizDrawn = "1"; }});
    }} }}\"\"\"

scan = Scan.open({folder!r}, network, data)
statistics = scan[{layer!r}]
"""
# From the directory: all that a person waits for.
OPENED = "patches = nbviz.TopPatches(Scan.open({folder!r}, network, data)); patches"
# The scan is open, as after `nbviz.scan`; pictures are not kept from one time to the next.
SHOWN = "patches = nbviz.TopPatches(scan); patches"
# The first rows as one figure, an axes a patch: what tutorials do.
AXES = """
top = statistics.top
fig, axes = plt.subplots(8, 9, figsize=(9, 8))
for channel, line in enumerate(axes):
    for place, ax in enumerate(line):
        picture = data[int(top.image[channel, place])][0].resize((224, 224))
        box = network.layers[{layer!r}].box(top.row[channel, place], top.col[channel, place])
        ax.imshow(np.asarray(picture)[box.top:box.bottom, box.left:box.right])
        ax.set_title(f"{{top.value[channel, place]:.2f}}", fontsize=7)
        ax.axis("off")
plt.show()
"""
EMPTY = "Empty()"

# From the moment that a cell is run to the first frame of the view (or to the picture), and to
# the frame in which all patches in view stand.
_PAINTS = """async ([path, index, kind]) => {
  const app = window.jupyterapp;
  const panel = [...app.shell.widgets('main')].find(w => w.context?.path === path);
  panel.content.deselectAll();
  panel.content.activeCellIndex = index;
  const cell = panel.content.widgets[index];
  cell.model.outputs?.clear();
  await new Promise(requestAnimationFrame);
  const all = selector => [...cell.node.querySelectorAll(selector)];
  const until = async stands => {
    while (!stands()) await new Promise(requestAnimationFrame);
    return performance.now() - start;
  };
  const drawn = () => all('[data-nbviz-view]').some(v => Number(v.dataset.nbvizDrawn) > 0);
  const picture = () => all('.jp-OutputArea img').some(i => i.complete && i.naturalWidth);
  const patches = () => {
    const { shadowRoot } = all('[data-nbviz-view]')[0];
    const cells = [...shadowRoot.querySelectorAll('.row:not([hidden]) .cell:not([hidden])')];
    const list = shadowRoot.querySelector('.rows').getBoundingClientRect();
    const seen = cells.filter(c => c.getBoundingClientRect().top < list.bottom);
    return seen.length > 0 && seen.every(c => !c.classList.contains('empty'));
  };
  const start = performance.now();
  const run = app.commands.execute('notebook:run-cell');
  const first = await until(kind === 'figure' ? picture : drawn);
  const whole = kind === 'view' ? await until(patches) : first;
  await run;
  return [first, whole];
}"""


def paint(open_notebook, folder):
    values = {"folder": folder, "layer": made_scan.LAYER, "here": str(Path(__file__).parent)}
    parts = {
        "opened from its directory": (OPENED, "view"),
        "of a scan that is open": (SHOWN, "view"),
        "matplotlib, an axes a patch": (AXES, "figure"),
        "an empty widget": (EMPTY, "widget"),
    }
    codes = [SETUP, *(code for code, _ in parts.values())]
    notebook = open_notebook([code.format(**values) for code in codes])
    notebook.run(0, timeout=240)
    took = {name: [] for name in parts}
    for _ in range(REPEATS):
        for index, (name, (_, kind)) in enumerate(parts.items(), start=1):
            took[name].append(notebook.page.evaluate(_PAINTS, [notebook.path, index, kind]))
    rows = []
    for name, times in took.items():
        first, whole = (median(time[i] for time in times) for i in (0, 1))
        worst = max(time[1] for time in times)
        rows.append([name, f"{first:.0f}", f"{whole:.0f}", f"{worst:.0f}"])
    notebook.close()
    table(
        f"50,000 images, 512 channels: milliseconds from running the cell, median of {REPEATS}",
        ["", "first paint", "patches in view", "worst"],
        rows,
    )


# Whether the patches in view stand, and how long they take once the scrolling has ended.
_SETTLED = """rows => new Promise(resolve => {
  const start = performance.now();
  const list = rows.getBoundingClientRect();
  const look = () => {
    const cells = [...rows.querySelectorAll('.row:not([hidden]) .cell:not([hidden])')];
    const seen = cells.filter(cell => {
      const { top, bottom } = cell.getBoundingClientRect();
      return bottom > list.top && top < list.bottom;
    });
    if (seen.every(cell => !cell.classList.contains('empty'))) resolve(performance.now() - start);
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})"""


def frames(open_notebook, folder):
    values = {"folder": folder, "layer": made_scan.LAYER, "here": str(Path(__file__).parent)}
    notebook = open_notebook([SETUP.format(**values), SHOWN])
    notebook.run_all(timeout=240)
    view = notebook.view()
    view.find(".row .cell:not(.empty)").first.wait_for()
    down = "(e, n) => {{ e.scrollTop += {}; }}"
    ways = {
        "slowly, new rows": down.format(8),
        "at reading speed, new rows": down.format(24),
        "fast, new rows": down.format(120),
        "back, over rows passed before": down.format(-24),
    }
    rows = []
    for name, step in ways.items():
        times = np.sort(view.frame_times(".rows", step=step, frames=150))
        settled = view.find(".rows").evaluate(_SETTLED)
        p95 = times[int(0.95 * len(times))]
        figures = [f"{median(times):.1f}", f"{p95:.1f}", f"{times[-1]:.0f}", f"{settled:.0f}"]
        rows.append([name, *figures])
    table(
        "Scrolling 512 channels, milliseconds between frames (Chromium draws in software; 16.7 is "
        "60 a second)",
        ["", "median", "95 %", "worst", "patches stand after"],
        rows,
    )
    notebook.close()


def sent_bytes(folder):
    patches = nbviz.TopPatches(Scan.open(folder, made_scan.network(), made_scan.Photographs()))
    tile = 32 * -(-SIZE // 32)
    rows = [["overview of 512 channels", wire.payload_bytes(patches.overview)]]
    for show in ("patch", "image", "masked"):
        channels = [*range(8)]
        answer = patches._answer_rows(patches.layer, channels, show, PATCHES, tile)
        done = len(answer["channels"])
        rows.append([f"{done} rows of {PATCHES}, {show}", wire.payload_bytes(answer)])
    patches.channel = 0
    answer = patches._answer_channel(patches.layer, 0, "patch", tile)
    rows.append(["a channel opened", wire.payload_bytes(answer)])
    image = int(patches.samples()["image"][0])
    answer = patches._answer_image(patches.layer, 0, image)
    rows.append(["a whole image with its map", wire.payload_bytes(answer)])
    rows.append(["bundle, once", len(patches._esm)])
    table("Bytes sent", ["", "bytes"], rows)


def main(names):
    with tempfile.TemporaryDirectory() as folder, notebooks() as open_notebook:
        made_scan.write(folder)
        parts = {
            "paint": lambda: paint(open_notebook, folder),
            "frames": lambda: frames(open_notebook, folder),
            "bytes": lambda: sent_bytes(folder),
        }
        for name in names or parts:
            parts[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
