"""Trains one student, the same way every time.

Equal seeds give equal weights, bit for bit on a CPU with one number of threads: every random choice of a step
comes from a generator seeded by (seed, step), and nothing else draws from it.

Each step sees as many labelled as transfer items, so that few labels are not drowned by many unlabelled items.
Without a teacher the student takes the same number of steps with the same labelled items in the same order.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from preceptor.contract.distillations import EpochMetrics

from .checkpoints import Ledger
from .data import Encoded
from .losses.term import LossTerm
from .request import Float32, Int64
from .students.blueprint import Blueprint

_PREDICT: Final = 256
_LARGEST_NORM: Final = 5.0


class TrainingStopped(Exception):
    """`should_stop` said so."""


@dataclass(frozen=True)
class Plan:
    """The course of a training run.

    Attributes
    ----------
    steps, steps_per_epoch
        All steps; those of one epoch, a pass over the larger of labelled and transfer items.
    batch_size
        Labelled items a step, and as many transfer items.
    learning_rate
        Peak; it rises over the first tenth and falls as a cosine (one-cycle).
    weight_decay
        Of AdamW.
    seed
        Of everything.
    smoothing
        Share of each label that is spread evenly over all classes.
    """

    steps: int
    steps_per_epoch: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int
    smoothing: float = 0.0


@dataclass(frozen=True)
class Material:
    """What one run is trained on.

    Attributes
    ----------
    labelled, labels
        All labelled items and their classes, shape (N1,).
    rows
        Those that are trained on, shape (n,).
    transfer
        Items without labels; None where there are none.
    """

    labelled: Encoded
    labels: Int64
    rows: Int64
    transfer: Encoded | None


@dataclass
class Trained:
    """A trained student."""

    model: nn.Module
    history: list[EpochMetrics] = field(default_factory=list[EpochMetrics])
    seconds: float = 0.0


class Watch(Protocol):
    """Told of every step and epoch."""

    def step(self) -> None:
        """A step is done. May raise `TrainingStopped`."""
        ...

    def epoch(self, metrics: EpochMetrics) -> None:
        """An epoch is done."""
        ...


def plan_for(
    labelled: int,
    transfer: int,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
) -> Plan:
    """The course for so many items."""
    per_epoch = -(-max(labelled, transfer) // batch_size)
    return Plan(per_epoch * epochs, per_epoch, batch_size, learning_rate, weight_decay, seed)


def train(
    blueprint: Blueprint,
    material: Material,
    term: LossTerm | None,
    weight: float,
    plan: Plan,
    *,
    watch: Watch,
    measure: Callable[[nn.Module], float] | None = None,
    ledger: Ledger | None = None,
    name: str = "",
) -> Trained:
    """Train a new student on CE + weight * term.

    Parameters
    ----------
    blueprint
        What is built.
    term
        The teachers' part; None, or a weight of 0, trains on cross-entropy alone.
    measure
        Accuracy of the model as it is, asked after each epoch; for the record, nothing is chosen by it.
    ledger, name
        Where the run's state is kept under its name, and gone on from.

    Raises
    ------
    TrainingStopped
        From `watch`; the state was written before.
    """
    started = time.perf_counter()
    with torch.random.fork_rng():
        torch.manual_seed(plan.seed)
        model = blueprint.build()
        course = _Course(model, material, term if weight > 0 else None, weight, plan)
        trained, epoch, first = Trained(model), _Sums(), 0
        before = None if ledger is None else ledger.running(name)
        if before is not None:
            tensors, facts = before
            course.restore(tensors)
            first, epoch = facts["step"], _Sums(*facts["epoch"])
            trained.history = [EpochMetrics.model_validate(entry) for entry in facts["history"]]
            trained.seconds = facts["seconds"]

        for step in range(first, plan.steps):

            def state(step: int = step, epoch: _Sums = epoch) -> tuple[dict[str, Tensor], dict[str, Any]]:
                return course.state(), {
                    "step": step,
                    "epoch": epoch.facts(),
                    "history": [entry.model_dump() for entry in trained.history],
                    "seconds": trained.seconds + time.perf_counter() - started,
                }

            try:
                watch.step()
            except TrainingStopped:
                if ledger is not None:
                    ledger.offer(name, state, now=True)
                raise
            if ledger is not None:
                ledger.offer(name, state)
            epoch.add(course.step(step))
            if (step + 1) % plan.steps_per_epoch == 0 or step + 1 == plan.steps:
                accuracy = None if measure is None else measure(model)
                metrics = epoch.metrics(len(trained.history) + 1, accuracy)
                trained.history.append(metrics)
                watch.epoch(metrics)
                epoch = _Sums()
    model.eval()
    trained.seconds += time.perf_counter() - started
    return trained


class _Course:
    """One run's optimiser and the making of its batches."""

    def __init__(self, model: nn.Module, material: Material, term: LossTerm | None, weight: float, plan: Plan) -> None:
        self._model, self._material, self._term, self._weight, self._plan = model, material, term, weight, plan
        self._device = next(model.parameters()).device
        self._labels = torch.from_numpy(material.labels)
        self._rows = torch.from_numpy(np.asarray(material.rows, dtype=np.int64))
        matrices = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
        vectors = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
        self._optimiser = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": plan.weight_decay},
                # Biases and the gains of norms have no scale that could decay.
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=plan.learning_rate,
            # One pass over the weights instead of a dozen.
            fused=True if self._device.type == "cpu" else None,
        )
        self._parameters = [*matrices, *vectors]

    def state(self) -> dict[str, Tensor]:
        """Weights and optimiser."""
        found = {f"model.{key}": tensor for key, tensor in self._model.state_dict().items()}
        for number, parameter in enumerate(self._parameters):
            for key, tensor in self._optimiser.state.get(parameter, {}).items():
                found[f"optimiser.{number}.{key}"] = tensor
        return found

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        weights = {key.removeprefix("model."): t for key, t in tensors.items() if key.startswith("model.")}
        self._model.load_state_dict(weights)
        for number, parameter in enumerate(self._parameters):
            prefix = f"optimiser.{number}."
            kept = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
            if kept:
                self._optimiser.state[parameter] = {
                    # AdamW counts steps on the CPU, wherever the weights are.
                    key: tensor.clone() if key == "step" else tensor.to(self._device, copy=True)
                    for key, tensor in kept.items()
                }

    def step(self, number: int) -> tuple[float, float]:
        """One step; returns cross-entropy and the teachers' term."""
        plan, material = self._plan, self._material
        for group in self._optimiser.param_groups:
            group["lr"] = plan.learning_rate * one_cycle(number, plan.steps)
        generator = torch.Generator().manual_seed(_mixed(plan.seed, number))
        # Dropout inside a model draws from the global generator.
        _seed_global(_mixed(plan.seed, number), self._device)
        self._model.train()
        labelled = self._rows[_chosen(len(self._rows), number, plan, stream=1)]
        inputs = material.labelled.gather(labelled, generator)
        logits = self._model(**inputs)
        loss = entropy = functional.cross_entropy(
            logits, self._labels[labelled].to(self._device), label_smoothing=plan.smoothing
        )
        taught = 0.0
        if self._term is not None:
            rows = labelled
            if material.transfer is not None:
                transfer = _chosen(len(material.transfer), number, plan, stream=2)
                logits = torch.cat([logits, self._model(**material.transfer.gather(transfer, generator))])
                rows = torch.cat([rows, transfer + len(material.labelled)])
            said = self._term(logits, rows)
            loss = entropy + self._weight * said
            taught = float(said.detach())
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, _LARGEST_NORM)
        self._optimiser.step()
        return float(entropy.detach()), self._weight * taught


class _Sums:
    """Means over an epoch."""

    def __init__(self, entropy: float = 0.0, taught: float = 0.0, steps: int = 0) -> None:
        self._entropy, self._taught, self._steps = entropy, taught, steps
        self._started = time.perf_counter()

    def facts(self) -> tuple[float, float, int]:
        """What makes them anew."""
        return self._entropy, self._taught, self._steps

    def add(self, losses: tuple[float, float]) -> None:
        self._entropy += losses[0]
        self._taught += losses[1]
        self._steps += 1

    def metrics(self, epoch: int, accuracy: float | None) -> EpochMetrics:
        entropy, taught = self._entropy / self._steps, self._taught / self._steps
        return EpochMetrics(
            epoch=epoch,
            loss=entropy + taught,
            cross_entropy=entropy,
            transport=taught,
            accuracy=accuracy,
            seconds=round(time.perf_counter() - self._started, 4),
        )


def one_cycle(step: int, steps: int) -> float:
    """Share of the peak learning rate: up over the first tenth, then down as a cosine to 0."""
    rise = max(1, steps // 10)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + float(np.cos(np.pi * (step - rise) / max(1, steps - rise))))


def _seed_global(seed: int, device: torch.device) -> None:
    """Seed the global generators that a step can draw from; `torch.manual_seed` asks every kind of device each time."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type != "cpu":
        torch.manual_seed(seed)


def _mixed(seed: int, number: int) -> int:
    """One seed of two numbers, far apart for neighbours."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0] >> 1)


def _chosen(items: int, step: int, plan: Plan, *, stream: int) -> Tensor:
    """The items of a step: each pass over them is a new shuffle, and passes follow each other without a gap."""
    size = min(plan.batch_size, items)
    first = step * size
    rounds = {place // items for place in (first, first + size - 1)}
    order: list[Tensor] = []
    for round_ in sorted(rounds):
        generator = torch.Generator().manual_seed(_mixed(plan.seed, (round_ << 4) + stream))
        order.append(torch.randperm(items, generator=generator))
    places = torch.arange(first, first + size) - min(rounds) * items
    return torch.cat(order)[places]


def predict(model: nn.Module, items: Encoded, rows: NDArray[np.int64] | None = None) -> Float32:
    """Logits of items, shape (N, S), float32, without augmentation."""
    chosen = torch.arange(len(items)) if rows is None else torch.from_numpy(np.asarray(rows, dtype=np.int64))
    was_training = model.training
    model.eval()
    with torch.no_grad():
        parts = [model(**items.gather(part)).float().cpu() for part in chosen.split(_PREDICT)]
    model.train(was_training)
    return torch.cat(parts).numpy()
