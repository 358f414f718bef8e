"""A scan goes on, and takes a network, only where the same numbers would come out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fixtures.whole_scans import SHAPE, Pictures, Stream
from torch import nn

import nbviz
from nbviz import Network, Scan
from nbviz.scanning.manifest import ScanMismatchError


def network_of(activation=None, transform=None, **options) -> Network:
    state = torch.get_rng_state()
    torch.manual_seed(0)
    activation = nn.ReLU() if activation is None else activation
    model = nn.Sequential(nn.Conv2d(3, 4, 3), activation, nn.Conv2d(4, 2, 3))
    torch.set_rng_state(state)
    return Network(model, transform, input_shape=SHAPE, **options)


class Scaled:
    """A transform of which the text says nothing."""

    def __init__(self, scale=1.0, shift=0.0, noise=0.0, mirrored=False):
        self.scale, self.shift, self.noise, self.mirrored = scale, shift, noise, mirrored

    def __call__(self, picture):
        values = np.asarray(picture, np.float32).transpose(2, 0, 1) / 255 * self.scale + self.shift
        values += self.noise * np.random.default_rng(0).choice([-1, 1], values.shape)
        values = values[..., ::-1] if self.mirrored else values
        return torch.tensor(np.ascontiguousarray(values), dtype=torch.float32)


def scan(network, dataset=None, **options):
    dataset = Pictures(20) if dataset is None else dataset
    return nbviz.scan(network, dataset, batch_size=8, progress=False, **options)


OTHERS = [Scaled(2.0), Scaled(1.01), Scaled(shift=0.1), Scaled(-1.0, 1.0), Scaled(mirrored=True)]


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: str(vars(other)))
@pytest.mark.parametrize("kind", [Pictures, Stream])
def test_another_transform_of_the_same_text_is_told(kind, other, tmp_path):
    network = network_of(transform=Scaled())
    scan(network, kind(20), store=tmp_path)
    again = network_of(transform=other)
    with pytest.raises(ScanMismatchError, match="transform makes another input of image"):
        scan(again, kind(20), store=tmp_path)
    with pytest.raises(ScanMismatchError, match="transform makes another input of image"):
        Scan.open(tmp_path, again, kind(20))
    kept = Scan.open(tmp_path, dataset=kind(20))
    with pytest.raises(ScanMismatchError, match="transform makes another input of image"):
        kept.attach(again)  # one after the other
    assert kept.network is None
    kept = Scan.open(tmp_path, again)  # nothing to compare with
    with pytest.raises(ScanMismatchError, match="transform makes another input of image"):
        kept.attach(dataset=kind(20))
    assert kept.dataset is None


@pytest.mark.parametrize("other", [Scaled(), Scaled(1 + 1e-5), Scaled(noise=1 / 255)])
def test_an_input_that_differs_by_rounding_is_the_same(other, tmp_path):
    scan(network_of(transform=Scaled()), store=tmp_path)
    found = Scan.open(tmp_path, network_of(transform=other), Pictures(20))
    assert found.network is not None
    assert scan(network_of(transform=other), store=tmp_path).finished


def test_images_that_fail_are_not_compared(tmp_path):
    broken = (0, 2)
    scan(network_of(transform=Scaled()), Pictures(20, broken), store=tmp_path)
    found = Scan.open(tmp_path, network_of(transform=Scaled()), Pictures(20, broken))
    assert list(found.store.manifest.inputs) == ["1", "3", "4"]
    with pytest.raises(ScanMismatchError, match="another input of image 1"):
        found.attach(network_of(transform=Scaled(3.0)), Pictures(20, broken))


def test_a_generator_is_not_used_up_by_the_comparison(tmp_path):
    whole = scan(network_of(), Stream(20))
    found = scan(network_of(), (item for item in Stream(20)), store=tmp_path)
    assert found.images.index.tolist() == whole.images.index.tolist() == [*range(20)]


@pytest.mark.parametrize("layers", [None, ["0", "2"]])
@pytest.mark.parametrize(
    ("other", "said"),
    [(nn.Tanh(), "layers: 1 was ReLU 4×22×18, now Tanh 4×22×18"), (nn.ZeroPad2d(1), "ZeroPad2d")],
)
def test_another_architecture_with_the_same_weights_is_told(layers, other, said, tmp_path):
    scan(network_of(), store=tmp_path, layers=layers)
    with pytest.raises(ScanMismatchError, match=said):
        Scan.open(tmp_path).attach(network_of(other))
    with pytest.raises(ScanMismatchError, match=said):
        scan(network_of(other), store=tmp_path, layers=layers)
    found = Scan.open(tmp_path).attach(network_of(classes=["a", "b"]))  # names do not matter
    assert found.network is not None
