"""Certainty of a ranking: a clear winner is told, ties are told, and teachers of noise lead to no clear one."""

import numpy as np
import pytest
from numpy.typing import NDArray

from preceptor.contract.labels import LabelSetBody
from worker.label_space import LabelSpace
from worker.ranking.certainty import BETTER_THAN_RANDOM_LEVEL, certainties
from worker.ranking.estimators.base import MissingEvidence
from worker.ranking.estimators.registry import ESTIMATORS
from worker.ranking.scoring import Contender, ProbeOutputs, Scored, score_probe

NAMES = ["a", "b", "c"]


class OneHot:
    """Every word its own direction."""

    identity, dim = "one-hot", 8

    def encode(self, labels: list[str]) -> NDArray[np.float32]:
        return np.eye(8, dtype=np.float32)[["abcdefgh".index(label) for label in labels]]


class Forgetful:
    """A cache that keeps nothing."""

    def get(self, parts: object) -> None:
        return None

    def put(self, parts: object, value: bytes) -> None:
        return None


def score(name: str, logits: NDArray[np.float32], targets: NDArray[np.int64], method: str) -> Scored:
    student = LabelSetBody(labels=NAMES)
    odds = np.exp(logits)
    outputs = ProbeOutputs((odds / odds.sum(1, keepdims=True)).astype(np.float32), logits, None, False)
    space = LabelSpace(OneHot(), Forgetful())
    return score_probe(Contender(None, name, student), student, space, outputs, targets, ESTIMATORS[method])


def logits(confidence_of: float, targets: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).standard_normal((len(targets), 3))
    return (noise + confidence_of * np.eye(3)[targets]).astype(np.float32)


TARGETS = np.repeat(np.arange(3), 10)


@pytest.mark.parametrize(
    "method", ["prediction_transport", "alignment", "leep", "logme", "parc", "knn", "transport_map"]
)
def test_a_clear_winner_and_a_teacher_of_noise(method: str) -> None:
    scored = [
        score("good", logits(5, TARGETS, 1), TARGETS, method),
        score("noise", logits(0, TARGETS, 2), TARGETS, method),
    ]
    good, noise = certainties(scored, TARGETS, ESTIMATORS[method]) or []
    assert good.best > 0.99
    assert (good.ties, noise.ties) == (1, 2)
    assert good.better_than_random > BETTER_THAN_RANDOM_LEVEL > noise.better_than_random
    assert good.low - 1e-6 <= scored[0].value <= good.high + 1e-6
    assert certainties(scored, TARGETS, ESTIMATORS[method]) == [good, noise], "the same request, the same answer"


def test_equal_teachers_tie() -> None:
    scored = [score(name, logits(2, TARGETS, 3), TARGETS, "prediction_transport") for name in ("one", "other")]
    first, second = certainties(scored, TARGETS, ESTIMATORS["prediction_transport"]) or []
    assert (first.ties, second.ties) == (1, 1)
    assert first.best == second.best == 0.5


def test_nothing_is_claimed_from_a_single_item() -> None:
    one = TARGETS[:1]
    scored = [score("lone", logits(5, one, 1), one, "prediction_transport")]
    assert certainties(scored, one, ESTIMATORS["prediction_transport"]) is None


def test_what_is_missing_is_said() -> None:
    one = TARGETS[:1]
    with pytest.raises(MissingEvidence, match="at least two student classes"):
        score("lone", logits(5, one, 1), one, "h_score")
