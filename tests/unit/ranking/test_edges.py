"""Every estimator on teachers and probes at the edges: never best when it knows nothing, and deaf to rounding."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.special import softmax

from worker.ranking.estimators.base import Need
from worker.ranking.estimators.evidence import Evidence
from worker.ranking.estimators.logme import LogMe
from worker.ranking.estimators.nce import NegativeConditionalEntropy
from worker.ranking.estimators.registry import ESTIMATORS
from worker.ranking.estimators.sfda import Sfda

# Those that read the labels. The control is random on purpose.
LABELLED = [
    name for name, e in ESTIMATORS.items() if e.needs & {Need.LABELS, Need.OUTCOMES} and name != "random_teacher"
]
OF_ANSWERS = [name for name in LABELLED if not name.endswith("_prototype")]
BALANCED, UNEVEN = np.repeat(np.arange(3), 10), np.repeat(np.arange(3), [14, 9, 7])
CLASS_MISSING = np.repeat([0, 2], 12)
NOTHING = ["uniform", "constant", "one class", "one-hot"]


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def logits_of(kind: str, labels: np.ndarray, classes: int = 3) -> np.ndarray:
    n, right = len(labels), np.eye(classes)[labels]
    draw = np.random.default_rng(len(kind)).normal(size=(n, classes))
    return {
        "uniform": np.zeros((n, classes)),
        "constant": np.tile(draw[0], (n, 1)),
        "one class": np.tile(80.0 * np.eye(classes)[1], (n, 1)),
        "one-hot": np.tile(np.log(np.maximum(np.eye(classes)[0], 1e-12)), (n, 1)),
        "skilled": 4 * right + 0.5 * draw,
        "perfect": 60 * right,
        "blind": 60 * np.eye(classes)[np.minimum(labels, 1)],
        "permuted": 60 * np.roll(right, 1, axis=1),
    }[kind]


def evidence_of(logits: np.ndarray, labels: np.ndarray, *, with_features: bool = False) -> Evidence:
    """As the worker hands it over: in float32."""
    k = logits.shape[1]
    names = np.eye(max(k, 3))
    return Evidence(
        teacher_labels=[f"t{number}" for number in range(k)],
        student_labels=["a", "b", "c"],
        text_cost=1 - names[:k] @ names[:3].T,
        predictions=softmax(logits, axis=1).astype(np.float32),
        logits=logits.astype(np.float32),
        features=(logits + 1).astype(np.float32) if with_features else None,
        class_weights=np.eye(k) if with_features else None,
        labels=labels,
        teacher="teacher",
    )


def score(name: str, kind: str, labels: np.ndarray, *, noise: float = 0.0, with_features: bool | None = None) -> float:
    logits = logits_of(kind, labels)
    logits = logits + noise * np.random.default_rng(9).normal(size=logits.shape)
    features = name.endswith("_prototype") if with_features is None else with_features
    found = ESTIMATORS[name].estimate(evidence_of(logits, labels, with_features=features))
    assert np.isfinite(found.value)
    assert found.influence is not None
    assert np.isfinite(found.influence).all()
    return found.value if ESTIMATORS[name].higher_is_better else -found.value


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("labels", [BALANCED, UNEVEN, CLASS_MISSING], ids=["balanced", "uneven", "class missing"])
def test_a_teacher_that_knows_nothing_is_below_one_that_knows(name, labels):
    least = min(score(name, "skilled", labels), score(name, "perfect", labels))
    for kind in NOTHING:
        for noise in (0.0, 1e-6):
            assert score(name, kind, labels, noise=noise) < least - 1e-3, (kind, noise)


@pytest.mark.parametrize("name", OF_ANSWERS)
@pytest.mark.parametrize("kind", NOTHING)
def test_features_that_stand_still_know_nothing(name, kind):
    for noise in (0.0, 1e-6):
        found = score(name, kind, UNEVEN, noise=noise, with_features=True)
        assert found < score(name, "skilled", UNEVEN, with_features=True) - 1e-3


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("kind", [*NOTHING, "skilled", "perfect", "permuted", "blind"])
def test_noise_of_a_millionth_moves_no_score(name, kind):
    calm, shaken = (score(name, kind, UNEVEN, noise=noise) for noise in (0.0, 1e-6))
    assert shaken == pytest.approx(calm, abs=1e-3, rel=1e-3)


@pytest.mark.parametrize("name", [n for n in OF_ANSWERS if Need.NAMES not in ESTIMATORS[n].needs])
def test_names_that_are_permuted_cost_nothing_where_names_do_not_count(name):
    assert score(name, "permuted", UNEVEN) == pytest.approx(score(name, "perfect", UNEVEN), abs=1e-6)


@pytest.mark.parametrize("name", OF_ANSWERS)
@pytest.mark.parametrize("scale", [1e-2, 1e2])
def test_order_survives_another_scale(name, scale):
    def scaled(kind: str) -> float:
        evidence = evidence_of(scale * logits_of(kind, BALANCED), BALANCED)
        return ESTIMATORS[name].estimate(evidence).value * (1 if ESTIMATORS[name].higher_is_better else -1)

    assert scaled("skilled") > max(scaled(kind) for kind in NOTHING)


@pytest.mark.parametrize("name", OF_ANSWERS)
def test_order_survives_classes_and_items_that_repeat(name):
    def twice(kind: str, axis: int) -> float:
        labels = np.concatenate([UNEVEN, UNEVEN]) if axis == 0 else UNEVEN
        logits = logits_of(kind, UNEVEN)
        evidence = evidence_of(np.concatenate([logits, logits], axis=axis), labels)
        return ESTIMATORS[name].estimate(evidence).value * (1 if ESTIMATORS[name].higher_is_better else -1)

    for axis in (0, 1):
        assert twice("skilled", axis) > max(twice(kind, axis) for kind in NOTHING)


def test_sfda_of_a_constant_teacher_is_its_share_of_each_class():
    shares = np.bincount(UNEVEN) / len(UNEVEN)
    assert Sfda().estimate(evidence_of(logits_of("uniform", UNEVEN), UNEVEN)).value == pytest.approx((shares**2).sum())


def test_sfda_shares_an_item_between_classes_with_one_mean():
    logits = logits_of("perfect", BALANCED)
    logits[BALANCED == 2] = logits[BALANCED == 1][0]
    value = Sfda().estimate(evidence_of(logits, BALANCED)).value
    assert value == pytest.approx((1 + 0.5 + 0.5) / 3)


def test_logme_without_a_feature_is_the_evidence_of_noise_alone():
    """Each class: log N(y; 0, 1 / beta) at the likeliest beta."""
    expected = []
    for share in np.bincount(UNEVEN) / len(UNEVEN):
        beta = 1 / (share + 1e-5 / len(UNEVEN))
        expected.append(0.5 * (np.log(beta) - beta * share - np.log(2 * np.pi)))
    value = LogMe().estimate(evidence_of(logits_of("one class", UNEVEN), UNEVEN)).value
    assert value == pytest.approx(np.mean(expected), abs=1e-9)


def test_nce_shares_a_decision_between_equal_classes():
    """Items of class 0 say nothing of three classes; items of class 1 are known. By hand, in nats."""
    labels = np.repeat([0, 1], 6)
    logits = np.where((labels == 1)[:, None], 60 * np.eye(3)[1], 0.0)
    value = NegativeConditionalEntropy().estimate(evidence_of(logits, labels)).value
    # Decision 1 holds a third of the six undecided items and six known ones; the others hold undecided ones alone.
    assert value == pytest.approx((2 * np.log(2 / 8) + 6 * np.log(6 / 8)) / 12)


def test_knn_of_items_at_one_place_is_their_majority():
    assert score("knn", "uniform", UNEVEN) == pytest.approx(14 / 30)
    assert score("knn", "uniform", BALANCED) == 0, "the others of the own class are one fewer"
