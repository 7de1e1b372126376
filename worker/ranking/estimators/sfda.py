"""SFDA: how well a regularised Fisher discriminant separates the classes after self-challenging."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh
from scipy.special import softmax

from worker.ranking.estimators.base import Estimator, Need, Score, centred
from worker.ranking.estimators.evidence import Evidence, Indices, Matrix, Vector
from worker.ranking.estimators.ground_cost import class_sums
from worker.ranking.estimators.representation import Representation
from worker.ranking.estimators.shrunk_covariance import shrunk_solve

_LEAST_SHRINKAGE = 1e-10
_NO_SCATTER = 1e-10  # of squares, relative to the means: float32 rounding between equal predictions
_SAME_MEAN = 1e-10  # likewise, of squared distances between means


def _within(rows: Matrix, labels: Indices, classes: int) -> tuple[Matrix, Matrix, Vector]:
    """Class means (S, r), within-class covariance (r, r) and class shares (S,)."""
    sums, counts = class_sums(rows, labels, classes)
    means = sums / counts[:, None]
    deviations = rows - means[labels]
    return means, deviations.T @ deviations / len(rows), counts / len(rows)


def discriminant(rows: Matrix, labels: Indices, dimensions: int, shrinkage: float | None) -> tuple[Matrix, float]:
    """Posteriors (N, S) of a linear discriminant with shrunk within-class scatter, and the shrinkage used.

    ``log p(c | x) = x S_g^-1 m_c - 1/2 m_c S_g^-1 m_c + log b_c + const``, ``S_g = (1 - g) S_w + g tr(S_w)/D I``,
    ``g = exp(-5 lambda)`` with lambda the largest eigenvalue of S_w unless `shrinkage` is given. The authors solve a
    generalised eigenproblem and keep all its vectors, which is equivalent: their product is ``S_g^-1``.
    """
    classes = int(labels.max()) + 1
    means, within, shares = _within(rows, labels, classes)
    if np.trace(within) <= _NO_SCATTER * float((means**2).sum()):
        # One item a class, or a teacher with constant predictions for each class.
        return _limit(means, shares)[labels], _LEAST_SHRINKAGE if shrinkage is None else shrinkage
    if shrinkage is None:
        last = len(within) - 1
        largest = float(eigh(within, eigvals_only=True, subset_by_index=(last, last))[0])
        shrinkage = max(float(np.exp(-5 * largest)), _LEAST_SHRINKAGE)
    weights = shrunk_solve(within, shrinkage, dimensions, means.T)
    offsets = np.log(shares) - 0.5 * (means.T * weights).sum(axis=0)
    return np.asarray(softmax(rows @ weights + offsets, axis=1)), shrinkage


def _limit(means: Matrix, shares: Vector) -> Matrix:
    """Posteriors (S, S) at each class mean in the limit of zero scatter: certain, unless classes have the same mean.

    These share the item in proportion to their shares. For a teacher with constant predictions, all classes do.
    """
    squares = (means**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * (means @ means.T)
    weights = (distances <= _SAME_MEAN * max(float(squares.max(initial=0.0)), np.finfo(np.float64).tiny)) * shares
    return weights / weights.sum(axis=1, keepdims=True)


def sfda(representation: Representation, labels: Indices) -> tuple[Vector, float]:
    """Probability (N,) of the right class after self-challenging, and the shrinkage.

    A first discriminant gives each item a confidence ``t_i``, softened by a second softmax; the item then moves
    towards the other classes' means, ``x_i <- t_i x_i + (1 - t_i) mean_{c' != y_i} m_c'``; a second discriminant
    with the same shrinkage classifies the moved items.
    """
    present, dense = np.unique(labels, return_inverse=True)
    rows = representation.centred_coordinates
    own = np.arange(len(rows)), dense
    posterior, shrinkage = discriminant(rows, dense, representation.dimensions, None)
    confidence = np.asarray(softmax(posterior, axis=1))[own][:, None]
    means = _within(rows, dense, len(present))[0]
    others = (means.sum(axis=0) - means) / (len(present) - 1)
    moved = confidence * rows + (1 - confidence) * others[dense]
    posterior, _ = discriminant(moved, dense, representation.dimensions, shrinkage)
    return posterior[own], shrinkage


class Sfda(Estimator):
    """Self-challenging Fisher discriminant analysis, mean probability of the right class; higher is better.

    As in the authors' code, the mean is over probabilities, not over their logarithms. The score is in-sample, so it
    tends to 1 for every teacher if there are fewer items than features. The influence is for fixed discriminants.

    Source: Shao et al., "Not All Models Are Equal: Predicting Model Transferability in a Self-challenging Fisher
    Space", ECCV 2022 (arXiv 2207.03036).
    """

    name = "sfda"
    needs = frozenset({Need.REPRESENTATION, Need.LABELS, Need.TWO_CLASSES})

    def score(self, evidence: Evidence) -> Score:
        assert evidence.labels is not None
        right, shrinkage = sfda(evidence.representation, evidence.labels)
        details: dict[str, float | str] = {"features": evidence.representation.source, "shrinkage": shrinkage}
        return Score(float(right.mean()), centred(right), details)
