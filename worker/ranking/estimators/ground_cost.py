"""The ground cost that an estimator transports over: label names, class prototypes, or a blend of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from worker.ranking.estimators.base import Need
from worker.ranking.estimators.evidence import Evidence, Indices, Matrix

_SHORTEST = 1e-12


@dataclass(frozen=True, eq=False)
class GroundCost:
    """A ground cost and what each item pays under it.

    Attributes
    ----------
    matrix : float64 array (K, S)
        Distance between teacher class and student class.
    item_costs : float64 array (N, S)
        ``<p_i, C[:, c]>``: what item i would pay were it of class c. Where prototypes enter, the column of the
        item's own class is computed without that item.
    """

    matrix: Matrix
    item_costs: Matrix


def needs_of(alpha: float) -> frozenset[Need]:
    """Evidence that `ground_cost` needs at this `alpha`."""
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha must lie between 0 (prototypes only) and 1 (names only), got {alpha}")
    if alpha == 1.0:
        return frozenset({Need.NAMES, Need.PROBE})
    return frozenset({Need.NAMES, Need.PROBE, Need.LABELS, Need.FEATURES, Need.CLASS_WEIGHTS})


def ground_cost(evidence: Evidence, alpha: float = 1.0) -> GroundCost:
    """Blend the name distance and the prototype distance.

    ``C = alpha C_text + (1 - alpha) C_prototype`` with ``C_prototype[k, c] = 1 - cos(w_k, m_c)``: ``w_k`` the
    teacher's class weights, ``m_c`` the mean feature of the probe items of class c. The weights are centred over
    the teacher's classes, because a softmax does not see a common shift, and the features over the probe, because
    features after a ReLU all point into one orthant and every cosine would be near 1.

    A prototype made from an item must not judge that item: with one label a class ``w_k . m_c`` *is* the teacher's
    logit and any teacher would look consistent with itself. So each item meets the prototype of its own class
    without itself; when it is the only one of its class, it pays by names single. A class with no probe item keeps
    its name distance.

    Parameters
    ----------
    evidence : Evidence
        With `text_cost` and `predictions`; for ``alpha < 1`` also `labels`, `features` and `class_weights`.
    alpha : float
        Weight of the names, 0 to 1.

    Returns
    -------
    GroundCost

    Raises
    ------
    ValueError
        If `alpha` is out of range or a piece of evidence is missing.
    """
    missing = needs_of(alpha)
    if evidence.text_cost is None:
        raise ValueError(f"a ground cost needs {sorted(missing)}")
    text = np.asarray(evidence.text_cost, dtype=np.float64)
    p = evidence.probabilities
    by_name = p @ text
    if alpha == 1.0:
        return GroundCost(text, by_name)
    if evidence.labels is None or evidence.features is None or evidence.class_weights is None:
        raise ValueError(f"a ground cost with alpha {alpha} needs {sorted(missing)}")
    labels, classes = evidence.labels, evidence.student_classes
    weights = _directions(_about_mean(np.asarray(evidence.class_weights, dtype=np.float64)))
    features = _about_mean(evidence.representation.rows)
    sums, counts = class_sums(features, labels, classes)

    known = counts > 0
    prototypes = _directions(sums / np.maximum(counts, 1)[:, None])
    blend = alpha * text + (1 - alpha) * (1 - weights @ prototypes.T)
    matrix = np.where(known, blend, text)

    seen = p @ weights  # (N, D): the mean weight direction under each prediction
    item_costs = alpha * by_name + (1 - alpha) * (1 - seen @ prototypes.T)
    item_costs[:, ~known] = by_name[:, ~known]
    others = _directions(sums[labels] - features)
    own = np.arange(len(labels)), labels
    item_costs[own] = alpha * by_name[own] + (1 - alpha) * (1 - (seen * others).sum(axis=1))
    single = counts[labels] < 2
    item_costs[single] = by_name[single]
    return GroundCost(matrix, item_costs)


def class_sums(rows: Matrix, labels: Indices, classes: int) -> tuple[Matrix, Matrix]:
    """Sum of the rows of every class (S, D) and how many there are (S,)."""
    return np.eye(classes)[labels].T @ rows, np.bincount(labels, minlength=classes).astype(np.float64)


def _about_mean(rows: Matrix) -> Matrix:
    # A column that stands still is 0, not what rounding leaves of its mean.
    return (rows - rows.mean(axis=0)) * (rows.max(axis=0) > rows.min(axis=0))


def _directions(rows: Matrix) -> Matrix:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _SHORTEST)
