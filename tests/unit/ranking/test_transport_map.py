"""The left-out likelihood of the transport map against maps that are really fitted without the item."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax

from worker.ranking.estimators import transport_map
from worker.ranking.estimators.evidence import Evidence
from worker.ranking.estimators.transport_map import TransportMap, names_plan

SHARPNESSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def _left_out_log_likelihood(evidence, penalty, start, sharpness):
    f = evidence.log_predictions.rows / np.sqrt(evidence.teacher_classes)
    y = np.eye(evidence.student_classes)[evidence.labels]
    prior = start * names_plan(evidence.text_cost)
    alpha = penalty * (f**2).sum()
    found = []
    for i in range(len(f)):
        rows, targets = np.delete(f, i, axis=0), np.delete(y, i, axis=0)
        middle = rows.mean(axis=0)
        rows = rows - middle
        left = rows.T @ rows + alpha * np.eye(f.shape[1])
        weights = np.linalg.solve(left, rows.T @ (targets - targets.mean(axis=0)) + alpha * prior)
        scores = targets.mean(axis=0) + (f[i] - middle) @ weights
        found.append(log_softmax(sharpness * scores)[evidence.labels[i]])
    return np.array(found)


@pytest.mark.parametrize("teacher", [4, 90])
@pytest.mark.parametrize("skill", [0.2, 1.0])
def test_equals_maps_fitted_without_the_item(make_evidence, teacher, skill):
    evidence = make_evidence(teacher=teacher, skill=skill)
    score = TransportMap().estimate(evidence)
    expected = _left_out_log_likelihood(evidence, **score.details)
    assert score.value == pytest.approx(expected.mean(), abs=1e-9)
    np.testing.assert_allclose(score.influence, expected - expected.mean(), atol=1e-9)


def test_settings_are_the_likeliest(make_evidence):
    evidence = make_evidence()
    best = TransportMap().estimate(evidence)
    for penalty in (0.003, 0.03, 0.3, 3.0):
        for start in (0.0, 0.3, 1.0):
            for sharpness in (1.0, 8.0, 32.0):
                tried = _left_out_log_likelihood(evidence, penalty, start, sharpness).mean()
                assert tried <= best.value + 1e-8


def test_names_speak_where_a_class_has_one_label():
    names = [f"class {n}" for n in range(5)]
    evidence = Evidence(
        teacher_labels=names,
        student_labels=names,
        text_cost=1 - np.eye(5),
        predictions=0.05 + 0.75 * np.eye(5),
        labels=np.arange(5),
    )
    score = TransportMap().estimate(evidence)
    assert score.details["start"] > 0, "the others' labels alone say nothing of an item, not even by its absence"
    assert score.value > -np.log(5) / 2


def test_a_control_is_the_same_map_on_shuffled_labels(make_evidence):
    evidence = make_evidence(items=30)
    settings = TransportMap().estimate(evidence).details
    orders = np.stack([np.random.default_rng(n).permutation(30) for n in range(5)])
    values = TransportMap().null_values(evidence, orders)
    for order, value in zip(orders, values, strict=True):
        shuffled = evidence.with_students_shuffled(order)
        tried = [_left_out_log_likelihood(shuffled, **{**settings, "sharpness": g}).mean() for g in SHARPNESSES]
        assert value == pytest.approx(max(tried), abs=1e-9)
    assert values.max() < TransportMap().estimate(evidence).value


@pytest.mark.parametrize("skill", [0.0, 1.0])
def test_controls_in_single_precision_agree_with_double(make_evidence, monkeypatch, skill):
    """Large probes are done in float32, without directions that the fit all but drops, and in blocks."""
    evidence = make_evidence(items=200, teacher=40, skill=skill)
    orders = np.stack([np.random.default_rng(n).permutation(200) for n in range(12)])
    exact = TransportMap().null_values(evidence, orders)
    monkeypatch.setattr(transport_map, "_IN_DOUBLE", 0)
    monkeypatch.setattr(transport_map, "_AT_ONCE", 5 * 200 * 3)
    np.testing.assert_allclose(TransportMap().null_values(evidence, orders), exact, rtol=1e-4)


def test_controls_of_a_teacher_of_one_answer_equal_its_score(make_evidence):
    still = replace(make_evidence(), logits=np.zeros((60, 7)))
    orders = np.stack([np.random.default_rng(n).permutation(60) for n in range(3)])
    np.testing.assert_allclose(
        TransportMap().null_values(still, orders), TransportMap().estimate(still).value, atol=1e-8
    )


def test_the_map_is_fitted_once_and_anew_for_other_labels(make_evidence):
    evidence = make_evidence()
    assert transport_map.held_out_fit(evidence) is transport_map.held_out_fit(evidence)
    shuffled = evidence.with_students_shuffled(np.random.default_rng(0).permutation(60))
    assert (
        transport_map.held_out_fit(shuffled).log_likelihoods.mean()
        < transport_map.held_out_fit(evidence).log_likelihoods.mean() - 0.1
    )
