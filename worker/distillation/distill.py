"""One distillation from its request to its outcome: gate, train, compare, export. The entry point of this package."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from preceptor.contract.distillations import Accuracy, EpochMetrics, Gain

from .advice import advice_of
from .budget import arms_of, choose, gate_steps, plan_of
from .controls import LABEL_SMOOTHING, RANDOM_WEIGHTS, SMOOTHING, random_teachers
from .evaluation.statistics import paired_gain
from .export.artifacts import Delivered, export
from .inputs import Recipe, TeacherSignal, TrainingData, check
from .losses import Term
from .progress import Progress, RunWatch
from .provenance import repeating_request, settings_of
from .result import Control, OnEvent, Outcome, ShouldStop
from .runs import TrainingRuns, prepare
from .schedule import Plan
from .students import Blueprint, Surroundings, blueprint_of
from .teaching.gate import GateDecision
from .training.checkpoints import Checkpoint, Ledger, fingerprint
from .training.devices import machine_for, mixed_precision
from .training.lockstep import Row
from .training.multi_process import TrainingProcesses
from .training.trainer import Trained, Trainer, train

_MOST_WEIGHTS: Final = 1 << 25
"""Weights of all students trained in parallel; with gradients and two moments, half a gigabyte."""
WITH: Final = "with teacher"
WITHOUT: Final = "without teacher"


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
    processes: int = 1,
    checkpoint: Checkpoint | None = None,
    start_from: Path | None = None,
) -> Outcome:
    """Train a student from teachers, and measure the gain.

    Parameters
    ----------
    request
        Student, loss and training.
    data
        The student's data; test items are never trained on, and nothing is chosen by their labels.
    teachers
        The teachers' outputs on it.
    on_event
        Receives `progress`, `epoch`, `weight` and `run` events.
    should_stop
        Called before every step and every batch that is read.
    folder
        Folder for the student's files; created if absent.
    device
        A torch device.
    threads
        Compute threads (light students use one); applies to the process. Weights repeat bit for bit only
        for equal threads.
    processes
        Processes that train one student together, unless it is a light one; weights then repeat up to rounding.
    checkpoint
        Storage for the state of the run, from which it resumes; None for no checkpoints.
    start_from
        The `transformers` folder that a "registered" student starts from.

    Returns
    -------
    Outcome

    Raises
    ------
    ComputationFailed
        Data, teachers and student do not match; the message says what to do.
    TrainingStopped
        `should_stop` returned True; the state is written to `checkpoint` first.

    Notes
    -----
    Torch's global generator is seeded while a student trains and restored afterwards: two distillations in two
    threads of one process would disturb each other.
    """
    started = time.perf_counter()
    check(data, teachers)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        around = Surroundings(data.items, data.transfer, data.classes, device, Path(scratch), start_from)
        blueprint = blueprint_of(request.student, around)
        # A light student's steps are too short for threads: synchronisation makes them up to six times slower.
        torch.set_num_threads(1 if blueprint.light else threads)
        ledger = Ledger(checkpoint, fingerprint(request, data, teachers, device))
        progress = Progress(on_event, should_stop)
        with _trainer(request, blueprint, torch.device(device), processes) as trainer:
            on = torch.device(device)
            abreast = _abreast(request, blueprint, on, processes)
            runs = prepare(request, data, teachers, blueprint, on, progress, ledger, trainer, abreast)
            return _Job(runs, folder, on_event, started).outcome()


@contextmanager
def _trainer(request: Recipe, blueprint: Blueprint, device: torch.device, processes: int) -> Iterator[Trainer]:
    """The trainer: in this process, or in several."""
    precision = request.training.precision
    if processes == 1 or blueprint.light:
        yield partial(train, machine=machine_for(precision, device, light=blueprint.light))
        return
    threads = max(1, torch.get_num_threads() // processes) if device.type == "cpu" else torch.get_num_threads()
    mixed_precision(precision, device)  # Rejects an unsupported precision before processes start.
    with closing(TrainingProcesses(processes, device, precision, threads)) as trainers:
        yield trainers.train


def _abreast(request: Recipe, blueprint: Blueprint, device: torch.device, processes: int) -> int:
    """Number of runs trained in parallel: one a thread, if memory and the student allow it."""
    plain = request.training.precision in ("auto", "fp32") and device.type == "cpu"
    if blueprint.light or blueprint.draws or processes > 1 or not plain:
        return 1
    with torch.random.fork_rng():
        weights = sum(parameter.numel() for parameter in blueprint.build().parameters())
    return max(1, min(torch.get_num_threads(), _MOST_WEIGHTS // weights))


def _given(weight: float) -> GateDecision:
    return GateDecision(weight, reason=f"the weight {weight:g} was given in the request", given=True)


@dataclass(frozen=True)
class _Arm:
    """All seeds of one arm: the first student, and whether each test item was predicted correctly, shape (R, N)."""

    first: Trained
    right: NDArray[np.bool_]

    @property
    def accuracy(self) -> Accuracy:
        per_seed = [float(row.mean()) for row in self.right]
        return Accuracy(mean=float(np.mean(per_seed)), per_seed=per_seed)


class _Job:
    """One distillation on its runs."""

    def __init__(self, runs: TrainingRuns, folder: Path, on_event: OnEvent, started: float) -> None:
        self._runs, self._folder, self._on_event = runs, folder, on_event
        self._stages: dict[str, float] = {}
        self._curves: dict[str, list[EpochMetrics]] = {}
        self._last = started
        self._stage("prepare")

    def outcome(self) -> Outcome:
        """Gate, train, compare, export."""
        runs, recipe = self._runs, self._runs.recipe
        given = recipe.loss.weight if runs.teachers else 0.0
        plan = plan_of(runs, auto=given == "auto")
        seeds = [recipe.training.seed + number for number in range(recipe.training.seeds)]
        compared = recipe.compare and given != 0
        expected = (arms_of(recipe.compare) if compared else 1) * len(seeds) * plan.steps
        runs.progress.expect(expected + (gate_steps(runs, plan) if given == "auto" else 0))
        gate = choose(runs, plan) if given == "auto" else _given(given)
        self._report(gate)
        self._stage("gate")
        taught, plain = self._arms(plan, seeds, gate, compared)
        controls = self._controls(plan, seeds, gate.weight, taught) if recipe.compare == "full" else {}
        self._stage("train")
        gain = None if plain is None else paired_gain(taught.right, plain.right, seed=recipe.training.seed)
        items = len(runs.held_out_set.labels)
        delivered = self._delivered(plan, gate, taught, plain, controls)
        delivered = replace(
            delivered,
            gain=None if gain is None else Gain(mean=gain.mean, low=gain.low, high=gain.high),
            verdict="not compared" if gain is None else gain.verdict,
            advice=advice_of(gate, gain, taught.accuracy, items, len(runs.teachers), controls),
        )
        runs.progress.say("writing the student")
        samples = runs.held_out_set.items.gather(torch.from_numpy(runs.held_out_set.rows[:32]))
        artifacts, teacher = export(runs.blueprint, taught.first.model, delivered, samples, self._folder)
        self._stage("export")
        runs.progress.end()
        return Outcome(
            with_teacher=delivered.accuracy,
            without_teacher=delivered.without,
            gain=delivered.gain,
            verdict=delivered.verdict,
            advice=delivered.advice,
            weight=gate.weight,
            weights_tried={f"{weight:g}": score for weight, score in gate.scores.items()},
            test_items=items,
            history=delivered.history,
            artifacts=artifacts,
            teacher=teacher,
            stages=self._stages,
            settings=delivered.settings,
            controls=controls,
        )

    def _arms(self, plan: Plan, seeds: list[int], gate: GateDecision, compared: bool) -> tuple[_Arm, _Arm | None]:
        if gate.weight > 0:
            names = {gate.weight: WITH, 0.0: WITHOUT} if compared else {gate.weight: WITH}
            taught, *plain = self._train(plan, seeds, names, at_full_weight=gate.at_full_weight)
            return taught, plain[0] if plain else None
        # Nothing to compare: at weight 0 both arms are the same.
        if compared:
            self._runs.progress.skip(len(seeds) * plan.steps)
        (plain,) = self._train(plan, seeds, {0.0: WITHOUT})
        return plain, plain if compared else None

    def _controls(self, plan: Plan, seeds: list[int], weight: float, taught: _Arm) -> dict[str, Control]:
        """The controls, if a teacher takes part."""
        runs = self._runs
        if weight == 0:
            runs.progress.skip(2 * len(seeds) * plan.steps if runs.teachers else 0)
            return {}
        smoothed = replace(plan, smoothing=SMOOTHING)
        untaught = replace(runs, teachers=random_teachers(runs))
        arms = {
            LABEL_SMOOTHING: self._train(smoothed, seeds, {0.0: LABEL_SMOOTHING}),
            RANDOM_WEIGHTS: self._train(plan, seeds, {weight: RANDOM_WEIGHTS}, untaught),
        }
        found: dict[str, Control] = {}
        for name, (arm,) in arms.items():
            gain = paired_gain(taught.right, arm.right, seed=runs.recipe.training.seed)
            found[name] = Control(arm.accuracy, Gain(mean=gain.mean, low=gain.low, high=gain.high))
        return found

    def _train(
        self,
        plan: Plan,
        seeds: list[int],
        names: dict[float, str],
        other: TrainingRuns | None = None,
        at_full_weight: frozenset[int] = frozenset(),
    ) -> list[_Arm]:
        """An arm for each weight, in lockstep if the student allows it."""
        runs = other or self._runs
        term = runs.term(runs.rows, at_full_weight) if any(weight > 0 for weight in names) else None
        if runs.together(plan, [term], len(seeds) * len(names)):
            return self._in_lockstep(runs, plan, seeds, names, term)
        if runs.abreast > 1:
            return self._abreast(runs, plan, seeds, names, term)
        return [
            self._arm(runs, plan, seeds, weight, name, term if weight > 0 else None) for weight, name in names.items()
        ]

    def _abreast(
        self, runs: TrainingRuns, plan: Plan, seeds: list[int], names: dict[float, str], term: Term | None
    ) -> list[_Arm]:
        arms, progress = list(names.values()), runs.progress
        progress.begin(f"{' and '.join(arms)}, {len(seeds)} seeds", arm=arms[0], epochs=False)
        trainings = [
            partial(
                runs.run,
                f"{name}/{seed}",
                term if weight > 0 else None,
                weight,
                replace(plan, seed=seed),
                keep=number == 0,
                watch=RunWatch(progress, name if number == 0 else None),
            )
            for weight, name in names.items()
            for number, seed in enumerate(seeds)
        ]
        done = runs.at_once(trainings)
        return [
            self._as_arm(name, seeds, done[column * len(seeds) : (column + 1) * len(seeds)])
            for column, name in enumerate(arms)
        ]

    def _as_arm(self, name: str, seeds: list[int], runs: Sequence[tuple[Trained | None, NDArray[np.bool_]]]) -> _Arm:
        """The arm of runs trained together, and its events."""
        for seed, (_, correct) in zip(seeds, runs, strict=True):
            self._on_event("run", {"arm": name, "seed": seed, "accuracy": float(correct.mean())})
        first = runs[0][0]
        assert first is not None
        self._curves[name] = first.history
        return _Arm(first, np.stack([correct for _, correct in runs]))

    def _in_lockstep(
        self, runs: TrainingRuns, plan: Plan, seeds: list[int], names: dict[float, str], term: Term | None
    ) -> list[_Arm]:
        arms = list(names.values())
        runs.progress.begin(f"{' and '.join(arms)}, {len(seeds)} seeds together", arm=arms[0], epochs=False)

        def on_epoch(row: int, column: int, metrics: EpochMetrics) -> None:
            runs.progress.epoch_of(arms[column], metrics)

        grid = runs.run_together(
            [[f"{name}/{seed}" for name in arms] for seed in seeds],
            [Row(runs.rows, term, seed) for seed in seeds],
            list(names),
            plan,
            on_epoch=on_epoch,
        )
        return [self._as_arm(name, seeds, [row[column] for row in grid]) for column, name in enumerate(arms)]

    def _arm(
        self, runs: TrainingRuns, plan: Plan, seeds: list[int], weight: float, name: str, term: Term | None
    ) -> _Arm:
        first: Trained | None = None
        right: list[NDArray[np.bool_]] = []
        for number, seed in enumerate(seeds):
            runs.progress.begin(f"{name}, seed {seed}", arm=name, epochs=number == 0)
            trained, correct = runs.run(f"{name}/{seed}", term, weight, replace(plan, seed=seed), keep=number == 0)
            right.append(correct)
            self._on_event("run", {"arm": name, "seed": seed, "accuracy": float(correct.mean())})
            first = first or trained
        assert first is not None
        self._curves[name] = first.history
        return _Arm(first, np.stack(right))

    def _delivered(
        self, plan: Plan, gate: GateDecision, taught: _Arm, plain: _Arm | None, controls: dict[str, Control]
    ) -> Delivered:
        runs = self._runs
        settings = settings_of(runs.recipe, runs.data, runs.teachers, runs.blueprint, plan, gate, runs.device)
        settings["controls"] = {name: control.described() for name, control in controls.items()}
        return Delivered(
            name=runs.recipe.name,
            labels=runs.data.label_names,
            accuracy=taught.accuracy,
            without=None if plain is None else plain.accuracy,
            gain=None,
            verdict="not compared",
            advice="",
            weight=gate.weight,
            history=taught.first.history,
            controls=controls,
            curves=self._curves,
            test_items=len(runs.held_out_set.labels),
            settings=settings,
            request=repeating_request(runs.recipe, settings["data"], settings["teachers"]),
        )

    def _report(self, gate: GateDecision) -> None:
        scores = {f"{weight:g}": round(score, 5) for weight, score in gate.scores.items()}
        self._on_event("weight", {"weight": gate.weight, "scores": scores, "reason": gate.reason})

    def _stage(self, name: str) -> None:
        now = time.perf_counter()
        self._stages[name] = round(now - self._last, 6)
        self._last = now
