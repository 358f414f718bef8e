"""Scores hold against plain loops; the verdict tells trained, noisy and untrained layers apart."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from nbviz import demos
from nbviz.analysis.filters import Kernels, health, kernel_layers, kernels, score, similarity_order
from nbviz.analysis.kernel_scores import NOISY, noise_reference
from nbviz.network import Network


def on_image(values, *, groups=1):
    """Kernels of a first layer with the weights given."""
    values = np.ascontiguousarray(values, dtype=np.float32)
    outputs, inputs, *size = values.shape
    conv = nn.Conv2d(inputs * groups, outputs, size, groups=groups)
    return Kernels(kernel_layers(nn.Sequential(conv))[0], values)


def grating(side, wavelength, angle, phase=0.3, envelope=0.3):
    """A Gabor patch."""
    down, across = np.mgrid[:side, :side] - (side - 1) / 2
    along = across * np.cos(angle) + down * np.sin(angle)
    window = np.exp(-(down**2 + across**2) / (2 * (envelope * side) ** 2))
    return window * np.cos(2 * np.pi * along / wavelength + phase)


def drawn_kernels(generator, count, side, inputs):
    """Gratings from 2.7 pixels up, blobs, edges and strokes, in colours of all kinds."""
    down, across = np.mgrid[:side, :side] - (side - 1) / 2
    made = []
    for number in range(count):
        angle, phase = generator.uniform(0, np.pi), generator.uniform(0, 2 * np.pi)
        shift = generator.uniform(-0.2, 0.2) * side
        along = across * np.cos(angle) + down * np.sin(angle) - shift
        picture = [
            lambda a=angle, p=phase: grating(side, generator.uniform(2.7, 3.6), a, p),
            lambda a=angle, p=phase: grating(side, generator.uniform(0.6, 1.2) * side, a, p),
            lambda: grating(side, 1e9, 0, 0, generator.uniform(0.15, 0.4)),
            lambda d=along: np.tanh(d),
            lambda d=along: np.clip(1.3 - np.abs(d), 0, 1) - 0.4 * (np.abs(d) < 2.5),
        ][number % 5]()
        colour = generator.standard_normal(inputs) * generator.choice([0.2, 1]) + 1
        made.append(colour[:, None, None] * picture)
    made = np.stack(made)
    return made / np.sqrt((made**2).mean(axis=(1, 2, 3), keepdims=True))


def noise_by_hand(kernel):
    """The noise score up to the factor for white noise: loops, singular values, least squares."""
    inputs, height, width = kernel.shape
    _, singular, directions = np.linalg.svd(
        kernel.reshape(inputs, -1).astype(np.float64), full_matrices=False
    )
    unexplained = 0.0
    for strength, direction in zip(singular, directions, strict=True):
        picture = direction.reshape(height, width)

        def at(row, column, picture=picture):
            inside = 0 <= row < height and 0 <= column < width
            return picture[row, column] if inside else 0.0

        around, target = [], []
        for row in range(height):
            for column in range(width):
                around.append(
                    [
                        at(row + down, column + across) + at(row - down, column - across)
                        for down, across in ((0, 1), (1, 0), (1, 1), (1, -1))
                    ]
                )
                target.append(at(row, column))
        around, target = np.array(around), np.array(target)
        # The penalty as four more equations: root of 0.3 times each coefficient should be zero.
        system = np.vstack([around, np.sqrt(0.3) * np.eye(4)])
        coefficients, *_ = np.linalg.lstsq(system, np.append(target, np.zeros(4)), rcond=None)
        unexplained += strength**2 * np.sum((target - around @ coefficients) ** 2)
    return unexplained / np.sum(kernel.astype(np.float64) ** 2)


@pytest.mark.parametrize("shape", [(3, 7, 7), (1, 5, 5), (2, 6, 9), (30, 5, 5)])
def test_the_noise_score_is_the_share_that_neighbours_do_not_explain(shape):
    generator = np.random.default_rng(0)
    values = generator.standard_normal((6, *shape))
    values[:3] += 2 * grating(max(shape), 4, 0.7)[: shape[1], : shape[2]]
    expected = np.array([noise_by_hand(kernel) for kernel in values.astype(np.float32)])
    expected = np.minimum(expected / noise_reference(*shape[1:]).unexplained, 1)
    np.testing.assert_allclose(score(on_image(values)).noise, expected, atol=2e-5)


def test_the_reference_is_what_white_noise_gives_and_channels_do_not_matter():
    generator = np.random.default_rng(5)
    for side in (5, 7, 11):
        one = generator.standard_normal((400, 1, side, side))
        grey = np.repeat(one, 3, axis=1) * [[[[1.0]], [[0.5]], [[-2.0]]]]
        reference = noise_reference(side, side)
        by_hand = [noise_by_hand(kernel) for kernel in one[:200]]
        error = 1.25 * np.std(by_hand) / np.sqrt(200)
        assert np.median(by_hand) == pytest.approx(reference.unexplained, abs=4 * error)
        for values in (one, grey):
            noise = score(on_image(values)).noise
            assert noise.mean() == pytest.approx(reference.mean, abs=4 * reference.spread / 20)
        colour = score(on_image(generator.standard_normal((400, 3, side, side)))).noise
        assert colour.mean() > reference.mean - 4 * reference.spread / 20


def test_scores_do_not_depend_on_the_scale_of_the_weights():
    values = np.random.default_rng(2).standard_normal((8, 3, 7, 7)).astype(np.float32)
    expected = score(on_image(values))
    for scale in (1e-37, 1e-20, 1e20, 1e37):
        scaled = score(on_image(values * np.float32(scale)))
        np.testing.assert_allclose(scaled.noise, expected.noise, atol=1e-4)
        np.testing.assert_allclose(scaled.norm / scale, expected.norm, rtol=1e-4)
        assert not scaled.dead.any()


def test_norms_dead_kernels_and_duplicates_are_those_of_plain_loops():
    generator = np.random.default_rng(1)
    values = generator.standard_normal((24, 3, 5, 5)).astype(np.float32)
    values[5] = values[2] * 0.3
    values[9] = values[2] + 0.2 * generator.standard_normal((3, 5, 5))
    values[10] = -values[2]
    values[11] = values[3] + 0.6 * generator.standard_normal((3, 5, 5))
    values[12] = values[4] + 0.45 * generator.standard_normal((3, 5, 5))
    values[14] *= 0.002
    values[17] = values[14]
    values[20] = values[9]
    scores = score(on_image(values))
    norms = [float(np.sqrt(sum(float(w) ** 2 for w in kernel.flat))) for kernel in values]
    np.testing.assert_allclose(scores.norm, norms, rtol=1e-5)
    dead = [norm < 0.01 * max(norms) for norm in norms]
    assert scores.dead.tolist() == dead
    assert dead[14]
    for one in range(24):
        first = -1
        for other in range(one):
            if dead[one] or dead[other]:
                continue
            product = sum(
                float(a) * float(b)
                for a, b in zip(values[one].flat, values[other].flat, strict=True)
            )
            if product / norms[one] / norms[other] > 0.95:
                first = other
                break
        assert scores.duplicate_of[one] == first
    assert scores.duplicate_of[[5, 9, 10, 11, 12, 17, 20]].tolist() == [2, 2, -1, -1, -1, -1, 2]
    assert scores.duplicate_of.dtype == np.int32


def test_the_same_pattern_on_another_input_is_no_duplicate():
    values = np.random.default_rng(1).standard_normal((6, 1, 5, 5))
    values[:] = values[0]
    assert score(on_image(values, groups=3)).duplicate_of.tolist() == [-1, 0, -1, 2, -1, 4]
    assert (score(on_image(values, groups=6)).duplicate_of == -1).all()


def test_duplicates_are_found_across_blocks_of_a_large_layer():
    values = np.random.default_rng(1).standard_normal((1300, 2, 5, 5))
    values[1299] = values[3]
    values[700] = 2 * values[650]
    scores = score(on_image(values))
    assert np.flatnonzero(scores.duplicate_of >= 0).tolist() == [700, 1299]
    assert scores.duplicate_of[[700, 1299]].tolist() == [650, 3]


def test_weights_that_are_no_number_are_counted_and_spoil_no_other_kernel():
    values = np.random.default_rng(3).standard_normal((6, 3, 7, 7)).astype(np.float32)
    clean = score(on_image(values))
    values[2, 0, 0, :2] = np.nan
    values[4] = np.inf
    scores = score(on_image(values))
    assert scores.nonfinite.tolist() == [0, 0, 2, 0, 3 * 49, 0]
    good = [0, 1, 3, 5]
    np.testing.assert_array_equal(scores.noise[good], clean.noise[good])
    assert np.isnan(scores.noise[[2, 4]]).all()
    assert not scores.noisy[[2, 4]].any()
    verdict = health(on_image(values))
    assert verdict.verdict == "broken"
    assert "149 weights in 2 of 6 kernels are NaN or infinite" in verdict.sentence
    assert verdict.nonfinite == 149


def test_the_largest_weights_of_float32_do_not_overflow():
    values = np.full((2, 3, 7, 7), 3e38, np.float32)
    with np.errstate(all="raise"):
        scores = score(on_image(values))
    assert scores.nonfinite.tolist() == [0, 0]
    assert not scores.dead.any()


@pytest.mark.parametrize("side", [5, 7, 11])
@pytest.mark.parametrize("inputs", [1, 3])
def test_structure_of_any_frequency_scores_low_and_noise_high(side, inputs):
    generator = np.random.default_rng(side)
    drawn = drawn_kernels(generator, 200, side, inputs)
    clean = score(on_image(drawn)).noise
    white = score(on_image(generator.standard_normal(drawn.shape))).noise
    threshold = np.quantile(white, 0.01)
    assert (clean < threshold).mean() >= 0.97
    assert (clean > NOISY).mean() <= 0.03
    assert (white > NOISY).mean() >= 0.97
    medians = [
        np.median(score(on_image(drawn + level * generator.standard_normal(drawn.shape))).noise)
        for level in (0, 0.3, 0.6, 1, 2, 4)
    ]
    assert all(low < high for low, high in pairwise(medians))


def test_flat_kernels_are_structure_and_zero_kernels_are_not_judged():
    values = np.ones((4, 3, 7, 7))
    values[1] *= -3
    values[3] = 0
    scores = score(on_image(values))
    assert (scores.noise[:3] < 0.1).all()
    assert np.isnan(scores.noise[3])
    assert scores.dead.tolist() == [False, False, False, True]
    result = health(on_image(values))
    assert result.verdict == "healthy"
    assert "1 of 4 is dead" in result.sentence
    assert "1 repeats an earlier kernel" in result.sentence


def test_a_layer_of_zeros_is_broken():
    result = health(on_image(np.zeros((5, 3, 7, 7))))
    assert result.verdict == "broken"
    assert result.dead == 5
    assert "zero" in result.sentence


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (4, 4), (7, 1), (4, 11)])
def test_small_kernels_are_not_guessed_at(size):
    values = np.random.default_rng(0).standard_normal((32, 3, *size))
    assert np.isnan(score(on_image(values)).noise).all()
    result = health(on_image(values))
    assert result.verdict == "too small to judge"
    assert f"{size[0]}x{size[1]}" in result.sentence
    assert result.judged == 0


def test_kernels_as_large_as_pictures_are_not_judged_and_the_sentence_says_so():
    generator = np.random.default_rng(0)
    for side, judged in ((64, 3), (65, 0)):
        found = health(on_image(generator.standard_normal((3, 1, side, side))))
        assert found.judged == judged
        assert (found.verdict == "not judged") == (judged == 0)
        assert ("too large" in found.sentence) == (judged == 0)


def test_judging_a_large_layer_takes_little_memory_beyond_its_kernels():
    values = np.random.default_rng(0).standard_normal((1500, 3, 40, 40), dtype=np.float32)
    kernels = on_image(values)
    few = score(replace(kernels, values=kernels.values[600:700]))
    tracemalloc.start()
    every = score(kernels)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # One copy of unit length, and the work on a block.
    assert most < values.nbytes + 80e6
    np.testing.assert_allclose(every.noise[600:700], few.noise, rtol=1e-5)


def test_kernels_on_maps_and_strips_are_not_judged():
    model = nn.Sequential(nn.Conv2d(3, 8, 7), nn.Conv2d(8, 8, 7), nn.Conv1d(8, 8, 25))
    assert "earlier layers" in health(kernels(model, "1")).sentence
    assert "strips" in health(kernels(model, "2")).sentence
    assert {health(kernels(model, name)).verdict for name in "12"} == {"not judged"}
    assert np.isnan(score(kernels(model, "1")).noise).all()


INITIALISERS = {
    "default": lambda weight: nn.init.kaiming_uniform_(weight, a=5**0.5),
    "kaiming normal": nn.init.kaiming_normal_,
    "xavier uniform": nn.init.xavier_uniform_,
    "xavier normal": nn.init.xavier_normal_,
    "truncated normal": lambda weight: nn.init.trunc_normal_(weight, std=0.02),
    "truncated at two": lambda weight: nn.init.trunc_normal_(weight, std=0.02, a=-0.04, b=0.04),
    "orthogonal": nn.init.orthogonal_,
}
SHAPES = [
    (96, 3, 11, 11),
    (64, 3, 7, 7),
    (32, 1, 5, 5),
    (6, 1, 5, 5),
    (32, 1, 7, 7),
    (192, 3, 16, 16),
]


def test_random_layers_are_called_untrained():
    torch.manual_seed(0)
    verdicts = Counter()
    for shape in SHAPES:
        for fill in INITIALISERS.values():
            for _ in range(1 if shape[0] == 192 else 6):
                verdicts[health(on_image(fill(torch.empty(shape)).numpy())).verdict] += 1
    assert sum(verdicts.values()) > 200
    assert verdicts["untrained"] >= 0.99 * sum(verdicts.values())


def test_an_untrained_depthwise_layer_and_linear_layer_are_called_untrained():
    torch.manual_seed(0)
    depthwise = nn.Sequential(nn.Conv2d(3, 48, 7, groups=3))
    linear = Network(nn.Sequential(nn.Flatten(), nn.Linear(784, 64)), input_shape=(1, 28, 28))
    assert health(kernels(depthwise)).verdict == "untrained"
    assert health(kernels(linear)).verdict == "untrained"


def noisy_layers():
    """Layers of pure noise that no initialiser makes: each differs from one in one respect."""
    generator = np.random.default_rng(4)
    noise = generator.standard_normal((64, 3, 7, 7))
    return {
        "norms differ": generator.uniform(-1, 1, noise.shape)
        * generator.uniform(0.8, 1.2, (64, 1, 1, 1)),
        "heavy tails": generator.standard_t(4, noise.shape),
        "grey": noise + 2 * generator.standard_normal((64, 1, 7, 7)),
        "off centre": noise + 0.2,
        "one dead": noise * (np.arange(64) > 0)[:, None, None, None],
    }


@pytest.mark.parametrize("respect", noisy_layers())
def test_noise_that_training_left_is_not_called_untrained(respect):
    result = health(on_image(noisy_layers()[respect]))
    assert result.verdict == "noisy"
    assert result.noisy >= 60


@pytest.mark.parametrize("side", [5, 7, 11])
def test_the_verdict_follows_the_share_of_noise(side):
    generator = np.random.default_rng(8)
    drawn = drawn_kernels(generator, 60, side, 3)
    noise = generator.standard_normal(drawn.shape)
    assert health(on_image(drawn)).verdict == "healthy"
    assert health(on_image(drawn + 0.3 * noise)).verdict == "healthy"
    assert health(on_image(drawn + 2 * noise)).verdict == "noisy"
    some = np.where(np.arange(60)[:, None, None, None] < 24, 3 * noise, 0)
    assert health(on_image(drawn + some)).verdict == "mixed"


def test_one_kernel_can_be_judged():
    generator = np.random.default_rng(0)
    assert health(on_image(grating(11, 5, 0.5)[None, None])).verdict == "healthy"
    assert health(on_image(generator.standard_normal((1, 3, 11, 11)))).verdict == "untrained"


def test_a_well_trained_imagenet_layer_is_healthy(shared_data):
    from safetensors.torch import load_file

    model = torchvision.models.squeezenet1_0()
    untrained = health(kernels(model))
    model.load_state_dict(load_file(shared_data / "squeezenet1_0.safetensors"))
    result = health(kernels(Network(model)))
    assert (result.verdict, result.judged) == ("healthy", 96)
    assert result.noisy <= 2
    assert result.median_noise < 0.15
    assert untrained.verdict == "untrained"


@pytest.mark.parametrize(
    ("demo", "verdict"),
    [
        (lambda: demos.digits(), "healthy"),
        (lambda: demos.scenes(), "healthy"),
        (lambda: demos.scenes(noisy=True), "noisy"),
        (lambda: demos.digits(untrained=True), "untrained"),
    ],
    ids=["digits", "scenes", "noisy scenes", "untrained digits"],
)
def test_the_demos_are_judged_as_they_were_made(demo, verdict):
    network = demo().network
    assert health(kernels(network)).verdict == verdict
    for module in network.model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    assert health(kernels(network)).verdict == "untrained"


def test_look_alikes_stand_together():
    generator = np.random.default_rng(0)
    families = generator.standard_normal((8, 3, 7, 7))
    members = np.tile(np.arange(8), 12)
    values = families[members] * generator.uniform(0.2, 5, (96, 1, 1, 1))
    values += (
        0.1
        * generator.standard_normal(values.shape)
        * np.abs(values).mean((1, 2, 3), keepdims=True)
    )
    order = similarity_order(on_image(values))
    assert sorted(order.tolist()) == list(range(96))
    assert order.dtype == np.int32
    assert sum(one != other for one, other in pairwise(members[order])) == 7


@pytest.mark.parametrize("outputs", [1, 2, 3, 300, 5000])
def test_the_order_has_every_kernel_once_with_zeros_and_broken_ones_last(outputs):
    values = np.random.default_rng(0).standard_normal((outputs, 1, 5, 5))
    assert sorted(similarity_order(on_image(values)).tolist()) == list(range(outputs))
    if outputs > 2:
        values[0, 0, 2, 2] = np.nan
        values[1] = 0
        order = similarity_order(on_image(values))
        assert order[-2:].tolist() == [1, 0]
        assert sorted(order.tolist()) == list(range(outputs))


def test_scores_leave_the_kernels_as_they_were_and_repeat():
    given = on_image(np.random.default_rng(0).standard_normal((16, 3, 7, 7)))
    kept = given.values.copy()
    first, second = score(given), score(replace(given))
    health(given)
    similarity_order(given)
    np.testing.assert_array_equal(given.values, kept)
    np.testing.assert_array_equal(first.noise, second.noise)
    assert health(given) == health(given, first)


def test_the_reference_is_the_same_in_every_session():
    first = noise_reference(7, 9)
    noise_reference.cache_clear()
    np.random.seed(3)  # noqa: NPY002 - the state that must not matter
    assert noise_reference(7, 9) == first
