"""Accept recommendations."""

from preceptor.contract.jobs import JobSummary
from preceptor.contract.recommendations import RecommendationBody
from preceptor.contract.teachers import TeacherStatus
from service.core.errors import Conflict, InvalidRequest
from service.core.labels import label_sets
from service.core.labels.student_labels import require_meaning, student_of_probe, takes_part
from service.core.state import State

from . import probes


async def submit(state: State, body: RecommendationBody, id: str) -> JobSummary:
    """Check a request against what is registered, and queue it.

    Raises
    ------
    NotFound
        The probe or the label set is not there.
    InvalidRequest
        The student's labels are unknown, disagree with the probe's, or are placeholders without a labelled probe.
    Conflict
        No teacher is ready.
    """
    student = None if body.student is None else await label_sets.resolve(state, body.student)
    probe = None
    if body.probe is not None:
        probe = await probes.get(state, body.probe)
        student = student_of_probe(student, probe.labels, body.probe)
        if body.method not in ("auto", "label_transport") and not probe.labelled:
            raise InvalidRequest(
                f"{body.probe} has no labels, and {body.method} needs them. Upload it with labels, or use "
                "label_transport"
            )
    if student is not None:
        require_meaning(student, body, probe is not None and probe.labelled)
    if body.candidates is None:
        await _require_ready(state, body)
    with state.intake.one():
        return await state.jobs.submit(id, "recommendation", body.model_copy(update={"student": student}))


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
