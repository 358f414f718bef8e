"""TopPatches reads features of the images of patches, and of no others."""

from __future__ import annotations

import numpy as np
import pytest

import nbviz
from nbviz.analysis.feature_rows import FeatureRows
from tests.fixtures.scanned import arrays_of, scan_of, small_pictures

COUNT = 300


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan")
    return scan_of(small_pictures(COUNT), store=folder, shard_images=64, features="6")


def test_only_rows_of_patches_are_read(scan, monkeypatch):
    read, plain = [], FeatureRows.__getitem__
    monkeypatch.setattr(
        FeatureRows,
        "__getitem__",
        lambda self, rows: read.extend(np.ravel(rows)) or plain(self, rows),
    )
    monkeypatch.setattr(FeatureRows, "__array__", lambda *_: pytest.fail("all were read"))
    found = nbviz.Scan.open(scan.path, scan.network, scan.dataset)
    assert repr(found)
    assert read == []
    view = nbviz.TopPatches(found, "0")
    images = found["0"].top.image
    assert {*read} <= {0, *images.ravel().tolist()}  # the first one stands in for none
    assert 0 < len(read) <= images.size < COUNT / 8
    view.search = "cat"
    view.channel = 2
    assert {*read} <= {0, *images.ravel().tolist()}


def test_diversity_is_that_of_features_in_memory(scan):
    there = arrays_of(nbviz.TopPatches(scan, "0").overview)
    features = np.asarray(scan.images.features)
    top = scan["0"].top
    for channel, images in enumerate(top.image):
        vectors = features[images[(images >= 0) & (top.value[channel] != 0)]].astype(np.float64)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        pairs = np.triu_indices(len(vectors), 1)
        if len(pairs[0]):
            distance = 1 - (vectors @ vectors.T)[pairs].mean()
            assert there["diversity"][channel] == pytest.approx(distance, abs=1e-5)
