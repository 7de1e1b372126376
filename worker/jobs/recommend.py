"""Runs a recommendation: load the contenders, rank them, explain."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from preceptor.contract.labels import LabelSetBody
from preceptor.contract.recommendations import (
    Certainty,
    RankedTeacher,
    RecommendationBody,
    RecommendationResult,
    SkippedTeacher,
    TeamMember,
    Timings,
    UsedMethod,
)
from service.core.errors import JobFailed, NotFound, PreceptorError, StateUnavailable, StoreUnavailable
from service.core.labels.student_labels import student_of_probe
from service.core.storage.probe_file import ProbeData
from worker.errors import ComputationFailed
from worker.label_space import LabelSpace
from worker.ranking.blend import Auto, labelled_blend
from worker.ranking.certainty import BETTER_THAN_RANDOM_LEVEL, certainties
from worker.ranking.estimators.base import MissingEvidence
from worker.ranking.estimators.registry import ESTIMATORS
from worker.ranking.scoring import (
    Contender,
    ProbeOutputs,
    Scored,
    blend,
    ranked,
    score_labels,
    score_probe,
    skipped,
    uncovered_by_all,
)
from worker.ranking.team import choose_team, class_losses
from worker.teachers.errors import TeacherUnusable
from worker.teachers.fingerprint import probe_warnings

from .candidates import CandidateTeachers, find_candidates, no_teacher_ranked
from .context import JobContext
from .label_encoders import CheckedEncoder, Encoders
from .probe_use import nameless, seen_before, unused
from .teacher_access import ContextCache, LoadedTeachers, OutputsOf, outputs_input, probe_data, student_targets
from .zoo_index import ZooIndex

NEAR: Final = 0.55
"""Ground cost up to which a teacher class counts as near (docs/research/label_encoder.md)."""
_MOST_CONCERNS: Final = 20


class Recommender:
    """Ranks zoos. Keeps the encoder and loaded models between jobs.

    Parameters
    ----------
    encoders
        Gives the encoder of a name; loading one takes seconds, so it keeps them.
    zoo_index
        The zoo, with the index of the default encoder.
    """

    def __init__(self, encoders: Encoders, kept: LoadedTeachers, zoo_index: ZooIndex) -> None:
        self._encoders = encoders
        self._kept = kept
        self._zoo_index = zoo_index

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
        method = _method(body, data, student)
        pairs = {(pair.teacher, pair.student): pair.cost for pair in body.pairs or []}
        encoder = await context.compute(self._encoders.get, body.encoder)
        space = LabelSpace(CheckedEncoder(encoder, context.check), ContextCache(context, "cost"), pairs)
        # Before any teacher is asked: names that mean nothing to the encoder are the student's fault alone, and a fault
        # only where nothing but names speaks.
        run_on = None if method == "label_transport" else data
        await context.compute(space.embed if run_on is None else space.embed_known, student)
        candidates = await find_candidates(context, self._zoo_index, body, student, run_on, space)
        inputs: dict[str, tuple[Path, Path | None] | str] = {}
        if run_on is not None:
            for teacher in candidates.teachers.values():
                try:
                    inputs[teacher.id] = await outputs_input(context.state, teacher, str(body.probe))
                except NotFound as error:
                    inputs[teacher.id] = error.detail
        seen = [] if run_on is None else await seen_before(context.state, str(body.probe), candidates.teachers.values())
        loaded = time.perf_counter()
        result = await context.compute(self._rank, context, body, student, run_on, method, space, candidates, inputs)
        result.warnings = [*unused(body, method, data), *nameless(student), *seen, *result.warnings]
        load = {"load": round(loaded - started - candidates.seconds, 6)}
        result.timings.stages = {**load, **result.timings.stages}  # In the order of time: traces lay them end to end.
        result.timings.total = round(time.perf_counter() - started, 6)
        result.timings.queued = await context.state.jobs.records.waited(context.job_id)
        return result

    def _rank(
        self,
        context: JobContext,
        body: RecommendationBody,
        student: LabelSetBody,
        data: ProbeData | None,
        method: UsedMethod,
        space: LabelSpace,
        candidates: CandidateTeachers,
        inputs: dict[str, tuple[Path, Path | None] | str],
    ) -> RecommendationResult:
        started, embedded = time.perf_counter(), space.encoding_seconds
        outputs = OutputsOf(context, self._kept)
        concerns: list[str] = []
        classes = None if data is None or data.labels is None else len(np.unique(data.labels))

        def outputs_of(contender: Contender) -> ProbeOutputs:
            found = inputs[str(contender.id)]
            if isinstance(found, str):
                raise TeacherUnusable(found)
            assert data is not None
            teacher = candidates.teachers[str(contender.id)]
            given, hit = outputs.over(teacher, *found, str(body.probe), data)
            concerns.extend(
                f"{contender.name}: {concern}"
                for concern in probe_warnings(given.logits, teacher.labels or [], classes)
            )
            return ProbeOutputs(given.probabilities(body.temperature), given.logits, given.features, hit)

        estimator, targets = None, None
        if method != "label_transport":
            assert data is not None
            targets = student_targets(data, student.labels, str(body.probe))
            estimator = labelled_blend(targets) if method == "auto" else ESTIMATORS[method]
        scored: list[Scored] = []
        failed = list(candidates.failed)
        for number, contender in enumerate(candidates.contenders, 1):
            context.check()
            if scored and _used_up(body, targets, started):
                failed.append(
                    skipped(contender, f"the budget of {body.budget_seconds:g} s was used up before its turn")
                )
                continue
            try:
                if targets is None or estimator is None:
                    row = score_labels(contender, student, space, body.mode)
                else:
                    row = score_probe(contender, student, space, outputs_of(contender), targets, estimator)
                if not np.isfinite([row.value, *(score.value for score in row.members.values())]).all():
                    raise TeacherUnusable("its score is not a finite number")
            except (StateUnavailable, StoreUnavailable):
                raise
            except (PreceptorError, ComputationFailed, MissingEvidence, ValueError) as error:
                reason = str(error)
                failed.append(skipped(contender, reason))
                context.teacher_failures.append("unusable" if isinstance(error, TeacherUnusable) else "unscored")
                context.emit("teacher", {"name": contender.name, "reason": reason})
            else:
                scored.append(row)
                if targets is not None:
                    scores = {name: round(score.value, 6) for name, score in row.members.items()} or round(row.value, 6)
                    context.emit("teacher", {"name": contender.name, "score": scores})
            if targets is not None or number % 100 == 0:
                context.progress(
                    number / len(candidates.contenders), f"{number} of {len(candidates.contenders)} teachers"
                )
        if not scored:
            raise JobFailed(no_teacher_ranked(failed))
        if isinstance(estimator, Auto):
            blend(scored, estimator)
        transported, embedding = time.perf_counter(), space.encoding_seconds - embedded
        sure = None if estimator is None or targets is None else certainties(scored, targets, estimator)
        resampled = time.perf_counter()
        return _answer(
            body,
            student,
            method,
            space.encoder.identity,
            candidates,
            scored,
            failed,
            higher_is_better=estimator is not None and estimator.higher_is_better,
            targets=targets,
            weights=estimator.used_weights([row.members for row in scored]) if isinstance(estimator, Auto) else None,
            sure=sure,
            concerns=concerns,
            timings=Timings(
                stages={
                    "embed": round(space.encoding_seconds, 6),
                    "search": round(candidates.seconds, 6),
                    "forward": round(outputs.seconds, 6),
                    "transport": round(transported - started - embedding - outputs.seconds, 6),
                    "certainty": round(resampled - transported, 6),
                },
                caches={"cost": space.use, "outputs": outputs.use},
            ),
        )


def _answer(
    body: RecommendationBody,
    student: LabelSetBody,
    method: UsedMethod,
    encoder: str,
    candidates: CandidateTeachers,
    scored: list[Scored],
    failed: list[SkippedTeacher],
    *,
    timings: Timings,
    higher_is_better: bool = False,
    targets: NDArray[np.int64] | None = None,
    weights: dict[str, float] | None = None,
    sure: list[Certainty] | None = None,
    concerns: Sequence[str] = (),
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
    if uncovered and any(row.evidence is None or row.evidence.text_cost is not None for row in scored):
        warnings.append(
            f"no ranked teacher has a class near {', '.join(uncovered[:8])}"
            + (" and others" if len(uncovered) > 8 else "")
            + ": expect little help there"
        )
    if method != "label_transport" and candidates.considered > len(candidates.contenders):
        warnings.append(
            f"of {candidates.considered} teachers, the {body.shortlist} nearest by names were run on the probe; "
            "`shortlist` sets how many"
        )
    warnings.extend([] if nameless(student) else _without_names(scored, student))
    if constant := [row.contender.name for row in scored if row.constant]:
        warnings.append(
            f"{_some(constant)} "
            f"{'gives' if len(constant) == 1 else 'give'} every item of the probe the same answer, which tells nothing "
            "apart: ranked last"
        )
    if sure is None:
        nothing = len(uncovered) == len(student.labels)
        if nothing:
            warnings.append(
                "no name in the zoo is near any class of the student: send a labelled probe, or add teachers"
            )
    else:
        nothing = max(row.better_than_random for row in sure) < BETTER_THAN_RANDOM_LEVEL
        if nothing:
            warnings.append(
                "on this probe no teacher is clearly better than one that answers at random: add teachers, send more "
                "labelled items, or train without a teacher"
            )
    warnings.extend(concerns[:_MOST_CONCERNS])
    if len(concerns) > _MOST_CONCERNS:
        warnings.append(f"{len(concerns) - _MOST_CONCERNS} more teachers have conspicuous outputs on this probe")
    timings.stages["explain"] = round(time.perf_counter() - started, 6)
    return RecommendationResult(
        method=method,
        blend=weights,
        mode=body.mode if method == "label_transport" else None,
        higher_is_better=higher_is_better,
        abstain=nothing,
        encoder=encoder,
        student_labels=student.labels,
        considered=candidates.considered,
        solved=candidates.solved if method == "label_transport" and candidates.solved is not None else len(scored),
        ranking=rows,
        team=_team(scored, student, rows[0], targets),
        skipped=failed,
        uncovered=uncovered,
        warnings=warnings,
        timings=timings,
    )


def _without_names(scored: list[Scored], student: LabelSetBody) -> list[str]:
    """What names could not say, since the encoder knows no word of them."""
    gaps = [(row.contender, row.gaps) for row in scored if row.gaps is not None]
    nameless = [contender for contender, gap in gaps if gap.all()]
    if gaps and len(nameless) == len(gaps):
        return [
            f"the label encoder knows no word of {_some(student.labels)} or none of the teachers' classes: the ranking "
            "rests on the teachers' answers alone, and costs of 1 say nothing; give descriptions in English, or use a "
            "multilingual encoder"
        ]
    notes: list[str] = []
    if nameless:
        notes.append(
            f"the label encoder knows no word of the classes of {_some([one.name for one in nameless])}: estimators "
            "that need names are left out there, which counts as average"
        )
    named = [(contender, gap) for contender, gap in gaps if not gap.all()]
    labels = [label for place, label in enumerate(student.labels) if all(gap[:, place].all() for _, gap in named)]
    labels += [
        label
        for contender, gap in named
        for label, unknown in zip(contender.labels.labels, np.all(gap, axis=1).tolist(), strict=True)
        if unknown
    ]
    if named and labels:
        notes.append(
            f"the label encoder knows no word of {_some(list(dict.fromkeys(labels)))}: by name no class is near"
        )
    return notes


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (" and others" if len(names) > 8 else "")


def _used_up(body: RecommendationBody, targets: NDArray[np.int64] | None, started: float) -> bool:
    """Whether no further teacher may be asked."""
    if body.budget_seconds is None or targets is None:
        return False
    return time.perf_counter() - started > body.budget_seconds


def _team(
    scored: list[Scored], student: LabelSetBody, first: RankedTeacher, targets: NDArray[np.int64] | None
) -> list[TeamMember]:
    """The team around the first of the ranking."""
    leader = next(
        number
        for number, row in enumerate(scored)
        if (row.contender.id, row.contender.name) == (first.teacher, first.name)
    )
    losses, unit = class_losses(scored, targets, len(student.labels))
    chosen = choose_team(losses, np.asarray(student.normalised_prior()), leader, unit)
    return [
        TeamMember(
            teacher=scored[member.number].contender.id,
            name=scored[member.number].contender.name,
            loss=round(member.loss, 6),
            weights={label: round(float(w), 4) for label, w in zip(student.labels, member.weights, strict=True)},
        )
        for member in chosen
    ]


def _method(body: RecommendationBody, data: ProbeData | None, student: LabelSetBody) -> UsedMethod:
    """The method that is used. A probe with one class cannot separate teachers, but its cost can be computed."""
    if body.method != "auto":
        return body.method
    if data is None or data.labels is None or body.candidates is not None:
        return "label_transport"
    targets = student_targets(data, student.labels, str(body.probe))
    return "auto" if len(np.unique(targets)) > 1 else "prediction_transport"
