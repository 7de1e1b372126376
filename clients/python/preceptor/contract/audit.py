"""The audit: what was said of teachers when they were recommended, and what distilling from them gained."""

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
    of: int = Field(description="Teachers that took part in the recommendation")
    scores: dict[str, float] = Field(description="By estimator, at recommendation time, in its own unit")
    higher_is_better: dict[str, bool] = Field(default_factory=dict[str, bool], description="By estimator")
    accuracy: float | None = Field(default=None, description="With the teacher; null until the distillation has ended")
    gain: Gain | None = Field(default=None, description="Over no teacher; null where that was not measured")


class EstimatorAudit(Answer):
    """How well one estimator foresaw the gains."""

    estimator: str
    entries: int
    pairs: int = Field(description="Pairs of entries of one probe with different gains and scores")
    agreement: float | None = Field(description="Share of these pairs that the estimator ordered right")
    kendall: float | None = Field(description="Kendall's tau of these pairs: right minus wrong, over all; null if none")
    spearman: float | None = Field(
        description="Spearman's rho over all entries, whatever the probe; null with fewer than three"
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
    probes: int = Field(description="Different probes among them")
    helped: int = Field(description="Those whose gain's interval lies above 0")
    hurt: int = Field(description="Those whose gain's interval lies below 0")
    mean_gain: float | None
    estimators: list[EstimatorAudit] = Field(description="The best first")
    teams: TeamAudit = Field(default_factory=TeamAudit, description="Distillations from teams; in no other number here")
    latest: list[AuditEntry] = Field(description="The newest entries, at most 50")
