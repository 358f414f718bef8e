"""Kernels are found in any model and stand where the layer uses them."""

from __future__ import annotations

import copy
import warnings
from math import prod

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
import transformers
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.utils._python_dispatch import TorchDispatchMode

from nbviz.analysis.filters import dequantise, kernel_layers, kernels, quantise
from nbviz.network import Network


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def impulse_response(conv, output, channel):
    """What one output channel makes of a single bright pixel in one input channel: the kernel.

    A correlation gives it mirrored, a transposed convolution as it is.
    """
    image = torch.zeros(1, conv.in_channels, 41, 41)
    image[0, channel, 20, 20] = 1
    with torch.no_grad():
        return (conv(image) - conv(torch.zeros_like(image)))[0, output].numpy()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"groups": 2},
        {"groups": 4},
        {"dilation": (2, 3)},
        {"groups": 2, "dilation": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_each_drawn_kernel_is_what_the_layer_applies_to_that_input(kind, options):
    conv = kind(4, 8, (3, 5), **options)
    shown = kernels(nn.Sequential(conv))
    groups = options.get("groups", 1)
    assert shown.values.shape == (8, 4 // groups, 3, 5) == shown.layer.shape
    down, across = conv.dilation
    for output in range(8):
        group = output // (8 // groups)
        for channel in range(4):
            answer = impulse_response(conv, output, channel)
            rows, columns = np.nonzero(answer)
            if channel // (4 // groups) != group:
                assert not len(rows)
                continue
            box = answer[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            drawn = box[::down, ::across]
            if kind is nn.Conv2d:
                drawn = drawn[::-1, ::-1]
            expected = shown.values[output, channel % (4 // groups)]
            np.testing.assert_allclose(drawn, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.ConvTranspose1d])
def test_kernels_along_a_line_are_strips(kind, groups):
    conv = kind(6, 9, 7, groups=groups, bias=False)
    shown = kernels(nn.Sequential(conv))
    assert shown.layer.strip
    assert shown.values.shape == (9, 6 // groups, 1, 7)
    for output in range(9):
        for member in range(6 // groups):
            signal = torch.zeros(1, 6, 29)
            signal[0, output // (9 // groups) * (6 // groups) + member, 14] = 1
            answer = conv(signal)[0, output].detach().numpy()
            drawn = np.trim_zeros(answer)
            expected = shown.values[output, member, 0]
            np.testing.assert_array_equal(drawn[::-1] if kind is nn.Conv1d else drawn, expected)


def test_a_linear_layer_lies_on_the_image_that_it_reads():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 8, 10), nn.ReLU(), nn.Linear(10, 2))
    network = Network(model, input_shape=(3, 6, 8))
    (layer,) = kernel_layers(network)
    assert (layer.name, layer.shape, layer.colour, layer.on_image) == (
        "1",
        (10, 3, 6, 8),
        True,
        True,
    )
    image = torch.randn(3, 6, 8)
    expected = model[:2](image[None])[0] - model[1].bias
    drawn = (kernels(network).values * image.numpy()).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(drawn, expected.detach().numpy(), atol=1e-5)


def test_a_linear_layer_behind_a_convolution_is_not_laid_on_the_image():
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Flatten(), nn.Linear(64, 64))
    assert [layer.name for layer in kernel_layers(Network(model, input_shape=(1, 8, 8)))] == ["0"]


def patch_embedding(model, name, side, image):
    """Both sides of: a patch embedding is the product of its kernel with a patch."""
    shown = kernels(Network(model.eval()))
    assert shown.layer.name == name
    assert shown.layer.shape[1:] == (3, side, side)
    assert shown.layer.colour
    conv = model.get_submodule(name)
    with torch.no_grad():
        answer = conv(image)[0, :, 1, 2] - (0 if conv.bias is None else conv.bias)
    patch = image[0, :, side : 2 * side, 2 * side : 3 * side].numpy()
    return (shown.values * patch).sum(axis=(1, 2, 3)), answer.numpy()


@pytest.mark.parametrize(
    ("build", "name", "side"),
    [
        (lambda: torchvision.models.swin_t(), "features.0.0", 4),
        (lambda: timm.create_model("vit_tiny_patch16_224"), "patch_embed.proj", 16),
        (
            lambda: transformers.ViTForImageClassification(
                transformers.ViTConfig(
                    hidden_size=48,
                    num_hidden_layers=1,
                    num_attention_heads=2,
                    intermediate_size=32,
                    image_size=64,
                )
            ),
            "vit.embeddings.patch_embeddings.projection",
            16,
        ),
    ],
    ids=["torchvision", "timm", "transformers"],
)
def test_patch_embeddings_of_transformers_are_kernels_in_colour(build, name, side):
    drawn, computed = patch_embedding(build(), name, side, torch.randn(1, 3, 64, 64))
    np.testing.assert_allclose(drawn, computed, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_drawn_as_they_are(dtype):
    model = nn.Sequential(nn.Conv2d(3, 4, 5)).to(dtype)
    values = kernels(model).values
    assert values.dtype == np.float32
    assert values.flags.c_contiguous
    exact = model[0].weight.detach().double().numpy()
    np.testing.assert_allclose(values, exact, rtol=2**-23)


def test_the_kernels_are_a_copy_that_training_does_not_change():
    model = nn.Sequential(nn.Conv2d(3, 4, 5))
    before = kernels(model)
    kept = before.values.copy()
    with torch.no_grad():
        model[0].weight.add_(1)
    np.testing.assert_array_equal(before.values, kept)
    before.values[:] = 7
    assert not (model[0].weight == 7).any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_model_on_a_gpu_is_drawn():
    model = nn.Sequential(nn.Conv2d(3, 4, 5)).cuda()
    np.testing.assert_array_equal(kernels(model).values, model[0].weight.detach().cpu().numpy())


def quantised_convolution():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.nn.quantized.Conv2d(3, 4, 5)


class Integers(nn.Conv2d):
    """A convolution whose weights were replaced by integers, as home-made quantisation does."""

    def __init__(self):
        super().__init__(3, 4, 5)
        del self.weight
        self.register_buffer("weight", torch.zeros(4, 3, 5, 5, dtype=torch.int8))


class Mixture(nn.Conv2d):
    """A convolution that mixes several sets of weights for each image, as CondConv does."""

    def __init__(self):
        super().__init__(3, 4, 5)
        self.weight = nn.Parameter(torch.zeros(8, 4 * 3 * 5 * 5))


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (lambda: nn.Conv2d(3, 4, 5, device="meta"), "meta device"),
        (lambda: nn.Conv2d(3, 4, 5, dtype=torch.complex64), r"complex \(torch.complex64\)"),
        (quantised_convolution, "quantised"),
        (Integers, r"quantised \(torch.int8\)"),
        (Mixture, r"shape \(8, 300\)"),
        (lambda: nn.Conv3d(3, 4, 5), "3 dimensions"),
        (lambda: parametrizations.weight_norm(nn.Conv2d(3, 4, 5, device="meta")), "meta device"),
    ],
    ids=["meta", "complex", "quantised", "int8", "mixture", "3-d", "parametrised on meta"],
)
def test_what_cannot_be_drawn_is_listed_with_the_reason(layer, said):
    model = nn.Sequential(layer(), nn.Conv2d(4, 2, 3))
    first, second = kernel_layers(model)
    assert first.shape == (4, 3, 5, 5)
    assert second.problem is None
    with pytest.raises(ValueError, match=rf"layer '0' cannot be drawn: .*{said}"):
        kernels(model, "0")
    assert kernels(model).layer.name == "1"
    with pytest.raises(ValueError, match=rf"layer '0' cannot be drawn: .*{said}"):
        kernels(model[:1])


def test_a_layer_that_never_saw_an_input_is_named():
    model = nn.Sequential(nn.LazyConv2d(8, 5))
    with pytest.raises(ValueError, match=r"lazy|initialised"):
        kernels(model)
    network = Network(nn.Sequential(nn.Conv2d(3, 8, 5)))
    network.model.append(nn.LazyConv2d(8, 5))
    assert "not initialised" in kernel_layers(network)[1].problem
    assert kernel_layers(network)[1].parameters == 0


def test_a_convolution_without_channels_is_said():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(nn.Conv2d(3, 0, 5))
    assert "no weights" in kernel_layers(model)[0].problem


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Sequential(), "Sequential has no layers"),
        (nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)), "has 2 Linear, 1 ReLU"),
        (nn.Linear(8, 4), "Linear has no layers"),
    ],
)
def test_a_model_without_kernels_is_told_apart_from_a_wrong_name(model, said):
    for ask in (kernel_layers, kernels, lambda network: kernels(network, "conv1")):
        with pytest.raises(ValueError, match=f"expected a model with kernels.*{said}"):
            ask(Network(model, input_shape=(8,)))


def test_a_misspelt_layer_gets_the_nearest_names():
    model = torchvision.models.resnet18()
    with pytest.raises(
        ValueError, match=r"one of 20 layers.*'layer1\.0\.con1'; did you mean 'layer1"
    ):
        kernels(model, "layer1.0.con1")
    with pytest.raises(
        ValueError, match=r"'layer2\.0', a BasicBlock; did you mean 'layer2\.0\.conv1'"
    ):
        kernels(model, "layer2.0")
    with pytest.raises(ValueError, match="'relu', a ReLU"):
        kernels(model, "relu")


def test_a_model_that_is_itself_a_convolution_is_named_by_its_class():
    shown = kernels(nn.Conv2d(3, 4, 5))
    assert shown.layer.name == "Conv2d"
    assert kernels(nn.Conv2d(3, 4, 5), "Conv2d").values.shape == (4, 3, 5, 5)


class RegisteredBackwards(nn.Module):
    def __init__(self):
        super().__init__()
        self.second = nn.Conv2d(3, 4, 5)
        self.first = nn.Conv2d(3, 3, 7)

    def forward(self, image):
        return self.second(F.relu(self.first(image)))


class NeverRuns(RegisteredBackwards):
    def __init__(self, tried):
        super().__init__()
        self.tried = lambda: tried.append(1)

    def forward(self, image):
        self.tried()
        raise RuntimeError


def test_colour_goes_to_the_layer_that_reads_the_image_not_to_the_first_registered():
    layers = {layer.name: layer for layer in kernel_layers(RegisteredBackwards())}
    assert [layers[n].colour for n in ("first", "second")] == [True, False]
    assert kernels(RegisteredBackwards()).layer.name == "first"


def test_a_model_that_cannot_run_is_drawn_all_the_same_and_not_tried_again_and_again():
    tries = []
    network = Network(NeverRuns(tries))
    assert [layer.colour for layer in kernel_layers(network)] == [True, False]
    assert tries
    tries.clear()
    kernels(network)
    kernels(network, "first")
    assert not tries
    network.model.second = nn.Conv2d(8, 4, 5)
    assert [layer.colour for layer in kernel_layers(network)] == [False, True]


def test_kernels_of_one_colour_each_are_not_drawn_in_colour():
    (layer,) = kernel_layers(nn.Sequential(nn.Conv2d(3, 6, 5, groups=3)))
    assert layer.on_image
    assert not layer.colour
    assert not kernel_layers(nn.Sequential(nn.Conv1d(3, 6, 5)))[0].colour


def test_a_block_that_only_describes_its_convolution_is_no_layer_with_kernels():
    block = nn.Sequential(nn.Conv2d(3, 8, 5))
    block.in_channels, block.out_channels, block.groups, block.kernel_size = 3, 8, 1, (5, 5)
    assert [layer.name for layer in kernel_layers(nn.Sequential(block))] == ["0.0"]


def test_layers_say_what_they_are():
    model = nn.Sequential(nn.Conv2d(3, 8, (3, 5), stride=(2, 1), dilation=(1, 2)))
    model.append(nn.ConvTranspose1d(8, 4, 9, stride=3, groups=2, bias=False))
    plain, along = kernel_layers(model)
    assert (plain.kind, plain.stride, plain.dilation) == ("Conv2d", (2, 1), (1, 2))
    assert plain.parameters == 8 * 3 * 3 * 5 + 8
    assert (along.kind, along.stride, along.groups) == ("ConvTranspose1d", (1, 3), 2)
    assert along.transposed
    assert along.parameters == 8 * 2 * 9


def test_shared_modules_are_listed_once_and_shared_weights_each_time():
    conv = nn.Conv2d(4, 4, 5)
    twin = nn.Conv2d(4, 4, 5)
    twin.weight = conv.weight
    model = nn.Sequential(conv, conv, twin)
    assert [layer.name for layer in kernel_layers(model)] == ["0", "2"]
    np.testing.assert_array_equal(kernels(model, "0").values, kernels(model, "2").values)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize(
    "change",
    [
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        lambda conv: prune.l1_unstructured(conv, "weight", amount=0.5),
    ],
    ids=["weight norm", "spectral norm", "old weight norm", "old spectral norm", "pruned"],
)
def test_a_parametrised_weight_is_drawn_as_the_layer_uses_it(change):
    model = nn.Sequential(change(nn.Conv2d(3, 4, 5, bias=False)))
    model.train()
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        next(model.parameters()).mul_(1.5)
        changed = copy.deepcopy(model.state_dict())
    values = kernels(model).values
    assert kernel_layers(model)[0].kind == "Conv2d"
    assert before.keys() == model.state_dict().keys()
    for name, kept in changed.items():
        assert torch.equal(model.state_dict()[name], kept), name
    assert model.training
    model.eval()
    patch = torch.randn(1, 3, 5, 5)
    expected = model(patch)[0, :, 0, 0].detach().numpy()
    drawn = (values * patch.numpy()).sum((1, 2, 3))
    np.testing.assert_allclose(drawn, expected, rtol=1e-5, atol=1e-5)


def test_reading_kernels_leaves_the_model_as_it_was():
    model = torchvision.models.resnet18()
    model.layer1.eval()
    backwards = RegisteredBackwards()
    flags = [module.training for module in model.modules()]
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    kernels(model)
    kernel_layers(backwards)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_byte_a_weight_is_off_by_half_a_level_at_most():
    generator = np.random.default_rng(0)
    scales = 10.0 ** generator.uniform(-44, 37, size=(40, 1, 1, 1))
    values = (generator.standard_normal((40, 3, 5, 5)) * scales).astype(np.float32)
    values[7] = 0
    small = quantise(values)
    assert small.values.dtype == np.int8
    assert small.nonfinite is None
    for output in range(40):
        largest = float(np.abs(values[output]).max())
        assert small.scale[output] == np.float32(largest)
        for level, value in zip(small.values[output].flat, values[output].flat, strict=True):
            off = abs(int(level) / 127 * largest - float(value))
            assert off <= largest / 254 * 1.0001
            assert value != 0 or level == 0
    np.testing.assert_allclose(
        dequantise(small), values, rtol=0, atol=1e-45 + np.abs(values).max() / 253
    )
    assert (small.values.reshape(40, -1).astype(int).__abs__().max(axis=1) == 127).sum() == 39


def test_weights_that_are_no_number_are_marked_one_by_one():
    values = np.random.default_rng(1).standard_normal((5, 3, 3, 3)).astype(np.float32)
    values[1, 2, 0, 1] = np.nan
    values[1, 0, 0, 0] = -np.inf
    values[4] = np.inf
    given = values.copy()
    small = quantise(values)
    np.testing.assert_array_equal(values, given)
    for index, value in enumerate(values.ravel()):
        bit = small.nonfinite[index // 8] >> (index % 8) & 1
        assert bit == (not np.isfinite(value))
        if bit:
            assert small.values.ravel()[index] == 0
    assert small.scale[4] == 0
    assert small.scale[1] == np.abs(values[1][np.isfinite(values[1])]).max()
    back = dequantise(small)
    np.testing.assert_array_equal(np.isfinite(back), np.isfinite(values))


@pytest.mark.parametrize(
    ("layer", "each"),
    [
        (nn.Conv2d(4, 10, 5), 100),
        (nn.Conv2d(4, 12, 5, groups=2), 50),
        (nn.ConvTranspose2d(4, 12, 5, groups=2), 50),
        (nn.ConvTranspose2d(4, 10, 5), 100),
        (nn.Conv1d(4, 10, 5), 20),
        (parametrizations.weight_norm(nn.Conv2d(4, 10, 5)), 100),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, nn.Module) else None,
)
def test_of_a_large_layer_the_first_whole_kernels_are_read(layer, each):
    model = nn.Sequential(layer)
    every = kernels(model)
    outputs = len(every.values)
    assert outputs == every.layer.shape[0]
    for limit, count in [(outputs * each, outputs), (8 * each - 1, 7), (2 * each, 2), (1, 1)]:
        some = kernels(model, "0", max_bytes=limit)
        assert some.layer == every.layer
        assert some.values.flags["C_CONTIGUOUS"]
        np.testing.assert_array_equal(some.values, every.values[:count])


class Largest(TorchDispatchMode):
    """Number of elements in the largest tensor that is made, memory of `given` not counted."""

    def __init__(self, given):
        super().__init__()
        self.given, self.elements = given.untyped_storage().data_ptr(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if made.untyped_storage().data_ptr() != self.given:
            self.elements = max(self.elements, made.numel())
        return made


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.Conv2d(16, 4000, 3),
        lambda: nn.Conv2d(16, 4000, 3).half(),
        lambda: nn.ConvTranspose2d(4000, 16, 3),
        lambda: nn.ConvTranspose2d(16, 4000, 3),
        lambda: nn.ConvTranspose2d(4000, 4000, 3, groups=250),
    ],
    ids=["plain", "half", "transposed, many inputs", "transposed", "grouped"],
)
def test_of_a_large_layer_no_more_is_copied_than_is_shown(layer):
    network = Network(nn.Sequential(layer()))
    kernel_layers(network)
    with Largest(network.model[0].weight) as largest:
        some = kernels(network, "0", max_bytes=5 * prod(kernel_layers(network)[0].shape[1:]))
    assert len(some.values) == 5
    assert largest.elements == some.values.size
    owner = some.values.base
    assert owner.untyped_storage().nbytes() == some.values.nbytes


def test_more_outputs_than_two_bytes_can_number_are_left_out():
    model = nn.Sequential(nn.Conv2d(1, 70_000, 1))
    some = kernels(model, max_bytes=10**9)
    assert len(some.values) == 65535
    assert some.layer.shape[0] == len(kernels(model).values) == 70_000
