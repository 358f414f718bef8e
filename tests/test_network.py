"""Network: what it accepts, what it prepares, and that a model comes out as it went in."""

from __future__ import annotations

import gc
import random
import threading
import warnings
import weakref
from collections import OrderedDict

import numpy as np
import pytest
import torch
from fixtures.networks import IMAGE, DataDependent, Forward, chain, conv
from PIL import Image
from torch import nn

from nbviz import Network
from nbviz.undisturbed import undisturbed


def small(classes: int = 5) -> nn.Sequential:
    return chain(
        conv(), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, classes),
    )  # fmt: skip


class Restless(nn.Module):
    """Changes in its forward pass all that a forward pass can change."""

    def __init__(self, error: BaseException | None = None) -> None:
        super().__init__()
        self.conv, self.norm, self.calls, self.error = conv(), nn.BatchNorm2d(4), 0, error
        self.register_buffer("count", torch.zeros(3))
        self.register_buffer("last", torch.zeros(1))

    def forward(self, x):
        self.count += 1
        self.last = x.mean()
        self.calls += 1
        self.cache = x
        self.norm.train()
        self.conv.weight.requires_grad_(False)
        self.register_buffer("late", torch.ones(1))
        self.norm.register_forward_hook(lambda module, inputs, output: None)
        torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(True)
        x = self.norm(self.conv(x))
        if self.error is not None:
            raise self.error
        return x.mean((2, 3))


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_forward_hooks_with_kwargs")


def everything(model: nn.Module) -> dict:
    """All of a model, and of the state around it, that must come out as it went in."""
    found = {
        "random": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "python": random.getstate(),
        "dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
    }
    for name, module in model.named_modules():
        found[name, "training"] = module.training
        found[name, "hooks"] = [list(getattr(module, table)) for table in HOOKS]
        found[name, "names"] = sorted(vars(module))
        found[name, "objects"] = {
            key: id(value) for key, value in vars(module).items() if key not in {"training"}
        }
        found[name, "buffers"] = {key: id(value) for key, value in module._buffers.items()}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        found[name, "values"] = tensor.detach().numpy().tobytes()
        found[name, "requires_grad"] = tensor.requires_grad
        found[name, "device"] = tensor.device
        found[name, "grad"] = None if tensor.grad is None else id(tensor.grad)
    return found


def mixed(model: nn.Module) -> nn.Module:
    """Some submodules in training mode, some not, some frozen, with hooks of the user's own."""
    model.train()
    for number, module in enumerate(model.modules()):
        module.training = number % 2 == 0
    list(model.parameters())[-1].requires_grad_(False)
    model.register_forward_hook(lambda module, inputs, output: None)
    return model


OPERATIONS = {
    "call": lambda network: network(torch.zeros(2, *IMAGE)),
    "layers": lambda network: network.layers,
    "traced": lambda network: network.layers.traced,
    "input shape": lambda network: Network(network.model).input_shape,
    "prepare": lambda network: network.prepare(Image.new("RGB", (40, 30))),
    "forget": lambda network: network.forget_layers(),
    "undisturbed": lambda network: _run_inside(network, grad=False),
    "undisturbed with gradients": lambda network: _run_inside(network, grad=True),
    "repr": repr,
}


def _run_inside(network, *, grad):
    with network.undisturbed(grad=grad), network.undisturbed(grad=grad):
        assert not any(module.training for module in network.model.modules())
        assert torch.is_grad_enabled() == grad
        network.model(torch.zeros(2, *IMAGE))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("make", [small, DataDependent, Restless], ids=lambda f: f.__name__)
def test_a_model_comes_out_as_it_went_in(make, operation):
    model = mixed(make())
    network = Network(model, input_shape=IMAGE)
    before = everything(model)
    OPERATIONS[operation](network)
    assert everything(model) == before


@pytest.mark.parametrize("operation", ["call", "layers", "undisturbed", "input shape"])
@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()], ids=repr)
def test_a_model_that_fails_comes_out_as_it_went_in(error, operation):
    model = mixed(Restless(error))
    network = Network(model, input_shape=IMAGE)
    before = everything(model)
    expected = ValueError if operation == "input shape" else RuntimeError
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else expected):
        OPERATIONS[operation](network)
    assert everything(model) == before
    assert network.lock.acquire(blocking=False)
    network.lock.release()


def test_an_interrupt_while_restoring_still_restores(monkeypatch):
    from nbviz import undisturbed as module

    model, restore, tries = mixed(small()), module._Snapshot.restore, []
    before = everything(model)

    def interrupted(snapshot):
        tries.append(1)
        if len(tries) == 1:
            raise KeyboardInterrupt
        restore(snapshot)

    monkeypatch.setattr(module._Snapshot, "restore", interrupted)
    with pytest.raises(KeyboardInterrupt), undisturbed(model):
        pass
    assert everything(model) == before


class Collecting(nn.Module):
    """Puts what it sees into containers of its own, as forward passes that keep maps do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv()
        self.maps, self.seen, self._kinds, self.by_name = ["first"], {"runs": 0}, {1}, OrderedDict()
        self.by_name["b"] = self.by_name["a"] = 0
        self.by_name.move_to_end("b")

    def forward(self, x):
        x = self.conv(x)
        self.maps.append(x)
        self.seen["runs"] += 1
        self.seen["last"] = x
        self._kinds.add(2)
        self.by_name.move_to_end("a")
        return x.mean((2, 3))


def test_lists_and_dictionaries_that_a_model_fills_are_as_before():
    model = Collecting()
    containers = model.maps, model.seen, model._kinds, model.by_name
    network = Network(model, input_shape=IMAGE)
    network(torch.zeros(1, *IMAGE))
    _ = network.layers
    assert containers == (["first"], {"runs": 0}, {1}, OrderedDict(a=0, b=0))
    assert model.maps is containers[0]
    assert model.seen is containers[1]
    with undisturbed(model):
        model.maps.append(1)
        model.maps = []
        model.seen.clear()
    assert model.maps is containers[0]
    assert containers[:2] == (["first"], {"runs": 0})


def test_gradient_mode_of_the_caller_stays():
    network = Network(small(), input_shape=IMAGE)
    with torch.no_grad():
        network(torch.zeros(1, *IMAGE))
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        network(torch.zeros(1, *IMAGE))
        assert torch.is_inference_mode_enabled()
    with network.undisturbed(grad=True):
        image = torch.zeros(1, *IMAGE, requires_grad=True)
        assert network.model(image).sum().requires_grad


def test_evaluation_mode_is_what_runs():
    model = small().train()
    network = Network(model)
    batch = torch.randn(4, *IMAGE)
    first, second = network(batch), network(batch)
    assert torch.equal(first, second)
    assert torch.equal(first, model.eval()(batch))
    assert not first.requires_grad


def test_models_are_freed_with_their_network():
    model = small()
    network = Network.of(model)
    _ = network.layers.traced, network(torch.zeros(1, *IMAGE))
    dead = [weakref.ref(model), weakref.ref(network)]
    layers = network.layers  # the list alone must not keep the model
    del model, network
    gc.collect()
    assert [reference() for reference in dead] == [None, None]
    assert layers[0].name == "0"


def test_the_same_bare_module_gives_the_same_network():
    model = small()
    network = Network.of(model)
    assert Network.of(model) is network
    assert Network.of(network) is network
    assert Network(model) is not network
    assert Network(model).lock is network.lock
    assert Network.of(small()) is not network


def test_two_threads_do_not_run_one_model_at_once():
    inside, most = [], []

    def slow(net, x):
        inside.append(1)
        most.append(len(inside))
        threading.Event().wait(0.01)
        inside.pop()
        return net.conv(x)

    model = Forward(slow, conv=conv())
    networks = [Network(model, input_shape=IMAGE), Network(model, input_shape=IMAGE)]
    threads = [
        threading.Thread(target=network, args=(torch.zeros(1, *IMAGE),)) for network in networks * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ("resnet18", "from_torchvision"),
        (small().state_dict(), "load_state_dict"),
        ({"a": 1}, "load_state_dict"),
        (nn.Conv2d, "pass an instance"),
        (small, "the function small"),
        (torch.zeros(3), "got Tensor"),
        (None, "got NoneType"),
    ],
    ids=["name", "state dict", "dict", "class", "function", "tensor", "none"],
)
def test_what_is_no_model_is_refused_with_advice(wrong, advice):
    for make in (Network, Network.of):
        with pytest.raises(TypeError, match=advice):
            make(wrong)


def test_wrappers_are_looked_through():
    model = small()
    assert Network(nn.DataParallel(model)).model is model
    assert Network.of(torch.compile(model)).model is model
    assert Network(torch.compile(nn.DataParallel(model))).model is model


def test_torchscript_is_refused_with_advice():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is on its way out
        scripted = torch.jit.trace(nn.Tanh(), torch.zeros(1, *IMAGE))
    with pytest.raises(TypeError, match="made from"):
        Network(scripted)
    with pytest.raises(TypeError, match="at '1'"):
        _ = Network(chain(conv(), scripted), input_shape=IMAGE).layers


def test_a_sparse_buffer_does_not_stop_the_restoring():
    model = small().train()
    model.register_buffer("pairs", torch.eye(3).to_sparse())
    assert Network(model, input_shape=IMAGE)(torch.zeros(1, *IMAGE)).shape == (1, 5)
    assert model.training
    assert torch.equal(model.pairs.to_dense(), torch.eye(3))


def test_a_lazy_model_is_refused_until_it_has_run():
    model = chain(conv(), nn.Flatten(), nn.LazyLinear(3))
    with pytest.raises(ValueError, match=r"2\.weight.*run the model once"):
        Network(model)
    model(torch.zeros(1, *IMAGE))
    assert Network(model, input_shape=IMAGE).layers[-1].output_shape == (3,)


def test_another_device_takes_a_copy_and_leaves_the_users_model():
    model = small()
    network = Network(model, device="meta", input_shape=IMAGE)
    assert network.model is not model
    assert network.device.type == "meta"
    assert next(model.parameters()).device.type == "cpu"
    assert network.layers.names == Network(model, input_shape=IMAGE).layers.names
    assert network(torch.zeros(1, *IMAGE)).shape == (1, 5)
    assert Network(model, device="cpu").model is model


class Answer(nn.Module):
    """Returns its logits in a given wrapping."""

    def __init__(self, wrap) -> None:
        super().__init__()
        self.inner, self.wrap = small(), wrap

    def forward(self, x):
        return self.wrap(self.inner(x))


class WithLogits:
    def __init__(self, logits):
        self.logits = logits


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: x,
        WithLogits,
        lambda x: {"logits": x, "loss": x.sum()},
        lambda x: {"out": x},
        lambda x: (x, None),
        lambda x: [x, x * 2],
        lambda x: x[:, :, None, None],
    ],
    ids=["tensor", "object", "dict with logits", "dict of one", "tuple", "list", "1 x 1 maps"],
)
def test_logits_are_found_in_what_a_model_returns(wrap):
    model = Answer(wrap).eval()
    batch = torch.randn(2, *IMAGE)
    with torch.no_grad():
        assert torch.equal(Network(model)(batch), model.inner(batch))


def test_an_answer_without_logits_is_refused():
    with pytest.raises(TypeError, match=r"keys \['a', 'b'\]"):
        Network(Answer(lambda x: {"a": x, "b": x}))(torch.zeros(1, *IMAGE))
    with pytest.raises(TypeError, match="prepare"):
        Network(small())(np.zeros((1, *IMAGE), np.float32))


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (small(), (3, 224, 224)),
        (chain(nn.Flatten(), nn.Linear(784, 10)), (1, 28, 28)),
        (chain(nn.Flatten(), nn.Linear(3072, 10)), (3, 32, 32)),
        (chain(nn.Linear(784, 10)), (784,)),
        (chain(nn.Linear(7, 10)), (7,)),
        (chain(nn.Conv2d(1, 2, 5), nn.Flatten(), nn.Linear(2 * 24 * 24, 3)), (1, 28, 28)),
        (chain(nn.Conv2d(3, 2, 4, 4), nn.Flatten(), nn.Linear(2 * 16 * 16, 3)), (3, 64, 64)),
        (chain(nn.Conv1d(2, 2, 5), nn.Flatten(), nn.Linear(2 * 124, 3)), (2, 128)),
        (chain(nn.ReLU()), (3, 224, 224)),
    ],
)
def test_the_input_shape_is_found(model, shape):
    network = Network(model)
    assert network.input_shape == shape
    assert network.layers.input_shape == shape


def test_an_input_shape_that_cannot_be_found_is_asked_for():
    model = chain(conv(), nn.Flatten(), nn.Linear(17, 3))
    with pytest.raises(ValueError, match=r"pass input_shape=\(channels, height, width\).*mat"):
        _ = Network(model).input_shape
    with pytest.raises(ValueError, match="input_shape"):
        _ = Network(nn.Module()).layers
    with pytest.raises(ValueError, match="positive integers"):
        Network(model, input_shape=(3, -1, 5))


def test_timm_says_what_its_models_take():
    timm = pytest.importorskip("timm")
    model = timm.create_model("resnet10t", pretrained=False, num_classes=7)
    network = Network(model)
    assert network.input_shape == tuple(model.pretrained_cfg["input_size"])
    grey = Image.new("RGB", (50, 40), (124, 116, 104))  # about the mean of ImageNet
    prepared = network.prepare(grey)
    assert prepared.shape == (1, *network.input_shape)
    assert prepared.abs().max() < 0.05
    assert network(prepared).shape == (1, 7)
    other = timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=64, in_chans=1)
    assert Network(other).input_shape == (1, 64, 64)


def test_transformers_says_what_its_models_take():
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=3, intermediate_size=48,
        image_size=32, patch_size=8, num_channels=1, id2label={0: "cat", 1: "dog", 2: "newt"},
    )  # fmt: skip
    network = Network(transformers.ViTForImageClassification(config))
    assert network.input_shape == (1, 32, 32)
    assert network.classes == ("cat", "dog", "newt")
    assert network(network.prepare(Image.new("RGB", (9, 9)))).shape == (1, 3)


def test_from_torchvision_knows_transform_and_classes_without_weights():
    network = Network.from_torchvision("squeezenet1_1", weights=None, num_classes=1000)
    assert network.input_shape == (3, 224, 224)
    assert len(network.classes) == 1000
    assert network.classes[0] == "tench"
    assert not network.model.training
    assert network.prepare(Image.new("L", (300, 260))).shape == (1, 3, 224, 224)
    assert repr(network) == "Network(SqueezeNet, 1,235,496 parameters, 1000 classes, cpu)"


def test_a_misspelled_torchvision_model_offers_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'resnet50'"):
        Network.from_torchvision("resnet_50")
    with pytest.raises(ValueError, match="classifier"):
        Network.from_torchvision("fcn_resnet50")
    with pytest.raises(ValueError, match="IMAGENET1K_V1"):
        Network.from_torchvision("alexnet", weights="imagenet")


def test_layers_are_recorded_once_and_again_after_a_change():
    model = small()
    network = Network(model, input_shape=IMAGE)
    first = network.layers
    assert network.layers is first
    model[2] = nn.Identity()
    assert network.layers is not first
    assert network.layers["2"].kind == "Identity"
    again = network.layers
    network.forget_layers()
    assert network.layers is not again
    assert Network(model).input_shape[0] == 3
    model[0] = conv((1, 4))
    assert Network(model).input_shape[0] == 1
    model[0] = conv()
    other = Network(model, input_shape=(3, 40, 40))
    assert other.layers.input_shape == (3, 40, 40)


def test_a_wrong_input_shape_is_named_where_the_model_fails():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 6 * 6, 3))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        Network(model, input_shape=(1, 9, 9)).layers  # noqa: B018 - looking is what fails
    (note,) = caught.value.__notes__
    assert "(1, 9, 9), as input_shape= says" in note
    assert Network(model, input_shape=(1, 8, 8)).layers.names
