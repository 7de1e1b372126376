"""Leave-one-out k-NN: whether an item's nearest neighbours in the teacher's features share its label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worker.assessment.estimators.base import Estimator, Need, Score, centred
from worker.assessment.estimators.evidence import Evidence, Indices, Matrix, Vector
from worker.assessment.estimators.representation import Representation

_ROUNDING = 1e-10
"""Squared distances that differ by less, relative to the longest row, are equal but for float32's rounding of rows."""
_BLOCK = 512
"""Items whose distances are held at once."""


def leave_one_out(features: Matrix, labels: Indices, k: int) -> NDArray[np.float64]:
    """Probability that each item is classified right by its k nearest other items, float64 (N,).

    Euclidean distance, majority vote; a tied vote goes to the tied class whose member is nearest. Items at the same
    distance share the places that they take, so that the order of the items decides nothing: where a teacher gives
    every item the same answer, all others vote. Classes that are level to the end share the item, which is the only
    way to a probability other than 0 and 1.
    """
    n = len(labels)
    k = min(k, n - 1)
    right = np.zeros(n)
    if k < 1:
        return right
    classes = int(labels.max()) + 1
    target = np.eye(classes)[labels]
    # A nearer neighbour weighs more by less than one vote in all, which settles ties and nothing else.
    votes_of_places = np.concatenate([[0.0], np.cumsum(1 + 2.0 ** -(np.arange(k) + 2))])
    squares = (features**2).sum(axis=1)
    rounding = _ROUNDING * float(squares.max())
    for begin in range(0, n, _BLOCK):
        rows = np.arange(begin, min(n, begin + _BLOCK))
        # Without the item's own square, which is the same for all others.
        distances = features[rows] @ features.T
        distances *= -2
        distances += squares
        distances[np.arange(len(rows)), rows] = np.inf
        if k == 1:
            places, near = np.nonzero(distances <= distances.min(axis=1, keepdims=True) + rounding)
            votes = np.bincount(places * classes + labels[near], minlength=len(rows) * classes)
            votes = votes.reshape(len(rows), classes).astype(np.float64)
        else:
            votes = np.stack([_weights(row, rounding, votes_of_places) for row in distances]) @ target
        best = votes >= votes.max(axis=1, keepdims=True) * (1 - 1e-12)
        right[rows] = best[np.arange(len(rows)), labels[rows]] / best.sum(axis=1)
    return right


def _weights(distances: Vector, rounding: float, votes_of_places: Vector) -> Vector:
    """Votes (N,) of every item at these distances from one; sums of votes over the first places, (k + 1,)."""
    ordered = np.sort(distances)
    nearer = np.searchsorted(ordered, distances - rounding, side="left")
    not_farther = np.searchsorted(ordered, distances + rounding, side="right")
    k = len(votes_of_places) - 1
    taken = votes_of_places[np.minimum(not_farther, k)] - votes_of_places[np.minimum(nearer, k)]
    return taken / (not_farther - nearer)


def _shortest(representation: Representation) -> Matrix:
    """The items in fewer columns, with all distances kept, where that costs less than it saves."""
    return representation.coordinates if len(representation.rows) > _BLOCK else representation.rows


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
        right = leave_one_out(_shortest(evidence.representation), evidence.labels, self.k)
        return Score(float(right.mean()), centred(right), {"features": evidence.representation.source})
