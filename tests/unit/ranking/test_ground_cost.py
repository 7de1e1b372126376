"""The prototype cost against loops, and that no item is judged by a prototype that it made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from worker.ranking.estimators.alignment import TransportGain
from worker.ranking.estimators.base import Need
from worker.ranking.estimators.evidence import Evidence
from worker.ranking.estimators.ground_cost import ground_cost, needs_of


def cosine(x, y):
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))


def slow(evidence, alpha):
    """Matrix and item costs, one entry at a time."""
    weights = evidence.class_weights - evidence.class_weights.mean(axis=0)
    rows = evidence.features - evidence.features.mean(axis=0)
    n, (k, s) = evidence.items, evidence.text_cost.shape

    def column(c, without):
        members = [i for i in range(n) if evidence.labels[i] == c and i != without]
        if not members:
            return evidence.text_cost[:, c]
        prototype = rows[members].mean(axis=0)
        distances = np.array([1 - cosine(weights[z], prototype) for z in range(k)])
        return alpha * evidence.text_cost[:, c] + (1 - alpha) * distances

    matrix = np.stack([column(c, None) for c in range(s)], axis=1)
    items = np.empty((n, s))
    for i in range(n):
        alone = (evidence.labels == evidence.labels[i]).sum() == 1
        for c in range(s):
            own = c == evidence.labels[i]
            priced = evidence.text_cost[:, c] if alone else column(c, i if own else None)
            items[i, c] = evidence.predictions[i] @ priced
    return matrix, items


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_equals_loops(make_evidence, alpha):
    evidence = make_evidence(items=21, student=4)
    labels = evidence.labels.copy()
    labels[labels == 2] = 0  # a class without items
    labels[labels == 1] = 0  # and one with a single item
    labels[7] = 1
    evidence = replace(evidence, labels=labels)
    matrix, items = slow(evidence, alpha)
    ground = ground_cost(evidence, alpha)
    np.testing.assert_allclose(ground.matrix, matrix, atol=1e-12)
    np.testing.assert_allclose(ground.item_costs, items, atol=1e-12)


def test_a_common_shift_of_weights_or_features_changes_nothing(make_evidence):
    evidence = make_evidence()
    moved = replace(
        evidence,
        class_weights=evidence.class_weights + np.arange(5.0),
        features=evidence.features + 10.0,
    )
    np.testing.assert_allclose(ground_cost(moved, 0.3).matrix, ground_cost(evidence, 0.3).matrix, atol=1e-9)


def test_a_teacher_of_noise_does_not_look_consistent_with_itself():
    """Predictions are softmax(W x) of noise: prototypes that saw their own item would report a gain."""
    gains, leaky = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rows, weights = rng.normal(size=(30, 50)), rng.normal(size=(12, 50))
        logits = rows @ weights.T
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        evidence = Evidence(
            [f"t{k}" for k in range(12)],
            [f"s{c}" for c in range(10)],
            text_cost=rng.uniform(0.5, 1.0, (12, 10)),
            predictions=p / p.sum(axis=1, keepdims=True),
            features=rows,
            class_weights=weights,
            labels=np.arange(30) % 10,
        )
        gains.append(TransportGain(alpha=0.0).estimate(evidence).value)
        matrix = ground_cost(evidence, 0.0).matrix
        paid = evidence.predictions @ matrix
        leaky.append(paid.mean() - paid[np.arange(30), evidence.labels].mean())
    assert np.mean(leaky) > 0.1
    assert abs(np.mean(gains)) < 0.2 * np.mean(leaky)


def test_needs_grow_when_prototypes_enter():
    assert needs_of(1.0) == {Need.NAMES, Need.PROBE}
    assert {Need.FEATURES, Need.CLASS_WEIGHTS, Need.LABELS} < needs_of(0.5)
    with pytest.raises(ValueError, match="alpha"):
        needs_of(1.5)


def test_says_what_is_missing(make_evidence):
    with pytest.raises(ValueError, match="class weights"):
        ground_cost(replace(make_evidence(), class_weights=None), 0.5)
