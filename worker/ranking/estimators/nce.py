"""NCE: the information of the teacher's hard decisions about the labels."""

from __future__ import annotations

import numpy as np

from worker.ranking.estimators.base import Estimator, Need, Score, centred
from worker.ranking.estimators.evidence import Evidence

_EQUAL = 1e-5  # relative float32 rounding between equal probabilities


class NegativeConditionalEntropy(Estimator):
    """Negative conditional entropy of the labels given the teacher's hard decisions; higher is better, at most 0.

    A decision between classes of equal probability (up to rounding) is divided among them.

    ``NCE = -H(Y | Z) = mean_i log P(y_i | z_i)``, ``z_i = argmax_k p_i(k)``, P the empirical conditional. In nats.

    Source: Tran, Nguyen, Hassner, "Transferability and Hardness of Supervised Classification Tasks", ICCV 2019
    (arXiv 1908.08142).
    """

    name = "nce"
    needs = frozenset({Need.PROBE, Need.LABELS})

    def score(self, evidence: Evidence) -> Score:
        assert evidence.labels is not None
        p = evidence.probabilities
        items, classes = np.nonzero(p >= (1 - _EQUAL) * p.max(axis=1, keepdims=True))
        shares = 1.0 / np.bincount(items, minlength=len(p))[items]
        counts = np.zeros((evidence.teacher_classes, evidence.student_classes))
        np.add.at(counts, (classes, evidence.labels[items]), shares)
        own = counts[classes, evidence.labels[items]] / counts.sum(axis=1)[classes]
        logs = np.zeros(len(p))
        np.add.at(logs, items, shares * np.log(own))
        # The conditional maximises this mean, so to first order its dependence on an item vanishes.
        return Score(float(logs.mean()), centred(logs))
