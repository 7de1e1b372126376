"""What is at hand for one teacher and one student, checked once, so that no estimator checks shapes again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from worker.ranking.estimators.representation import Representation, without_rounding

Found = TypeVar("Found")
Floats = NDArray[np.floating]
Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Indices = NDArray[np.int64]

_SUM_TOLERANCE = 1e-3  # float32 softmax over 1,000 classes stays far inside; logits sent as probabilities do not
_LOGIT_ROUNDING = 1e-6  # relative to the largest logit: what float32 arithmetic leaves between two equal answers
_LOG_FLOOR = 1e-8  # a class that a float32 softmax rounded to zero must not become minus infinity


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that may be known about one (teacher, student) pair; what is not at hand stays ``None``.

    Parameters
    ----------
    teacher_labels, student_labels : sequence of str
        Class names, K and S of them.
    text_cost : array (K, S), optional
        Ground cost between the label names, ``1 - cos``; the same scale for every teacher.
    teacher_prior, student_prior : array (K,) and (S,), optional
        Class shares, each with sum 1. Uniform when left out.
    predictions : array (N, K), optional
        The teacher's probabilities on the probe, one row an item, each row with sum 1.
    logits : array (N, K), optional
        The teacher's raw outputs on the probe.
    features : array (N, D), optional
        The teacher's penultimate features on the probe.
    labels : int array (N,), optional
        The student class of every probe item, 0 to S - 1.
    student_predictions : array (N, S), optional
        The student's own probabilities on the probe (soft labels).
    class_weights : array (K, D), optional
        The rows of the teacher's last linear layer.
    teacher_accuracy : float, optional
        The teacher's accuracy on its own task, 0 to 1.
    parameter_count : int, optional
        How many parameters the teacher has.
    teacher : str
        A stable name of the teacher, so that random controls differ between teachers and repeat between runs.
    seed : int
        Seed of everything random.

    Raises
    ------
    ValueError
        If shapes disagree, probabilities do not sum to 1, labels are out of range or a value is not finite.
    """

    teacher_labels: Sequence[str]
    student_labels: Sequence[str]
    text_cost: Floats | None = None
    teacher_prior: Floats | None = None
    student_prior: Floats | None = None
    predictions: Floats | None = None
    logits: Floats | None = None
    features: Floats | None = None
    labels: Indices | None = None
    student_predictions: Floats | None = None
    class_weights: Floats | None = None
    teacher_accuracy: float | None = None
    parameter_count: int | None = None
    teacher: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        k, s = self.teacher_classes, self.student_classes
        if k < 1 or s < 1:
            raise ValueError("a teacher and a student need at least one label each; send their label names")
        n = self._item_count()
        d = self.features.shape[1] if self.features is not None and self.features.ndim == 2 else None
        _check("text_cost", self.text_cost, (k, s))
        _check("teacher_prior", self.teacher_prior, (k,), distribution=True)
        _check("student_prior", self.student_prior, (s,), distribution=True)
        _check("predictions", self.predictions, (n, k), distribution=True)
        _check("logits", self.logits, (n, k))
        _check("features", self.features, (n, d))
        _check("student_predictions", self.student_predictions, (n, s), distribution=True)
        _check("class_weights", self.class_weights, (k, d))
        _check("labels", self.labels, (n,))
        if self.labels is not None and self.labels.size:
            if not np.issubdtype(self.labels.dtype, np.integer):
                raise ValueError(f"labels must be integers, got {self.labels.dtype}; send class indices")
            low, high = int(self.labels.min()), int(self.labels.max())
            if low < 0 or high >= s:
                raise ValueError(f"labels run from {low} to {high}, but the student has classes 0 to {s - 1}")

    def _item_count(self) -> int | None:
        for array in (self.predictions, self.logits, self.features, self.labels, self.student_predictions):
            if array is not None:
                if array.shape[0] == 0:
                    raise ValueError("the probe is empty; send at least one item or leave the probe out")
                return int(array.shape[0])
        return None

    @property
    def teacher_classes(self) -> int:
        """K, the number of teacher classes."""
        return len(self.teacher_labels)

    @property
    def student_classes(self) -> int:
        """S, the number of student classes."""
        return len(self.student_labels)

    @property
    def items(self) -> int:
        """N, the number of probe items; 0 when there is no probe."""
        return self._item_count() or 0

    @cached_property
    def teacher_marginal(self) -> Vector:
        """Teacher prior, float64 (K,); uniform when none was given."""
        return _prior(self.teacher_prior, self.teacher_classes)

    @cached_property
    def student_marginal(self) -> Vector:
        """Student prior, float64 (S,); uniform when none was given."""
        return _prior(self.student_prior, self.student_classes)

    @cached_property
    def probabilities(self) -> Matrix:
        """The teacher's predictions in float64 (N, K), each row with sum exactly 1 up to rounding."""
        if self.predictions is None:
            raise ValueError("no predictions at hand; ask the estimator what is missing before you run it")
        p = np.asarray(self.predictions, dtype=np.float64)
        return p / p.sum(axis=1, keepdims=True)

    @cached_property
    def outcomes(self) -> Matrix:
        """The student's side of every item, float64 (N, S): one-hot labels, else the student's predictions."""
        if self.labels is not None:
            return np.eye(self.student_classes)[self.labels]
        if self.student_predictions is None:
            raise ValueError("neither labels nor student predictions at hand")
        q = np.asarray(self.student_predictions, dtype=np.float64)
        return q / q.sum(axis=1, keepdims=True)

    @cached_property
    def representation(self) -> Representation:
        """Features, or else standardised log-predictions. Columns that vary by rounding alone stand still."""
        if self.features is not None:
            return Representation(without_rounding(np.asarray(self.features, dtype=np.float64)), "features")
        return self.log_predictions

    @cached_property
    def constant(self) -> bool:
        """Whether the teacher says the same of every item, up to rounding: nothing can be told apart by it."""
        return self.items > 0 and not (self.representation.varies or self.log_predictions.varies)

    @cached_property
    def log_predictions(self) -> Representation:
        """Standardised log-predictions (N, K): the teacher's last layer seen through log-softmax.

        The richest features left when the penultimate ones are out of reach. Columns get mean 0 and variance 1 over
        the probe, because a 1,000-class softmax spreads its logarithms over scales that no linear method should take
        for importance. A column whose deviation is the size of float32 rounding is 0: standardised, the noise of a
        teacher that always says the same would look like an opinion.
        """
        rounding = 10 * _LOGIT_ROUNDING
        if self.logits is not None:
            logs = log_softmax(np.asarray(self.logits, dtype=np.float64), axis=1)
            rounding = max(rounding, _LOGIT_ROUNDING * float(np.abs(self.logits).max()))
        else:
            logs = np.log(np.maximum(self.probabilities, _LOG_FLOOR))
        deviations = logs - logs.mean(axis=0)
        spread = deviations.std(axis=0)
        return Representation(deviations * (spread > rounding) / np.maximum(spread, rounding), "log-predictions")

    @cached_property
    def _found(self) -> dict[str, Any]:
        return {}

    def once(self, name: str, make: Callable[[], Found]) -> Found:
        """What `make` returns for this evidence, made once: for estimators that share an intermediate result."""
        if name not in self._found:
            self._found[name] = make()
        return self._found[name]

    def take(self, index: Indices) -> Evidence:
        """Return the same evidence on the items `index` (int array), in that order."""
        return self._with_items(index, self.labels is not None, self.student_predictions is not None)

    def permuted(self, order: Indices) -> Evidence:
        """Return evidence whose teacher outputs belong to the wrong items: a teacher with the same marginals.

        Predictions, logits and features move together; labels and student predictions stay.
        """
        return self._with_items(order, False, False)

    def with_students_shuffled(self, order: Indices) -> Evidence:
        """Return the pairs of `permuted`, listed by teacher output instead of by label.

        Nothing on the teacher's side changes, so its checks and everything derived from it (the spectrum of the
        features, above all) are kept: a random-teacher control costs what the estimator adds to them.
        """
        shuffled = copy(self)
        for name in ("outcomes", "_found"):
            shuffled.__dict__.pop(name, None)
        for name in ("labels", "student_predictions"):
            given = getattr(self, name)
            if given is not None:
                moved = np.empty_like(given)
                moved[order] = given
                shuffled.__dict__[name] = moved
        return shuffled

    def _with_items(self, index: Indices, move_labels: bool, move_student: bool) -> Evidence:
        return replace(
            self,
            predictions=None if self.predictions is None else self.predictions[index],
            logits=None if self.logits is None else self.logits[index],
            features=None if self.features is None else self.features[index],
            labels=self.labels[index] if move_labels and self.labels is not None else self.labels,
            student_predictions=self.student_predictions[index]
            if move_student and self.student_predictions is not None
            else self.student_predictions,
        )


def _prior(given: Floats | None, classes: int) -> Vector:
    if given is None:
        return np.full(classes, 1.0 / classes)
    prior = np.asarray(given, dtype=np.float64)
    return prior / prior.sum()


def _check(name: str, array: NDArray | None, shape: tuple[int | None, ...], *, distribution: bool = False) -> None:
    if array is None:
        return
    wanted = tuple("any" if size is None else size for size in shape)
    if array.ndim != len(shape) or any(w is not None and w != g for w, g in zip(shape, array.shape, strict=True)):
        raise ValueError(f"{name} has shape {array.shape}, expected {wanted}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds values that are not finite; drop those items or mend the model")
    if distribution:
        sums = array.sum(axis=-1, dtype=np.float64)
        if array.min() < 0 or np.abs(sums - 1).max() > _SUM_TOLERANCE:
            raise ValueError(f"{name} must be probabilities with sum 1; apply a softmax to raw outputs first")
