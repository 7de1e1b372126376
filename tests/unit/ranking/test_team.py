"""Teams: the leader stays, others join for what the leader lacks, trust sums to one."""

import numpy as np
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from worker.ranking.team import LARGEST, choose_team

LOSSES = arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(2, 6)), elements=st.floats(0, 2))


def test_a_teacher_of_the_missing_classes_joins_and_a_copy_does_not() -> None:
    leader, copy, other = [0.1, 0.1, 0.9, 0.9], [0.1, 0.1, 0.9, 0.9], [0.9, 0.9, 0.2, 0.2]
    team = choose_team(np.array([leader, copy, other]), np.full(4, 0.25), 0, 0.05)
    assert [member.number for member in team] == [0, 2]
    assert [round(member.loss, 6) for member in team] == [0.5, 0.15]
    np.testing.assert_allclose(team[0].weights, [1, 1, 0, 0], atol=1e-5)
    np.testing.assert_allclose(team[1].weights, [0, 0, 1, 1], atol=1e-5)


def test_classes_that_nobody_asks_about_do_not_count() -> None:
    losses = np.array([[0.1, 0.9], [0.9, 0.1]])
    assert len(choose_team(losses, np.array([1.0, 0.0]), 0, 0.05)) == 1


@given(LOSSES, st.integers(0, 7))
def test_each_member_helps_and_trust_sums_to_one(losses: np.ndarray, first: int) -> None:
    prior = np.full(losses.shape[1], 1 / losses.shape[1])
    team = choose_team(losses, prior, first % len(losses), 0.1)
    numbers = [member.number for member in team]
    assert numbers[0] == first % len(losses)
    assert len(set(numbers)) == len(numbers) <= LARGEST
    totals = [member.loss for member in team]
    assert totals == sorted(totals, reverse=True)
    assert np.isclose(totals[-1], losses[numbers].min(axis=0) @ prior)
    np.testing.assert_allclose(np.sum([member.weights for member in team], axis=0), 1)
