"""The validation of a teacher that is only checked: its result holds the teacher, the zoo does not."""

import pytest

from preceptor.contract.ids import TEACHER, new_id
from preceptor.contract.teachers import Teacher, TeacherBody, TeacherStatus
from preceptor.contract.validations import ValidationBody, ValidationResult
from service.actions import teachers
from service.core.settings import Settings
from service.core.state import State
from worker.jobs.context import JobContext
from worker.jobs.validate import validate

pytestmark = pytest.mark.anyio

BODY = TeacherBody.model_validate(
    {"name": "box", "modality": "text", "labels": ["cat", "dog"], "source": {"kind": "predictions"}}
)


async def validated(state: State, settings: Settings, *, check: bool) -> tuple[Teacher, ValidationResult]:
    """Register a teacher that needs no files and run its validation -> the teacher as stored, the result."""
    teacher = await teachers.register(state, BODY, new_id(TEACHER), check=check)
    job = str(teacher.validation)
    taken = await state.jobs.leases.take(job, "test-worker")
    context = JobContext(state, job, taken.fence)
    result = await validate(context, ValidationBody(teacher=teacher.id).model_dump(), settings)
    await context.close()
    return await teachers.get(state, teacher.id), result


async def test_the_result_of_a_check_is_the_teacher_that_there_would_be(state: State, settings: Settings) -> None:
    stored, result = await validated(state, settings, check=True)
    assert stored.status == TeacherStatus.VALIDATING, "it must never be ready for use"
    assert result.status == TeacherStatus.READY
    assert result.teacher is not None
    assert (result.teacher.id, result.teacher.status) == (stored.id, TeacherStatus.READY)
    assert (result.teacher.labels, result.teacher.label_set) == (["cat", "dog"], None)
    assert (await state.label_sets.page(None, 10))[0] == []


async def test_a_registered_teacher_is_ready_itself(state: State, settings: Settings) -> None:
    stored, result = await validated(state, settings, check=False)
    assert (stored.status, result.status, result.teacher) == (TeacherStatus.READY, TeacherStatus.READY, None)
    assert stored.label_set is not None
