"""Leave-one-out k-NN: whether an item's nearest neighbours in the teacher's features share its label."""

from __future__ import annotations

import numpy as np

from worker.ranking.estimators.base import Estimator, Need, Score, centred
from worker.ranking.estimators.evidence import Evidence, Indices, Matrix


def leave_one_out(features: Matrix, labels: Indices, k: int) -> np.ndarray:
    """Whether each item is classified right by its k nearest other items, bool (N,).

    Euclidean distance, majority vote; a tied vote goes to the tied class whose member is nearest.
    """
    n = len(labels)
    k = min(k, n - 1)
    if k < 1:
        return np.zeros(n, dtype=bool)
    squares = (features**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * (features @ features.T)
    np.fill_diagonal(distances, np.inf)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k] if k > 1 else distances.argmin(axis=1)[:, None]
    votes = np.zeros((n, int(labels.max()) + 1))
    for place in range(k):
        # A nearer neighbour weighs more by less than one vote in all, which settles ties and nothing else.
        np.add.at(votes, (np.arange(n), labels[order[:, place]]), 1 + 2.0 ** -(place + 2))
    return votes.argmax(axis=1) == labels


class NearestNeighbour(Estimator):
    """Leave-one-out k-NN accuracy in the teacher's features, 0 to 1; higher is better.

    With one label a class nobody can be right and every teacher scores 0. The influence holds neighbours fixed.

    Source: the k-NN baseline of Bolya, Mittapalli, Hoffman, NeurIPS 2021 (arXiv 2111.06977), with their k = 1.

    Parameters
    ----------
    k : int
        Number of neighbours.
    """

    name = "knn"
    needs = frozenset({Need.REPRESENTATION, Need.LABELS})

    def __init__(self, k: int = 1) -> None:
        self.k = k

    def score(self, evidence: Evidence) -> Score:
        assert evidence.labels is not None
        right = leave_one_out(evidence.representation.rows, evidence.labels, self.k).astype(np.float64)
        return Score(float(right.mean()), centred(right), {"features": evidence.representation.source})
