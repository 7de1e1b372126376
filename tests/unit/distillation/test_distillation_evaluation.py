"""Intervals and splits."""

import numpy as np
import pytest

from worker.distillation.evaluation.statistics import held_out, paired_gain, stratified_folds
from worker.errors import ComputationFailed


def test_interval_of_a_gain_is_that_of_the_normal_approximation() -> None:
    generator = np.random.default_rng(0)
    without = generator.random((1, 2000)) < 0.6
    with_teacher = without | (generator.random((1, 2000)) < 0.1)
    found = paired_gain(with_teacher, without)
    difference = (with_teacher.astype(float) - without).ravel()
    error = difference.std() / np.sqrt(2000)
    assert found.mean == pytest.approx(difference.mean())
    assert found.low == pytest.approx(difference.mean() - 1.645 * error, abs=0.15 * error)
    assert found.high == pytest.approx(difference.mean() + 1.645 * error, abs=0.15 * error)
    assert found.verdict == "helped"


def test_pairing_narrows_the_interval() -> None:
    generator = np.random.default_rng(1)
    hard = generator.random(400) < 0.5
    with_teacher, without = np.stack([~hard, ~hard]), np.stack([~hard, ~hard])
    with_teacher[0, :8] = True
    found = paired_gain(with_teacher, without)
    assert found.high - found.low < 0.02


def test_seeds_that_disagree_widen_the_interval() -> None:
    without = np.zeros((2, 300), dtype=bool)
    agree, differ = without.copy(), without.copy()
    agree[:, :30] = True
    differ[0, :60] = True
    assert paired_gain(agree, without).low > 0
    assert paired_gain(differ, without).verdict == "no clear effect"


def test_equal_arms_have_no_effect() -> None:
    right = np.random.default_rng(2).random((2, 50)) < 0.5
    found = paired_gain(right, right)
    assert (found.mean, found.low, found.high, found.verdict) == (0.0, 0.0, 0.0, "no clear effect")


def test_harm_is_called_harm() -> None:
    right = np.ones((1, 200), dtype=bool)
    worse = right.copy()
    worse[0, :40] = False
    assert paired_gain(worse, right).verdict == "hurt"


def test_folds_are_disjoint_complete_and_even() -> None:
    labels = np.repeat([0, 1, 2], [5, 7, 12])
    folds = stratified_folds(labels, 5, 3)
    assert sorted(np.concatenate(folds).tolist()) == list(range(24))
    for number in range(3):
        counts = [int((labels[fold] == number).sum()) for fold in folds]
        assert max(counts) - min(counts) <= 1
    for fold in folds:
        assert set(np.delete(labels, fold).tolist()) == {0, 1, 2}


def test_no_folds_where_a_class_has_one_item() -> None:
    assert stratified_folds(np.array([0, 0, 1]), 5, 0) == []


def test_held_out_leaves_every_class_something() -> None:
    labels = np.repeat([0, 1, 2], [1, 2, 20])
    rows, test = held_out(labels, 0.25, 0)
    assert sorted([*rows.tolist(), *test.tolist()]) == list(range(23))
    assert set(labels[rows].tolist()) == {0, 1, 2}
    assert (labels[test] == 2).sum() == 5
    assert (labels[test] == 1).sum() == 1


def test_nothing_to_hold_out_is_said() -> None:
    with pytest.raises(ComputationFailed, match="give a test probe"):
        held_out(np.arange(4), 0.25, 0)
