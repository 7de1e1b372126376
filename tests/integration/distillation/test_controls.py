"""`compare: full` on real digits: what a teacher must beat is trained, measured and written down."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from preceptor.contract.losses import TransportLoss
from preceptor.contract.training import Training
from worker.distillation.distill import distill
from worker.distillation.inputs import ArrayItems, Recipe, TeacherSignal, TrainingData
from worker.distillation.result import Outcome

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
LOADED = load_digits()
X, Y = LOADED.data.astype(np.float32), LOADED.target.astype(np.int64)
POOL = np.arange(900, 1300)
LABELLED = np.concatenate([POOL[Y[POOL] == c][:3] for c in range(10)])
TRANSFER, TEST = np.setdiff1d(POOL, LABELLED), np.arange(1300, 1797)


def _run(folder: Path, **recipe: Any) -> tuple[Outcome, list[tuple[str, dict[str, Any]]]]:
    model = LogisticRegression(C=0.01, max_iter=2000).fit(X[:900], Y[:900])
    cost = (0.6 * (1 - np.eye(10))).astype(np.float32)
    logits = (X @ model.coef_.T + model.intercept_).astype(np.float32)
    teacher = TeacherSignal("digits", NAMES, logits[LABELLED], cost, logits[TRANSFER])
    data = TrainingData(
        ArrayItems(features=X[LABELLED]),
        Y[LABELLED],
        NAMES,
        ArrayItems(features=X[TRANSFER]),
        ArrayItems(features=X[TEST]),
        Y[TEST],
    )
    events: list[tuple[str, dict[str, Any]]] = []
    outcome = distill(
        Recipe(training=Training(epochs=6, seeds=2), **recipe),
        data,
        [teacher],
        on_event=lambda kind, event: events.append((kind, event)),
        should_stop=lambda: False,
        folder=folder,
    )
    return outcome, events


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, list[tuple[str, dict[str, Any]]], Path]:
    folder = tmp_path_factory.mktemp("full")
    return *_run(folder, compare="full", loss=TransportLoss(weight=1.0)), folder


def test_a_teacher_that_knows_beats_its_controls(full: Any) -> None:
    outcome, _, _ = full
    assert set(outcome.controls) == {"label smoothing", "random weights"}
    for control in outcome.controls.values():
        assert control.gain.mean == pytest.approx(outcome.with_teacher.mean - control.accuracy.mean)
        assert 0 < control.gain.low < control.gain.mean < control.gain.high
    assert "may do as well" not in outcome.advice


def test_controls_are_runs_of_their_own(full: Any) -> None:
    outcome, events, _ = full
    runs = [(event["arm"], event["seed"]) for kind, event in events if kind == "run"]
    arms = ["with teacher", "without teacher", "label smoothing", "random weights"]
    assert runs == [(arm, seed) for arm in arms for seed in (0, 1)]
    assert outcome.without_teacher is not None
    each = [outcome.with_teacher, outcome.without_teacher, *(c.accuracy for c in outcome.controls.values())]
    assert len({tuple(accuracy.per_seed) for accuracy in each}) == 4
    fractions = [event["fraction"] for kind, event in events if kind == "progress"]
    assert fractions == sorted(fractions)
    assert max(fractions[:-1]) <= 1.0


def test_controls_are_written_down(full: Any) -> None:
    outcome, _, folder = full
    kept = outcome.settings["controls"]
    assert kept == json.loads((folder / "metrics.json").read_text())["settings"]["controls"]
    assert kept["random weights"]["gain"]["mean"] == outcome.controls["random weights"].gain.mean
    card = (folder / "README.md").read_text()
    assert "| gain over label smoothing |" in card
    assert "| random weights, no teacher |" in card


def test_without_asking_there_are_none(tmp_path: Path) -> None:
    outcome, events = _run(tmp_path, loss=TransportLoss(weight=1.0))
    assert outcome.controls == {}
    assert {event["arm"] for kind, event in events if kind == "run"} == {"with teacher", "without teacher"}


def test_a_refused_teacher_has_nothing_to_beat(tmp_path: Path) -> None:
    outcome, events = _run(tmp_path, compare="full", loss=TransportLoss(weight=0.0))
    assert outcome.controls == {}
    assert len([kind for kind, _ in events if kind == "run"]) == 2
