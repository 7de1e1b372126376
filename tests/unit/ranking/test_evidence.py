"""Evidence refuses what no estimator could use, and says what to do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text_cost": np.zeros((2, 2))}, r"text_cost has shape \(2, 2\), expected \(7, 3\)"),
        ({"predictions": np.ones((60, 7))}, "apply a softmax"),
        ({"features": np.full((60, 5), np.nan)}, "not finite"),
        ({"labels": np.full(60, 3)}, "classes 0 to 2"),
        ({"labels": np.full(60, -1)}, "classes 0 to 2"),
        ({"labels": np.zeros(60)}, "class indices"),
        ({"labels": np.zeros(59, dtype=int)}, r"labels has shape \(59,\)"),
        ({"class_weights": np.zeros((7, 4))}, r"class_weights has shape \(7, 4\), expected \(7, 5\)"),
        ({"teacher_prior": np.full(7, 1.0)}, "teacher_prior must be probabilities"),
        ({"student_labels": []}, "at least one label"),
        ({"predictions": np.zeros((0, 7))}, "the probe is empty"),
    ],
)
def test_refuses(make_evidence, change, message):
    with pytest.raises(ValueError, match=message):
        replace(make_evidence(), **change)


def test_uniform_priors_by_default(make_evidence):
    evidence = make_evidence()
    np.testing.assert_allclose(evidence.teacher_marginal, np.full(7, 1 / 7))
    np.testing.assert_allclose(evidence.student_marginal, np.full(3, 1 / 3))


def test_outcomes_prefer_labels(make_evidence):
    evidence = make_evidence()
    np.testing.assert_array_equal(evidence.outcomes.argmax(axis=1), evidence.labels)
    assert set(np.unique(evidence.outcomes)) == {0.0, 1.0}
    soft = replace(evidence, labels=None)
    np.testing.assert_allclose(soft.outcomes, evidence.student_predictions)


def test_take_moves_everything_together(make_evidence):
    evidence = make_evidence()
    index = np.array([5, 3, 8])
    taken = evidence.take(index)
    assert taken.items == 3
    for name in ("predictions", "logits", "features", "labels", "student_predictions"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(evidence, name)[index])


def test_permuted_moves_the_teacher_only(make_evidence):
    evidence = make_evidence()
    order = np.random.default_rng(1).permutation(evidence.items)
    moved = evidence.permuted(order)
    for name in ("predictions", "logits", "features"):
        np.testing.assert_array_equal(getattr(moved, name), getattr(evidence, name)[order])
    for name in ("labels", "student_predictions"):
        np.testing.assert_array_equal(getattr(moved, name), getattr(evidence, name))


def test_shuffling_students_gives_the_same_pairs_and_keeps_the_spectrum(make_evidence):
    evidence = make_evidence()
    order = np.random.default_rng(1).permutation(evidence.items)
    spectrum, outcomes = evidence.representation.spectrum, evidence.outcomes
    moved, shuffled = evidence.permuted(order), evidence.with_students_shuffled(order)
    np.testing.assert_array_equal(shuffled.predictions[order], moved.predictions)
    for name in ("labels", "student_predictions", "outcomes"):
        np.testing.assert_array_equal(getattr(shuffled, name)[order], getattr(moved, name))
    assert shuffled.representation.spectrum is spectrum
    assert evidence.outcomes is outcomes
    np.testing.assert_array_equal(evidence.labels, make_evidence().labels)


def test_representation_falls_back_to_log_predictions(make_evidence):
    evidence = make_evidence()
    assert evidence.representation.source == "features"
    from_logits = replace(evidence, features=None, class_weights=None).representation
    from_probabilities = replace(evidence, features=None, class_weights=None, logits=None).representation
    assert from_logits.source == from_probabilities.source == "log-predictions"
    np.testing.assert_allclose(from_logits.rows, from_probabilities.rows, atol=1e-6)
    np.testing.assert_allclose(from_logits.rows.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(from_logits.rows.std(axis=0), 1, atol=1e-12)


@pytest.mark.parametrize("features", [5, 200])
def test_coordinates_keep_inner_products(make_evidence, features):
    representation = make_evidence(features=features).representation
    rows, coordinates = representation.rows, representation.coordinates
    assert coordinates.shape[1] <= min(rows.shape)
    np.testing.assert_allclose(coordinates @ coordinates.T, rows @ rows.T, atol=1e-9)
