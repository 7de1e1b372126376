r"""The ground cost of a distillation: distance of names, joined with the evidence of the labelled items.

The entropic problem depends on :math:`T = \mathrm{softmax}_s(-C/\varepsilon)`: row k of T is the distribution
over student classes that C represents, and a student that fits a certain teacher class k converges to it. So a
cost *is* a conditional distribution, P(student class | teacher class), written as
:math:`C = -\varepsilon \log T`, and evidence can be added to names in the usual Bayesian way.

In a pilot on real text tasks a cost from names only lost accuracy against no teacher at all, a cost from the
labelled items gained, and both joined gained most: names carry too little, few labels are too noisy.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

STRENGTHS: Final = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Choices for the weight of the names, in labelled items a teacher class."""
_DEFAULT_STRENGTH: Final = 3.0
_MOVED: Final = 0.01
_ROUNDS: Final = 30
_FLOOR: Final = 1e-4
"""No conditional probability is smaller: one wrong label must not exclude a class indefinitely."""


def names_affinity(cost: Float32, eps: float) -> Float64:
    """P(student class | teacher class) from names only: softmax over s of -C/eps.

    Parameters
    ----------
    cost
        Shape (K, S).
    eps
        Regularisation in the units of the cost.

    Returns
    -------
    ndarray
        Shape (K, S), float64, rows sum to 1.
    """
    scaled = -cost.astype(np.float64) / eps
    scaled -= scaled.max(axis=1, keepdims=True)
    affinity = np.exp(scaled)
    return affinity / affinity.sum(axis=1, keepdims=True)


def evidence_affinity(
    predictions: Float32 | Float64, labels: Int64, prior: Float64, strength: float, rounds: int = _ROUNDS
) -> Float64:
    r"""P(student class | teacher class) that explains the labelled items best, near a prior.

    Maximises :math:`\sum_i \log \sum_k p_{ik} T_{k y_i} + \sum_{ks} n_0 T^0_{ks} \log T_{ks}` by expectation
    maximisation. A count :math:`\sum_i p_{ik} [y_i = s]` would be blurred: an item with an uncertain
    prediction counts for all of its classes, even for those that the label makes unlikely.

    Parameters
    ----------
    predictions
        p, shape (N, K), rows sum to 1.
    labels
        y, shape (N,).
    prior
        :math:`T^0`, shape (K, S), rows sum to 1.
    strength
        :math:`n_0`, the weight of the prior in each row, in items.

    Returns
    -------
    ndarray
        T, shape (K, S), float64, rows sum to 1, no entry below about 1e-4.
    """
    p = predictions.astype(np.float64)
    classes = prior.shape[1]
    one_hot = np.eye(classes)[labels]
    table = prior.copy()
    for _ in range(rounds):
        explained = p * table[:, labels].T
        responsibility = explained / np.maximum(explained.sum(axis=1, keepdims=True), 1e-300)
        counts = responsibility.T @ one_hot + strength * prior
        updated = counts / counts.sum(axis=1, keepdims=True)
        if np.abs(updated - table).max() < 1e-5:
            table = updated
            break
        table = updated
    return (table + _FLOOR) / (1 + classes * _FLOOR)


def choose_strength(
    predictions: Float32 | Float64, labels: Int64, prior: Float64, folds: list[Int64]
) -> tuple[float, Float64]:
    """The weight of the prior under which held-out labelled items are likeliest.

    Parameters
    ----------
    folds
        Disjoint rows of the labelled items; each is held out once.

    Returns
    -------
    tuple
        The weight, and predictions p T for the labelled items, each by a table fitted without that item, shape (N, S).
        Without folds the predictions come from the prior only.
    """
    if not folds:
        return _DEFAULT_STRENGTH, predictions.astype(np.float64) @ prior
    best: tuple[float, float, Float64] | None = None
    everything = np.arange(len(labels))
    for strength in STRENGTHS:
        mapped = np.empty((len(labels), prior.shape[1]))
        for held in folds:
            kept = np.setdiff1d(everything, held)
            table = evidence_affinity(predictions[kept], labels[kept], prior, strength)
            mapped[held] = predictions[held].astype(np.float64) @ table
        score = float(np.log(mapped[everything, labels]).sum())
        if best is None or score > best[0]:
            best = (score, strength, mapped)
    assert best is not None
    return best[1], best[2]


@dataclass(frozen=True)
class JointCost:
    """A ground cost from names and evidence.

    Attributes
    ----------
    cost
        C = -eps log T, shape (K, S), float32, not negative.
    left_out
        Predictions for the labelled items, each by a table fitted without that item, shape (n, S).
    """

    cost: Float32
    left_out: Float64


def joint_cost(
    prior: Float64, predictions: Float32 | Float64, labels: Int64, eps: float, folds: list[Int64]
) -> JointCost:
    """Join a prior with the evidence of the labelled items: C = -eps log P(student class | teacher class).

    Parameters
    ----------
    prior
        P(student class | teacher class) before any label is used, shape (K, S).
    predictions, labels
        The teacher on the labelled items, shape (n, K), and their classes, shape (n,).
    eps
        Regularisation: the cost of one nat of evidence.
    folds
        For the choice of the prior's strength.
    """
    strength, left_out = choose_strength(predictions, labels, prior, folds)
    table = evidence_affinity(predictions, labels, prior, strength)
    return JointCost((-eps * np.log(table)).astype(np.float32), left_out)


def cautious_names(name_cost: Float32, labels: Int64, eps: float) -> Float64:
    """Half the names' affinity, half the class shares of the student: names are confident, and often wrong."""
    classes = name_cost.shape[1]
    shares = (np.bincount(labels, minlength=classes) + 1) / (len(labels) + classes)
    return 0.5 * names_affinity(name_cost, eps) + 0.5 * shares


def own_classes_cost(classes: int, eps: float) -> Float32:
    """For predictions that are in the student's own classes already: C = -eps log T, with one in a hundred moved.

    A table fitted to the map's errors on held-out items was tried instead. It discounted the map too much and cost up
    to 7 points of accuracy, since the map's sharpness is calibrated on such items already.
    """
    table = (1 - _MOVED) * np.eye(classes) + _MOVED / classes
    return (-eps * np.log(table)).astype(np.float32)
