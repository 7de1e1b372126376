"""Fits the weights of `auto`: one set for each situation, on the tasks of the benchmark."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from worker.ranking.blend import FEW_LABELS
from worker.ranking.estimators.registry import ESTIMATORS

Vector = NDArray[np.float64]

_LABELLED = (
    "label_transport_coverage",
    "prediction_transport",
    "transport_gain",
    "alignment",
    "leep",
    "nce",
    "logme",
    "parc",
    "knn",
    "transport_map",
    "mutual_information",
)
MEMBERS: dict[str, tuple[str, ...]] = {
    "names": ("label_transport_coverage", "label_transport_balanced", "class_count"),
    "unlabelled": ("label_transport_coverage", "label_transport_balanced", "class_count", "mutual_information"),
    "few labels": _LABELLED,
    "labelled": _LABELLED,
}
"""Candidates in each situation: estimators whose evidence is always available there, and that are fast."""
_RIDGE = 0.05
"""Avoids extreme weights for highly correlated estimators; in units of one task."""


def standardised(values: Sequence[float] | Vector, name: str | None = None) -> Vector:
    """Mean 0 and deviation 1 over the zoo, larger is better; 0 if all values are equal."""
    array = np.asarray(values, dtype=np.float64)
    spread = array.std()
    if not spread > 1e-12:
        return np.zeros_like(array)
    sign = 1.0 if name is None or ESTIMATORS[name].higher_is_better else -1.0
    return sign * (array - array.mean()) / spread


def situations_of(each: int) -> tuple[str, ...]:
    """Situations that a probe with this number of labelled items a class is an example of."""
    return ("names", "unlabelled", "few labels" if each <= FEW_LABELS else "labelled")


def fit(examples: Sequence[tuple[Mapping[str, Vector], Vector]], members: Sequence[str]) -> dict[str, float]:
    """Non-negative weights with which the blend is nearest to the standardised ground truth.

    Parameters
    ----------
    examples
        Scores by estimator and accuracies, for each probe; all probes have equal weight, for any size of zoo.

    Returns
    -------
    dict
        With sum 1, without members of weight 0.
    """
    rows, targets = [], []
    for scores, truth in examples:
        share = 1 / np.sqrt(len(truth) * len(examples))
        rows.append(share * np.stack([standardised(scores[name], name) for name in members], axis=1))
        targets.append(share * standardised(truth))
    ridge = np.sqrt(_RIDGE) * np.eye(len(members))
    weights, _ = nnls(np.concatenate([*rows, ridge]), np.concatenate([*targets, np.zeros(len(members))]))
    kept = {name: float(w) for name, w in zip(members, weights, strict=True) if w > 0.01 * weights.sum()}
    total = sum(kept.values())
    return {name: w / total for name, w in kept.items()}


def blended(scores: Mapping[str, Sequence[float]], weights: Mapping[str, float]) -> Vector:
    """The blend for one probe, a value for each teacher."""
    return np.sum([w * standardised(scores[name], name) for name, w in weights.items()], axis=0)
