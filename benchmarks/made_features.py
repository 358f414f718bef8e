"""Made features of a data set, with what makes a map hard: nested classes of different widths.

Twelve kinds, each of several classes; a class lies in eight directions of its own. Real features
are no such mixture, so what is measured on these compares methods and says little of a network.
"""

from __future__ import annotations

import numpy as np

KINDS, WIDTH = 12, 8


def mixture(count: int, size: int = 512, *, seed: int = 0):
    """Features float32 (count, size), in no order, and the class of each, int64."""
    rng = np.random.default_rng(seed)
    centres, widths, shares = [], [], []
    for _ in range(KINDS):
        kind = rng.standard_normal(size) * 1.0
        for _ in range(rng.integers(2, 9)):
            centres.append(kind + rng.standard_normal(size) * rng.uniform(0.2, 0.7))
            widths.append(np.exp(rng.uniform(np.log(0.5), np.log(3))))
            shares.append(rng.gamma(2))
    label = rng.choice(len(centres), count, p=np.array(shares) / sum(shares))
    features = np.empty((count, size), np.float32)
    for number, centre in enumerate(centres):
        rows = np.flatnonzero(label == number)
        directions = rng.standard_normal((WIDTH, size)).astype(np.float32)
        within = rng.standard_normal((len(rows), WIDTH)).astype(np.float32)
        noise = rng.standard_normal((len(rows), size)).astype(np.float32)
        features[rows] = centre + widths[number] * within @ directions / WIDTH**0.5 + 0.3 * noise
    return features, label
