"""Accept distillations."""

import structlog

from preceptor.contract.distillations import DistillationBody, RegisteredStudent
from preceptor.contract.jobs import JobStatus, JobSummary
from preceptor.contract.probes import Probe
from preceptor.contract.recommendations import RecommendationResult
from preceptor.contract.source_kinds import SOURCE_KINDS
from preceptor.contract.teachers import TeacherStatus
from service.core.errors import Conflict, InvalidRequest, NotFound, StateUnavailable, StoreFull, StoreUnavailable
from service.core.labels import label_sets
from service.core.labels.student_labels import student_of_probe
from service.core.lineage import trained_on
from service.core.state import State
from service.core.storage.item_hashes import overlap

from . import audit, probes, teachers
from .uploads import in_thread

log = structlog.stdlib.get_logger(__name__)


async def submit(state: State, body: DistillationBody, id: str) -> JobSummary:
    """Check a request against what is registered, resolve its teachers, and queue it.

    Raises
    ------
    NotFound, InvalidRequest, Conflict
    """
    ranking = None if body.recommendation is None else await _ranking(state, body.recommendation)
    chosen = body.teachers or _first_of(ranking, str(body.recommendation), body.team)
    data = await probes.get(state, body.data)
    if not data.labelled:
        raise InvalidRequest(f"data must be labelled, and {data.id} is not. An unlabelled probe goes into transfer")
    given = None if body.labels is None else await label_sets.resolve(state, body.labels)
    labels = student_of_probe(given, data.labels, data.id)
    for name, probe_id in (("transfer", body.transfer), ("test", body.test)):
        if probe_id is not None:
            _require_alike(name, await probes.get(state, probe_id), data, labels.labels)
    if body.test is not None:
        await _require_apart(state, await probes.get(state, body.test), data)
    if data.modality == "opaque":
        raise InvalidRequest(f"{data.id} is opaque: a student cannot be trained on items that were not uploaded")
    for teacher_id in chosen:
        await _require_ready(state, teacher_id, data)
    if isinstance(body.student, RegisteredStudent):
        await _require_ready(state, body.student.teacher, data)
    resolved = body.model_copy(update={"teachers": chosen, "recommendation": None, "labels": labels})
    with state.intake.one():
        summary = await state.jobs.submit(id, "distillation", resolved)
    if ranking is not None and not await _judged_on_its_own_items(state, body, chosen):
        try:
            await audit.note(state, id, body, ranking, chosen)
        except (StateUnavailable, StoreUnavailable, StoreFull) as error:
            # The job is accepted: an error would say that it is not.
            log.warning("a distillation is not in the audit", job=id, reason=error.detail)
    return summary


async def _judged_on_its_own_items(state: State, body: DistillationBody, chosen: list[str]) -> bool:
    """Whether a teacher was trained on what it is judged on here, which is no evidence for an audit."""
    asked = await state.jobs.records.request(str(body.recommendation)) or {}
    probes = {body.data, body.test, asked.get("probe")}
    found = await state.teachers.get_many(chosen)
    return any([probes & {*await trained_on(state, teacher)} for teacher in found.values()])


async def _ranking(state: State, recommendation: str) -> RecommendationResult:
    summary = await state.jobs.get(recommendation)
    if summary is None:
        raise NotFound(f"There is no recommendation {recommendation}")
    text = await state.jobs.records.result(recommendation)
    if summary.status != JobStatus.SUCCEEDED or text is None:
        raise Conflict(f"{recommendation} is {summary.status.value}; it must have succeeded before it can be used")
    return RecommendationResult.model_validate_json(text)


def _first_of(result: RecommendationResult | None, recommendation: str, team: int) -> list[str]:
    # The team's members complement one another; where it has fewer, more would add nothing.
    rows = [] if result is None else (result.team or result.ranking)
    ids = [row.teacher for row in rows if row.teacher is not None][:team]
    if not ids:
        raise Conflict(f"{recommendation} ranked no registered teacher, so there is none to distil from")
    return ids


def _require_alike(name: str, probe: Probe, data: Probe, labels: list[str]) -> None:
    if probe.modality != data.modality or probe.dimension != data.dimension:
        raise InvalidRequest(
            f"{name} and data must be of one kind: {probe.id} is {_kind(probe)}, {data.id} is {_kind(data)}"
        )
    if name == "test":
        if not probe.labelled:
            raise InvalidRequest(f"test must be labelled, and {probe.id} is not")
        if probe.labels is not None and set(probe.labels) != set(labels):
            raise InvalidRequest(f"test has other classes than data: {sorted(set(probe.labels) ^ set(labels))[:5]}")


async def _require_apart(state: State, test: Probe, data: Probe) -> None:
    """Refuse a test that has items of the training data: its accuracy would be measured on what was learnt.

    Probes without hashes (of earlier versions) are compared by id only; the result of the job warns of that.
    """
    advice = "Leave test out (a part of data is then held out), or send a test without these items"
    if test.id == data.id:
        raise InvalidRequest(f"test and data are the same probe, {data.id}. {advice}")
    measured, trained = await probes.hashes(state, test), await probes.hashes(state, data)
    if measured is None or trained is None:
        return
    shared = await in_thread(overlap, measured, trained, pictures=False)
    if shared.equal:
        raise InvalidRequest(
            f"{shared.equal:,} of {shared.of:,} items of test ({test.id}) are in data ({data.id}), too: "
            f"{shared.shown()} (counted from 0). {advice}"
        )


def _kind(probe: Probe) -> str:
    return probe.modality if probe.dimension is None else f"{probe.modality} of dimension {probe.dimension}"


async def _require_ready(state: State, teacher_id: str, data: Probe) -> None:
    teacher = await teachers.get(state, teacher_id)
    if teacher.status != TeacherStatus.READY:
        raise Conflict(f"{teacher_id} ({teacher.name}) is {teacher.status.value}: {teacher.reason or 'not usable yet'}")
    if teacher.modality != data.modality and SOURCE_KINDS[teacher.source.kind].runs_model:
        raise InvalidRequest(
            f"{teacher_id} ({teacher.name}) takes {teacher.modality}, and {data.id} holds {data.modality}"
        )
