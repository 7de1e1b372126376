"""One number that any two rankings can be compared by: the accuracy to expect of a teacher on the student's classes.

An estimator's score has a unit of its own, and that of `auto` depends on the other teachers. This number depends on the
teacher, the probe and the class prior alone.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .estimators.evidence import Evidence
from .estimators.transport_map import TransportMap, held_out_scores

_FOLDS: Final = 100
"""At most so many folds; a class of more items gives several to each."""
_Z: Final = 1.6448536269514722
"""Standard normal quantile of a 90 % interval."""


@dataclass(frozen=True)
class ExpectedAccuracy:
    """Points of accuracy, 0 to 100, and a 90 % interval.

    Attributes
    ----------
    points
        Share of new items whose class is read off the teacher's answers right.
    low, high
        Ends of the interval: what another probe of as many items might say of it.
    """

    points: float
    low: float
    high: float


def expected_accuracy(evidence: Evidence, prior: NDArray[np.floating] | None = None) -> ExpectedAccuracy | None:
    """Accuracy of the transport map from a teacher's answers to the student's classes, on items it was not fitted to.

    The map is the one of the estimator `transport_map`: linear from the teacher's log-predictions, started from the
    names' plan where there is one. Every item is judged by a map that was fitted without its fold. A fold holds one
    item of each class: left out alone, an item's own class would be the rarer one, and a map of few items would hold
    that against it. The settings of the map are those of all items, which flatters by a point or two on small probes. A
    teacher from which nothing can be read is worth what naming the most frequent class is.

    Parameters
    ----------
    evidence
        With predictions and labels.
    prior
        How often each class comes in the student's data, shape (S,); as often as in the probe where absent.

    Returns
    -------
    ExpectedAccuracy or None
        None without labels of two classes.
    """
    if TransportMap().missing(evidence) or evidence.labels is None:
        return None
    labels = evidence.labels
    counts = np.bincount(labels, minlength=evidence.student_classes)
    scores = held_out_scores(evidence, folds_of(labels))
    # Answers that rounding alone sets apart share the item.
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
    """90 % interval of a share of n trials (Wilson, JASA 22, 1927): it has a width also at 0 and 1."""
    squared = _Z**2 / n
    centre = (share + squared / 2) / (1 + squared)
    half = _Z / (1 + squared) * np.sqrt(share * (1 - share) / n + squared / (4 * n))
    return centre - float(half), centre + float(half)
