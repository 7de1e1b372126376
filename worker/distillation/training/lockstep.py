"""Trains many light students at once, step by step together, in the time of a few.

A light student's step is half a millisecond of arithmetic and several of calls: stacked models share the calls. The
students of a grid differ in two ways. Rows differ in their items (another fold of the labelled items is held out, or
another seed shuffles them); columns differ in the weight of the teachers' term. The items of a row are read once for
all of its columns, and transport from the same teachers is solved for several students at once.

Each student takes the same steps as in `trainer.train`, with the same random choices; the results differ only in
rounding.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from preceptor.contract.distillations import EpochMetrics
from worker.errors import ComputationFailed

from ..blueprint import Blueprint
from ..data import Augmentation, Inputs
from ..inputs import Int64
from ..losses.term import EmbeddingTerm, ItemwiseTerm, LossTerm, Term
from ..schedule import Plan
from ..training.devices import LARGEST_NORM
from ..training.step import LABELLED, TRANSFER, Material, chosen, importance, mixed, running_mean
from ..training.trainer import Measures, States, Trained, TrainingStopped, Watch

_MOST_NUMBERS: Final = 1 << 25
"""Most weights of a whole grid: with gradients and two moments, half a gigabyte."""

OnEpoch = Callable[[int, int, EpochMetrics], None]
"""`(row, column, metrics)`"""


@dataclass(frozen=True)
class Row:
    """The items and the seed of the students of one row.

    Attributes
    ----------
    rows
        Labelled items of the training, shape (n,).
    term
        The teachers' part; None if no column has a weight above 0.
    seed
        Of initial weights, batches and augmentation.
    """

    rows: Int64
    term: Term | None
    seed: int


def fits(blueprint: Blueprint, plan: Plan, terms: Sequence[Term | None], students: int) -> bool:
    """Whether `students` can be trained together: they are light, no term reads an embedding, and none stops early."""
    if not blueprint.light or plan.patience is not None or plan.parts != 1:
        return False
    if any(isinstance(term, EmbeddingTerm) for term in terms):
        return False
    with torch.random.fork_rng():
        model = blueprint.build()
    return students * sum(p.numel() for p in model.parameters() if p.requires_grad) <= _MOST_NUMBERS


def train_together(
    blueprint: Blueprint,
    material: Material,
    rows: Sequence[Row],
    weights: Sequence[float],
    plan: Plan,
    *,
    watch: Watch,
    measures: dict[tuple[int, int], Measures] | None = None,
    on_epoch: OnEpoch | None = None,
    ledger: States | None = None,
    name: str = "",
) -> list[list[Trained]]:
    """Train a student for each row and weight on CE + weight * term.

    Parameters
    ----------
    blueprint
        The student's architecture; a light one.
    material
        Its `rows` are ignored: each row of the grid has its own.
    plan
        Plan of all students; its seed is ignored.
    watch
        Receives one step for each student.
    measures
        Measurements after each epoch of some students, by row and column.
    on_epoch
        Called for each epoch of those students.
    ledger, name
        As in `trainer.train`; the state is that of all students.

    Returns
    -------
    list of list of Trained
        By row and column; with a history for students with measures.

    Raises
    ------
    TrainingStopped, ComputationFailed
        As in `trainer.train`.
    """
    started = time.perf_counter()
    with torch.random.fork_rng():
        grid = _Grid(blueprint, material, rows, weights, plan, measures or {})
        before = None if ledger is None else ledger.running(name)
        first = 0 if before is None else grid.restore(*before)
        for step in range(first, plan.steps):

            def state(step: int = step) -> tuple[dict[str, Tensor], dict[str, Any]]:
                return grid.state(step)

            try:
                for _ in range(grid.students):
                    watch.step()
            except TrainingStopped:
                if ledger is not None:
                    ledger.offer(name, state, now=True)
                raise
            if ledger is not None:
                ledger.offer(name, state)
            grid.step(step)
            if (step + 1) % plan.steps_per_epoch == 0 or step + 1 == plan.steps:
                for row, column, metrics in grid.epoch_end(step):
                    if on_epoch is not None:
                        on_epoch(row, column, metrics)
    seconds = (time.perf_counter() - started) / grid.students
    return [
        [
            Trained(grid.student(row, column), grid.histories.get((row, column), []), seconds)
            for column in range(len(weights))
        ]
        for row in range(len(rows))
    ]


class _Grid:
    """All students' weights, stacked as (rows, columns, ...), their optimiser and steps."""

    def __init__(
        self,
        blueprint: Blueprint,
        material: Material,
        rows: Sequence[Row],
        weights: Sequence[float],
        plan: Plan,
        measures: dict[tuple[int, int], Measures],
    ) -> None:
        self._blueprint, self._material, self._rows, self._plan, self._measures = (
            blueprint,
            material,
            rows,
            plan,
            measures,
        )
        self._weights = list(weights)
        self._taught = [column for column, weight in enumerate(weights) if weight > 0]
        self.students = len(rows) * len(self._weights)
        models: list[nn.Module] = []
        for row in rows:
            torch.manual_seed(row.seed)
            models.append(blueprint.build())
        self._model = models[0].train()
        self._device = next(self._model.parameters()).device
        self._buffers = dict(self._model.named_buffers())
        self._parameters: dict[str, Tensor] = {}
        for key in dict(self._model.named_parameters()):
            stacked = torch.stack([dict(model.named_parameters())[key].detach() for model in models])
            every = stacked.unsqueeze(1).repeat(1, len(self._weights), *[1] * (stacked.ndim - 1))
            self._parameters[key] = every.requires_grad_()
        self._mean: dict[str, Tensor] | None = None
        self._averaged = 0
        # Two dimensions more than in the model; there too, biases and the gains of norms do not decay.
        matrices = [p for p in self._parameters.values() if p.ndim > 3]
        vectors = [p for p in self._parameters.values() if p.ndim <= 3]
        self._ordered = [*matrices, *vectors]
        self._optimiser = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": plan.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=plan.learning_rate,
            fused=True if self._device.type == "cpu" else None,
        )
        self._labels = torch.from_numpy(material.labels)
        self._places = [torch.from_numpy(np.asarray(row.rows, dtype=np.int64)) for row in rows]
        self._importance = (
            [importance(replace(material, rows=row.rows)).to(self._device) for row in rows] if plan.balanced else None
        )
        self.histories: dict[tuple[int, int], list[EpochMetrics]] = {place: [] for place in measures}
        self._new_epoch()

    def student(self, row: int, column: int) -> nn.Module:
        """One student as delivered: the running mean of its weights if there is one."""
        with torch.random.fork_rng():
            model = self._blueprint.build()
        held = self._parameters if self._mean is None else self._mean
        own = dict(model.named_parameters())
        with torch.no_grad():
            for key, stacked in held.items():
                own[key].copy_(stacked[row, column])
        return model.eval()

    def step(self, number: int) -> None:
        """One step of every student."""
        for group in self._optimiser.param_groups:
            group["lr"] = self._plan.rate(number)
        self._optimiser.zero_grad(set_to_none=True)
        labelled = [
            place[chosen(len(place), number, self._plan.batch_size, row.seed, stream=LABELLED)]
            for place, row in zip(self._places, self._rows, strict=True)
        ]
        transfer = [self._transfer(row, number) for row in self._rows]
        own, others = self._gathered(labelled, transfer, number)
        outputs = self._answers(own, range(len(self._weights)))
        on_transfer = None if others is None else self._answers(others, self._taught)
        self._check(outputs, on_transfer)
        answers = [outputs[place, :, : len(rows)] for place, rows in enumerate(labelled)]
        entropy = torch.stack([self._entropy(place, answers[place], rows) for place, rows in enumerate(labelled)])
        loss = entropy.sum()
        if self._taught:
            terms = self._taught_terms(answers, on_transfer, labelled, transfer)
            factors = torch.tensor([self._weights[column] for column in self._taught], device=self._device)
            weighted = factors * terms
            loss = loss + weighted.sum()
            self._weighted[:, self._taught] += weighted.detach().cpu().double()
        self._surprise += entropy.detach().cpu().double()
        self._steps += 1
        loss.backward()
        self._clip()
        self._optimiser.step()
        if self._plan.ema is not None:
            self._average(running_mean(self._plan.ema))

    def epoch_end(self, step: int) -> list[tuple[int, int, EpochMetrics]]:
        """Measure some students, and start the next epoch."""
        seconds = self._before + time.perf_counter() - self._began
        found: list[tuple[int, int, EpochMetrics]] = []
        for (row, column), asked in self._measures.items():
            entropy, taught = (float(sums[row, column]) / self._steps for sums in (self._surprise, self._weighted))
            items = min(self._plan.batch_size, len(self._places[row]))
            if column in self._taught:
                items += len(self._transfer(self._rows[row], step))
            history = self.histories[row, column]
            student = None
            if step + 1 == self._plan.steps or len(history) % asked.spacing(self._plan.steps_per_epoch * items) == 0:
                student = self.student(row, column)
            history.append(
                EpochMetrics(
                    epoch=len(history) + 1,
                    loss=entropy + taught,
                    cross_entropy=entropy,
                    transport=taught,
                    accuracy=float(asked.test.right(student).mean()) if student and asked.test else None,
                    agreement=asked.agreement.share(student) if student and asked.agreement else None,
                    watched=None,
                    learning_rate=self._plan.rate(step),
                    items_per_second=round(self._steps * items / max(seconds, 1e-9), 1),
                    seconds=round(seconds, 4),
                )
            )
            found.append((row, column, history[-1]))
        self._new_epoch()
        return found

    def state(self, step: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Before a step: tensors, and JSON values."""
        tensors = {f"model.{key}": stacked for key, stacked in self._parameters.items()}
        if self._mean is not None:
            tensors |= {f"mean.{key}": stacked for key, stacked in self._mean.items()}
        for number, parameter in enumerate(self._ordered):
            for key, tensor in self._optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{number}.{key}"] = tensor
        tensors |= {"sums.surprise": self._surprise, "sums.said": self._weighted}
        facts: dict[str, Any] = {
            "step": step,
            "averaged": self._averaged,
            "epoch": [self._steps, self._before + time.perf_counter() - self._began],
            "histories": [[entry.model_dump() for entry in history] for history in self.histories.values()],
        }
        return tensors, facts

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> int:
        """The inverse of `state`; returns the step."""
        with torch.no_grad():
            for key, stacked in self._parameters.items():
                stacked.copy_(tensors[f"model.{key}"])
        self._averaged = facts["averaged"]
        if self._averaged:
            self._mean = {key: tensors[f"mean.{key}"].to(self._device, copy=True) for key in self._parameters}
        for number, parameter in enumerate(self._ordered):
            prefix = f"optimiser.{number}."
            kept = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
            if kept:
                self._optimiser.state[parameter] = {
                    key: tensor.clone() if key == "step" else tensor.to(self._device, copy=True)
                    for key, tensor in kept.items()
                }
        self._surprise, self._weighted = tensors["sums.surprise"].clone(), tensors["sums.said"].clone()
        self._steps, self._before = facts["epoch"]
        self._began = time.perf_counter()
        for place, history in zip(self.histories, facts["histories"], strict=True):
            self.histories[place] = [EpochMetrics.model_validate(entry) for entry in history]
        return facts["step"]

    def _new_epoch(self) -> None:
        shape = len(self._rows), len(self._weights)
        # Sums of the cross-entropy, and of the weighted term.
        self._surprise, self._weighted = (
            torch.zeros(shape, dtype=torch.float64),
            torch.zeros(shape, dtype=torch.float64),
        )
        self._steps, self._before, self._began = 0, 0.0, time.perf_counter()

    def _transfer(self, row: Row, number: int) -> Tensor:
        items = self._material.transfer
        if items is None or not self._taught:
            return torch.empty(0, dtype=torch.int64)
        return chosen(len(items), number, self._plan.batch_size, row.seed, stream=TRANSFER)

    def _gathered(self, labelled: list[Tensor], transfer: list[Tensor], number: int) -> tuple[Inputs, Inputs | None]:
        """Inputs of all rows, padded to the longest, shape (rows, items, ...)."""
        own: list[Inputs] = []
        others: list[Inputs] = []
        material = self._material
        for place, row in enumerate(self._rows):
            augmentation = None
            if material.augmentation != "none":
                generator = torch.Generator().manual_seed(mixed(row.seed, number))
                augmentation = Augmentation(generator, material.augmentation == "mirror")
            own.append(material.labelled.gather(labelled[place], augmentation))
            if material.transfer is not None and len(transfer[place]):
                others.append(material.transfer.gather(transfer[place], augmentation))
        return _stacked(own), _stacked(others) if others else None

    def _answers(self, inputs: Inputs, columns: Sequence[int]) -> Tensor:
        """Logits, shape (rows, columns, items, S)."""

        def one(parameters: dict[str, Tensor], given: Inputs) -> Tensor:
            return functional_call(self._model, (parameters, self._buffers), args=(), kwargs=given)

        every = len(columns) == len(self._weights)
        chosen_ = {key: p if every else p[:, list(columns)] for key, p in self._parameters.items()}
        return torch.vmap(torch.vmap(one, in_dims=(0, None)), in_dims=(0, 0))(chosen_, inputs).float()

    def _entropy(self, place: int, logits: Tensor, rows: Tensor) -> Tensor:
        """Cross-entropy of each column's student, shape (columns,)."""
        labels = self._labels[rows].to(self._device)
        columns, items, classes = logits.shape
        each = functional.cross_entropy(
            logits.reshape(-1, classes),
            labels.repeat(columns),
            label_smoothing=self._plan.smoothing,
            reduction="none",
        ).view(columns, items)
        if self._importance is not None:
            each = each * self._importance[place][labels]
        return each.mean(dim=1)

    def _taught_terms(
        self, answers: list[Tensor], on_transfer: Tensor | None, labelled: list[Tensor], transfer: list[Tensor]
    ) -> Tensor:
        """The teachers' term of each student, shape (rows, taught columns)."""
        first = len(self._material.labelled)
        logits: list[Tensor] = []
        numbers: list[Tensor] = []
        for place, rows in enumerate(labelled):
            mine = answers[place][self._taught]
            logits.append(mine if on_transfer is None else torch.cat([mine, on_transfer[place]], dim=1))
            numbers.append(torch.cat([rows, transfer[place] + first]))
        found: list[Tensor | None] = [None] * len(self._rows)
        for places in self._of_one_term():
            term = self._rows[places[0]].term
            assert term is not None
            assert not isinstance(term, EmbeddingTerm)
            apart = _apart(term, [logits[place] for place in places], [numbers[place] for place in places])
            for place, values in zip(places, apart, strict=True):
                found[place] = values
        return torch.stack([values for values in found if values is not None])

    def _check(self, *logits: Tensor | None) -> None:
        if not all(math.isfinite(float(one.detach().sum())) for one in logits if one is not None):
            raise ComputationFailed(
                f"the student's outputs became NaN or infinite; try a learning_rate below "
                f"{self._plan.learning_rate:g}, or precision fp32"
            )

    def _of_one_term(self) -> list[list[int]]:
        """Rows with the same term."""
        groups: dict[int, list[int]] = {}
        for place, row in enumerate(self._rows):
            groups.setdefault(id(row.term), []).append(place)
        return list(groups.values())

    def _clip(self) -> None:
        """Clip each student's gradients by their own length."""
        gradients = [p.grad for p in self._ordered if p.grad is not None]
        squares = torch.stack([gradient.square().flatten(2).sum(dim=2) for gradient in gradients])
        factor = (LARGEST_NORM / (squares.sum(dim=0).sqrt() + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factor.view(*factor.shape, *[1] * (gradient.ndim - 2)))

    def _average(self, mean: Callable[[Tensor, Tensor, Tensor | int], Tensor]) -> None:
        with torch.no_grad():
            if self._mean is None:
                self._mean = {key: p.detach().clone() for key, p in self._parameters.items()}
            else:
                self._mean = {
                    key: mean(self._mean[key], p.detach(), self._averaged) for key, p in self._parameters.items()
                }
        self._averaged += 1


def _stacked(parts: list[Inputs]) -> Inputs:
    """Stacked inputs; shorter ones are padded with zeros, which a mask excludes."""
    found: Inputs = {}
    for key in parts[0]:
        tensors = [part[key] for part in parts]
        shape = [max(sizes) for sizes in zip(*(tensor.shape for tensor in tensors), strict=True)]
        whole = tensors[0].new_zeros(len(tensors), *shape)
        for place, tensor in enumerate(tensors):
            whole[(place, *(slice(0, size) for size in tensor.shape))] = tensor
        found[key] = whole
    return found


def _apart(term: LossTerm, logits: list[Tensor], rows: list[Tensor]) -> list[Tensor]:
    """The mean loss of each student: for each of several rows, logits (columns, items, S) -> (columns,)."""
    if not isinstance(term, ItemwiseTerm):
        return [
            torch.stack([term(one, numbers) for one in several]) for several, numbers in zip(logits, rows, strict=True)
        ]
    classes = logits[0].shape[-1]
    each = term.each(
        torch.cat([several.reshape(-1, classes) for several in logits]),
        torch.cat([numbers.repeat(len(several)) for several, numbers in zip(logits, rows, strict=True)]),
    )
    sizes = [several.shape[0] * several.shape[1] for several in logits]
    return [part.view(several.shape[:2]).mean(dim=1) for part, several in zip(each.split(sizes), logits, strict=True)]
