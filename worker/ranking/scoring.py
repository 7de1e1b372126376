"""Ranks teachers for a student: by label transport, or by an estimator on a labelled probe."""

import time
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from preceptor.contract.labels import LabelSetBody
from preceptor.contract.recommendations import Certainty, Mode, RankedTeacher, SkippedTeacher, UsedMethod
from worker.label_space import LabelSpace, without_gaps
from worker.transport.exact import coverage_transport, exact_transport
from worker.transport.forced import joint_distribution

from .blend import Auto
from .estimators.base import Estimator, Score
from .estimators.evidence import Evidence
from .expected_accuracy import ExpectedAccuracy, expected_accuracy
from .explanation import explain
from .uncertainty import SCORE_TOLERANCE

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Contender:
    """A label set that is ranked: that of a registered teacher, or a candidate without a model (`id` None)."""

    id: str | None
    name: str
    labels: LabelSetBody


@dataclass
class Scored:
    """A contender with its cost and plan.

    Attributes
    ----------
    gaps
        Pairs without a known ground cost, because the label encoder has no word of a label, shape (K, S); on a probe.
    expected
        Its expected accuracy; on a probe.
    """

    contender: Contender
    cost: float
    plan: NDArray[np.floating]
    ground_cost: Float32
    seconds: float
    cached: dict[str, bool] = field(default_factory=dict[str, bool])
    score: Score | None = None
    members: dict[str, Score] = field(default_factory=dict[str, Score])
    evidence: Evidence | None = None
    gaps: NDArray[np.bool_] | None = None
    expected: ExpectedAccuracy | None = None

    @property
    def value(self) -> float:
        """The value that the ranking is by."""
        return self.cost if self.score is None else self.score.value

    @property
    def constant(self) -> bool:
        """Whether the teacher's prediction is the same for every item of the probe."""
        return self.evidence is not None and self.evidence.constant


@dataclass(frozen=True)
class ProbeOutputs:
    """A teacher's outputs on a probe.

    Attributes
    ----------
    probabilities, logits
        Shape (N, K), float32.
    features
        Shape (N, D), float32, if the model exposes them.
    cached
        Whether they came from a cache.
    """

    probabilities: Float32
    logits: Float32
    features: Float32 | None
    cached: bool


def score_labels(contender: Contender, student: LabelSetBody, space: LabelSpace, mode: Mode) -> Scored:
    """Label transport: OT between the priors (`balanced`), or with a free teacher side (`coverage`)."""
    started = time.perf_counter()
    cost, hit = space.cost(contender.labels, student)
    b = np.asarray(student.normalised_prior())
    if mode == "coverage":
        solved = coverage_transport(b, cost)
    else:
        solved = exact_transport(np.asarray(contender.labels.normalised_prior()), b, cost)
    return Scored(contender, solved.value, solved.plan, cost, time.perf_counter() - started, {"cost": hit})


def score_probe(
    contender: Contender,
    student: LabelSetBody,
    space: LabelSpace,
    outputs: ProbeOutputs,
    targets: NDArray[np.int64],
    estimator: Estimator | Auto,
) -> Scored:
    """Score a teacher on labelled items. The plan is that of prediction transport, J, which the labels determine.

    Labels without a vector are far from all others. If one side has no label with a vector, names are not used.

    Parameters
    ----------
    targets
        Student class of every item, shape (N,).
    estimator
        Of a blend, only the members' scores are computed here; `blend` combines them once all teachers are scored. A
        blend uses the log-predictions of every teacher, also of those that expose features: its weights were fitted so.

    Raises
    ------
    MissingEvidence
        The teacher does not provide what the estimator needs.
    """
    started = time.perf_counter()
    known, hit = space.known_cost(contender.labels, student)
    gaps, cost = np.isnan(known), without_gaps(known)
    evidence = Evidence(
        teacher_labels=contender.labels.labels,
        student_labels=student.labels,
        text_cost=None if gaps.all() else cost,
        predictions=outputs.probabilities,
        logits=outputs.logits,
        features=None if isinstance(estimator, Auto) else outputs.features,
        labels=targets,
        teacher=contender.id or contender.name,
    )
    if isinstance(estimator, Auto):
        score, members = None, estimator.member_scores(evidence)
    else:
        score, members = estimator.estimate(evidence), dict[str, Score]()
    prior = None if student.prior is None else np.asarray(student.normalised_prior())
    expected = expected_accuracy(evidence, prior)
    joint = joint_distribution(
        torch.from_numpy(outputs.probabilities), torch.from_numpy(targets), len(student.labels)
    ).numpy()
    return Scored(
        contender,
        float((joint * cost).sum()),
        joint,
        cost,
        time.perf_counter() - started,
        {"cost": hit, "outputs": outputs.cached},
        score,
        members,
        evidence,
        gaps,
        expected,
    )


def blend(scored: list[Scored], auto: Auto) -> None:
    """Set the blended score of every teacher. A teacher with constant predictions is at most equal to any other."""
    scores = auto.blend([row.members for row in scored])
    lowest = min((score.value for row, score in zip(scored, scores, strict=True) if not row.constant), default=None)
    for row, score in zip(scored, scores, strict=True):
        row.score = score
        if row.constant and lowest is not None:
            row.score = Score(min(score.value, lowest), score.influence, score.details)


def best_first(scored: list[Scored], *, higher_is_better: bool) -> list[int]:
    """The order of the ranking, as positions in `scored`.

    Teachers with constant predictions come last: whatever their score, their predictions contain no information.
    Scores on a probe that differ by at most `SCORE_TOLERANCE` are ties. Tied teachers are ordered by transport cost,
    then by name, so that the result is reproducible.
    """
    sign = -1 if higher_is_better else 1

    def tie_break(number: int) -> tuple[float, str, str]:
        row = scored[number]
        return round(row.cost, 6), row.contender.name, row.contender.id or ""

    order = sorted(range(len(scored)), key=lambda n: (scored[n].constant, sign * scored[n].value, *tie_break(n)))
    tied: list[list[int]] = []
    for number in order:
        row = scored[number]
        leader = scored[tied[-1][0]] if tied else None
        if (
            leader is not None
            and row.score is not None
            and row.constant == leader.constant
            and abs(row.value - leader.value) <= SCORE_TOLERANCE
        ):
            tied[-1].append(number)
        else:
            tied.append([number])
    return [number for group in tied for number in sorted(group, key=tie_break)]


def ranked(
    scored: list[Scored],
    student: LabelSetBody,
    *,
    method: UsedMethod,
    higher_is_better: bool,
    certainties: list[Certainty] | None,
    top_k: int,
    sources: int,
    near: float,
) -> list[RankedTeacher]:
    """The best `top_k` teachers with their explanations, in the order of `best_first`."""
    rows: list[RankedTeacher] = []
    for position, number in enumerate(best_first(scored, higher_is_better=higher_is_better)[:top_k], 1):
        row = scored[number]
        plan = explain(
            row.plan, row.ground_cost, row.contender.labels.labels, student.labels, sources=sources, near=near
        )
        rows.append(
            RankedTeacher(
                rank=position,
                teacher=row.contender.id,
                name=row.contender.name,
                cost=round(row.cost, 6),
                score=round(row.value, 6),
                scores={name: round(score.value, 6) for name, score in row.members.items()} or None,
                expected_accuracy=None if row.expected is None else round(row.expected.points, 2),
                expected_accuracy_low=None if row.expected is None else round(row.expected.low, 2),
                expected_accuracy_high=None if row.expected is None else round(row.expected.high, 2),
                method=method,
                certainty=None if certainties is None else certainties[number],
                classes=len(row.contender.labels.labels),
                plan=plan,
                uncovered=[entry.label for entry in plan if not entry.covered],
                seconds=round(row.seconds, 6),
                cached=row.cached,
            )
        )
    return rows


def uncovered_by_all(rows: list[RankedTeacher], student: LabelSetBody) -> list[str]:
    """Student classes that no ranked teacher covers."""
    if not rows:
        return list(student.labels)
    common = set.intersection(*(set(row.uncovered) for row in rows))
    return [label for label in student.labels if label in common]


def skipped(contender: Contender, reason: str) -> SkippedTeacher:
    """The row of a teacher that was not ranked."""
    return SkippedTeacher(teacher=contender.id, name=contender.name, reason=reason)
