"""Ground truth: the accuracy of the student distilled from each teacher, with one fixed loss, over seeds.

A cell is (task, loss, seed): every teacher of the task's zoo, and no teacher. Each is stored in its own file, so that
an interrupted run resumes.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.distill.arms import Arm, Trial
from benchmarks.distill.cell import Course
from benchmarks.ranking.world import Target, World, drawn, name_cost
from preceptor.contract.losses import Loss, NoLoss, RidgeMapLoss, TransportLoss
from worker.distillation.inputs import TeacherSignal, TrainingData

FORMAT = 1
LABELS = 5
"""Labelled items a class: few, so that the choice of the teacher matters."""
LOSSES: dict[str, Loss] = {"transport": TransportLoss(weight=1.0), "ridge": RidgeMapLoss(weight=1.0, use_names=False)}
"""Weight 1 without a gate, which would hide the effect of a bad teacher. The second loss checks without transport."""
ALONE = "CE alone"


@dataclass(frozen=True)
class Truth:
    """One cell.

    Attributes
    ----------
    accuracy
        By the teacher's name.
    """

    task: str
    loss: str
    seed: int
    alone: float
    accuracy: dict[str, float]
    cpu_seconds: float


def path_of(folder: Path, target: Target, loss: str, seed: int) -> Path:
    """File of a cell."""
    name = "".join(letter if letter.isalnum() else "-" for letter in target.name)
    return folder / f"truth-{FORMAT}-{name}-{loss}-{seed}.json"


def measure(world: World, target: Target, loss: str, seed: int, folder: Path) -> None:
    """Distil a student from every teacher, unless the cell is stored."""
    path = path_of(folder, target, loss, seed)
    if path.is_file():
        return
    began = time.process_time()
    signals, data = _prepared(world, target, seed)
    trial = Trial(data, Course(world.steps), seed)
    alone = trial.measure(Arm(ALONE, [], NoLoss()))["accuracy"]
    accuracy = {signal.name: trial.measure(Arm(signal.name, [signal], LOSSES[loss]))["accuracy"] for signal in signals}
    row: dict[str, Any] = {
        "task": target.name,
        "loss": loss,
        "seed": seed,
        "alone": alone,
        "accuracy": accuracy,
        "cpu_seconds": round(time.process_time() - began, 1),
    }
    path.write_text(json.dumps(row))
    best = max(accuracy, key=accuracy.__getitem__)
    print(
        f"{target.name:52} {loss:9} seed {seed}: alone {alone:.3f}, median {np.median(list(accuracy.values())):.3f}, "
        f"best {accuracy[best]:.3f} ({best}), {row['cpu_seconds']:.0f} s",
        file=sys.stderr,
        flush=True,
    )


def read(target: Target, loss: str, seed: int, folder: Path) -> Truth | None:
    """A stored cell, or None."""
    path = path_of(folder, target, loss, seed)
    return Truth(**json.loads(path.read_text())) if path.is_file() else None


def _prepared(world: World, target: Target, seed: int) -> tuple[list[TeacherSignal], TrainingData]:
    generator = np.random.default_rng([seed, len(target.pool)])
    chosen = drawn(target, LABELS, generator)
    others = generator.permutation(np.setdiff1d(np.arange(len(target.pool)), chosen))[: world.transfer]
    labelled, transfer = target.pool[chosen], target.pool[others]
    data = TrainingData(
        world.inputs(labelled),
        target.pool_labels[chosen],
        target.labels,
        world.inputs(transfer),
        world.inputs(target.test),
        target.test_labels,
    )
    signals = [
        TeacherSignal(
            teacher.name, teacher.labels, teacher.logits[labelled], name_cost(teacher, target), teacher.logits[transfer]
        )
        for teacher in world.zoo
    ]
    return signals, data
