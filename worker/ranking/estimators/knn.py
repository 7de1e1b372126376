"""Leave-one-out k-NN: accuracy of predicting an item's label from its nearest neighbours in the teacher's features."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from worker.ranking.estimators.base import Estimator, Need, Score, centred
from worker.ranking.estimators.evidence import Evidence, Indices, Matrix, Vector
from worker.ranking.estimators.representation import Representation

_ROUNDING = 1e-10
"""Squared distances that differ by less, relative to the longest row, are equal up to float32 rounding of the rows."""
_SINGLE = 1e-5
"""Error of a squared distance in float32, relative to the longest row."""
_CANDIDATES = 8
"""Maximum mean number of candidates an item that are compared one by one."""
_BLOCK = 128
"""Items whose distances are kept in memory at the same time."""


def leave_one_out(features: Matrix, labels: Indices, k: int) -> NDArray[np.float64]:
    """Probability that each item is classified correctly by its k nearest other items, float64 (N,).

    Euclidean distance, majority vote; a tie goes to the tied class with the nearest member. Items at the same distance
    share their ranks, so that the result does not depend on the order of the items: for a teacher with constant
    predictions, all other items vote. Classes that are still tied share the item, which is the only case with a
    probability other than 0 and 1.
    """
    n = len(labels)
    k = min(k, n - 1)
    if k < 1:
        return np.zeros(n)
    classes = int(labels.max()) + 1
    votes = _nearest(features, labels, classes) if k == 1 else _several(features, labels, classes, k)
    best = votes >= votes.max(axis=1, keepdims=True) * (1 - 1e-12)
    return best[np.arange(n), labels] / best.sum(axis=1)


def _products(features: Matrix, dtype: type[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Factors of the squared distances, up to the item's own square, which is constant over the other items.

    ``|x - x'|^2 - |x|^2 = -2 <x, x'> + |x'|^2`` is the product of the first (N, D + 1) and the second (D + 1, N).
    """
    halved = np.column_stack([-2 * features, np.ones(len(features))])
    others = np.column_stack([features, (features**2).sum(axis=1)])
    return halved.astype(dtype), others.T.astype(dtype)


def _blocks(n: int) -> Iterator[Indices]:
    for begin in range(0, n, _BLOCK):
        yield np.arange(begin, min(n, begin + _BLOCK))


def _nearest(features: Matrix, labels: Indices, classes: int) -> Matrix:
    """Votes (N, S) of every item's nearest other items.

    Products in float32 select a few candidates an item; float64 decides among them. If many items are tied (a teacher
    with few distinct predictions), all distances are computed in float64.
    """
    n = len(labels)
    largest = float((features**2).sum(axis=1).max())
    rounding, margin = _ROUNDING * largest, _SINGLE * largest
    rough = _products(features, np.float32)
    exact: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None
    votes = np.zeros((n, classes))
    for rows in _blocks(n):
        distances = rough[0][rows] @ rough[1]
        distances[np.arange(len(rows)), rows] = np.inf
        place, near = np.nonzero(distances <= distances.min(axis=1, keepdims=True) + margin)
        if len(place) > _CANDIDATES * len(rows):
            exact = exact or _products(features, np.float64)
            distances = exact[0][rows] @ exact[1]
            distances[np.arange(len(rows)), rows] = np.inf
            place, near = np.nonzero(distances <= distances.min(axis=1, keepdims=True) + rounding)
        else:
            differences = features[rows[place]] - features[near]
            found = np.einsum("ij,ij->i", differences, differences)
            least = np.full(len(rows), np.inf)
            np.minimum.at(least, place, found)
            kept = found <= least[place] + rounding
            place, near = place[kept], near[kept]
        votes[rows] = np.bincount(place * classes + labels[near], minlength=len(rows) * classes).reshape(-1, classes)
    return votes


def _several(features: Matrix, labels: Indices, classes: int, k: int) -> Matrix:
    """Votes (N, S) of every item's k nearest other items."""
    # Nearer neighbours have slightly larger votes; the total difference is below one vote and only breaks ties.
    votes_of_places = np.concatenate([[0.0], np.cumsum(1 + 2.0 ** -(np.arange(k) + 2))])
    target = np.eye(classes)[labels]
    rounding = _ROUNDING * float((features**2).sum(axis=1).max())
    halved, others = _products(features, np.float64)
    votes = np.empty((len(labels), classes))
    for rows in _blocks(len(labels)):
        distances = halved[rows] @ others
        distances[np.arange(len(rows)), rows] = np.inf
        votes[rows] = np.stack([_weights(row, rounding, votes_of_places) for row in distances]) @ target
    return votes


def _weights(distances: Vector, rounding: float, votes_of_places: Vector) -> Vector:
    """Votes (N,) of all items, from their distances to one; `votes_of_places`: cumulative votes by rank, (k + 1,)."""
    ordered = np.sort(distances)
    nearer = np.searchsorted(ordered, distances - rounding, side="left")
    not_farther = np.searchsorted(ordered, distances + rounding, side="right")
    k = len(votes_of_places) - 1
    taken = votes_of_places[np.minimum(not_farther, k)] - votes_of_places[np.minimum(nearer, k)]
    return taken / (not_farther - nearer)


def _shortest(representation: Representation) -> Matrix:
    """The items in fewer columns with the same distances, if that saves time."""
    if len(representation.rows) <= _BLOCK:
        return representation.rows
    left, values = representation.spectrum  # Not `coordinates`, which are cached: for a zoo they take gigabytes.
    return left * np.sqrt(values)


class NearestNeighbour(Estimator):
    """Leave-one-out k-NN accuracy in the teacher's features, 0 to 1; higher is better.

    With one label a class no item can be classified, and every teacher scores 0. The influence is for fixed neighbours.

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
