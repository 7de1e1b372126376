"""The audit: scores of teachers at recommendation time, compared with the gains of the distillations that followed."""

from pydantic import Field

from .base import Answer, Moment
from .distillations import Gain
from .ids import DistillationId, ProbeId, RecommendationId, TeacherId


class AuditEntry(Answer):
    """One distillation from a recommended teacher, or from a recommended team."""

    id: DistillationId
    created_at: Moment
    recommendation: RecommendationId
    data: ProbeId = Field(description="What the student was trained on; entries of one probe are compared")
    teacher: TeacherId = Field(description="The teacher; the first one of a team")
    name: str
    team: int = Field(default=1, description="Teachers that it was distilled from")
    rank: int
    of: int = Field(description="Number of teachers that took part in the recommendation")
    scores: dict[str, float] = Field(description="By estimator, at recommendation time, in its own unit")
    higher_is_better: dict[str, bool] = Field(default_factory=dict[str, bool], description="By estimator")
    accuracy: float | None = Field(
        default=None, description="Accuracy of the student with the teacher; null until the distillation has ended"
    )
    gain: Gain | None = Field(default=None, description="Gain over training without a teacher; null if not measured")


class EstimatorAudit(Answer):
    """How well one estimator predicted the gains."""

    estimator: str
    entries: int
    pairs: int = Field(description="Pairs of entries on one probe that differ in gain and in score")
    agreement: float | None = Field(description="Share of these pairs that the estimator ordered correctly")
    kendall: float | None = Field(
        description="Kendall's tau of these pairs: correctly minus wrongly ordered, over all; null without pairs"
    )
    spearman: float | None = Field(
        description="Spearman's rho over all entries of all probes; null with fewer than three entries"
    )


class TeamAudit(Answer):
    """Distillations from two or more teachers of a recommendation.

    Their gains belong to several teachers, so they say nothing about the order in which an estimator put single ones,
    and are counted here only.
    """

    entries: int = Field(default=0, description="Finished ones with a measured gain, among the newest 5,000")
    helped: int = Field(default=0, description="Those whose gain's interval lies above 0")
    hurt: int = Field(default=0, description="Those whose gain's interval lies below 0")
    mean_gain: float | None = None
    latest: list[AuditEntry] = Field(default_factory=list[AuditEntry], description="The newest entries, at most 50")


class Audit(Answer):
    """The record of a deployment: its newest 5,000 distillations from recommended teachers."""

    entries: int = Field(
        description="Finished distillations with a measured gain, from one recommended teacher, among the newest 5,000"
    )
    probes: int = Field(description="Number of distinct probes among them")
    helped: int = Field(description="Entries whose gain interval lies above 0")
    hurt: int = Field(description="Entries whose gain interval lies below 0")
    mean_gain: float | None
    estimators: list[EstimatorAudit] = Field(description="Estimators, best first")
    teams: TeamAudit = Field(default_factory=TeamAudit, description="Distillations from teams; in no other number here")
    latest: list[AuditEntry] = Field(description="The newest entries, at most 50")
