"""Statistics of units against brute force: all activations kept, sorted with plain Python."""

import itertools
import math
import random

import numpy as np
import pytest
import torch
from torch import nn

from nbviz import Network
from nbviz.analysis.data_pass import DataPass, feature_layer, resolve_layers
from nbviz.analysis.unit_statistics import bins
from nbviz.analysis.unit_statistics.settings import PassSettings, hashed
from nbviz.analysis.unit_statistics.statistics import UnitStatistics


class Rounded(nn.Module):
    """A convolution whose answers are coarse, so that many are equal."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return (self.inner(x) * 4).round() / 4


def convolutional():
    torch.manual_seed(0)
    return nn.Sequential(
        Rounded(nn.Conv2d(3, 6, 3, padding=1)),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 5, 3, stride=2),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 4),
    ).eval()


class Transformer(nn.Module):
    """A patch embedding with a class token and one block, places last."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.embed = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.norm = nn.LayerNorm(8)
        self.mlp = nn.Linear(8, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        patches = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), patches], 1)
        tokens = tokens + self.mlp(self.norm(tokens))
        return self.head(tokens[:, 0])


def channels_last():
    return convolutional().to(memory_format=torch.channels_last)


def double():
    return convolutional().double()


MODELS = {
    "convolutional": convolutional,
    "transformer": Transformer,
    "channels_last": channels_last,
    "double": double,
}
SIDE = 12


def network_of(name):
    return Network(MODELS[name](), input_shape=(3, SIDE, SIDE))


def inputs(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, SIDE, SIDE, generator=generator)
    images[1::4] = images[0]  # the same picture again: everything ties
    images[2] = 0
    return images


def run(network, images, settings, *, batch=5, numbers=None, labels=None):
    numbers = list(range(len(images))) if numbers is None else numbers
    labels = [None] * len(images) if labels is None else labels
    data_pass = DataPass(network, settings)
    for start in range(0, len(images), batch):
        part = slice(start, start + batch)
        data_pass.add(images[part], numbers[part], labels[part])
    return data_pass.finish()


def all_maps(network, images, names, batch=5):
    """Every activation: {layer: (N, channels, rows, cols)}, float32, from plain module hooks."""
    kept = {name: [] for name in names}
    parameter = next(network.model.parameters())
    with torch.no_grad():
        for start in range(0, len(images), batch):
            hooks = []
            for name in names:
                module = network.model.get_submodule(network.layers[name].module_name)

                def hook(_module, _args, output, name=name):
                    kept[name].append(output.detach().clone().float())

                hooks.append(module.register_forward_hook(hook))
            network.model(images[start : start + batch].to(parameter.dtype))
            for handle in hooks:
                handle.remove()
    return {name: as_maps(network.layers[name], torch.cat(kept[name])) for name in names}


def as_maps(layer, value):
    if layer.layout == "tokens":
        rows, cols = layer.grid
        value = value[:, layer.prefix_tokens :].transpose(1, 2)
        return value.reshape(len(value), -1, rows, cols).numpy()
    if layer.layout == "vector":
        return value[:, :, None, None].numpy()
    return value.numpy()


def ranked(maps, channel, *, sign):
    """(value, image, row, col) of each image's strongest, in order, by plain loops."""
    found = []
    for image in range(len(maps)):
        plane = maps[image, channel]
        best = None
        for row, col in np.ndindex(plane.shape):
            if best is None or plane[row, col] > best[0]:
                best = (plane[row, col], image, row, col)
        found.append(best)
    return sorted(found, key=lambda entry: (-sign * entry[0], *entry[1:]))


def module_layers(network):
    wanted = resolve_layers(network, None)
    return tuple(n for n in wanted if network.layers[n].module_name and ":" not in n)


@pytest.mark.parametrize("name", MODELS)
def test_ranks_are_those_of_brute_force_ties_included(name):
    network, images = network_of(name), inputs(23)
    names = module_layers(network)
    _, units = run(network, images, PassSettings(names, top_k=7, bottom_k=4))
    for layer, maps in all_maps(network, images, names).items():
        stats = units[layer]
        for channel in range(maps.shape[1]):
            for entries, sign in ((stats.top, 1), (stats.bottom, -1)):
                expected = ranked(maps, channel, sign=sign)[: entries.value.shape[1]]
                got = list(zip(*(array[channel].tolist() for array in entries.arrays), strict=True))
                assert got == [tuple(np.asarray(e).item() for e in entry) for entry in expected]


@pytest.mark.parametrize("name", MODELS)
def test_means_counts_and_features_are_those_of_brute_force(name):
    network, images = network_of(name), inputs(23)
    names = module_layers(network)
    feature = feature_layer(network)
    labels = [(3 * i) % 5 if i % 7 else None for i in range(23)]
    rows, units = run(network, images, PassSettings(names, features=feature), labels=labels)
    kept = all_maps(network, images, names)
    for layer, maps in kept.items():
        stats = units[layer]
        means = maps.astype(np.float64).mean((2, 3))
        peaks = maps.max((2, 3))
        np.testing.assert_allclose(stats.mean, means.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(stats.std, means.std(0), rtol=1e-4, atol=1e-5)
        assert stats.classes.tolist() == [0, 1, 2, 3, 4]
        for nth, number in enumerate(stats.classes):
            mine = [i for i in range(23) if labels[i] == number]
            for by_class, values in ((stats.class_means, means), (stats.class_peaks, peaks)):
                expected = values[mine].astype(np.float64).mean(0)
                np.testing.assert_allclose(by_class[nth], expected, rtol=1e-5, atol=1e-6)
        assert (stats.peak_counts.sum(1) == 23).all()
        assert (stats.dead == (peaks <= 0).all(0)).all()
        for channel in range(maps.shape[1]):
            expected = np.bincount(bins.bin_of(peaks[:, channel]), minlength=bins.BINS)
            assert (stats.peak_counts[channel] == expected).all()
    if feature in kept:
        expected = kept[feature].mean((2, 3))
        np.testing.assert_allclose(rows.features, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_prediction_and_confidence_are_the_softmax_of_the_logits(name):
    network, images = network_of(name), inputs(11)
    rows, _ = run(network, images, PassSettings(module_layers(network)))
    parameter = next(network.model.parameters())
    with torch.no_grad():
        logits = network.model(images.to(parameter.dtype)).double().numpy()
    exponent = np.exp(logits - logits.max(1, keepdims=True))
    shares = exponent / exponent.sum(1, keepdims=True)
    assert rows.predicted.tolist() == shares.argmax(1).tolist()
    np.testing.assert_allclose(rows.confidence, shares.max(1), rtol=1e-5)


def same(one: UnitStatistics, other: UnitStatistics) -> bool:
    ours, theirs = one.to_arrays(), other.to_arrays()
    return ours.keys() == theirs.keys() and all(
        ours[name].tobytes() == theirs[name].tobytes()
        and ours[name].dtype == theirs[name].dtype
        and ours[name].shape == theirs[name].shape
        for name in ours
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("per_image", [1, 3])
def test_any_division_merged_in_any_order_gives_the_same_bits(seed, per_image):
    network, images = network_of("convolutional"), inputs(40)
    settings = PassSettings(
        module_layers(network), top_k=5, bottom_k=3, samples=9, per_image=per_image, length=40
    )
    labels = [i % 3 for i in range(40)]
    _, whole = run(network, images, settings, labels=labels)
    generator = random.Random(seed)
    cuts = sorted({0, 40, *(5 * generator.randrange(1, 8) for _ in range(seed + 1))})
    parts = []
    for first, end in itertools.pairwise(cuts):
        numbers = list(range(first, end))
        parts.append(
            run(network, images[first:end], settings, numbers=numbers, labels=labels[first:end])[1]
        )
    while len(parts) > 1:  # a tree of merges of any shape
        a = parts.pop(generator.randrange(len(parts)))
        b = parts.pop(generator.randrange(len(parts)))
        parts.append({name: a[name].merge(b[name]) for name in a})
    assert all(same(parts[0][name], whole[name]) for name in settings.layers)


def test_more_than_one_of_an_image_are_its_strongest_local_maxima():
    network, images = network_of("convolutional"), inputs(9)
    settings = PassSettings(("0.inner",), top_k=12, per_image=3)
    _, units = run(network, images, settings)
    maps = all_maps(network, images, ["0.inner"])["0.inner"]
    for channel in range(maps.shape[1]):
        found = []
        for image in range(9):
            plane = maps[image, channel]
            summits = []
            for row, col in np.ndindex(plane.shape):
                beside = [
                    (r, c)
                    for r in range(max(0, row - 1), min(SIDE, row + 2))
                    for c in range(max(0, col - 1), min(SIDE, col + 2))
                    if (r, c) != (row, col)
                ]
                above = all(
                    plane[row, col] > plane[p] if p < (row, col) else plane[row, col] >= plane[p]
                    for p in beside
                )
                if above:
                    summits.append((plane[row, col], image, row, col))
            found += sorted(summits, key=lambda s: (-s[0], *s[1:]))[:3]
        expected = sorted(found, key=lambda s: (-s[0], *s[1:]))[:12]
        top = units["0.inner"].top
        got = list(zip(*(array[channel].tolist() for array in top.arrays), strict=True))
        assert got == [tuple(np.asarray(e).item() for e in entry) for entry in expected]


def test_images_drawn_are_the_same_for_every_layer_and_have_their_peaks():
    network, images = network_of("convolutional"), inputs(40)
    names = module_layers(network)
    _, units = run(network, images, PassSettings(names, samples=10))
    expected = sorted(sorted(range(40), key=lambda i: hashed(np.array([i]))[0])[:10])
    for layer, maps in all_maps(network, images, names).items():
        sample = units[layer].sample
        assert (sample.image == expected).all()
        assert (sample.value == maps[expected].max((2, 3)).T).all()
        at = maps[expected].reshape(10, maps.shape[1], -1).argmax(2).T
        assert (sample.row * maps.shape[3] + sample.col == at).all()


def test_a_known_length_changes_nothing_but_which_images_are_looked_at():
    network, images = network_of("convolutional"), inputs(60)
    drawn = []
    for length in (None, 60, 400):
        settings = PassSettings(("3",), samples=4, length=length)
        drawn.append(run(network, images, settings)[1]["3"])
    assert (drawn[0].sample.image == drawn[1].sample.image).all()
    assert (drawn[0].sample.value == drawn[1].sample.value).all()
    assert set(drawn[2].sample.image[0]) <= set(drawn[0].sample.image[0])


@pytest.mark.parametrize(("length", "places"), [(30, 4), (None, 1)])
def test_sparsity_is_the_share_of_zeros_among_the_sampled_places(length, places):
    network, images = network_of("convolutional"), inputs(30)
    settings = PassSettings(("1", "3", "8"), length=length)
    _, units = run(network, images, settings)
    maps = all_maps(network, images, ["1", "3", "8"])
    for layer in ("1", "3", "8"):
        spots = maps[layer].shape[2] * maps[layer].shape[3]
        flat = maps[layer].reshape(30, maps[layer].shape[1], spots)
        zeros = np.zeros(flat.shape[1])
        for image in range(30):
            numbers = np.array([image * places + n for n in range(places)])
            at = hashed(numbers, seed=1) % np.uint64(spots) if spots > places else range(spots)
            zeros += [(flat[image, c, np.array(at, int)] == 0).mean() for c in range(len(zeros))]
        np.testing.assert_allclose(units[layer].sparsity, zeros / 30, rtol=1e-12)
    assert units["1"].sparsity.max() > 0.2  # or nothing was tested
    assert (units["1"].sparsity < 1).any()


def test_an_activation_of_zero_excites_nothing():
    network, images = network_of("convolutional"), inputs(30)
    _, units = run(network, images, PassSettings(("5",), top_k=30))
    stats = units["5"]
    zero = stats.top.value == 0
    assert zero.any()
    assert not zero.all()
    assert (stats.excited.image[zero] == -1).all()
    assert np.isnan(stats.excited.value[zero]).all()
    assert (stats.excited.image[~zero] == stats.top.image[~zero]).all()


class Broken(nn.Module):
    """NaN, infinity or a huge number in one channel, for images that say so."""

    def forward(self, x):
        y = x.clone()
        for image in range(len(x)):
            kind = int(x[image, 0, 0, 0])
            if kind:
                y[image, 1, 2, 3] = (math.nan, math.inf, -math.inf, 1e30)[kind - 1]
        return y


def test_what_is_not_finite_is_counted_and_ranks_nowhere():
    images = inputs(20)
    images[:, 0, 0, 0] = 0
    for kind in range(1, 5):
        images[4 * kind - 1, 0, 0, 0] = kind
    network = Network(nn.Sequential(Broken(), nn.Identity()), input_shape=(3, SIDE, SIDE))
    _, units = run(
        network, images, PassSettings(("0",), top_k=20), labels=[i % 3 for i in range(20)]
    )
    stats = units["0"]
    good = [i for i in range(20) if i not in (3, 7, 11, 15)]
    assert stats.nonfinite.tolist() == [0, 4, 0]
    assert stats.count.tolist() == [20, 16, 20]
    assert sorted(stats.top.image[1].tolist()) == [-1] * 4 + good
    assert np.isfinite(stats.top.value[1, :16]).all()
    assert np.isnan(stats.top.value[1, 16:]).all()
    np.testing.assert_allclose(stats.mean[1], images[good, 1].numpy().mean(), rtol=1e-5)
    for number in range(3):
        mine = [i for i in range(20) if i % 3 == number]
        kept = [i for i in mine if i in good]
        expected = images[mine].numpy().mean((0, 2, 3))
        expected[1] = images[kept, 1].numpy().mean()
        np.testing.assert_allclose(stats.class_means[number], expected, rtol=1e-4, atol=1e-6)


def test_what_is_not_finite_merges_exactly():
    images = inputs(24)
    images[:, 0, 0, 0] = 0
    images[[3, 4, 17], 0, 0, 0] = 1
    network = Network(nn.Sequential(Broken(), nn.Identity()), input_shape=(3, SIDE, SIDE))
    settings, labels = PassSettings(("0",), top_k=5), [i % 4 for i in range(24)]
    _, whole = run(network, images, settings, labels=labels)
    parts = []
    for first, end in ((0, 5), (5, 10), (10, 24)):
        numbers, mine = list(range(first, end)), labels[first:end]
        parts.append(run(network, images[first:end], settings, numbers=numbers, labels=mine)[1])
    for a, b, c in itertools.permutations(part["0"] for part in parts):
        assert same(a.merge(b).merge(c), whole["0"])
    assert whole["0"].class_missing.tolist() == [[0] * 4, [1, 1, 0, 1], [0] * 4]


def test_quantiles_are_numpys_in_the_tail_and_within_a_bin_elsewhere():
    network, images = network_of("convolutional"), inputs(200, seed=3)
    _, units = run(network, images, PassSettings(("3", "5"), top_k=16))
    for layer, maps in all_maps(network, images, ["3", "5"]).items():
        peaks = maps.max((2, 3)).astype(np.float64)
        stats = units[layer]
        for q in (0.93, 0.95, 0.99, 0.999, 1.0):
            np.testing.assert_allclose(stats.peak_quantile(q), np.quantile(peaks, q, axis=0), 1e-6)
        for q in (0.0, 0.1, 0.5, 0.8):
            exact = np.quantile(peaks, q, axis=0, method="inverted_cdf")
            slack = np.maximum(np.abs(exact) / 7.9, 2.0**-12)
            assert (np.abs(stats.peak_quantile(q) - exact) <= slack).all()


@pytest.mark.parametrize("scale", [1e-9, 1e5])
def test_quantiles_and_shares_hold_far_from_one(scale):
    model = nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        model.weight.mul_(scale)
        model.bias.mul_(scale)
    network, images = Network(model, input_shape=(3, SIDE, SIDE)), inputs(200, seed=3)
    _, units = run(network, images, PassSettings(("Conv2d",), top_k=2))
    with torch.no_grad():
        peaks = model(images).amax((2, 3)).numpy()
    stats = units["Conv2d"]
    for q in (0.1, 0.5, 0.9):
        exact = np.quantile(peaks, q, axis=0, method="inverted_cdf")
        assert (np.abs(stats.peak_quantile(q) / exact - 1) <= 0.5).all()
        found = stats.peak_share_above(exact)
        inside = np.take_along_axis(stats.peak_counts, bins.bin_of(exact)[:, None].astype(int), 1)
        assert (np.abs(found - (peaks > exact).mean(0)) <= inside[:, 0] / 200).all()
    assert (stats.peak_quantile(0.99) <= stats.peak).all()


def test_shares_above_are_exact_in_the_tail_and_within_a_bin_elsewhere():
    network, images = network_of("convolutional"), inputs(200, seed=3)
    _, units = run(network, images, PassSettings(("3",), top_k=16))
    peaks = all_maps(network, images, ["3"])["3"].max((2, 3))
    stats = units["3"]
    for rank in (0, 3, 10, 15):
        values = np.sort(peaks, 0)[::-1][rank]
        expected = (peaks > values).mean(0)
        np.testing.assert_allclose(stats.peak_share_above(values), expected, atol=1e-12)
    for q in (0.2, 0.5, 0.8):
        values = np.quantile(peaks, q, axis=0).astype(np.float32)
        found = bins.bin_of(values)
        inside = np.take_along_axis(stats.peak_counts, found[:, None].astype(int), 1)[:, 0] / 200
        assert (np.abs(stats.peak_share_above(values) - (peaks > values).mean(0)) <= inside).all()
    assert np.isnan(stats.peak_share_above(np.full(5, np.nan, np.float32))).all()


def test_the_model_is_left_as_it_was():
    network = network_of("convolutional")
    network.model.train()
    before = {name: value.clone() for name, value in network.model.state_dict().items()}
    random_state = torch.get_rng_state()
    run(network, inputs(9), PassSettings(resolve_layers(network, None)))
    assert network.model.training
    assert all(torch.equal(before[n], v) for n, v in network.model.state_dict().items())
    assert torch.equal(random_state, torch.get_rng_state())
    assert not any(module._forward_hooks for module in network.model.modules())


def test_bad_input_says_what_to_do():
    network = network_of("convolutional")
    with pytest.raises(KeyError, match=r"expected one of \d+ layer names, got '33'"):
        resolve_layers(network, ["33"])
    data_pass = DataPass(network, PassSettings(("3",)))
    with pytest.raises(ValueError, match="ascending"):
        data_pass.add(inputs(3), [5, 6, 6], [None] * 3)
    with pytest.raises(ValueError, match="top_k must be a whole number of 1 or more; got 0"):
        PassSettings(("3",), top_k=0)
    a = UnitStatistics.empty(3, PassSettings(("3",)))
    with pytest.raises(ValueError, match="same layer and settings"):
        a.merge(UnitStatistics.empty(4, PassSettings(("3",))))
