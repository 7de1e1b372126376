"""Several teachers: the one who knows is heard, the one who does not is not."""

from typing import Any

import numpy as np
import pytest
import torch

from preceptor.contract.losses import TransportLoss
from worker.distillation.evaluation.statistics import stratified_folds
from worker.distillation.losses import Evidence
from worker.distillation.losses.transport import TransportFamily, joint_teacher_map
from worker.distillation.teaching.teacher_weights import (
    confidence,
    coverage,
    informative_when_unconfident,
    teacher_weights,
)


def test_sureness_is_nothing_for_the_prior_and_one_for_a_single_class() -> None:
    prior = np.array([0.5, 0.5])
    found = confidence(np.array([[0.5, 0.5], [1.0, 0.0]]), prior)
    assert found == pytest.approx([0.0, 1.0], abs=1e-6)


def test_coverage_tells_the_classes_a_teacher_knows() -> None:
    labels = np.repeat([0, 1, 2, 3], 25)
    said = np.full((100, 4), 0.25)
    said[:25] = [0.97, 0.01, 0.01, 0.01]
    said[25:50] = [0.01, 0.97, 0.01, 0.01]
    said[50:] = [0.02, 0.02, 0.48, 0.48]
    found = coverage(said, labels, np.full(4, 0.25))
    assert found[0] > 0.9
    assert found[1] > 0.9
    assert found[2] < 0.5
    assert ((found >= 0) & (found <= 1)).all()


def test_each_teacher_is_heard_on_its_own_classes() -> None:
    labels = np.repeat([0, 1, 2, 3], 20)
    low, high = np.full((80, 4), 0.25), np.full((80, 4), 0.25)
    for row, label in enumerate(labels):
        said = low if label < 2 else high
        said[row] = 0.01
        said[row, label] = 0.97
    weights = teacher_weights([low, high], [low, high], labels, 4)
    assert weights.shape == (80, 2)
    assert (weights[:40, 0] > 0.7).all()
    assert (weights[:40, 1] < 0.01).all()
    assert (weights[40:, 1] > 0.7).all()
    assert (weights.sum(axis=1) <= 1 + 1e-6).all()


def _says(labels: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Four classes: the true one with these probabilities, the others share the rest."""
    said = np.repeat((1 - right)[:, None] / 3, 4, axis=1)
    said[np.arange(len(labels)), labels] = right
    return said


def test_a_teacher_that_knows_more_than_the_student_of_what_it_is_unsure_of_is_told_from_others() -> None:
    labels = np.tile([0, 1, 2, 3], 20)
    unsure = np.arange(80) < 40
    shares = np.full(80, np.log(0.25))
    vague = np.where(unsure, 0.4, 0.6)
    assert informative_when_unconfident(_says(labels, vague), labels, shares)
    # The student knows as much: its teacher is worth teacher_weights where it is sure.
    assert not informative_when_unconfident(_says(labels, vague), labels, np.log(vague))
    # It knows much where it is sure, and nothing elsewhere.
    assert not informative_when_unconfident(_says(labels, np.where(unsure, 0.25, 0.99)), labels, shares)
    assert not informative_when_unconfident(np.full((80, 4), 0.25), labels, shares)
    assert not informative_when_unconfident(_says((labels + 1) % 4, vague), labels, shares)
    assert not informative_when_unconfident(_says(labels[:3], vague[:3]), labels[:3], shares[:3])


def test_noise_is_seldom_taken_for_knowledge_beside_a_student_that_learnt_nothing() -> None:
    labels, shares = np.tile([0, 1, 2, 3], 20), np.full(80, np.log(0.25))
    generator = np.random.default_rng(0)
    taken = [
        informative_when_unconfident(generator.dirichlet(np.full(4, 20.0), size=80), labels, shares) for _ in range(400)
    ]
    assert np.mean(taken) < 0.02


def test_who_is_heard_in_full_weighs_one_and_silences_no_other() -> None:
    labels = np.repeat([0, 1, 2, 3], 20)
    vague, sure = _says(labels, np.full(80, 0.4)), _says(labels, np.full(80, 0.97))
    assert teacher_weights([vague], [vague], labels, 4).max() < 0.1
    assert teacher_weights([vague], [vague], labels, 4, {0}) == pytest.approx(np.ones((80, 1)), abs=1e-5)
    both = teacher_weights([vague, sure], [vague, sure], labels, 4, {0})
    assert (both[:, 1] > both[:, 0]).all()
    assert (both.sum(axis=1) <= 1 + 1e-6).all()


def test_a_useless_teacher_is_hardly_heard_beside_a_good_one(digits: Any) -> None:
    labels = digits.y[digits.labelled]
    rows = np.arange(len(labels))
    good, noise = digits.teacher(list(range(8))), digits.noise_teacher(3)
    evidence = Evidence([good, noise], labels, rows, 10, stratified_folds(labels, 3, 0), torch.device("cpu"))
    teacher_maps = [joint_teacher_map(teacher, evidence, TransportLoss()) for teacher in (good, noise)]
    weights = teacher_weights([s.mapped(0.05) for s in teacher_maps], [s.left_out for s in teacher_maps], labels, 10)
    assert weights[:, 0].mean() > 0.4
    assert weights[:, 1].mean() < 0.02
    term = TransportFamily().prepare(evidence, TransportLoss())
    assert torch.isfinite(term(torch.zeros(4, 10), torch.arange(4)))
