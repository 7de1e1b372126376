"""NCE: how much the teacher's hard decisions tell about the labels."""

from __future__ import annotations

import numpy as np

from worker.ranking.estimators.base import Estimator, Need, Score, centred
from worker.ranking.estimators.evidence import Evidence


class NegativeConditionalEntropy(Estimator):
    """Negative conditional entropy of the labels given the teacher's hard decisions; higher is better, at most 0.

    ``NCE = -H(Y | Z) = mean_i log P(y_i | z_i)``, ``z_i = argmax_k p_i(k)``, P the empirical conditional. In nats.

    Source: Tran, Nguyen, Hassner, "Transferability and Hardness of Supervised Classification Tasks", ICCV 2019
    (arXiv 1908.08142).
    """

    name = "nce"
    needs = frozenset({Need.PROBE, Need.LABELS})

    def score(self, evidence: Evidence) -> Score:
        assert evidence.labels is not None
        decisions = evidence.probabilities.argmax(axis=1)
        counts = np.zeros((evidence.teacher_classes, evidence.student_classes))
        np.add.at(counts, (decisions, evidence.labels), 1.0)
        own = counts[decisions, evidence.labels] / counts.sum(axis=1)[decisions]
        logs = np.log(own)
        # The conditional maximises this mean, so its own response to an item vanishes to first order.
        return Score(float(logs.mean()), centred(logs))
