"""A world: items of one kind, the zoo with outputs on them, and the students' tasks."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.distillation.inputs import ArrayItems

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class ZooTeacher:
    """A teacher with its outputs on every item of its world.

    Attributes
    ----------
    family
        Its architecture.
    points
        Embeddings of its K class names, shape (K, D), unit rows.
    logits
        Shape (N, K).
    accuracy
        Accuracy on held-out items of its own classes.
    parameters
        Number of parameters.
    """

    name: str
    family: str
    labels: list[str]
    points: Float32
    logits: Float32
    accuracy: float
    parameters: int


@dataclass(frozen=True)
class Target:
    """A student's task.

    Attributes
    ----------
    domain
        Origin of its items.
    points
        Embeddings of its S class names, shape (S, D).
    pool, pool_labels
        Items available to a student and its probes, and their classes 0 to S - 1.
    test, test_labels
        Items for measuring students; not used for anything else.
    """

    name: str
    domain: str
    labels: list[str]
    points: Float32
    pool: Int64
    pool_labels: Int64
    test: Int64
    test_labels: Int64

    def __post_init__(self) -> None:
        for labels in (self.pool_labels, self.test_labels):
            if set(labels.tolist()) != set(range(len(self.labels))):
                raise ValueError(f"{self.name}: not all classes have items, or items have other classes")


@dataclass(frozen=True)
class World:
    """Items, zoo, tasks. No teacher is trained on an item of a pool or a test.

    Attributes
    ----------
    inputs
        The student's input for the items of these rows.
    transfer
        Number of unlabelled items of a student.
    steps
        Training steps.
    """

    name: str
    inputs: Callable[[Int64], ArrayItems]
    zoo: list[ZooTeacher]
    targets: list[Target]
    transfer: int = 400
    steps: int = 40


def name_cost(teacher: ZooTeacher, target: Target) -> Float32:
    """Ground cost between the names, 1 - cos, shape (K, S)."""
    return (1 - teacher.points @ target.points.T).astype(np.float32)


def overlap(teacher: ZooTeacher, target: Target) -> float:
    """Share of the student's classes that the teacher covers by name."""
    return len(set(teacher.labels) & set(target.labels)) / len(target.labels)


def drawn(target: Target, each: int, generator: np.random.Generator) -> Int64:
    """Positions in the pool: `each` items of every class, or all if the class has fewer."""
    return np.concatenate(
        [generator.permutation(np.flatnonzero(target.pool_labels == c))[:each] for c in range(len(target.labels))]
    )
