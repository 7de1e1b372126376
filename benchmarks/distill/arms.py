"""The columns of the tables: the arms trained in every cell, and the measurement of a cell."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.distill.cell import Cell, Course
from preceptor.contract.distillations import BuiltinStudent
from preceptor.contract.losses import (
    FeaturesLoss,
    Loss,
    MappedKlLoss,
    NoLoss,
    RelationalLoss,
    RidgeMapLoss,
    TransportLoss,
    UldLoss,
    WkdLoss,
)
from preceptor.contract.training import Training
from worker.distillation.budget import choose, plan_of
from worker.distillation.inputs import Recipe, TeacherSignal, TrainingData
from worker.distillation.losses.transport import softmax
from worker.distillation.progress import Progress
from worker.distillation.runs import TrainingRuns, prepare
from worker.distillation.schedule import Plan
from worker.distillation.students import Surroundings, blueprint_of
from worker.distillation.training.checkpoints import Ledger
from worker.ranking.blend import labelled_blend
from worker.ranking.estimators.evidence import Evidence

ALONE, SMOOTHED, UPPER = "CE alone", "label smoothing", "teacher fine-tuned"
DEFAULT, TEAM, WITH_NOISE = "default, recommended", "default, team of 3", "default, recommended + noise"
WORST, RANDOM, NOISE = "default, worst-ranked", "default, random weights", "default, noise"
SMOOTHING = 0.1

SINGLE: dict[str, Loss] = {
    "transport": TransportLoss(weight=1.0),
    "transport, names only": TransportLoss(weight=1.0, ground_cost="names"),
    "ridge map": RidgeMapLoss(weight=1.0, use_names=False),
    "ridge map from names": RidgeMapLoss(weight=1.0),
    "KL on a mapped teacher": MappedKlLoss(weight=1.0),
    "relational": RelationalLoss(weight=1.0),
    "features through a projector": FeaturesLoss(weight=1.0),
    "WKD-L": WkdLoss(weight=1.0),
    "sorted logits (ULD)": UldLoss(weight=1.0),
}
"""Losses at weight 1, without a gate, each with the recommended teacher."""
RANDOM_UNGATED = "transport, random weights"
FEW = 5
"""Maximum number of labels a class for which all arms are trained; above it, some of them are omitted."""


@dataclass(frozen=True)
class Arm:
    """One column of one cell."""

    name: str
    teachers: list[TeacherSignal]
    loss: Loss
    smoothing: float = 0.0


def ranked(cell: Cell) -> list[TeacherSignal]:
    """The zoo, best first, ranked by `auto` on the labelled items, as the service does."""
    auto = labelled_blend(cell.data.labels)
    evidence = [
        Evidence(
            teacher_labels=teacher.labels,
            student_labels=cell.data.label_names,
            text_cost=teacher.name_cost,
            predictions=softmax(teacher.labelled_logits, 1.0),
            logits=teacher.labelled_logits,
            labels=cell.data.labels,
            teacher=teacher.name,
        )
        for teacher in cell.zoo
    ]
    scores = auto.blend([auto.member_scores(one) for one in evidence])
    order = sorted(range(len(scores)), key=lambda number: -scores[number].value)
    return [cell.zoo[number] for number in order]


OMITTED_IF_SLOW = frozenset({"transport, names only", "ridge map from names", WORST, WITH_NOISE})
"""Omitted for slow students."""


def columns(each: int, *, slow: bool = False) -> list[str]:
    """Columns of a cell with this number of labels a class, in the order of the tables."""
    few = [WORST, TEAM, WITH_NOISE, NOISE] if each <= FEW else []
    every = [UPPER, ALONE, SMOOTHED, *SINGLE, RANDOM_UNGATED, DEFAULT, RANDOM, *few]
    return [name for name in every if not (slow and name in OMITTED_IF_SLOW)]


def arms(cell: Cell) -> Iterator[Arm]:
    """All arms of a cell, cheap ones first."""
    order = ranked(cell)
    best = order[:1]
    yield Arm(ALONE, [], NoLoss())
    yield Arm(SMOOTHED, [], NoLoss(), SMOOTHING)
    for name, loss in SINGLE.items():
        yield Arm(name, best, loss)
    yield Arm(RANDOM_UNGATED, [cell.random], SINGLE["transport"])
    yield Arm(DEFAULT, best, TransportLoss())
    yield Arm(RANDOM, [cell.random], TransportLoss())
    if len(cell.data.labels) <= FEW * cell.data.classes:
        yield Arm(WORST, order[-1:], TransportLoss())
        yield Arm(TEAM, order[:3], TransportLoss())
        yield Arm(WITH_NOISE, [*best, cell.noise], TransportLoss())
        yield Arm(NOISE, [cell.noise], TransportLoss())


class _Shared(Ledger):
    """A ledger that shares runs without a teacher between all arms of a cell, because they are the same."""

    def __init__(self, plain: dict[str, dict[str, Tensor]]) -> None:
        super().__init__(None, "")
        self._plain = plain

    def finished(self, name: str) -> dict[str, Tensor] | None:
        return self._plain.get(name) or super().finished(name)

    def finish(self, name: str, left: dict[str, Tensor]) -> None:
        super().finish(name, left)
        if name.startswith("gate/") and name.endswith("/0"):
            self._plain[name] = left


class Trial:
    """The data of one student, prepared once for all arms."""

    def __init__(self, data: TrainingData, course: Course, seed: int) -> None:
        self._plain: dict[str, dict[str, Tensor]] = {}
        self._trained: dict[str, tuple[float, float]] = {}
        transfer = 0 if data.transfer is None else data.transfer.items
        per_epoch = -(-max(len(data.labels), transfer) // course.batch)
        training = Training(
            epochs=-(-course.steps // per_epoch), batch_size=course.batch, learning_rate=course.rate, seed=seed
        )
        self._recipe = Recipe(student=BuiltinStudent(), training=training, compare=False, name="benchmark")
        with tempfile.TemporaryDirectory() as scratch:
            around = Surroundings(data.items, data.transfer, data.classes, "cpu", Path(scratch))
            blueprint = blueprint_of(self._recipe.student, around)
            progress = Progress(lambda kind, event: None, lambda: False)
            self._bench = prepare(
                self._recipe, data, [], blueprint, torch.device("cpu"), progress, _Shared(self._plain)
            )

    def measure(self, arm: Arm) -> dict[str, Any]:
        """Accuracy on the test items, weight used, and processor seconds."""
        began = time.process_time()
        runs: TrainingRuns = replace(
            self._bench,
            teachers=arm.teachers,
            recipe=replace(self._recipe, loss=arm.loss),
            ledger=_Shared(self._plain),
        )
        given = arm.loss.weight
        plan = plan_of(runs, auto=given == "auto")
        decision = choose(runs, plan) if given == "auto" else None
        weight = float(given) if decision is None else decision.weight
        gate_seconds = time.process_time() - began
        at_full_weight = frozenset[int]() if decision is None else decision.at_full_weight
        accuracy, seconds = self._run(runs, arm, weight, at_full_weight, plan)
        return {
            "accuracy": accuracy,
            "weight": weight,
            "teachers": [teacher.name for teacher in arm.teachers],
            "steps": plan.steps,
            "cpu_seconds": round(gate_seconds + seconds, 3),
            **({} if decision is None else {"gate": decision.reason, "in_full": sorted(at_full_weight)}),
        }

    def _run(
        self, runs: TrainingRuns, arm: Arm, weight: float, at_full_weight: frozenset[int], plan: Plan
    ) -> tuple[float, float]:
        """Accuracy and processor seconds of a training; of two that are the same, one is done."""
        names = [teacher.name for teacher in arm.teachers]
        loss = arm.loss.model_dump(exclude={"weight"})
        what = f"{loss} {names} {weight} {sorted(at_full_weight)}" if weight > 0 else "plain"
        key = f"{what} {arm.smoothing}"
        if key not in self._trained:
            began = time.process_time()
            term = runs.term(runs.rows, at_full_weight) if weight > 0 else None
            _, right = runs.run("run", term, weight, replace(plan, smoothing=arm.smoothing), keep=False)
            self._trained[key] = float(np.mean(right)), time.process_time() - began
        return self._trained[key]


def upper(cell: Cell) -> dict[str, Any]:
    """The column of the teacher that is fine-tuned on the labelled items."""
    return {"accuracy": cell.upper, "weight": 0.0, "teachers": [], "steps": 0, "cpu_seconds": 0.0}
