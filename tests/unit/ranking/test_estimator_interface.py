"""What holds for every estimator in the registry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from worker.ranking.estimators.base import WHAT_TO_SEND, MissingEvidence, Need
from worker.ranking.estimators.registry import ESTIMATORS

NAMES_ONLY = {
    "predictions": None,
    "logits": None,
    "features": None,
    "labels": None,
    "student_predictions": None,
    "class_weights": None,
    "teacher_accuracy": None,
    "parameter_count": None,
}
WITHOUT_PROBE = {
    "label_transport_coverage",
    "label_transport_balanced",
    "teacher_accuracy",
    "class_count",
    "parameter_count",
    "random_order",
}


def test_registry_holds_every_name_once():
    assert all(name == estimator.name for name, estimator in ESTIMATORS.items())
    assert {"alignment", "transport_gain", "leep", "nce", "nleep", "logme", "h_score"} < set(ESTIMATORS)
    assert {"parc", "knn", "sfda", "mutual_information", "random_teacher"} < set(ESTIMATORS)


def test_documentation_lists_every_estimator():
    page = (Path(__file__).parents[3] / "docs" / "estimators.md").read_text()
    assert [name for name in ESTIMATORS if f"| `{name}` |" not in page] == []


def test_every_need_says_what_to_send():
    assert set(WHAT_TO_SEND) == set(Need)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_same_evidence_same_score(make_evidence, name):
    first = ESTIMATORS[name].estimate(make_evidence())
    second = ESTIMATORS[name].estimate(make_evidence())
    assert np.isfinite(first.value)
    assert first.value == second.value


@pytest.mark.parametrize("name", ESTIMATORS)
def test_influence_is_centred_and_only_where_there_is_a_probe(make_evidence, name):
    score = ESTIMATORS[name].estimate(make_evidence())
    if name in WITHOUT_PROBE:
        assert score.influence is None
    else:
        assert score.influence is not None
        assert score.influence.shape == (60,)
        assert abs(score.influence.mean()) < 1e-9 * max(1.0, np.abs(score.influence).max())


@pytest.mark.parametrize("name", ESTIMATORS)
def test_refuses_with_a_reason_when_anything_needed_is_missing(make_evidence, name):
    estimator, evidence = ESTIMATORS[name], replace(make_evidence(), **NAMES_ONLY)
    if estimator.needs <= {Need.NAMES}:
        assert estimator.missing(evidence) == frozenset()
        return
    missing = estimator.missing(evidence)
    assert missing
    with pytest.raises(MissingEvidence) as refusal:
        estimator.estimate(evidence)
    assert refusal.value.missing == missing
    assert all(WHAT_TO_SEND[need] in str(refusal.value) for need in missing)
    assert str(refusal.value).startswith(name)


def test_one_class_is_refused_where_a_contrast_is_needed(make_evidence):
    evidence = replace(make_evidence(), labels=np.ones(60, dtype=np.int64))
    for name in ("h_score", "sfda", "parc"):
        assert ESTIMATORS[name].missing(evidence) == {Need.TWO_CLASSES}


# N-LEEP's mixture and the random controls start from random numbers given to positions, not to items.
@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"nleep", "random_teacher"}))
def test_order_of_items_does_not_matter(make_evidence, name):
    evidence = make_evidence()
    shuffled = evidence.take(np.random.default_rng(3).permutation(evidence.items))
    assert ESTIMATORS[name].estimate(shuffled).value == pytest.approx(
        ESTIMATORS[name].estimate(evidence).value, abs=1e-8
    )


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"nleep"}))
def test_order_of_teacher_classes_does_not_matter(make_evidence, name):
    evidence = make_evidence()
    order = np.random.default_rng(4).permutation(evidence.teacher_classes)
    shuffled = replace(
        evidence,
        teacher_labels=[evidence.teacher_labels[k] for k in order],
        text_cost=evidence.text_cost[order],
        predictions=evidence.predictions[:, order],
        logits=evidence.logits[:, order],
        class_weights=evidence.class_weights[order],
    )
    assert ESTIMATORS[name].estimate(shuffled).value == pytest.approx(
        ESTIMATORS[name].estimate(evidence).value, abs=1e-8
    )


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"nleep", "random_teacher"}))
def test_order_of_student_classes_does_not_matter(make_evidence, name):
    evidence = make_evidence()
    order = np.array([2, 0, 1])
    place = np.argsort(order)
    shuffled = replace(
        evidence,
        text_cost=evidence.text_cost[:, order],
        labels=place[evidence.labels],
        student_predictions=evidence.student_predictions[:, order],
    )
    assert ESTIMATORS[name].estimate(shuffled).value == pytest.approx(
        ESTIMATORS[name].estimate(evidence).value, abs=1e-8
    )


LABELLED = sorted(name for name, e in ESTIMATORS.items() if e.needs & {Need.LABELS, Need.OUTCOMES})


@pytest.mark.parametrize("name", sorted(set(LABELLED) - {"random_teacher"}))
def test_a_skilled_teacher_beats_its_random_control(make_evidence, name):
    evidence = make_evidence(items=90, skill=2.0)
    if name.endswith("_prototype"):
        means = np.stack([evidence.features[evidence.labels == c].mean(axis=0) for c in range(3)])
        evidence = replace(evidence, class_weights=means[evidence.text_cost.argmin(axis=1)])
    estimator = ESTIMATORS[name]
    rng = np.random.default_rng(5)
    orders = np.stack([rng.permutation(evidence.items) for _ in range(10)])
    null = estimator.null_values(evidence, orders)
    value = estimator.estimate(evidence).value
    assert null.shape == (10,)
    assert (value > null.max()) if estimator.higher_is_better else (value < null.min())


# N-LEEP's mixture is fitted once, in the order of the items before they move, and the transport map keeps settings;
# their own tests cover them.
@pytest.mark.parametrize("name", sorted(set(LABELLED) - {"nleep", "transport_map", "random_teacher"}))
def test_fast_null_values_equal_re_estimation(make_evidence, name):
    evidence = make_evidence(items=30)
    rng = np.random.default_rng(6)
    orders = np.stack([rng.permutation(evidence.items) for _ in range(3)])
    expected = [ESTIMATORS[name].estimate(evidence.permuted(order)).value for order in orders]
    np.testing.assert_allclose(ESTIMATORS[name].null_values(evidence, orders), expected, atol=1e-8)
