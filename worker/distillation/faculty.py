"""Several teachers: how much each one is heard, per item.

A teacher is heard where it is sure, and on the student classes that it can tell. What it can tell is measured on
the labelled items (its coverage of a class), not read from its names.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .request import Float32, Int64

Float64 = NDArray[np.float64]


def mapped(predictions: Float32, table: Float64) -> Float64:
    """What a teacher says of the student's classes: p T, shape (N, S)."""
    return predictions.astype(np.float64) @ table


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


def sureness(spoken: Float64) -> Float64:
    """1 minus the entropy of each row in units of log S, shape (N,): 0 for no opinion, 1 for one class."""
    safe = np.maximum(spoken, 1e-12)
    entropy = -(safe * np.log(safe)).sum(axis=1)
    return np.clip(1 - entropy / np.log(spoken.shape[1]), 0.0, 1.0)


def hearing(spoken: Sequence[Float64], labelled: Sequence[Float64], labels: Int64, classes: int) -> Float32:
    """Weights of several teachers for every item.

    Parameters
    ----------
    spoken
        For each of M teachers, what it says of all N items, shape (N, S).
    labelled
        The same for the n labelled items that may be looked at; best from maps that did not see them.
    labels
        Their classes, shape (n,).

    Returns
    -------
    ndarray
        Shape (N, M), float32; rows sum to 1. All ones for a single teacher.
    """
    items = len(spoken[0])
    if len(spoken) == 1:
        return np.ones((items, 1), dtype=np.float32)
    prior = np.bincount(labels, minlength=classes) / len(labels)
    voices = [
        sureness(said) * (said @ coverage(seen, labels, prior)) for said, seen in zip(spoken, labelled, strict=True)
    ]
    stacked = np.stack(voices, axis=1) + 1e-9
    return (stacked / stacked.sum(axis=1, keepdims=True)).astype(np.float32)
