"""Covariances shrunk towards the identity: the one regulariser that H-score and SFDA share."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from worker.assessment.estimators.evidence import Matrix


def ledoit_wolf_shrinkage(rows: Matrix, dimensions: int) -> float:
    """Ledoit-Wolf shrinkage intensity of centred `rows`, from inner products between items alone.

    ``delta^2 = |S - mu I|^2 / D`` and ``beta^2 = (mean_i |x_i|^4 - |S|^2) / (N D)``, intensity ``min(beta^2,
    delta^2) / delta^2``. `rows` may be coordinates in the items' own span: no term looks at anything but inner
    products and D, so a 2,000-dimensional covariance is never formed.

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
    float
        Between 0 and 1.
    """
    n = len(rows)
    squares = (rows**2).sum(axis=1)
    mu = squares.mean() / dimensions
    size = float(((rows.T @ rows) ** 2).sum()) / n**2
    delta = size / dimensions - mu**2
    if delta <= 0:
        return 0.0
    beta = ((squares**2).mean() - size) / (n * dimensions)
    return float(np.clip(beta / delta, 0.0, 1.0))


def shrunk_solve(covariance: Matrix, shrinkage: float, dimensions: int, right: Matrix) -> Matrix:
    """Solve ``((1 - g) S + g mu I) Z = right`` with ``mu = tr(S) / D``.

    Parameters
    ----------
    covariance : float64 array (r, r)
        S, in the coordinates of the items' span.
    shrinkage : float
        g, 0 to 1.
    dimensions : int
        D, the number of features before the rotation; it sets mu.
    right : float64 array (r, m)

    Returns
    -------
    float64 array (r, m)
    """
    mu = float(np.trace(covariance)) / dimensions
    # The last term is rounding's own size: it keeps a factor where g and the smallest eigenvalue are both 0.
    ridge = shrinkage * mu + float(np.trace(covariance)) * 1e-12 + np.finfo(np.float64).tiny
    matrix = (1 - shrinkage) * covariance
    matrix[np.diag_indices_from(matrix)] += ridge
    return cho_solve(cho_factor(matrix, lower=True, overwrite_a=True), right)
