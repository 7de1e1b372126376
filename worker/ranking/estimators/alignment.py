"""Alignment: the share of the avoidable transport cost that the teacher's predictions avoid."""

from __future__ import annotations

import numpy as np

from worker.ranking.estimators.base import Estimator, Need, Score, centred
from worker.ranking.estimators.evidence import Evidence, Indices, Vector
from worker.ranking.estimators.ground_cost import GroundCost, ground_cost, needs_of
from worker.ranking.estimators.prediction_transport import permuted_label_costs, transport_per_item
from worker.transport.exact import exact_cost, exact_transport

# Below this, the attainable gain is float32 rounding of costs and of equal predictions; a ratio to it would be noise.
_MIN_ATTAINABLE = 1e-4


def _independent(evidence: Evidence, ground: GroundCost) -> tuple[float, Vector]:
    """``<a x b, C>`` with a and b the mean marginals of the probe, and the influence (N,) of the items."""
    q = evidence.outcomes
    of_prediction = ground.item_costs @ q.mean(axis=0)
    of_outcome = q @ ground.item_costs.mean(axis=0)
    return float(of_prediction.mean()), centred(of_prediction) + centred(of_outcome)


class TransportGain(Estimator):
    """Saving of the items' own predictions over independence: ``<a x b, C> - <J, C>``; higher is better.

    The independent coupling has the cost of a teacher with these marginals whose predictions are independent of the
    items. Subtracting it removes the effect of the marginals. 0 for an uninformative teacher.

    Source: this project's design, numerator of `Alignment`.

    Parameters
    ----------
    alpha, eps, name
        As in `PredictionTransport`.
    """

    def __init__(self, alpha: float = 1.0, eps: float = 0.05, name: str = "transport_gain") -> None:
        self.alpha, self.eps, self.name = alpha, eps, name
        self.needs = needs_of(alpha) | {Need.OUTCOMES}

    def score(self, evidence: Evidence) -> Score:
        ground = ground_cost(evidence, self.alpha)
        independent, influence = _independent(evidence, ground)
        costs, plan = transport_per_item(evidence, ground, self.eps)
        details = {"independent": independent, "paid": float(costs.mean()), "plan": plan}
        return Score(independent - float(costs.mean()), influence - centred(costs), details)

    def null_values(self, evidence: Evidence, orders: Indices) -> Vector:
        if evidence.labels is None or self.alpha < 1.0:
            return super().null_values(evidence, orders)
        ground = ground_cost(evidence)
        return _independent(evidence, ground)[0] - permuted_label_costs(ground, evidence.labels, orders)


class Alignment(Estimator):
    """The gain as a share of the largest gain of any coupling with these marginals; higher is better.

    ``A = (<a x b, C> - <J, C>) / (<a x b, C> - OT(a, b; C))``: 1 if the predictions are an optimal coupling of the two
    label sets, 0 if they are independent of the items, negative if they are worse than that. If no gain is attainable
    (a teacher with constant predictions, a student with one class), A is 0. With prototypes in the cost, each item is
    compared with a prototype that excludes it, so that A may slightly exceed 1.

    Influence: the optimal value depends on the marginals through its dual potentials, ``f . p_i + g . q_i`` (envelope
    theorem), and the ratio is linearised.

    Source: this project's design.

    Parameters
    ----------
    alpha, eps, name
        As in `PredictionTransport`.
    """

    def __init__(self, alpha: float = 1.0, eps: float = 0.05, name: str = "alignment") -> None:
        self.alpha, self.eps, self.name = alpha, eps, name
        self.needs = needs_of(alpha) | {Need.OUTCOMES}

    def score(self, evidence: Evidence) -> Score:
        ground = ground_cost(evidence, self.alpha)
        p, q = evidence.probabilities, evidence.outcomes
        independent, influence = _independent(evidence, ground)
        costs, plan = transport_per_item(evidence, ground, self.eps)
        best = exact_transport(p.mean(axis=0), q.mean(axis=0), ground.matrix)
        gain, attainable = independent - float(costs.mean()), independent - best.value
        details: dict[str, float | str] = {
            "independent": independent,
            "paid": float(costs.mean()),
            "optimal": best.value,
            "plan": plan,
        }
        if attainable < _MIN_ATTAINABLE:
            return Score(0.0, np.zeros(evidence.items), details | {"note": "no attainable gain"})
        value = gain / attainable
        of_gain = influence - centred(costs)
        of_attainable = influence - centred(p @ best.f + q @ best.g)
        return Score(value, (of_gain - value * of_attainable) / attainable, details)

    def null_values(self, evidence: Evidence, orders: Indices) -> Vector:
        if evidence.labels is None or self.alpha < 1.0:
            return super().null_values(evidence, orders)
        ground = ground_cost(evidence)
        independent = _independent(evidence, ground)[0]
        marginals = evidence.probabilities.mean(axis=0), evidence.outcomes.mean(axis=0)
        attainable = independent - exact_cost(*marginals, ground.matrix)
        if attainable < _MIN_ATTAINABLE:
            return np.zeros(len(orders))
        return (independent - permuted_label_costs(ground, evidence.labels, orders)) / attainable
