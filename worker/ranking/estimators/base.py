"""The interface of all estimators: required evidence, direction, and a score that can be resampled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from worker.ranking.estimators.evidence import Evidence, Indices, Vector


class Need(StrEnum):
    """A piece of evidence that an estimator requires."""

    NAMES = "names"
    PROBE = "probe"
    LABELS = "labels"
    TWO_CLASSES = "two classes"
    OUTCOMES = "outcomes"
    FEATURES = "features"
    REPRESENTATION = "representation"
    CLASS_WEIGHTS = "class weights"
    TEACHER_ACCURACY = "teacher accuracy"
    PARAMETER_COUNT = "parameter count"


WHAT_TO_SEND: Mapping[Need, str] = {
    Need.NAMES: "the ground cost between label names: send names or descriptions that the label encoder knows, for the "
    "classes of both sides",
    Need.PROBE: "the teacher's class probabilities on a probe: send a probe, labelled or not",
    Need.LABELS: "labels of the probe: send a labelled probe",
    Need.TWO_CLASSES: "probe items of at least two student classes: send a probe with more classes",
    Need.OUTCOMES: "the student's side of the probe: send its labels, or the student's own predictions",
    Need.FEATURES: "the teacher's features on the probe: use a teacher that exposes its penultimate layer",
    Need.REPRESENTATION: "features or class probabilities of the teacher on a probe: send a probe",
    Need.CLASS_WEIGHTS: "the teacher's classifier weights: use a teacher that exposes its last linear layer",
    Need.TEACHER_ACCURACY: "the teacher's accuracy on its own task: add it to the teacher's manifest",
    Need.PARAMETER_COUNT: "the teacher's parameter count: validate the teacher so that it is counted",
}


def _available(need: Need, evidence: Evidence) -> bool:
    match need:
        case Need.NAMES:
            return evidence.text_cost is not None
        case Need.PROBE:
            return evidence.predictions is not None
        case Need.LABELS:
            return evidence.labels is not None
        case Need.TWO_CLASSES:
            return evidence.labels is not None and bool((evidence.labels != evidence.labels[0]).any())
        case Need.OUTCOMES:
            return evidence.labels is not None or evidence.student_predictions is not None
        case Need.FEATURES:
            return evidence.features is not None
        case Need.REPRESENTATION:
            return any(x is not None for x in (evidence.features, evidence.logits, evidence.predictions))
        case Need.CLASS_WEIGHTS:
            return evidence.class_weights is not None
        case Need.TEACHER_ACCURACY:
            return evidence.teacher_accuracy is not None
        case Need.PARAMETER_COUNT:
            return evidence.parameter_count is not None


class MissingEvidence(Exception):
    """An estimator was called without evidence that it requires."""

    def __init__(self, estimator: str, missing: frozenset[Need]) -> None:
        self.estimator = estimator
        self.missing = missing
        wanted = "; ".join(WHAT_TO_SEND[need] for need in sorted(missing))
        super().__init__(f"{estimator} needs {wanted}")


@dataclass(frozen=True)
class Score:
    """The result of an estimator for one teacher.

    Attributes
    ----------
    value : float
        The score, in the estimator's own unit.
        First-order effect of every probe item, with mean 0: if item i has weight ``w_i`` (mean of w = 1), the score is
        ``value + mean_i (w_i - 1) influence_i``; exact for scores that are means over items, the infinitesimal
        jackknife for the others. ``None`` if the score does not depend on probe items.
    details : mapping
        Information for the reader: which features were used, components of the value.
    """

    value: float
    influence: Vector | None = None
    details: Mapping[str, float | str] = field(default_factory=dict[str, float | str])


class Estimator(ABC):
    """A transferability estimator. A subclass sets the three attributes and implements `score`.

    Attributes
    ----------
    name : str
        Name in the registry, in tables and in the API.
    needs : frozenset of Need
        Evidence that the estimator requires.
    higher_is_better : bool
        Whether a larger value indicates a better teacher.
    """

    name: str
    needs: frozenset[Need]
    higher_is_better: bool = True

    def missing(self, evidence: Evidence) -> frozenset[Need]:
        """Return the needs that `evidence` does not meet; empty if the estimator can run."""
        return frozenset(need for need in self.needs if not _available(need, evidence))

    def estimate(self, evidence: Evidence) -> Score:
        """Score one teacher.

        Raises
        ------
        MissingEvidence
            If evidence is missing; the message states what to send.
        """
        if missing := self.missing(evidence):
            raise MissingEvidence(self.name, missing)
        return self.score(evidence)

    @abstractmethod
    def score(self, evidence: Evidence) -> Score:
        """Compute the score; `evidence` meets all `needs`."""

    def null_values(self, evidence: Evidence, orders: Indices) -> Vector:
        """Values of the random-teacher control: this teacher with its outputs permuted over the items.

        Parameters
        ----------
        orders : int array (M, N)
            Permutations of the items, one a row. The same rows for every teacher make comparisons paired.

        Returns
        -------
        float64 array (M,)
        """
        values = [self.estimate(evidence.with_students_shuffled(order)).value for order in orders]
        return np.array(values, dtype=np.float64)


def centred(values: Vector) -> Vector:
    """Influence of the items on the mean of `values`: the values minus their mean."""
    return values - values.mean()
