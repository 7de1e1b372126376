"""LEEP, NCE and N-LEEP against loops, hand-computed values and leaving items out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import log

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from worker.ranking.estimators.evidence import Evidence
from worker.ranking.estimators.leep import Leep, leep
from worker.ranking.estimators.nce import NegativeConditionalEntropy
from worker.ranking.estimators.nleep import NLeep, principal_components


def slow_leep(theta, labels, classes):
    n, z_count = theta.shape
    total = 0.0
    for i in range(n):
        inner = 0.0
        for z in range(z_count):
            joint = sum(theta[j, z] for j in range(n) if labels[j] == labels[i]) / n
            marginal = sum(theta[j, z] for j in range(n)) / n
            inner += joint / marginal * theta[i, z]
        total += log(inner)
    return total / n


def test_leep_equals_loops(make_evidence):
    evidence = make_evidence()
    value = Leep().estimate(evidence).value
    assert value == pytest.approx(slow_leep(evidence.predictions, evidence.labels, 3), abs=1e-12)


def test_leep_by_hand():
    # Two items, two classes: P(y=0|z=0) = .9/1.1, P(y=0|z=1) = .1/.9.
    theta = np.array([[0.9, 0.1], [0.2, 0.8]])
    first = 0.9 * 0.9 / 1.1 + 0.1 * 0.1 / 0.9
    second = 0.2 * 0.2 / 1.1 + 0.8 * 0.8 / 0.9
    assert leep(theta, np.array([0, 1]), 2)[0] == pytest.approx((log(first) + log(second)) / 2)


@given(
    raw=arrays(np.float64, (12, 4), elements=st.floats(0.01, 1.0)),
    labels=arrays(np.int64, 12, elements=st.integers(0, 2)),
)
def test_likelihood_scores_are_at_most_zero(raw, labels):
    theta = raw / raw.sum(axis=1, keepdims=True)
    value, influence = leep(theta, labels, 3)
    assert value <= 1e-12
    assert np.isfinite(influence).all()
    evidence = Evidence(["a", "b", "c", "d"], ["x", "y", "z"], predictions=theta, labels=labels)
    nce = NegativeConditionalEntropy().estimate(evidence).value
    assert nce <= 1e-12
    shares = np.bincount(labels, minlength=3) / 12
    shares = shares[shares > 0]
    # Neither knows less than the class shares alone (LEEP by concavity, NCE by conditioning).
    assert nce >= (shares * np.log(shares)).sum() - 1e-9


def test_constant_predictions_leave_the_label_entropy(make_evidence):
    evidence = make_evidence()
    constant = replace(evidence, predictions=np.tile(evidence.predictions[:1], (60, 1)))
    for estimator in (Leep(), NegativeConditionalEntropy()):
        assert estimator.estimate(constant).value == pytest.approx(-log(3))


def test_perfect_decisions_score_zero(make_evidence):
    evidence = make_evidence()
    perfect = replace(evidence, predictions=np.eye(7)[evidence.labels])
    for estimator in (Leep(), NegativeConditionalEntropy()):
        assert estimator.estimate(perfect).value == pytest.approx(0, abs=1e-12)


def test_nce_equals_counting(make_evidence):
    evidence = make_evidence()
    z = evidence.predictions.argmax(axis=1).tolist()
    y = evidence.labels.tolist()
    joint, marginal = Counter(zip(z, y, strict=True)), Counter(z)
    slow = sum(count / 60 * log(count / marginal[pair[0]]) for pair, count in joint.items())
    assert NegativeConditionalEntropy().estimate(evidence).value == pytest.approx(slow, abs=1e-12)


@pytest.mark.parametrize("estimator", [Leep(), NegativeConditionalEntropy()])
def test_influence_equals_leaving_out(make_evidence, jackknife, estimator):
    evidence = make_evidence(items=300, teacher=4)
    fast, slow = estimator.estimate(evidence).influence, jackknife(estimator, evidence)
    assert np.corrcoef(fast, slow)[0, 1] > 0.995
    assert fast.std() == pytest.approx(slow.std(), rel=0.1)


def test_principal_components_hold_the_energy():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(80, 10)) * np.linspace(3, 0.1, 10)
    from sklearn.decomposition import PCA

    reference = PCA(n_components=0.8).fit(rows)
    scores = principal_components(rows, 0.8)
    assert scores.shape[1] == reference.n_components_
    expected = np.abs(reference.transform(rows)) / np.sqrt(rows.var(axis=0).sum())
    np.testing.assert_allclose(np.abs(scores), expected, atol=1e-9)


def test_nleep_is_leep_over_the_mixture(make_evidence):
    evidence = make_evidence(items=80)
    score = NLeep().estimate(evidence)
    assert score.details["components"] == 15
    assert score.details["features"] == "features"
    posteriors = NLeep()._posteriors(evidence)
    assert score.value == pytest.approx(slow_leep(posteriors, evidence.labels, 3), abs=1e-9)


def test_nleep_keeps_four_items_a_component(make_evidence):
    score = NLeep().estimate(make_evidence(items=30))
    assert score.details["components"] == 7
    assert score.value < -1e-3


def test_nleep_tells_separated_classes_from_noise(make_evidence):
    clear = NLeep().estimate(make_evidence(items=120, skill=5.0)).value
    blurred = NLeep().estimate(make_evidence(items=120, skill=0.0)).value
    assert clear > blurred + 0.2


def test_nleep_null_permutes_the_posteriors(make_evidence):
    evidence = make_evidence(items=40)
    order = np.random.default_rng(1).permutation(40)[None]
    posteriors = NLeep()._posteriors(evidence)
    expected = leep(posteriors[order[0]], evidence.labels, 3)[0]
    assert NLeep().null_values(evidence, order)[0] == pytest.approx(expected, abs=1e-12)
