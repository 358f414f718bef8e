"""A scan of many images whose numbers are made up: to time what is shown of one, not the pass.

The statistics are not those of the network, so patches show where made-up peaks would lie.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import nn

import nbviz
from nbviz.analysis.data_pass import ImageRows
from nbviz.analysis.unit_statistics.bins import bin_of
from nbviz.analysis.unit_statistics.settings import PassSettings
from nbviz.analysis.unit_statistics.statistics import CLASS_SCALE, UnitStatistics
from nbviz.scanning.manifest import Manifest
from nbviz.scanning.source import ImageSource
from nbviz.scanning.store import Store

IMAGES, CHANNELS, CLASSES, FEATURES = 50_000, 512, 1000, 512
LAYER, GRID = "5", 14
_FILES = 128


class Photographs(torch.utils.data.Dataset):
    """JPEG files of 500 x 375, decoded when they are asked for; a few stand for many."""

    def __init__(self, count: int = IMAGES) -> None:
        self.count = count
        rng = np.random.default_rng(0)
        self.files = []
        for _ in range(_FILES):
            small = Image.fromarray(rng.integers(0, 256, (75, 100, 3), np.uint8))
            stream = io.BytesIO()
            small.resize((500, 375), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
            self.files.append(stream.getvalue())

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int):
        return Image.open(io.BytesIO(self.files[number % _FILES])).convert("RGB"), number % CLASSES


def network():
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 32, 7, 4, 3), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(64, CHANNELS, 3, 2, 1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, CLASSES)),
    )
    return nbviz.Network(model.eval(), input_shape=(3, 224, 224))


def write(folder, images: int = IMAGES) -> None:
    """Write the scan's directory."""
    settings = PassSettings((LAYER,), features="7", length=images)
    source = ImageSource(Photographs(images))
    manifest = Manifest.of(network(), source, settings, batch_size=32, threads=1, device="cpu")
    store = Store.create(folder, manifest)
    store.write_shard(0, images, _rows(images), {LAYER: _units(settings, images)})


def _rows(images: int) -> ImageRows:
    rng = np.random.default_rng(1)
    number = np.arange(images)
    return ImageRows(
        index=number,
        label=(number % CLASSES).astype(np.int32),
        predicted=rng.integers(0, CLASSES, images, dtype=np.int32),
        confidence=rng.random(images, np.float32),
        features=rng.random((images, FEATURES), np.float32),
        reason=[""] * images,
    )


def _units(settings: PassSettings, images: int) -> UnitStatistics:
    rng = np.random.default_rng(2)
    arrays = UnitStatistics.empty(CHANNELS, settings).to_arrays()
    peaks = rng.gamma(2, 1, (CHANNELS, images)).astype(np.float32)
    order = np.argsort(peaks, axis=1)
    bottom = order[:, : settings.bottom_k]
    top = order[:, ::-1][:, : settings.top_k]
    sample = np.broadcast_to(
        np.arange(settings.samples) * (images // settings.samples), (CHANNELS, settings.samples)
    )
    for name, chosen in (("top", top), ("bottom", bottom), ("sample", sample)):
        arrays[f"{name}_image"] = chosen.astype(np.int64)
        arrays[f"{name}_value"] = np.take_along_axis(peaks, chosen, 1)
        for place in ("row", "col"):
            arrays[f"{name}_{place}"] = rng.integers(0, GRID, chosen.shape, dtype=np.int32)
    counts = np.stack(
        [np.bincount(bin_of(row), minlength=arrays["peak_counts"].shape[1]) for row in peaks]
    )
    arrays |= {"images": np.array(images), "peak_counts": counts, "place_counts": 4 * counts}
    arrays["classes"] = np.arange(CLASSES)
    arrays["class_images"] = np.bincount(np.arange(images) % CLASSES, minlength=CLASSES)
    for name in [name for name in arrays if name.startswith("class_") and name.endswith("sum")]:
        means = rng.gamma(2, 1, (CHANNELS, CLASSES))
        arrays[name] = (means * arrays["class_images"] * CLASS_SCALE).astype(np.int64)
    return UnitStatistics.from_arrays(arrays, settings)
