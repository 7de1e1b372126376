r"""A map from a teacher's outputs to the student's classes, learned from few labels, starting from transport.

.. math:: W = \arg\min \|F W - Y\|^2 + \alpha \|W - \beta W_0\|^2, \qquad r = \mathrm{softmax}(\gamma F W)

F holds the teacher's standardised log-predictions, Y the centred labels and :math:`W_0` the names' affinity. Without
labels W follows the names; with many labels it follows the data. A mixture of teacher classes, p T, uses mainly the
class that the teacher predicts; the map also uses the ranking of the others, which is most of the information in a
teacher of other classes. alpha, beta and gamma maximise the leave-one-out likelihood of the labelled items.
"""

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..inputs import Float32, Int64
from .joint_cost import names_affinity

Float64 = NDArray[np.float64]

PENALTIES: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Choices of alpha, in units of the mean squared length of a row of F times the number of items."""
STARTS: Final = (0.0, 0.1, 0.3, 1.0)
SHARPNESSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
NAMES_EPS: Final = 0.05
"""Regularisation of the names' affinity, in units of 1 - cos."""
_MOST_ROWS: Final = 4000


@dataclass(frozen=True)
class LabelMap:
    """A fitted map.

    Attributes
    ----------
    mapped
        r on all items, shape (N, S), rows sum to 1.
    left_out
        r on the labelled items of the fit, each from a map fitted without that item, shape (n, S).
    penalty, start, sharpness
        The chosen alpha, beta and gamma.
    """

    mapped: Float64
    left_out: Float64
    penalty: float
    start: float
    sharpness: float


def standardised(logits: Float32) -> Float64:
    """Log-predictions, each class centred and scaled over all items, rows of about unit length.

    Parameters
    ----------
    logits
        Shape (N, K); all items; the unlabelled ones also set the scale.
    """
    values = logits.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    values -= np.log(np.exp(values).sum(axis=1, keepdims=True))
    values -= values.mean(axis=0)
    return values / np.maximum(values.std(axis=0), 1e-6) / np.sqrt(values.shape[1])


def name_prior(cost: Float32) -> Float64:
    """W0 of the ground cost of the names, shape (K, S): their affinity, columns centred and of unit length."""
    affinity = names_affinity(cost, NAMES_EPS)
    affinity = affinity / np.maximum(affinity.sum(axis=0, keepdims=True), 1e-12)
    affinity -= affinity.mean(axis=0, keepdims=True)
    return affinity / np.maximum(np.linalg.norm(affinity, axis=0, keepdims=True), 1e-12)


def softmax_rows(scores: Float64) -> Float64:
    """Softmax of each row."""
    values = np.exp(scores - scores.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)


def fit_label_map(
    logits: Float32, rows: Int64, labels: Int64, name_cost: Float32, *, use_names: bool = True
) -> LabelMap:
    """Fit the map on labelled rows.

    Parameters
    ----------
    logits
        The teacher on all items, shape (N, K).
    rows, labels
        The labelled items of the fit, and their classes, shape (n,).
    name_cost
        1 - cos of the names, shape (K, S).
    use_names
        False for the plain ridge map, beta = 0.
    """
    classes = name_cost.shape[1]
    features = standardised(logits)
    prior = name_prior(name_cost)
    seen = features[rows]
    targets = np.eye(classes)[labels]
    targets -= targets.mean(axis=0)
    # All leave-one-out residuals of a ridge regression follow from one decomposition.
    fitted = np.arange(len(rows))
    if len(rows) > _MOST_ROWS:
        fitted = np.random.default_rng(0).choice(len(rows), _MOST_ROWS, replace=False)
    left, lengths, right = np.linalg.svd(seen[fitted], full_matrices=False)
    unit = float(np.square(lengths).sum())
    best: tuple[float, float, float, float] | None = None
    for penalty, start in itertools.product(PENALTIES, STARTS if use_names else (0.0,)):
        scores = _left_out_scores(left, lengths, penalty * unit, seen[fitted] @ (start * prior), targets[fitted])
        for sharpness in SHARPNESSES:
            likely = np.log(softmax_rows(sharpness * scores)[np.arange(len(fitted)), labels[fitted]] + 1e-9)
            score = float(likely.mean())
            if best is None or score > best[0] + 1e-9:
                best = (score, penalty, start, sharpness)
    assert best is not None
    _, penalty, start, sharpness = best
    alpha = penalty * unit
    residual = targets[fitted] - seen[fitted] @ (start * prior)
    shrunk = lengths / (np.square(lengths) + alpha)
    weights = start * prior + right.T @ (shrunk[:, None] * (left.T @ residual))
    left_out = sharpness * (seen @ weights)
    left_out[fitted] = sharpness * _left_out_scores(
        left, lengths, alpha, seen[fitted] @ (start * prior), targets[fitted]
    )
    return LabelMap(softmax_rows(sharpness * (features @ weights)), softmax_rows(left_out), penalty, start, sharpness)


def _left_out_scores(left: Float64, lengths: Float64, alpha: float, base: Float64, targets: Float64) -> Float64:
    """F W of each labelled item with the W fitted without it, shape (n, S)."""
    shares = np.square(lengths) / (np.square(lengths) + alpha)
    residual = targets - base
    fitted = left @ (shares[:, None] * (left.T @ residual))
    leverage = (np.square(left) * shares).sum(axis=1)
    return targets - (residual - fitted) / np.maximum(1 - leverage, 1e-9)[:, None]
