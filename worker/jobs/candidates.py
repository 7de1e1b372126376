"""The teachers scored for a recommendation: the candidates of the request, or the zoo; a large zoo is cut by names."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from preceptor.contract.labels import LabelSetBody
from preceptor.contract.recommendations import RecommendationBody, SkippedTeacher
from preceptor.contract.teachers import Teacher
from service.core.errors import JobFailed
from service.core.state import State
from service.core.storage.probe_file import ProbeData
from worker.label_space import Float32, LabelSpace
from worker.ranking.scoring import Contender
from worker.transport.search import TopK, top_k

from .context import JobContext
from .zoo_index import Entry, ZooIndex

_READ: Final = 200
"""Teachers read per call."""


@dataclass
class CandidateTeachers:
    """The teachers to be scored.

    Attributes
    ----------
    teachers
        By id; empty for candidates.
    considered
        Number of teachers considered, including those that the search by names dropped.
    solved
        Transport problems that the search solved; None without a search.
    failed
        Teachers that cannot be scored, with reasons.
    seconds
        Seconds of the search.
    """

    contenders: list[Contender]
    teachers: dict[str, Teacher] = field(default_factory=dict[str, Teacher])
    considered: int = 0
    solved: int | None = None
    failed: list[SkippedTeacher] = field(default_factory=list[SkippedTeacher])
    seconds: float = 0.0


async def find_candidates(
    context: JobContext,
    zoo_index: ZooIndex,
    body: RecommendationBody,
    student: LabelSetBody,
    data: ProbeData | None,
    space: LabelSpace,
) -> CandidateTeachers:
    """Choose the teachers to be scored.

    Parameters
    ----------
    data
        The probe on which teachers are run; None if no model is run. Then the best `top_k` by names are
        found by exact search. With a probe, all are run up to `shortlist`; above the limit, the nearest by names.

    Raises
    ------
    JobFailed
        No teacher is left.
    """
    if body.candidates is not None:
        given = [
            Contender(None, c.name, LabelSetBody.model_validate(c.model_dump(exclude={"name"})))
            for c in body.candidates
        ]
        return CandidateTeachers(given, considered=len(given))
    await zoo_index.follow(context.state)
    entries = [entry for entry in zoo_index.eligible(body) if data is None or _can_run(entry, body, data)]
    if not entries:
        raise JobFailed("no teacher that fits the request is ready any more")
    found = None
    began = time.perf_counter()
    keep = body.top_k if data is None else body.shortlist
    # Under a budget the nearest by names run first.
    search = data is None or len(entries) > keep or body.budget_seconds is not None
    chosen, failed = [entry.id for entry in entries], list[SkippedTeacher]()
    if search and _in_index(body, student, data):
        known = {entry.key: entry for entry in entries if entry.problem is None}
        unknown = [entry for entry in entries if entry.problem is not None]
        if data is None:
            failed = [SkippedTeacher(teacher=e.id, name=e.name, reason=str(e.problem)) for e in unknown]
            unknown = []
            if not known:
                raise JobFailed(no_teacher_ranked(failed))
        # Teachers without a known name cannot be ranked by names: they get a proportional share of the shortlist.
        places = -(-keep * len(unknown) // len(entries))
        embeddings = await context.compute(space.embed_known if data is not None else space.embed, student)
        chosen = []
        if known and keep > places and embeddings.any():
            found = await context.compute(_nearest, zoo_index, body, student, embeddings, list(known), keep - places)
            chosen = [known[key].id for key in found.ids]
        chosen += [entry.id for entry in (unknown if embeddings.any() else entries)[: keep - len(chosen)]]
    seconds = time.perf_counter() - began
    teachers = {teacher.id: teacher async for teacher in _read(context.state, chosen)}
    contenders = [
        Contender(teacher.id, teacher.name, LabelSetBody(labels=teacher.labels))
        for teacher in teachers.values()
        if teacher.labels
    ]
    return CandidateTeachers(
        contenders, teachers, len(entries), None if found is None else found.solved, failed, seconds
    )


def no_teacher_ranked(failed: list[SkippedTeacher]) -> str:
    """The error message of a recommendation without any scored teacher."""
    return "no teacher could be ranked: " + "; ".join(f"{row.name}: {row.reason}" for row in failed[:5])


def _can_run(entry: Entry, body: RecommendationBody, data: ProbeData) -> bool:
    """Whether the teacher accepts the probe's modality. A teacher named by id is kept: its row states why it fails."""
    named = body.teachers is not None and body.teachers.ids is not None
    return named or entry.opaque or entry.modality == data.modality


def _in_index(body: RecommendationBody, student: LabelSetBody, data: ProbeData | None) -> bool:
    """Whether the index of the default encoder applies; it does not contain costs set in the request."""
    return body.encoder is None and student.embeddings is None and (data is not None or not body.pairs)


def _nearest(
    zoo_index: ZooIndex,
    body: RecommendationBody,
    student: LabelSetBody,
    embeddings: Float32,
    among: list[str],
    keep: int,
) -> TopK:
    """The nearest by the names that the encoder covers; the others have rows of zeros."""
    known = embeddings.any(axis=1)
    prior = np.asarray(student.normalised_prior())[known]
    prior = prior / prior.sum() if prior.sum() > 0 else np.full(len(prior), 1 / len(prior))
    return top_k(zoo_index.index, embeddings[known], prior, keep, mode=body.mode, among=among)


async def _read(state: State, ids: list[str]) -> AsyncIterator[Teacher]:
    for begin in range(0, len(ids), _READ):
        found = await state.teachers.get_many(ids[begin : begin + _READ])
        for teacher in found.values():
            yield teacher
