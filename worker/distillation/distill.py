"""One distillation from its request to its outcome: gate, train, compare, export. The door of this room."""

import math
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from preceptor.contract.distillations import Accuracy, Gain

from .advice import advice_of
from .data import Encoded
from .evaluation import held_out, paired_gain, stratified_folds
from .export import Delivered, export
from .gate import FOLDS, WEIGHTS, GateDecision, choose_weight
from .losses import FAMILIES, Evidence, LossTerm
from .outcome import Checkpoint, OnEvent, Outcome, ShouldStop
from .progress import Progress
from .record import repeating_request, settings_of
from .request import Float32, Int64, Recipe, TeacherSignal, TrainingData, check
from .students import Blueprint, Surroundings, blueprint_of
from .trainer import Material, Plan, Trained, plan_for, predict, train

HELD_OUT: Final = 0.25
"""Share of the labelled items that is measured on where no test items are given."""
_GATE_STEPS: Final = 200
_SHARE_OF_LIMIT: Final = 0.85


@dataclass(frozen=True)
class _Bench:
    """What all runs of a job share."""

    blueprint: Blueprint
    data: TrainingData
    teachers: list[TeacherSignal]
    recipe: Recipe
    labelled: Encoded
    transfer: Encoded | None
    test: Encoded
    rows: Int64
    test_rows: Int64
    test_labels: Int64
    device: torch.device
    progress: Progress


def distill(
    request: Recipe,
    data: TrainingData,
    teachers: list[TeacherSignal],
    *,
    on_event: OnEvent,
    should_stop: ShouldStop,
    folder: Path,
    device: str = "cpu",
    threads: int = 1,
    checkpoint: Checkpoint | None = None,
    start_from: Path | None = None,
) -> Outcome:
    """Train a student from teachers, and measure whether they helped.

    Parameters
    ----------
    request
        How.
    data
        The student's data; test items are never trained on, nor does anything depend on their labels.
    teachers
        What the teachers say of it.
    on_event
        Told of `progress`, `epoch`, `weight` and `run` events.
    should_stop
        Asked before every step.
    folder
        Where the student's files go; made where absent.
    device
        A torch device.
    threads
        Threads to compute with; holds for the process. Weights repeat bit for bit only for equal threads.
    checkpoint
        Where to keep the state of the run and to go on from; None to do without.
    start_from
        The `transformers` folder that a "registered" student starts from.

    Returns
    -------
    Outcome

    Raises
    ------
    JobFailed
        Data, teachers and student do not fit each other; the message says what to do.
    TrainingStopped
        `should_stop` said so.
    """
    started = time.perf_counter()
    check(data, teachers)
    torch.set_num_threads(threads)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        around = Surroundings(data.items, data.transfer, data.classes, device, Path(scratch), start_from)
        blueprint = blueprint_of(request.student, around)
        progress = Progress(on_event, should_stop)
        bench = _prepare(request, data, teachers, blueprint, torch.device(device), progress)
        prepared = time.perf_counter()
        return _run(bench, folder, on_event, started, prepared)


def _prepare(
    recipe: Recipe,
    data: TrainingData,
    teachers: list[TeacherSignal],
    blueprint: Blueprint,
    device: torch.device,
    progress: Progress,
) -> _Bench:
    progress.check()
    labelled = blueprint.encode(data.items)
    transfer = None if data.transfer is None or data.transfer.items == 0 else blueprint.encode(data.transfer)
    progress.check()
    everything = np.arange(len(data.labels), dtype=np.int64)
    if data.test is not None and data.test_labels is not None:
        test, rows = blueprint.encode(data.test), everything
        test_rows, test_labels = np.arange(data.test.items, dtype=np.int64), data.test_labels
    else:
        rows, test_rows = held_out(data.labels, HELD_OUT, recipe.training.seed)
        test, test_labels = labelled, data.labels[test_rows]
    progress.check()
    return _Bench(
        blueprint, data, teachers, recipe, labelled, transfer, test, rows, test_rows, test_labels, device, progress
    )


def _run(bench: _Bench, folder: Path, on_event: OnEvent, started: float, prepared: float) -> Outcome:
    recipe, training = bench.recipe, bench.recipe.training
    given = recipe.loss.weight if bench.teachers else 0.0
    wanted = "auto" if given == "auto" else float(given)
    plan = _plan(bench, training.epochs, training.seed, bench.rows)
    plan = _within_limit(bench, plan, auto=wanted == "auto")
    seeds = [training.seed + number for number in range(training.seeds)]
    arms = 2 if recipe.compare and wanted != 0 else 1
    bench.progress.expect(arms * len(seeds) * plan.steps + (_gate_cost(bench, plan) if wanted == "auto" else 0))
    gate = _choose(bench, plan) if wanted == "auto" else GateDecision(wanted, reason="given in the request")
    on_event(
        "weight",
        {
            "weight": gate.weight,
            "scores": {f"{weight:g}": round(score, 5) for weight, score in gate.scores.items()},
            "reason": gate.reason,
        },
    )
    gated = time.perf_counter()
    if gate.weight == 0 and arms == 2:
        bench.progress.skip(len(seeds) * plan.steps)
    taught = _arm(bench, plan, seeds, gate.weight, "with teacher" if gate.weight else "without teacher", on_event)
    plain = None
    if recipe.compare:
        plain = taught if gate.weight == 0 else _arm(bench, plan, seeds, 0.0, "without teacher", on_event)
    trained = time.perf_counter()
    gain = None if plain is None else paired_gain(taught.right, plain.right, seed=training.seed)
    with_teacher, without = _accuracy(taught), None if plain is None else _accuracy(plain)
    settings = settings_of(bench.recipe, bench.data, bench.teachers, bench.blueprint, plan, gate, bench.device)
    verdict = "not compared" if gain is None else gain.verdict
    advice = advice_of(gate, gain, with_teacher, len(bench.test_labels), len(bench.teachers))
    delivered = Delivered(
        name=recipe.name,
        labels=bench.data.label_names,
        accuracy=with_teacher,
        without=without,
        gain=None if gain is None else Gain(mean=gain.mean, low=gain.low, high=gain.high),
        verdict=verdict,
        advice=advice,
        weight=gate.weight,
        history=taught.first.history,
        test_items=len(bench.test_labels),
        settings=settings,
        request=repeating_request(recipe, settings["data"], settings["teachers"]),
    )
    samples = bench.test.gather(torch.from_numpy(bench.test_rows[:32]))
    artifacts, teacher = export(bench.blueprint, taught.first.model, delivered, samples, folder)
    done = time.perf_counter()
    return Outcome(
        with_teacher=with_teacher,
        without_teacher=without,
        gain=delivered.gain,
        verdict=verdict,
        advice=advice,
        weight=gate.weight,
        weights_tried={f"{weight:g}": score for weight, score in gate.scores.items()},
        test_items=len(bench.test_labels),
        history=taught.first.history,
        artifacts=artifacts,
        teacher=teacher,
        stages={
            "prepare": round(prepared - started, 6),
            "gate": round(gated - prepared, 6),
            "train": round(trained - gated, 6),
            "export": round(done - trained, 6),
        },
        settings=settings,
    )


@dataclass
class _Arm:
    """All seeds of one arm: the first student, and which test items each one got right, shape (R, N)."""

    first: Trained
    right: NDArray[np.bool_]


def _arm(bench: _Bench, plan: Plan, seeds: list[int], weight: float, name: str, on_event: OnEvent) -> _Arm:
    term = _term(bench, bench.rows) if weight > 0 else None
    first: Trained | None = None
    right: list[NDArray[np.bool_]] = []
    for number, seed in enumerate(seeds):
        bench.progress.begin(f"{name}, seed {seed}", arm=name, epochs=number == 0)

        def measure(model: nn.Module) -> float:
            return float(_right(bench, model).mean())

        trained = train(
            bench.blueprint,
            Material(bench.labelled, bench.data.labels, bench.rows, bench.transfer),
            term,
            weight,
            replace(plan, seed=seed),
            watch=bench.progress,
            measure=measure if number == 0 else None,
        )
        right.append(_right(bench, trained.model))
        on_event("run", {"arm": name, "seed": seed, "accuracy": float(right[-1].mean())})
        first = first or trained
    assert first is not None
    return _Arm(first, np.stack(right))


def _right(bench: _Bench, model: nn.Module) -> NDArray[np.bool_]:
    return predict(model, bench.test, bench.test_rows).argmax(axis=1) == bench.test_labels


def _term(bench: _Bench, rows: Int64) -> LossTerm:
    labels = bench.data.labels
    folds = stratified_folds(labels[rows], FOLDS, bench.recipe.training.seed)
    evidence = Evidence(bench.teachers, labels, rows, bench.data.classes, folds, bench.device)
    return FAMILIES[bench.recipe.loss.name].prepare(evidence, bench.recipe.loss)


def _choose(bench: _Bench, plan: Plan) -> GateDecision:
    """The gate, with the real student on a shorter course."""
    light = bench.blueprint.light
    rows, labels = bench.rows, bench.data.labels[bench.rows]
    shorter = _shorter(bench, plan)
    terms: dict[bytes, LossTerm] = {}
    bench.progress.begin("choosing the weight of the teachers", arm="gate", epochs=False)

    def fit(kept: Int64, left_out: Int64, weight: float) -> Float32:
        key = kept.tobytes()
        if weight > 0 and key not in terms:
            terms[key] = _term(bench, rows[kept])
        material = Material(bench.labelled, bench.data.labels, rows[kept], bench.transfer)
        term = terms[key] if weight > 0 else None
        trained = train(bench.blueprint, material, term, weight, shorter, watch=bench.progress)
        return predict(trained.model, bench.labelled, rows[left_out])

    return choose_weight(
        labels,
        fit,
        weights=WEIGHTS if light else (1.0,),
        folds=FOLDS if light else 3,
        seed=bench.recipe.training.seed,
    )


def _gate_cost(bench: _Bench, plan: Plan) -> int:
    """Steps that the gate will take."""
    light = bench.blueprint.light
    labels = bench.data.labels[bench.rows]
    folds = len(stratified_folds(labels, FOLDS if light else 3, bench.recipe.training.seed))
    return folds * (1 + len(WEIGHTS) if light else 2) * _shorter(bench, plan).steps


def _shorter(bench: _Bench, plan: Plan) -> Plan:
    steps = min(plan.steps, _GATE_STEPS if bench.blueprint.light else max(60, plan.steps // 3))
    return replace(plan, steps=steps)


def _plan(bench: _Bench, epochs: int, seed: int, rows: Int64) -> Plan:
    training = bench.recipe.training
    return plan_for(
        len(rows),
        0 if bench.transfer is None else len(bench.transfer),
        epochs=epochs,
        batch_size=training.batch_size,
        learning_rate=training.learning_rate or bench.blueprint.learning_rate,
        weight_decay=training.weight_decay,
        seed=seed,
    )


def _within_limit(bench: _Bench, plan: Plan, *, auto: bool) -> Plan:
    """Fewer steps where the time limit asks for it; the same for both arms, so that they stay comparable."""
    limit = bench.recipe.training.time_limit_seconds
    if limit is None:
        return plan
    trial = replace(plan, steps=4, steps_per_epoch=4)
    term = _term(bench, bench.rows) if bench.teachers else None
    material = Material(bench.labelled, bench.data.labels, bench.rows, bench.transfer)
    train(bench.blueprint, material, term, 1.0, trial, watch=bench.progress)
    seconds = train(bench.blueprint, material, term, 1.0, trial, watch=bench.progress).seconds / trial.steps
    runs = bench.recipe.training.seeds * (2 if bench.recipe.compare else 1)
    steps = runs * plan.steps + (_gate_cost(bench, plan) if auto else 0)
    share = _SHARE_OF_LIMIT * limit / (steps * seconds)
    if share >= 1:
        return plan
    fewer = max(1, math.floor(plan.steps * share))
    return replace(plan, steps=fewer)


def _accuracy(arm: _Arm) -> Accuracy:
    per_seed = [float(row.mean()) for row in arm.right]
    return Accuracy(mean=float(np.mean(per_seed)), per_seed=per_seed)
