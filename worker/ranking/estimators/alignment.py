"""Alignment: how much of the transport cost that could be saved by knowing the item, the teacher does save."""

from __future__ import annotations

import numpy as np

from worker.ranking.estimators.base import Estimator, Need, Score, centred
from worker.ranking.estimators.evidence import Evidence, Indices, Vector
from worker.ranking.estimators.ground_cost import GroundCost, ground_cost, needs_of
from worker.ranking.estimators.prediction_transport import permuted_label_costs, transport_per_item
from worker.transport.exact import exact_cost, exact_transport

# Below this the room for alignment is what float32 leaves of costs and of equal answers; a ratio of it would be noise.
_NO_ROOM = 1e-4


def _independent(evidence: Evidence, ground: GroundCost) -> tuple[float, Vector]:
    """``<a x b, C>`` with a and b the mean marginals of the probe, and the influence (N,) of the items on it."""
    q = evidence.outcomes
    of_prediction = ground.item_costs @ q.mean(axis=0)
    of_outcome = q @ ground.item_costs.mean(axis=0)
    return float(of_prediction.mean()), centred(of_prediction) + centred(of_outcome)


class TransportGain(Estimator):
    """What the items' own predictions save against independence: ``<a x b, C> - <J, C>``; higher is better.

    The independent coupling is what any teacher with these marginals would cost if its predictions had nothing to
    do with the items. Subtracting it takes away what the marginals alone decide. 0 for a useless teacher.

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
    """The gain as a share of what any coupling with these marginals could gain; higher is better.

    ``A = (<a x b, C> - <J, C>) / (<a x b, C> - OT(a, b; C))``: 1 when the predictions couple the two label sets as
    well as can be, 0 when they are independent of the items, negative when they are worse than that. When there is
    no room (a teacher that always says the same, a student with one class) A is 0. With prototypes in the cost
    each item meets a prototype without itself, so that A may exceed 1 by a little.

    Influence: the optimal value follows the marginals through its dual potentials, ``f . p_i + g . q_i`` (envelope
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
        gain, room = independent - float(costs.mean()), independent - best.value
        details: dict[str, float | str] = {
            "independent": independent,
            "paid": float(costs.mean()),
            "optimal": best.value,
            "plan": plan,
        }
        if room < _NO_ROOM:
            return Score(0.0, np.zeros(evidence.items), details | {"note": "no room for alignment"})
        value = gain / room
        of_gain = influence - centred(costs)
        of_room = influence - centred(p @ best.f + q @ best.g)
        return Score(value, (of_gain - value * of_room) / room, details)

    def null_values(self, evidence: Evidence, orders: Indices) -> Vector:
        if evidence.labels is None or self.alpha < 1.0:
            return super().null_values(evidence, orders)
        ground = ground_cost(evidence)
        independent = _independent(evidence, ground)[0]
        marginals = evidence.probabilities.mean(axis=0), evidence.outcomes.mean(axis=0)
        room = independent - exact_cost(*marginals, ground.matrix)
        if room < _NO_ROOM:
            return np.zeros(len(orders))
        return (independent - permuted_label_costs(ground, evidence.labels, orders)) / room
