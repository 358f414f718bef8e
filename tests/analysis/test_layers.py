"""The list of layers, held against plain forward hooks and the models' own parameters."""

from __future__ import annotations

import gc
import warnings
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from fixtures.networks import IMAGE, SMALL, ZOO, Attention, DataDependent, Forward, chain, conv, zoo
from fixtures.oracle import mismatches
from torch import nn

from nbviz import Network
from nbviz.analysis.calls import operation_name, watch_calls
from nbviz.analysis.layers import Layers, UnknownLayerError, example_input, record_layers


def recorded(model: nn.Module, shape=IMAGE, device="cpu", dtype=torch.float32) -> Layers:
    model.eval()
    with torch.no_grad():
        return record_layers(model, example_input(shape, device=device, dtype=dtype))


def shapes_by_hooks(model: nn.Module, shape) -> list[tuple[str, tuple[int, ...]]]:
    """Name and output shape of each call of a module without children, by nothing but hooks."""
    calls, uses, handles = [], Counter(), []

    def note(name):
        def hook(module, inputs, output):
            output = output[0] if isinstance(output, tuple) else output
            calls.append((f"{name}:{uses[name]}" if uses[name] else name, tuple(output.shape[1:])))
            uses[name] += 1

        return hook

    for name, module in model.named_modules():
        attention = isinstance(module, nn.MultiheadAttention)
        inside = ".".join(name.split(".")[:-1])
        if isinstance(model.get_submodule(inside), nn.MultiheadAttention):
            continue
        if attention or not list(module.children()):
            handles.append(module.register_forward_hook(note(name)))
    with torch.no_grad():
        model(example_input(shape))
    for handle in handles:
        handle.remove()
    return calls


def modules_of(layers: Layers) -> list[tuple[str, tuple[int, ...]]]:
    return [(layer.name, layer.output_shape) for layer in layers if not layer.functional]


UNUSED = {"googlenet": "aux", "inception_v3": "AuxLogits"}  # heads that only training runs


@pytest.mark.parametrize("name", ZOO)
def test_order_shapes_and_parameters_of_known_networks(name):
    model, shape = zoo(name), (3, ZOO[name], ZOO[name])
    layers = recorded(model, shape)
    assert modules_of(layers) == shapes_by_hooks(model, shape)
    assert len(set(layers.names)) == len(layers)
    unused = UNUSED.get(name, "nothing")
    used = {n: p for n, p in model.named_parameters() if not n.startswith(unused)}
    assert layers.parameters == sum(p.numel() for p in used.values())
    for layer in layers:
        if not layer.functional:
            own = model.get_submodule(layer.module_name).parameters()
            assert layer.parameters == sum(p.numel() for p in own)


@pytest.mark.parametrize("name", [n for n in SMALL if n != "signal"])
def test_order_and_shapes_of_small_networks(name):
    make, shape = SMALL[name]
    model = make().eval()
    assert modules_of(recorded(model, shape)) == shapes_by_hooks(model, shape)


def test_timm_and_transformers_networks_list_without_a_trace():
    timm, transformers = pytest.importorskip("timm"), pytest.importorskip("transformers")
    swin = timm.create_model("swin_tiny_patch4_window7_224", pretrained=False)
    config = transformers.ViTConfig(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=3, intermediate_size=48,
        image_size=32, patch_size=8,
    )  # fmt: skip
    vit = transformers.ViTForImageClassification(config)
    for model, shape in ((swin, (3, 224, 224)), (vit, (3, 32, 32))):
        layers = recorded(model, shape)
        assert modules_of(layers) == shapes_by_hooks(model, shape)
        assert layers.parameters == sum(p.numel() for p in model.parameters())
    assert layers["vit.embeddings.cat"].prefix_tokens == 1
    assert layers["vit.embeddings.cat"].grid == (4, 4)


def test_operations_between_modules_are_layers_named_after_their_owner():
    names = recorded(zoo("resnet18"), (3, 64, 64)).names
    start = names.index("layer1.0.conv1")
    assert names[start : start + 7] == (
        "layer1.0.conv1",
        "layer1.0.bn1",
        "layer1.0.relu",
        "layer1.0.conv2",
        "layer1.0.bn2",
        "layer1.0.add",
        "layer1.0.relu:1",
    )


def test_every_way_to_write_an_operation_has_one_name():
    def run(net, x):
        x = net.conv(x)
        x += 1
        x = F.relu(1 - x).relu_() / 2
        return torch.cat([x, x.permute(0, 1, 2, 3)], 1)

    layers = recorded(Forward(run, conv=conv()))
    assert layers.names == ("conv", "add", "rsub", "relu", "relu:1", "div", "cat") or (
        layers.names == ("conv", "add", "sub", "relu", "relu:1", "div", "cat")
    )
    assert operation_name(torch.Tensor.__radd__) == operation_name(torch.add) == "add"


def test_a_layer_called_twice_is_listed_twice():
    make, shape = SMALL["twice"]
    layers = recorded(make(), shape)
    assert layers.names == ("stem", "conv", "relu", "conv:1", "relu:1")
    assert layers["conv:1"].module_name == "conv"
    assert layers.parameters == sum(p.numel() for p in make().parameters())


def test_a_module_keeps_its_name_when_an_operation_would_take_it():
    def run(net, x):
        return net.add(F.relu(x + 1))

    layers = recorded(Forward(run, add=conv(), relu=nn.ReLU()))
    assert layers.names == ("add:1", "relu:1", "add")
    assert [layer.functional for layer in layers] == [True, True, False]


def test_constants_are_no_layers_and_their_parameters_count_where_they_are_used():
    class Biased(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.conv = nn.Parameter(torch.randn(1, 8, 1, 1)), conv()

        def forward(self, x):
            bias = (self.table * 2).view(1, 2, 4).sum(1).view(1, 4, 1, 1)
            mask = x.new_zeros(1) + torch.arange(4.0).view(1, 4, 1, 1)
            return self.conv(x) * mask + bias

    layers = recorded(Biased())
    assert layers.names == ("conv", "mul", "add")
    assert layers["add"].parameters == 8
    assert layers["add"].parameter_names == ("table",)
    assert layers.parameters == 8 + 3 * 4 * 9 + 4


def test_a_network_written_with_functions_only_lists_its_operations():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(4, 3, 3, 3))

        def forward(self, x):
            return F.max_pool2d(torch.relu(F.conv2d(x, self.w)), 2)

    layers = recorded(Plain())
    assert layers.names == ("conv2d", "relu", "max_pool2d")
    assert [layer.parameters for layer in layers] == [108, 0, 0]
    assert layers[-1].receptive_field.size == (4, 4)


def test_layouts_say_where_places_and_channels_are():
    vit = recorded(zoo("vit_b_32"), (3, 224, 224))
    block = vit["encoder.layers.encoder_layer_3.mlp.0"]
    assert (block.layout, block.grid, block.prefix_tokens) == ("tokens", (7, 7), 1)
    assert (block.channels, block.stride) == (3072, (32, 32))
    swin = recorded(zoo("swin_t"), (3, 64, 64))
    for name, grid in (("features.1.1.mlp.0", (16, 16)), ("features.7.1.norm1", (2, 2))):
        assert (swin[name].layout, swin[name].grid) == ("maps_last", grid)
        assert swin[name].channels == swin[name].output_shape[-1]
    assert swin["permute"].layout == "maps"
    assert swin["features.1.0.attn.matmul"].layout == "other"
    assert swin["head"].layout == "vector"
    registers = recorded(Attention(registers=2))
    assert (registers["norm"].prefix_tokens, registers["norm"].grid) == (3, (6, 5))
    make, shape = SMALL["signal"]
    signal = recorded(make(), shape)[0]
    assert (signal.layout, signal.grid, signal.channels) == ("signal", (1, 15), 4)


@pytest.mark.parametrize(
    "move",
    [
        lambda x: torch.roll(x, (2, -1), (2, 3)),
        lambda x: x.flip(3),
        lambda x: x[:, :, [*range(7, 24), *range(7)]],
        lambda x: F.pad(x, (2, 2, 1, 1), mode="circular"),
    ],
    ids=["roll", "flip", "index", "circular"],
)
def test_a_convolution_of_maps_whose_places_were_moved_has_a_grid_and_channels(move):
    model = Forward(
        lambda net, x: net.last(move(net.first(x))),
        first=conv(padding=1),
        last=nn.Conv2d(4, 2, 1),
    )
    layers = recorded(model)
    last = layers["last"]
    assert (last.layout, last.channels, last.grid) == ("maps", 2, last.output_shape[1:])
    # From one place to the next there is no one step.
    assert last.stride is None
    assert mismatches(model, layers, range(IMAGE[1]), range(IMAGE[2]), holes=True) == []
    swapped = recorded(Forward(lambda net, x: net.a(x).transpose(2, 3) + 1, a=conv(padding=1)))
    assert swapped[-1].layout == "other"


def test_tokens_see_the_boxes_of_their_patches():
    layers = recorded(Attention(registers=1))
    assert layers["norm"].box(5, 4).top == 20
    assert layers["norm"].box(5, 4).right == 20
    assert layers["norm"].receptive_field.size == (4, 4)


def test_a_layer_in_place_reports_what_it_returned():
    make, shape = SMALL["in place"]
    layers = recorded(make(), shape)
    assert layers.names == ("conv", "norm", "relu", "add", "mul")
    assert layers["conv"].receptive_field.size == (3, 3)


def test_control_flow_on_values_is_said_and_does_not_stop_the_list():
    network = Network(DataDependent(), input_shape=IMAGE)
    assert network.layers.names[0] == "mean"
    assert not network.layers.traced
    assert "control flow" in network.layers.untraced_reason
    plain = Network(zoo("squeezenet1_0"), input_shape=(3, 64, 64))
    assert plain.layers.traced
    assert plain.layers.untraced_reason is None


def test_tracing_a_model_that_is_gone_is_refused():
    layers = Network(chain(conv()), input_shape=IMAGE).layers
    gc.collect()
    with pytest.raises(ReferenceError, match="keep its Network"):
        _ = layers.traced


def test_a_missing_name_offers_the_nearest():
    layers = recorded(zoo("resnet18"), (3, 64, 64))
    with pytest.raises(KeyError, match=r"did you mean 'layer1.0.conv1'"):
        layers["layer1.0.conv_1"]
    with pytest.raises(UnknownLayerError, match=r"layer2.0.conv1"):
        layers["layer2.0"]
    error = UnknownLayerError("plain text")
    assert str(error) == "plain text"
    assert "layer4.1.add" in layers
    assert "layer4.1.sub" not in layers
    assert layers[0].name == "conv1"
    assert [x.name for x in layers[:2]] == ["conv1", "bn1"]


def test_the_table_can_be_read():
    text = repr(recorded(zoo("resnet18"), (3, 64, 64)))
    head, columns, first = text.splitlines()[:3]
    assert head == "68 layers, 11,689,512 parameters"
    assert columns.split()[:3] == ["name", "kind", "output"]
    assert " ".join(first.split()) == "0 conv1 Conv2d 64 x 32 x 32 9,408 2 x 2 7 x 7"
    assert "global" in text.splitlines()[-1]


@pytest.mark.parametrize("name", ["resnet18", "swin_t", "vit_b_32"])
def test_the_meta_device_gives_the_same_list(name):
    side = ZOO[name]
    real = recorded(zoo(name), (3, side, side))
    meta = recorded(zoo(name).to("meta"), (3, side, side), device="meta")
    assert [x for x in meta if x.layout != "other"] == [x for x in real if x.layout != "other"]
    assert meta.approximated == ()
    last = real[-4]
    assert meta[-4].box(0, 0) == last.box(0, 0)


def test_values_read_on_the_meta_device_give_a_clear_error():
    network = Network(DataDependent().to("meta"), input_shape=IMAGE)
    with pytest.raises(ValueError, match="put it on a real device"):
        _ = network.layers


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_half_and_double_precision_are_listed(dtype):
    network = Network(chain(conv(), nn.ReLU(), nn.MaxPool2d(2)).to(dtype), input_shape=IMAGE)
    assert network.layers[-1].receptive_field.size == (4, 4)


@pytest.mark.filterwarnings("ignore:Complex modules are a new feature")
def test_complex_weights_are_listed():
    network = Network(chain(conv().to(torch.complex64), nn.Flatten()), input_shape=IMAGE)
    assert network.layers[0].receptive_field.size == (3, 3)


def test_quantised_weights_are_listed():
    model = chain(conv(), nn.Flatten(), nn.Linear(4 * 22 * 18, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    layers = Network(quantised, input_shape=IMAGE).layers
    assert layers.names == ("0", "1", "2")
    assert layers[2].output_shape == (5,)


def test_parametrized_weights_do_not_hide_their_layer():
    model = chain(nn.utils.parametrizations.weight_norm(conv()), nn.ReLU())
    layers = recorded(model)
    assert [(x.name, x.kind) for x in layers] == [("0", "Conv2d"), ("1", "ReLU")]
    assert layers[0].receptive_field.size == (3, 3)


def test_nothing_to_list():
    assert len(recorded(nn.Sequential())) == 0
    with pytest.raises(KeyError, match="no layers"):
        recorded(nn.Sequential())["conv1"]
    without = recorded(chain(nn.ReLU(), nn.AvgPool2d(2)))
    assert without.parameters == 0
    assert without.names == ("0", "1")


def test_a_model_that_is_one_layer_is_named_by_its_class():
    layers = recorded(conv())
    assert layers.names == ("Conv2d",)
    assert layers[0].module_name == ""


def test_vectors_have_layers_without_receptive_fields():
    layers = recorded(chain(nn.Linear(5, 3), nn.Softmax(1)), (5,))
    assert [x.layout for x in layers] == ["vector", "vector"]
    assert layers[0].receptive_field is None
    with pytest.raises(ValueError, match="takes vectors"):
        layers[0].box()


def test_blocks_that_return_tuples_or_dictionaries_do_not_crash():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = conv()

        def forward(self, x):
            x = self.conv(x)
            return {"maps": [x, x.mean((2, 3))], "none": None}

    class Head(nn.Module):
        def forward(self, found):
            return found["maps"][1], 7

    layers = recorded(chain(Block(), Head(), nn.Identity()))
    assert layers.names == ("0.conv", "0.mean", "1", "2")
    assert layers["1"].output_shape == (4,)


def test_a_batch_is_refused():
    with pytest.raises(ValueError, match="batch of one"):
        record_layers(conv(), torch.zeros(2, *IMAGE))


def test_no_hook_stays_when_the_model_fails():
    model = chain(conv(), nn.Linear(3, 3))
    with pytest.raises(RuntimeError), watch_calls(model, lambda call: None):
        model(torch.zeros(1, *IMAGE))
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
    assert torch.relu(torch.zeros(1)).item() == 0


def test_a_later_run_is_seen_under_the_same_names():
    model = zoo("googlenet")
    layers, names = recorded(model, (3, 64, 64)), []
    with torch.no_grad(), watch_calls(model, lambda call: names.append(call.name)):
        model(torch.zeros(3, 3, 64, 64))
    assert tuple(names) == layers.names
