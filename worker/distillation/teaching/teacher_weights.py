"""Several teachers: how much each one is heard, per item.

A teacher is heard where it is sure, and on the student classes that it can tell. What it can tell is measured on
the labelled items (its coverage of a class), not read from its names. One that was shown to know more than the student
even of what it is not sure of is heard in full.
"""

import math
from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..inputs import Float32, Int64

UNSURE: Final = 2.5
"""Standard errors by which a teacher that is heard in full tells more than the student, where it is less sure."""

_FLOOR: Final = 1e-9
Float64 = NDArray[np.float64]


def coverage(spoken: Float64, labels: Int64, prior: Float64) -> Float64:
    """How well a teacher tells each student class, on the labelled items.

    Parameters
    ----------
    spoken
        What it says of the labelled items, shape (n, S), rows sum to 1.
    labels
        Their classes, shape (n,).
    prior
        Shares of the classes, shape (S,).

    Returns
    -------
    ndarray
        Shape (S,), in 0..1: 0 where it says of a class's items what it says of any item, 1 where it is
        certain and right. Each class is drawn towards the teacher's mean by one item.
    """
    classes = spoken.shape[1]
    right = spoken[np.arange(len(labels)), labels]
    chance = spoken.mean(axis=0)[labels]
    gain = (right - chance) / np.maximum(1 - chance, 1e-9)
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, weights=gain, minlength=classes)
    overall = float(prior @ (sums / np.maximum(counts, 1)))
    return np.clip((sums + overall) / (counts + 1), 0.0, 1.0)


def confidence(spoken: Float64, prior: Float64) -> Float64:
    """How much a teacher says of each item, in 0..1.

    The square of KL(spoken | prior) in units of log S: 0 where it says what holds of any item. Squared, since the
    unsure are more often wrong: a teacher that knows nothing of the student's classes is then hardly heard.

    Parameters
    ----------
    spoken
        Shape (N, S), rows sum to 1.
    prior
        Shares of the classes, shape (S,).
    """
    safe = np.maximum(spoken, 1e-12)
    told = (safe * np.log(safe / np.maximum(prior, 1e-12))).sum(axis=1) / np.log(spoken.shape[1])
    return np.square(np.clip(told, 0.0, 1.0))


def informative_when_unconfident(left_out: Float64, labels: Int64, alone: Float64) -> bool:
    """Whether a teacher tells more than the student alone even of the items that it is less sure of.

    Sureness is a good measure of knowledge where teacher and labels leave few questions open. A teacher of photographs
    with a few labels for its map is hardly ever sure, and yet far better than a student that begins: to hear it by its
    confidence would waste most of it.

    Parameters
    ----------
    left_out
        What the teacher says of the labelled items, from maps that did not see them, shape (n, S), rows sum to 1.
    labels
        Their classes, shape (n,).
    alone
        Log-likelihood of each label under a student without teachers that did not see it, shape (n,), nats.
    """
    count = len(labels) // 2
    if count < 2:
        return False
    half = np.argsort(confidence(left_out, _prior(labels, left_out.shape[1])), kind="stable")[:count]
    more = np.log(left_out[half, labels[half]] + _FLOOR) - alone[half]
    return float(more.mean()) > UNSURE * float(more.std(ddof=1)) / math.sqrt(count) + 1e-6


def teacher_weights(
    spoken: Sequence[Float64],
    left_out: Sequence[Float64],
    labels: Int64,
    classes: int,
    at_full_weight: Collection[int] = (),
) -> Float32:
    """Weights of the teachers for every item.

    Parameters
    ----------
    spoken
        For each of M teachers, what it says of all N items in the student's classes, shape (N, S).
    left_out
        The same for the n labelled items, from maps that did not see them.
    labels
        Their classes, shape (n,).
    at_full_weight
        Positions of the teachers that count as sure of every item.

    Returns
    -------
    ndarray
        Shape (N, M), float32, in 0..1. A row sums to the confidence of the teachers that are heard, at most 1.
    """
    prior = _prior(labels, classes)
    sure = np.stack(
        [
            np.ones(len(said)) if number in at_full_weight else confidence(said, prior)
            for number, said in enumerate(spoken)
        ],
        axis=1,
    )
    able = np.stack([said @ coverage(seen, labels, prior) for said, seen in zip(spoken, left_out, strict=True)], 1)
    voices = sure * able + 1e-12
    return (sure * voices / voices.sum(axis=1, keepdims=True)).astype(np.float32)


def _prior(labels: Int64, classes: int) -> Float64:
    return (np.bincount(labels, minlength=classes) + 1) / (len(labels) + classes)
