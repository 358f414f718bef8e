"""Kernels in numbers: norm, noise score, marks (dead, duplicate, broken), and an order by likeness.

The noise score asks how much of each weight its neighbours do not explain, and holds the answer
against white noise of the same size (`noise_reference`), which is what random initialisation
gives. `nbviz.analysis.kernel_health` turns the scores of a layer into a sentence.

Why neighbours, and not a spectrum: measured on 7x7 RGB kernels as the area under the ROC curve
against white noise. Gratings of 2.6 to 3.6 pixels: 0.28 by the energy above half the Nyquist
frequency, 0.94 by autocorrelation over one pixel, 1.00 by spectral entropy and by neighbours. All
structure with as much noise added: 0.87, 0.97, 0.98 and 1.00. Trained first layers of SqueezeNet
and a slim ResNet-50: 0.83, 0.93, 0.99 and 1.00.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering

if TYPE_CHECKING:
    from nbviz.analysis.filters import Kernels

#: Below this side structured kernels and white noise overlap; see `score`.
SMALLEST_JUDGED_SIDE = 5

#: Above this side kernels are not judged; see `score`.
LARGEST_JUDGED_SIDE = 64

#: A kernel with a noise score above is called noisy: about half of its energy is noise.
NOISY = 0.5

_DEAD_SHARE = 0.01
_DUPLICATE_COSINE = 0.95

# Weight of the penalty on the four coefficients, as a share of the kernel's energy. Without it 25
# weights of pure noise are "explained" to a quarter by chance.
_RIDGE = 0.3

# Kernels are judged so many weights at a time, with some ten copies of them in float32 at once.
_BLOCK_WEIGHTS = 1_500_000

# Optimal leaf order is cubic in time; clustering itself needs all pairs in memory.
_OPTIMAL_ORDER_OUTPUTS = 256
_CLUSTERED_OUTPUTS = 4096


@dataclass(frozen=True, slots=True)
class KernelScores:
    """What is measured of each kernel of a layer; arrays of shape (outputs,)."""

    norm: np.ndarray
    """float32: root of the sum of squares; of the finite weights where some are not."""
    noise: np.ndarray
    """float32, 0 (all structure) to 1 (white noise); NaN where it cannot be judged."""
    noisy: np.ndarray
    """bool: `noise` above `NOISY`."""
    dead: np.ndarray
    """bool: `norm` below 1 % of the layer's largest."""
    duplicate_of: np.ndarray
    """int32: first earlier kernel of the same group with a cosine above 0.95, or -1."""
    nonfinite: np.ndarray
    """int32: number of NaN or infinite weights."""


@dataclass(frozen=True, slots=True)
class NoiseReference:
    """What white noise of one kernel size gives, however many channels and however mixed."""

    unexplained: float
    """Median share of a component's energy that its neighbours do not explain."""
    mean: float
    """Mean noise score of a kernel of one channel."""
    spread: float
    """Standard deviation of the same; smaller for kernels of several independent channels."""


def score(kernels: Kernels) -> KernelScores:
    """Norm, noise score and marks of every kernel of a layer.

    The noise score is the share of a kernel's energy that its neighbourhoods do not predict,
    relative to the same for white noise of its size. Each kernel is split into its principal
    colour components (singular vectors of its (inputs, height x width) matrix). In each, a weight
    is predicted from four sums, of its left and right, upper and lower, and two pairs of diagonal
    neighbours (zero outside), by ridge regression: the symmetric conditional model of Besag (1974),
    "Spatial interaction and the statistical analysis of lattice systems", JRSS B 36. Unexplained
    shares are averaged by energy, divided by the median for white noise, and cut at 1. A grating
    of any wavelength, an edge or a blob follows from its neighbours, so high frequency is no
    noise as such. The mean is kept: a flat colour is structure.

    By rotational symmetry the components of white noise are white noise of one channel, whatever
    the channels have in common, so `noise_reference` depends on height and width alone.

    On drawn gratings (wavelengths from 2.6 pixels), blobs, edges and strokes, with 1 % of false
    alarms in white noise, at least 98 % of clean kernels of 5x5 and larger are told apart, but of
    4x4 as few as 82 %, of 3x3 a third. So `noise` is NaN below 5x5, for 1-d kernels, for
    kernels that are dead or not finite, and in layers that do not read the image. It is NaN above
    64x64, too: such "kernels" are a Linear layer's, and judging 219 of 224x224 takes three seconds
    longer than the rest.

    Parameters
    ----------
    kernels : Kernels

    Examples
    --------
    >>> import torch
    >>> from nbviz.analysis.filters import kernels
    >>> untrained = score(kernels(torch.nn.Conv2d(3, 64, 11)))
    >>> bool(untrained.noise.mean() > 0.9)
    True
    """
    values = kernels.values
    flat = values.reshape(len(values), -1)
    nonfinite = np.zeros(len(values), np.int32)
    # One pass over the weights; finite ones may add up to infinity, so it only says where to look.
    with np.errstate(over="ignore", invalid="ignore"):
        suspect = not np.isfinite(flat.sum())
    if suspect:
        finite = np.isfinite(flat)
        nonfinite = (~finite).sum(axis=1).astype(np.int32)
        flat = np.where(finite, flat, np.float32(0))
    # Not by np.abs, which would be one more copy of a large layer.
    largest = np.maximum(flat.max(axis=1, initial=0), -flat.min(axis=1, initial=0))
    unit = np.divide(flat, largest[:, None], out=np.zeros_like(flat), where=largest[:, None] > 0)
    length = np.sqrt(np.einsum("ij,ij->i", unit, unit))
    norm = largest.astype(np.float64) * length
    dead = norm <= _DEAD_SHARE * norm.max(initial=0)
    judged = ~dead & (nonfinite == 0)
    noise = np.full(len(values), np.nan, np.float32)
    if judged.any() and can_judge(kernels):
        shaped = unit.reshape(values.shape)
        for some in _blocks(np.flatnonzero(judged), flat.shape[1]):
            noise[some] = _noise(shaped[some])
    unit /= np.where(length > 0, length, 1)[:, None]
    groups = kernels.layer.shape[0] // kernels.layer.groups
    return KernelScores(
        norm=np.minimum(norm, np.finfo(np.float32).max).astype(np.float32),
        noise=noise,
        noisy=noise > NOISY,
        dead=dead,
        duplicate_of=_duplicates(unit, judged, groups),
        nonfinite=nonfinite,
    )


def _blocks(rows: np.ndarray, weights: int) -> Iterator[np.ndarray]:
    """Rows of so many weights, a few at a time."""
    count = max(1, _BLOCK_WEIGHTS // max(1, weights))
    for first in range(0, len(rows), count):
        yield rows[first : first + count]


def can_judge(kernels: Kernels) -> bool:
    """Whether the noise of these kernels can be told: they read the image, 5x5 to 64x64."""
    sides = kernels.values.shape[2:]
    fits = min(sides) >= SMALLEST_JUDGED_SIDE and max(sides) <= LARGEST_JUDGED_SIDE
    return kernels.layer.on_image and fits


@lru_cache(maxsize=64)
def noise_reference(height: int, width: int) -> NoiseReference:
    """What white noise of a kernel size gives, from a fixed sample drawn on first use."""
    generator = np.random.default_rng(0)
    draws = int(np.clip(1_000_000 // (height * width), 40, 20_000))
    drawn = generator.standard_normal((draws, 1, height, width), dtype=np.float32)
    unexplained = _unexplained(drawn)[:, 0]
    median = float(np.median(unexplained))
    scores = np.minimum(unexplained / median, 1)
    return NoiseReference(median, float(scores.mean()), float(scores.std()))


def similarity_order(kernels: Kernels) -> np.ndarray:
    """The outputs in an order in which kernels that look alike stand together.

    Average-linkage clustering on the cosine distance; its leaves in the optimal order (Bar-Joseph
    et al. 2001) up to 256 kernels and in the plain one beyond. More than 4096 kernels are sorted
    along their first principal component.

    Returns
    -------
    ndarray, int32, shape (outputs,)
        A permutation. Kernels of zeros come after the others, and those with NaN or infinity last.
    """
    flat = kernels.values.reshape(len(kernels.values), -1)
    finite = np.isfinite(flat).all(axis=1)
    largest = np.where(finite, np.abs(flat).max(axis=1, initial=0), 0)
    alive = np.flatnonzero(largest > 0)
    unit = flat[alive] / largest[alive, None]
    unit /= np.sqrt(np.einsum("ij,ij->i", unit, unit))[:, None]
    if len(alive) > _CLUSTERED_OUTPUTS:
        order = np.argsort(_first_component(unit), kind="stable")
    elif len(alive) > 2:
        distance = 1 - (unit @ unit.T)[np.triu_indices(len(alive), 1)]
        distance = np.maximum(distance, 0, dtype=np.float64)
        tree = linkage(distance, "average")
        if len(alive) <= _OPTIMAL_ORDER_OUTPUTS:
            tree = optimal_leaf_ordering(tree, distance)
        order = leaves_list(tree)
    else:
        order = np.arange(len(alive))
    zeros, broken = np.flatnonzero(finite & (largest == 0)), np.flatnonzero(~finite)
    return np.concatenate([alive[order], zeros, broken]).astype(np.int32)


def _first_component(unit: np.ndarray) -> np.ndarray:
    """Place of each row along the direction in which rows differ most, by power iteration."""
    centred = unit - unit.mean(axis=0)
    place = centred[:, 0] + np.linspace(0, 1, len(unit), dtype=unit.dtype)
    for _ in range(30):
        place = centred @ (centred.T @ place)
        place /= np.float32(max(float(np.linalg.norm(place)), 1e-30))
    return np.asarray(place)


def _noise(values: np.ndarray) -> np.ndarray:
    """Noise scores of kernels that are finite and not zero."""
    components = _colour_components(values)
    energy = np.einsum("ochw,ochw->oc", components, components)
    unexplained = (_unexplained(components) * energy).sum(axis=1) / energy.sum(axis=1)
    median = noise_reference(*values.shape[2:]).unexplained
    scores: np.ndarray = np.clip(unexplained / median, 0, 1)
    return scores


def _colour_components(values: np.ndarray) -> np.ndarray:
    """Turn the inputs of each kernel into uncorrelated components of the same total energy."""
    outputs, inputs, height, width = values.shape
    if inputs == 1:
        return values
    flat = values.reshape(outputs, inputs, -1)
    if inputs > height * width:
        _, singular, components = np.linalg.svd(flat, full_matrices=False)
        return np.asarray(components * singular[..., None]).reshape(outputs, -1, height, width)
    _, vectors = np.linalg.eigh(flat @ flat.transpose(0, 2, 1))
    return np.asarray(vectors.transpose(0, 2, 1) @ flat).reshape(values.shape)


def _unexplained(components: np.ndarray) -> np.ndarray:
    """Share of each component's energy that its eight neighbours do not predict.

    Parameters
    ----------
    components : ndarray, shape (outputs, components, height, width)

    Returns
    -------
    ndarray, shape (outputs, components); 1 for a component of zeros.
    """
    outputs, count, height, width = components.shape
    padded = np.pad(components, ((0, 0), (0, 0), (1, 1), (1, 1)))

    def moved(down: int, across: int) -> np.ndarray:
        rows = slice(1 + down, 1 + down + height)
        return padded[:, :, rows, 1 + across : 1 + across + width]

    pairs = [(0, 1), (1, 0), (1, 1), (1, -1)]
    around = np.stack([moved(*pair) + moved(-pair[0], -pair[1]) for pair in pairs], axis=2)
    around = around.reshape(outputs, count, len(pairs), -1)
    target = components.reshape(outputs, count, -1, 1)
    energy = (target.transpose(0, 1, 3, 2) @ target)[..., 0, 0]
    gram = around @ around.transpose(0, 1, 3, 2)
    gram += np.eye(len(pairs), dtype=gram.dtype) * (_RIDGE * energy + 1e-30)[..., None, None]
    coefficients = np.linalg.solve(gram, around @ target)
    left = target - around.transpose(0, 1, 3, 2) @ coefficients
    residual = (left.transpose(0, 1, 3, 2) @ left)[..., 0, 0]
    share: np.ndarray = np.divide(residual, energy, out=np.ones_like(energy), where=energy > 0)
    return share


def _duplicates(unit: np.ndarray, compared: np.ndarray, group: int) -> np.ndarray:
    """First earlier row that points the same way, -1 where there is none.

    Only rows of one group are compared: the same pattern on another input is no duplicate. One
    weight alone has no pattern.
    """
    found = np.full(len(unit), -1, np.int32)
    if unit.shape[1] < 2 or group < 2:
        return found
    block = int(np.clip(_BLOCK_WEIGHTS // unit.shape[1], 1, 512))
    for start in range(0, len(unit), group):
        rows = start + np.flatnonzero(compared[start : start + group])
        for first in range(0, len(rows), block):
            some = rows[first : first + block]
            end = some[-1] + 1
            alike = unit[some] @ unit[start:end].T > _DUPLICATE_COSINE
            alike &= compared[start:end]
            alike &= np.arange(start, end) < some[:, None]
            has = alike.any(axis=1)
            found[some[has]] = start + alike.argmax(axis=1)[has]
    return found
