"""The weight of each teacher for each item.

The weight grows with the teacher's confidence and with its coverage of the predicted student classes. Coverage is
measured on the labelled items, not derived from names. A teacher that predicts better than the student even where its
confidence is low gets full weight.
"""

import math
from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..inputs import Float32, Int64

UNCONFIDENT: Final = 2.5
"""Standard errors by which a teacher at full weight must predict better than the student on its less confident half."""

_FLOOR: Final = 1e-9
Float64 = NDArray[np.float64]


def coverage(mapped: Float64, labels: Int64, prior: Float64) -> Float64:
    """How well a teacher distinguishes each student class, on the labelled items.

    Parameters
    ----------
    mapped
        Its predictions for the labelled items, shape (n, S), rows sum to 1.
    labels
        Their classes, shape (n,).
    prior
        Shares of the classes, shape (S,).

    Returns
    -------
    ndarray
        Shape (S,), in 0..1: 0 if it predicts a class's items as it predicts any item, 1 if it is certain and right.
        Each class is shrunk towards the teacher's mean with the weight of one item.
    """
    classes = mapped.shape[1]
    right = mapped[np.arange(len(labels)), labels]
    chance = mapped.mean(axis=0)[labels]
    gain = (right - chance) / np.maximum(1 - chance, 1e-9)
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, weights=gain, minlength=classes)
    overall = float(prior @ (sums / np.maximum(counts, 1)))
    return np.clip((sums + overall) / (counts + 1), 0.0, 1.0)


def confidence(mapped: Float64, prior: Float64) -> Float64:
    """A teacher's confidence for each item, in 0..1.

    The square of KL(mapped | prior) in units of log S: 0 if it predicts the class shares. Squared, since uncertain
    predictions are more often wrong: an uninformative teacher then gets almost no weight.

    Parameters
    ----------
    mapped
        Shape (N, S), rows sum to 1.
    prior
        Shares of the classes, shape (S,).
    """
    safe = np.maximum(mapped, 1e-12)
    information = (safe * np.log(safe / np.maximum(prior, 1e-12))).sum(axis=1) / np.log(mapped.shape[1])
    return np.square(np.clip(information, 0.0, 1.0))


def informative_when_unconfident(left_out: Float64, labels: Int64, alone: Float64) -> bool:
    """Whether a teacher predicts better than the student alone even on the half of the items with low confidence.

    Confidence measures quality well if teacher and labels determine the map. A photograph teacher with few labels for
    its map is hardly ever confident, yet far better than an untrained student: weighting it by its confidence would
    waste most of its information.

    Parameters
    ----------
    left_out
        The teacher's predictions for the labelled items, from maps fitted without them, shape (n, S), rows sum to 1.
    labels
        Their classes, shape (n,).
    alone
        Log-likelihood of each label under a student trained without teachers and without it, shape (n,), nats.
    """
    count = len(labels) // 2
    if count < 2:
        return False
    half = np.argsort(confidence(left_out, _prior(labels, left_out.shape[1])), kind="stable")[:count]
    more = np.log(left_out[half, labels[half]] + _FLOOR) - alone[half]
    return float(more.mean()) > UNCONFIDENT * float(more.std(ddof=1)) / math.sqrt(count) + 1e-6


def teacher_weights(
    mapped: Sequence[Float64],
    left_out: Sequence[Float64],
    labels: Int64,
    classes: int,
    at_full_weight: Collection[int] = (),
) -> Float32:
    """Weights of the teachers for every item.

    Parameters
    ----------
    mapped
        Predictions of each of M teachers for all N items in the student's classes, shape (N, S).
    left_out
        The same for the n labelled items, from maps fitted without them.
    labels
        Their classes, shape (n,).
    at_full_weight
        Positions of the teachers that count as confident of every item.

    Returns
    -------
    ndarray
        Shape (N, M), float32, in 0..1. A row sums to the mean confidence, weighted by the teachers' shares, at most 1.
    """
    prior = _prior(labels, classes)
    confident = np.stack(
        [
            np.ones(len(predicted)) if number in at_full_weight else confidence(predicted, prior)
            for number, predicted in enumerate(mapped)
        ],
        axis=1,
    )
    covered = np.stack(
        [predicted @ coverage(seen, labels, prior) for predicted, seen in zip(mapped, left_out, strict=True)], 1
    )
    shares = confident * covered + 1e-12
    return (confident * shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def _prior(labels: Int64, classes: int) -> Float64:
    return (np.bincount(labels, minlength=classes) + 1) / (len(labels) + classes)
