"""Likelihood of left-out labels under a linear map from the teacher's outputs that starts from the names' transport."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import log_softmax

from worker.assessment.estimators.base import Estimator, Need, Score, centred
from worker.assessment.estimators.evidence import Evidence, Indices, Matrix, Vector

_PENALTIES: Final = (0.003, 0.03, 0.3, 3.0)
"""Choices of alpha, in units of the sum of squares of all features."""
_STARTS: Final = (0.0, 0.3, 1.0)
_SHARPNESSES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_NAMES_EPS: Final = 0.05
"""Regularisation of the names' transport, in units of 1 - cos."""
_LARGEST: Final = 600.0
"""Exponents beyond would overflow; so unlikely a label never decides."""
_AT_ONCE: Final = 2**24
"""Numbers a block of controls may take."""


@dataclass(frozen=True)
class _Choice:
    penalty: float
    start: float
    sharpness: float


def names_plan(cost: Matrix) -> Matrix:
    """Where each student class finds its names among the teacher's, shape (K, S); columns centred, of length 1.

    Every teacher class gives its mass to the student classes by softmax(-C / eps), the plan of transport that is
    relaxed on the student's side; each column is then made comparable.
    """
    plan = np.exp(-(cost - cost.min(axis=1, keepdims=True)) / _NAMES_EPS)
    plan /= plan.sum(axis=1, keepdims=True)
    plan /= np.maximum(plan.sum(axis=0, keepdims=True), 1e-12)
    plan -= plan.mean(axis=0, keepdims=True)
    return plan / np.maximum(np.linalg.norm(plan, axis=0, keepdims=True), 1e-12)


class TransportMap(Estimator):
    r"""Mean log-likelihood of each label under a map fitted without it, in nats; higher is better, at most 0.

    .. math:: b, W = \arg\min \|b + F W - Y\|^2 + \alpha \|W - \beta W_0\|^2, \qquad
              q_i = \mathrm{softmax}(\gamma (b^{(-i)} + F_i W^{(-i)}))

    F are standardised log-predictions (N, K), Y one-hot labels, W0 the names' plan. The left-out scores are
    exact, from one decomposition. alpha, beta and gamma are those of largest likelihood. It asks directly what a
    student can learn from the teacher: how well the student's classes can be read off the teacher's outputs. Without
    names beta is 0: the map starts from nothing.

    Source: this project; the leave-one-out identity of ridge regression is Allen's PRESS (1974).

    The influence holds map and settings fixed. The random-teacher control keeps alpha and beta and has a gamma of
    its own: with the teacher's it would be punished for being as sure.
    """

    name = "transport_map"
    needs = frozenset({Need.PROBE, Need.LABELS, Need.TWO_CLASSES})

    def score(self, evidence: Evidence) -> Score:
        best, choice = _best(evidence)
        details = {"penalty": choice.penalty, "start": choice.start, "sharpness": choice.sharpness}
        return Score(float(best.mean()), centred(best), details)

    def null_values(self, evidence: Evidence, orders: Indices) -> Vector:
        assert evidence.labels is not None
        choice = _best(evidence)[1]
        n, s = len(evidence.labels), evidence.student_classes
        values = np.empty(len(orders))
        step = max(1, _AT_ONCE // (n * s))
        for begin in range(0, len(orders), step):
            block = orders[begin : begin + step]
            labels = np.empty((len(block), n), dtype=np.int64)
            np.put_along_axis(labels, block, np.broadcast_to(evidence.labels, block.shape), axis=1)
            targets = np.eye(s)[labels].transpose(1, 0, 2).reshape(n, -1)
            scores = _left_out(evidence, targets, len(block), choice.penalty, choice.start)
            scores = scores.reshape(n, len(block), s)
            # Differences to the own class: their sum of exponentials is 1 / probability.
            scores -= np.take_along_axis(scores, labels.T[:, :, None], axis=2)
            likely = [-np.log(np.exp(np.minimum(g * scores, _LARGEST)).sum(axis=2)).mean(axis=0) for g in _SHARPNESSES]
            values[begin : begin + step] = np.max(likely, axis=0)
        return values


def _best(evidence: Evidence) -> tuple[Vector, _Choice]:
    """Log-likelihood of every item (N,) under the best settings, and these."""
    assert evidence.labels is not None
    targets = np.eye(evidence.student_classes)[evidence.labels]
    rows = np.arange(len(targets))
    best: tuple[Vector, _Choice] | None = None
    for penalty in _PENALTIES:
        for start in _STARTS if evidence.text_cost is not None else _STARTS[:1]:
            scores = _left_out(evidence, targets, 1, penalty, start)
            for sharpness in _SHARPNESSES:
                likely = log_softmax(sharpness * scores, axis=1)[rows, evidence.labels]
                if best is None or likely.mean() > best[0].mean() + 1e-9:
                    best = likely, _Choice(penalty, start, sharpness)
    assert best is not None
    return best


def _left_out(evidence: Evidence, targets: Matrix, repeats: int, penalty: float, start: float) -> Matrix:
    """b + F W of every item, fitted without it, shape (N, repeats * S); several targets stand side by side."""
    representation = evidence.log_predictions
    left, values = representation.spectrum
    shares = values / (values + penalty * values.sum())
    leverage = left**2 @ shares
    base = np.zeros((len(targets), evidence.student_classes))
    if start and evidence.text_cost is not None:
        base = representation.rows @ names_plan(np.asarray(evidence.text_cost, dtype=np.float64))
        base *= start / np.sqrt(representation.dimensions)
    # The rows are centred, so an intercept that is not penalised adds 1 / N to every leverage. Centring the targets
    # instead would tell each item's label by its absence from the others.
    residual = targets - targets.mean(axis=0) - np.tile(base, (1, repeats))
    residual -= left @ (shares[:, None] * (left.T @ residual))
    return targets - residual / np.maximum(1 - leverage - 1 / len(targets), 1e-9)[:, None]
