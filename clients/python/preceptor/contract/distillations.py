"""Distillations: train a student from teachers across label sets."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from .base import Answer, Body, Flag, Moment, Whole, tagged
from .ids import ProbeId, RecommendationId, StudentId, TeacherId
from .jobs import TURNS, Job, Priority
from .labels import LabelSetGiven
from .losses import Loss, TransportLoss
from .recommendations import Timings
from .teachers import StoredFile
from .training import Training
from .versions import Since

Architecture = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,119}$")]


class BuiltinStudent(Body):
    """A small student that needs no download: `cnn` for images, `bow` for text, `mlp` for feature vectors."""

    model_config = tagged("kind")

    kind: Literal["builtin"] = "builtin"
    name: Literal["auto", "cnn", "bow", "mlp"] = "auto"


class TransformersStudent(Body):
    """A `transformers` architecture trained from scratch: model type (`resnet`, `vit`, `bert`) and config overrides."""

    model_config = tagged("kind")

    kind: Literal["transformers"] = "transformers"
    model_type: Architecture
    config: dict[str, int | float | bool | str | list[int] | list[str] | None] = Field(
        default_factory=dict[str, int | float | bool | str | list[int] | list[str] | None], max_length=64
    )


class TimmStudent(Body):
    """A `timm` architecture trained from scratch; the worker needs timm."""

    model_config = tagged("kind")

    kind: Literal["timm"] = "timm"
    architecture: Architecture


class RegisteredStudent(Body):
    """Start from a registered model (a `transformers` teacher or a promoted student); its head is replaced."""

    model_config = tagged("kind")

    kind: Literal["registered"] = "registered"
    teacher: TeacherId


StudentModel = Annotated[
    BuiltinStudent | TransformersStudent | TimmStudent | RegisteredStudent, Field(discriminator="kind")
]


class DistillationBody(Body):
    """Train a student.

    Attributes
    ----------
    teachers, recommendation
        The teachers; or a finished recommendation, from whose team the first `team` teachers are used.
    data
        A labelled probe to train on.
    transfer
        An unlabelled probe on which only the teachers supervise the student. Few labels with many unlabelled items is
        the case in which a teacher helps most.
    test
        A labelled probe to measure accuracy on; without one, a part of `data` is held out.
    compare
        Also train the same student without a teacher, and report the gain. `full`: also with label smoothing, and with
        a randomly initialised teacher in place of each teacher (`settings.controls` of the result).
    """

    teachers: (
        Annotated[list[TeacherId], Field(min_length=1, max_length=16, json_schema_extra={"uniqueItems": True})] | None
    ) = None
    recommendation: RecommendationId | None = None
    team: Whole = Field(default=1, ge=1, le=16)
    data: ProbeId
    transfer: ProbeId | None = None
    test: ProbeId | None = None
    labels: LabelSetGiven | None = Field(
        default=None, description="The student's label set; required if the data does not name its classes"
    )
    student: StudentModel = Field(default_factory=BuiltinStudent)
    loss: Loss = Field(default_factory=TransportLoss)
    training: Training = Field(default_factory=Training)
    compare: Flag | Literal["full"] = True
    priority: Annotated[Priority, Since(2)] = Field(default="normal", description=TURNS)
    name: Annotated[str, Field(min_length=1, max_length=120)] | None = None

    @model_validator(mode="after")
    def _agree(self) -> "DistillationBody":
        if (self.teachers is None) == (self.recommendation is None):
            raise ValueError("give either teachers or recommendation")
        if self.teachers is not None and len(set(self.teachers)) != len(self.teachers):
            raise ValueError("teachers must be distinct")
        return self


Verdict = Literal["helped", "no clear effect", "hurt", "not compared"]


class Accuracy(Answer):
    """Accuracy on the test items, for each seed."""

    mean: float
    per_seed: list[float]


class Gain(Answer):
    """Accuracy with the teacher minus accuracy without it, paired by seed and test item."""

    mean: float
    low: float = Field(description="Lower end of the 90 % interval (bootstrap over test items and seeds)")
    high: float


class EpochMetrics(Answer):
    """One epoch of the training run that produced the delivered student.

    Attributes
    ----------
    transport
        The teachers' loss term times its weight, for every loss.
    accuracy
        Accuracy on the test items.
    agreement
        Share of transfer items on which student and teachers predict the same class, among the items on which the
        teachers predict one.
    watched
        Cross-entropy on the labelled items that early stopping monitors.
    learning_rate
        Learning rate of the last step.
    items_per_second
        Labelled and transfer items processed by the student per second.
    """

    epoch: int
    loss: float
    cross_entropy: float
    transport: float
    accuracy: float | None = None
    agreement: float | None = None
    watched: float | None = None
    learning_rate: float | None = None
    items_per_second: float | None = None
    seconds: float


class DistillationResult(Answer):
    """The student, its accuracy and the gain."""

    student: StudentId
    student_labels: list[str]
    teachers: list[TeacherId]
    with_teacher: Accuracy
    without_teacher: Accuracy | None = None
    gain: Gain | None = None
    verdict: Verdict
    advice: str
    warnings: list[str] = Field(
        default_factory=list[str],
        description="What may make the accuracy too good, such as nearly equal items",
    )
    weight: float = Field(description="Weight of the teachers' loss term that was used")
    weights_tried: dict[str, float] = Field(
        default_factory=dict[str, float], description="Cross-validated score of each weight, if `weight` was `auto`"
    )
    test_items: int
    history: list[EpochMetrics]
    artifacts: list[StoredFile]
    timings: Timings
    settings: dict[str, Any] = Field(
        default_factory=dict[str, Any], description="Seeds, versions and digests needed to reproduce the run"
    )


Distillation = Job[DistillationBody, DistillationResult]
"""A distillation job."""


class Student(Answer):
    """A distilled student: its artifacts, its results, and the teacher that it was promoted to."""

    id: StudentId
    distillation: str
    name: str
    labels: list[str]
    artifacts: list[StoredFile]
    accuracy: float | None = Field(default=None, description="On the test items of its distillation, mean of its seeds")
    gain: Gain | None = Field(default=None, description="Over no teacher; null where that was not measured")
    verdict: Verdict | None = None
    promoted_to: TeacherId | None = None
    created_at: Moment
