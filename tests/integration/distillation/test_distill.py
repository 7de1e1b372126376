"""Whole distillations on real digits: the gain, the refusal, the files, stopping and going on."""

import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from preceptor.contract.losses import RidgeMapLoss, TransportLoss
from preceptor.contract.teachers import TeacherBody
from preceptor.contract.training import Training
from tests.kept_checkpoint import Kept
from worker.distillation.distill import distill
from worker.distillation.inputs import ArrayItems, Recipe, TeacherSignal, TrainingData
from worker.distillation.result import Outcome
from worker.distillation.training.trainer import TrainingStopped
from worker.errors import ComputationFailed

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
LOADED = load_digits()
ORDER = np.random.default_rng(0).permutation(len(LOADED.target))
X, Y = LOADED.data[ORDER].astype(np.float32), LOADED.target[ORDER].astype(np.int64)
POOL = np.arange(900, 1300)
LABELLED = np.concatenate([POOL[Y[POOL] == c][:3] for c in range(10)])
TRANSFER, TEST = np.setdiff1d(POOL, LABELLED), np.arange(1300, 1797)


def items(rows: np.ndarray, modality: str) -> ArrayItems:
    """Digits as vectors or as PNG pictures."""
    if modality == "features":
        return ArrayItems(features=X[rows])
    pictures = []
    for row in rows:
        file = io.BytesIO()
        Image.fromarray((X[row].reshape(8, 8) * 15.9).astype(np.uint8)).resize((16, 16)).save(file, "PNG")
        pictures.append(file.getvalue())
    return ArrayItems(images=pictures)


def data(modality: str = "features", *, test: bool = True) -> TrainingData:
    return TrainingData(
        items(LABELLED, modality),
        Y[LABELLED],
        NAMES,
        items(TRANSFER, modality),
        items(TEST, modality) if test else None,
        Y[TEST] if test else None,
        {"data": "prb_labelled", "transfer": "prb_transfer"},
    )


def teacher(classes: list[int]) -> TeacherSignal:
    """A linear teacher of some digits, from 900 pictures that no student sees."""
    chosen = np.isin(Y[:900], classes)
    model = LogisticRegression(C=0.01, max_iter=2000).fit(X[:900][chosen], Y[:900][chosen])
    cost = np.full((len(classes), 10), 0.6, dtype=np.float32)
    cost[np.arange(len(classes)), classes] = 0.0

    def logits(rows: np.ndarray) -> np.ndarray:
        return (X[rows] @ model.coef_.T + model.intercept_).astype(np.float32)

    return TeacherSignal(
        "digits", [NAMES[c] for c in classes], logits(LABELLED), cost, logits(TRANSFER), digest="abc", id="tch_1"
    )


def run(
    recipe: Recipe, given: TrainingData, teachers: list[TeacherSignal], folder: Path, **more: Any
) -> tuple[Outcome, list[tuple[str, dict[str, Any]]]]:
    events: list[tuple[str, dict[str, Any]]] = []
    listen = more.pop("on_event", lambda kind, event: None)

    def on_event(kind: str, event: dict[str, Any]) -> None:
        events.append((kind, event))
        listen(kind, event)

    outcome = distill(
        recipe,
        given,
        teachers,
        on_event=on_event,
        should_stop=more.pop("should_stop", lambda: False),
        folder=folder,
        **more,
    )
    return outcome, events


@pytest.fixture(scope="module")
def helped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, list[tuple[str, dict[str, Any]]], Path]:
    folder = tmp_path_factory.mktemp("student")
    recipe = Recipe(training=Training(epochs=8, seeds=2, batch_size=32), name="ten digits")
    outcome, events = run(recipe, data(), [teacher(list(range(8)))], folder)
    return outcome, events, folder


def test_a_related_teacher_helps(helped: Any) -> None:
    outcome, _, _ = helped
    assert outcome.verdict == "helped"
    assert outcome.gain is not None
    assert 0 < outcome.gain.low < outcome.gain.mean < outcome.gain.high
    assert outcome.without_teacher is not None
    assert outcome.with_teacher.mean - outcome.without_teacher.mean == pytest.approx(outcome.gain.mean)
    assert len(outcome.with_teacher.per_seed) == 2
    assert outcome.weight > 0
    assert set(outcome.weights_tried) == {"0", "0.3", "1", "3"}
    assert outcome.weights_tried[f"{outcome.weight:g}"] == max(outcome.weights_tried.values())
    assert outcome.test_items == 497
    assert "helped" in outcome.advice


def test_events_tell_the_course(helped: Any) -> None:
    outcome, events, _ = helped
    epochs = [event for kind, event in events if kind == "epoch"]
    assert [event["epoch"] for event in epochs if event["arm"] == "with teacher"] == list(range(1, 9))
    fractions = [event["fraction"] for kind, event in events if kind == "progress"]
    assert fractions[-1] == 1.0
    assert [event["seed"] for kind, event in events if kind == "run"] == [0, 1, 0, 1]
    assert [kind for kind, _ in events].count("weight") == 1
    assert len(outcome.history) == 8
    assert outcome.history[-1].accuracy == pytest.approx(outcome.with_teacher.per_seed[0])


def test_files_are_whole_and_true(helped: Any) -> None:
    outcome, _, folder = helped
    names = {path.name for path in outcome.artifacts}
    assert names == {
        "README.md",
        "config.json",
        "events.out.tfevents.student",
        "learning_curve.png",
        "metrics.json",
        "model.onnx",
        "model.safetensors",
        "teacher.json",
    }
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    answers = session.run(["logits"], {"features": X[TEST]})[0].argmax(axis=1)
    assert (answers == Y[TEST]).mean() == pytest.approx(outcome.with_teacher.per_seed[0])
    body = TeacherBody.model_validate_json((folder / "teacher.json").read_text())
    assert body.labels == NAMES
    assert body.source.kind == "onnx"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["verdict"] == "helped"
    assert metrics["onnx"]["same_answers"] == metrics["onnx"]["items"] == 32
    assert metrics["request"]["teachers"] == ["tch_1"]
    card = (folder / "README.md").read_text()
    assert "prb_labelled" in card
    assert "curl -X POST" in card
    assert f"{outcome.with_teacher.mean:.3f}" in card
    assert Image.open(folder / "learning_curve.png").size == (640, 360)


def test_nothing_to_gain_is_said_and_costs_nothing(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    noise = TeacherSignal(
        "noise",
        ["a", "b", "c"],
        (4 * generator.normal(size=(30, 3))).astype(np.float32),
        generator.random((3, 10)).astype(np.float32),
        (4 * generator.normal(size=(len(TRANSFER), 3))).astype(np.float32),
    )
    outcome, events = run(Recipe(training=Training(epochs=4)), data(), [noise], tmp_path)
    assert outcome.weight == 0.0
    assert outcome.verdict == "no clear effect"
    assert outcome.with_teacher == outcome.without_teacher
    assert "Do not distil" in outcome.advice
    assert [event["arm"] for kind, event in events if kind == "run"] == ["without teacher"]


def test_held_out_items_and_a_given_weight(tmp_path: Path) -> None:
    recipe = Recipe(loss=TransportLoss(weight=1.0), training=Training(epochs=3, time_limit_seconds=60), compare=False)
    outcome, _ = run(recipe, data(test=False), [teacher([0, 1, 2, 3])], tmp_path)
    assert outcome.test_items == 10  # one of three a class
    assert outcome.gain is None
    assert outcome.without_teacher is None
    assert outcome.verdict == "not compared"
    assert outcome.weights_tried == {}


def test_a_time_limit_shortens_the_course(tmp_path: Path) -> None:
    recipe = Recipe(
        loss=RidgeMapLoss(weight=1.0), training=Training(epochs=10_000, time_limit_seconds=0.5), compare=False
    )
    outcome, _ = run(recipe, data(), [teacher([0, 1, 2, 3])], tmp_path)
    assert 1 <= outcome.settings["plan"]["steps"] < 60_000


def test_pictures_become_a_transformers_folder(tmp_path: Path) -> None:
    recipe = Recipe(loss=TransportLoss(weight=1.0), training=Training(epochs=1, batch_size=32), compare=False)
    outcome, _ = run(recipe, data("image"), [teacher([0, 1, 2, 3])], tmp_path)
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    processor = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    pictures = [Image.open(io.BytesIO(data_)).convert("RGB") for data_ in items(TEST, "image").images or []]
    with torch.no_grad():
        answers = model(**processor(images=pictures, return_tensors="pt")).logits.argmax(dim=1).numpy()
    assert (answers == Y[TEST]).mean() == pytest.approx(outcome.with_teacher.mean, abs=1e-9)
    assert model.config.id2label[3] == "three"


COURSE = Recipe(training=Training(epochs=4, batch_size=32), name="resumed")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    outcome, _ = run(COURSE, data(), [teacher(list(range(10)))], folder)
    return outcome, (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("phase", ["gate", "with teacher"])
def test_a_stopped_job_goes_on_to_the_same_student(undisturbed: Any, tmp_path: Path, phase: str) -> None:
    """Stopped in the gate, and in the training after it."""
    asked, arms = 0, {"gate"}

    def note(kind: str, event: dict[str, Any]) -> None:
        if kind == "epoch":
            arms.add(event["arm"])

    def stop() -> bool:
        nonlocal asked
        asked += phase in arms
        return asked > 15

    whole, weights = undisturbed
    kept = Kept()
    with pytest.raises(TrainingStopped):
        run(COURSE, data(), [teacher(list(range(10)))], tmp_path, should_stop=stop, on_event=note, checkpoint=kept)
    assert kept.state is not None
    resumed, _ = run(COURSE, data(), [teacher(list(range(10)))], tmp_path, checkpoint=kept)
    assert (tmp_path / "model.safetensors").read_bytes() == weights
    assert resumed.weights_tried == whole.weights_tried
    assert resumed.gain == whole.gain


def test_cancel_is_heard_within_a_second(tmp_path: Path) -> None:
    started = time.perf_counter()
    asked: list[float] = []

    def stop() -> bool:
        asked.append(time.perf_counter())
        return asked[-1] - started > 1.0

    recipe = Recipe(training=Training(epochs=1000), loss=TransportLoss(weight=1.0))
    with pytest.raises(TrainingStopped):
        run(recipe, data(), [teacher([0, 1, 2, 3])], tmp_path, should_stop=stop)
    assert time.perf_counter() - asked[-1] < 1.0
    assert np.diff(asked).max() < 1.0


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ({"labels": np.zeros(30, dtype=np.int64)}, "no labelled item of class one"),
        ({"labels": np.arange(30)}, "outside 0..9"),
        ({"labels": Y[LABELLED][:5]}, "5 labels"),
        ({"label_names": ["one"]}, "at least 2"),
        ({"transfer": None}, "transfer items are missing"),
    ],
)
def test_what_does_not_fit_is_refused(spoil: dict[str, Any], reason: str, tmp_path: Path) -> None:
    given = TrainingData(**{**vars(data()), **spoil})
    with pytest.raises(ComputationFailed, match=reason):
        run(Recipe(), given, [teacher([0, 1, 2])], tmp_path)


def test_a_teacher_of_the_wrong_shape_is_refused(tmp_path: Path) -> None:
    good = teacher([0, 1, 2])
    wrong = TeacherSignal("wrong", good.labels, good.labelled_logits[:-1], good.name_cost, good.transfer_logits)
    with pytest.raises(ComputationFailed, match="have shape"):
        run(Recipe(), data(), [wrong], tmp_path)
