"""LogME against the dense evidence, the published iteration and leaving items out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from worker.ranking.estimators.logme import LogMe, logme
from worker.ranking.estimators.representation import Representation


def dense_evidence(features, target, alpha, beta):
    """Log marginal likelihood of ``y ~ N(0, I / beta + F F^T / alpha)``: no spectrum, no posterior mean."""
    n = len(target)
    covariance = np.eye(n) / beta + features @ features.T / alpha
    _, logdet = np.linalg.slogdet(covariance)
    return -0.5 * (n * np.log(2 * np.pi) + logdet + target @ np.linalg.solve(covariance, target))


def slow_logme(features, labels):
    """The fixed point of MacKay's updates, one class after the other, with dense matrices."""
    n, d = features.shape
    evidences = []
    for c in np.unique(labels):
        target = (labels == c).astype(float)
        alpha = beta = 1.0
        for _ in range(11):
            ratio = alpha / beta
            inverse = np.linalg.inv(features.T @ features + ratio * np.eye(d))
            mean = inverse @ features.T @ target
            gamma = d - ratio * np.trace(inverse)
            alpha = gamma / (mean @ mean + 1e-5)
            beta = (n - gamma) / (((target - features @ mean) ** 2).sum() + 1e-5)
            if abs(alpha / beta - ratio) / ratio <= 1e-3:
                break
        evidences.append(dense_evidence(features, target, alpha, beta) / n)
    return float(np.mean(evidences))


@pytest.mark.parametrize("features", [5, 30, 200])
def test_equals_dense_evidence_narrow_and_wide(make_evidence, features):
    evidence = make_evidence(items=80, features=features)
    value = LogMe().estimate(evidence).value
    assert value == pytest.approx(slow_logme(evidence.features, evidence.labels), rel=1e-6)


def test_many_classes_together_equal_one_after_the_other(make_evidence):
    """Easy classes converge in fewer steps; the steps that the others need must not move them."""
    evidence = make_evidence(items=90, student=6, skill=3.0)
    expected = slow_logme(evidence.features, evidence.labels)
    assert LogMe().estimate(evidence).value == pytest.approx(expected, rel=1e-6)


def test_only_classes_in_the_probe_count(make_evidence):
    evidence = make_evidence(student=4)
    seen = evidence.take(np.flatnonzero(evidence.labels != 2))
    assert LogMe().estimate(seen).value == pytest.approx(slow_logme(seen.features, seen.labels), rel=1e-6)


def test_influence_equals_leaving_out(make_evidence, jackknife):
    evidence = make_evidence(items=250)
    fast, slow = LogMe().estimate(evidence).influence, jackknife(LogMe(), evidence)
    assert np.corrcoef(fast, slow)[0, 1] > 0.995
    assert fast.std() == pytest.approx(slow.std(), rel=0.1)


def test_better_features_score_higher(make_evidence):
    scores = [LogMe().estimate(make_evidence(items=120, skill=skill)).value for skill in (0.0, 1.0, 4.0)]
    assert scores == sorted(scores)
    assert scores[2] > scores[0] + 0.05


def test_log_predictions_stand_in_for_features(make_evidence):
    evidence = replace(make_evidence(), features=None, class_weights=None)
    score = LogMe().estimate(evidence)
    assert score.details["features"] == "log-predictions"
    assert score.value == pytest.approx(slow_logme(evidence.representation.rows, evidence.labels), rel=1e-6)


def test_a_feature_that_repeats_does_not_break_the_spectrum():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 4))
    doubled = np.hstack([rows, rows])
    labels = rng.integers(0, 3, 50)
    value = logme(Representation(doubled, "features"), labels)[0]
    assert value == pytest.approx(slow_logme(doubled, labels), rel=1e-6)
