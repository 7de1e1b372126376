"""PARC: whether items with similar teacher outputs have the same label."""

from __future__ import annotations

import numpy as np

from worker.ranking.estimators.base import Estimator, Need, Score, centred
from worker.ranking.estimators.evidence import Evidence, Indices, Matrix, Vector

_EQUAL = 1e-7
"""Dissimilarities, 0 to 2, that differ by less are equal up to rounding."""
_LONGEST = 20 * _EQUAL


def parc(features: Matrix, labels: Indices) -> tuple[float, Vector]:
    """Spearman correlation of pairwise dissimilarities, 100 times, and the influence of every item.

    ``PARC = 100 rho({1 - corr(x_i, x_j)}, {1 - corr(e_{y_i}, e_{y_j})})_{i<j}``, features standardised per column,
    e one-hot labels. The label side has only two values: same class or not. If all pairs are equal on one side (a
    single item per class, for example), the correlation is not defined and the score is 0.

    Influence: an item contributes with its N - 1 pairs. A pair contributes through its own product of ranks, through
    the share of pairs of one class, and by shifting the ranks of all pairs above it. Column means and variances are
    held fixed.

    Parameters
    ----------
    features : float64 array (N, D)
    labels : int array (N,)

    Returns
    -------
    value : float
        -100 to 100.
    influence : float64 array (N,)
    """
    n = len(labels)
    spread = features.std(axis=0)
    constant = features.max(axis=0) == features.min(axis=0)
    standard = (features - features.mean(axis=0)) * ~constant / np.where(constant, 1.0, spread)
    rows = standard - standard.mean(axis=1, keepdims=True)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    pairs = np.triu_indices(n, 1)
    unlike = 1 - (rows @ rows.T)[pairs]
    apart = labels[pairs[0]] != labels[pairs[1]]
    if apart.all() or not apart.any() or np.ptp(unlike) <= _EQUAL:
        return 0.0, np.zeros(n)
    place, count = _places(unlike)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    x, y = _standardise(ranks), _standardise(apart.astype(np.float64))
    rho = float((x * y).mean())
    at_rank = np.bincount(place, y)
    above = (at_rank.sum() - np.cumsum(at_rank) + at_rank / 2)[place] / ranks.std()
    own = x * y - 0.5 * rho * y**2 + above
    per_item = np.bincount(pairs[0], own, n) + np.bincount(pairs[1], own, n)
    return 100 * rho, centred(100 * 2 * per_item / (n - 1))


def _places(values: Vector) -> tuple[Indices, Indices]:
    """Position of every value among the distinct values, and the multiplicity of each.

    Values that differ only by float32 rounding count as one, as ranks require: a run in which neighbours differ by at
    most `_EQUAL`, unless the run is so long that it would merge distinct values.
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.concatenate([[True], np.diff(ordered) > _EQUAL])
    run = np.cumsum(starts) - 1
    first = np.flatnonzero(starts)
    last = np.concatenate([first[1:], [len(values)]]) - 1
    long = (ordered[last] - ordered[first] > _LONGEST)[run]
    starts[1:] |= long[1:] & (np.diff(np.round(ordered, 9)) > 0)
    place = np.empty(len(values), dtype=np.int64)
    place[order] = np.cumsum(starts) - 1
    return place, np.bincount(place)


def _standardise(values: Vector) -> Vector:
    return (values - values.mean()) / values.std()


class Parc(Estimator):
    """PARC, pairwise annotation representation comparison; higher is better, -100 to 100.

    The plain definition, without the optional reduction to 32 components.

    Source: Bolya, Mittapalli, Hoffman, "Scalable Diverse Model Selection for Accessible Transfer Learning",
    NeurIPS 2021 (arXiv 2111.06977).
    """

    name = "parc"
    needs = frozenset({Need.REPRESENTATION, Need.LABELS, Need.TWO_CLASSES})

    def score(self, evidence: Evidence) -> Score:
        assert evidence.labels is not None
        value, influence = parc(evidence.representation.rows, evidence.labels)
        return Score(value, influence, {"features": evidence.representation.source})
