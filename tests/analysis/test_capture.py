"""What a layer returned, read in passing: against plain hooks, torchvision and Captum."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from captum.attr import LayerActivation
from fixtures.networks import IMAGE, SMALL, ZOO, DataDependent, Forward, chain, conv, zoo
from test_network import everything, mixed
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from nbviz import Network
from nbviz.analysis import capture as module
from nbviz.analysis.capture import capture, run_pass
from nbviz.analysis.layers import UnknownLayerError

# In-place ReLU, modules used again, functional operations, squeeze-excite, attention, windows.
NETWORKS = ["vgg11", "resnet18", "squeezenet1_0", "densenet121", "mobilenet_v3_small", "vit_b_32"]
NETWORKS += ["swin_t", "googlenet"]

# Attention takes one fused operation where nobody watches, so it rounds in another order.
FUSED = {"vit_b_32"}


def network_of(name: str) -> tuple[Network, torch.Tensor]:
    side = ZOO[name]
    torch.manual_seed(1)
    return Network(zoo(name), input_shape=(3, side, side)), torch.randn(1, 3, side, side)


@pytest.fixture(scope="module", params=NETWORKS)
def case(request):
    return request.param, *network_of(request.param)


@pytest.fixture
def watched(monkeypatch):
    """Lets all calls be watched, where hooks on single modules would do."""
    monkeypatch.setattr(module._Facts, "calls_of", lambda facts, layers: None)


def by_plain_hooks(network: Network, batch) -> dict[str, torch.Tensor]:
    """Outputs of all module layers, numbered by call, copied as they return."""
    found, count, handles = {}, Counter(), []
    names = {}
    for layer in network.layers:
        if not layer.functional:
            names.setdefault(layer.module_name, []).append(layer.name)
    for path in names:

        def hook(_module, _inputs, output, path=path):
            output = output[0] if isinstance(output, tuple) else output
            found[names[path][count[path]]] = output.clone()
            count[path] += 1

        handles.append(network.model.get_submodule(path).register_forward_hook(hook))
    with torch.no_grad():
        network.model(batch)
    for handle in handles:
        handle.remove()
    return found


def same(ours, theirs, *, fused=False):
    # Without fused attention the computation is the same, and so is every bit.
    if fused:
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    else:
        assert torch.equal(ours, theirs)


def test_module_layers_are_what_plain_hooks_see(case):
    _, network, batch = case
    expected = by_plain_hooks(network, batch)
    captured = capture(network, batch, list(expected))
    assert list(captured.values) == list(expected)
    assert captured.logits is None
    for layer, value in captured.values.items():
        same(value, expected[layer])


def test_watching_all_calls_gives_the_same_as_hooks_on_single_modules(case, watched):
    name, network, batch = case
    expected = by_plain_hooks(network, batch)
    for layer, value in capture(network, batch, list(expected)).values.items():
        same(value, expected[layer], fused=name in FUSED)


def test_functional_layers_are_what_a_torchvision_extractor_gives(case):
    name, network, batch = case
    nodes = set(get_graph_node_names(network.model)[1])
    # for a module whose own name ends in a number, `ln_1`, the extractor gives another's output
    known = [
        layer
        for layer in network.layers
        if layer.name.replace(":", "_") in nodes and not re.search(r"_\d+$", layer.name)
    ]
    functional = [layer.name for layer in known if layer.functional]
    others = [layer.name for layer in known if not layer.functional]
    chosen = [*functional[:: max(1, len(functional) // 2)], *others[:: max(1, len(others) // 2)]]
    for layer in chosen:  # one by one: what an extractor returns, a later layer in place overwrites
        node = layer.replace(":", "_")
        extractor = create_feature_extractor(network.model, [node])
        with torch.no_grad():
            expected = extractor(batch)[node]
        expected = expected[0] if isinstance(expected, tuple) else expected
        same(capture(network, batch, [layer]).values[layer], expected, fused=name in FUSED)


def test_module_layers_are_what_captum_gives(case):
    name, network, batch = case
    once = [n.name for n in network.layers if not n.functional and f"{n.name}:1" not in
            network.layers and ":" not in n.name]  # fmt: skip
    for layer in once[:: max(1, len(once) // 3)]:
        part = network.model.get_submodule(layer)
        with torch.no_grad():
            expected = LayerActivation(network.model, part).attribute(batch)
        expected = expected[0] if isinstance(expected, tuple) else expected
        if isinstance(part, nn.ReLU) or not overwritten(network, layer):
            same(capture(network, batch, [layer]).values[layer], expected, fused=name in FUSED)


def overwritten(network, layer):
    """Whether the next layer may write over this one's output, which Captum then shows."""
    names = network.layers.names
    after = network.layers[min(names.index(layer) + 1, len(names) - 1)]
    part = None if after.functional else network.model.get_submodule(after.module_name)
    return getattr(part, "inplace", after.functional)


def test_logits_come_with_the_layers(case):
    name, network, batch = case
    layer = network.layers[2].name
    captured = capture(network, batch, [layer], logits=True)
    same(captured.logits, network(batch), fused=name in FUSED)
    same(captured.values[layer], capture(network, batch, [layer]).values[layer])


@pytest.mark.parametrize("name", SMALL)
def test_hooks_and_watching_agree_on_every_small_network(name, monkeypatch):
    make, shape = SMALL[name]
    torch.manual_seed(2)
    network = Network(make().eval(), input_shape=shape)
    batch = torch.randn(2, *shape)
    one_by_one = {n: capture(network, batch, [n]).values[n] for n in network.layers.names}
    monkeypatch.setattr(module._Facts, "calls_of", lambda facts, layers: None)
    at_once = capture(network, batch, network.layers.names).values
    for layer, value in at_once.items():
        torch.testing.assert_close(one_by_one[layer], value, rtol=1e-5, atol=1e-6)


def test_a_relu_in_place_does_not_change_the_layer_before_it():
    model = chain(conv(), nn.ReLU(inplace=True), nn.Hardtanh(-1, 0.1, inplace=True))
    network, batch = Network(model, input_shape=IMAGE), torch.randn(1, *IMAGE)
    values = capture(network, batch, ["0", "1", "2"]).values
    before = F.conv2d(batch, model[0].weight, model[0].bias)
    assert torch.equal(values["0"], before)
    assert torch.equal(values["1"], before.relu())
    assert torch.equal(values["2"], before.clip(0, 0.1))
    assert torch.equal(capture(network, batch, ["1", "0"]).values["0"], before)


class Constants(nn.Module):
    """Calls its layers on constants too, and inside one another, which makes no layers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("grid", torch.ones(1, 3, 8, 8))
        self.conv, self.relu = conv(), nn.ReLU()

    def forward(self, x):
        shift = self.conv(self.grid).mean()
        x = F.relu(self.conv(x)) + shift
        return self.relu(F.relu(self.conv(x[:, :3])))


def test_calls_that_are_no_layers_do_not_shift_the_names():
    torch.manual_seed(3)
    model = Constants()
    network, batch = Network(model, input_shape=(3, 8, 8)), torch.randn(1, 3, 8, 8)
    assert {"conv", "conv:1", "relu", "relu:1", "relu:2"} <= {*network.layers.names}
    values = {n: capture(network, batch, [n]).values[n] for n in network.layers.names}
    first = F.conv2d(batch, model.conv.weight, model.conv.bias)
    assert torch.equal(values["conv"], first)
    assert torch.equal(values["relu"], values["conv:1"].relu())
    inner = first.relu() + F.conv2d(model.grid, model.conv.weight, model.conv.bias).mean()
    expected = F.conv2d(inner[:, :3], model.conv.weight, model.conv.bias)
    assert torch.equal(values["conv:1"], expected)


@pytest.mark.parametrize("layer", ["layer1.0.relu", "layer1.0.add", "layer1.0.bn2"])
def test_the_pass_ends_behind_the_last_wanted_layer(layer):
    network, batch = network_of("resnet18")
    calls = Counter()
    for path, part in network.model.named_modules():
        part.register_forward_hook(lambda m, i, o, path=path: calls.update([path]))
    _ = network.layers, capture(network, batch, ["conv1"])
    calls.clear()
    capture(network, batch, ["conv1", layer])
    assert calls["layer1.0.conv2" if layer != "layer1.0.relu" else "layer1.0.bn1"] == 1
    assert calls["layer1.1.conv1"] == calls["layer2.0.conv1"] == calls["fc"] == calls[""] == 0
    calls.clear()
    capture(network, batch, [layer], logits=True)
    assert calls["fc"] == calls[""] == 1


def test_the_last_layer_is_not_copied_and_the_others_are():
    network, batch = network_of("vgg11")
    places = {}
    for path in ("features.0", "features.3"):
        part = network.model.get_submodule(path)
        part.register_forward_hook(lambda m, i, o, path=path: places.update({path: o.data_ptr()}))
    values = capture(network, batch, ["features.0", "features.3"]).values
    assert values["features.3"].data_ptr() == places["features.3"]
    assert values["features.0"].data_ptr() != places["features.0"]


def _into_buffer(net, x):
    net.out.copy_(net.conv(x))
    return net.after(net.same(net.out))


def test_what_was_captured_is_nobody_elses():
    batch = torch.randn(1, *IMAGE)
    network = Network(chain(nn.Identity(), conv()), input_shape=IMAGE)
    kept = capture(network, batch, ["0"]).values["0"]
    before = kept.clone()
    batch.zero_()
    assert torch.equal(kept, before)
    model = Forward(_into_buffer, conv=conv(), same=nn.Identity(), after=conv((4, 4)))
    model.register_buffer("out", torch.zeros(1, 4, 22, 18))
    network, batch = Network(model, input_shape=IMAGE), torch.randn(1, *IMAGE)
    kept = capture(network, batch, ["same"]).values["same"]
    assert torch.equal(kept, F.conv2d(batch, model.conv.weight, model.conv.bias))


@pytest.mark.parametrize("layers", [["0"], ["1", "5"], ["6"]])
@pytest.mark.parametrize("logits", [False, True])
def test_the_model_comes_out_as_it_went_in(layers, logits):
    model = mixed(
        chain(conv(), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(),
              nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    )  # fmt: skip
    network = Network(model, input_shape=IMAGE)
    _ = network.layers
    before = everything(model)
    capture(network, torch.zeros(2, *IMAGE), layers, logits=logits)
    assert everything(model) == before


class Failing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = conv(), conv((4, 4)), conv((4, 4))
        self.error = None

    def forward(self, x):
        x = self.first(x)
        if self.error is not None:
            raise self.error
        return self.third(self.second(x) + 1)


@pytest.mark.parametrize("layers", [["first", "second"], ["add"]], ids=["hooks", "watched"])
@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt(), OSError(5, "disk")])
def test_an_error_of_the_model_passes_unchanged_and_leaves_it_clean(error, layers):
    model = mixed(Failing())
    network = Network(model, input_shape=IMAGE)
    _ = network.layers, capture(network, torch.zeros(1, *IMAGE), ["first"])
    model.error = error
    before = everything(model)
    with pytest.raises(type(error)) as raised:
        capture(network, torch.zeros(1, *IMAGE), layers)
    assert raised.value is error
    assert everything(model) == before
    assert network.lock.acquire(blocking=False)
    network.lock.release()


def test_an_error_says_which_layer_ran_last_and_where_it_was_raised():
    model = Failing()
    network = Network(model, input_shape=IMAGE)
    capture(network, torch.zeros(1, *IMAGE), ["first"])
    for layers, latest in ((["second"], "before any"), (["first", "second"], "'first'"),
                           (["add"], "'first'")):  # fmt: skip
        model.error = ValueError("too dark")
        with pytest.raises(ValueError, match="too dark") as raised:
            capture(network, torch.zeros(1, *IMAGE), layers)
        (note,) = raised.value.__notes__
        assert latest in note


def swallow(net, x):
    try:
        x = net.relu(net.conv(x))
    except Exception:  # noqa: BLE001
        x = torch.full_like(x, 7)
    return net.last(x)


def translate(net, x):
    try:
        return net.last(net.relu(net.conv(x)))
    except Exception as error:
        raise RuntimeError("something went wrong") from error


@pytest.mark.parametrize("forward", [swallow, translate])
@pytest.mark.parametrize("force", [False, True], ids=["hooks", "watched"])
def test_a_model_that_catches_exceptions_still_gives_its_layers(forward, force, monkeypatch):
    if force:
        monkeypatch.setattr(module._Facts, "calls_of", lambda facts, layers: None)
    model = Forward(forward, conv=conv(), relu=nn.ReLU(inplace=True), last=conv((4, 4)))
    network, batch = Network(model, input_shape=IMAGE), torch.randn(1, *IMAGE)
    expected = F.conv2d(batch, model.conv.weight, model.conv.bias)
    assert torch.equal(capture(network, batch, ["conv"]).values["conv"], expected)
    values = capture(network, batch, ["relu", "conv"]).values
    assert torch.equal(values["relu"], expected.relu())
    assert torch.equal(values["conv"], expected)


def goes_on(net, x):
    x = net.conv(x)
    try:
        net.same(x)
    except Exception:  # noqa: BLE001
        x.mul_(0)
    return x.mul_(0)


def test_a_model_that_goes_on_after_the_end_does_not_spoil_what_was_captured():
    network = Network(Forward(goes_on, conv=conv(), same=nn.Identity()), input_shape=IMAGE)
    batch = torch.randn(1, *IMAGE)
    values = capture(network, batch, ["same"]).values
    assert torch.equal(values["same"], network.model.conv(batch).detach())


def _sometimes(net, x):
    x = net.relu(net.conv(x))
    if x.mean() > 0.5:
        x = F.relu(x)
    return net.relu(x)


@pytest.mark.parametrize("bright_first", [True, False])
def test_numbers_that_shift_with_the_input_do_not_name_another_call(bright_first):
    model = Forward(_sometimes, conv=conv((3, 4), 1), relu=nn.ReLU())
    with torch.no_grad():
        model.conv.weight.fill_(0)
        model.conv.bias.fill_(1.0 if bright_first else 0.0)
    network = Network(model, input_shape=IMAGE)
    assert ("relu:2" in network.layers) == bright_first
    model.conv.bias.data.fill_(0.0 if bright_first else 1.0)
    if bright_first:
        with pytest.raises(ValueError, match="another way"):
            capture(network, torch.zeros(1, *IMAGE), ["relu:2"])
    else:  # the function has this name now
        assert capture(network, torch.zeros(1, *IMAGE), ["relu"]).values["relu"].min() == 1


def test_hooks_of_the_user_that_always_run_are_told_that_the_pass_ended():
    network, batch = network_of("resnet18")
    inside = []
    part = network.model.layer1
    part.register_forward_pre_hook(lambda m, i: inside.append(1))
    part.register_forward_hook(lambda m, i, o: inside.pop() and None, always_call=True)
    capture(network, batch, ["layer1.0.conv1"])
    assert inside == []


def test_what_the_users_hooks_make_of_an_output_is_what_is_captured():
    model = chain(conv(), nn.ReLU())
    model[0].register_forward_hook(lambda m, i, o: o * 0 + 5)
    network = Network(model, input_shape=IMAGE)
    assert bool((capture(network, torch.randn(1, *IMAGE), ["0"]).values["0"] == 5).all())


def test_a_way_that_the_model_does_not_take_is_told():
    network = Network(DataDependent(), input_shape=IMAGE)
    names = network.layers.names
    taken = next(name for name in names if name in {"dark", "bright"})
    sign = {"dark": 1, "bright": -1}[taken]
    with pytest.raises(ValueError, match=f"run layer '{taken}'.*another way"):
        capture(network, torch.full((1, *IMAGE), float(sign)), [taken])
    ended = run_pass(network, torch.full((1, *IMAGE), float(sign)), [taken], lambda *a, **k: 0,
                     to_the_end=True)  # fmt: skip
    assert ended.missing == (taken,)


def test_wrong_arguments_are_refused_with_advice():
    network, batch = network_of("resnet18")
    with pytest.raises(UnknownLayerError, match=r"did you mean 'layer1\.0\.relu'"):
        capture(network, batch, ["layer1.0.rel"])
    with pytest.raises(TypeError, match=r"network\.prepare"):
        capture(network, [1, 2], ["conv1"])
    assert capture(network, batch, []).values == {}


def test_a_whole_model_that_is_one_layer_is_captured():
    network = Network(conv(), input_shape=IMAGE)
    batch = torch.randn(3, *IMAGE)
    (name,) = network.layers.names
    with torch.no_grad():
        assert torch.equal(capture(network, batch, [name]).values[name], network.model(batch))


def test_order_and_repeats_of_names_do_not_matter():
    network, batch = network_of("squeezenet1_0")
    names = ["features.3.squeeze", "features.0", "features.3.squeeze"]
    values = capture(network, batch, names).values
    assert list(values) == names[:2]
    assert values["features.0"].shape[1] == 96
