"""Measures the demo zoo: the correctness of the ranking, and the gain of the best teacher.

``python -m examples.demo_zoo.measure --zoo FOLDER --seeds 3 --out FILE`` draws new splits of the students' data,
scores every teacher with the product's estimators on the labelled items, distils the student from every teacher with
the product's distillation, and prints both. docs/research/demo_zoo.md quotes its output.
"""

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from preceptor.contract.losses import TransportLoss
from preceptor.contract.teachers import Modality, Teacher, TeacherStatus
from preceptor.contract.training import Training
from worker.distillation.distill import distill
from worker.distillation.inputs import ArrayItems, NoLoss, Recipe, TeacherSignal, TrainingData
from worker.label_encoder import DEFAULT_ENCODER, LabelEncoder, load_encoder
from worker.ranking.estimators.evidence import Evidence
from worker.ranking.estimators.registry import ESTIMATORS
from worker.teachers.interface import LoadedTeacher
from worker.teachers.loading import load_teacher

from . import tasks
from .diagnoses import read_classification

SCORES: Final = ("label_transport_coverage", "label_transport_balanced", "prediction_transport", "alignment")
LOSSES: Final[dict[str, TransportLoss]] = {
    "names, weight 1": TransportLoss(ground_cost="names", weight=1.0),
    "joint, weight 1": TransportLoss(ground_cost="joint", weight=1.0),
    "joint, auto": TransportLoss(ground_cost="joint", weight="auto"),
}
_EPOCHS: Final = 20


@dataclass(frozen=True)
class _Sample:
    """One split of a task: the few labelled items, the unlabelled items, the test items."""

    names: list[str]
    labelled: ArrayItems
    labels: NDArray[np.int64]
    transfer: ArrayItems
    test: ArrayItems
    test_labels: NDArray[np.int64]


def _read(path: Path, names: list[str]) -> tuple[ArrayItems, NDArray[np.int64]]:
    if path.suffix == ".jsonl":
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        numbers = [names.index(line["label"]) if "label" in line else -1 for line in lines]
        return ArrayItems(texts=[line["text"] for line in lines]), np.array(numbers, dtype=np.int64)
    table = pq.read_table(path).to_pydict()
    numbers = table.get("label", [-1] * len(table["image"]))
    return ArrayItems(images=[image["bytes"] for image in table["image"]]), np.array(numbers, dtype=np.int64)


def _sample(root: Path, task: dict[str, Any]) -> _Sample:
    labelled, labels = _read(root / task["labelled"], task["labels"])
    transfer, _ = _read(root / task["unlabelled"], task["labels"])
    test, test_labels = _read(root / task["test"], task["labels"])
    return _Sample(task["labels"], labelled, labels, transfer, test, test_labels)


def _teachers(zoo: Path, modality: Modality) -> dict[str, tuple[LoadedTeacher, list[str]]]:
    found: dict[str, tuple[LoadedTeacher, list[str]]] = {}
    now = datetime.now(UTC)
    for path in sorted(zoo.glob("teachers/*/teacher.json")):
        described = json.loads(path.read_text(encoding="utf-8"))
        if described["modality"] == modality:
            registration = Teacher(
                id="tch_00000000000000000000000000",
                name=described["name"],
                status=TeacherStatus.READY,
                source=described["source"],
                modality=modality,
                labels=described["labels"],
                created_at=now,
                updated_at=now,
            )
            found[path.parent.name] = (load_teacher(registration, path.parent, threads=1), described["labels"])
    return found


def _logits(teacher: LoadedTeacher, items: ArrayItems) -> NDArray[np.float32]:
    return np.concatenate([teacher.predict(batch).logits for batch in items.batches(64)])


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
    return shifted / shifted.sum(axis=1, keepdims=True)


class _Measured(Exception):
    """A student is trained and measured; the export is not needed."""

    def __init__(self, accuracy: float) -> None:
        super().__init__()
        self.accuracy = accuracy


def _listen(kind: str, facts: dict[str, Any]) -> None:
    if kind == "run":
        raise _Measured(facts["accuracy"])


def _accuracy(recipe: Recipe, sample: _Sample, teachers: list[TeacherSignal]) -> float:
    data = TrainingData(sample.labelled, sample.labels, sample.names, sample.transfer, sample.test, sample.test_labels)
    with tempfile.TemporaryDirectory() as folder:
        try:
            distill(recipe, data, teachers, on_event=_listen, should_stop=lambda: False, folder=Path(folder))
        except _Measured as measured:
            return measured.accuracy
    raise RuntimeError("the distillation ended without a run")


def _measure(
    sample: _Sample,
    teachers: dict[str, tuple[LoadedTeacher, list[str]]],
    encoder: LabelEncoder,
    losses: dict[str, TransportLoss],
    seed: int,
) -> dict[str, dict[str, float]]:
    """Scores and gains of every teacher; the student alone is the row "no teacher"."""
    training = Training(epochs=_EPOCHS, seed=seed)
    alone = _accuracy(Recipe(loss=NoLoss(), training=training, compare=False), sample, [])
    rows: dict[str, dict[str, float]] = {"no teacher": {"accuracy": alone}}
    student = encoder.encode(sample.names)
    for slug, (teacher, labels) in teachers.items():
        begin = time.perf_counter()
        cost = 1 - encoder.encode(labels) @ student.T
        logits = _logits(teacher, sample.labelled)
        evidence = Evidence(
            labels, sample.names, text_cost=cost, predictions=_softmax(logits), logits=logits, labels=sample.labels
        )
        row = {name: ESTIMATORS[name].estimate(evidence).value for name in SCORES}
        signal = TeacherSignal(slug, labels, logits, cost, _logits(teacher, sample.transfer))
        for title, loss in losses.items():
            recipe = Recipe(loss=loss, training=training, compare=False)
            row[title] = _accuracy(recipe, sample, [signal]) - alone
        row["seconds"] = time.perf_counter() - begin
        rows[slug] = row
    return rows


def _table(task: str, runs: list[dict[str, dict[str, float]]]) -> str:
    """Means over the splits, and standard deviations of gains; lowest prediction transport, the best, first."""
    columns = [*SCORES, *(name for name in runs[0][list(runs[0])[1]] if name not in SCORES and name != "seconds")]
    alone = [run["no teacher"]["accuracy"] for run in runs]

    def mean(slug: str, name: str) -> float:
        return float(np.mean([run[slug][name] for run in runs]))

    order = sorted((slug for slug in runs[0] if slug != "no teacher"), key=lambda s: mean(s, SCORES[2]))
    lines = [
        f"{task}: {len(runs)} splits; the student alone {np.mean(alone):.3f} (+- {np.std(alone):.3f})",
        f"| teacher | {' | '.join(columns)} |",
        f"|---|{'---|' * len(columns)}",
    ]
    for slug in order:
        cells = [
            f"{mean(slug, name):+.3f}"
            + ("" if name in SCORES else f" (+- {np.std([run[slug][name] for run in runs]):.3f})")
            for name in columns
        ]
        lines.append(f"| {slug} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Measure rankings and gains on the demo zoo.")
    parser.add_argument("--zoo", type=Path, required=True, help="what examples.demo_zoo.build wrote")
    parser.add_argument("--seeds", type=int, default=3, help="number of splits")
    parser.add_argument("--out", type=Path, required=True, help="JSON file for all numbers")
    parser.add_argument("--task", choices=("birth-defects", "digits"), action="append")
    parser.add_argument("--few", type=int, default=None, help="labelled items a class")
    parser.add_argument("--loss", choices=tuple(LOSSES), action="append")
    given = parser.parse_args()
    encoder = load_encoder(DEFAULT_ENCODER)
    few = {} if given.few is None else {"few": given.few}
    known = read_classification()
    everything: dict[str, list[dict[str, dict[str, float]]]] = {}
    for slug in given.task or ["birth-defects", "digits"]:
        teachers = _teachers(given.zoo, "text" if slug == "birth-defects" else "image")
        for seed in range(given.seeds):
            with tempfile.TemporaryDirectory() as scratch:
                root = Path(scratch)
                if slug == "birth-defects":
                    task = tasks.birth_defects(root, known, seed=seed, **few)
                else:
                    task = tasks.handwritten_digits(root, seed=seed, **few)
                sample = _sample(root, task)
            losses = {name: LOSSES[name] for name in given.loss or LOSSES}
            everything.setdefault(slug, []).append(_measure(sample, teachers, encoder, losses, seed))
            given.out.write_text(json.dumps(everything, indent=1), encoding="utf-8")
        print(_table(slug, everything[slug]), flush=True)


if __name__ == "__main__":
    main()
