"""A cell of the benchmark: a student's data, a zoo for it, and control teachers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from worker.distillation.inputs import TeacherSignal, TrainingData

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

CONTROL_CLASSES = 15


@dataclass(frozen=True)
class Cell:
    """One task with one number of labels a class and one seed.

    Attributes
    ----------
    zoo
        The teachers to rank, in no particular order.
    random
        A teacher of the zoo's type with random weights; its classes are names of the zoo.
    noise
        A teacher with outputs independent of the item.
    upper
        Accuracy of a model of the zoo's type trained on the student's own labelled items: the result of "fine-tune the
        teacher first".
    """

    data: TrainingData
    zoo: list[TeacherSignal]
    random: TeacherSignal
    noise: TeacherSignal
    upper: float

    @property
    def test_items(self) -> int:
        """Number of items that accuracies are measured on."""
        return 0 if self.data.test_labels is None else len(self.data.test_labels)


@dataclass(frozen=True)
class Course:
    """Training of students, the same in all columns.

    Attributes
    ----------
    steps
        Rounded up to whole epochs.
    batch
        Labelled items a step, and the same number of transfer items.
    rate
        Learning rate; None: the student's own.
    slow
        Whether the student is slow to train, so that columns are omitted.
    """

    steps: int = 40
    batch: int = 64
    rate: float | None = 1e-2
    slow: bool = False


LIGHT = Course()
"""For small students, with a rate above their default: short trainings suffice, which allows many of them."""


@dataclass(frozen=True)
class Task:
    """A student's task.

    Attributes
    ----------
    overlap
        Share of the student's classes covered by the zoo's best teachers; None if the two label sets are of different
        data sets, which share no class but may have similar ones.
    cell
        Creates the cell for a label count and a seed.
    """

    name: str
    kind: Literal["images", "text"]
    overlap: float | None
    cell: Callable[[int, int], Cell]
    course: Course = LIGHT


@dataclass(frozen=True)
class Split:
    """The student's rows within a pool."""

    labelled: Int64
    transfer: Int64


def split(labels: Int64, classes: Int64, each: int, transfer: int, generator: np.random.Generator) -> Split:
    """`each` labelled rows of every class, and `transfer` others of these classes.

    Parameters
    ----------
    labels
        Labels of the pool, shape (N,).
    """
    chosen = np.concatenate([generator.permutation(np.flatnonzero(labels == c))[:each] for c in classes])
    others = np.setdiff1d(np.flatnonzero(np.isin(labels, classes)), chosen)
    return Split(chosen, generator.permutation(others)[:transfer])


def overlapping(
    mine: Int64, others: Int64, overlap: float, size: int, generator: np.random.Generator
) -> tuple[Int64, Int64]:
    """Classes of a teacher: some of the student's, the rest from others.

    Returns
    -------
    tuple
        The shared and the foreign classes; the teacher has both.
    """
    shared = generator.permutation(mine)[: round(overlap * len(mine))]
    foreign = generator.permutation(np.setdiff1d(others, mine))[: max(0, size - len(shared))]
    return np.sort(shared), np.sort(foreign)


def noise_like(teacher: TeacherSignal, generator: np.random.Generator) -> TeacherSignal:
    """A teacher with the same classes and logits drawn independently for every item, from N(0, 16)."""

    def drawn(logits: Float32 | None) -> Float32:
        assert logits is not None
        return (4 * generator.normal(size=logits.shape)).astype(np.float32)

    return TeacherSignal(
        "noise", teacher.labels, drawn(teacher.labelled_logits), teacher.name_cost, drawn(teacher.transfer_logits)
    )


def numbers(classes: Int64) -> Mapping[int, int]:
    """Class number in the data -> class number of the student."""
    return {int(c): n for n, c in enumerate(classes)}
