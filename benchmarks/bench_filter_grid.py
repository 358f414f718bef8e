"""FilterGrid against matplotlib in a real JupyterLab: first paint, bytes, frames, cost of watching.

Run it: ``.venv/bin/python benchmarks/bench_filter_grid.py [paint] [bytes] [frames] [watch]``.
All figures of a table come from one run; ratios are what counts.
"""

from __future__ import annotations

import ast
import json
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from tables import table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "notebook"))

import torch
from browser import running_browser
from lab import running_lab
from notebook_page import Notebook

import nbviz
from nbviz.widgets import wire

SHAPES = [(96, 3, 11, 11), (64, 3, 7, 7), (512, 512, 3, 3)]
REPEATS = 7

SETUP = '''
import matplotlib.pyplot as plt, numpy as np, torch, nbviz
%matplotlib inline
torch.manual_seed(0)
layer = torch.nn.Conv2d({inputs}, {outputs}, {side})
weights = layer.weight.detach().numpy()
nbviz.FilterGrid(layer), plt.figure(figsize=(1, 1)); plt.close('all')

import anywidget
class Empty(anywidget.AnyWidget):
    _esm = """export default {{ render({{ el }}) {{
      el.dataset.nbvizView = "empty";
      requestAnimationFrame(() => {{ el.dataset.nbvizDrawn = "1"; }});
    }} }}"""
'''
# What Jupyter takes to show any widget at all.
EMPTY = "Empty()"
OURS = "nbviz.FilterGrid(layer)"
# One axes a kernel: what tutorials do.
AXES = """
fig, axes = plt.subplots({rows}, 12, figsize=(12, {rows}))
for ax, kernel in zip(axes.flat, weights):
    low, high = kernel.min(), kernel.max()
    ax.imshow(((kernel - low) / (high - low)).transpose(1, 2, 0))
    ax.axis('off')
plt.show()
"""
# All kernels as one picture, one pixel a weight at least: the fastest that matplotlib can.
MOSAIC = """
o, i, k = {outputs}, {inputs}, {side}
low = weights.min(axis=(1, 2, 3), keepdims=True); high = weights.max(axis=(1, 2, 3), keepdims=True)
scaled = (weights - low) / (high - low)
if i == 3:
    padded = np.pad(scaled, ((0, -o % 12), (0, 0), (0, 1), (0, 1)))
    tiles = padded.reshape(-1, 12, 3, k + 1, k + 1).transpose(0, 3, 1, 4, 2)
    picture = tiles.reshape(tiles.shape[0] * (k + 1), 12 * (k + 1), 3)
else:
    padded = np.pad(scaled, ((0, 0), (0, 0), (0, 1), (0, 1)))
    picture = padded.transpose(0, 2, 1, 3).reshape(o * (k + 1), i * (k + 1))
scale = 1 if i > 3 else 5
size = picture.shape[1] * scale / 100, picture.shape[0] * scale / 100
fig = plt.figure(figsize=size, dpi=100)
ax = fig.add_axes((0, 0, 1, 1)); ax.axis('off')
ax.imshow(picture, cmap='gray', interpolation='nearest')
plt.show()
"""

# From the moment that a cell is run to the frame in which its picture stands.
_FIRST_PAINT = """async ([path, index, widget]) => {
  const app = window.jupyterapp;
  const panel = [...app.shell.widgets('main')].find(w => w.context?.path === path);
  panel.content.deselectAll();
  panel.content.activeCellIndex = index;
  const cell = panel.content.widgets[index];
  cell.model.outputs?.clear();
  await new Promise(requestAnimationFrame);
  const all = selector => [...cell.node.querySelectorAll(selector)];
  const stands = () => widget
    ? all('[data-nbviz-view]').some(v => Number(v.dataset.nbvizDrawn) > 0)
    : all('.jp-OutputArea img').some(i => i.complete && i.naturalWidth);
  const start = performance.now();
  const run = app.commands.execute('notebook:run-cell');
  while (!stands()) await new Promise(requestAnimationFrame);
  const took = performance.now() - start;
  await run;
  return took;
}"""


@contextmanager
def notebooks(*flags):
    """A function that opens a notebook of given cells, in Chromium started with these flags."""
    with tempfile.TemporaryDirectory() as folder, running_browser(*flags) as browser:
        root = Path(folder)
        with running_lab(root / "lab") as lab:
            opened = []

            def open_(cells):
                path = f"bench-{len(opened)}.ipynb"
                opened.append(Notebook(lab, browser, path, shots=root / "shots").open(cells))
                return opened[-1]

            yield open_
            for notebook in opened:
                notebook.close()


def first_paint(open_notebook):
    rows = []
    for outputs, inputs, kernel, _ in SHAPES:
        values = {"outputs": outputs, "inputs": inputs, "side": kernel, "rows": -(-outputs // 12)}
        peers = {"mosaic": MOSAIC} | ({"axes": AXES} if inputs == 3 else {})
        cells = [c.format(**values) for c in (SETUP, OURS, EMPTY, *peers.values())]
        notebook = open_notebook(cells)
        notebook.run(0)
        took = {i: [] for i in range(1, len(cells))}
        for _repeat in range(REPEATS):
            for index, times in took.items():
                arguments = [notebook.path, index, index <= 2]
                times.append(notebook.page.evaluate(_FIRST_PAINT, arguments))
        ours, empty, *theirs = (median(times) for times in took.values())
        for name, their in zip(peers, theirs, strict=True):
            shape = f"{outputs}x{inputs}x{kernel}x{kernel}"
            figures = [f"{ours:.0f}", f"{their:.0f}", f"{ours / their:.2f}", f"{empty:.0f}"]
            rows.append([shape, name, *figures])
        notebook.close()
    table(
        f"First paint, milliseconds from running the cell to the picture, median of {REPEATS}",
        ["kernels", "matplotlib as", "nbviz", "matplotlib", "ratio (aim 0.25)", "empty widget"],
        rows,
    )


def sent_bytes():
    rows = []
    for outputs, inputs, kernel, _ in SHAPES:
        grid = nbviz.FilterGrid(torch.nn.Conv2d(inputs, outputs, kernel))
        weights = outputs * inputs * kernel * kernel
        payload = wire.payload_bytes(grid.kernels)
        described = len(json.dumps({k: v for k, v in grid.kernels.items() if k != "buffers"}))
        shape = f"{outputs}x{inputs}x{kernel}x{kernel}"
        rows.append(
            [shape, weights, payload, f"{payload / weights:.3f}", described, len(grid._esm)]
        )
    table(
        "Bytes sent for the kernels of a layer, over one byte a weight",
        ["kernels", "weights", "buffers", "ratio (aim 1.1)", "JSON beside", "bundle, once"],
        rows,
    )


def frame_times(open_notebook):
    cell = (
        "import torch, nbviz\ntorch.manual_seed(0)\nnbviz.FilterGrid(torch.nn.Conv2d(512, 512, 3))"
    )
    notebook = open_notebook([cell])
    notebook.run(0)
    view = notebook.view()
    steps = {
        "scroll down": "(e, n) => { e.scrollTop += 24; }",
        "scroll across": "(e, n) => { e.scrollLeft += 40; }",
        "scroll both at 1 px a weight": "(e, n) => { e.scrollTop += 7; e.scrollLeft += 9; }",
        "zoom": "(e, n) => { e.dispatchEvent(new WheelEvent('wheel', {ctrlKey: true, bubbles: true,"
        " deltaY: n % 40 < 20 ? -1 : 1, clientX: e.getBoundingClientRect().x + 200,"
        " clientY: e.getBoundingClientRect().y + 200})); }",
    }
    rows = []
    for name, step in steps.items():
        if "1 px" in name:
            notebook.execute("__import__('gc')")
            view.find("button[aria-label='Zoom out']").evaluate(
                "b => { for (let i = 0; i < 8; i++) b.click(); }"
            )
        times = view.frame_times(".scroller", step=step, frames=180)
        times.sort()
        rows.append(
            [name, f"{median(times):.1f}", f"{times[-9]:.1f}", f"{1000 / times.mean():.0f}"]
        )
    table(
        "512x512x3x3, milliseconds between frames in headless Chromium (aim 30 frames a second)",
        ["while", "median", "95 %", "frames a second"],
        rows,
    )
    notebook.close()


WATCH = """
import time, torch, nbviz
torch.manual_seed(0); torch.set_num_threads(1)
network, *_ = nbviz.demos.digits()
model = network.model.train()
data = torch.rand(64, *network.input_shape); labels = torch.randint(10, (64,))
grid = nbviz.FilterGrid(network)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

def steps(count):
    start = time.perf_counter()
    for _ in range(count):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(data), labels).backward()
        optimizer.step()
    return time.perf_counter() - start

def compare(rounds=4, count=500):
    plain, watched = [], []
    for _ in range(rounds):
        plain.append(steps(count))
        start = time.perf_counter()
        with grid.watch(every=50):
            steps(count)
        watched.append(time.perf_counter() - start)
    return sum(plain), sum(watched), rounds * count
steps(20)
"""


def watching(open_notebook):
    rows = []
    for shown in ("no view open", "a view open"):
        notebook = open_notebook([WATCH, "grid" if shown == "a view open" else "None"])
        notebook.run_all()
        plain, watched, count = ast.literal_eval(notebook.execute("compare()", timeout=300))
        rows.append(
            [
                shown,
                f"{1000 * plain / count:.2f}",
                f"{1000 * watched / count:.2f}",
                f"{100 * (watched / plain - 1):+.1f} %",
            ]
        )
        notebook.close()
    table(
        "Training the digits network, batch 64, 1 thread, watched every 50 steps",
        ["", "ms a step, plain", "ms a step, watched", "slower by (aim 3 %)"],
        rows,
    )


def main(names):
    with notebooks() as open_notebook:
        parts = {
            "paint": lambda: first_paint(open_notebook),
            "bytes": sent_bytes,
            "frames": lambda: frame_times(open_notebook),
            "watch": lambda: watching(open_notebook),
        }
        for name in names or parts:
            parts[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
