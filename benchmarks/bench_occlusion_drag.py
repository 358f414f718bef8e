"""Dragging a mask in a real JupyterLab: from the pointer's movement to the bars that answer it.

Run it: ``.venv/bin/python benchmarks/bench_occlusion_drag.py``. Beside each stands one bare forward
pass of the same network, measured in the same kernel with nothing else going on.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "notebook"))

import numpy as np
from bench_filter_grid import notebooks
from tables import table

NETWORK = """
import time, numpy as np, torch, torchvision, nbviz
model = torchvision.models.get_model("{name}", weights=None).eval()
for module in model.modules():  # so that a mask shows in the digits of the logit
    if isinstance(module, torch.nn.Conv2d):
        torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
network = nbviz.Network(model, input_shape=(3, 224, 224))
picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
batch = network.prepare(picture)

def bare(repeats=30):
    took = []
    with torch.no_grad():
        for _ in range(repeats):
            start = time.perf_counter()
            model(batch)
            took.append(1000 * (time.perf_counter() - start))
    return sorted(took)[repeats // 2]

def asked(repeats=30):
    masks = [dict(shape="rectangle", top=80, left=90, height=32, width=32)]
    took = []
    for i in range(repeats):
        masks[0]["left"] = 60 + i
        start = time.perf_counter()
        probe._answer_masked(masks=masks, seq=i, done=False, point=[96, 76 + i])
        took.append(1000 * (time.perf_counter() - start))
    return sorted(took)[repeats // 2]

probe = nbviz.OcclusionProbe(network, picture, size=32)
probe
"""

# From a movement of the pointer until the target's logit has changed; -1 where it stays the same.
_MOVE = """() => {
  const { shadowRoot } = document.querySelector('[data-nbviz-view]');
  const bars = shadowRoot.querySelector('.confidence');
  const logit = () => [...bars.querySelectorAll('p.soft')].map(p => p.textContent).join();
  const before = logit();
  window.nbvizMove = new Promise(resolve => {
    document.addEventListener('pointermove', event => {
      const observer = new MutationObserver(() => {
        if (logit() === before) return;
        observer.disconnect();
        setTimeout(() => resolve(performance.now() - event.timeStamp));
      });
      observer.observe(bars, { childList: true, subtree: true, characterData: true });
      setTimeout(() => resolve(-1), 500);
    }, { once: true, capture: true });
  });
}"""


def drag(open_notebook, name):
    notebook = open_notebook([NETWORK.format(name=name)])
    notebook.run_all(timeout=240)
    view = notebook.view()
    view.find(".confidence").wait_for()
    view.show()
    page = notebook.page
    page.wait_for_timeout(1500)
    bare = notebook.ask("bare()")
    box = view.find(".masks").first.bounding_box()
    took = []
    page.mouse.move(box["x"] + 60, box["y"] + 80)
    page.mouse.down()
    for step in range(120):
        row, along = divmod(step, 30)
        page.evaluate(_MOVE)
        page.mouse.move(box["x"] + 66 + 8 * along, box["y"] + 80 + 60 * row + step % 3)
        took.append(page.evaluate("() => window.nbvizMove"))
    page.mouse.up()
    page.wait_for_timeout(400)
    asked = notebook.ask("asked()")
    bare = min(bare, notebook.ask("bare()"))
    notebook.close()
    changed = [t for t in took if t >= 0]
    return [
        name, len(changed), f"{bare:.1f}", f"{asked:.1f}", f"{median(changed):.1f}",
        f"{np.percentile(changed, 95):.1f}", f"{median(changed) - bare:+.1f}",
    ]  # fmt: skip


def main(names):
    with notebooks() as open_notebook:
        rows = [drag(open_notebook, name) for name in names or ("squeezenet1_1", "resnet18")]
    table(
        "A 32 px mask dragged at 224 px, milliseconds from pointer to bars (aim: a bare pass + 20)",
        [
            "network", "movements", "bare pass", "Python's part", "median", "95 %",
            "median less a bare pass",
        ],
        rows,
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
