"""Recommendations: rank the zoo for a student."""

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
"""Estimators that need a labelled probe; docs/estimators.md has their equations."""

Method = Literal["auto", "label_transport", ProbeMethod]
UsedMethod = Literal["auto", "label_transport", ProbeMethod]
"""`auto` where a blend was used; with names alone it is `label_transport`."""
Mode = Literal["coverage", "balanced"]


class Candidate(LabelSetBody):
    """A teacher's label set given in the request itself; no model behind it is run."""

    name: Name


class TeacherFilter(Body):
    """Which registered teachers take part; all that are ready where absent."""

    ids: list[TeacherId] | None = Field(default=None, min_length=1, max_length=10_000)
    tags: list[Tag] | None = Field(default=None, max_length=32, description="A teacher needs all of them")
    modality: Modality | None = None


class PairCost(Body):
    """Sets the ground cost of a teacher's and a student's class by hand: 0 makes them the same, 2 forbids the pair."""

    teacher: Label
    student: Label
    cost: Number = Field(ge=0, le=2)


class RecommendationBody(Body):
    """Rank teachers for a student.

    Label names alone are enough (`student`, or a probe whose data names its classes). A probe sharpens the answer.

    Attributes
    ----------
    method
        `label_transport` compares label sets; no model is run. All others run each teacher on a labelled probe:
        `prediction_transport` (arXiv 2204.11526), normalised transport (`alignment`, `transport_gain`), and the
        published estimators of docs/estimators.md. `auto` blends several where there is a labelled probe, with weights
        from a benchmark; without one it is `label_transport`.
    mode
        For label transport: `coverage` asks whether each student class finds a near teacher class; `balanced`
        moves the whole of the teacher's prior and so punishes a teacher for classes that nobody asked about.
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
        default=100, ge=1, le=10_000, description="With a probe, at most so many teachers are run: the nearest by names"
    )
    budget_seconds: Annotated[Number | None, Since(2)] = Field(
        default=None,
        gt=0,
        le=86_400,
        description="With a probe, no further teacher is asked once so long was spent; the nearest by names come first",
    )
    pairs: list[PairCost] | None = Field(default=None, max_length=10_000, description="Ground costs set by hand")
    temperature: Number = Field(default=1.0, gt=0, le=100)
    encoder: Annotated[str, Field(max_length=300)] | None = Field(
        default=None, description="Label encoder; the server's default where absent"
    )
    priority: Annotated[Priority, Since(2)] = Field(default="normal", description=TURNS)

    @model_validator(mode="before")
    @classmethod
    def _without_retired(cls, given: Any) -> Any:
        """`eps` had no effect and was removed. Requests of older clients, stored ones among them, may still have it."""
        if isinstance(given, dict):
            return {name: value for name, value in cast("dict[str, Any]", given).items() if name != "eps"}
        return given

    @model_validator(mode="after")
    def _agree(self) -> "RecommendationBody":
        if self.student is None and self.probe is None:
            raise ValueError("give student (label names) or probe (data), or both")
        if self.method not in ("auto", "label_transport"):
            if self.probe is None:
                raise ValueError(f"{self.method} needs a probe; label_transport works with label names alone")
            if self.candidates is not None:
                raise ValueError("candidates are bare label sets and cannot predict; use method label_transport")
        own = isinstance(self.student, LabelSetBody) and self.student.embeddings is not None
        if own and (self.candidates is None or any(c.embeddings is None for c in self.candidates)):
            raise ValueError(
                "own embeddings for the student need candidates that bring theirs too: distances between "
                "different encoders mean nothing"
            )
        return self


class TransportSource(Answer):
    """A teacher class from which mass flows to a student class."""

    label: str
    mass: float = Field(description="Share of the whole plan")
    cost: float = Field(description="Ground cost between the two labels")


class ClassPlan(Answer):
    """Where one student class takes its mass from."""

    label: str
    mass: float
    cost: float = Field(description="Mean ground cost of that mass")
    covered: bool = Field(description="Whether the teacher has a class near this one")
    sources: list[TransportSource]


class Certainty(Answer):
    """How sure a score is: a bootstrap over the probe's items, paired over all teachers."""

    low: float = Field(description="Lower end of the 90 % interval of the score")
    high: float = Field(description="Upper end")
    best: float = Field(description="Probability to be the best of all that were ranked")
    ties: int = Field(description="Group of teachers that this probe cannot tell apart, 1 for the best")
    better_than_random: float = Field(
        description="Probability to beat the same teacher with its answers dealt to the wrong items"
    )


class RankedTeacher(Answer):
    """One row of the ranking."""

    rank: int
    teacher: TeacherId | None = Field(default=None, description="Null for a candidate given in the request")
    name: str
    cost: float = Field(description="Transport cost of the plan; lower is better")
    score: float | None = Field(
        default=None, description="What is ranked by; of `auto`, relative to the mean of those that were ranked"
    )
    scores: dict[str, float] | None = Field(
        default=None, description="With `auto`, what each estimator of the blend says, in its own unit"
    )
    expected_accuracy: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Points of accuracy, 0 to 100, higher is better: how many new items get the right class when it is "
        "read off this teacher's answers by a linear map that never saw them. It does not depend on the other teachers "
        "or the method, so it compares between rankings. It is not the accuracy of the distilled student. Null where "
        "no labelled probe of two classes was used",
    )
    expected_accuracy_low: float | None = Field(
        default=None, description="Lower end of the 90 % interval of the expected accuracy, in points"
    )
    expected_accuracy_high: float | None = Field(default=None, description="Upper end")
    method: UsedMethod
    certainty: Certainty | None = Field(default=None, description="Null where no labelled probe was used")
    classes: int
    plan: list[ClassPlan]
    uncovered: list[str] = Field(description="Student classes with no near teacher class")
    seconds: float = Field(description="Time spent on this teacher")
    cached: dict[str, bool] = Field(
        default_factory=dict[str, bool], description="Which parts came from a cache: `cost`, `outputs`"
    )


class SkippedTeacher(Answer):
    """A teacher that took no part, and why."""

    teacher: TeacherId | None = None
    name: str
    reason: str


class TeamMember(Answer):
    """One of several teachers that together serve the student's classes better than one."""

    teacher: TeacherId | None = None
    name: str
    loss: float = Field(
        description="What the team loses on a class in the mean once this teacher has joined: nats with `auto`, "
        "ground cost otherwise"
    )
    weights: dict[str, float] = Field(description="How far it is trusted for every student class; over a team 1")


class CacheUse(Answer):
    """How often a cache answered."""

    hits: int = 0
    misses: int = 0


class Timings(Answer):
    """Where the seconds went. Stages are wall-clock seconds."""

    queued: float = 0
    total: float = 0
    stages: dict[str, float] = Field(default_factory=dict[str, float])
    caches: dict[str, CacheUse] = Field(default_factory=dict[str, CacheUse])


class RecommendationResult(Answer):
    """The ranked zoo."""

    method: UsedMethod
    blend: dict[str, float] | None = Field(default=None, description="With `auto`, the weights of its estimators")
    mode: Mode | None
    higher_is_better: bool = Field(default=False, description="Of the scores; costs are always better when lower")
    abstain: bool = Field(default=False, description="Nothing in the zoo is likely to help; the warnings say why")
    encoder: str = Field(description="Identity of the label encoder")
    student_labels: list[str]
    considered: int = Field(description="Teachers that took part")
    solved: int = Field(description="Teachers whose transport problem was solved; bounds ruled the others out")
    ranking: list[RankedTeacher]
    team: list[TeamMember] = Field(
        default_factory=list[TeamMember],
        description="The first of the ranking, and those who serve best what the ones before serve badly",
    )
    skipped: list[SkippedTeacher]
    uncovered: list[str] = Field(description="Student classes that no ranked teacher covers")
    warnings: list[str]
    timings: Timings


Recommendation = Job[RecommendationBody, RecommendationResult]
"""A recommendation job."""
