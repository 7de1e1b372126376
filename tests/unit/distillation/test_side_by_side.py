"""Runs side by side give the students that they give one after another, and stop together."""

import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from preceptor.contract.losses import TransportLoss
from preceptor.contract.training import Training
from tests.kept_checkpoint import Kept
from worker.distillation.distill import distill
from worker.distillation.inputs import ArrayItems, Recipe, TrainingData
from worker.distillation.result import Outcome
from worker.distillation.students import Surroundings
from worker.distillation.students.cnn import CnnBlueprint
from worker.distillation.training.checkpoints import Ledger
from worker.distillation.training.side_by_side import side_by_side
from worker.distillation.training.trainer import TrainingStopped
from worker.errors import ComputationFailed


def _pictures(digits: Any, rows: np.ndarray) -> ArrayItems:
    found: list[bytes] = []
    for row in rows:
        file = io.BytesIO()
        Image.fromarray((digits.x[row].reshape(8, 8) * 15.9).astype(np.uint8)).save(file, "PNG")
        found.append(file.getvalue())
    return ArrayItems(images=found)


@pytest.fixture(scope="module")
def data(digits: Any) -> TrainingData:
    few = digits.labelled[np.isin(digits.y[digits.labelled], [0, 1, 2])]
    test = digits.test[np.isin(digits.y[digits.test], [0, 1, 2])][:20]
    return TrainingData(
        _pictures(digits, few),
        digits.y[few],
        ["zero", "one", "two"],
        _pictures(digits, digits.transfer[:24]),
        _pictures(digits, test),
        digits.y[test],
    )


def _distilled(data: TrainingData, digits: Any, folder: Path, threads: int, **more: Any) -> Outcome:
    teacher = digits.teacher([0, 1, 2])
    few = np.isin(digits.y[digits.labelled], [0, 1, 2])
    told = type(teacher)(
        teacher.name,
        teacher.labels,
        teacher.labelled_logits[few],
        teacher.name_cost[:, :3],
        teacher.transfer_logits[:24],
    )
    recipe = Recipe(
        loss=TransportLoss(weight=more.pop("weight", "auto")), training=Training(epochs=2, batch_size=8, seeds=2)
    )
    before = torch.get_num_threads()
    try:
        return distill(
            recipe,
            data,
            [told],
            on_event=more.pop("on_event", lambda kind, event: None),
            should_stop=more.pop("should_stop", lambda: False),
            folder=folder,
            threads=threads,
            **more,
        )
    finally:
        torch.set_num_threads(before)


def test_the_students_are_those_of_one_after_another(data: TrainingData, digits: Any, tmp_path: Path) -> None:
    one = _distilled(data, digits, tmp_path / "one", 1)
    events: list[tuple[str, dict[str, Any]]] = []
    two = _distilled(data, digits, tmp_path / "two", 2, on_event=lambda kind, event: events.append((kind, event)))
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]
    assert two.weights_tried == one.weights_tried
    assert two.with_teacher == one.with_teacher
    assert two.without_teacher == one.without_teacher
    timeless = {"seconds", "items_per_second"}
    assert [entry.model_dump(exclude=timeless) for entry in two.history] == [
        entry.model_dump(exclude=timeless) for entry in one.history
    ]
    runs = [(event["arm"], event["seed"]) for kind, event in events if kind == "run"]
    assert sorted(runs) == sorted(set(runs))
    assert [event["epoch"] for kind, event in events if kind == "epoch" and event["arm"] == "without teacher"] == [1, 2]


def test_stopped_they_go_on_to_the_same_students(data: TrainingData, digits: Any, tmp_path: Path) -> None:
    whole = _distilled(data, digits, tmp_path / "whole", 2, weight=1.0)
    asked, kept, lock = 0, Kept(), threading.Lock()

    def stop() -> bool:
        nonlocal asked
        with lock:
            asked += 1
            return asked > 14

    with pytest.raises(TrainingStopped):
        _distilled(data, digits, tmp_path / "cut", 2, weight=1.0, should_stop=stop, checkpoint=kept)
    assert kept.state is not None
    resumed = _distilled(data, digits, tmp_path / "cut", 2, weight=1.0, checkpoint=kept)
    assert (tmp_path / "cut" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()
    assert resumed.with_teacher == whole.with_teacher
    assert resumed.gain == whole.gain


def test_a_ledger_keeps_the_states_of_several_runs_as_they_were() -> None:
    kept = Kept(every_seconds=0.0)
    ledger = Ledger(kept, "job")
    weights = torch.zeros(2)
    ledger.offer("a", lambda: ({"w": weights}, {"step": 1}))
    weights += 5  # The run goes on while the other one's state is written down.
    ledger.offer("b", lambda: ({"w": torch.ones(2)}, {"step": 2}))
    again = Ledger(kept, "job")
    first, second = again.running("a"), again.running("b")
    assert first is not None
    assert second is not None
    assert torch.equal(first[0]["w"], torch.zeros(2))
    assert first[1] == {"step": 1}
    assert second[1] == {"step": 2}
    again.finish("a", {})
    assert again.running("a") is None
    assert again.running("b") is not None


def test_what_fails_first_is_said_and_ends_the_others() -> None:
    failed = threading.Event()

    def fails() -> None:
        raise ComputationFailed("no longer numbers")

    def other() -> None:
        assert failed.wait(20)
        raise TrainingStopped

    before = torch.get_num_threads()
    with pytest.raises(ComputationFailed, match="no longer numbers"):
        side_by_side([other, fails], 2, failed.set)
    assert torch.get_num_threads() == before
    assert side_by_side([lambda: 1, lambda: 2, lambda: 3], 2, failed.set) == [1, 2, 3]


def test_a_step_of_the_built_in_picture_student_draws_nothing(data: TrainingData, tmp_path: Path) -> None:
    blueprint = CnnBlueprint(Surroundings(data.items, None, 3, "cpu", tmp_path), {})
    assert not blueprint.draws
    model = blueprint.build().train()
    before = torch.get_rng_state()
    model(**blueprint.encode(data.items).gather(torch.arange(4))).sum().backward()
    assert torch.equal(torch.get_rng_state(), before)
