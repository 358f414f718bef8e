"""Features of a data set made ready to be compared: finite, of one length, in few dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["FeatureSpace", "feature_space", "in_plane"]

# Of wider features the matrix of covariances takes too long and too much memory.
_WIDEST = 4096
# Numbers of features read at once: 64 MiB as float32.
_BLOCK = 16_777_216
# Rows named in a sentence.
_NAMED = 5


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """Features made ready to be compared; see `feature_space`.

    Attributes
    ----------
    features : float32 array, shape (n, D)
        The finite rows, of length 1 if that was asked for.
    reduced : float32 array, shape (n, d)
        Their principal components; `features` themselves if none were asked for.
    plane : float32 array, shape (n, 2)
        The first two principal components; zeros where there are not two.
    rows : int64 array, shape (n,)
        Which rows they are of those that were given, ascending.
    left_out : int64 array
        The other rows: they have NaN or infinite features.
    explained : float
        Share of the variance that `reduced` keeps, 0 to 1.
    notes : tuple of str
        What a person should know: rows left out, rows of zeros, features that do not differ.
    normalised : bool
        Whether rows were divided by their lengths.
    mean : float32 array, shape (D,)
        Of `features`.
    principal : sklearn.decomposition.PCA
        Fitted to `features` minus `mean`.
    """

    features: NDArray[np.float32]
    reduced: NDArray[np.float32]
    plane: NDArray[np.float32]
    rows: NDArray[np.int64]
    left_out: NDArray[np.int64]
    explained: float
    notes: tuple[str, ...]
    normalised: bool
    mean: NDArray[np.float32]
    principal: Any

    def __len__(self) -> int:
        return len(self.features)

    def place(self, new: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The same for further images: nothing of this space changes.

        Parameters
        ----------
        new : array, tensor or FeatureRows, shape (m, D)

        Returns
        -------
        tuple of float32 array, shape (m, D), and float32 array, shape (m, d)
            As `features`, and as `reduced`.

        Raises
        ------
        ValueError
            If they have another number of features, or some are NaN or infinite.
        """
        matrix = _matrix(new, "new features")
        if matrix.shape[1] != self.features.shape[1]:
            raise ValueError(
                f"expected new features as wide as those of the map, {self.features.shape[1]}, got "
                f"{matrix.shape[1]}; take them from the same layer of the same network"
            )
        wrong = np.flatnonzero(~_finite(matrix))
        if len(wrong):
            raise ValueError(
                f"expected finite new features, got NaN or infinite ones in {_named(wrong, 'row')}"
            )
        matrix = _normalised(matrix)[0] if self.normalised else matrix
        return matrix, matrix if self.reduced is self.features else self.project(matrix)

    def project(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Principal components, float32 (m, d), of rows like those of `features`, (m, D)."""
        return np.asarray(self.principal.transform(matrix - self.mean), np.float32)


def feature_space(
    features: Any, *, normalise: bool = True, components: int | None = 50
) -> FeatureSpace:
    """Features made ready to be compared by Euclidean distance.

    Rows with NaN or infinite numbers are left out. The others are divided by their lengths, so
    that a squared distance is twice one minus the cosine, and how strongly a network answers to an
    image does not count. Then a principal component analysis takes them to `components`
    dimensions, as is usual before t-SNE (van der Maaten and Hinton 2008, "Visualizing Data using
    t-SNE", section 4.2; there 30): it makes distances cheap, and leaves out little but noise. It is
    scikit-learn's, from the covariances; by random projections with a fixed seed (Halko,
    Martinsson and Tropp 2011, "Finding structure with randomness") where they would be more than
    4,096 x 4,096, or rows are fewer than features and more than 500.

    Parameters
    ----------
    features : array, tensor or FeatureRows, shape (n, D)
        A row for each image.
    normalise : bool
        Whether to divide rows by their lengths.
    components : int, optional
        Dimensions to keep at most; None for all of them, as they are.

    Returns
    -------
    FeatureSpace

    Raises
    ------
    ValueError
        If these are not n x D numbers with at least one finite row and one column, `components` is
        below 1, or numbers are so large or small that their squares are not float32 numbers and
        they are not to be normalised.

    Examples
    --------
    >>> space = feature_space([[3.0, 4.0], [float("nan"), 1.0], [0.0, 2.0]])
    >>> bool(np.allclose(space.features, [[0.6, 0.8], [0, 1]])), space.rows.tolist()
    (True, [0, 2])
    >>> space.notes[0]
    '1 image was left out, as its features are not finite: number 1.'
    """
    if components is not None and components < 1:
        raise ValueError(f"expected components of at least 1, or None for all, got {components}")
    matrix = _matrix(features, "features")
    finite = _finite(matrix)
    rows, left_out = np.flatnonzero(finite), np.flatnonzero(~finite)
    if not len(rows):
        raise ValueError(
            f"expected finite features, got NaN or infinite ones in each of {len(matrix)} rows; "
            "nbviz.ActivationBrowser shows in which layer they begin"
        )
    notes = _left_out_notes(left_out)
    matrix = matrix[finite] if len(left_out) else matrix
    if normalise:
        matrix, zeros = _normalised(matrix)
        notes += _zero_notes(rows[zeros])
    else:
        _check_size(matrix)
    if len(matrix) > 1 and _all_same(matrix):
        notes += ("The features of all images are identical: a map cannot tell them apart.",)
    mean = matrix.mean(0, dtype=np.float64).astype(np.float32)
    # Of both, as rows that hardly differ are lost in the roundings of their covariances.
    principal, projected = _principal(matrix - mean, components or 2)
    kept = principal.explained_variance_ratio_.sum()
    return FeatureSpace(
        matrix,
        matrix if components is None else projected,
        in_plane(projected),
        rows,
        left_out,
        1.0 if components is None or np.isnan(kept) else min(1.0, float(kept)),
        notes,
        normalise,
        mean,
        principal,
    )


def in_plane(projected: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first two columns, float32 (n, 2); zeros where there are not two."""
    plane = np.zeros((len(projected), 2), np.float32)
    plane[:, : projected.shape[1]] = projected[:, :2]
    return plane


def _principal(centred: NDArray[np.float32], count: int) -> tuple[Any, NDArray[np.float32]]:
    """The principal components of rows, exact or by random projections, and the rows along them."""
    from sklearn.decomposition import PCA  # takes a while to import

    rows, columns = centred.shape
    exact = columns < rows and columns <= _WIDEST
    solver = "covariance_eigh" if exact else "auto"
    found = PCA(min(count, rows, columns), svd_solver=solver, copy=False, random_state=0)
    with np.errstate(invalid="ignore"):  # shares of no variance
        return found, np.ascontiguousarray(found.fit_transform(centred), np.float32)


def _matrix(given: Any, name: str) -> NDArray[np.float32]:
    """What was given, as float32 (n, D), copied only where it must be."""
    if isinstance(given, torch.Tensor):
        given = given.detach().cpu()
        given = (given if given.is_complex() else given.float()).numpy()
    array = np.asarray(given)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"expected {name} as real numbers, got dtype {array.dtype}")
    if array.ndim != 2:
        raise ValueError(
            f"expected {name} of shape (images, features), got {array.shape}; "
            "pool or flatten what a layer gives, such as features.mean((2, 3))"
        )
    if not array.shape[0]:
        raise ValueError(f"expected {name} of at least one image, got none")
    if not array.shape[1]:
        raise ValueError(f"expected at least one feature an image, got {name} of width 0")
    with np.errstate(over="ignore"):  # too large for float32 is infinite, and left out as such
        return np.ascontiguousarray(array, np.float32)


def _blocks(matrix: NDArray[np.float32]) -> list[slice]:
    """Rows a block at a time, so that what is computed of them stays small."""
    rows = max(1, _BLOCK // matrix.shape[1])
    return [slice(start, start + rows) for start in range(0, len(matrix), rows)]


def _finite(matrix: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Of each row, whether all its numbers are finite."""
    return np.concatenate([np.isfinite(matrix[block]).all(1) for block in _blocks(matrix)])


def _check_size(matrix: NDArray[np.float32]) -> None:
    """Raise where squares would be infinite, or all of them zero."""
    largest = max(float(np.abs(matrix[block]).max()) for block in _blocks(matrix))
    if largest and not 1e-15 < largest < 1e15:
        raise ValueError(
            f"expected features of sizes between 1e-15 and 1e15, got {largest:.2g} as the largest; "
            "scale them, or let normalise=True do it"
        )


def _all_same(matrix: NDArray[np.float32]) -> bool:
    """Whether all rows are the same."""
    return all(bool((matrix[block] == matrix[0]).all()) for block in _blocks(matrix))


def _normalised(matrix: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Rows divided by their lengths, and which of them are zeros and stay so."""
    lengths = np.empty(len(matrix))
    for block in _blocks(matrix):  # in float64, where squares of float32 numbers have room
        lengths[block] = np.sqrt(np.einsum("nd,nd->n", matrix[block], matrix[block], dtype=float))
    zeros = lengths == 0
    divisor = np.where(zeros, 1, lengths)[:, None]
    result = np.empty_like(matrix)
    for block in _blocks(matrix):
        np.divide(matrix[block], divisor[block], out=result[block], casting="same_kind")
    return result, zeros


def _named(numbers: NDArray[np.int64], noun: str) -> str:
    """``rows 1, 2, 3, 4, 5 and 7 more``."""
    shown = ", ".join(f"{number:,}" for number in numbers[:_NAMED])
    more = len(numbers) - _NAMED
    plural = noun if len(numbers) == 1 else f"{noun}s"
    return f"{plural} {shown}" + (f" and {more:,} more" if more > 0 else "")


def _left_out_notes(left_out: NDArray[np.int64]) -> tuple[str, ...]:
    """Says which rows are not on the map."""
    if not len(left_out):
        return ()
    what = "image was left out, as its" if len(left_out) == 1 else "images were left out, as their"
    named = _named(left_out, "number")
    return (f"{len(left_out):,} {what} features are not finite: {named}.",)


def _zero_notes(zeros: NDArray[np.int64]) -> tuple[str, ...]:
    """Says which rows have no direction."""
    if not len(zeros):
        return ()
    what = "image has" if len(zeros) == 1 else "images have"
    return (f"{len(zeros):,} {what} features that are all zero: {_named(zeros, 'number')}.",)
