"""Is this layer healthy? The scores of all kernels of a layer, in a verdict and a sentence.

A trained first layer shows edges, gratings and blobs of colour; noise in it "can be an indicator of
a network that hasn't been trained for long enough, or possibly a very low regularization strength
that may have led to overfitting" (Stanford CS231n notes, "Visualizing what ConvNets learn").
`health` says how much of a layer is noise, and tells noise that training left, or put there, from
the noise of an initialisation that no training has touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.stats import chi2

from nbviz.analysis.kernel_scores import (
    LARGEST_JUDGED_SIDE,
    SMALLEST_JUDGED_SIDE,
    KernelScores,
    can_judge,
    noise_reference,
    score,
)

if TYPE_CHECKING:
    from nbviz.analysis.filters import Kernels

Verdict = Literal[
    "healthy", "mixed", "noisy", "untrained", "broken", "too small to judge", "not judged"
]

# Shares of the judged kernels that are noisy.
_MIXED_FROM, _NOISY_FROM = 0.25, 0.5

# A test fails beyond so many standard deviations. Five tests on each of thousands of layers.
_DEVIATIONS = 4.5
_CHANCE = 3e-6

# Correlations between inputs are tested up to so many; a picture has four at most.
_MOST_INPUTS = 16


@dataclass(frozen=True, slots=True)
class KernelHealth:
    """What is said of a layer's kernels."""

    verdict: Verdict
    """"healthy", "mixed" (a quarter to a half of the kernels is noisy), "noisy", "untrained",
    "broken" (NaN, infinity, or all zero), "too small to judge", or "not judged" (1-d kernels,
    kernels above 64x64, and layers that do not read the image)."""
    sentence: str
    """The same in words, with numbers."""
    judged: int
    """Kernels that have a noise score."""
    noisy: int
    """Of these, kernels whose score is above 0.5."""
    median_noise: float
    """Median noise score; NaN where none is judged."""
    dead: int
    """Kernels with a norm below 1 % of the largest."""
    duplicates: int
    """Kernels that repeat an earlier one."""
    nonfinite: int
    """Weights that are NaN or infinite."""


def health(kernels: Kernels, scores: KernelScores | None = None) -> KernelHealth:
    """Whether the kernels of a layer are structured, noisy, untrained or broken.

    "untrained" needs all of these to be as chance has them when weights are drawn independently
    from a uniform or (truncated) normal distribution: mean noise score, spread of the kernels'
    norms, kurtosis and mean of the weights, correlation between inputs. One that deviates by more
    than 4.5 standard deviations shows that something was learnt; then it is the share of noisy
    kernels that decides.

    Parameters
    ----------
    kernels : Kernels
    scores : KernelScores, optional
        As `score` gives them for these kernels; computed if left out.

    Examples
    --------
    >>> import torch
    >>> from nbviz.analysis.filters import kernels
    >>> health(kernels(torch.nn.Conv2d(3, 64, 11))).verdict
    'untrained'
    """
    scores = score(kernels) if scores is None else scores
    judged = np.isfinite(scores.noise)
    median = float(np.median(scores.noise[judged])) if judged.any() else float("nan")
    verdict, sentence = _judge(kernels, scores, judged, median)
    dead, duplicates = int(scores.dead.sum()), int((scores.duplicate_of >= 0).sum())
    remarks = []
    if dead and not scores.dead.all():
        remarks.append(
            f"{dead} of {len(scores.dead)} {_are(dead, 'dead')} (norm below 1 % of the largest)."
        )
    if duplicates:
        repeat = "repeats" if duplicates == 1 else "repeat"
        remarks.append(f"{duplicates} {repeat} an earlier kernel (cosine above 0.95).")
    return KernelHealth(
        verdict=verdict,
        sentence=" ".join([sentence, *remarks]),
        judged=int(judged.sum()),
        noisy=int(scores.noisy.sum()),
        median_noise=median,
        dead=dead,
        duplicates=duplicates,
        nonfinite=int(scores.nonfinite.sum()),
    )


def _judge(
    kernels: Kernels, scores: KernelScores, judged: np.ndarray, median: float
) -> tuple[Verdict, str]:
    outputs = len(scores.norm)
    height, width = kernels.values.shape[2:]
    broken = int((scores.nonfinite > 0).sum())
    if broken:
        weights = int(scores.nonfinite.sum())
        return "broken", (
            f"{weights} {_plural(weights, 'weight')} in {broken} of {outputs} "
            f"{_plural(outputs, 'kernel')} {'is' if weights == 1 else 'are'} NaN or infinite. "
            f"Training has diverged: go back to an earlier state and lower the learning rate."
        )
    if scores.dead.all():
        return "broken", (
            f"All weights of the {outputs} {_plural(outputs, 'kernel')} are zero, so the layer's "
            f"output does not depend on its input."
        )
    if kernels.layer.strip:
        return "not judged", "Noise is judged for 2-d kernels; these are strips."
    if not kernels.layer.on_image:
        return "not judged", (
            "This layer reads the maps of earlier layers, so its kernels need not look like "
            "anything; noise is judged where kernels read the image itself."
        )
    if max(height, width) > LARGEST_JUDGED_SIDE:
        most = LARGEST_JUDGED_SIDE
        return "not judged", (
            f"Kernels of {height}x{width} are too large for a noise score, which is worked out up "
            f"to {most}x{most}."
        )
    if not can_judge(kernels):
        least = SMALLEST_JUDGED_SIDE
        return "too small to judge", (
            f"Kernels of {height}x{width} are too small to tell structure from noise; "
            f"{least}x{least} is the least."
        )
    if not scores.dead.any() and _looks_initialised(kernels.values, scores.noise):
        mean, chance = float(scores.noise.mean()), noise_reference(height, width).mean
        return "untrained", (
            f"The {outputs} {_plural(outputs, 'kernel')} cannot be told from random initial "
            f"weights (mean noise score {mean:.2f}; white noise gives {chance:.2f}). The layer was "
            f"not trained yet, or its weights were not loaded."
        )
    return _by_noise(int(judged.sum()), int(scores.noisy.sum()), median)


def _by_noise(judged: int, noisy: int, median: float) -> tuple[Verdict, str]:
    scale = f"median noise score {median:.2f}, where 0 is all structure and 1 is white noise"
    counted = f"{noisy} of {judged} {_plural(judged, 'kernel')}"
    looks = "looks" if noisy == 1 else "look"
    if noisy >= _NOISY_FROM * judged:
        return "noisy", (
            f"{counted} {looks} like noise ({scale}). Usual causes: training too short, too "
            f"little regularisation (weight decay, augmentation), or noisy images."
        )
    if noisy > _MIXED_FROM * judged:
        return "mixed", (
            f"{counted} {looks} like noise, the others show structure ({scale}). Longer training "
            f"or more regularisation may clear them."
        )
    rest = f"{noisy} {looks} like noise" if noisy else "none is mostly noise"
    shows = "kernel shows" if judged == 1 else "kernels show"
    return "healthy", (
        f"The {judged} {shows} structure, such as edges, gratings or blobs ({scale}); {rest}."
    )


def _looks_initialised(values: np.ndarray, noise: np.ndarray) -> bool:
    """Whether weights that are all finite and not dead look independent and equally distributed."""
    outputs, inputs, height, width = values.shape
    reference = noise_reference(height, width)
    if noise.mean() < reference.mean - _DEVIATIONS * reference.spread / np.sqrt(outputs):
        return False
    weights = values.astype(np.float64)
    weights /= np.sqrt(np.mean(weights**2))
    if abs(weights.mean()) * np.sqrt(weights.size) > _DEVIATIONS:
        return False
    # Between a uniform (-1.2) and a normal distribution (0); training makes heavy tails.
    kurtosis = float(np.mean(weights**4)) - 3
    slack = _DEVIATIONS * np.sqrt(24 / weights.size)
    if not -1.2 - slack < kurtosis < slack:
        return False
    if outputs > 1 and not _norms_by_chance(weights, kurtosis):
        return False
    return not 1 < inputs <= _MOST_INPUTS or _inputs_independent(weights)


def _norms_by_chance(weights: np.ndarray, kurtosis: float) -> bool:
    """Whether the kernels' energies differ no more than those of independent weights."""
    energy = np.mean(weights.reshape(len(weights), -1) ** 2, axis=1)
    expected = max(kurtosis + 2, 0.5) / weights[0].size
    freedom = len(energy) - 1
    return bool(np.var(energy, ddof=1) / expected * freedom < chi2.isf(_CHANCE, freedom))


def _inputs_independent(weights: np.ndarray) -> bool:
    """Whether weights at one place do not correlate from input to input."""
    inputs = weights.shape[1]
    across = np.corrcoef(weights.transpose(1, 0, 2, 3).reshape(inputs, -1))
    places = weights.size // inputs
    return bool(np.abs(across - np.eye(inputs)).max() * np.sqrt(places) < _DEVIATIONS)


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"


def _are(count: int, what: str) -> str:
    return f"{'is' if count == 1 else 'are'} {what}"
