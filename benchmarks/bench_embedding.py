"""A map of features: nbviz (openTSNE) against scikit-learn's t-SNE, time and trustworthiness.

Run it: ``.venv/bin/python benchmarks/bench_embedding.py [tsne] [hover] [--quick] [--all]``.
Both start from the same 50 principal components of the same normalised features (`made_features`),
with perplexity 30, PCA initialisation and two threads; all else is each one's default. nbviz's time
includes the true neighbours of every image, which its view shows and scikit-learn does not look
for. scikit-learn's 60,000 take a good part of an hour and are left out unless ``--all`` asks for
them; ``--quick`` takes small sets, to see that it runs.
"""

from __future__ import annotations

import sys
import time

import made_features
import numpy as np
import openTSNE
import sklearn.manifold
import torch
from tables import table

import nbviz
from nbviz.analysis.embedding import embed
from nbviz.analysis.feature_space import feature_space

PERPLEXITY, NEIGHBOURS, SAMPLE, THREADS = 30, 10, 2000, 2
SIZES, QUICK = (5_000, 20_000, 60_000), (600, 2_000)
HOVERED, HOVERED_QUICK = 100_000, 3_000
# The largest set that scikit-learn is given without --all.
PATIENCE = 20_000


def trustworthiness(features, positions, k=NEIGHBOURS, sample=SAMPLE):
    """Venna and Kaski's measure over some rows, ranks among all: sampled alike for every method."""
    count = len(features)
    chosen = np.sort(np.random.default_rng(0).permutation(count)[:sample])
    features, positions = torch.from_numpy(features), torch.from_numpy(positions)
    penalty = 0
    for rows in torch.from_numpy(chosen).split(250):
        near = _distances(positions, rows).topk(k, largest=False).indices
        far = _distances(features, rows)
        # How many are nearer than each of the map's neighbours; the nearest of all has rank 1.
        ranks = torch.stack([(far < far.gather(1, near[:, i : i + 1])).sum(1) for i in range(k)])
        penalty += int((ranks + 1 - k).clamp(min=0).sum())
    return 1 - 2 / (len(chosen) * k * (2 * count - 3 * k - 1)) * penalty


def _distances(points, rows):
    """Squared, without the point's own length; infinite to itself."""
    points = points.float()
    squared = (points**2).sum(1) - 2 * points[rows] @ points.T
    squared[torch.arange(len(rows)), rows] = torch.inf
    return squared


def check_measure():
    """That the measure above is scikit-learn's, where all rows are taken."""
    features, _ = made_features.mixture(500, 32)
    positions = np.ascontiguousarray(features[:, :2])
    exact = sklearn.manifold.trustworthiness(features, positions, n_neighbors=NEIGHBOURS)
    ours = trustworthiness(features, positions, sample=500)
    if abs(exact - ours) > 1e-4:
        raise AssertionError(f"expected a trustworthiness of {exact:.5f}, got {ours:.5f}")


def by_nbviz(space):
    made = embed(space, perplexity=PERPLEXITY, seed=0, progress=False)
    return made.positions


def by_sklearn(space):
    method = sklearn.manifold.TSNE(
        perplexity=PERPLEXITY, init="pca", n_jobs=THREADS, random_state=0
    )
    return method.fit_transform(space.reduced)


def by_open_tsne(space):
    """What nbviz is built on, as it comes: approximate neighbours, no progress, no true ones."""
    method = openTSNE.TSNE(perplexity=PERPLEXITY, n_jobs=THREADS, random_state=0)
    return np.asarray(method.fit(space.reduced))


def seconds(run):
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def tsne(sizes, everything):
    check_measure()
    # Compiling and importing are no part of a second map.
    warm = feature_space(made_features.mixture(400)[0])
    for run in (by_nbviz, by_open_tsne, by_sklearn):
        run(warm)
    rows = []
    for size in sizes:
        features, _ = made_features.mixture(size)
        prepared, space = seconds(lambda given=features: feature_space(given))
        ways = {"nbviz": by_nbviz, "openTSNE": by_open_tsne, "scikit-learn": by_sklearn}
        took, trust = {}, {}
        for name, run in ways.items():
            if name == "scikit-learn" and size > PATIENCE and not everything:
                continue
            took[name], positions = seconds(lambda run=run, space=space: run(space))
            trust[name] = trustworthiness(space.features, np.ascontiguousarray(positions))
        theirs = took.get("scikit-learn")
        for name, time_ in took.items():
            ratio = f"{theirs / time_:.1f}" if theirs else "left out: --all"
            figures = [f"{prepared:.2f}", f"{time_:.1f}", ratio, f"{trust[name]:.4f}"]
            rows.append([f"{size:,} x 512", name, *figures])
    table(
        f"t-SNE, perplexity {PERPLEXITY}, {THREADS} threads: seconds, and trustworthiness of "
        f"{NEIGHBOURS} neighbours over {SAMPLE:,} rows at most (aim at 20,000: 5 times faster, at "
        "most 0.005 less)",
        ["features", "", "normalise + PCA", "map", "times faster than scikit-learn", "trust"],
        rows,
    )


def hover(count):
    """Python's part of a hover: the answer to "neighbours"; the rest is in bench_image_map."""
    features, labels = made_features.mixture(count)
    took, shown = seconds(lambda: nbviz.ImageMap(features, labels=labels, method="pca"))
    finished, _ = seconds(shown.wait)
    answer = next(a for a in _answers(shown) if a.answers_kind == "neighbours")
    first, _ = seconds(lambda: answer(row=0))
    asked = np.random.default_rng(1).integers(0, count, 500).tolist()
    times = [1000 * seconds(lambda row=row: answer(row=row))[0] for row in asked]
    table(
        f"{count:,} images: milliseconds of Python from a row to its neighbours (aim 50 at 95 %, "
        "with the way to the page)",
        ["made, s", "map, s", "first answer, s", "median", "95 %", "worst"],
        [
            [f"{took:.1f}", f"{finished:.1f}", f"{first:.1f}"]
            + [f"{np.percentile(times, part):.2f}" for part in (50, 95, 100)]
        ],
    )


def _answers(widget):
    members = (item for cls in type(widget).__mro__ for item in vars(cls).items())
    return [getattr(widget, name) for name, member in members if hasattr(member, "answers_kind")]


def main(arguments):
    torch.set_num_threads(THREADS)
    quick, everything = "--quick" in arguments, "--all" in arguments
    parts = {
        "tsne": lambda: tsne(QUICK if quick else SIZES, everything),
        "hover": lambda: hover(HOVERED_QUICK if quick else HOVERED),
    }
    for name in [a for a in arguments if not a.startswith("--")] or parts:
        parts[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
