"""A whole distillation of a slow student by two processes: gate, comparison, a stop, its end; from stored probes."""

import io
import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from preceptor.contract.distillations import TransformersStudent
from preceptor.contract.losses import Loss, RelationalLoss, TransportLoss
from preceptor.contract.training import Training
from service.core.storage.probe_file import ProbeData, ProbeWriter, open_probe
from tests.kept_checkpoint import Kept
from worker.distillation.distill import distill
from worker.distillation.inputs import Recipe, TeacherSignal, TrainingData
from worker.distillation.result import Outcome
from worker.distillation.training.trainer import TrainingStopped

CLASSES = 4
X, Y = load_digits(n_class=CLASSES, return_X_y=True)
ORDER = np.random.default_rng(0).permutation(len(Y))
X, Y = X[ORDER].astype(np.float32), Y[ORDER].astype(np.int64)
SIZES = {"hidden_sizes": [8, 16], "depths": [1, 1], "embedding_size": 8, "layer_type": "basic"}
STUDENT = TransformersStudent(model_type="resnet", config=SIZES)
EPOCHS = 4
LABELLED, TRANSFER, TEST = np.arange(24), np.arange(24, 120), np.arange(120, 320)


def stored(folder: Path, name: str, rows: np.ndarray) -> ProbeData:
    """Digits as PNG pictures in a canonical file, as the service keeps them."""
    with ProbeWriter(folder / name, "image", labelled=False) as writer:
        for row in rows:
            file = io.BytesIO()
            Image.fromarray((X[row].reshape(8, 8) * 15.9).astype(np.uint8)).resize((16, 16)).save(file, "PNG")
            writer.add(file.getvalue(), None)
        writer.finish(None)
    return open_probe(folder / name)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    folder = tmp_path_factory.mktemp("probes")
    return TrainingData(
        stored(folder, "labelled", LABELLED),
        Y[LABELLED],
        ["zero", "one", "two", "three"],
        stored(folder, "transfer", TRANSFER),
        stored(folder, "test", TEST),
        Y[TEST],
    )


@pytest.fixture(scope="module")
def teacher() -> TeacherSignal:
    model = LogisticRegression(max_iter=1000).fit(X[320:], Y[320:])
    cost = np.where(np.eye(CLASSES) > 0, 0.0, 0.6).astype(np.float32)

    def logits(rows: np.ndarray) -> np.ndarray:
        return (X[rows] @ model.coef_.T + model.intercept_).astype(np.float32)

    return TeacherSignal("digits", list("abcd"), logits(LABELLED), cost, logits(TRANSFER))


def run(
    data: TrainingData, teacher: TeacherSignal, folder: Path, loss: Loss, *, compare: bool, **more: Any
) -> tuple[Outcome, list[tuple[str, dict[str, Any]]]]:
    events: list[tuple[str, dict[str, Any]]] = []
    outcome = distill(
        Recipe(STUDENT, loss, Training(epochs=EPOCHS, batch_size=24, ema=0.9, learning_rate=0.01), compare),
        data,
        [teacher],
        on_event=lambda kind, event: events.append((kind, event)),
        should_stop=more.pop("should_stop", lambda: False),
        folder=folder,
        processes=2,
        **more,
    )
    return outcome, events


@pytest.mark.timeout(300)
def test_the_job_is_the_same_with_two(data: TrainingData, teacher: TeacherSignal, tmp_path: Path) -> None:
    outcome, events = run(data, teacher, tmp_path, TransportLoss(), compare=True)
    assert outcome.weight == 1.0
    assert set(outcome.weights_tried) == {"0", "1"}
    assert outcome.gain is not None
    last = outcome.history[-1]
    assert last.accuracy == pytest.approx(outcome.with_teacher.mean)
    epochs = [event for kind, event in events if kind == "epoch"]
    assert [event["epoch"] for event in epochs] == [*range(1, EPOCHS + 1)] * 2
    assert events[-1][1]["fraction"] == 1.0
    assert json.loads((tmp_path / "metrics.json").read_text())["onnx"]["written"]
    assert not multiprocessing.active_children()


@pytest.mark.timeout(300)
def test_stopped_by_the_job_and_ended_later(data: TrainingData, teacher: TeacherSignal, tmp_path: Path) -> None:
    """`relational` needs no gate of its own here: the weight is given, so the stop falls into the run."""
    loss, kept, asked = RelationalLoss(weight=1.0), Kept(), 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 16

    with pytest.raises(TrainingStopped):
        run(data, teacher, tmp_path / "first", loss, compare=False, should_stop=stop, checkpoint=kept)
    assert kept.state is not None
    assert not multiprocessing.active_children()
    rest, events = run(data, teacher, tmp_path / "rest", loss, compare=False, checkpoint=kept)
    told = [event["epoch"] for kind, event in events if kind == "epoch"]
    assert told == [*range(told[0], EPOCHS + 1)]
    assert told[0] > 1
    assert [entry.epoch for entry in rest.history] == [*range(1, EPOCHS + 1)]
