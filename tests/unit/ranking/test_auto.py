"""The blend: standardised over the zoo, signs turned, influences summed, and a sound answer for a zoo of one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from worker.ranking.blend import CONTROL, Auto, labelled_blend
from worker.ranking.estimators.base import MissingEvidence
from worker.ranking.estimators.registry import ESTIMATORS

MANY, SCARCE = np.repeat(np.arange(3), 10), np.repeat(np.arange(3), 3)
SKILLS = [0.0, 0.3, 1.0]


def _zoo(make_evidence):
    return [replace(make_evidence(skill=skill, seed=5), features=None) for skill in SKILLS]


@pytest.mark.parametrize("labels", [MANY, SCARCE])
def test_what_ships_is_known_and_sums_to_one(labels):
    auto = labelled_blend(labels)
    assert set(auto.weights) <= set(ESTIMATORS)
    assert CONTROL in auto.weights
    assert sum(auto.weights.values()) == pytest.approx(1, abs=1e-3)
    assert min(auto.weights.values()) > 0


def test_equals_the_sum_written_out(make_evidence):
    auto = Auto({"transport_map": 0.6, "prediction_transport": 0.4}, {"transport_map": 1, "prediction_transport": 1})
    zoo = _zoo(make_evidence)
    blended = [score.value for score in auto.blend([auto.member_scores(one) for one in zoo])]
    up = np.array([ESTIMATORS["transport_map"].estimate(one).value for one in zoo])
    down = np.array([ESTIMATORS["prediction_transport"].estimate(one).value for one in zoo])
    expected = 0.6 * (up - up.mean()) / up.std() - 0.4 * (down - down.mean()) / down.std()
    np.testing.assert_allclose(blended, expected, atol=1e-12)


def test_more_skill_is_better_and_influences_are_centred(make_evidence):
    auto = labelled_blend(MANY)
    scores = auto.blend([auto.member_scores(one) for one in _zoo(make_evidence)])
    values = [score.value for score in scores]
    assert values == sorted(values)
    assert sum(values) == pytest.approx(0, abs=1e-9)
    for score in scores:
        assert score.influence is not None
        assert score.influence.shape == (60,)
        assert score.influence.mean() == pytest.approx(0, abs=1e-9)


def test_influence_is_that_of_leaving_an_item_out_with_the_zoo_held_fixed(make_evidence, jackknife):
    auto = Auto({"leep": 1.0}, {"leep": 2.0})
    one = _zoo(make_evidence)[2]
    score = auto.blend([auto.member_scores(one)])[0]
    expected = jackknife(ESTIMATORS["leep"], one) / 2
    assert np.corrcoef(score.influence, expected)[0, 1] > 0.99


def test_a_zoo_of_one_and_of_equals_has_score_zero_and_a_width(make_evidence):
    auto = labelled_blend(MANY)
    one = auto.member_scores(_zoo(make_evidence)[1])
    for zoo in ([one], [one, one]):
        for score in auto.blend(zoo):
            assert score.value == 0
            assert np.abs(score.influence).max() > 0


def test_names_count_for_more_where_labels_are_few():
    names = "label_transport_coverage"
    assert labelled_blend(SCARCE).weights[names] > labelled_blend(MANY).weights.get(names, 0)


def test_what_is_missing_is_said(make_evidence):
    with pytest.raises(MissingEvidence, match="send a labelled probe"):
        labelled_blend(MANY).member_scores(replace(make_evidence(), labels=None))
