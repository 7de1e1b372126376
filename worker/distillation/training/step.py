"""One run's model, optimiser and steps: the content of a checkpoint, and the computation of a step."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from worker.errors import ComputationFailed

from ..data import Augmentation, Encoded
from ..inputs import Int64
from ..losses.term import EmbeddingTerm, Term
from ..schedule import Plan
from .devices import Machine


class EmbeddingProbe:
    """Keeps the input of the last linear layer in the latest forward pass of the model.

    Attributes
    ----------
    width
        Length of the embedding.

    Raises
    ------
    ComputationFailed
        The model has no linear layer.
    """

    def __init__(self, model: nn.Module) -> None:
        layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
        if not layers:
            raise ComputationFailed(
                "this student has no linear last layer whose input could be matched; use another loss"
            )
        self.width = layers[-1].in_features
        self._seen: Tensor | None = None
        self._hook = layers[-1].register_forward_pre_hook(self._keep)

    @property
    def last(self) -> Tensor:
        """Shape (B, width)."""
        if self._seen is None or self._seen.ndim != 2:
            raise ComputationFailed(
                "this student's last linear layer does not take one vector an item; use another loss"
            )
        return self._seen

    def close(self) -> None:
        """Remove the hook from the model."""
        self._hook.remove()
        self._seen = None

    def _keep(self, module: nn.Module, given: tuple[Any, ...]) -> None:
        self._seen = given[0]


LABELLED: Final = 1
TRANSFER: Final = 2
"""Streams: each has its own shuffles."""


def mixed(seed: int, number: int) -> int:
    """One seed from two numbers; similar numbers give unrelated seeds."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0] >> 1)


def chosen(items: int, step: int, batch_size: int, seed: int, *, stream: int) -> Tensor:
    """The items of a step: each pass over them is a new shuffle, and passes follow each other without a gap."""
    size = min(batch_size, items)
    first = step * size
    rounds = {place // items for place in (first, first + size - 1)}
    order: list[Tensor] = []
    for round_ in sorted(rounds):
        generator = torch.Generator().manual_seed(mixed(seed, (round_ << 4) + stream))
        order.append(torch.randperm(items, generator=generator))
    places = torch.arange(first, first + size) - min(rounds) * items
    return torch.cat(order)[places]


def parts_of(rows: Tensor, parts: int) -> list[Tensor]:
    """Rows in at most `parts` parts of two items or more, if there are two: batch norms fail on a single item."""
    parts = max(1, min(parts, len(rows) // 2))
    return [rows[part::parts] for part in range(parts)]


_WARMING: Final = 10.0
"""The running mean of the weights starts short: after t steps it averages over (1 + t) / 10 of them."""


@dataclass(frozen=True)
class Material:
    """The training items of one run.

    Attributes
    ----------
    labelled, labels
        All labelled items and their classes, shape (N1,).
    rows
        The labelled items of the training, shape (n,).
    transfer
        Items without labels, or None.
    augmentation
        See `Training`.
    """

    labelled: Encoded
    labels: Int64
    rows: Int64
    transfer: Encoded | None
    augmentation: str = "auto"


class Stepper:
    """One run's model and optimiser; draws the batches and takes the steps.

    Parameters
    ----------
    model
        The student, new.
    term
        The teachers' part, or None.
    draws
        See `Blueprint`.
    """

    def __init__(
        self,
        model: nn.Module,
        material: Material,
        term: Term | None,
        weight: float,
        plan: Plan,
        machine: Machine,
        *,
        draws: bool = True,
    ) -> None:
        self._model, self._material, self._term, self._weight = model, material, term, weight
        self._plan, self._machine, self._draws = plan, machine, draws
        self._device = next(model.parameters()).device
        self._labels = torch.from_numpy(material.labels)
        self._rows = torch.from_numpy(np.asarray(material.rows, dtype=np.int64))
        self._importance = importance(material).to(self._device) if plan.balanced else None
        # Copied before hooks are added to the model.
        self._mean = AveragedModel(model, avg_fn=running_mean(plan.ema)) if plan.ema is not None else None
        self._embedding: EmbeddingProbe | None = None
        self._projector: nn.Module | None = None
        if isinstance(term, EmbeddingTerm):
            self._embedding = EmbeddingProbe(model)
            self._projector = term.projector(self._embedding.width).to(self._device)
        trained = [*model.parameters(), *([] if self._projector is None else self._projector.parameters())]
        matrices = [p for p in trained if p.requires_grad and p.ndim > 1]
        vectors = [p for p in trained if p.requires_grad and p.ndim <= 1]
        self._plain = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": plan.weight_decay},
                # Biases and the gains of norms are not regularised.
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=plan.learning_rate,
            # One pass over the weights instead of a dozen.
            fused=True if self._device.type == "cpu" else None,
        )
        self._optimiser = machine.ready(self._plain)
        self._parameters = [*matrices, *vectors]

    @property
    def student(self) -> nn.Module:
        """The model that would be delivered now: the running mean if there is one."""
        return self._model if self._mean is None else self._mean.module

    @property
    def items_per_step(self) -> int:
        """Items that go through the model in a step."""
        transfer = self._material.transfer if self._term is not None else None
        size = self._plan.batch_size
        return min(size, len(self._rows)) + (0 if transfer is None else min(size, len(transfer)))

    def close(self) -> None:
        """Remove the hooks that training added to the model."""
        if self._embedding is not None:
            self._embedding.close()

    def level(self) -> None:
        """Make the buffers of the model equal in all processes."""
        self._machine.level(self._model)
        if self._mean is not None:
            self._machine.level(self._mean)

    def state(self) -> dict[str, Tensor]:
        """All tensors that training changes."""
        found = {f"model.{key}": tensor for key, tensor in self._model.state_dict().items()}
        if self._mean is not None:
            found |= {f"mean.{key}": tensor for key, tensor in self._mean.state_dict().items()}
        if self._projector is not None:
            found |= {f"projector.{key}": tensor for key, tensor in self._projector.state_dict().items()}
        for number, parameter in enumerate(self._parameters):
            for key, tensor in self._plain.state.get(parameter, {}).items():
                found[f"optimiser.{number}.{key}"] = tensor
        return found

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        self._model.load_state_dict(_under("model.", tensors))
        if self._mean is not None:
            self._mean.load_state_dict(_under("mean.", tensors))
        if self._projector is not None:
            self._projector.load_state_dict(_under("projector.", tensors))
        for number, parameter in enumerate(self._parameters):
            kept = _under(f"optimiser.{number}.", tensors)
            if kept:
                self._plain.state[parameter] = {
                    # AdamW counts steps on the CPU, independent of the weights' device.
                    # Moments need the memory layout of their weights: the fused optimiser iterates over both at once.
                    key: tensor.clone() if key == "step" else torch.empty_like(parameter).copy_(tensor)
                    for key, tensor in kept.items()
                }

    def step(self, number: int) -> tuple[float, float]:
        """One step; returns cross-entropy and the teachers' term, of this process's share of the batch."""
        plan, material, machine = self._plan, self._material, self._machine
        for group in self._plain.param_groups:
            group["lr"] = plan.rate(number)
        seed = mixed(plan.seed, number) if machine.rank == 0 else mixed(mixed(plan.seed, number), machine.rank)
        augmentation = None
        if material.augmentation != "none":
            augmentation = Augmentation(torch.Generator().manual_seed(seed), material.augmentation == "mirror")
        if self._draws:
            # Dropout inside a model draws from the global generator.
            _seed_global(seed, self._device)
        self._model.train()
        labelled = self._rows[chosen(len(self._rows), number, plan.batch_size, plan.seed, stream=LABELLED)]
        transfer = labelled[:0]
        if self._term is not None and material.transfer is not None:
            transfer = chosen(len(material.transfer), number, plan.batch_size, plan.seed, stream=TRANSFER)
        sizes = (len(labelled), len(labelled) + len(transfer))
        self._optimiser.zero_grad(set_to_none=True)
        entropy, taught = 0.0, 0.0
        mine = slice(machine.rank, None, machine.processes)
        nothing = labelled[:0]
        parts = zip_longest(parts_of(labelled, plan.parts), parts_of(transfer, plan.parts), fillvalue=nothing)
        for rows, others in parts:
            cross_entropy, term = self._part(rows[mine], others[mine], sizes, augmentation)
            entropy += cross_entropy
            taught += term
        machine.step(self._optimiser, self._parameters)
        if self._mean is not None:
            self._mean.update_parameters(self._model)
        return entropy, self._weight * taught

    def _part(
        self, labelled: Tensor, transfer: Tensor, sizes: tuple[int, int], augmentation: Augmentation | None
    ) -> tuple[float, float]:
        """Add the gradients of a part of a batch; returns both losses, weighted by the part's share of the batch."""
        outputs: list[Tensor] = []
        hidden: list[Tensor] = []
        material = self._material
        with self._machine.autocast():
            for items, rows in ((material.labelled, labelled), (material.transfer, transfer)):
                if items is not None and len(rows):
                    outputs.append(self._model(**items.gather(rows, augmentation)))
                    if self._embedding is not None:
                        hidden.append(self._embedding.last)
        if not outputs:
            return 0.0, 0.0
        logits = torch.cat(outputs).float() if len(outputs) > 1 else outputs[0].float()
        if not math.isfinite(float(logits.detach().sum())):
            raise ComputationFailed(
                f"the student's outputs became NaN or infinite; try a learning_rate below "
                f"{self._plan.learning_rate:g}, or precision fp32"
            )
        loss = entropy = logits.new_zeros(())
        if len(labelled):
            share = len(labelled) / sizes[0]
            loss = entropy = share * self._entropy(logits[: len(labelled)], self._labels[labelled].to(self._device))
        taught = 0.0
        if self._term is not None:
            rows = torch.cat([labelled, transfer + len(material.labelled)])
            if isinstance(self._term, EmbeddingTerm):
                assert self._projector is not None
                term = self._term.match(torch.cat(hidden).float(), rows, self._projector)
            else:
                term = self._term(logits, rows)
            term = len(rows) / sizes[1] * term
            loss = entropy + self._weight * term
            taught = float(term.detach())
        self._machine.backward(loss)
        return float(entropy.detach()), taught

    def _entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        smoothing = self._plan.smoothing
        if self._importance is None:
            return functional.cross_entropy(logits, labels, label_smoothing=smoothing)
        each = functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
        return (self._importance[labels] * each).mean()


def arranged(model: nn.Module) -> nn.Module:
    """The model with its weights in the memory format that convolves fastest on a CPU: channels last."""
    if any(isinstance(module, nn.Conv2d) and module.weight.device.type == "cpu" for module in model.modules()):
        return model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - torch's stubs lack it
    return model


def importance(material: Material) -> Tensor:
    """Weight of an item of each class that gives all classes equal weight, 1 on average; shape (S,)."""
    counts = np.bincount(material.labels[material.rows])
    with np.errstate(divide="ignore"):
        weights = np.where(counts > 0, counts.sum() / (np.count_nonzero(counts) * counts), 0.0)
    return torch.from_numpy(weights.astype(np.float32))


def running_mean(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """A running mean over at most the steps taken so far."""

    def mean(averaged: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
        kept = min(decay, (1.0 + float(steps)) / (_WARMING + float(steps)))
        return averaged.lerp(current, 1 - kept)

    return mean


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def _seed_global(seed: int, device: torch.device) -> None:
    """Seed the global generators that a step can draw from; `torch.manual_seed` would query every kind of device."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type != "cpu":
        torch.manual_seed(seed)
