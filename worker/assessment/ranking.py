"""Ranks teachers for a student, by label transport or by prediction transport."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from preceptor.contract.labels import LabelSetBody
from preceptor.contract.recommendations import Mode, RankedTeacher, SkippedTeacher
from worker.label_space import LabelSpace
from worker.transport.exact import coverage_transport, exact_transport
from worker.transport.forced import joint_distribution

from .explanation import explain

Float32 = NDArray[np.float32]
Method = Literal["label_transport", "prediction_transport"]


@dataclass(frozen=True)
class Contender:
    """A label set that takes part: a registered teacher, or a bare candidate (`id` None)."""

    id: str | None
    name: str
    labels: LabelSetBody


@dataclass
class Scored:
    """A contender with its cost and plan."""

    contender: Contender
    cost: float
    plan: NDArray[np.floating]
    ground_cost: Float32
    seconds: float
    cached: dict[str, bool] = field(default_factory=dict[str, bool])


def score_labels(contender: Contender, student: LabelSetBody, space: LabelSpace, mode: Mode) -> Scored:
    """Label transport: OT between the priors, or its teacher-relaxed limit (`coverage`)."""
    started = time.perf_counter()
    cost, hit = space.cost(contender.labels, student)
    b = np.asarray(student.normalised_prior())
    if mode == "coverage":
        solved = coverage_transport(b, cost)
    else:
        solved = exact_transport(np.asarray(contender.labels.normalised_prior()), b, cost)
    return Scored(contender, solved.value, solved.plan, cost, time.perf_counter() - started, {"cost": hit})


def score_predictions(
    contender: Contender,
    student: LabelSetBody,
    space: LabelSpace,
    predict: Callable[[Contender], tuple[Float32, bool]],
    targets: NDArray[np.int64],
) -> Scored:
    """Prediction transport with labelled items (arXiv 2204.11526): the plan is forced, the cost is <J, C>.

    Parameters
    ----------
    predict
        The teacher's probabilities over the probe, shape (N, K), and whether they came from a cache.
    targets
        Student class of every item, shape (N,).
    """
    started = time.perf_counter()
    cost, hit = space.cost(contender.labels, student)
    probabilities, outputs_hit = predict(contender)
    joint = joint_distribution(torch.from_numpy(probabilities), torch.from_numpy(targets), len(student.labels)).numpy()
    value = float((joint * cost).sum())
    return Scored(contender, value, joint, cost, time.perf_counter() - started, {"cost": hit, "outputs": outputs_hit})


def ranked(
    scored: list[Scored], student: LabelSetBody, *, method: Method, top_k: int, sources: int, near: float
) -> list[RankedTeacher]:
    """The best `top_k`, explained. Equal costs are ordered by name, so that the answer repeats."""
    rows: list[RankedTeacher] = []
    best = sorted(scored, key=lambda s: (s.cost, s.contender.name, s.contender.id or ""))[:top_k]
    for position, row in enumerate(best, 1):
        plan = explain(
            row.plan, row.ground_cost, row.contender.labels.labels, student.labels, sources=sources, near=near
        )
        rows.append(
            RankedTeacher(
                rank=position,
                teacher=row.contender.id,
                name=row.contender.name,
                cost=round(row.cost, 6),
                method=method,
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
    """The row of a teacher that could not take part."""
    return SkippedTeacher(teacher=contender.id, name=contender.name, reason=reason)
