"""The course of a training run: how many steps, how large, at which rate."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from preceptor.contract.training import Training

Schedule = Literal["one_cycle", "cosine", "constant"]


@dataclass(frozen=True)
class Plan:
    """The course of a training run.

    Attributes
    ----------
    steps, steps_per_epoch
        All steps; those of one epoch, a pass over the larger of labelled and transfer items.
    batch_size
        Labelled items a step, and as many transfer items.
    learning_rate, schedule
        Peak, and its course.
    weight_decay
        Of AdamW.
    seed
        Of everything.
    smoothing
        Share of each label that is spread evenly over all classes.
    parts
        In how many parts a batch goes through the model.
    ema
        Decay of the running mean of the weights; None without.
    patience
        Epochs without a better one before the run stops; None to go to the end.
    balanced
        Whether every class weighs the same in the cross-entropy.
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
    """The course for so many items.

    Parameters
    ----------
    learning_rate
        The student's own, where the request names none.
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
