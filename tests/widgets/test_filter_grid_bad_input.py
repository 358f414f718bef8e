"""FilterGrid on models that are odd or broken: a clear error, or the right picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import traitlets
from torch import nn

from nbviz import FilterGrid
from nbviz.widgets import wire


class ComplexConv(nn.Conv2d):
    """A convolution whose weights are complex numbers."""

    def __init__(self):
        super().__init__(3, 4, 5)
        self.weight = nn.Parameter(torch.randn(4, 3, 5, 5, dtype=torch.complex64))


def with_one_good_layer(odd):
    return nn.Sequential(nn.Conv2d(3, 4, 5), odd)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Sequential(), "no layers"),
        (nn.Sequential(nn.ReLU(), nn.Linear(4, 2)), "1 ReLU, 1 Linear"),
        (nn.Identity(), "expected a model with kernels"),
        (nn.Conv2d(3, 4, 5, device="meta"), "meta"),
        (ComplexConv(), "complex"),
        (nn.LazyConv2d(4, 5), "lazy"),
        (nn.Conv3d(3, 4, 5), "3 dimensions"),
    ],
    ids=["empty", "no kernels", "no module", "meta", "complex", "lazy", "3-d"],
)
def test_what_cannot_be_drawn_says_why(model, said):
    with pytest.raises(ValueError, match=said):
        FilterGrid(model)


@pytest.mark.parametrize(
    "odd", [nn.Conv2d(4, 4, 3, device="meta"), ComplexConv(), nn.Conv3d(4, 4, 3)]
)
def test_one_odd_layer_does_not_hide_the_others(odd):
    grid = FilterGrid(with_one_good_layer(odd))
    assert grid.layer == "0"
    entry = next(entry for entry in grid.layers if entry["name"] == "1")
    assert entry["problem"]
    with pytest.raises(traitlets.TraitError, match="layer '1' cannot be drawn"):
        grid.layer = "1"
    assert grid.kernels["layer"] == "0"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_drawn_as_they_are(dtype):
    torch.manual_seed(0)
    model = nn.Conv2d(3, 6, 7).to(dtype)
    grid = FilterGrid(model)
    arrays = wire.unpack(grid.kernels)
    shown = arrays["values"] / 127.0 * arrays["scale"][:, None, None, None]
    exact = model.weight.detach().float().numpy()
    np.testing.assert_allclose(shown, exact, atol=np.abs(exact).max() / 253)
    assert model.weight.dtype == dtype


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_layer_of_no_numbers_at_all_is_drawn_hatched_and_said(value):
    model = nn.Conv2d(3, 6, 7)
    nn.init.constant_(model.weight, value)
    grid = FilterGrid(model)
    assert grid.health.verdict == "broken"
    assert "882" in grid.health.sentence
    odd = (grid.still() == (255, 0, 200)) | (grid.still() == (40, 40, 40))
    assert odd.all(axis=-1).sum() > 100
    assert np.isfinite(wire.unpack(grid.kernels)["scale"]).all()


def test_all_zero_and_constant_kernels_are_drawn():
    model = nn.Conv2d(1, 4, 7)
    nn.init.zeros_(model.weight)
    assert FilterGrid(model).still().size > 0
    nn.init.ones_(model.weight)
    assert FilterGrid(model, sort="similarity", normalise="layer").still().size > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_a_model_on_a_gpu_is_shown_and_stays_there():
    model = nn.Conv2d(3, 6, 7).cuda()
    grid = FilterGrid(model)
    arrays = wire.unpack(grid.kernels)
    shown = arrays["values"] / 127.0 * arrays["scale"][:, None, None, None]
    exact = model.weight.detach().cpu().numpy()
    np.testing.assert_allclose(shown, exact, atol=np.abs(exact).max() / 253)
    assert model.weight.is_cuda


LAYERS = {
    "grouped": nn.Conv2d(8, 12, 5, groups=4),
    "depthwise": nn.Conv2d(8, 8, 7, groups=8),
    "dilated": nn.Conv2d(3, 5, 5, dilation=3),
    "transposed": nn.ConvTranspose2d(6, 4, 4, stride=2),
    "strips": nn.Conv1d(2, 6, 9),
    "patches": nn.Conv2d(3, 16, 16, stride=16),
    "pointwise": nn.Conv2d(20, 10, 1),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_every_kind_of_kernel_is_shown_whole(kind):
    layer = LAYERS[kind]
    grid = FilterGrid(nn.Sequential(layer))
    arrays = wire.unpack(grid.kernels)
    assert arrays["values"].size == layer.weight.numel()
    shown = np.sort(np.abs(arrays["values"] / 127.0 * arrays["scale"][:, None, None, None]).ravel())
    exact = np.sort(layer.weight.detach().abs().numpy().ravel())
    np.testing.assert_allclose(shown, exact, atol=exact.max() / 253)
    assert arrays["values"].shape[2] > 1 or kind in ("strips", "pointwise")
    grid.sort = "similarity"
    assert grid.still().ndim == 3


def test_a_linear_layer_on_an_image_is_reshaped_to_it():
    from nbviz import Network

    model = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10))
    grid = FilterGrid(Network(model, input_shape=(1, 28, 28)))
    assert wire.unpack(grid.kernels)["values"].shape == (10, 1, 28, 28)
    assert "1x28x28 image" in grid.kernels["note"]


def test_quantised_weights_say_what_they_are():
    quantized = pytest.importorskip("torch.ao.nn.quantized")
    with pytest.raises(ValueError, match=r"quanti[sz]ed"):
        FilterGrid(quantized.Conv2d(3, 4, 5))
