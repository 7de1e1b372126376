"""Expected accuracy: honest about items it has not seen, absolute, and the same whoever else is ranked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax

from worker.ranking.estimators.transport_map import held_out_fit, held_out_scores, names_plan
from worker.ranking.expected_accuracy import expected_accuracy, folds_of


def _fitted(evidence, rows):
    """Map fitted to `rows` with the chosen settings of all: intercept and weights, by dense matrices."""
    best = held_out_fit(evidence)
    f = evidence.log_predictions.rows / np.sqrt(evidence.teacher_classes)
    y = np.eye(evidence.student_classes)[evidence.labels]
    prior = best.start * names_plan(evidence.text_cost)
    alpha = best.penalty * (f**2).sum()
    middle, mean = f[rows].mean(axis=0), y[rows].mean(axis=0)
    seen = f[rows] - middle
    weights = np.linalg.solve(seen.T @ seen + alpha * np.eye(f.shape[1]), seen.T @ (y[rows] - mean) + alpha * prior)
    return mean + (f - middle) @ weights


@pytest.mark.parametrize("teacher", [4, 90])
def test_held_out_scores_equal_maps_fitted_without_the_fold(make_evidence, teacher):
    evidence = make_evidence(teacher=teacher)
    folds = folds_of(evidence.labels)
    scores = held_out_scores(evidence, folds)
    for fold in (0, 7, 19):
        rows = np.flatnonzero(folds != fold)
        expected = _fitted(evidence, rows)[folds == fold]
        np.testing.assert_allclose(scores[:, folds == fold].T, expected, atol=1e-6)


def test_folds_hold_one_item_of_each_class():
    labels = np.array([2, 0, 0, 1, 2, 0])
    assert folds_of(labels).tolist() == [0, 0, 1, 0, 1, 2]


def test_it_foretells_the_accuracy_on_items_that_the_map_has_not_seen(make_evidence):
    """Twenty worlds, of each a probe of 60: the mean is met, and most intervals hold the truth."""
    said, held, inside = [], [], 0
    for seed in range(20):
        whole = make_evidence(items=660, skill=0.35, seed=seed)
        probe = whole.take(np.arange(60))
        found = expected_accuracy(probe)
        best = held_out_fit(probe)
        logs = log_softmax(whole.logits, axis=1)
        middle, spread = logs[:60].mean(axis=0), logs[:60].std(axis=0)
        f = (logs - middle) / spread / np.sqrt(whole.teacher_classes)
        y = np.eye(3)[probe.labels]
        alpha = best.penalty * (f[:60] ** 2).sum()
        prior = best.start * names_plan(probe.text_cost)
        gram = f[:60].T @ f[:60] + alpha * np.eye(f.shape[1])
        weights = np.linalg.solve(gram, f[:60].T @ (y - y.mean(axis=0)) + alpha * prior)
        truth = 100 * np.mean((y.mean(axis=0) + f[60:] @ weights).argmax(axis=1) == whole.labels[60:])
        said.append(found.points)
        held.append(truth)
        inside += found.low <= truth <= found.high
    assert 45 < np.mean(held) < 90, "neither chance nor certainty"
    assert np.mean(said) == pytest.approx(np.mean(held), abs=4)
    assert inside >= 15


def test_a_constant_teacher_is_worth_the_most_frequent_class(make_evidence):
    evidence = make_evidence()
    labels = np.repeat([0, 1, 2], [30, 20, 10])
    still = np.zeros_like(evidence.logits)
    constant = replace(evidence, logits=still, predictions=np.full(still.shape, 1 / 7), labels=labels)
    found = expected_accuracy(constant)
    assert found.points == pytest.approx(50)
    assert found.low < 50 <= found.high


def test_a_perfect_teacher_is_worth_100_with_an_interval(make_evidence):
    evidence = make_evidence()
    logits = 60 * np.eye(7)[evidence.labels]
    found = expected_accuracy(replace(evidence, logits=logits))
    assert found.points == pytest.approx(100)
    assert 90 < found.low < 100
    assert found.high == pytest.approx(100)


def test_more_skill_is_worth_more(make_evidence):
    points = [expected_accuracy(make_evidence(skill=skill)).points for skill in (0.0, 0.3, 1.0)]
    assert points == sorted(points)
    assert points[0] < 50
    assert points[2] > 85


def test_a_prior_weighs_the_classes(make_evidence):
    """The teacher knows class 0 from the others, and not 1 from 2."""
    evidence = make_evidence()
    blind = replace(evidence, logits=60 * np.eye(7)[np.minimum(evidence.labels, 1)])
    even = expected_accuracy(blind).points
    of_class_0 = expected_accuracy(blind, np.array([0.9, 0.05, 0.05])).points
    assert even == pytest.approx(200 / 3, abs=5)
    assert of_class_0 == pytest.approx(95, abs=1)


def test_one_item_a_class_says_chance_at_least(make_evidence):
    found = expected_accuracy(make_evidence(items=3))
    assert 100 / 3 - 1e-6 <= found.points <= 100
    assert found.low < found.high


def test_nothing_is_said_without_labels_of_two_classes(make_evidence):
    assert expected_accuracy(replace(make_evidence(), labels=None)) is None
    assert expected_accuracy(replace(make_evidence(), labels=np.zeros(60, dtype=np.int64))) is None
