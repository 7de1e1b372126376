"""Controls: scores with little or no information about the student. A useful estimator must beat them."""

from __future__ import annotations

import zlib

import numpy as np
from scipy.special import rel_entr

from worker.ranking.estimators.base import Estimator, Need, Score, centred
from worker.ranking.estimators.evidence import Evidence, Indices, Vector


def _generator(evidence: Evidence) -> np.random.Generator:
    """A random generator that differs between teachers, and is reproducible for the same teacher and seed."""
    return np.random.default_rng([evidence.seed, zlib.crc32(evidence.teacher.encode())])


class TeacherAccuracy(Estimator):
    """The teacher's accuracy on its own task."""

    name = "teacher_accuracy"
    needs = frozenset({Need.TEACHER_ACCURACY})

    def score(self, evidence: Evidence) -> Score:
        assert evidence.teacher_accuracy is not None
        return Score(float(evidence.teacher_accuracy))


class ClassCount(Estimator):
    """The number of the teacher's classes: a strong confounder of most estimators."""

    name = "class_count"
    needs = frozenset()

    def score(self, evidence: Evidence) -> Score:
        return Score(float(evidence.teacher_classes))


class ParameterCount(Estimator):
    """The number of parameters of the teacher."""

    name = "parameter_count"
    needs = frozenset({Need.PARAMETER_COUNT})

    def score(self, evidence: Evidence) -> Score:
        assert evidence.parameter_count is not None
        return Score(float(evidence.parameter_count))


class MutualInformation(Estimator):
    """Mutual information between item and teacher class, in nats: confident and varied predictions. Needs no labels.

    ``I = H(mean_i p_i) - mean_i H(p_i) = mean_i KL(p_i | mean_j p_j)``.

    Source: Bridle, Heading, MacKay, "Unsupervised Classifiers, Mutual Information and 'Phantom Targets'",
    NIPS 1991.
    """

    name = "mutual_information"
    needs = frozenset({Need.PROBE})

    def score(self, evidence: Evidence) -> Score:
        p = evidence.probabilities
        divergences = rel_entr(p, p.mean(axis=0)).sum(axis=1)
        return Score(float(divergences.mean()), centred(divergences))


class RandomTeacher(Estimator):
    """Another estimator for a teacher with outputs permuted over the items: same marginals, no information.

    Parameters
    ----------
    inner : Estimator
        The estimator to control.
    """

    name = "random_teacher"

    def __init__(self, inner: Estimator) -> None:
        self.inner = inner
        self.needs = inner.needs
        self.higher_is_better = inner.higher_is_better

    def score(self, evidence: Evidence) -> Score:
        order = _generator(evidence).permutation(evidence.items)
        inner = self.inner.estimate(evidence.permuted(order))
        return Score(inner.value, inner.influence, dict(inner.details) | {"of": self.inner.name})

    def null_values(self, evidence: Evidence, orders: Indices) -> Vector:
        return self.inner.null_values(evidence, orders)


class RandomOrder(Estimator):
    """A random number between 0 and 1 for each teacher: the baseline of every ranking table."""

    name = "random_order"
    needs = frozenset()

    def score(self, evidence: Evidence) -> Score:
        return Score(float(_generator(evidence).random()))
