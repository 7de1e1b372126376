"""Trains one student, the same way every time.

Equal seeds give equal weights, bit for bit on a CPU with one number of threads: every random choice of a step
comes from a generator seeded by (seed, step), and nothing else draws from it.

Each step has as many labelled as transfer items, so that many unlabelled items do not outweigh few labels.
Without a teacher the student takes the same number of steps with the same labelled items in the same order.
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from preceptor.contract.distillations import EpochMetrics

from ..blueprint import Blueprint
from ..evaluation.measures import Agreement, HeldOutSet
from ..losses.term import Term
from ..schedule import Plan
from ..training.devices import Machine
from ..training.early_stopping import EarlyStop
from ..training.step import Material, Stepper, arranged
from .checkpoints import Ledger

_BUILDING = threading.Lock()
"""A new model draws from torch's global generator, which parallel runs share."""
_MEASURING: Final = 0.25
"""Largest share of the training time for measurements; the first and the last epoch are always measured."""


class TrainingStopped(Exception):
    """`should_stop` returned True."""


@dataclass
class Trained:
    """A trained student."""

    model: nn.Module
    history: list[EpochMetrics] = field(default_factory=list[EpochMetrics])
    seconds: float = 0.0


class Watch(Protocol):
    """Receives every step and epoch."""

    def step(self) -> None:
        """A step is done. May raise `TrainingStopped`."""
        ...

    def epoch(self, metrics: EpochMetrics) -> None:
        """An epoch is done."""
        ...

    def skip(self, steps: int) -> None:
        """These steps will not be taken."""
        ...


class States(Protocol):
    """Storage for a run's state; see `Ledger`."""

    def running(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The state of an interrupted run, or None."""
        ...

    def offer(
        self, name: str, state: Callable[[], tuple[dict[str, Tensor], dict[str, Any]]], *, now: bool = False
    ) -> None:
        """Write the state if it is due, or `now`."""
        ...


class Trainer(Protocol):
    """`train`, in this process or in others."""

    def __call__(
        self,
        blueprint: Blueprint,
        material: Material,
        term: Term | None,
        weight: float,
        plan: Plan,
        *,
        watch: Watch,
        measures: "Measures | None" = None,
        ledger: Ledger | None = None,
        name: str = "",
    ) -> Trained: ...


@dataclass(frozen=True)
class Measures:
    """What is measured after each epoch.

    Attributes
    ----------
    test
        For the record only: it selects nothing.
    watched
        The items of an early stop; not trained on.
    agreement
        With the teachers, for the record.
    """

    test: HeldOutSet | None = None
    watched: HeldOutSet | None = None
    agreement: Agreement | None = None

    def spacing(self, trained: int) -> int:
        """Epochs between two measurements of test and agreement, for an epoch of `trained` items.

        Training on an item costs as much as three predictions.
        """
        asked = sum(len(one.rows) for one in (self.test, self.agreement) if one is not None)
        return max(1, math.ceil(asked / (3 * _MEASURING * trained)))


def train(
    blueprint: Blueprint,
    material: Material,
    term: Term | None,
    weight: float,
    plan: Plan,
    *,
    watch: Watch,
    measures: Measures | None = None,
    ledger: States | None = None,
    name: str = "",
    machine: Machine | None = None,
) -> Trained:
    """Train a new student on CE + weight * term.

    Parameters
    ----------
    blueprint
        The student's architecture.
    term
        The teachers' part; None, or a weight of 0, trains only on cross-entropy.
    measures
        Measurements after each epoch.
    ledger, name
        Storage for the run's state, under its name; an interrupted run resumes from it.
    machine
        Where it runs; one process in single precision by default.

    Raises
    ------
    TrainingStopped
        From `watch`; the state is written first.
    ComputationFailed
        The student's outputs became NaN or infinite; the message says what to do.
    """
    started = time.perf_counter()
    with _BUILDING, torch.random.fork_rng():
        torch.manual_seed(plan.seed)
        model = arranged(blueprint.build())
        taught = term if weight > 0 else None
        stepper = Stepper(model, material, taught, weight, plan, machine or Machine(), draws=blueprint.draws)
    with torch.random.fork_rng(enabled=blueprint.draws):
        run = _Run(stepper, Trained(model), plan, measures or Measures(), machine or Machine())
        before = None if ledger is None else ledger.running(name)
        first = 0 if before is None else run.restore(*before)
        try:
            for step in range(first, plan.steps):

                def state(step: int = step) -> tuple[dict[str, Tensor], dict[str, Any]]:
                    return run.state(step, run.trained.seconds + time.perf_counter() - started)

                try:
                    watch.step()
                except TrainingStopped:
                    if ledger is not None:
                        ledger.offer(name, state, now=True)
                    raise
                if ledger is not None:
                    ledger.offer(name, state)
                run.step(step)
                if run.at_epoch_end(step):
                    watch.epoch(run.epoch_end(step))
                    if run.over:
                        watch.skip(plan.steps - step - 1)
                        break
        finally:
            stepper.close()
    trained = run.finished()
    trained.seconds += time.perf_counter() - started
    return trained


class _Run:
    """A run in progress: its stepper, its history, the current epoch."""

    def __init__(self, stepper: Stepper, trained: Trained, plan: Plan, measures: Measures, machine: Machine) -> None:
        self.trained = trained
        self._stepper, self._plan, self._measures, self._machine = stepper, plan, measures, machine
        self._sums = _Sums()
        self._stop: EarlyStop | None = None
        if plan.patience is not None and measures.watched is not None:
            self._stop = EarlyStop(measures.watched, plan.patience)

    @property
    def over(self) -> bool:
        """Whether an early stop ends the run; the first process decides."""
        if self._stop is None:
            return False
        return self._machine.from_first(float(self._stop.over)) > 0

    def step(self, number: int) -> None:
        """One step."""
        self._sums.add(self._stepper.step(number))

    def at_epoch_end(self, step: int) -> bool:
        """Whether an epoch ends with this step."""
        return (step + 1) % self._plan.steps_per_epoch == 0 or step + 1 == self._plan.steps

    def epoch_end(self, step: int) -> EpochMetrics:
        """Measure, and start the next epoch."""
        self._stepper.level()
        student, asked = self._stepper.student, self._measures
        entropy, taught = self._machine.total([self._sums.entropy, self._sums.taught])
        steps, seconds = self._sums.steps, self._sums.seconds
        # One process measures: all have the same weights.
        mine = self._machine.rank == 0 and self._measured(step)
        metrics = EpochMetrics(
            epoch=len(self.trained.history) + 1,
            loss=(entropy + taught) / steps,
            cross_entropy=entropy / steps,
            transport=taught / steps,
            accuracy=float(asked.test.right(student).mean()) if mine and asked.test else None,
            agreement=asked.agreement.share(student) if mine and asked.agreement else None,
            watched=self._stop.look(student) if self._machine.rank == 0 and self._stop else None,
            learning_rate=self._plan.rate(step),
            items_per_second=round(steps * self._stepper.items_per_step / max(seconds, 1e-9), 1),
            seconds=round(seconds, 4),
        )
        self.trained.history.append(metrics)
        self._sums = _Sums()
        return metrics

    def _measured(self, step: int) -> bool:
        # With early stopping the last epoch is not known in advance.
        if self._stop is not None or step + 1 == self._plan.steps:
            return True
        trained = self._plan.steps_per_epoch * self._stepper.items_per_step
        return len(self.trained.history) % self._measures.spacing(trained) == 0

    def finished(self) -> Trained:
        """The student as delivered."""
        self._stepper.level()
        model = self._stepper.student
        if self._stop is not None:
            self._stop.put_best(model)
        model.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue] - torch's stubs lack it
        model.eval()
        self.trained.model = model
        return self.trained

    def state(self, step: int, seconds: float) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Before a step: tensors, and JSON values."""
        tensors = self._stepper.state()
        facts: dict[str, Any] = {
            "step": step,
            "epoch": self._sums.facts(),
            "history": [entry.model_dump() for entry in self.trained.history],
            "seconds": seconds,
        }
        if self._stop is not None:
            best, facts["stop"] = self._stop.state()
            tensors |= best
        return tensors, facts

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> int:
        """The inverse of `state`; returns the step."""
        self._stepper.restore(tensors)
        self._sums = _Sums(*facts["epoch"])
        self.trained.history = [EpochMetrics.model_validate(entry) for entry in facts["history"]]
        self.trained.seconds = facts["seconds"]
        if self._stop is not None:
            self._stop.restore(tensors, facts["stop"], next(self._stepper.student.parameters()).device)
        return facts["step"]


class _Sums:
    """Sums over an epoch."""

    def __init__(self, entropy: float = 0.0, taught: float = 0.0, steps: int = 0, seconds: float = 0.0) -> None:
        self.entropy, self.taught, self.steps = entropy, taught, steps
        self._before = seconds
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Time spent on the epoch."""
        return self._before + time.perf_counter() - self._started

    def facts(self) -> tuple[float, float, int, float]:
        """The values to restore them from."""
        return self.entropy, self.taught, self.steps, self.seconds

    def add(self, losses: tuple[float, float]) -> None:
        """Add the losses of one step."""
        self.entropy += losses[0]
        self.taught += losses[1]
        self.steps += 1
