"""Recommendations: rank the teachers of the zoo for a student."""

from typing import Annotated, Any, Literal, cast

from pydantic import Field, model_validator

from .base import Answer, Body, Number, Whole
from .ids import ProbeId, TeacherId
from .jobs import TURNS, Job, Priority
from .labels import Label, LabelSetBody, LabelSetGiven
from .teachers import Modality, Name, Tag
from .versions import Since

ProbeMethod = Literal[
    "prediction_transport",
    "transport_gain",
    "alignment",
    "leep",
    "nce",
    "nleep",
    "logme",
    "h_score",
    "parc",
    "knn",
    "sfda",
    "transport_map",
]
"""Estimators that need a labelled probe; docs/estimators.md states their equations."""

Method = Literal["auto", "label_transport", ProbeMethod]
UsedMethod = Literal["auto", "label_transport", ProbeMethod]
"""The method that was used: `auto` for a blend; with names only, `auto` becomes `label_transport`."""
Mode = Literal["coverage", "balanced"]


class Candidate(LabelSetBody):
    """A teacher's label set given in the request. No model is run for it."""

    name: Name


class TeacherFilter(Body):
    """Which registered teachers take part; by default all that are ready."""

    ids: list[TeacherId] | None = Field(default=None, min_length=1, max_length=10_000)
    tags: list[Tag] | None = Field(default=None, max_length=32, description="Teachers with all of these tags")
    modality: Modality | None = None


class PairCost(Body):
    """Ground cost of one teacher class and one student class, set by hand: 0 is the same class, 2 the largest cost."""

    teacher: Label
    student: Label
    cost: Number = Field(ge=0, le=2)


class RecommendationBody(Body):
    """Rank teachers for a student.

    Label names are enough (`student`, or a probe whose data names its classes). A probe makes the ranking more precise.

    Attributes
    ----------
    method
        `label_transport` compares label sets; no model is run. All other methods run each teacher on a labelled probe:
        `prediction_transport` (arXiv 2204.11526), normalised transport (`alignment`, `transport_gain`), and the
        published estimators of docs/estimators.md. `auto` is a blend of several estimators, with weights fitted on a
        benchmark; without a labelled probe it is `label_transport`.
    mode
        For label transport. `coverage`: the distance of each student class to its nearest teacher class. `balanced`:
        all of the teacher's prior is transported, so that teacher classes unrelated to the student raise the cost.
    temperature
        Softmax temperature of the teacher's predictions.
    """

    student: LabelSetGiven | None = None
    probe: ProbeId | None = None
    teachers: TeacherFilter | None = None
    candidates: list[Candidate] | None = Field(default=None, min_length=1, max_length=1000)
    method: Method = "auto"
    mode: Mode = "coverage"
    top_k: Whole = Field(default=10, ge=1, le=1000)
    sources_per_class: Whole = Field(default=3, ge=1, le=50)
    shortlist: Whole = Field(
        default=100,
        ge=1,
        le=10_000,
        description="With a probe, the maximum number of teachers that are run: those nearest by label names",
    )
    budget_seconds: Annotated[Number | None, Since(2)] = Field(
        default=None,
        gt=0,
        le=86_400,
        description="With a probe, the time in seconds after which no further teacher is run; teachers run in order "
        "of their distance by label names",
    )
    pairs: list[PairCost] | None = Field(default=None, max_length=10_000, description="Ground costs set by hand")
    temperature: Number = Field(default=1.0, gt=0, le=100)
    encoder: Annotated[str, Field(max_length=300)] | None = Field(
        default=None, description="Label encoder; by default the server's"
    )
    priority: Annotated[Priority, Since(2)] = Field(default="normal", description=TURNS)

    @model_validator(mode="before")
    @classmethod
    def _without_retired(cls, given: Any) -> Any:
        """Ignore `eps`, which had no effect and was removed. Older clients and stored requests may still have it."""
        if isinstance(given, dict):
            return {name: value for name, value in cast("dict[str, Any]", given).items() if name != "eps"}
        return given

    @model_validator(mode="after")
    def _agree(self) -> "RecommendationBody":
        if self.student is None and self.probe is None:
            raise ValueError("give student (label names), probe (data), or both")
        if self.method not in ("auto", "label_transport"):
            if self.probe is None:
                raise ValueError(f"{self.method} needs a probe; label_transport needs label names only")
            if self.candidates is not None:
                raise ValueError("candidates are bare label sets without a model; use method label_transport")
        own = isinstance(self.student, LabelSetBody) and self.student.embeddings is not None
        if own and (self.candidates is None or any(c.embeddings is None for c in self.candidates)):
            raise ValueError(
                "own embeddings for the student need candidates with embeddings of the same encoder: distances "
                "between different encoders have no meaning"
            )
        return self


class TransportSource(Answer):
    """A teacher class whose mass is transported to a student class."""

    label: str
    mass: float = Field(description="Share of the whole plan's mass")
    cost: float = Field(description="Ground cost between the two labels")


class ClassPlan(Answer):
    """The teacher classes that a student class receives its mass from."""

    label: str
    mass: float
    cost: float = Field(description="Mean ground cost of that mass")
    covered: bool = Field(description="Whether a teacher class is near this student class")
    sources: list[TransportSource]


class Certainty(Answer):
    """Confidence in a score: bootstrap over the probe's items, paired over all teachers."""

    low: float = Field(description="Lower end of the 90 % interval of the score")
    high: float = Field(description="Upper end of this interval")
    best: float = Field(description="Probability that the teacher is the best of all ranked teachers")
    ties: int = Field(description="Group of teachers that this probe cannot separate; 1 for the best group")
    better_than_random: float = Field(
        description="Probability that the teacher scores higher than with its outputs permuted over the items"
    )


class RankedTeacher(Answer):
    """One row of the ranking."""

    rank: int
    teacher: TeacherId | None = Field(default=None, description="Null for a candidate")
    name: str
    cost: float = Field(description="Transport cost of the plan; lower is better")
    score: float | None = Field(
        default=None,
        description="Score that the ranking is by; with `auto`, relative to the mean of the ranked teachers",
    )
    scores: dict[str, float] | None = Field(
        default=None, description="With `auto`, the score of each estimator of the blend, in its own unit"
    )
    expected_accuracy: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Expected accuracy in points, 0 to 100, higher is better: accuracy on new items of a linear map "
        "from this teacher's outputs to the student's classes, estimated on held-out probe items. It does not depend "
        "on the other teachers or on the method, so it is comparable between rankings. It is not the accuracy of the "
        "distilled student. Null without a labelled probe of at least two classes",
    )
    expected_accuracy_low: float | None = Field(
        default=None, description="Lower end of the 90 % interval of the expected accuracy, in points"
    )
    expected_accuracy_high: float | None = Field(default=None, description="Upper end of this interval")
    method: UsedMethod
    certainty: Certainty | None = Field(default=None, description="Null without a labelled probe")
    classes: int
    plan: list[ClassPlan]
    uncovered: list[str] = Field(description="Student classes without a near teacher class")
    seconds: float = Field(description="Time spent on this teacher, in seconds")
    cached: dict[str, bool] = Field(
        default_factory=dict[str, bool], description="Whether a part came from a cache: `cost`, `outputs`"
    )


class SkippedTeacher(Answer):
    """A teacher that was not ranked, and the reason."""

    teacher: TeacherId | None = None
    name: str
    reason: str


class TeamMember(Answer):
    """A teacher of a team that covers the student's classes better together than one teacher does."""

    teacher: TeacherId | None = None
    name: str
    loss: float = Field(
        description="The team's mean loss over the student classes after this teacher has joined: nats with `auto`, "
        "ground cost otherwise"
    )
    weights: dict[str, float] = Field(description="Weight of the teacher for each student class; sums to 1 over a team")


class CacheUse(Answer):
    """Hits and misses of a cache."""

    hits: int = 0
    misses: int = 0


class Timings(Answer):
    """Wall-clock seconds of a job: total, time in the queue, and by stage."""

    queued: float = 0
    total: float = 0
    stages: dict[str, float] = Field(default_factory=dict[str, float])
    caches: dict[str, CacheUse] = Field(default_factory=dict[str, CacheUse])


class RecommendationResult(Answer):
    """The ranking."""

    method: UsedMethod
    blend: dict[str, float] | None = Field(default=None, description="With `auto`, the weight of each estimator")
    mode: Mode | None
    higher_is_better: bool = Field(default=False, description="Direction of the scores; a lower cost is always better")
    abstain: bool = Field(default=False, description="Whether no teacher is likely to help; `warnings` states why")
    encoder: str = Field(description="Identity of the label encoder")
    student_labels: list[str]
    considered: int = Field(description="Number of teachers that took part")
    solved: int = Field(description="Number of teachers with a solved transport problem; bounds excluded the others")
    ranking: list[RankedTeacher]
    team: list[TeamMember] = Field(
        default_factory=list[TeamMember],
        description="The first of the ranking, then the teachers that most improve the classes served worst so far",
    )
    skipped: list[SkippedTeacher]
    uncovered: list[str] = Field(description="Student classes that no ranked teacher covers")
    warnings: list[str]
    timings: Timings


Recommendation = Job[RecommendationBody, RecommendationResult]
"""A recommendation job."""
