"""Fits the weights of `auto`: one set a situation, on the tasks of the benchmark."""

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
"""What may take part in a situation: what is always at hand there, and is fast."""
_RIDGE = 0.05
"""Keeps the weights of estimators that say the same from being all or nothing; in units of one task."""


def standardised(values: Sequence[float] | Vector, name: str | None = None) -> Vector:
    """Mean 0 and deviation 1 over the zoo, larger is better; all 0 where nothing differs."""
    array = np.asarray(values, dtype=np.float64)
    spread = array.std()
    if not spread > 1e-12:
        return np.zeros_like(array)
    sign = 1.0 if name is None or ESTIMATORS[name].higher_is_better else -1.0
    return sign * (array - array.mean()) / spread


def situations_of(each: int) -> tuple[str, ...]:
    """Which situations a probe of so many labelled items a class is an example of."""
    return ("names", "unlabelled", "few labels" if each <= FEW_LABELS else "labelled")


def fit(examples: Sequence[tuple[Mapping[str, Vector], Vector]], members: Sequence[str]) -> dict[str, float]:
    """Non-negative weights that bring the blend nearest to the standardised truth.

    Parameters
    ----------
    examples
        Scores by estimator and accuracies, of one probe each; each counts alike, whatever the size of its zoo.

    Returns
    -------
    dict
        With sum 1; members of weight 0 are left out.
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
    """The blend of one probe, a value a teacher."""
    return np.sum([w * standardised(scores[name], name) for name, w in weights.items()], axis=0)
