"""The order of a ranking: dust decides nothing, what still differs does, and who says nothing comes last."""

import numpy as np
import pytest
from numpy.typing import NDArray

from preceptor.contract.labels import LabelSetBody
from worker.label_space import LabelSpace
from worker.ranking.blend import MIN_SPREAD, Auto, labelled_blend
from worker.ranking.certainty import certainties
from worker.ranking.estimators.base import Estimator, Score
from worker.ranking.estimators.registry import ESTIMATORS
from worker.ranking.scoring import Contender, ProbeOutputs, Scored, best_first, blend, score_probe

from .test_certainty import NAMES, TARGETS, Forgetful, OneHot, logits


def asked(name: str, given: NDArray[np.floating], estimator: Estimator | Auto) -> Scored:
    student = LabelSetBody(labels=NAMES)
    odds = np.exp(given - given.max(axis=1, keepdims=True))
    probabilities = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
    outputs = ProbeOutputs(probabilities, given.astype(np.float32), None, False)
    space = LabelSpace(OneHot(), Forgetful())
    return score_probe(Contender(None, name, student), student, space, outputs, TARGETS, estimator)


def order_of(scored: list[Scored], estimator: Estimator | Auto) -> list[str]:
    if isinstance(estimator, Auto):
        blend(scored, estimator)
    return [scored[n].contender.name for n in best_first(scored, higher_is_better=estimator.higher_is_better)]


RIGHT = np.eye(3)[TARGETS]
CONSTANT = np.tile([0.3, -1.0, 2.0], (len(TARGETS), 1))
CONFIDENT = 12 * RIGHT + 0.1 * logits(0, TARGETS, 1)
LESS_CONFIDENT = (12 * RIGHT + 0.1 * logits(0, TARGETS, 2)) @ np.array([[1, 0, 0], [0.4, 0.6, 0], [0, 0.4, 0.6]])


def test_auto_orders_two_perfect_teachers_by_what_still_differs() -> None:
    auto = labelled_blend(TARGETS)
    for names in (("a", "b"), ("b", "a")):
        scored = [asked(names[0], CONFIDENT, auto), asked(names[1], LESS_CONFIDENT, auto)]
        assert scored[0].members["transport_map"].value == pytest.approx(
            scored[1].members["transport_map"].value, abs=1e-6
        )
        assert scored[0].members["leep"].value > scored[1].members["leep"].value
        assert order_of(scored, auto)[0] == names[0]


def test_a_difference_far_below_the_typical_one_is_not_standardised_up() -> None:
    auto = Auto({"transport_map": 0.6, "leep": 0.4}, {"transport_map": 0.5, "leep": 0.5})
    rows = [
        {"transport_map": Score(-1e-5), "leep": Score(-0.1)},
        {"transport_map": Score(-2e-5), "leep": Score(-0.2)},
    ]
    first, second = (
        score.value for score in auto.blend([{n: Score(s.value, np.zeros(2)) for n, s in r.items()} for r in rows])
    )
    assert first - second == pytest.approx(0.6 * 1e-5 / (MIN_SPREAD * 0.5) + 0.4 * 2)


@pytest.mark.parametrize("method", ["auto", *sorted(n for n in ESTIMATORS if n in labelled_blend(TARGETS).weights)])
@pytest.mark.parametrize("noise", [0.0, 1e-6])
def test_a_constant_teacher_is_last(method: str, noise: float) -> None:
    estimator = labelled_blend(TARGETS) if method == "auto" else ESTIMATORS[method]
    still = CONSTANT + noise * logits(0, TARGETS, 4)
    contrary = 6 * np.eye(3)[(TARGETS + 1) % 3] + logits(0, TARGETS, 3)
    scored = [
        asked("still", still, estimator),
        asked("contrary", contrary, estimator),
        asked("sure", CONFIDENT, estimator),
    ]
    assert order_of(scored, estimator)[-1] == "still"
    assert [row.constant for row in scored] == [True, False, False]
    sure = certainties(scored, TARGETS, estimator)
    assert sure is not None
    assert sure[0].best == 0
    assert sure[0].ties > max(row.ties for row in sure[1:])
    if method == "auto":
        assert scored[0].value <= min(row.value for row in scored[1:])


def test_a_zoo_of_constant_teachers_is_ranked_and_none_is_better_than_random() -> None:
    auto = labelled_blend(TARGETS)
    scored = [asked("one", CONSTANT, auto), asked("other", 0 * CONSTANT, auto)]
    assert sorted(order_of(scored, auto)) == ["one", "other"]
    assert [row.better_than_random for row in certainties(scored, TARGETS, auto) or []] == [0.5, 0.5]


def test_equal_scores_are_ordered_by_transport_cost_then_by_name() -> None:
    knn = ESTIMATORS["knn"]
    scored = [
        asked("a", LESS_CONFIDENT, knn),
        asked("c", CONFIDENT, knn),
        asked("b", CONFIDENT, knn),
    ]
    assert {row.value for row in scored} == {1.0}
    assert order_of(scored, knn) == ["b", "c", "a"]


def test_teachers_that_differ_by_dust_tie() -> None:
    transport = ESTIMATORS["transport_map"]
    scored = [asked("sure", CONFIDENT, transport), asked("less", LESS_CONFIDENT, transport)]
    assert scored[0].value != scored[1].value
    found = certainties(scored, TARGETS, transport)
    assert found is not None
    assert [row.ties for row in found] == [1, 1]
    assert [row.best for row in found] == [0.5, 0.5]
