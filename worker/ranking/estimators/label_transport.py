"""Label transport: distance between the student's and the teacher's labels, without data."""

from __future__ import annotations

from typing import Literal

import numpy as np

from worker.ranking.estimators.base import Estimator, Need, Score
from worker.ranking.estimators.evidence import Evidence
from worker.transport.exact import coverage_transport, exact_cost

Mode = Literal["balanced", "coverage"]


class LabelTransport(Estimator):
    """Transport between the label priors, ``OT(a, b; C)``; lower is better.

    `balanced` transports the whole of the teacher's prior ``a``, so that unrelated teacher classes raise the cost.
    `coverage` drops the constraint on the teacher's side, so that each student class is matched with its nearest
    teacher class: ``sum_c b_c min_k C[k, c]``.

    Source: the label-space bridge of Lu, Ye, Zhan, arXiv 2204.11526; the relaxation is the one-sided relaxed
    transport of Kusner et al., "From Word Embeddings to Document Distances", ICML 2015.
    """

    needs = frozenset({Need.NAMES})
    higher_is_better = False

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self.name = f"label_transport_{mode}"

    def score(self, evidence: Evidence) -> Score:
        cost = np.asarray(evidence.text_cost, dtype=np.float64)
        if self.mode == "balanced":
            return Score(exact_cost(evidence.teacher_marginal, evidence.student_marginal, cost))
        plan = coverage_transport(evidence.student_marginal, cost)
        return Score(plan.value, details={"farthest_class": float(plan.g.max())})
