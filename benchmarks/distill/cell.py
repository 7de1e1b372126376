"""What is measured in one place: a student's data, a zoo for it, and the teachers that serve as controls."""

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
    """One task with so many labels a class and one seed.

    Attributes
    ----------
    zoo
        The teachers that are ranked, by no order.
    random
        A teacher of the zoo's kind whose weights are random; its classes are names of the zoo.
    noise
        Answers that do not depend on the item at all.
    upper
        Accuracy of the zoo's kind of model trained on the student's own labelled items: what "fine-tune the teacher
        first" would give.
    """

    data: TrainingData
    zoo: list[TeacherSignal]
    random: TeacherSignal
    noise: TeacherSignal
    upper: float

    @property
    def test_items(self) -> int:
        """How many items accuracies are of."""
        return 0 if self.data.test_labels is None else len(self.data.test_labels)


@dataclass(frozen=True)
class Course:
    """How students are trained, the same in every column.

    Attributes
    ----------
    steps
        Rounded up to whole epochs.
    batch
        Labelled items a step, and as many transfer items.
    rate
        None: the student's own.
    slow
        Whether a student takes so long that columns are left out.
    """

    steps: int = 40
    batch: int = 64
    rate: float | None = 1e-2
    slow: bool = False


LIGHT = Course()
"""Of light students, with a rate above their own: short courses are enough, so that there can be many."""


@dataclass(frozen=True)
class Task:
    """A student's task.

    Attributes
    ----------
    overlap
        Share of the student's classes that the zoo's best teachers know; None where the two label sets come from
        different data sets, and share no class but may be near.
    cell
        Makes the cell of a label count and a seed.
    """

    name: str
    kind: Literal["images", "text"]
    overlap: float | None
    cell: Callable[[int, int], Cell]
    course: Course = LIGHT


@dataclass(frozen=True)
class Split:
    """The student's rows of a pool."""

    labelled: Int64
    transfer: Int64


def split(labels: Int64, classes: Int64, each: int, transfer: int, generator: np.random.Generator) -> Split:
    """`each` labelled rows of every class, and `transfer` others of these classes.

    Parameters
    ----------
    labels
        Of the pool, shape (N,).
    """
    chosen = np.concatenate([generator.permutation(np.flatnonzero(labels == c))[:each] for c in classes])
    others = np.setdiff1d(np.flatnonzero(np.isin(labels, classes)), chosen)
    return Split(chosen, generator.permutation(others)[:transfer])


def overlapping(
    mine: Int64, others: Int64, overlap: float, size: int, generator: np.random.Generator
) -> tuple[Int64, Int64]:
    """Classes of a teacher: some of the student's, the rest from elsewhere.

    Returns
    -------
    tuple
        The shared and the foreign classes; the teacher has the sum of both.
    """
    shared = generator.permutation(mine)[: round(overlap * len(mine))]
    foreign = generator.permutation(np.setdiff1d(others, mine))[: max(0, size - len(shared))]
    return np.sort(shared), np.sort(foreign)


def noise_like(teacher: TeacherSignal, generator: np.random.Generator) -> TeacherSignal:
    """A teacher of the same classes whose logits are drawn anew for every item, from N(0, 16)."""

    def drawn(logits: Float32 | None) -> Float32:
        assert logits is not None
        return (4 * generator.normal(size=logits.shape)).astype(np.float32)

    return TeacherSignal(
        "noise", teacher.labels, drawn(teacher.labelled_logits), teacher.name_cost, drawn(teacher.transfer_logits)
    )


def numbers(classes: Int64) -> Mapping[int, int]:
    """Class number in the data -> class number of the student."""
    return {int(c): n for n, c in enumerate(classes)}
