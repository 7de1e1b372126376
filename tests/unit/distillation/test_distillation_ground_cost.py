"""The ground cost: names where nothing is known, evidence where there is some."""

from itertools import pairwise

import numpy as np
import pytest

from worker.distillation.evaluation.statistics import stratified_folds
from worker.distillation.teaching.joint_cost import (
    STRENGTHS,
    cautious_names,
    choose_strength,
    evidence_affinity,
    joint_cost,
    names_affinity,
    own_classes_cost,
)


def _answers(table: np.ndarray, items: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A sure teacher whose classes mean what `table` says."""
    generator = np.random.default_rng(seed)
    chosen = generator.integers(0, len(table), items)
    labels = np.array([generator.choice(table.shape[1], p=table[k]) for k in chosen])
    said = np.full((items, len(table)), 0.02 / (len(table) - 1), dtype=np.float32)
    said[np.arange(items), chosen] = 0.98
    return said, labels


def test_names_affinity_is_the_gibbs_kernel() -> None:
    cost = np.array([[0.0, 0.1], [0.3, 0.3]], dtype=np.float32)
    found = names_affinity(cost, 0.05)
    assert found[0, 0] / found[0, 1] == pytest.approx(np.exp(2), rel=1e-5)
    assert found[1] == pytest.approx([0.5, 0.5])


def test_evidence_finds_what_the_classes_mean() -> None:
    table = np.array([[0.9, 0.1, 0.0], [0.0, 0.2, 0.8], [0.1, 0.8, 0.1]])
    said, labels = _answers(table, 4000, 1)
    found = evidence_affinity(said, labels, np.full((3, 3), 1 / 3), 1.0)
    assert np.abs(found - table).max() < 0.04
    assert found.sum(axis=1) == pytest.approx(np.ones(3))


def test_evidence_makes_the_labels_likelier_round_by_round() -> None:
    said, labels = _answers(np.array([[0.7, 0.3], [0.2, 0.8]]), 60, 2)
    said = 0.6 * said + 0.2
    prior = np.full((2, 2), 0.5)
    scores = []
    for rounds in range(1, 12):
        table = evidence_affinity(said, labels, prior, 1e-3, rounds)
        scores.append(np.log((said @ table)[np.arange(60), labels]).sum())
    # The floor under every entry costs a little.
    assert all(later >= earlier - 0.02 for earlier, later in pairwise(scores))
    assert scores[-1] > scores[0] + 0.1


def test_a_strong_prior_stands() -> None:
    said, labels = _answers(np.array([[1.0, 0.0], [0.0, 1.0]]), 20, 3)
    prior = np.array([[0.3, 0.7], [0.6, 0.4]])
    assert np.abs(evidence_affinity(said, labels, prior, 1e6) - prior).max() < 1e-3


def test_names_that_are_right_make_left_out_labels_likelier() -> None:
    table = np.array([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]])
    said, labels = _answers(table, 12, 4)
    folds = stratified_folds(labels, 3, 0)
    scores = []
    for prior in (table, np.roll(table, 1, axis=1)):
        strength, left_out = choose_strength(said, labels, prior, folds)
        assert strength in STRENGTHS
        assert left_out.sum(axis=1) == pytest.approx(np.ones(12), abs=1e-3)
        scores.append(np.log(left_out[np.arange(12), labels]).mean())
    assert scores[0] > scores[1] + 0.1


def test_without_folds_the_prior_speaks() -> None:
    prior = np.array([[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    said = np.eye(3, dtype=np.float32)
    _, left_out = choose_strength(said, np.arange(3), prior, [])
    assert left_out == pytest.approx(prior)


def test_joint_cost_is_minus_eps_log_of_a_distribution() -> None:
    said, labels = _answers(np.array([[0.9, 0.1], [0.3, 0.7]]), 40, 5)
    prior = cautious_names(np.array([[0.1, 0.5], [0.5, 0.1]], dtype=np.float32), labels, 0.05)
    made = joint_cost(prior, said, labels, 0.05, stratified_folds(labels, 5, 0))
    assert made.cost.dtype == np.float32
    assert (made.cost >= 0).all()
    assert np.exp(-made.cost / 0.05).sum(axis=1) == pytest.approx(np.ones(2), abs=1e-4)


def test_own_classes_stay_but_for_a_little() -> None:
    table = np.exp(-own_classes_cost(5, 0.1) / 0.1)
    assert table.sum(axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert np.diag(table) == pytest.approx(np.full(5, 0.992), abs=1e-4)
