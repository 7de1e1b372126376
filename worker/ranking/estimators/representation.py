"""Features of the probe with their spectrum, decomposed once for all estimators that use it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

_COLUMN_ROUNDING = 1e-5  # relative to the features' size: several times float32 rounding
_CONSTANT = 1e-11  # relative deviation of a column: far above float64 rounding, far below float32 rounding
_RANK_CUT = 1e-12  # relative to the largest eigenvalue: float64 rounding of a zero in a Gram matrix


@dataclass(frozen=True, eq=False)
class Representation:
    """A teacher's representation of the probe.

    Attributes
    ----------
    rows : float64 array (N, D)
        One feature vector for each item.
    source : {"features", "log-predictions"}
        Origin of the vectors.
    """

    rows: NDArray[np.float64]
    source: str

    @property
    def dimensions(self) -> int:
        """D, the number of features."""
        return int(self.rows.shape[1])

    @property
    def varies(self) -> bool:
        """Whether any two items differ."""
        return bool((self.rows != self.rows[0]).any())

    @cached_property
    def spectrum(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Left singular vectors (N, r) and squared singular values (r,), r the numerical rank.

        Computed from the smaller of the two Gram matrices: with N = 512 items and D = 1,000 features this is one
        eigenproblem of size 512, independent of the number of classes.
        """
        x = self.rows
        wide = x.shape[1] > x.shape[0]
        values, vectors = eigh(x @ x.T if wide else x.T @ x, driver="evd", overwrite_a=True, check_finite=False)
        kept = values > max(float(values[-1]) * _RANK_CUT, np.finfo(np.float64).tiny)
        values, vectors = values[kept], vectors[:, kept]
        left = vectors if wide else x @ (vectors / np.sqrt(values))
        return left, values

    @cached_property
    def coordinates(self) -> NDArray[np.float64]:
        """The same items in an orthonormal basis of their span (N, r); all inner products are preserved."""
        left, values = self.spectrum
        return left * np.sqrt(values)

    @cached_property
    def centred_coordinates(self) -> NDArray[np.float64]:
        """`coordinates` minus their mean (N, r); 0 if the items differ only by float64 rounding."""
        rows = self.coordinates
        centred = rows - rows.mean(axis=0)
        sizes, left = np.sqrt((rows**2).mean(axis=0)), np.sqrt((centred**2).mean(axis=0))
        return centred * (left > _CONSTANT * sizes)


def without_rounding(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same features, with every column that varies only by float32 rounding set to its mean.

    Rounding is measured relative to the size of the column and of all features: scale-invariant estimators would
    otherwise treat the last digits of a constant column as information.

    Parameters
    ----------
    rows : float64 array (N, D)

    Returns
    -------
    float64 array (N, D)
    """
    means = rows.mean(axis=0)
    sizes = np.sqrt((rows**2).mean(axis=0))
    floor = _COLUMN_ROUNDING * np.maximum(sizes, np.sqrt((sizes**2).mean()))
    constant = rows.std(axis=0) <= floor
    return np.where(constant, means, rows) if constant.any() else rows
