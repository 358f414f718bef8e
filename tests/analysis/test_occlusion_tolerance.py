"""A map with tolerance looks like the exact one, at a part of its positions, and marks the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from nbviz import demos
from nbviz.analysis.masked_boxes import MaskedBatch
from nbviz.analysis.occlusion import occlusion_map, occlusion_steps
from nbviz.analysis.occlusion_refinement import coarsest_step, expected_error, middles
from nbviz.analysis.occlusion_survey import levels
from nbviz.network import Network


def ssim(exact, other, window=7):
    """Mean structural similarity (Wang et al. 2004), all windows of 7 x 7, sample covariance.

    Of the maps as they are drawn: from 0 to 1 between the least and largest value of the exact one.
    """
    low, high = float(exact.min()), float(exact.max())
    exact, other = ((image - low) / (high - low) for image in (exact, other))
    c1, c2 = 0.01**2, 0.03**2
    a, b = (
        np.lib.stride_tricks.sliding_window_view(image.astype(np.float64), (window, window))
        for image in (exact, other)
    )
    mean_a, mean_b = a.mean((2, 3)), b.mean((2, 3))
    n = window * window
    off_a, off_b = a - mean_a[..., None, None], b - mean_b[..., None, None]
    var_a, var_b = (off_a**2).sum((2, 3)) / (n - 1), (off_b**2).sum((2, 3)) / (n - 1)
    cov = (off_a * off_b).sum((2, 3)) / (n - 1)
    similar = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    return float((similar / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


def test_the_yardstick_tells_alike_from_unlike():
    rng = np.random.default_rng(0)
    image = rng.random((40, 40)).cumsum(0).cumsum(1)
    assert ssim(image, image) == pytest.approx(1)
    assert ssim(image, rng.permuted(image)) < 0.5


@pytest.mark.parametrize(
    ("biased", "picture"), [(True, 16), (True, 24), (True, 5), (False, 24), (False, 5)]
)
def test_the_demos_maps_look_the_same_at_fewer_positions(picture, biased):
    network, images, *_ = demos.scenes(biased=biased)
    settings = {"size": 16, "stride": 2}
    exact = occlusion_map(network, images[picture], **settings)
    close = occlusion_map(network, images[picture], **settings, tolerance=0.03)
    for kind in ("probability drop", "logit drop"):
        assert ssim(exact.per_pixel(kind=kind), close.per_pixel(kind=kind)) >= 0.95
    assert close.computed_share < 0.2
    assert close.complete
    computed = close.state == 1
    np.testing.assert_allclose(
        close.logits[computed], exact.logits[computed], rtol=0, atol=1e-4 * np.ptp(exact.logits)
    )
    assert (close.state[~computed] == 2).all()
    assert np.isfinite(close.log_normaliser).all()
    probabilities = np.exp(close.logits - close.log_normaliser[..., None])
    np.testing.assert_allclose(probabilities.sum(2), 1, rtol=0, atol=1e-4)


@pytest.mark.parametrize("number", [20, 160])
def test_maps_of_photographs_look_the_same_at_a_part_of_the_positions(shared_data, number):
    real = Network.from_torchvision("squeezenet1_0", weights=None)
    real.model.load_state_dict(load_file(shared_data / "squeezenet1_0.safetensors"))
    path = sorted((shared_data / "photos").glob("*.jpg"))[number]
    network = Network(real.model, input_shape=(3, 127, 127))
    batch = nn.functional.interpolate(real.prepare(Image.open(path)), size=(127, 127))
    exact = occlusion_map(network, batch, size=16, stride=4)
    close = occlusion_map(network, batch, size=16, stride=4, tolerance=0.05)
    assert close.computed_share < 0.45
    for kind in ("probability drop", "logit drop"):
        assert ssim(exact.per_pixel(kind=kind), close.per_pixel(kind=kind)) >= 0.94


def test_a_smaller_tolerance_computes_more_and_is_closer():
    network, images, *_ = demos.scenes()
    exact = occlusion_map(network, images[16], size=16, stride=4)
    shares, errors = [], []
    for tolerance in (0.2, 0.05, 0.02, 0.005):
        close = occlusion_map(network, images[16], size=16, stride=4, tolerance=tolerance)
        apart = close.per_pixel(kind="logit drop") - exact.per_pixel(kind="logit drop")
        shares.append(close.computed_share)
        errors.append(
            float(np.sqrt((apart**2).mean()) / np.ptp(exact.per_pixel(kind="logit drop")))
        )
        assert errors[-1] < tolerance
    assert shares == sorted(shares)
    assert errors == sorted(errors, reverse=True)
    assert shares[0] < 0.15


class Written:
    """An inference whose answers to each position are written down beforehand."""

    way, reason = "plain", "written"

    def __init__(self, values, stride=1):
        self.values, self.stride = values, stride  # (R, Q, classes)
        self.logits, self.sums = values[0, 0], {}
        self.asked = []

    def run(self, boxes):
        self.asked.append(len(boxes))
        numbers = np.arange(len(boxes))
        rows, cols = boxes.tops // self.stride, boxes.lefts // self.stride
        yield MaskedBatch(numbers, self.values[rows, cols], {})


def written_map(values, size=8, **settings):
    """The map of such values, from masks at each pixel of an image as large as they need."""
    rows, cols = (length + size - 1 for length in values.shape[:2])
    network = Network(
        nn.Sequential(nn.Flatten(), nn.Linear(rows * cols, 2)), input_shape=(1, rows, cols)
    )
    inference = Written(values)
    *_, found = occlusion_steps(
        network, torch.zeros(1, 1, rows, cols), 0, size=size, stride=1, fill="noise",
        inference=inference, **settings,
    )  # fmt: skip
    return found, inference


def test_a_flat_map_takes_no_more_than_the_first_grid():
    values = torch.zeros(33, 41, 3)
    found, inference = written_map(values, tolerance=0.01)
    assert sum(inference.asked) == 5 * 6
    assert found.complete
    assert (found.logits == 0).all()


def test_work_goes_where_the_map_is_not_flat():
    values = torch.zeros(41, 41, 3)
    values[20:30, 8:16, 0] = torch.rand(10, 8, generator=torch.Generator().manual_seed(0)) + 1
    found, _ = written_map(values, tolerance=0.03)
    computed = found.state == 1
    assert computed[20:30, 8:16].mean() > 0.5
    assert computed[:, 28:].mean() < 0.1


def test_a_smooth_slope_is_interpolated_as_it_is():
    rows, cols = torch.meshgrid(torch.arange(33.0), torch.arange(33.0), indexing="ij")
    values = torch.stack([rows + 2 * cols, rows - cols, 0 * rows], 2) / 10
    found, _ = written_map(values, tolerance=0.2)
    assert found.computed_share < 0.05
    np.testing.assert_allclose(found.logits, values, rtol=0, atol=1e-5)
    top = values.argsort(2, descending=True)[..., 0]
    clear = (values.sort(2).values.diff(dim=2) > 1e-3).all(2)
    np.testing.assert_array_equal(found.argmax[clear], top[clear])


def test_where_not_all_classes_are_kept_the_most_probable_ones_are_a_neighbours():
    values = torch.zeros(17, 17, 4)
    values[..., 3] = 5
    values[..., 0] = torch.arange(17.0) / 10
    found, _ = written_map(values, tolerance=1.0, classes=[0, 1])
    assert found.computed_share < 0.1
    assert (found.argmax == 3).all()
    expected = values.softmax(2)[..., :2]
    for number in (0, 1):
        np.testing.assert_allclose(found.values(number), expected[..., number], rtol=0.02)


def test_beside_what_is_no_number_all_is_computed():
    values = torch.zeros(25, 25, 3)
    values[8, 8] = torch.nan
    found, _ = written_map(values, tolerance=0.1)
    assert found.complete
    assert found.not_numbers == 1
    assert np.isnan(found.logits).any(2).sum() == 1


def test_an_interrupted_map_goes_on_and_counts_what_it_had():
    network, images, *_ = demos.digits()
    steps = occlusion_steps(network, images[0], size=8, stride=1, tolerance=0.05)
    part = [next(steps) for _ in range(3)][-1]
    steps.close()
    assert not part.complete
    *_, whole = occlusion_steps(network, images[0], size=8, stride=1, tolerance=0.05, resume=part)
    once = occlusion_map(network, images[0], size=8, stride=1, tolerance=0.05)
    assert (whole.state[part.state == 1] == 1).all()
    np.testing.assert_allclose(whole.logits, once.logits, rtol=0, atol=2e-2 * np.ptp(once.logits))
    *_, exact = occlusion_steps(network, images[0], size=8, stride=1, resume=once)
    assert (exact.state == 1).all()


@pytest.mark.parametrize("coarsest", [2, 4, 8])
@pytest.mark.parametrize("shape", [(1, 9), (2, 2), (5, 6), (9, 17), (12, 7), (13, 22), (53, 8)])
def test_cells_between_others_have_these_answered_before(shape, coarsest):
    tops, lefts = (np.arange(length, dtype=np.int32) * 3 for length in shape)
    tops[-1] -= min(2, shape[0] - 1)  # flush with the border, off the stride
    known = np.zeros(shape, bool).ravel()
    for cells in levels(*shape, 8, coarsest):
        known[cells] = True
    rng = np.random.default_rng(0)
    values = rng.random(shape)
    for between in middles(tops, lefts, coarsest):
        assert not known[between.cells].any()
        used = between.weights > 0
        assert known[between.neighbours[used]].all()
        np.testing.assert_allclose(between.weights.sum(1), 1)
        around = np.where(used, values.ravel()[between.neighbours], np.nan)
        found = between.interpolated(values)
        assert (found <= np.nanmax(around, 1) + 1e-6).all()
        assert (found >= np.nanmin(around, 1) - 1e-6).all()
        known[between.cells] = True
    assert known.all()


def test_the_first_grid_has_masks_side_by_side():
    assert coarsest_step((16, 16), (4, 4)) == 4
    assert coarsest_step((32, 16), (8, 2)) == 4
    assert coarsest_step((20, 20), (3, 3)) == 4
    assert coarsest_step((8, 8), (8, 8)) == 2  # no overlap at all


@pytest.mark.parametrize("overlap", [4, 8])
def test_the_error_that_is_expected_is_the_error_that_is_made(overlap):
    """On maps as masks make them of pixels that matter each on its own: sums over boxes."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(120, 120))
    sums = np.lib.stride_tricks.sliding_window_view(pixels, (overlap, overlap)).sum((2, 3))
    tops, lefts = (np.arange(n, dtype=np.int32) for n in sums.shape)
    for between in middles(tops, lefts, overlap):
        made = sums.ravel()[between.cells] - between.interpolated(sums)
        expected = expected_error(
            between, sums, (tops, lefts), overlap=1
        )  # no cancelling: of single positions
        assert 0.5 < np.sqrt((made**2).mean()) / expected.mean() < 2
