"""Maps, against scikit-learn's t-SNE and PCA and openTSNE's own way."""

import random

import numpy as np
import openTSNE
import pytest
import torch
from openTSNE.tsne import kl_divergence_bh
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from nbviz.analysis import embedding as module
from nbviz.analysis import tsne
from nbviz.analysis.embedding import METHODS, EmbeddingRun, embed
from nbviz.analysis.feature_rows import FeatureRows
from nbviz.analysis.feature_space import feature_space
from nbviz.analysis.neighbours import NeighbourSearch, neighbours_of

DIGITS = load_digits()
SHORT = {"iterations": (30, 40), "progress": False}


@pytest.fixture(scope="module")
def digits():
    """A map of 500 digits; the others are new to it."""
    return embed(DIGITS.data[:500], progress=False)


def test_as_good_as_scikit_learn(digits):
    """Tolerance: divergence 5 % larger, trustworthiness 0.005 smaller, at most."""
    reference = embed(digits.space, "tsne-sklearn", progress=False)
    assert reference.described == "t-SNE (scikit-learn), perplexity 30"
    ours, theirs = (
        trustworthiness(digits.space.features, each.positions, n_neighbors=10)
        for each in (digits, reference)
    )
    assert theirs > 0.9
    assert ours > theirs - 0.005
    assert digits.kl < 1.05 * reference.kl


def test_as_good_as_open_tsne_by_itself(digits):
    """The same neighbours, but its own PCA, and its own way to go on: 5 % of the divergence."""
    own = openTSNE.TSNE(perplexity=30, neighbors="exact", random_state=0).fit(digits.space.reduced)
    assert digits.kl == pytest.approx(own.kl_divergence, rel=0.05)
    assert np.ptp(digits.positions) == pytest.approx(np.ptp(np.asarray(own)), rel=0.3)
    error, _ = kl_divergence_bh(
        digits.positions.astype(np.float64),
        own.affinities.P,
        dof=1,
        bh_params={"theta": 0.1},
        should_eval_error=True,
    )
    assert digits.kl == pytest.approx(error, rel=0.02)


def test_steps_tell_how_far_it_is(monkeypatch):
    monkeypatch.setattr(module, "_SLICE", 0.0)
    run = EmbeddingRun(DIGITS.data[:300], iterations=(20, 30))
    steps = list(run)
    stages = list(dict.fromkeys(step.stage for step in steps))
    assert stages == ["features", "neighbours", "exaggeration", "optimisation", "done"]
    first, last = steps[0], steps[-1]
    np.testing.assert_array_equal(first.positions, run.space.reduced[:, :2])
    assert (np.diff([step.iteration for step in steps]) >= 0).all()
    assert (first.iteration, last.iteration, last.total) == (0, 50, 50)
    assert max(step.iteration for step in steps if step.stage == "exaggeration") == 20
    assert last.sentence == "300 images placed by t-SNE, perplexity 30"
    np.testing.assert_array_equal(run.embedding.positions, last.positions)
    assert any("of 50 steps" in step.sentence for step in steps)
    assert list(run) == []


def test_how_much_is_done_at_once_changes_nothing(monkeypatch):
    expected = embed(DIGITS.data[:200], **SHORT)
    monkeypatch.setattr(module, "_SLICE", 0.0)
    one_by_one = embed(DIGITS.data[:200], **SHORT)
    np.testing.assert_array_equal(one_by_one.positions, expected.positions)
    assert one_by_one.kl == expected.kl


def test_iterations_are_those_of_open_tsne():
    """Few enough that roundings, at another place where it exaggerates, stay small."""
    ours = embed(DIGITS.data[:200], iterations=(8, 4), progress=False)
    start = tsne.first_places(ours.space.reduced[:, :2], 1e-4, 0)
    theirs = openTSNE.TSNE(
        perplexity=30, neighbors="exact", early_exaggeration_iter=8, n_iter=4
    ).fit(ours.space.reduced, initialization=start)
    size = np.ptp(ours.positions)
    np.testing.assert_allclose(ours.positions, theirs, atol=1e-3 * size)


def test_the_seed_decides():
    maps = [embed(DIGITS.data[:150], seed=seed, **SHORT).positions for seed in (3, 3, 4)]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert not np.array_equal(maps[0], maps[2])


def test_many_points_are_interpolated(monkeypatch):
    """The other way to sum repulsion, of which the map is to be as good."""
    tree = embed(DIGITS.data[:400], iterations=(100, 100), progress=False)
    monkeypatch.setattr(tsne, "_INTERPOLATED", 0)
    grid = embed(DIGITS.data[:400], iterations=(100, 100), progress=False)
    assert not np.array_equal(grid.positions, tree.positions)
    assert grid.kl == pytest.approx(tree.kl, rel=0.1)


def test_stopping_keeps_what_there_is():
    run = EmbeddingRun(DIGITS.data[:200])
    before = run.embedding
    assert not before.finished
    np.testing.assert_array_equal(before.positions, run.space.reduced[:, :2])
    for step in run:
        if step.iteration >= 40:
            break
    stopped = run.embedding
    assert not stopped.finished
    assert stopped.kl is None
    assert stopped.notes[-1] == f"Not finished: {step.iteration} of 750 steps were done."
    np.testing.assert_array_equal(stopped.positions, step.positions)
    assert np.isfinite(stopped.place(DIGITS.data[200:205])).all()
    kept = stopped.positions.copy()
    going_on = next(run)
    assert going_on.iteration > step.iteration
    np.testing.assert_array_equal(stopped.positions, kept)


def test_interrupted_by_hand(monkeypatch):
    whole = tsne.TSNEOptimisation.advance

    def interrupted(self, seconds):
        if self.iteration:
            raise KeyboardInterrupt
        whole(self, seconds)

    monkeypatch.setattr(tsne.TSNEOptimisation, "advance", interrupted)
    with pytest.warns(UserWarning, match="by hand. Not finished: 1 of 750 steps"):
        found = embed(DIGITS.data[:100], progress=False)
    assert not found.finished
    assert np.isfinite(found.positions).all()


def test_a_step_that_was_interrupted_is_done_again(monkeypatch):
    run = EmbeddingRun(DIGITS.data[:100], iterations=(10, 10))
    next(run)

    def interrupted(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module.NeighbourSearch, "advance", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(run)
    assert list(run)[-1].stage == "done"
    assert run.embedding.finished


def test_new_images_are_placed_among_their_class(digits):
    """As often as the features allow: their nearest image has the same class of 92 %."""
    before = digits.positions.copy()
    new = DIGITS.data[500:900]
    placed = digits.place(new)
    np.testing.assert_array_equal(digits.positions, before)
    distances = np.linalg.norm(placed[:, None] - digits.positions, axis=2)
    right = (DIGITS.target[distances.argmin(1)] == DIGITS.target[500:900]).mean()
    by_features = neighbours_of(digits.space, new, 1)[0][:, 0]
    possible = (DIGITS.target[by_features] == DIGITS.target[500:900]).mean()
    assert possible > 0.9
    assert right > possible - 0.05
    one_by_one = np.concatenate([digits.place(row[None]) for row in new[:5]])
    np.testing.assert_allclose(one_by_one, placed[:5], atol=0.05)


@pytest.mark.parametrize("grid", [0, 10**9])
def test_images_of_the_map_are_placed_where_they_are(digits, monkeypatch, grid):
    """Most of them, within 2 % of the map's width, by either way to sum repulsion."""
    monkeypatch.setattr(tsne, "_GRID_TO_PLACE", grid)
    away = np.linalg.norm(digits.place(DIGITS.data[:500]) - digits.positions, axis=1)
    assert np.median(away) < 0.02 * np.ptp(digits.positions)


@pytest.mark.parametrize("components", [None, 1, 7])
def test_pca_is_that_of_scikit_learn(components):
    given = DIGITS.data[:200]
    found = embed(given, "pca", normalise=False, components=components, progress=False)
    reference = PCA(2, svd_solver="full").fit(given)
    expected = reference.transform(given)
    expected[:, components or 2 :] = 0
    np.testing.assert_allclose(found.positions, expected, atol=1e-3)
    np.testing.assert_allclose(found.place(given[:9]), expected[:9], atol=1e-3)
    assert (found.described, found.perplexity, found.kl) == ("PCA", None, None)
    np.testing.assert_array_equal(
        found.neighbours.index, NeighbourSearch(found.space, 15).neighbours.index
    )


def test_umap():
    pytest.importorskip("umap")
    found = embed(DIGITS.data[:120], "umap", perplexity=10, progress=False)
    assert found.described == "UMAP, 10 neighbours"
    assert found.finished
    assert trustworthiness(found.space.features, found.positions, n_neighbors=10) > 0.85
    again = EmbeddingRun(found.space, "umap", perplexity=10)
    assert [step.stage for step in again][-2:] == ["optimisation", "done"]
    np.testing.assert_array_equal(again.embedding.positions, found.positions)
    before = found.positions.copy()
    away = np.linalg.norm(found.place(DIGITS.data[:120]) - before, axis=1)
    assert np.median(away) < 0.1 * np.ptp(before)
    np.testing.assert_array_equal(found.positions, before)


def test_umap_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "nbviz\[umap\]"'):
        EmbeddingRun(DIGITS.data[:20], "umap")


def test_scikit_learn_cannot_place():
    found = embed(DIGITS.data[:30], "tsne-sklearn", progress=False)
    with pytest.raises(NotImplementedError, match='method="tsne"'):
        found.place(DIGITS.data[:1])


@pytest.mark.parametrize("method", ["tsne", "tsne-sklearn", "pca"])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 20])
@pytest.mark.parametrize("kind", ["spread", "identical", "each twice", "zeros"])
def test_few_images(method, count, kind):
    given = {
        "spread": DIGITS.data[:count],
        "identical": np.ones((count, 3)),
        "each twice": np.repeat(DIGITS.data, 2, axis=0)[:count],
        "zeros": np.zeros((count, 1)),
    }[kind]
    found = embed(given, method, iterations=(125, 125), progress=False)
    assert found.positions.shape == (count, 2)
    assert np.isfinite(found.positions).all()
    assert found.neighbours.index.shape == (count, min(15, count - 1))
    if method == "tsne":
        assert np.isfinite(found.place(given)).all()
    few = count < 4 and method != "pca"
    assert any("too few for t-SNE" in note for note in found.notes) == few
    assert found.method == ("pca" if few else method)
    if not few and method != "pca":
        assert found.perplexity == (count - 1) / 3
        assert any(f"lowered from 30 to {(count - 1) / 3:.2g}" in note for note in found.notes)


def test_many_identical_images():
    found = embed(np.ones((600, 4)), **SHORT)
    assert np.isfinite(found.positions).all()
    assert "identical" in found.notes[0]


def test_rows_that_are_not_finite_are_not_on_the_map():
    given = DIGITS.data[:80].copy()
    given[7, 3] = np.nan
    found = embed(given, **SHORT)
    assert found.positions.shape == (79, 2)
    assert 7 not in found.space.rows
    assert "number 7" in found.notes[0]


def test_all_kinds_of_features_give_one_map():
    given = DIGITS.data[:60].astype(np.float32)
    expected = embed(given, **SHORT).positions
    space = feature_space(given)
    for other in (given.astype(float), torch.from_numpy(given), FeatureRows([given]), space):
        np.testing.assert_array_equal(embed(other, **SHORT).positions, expected)


def test_random_numbers_of_others_are_left_alone():
    def states():
        numpy_state = np.random.get_state()[1].tolist()  # noqa: NPY002
        return random.getstate(), numpy_state, torch.get_rng_state().tolist()

    before = states()
    for method in ("tsne", "tsne-sklearn", "pca"):
        found = embed(DIGITS.data[:60], method, iterations=(125, 125), progress=False)
        if method != "tsne-sklearn":
            found.place(DIGITS.data[:3])
    assert states() == before


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"method": "sne"}, f"one of {', '.join(METHODS)}, got 'sne'"),
        ({"perplexity": 0.5}, "at least 1, such as 30, got 0.5"),
        ({"perplexity": float("nan")}, "at least 1"),
        ({"iterations": (0, 0)}, r"such as \(250, 500\), got \(0, 0\)"),
        ({"iterations": (5, -1)}, "two numbers of iterations"),
        ({"components": 0}, "at least 1"),
    ],
)
def test_bad_settings(settings, said):
    with pytest.raises(ValueError, match=said):
        EmbeddingRun(DIGITS.data[:10], **settings)


def test_no_images():
    with pytest.raises(ValueError, match="at least one image, got none"):
        embed(np.zeros((0, 4)))


def test_new_images_of_another_layer(digits):
    with pytest.raises(ValueError, match="as wide as those of the map, 64, got 5"):
        digits.place(np.zeros((1, 5)))
