"""The ground cost of an estimator's transport: label names, class prototypes, or a blend of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from worker.ranking.estimators.base import Need
from worker.ranking.estimators.evidence import Evidence, Indices, Matrix

_SHORTEST = 1e-12


@dataclass(frozen=True, eq=False)
class GroundCost:
    """A ground cost, and the cost of each item under it.

    Attributes
    ----------
    matrix : float64 array (K, S)
        Distance between teacher class and student class.
    item_costs : float64 array (N, S)
        ``<p_i, C[:, c]>``: the cost of item i if its class were c. With prototypes, the column of the item's own class
        is computed without that item.
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
    """Blend the distance of names and the distance of prototypes.

    ``C = alpha C_text + (1 - alpha) C_prototype`` with ``C_prototype[k, c] = 1 - cos(w_k, m_c)``: ``w_k`` the
    teacher's class weights, ``m_c`` the mean feature of the probe items of class c. The weights are centred over the
    teacher's classes, because a softmax is invariant to a common shift, and the features over the probe, because
    features after a ReLU are all in one orthant, and every cosine would be near 1.

    A prototype must not include the item that it is compared with: with one label a class, ``w_k . m_c`` *is* the
    teacher's logit, and every teacher would appear consistent with itself. Each item is therefore compared with the
    prototype of its own class without the item; a class with a single item is compared by names only. A class without
    probe items keeps its distance of names.

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
        If `alpha` is out of range or evidence is missing.
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
    """Sum of the rows of every class (S, D), and their number (S,)."""
    return np.eye(classes)[labels].T @ rows, np.bincount(labels, minlength=classes).astype(np.float64)


def _about_mean(rows: Matrix) -> Matrix:
    # A constant column is 0, not the rounding error of its mean.
    return (rows - rows.mean(axis=0)) * (rows.max(axis=0) > rows.min(axis=0))


def _directions(rows: Matrix) -> Matrix:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _SHORTEST)
