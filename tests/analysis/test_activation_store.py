"""The store of activations: what it gives is right, what it holds bounded, what it runs little."""

from __future__ import annotations

import gc
from collections import Counter

import numpy as np
import pytest
import torch
from fixtures.networks import IMAGE, SMALL, ZOO, Forward, chain, conv, zoo
from test_network import everything, mixed
from test_overview import check_overview
from torch import nn

from nbviz import Network
from nbviz.analysis import activation_store as module
from nbviz.analysis.activation_store import ActivationStore, StalePassError
from nbviz.analysis.activations import Activation, activations, drawable
from nbviz.analysis.layers import UnknownLayerError


def batch(seed=0, shape=IMAGE):
    return torch.randn((1, *shape), generator=torch.Generator().manual_seed(seed))


def small() -> nn.Sequential:
    torch.manual_seed(5)
    return chain(
        conv(), nn.BatchNorm2d(4), nn.ReLU(inplace=True), conv((4, 8)), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    ).eval()  # fmt: skip


@pytest.fixture
def network():
    return Network(small(), input_shape=IMAGE)


@pytest.fixture
def calls(network):
    """How often each module ran."""
    count = Counter()
    _ = network.layers, activations(network, batch()[0], "0")
    for path, part in network.model.named_modules():
        part.register_forward_hook(lambda m, i, o, path=path: count.update([path]))
    return count


def held_bytes(store) -> int:
    """What the store holds, counted anew: each memory once, and statistics as if worked out."""
    memories, rest = {}, 0
    for thing in store._held._held.values():
        if isinstance(thing, torch.Tensor):
            memories[thing.data_ptr()] = thing.untyped_storage().nbytes()
        elif isinstance(thing, Activation):
            for array in (thing.maps, thing.prefix, thing.suffix):
                memories[array.ctypes.data] = array.nbytes
            numbers = thing.statistics
            rest += sum(array.nbytes for array in vars(numbers).values())
        else:
            rest += 0 if thing.logits is None else thing.logits.nbytes
            rest += sum(s.thumbnail.nbytes for s in (thing.overview or {}).values())
    return sum(memories.values()) + rest


@pytest.mark.parametrize("name", SMALL)
def test_what_a_pass_gives_is_right_for_every_layout(name):
    make, shape = SMALL[name]
    torch.manual_seed(6)
    network = Network(make().eval(), input_shape=shape)
    given = batch(shape=shape)
    answers = activations(network, given)
    seen = ActivationStore(network).forward(given)
    check_overview(network, seen, answers)
    logits = network(given)
    if logits.ndim == 2:
        np.testing.assert_allclose(seen.logits, logits[0].numpy(), rtol=1e-5, atol=1e-6)
    else:
        assert seen.logits is None
    for layer, answer in answers.items():
        got = seen.activation(layer)
        np.testing.assert_allclose(got.maps, answer.maps, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(got.prefix, answer.prefix, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_0", "swin_t", "densenet121"])
def test_what_a_pass_gives_is_right_for_networks_people_use(name):
    side = ZOO[name]
    network = Network(zoo(name), input_shape=(3, side, side))
    given = batch(shape=(3, side, side))
    store = ActivationStore(network, max_bytes=2**21)
    seen = store.forward(given)
    check_overview(network, seen, activations(network, given))
    for layer in [x for x in network.layers if drawable(x) is None][::9]:
        expected = activations(network, given, layer.name)[layer.name]
        np.testing.assert_array_equal(seen.activation(layer.name).maps, expected.maps)


@pytest.mark.parametrize("max_bytes", [0, 500, 3000, 20_000, 60_000, 2**20])
def test_the_store_never_holds_more_than_it_may(max_bytes, monkeypatch, network):
    store = ActivationStore(network, max_bytes=max_bytes)
    hold, most = module._Bounded._hold, []

    def held(self, place, thing):
        hold(self, place, thing)
        most.append(self.nbytes)

    monkeypatch.setattr(module._Bounded, "_hold", held)
    rng = np.random.default_rng(11)
    passes = []
    for step in range(40):
        seed = int(rng.integers(6))
        keep = [None, [], ["3"], ["0", "2"]][rng.integers(4)]
        passes.append((seed, store.forward(batch(seed), keep=keep, overview=bool(step % 2))))
        for _ in range(rng.integers(4)):
            at, name = rng.integers(len(passes)), str(rng.integers(8))
            seed, seen = passes[at]
            expected = activations(network, batch(seed), name)[name].maps
            np.testing.assert_array_equal(seen.activation(name).maps, expected)
        assert held_bytes(store) <= store.nbytes <= max_bytes
    assert max(most, default=0) <= max_bytes
    store.clear()
    assert store.nbytes == held_bytes(store) == 0


def test_the_memory_is_as_stated(network):
    store = ActivationStore(network)
    seen = store.forward(batch())
    outputs = sum(4 * int(np.prod(layer.output_shape)) for layer in network.layers)
    thumbnails = sum(s.thumbnail.nbytes for s in seen.overview.values())
    assert thumbnails <= 1024 * len(network.layers)
    assert store.nbytes == outputs + thumbnails + 4 * 5
    for layer in network.layers:
        seen.activation(layer.name)
    channels = sum(layer.channels for layer in network.layers)
    assert store.nbytes == outputs + thumbnails + 4 * 5 + 41 * channels == held_bytes(store)


def test_half_a_network_takes_half_the_memory():
    network = Network(small().bfloat16(), input_shape=IMAGE)
    store = ActivationStore(network)
    seen = store.forward(batch(), overview=False)
    outputs = sum(2 * int(np.prod(layer.output_shape)) for layer in network.layers)
    assert store.nbytes == outputs + 4 * 5
    exact = activations(network, batch(), "3")["3"].maps
    np.testing.assert_array_equal(seen.activation("3").maps, exact)
    check_overview(network, store.forward(batch()), activations(network, batch()))


def test_what_does_not_fit_is_left_out_from_the_start(network):
    sizes = {n.name: 4 * int(np.prod(n.output_shape)) for n in network.layers}
    fits = sum(sizes[name] for name in "34567")
    store = ActivationStore(network, max_bytes=fits + 100)
    store.forward(batch(), overview=False)
    assert {name for _, name in store._held._held if name} == set("34567")


def test_the_image_that_was_not_looked_at_for_longest_makes_room(network, calls):
    layer = 4 * 8 * 20 * 16 + 41 * 8
    store = ActivationStore(network, max_bytes=2 * layer + 200)
    a, b, c = (store.forward(batch(seed), keep=[], overview=False) for seed in range(3))
    for seen in (a, b, a, c):  # c takes the place of b
        seen.activation("3")
    calls.clear()
    a.activation("3"), c.activation("3")
    assert calls["3"] == 0
    b.activation("3")
    assert calls["3"] == 1


def test_memory_that_is_used_again_does_not_change_what_was_given(network):
    store = ActivationStore(network, max_bytes=60_000)
    first = store.forward(batch(0))
    given = {name: first.activation(name) for name in ("2", "4")}
    kept = {name: each.maps.copy() for name, each in given.items()}
    for seed in range(1, 6):
        seen = store.forward(batch(seed))
        for layer in network.layers:
            expected = activations(network, batch(seed), layer.name)[layer.name].maps
            np.testing.assert_array_equal(seen.activation(layer.name).maps, expected)
    for name, each in given.items():
        np.testing.assert_array_equal(each.maps, kept[name])


def test_what_is_given_cannot_be_written_to(network):
    seen = ActivationStore(network).forward(batch())
    with pytest.raises(ValueError, match="read-only"):
        seen.activation("0").maps[0] = 1


def test_the_input_is_a_copy(network):
    given = batch()
    seen = ActivationStore(network, max_bytes=0).forward(given)
    expected = activations(network, given, "3")["3"].maps
    given.zero_()
    np.testing.assert_array_equal(seen.activation("3").maps, expected)


def test_an_image_that_is_known_is_not_run_again(network, calls):
    store = ActivationStore(network)
    store.forward(batch(0), keep=["3"])
    store.forward(batch(1), keep=["3"])
    calls.clear()
    again = store.forward(batch(0), keep=["3"])
    assert again.activation("3").maps.shape == (8, 20, 16)
    assert calls[""] == 0
    store.forward(batch(0), keep=["3", "4"])
    assert (calls["4"], calls["5"], calls[""]) == (1, 0, 0)
    assert list(again.overview) == list("01234567")


def test_a_layer_that_is_not_held_is_worked_out_by_a_pass_that_ends_there(network, calls):
    seen = ActivationStore(network).forward(batch(), keep=[], overview=False)
    assert seen.overview == {}
    assert calls[""] == 1
    seen.activation("2")
    assert (calls["2"], calls["3"], calls[""]) == (2, 1, 1)
    seen.activation("2")
    assert calls["2"] == 2


def test_a_live_pass_hooks_only_what_it_keeps(network, monkeypatch):
    _ = network.layers
    store = ActivationStore(network)
    store.forward(batch(), keep=["3"], overview=False)
    hooked = []
    register = nn.Module.register_forward_hook
    monkeypatch.setattr(
        nn.Module,
        "register_forward_hook",
        lambda self, *a, **k: hooked.append(self) or register(self, *a, **k),
    )
    seen = store.forward(batch(1), keep=["3"], overview=False)
    assert hooked == [network.model[3]]
    np.testing.assert_array_equal(seen.logits, network(batch(1))[0].numpy())
    assert len(store._held.names(seen._key)) == 2


def test_an_overview_that_is_asked_for_later_comes(network):
    store = ActivationStore(network)
    assert store.forward(batch(), overview=False).overview == {}
    check_overview(network, store.forward(batch()), activations(network, batch()))
    assert store.forward(batch(), overview=False).overview == {}


class Fragile(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(), conv((4, 4)), nn.Linear(4, 3)

    def forward(self, x):
        x = self.a(x)
        if x.max() > 50:
            raise ArithmeticError("too bright")
        return self.c(self.b(x).mean((2, 3)))


@pytest.mark.parametrize("overview", [True, False])
@pytest.mark.parametrize("max_bytes", [2**20, 9_000])
def test_a_model_that_raises_half_way_leaves_earlier_images_as_they_were(overview, max_bytes):
    torch.manual_seed(12)
    network = Network(mixed(Fragile()), input_shape=IMAGE)
    store = ActivationStore(network, max_bytes=max_bytes)
    good = store.forward(batch(0))
    kept = {name: good.activation(name).maps.copy() for name in ("a", "b", "c")}
    before = everything(network.model)
    with pytest.raises(ArithmeticError, match="too bright") as raised:
        store.forward(batch(1) * 1000, overview=overview)
    assert str(raised.value) == "too bright"
    assert any("'max' had returned" in note for note in raised.value.__notes__)
    assert everything(network.model) == before
    assert {key for key, _ in store._held._held} <= {good._key}
    for name, maps in kept.items():
        np.testing.assert_array_equal(good.activation(name).maps, maps)
    np.testing.assert_array_equal(store.forward(batch(0)).logits, good.logits)


def test_an_interrupt_passes_and_leaves_no_half_pass(network, monkeypatch):
    store = ActivationStore(network)
    _ = network.layers, store.forward(batch(0), keep=[])
    handle = network.model[4].register_forward_hook(_interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.forward(batch(1))
    handle.remove()
    assert store.nbytes == held_bytes(store)
    assert len({key for key, _ in store._held._held}) == 1
    assert list(store.forward(batch(1)).overview) == list("01234567")


def _interrupt(*_):
    raise KeyboardInterrupt


def test_weights_that_changed_are_noticed(network):
    store = ActivationStore(network)
    old = store.forward(batch(), keep=["3"])
    was = old.activation("3").maps.copy()
    with torch.no_grad():
        network.model[0].weight.mul_(2)
    new = store.forward(batch(), keep=["3"])
    assert not np.allclose(new.logits, old.logits)
    assert not np.allclose(new.activation("3").maps, was)
    np.testing.assert_array_equal(old.activation("3").maps, was)
    with pytest.raises(StalePassError, match=r"'4' was not kept; call forward again"):
        old.activation("4")
    network.model[0] = conv()
    with pytest.raises(StalePassError):
        new.activation("4")
    assert store.forward(batch()).activation("4").maps.shape == (8, 20, 16)


def test_the_model_comes_out_as_it_went_in():
    network = Network(mixed(small()), input_shape=IMAGE)
    _ = network.layers
    before = everything(network.model)
    store = ActivationStore(network)
    store.forward(batch()), store.forward(batch(1), keep=["3"], overview=False).activation("2")
    assert everything(network.model) == before


def test_a_model_without_a_vector_of_logits_can_be_looked_at():
    for forward in (lambda net, x: net.conv(x), lambda net, x: {"a": net.conv(x), "b": x}):
        network = Network(Forward(forward, conv=conv()), input_shape=IMAGE)
        seen = ActivationStore(network).forward(batch())
        assert seen.logits is None
        assert list(seen.overview) == ["conv"]


def test_wrong_arguments_are_refused_with_advice(network):
    store = ActivationStore(network)
    with pytest.raises(UnknownLayerError, match="got 'conv'"):
        store.forward(batch(), keep=["conv"])
    with pytest.raises(UnknownLayerError, match="got '9'"):
        store.forward(batch()).activation("9")
    with pytest.raises(TypeError, match="prepare"):
        store.forward(np.zeros((1, *IMAGE), np.float32))
    with pytest.raises(ValueError, match="one input"):
        store.forward(torch.zeros(2, *IMAGE))
    with pytest.raises(ValueError, match=r"expected an input of shape \(3, 24, 20\)"):
        store.forward(torch.zeros(1, 3, 30, 30))
    with pytest.raises(ValueError, match="max_bytes"):
        ActivationStore(network, max_bytes=-1)
    make, shape = SMALL["windows"]
    odd = ActivationStore(Network(make(), input_shape=shape))
    with pytest.raises(ValueError, match="can be drawn"):
        odd.forward(batch(shape=shape), keep=["scaled_dot_product_attention"])
    with pytest.raises(ValueError, match="can be drawn"):
        odd.forward(batch(shape=shape)).activation("scaled_dot_product_attention")


def test_a_store_is_freed_with_its_network():
    import weakref

    network = Network(small(), input_shape=IMAGE)
    store = ActivationStore(network)
    seen = store.forward(batch())
    dead = [weakref.ref(thing) for thing in (network.model, store, seen)]
    del network, store, seen
    gc.collect()
    assert [reference() for reference in dead] == [None] * 3
