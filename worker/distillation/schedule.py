"""The plan of a training run: number of steps, batch size, learning rate."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from preceptor.contract.training import Training

Schedule = Literal["one_cycle", "cosine", "constant"]


@dataclass(frozen=True)
class Plan:
    """The plan of a training run.

    Attributes
    ----------
    steps, steps_per_epoch
        All steps; those of one epoch, a pass over the larger of labelled and transfer items.
    batch_size
        Labelled items a step, and as many transfer items.
    learning_rate, schedule
        Peak learning rate, and its schedule.
    weight_decay
        Weight decay of AdamW.
    seed
        Seed of all random choices.
    smoothing
        Share of each label that is distributed evenly over all classes.
    parts
        Number of parts in which the model processes a batch.
    ema
        Decay of the running mean of the weights; None for no mean.
    patience
        Epochs without improvement before the run stops; None to run all steps.
    balanced
        Whether every class has equal weight in the cross-entropy.
    """

    steps: int
    steps_per_epoch: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int
    smoothing: float = 0.0
    schedule: Schedule = "one_cycle"
    parts: int = 1
    ema: float | None = None
    patience: int | None = None
    balanced: bool = False

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        return self.learning_rate * share_of_peak(self.schedule, step, self.steps)


def plan_for(labelled: int, transfer: int, training: Training, learning_rate: float) -> Plan:
    """The plan for given numbers of items.

    Parameters
    ----------
    learning_rate
        The student's default, if the request sets none.
    """
    per_epoch = -(-max(labelled, transfer) // training.batch_size)
    stopping = training.early_stopping
    return Plan(
        steps=per_epoch * training.epochs,
        steps_per_epoch=per_epoch,
        batch_size=training.batch_size,
        learning_rate=training.learning_rate or learning_rate,
        weight_decay=training.weight_decay,
        seed=training.seed,
        schedule=training.schedule,
        parts=training.gradient_accumulation,
        ema=training.ema,
        patience=None if stopping is None else stopping.patience,
        balanced=training.class_weights == "balanced",
    )


def share_of_peak(schedule: Schedule, step: int, steps: int) -> float:
    """Share of the peak learning rate: one-cycle rises over the first tenth; it and cosine fall to 0."""
    if schedule == "constant":
        return 1.0
    rise = max(1, steps // 10) if schedule == "one_cycle" else 0
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + float(np.cos(np.pi * (step - rise) / max(1, steps - rise))))
