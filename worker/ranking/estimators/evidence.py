"""The available data of one teacher and one student, checked once, so that estimators need not check shapes."""

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

_SUM_TOLERANCE = 1e-3  # far above float32 softmax rounding at 1,000 classes, far below logits passed as probabilities
_LOGIT_ROUNDING = 1e-6  # relative to the largest logit: float32 rounding between two equal predictions
_LOG_FLOOR = 1e-8  # avoids minus infinity for classes that a float32 softmax rounded to zero


@dataclass(frozen=True, eq=False)
class Evidence:
    """All data of one (teacher, student) pair; unavailable data is ``None``.

    Parameters
    ----------
    teacher_labels, student_labels : sequence of str
        Names of the K and S classes.
    text_cost : array (K, S), optional
        Ground cost between the label names, ``1 - cos``, on the same scale for every teacher.
    teacher_prior, student_prior : array (K,) and (S,), optional
        Class shares, each with sum 1. Uniform by default.
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
        Number of the teacher's parameters.
    teacher : str
        A stable name of the teacher, so that random controls differ between teachers and are reproducible.
    seed : int
        Seed of all randomness.

    Raises
    ------
    ValueError
        If shapes do not match, probabilities do not sum to 1, labels are out of range or a value is not finite.
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
                    raise ValueError("the probe is empty; send at least one item or omit the probe")
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
        """N, the number of probe items; 0 without a probe."""
        return self._item_count() or 0

    @cached_property
    def teacher_marginal(self) -> Vector:
        """Teacher prior, float64 (K,); uniform by default."""
        return _prior(self.teacher_prior, self.teacher_classes)

    @cached_property
    def student_marginal(self) -> Vector:
        """Student prior, float64 (S,); uniform by default."""
        return _prior(self.student_prior, self.student_classes)

    @cached_property
    def probabilities(self) -> Matrix:
        """The teacher's predictions in float64 (N, K), each row with sum 1 up to float64 rounding."""
        if self.predictions is None:
            raise ValueError("no predictions available; call the estimator's `missing` before `score`")
        p = np.asarray(self.predictions, dtype=np.float64)
        return p / p.sum(axis=1, keepdims=True)

    @cached_property
    def outcomes(self) -> Matrix:
        """The student's side of every item, float64 (N, S): one-hot labels, otherwise the student's predictions."""
        if self.labels is not None:
            return np.eye(self.student_classes)[self.labels]
        if self.student_predictions is None:
            raise ValueError("neither labels nor student predictions available")
        q = np.asarray(self.student_predictions, dtype=np.float64)
        return q / q.sum(axis=1, keepdims=True)

    @cached_property
    def representation(self) -> Representation:
        """Features, or otherwise standardised log-predictions. Columns that vary only by rounding are constant."""
        if self.features is not None:
            return Representation(without_rounding(np.asarray(self.features, dtype=np.float64)), "features")
        return self.log_predictions

    @cached_property
    def constant(self) -> bool:
        """Whether the teacher's output is the same for every item, up to rounding, and thus uninformative."""
        return self.items > 0 and not (self.representation.varies or self.log_predictions.varies)

    @cached_property
    def log_predictions(self) -> Representation:
        """Standardised log-predictions (N, K): the teacher's last layer, through log-softmax.

        The most informative features if the penultimate ones are not available. Columns have mean 0 and variance 1
        over the probe, because the logarithms of a 1,000-class softmax differ in scale, and linear methods would treat
        scale as importance. A column with a deviation at the level of float32 rounding is 0; standardised, the noise of
        a teacher with constant predictions would look informative.
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
        """The result of `make`, computed once for this evidence: for estimators that share an intermediate result."""
        if name not in self._found:
            self._found[name] = make()
        return self._found[name]

    def take(self, index: Indices) -> Evidence:
        """Return the same evidence for the items `index` (int array), in that order."""
        return self._with_items(index, self.labels is not None, self.student_predictions is not None)

    def permuted(self, order: Indices) -> Evidence:
        """Return evidence with the teacher's outputs permuted over the items: a teacher with the same marginals.

        Predictions, logits and features are permuted together; labels and student predictions are unchanged.
        """
        return self._with_items(order, False, False)

    def with_students_shuffled(self, order: Indices) -> Evidence:
        """Return the pairs of `permuted`, ordered by teacher output instead of by label.

        The teacher's side is unchanged, so its checks and everything derived from it (above all the spectrum of the
        features) are reused: a random-teacher control costs only what the estimator adds to them.
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
        raise ValueError(f"{name} contains values that are not finite; remove those items or correct the model")
    if distribution:
        sums = array.sum(axis=-1, dtype=np.float64)
        if array.min() < 0 or np.abs(sums - 1).max() > _SUM_TOLERANCE:
            raise ValueError(f"{name} must be probabilities with sum 1; apply a softmax to raw outputs first")
