"""The input of a distillation: the recipe, the student's data, and the teachers' outputs on it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from preceptor.contract.distillations import BuiltinStudent, DistillationBody, StudentModel
from preceptor.contract.losses import Loss, NoLoss as NoLoss, TransportLoss
from preceptor.contract.teachers import Modality
from preceptor.contract.training import Training
from worker.teachers.interface import Batch, Items

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


class ItemSource(Protocol):
    """Items that can be read repeatedly: an opened probe, or arrays.

    Attributes
    ----------
    modality
        "image", "text" or "features".
    items
        N, the number of items.
    """

    @property
    def modality(self) -> Any: ...
    @property
    def items(self) -> int: ...
    def batches(self, size: int, indices: Any = None) -> Iterator[Batch]:
        """The items (or those of `indices`, in that order) in batches of `size`."""
        ...


@dataclass(frozen=True)
class ArrayItems:
    """Items in memory.

    Attributes
    ----------
    images
        N encoded picture files.
    texts
        N texts.
    features
        Shape (N, D), float32.
    """

    images: list[bytes] | None = None
    texts: list[str] | None = None
    features: Float32 | None = None

    def __post_init__(self) -> None:
        if sum(column is not None for column in (self.images, self.texts, self.features)) != 1:
            raise ValueError("give exactly one of images, texts and features")

    @property
    def modality(self) -> Modality:
        """Modality of the column that is set."""
        if self.images is not None:
            return "image"
        return "text" if self.texts is not None else "features"

    @property
    def items(self) -> int:
        """N."""
        return next(len(c) for c in (self.images, self.texts, self.features) if c is not None)

    def batches(self, size: int, indices: Any = None) -> Iterator[Batch]:
        """See `ItemSource.batches`."""
        rows = np.arange(self.items) if indices is None else np.asarray(indices, dtype=np.int64)
        for begin in range(0, len(rows), size):
            chosen = rows[begin : begin + size]
            yield Items(
                images=None if self.images is None else [self.images[row] for row in chosen],
                texts=None if self.texts is None else [self.texts[row] for row in chosen],
                features=None if self.features is None else self.features[chosen],
                start=begin,
            )


@dataclass(frozen=True)
class TrainingData:
    """The student's data.

    Attributes
    ----------
    items, labels
        N1 labelled items and their class numbers, shape (N1,), int64, in 0..S-1.
    label_names
        S class names, in the order of the numbers.
    transfer
        N2 items without labels; only the teachers' outputs are used on them.
    test, test_labels
        N3 items to measure on; never trained on. A part of `items` is held out if absent.
    digests
        Origin of the data, for the record: `{"data": "prb_...", ...}`.
    """

    items: ItemSource
    labels: Int64
    label_names: list[str]
    transfer: ItemSource | None = None
    test: ItemSource | None = None
    test_labels: Int64 | None = None
    digests: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def classes(self) -> int:
        """S."""
        return len(self.label_names)


@dataclass(frozen=True)
class TeacherSignal:
    """One teacher's outputs on the student's data.

    Attributes
    ----------
    name, labels
        The teacher and its K class names.
    labelled_logits
        On the labelled items, shape (N1, K), float32.
    name_cost
        Ground cost between the names, C[k, s] = 1 - cos, shape (K, S), float32.
    transfer_logits
        On the transfer items, shape (N2, K), float32; None without transfer items.
    labelled_features, transfer_features
        Input of the teacher's last layer, shapes (N1, D), (N2, D), if it exposes it.
    digest, id
        Identity of its weights and of its registration, for the record.
    """

    name: str
    labels: list[str]
    labelled_logits: Float32
    name_cost: Float32
    transfer_logits: Float32 | None = None
    labelled_features: Float32 | None = None
    transfer_features: Float32 | None = None
    digest: str = ""
    id: str = ""

    @property
    def logits(self) -> Float32:
        """On the labelled and then the transfer items, shape (N1 + N2, K)."""
        if self.transfer_logits is None:
            return self.labelled_logits
        return np.concatenate([self.labelled_logits, self.transfer_logits])


def described(loss: Loss) -> dict[str, Any]:
    """A loss as JSON values."""
    return loss.model_dump(mode="json")


@dataclass(frozen=True)
class Recipe:
    """Training settings of the student; mirrors the student, loss, training and compare of a `DistillationBody`."""

    student: StudentModel = field(default_factory=BuiltinStudent)
    loss: Loss = field(default_factory=TransportLoss)
    training: Training = field(default_factory=Training)
    compare: bool | Literal["full"] = True
    name: str = "student"

    @classmethod
    def of(cls, body: DistillationBody) -> "Recipe":
        """The recipe of a request."""
        return cls(body.student, body.loss, body.training, body.compare, body.name or "student")


def check(data: TrainingData, teachers: list[TeacherSignal]) -> None:
    """Reject data and teachers that do not match.

    Raises
    ------
    ComputationFailed
        The message says what does not match.
    """
    from worker.errors import ComputationFailed

    if data.classes < 2:
        raise ComputationFailed(f"the student has {data.classes} class; classification needs at least 2")
    for name, source, labels in (("data", data.items, data.labels), ("test", data.test, data.test_labels)):
        if source is None:
            continue
        if labels is None or len(labels) != source.items:
            raise ComputationFailed(
                f"{name} has {source.items} items and {0 if labels is None else len(labels)} labels"
            )
        if len(labels) and (int(labels.min()) < 0 or int(labels.max()) >= data.classes):
            raise ComputationFailed(f"{name} has labels outside 0..{data.classes - 1}")
    absent = sorted(set(range(data.classes)) - set(np.unique(data.labels).tolist()))
    if absent:
        names = ", ".join(data.label_names[c] for c in absent[:5])
        raise ComputationFailed(f"no labelled item of class {names}; give at least one item of every class")
    for teacher in teachers:
        width = len(teacher.labels)
        wanted = {"labelled_logits": (teacher.labelled_logits, data.items.items)}
        if data.transfer is not None and teacher.transfer_logits is not None:
            wanted["transfer_logits"] = (teacher.transfer_logits, data.transfer.items)
        for what, (values, rows) in wanted.items():
            if values.shape != (rows, width):
                raise ComputationFailed(f"{what} of {teacher.name!r} have shape {values.shape}, not {(rows, width)}")
        if (data.transfer is None) != (teacher.transfer_logits is None):
            raise ComputationFailed(
                f"outputs of {teacher.name!r} on the transfer items are missing, or there are no items"
            )
        if teacher.name_cost.shape != (width, data.classes):
            raise ComputationFailed(
                f"the ground cost of {teacher.name!r} has shape {teacher.name_cost.shape}, not {(width, data.classes)}"
            )
