"""Regularised H-score: the share of the features' variance explained by the class means."""

from __future__ import annotations

import numpy as np

from worker.ranking.estimators.base import Estimator, Need, Score, centred
from worker.ranking.estimators.evidence import Evidence, Indices, Vector
from worker.ranking.estimators.ground_cost import class_sums
from worker.ranking.estimators.representation import Representation
from worker.ranking.estimators.shrunk_covariance import ledoit_wolf_shrinkage, shrunk_solve


def regularised_h_score(representation: Representation, labels: Indices, classes: int) -> tuple[float, Vector, float]:
    """Shrunk H-score, the influence of every item, and the shrinkage.

    ``H = (1 - g) tr(S_g^-1 B)``: ``S_g = (1 - g) S + g mu I`` the Ledoit-Wolf covariance of the features,
    ``B = sum_c b_c m_c m_c^T`` the covariance of their class means (both centred).

    Influence: ``dB_i = m x^T + x m^T - m m^T - B`` for item x of a class with mean m,
    ``dS_g = (1 - g)(x x^T - S) + g (|x|^2 - tr S) / D I + dg (mu I - S)``, and
    ``dH = (1 - g) [tr(S_g^-1 dB) - tr(S_g^-1 dS_g S_g^-1 B)] - dg tr(S_g^-1 B)``.

    Returns
    -------
    value : float
        0 to min(S - 1, D).
    influence : float64 array (N,)
    shrinkage : float
    """
    n, dimensions = len(labels), representation.dimensions
    rows = representation.centred_coordinates
    covariance = rows.T @ rows / n
    shrinkage, of_shrinkage = ledoit_wolf_shrinkage(rows, dimensions)
    sums, counts = class_sums(rows, labels, classes)
    means = sums / np.maximum(counts, 1)[:, None]
    shares = counts / n

    solved = shrunk_solve(covariance, shrinkage, dimensions, means.T)  # (r, S)
    within = (means * solved.T).sum(axis=1)
    trace = float(shares @ within)
    met = rows @ solved
    of_means = 2 * met[np.arange(n), labels] - within[labels]
    of_scatter = (met**2) @ shares
    scale = float((solved**2).sum(axis=0) @ shares) / dimensions
    of_size = (rows**2).sum(axis=1) * scale
    influence = (1 - shrinkage) * (of_means - (1 - shrinkage) * of_scatter - shrinkage * of_size)
    by_shrinkage = (1 - shrinkage) * (of_scatter.mean() - of_size.mean()) - trace
    influence += by_shrinkage * of_shrinkage
    return (1 - shrinkage) * trace, centred(influence), shrinkage


class RegularisedHScore(Estimator):
    """H-score with a Ledoit-Wolf covariance; higher is better.

    Source: Bao et al., "An Information-Theoretic Approach to Transferability in Task Transfer Learning", ICIP
    2019; regularised by Ibrahim, Ponomareva, Mazumder, "Newer is not always better: Rethinking transferability
    metrics, their peculiarities, stability and performance", ECML PKDD 2022 (arXiv 2110.06893).
    """

    name = "h_score"
    needs = frozenset({Need.REPRESENTATION, Need.LABELS, Need.TWO_CLASSES})

    def score(self, evidence: Evidence) -> Score:
        assert evidence.labels is not None
        representation = evidence.representation
        value, influence, shrinkage = regularised_h_score(representation, evidence.labels, evidence.student_classes)
        return Score(value, influence, {"features": representation.source, "shrinkage": shrinkage})
