"""What `watch_calls` tells of each call, and that watching changes nothing."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from fixtures.networks import SMALL, Attention, Forward, chain, conv, zoo
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nbviz.analysis.calls import Call, watch_calls
from nbviz.analysis.origins import Origins

SHAPE = (2, 3, 8, 8)


def watched(model: nn.Module, *inputs, grad: bool = False, **named) -> list[Call]:
    calls: list[Call] = []
    model.eval()
    with torch.set_grad_enabled(grad), watch_calls(model, calls.append):
        model(*(inputs or (torch.randn(SHAPE),)), **named)
    return calls


def sources(
    run, grad: bool = False, **modules: nn.Module
) -> dict[str, tuple[tuple[str, ...], ...]]:
    return {call.name: call.sources for call in watched(Forward(run, **modules), grad=grad)}


def same(channels: int = 3) -> nn.Conv2d:
    return conv((channels, channels), padding=1)


PLACING = {
    "view": lambda x: x.view(2, 3, 4, 16),
    "permute": lambda x: x.permute(0, 1, 3, 2),
    "index": lambda x: x[:, [2, 0, 1]],
    "split": lambda x: x.split(2, 2)[1],
    "unbind and stack by views": lambda x: x.unbind(2)[3][:, :, None],
    "clone": lambda x: x.clone(),
    "to": lambda x: x.to(torch.float64).float(),
    "transposed property": lambda x: x.mT,
    "shuffle": lambda x: F.pixel_unshuffle(x, 2)[:, :3],
    "gather": lambda x: x.gather(2, torch.zeros(2, 3, 8, 8, dtype=torch.int64)),
}


@pytest.mark.parametrize("place", PLACING.values(), ids=PLACING)
@pytest.mark.parametrize("grad", [False, True])
def test_a_connection_is_seen_through_functions_that_only_place_elements(place, grad):
    found = sources(lambda net, x: net.b(place(net.a(x))), grad, a=same(), b=same())
    assert found == {"a": (("",),), "b": (("a",),)}


def test_a_tensor_of_parts_comes_from_the_layer_of_each_part():
    def run(net, x):
        a, b = net.a(x), net.b(x)
        out = x.new_zeros(2, 3, 8, 8)
        out[:, :, ::2] = a[:, :, ::2]
        out[:, :, 1::2].copy_(b[:, :, 1::2])
        return net.c(out)

    assert sources(run, a=same(), b=same(), c=same())["c"] == (("a", "b"),)


def test_a_decision_by_values_does_not_hide_where_the_mask_came_from():
    def run(net, x):
        return torch.where(net.a(x) > 0, x, 0.0)

    assert sources(run, a=same())["where"] == (("a",), ("",))


def test_what_an_operation_in_place_overwrote_is_its_output_for_all_who_share_the_memory():
    def run(net, x):
        x = net.a(x)
        flat, upper, lower = x.view(2, -1), x[:, :, :4], x[:, :, 4:]
        x.detach().relu_()
        after = net.b(x)
        upper.mul_(2)
        return net.c(upper), net.d(lower), net.linear(flat), after

    found = sources(run, a=same(), b=same(), c=same(), d=same(), linear=nn.Linear(192, 2))
    assert found["b"] == (("relu",),)
    assert found["mul"] == (("relu",),)
    assert found["c"] == (("mul",),)
    assert found["d"] == (("relu",),)
    assert found["linear"] == (("relu", "mul"),)


def test_a_module_that_returns_its_input_is_where_it_comes_from_afterwards():
    def run(net, x):
        x = net.a(x)
        return net.b(net.drop(net.same(x))) + net.relu(x)

    parts = {"same": nn.Identity(), "drop": nn.Dropout(), "relu": nn.ReLU(inplace=True)}
    found = sources(run, a=same(), b=same(), **parts)
    assert found["same"] == (("a",),)
    assert found["drop"] == (("same",),)
    assert found["b"] == (("drop",),)
    assert found["add"] == (("b",), ("relu",))


def test_parameters_and_constants_have_no_source():
    calls = {call.name: call for call in watched(Attention(), torch.randn(1, 3, 24, 20))}
    assert calls["cat"].sources == ((), ("patches",))
    assert calls["add"].sources == (("cat",), ())
    assert calls["attention"].sources == (("norm",),) * 3
    assert calls["attention"].inputs[0].shape == (1, 31, 8)


def test_the_input_is_told_from_the_layers_and_named_inputs_are_seen():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = same()

        def forward(self, first, *, others):
            return self.a(first) + others["second"]

    calls = watched(Two(), torch.randn(SHAPE), others={"second": torch.randn(SHAPE)})
    assert [call.sources for call in calls] == [(("",),), (("a",), ("",))]


@pytest.mark.parametrize("name", [n for n in SMALL if n != "signal"])
@pytest.mark.parametrize("grad", [False, True])
def test_every_tensor_has_one_entry_and_only_names_that_came_before(name, grad):
    make, shape = SMALL[name]
    before = {""}
    for call in watched(make(), torch.randn(2, *shape), grad=grad):
        assert len(call.sources) == len(call.inputs)
        assert {layer for source in call.sources for layer in source} <= before
        assert any(call.sources)
        before.add(call.name)


def test_arguments_are_the_ones_of_the_call():
    seen: dict[str, Call] = {}

    def run(net, x):
        return F.max_pool2d(net.a(x), 2, stride=1).add_(1, alpha=2)

    def visit(call):
        seen[call.name] = call
        if call.name == "a":
            given = call.args[0]
            assert given is call.inputs[0]
            torch.testing.assert_close(net.a.forward(given), call.tensor)

    net = Forward(run, a=same())
    with torch.no_grad(), watch_calls(net, visit):
        net(torch.randn(SHAPE))
    assert seen["max_pool2d"].args[1:] == (2,)
    assert seen["max_pool2d"].kwargs["stride"] == 1
    assert seen["add"].args[1:] == (1,)
    assert seen["add"].kwargs == {"alpha": 2}
    assert seen["add"].output is seen["add"].args[0]


def test_the_output_is_the_same_to_the_bit():
    for name in ("resnet18", "mobilenet_v3_small"):
        model, image = zoo(name), torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            plain = model(image)
            with watch_calls(model, lambda call: None):
                assert torch.equal(model(image), plain)


def test_maps_are_freed_while_the_model_runs():
    alive: list[int] = []
    references: list[weakref.ref[Tensor]] = []

    def visit(call):
        references.append(weakref.ref(call.tensor))
        alive.append(sum(reference() is not None for reference in references))

    model = chain(*(same() for _ in range(12)))
    with torch.no_grad(), watch_calls(model, visit):
        model(torch.randn(SHAPE))
    assert max(alive) <= 3


def test_nothing_of_the_run_is_kept_alive_afterwards():
    gc.disable()
    try:
        model = same()
        known = weakref.ref(model.weight)
        with torch.no_grad(), watch_calls(model, lambda call: None):
            model(torch.randn(SHAPE))
        del model
        assert known() is None
    finally:
        gc.enable()


class Interrupted(nn.Conv2d):
    """Stands in for a key that is pressed while a layer of torch runs."""

    def _conv_forward(self, *arguments):
        raise KeyboardInterrupt


class Noting(TorchFunctionMode):
    """A mode of somebody else's."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


def test_an_interrupt_inside_a_layer_leaves_no_mode_behind():
    model = chain(same(), Interrupted(3, 3, 3), nn.ReLU())
    with Noting() as mine:
        with pytest.raises(KeyboardInterrupt), torch.no_grad(), watch_calls(model, lambda c: None):
            model(torch.randn(SHAPE))
        del mine.names[:]
        torch.zeros(1).relu()
        assert mine.names == ["zeros", "relu"]
    assert torch._C._len_torch_function_stack() == 0
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())


def test_a_mode_inside_the_model_and_one_around_it_both_still_work():
    inner = Noting()

    def run(net, x):
        with inner:
            return net.b(net.a(x).relu()) + 1

    names: list[str] = []
    model = Forward(run, a=same(), b=same()).eval()
    with Noting() as outer, torch.no_grad(), watch_calls(model, lambda c: names.append(c.name)):
        model(torch.randn(SHAPE))
    assert names == ["a", "relu", "b", "add"]
    for mode in (inner, outer):
        called = [name.strip("_") for name in mode.names]
        assert [n for n in called if n in {"conv2d", "relu", "add"}] == [
            "conv2d", "relu", "conv2d", "add"
        ]  # fmt: skip


def test_a_layer_that_a_model_gives_only_constants_is_no_layer():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.randn(1, 3, 8, 8))
            self.mix, self.a = same(), same()

        def forward(self, x):
            return self.a(x) + self.mix(self.table).relu()

    model = Positions()
    calls = watched(model)
    assert [call.name for call in calls] == ["a", "add"]
    assert calls[-1].parameters == ("table", "mix.weight", "mix.bias")
    assert calls[-1].sources == (("a",), ())


def test_a_home_made_layer_that_ignores_its_input_is_no_layer():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.values = nn.Parameter(torch.randn(3, 1, 1))

        def forward(self, x):
            return self.values * torch.arange(x.shape[-1])

    calls = watched(Forward(lambda net, x: net.a(x) + net.table(x), a=same(), table=Table()))
    assert [call.name for call in calls] == ["a", "add"]
    assert calls[-1].parameters == ("table.values",)


def test_what_a_hook_of_the_user_changes_is_what_is_seen():
    model = chain(same(), nn.ReLU())
    model[0].register_forward_hook(lambda module, given, output: output * 0 + 7)
    model[1].register_forward_pre_hook(lambda module, given: (given[0] - 8,))
    calls = watched(model)
    assert [call.name for call in calls] == ["0", "sub", "1"]
    assert [float(call.tensor.max()) for call in calls] == [7, -1, 0]
    assert calls[-1].sources == (("sub",),)


def test_operations_in_a_hook_of_the_user_belong_to_the_module_that_has_it():
    table = nn.Parameter(torch.randn(1, 3, 8, 8))
    model = chain(chain(same()), nn.Identity(), same())
    model.register_parameter("table", table)
    model[0].register_forward_hook(lambda module, given, output: output + 1)
    assert [call.name for call in watched(model)] == ["0.0", "0.add", "1", "2"]
    model[1].register_forward_hook(lambda module, given, output: table * 2)
    assert [call.name for call in watched(model)] == ["0.0", "0.add"]


def test_a_tensor_that_is_gone_is_forgotten_and_its_address_means_nothing():
    origins = Origins()
    for number in range(200):
        tensor = torch.zeros(4)
        assert origins.of(tensor) is None
        (origins.hold if number % 2 else origins.fix)(tensor, ("conv",))
        assert origins.of(tensor) == ("conv",)
        del tensor
    assert len(origins) == 0
