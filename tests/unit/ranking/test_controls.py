"""Controls know what they say they know and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from worker.ranking.estimators.alignment import TransportGain
from worker.ranking.estimators.controls import (
    ClassCount,
    MutualInformation,
    ParameterCount,
    RandomOrder,
    RandomTeacher,
    TeacherAccuracy,
)
from worker.ranking.estimators.evidence import Evidence


def test_plain_facts(make_evidence):
    evidence = make_evidence()
    assert TeacherAccuracy().estimate(evidence).value == 0.8
    assert ClassCount().estimate(evidence).value == 7
    assert ParameterCount().estimate(evidence).value == 1000


def test_mutual_information_equals_loops(make_evidence):
    p = make_evidence().predictions
    marginal = p.mean(axis=0)
    entropy = -sum(x * np.log(x) for x in marginal)
    conditional = -sum(p[i, k] * np.log(p[i, k]) for i in range(60) for k in range(7)) / 60
    assert MutualInformation().estimate(make_evidence()).value == pytest.approx(entropy - conditional, abs=1e-12)


@given(raw=arrays(np.float64, (9, 5), elements=st.floats(0, 1)))
def test_mutual_information_lies_between_zero_and_log_k(raw):
    p = (raw + 1e-3) / (raw + 1e-3).sum(axis=1, keepdims=True)
    value = MutualInformation().estimate(Evidence(list("abcde"), ["x"], predictions=p)).value
    assert -1e-12 <= value <= np.log(5) + 1e-12


def test_mutual_information_at_its_ends():
    sure = Evidence(list("abcd"), ["x"], predictions=np.eye(4))
    vague = Evidence(list("abcd"), ["x"], predictions=np.full((4, 4), 0.25))
    assert MutualInformation().estimate(sure).value == pytest.approx(np.log(4))
    assert MutualInformation().estimate(vague).value == pytest.approx(0)


def test_mutual_information_influence_equals_leaving_out(make_evidence, jackknife):
    evidence = make_evidence(items=200)
    fast, slow = MutualInformation().estimate(evidence).influence, jackknife(MutualInformation(), evidence)
    assert np.corrcoef(fast, slow)[0, 1] > 0.999
    assert fast.std() == pytest.approx(slow.std(), rel=0.05)


def test_random_order_differs_by_teacher_and_seed_and_repeats(make_evidence):
    evidence = make_evidence()
    value = RandomOrder().estimate(evidence).value
    assert value == RandomOrder().estimate(replace(evidence)).value
    assert value != RandomOrder().estimate(replace(evidence, teacher="other")).value
    assert value != RandomOrder().estimate(replace(evidence, seed=1)).value


def test_random_teacher_gains_nothing_on_average(make_evidence):
    evidence = make_evidence(items=200)
    control = RandomTeacher(TransportGain())
    gains = [control.estimate(replace(evidence, seed=seed)).value for seed in range(60)]
    real = TransportGain().estimate(evidence).value
    assert abs(np.mean(gains)) < 3 * np.std(gains) / np.sqrt(60)
    assert real > 5 * np.std(gains)


def test_random_teacher_is_better_the_same_way_as_what_it_controls(make_evidence):
    control = RandomTeacher(TransportGain())
    assert control.higher_is_better
    assert control.needs == TransportGain().needs
    assert control.estimate(make_evidence()).details["of"] == "transport_gain"
