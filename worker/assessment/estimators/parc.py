"""PARC: whether items that the teacher sees alike carry the same label."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from worker.assessment.estimators.base import Estimator, Need, Score, centred
from worker.assessment.estimators.evidence import Evidence, Indices, Matrix, Vector


def parc(features: Matrix, labels: Indices) -> tuple[float, Vector]:
    """Spearman correlation of pairwise dissimilarities, 100 times, and the influence of every item.

    ``PARC = 100 rho({1 - corr(x_i, x_j)}, {1 - corr(e_{y_i}, e_{y_j})})_{i<j}``, features standardised per column,
    e one-hot labels. The label side has two values only: same class or not. Where all pairs are alike on one side
    (a single item per class, say) there is nothing to correlate and the score is 0.

    Influence: an item enters with its N - 1 pairs; ranks are held fixed.

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
    standard = (features - features.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0)
    rows = standard - standard.mean(axis=1, keepdims=True)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    pairs = np.triu_indices(n, 1)
    # Rounding to nine digits lets equal pairs tie, as they must for a rank, whatever order the sums were taken in.
    unlike = np.round(1 - (rows @ rows.T)[pairs], 9)
    apart = labels[pairs[0]] != labels[pairs[1]]
    x, y = _standard_ranks(unlike), _standard_ranks(apart.astype(np.float64))
    if x is None or y is None:
        return 0.0, np.zeros(n)
    rho = float((x * y).mean())
    own = x * y - 0.5 * rho * (x**2 + y**2)
    per_item = np.bincount(pairs[0], own, n) + np.bincount(pairs[1], own, n)
    return 100 * rho, centred(100 * 2 * per_item / (n - 1))


def _standard_ranks(values: Vector) -> Vector | None:
    if len(values) < 2 or values.min() == values.max():
        return None
    ranks = rankdata(values)
    return (ranks - ranks.mean()) / ranks.std()


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
