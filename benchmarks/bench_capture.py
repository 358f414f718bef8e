"""Capturing one layer of ResNet-50 against Captum and torchvision: what a click on a layer costs.

Run it: ``.venv/bin/python benchmarks/bench_capture.py [rounds]``. The ways take turns, so whatever
else the machine does meets all of them. The extractor is built beforehand for the one layer, which
a browser of layers could not do; what building takes stands in the table.
"""

from __future__ import annotations

import sys
import time
from statistics import median

import torch
from captum.attr import LayerActivation
from tables import table
from torchvision.models import resnet50
from torchvision.models.feature_extraction import create_feature_extractor

from nbviz.analysis.activations import capture
from nbviz.network import Network

LAYERS = {"early": "conv1", "middle": "layer2.3.conv2", "last": "layer4.2.conv3"}
ROUNDS = 31


def timed(run):
    start = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - start)


def ways(network, batch, layer):
    """Functions that capture the layer, and the milliseconds that building the extractor took."""
    model = network.model
    start = time.perf_counter()
    extractor = create_feature_extractor(model, [layer])
    built = 1000 * (time.perf_counter() - start)
    captum = LayerActivation(model, model.get_submodule(layer))

    def plain(run):
        with torch.no_grad():
            return run(batch)

    return {
        "nbviz": lambda: capture(network, batch, [layer]).values[layer],
        "captum": lambda: plain(captum.attribute),
        "extractor": lambda: plain(extractor)[layer],
        "whole model": lambda: plain(model),
    }, built


def main(rounds):
    torch.manual_seed(0)
    network = Network(resnet50(weights=None).eval(), input_shape=(3, 224, 224))
    batch = torch.randn(1, 3, 224, 224)
    rows = []
    for place, layer in LAYERS.items():
        runs, built = ways(network, batch, layer)
        outputs = [runs[name]() for name in ("nbviz", "captum", "extractor")]
        if not all(torch.equal(outputs[0], other) for other in outputs[1:]):
            raise SystemExit(f"the ways do not agree on {layer}")
        times = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                times[name].append(timed(run))
        ours, captum, extractor, whole = (median(times[name]) for name in runs)
        ratio = ours / min(captum, extractor)
        figures = [f"{t:.2f}" for t in (ours, captum, extractor)]
        rows.append([place, layer, *figures, f"{ratio:.2f}", f"{whole:.1f}", f"{built:.0f}"])
    head = ["", "layer", "nbviz", "Captum", "extractor", "ratio (aim 1.0)", "whole model"]
    table(
        f"One layer of ResNet-50 at 224 px, {torch.get_num_threads()} threads, milliseconds, "
        f"median of {rounds}",
        [*head, "building the extractor"],
        rows,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else ROUNDS)
