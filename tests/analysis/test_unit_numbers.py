"""Bins that hold every float, and sums that do not depend on their order."""

import random
from fractions import Fraction

import numpy as np

from nbviz.analysis.unit_statistics import bins
from nbviz.analysis.unit_statistics.exact_sums import add_exactly, exact_total


def test_every_float_lies_in_its_bin():
    generator = np.random.default_rng(0)
    values = generator.standard_normal(4000) * 2.0 ** generator.integers(-45, 22, 4000)
    values = np.concatenate(
        [
            values,
            [
                0,
                -0.0,
                2.0**-12,
                -(2.0**-12),
                4096,
                -4096,
                1e-45,
                3e38,
                2.0**-40,
                2.0**20,
                -(2.0**20),
                1e-30,
                -3e38,
            ],
        ]
    )
    values = values.astype(np.float32)
    found = bins.bin_of(values)
    for value, number in zip(values.astype(np.float64), found, strict=True):
        low, high = bins.EDGES[number], bins.EDGES[number + 1]
        if abs(value) < 2.0**-126:  # what processors may take as zero
            assert low == high == 0
        elif value > 0:
            assert low <= value < high
        else:
            assert low < value <= high
    assert found.min() == 0
    assert found.max() == bins.BINS - 1


def test_exact_sums_are_the_fractions_whatever_the_order():
    generator = random.Random(0)
    values = [generator.gauss(0, 1) * 10 ** generator.randrange(-12, 9) for _ in range(3000)]
    values += [-value for value in values[:1000]] + [2.0**39, -(2.0**39), 1e-20]
    whole = sum((Fraction(value) for value in values), Fraction(0))
    limbs = []
    for seed in range(3):
        random.Random(seed).shuffle(values)
        total = np.zeros(3, np.int64)
        for start in range(0, len(values), 97):
            total = add_exactly(total, np.array(values[start : start + 97]))
        limbs.append(total.tolist())
    assert limbs[0] == limbs[1] == limbs[2]
    # each number is cut at 2**-80
    assert abs(Fraction(float(exact_total(total))) - whole) < abs(whole) * Fraction(1, 2**50)
