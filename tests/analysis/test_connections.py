"""Connections and lanes, held against torch.fx, plain searches and drawings made by hand."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from fixtures.networks import IMAGE, SMALL, ZOO, Forward, chain, conv, zoo
from torch import nn

from nbviz.analysis.calls import watch_calls
from nbviz.analysis.connections import above, below, lanes
from nbviz.analysis.layers import Layer, Layers, UnknownLayerError, example_input, record_layers


def listed(model: nn.Module, shape=IMAGE) -> Layers:
    """The layers with their connections, without the receptive fields, which take longer."""
    found: list[Layer] = []

    def visit(call):
        plain = (call.name, call.kind, call.module_name, 0)
        found.append(Layer(*plain, (), (), "other", None, 0, None, None, inputs=call.sources))

    model.eval()
    with torch.no_grad(), watch_calls(model, visit):
        model(example_input(shape))
    return Layers(found)


@pytest.fixture(scope="module", params=ZOO)
def network(request) -> tuple[str, nn.Module, Layers]:
    model = zoo(request.param)
    return request.param, model, listed(model, (3, ZOO[request.param], ZOO[request.param]))


def modules_below_by_fx(model: nn.Module) -> dict[str, set[str]]:
    """For each call of a module the nearest calls of modules before it, by symbolic tracing."""
    found: dict[str, set[str]] = {}
    reached: dict[torch.fx.Node, set[str]] = {}
    uses: Counter[str] = Counter()
    for node in torch.fx.Tracer().trace(model).nodes:
        before = set().union(*(reached[other] for other in node.all_input_nodes))
        reached[node] = before
        if node.op == "call_module":
            name = f"{node.target}:{uses[node.target]}" if uses[node.target] else node.target
            uses[node.target] += 1
            found[name], reached[node] = before, {name}
    return found


def test_what_lies_below_a_module_is_what_a_symbolic_trace_finds(network):
    _, model, layers = network
    expected = modules_below_by_fx(model)
    reached: dict[str, set[str]] = {}
    for layer in layers:
        before = set().union(*(reached[name] for name in below(layers, layer.name)))
        if layer.name in expected:
            assert before == expected.pop(layer.name), layer.name
            before = {layer.name}
        reached[layer.name] = before
    assert not expected


def test_above_is_below_the_other_way(network):
    _, _, layers = network
    pairs = {(low, layer.name) for layer in layers for low in below(layers, layer.name)}
    assert {(layer.name, up) for layer in layers for up in above(layers, layer.name)} == pairs
    place = {name: row for row, name in enumerate(layers.names)}
    assert all(place[low] < place[up] for low, up in pairs)


def longest_way(layers: Layers) -> int:
    """Layers on the longest way to the last one, by relaxing until nothing changes."""
    length = dict.fromkeys(layers.names, 1)
    changed = True
    while changed:
        changed = False
        for layer in layers:
            for low in below(layers, layer.name):
                if length[layer.name] < length[low] + 1:
                    length[layer.name], changed = length[low] + 1, True
    return length[layers[-1].name]


def trunk_is_a_longest_way(layers: Layers) -> bool:
    trunk = [x.name for x, lane in zip(layers, lanes(layers), strict=True) if lane == 0]
    joined = all(low in below(layers, up) for low, up in pairwise(trunk))
    ends = trunk[-1] == layers[-1].name and ("",) in layers[trunk[0]].inputs
    return joined and ends and len(trunk) == longest_way(layers)


def strangers(layers: Layers) -> list[tuple[str, str]]:
    """Layers on the lane of a branch that is still alive, but no part of it."""
    row = {name: number for number, name in enumerate(layers.names)}
    lane = dict(zip(layers.names, lanes(layers), strict=True))
    branch: dict[str, str] = {}  # the first layer of the branch
    for name in layers.names:
        same = [low for low in below(layers, name) if lane[low] == lane[name]]
        branch[name] = branch[same[0]] if same else name
    wrong = []
    for name in layers.names:
        starts = branch[name] == name and lane[name] > 0
        left = max((row[low] for low in below(layers, name)), default=-1) if starts else row[name]
        last = max((row[up] for up in above(layers, name)), default=row[name])
        wrong += [
            (name, other)
            for other in layers.names[left + 1 : last]
            if lane[other] == lane[name] > 0 and branch[other] != branch[name]
        ]
    return wrong


def test_the_trunk_is_a_longest_way_and_no_branch_runs_into_another(network):
    _, _, layers = network
    assert trunk_is_a_longest_way(layers)
    assert strangers(layers) == []


WIDEST = {
    "resnet18": 1,
    "resnet50": 1,
    "squeezenet1_0": 1,
    "googlenet": 3,
    "inception_v3": 4,
}


def test_a_drawing_is_as_wide_as_the_network_has_branches(network):
    name, _, layers = network
    assert max(lanes(layers)) == WIDEST.get(name, 0)


def drawn(run, **modules: nn.Module) -> dict[str, int]:
    layers = listed(Forward(run, **modules))
    assert trunk_is_a_longest_way(layers)
    assert strangers(layers) == []
    return dict(zip(layers.names, lanes(layers), strict=True))


def same(channels: int = 3) -> nn.Conv2d:
    return conv((channels, channels), padding=1)


def test_a_chain_is_all_trunk():
    layers = listed(chain(same(), nn.ReLU(), same(), nn.Flatten()))
    assert lanes(layers) == (0, 0, 0, 0)
    assert lanes(()) == ()
    assert below(layers, "0") == ()
    assert (below(layers, "2"), above(layers, "2")) == (("1",), ("3",))


def test_a_convolution_on_a_shortcut_has_a_lane_and_an_identity_has_none():
    def run(net, x):
        x = F.relu(net.b(net.a(x)) + net.down(x))
        return net.c(x) + x

    assert drawn(run, a=same(), b=same(), down=same(), c=same()) == {
        "a": 0, "b": 0, "down": 1, "add": 0, "relu": 0, "c": 0, "add:1": 0
    }  # fmt: skip


def test_four_branches_lie_side_by_side_and_their_lanes_are_free_after_the_join():
    def run(net, x):
        for _ in range(2):
            parts = [net.one(x), net.b(net.a(x)), net.c(x), net.e(net.pool(x))]
            x = net.join(torch.cat(parts, 1))
        return x

    parts = {name: same() for name in ("one", "a", "b", "c", "e")}
    lane = drawn(run, pool=nn.MaxPool2d(3, 1, 1), join=conv((12, 3), 1), **parts)
    once = {"one": 1, "a": 0, "b": 0, "c": 2, "pool": 3, "e": 3, "cat": 0, "join": 0}
    again = {f"{name}:1": number for name, number in once.items()}
    assert lane == once | again


def test_skips_past_many_layers_take_no_lanes():
    def run(net, x):
        maps = [x]
        for layer in net.dense:
            maps.append(F.relu(layer(torch.cat(maps, 1))))
        return torch.cat(maps, 1)

    dense = nn.ModuleList([conv((3 + 4 * number, 4), padding=1) for number in range(6)])
    assert set(drawn(run, dense=dense).values()) == {0}


def test_a_lane_stays_taken_until_the_last_layer_that_needs_the_branch():
    def run(net, x):
        skip = net.skip(x)
        x = net.b(net.a(x))
        x = net.c(x) + net.d(net.e(net.f(x)))
        return net.g(x) + skip

    names = {name: same() for name in ("skip", *"abcdefg")}
    lane = drawn(run, **names)
    assert (lane["skip"], lane["c"]) == (1, 2)
    assert [name for name, number in lane.items() if number] == ["skip", "c"]


def test_a_branch_has_its_lane_from_where_it_leaves_not_only_from_its_first_layer():
    def run(net, x):
        stem = net.stem(x)
        x = net.b(net.a(stem)) + net.side(stem)
        x = net.d(net.c(x))
        return x + net.late(stem)

    lane = drawn(run, **{name: same() for name in ("stem", "side", "late", *"abcd")})
    assert (lane["side"], lane["late"]) == (1, 2)


def test_a_branch_of_a_branch_has_a_lane_of_its_own():
    def run(net, x):
        left = net.b(net.a(x))
        right = net.c(x)
        right = net.d(right) + net.e(right)
        return net.f(left * 2 * 3 * 4) + right

    lane = drawn(run, **{name: same() for name in "abcdef"})
    assert [lane[name] for name in ("a", "b", "c", "d", "add", "e")] == [0, 0, 1, 1, 1, 2]


def test_an_output_that_nobody_takes_frees_its_lane():
    def run(net, x):
        x = net.a(x)
        net.head(x)
        x = net.b(x)
        net.head2(x)
        return net.c(x)

    lane = drawn(run, a=same(), b=same(), c=same(), head=same(), head2=same())
    assert lane == {"a": 0, "head": 1, "b": 0, "head2": 1, "c": 0}


def test_query_key_and_value_lie_side_by_side():
    def run(net, x):
        x = net.patches(x).flatten(2).transpose(1, 2)
        q, k, v = (part(x)[:, None] for part in (net.q, net.k, net.v))
        return net.out(F.scaled_dot_product_attention(q, k, v)[:, 0]) + x

    parts = {name: nn.Linear(4, 4) for name in ("q", "k", "v", "out")}
    lane = drawn(run, patches=nn.Conv2d(3, 4, 4, 4), **parts)
    assert [lane[name] for name in ("patches", "q", "k", "v", "out", "add")] == [0, 0, 1, 2, 0, 0]


def test_a_layer_behind_what_cannot_be_watched_follows_the_layer_before_it():
    def by_numpy(net, x):
        return net.b(torch.from_numpy(net.a(x).numpy() * 2))

    layers = listed(Forward(by_numpy, a=same(), b=same()))
    assert layers["b"].inputs == ((),)
    assert below(layers, "b") == ()
    assert lanes(layers) == (0, 0)


def test_recorded_layers_have_the_connections_of_the_calls():
    for name in ("branches", "attention", "in place on a view"):
        make, shape = SMALL[name]
        model = make().eval()
        with torch.no_grad():
            recorded = record_layers(model, example_input(shape))
        assert [x.inputs for x in recorded] == [x.inputs for x in listed(model, shape)]
        assert all(len(x.inputs) == len(x.input_shapes) for x in recorded)


def test_a_missing_name_offers_the_nearest():
    layers = listed(chain(same(), nn.ReLU()))
    for neighbours in (below, above):
        with pytest.raises(UnknownLayerError, match="2 layer names"):
            neighbours(layers, "7")
