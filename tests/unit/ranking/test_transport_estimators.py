"""Label transport, prediction transport, gain and alignment against linear programmes and loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog

from worker.ranking.estimators.alignment import Alignment, TransportGain
from worker.ranking.estimators.evidence import Evidence
from worker.ranking.estimators.label_transport import LabelTransport
from worker.ranking.estimators.prediction_transport import PredictionTransport


def linear_programme(a, b, cost):
    """Value of the transport problem from a general solver."""
    k, s = cost.shape
    rows = np.kron(np.eye(k), np.ones(s))
    columns = np.kron(np.ones(k), np.eye(s))
    solved = linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([a, b]), method="highs")
    assert solved.success
    return solved.fun


def joint(evidence):
    total = np.zeros((evidence.teacher_classes, evidence.student_classes))
    for p, q in zip(evidence.predictions, evidence.outcomes, strict=True):
        total += np.outer(p, q)
    return total / evidence.items


def test_balanced_label_transport_equals_a_linear_programme(make_evidence):
    prior = np.array([0.5, 0.3, 0.2])
    evidence = replace(make_evidence(), student_prior=prior)
    expected = linear_programme(np.full(7, 1 / 7), prior, evidence.text_cost)
    assert LabelTransport("balanced").estimate(evidence).value == pytest.approx(expected, abs=1e-9)


def test_coverage_is_the_mean_nearest_label_and_ignores_the_rest(make_evidence):
    evidence = replace(make_evidence(), student_prior=np.array([0.5, 0.3, 0.2]))
    cost = evidence.text_cost
    expected = sum(b * min(cost[k, c] for k in range(7)) for c, b in enumerate([0.5, 0.3, 0.2]))
    value = LabelTransport("coverage").estimate(evidence).value
    assert value == pytest.approx(expected, abs=1e-12)
    # 20 classes that nobody asked about change nothing here, and make the balanced score worse.
    larger = Evidence(
        [f"t{k}" for k in range(27)],
        evidence.student_labels,
        text_cost=np.vstack([cost, np.full((20, 3), 1.9)]),
        student_prior=evidence.student_prior,
    )
    assert LabelTransport("coverage").estimate(larger).value == pytest.approx(value)
    balanced = LabelTransport("balanced")
    assert balanced.estimate(larger).value > balanced.estimate(evidence).value + 0.1


def test_coverage_is_a_lower_bound_of_balanced(make_evidence):
    for seed in range(5):
        evidence = make_evidence(seed=seed)
        relaxed = LabelTransport("coverage").estimate(evidence).value
        assert relaxed <= LabelTransport("balanced").estimate(evidence).value + 1e-12


def test_labelled_prediction_transport_is_the_inner_product_with_the_joint(make_evidence):
    evidence = make_evidence()
    score = PredictionTransport().estimate(evidence)
    assert score.value == pytest.approx((joint(evidence) * evidence.text_cost).sum(), abs=1e-12)
    assert score.details["plan"] == "forced by labels"


def test_soft_prediction_transport_nears_the_linear_programmes_as_eps_falls(make_evidence):
    evidence = replace(make_evidence(items=8), labels=None)
    exact = np.mean(
        [
            linear_programme(p, q, evidence.text_cost)
            for p, q in zip(evidence.probabilities, evidence.outcomes, strict=True)
        ]
    )
    errors = [PredictionTransport(eps=eps).estimate(evidence).value - exact for eps in (0.5, 0.1, 0.02)]
    assert errors[0] > errors[1] > errors[2] > -1e-4
    assert errors[2] < 0.01


def test_soft_labels_that_are_sure_agree_with_labels(make_evidence):
    evidence = make_evidence(items=20)
    sure = replace(evidence, labels=None, student_predictions=np.eye(3)[evidence.labels])
    for estimator in (PredictionTransport(), TransportGain(), Alignment()):
        assert estimator.estimate(sure).value == pytest.approx(estimator.estimate(evidence).value, abs=1e-4)


def test_gain_and_alignment_equal_their_definitions(make_evidence):
    evidence = make_evidence()
    j, cost = joint(evidence), evidence.text_cost
    a, b = j.sum(axis=1), j.sum(axis=0)
    independent, paid = (np.outer(a, b) * cost).sum(), (j * cost).sum()
    assert TransportGain().estimate(evidence).value == pytest.approx(independent - paid, abs=1e-12)
    expected = (independent - paid) / (independent - linear_programme(a, b, cost))
    assert Alignment().estimate(evidence).value == pytest.approx(expected, abs=1e-8)


def test_alignment_is_zero_for_predictions_that_ignore_the_item(make_evidence):
    evidence = make_evidence()
    constant = replace(evidence, predictions=np.tile(evidence.predictions.mean(axis=0), (60, 1)))
    assert Alignment().estimate(constant).value == pytest.approx(0, abs=1e-9)
    assert TransportGain().estimate(constant).value == pytest.approx(0, abs=1e-12)


def test_alignment_is_one_for_the_optimal_coupling(make_evidence):
    evidence = make_evidence()
    nearest = evidence.text_cost.argmin(axis=0)
    assert len(set(nearest)) == 3
    perfect = replace(evidence, predictions=np.eye(7)[nearest[evidence.labels]])
    assert Alignment().estimate(perfect).value == pytest.approx(1, abs=1e-9)


def test_alignment_without_attainable_gain_is_zero_and_reported(make_evidence):
    evidence = make_evidence()
    dead = replace(evidence, predictions=np.tile(np.eye(7)[2], (60, 1)))
    score = Alignment().estimate(dead)
    assert score.value == 0
    assert not score.influence.any()
    assert score.details["note"] == "no attainable gain"
    orders = np.stack([np.random.default_rng(i).permutation(60) for i in range(3)])
    assert not Alignment().null_values(dead, orders).any()


@settings(max_examples=60)
@given(
    raw=arrays(np.float64, (10, 5), elements=st.floats(0, 1)),
    labels=arrays(np.int64, 10, elements=st.integers(0, 2)),
    cost=arrays(np.float64, (5, 3), elements=st.floats(0, 2)),
)
def test_alignment_never_exceeds_one(raw, labels, cost):
    predictions = (raw + 1e-3) / (raw + 1e-3).sum(axis=1, keepdims=True)
    evidence = Evidence(list("abcde"), list("xyz"), text_cost=cost, predictions=predictions, labels=labels)
    score = Alignment().estimate(evidence)
    assert np.isfinite(score.value)
    assert score.value <= 1 + 1e-6


def test_alignment_does_not_depend_on_the_scale_or_origin_of_the_cost(make_evidence):
    evidence = make_evidence()
    moved = replace(evidence, text_cost=0.3 * evidence.text_cost + 0.1)
    assert Alignment().estimate(moved).value == pytest.approx(Alignment().estimate(evidence).value, abs=1e-8)


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("estimator", [PredictionTransport(), TransportGain(), Alignment()])
def test_influence_equals_leaving_out(make_evidence, jackknife, estimator, labelled):
    # Enough items that leaving one out does not cross a kink of the piecewise linear optimum.
    evidence = make_evidence(items=400 if labelled else 100, seed=1)
    if not labelled:
        evidence = replace(evidence, labels=None)
    fast, slow = estimator.estimate(evidence).influence, jackknife(estimator, evidence)
    assert np.corrcoef(fast, slow)[0, 1] > 0.995
    assert fast.std() == pytest.approx(slow.std(), rel=0.05)
