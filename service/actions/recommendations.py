"""Accept recommendations."""

from preceptor.contract.jobs import JobSummary
from preceptor.contract.labels import LabelSetBody
from preceptor.contract.recommendations import RecommendationBody
from preceptor.contract.teachers import Teacher, TeacherStatus
from pydantic import ValidationError

from service.state.errors import Conflict, InvalidRequest
from service.state.state import State

from . import label_sets, probes


async def submit(state: State, body: RecommendationBody, id: str) -> JobSummary:
    """Check a request against what is registered, and queue it.

    Raises
    ------
    NotFound
        The probe or the label set is not there.
    InvalidRequest
        The student's labels are unknown or disagree with the probe's.
    Conflict
        No teacher is ready.
    """
    student = None if body.student is None else await label_sets.resolve(state, body.student)
    if body.probe is not None:
        probe = await probes.get(state, body.probe)
        student = student_of_probe(student, probe.labels, body.probe)
        if body.method == "prediction_transport" and not probe.labelled:
            raise InvalidRequest(
                f"{body.probe} has no labels, and prediction_transport needs them. Upload it with labels, or use "
                "label_transport"
            )
    if body.candidates is None:
        await _require_ready(state, body)
    return await state.jobs.submit(id, "recommendation", body.model_copy(update={"student": student}))


def student_of_probe(student: LabelSetBody | None, labels: list[str] | None, probe: str) -> LabelSetBody:
    """The student's label set, which must be the probe's where both are known.

    Raises
    ------
    InvalidRequest
    """
    if student is None:
        if labels is None:
            raise InvalidRequest(f"{probe} does not name its classes; send student.labels")
        try:
            return LabelSetBody(labels=labels)
        except ValidationError as error:
            raise InvalidRequest(
                f"the classes of {probe} cannot be a label set: {error.errors()[0]['msg']}"
            ) from error
    if labels is not None and set(labels) != set(student.labels):
        only_probe = sorted(set(labels) - set(student.labels))[:3]
        only_student = sorted(set(student.labels) - set(labels))[:3]
        raise InvalidRequest(
            f"student.labels and the classes of {probe} differ: only in the probe {only_probe}, only in the "
            f"request {only_student}. Leave student out, or upload the probe with these labels"
        )
    return student


async def _require_ready(state: State, body: RecommendationBody) -> None:
    chosen = body.teachers
    if chosen is not None and chosen.ids is not None:
        found = await state.teachers.get_many(chosen.ids)
        if absent := [id for id in chosen.ids if id not in found]:
            raise InvalidRequest(f"teachers.ids names teachers that do not exist: {', '.join(absent[:5])}")
        if any(teacher.status == TeacherStatus.READY for teacher in found.values()):
            return
        states = ", ".join(f"{teacher.id} is {teacher.status.value}" for teacher in list(found.values())[:5])
        raise Conflict(f"None of the chosen teachers is ready ({states})")
    async for teacher in state.teachers.all():
        if takes_part(teacher, body):
            return
    raise Conflict(
        "No teacher is ready"
        + (" that fits the filter" if chosen is not None else "")
        + ". Register one with POST /v1/teachers, upload its files, validate it; or send candidates (label sets)"
    )


def takes_part(teacher: Teacher, body: RecommendationBody) -> bool:
    """Whether a teacher is ready and passes the request's filter."""
    chosen = body.teachers
    return teacher.status == TeacherStatus.READY and (
        chosen is None
        or (
            (chosen.ids is None or teacher.id in chosen.ids)
            and (chosen.tags is None or set(chosen.tags) <= set(teacher.tags))
            and (chosen.modality is None or chosen.modality == teacher.modality)
        )
    )
