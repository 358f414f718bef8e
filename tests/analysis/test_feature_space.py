"""Features made ready to be compared, against scikit-learn's PCA and plain loops."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from nbviz.analysis import feature_space as module
from nbviz.analysis.feature_rows import FeatureRows
from nbviz.analysis.feature_space import feature_space


def random(rows, columns, seed=0):
    numbers = np.random.default_rng(seed)
    spread = np.linspace(3, 0.1, columns)
    return (numbers.normal(size=(rows, columns)) * spread + 2).astype(np.float32)


@pytest.mark.parametrize("shape", [(200, 30), (300, 70), (40, 200), (12, 12), (2, 9), (9, 1)])
@pytest.mark.parametrize("normalise", [True, False])
def test_components_are_those_of_scikit_learn(shape, normalise):
    given = random(*shape)
    space = feature_space(given, normalise=normalise, components=8)
    plain = given.astype(np.float64)
    if normalise:
        plain = np.array([row / np.sqrt(sum(x * x for x in row)) for row in plain])
    np.testing.assert_allclose(space.features, plain, rtol=1e-6)
    # The last axis of few rows is a direction in which they do not differ: any would do.
    count = min(8, *shape) if shape[0] > shape[1] else min(8, shape[0] - 1)
    reference = PCA(count, svd_solver="full").fit(plain)
    expected = reference.transform(plain)
    assert space.reduced.shape == (shape[0], min(8, *shape))
    np.testing.assert_allclose(
        space.reduced[:, :count], expected, atol=2e-5 * max(np.abs(expected).max(), 1e-3)
    )
    np.testing.assert_allclose(space.reduced[:, count:], 0, atol=1e-5)
    np.testing.assert_allclose(
        space.explained, reference.explained_variance_ratio_.sum(), atol=1e-5
    )


def test_digits_keep_their_distances():
    space = feature_space(load_digits().data)
    assert space.reduced.shape == (1797, 50)
    assert space.explained > 0.999
    some = slice(0, 200)
    full = np.linalg.norm(space.features[some, None] - space.features[None, some], axis=2)
    few = np.linalg.norm(space.reduced[some, None] - space.reduced[None, some], axis=2)
    assert np.abs(full - few).max() < 0.02


def test_wide_features_are_projected_nearly_as_well(monkeypatch):
    given = random(900, 6) @ random(6, 700, seed=1)
    exact = feature_space(given, components=5)
    monkeypatch.setattr(module, "_WIDEST", 600)
    near, again = (feature_space(given, components=5) for _ in range(2))
    np.testing.assert_allclose(near.reduced, exact.reduced, atol=1e-4)
    assert near.explained == pytest.approx(exact.explained, abs=1e-5)
    np.testing.assert_array_equal(near.reduced, again.reduced)


def test_features_far_from_zero_keep_their_components():
    given = random(400, 12)
    expected = feature_space(given, normalise=False, components=3)
    far = feature_space(given + 1000, normalise=False, components=3)
    np.testing.assert_allclose(far.reduced, expected.reduced, atol=2e-3)
    np.testing.assert_allclose(far.place(given[:5] + 1000)[1], expected.reduced[:5], atol=2e-3)


def test_blocks_do_not_change_the_result(monkeypatch):
    given = random(90, 20)
    whole = feature_space(given, components=4)
    monkeypatch.setattr(module, "_BLOCK", 140)
    blocks = feature_space(given, components=4)
    np.testing.assert_array_equal(whole.features, blocks.features)
    np.testing.assert_allclose(whole.reduced, blocks.reduced, atol=1e-5)


def test_rows_that_are_not_finite_are_left_out_and_named():
    given = random(12, 4).astype(np.float64)
    given[[1, 2, 3, 5, 7], 0] = np.nan
    given[8, 1], given[9, 2], given[10, 3] = np.inf, -np.inf, 1e300
    space = feature_space(given)
    assert space.rows.tolist() == [0, 4, 6, 11]
    assert space.left_out.tolist() == [1, 2, 3, 5, 7, 8, 9, 10]
    (note,) = space.notes
    assert note.startswith("8 images were left out, as their features are not finite: ")
    assert note.endswith("finite: numbers 1, 2, 3, 5, 7 and 3 more.")
    np.testing.assert_array_equal(space.features, feature_space(given[space.rows]).features)


def test_zeros_stay_zeros_and_are_named_by_their_number_in_the_data_set():
    given = random(6, 3)
    given[0], given[4] = np.nan, 0
    space = feature_space(given)
    assert not space.features[3].any()
    assert space.notes[1] == "1 image has features that are all zero: number 4."
    assert feature_space(given, normalise=False).notes == space.notes[:1]


@pytest.mark.parametrize("components", [None, 50])
def test_identical_features_are_said(components):
    space = feature_space(np.full((5, 3), 2.0), components=components)
    assert "identical" in space.notes[0]
    assert space.explained == 1
    assert np.isfinite(space.reduced).all()
    assert not np.ptp(space.reduced, axis=0).any()
    assert feature_space([[1.0, 2.0]]).notes == ()


def test_the_same_of_all_kinds_of_input():
    given = random(20, 6).round()
    expected = feature_space(given)
    for other in (
        given.astype(np.float64),
        given.astype(int),
        given.tolist(),
        torch.from_numpy(given).requires_grad_(),
        torch.from_numpy(given).bfloat16(),
        FeatureRows([given[:7], given[7:]]),
        np.asfortranarray(given)[::1],
    ):
        np.testing.assert_array_equal(feature_space(other).reduced, expected.reduced)


def test_what_was_given_stays_as_it_was():
    given = random(30, 5)
    before = given.copy()
    feature_space(given)
    space = feature_space(given, normalise=False, components=None)
    assert space.reduced is space.features
    np.testing.assert_array_equal(given, before)


@pytest.mark.parametrize("components", [None, 3])
def test_new_images_are_placed_as_those_of_the_space(components):
    given = random(50, 8)
    space = feature_space(given, components=components)
    normalised, reduced = space.place(torch.from_numpy(given[10:20]))
    np.testing.assert_array_equal(normalised, space.features[10:20])
    np.testing.assert_allclose(reduced, space.reduced[10:20], atol=1e-6)
    with pytest.raises(ValueError, match="as wide as those of the map, 8, got 5"):
        space.place(given[:, :5])
    given[3, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite ones in row 3"):
        space.place(given)


def test_sizes_that_have_no_squares():
    large = random(9, 4) * 1e30
    np.testing.assert_allclose(
        feature_space(large).features, feature_space(random(9, 4)).features, rtol=1e-5
    )
    for factor in (1e30, 1e-30):
        with pytest.raises(ValueError, match="sizes between 1e-15 and 1e15"):
            feature_space(random(9, 4) * factor, normalise=False)
    feature_space(np.zeros((3, 2)), normalise=False)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((0, 3)), "at least one image, got none"),
        (np.zeros((3, 0)), "width 0"),
        (np.zeros(3), r"shape \(images, features\), got \(3,\)"),
        (np.zeros((3, 2, 2, 2)), "pool or flatten"),
        (np.zeros((3, 2), complex), "real numbers, got dtype complex128"),
        (torch.zeros(3, 2, dtype=torch.complex64), "real numbers"),
        (np.array([["a"]]), "real numbers"),
        (np.full((3, 2), np.nan), "in each of 3 rows"),
    ],
)
def test_bad_features(given, said):
    with pytest.raises(ValueError, match=said):
        feature_space(given)


def test_components_below_one():
    with pytest.raises(ValueError, match="at least 1, or None for all, got 0"):
        feature_space(np.ones((3, 2)), components=0)
