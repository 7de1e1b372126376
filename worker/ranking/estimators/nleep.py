"""N-LEEP: LEEP with the teacher's classes replaced by clusters of its features."""

from __future__ import annotations

import warnings

import numpy as np

from worker.ranking.estimators.base import Estimator, Need, Score
from worker.ranking.estimators.evidence import Evidence, Indices, Matrix, Vector
from worker.ranking.estimators.leep import leep


class NLeep(Estimator):
    """LEEP over the posteriors of a Gaussian mixture fitted to the features; higher is better, at most 0.

    Principal components with `energy` of the variance, then a mixture of ``ratio * S`` Gaussians; ``theta_i`` is the
    posterior of item i over them.

    Two changes for small probes: components have diagonal covariances, and there are at most N / 4 of them. A full
    covariance from four items is singular, and with as many components as items every teacher scores 0. The influence
    is for a fixed mixture.

    Source: Li et al., "Ranking Neural Checkpoints", CVPR 2021 (arXiv 2011.11200).

    Parameters
    ----------
    ratio : int
        Components per student class.
    energy : float
        Share of the variance explained by the principal components that are kept, 0 to 1.
    """

    name = "nleep"
    needs = frozenset({Need.REPRESENTATION, Need.LABELS})

    def __init__(self, ratio: int = 5, energy: float = 0.8) -> None:
        self.ratio, self.energy = ratio, energy

    def score(self, evidence: Evidence) -> Score:
        assert evidence.labels is not None
        theta = self._posteriors(evidence)
        value, influence = leep(theta, evidence.labels, evidence.student_classes)
        details = {"features": evidence.representation.source, "components": float(theta.shape[1])}
        return Score(value, influence, details)

    def null_values(self, evidence: Evidence, orders: Indices) -> Vector:
        """The mixture does not depend on labels, so one fit serves all permutations."""
        assert evidence.labels is not None
        theta = self._posteriors(evidence)
        return np.array([leep(theta[order], evidence.labels, evidence.student_classes)[0] for order in orders])

    def _posteriors(self, evidence: Evidence) -> Matrix:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        if not evidence.representation.varies:
            return np.ones((evidence.items, 1))
        reduced = principal_components(evidence.representation.coordinates, self.energy)
        components = max(1, min(self.ratio * evidence.student_classes, evidence.items // 4))
        mixture = GaussianMixture(components, covariance_type="diag", reg_covar=1e-3, random_state=evidence.seed)
        with warnings.catch_warnings():
            # A mixture that reaches its iteration limit still gives posteriors, and duplicate items leave k-means with
            # fewer clusters than requested. A caller can do nothing about either.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return np.asarray(mixture.fit(reduced).predict_proba(reduced), dtype=np.float64)


def principal_components(rows: Matrix, energy: float) -> Matrix:
    """Scores (N, d) on the fewest principal components with `energy` of the variance; total variance 1."""
    left, values, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    shares = values**2 / max(float((values**2).sum()), np.finfo(np.float64).tiny)
    kept = int(np.searchsorted(np.cumsum(shares), energy)) + 1
    return left[:, :kept] * np.sqrt(shares[:kept] * len(rows))
