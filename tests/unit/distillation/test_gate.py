"""The gate: a related teacher passes, random ones do not, and nothing is chosen that cannot be shown."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from preceptor.contract.training import Training
from worker.distillation.budget import choose, plan_of
from worker.distillation.inputs import Recipe, TeacherSignal
from worker.distillation.progress import Progress
from worker.distillation.runs import prepare
from worker.distillation.students import Surroundings, blueprint_of
from worker.distillation.teaching.gate import MARGIN, GateDecision, choose_weight, informs, tempered_likelihood
from worker.distillation.training.checkpoints import Ledger

LABELS = np.repeat(np.arange(4), 6)


def _fit(gain: float) -> Any:
    """A student whose logit of the true class grows by `gain` with the weight."""

    def fit(kept: np.ndarray, held: np.ndarray, weight: float) -> np.ndarray:
        generator = np.random.default_rng(int(held.sum()))
        logits = generator.normal(size=(len(held), 4))
        logits[np.arange(len(held)), LABELS[held]] += 1.0 + gain * weight
        return logits.astype(np.float32)

    return fit


def test_a_weight_that_helps_is_chosen() -> None:
    found = choose_weight(LABELS, _fit(1.0), weights=(0.3, 1.0, 3.0), folds=3)
    assert found.weight == 3.0
    assert set(found.scores) == {0.0, 0.3, 1.0, 3.0}
    assert found.scores[3.0] > found.scores[0.0]


def _certain(labels: np.ndarray, confidence_of: float) -> np.ndarray:
    """What a teacher says: the right class with this probability, the others share the rest."""
    rest = (1 - confidence_of) / 3
    return np.where(np.eye(4)[labels] > 0, confidence_of, rest)


def test_a_teacher_that_says_more_than_the_student_is_heard_where_nothing_can_be_shown() -> None:
    refused = choose_weight(LABELS, _fit(0.0), folds=3)
    assert refused.weight == 0
    assert refused.advantage is None
    heard = choose_weight(LABELS, _fit(0.0), folds=3, mapped=[_certain(LABELS, 0.3), _certain(LABELS, 0.9)])
    assert heard.weight == 1.0
    assert heard.advantage == pytest.approx(np.log(0.9) - heard.scores[0.0], abs=1e-6)
    assert "no less likely" in heard.reason
    unsure = choose_weight(LABELS, _fit(0.0), folds=3, mapped=[_certain(LABELS, 0.3)])
    assert unsure.weight == 0
    assert unsure.advantage is not None
    assert unsure.advantage < 0


def test_noise_is_not_heard_beside_a_student_that_learnt_nothing() -> None:
    """Both say no more than the shares of the classes, so neither is likelier than the other."""
    learnt_nothing = np.zeros((len(LABELS), 4), np.float32)

    def fit(kept: np.ndarray, held: np.ndarray, weight: float) -> np.ndarray:
        return learnt_nothing[held]

    generator = np.random.default_rng(0)
    for _ in range(20):
        noise = np.full((len(LABELS), 4), 0.25) + 0.02 * generator.normal(size=(len(LABELS), 4))
        noise /= noise.sum(axis=1, keepdims=True)
        assert choose_weight(LABELS, fit, folds=3, mapped=[noise]).weight == 0
    assert choose_weight(LABELS, fit, folds=3, mapped=[_certain(LABELS, 0.5)]).weight == 1.0


def test_a_teacher_that_passes_is_heard_in_full_where_it_knows_more_than_the_student() -> None:
    knowing, vague = _certain(LABELS, 0.9), _certain(LABELS, 0.3)
    found = choose_weight(LABELS, _fit(1.0), folds=3, mapped=[vague, knowing])
    assert found.weight > 0
    assert found.at_full_weight == {1}
    assert choose_weight(LABELS, _fit(-1.0), folds=3, mapped=[vague, knowing]).at_full_weight == set()


def test_what_a_teacher_knows_is_measured_against_the_shares() -> None:
    assert informs(_certain(LABELS, 0.3), LABELS)
    assert not informs(np.full((len(LABELS), 4), 0.25), LABELS)
    assert not informs(_certain((LABELS + 1) % 4, 0.9), LABELS)
    # Right on half of the items and wrong on the others by as much: nothing is known.
    half = np.where((np.arange(len(LABELS)) % 2 > 0)[:, None], _certain(LABELS, 0.4), _certain((LABELS + 1) % 4, 0.4))
    assert not informs(half, LABELS)


def test_what_was_seen_to_hurt_is_refused_whatever_the_teacher_says() -> None:
    assert choose_weight(LABELS, _fit(-1.0), folds=3, mapped=[_certain(LABELS, 0.99)]).weight == 0


def test_weights_without_effect_are_mostly_refused() -> None:
    """The best of three useless weights beats 0 half of the time; the margin refuses nine in ten."""
    accepted = [choose_weight(LABELS, _null(seed), folds=3, seed=seed).weight > 0 for seed in range(60)]
    assert np.mean(accepted) < 0.2
    better = [max(choose_weight(LABELS, _null(seed), folds=3).gains.values())[0] > 0 for seed in range(20)]
    assert np.mean(better) > 0.3


def _null(seed: int) -> Any:
    """Students that differ by chance alone, whatever the weight."""

    def fit(kept: np.ndarray, held: np.ndarray, weight: float) -> np.ndarray:
        generator = np.random.default_rng((seed, int(held.sum()), int(10 * weight)))
        logits = generator.normal(size=(len(held), 4))
        logits[np.arange(len(held)), LABELS[held]] += 1.0
        return logits.astype(np.float32)

    return fit


def test_harm_is_refused() -> None:
    assert choose_weight(LABELS, _fit(-0.3), folds=3).weight == 0.0


def test_one_label_a_class_shows_nothing() -> None:
    found = choose_weight(np.arange(4), _fit(5.0))
    assert found.weight == 0.0
    assert found.scores == {}
    assert "single labelled item" in found.reason


def test_being_less_sure_is_no_merit() -> None:
    labels = np.arange(50) % 4
    logits = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    logits[np.arange(50), labels] += 1
    sure, unsure = tempered_likelihood(8 * logits, labels), tempered_likelihood(logits, labels)
    assert sure.mean() == pytest.approx(unsure.mean(), abs=0.01)


def _decide(digits: Any, teacher: TeacherSignal, scratch: Path) -> GateDecision:
    data, recipe = digits.data(), Recipe(training=Training(epochs=10))
    blueprint = blueprint_of(recipe.student, Surroundings(data.items, data.transfer, 10, "cpu", scratch))
    progress = Progress(lambda kind, event: None, lambda: False)
    runs = prepare(recipe, data, [teacher], blueprint, torch.device("cpu"), progress, Ledger(None, "test"))
    return choose(runs, plan_of(runs, auto=True))


def test_a_related_teacher_passes(digits: Any, tmp_path: Path) -> None:
    found = _decide(digits, digits.teacher(list(range(8))), tmp_path)
    assert found.weight > 0
    mean, error = found.gains[found.weight]
    assert mean > MARGIN * error


@pytest.mark.parametrize("seed", [0, 1])
def test_a_random_teacher_does_not(digits: Any, tmp_path: Path, seed: int) -> None:
    """Noise says nothing; random weights are at best a worse copy of the pixels."""
    assert _decide(digits, digits.noise_teacher(seed), tmp_path).weight == 0.0
