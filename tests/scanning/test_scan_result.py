"""A scan as people read it."""

from __future__ import annotations

import gc
import tempfile
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest

from nbviz.analysis.feature_rows import FeatureRows
from nbviz.analysis.layers import UnknownLayerError
from nbviz.scanning.manifest import Manifest, ScanMismatchError, ScanStoreError
from nbviz.scanning.result import Scan
from nbviz.scanning.source import ImageSource
from nbviz.scanning.store import Store
from tests.fixtures import small_scans as small
from tests.fixtures.small_scans import LAYERS, answers, assert_same_rows, assert_same_units

COUNT = 20


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store.create(tmp_path / "scan", small.manifest(COUNT))
    for first in range(0, COUNT, 5):
        store.write_shard(first, first + 5, *answers(first, first + 5, COUNT))
    return store


def test_it_tells_what_was_scanned(store):
    scan = Scan.open(store.path)
    rows, units = answers(0, COUNT, COUNT)
    assert scan.layers == tuple(scan) == LAYERS
    assert scan.settings == small.settings()
    assert scan.path == store.path
    assert scan.finished
    for name in LAYERS:
        assert_same_units(scan[name], units[name])
    assert_same_rows(scan.images, rows)
    assert scan.skipped == [(6, "it is damaged"), (13, "it is damaged")]
    assert (scan.count, len(scan)) == (18, 3)
    assert repr(scan) == f"Scan(Sequential, 3 layers, 18 images, 2 skipped, {str(scan.path)!r})"
    info = scan.layer_info("1")
    assert info == {
        "name": "1", "kind": "ReLU", "layout": "maps", "channels": 5, "grid": [6, 6],
        "stride": [1, 1],
    }  # fmt: skip
    info["name"] = "changed"
    assert scan.layer_info("1")["name"] == "1"


def test_rows_of_images_are_read_once_and_features_where_they_are_asked_for(store, monkeypatch):
    asked, read = [], Store.read_images
    monkeypatch.setattr(Store, "read_images", lambda *args: asked.append(args) or read(*args))
    scan = Scan.open(store.path)
    assert (scan.count, len(scan.skipped), repr(scan)[:4]) == (18, 2, "Scan")
    assert scan.images is scan.images
    assert len(asked) == 1
    features = scan.images.features
    assert isinstance(features, FeatureRows)
    assert features.shape == (COUNT, 20)
    expected = answers(0, COUNT, COUNT)[0].features
    np.testing.assert_array_equal(features[[17, 3, 6]], expected[[17, 3, 6]])
    assert np.isnan(features[6]).all()


def test_few_layers_are_kept_in_memory(store, monkeypatch):
    monkeypatch.setattr("nbviz.scanning.result._KEPT_LAYERS", 2)
    asked, read = [], Store.read_moment
    monkeypatch.setattr(
        Store, "read_moment", lambda store, name: asked.append(name) or read(store, name)
    )
    scan = Scan.open(store.path)
    for name in ("0", "1", "0", "4", "0", "1"):
        assert scan[name] is scan[name]
    assert asked == ["0", "1", "4", "1"]


def test_an_unknown_layer_is_said_to_be_so(store):
    scan = Scan.open(store.path)
    for act in (lambda: scan["layer1"], lambda: scan.layer_info("2")):
        with pytest.raises(UnknownLayerError, match="one of the 3 layers scanned, got"):
            act()
    assert "1" in scan
    assert "2" not in scan


def test_a_scan_that_is_not_finished_is_read_so_far(tmp_path):
    store = Store.create(tmp_path, small.manifest(COUNT))
    scan = Scan(store)
    assert (scan.count, bool(scan), scan.finished, scan["1"].images) == (0, True, False, 0)
    store.write_shard(5, 9, *answers(5, 9, COUNT))
    scan = Scan.open(tmp_path)
    assert "3 images, 1 skipped, not finished" in repr(scan)
    assert_same_units(scan["4"], answers(5, 9, COUNT)[1]["4"])


def test_names_of_labels_and_of_outputs_are_told_apart(tmp_path):
    network = small.small_network()

    def scan(name, **options):
        source = ImageSource(small.pictures(4), **options)
        manifest = Manifest.of(network, source, small.settings(), batch_size=1)
        return Scan(Store.create(tmp_path / name, manifest))

    own = scan("a", labels=["dog"] * 4)
    assert (own.classes, own.output_names) == (("dog",), ("a", "b", "c", "d"))
    assert scan("b").classes == ("a", "b", "c", "d")
    network = small.small_network()
    network._classes = None
    assert (scan("c").classes, scan("c").output_names) == (None, None)


def test_network_and_data_set_are_attached_if_they_are_the_same(store):
    network, pictures = small.small_network(), small.pictures(COUNT)
    scan = Scan.open(store.path, network, pictures)
    assert scan.network is network
    np.testing.assert_array_equal(scan.dataset.read(3).picture, pictures[3])
    source = small.source(COUNT)
    assert scan.attach(dataset=source) is scan
    assert (scan.dataset, scan.network) == (source, network)
    with pytest.raises(
        ScanMismatchError, match=r"input_shape was \[3, 8, 8\], now \[3, 224, 224\]"
    ):
        Scan.open(store.path, network.model)
    bare = Scan.open(store.path)
    assert (bare.network, bare.dataset) == (None, None)


def test_others_are_not_attached(store):
    scan = Scan.open(store.path)
    with pytest.raises(ScanMismatchError, match="- network: weights was") as caught:
        scan.attach(small.small_network(1), small.pictures(COUNT))
    assert "data set" not in str(caught.value)
    with pytest.raises(ScanMismatchError, match="- data set: length was 20, now 19"):
        scan.attach(small.small_network(), small.pictures(COUNT)[1:])
    with pytest.raises(ScanMismatchError, match="- data set: fingerprint was") as caught:
        scan.attach(dataset=small.pictures(COUNT)[::-1])
    assert "length" not in str(caught.value)
    scaled = small.small_network()
    scaled.transform = str.upper
    with pytest.raises(ScanMismatchError, match="- network: transform was none, now"):
        scan.attach(scaled)
    assert (scan.network, scan.dataset) == (None, None)
    with pytest.raises(ScanStoreError, match="does not exist"):
        Scan.open(store.path / "nowhere")


def test_a_store_of_no_name_lives_as_long_as_its_scan():
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name)
    scan = Scan(Store.create(path, small.manifest(COUNT)), keep=folder)
    del folder
    gc.collect()
    assert scan.count == 0
    assert path.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del scan
        gc.collect()
    assert not path.exists()


def test_files_are_unmapped_before_their_directory_goes(store):
    class Folder:
        def __del__(self):
            mapped.append(features() is not None)

    mapped: list[bool] = []
    scan = Scan(Store.open(store.path), keep=Folder())
    features = weakref.ref(scan.images.features)
    del scan
    gc.collect()
    assert mapped == [False]
