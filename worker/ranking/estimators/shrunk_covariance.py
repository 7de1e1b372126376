"""Covariances shrunk towards the identity: the regularisation shared by H-score and SFDA."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from worker.ranking.estimators.evidence import Matrix, Vector


def ledoit_wolf_shrinkage(rows: Matrix, dimensions: int) -> tuple[float, Vector]:
    """Ledoit-Wolf shrinkage intensity of centred `rows`, from inner products between items only.

    ``delta = |S|^2 / D - mu^2`` and ``beta = (mean_i |x_i|^4 - |S|^2) / (N D)``, intensity ``beta / delta``, at most
    1. `rows` may be coordinates in the items' span: all terms depend only on inner products and D, so that a
    2,000-dimensional covariance is never formed.

    Source: Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", J.
    Multivariate Analysis 88, 2004.

    Parameters
    ----------
    rows : float64 array (N, r)
        Centred items.
    dimensions : int
        D, the number of features before any rotation.

    Returns
    -------
    shrinkage : float
        Between 0 and 1.
    influence : float64 array (N,)
        First-order effect of every item on it; 0 if the intensity is at an end of its range.
    """
    n = len(rows)
    squares = (rows**2).sum(axis=1)
    covariance = rows.T @ rows / n
    mu, size, fourth = squares.mean() / dimensions, float((covariance**2).sum()), (squares**2).mean()
    delta = size / dimensions - mu**2
    if delta <= 0:
        return 0.0, np.zeros(n)
    shrinkage = float((fourth - size) / (n * dimensions) / delta)
    if not 0 < shrinkage < 1:
        return float(np.clip(shrinkage, 0.0, 1.0)), np.zeros(n)
    of_size = 2 * (((rows @ covariance) * rows).sum(axis=1) - size)
    # The third term is the item's effect on the mean by which all items are centred.
    of_fourth = squares**2 - fourth - 4 * rows @ (squares @ rows / n)
    of_delta = of_size / dimensions - 2 * mu * (squares / dimensions - mu)
    return shrinkage, ((of_fourth - of_size) / (n * dimensions) - shrinkage * of_delta) / delta


def shrunk_solve(covariance: Matrix, shrinkage: float, dimensions: int, right: Matrix) -> Matrix:
    """Solve ``((1 - g) S + g mu I) Z = right`` with ``mu = tr(S) / D``.

    Parameters
    ----------
    covariance : float64 array (r, r)
        S, in coordinates of the items' span.
    shrinkage : float
        g, 0 to 1.
    dimensions : int
        D, the number of features before the rotation; it sets mu.
        D, the number of features before the rotation; determines mu.

    Returns
    -------
    float64 array (r, m)
    """
    mu = float(np.trace(covariance)) / dimensions
    # The last term is of the size of rounding: it allows a factorisation if g and the smallest eigenvalue are both 0.
    ridge = shrinkage * mu + float(np.trace(covariance)) * 1e-12 + np.finfo(np.float64).tiny
    matrix = (1 - shrinkage) * covariance
    matrix[np.diag_indices_from(matrix)] += ridge
    return cho_solve(cho_factor(matrix, lower=True, overwrite_a=True), right)
