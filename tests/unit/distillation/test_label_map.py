"""The learned label map: its leave-one-out answers are those of a map that was really fitted without the item."""

from typing import Any

import numpy as np
import pytest

from worker.distillation.teaching.label_map import _left_out_scores, fit_label_map, name_prior, standardised


def _brute(features: np.ndarray, targets: np.ndarray, start: np.ndarray, alpha: float) -> np.ndarray:
    rows = []
    for item in range(len(features)):
        kept = np.arange(len(features)) != item
        gram = features[kept].T @ features[kept] + alpha * np.eye(features.shape[1])
        weights = start + np.linalg.solve(gram, features[kept].T @ (targets[kept] - features[kept] @ start))
        rows.append(features[item] @ weights)
    return np.array(rows)


@pytest.mark.parametrize("width", [3, 12, 40])
def test_left_out_scores_equal_a_refit(width: int) -> None:
    generator = np.random.default_rng(width)
    features, targets = generator.normal(size=(20, width)), generator.normal(size=(20, 4))
    start = generator.normal(size=(width, 4))
    left, lengths, _ = np.linalg.svd(features, full_matrices=False)
    found = _left_out_scores(left, lengths, 0.7, features @ start, targets)
    assert found == pytest.approx(_brute(features, targets, start, 0.7), abs=1e-8)


def test_rows_have_about_unit_length() -> None:
    logits = (5 * np.random.default_rng(0).normal(size=(300, 30))).astype(np.float32)
    lengths = np.linalg.norm(standardised(logits), axis=1)
    assert np.square(lengths).mean() == pytest.approx(1.0, rel=1e-6)


def test_a_constant_class_is_no_feature() -> None:
    logits = np.zeros((10, 3), dtype=np.float32)
    assert np.isfinite(standardised(logits)).all()


def test_prior_columns_are_centred() -> None:
    prior = name_prior(np.random.default_rng(1).random((6, 4)).astype(np.float32))
    assert prior.mean(axis=0) == pytest.approx(np.zeros(4), abs=1e-12)
    assert np.linalg.norm(prior, axis=0) == pytest.approx(np.ones(4))


def test_map_reads_more_than_the_first_choice(digits: Any) -> None:
    """Teachers of digits 0-4 tell 5-9 apart by how their own classes rank."""
    teacher = digits.teacher([0, 1, 2, 3, 4])
    rows, labels = np.arange(len(digits.labelled)), digits.y[digits.labelled]
    found = fit_label_map(teacher.logits, rows, labels, teacher.name_cost)
    truth = digits.y[digits.transfer]
    right = found.mapped[len(rows) :].argmax(axis=1) == truth
    assert right[truth >= 5].mean() > 0.4  # chance is .1
    assert found.mapped.sum(axis=1) == pytest.approx(np.ones(len(found.mapped)))


def test_map_of_noise_says_little(digits: Any) -> None:
    teacher = digits.noise_teacher(0)
    rows, labels = np.arange(len(digits.labelled)), digits.y[digits.labelled]
    found = fit_label_map(teacher.logits, rows, labels, teacher.name_cost)
    likely = np.log(found.left_out[np.arange(len(rows)), labels]).mean()
    # Hyperparameters are chosen on these items, so noise may seem a little better than chance.
    assert np.log(0.1) - 0.05 <= likely < np.log(0.1) + 0.15


def test_without_names_the_start_is_zero(digits: Any) -> None:
    teacher = digits.teacher([0, 1, 2])
    rows, labels = np.arange(len(digits.labelled)), digits.y[digits.labelled]
    assert fit_label_map(teacher.logits, rows, labels, teacher.name_cost, use_names=False).start == 0.0
