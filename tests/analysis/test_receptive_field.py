"""Receptive fields, held against NaN, against gradients and against published tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fixtures.networks import IMAGE, SMALL, ZOO, Forward, chain, conv, zoo
from fixtures.oracle import boxes, by_unit, mismatches
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nbviz.analysis.calls import watch_calls
from nbviz.analysis.layers import Layer, Layers, example_input, record_layers
from nbviz.analysis.receptive_field import Axis, Box


def recorded(model: nn.Module, shape) -> Layers:
    model.eval()
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    with torch.no_grad():
        return record_layers(model, example_input(shape, dtype=dtype))


@pytest.mark.parametrize("name", SMALL)
def test_boxes_are_exactly_what_nan_reaches(name):
    torch.manual_seed(0)
    make, shape = SMALL[name]
    model = make()
    layers = recorded(model, shape)
    rows = range(shape[-2]) if len(shape) == 3 else []
    assert mismatches(model, layers, rows, range(shape[-1]), holes=True) == []
    assert layers.approximated == ()
    assert all(layer.receptive_field.exact for layer in layers)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(5, 6), (30, 7), (5, 13)])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_an_antialiased_resize_sees_all_that_it_averages(mode, size, dtype):
    model = Forward(
        lambda net, x: F.interpolate(net.conv(x), size=size, mode=mode, antialias=True),
        conv=nn.Conv2d(2, 4, 3, padding=1),
    ).to(dtype)
    layers = recorded(model, (2, 13, 13))
    assert mismatches(model, layers, range(13), range(13)) == []
    assert layers[-1].receptive_field.exact


class DoubleByDefault:
    """Float64 as the default dtype, for as long as it is entered."""

    def __enter__(self):
        torch.set_default_dtype(torch.float64)

    def __exit__(self, *raised):
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", SMALL)
def test_the_default_dtype_changes_no_box(name):
    make, shape = SMALL[name]
    with DoubleByDefault():
        model = make()
        layers = recorded(model, shape)
    plain = recorded(model, shape)
    assert layers.approximated == plain.approximated
    for layer, other in zip(layers, plain, strict=True):
        assert (layer.grid, layer.stride) == (other.grid, other.stride)
        rows, cols = other.grid or (1, 1)
        for row in range(rows):
            assert layer.box(row, cols - 1) == other.box(row, cols - 1)


def test_columns_folded_back_and_slices_written_in_place_survive_another_default_dtype():
    def forward(net, x):
        x = net.conv(x)
        x = F.fold(F.unfold(x, 3, padding=1), x.shape[2:], 3, padding=1)
        into = torch.zeros_like(x)
        into[:, :, 2:].copy_(x[:, :, :-2])
        return net.last(into)

    model = Forward(forward, conv=nn.Conv2d(2, 4, 3, padding=1), last=nn.Conv2d(4, 2, 1))
    plain = recorded(model, (2, 13, 13))
    with DoubleByDefault():
        layers = recorded(model, (2, 13, 13))
    for known in (plain, layers):
        assert known.approximated == ()
        assert mismatches(model, known, range(13), range(13), holes=True) == []
        assert known["last"].grid == (13, 13)
        assert known["last"].box(12, 12) == Box(9, 11, 12, 13)


def border_and_middle(length: int) -> list[int]:
    return sorted({0, 1, length // 3, length // 2, length - 2, length - 1})


@pytest.mark.parametrize("name", ZOO)
def test_boxes_of_known_networks_are_exactly_what_nan_reaches(name):
    model, side = zoo(name), ZOO[name]
    layers = recorded(model, (3, side, side))
    assert layers.approximated == ()
    holes = name.startswith("swin")  # a shifted window joins opposite edges of the image
    places = range(side) if holes else border_and_middle(side)
    assert mismatches(model, layers, places, places, holes=holes) == []


def test_boxes_of_a_timm_network_are_exactly_what_nan_reaches():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    for name, side in (("resnet10t", 64), ("tf_efficientnet_lite0", 64), ("mixer_s16_224", 224)):
        model = timm.create_model(name, pretrained=False)
        layers = recorded(model, (3, side, side))
        places = border_and_middle(side)
        assert layers.approximated == ()
        assert mismatches(model, layers, places, places) == []


def test_boxes_of_transformers_networks_are_exactly_what_nan_reaches():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    swin = transformers.SwinConfig(
        embed_dim=24, depths=[1, 2], num_heads=[2, 4], image_size=32, window_size=4, patch_size=2
    )
    convnext = transformers.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2)
    for model in (
        transformers.SwinForImageClassification(swin),
        transformers.ConvNextForImageClassification(convnext),
    ):
        layers = recorded(model, (3, 32, 32))
        assert layers.approximated == ()
        assert mismatches(model, layers, range(32), range(32), holes=True) == []


PUBLISHED = {
    # name: size, padding, stride of the last feature map. VGG-16: the table of
    # google-research/receptive_field; the others by the same arithmetic for torchvision's variants.
    "vgg16": (212, 90, 32),
    "alexnet": (195, 66, 32),
    "resnet18": (435, 217, 32),
    "resnet50": (427, 213, 32),
    "mobilenet_v2": (491, 245, 32),
    "densenet121": (2071, 1021, 32),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_are_met(name):
    with torch.device("meta"):
        model = zoo(name)
    with torch.no_grad():
        layers = record_layers(model, example_input((3, 224, 224), device="meta"))
    maps = [layer for layer in layers if layer.layout == "maps" and layer.receptive_field.size]
    field = maps[-1].receptive_field
    size, padding, stride = PUBLISHED[name]
    assert field.size == (size, size)
    assert field.padding == (padding, padding)
    assert field.stride == (stride, stride) == maps[-1].stride
    assert field.aligned


def reaches(model: nn.Module, layers: Layers, layer: Layer, row: int, col: int) -> Box:
    """The box of pixels with a gradient from one unit, over all its channels."""
    image = example_input(layers.input_shape).double().requires_grad_()
    seen = {}
    module = model.get_submodule(layer.module_name)
    handle = module.register_forward_hook(lambda m, i, output: seen.update(value=output))
    model(image)
    handle.remove()
    unit = seen["value"][0]
    unit = unit[row, col] if layer.layout == "maps_last" else unit[:, row, col]
    weights = torch.rand(unit.shape, generator=torch.Generator().manual_seed(1)) + 0.5
    gradient = torch.autograd.grad((unit * weights).sum(), image)[0][0].abs().sum(0)
    rows, cols = gradient.sum(1).nonzero().flatten(), gradient.sum(0).nonzero().flatten()
    return Box(int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1)


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "convnext_tiny", "googlenet"])
def test_no_pixel_outside_a_box_has_a_gradient_and_its_edges_have(name):
    torch.manual_seed(0)
    model = zoo(name).double()
    for module in model.modules():  # or a dead ReLU or a tiny layer scale hides an edge
        for key, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, key, nn.Softplus())
        if hasattr(module, "layer_scale"):
            nn.init.uniform_(module.layer_scale, 0.5, 1.0)
    layers = recorded(model, (3, 64, 64))
    grids = [x for x in layers if not x.functional and x.layout.startswith("maps")]
    chosen = [x for x in grids if x.kind in {"Conv2d", "LayerNorm"} and x.receptive_field.size]
    for layer in [chosen[0], chosen[len(chosen) // 3], chosen[len(chosen) // 2]]:
        height, width = layer.grid
        for row, col in {(0, 0), (height // 2, width // 3), (height - 1, width - 1)}:
            assert reaches(model, layers, layer, row, col) == layer.box(row, col), layer.name


@pytest.mark.parametrize("name", [n for n in SMALL if n != "padded"])  # by a mirrored border
def test_the_unclipped_box_holds_the_clipped_one_and_is_it_away_from_the_edge(name):
    make, shape = SMALL[name]
    layers = recorded(make(), shape)
    height, width = (shape[-2] if len(shape) == 3 else 1), shape[-1]
    for layer in layers:
        field = layer.receptive_field
        if field.size is None:
            assert field.unclipped(0, 0) is None
            continue
        for row in range(layer.grid[0]):
            for col in range(layer.grid[1]):
                whole, seen = field.unclipped(row, col), field.clipped(row, col)
                if seen.is_empty:
                    continue
                assert whole.top <= seen.top
                assert whole.left <= seen.left
                assert whole.bottom >= seen.bottom
                assert whole.right >= seen.right
                inside = whole.top >= 0 and whole.left >= 0
                if field.aligned and inside and whole.bottom <= height and whole.right <= width:
                    assert whole == seen, (layer.name, row, col)


def test_a_unit_behind_global_pooling_or_attention_sees_the_whole_image():
    for name in ("squeeze-excite", "attention", "classifier"):
        make, shape = SMALL[name]
        layer = recorded(make(), shape)[-1]
        assert layer.receptive_field.is_global
        assert layer.receptive_field.unclipped(0, 0) is None
    # what a stride leaves over at the edge is seen by no unit, global or not
    behind = recorded(chain(conv(size=5, stride=4), nn.AdaptiveAvgPool2d(1)), (3, 24, 20))[-1]
    assert behind.box(0, 0) == Box(0, 0, 21, 17)


def test_a_local_layer_is_not_called_global():
    layers = recorded(zoo("resnet18"), (3, 64, 64))
    assert [x.name for x in layers if x.receptive_field.is_global] == ["avgpool", "fc"]


def test_units_that_see_only_padding_have_an_empty_box():
    make, shape = SMALL["empty windows"]
    corner = recorded(make(), shape)[0].box(0, 0)
    assert corner.is_empty
    assert corner == Box(0, 0, 0, 0)


def test_branches_are_joined_and_transposed_maps_say_that_their_windows_differ():
    branches = recorded(*_made("branches"))[-1].receptive_field
    assert (branches.size, branches.padding, branches.aligned) == ((15, 15), (4, 4), True)
    cropped = recorded(*_made("cropped branch"))[-1].receptive_field
    assert (cropped.size, cropped.padding, cropped.stride) == ((7, 7), (0, 0), (1, 1))
    transposed = recorded(*_made("transposed"))[-1].receptive_field
    assert not transposed.aligned
    assert transposed.exact


def _made(name):
    make, shape = SMALL[name]
    return make(), shape


def test_an_operation_without_a_rule_widens_the_box_and_is_named():
    def warped(net, x):
        x = net.conv(x)
        theta = torch.tensor([[[0.9, 0, 0], [0, 0.9, 0]]]).expand(len(x), 2, 3)
        grid = torch.nn.functional.affine_grid(theta, x.shape, align_corners=False)
        return net.last(torch.nn.functional.grid_sample(x, grid, align_corners=False))

    layers = recorded(Forward(warped, conv=conv(), last=conv((4, 4))), IMAGE)
    assert layers.approximated == ("grid_sampler_2d",)
    before, after = layers["conv"].receptive_field, layers["last"].receptive_field
    assert before.exact
    assert not after.exact
    assert layers["last"].box(0, 0) == Box(0, 0, *IMAGE[1:])


def units(box: Box) -> set[tuple[int, int]]:
    return {(r, c) for r in range(box.top, box.bottom) for c in range(box.left, box.right)}


def hull(found: list[tuple[int, int]]) -> Box:
    if not found:
        return Box(0, 0, 0, 0)
    rows, cols = zip(*found, strict=True)
    return Box(min(rows), min(cols), max(rows) + 1, max(cols) + 1)


def holds(outer: Box, inner: Box) -> bool:
    pixels = units(inner)
    return pixels <= units(outer)


@pytest.mark.parametrize("name", ["plain", "skipping stride", "empty windows", "rolled", "windows"])
def test_units_within_and_covering_a_box_are_those_that_a_loop_over_all_units_finds(name):
    make, shape = SMALL[name]
    generator = np.random.default_rng(0)
    for layer in recorded(make(), shape):
        field = layer.receptive_field
        height, width = layer.grid or (1, 1)
        every = {(r, c): field.clipped(r, c) for r in range(height) for c in range(width)}
        own = [every[r, c] for r, c in ((0, 0), (height // 2, width // 2), (height - 1, width - 1))]
        for box in [*own, *random_boxes(generator, 4, *shape[1:]), Box(0, 0, 0, 0)]:
            within = [unit for unit, seen in every.items() if holds(box, seen)]
            covering = [unit for unit, seen in every.items() if holds(seen, box)]
            assert field.units_within(box) == hull(within), (layer.name, box)
            assert field.units_covering(box) == hull(covering), (layer.name, box)


def random_boxes(generator: np.random.Generator, count: int, height: int, width: int) -> list[Box]:
    found = []
    for _ in range(count):
        top, bottom = sorted(generator.choice(height + 1, 2, replace=False))
        left, right = sorted(generator.choice(width + 1, 2, replace=False))
        found.append(Box(int(top), int(left), int(bottom), int(right)))
    return found


def test_edges_are_the_boxes_of_all_units():
    for name in ("plain", "rolled", "empty windows", "signal", "attention"):
        make, shape = SMALL[name]
        for layer in recorded(make(), shape):
            vertical, horizontal = layer.receptive_field.edges()
            height, width = layer.grid or (1, 1)
            if vertical.ndim == 2:
                assert (vertical.shape, horizontal.shape) == ((height, 2), (width, 2))
                vertical, horizontal = vertical[:, None], horizontal[None]
            full = (height, width, 2)
            parts = [np.broadcast_to(part, full) for part in (vertical, horizontal)]
            assert all(part.dtype == np.int32 for part in parts)
            tops_first = np.concatenate(parts, -1)[..., [0, 2, 1, 3]]
            assert np.array_equal(tops_first, boxes(layer)), layer.name
    first = recorded(*_made("plain"))[0].receptive_field
    first.edges()[0][:] = -1
    assert first.clipped(0, 0) == Box(0, 0, 3, 3)


FEEDING = [
    "plain", "dilated", "skipping stride", "transposed", "pools", "adaptive", "upsampled",
    "shuffled", "padded", "empty windows", "twice", "in place", "in place on a view",
    "written buffer", "channels last", "branches", "cropped branch", "rolled", "unfolded",
    "squeeze-excite", "attention", "registers", "classifier", "signal",
]  # fmt: skip


@pytest.mark.parametrize("name", FEEDING)
def test_whatever_feeds_a_unit_is_within_its_box_and_whatever_it_feeds_covers_it(name):
    torch.manual_seed(0)
    make, shape = SMALL[name]
    shape = (*shape[:-2], 12, 10) if name not in FIXED else shape
    model = make()
    layers = recorded(model, shape)
    placed = [layer for layer in layers if layer.grid is not None]
    for source in placed[:: 1 + len(placed) // 5]:
        rows, cols = source.grid
        chosen = [(r, c) for r in sorted({0, rows // 2, rows - 1}) for c in range(0, cols, 3)]
        for number, reached in fed_by(model, layers, source, chosen).items():
            seen = source.box(*chosen[number])
            for layer in placed[placed.index(source) + 1 :]:
                fed = set(zip(*reached[layer.name].nonzero(), strict=True))
                assert fed <= units(layer.receptive_field.units_covering(seen)), layer.name
                for unit in fed:
                    within = source.receptive_field.units_within(layer.box(*unit))
                    assert chosen[number] in units(within), (source.name, layer.name, unit)


# Their weights hold for one size of image, or they write into a buffer of one size.
FIXED = {"written buffer", "unfolded", "attention", "registers", "signal"}


def fed_by(model, layers, source, chosen) -> dict[int, dict[str, np.ndarray]]:
    """For each chosen unit of `source`, which units of each layer NaN in it reaches."""
    batch = example_input(layers.input_shape).repeat(len(chosen), *[1] * len(layers.input_shape))
    reach: dict[str, np.ndarray] = {}

    def visit(call):
        layer = layers[call.name]
        if call.name == source.name:
            for number, (row, col) in enumerate(chosen):
                channels_of(call.tensor[number], layer, row, col).fill_(float("nan"))
        if layer.grid is not None:
            reach[call.name] = by_unit(call.tensor.isnan().numpy()[:, None], layer)

    with torch.no_grad(), watch_calls(model, visit):
        model(batch)
    return {n: {name: found[n] for name, found in reach.items()} for n in range(len(chosen))}


def channels_of(values: torch.Tensor, layer: Layer, row: int, col: int) -> torch.Tensor:
    if layer.layout == "tokens":
        return values[layer.prefix_tokens + row * layer.grid[1] + col]
    if layer.layout == "signal":
        return values[:, col]
    return values[row, col] if layer.layout == "maps_last" else values[:, row, col]


def test_the_oracle_of_feeding_sees_what_is_missed():
    model = chain(conv(padding=1), conv((4, 4), size=5, padding=2))
    layers = recorded(model, IMAGE)
    reached = fed_by(model, layers, layers[0], [(10, 9)])[0]["1"]
    assert hull(list(zip(*reached.nonzero(), strict=True))) == Box(8, 7, 13, 12)
    assert layers[1].receptive_field.units_covering(layers[0].box(10, 9)) == Box(8, 7, 13, 12)


def test_a_unit_outside_the_grid_is_refused_with_the_grid():
    layer = recorded(chain(conv()), IMAGE)[0]
    for call in (layer.box, layer.receptive_field.clipped, layer.receptive_field.unclipped):
        with pytest.raises(IndexError, match=r"22 rows x 18 columns, got \(22, 0\)"):
            call(22, 0)
    with pytest.raises(IndexError):
        layer.box(-1, 0)


def test_axes_of_different_strides_have_no_common_window():
    pixels = Axis.pixels()
    joined = pixels.window(-1, 1, 2).union(pixels.window(-1, 1, 1))
    assert joined.size is None
    assert joined.stride == 2


sizes = st.integers(1, 4)


@st.composite
def stage(draw, channels: int) -> tuple[nn.Module, int]:
    kernel, stride, dilation = draw(sizes), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    span = (kernel - 1) * dilation
    padding = draw(st.integers(0, math.ceil(span / 2)))
    options = {"stride": stride, "padding": padding}
    kind = draw(st.sampled_from(["conv", "depthwise", "max", "avg", "transposed"]))
    if kind == "max":
        pad = min(padding, kernel // 2)
        return nn.MaxPool2d(kernel, stride, pad, dilation, ceil_mode=draw(st.booleans())), channels
    if kind == "avg":
        pad = min(padding, kernel // 2)
        return nn.AvgPool2d(kernel, stride, pad, ceil_mode=draw(st.booleans())), channels
    if kind == "transposed":
        module = nn.ConvTranspose2d(channels, 2, kernel, dilation=dilation, **options)
        return module, 2
    groups = channels if kind == "depthwise" else 1
    return nn.Conv2d(channels, 2 * channels, kernel, dilation=dilation, groups=groups, **options), (
        2 * channels
    )


class Parallel(nn.Module):
    """Two ways through, cut to the smaller map and joined."""

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x):
        a, b = self.left(x), self.right(x)
        height, width = min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3])
        return torch.cat([a[:, :, :height, :width], b[:, :, :height, :width]], 1)


@st.composite
def network(draw) -> nn.Module:
    modules, channels = [], 1
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            module, channels = draw(stage(channels))
        else:
            (left, a), (right, b) = draw(stage(channels)), draw(stage(channels))
            module, channels = Parallel(left, right), a + b
        modules.append(module)
    return nn.Sequential(*modules).eval()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(network(), st.integers(9, 14), st.integers(9, 14))
def test_any_stack_of_windows_agrees_with_nan(model, height, width):
    shape = (1, height, width)
    try:
        with torch.no_grad():
            model(torch.zeros(1, *shape))
    except RuntimeError:
        return  # the map shrank to nothing
    layers = recorded(model, shape)
    assert layers.approximated == ()
    assert mismatches(model, layers, range(height), range(width), holes=True) == []


def test_the_oracle_itself_sees_a_wrong_box():
    model = chain(conv(padding=1))
    layers = recorded(chain(conv(size=5, padding=2)), IMAGE)
    assert mismatches(model, layers, range(24), range(20), holes=True)
    assert np.array_equal(boxes(layers[0])[10, 10], [8, 8, 13, 13])
