"""Prediction transport, the paper's score: the cost of transporting the teacher's predictions to the student's."""

from __future__ import annotations

import numpy as np
import torch

from worker.ranking.estimators.base import Estimator, Need, Score, centred
from worker.ranking.estimators.evidence import Evidence, Indices, Vector
from worker.ranking.estimators.ground_cost import GroundCost, ground_cost, needs_of
from worker.transport.sinkhorn import sinkhorn

# Marginal violation: a tenth of the engine's default, because the gain is a difference of two such costs.
_VIOLATION = 1e-4


def transport_per_item(evidence: Evidence, ground: GroundCost, eps: float) -> tuple[Vector, str]:
    """Cost (N,) of transporting the teacher's prediction of every item to the student's side, and the method used.

    A label leaves only one coupling, so the cost is ``<p_i, C[:, y_i]>``, without an entropy term. A soft student
    prediction needs Sinkhorn; the cost is then ``<P_i, C>`` of the entropic plan.
    """
    if evidence.labels is not None:
        return ground.item_costs[np.arange(evidence.items), evidence.labels], "forced by labels"
    p, q, cost = (torch.from_numpy(array) for array in (evidence.probabilities, evidence.outcomes, ground.matrix))
    solved = sinkhorn(p, q, cost, eps=eps, tol=_VIOLATION)
    how = f"Sinkhorn, eps {eps:g}"
    if open_items := int((~solved.converged).sum()):
        how += f", {open_items} of {evidence.items} items not converged"
    return solved.value.numpy().astype(np.float64), how


def permuted_label_costs(ground: GroundCost, labels: Indices, orders: Indices) -> Vector:
    """Mean cost (M,) if item i has the prediction of item ``orders[m, i]`` and its own label."""
    return ground.item_costs[orders, labels].mean(axis=1)


class PredictionTransport(Estimator):
    """Mean transport cost from prediction to label, ``mean_i OT_eps(p_i, q_i; C)``; lower is better.

    With labels this is ``<J, C>``, ``J = mean_i p_i q_i^T``: the plan is determined. Without labels, the targets are
    the student's own soft predictions, and `eps` has an effect.

    Source: Lu, Ye, Zhan, "Faculty Distillation with Optimal Transport", arXiv 2204.11526.

    Parameters
    ----------
    alpha : float
        Weight of the label names in the ground cost; class prototypes have the rest.
    eps : float
        Entropic regularisation, in units of the ground cost; only for soft student predictions.
    name : str
        Name in the registry.
    """

    higher_is_better = False

    def __init__(self, alpha: float = 1.0, eps: float = 0.05, name: str = "prediction_transport") -> None:
        self.alpha, self.eps, self.name = alpha, eps, name
        self.needs = needs_of(alpha) | {Need.OUTCOMES}

    def score(self, evidence: Evidence) -> Score:
        costs, plan = transport_per_item(evidence, ground_cost(evidence, self.alpha), self.eps)
        return Score(float(costs.mean()), centred(costs), {"plan": plan})

    def null_values(self, evidence: Evidence, orders: Indices) -> Vector:
        if evidence.labels is None or self.alpha < 1.0:
            return super().null_values(evidence, orders)
        return permuted_label_costs(ground_cost(evidence), evidence.labels, orders)
