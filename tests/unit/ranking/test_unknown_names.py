"""Names that the label encoder does not know leave the names' part out of the answer, not the teacher."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from preceptor.contract.labels import LabelSetBody
from worker.label_encoder import UnknownLabels
from worker.label_space import UNKNOWN, LabelSpace
from worker.ranking.blend import Auto, labelled_blend
from worker.ranking.certainty import certainties
from worker.ranking.estimators.base import Estimator, MissingEvidence, Need
from worker.ranking.estimators.registry import ESTIMATORS
from worker.ranking.scoring import Contender, ProbeOutputs, Scored, best_first, blend, score_labels, score_probe

from .test_certainty import TARGETS, logits


class LatinOnly:
    """Every Latin letter its own direction; other scripts are unknown."""

    identity, dim = "latin", 26

    def encode(self, labels: Sequence[str]) -> NDArray[np.float32]:
        if unknown := [place for place, label in enumerate(labels) if not label.isascii()]:
            raise UnknownLabels(unknown, labels, "latin")
        return np.eye(26, dtype=np.float32)[[ord(label[0]) - ord("a") for label in labels]]


class Kept:
    """A cache."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], bytes] = {}

    def get(self, parts: Sequence[str]) -> bytes | None:
        return self.values.get(tuple(parts))

    def put(self, parts: Sequence[str], value: bytes) -> None:
        self.values[tuple(parts)] = value


ENGLISH, CHINESE, MIXED = ["a", "b", "c"], ["猫", "狗", "鸟"], ["a", "狗", "c"]
LATIN_STUDENT = LabelSetBody(labels=ENGLISH)


def asked(labels: list[str], student: list[str], estimator: Estimator | Auto, *, confidence_of: float = 5.0) -> Scored:
    given = logits(confidence_of, TARGETS, 7)
    odds = np.exp(given)
    outputs = ProbeOutputs((odds / odds.sum(axis=1, keepdims=True)).astype(np.float32), given, None, False)
    contender = Contender(None, "".join(labels), LabelSetBody(labels=labels))
    space = LabelSpace(LatinOnly(), Kept())
    return score_probe(contender, LabelSetBody(labels=student), space, outputs, TARGETS, estimator)


def test_costs_of_unknown_labels_are_unknown_also_from_the_cache() -> None:
    space = LabelSpace(LatinOnly(), Kept())
    for hit in (False, True):
        cost, cached = space.known_cost(LabelSetBody(labels=MIXED), LATIN_STUDENT)
        assert cached is hit
        np.testing.assert_array_equal(cost, [[0, 1, 1], [np.nan] * 3, [1, 1, 0]])
    with pytest.raises(UnknownLabels, match="knows no word of the label '狗', so it cannot"):
        space.cost(LabelSetBody(labels=MIXED), LATIN_STUDENT)


def test_a_cost_set_by_hand_fills_the_gap() -> None:
    space = LabelSpace(LatinOnly(), Kept(), {("狗", name): 0.25 for name in ENGLISH})
    cost, _ = space.cost(LabelSetBody(labels=MIXED), LATIN_STUDENT)
    np.testing.assert_array_equal(cost, [[0, 1, 1], [0.25] * 3, [1, 1, 0]])


def test_the_same_unknown_name_is_the_same_class() -> None:
    space = LabelSpace(LatinOnly(), Kept())
    cost, _ = space.known_cost(LabelSetBody(labels=CHINESE), LabelSetBody(labels=["狗", "鱼"]))
    np.testing.assert_array_equal(cost, [[np.nan, np.nan], [0, np.nan], [np.nan, np.nan]])


def test_an_error_counts_the_unknown_labels() -> None:
    with pytest.raises(UnknownLabels, match="'猫' and 2 others, so they cannot"):
        LabelSpace(LatinOnly(), Kept()).embed(LabelSetBody(labels=CHINESE))


def test_names_alone_still_need_names() -> None:
    with pytest.raises(UnknownLabels):
        score_labels(
            Contender(None, "x", LabelSetBody(labels=MIXED)), LATIN_STUDENT, LabelSpace(LatinOnly(), Kept()), "coverage"
        )


ENOUGH = {Need.PROBE, Need.LABELS, Need.TWO_CLASSES, Need.REPRESENTATION}


@pytest.mark.parametrize("name", [n for n, e in ESTIMATORS.items() if e.needs and e.needs <= ENOUGH])
def test_estimators_that_need_no_names_score_as_with_names(name: str) -> None:
    estimator = ESTIMATORS[name]
    nameless = asked(CHINESE, ["un", "deux", "tr"], estimator)
    assert nameless.evidence is not None
    assert nameless.evidence.text_cost is None
    assert nameless.cost == UNKNOWN
    # Only the transport map reads names where there are any; here the answers decide alike.
    named = asked(["aa", "bb", "cc"], ENGLISH, estimator)
    assert nameless.value == pytest.approx(named.value, abs=0.05)


def test_what_needs_names_says_so() -> None:
    with pytest.raises(MissingEvidence, match="descriptions that the label encoder knows"):
        asked(CHINESE, ENGLISH, ESTIMATORS["prediction_transport"])


def test_some_unknown_labels_leave_the_others_near() -> None:
    row = asked(MIXED, ENGLISH, ESTIMATORS["prediction_transport"])
    assert row.gaps is not None
    assert row.gaps.tolist() == [[False] * 3, [True] * 3, [False] * 3]
    assert 0 < row.value < 1


def test_auto_leaves_out_what_needs_names_for_everybody() -> None:
    auto = labelled_blend(TARGETS)
    scored = [asked(CHINESE, ["犬", "鳥", "魚"], auto, confidence_of=s) for s in (5, 0.5)]
    needing = {name for name in auto.weights if Need.NAMES in ESTIMATORS[name].needs}
    used = auto.used_weights([row.members for row in scored])
    assert needing
    assert set(used) == set(auto.weights) - needing
    assert sum(used.values()) == pytest.approx(1, abs=1e-3)
    blend(scored, auto)
    assert best_first(scored, higher_is_better=True) == [0, 1]
    assert certainties(scored, TARGETS, auto) is not None


def test_a_nameless_teacher_competes_by_its_answers() -> None:
    auto = labelled_blend(TARGETS)
    scored = [asked(CHINESE, ENGLISH, auto), asked(ENGLISH, ENGLISH, auto, confidence_of=0.3)]
    blend(scored, auto)
    assert scored[0].value > scored[1].value
    assert "transport_gain" in scored[1].members
    assert "transport_gain" not in scored[0].members
    assert auto.used_weights([row.members for row in scored]) == auto.weights


def test_placeholders_have_no_vector_though_the_encoder_gives_one() -> None:
    space = LabelSpace(LatinOnly(), Kept())
    cost, _ = space.known_cost(LabelSetBody(labels=["a", "b"]), LabelSetBody(labels=["label_0", "label_1"]))
    assert np.isnan(cost).all()
    described = LabelSetBody(labels=["label_0", "label_1"], descriptions={"label_0": "a", "label_1": "c"})
    np.testing.assert_allclose(space.known_cost(LabelSetBody(labels=["a", "b"]), described)[0], [[0, 1], [1, 1]])
