"""LEEP: log-likelihood of the labels under the teacher's predictions, through the empirical joint."""

from __future__ import annotations

import numpy as np

from worker.ranking.estimators.base import Estimator, Need, Score, centred
from worker.ranking.estimators.evidence import Evidence, Indices, Matrix, Vector

_TINY = np.finfo(np.float64).tiny


def leep(theta: Matrix, labels: Indices, classes: int) -> tuple[float, Vector]:
    """Log expected empirical prediction of `labels`, and the influence of every item.

    ``LEEP = mean_i log sum_z P(y_i | z) theta_i(z)``, ``P(y | z) = J(z, y) / a(z)``,
    ``J(z, y) = mean_i theta_i(z) [y_i = y]``, ``a(z) = sum_y J(z, y)``.

    An item has two effects: through its own term, and through P(y | z) on the terms of all others. The influence
    includes both.

    Parameters
    ----------
    theta : float64 array (N, Z)
        Distribution of every item over Z source classes or mixture components.
    labels : int array (N,)
        Target class of every item.
    classes : int
        Number of target classes.

    Returns
    -------
    value : float
        At most 0.
    influence : float64 array (N,)
    """
    n = len(labels)
    target = np.eye(classes)[labels]
    joint = theta.T @ target / n
    marginal = np.maximum(theta.mean(axis=0), _TINY)
    conditional = joint / marginal[:, None]
    own = np.arange(n), labels
    likelihood = np.maximum((theta @ conditional)[own], _TINY)
    logs = np.log(likelihood)
    weighted = theta.T @ (target / likelihood[:, None]) / n
    response = (weighted - (weighted * conditional).sum(axis=1, keepdims=True)) / marginal[:, None]
    through_conditional = (theta @ response)[own]
    return float(logs.mean()), centred(logs + through_conditional)


class Leep(Estimator):
    """LEEP, log expected empirical prediction; higher is better, at most 0.

    Source: Nguyen, Hassner, Seeger, Archambeau, "LEEP: A New Measure to Evaluate Transferability of Learned
    Representations", ICML 2020, eq. 2 (arXiv 2002.12462).
    """

    name = "leep"
    needs = frozenset({Need.PROBE, Need.LABELS})

    def score(self, evidence: Evidence) -> Score:
        assert evidence.labels is not None
        return Score(*leep(evidence.probabilities, evidence.labels, evidence.student_classes))
