"""LogME: evidence of a Bayesian linear model from the teacher's features to the labels."""

from __future__ import annotations

import numpy as np

from worker.ranking.estimators.base import Estimator, Need, Score, centred
from worker.ranking.estimators.evidence import Evidence, Indices, Matrix, Vector
from worker.ranking.estimators.representation import Representation

_STEPS = 11
_TOLERANCE = 1e-3
_EPSILON = 1e-5  # the authors' protection against a perfect fit


def logme(representation: Representation, labels: Indices) -> tuple[float, Vector]:
    """Mean over the occurring classes of the maximised log evidence per item, and the influence of every item.

    For each class c, with targets ``y = [label = c]``, ``w ~ N(0, 1/alpha)`` and noise precision beta:

    ``log p(y) = D/2 log alpha + N/2 log beta - beta/2 |y - Fm|^2 - alpha/2 |m|^2 - 1/2 log|A| - N/2 log 2 pi``,
    ``A = alpha I + beta F^T F``, ``m = beta A^-1 F^T y``; alpha and beta by fixed-point iteration.

    All classes use one spectrum of F. ``log|A|`` includes the directions without variance (``(D - r) log alpha``),
    which the authors' fixed-point code omits when N < D.

    For features without information (no direction is left) the weights are 0 and the evidence is that of noise.

    Influence: alpha, beta and m are stationary points, so an item acts only through its own terms:
    ``1/2 log beta - beta/2 r_i^2 - beta/2 f_i A^-1 f_i``.

    Returns
    -------
    value : float
    influence : float64 array (N,)
    """
    left, sigma = representation.spectrum
    n = len(labels)
    target = np.eye(int(labels.max()) + 1)[:, np.unique(labels)][labels]
    if not len(sigma):
        beta = n / ((target**2).sum(axis=0) + _EPSILON)
        own = 0.5 * (np.log(beta) - beta * target**2 - np.log(2 * np.pi)).mean(axis=1)
        return float(own.mean()), centred(own)
    alpha, beta, reached = _fixed_point(left, sigma, target)

    shrink = sigma[:, None] / (sigma[:, None] + (alpha / beta))
    coefficients = shrink * reached
    residual = target - left @ coefficients
    size = (coefficients**2 / sigma[:, None]).sum(axis=0)
    stretch = alpha + beta * sigma[:, None]
    evidence = 0.5 * (
        len(sigma) * np.log(alpha)
        + n * np.log(beta)
        - np.log(stretch).sum(axis=0)
        - beta * (residual**2).sum(axis=0)
        - alpha * size
        - n * np.log(2 * np.pi)
    )
    leverage = left**2 @ (sigma[:, None] / stretch)
    own = 0.5 * (np.log(beta) - beta * residual**2 - beta * leverage)
    return float(evidence.mean() / n), centred(own.mean(axis=1))


def _fixed_point(left: Matrix, sigma: Vector, target: Matrix) -> tuple[Vector, Vector, Matrix]:
    """Precisions alpha and beta (S,) of every class, and the targets in the basis of the spectrum (r, S)."""
    n, classes = target.shape
    reached = left.T @ target
    squares = reached**2
    outside = (target**2).sum(axis=0) - squares.sum(axis=0)
    spectrum = sigma[:, None]
    alpha, beta = np.ones(classes), np.ones(classes)
    for _ in range(_STEPS):
        ratio = alpha / beta
        gamma = (spectrum / (spectrum + ratio)).sum(axis=0)
        size = (spectrum * squares / (ratio + spectrum) ** 2).sum(axis=0)
        error = (squares * (ratio / (ratio + spectrum)) ** 2).sum(axis=0) + outside
        alpha = gamma / (size + _EPSILON)
        # n - gamma, without the cancellation that gives 0 or less if the features fit every target.
        beta = (n - len(sigma) + (ratio / (spectrum + ratio)).sum(axis=0)) / (np.maximum(error, 0.0) + _EPSILON)
        if (np.abs(alpha / beta - ratio) <= _TOLERANCE * ratio).all():
            break
    return alpha, beta, reached


class LogMe(Estimator):
    """LogME, log of maximum evidence per item; higher is better.

    Source: You, Liu, Wang, Long, "LogME: Practical Assessment of Pre-trained Models for Transfer Learning", ICML
    2021; fixed-point iteration of You et al., "Ranking and Tuning Pre-trained Models", JMLR 2022.
    """

    name = "logme"
    needs = frozenset({Need.REPRESENTATION, Need.LABELS})

    def score(self, evidence: Evidence) -> Score:
        assert evidence.labels is not None
        value, influence = logme(evidence.representation, evidence.labels)
        return Score(value, influence, {"features": evidence.representation.source})
