"""Runs a recommendation: load the contenders, rank them, explain."""

import time
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from preceptor.contract.labels import LabelSetBody
from preceptor.contract.recommendations import (
    Certainty,
    ProbeMethod,
    RecommendationBody,
    RecommendationResult,
    SkippedTeacher,
    Timings,
)
from preceptor.contract.teachers import Teacher
from service.state.errors import JobFailed, NotFound
from service.state.probe_file import ProbeData
from service.state.selection import student_of_probe, takes_part
from worker.assessment.certainty import SURE, certainties
from worker.assessment.estimators.base import MissingEvidence
from worker.assessment.estimators.registry import ESTIMATORS
from worker.assessment.ranking import (
    Contender,
    ProbeOutputs,
    Scored,
    ranked,
    score_labels,
    score_probe,
    skipped,
    uncovered_by_all,
)
from worker.label_space import LabelSpace
from worker.teachers.rejection import TeacherUnusable
from worker.transport.search import TopK, top_k

from .access import ContextCache, LoadedTeachers, OutputsOf, outputs_input, probe_data, student_targets
from .context import JobContext, Stopped
from .encoders import Encoders
from .roster import Roster

NEAR: Final = 0.55
"""Ground cost up to which a teacher class counts as near (docs/research/label_encoder.md)."""


_NOBODY: Final = "no teacher that fits the request is ready any more"


class Recommender:
    """Ranks zoos. Keeps the encoder and loaded models between jobs.

    Parameters
    ----------
    encoders
        Gives the encoder of a name; loading one takes seconds, so it keeps them.
    roster
        The zoo, with the index of the default encoder.
    """

    def __init__(self, encoders: Encoders, kept: LoadedTeachers, roster: Roster) -> None:
        self._encoders = encoders
        self._kept = kept
        self._roster = roster

    async def recommend(self, context: JobContext, request: dict[str, Any]) -> RecommendationResult:
        """Rank the zoo for a student.

        Raises
        ------
        JobFailed, NotFound
        """
        started = time.perf_counter()
        body = RecommendationBody.model_validate(request)
        data = None if body.probe is None else await probe_data(context.state, body.probe)
        given = body.student if isinstance(body.student, LabelSetBody) else None
        student = student_of_probe(given, data.label_names, str(body.probe)) if data is not None else given
        if student is None:
            raise JobFailed("the request names no student labels")
        method = _method(body, data)
        if method == "label_transport" and _by_index(body, student):
            result = await self._search(context, body, student, started)
        else:
            result = await self._try_all(context, body, student, data, method, started)
        result.timings.total = round(time.perf_counter() - started, 6)
        summary = await context.state.jobs.get(context.job_id)
        if summary is not None and summary.started_at is not None:
            result.timings.queued = round((summary.started_at - summary.created_at).total_seconds(), 6)
        return result

    async def _search(
        self, context: JobContext, body: RecommendationBody, student: LabelSetBody, started: float
    ) -> RecommendationResult:
        """Exact top-k over the index: only the best teachers are read."""
        await self._roster.follow(context.state)
        eligible = self._roster.eligible(body)
        if not eligible:
            raise JobFailed(_NOBODY)
        failed = [SkippedTeacher(teacher=e.id, name=e.name, reason=e.problem) for e in eligible if e.problem]
        followed = time.perf_counter()
        encoder = self._encoders.get(body.encoder)
        space = LabelSpace(encoder, ContextCache(context, "cost"))
        ids = {entry.key: entry.id for entry in eligible if entry.problem is None}
        if not ids:
            raise JobFailed(_none_ranked(failed))
        found = await context.compute(self._nearest, body, student, space, list(ids))
        searched = time.perf_counter()
        teachers = await context.state.teachers.get_many([ids[key] for key in found.ids])
        chosen = [
            Contender(teacher.id, teacher.name, LabelSetBody(labels=teacher.labels))
            for teacher in teachers.values()
            if teacher.labels
        ]

        def transport() -> list[Scored]:
            return [score_labels(contender, student, space, body.mode) for contender in chosen]

        scored = await context.compute(transport)
        transported = time.perf_counter()
        return _answer(
            body,
            student,
            "label_transport",
            encoder.identity,
            considered=len(eligible),
            solved=found.solved,
            scored=scored,
            failed=failed,
            timings=Timings(
                stages={
                    "load": round(followed - started, 6),
                    "embed": round(space.encoding_seconds, 6),
                    "search": round(searched - followed - space.encoding_seconds, 6),
                    "transport": round(transported - searched, 6),
                },
                caches={"cost": space.use},
            ),
        )

    def _nearest(self, body: RecommendationBody, student: LabelSetBody, space: LabelSpace, among: list[str]) -> TopK:
        embeddings, prior = space.embed(student), np.asarray(student.normalised_prior())
        return top_k(self._roster.index, embeddings, prior, body.top_k, mode=body.mode, among=among)

    async def _try_all(
        self,
        context: JobContext,
        body: RecommendationBody,
        student: LabelSetBody,
        data: ProbeData | None,
        method: Literal["label_transport", ProbeMethod],
        started: float,
    ) -> RecommendationResult:
        """Score every contender: its outputs are needed, or its labels are not in the index."""
        contenders, teachers = await self._contenders(context, body)
        inputs: dict[str, tuple[Path, Path | None] | str] = {}
        if method != "label_transport":
            for teacher in teachers.values():
                try:
                    inputs[teacher.id] = await outputs_input(context.state, teacher, str(body.probe))
                except NotFound as error:
                    inputs[teacher.id] = error.detail
        loaded = time.perf_counter()
        result = await context.compute(self._rank, context, body, student, data, method, contenders, teachers, inputs)
        result.timings.stages["load"] = round(loaded - started, 6)
        return result

    async def _contenders(
        self, context: JobContext, body: RecommendationBody
    ) -> tuple[list[Contender], dict[str, Teacher]]:
        if body.candidates is not None:
            return [
                Contender(None, c.name, LabelSetBody.model_validate(c.model_dump(exclude={"name"})))
                for c in body.candidates
            ], {}
        teachers: dict[str, Teacher] = {}
        async for teacher in context.state.teachers.all():
            if teacher.labels is not None and takes_part(teacher, body):
                teachers[teacher.id] = teacher
        if not teachers:
            raise JobFailed(_NOBODY)
        return [
            Contender(teacher.id, teacher.name, LabelSetBody(labels=teacher.labels or []))
            for teacher in teachers.values()
        ], teachers

    def _rank(
        self,
        context: JobContext,
        body: RecommendationBody,
        student: LabelSetBody,
        data: ProbeData | None,
        method: Literal["label_transport", ProbeMethod],
        contenders: list[Contender],
        teachers: dict[str, Teacher],
        inputs: dict[str, tuple[Path, Path | None] | str],
    ) -> RecommendationResult:
        started = time.perf_counter()
        encoder = self._encoders.get(body.encoder)
        space = LabelSpace(encoder, ContextCache(context, "cost"))
        outputs = OutputsOf(context, self._kept)
        encoder_ready = time.perf_counter()

        def outputs_of(contender: Contender) -> ProbeOutputs:
            found = inputs[str(contender.id)]
            if isinstance(found, str):
                raise TeacherUnusable(found)
            assert data is not None
            teacher = teachers[str(contender.id)]
            given, hit = outputs.over(teacher, *found, str(body.probe), data)
            return ProbeOutputs(given.probabilities(body.temperature), given.logits, given.features, hit)

        estimator, targets = None, None
        if method != "label_transport":
            assert data is not None
            estimator = ESTIMATORS[method]
            targets = student_targets(data, student.labels, str(body.probe))
        scored: list[Scored] = []
        failed: list[SkippedTeacher] = []
        for number, contender in enumerate(contenders, 1):
            context.check()
            try:
                if targets is None or estimator is None:
                    row = score_labels(contender, student, space, body.mode)
                else:
                    row = score_probe(contender, student, space, outputs_of(contender), targets, estimator)
                if not np.isfinite(row.value):
                    raise TeacherUnusable("its score is not a finite number")
            except Stopped:
                raise
            except (TeacherUnusable, MissingEvidence, ValueError) as error:
                reason = error.detail if isinstance(error, TeacherUnusable) else str(error)
                failed.append(skipped(contender, reason))
                context.emit("teacher", {"name": contender.name, "reason": reason})
            else:
                scored.append(row)
                if targets is not None:
                    context.emit("teacher", {"name": contender.name, "score": round(row.value, 6)})
            if targets is not None or number % 100 == 0:
                context.progress(number / len(contenders), f"{number} of {len(contenders)} teachers")
        if not scored:
            raise JobFailed(_none_ranked(failed))
        transported = time.perf_counter()
        sure = None if estimator is None or targets is None else certainties(scored, targets, estimator)
        resampled = time.perf_counter()
        return _answer(
            body,
            student,
            method,
            encoder.identity,
            considered=len(contenders),
            solved=len(scored),
            scored=scored,
            failed=failed,
            higher_is_better=estimator is not None and estimator.higher_is_better,
            sure=sure,
            timings=Timings(
                stages={
                    "encoder": round(encoder_ready - started, 6),
                    "embed": round(space.encoding_seconds, 6),
                    "forward": round(outputs.seconds, 6),
                    "transport": round(transported - encoder_ready - space.encoding_seconds - outputs.seconds, 6),
                    "certainty": round(resampled - transported, 6),
                },
                caches={"cost": space.use, "outputs": outputs.use},
            ),
        )


def _answer(
    body: RecommendationBody,
    student: LabelSetBody,
    method: Literal["label_transport", ProbeMethod],
    encoder: str,
    *,
    considered: int,
    solved: int,
    scored: list[Scored],
    failed: list[SkippedTeacher],
    timings: Timings,
    higher_is_better: bool = False,
    sure: list[Certainty] | None = None,
) -> RecommendationResult:
    """The ranked and explained answer; adds the stage `explain`."""
    started = time.perf_counter()
    rows = ranked(
        scored,
        student,
        method=method,
        higher_is_better=higher_is_better,
        certainties=sure,
        top_k=body.top_k,
        sources=body.sources_per_class,
        near=NEAR,
    )
    uncovered = uncovered_by_all(rows, student)
    warnings: list[str] = []
    if uncovered:
        warnings.append(
            f"no ranked teacher has a class near {', '.join(uncovered[:8])}"
            + (" and others" if len(uncovered) > 8 else "")
            + ": expect little help there"
        )
    if sure is None:
        nothing = len(uncovered) == len(student.labels)
        if nothing:
            warnings.append(
                "no name in the zoo is near any class of the student: send a labelled probe, or add teachers"
            )
    else:
        nothing = max(row.better_than_random for row in sure) < SURE
        if nothing:
            warnings.append(
                "on this probe no teacher is clearly better than one that answers at random: add teachers, send more "
                "labelled items, or train without a teacher"
            )
    timings.stages["explain"] = round(time.perf_counter() - started, 6)
    return RecommendationResult(
        method=method,
        mode=body.mode if method == "label_transport" else None,
        higher_is_better=higher_is_better,
        abstain=nothing,
        encoder=encoder,
        student_labels=student.labels,
        considered=considered,
        solved=solved,
        ranking=rows,
        skipped=failed,
        uncovered=uncovered,
        warnings=warnings,
        timings=timings,
    )


def _none_ranked(failed: list[SkippedTeacher]) -> str:
    return "no teacher could be ranked: " + "; ".join(f"{row.name}: {row.reason}" for row in failed[:5])


def _by_index(body: RecommendationBody, student: LabelSetBody) -> bool:
    """Whether the index of the default encoder answers."""
    return body.candidates is None and body.encoder is None and student.embeddings is None


def _method(body: RecommendationBody, data: ProbeData | None) -> Literal["label_transport", ProbeMethod]:
    if body.method != "auto":
        return body.method
    usable = data is not None and data.labels is not None and body.candidates is None
    return "prediction_transport" if usable else "label_transport"
