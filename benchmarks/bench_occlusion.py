"""Occlusion maps against Captum and against whole forward passes in batches.

Run it: ``.venv/bin/python benchmarks/bench_occlusion.py [exact|adaptive|stands] [network ...]``.
224 px, float32, 2 threads; random weights (time does not depend on them), but ``adaptive`` takes
SqueezeNet 1.0 with its real weights on photographs where ``../shared/data`` has them.

The incremental way is timed on the whole map, as a user calls it (`occlusion_map`). Whole passes
and Captum take the same time at every position, so they are timed on some of them and scaled:
whole passes on positions drawn evenly, Captum with a larger stride. Each has its choice of batch;
Captum's is the best of several. The three are compared on the same positions first.
"""

from __future__ import annotations

import gc
import sys
import time
from pathlib import Path

import numpy as np
import torch
from captum.attr import Occlusion
from PIL import Image
from tables import table
from torch import nn
from torchvision import models

from nbviz import Network
from nbviz.analysis.incremental import IncrementalInference
from nbviz.analysis.masked_inference import Boxes, PlainInference
from nbviz.analysis.occlusion import occlusion_map, occlusion_steps
from nbviz.analysis.occlusion_fill import Replacement

SIDE = 224
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NETWORKS = (
    *("alexnet", "vgg16", "resnet18", "resnet50", "squeezenet1_1", "mobilenet_v2"),
    *("googlenet", "densenet121", "efficientnet_b0", "vit_b_16"),
)
MASKS = ((32, 8), (16, 4), (16, 8))
PLAIN_POSITIONS = 96
CAPTUM_BATCHES = (1, 8, 32)
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def network_of(name):
    torch.manual_seed(0)
    options = {"init_weights": False} if name == "googlenet" else {}
    model = models.get_model(name, weights=None, **options)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):  # so that masks show in the logits of deep networks too
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return Network(model.eval().to(DEVICE), input_shape=(3, SIDE, SIDE))


def seconds(run):
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    result = run()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


def boxes_on(size, stride):
    starts = np.arange(0, SIDE - size + 1, stride)
    tops, lefts = (grid.reshape(-1) for grid in np.meshgrid(starts, starts, indexing="ij"))
    return Boxes(
        tops, lefts, (size, size), lambda n: torch.zeros(len(n), 3, size, size, device=DEVICE)
    )


def some(boxes, count):
    pick = np.linspace(0, len(boxes) - 1, count).astype(int)
    return Boxes(boxes.tops[pick], boxes.lefts[pick], boxes.size, boxes.pixels)


def logits_of(inference, boxes):
    found = torch.zeros((len(boxes), len(inference.logits)), device=DEVICE)
    for answer in inference.run(boxes):
        found[torch.from_numpy(answer.numbers).to(DEVICE)] = answer.logits
    return found


def plain_seconds(plain, boxes):
    """A position's time; batches and memory format are settled by earlier runs."""
    part = some(boxes, PLAIN_POSITIONS)
    for _ in range(3):
        logits_of(plain, part)
    return min(seconds(lambda: logits_of(plain, part))[0] for _ in range(3)) / len(part)


def captum_seconds(network, image):
    """A window's time at its best number of windows a pass.

    It does not depend on the window's size: each is a mask of the whole input. Here 49 tile it.
    """
    best = float("inf")
    occlusion = Occlusion(network.model)
    size, windows = SIDE // 7, 49
    for each in CAPTUM_BATCHES if DEVICE == "cpu" else (32, 128, 256):

        def run(each=each):
            with torch.no_grad():
                return occlusion.attribute(
                    image,
                    target=0,
                    sliding_window_shapes=(3, size, size),
                    strides=(3, size, size),
                    perturbations_per_eval=each,
                )

        if best == float("inf"):
            run()
        best = min(best, seconds(run)[0] / windows)
    return best


def expect_same_as_captum(network, image, found, size, stride):
    """Captum cuts the last window off where ours is flush, so here both tile the image."""
    with torch.no_grad():
        theirs = Occlusion(network.model).attribute(
            image,
            target=found.target,
            sliding_window_shapes=(3, size, size),
            strides=(3, stride, stride),
            perturbations_per_eval=16,
        )
    ours = found.per_pixel(kind="logit drop")
    spread = float(np.ptp(found.base_logits))
    error = float(np.abs(ours - theirs[0, 0].cpu().numpy()).max())
    if error > 1e-5 * spread:
        raise SystemExit(f"Captum and nbviz differ by {error:.2e} of {spread:.2e}")


def exact(names):
    rows = []
    for name in names:
        network = network_of(name)
        image = torch.randn(1, 3, SIDE, SIDE, device=DEVICE)
        plain = PlainInference(network, image)
        fill = Replacement(torch.zeros_like(image), "zero", "zero, as Captum's baseline")
        coarse = occlusion_map(network, image, size=56, stride=56, fill=fill)
        expect_same_as_captum(network, image, coarse, 56, 56)
        captum = captum_seconds(network, image)
        for size, stride in MASKS:
            boxes = boxes_on(size, stride)
            each = plain_seconds(plain, boxes)
            took, found = seconds(
                lambda s=size, t=stride, n=network, i=image, f=fill: occlusion_map(
                    n, i, size=s, stride=t, fill=f
                )
            )
            part = some(boxes, 24)
            expected = logits_of(plain, part)
            spread = float(expected.max() - expected.min())
            rows_, cols_ = (
                np.searchsorted(found.tops, part.tops),
                np.searchsorted(found.lefts, part.lefts),
            )
            ours = found.logits[rows_, cols_]
            error = float(np.abs(ours - expected.cpu().numpy()).max()) / spread
            if error > 1e-4:
                raise SystemExit(f"{name}: logits differ by {error:.1e} of their spread")
            mine = took / len(boxes)
            theory = 1.0
            if found.way != "plain":
                theory = IncrementalInference(network, image).arithmetic(boxes).ratio
            rows.append(
                [
                    name, f"{size}/{stride}", len(boxes), f"{1000 * captum:.2f}",
                    f"{1000 * each:.2f}", f"{1000 * mine:.2f}", f"{captum / mine:.1f}",
                    f"{each / mine:.2f}", f"{theory:.2f}", f"{each / mine / theory:.0%}",
                    f"{error:.0e}", found.way,
                ]
            )  # fmt: skip
            print("  ".join(map(str, rows[-1])), file=sys.stderr, flush=True)
        del network, plain
        gc.collect()
    head = [
        "network", "mask/stride", "positions", "Captum", "whole passes", "nbviz", "times Captum",
        "times whole", "arithmetic", "reached", "error", "way",
    ]  # fmt: skip
    table(f"Milliseconds a position, {where()}; error as a share of the logits' spread", head, rows)


def where():
    device = torch.cuda.get_device_name() if DEVICE == "cuda" else "CPU"
    return f"{SIDE} px, {device}, {torch.get_num_threads()} threads"


def structural_similarity(a, b, window=7):
    """SSIM (Wang et al. 2004) of maps as drawn, 0 to 1 over the range of `b`; uniform windows."""
    from scipy.ndimage import uniform_filter

    a, b = ((np.asarray(each, float) - b.min()) / np.ptp(b) for each in (a, b))
    one, two = 0.01**2, 0.03**2
    count = window * window / (window * window - 1)
    mean_a, mean_b = uniform_filter(a, window), uniform_filter(b, window)
    var_a = count * (uniform_filter(a * a, window) - mean_a**2)
    var_b = count * (uniform_filter(b * b, window) - mean_b**2)
    both = count * (uniform_filter(a * b, window) - mean_a * mean_b)
    top = (2 * mean_a * mean_b + one) * (2 * both + two)
    edge = window // 2
    whole = top / ((mean_a**2 + mean_b**2 + one) * (var_a + var_b + two))
    return float(whole[edge:-edge, edge:-edge].mean())


def pictures():
    paths = sorted((DATA / "photos").glob("*.jpg"))
    return [Image.open(path).convert("RGB") for path in paths[:: max(1, len(paths) // 3)][:3]]


def adaptive(names, tolerance=0.04, size=16, stride=4):
    """Maps that are computed only where they are not smooth."""
    rows = []
    for name in names:
        network, photos = network_of(name), pictures()
        weights = "random"
        if name == "squeezenet1_0" and (DATA / "squeezenet1_0.safetensors").exists():
            from safetensors.torch import load_file

            network.model.load_state_dict(load_file(DATA / "squeezenet1_0.safetensors"))
            weights = "real"
        transform = models.SqueezeNet1_0_Weights.DEFAULT.transforms()
        batches = [transform(photo)[None].to(DEVICE) for photo in photos]
        if not batches:
            batches = [torch.randn(1, 3, SIDE, SIDE, device=DEVICE)]
        count = len(boxes_on(size, stride))
        captum = captum_seconds(network, batches[0]) * count
        for number, batch in enumerate(batches):
            whole, full = seconds(
                lambda n=network, b=batch: occlusion_map(n, b, size=size, stride=stride)
            )
            took, found = seconds(
                lambda n=network, b=batch: occlusion_map(
                    n, b, size=size, stride=stride, tolerance=tolerance
                )
            )
            likeness = structural_similarity(
                found.per_pixel(kind="probability"), full.per_pixel(kind="probability")
            )
            rows.append(
                [
                    name, weights, number, f"{found.computed_share:.1%}", f"{captum:.1f}",
                    f"{whole:.1f}", f"{took:.1f}", f"{captum / whole:.1f}",
                    f"{captum / took:.1f}", f"{likeness:.3f}",
                ]
            )  # fmt: skip
            print("  ".join(map(str, rows[-1])), file=sys.stderr, flush=True)
    head = [
        "network", "weights", "image", "computed", "Captum s", "exact s", "adaptive s",
        "exact times Captum", "adaptive times Captum", "SSIM",
    ]  # fmt: skip
    table(
        f"Adaptive maps, masks {size}/{stride}, tolerance {tolerance:.0%}, {where()}; SSIM of the "
        f"confidence a pixel, drawn 0 to 1, against the exact map",
        head,
        rows,
    )


def stands(names, size=32, stride=8):
    """When a first coarse map stands, and when the whole one does."""
    rows = []
    for name in names:
        network, image = network_of(name), torch.randn(1, 3, SIDE, SIDE, device=DEVICE)
        occlusion_map(network, image, size=112, stride=112)  # tracing is once a network
        start, first = time.perf_counter(), None
        for so_far in occlusion_steps(network, image, size=size, stride=stride):
            coarse = so_far.state[::8, ::8]
            if first is None and coarse.all():
                first = time.perf_counter() - start
        whole = time.perf_counter() - start
        rows.append([name, f"{1000 * first:.0f}", f"{1000 * whole:.0f}", f"{whole / first:.1f}"])
    table(
        f"Milliseconds until every 8th position stands, and all ({size}/{stride}, {where()})",
        ["network", "first", "whole", "ratio"],
        rows,
    )


if __name__ == "__main__":
    if DEVICE == "cpu":
        torch.set_num_threads(2)
    parts = {"exact": exact, "adaptive": adaptive, "stands": stands}
    wanted = [word for word in sys.argv[1:] if word in parts] or [*parts]
    chosen = [word for word in sys.argv[1:] if word not in parts]
    default = {
        "exact": NETWORKS,
        "adaptive": ("squeezenet1_0", "vgg16", "resnet18"),
        "stands": ("squeezenet1_1", "resnet18", "vgg16"),
    }
    for word in wanted:
        parts[word](chosen or default[word])
