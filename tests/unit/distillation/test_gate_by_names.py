"""One label a class: teachers whose names and answers fit the labels pass, others do not."""

from typing import Any

import numpy as np
import pytest
import torch

from preceptor.contract.training import Training
from worker.distillation.budget import choose, plan_of
from worker.distillation.inputs import ArrayItems, Recipe, TeacherSignal, TrainingData
from worker.distillation.progress import Progress
from worker.distillation.runs import prepare
from worker.distillation.students import Surroundings, blueprint_of
from worker.distillation.teaching.gate_by_names import LEVEL, WEIGHT, agreement, decide_by_names
from worker.distillation.training.checkpoints import Ledger


def _one_each(digits: Any) -> np.ndarray:
    """Rows of the labelled items, one a class; three a class lie together."""
    return np.arange(0, 30, 3)


def test_names_and_answers_that_fit_pass(digits: Any) -> None:
    rows = _one_each(digits)
    found = decide_by_names([digits.teacher(list(range(8)))], rows, digits.y[digits.labelled][rows], 0)
    assert found.weight == WEIGHT
    assert not found.given
    assert "fit the labels" in found.reason


def test_random_teachers_pass_at_the_level(digits: Any) -> None:
    rows = _one_each(digits)
    labels = digits.y[digits.labelled][rows]
    teachers = [make(seed) for seed in range(40) for make in (digits.random_teacher, digits.noise_teacher)]
    passed = [decide_by_names([teacher], rows, labels, 0).weight > 0 for teacher in teachers]
    assert np.mean(passed) <= 3 * LEVEL


def test_wrong_names_are_refused(digits: Any) -> None:
    """The answers are right; only the names point to other digits."""
    right = digits.teacher(list(range(8)))
    wrong = TeacherSignal(right.name, right.labels, right.labelled_logits, np.roll(right.name_cost, 3, axis=1))
    rows = _one_each(digits)
    found = decide_by_names([wrong], rows, digits.y[digits.labelled][rows], 0)
    assert found.weight == 0.0
    assert "a weight of your own" in found.reason


def test_few_classes_show_nothing() -> None:
    logits = 9 * np.eye(3, dtype=np.float32)
    teacher = TeacherSignal("t", ["a", "b", "c"], logits, (1 - np.eye(3)).astype(np.float32))
    chance = agreement([teacher], np.arange(3), np.arange(3), 0)
    assert chance == pytest.approx(1 / 6, abs=0.04)
    assert chance > LEVEL


def test_a_job_with_single_labels_is_decided_so(digits: Any, tmp_path: Any) -> None:
    rows = digits.labelled[_one_each(digits)]
    data = TrainingData(
        ArrayItems(features=digits.x[rows]),
        digits.y[rows],
        [str(n) for n in range(10)],
        None,
        ArrayItems(features=digits.x[digits.test]),
        digits.y[digits.test],
    )
    three = digits.teacher(list(range(8)))
    one = TeacherSignal(three.name, three.labels, three.labelled_logits[_one_each(digits)], three.name_cost)
    recipe = Recipe(training=Training(epochs=2))
    blueprint = blueprint_of(recipe.student, Surroundings(data.items, None, 10, "cpu", tmp_path))
    progress = Progress(lambda kind, event: None, lambda: False)
    runs = prepare(recipe, data, [one], blueprint, torch.device("cpu"), progress, Ledger(None, "test"))
    assert choose(runs, plan_of(runs, auto=True)).weight == WEIGHT
