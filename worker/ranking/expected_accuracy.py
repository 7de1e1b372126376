"""Expected accuracy: a number by which the rows of any two rankings can be compared.

An estimator's score has its own unit, and that of `auto` depends on the other teachers. The expected accuracy depends
only on the teacher, the probe and the class prior.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .estimators.evidence import Evidence
from .estimators.transport_map import TransportMap, held_out_scores

_FOLDS: Final = 100
"""Maximum number of folds; classes with more items have several items in each fold."""
_Z: Final = 1.6448536269514722
"""Standard normal quantile of a 90 % interval."""


@dataclass(frozen=True)
class ExpectedAccuracy:
    """Points of accuracy, 0 to 100, and a 90 % interval.

    Attributes
    ----------
    points
        Share of new items that are classified correctly from the teacher's predictions.
    low, high
        Interval of the values that other probes of the same size may give.
    """

    points: float
    low: float
    high: float


def expected_accuracy(evidence: Evidence, prior: NDArray[np.floating] | None = None) -> ExpectedAccuracy | None:
    """Accuracy of the transport map from a teacher's predictions to the student's classes, on held-out items.

    The map is that of the estimator `transport_map`: linear in the teacher's log-predictions, with the names' plan as
    the starting point, if there is one. Each item is classified by a map fitted without the item's fold. A fold has one
    item of each class: with a single item held out, the item's class would be less frequent in the fit, and a map of
    few items would be biased against it. The settings of the map are selected on all items, which is optimistic by one
    or two points on small probes. For a teacher without information, the result is the accuracy of predicting the most
    frequent class.

    Parameters
    ----------
    evidence
        With predictions and labels.
    prior
        Class frequencies in the student's data, shape (S,); by default those of the probe.

    Returns
    -------
    ExpectedAccuracy or None
        None if there are no labels of two classes.
    """
    if TransportMap().missing(evidence) or evidence.labels is None:
        return None
    labels = evidence.labels
    counts = np.bincount(labels, minlength=evidence.student_classes)
    scores = held_out_scores(evidence, folds_of(labels))
    # Classes whose scores differ only by rounding share the item.
    best = scores >= scores.max(axis=0) - 1e-9
    right = best[labels, np.arange(len(labels))] / best.sum(axis=0)
    shares = counts / len(labels)
    if prior is not None and prior[counts > 0].sum() > 0:
        shares = np.where(counts > 0, prior, 0.0) / prior[counts > 0].sum()
    weights = (shares / np.maximum(counts, 1))[labels]
    share = float(weights @ right)
    low, high = _wilson(share, 1 / float((weights**2).sum()))
    least = float(shares.max())
    value = max(share, least)
    return ExpectedAccuracy(100 * value, 100 * min(max(low, 0.0), value), 100 * max(min(high, 1.0), value))


def folds_of(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The fold of every item, shape (N,): the first item of each class is in fold 0, and so on."""
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    begins = np.searchsorted(ordered, ordered, side="left")
    folds = np.empty(len(labels), dtype=np.int64)
    folds[order] = (np.arange(len(labels)) - begins) % _FOLDS
    return folds


def _wilson(share: float, n: float) -> tuple[float, float]:
    """90 % interval of a share in n trials (Wilson, JASA 22, 1927); its width is positive also at 0 and 1."""
    squared = _Z**2 / n
    centre = (share + squared / 2) / (1 + squared)
    half = _Z / (1 + squared) * np.sqrt(share * (1 - share) / n + squared / (4 * n))
    return centre - float(half), centre + float(half)
