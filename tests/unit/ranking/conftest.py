"""A small world with a known truth, and the slow way to find what an item contributes to a score."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from worker.ranking.estimators.base import Estimator
from worker.ranking.estimators.evidence import Evidence


def _evidence(
    *, items: int = 60, teacher: int = 7, student: int = 3, features: int = 5, skill: float = 1.0, seed: int = 0
) -> Evidence:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(items) % student)
    teacher_names = rng.normal(size=(teacher, 6))
    student_names = rng.normal(size=(student, 6))
    unit_t = teacher_names / np.linalg.norm(teacher_names, axis=1, keepdims=True)
    unit_s = student_names / np.linalg.norm(student_names, axis=1, keepdims=True)
    cost = 1 - unit_t @ unit_s.T
    logits = skill * -6 * cost.T[labels] + rng.normal(size=(items, teacher))
    centres = rng.normal(size=(student, features))
    rows = skill * centres[labels] + rng.normal(size=(items, features))
    soft = np.eye(student)[labels] * 1.5 + rng.random((items, student))
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return Evidence(
        teacher_labels=[f"t{k}" for k in range(teacher)],
        student_labels=[f"s{c}" for c in range(student)],
        text_cost=cost,
        predictions=exp / exp.sum(axis=1, keepdims=True),
        logits=logits,
        features=rows,
        labels=labels,
        student_predictions=soft / soft.sum(axis=1, keepdims=True),
        class_weights=rng.normal(size=(teacher, features)),
        teacher_accuracy=0.8,
        parameter_count=1000,
        teacher="teacher",
        seed=seed,
    )


@pytest.fixture
def make_evidence() -> Callable[..., Evidence]:
    return _evidence


@pytest.fixture
def jackknife() -> Callable[[Estimator, Evidence], np.ndarray]:
    """Influence of every item by leaving it out and estimating again."""

    def influence(estimator: Estimator, evidence: Evidence) -> np.ndarray:
        whole = estimator.estimate(evidence).value
        index = np.arange(evidence.items)
        without = [estimator.estimate(evidence.take(np.delete(index, i))).value for i in index]
        return (evidence.items - 1) * (whole - np.array(without))

    return influence
