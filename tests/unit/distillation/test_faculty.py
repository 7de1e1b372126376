"""Several teachers: the one who knows is heard, the one who does not is not."""

from typing import Any

import numpy as np
import pytest
import torch

from preceptor.contract.losses import TransportLoss
from worker.distillation.evaluation import stratified_folds
from worker.distillation.faculty import coverage, hearing, sureness
from worker.distillation.losses import Evidence
from worker.distillation.losses.transport import TransportFamily, joint_speaker


def test_sureness_is_nothing_for_the_prior_and_one_for_a_single_class() -> None:
    prior = np.array([0.5, 0.5])
    found = sureness(np.array([[0.5, 0.5], [1.0, 0.0]]), prior)
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
    weights = hearing([low, high], [low, high], labels, 4)
    assert weights.shape == (80, 2)
    assert (weights[:40, 0] > 0.7).all()
    assert (weights[:40, 1] < 0.01).all()
    assert (weights[40:, 1] > 0.7).all()
    assert (weights.sum(axis=1) <= 1 + 1e-6).all()


def test_a_useless_teacher_is_hardly_heard_beside_a_good_one(digits: Any) -> None:
    labels = digits.y[digits.labelled]
    rows = np.arange(len(labels))
    good, noise = digits.teacher(list(range(8))), digits.noise_teacher(3)
    evidence = Evidence([good, noise], labels, rows, 10, stratified_folds(labels, 3, 0), torch.device("cpu"))
    speakers = [joint_speaker(teacher, evidence, TransportLoss()) for teacher in (good, noise)]
    weights = hearing([s.spoken(0.05) for s in speakers], [s.left_out for s in speakers], labels, 10)
    assert weights[:, 0].mean() > 0.4
    assert weights[:, 1].mean() < 0.02
    term = TransportFamily().prepare(evidence, TransportLoss())
    assert torch.isfinite(term(torch.zeros(4, 10), torch.arange(4)))
