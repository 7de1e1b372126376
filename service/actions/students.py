"""Distilled students: find their files, promote them to teachers."""

import json

from preceptor.contract import files
from preceptor.contract.base import now
from preceptor.contract.distillations import Student
from preceptor.contract.ids import VALIDATION, new_id
from preceptor.contract.teachers import StoredFile, Teacher, TeacherBody, TeacherStatus
from service.core.errors import Conflict, NotFound, QueueFull, QuotaReached
from service.core.lineage import lineage_of_student
from service.core.state import State
from service.core.storage import object_keys

from . import teachers


async def get(state: State, id: str) -> Student:
    """A student.

    Raises
    ------
    NotFound
    """
    student = await state.students.get(id)
    if student is None:
        raise NotFound(f"There is no student {id}. A distillation that has succeeded names its student")
    return student


async def artifact(state: State, id: str, name: str) -> StoredFile:
    """One file of a student.

    Raises
    ------
    NotFound
    """
    student = await get(state, id)
    for file in student.artifacts:
        if file.name == name:
            return file
    names = ", ".join(file.name for file in student.artifacts)
    raise NotFound(f"{id} has no artifact {name!r}; it has {names}")


async def remove(state: State, id: str) -> None:
    """Remove a student and its files. A teacher that it was promoted to has its own copy of the files and stays.

    Raises
    ------
    NotFound
    """
    async with state.students.lock(id):
        await get(state, id)
        await state.students.delete(id)


async def promote(state: State, id: str, teacher_id: str, name: str | None) -> tuple[Teacher, bool]:
    """Register a student as a teacher, with its files, and start its validation. False where it was one already.

    Raises
    ------
    NotFound, Conflict
    """
    # Whoever asks at the same time waits, and is shown the teacher that was made meanwhile.
    async with state.students.lock(id, "promotion"):
        student = await get(state, id)
        teacher = None if student.promoted_to is None else await state.teachers.get(student.promoted_to)
        if teacher is not None and not _is_unfinished(teacher):
            return teacher, teacher.id == teacher_id
        return await _promoted(state, student, teacher_id if teacher is None else teacher.id, name), True


def _is_unfinished(teacher: Teacher) -> bool:
    """Whether a promotion was cut off before it had started the validation."""
    return teacher.status == TeacherStatus.AWAITING_FILES and teacher.validation is None


async def _promoted(state: State, student: Student, teacher_id: str, name: str | None) -> Teacher:
    text = await state.store.get(object_keys.student_artifact(student.id, "teacher.json"))
    if text is None:
        raise Conflict(f"{student.id} has no teacher.json and cannot become a teacher")
    body = TeacherBody.model_validate({**json.loads(text), "name": name or student.name})
    # The student names its teacher first: a promotion that is cut off is completed by the next one.
    await _name_teacher(state, student.id, teacher_id)
    try:
        known = await lineage_of_student(state, student.id)
        await teachers.register(state, body, teacher_id, promoted_from=student.id, trained_on=known)
        entries: list[StoredFile] = []
        for file in student.artifacts:
            if files.refusal(body.source.kind, file.name) is None:
                source = await state.store.local(object_keys.student_artifact(student.id, file.name))
                if source is not None:
                    await state.store.copy_in(object_keys.teacher_file(teacher_id, file.name), source)
                    entries.append(file)
        async with state.teachers.lock(teacher_id):
            teacher = await teachers.get(state, teacher_id)
            await state.teachers.put(teacher.model_copy(update={"files": entries, "updated_at": now()}))
        await teachers.start_validation(state, teacher_id, new_id(VALIDATION))
    except (QueueFull, QuotaReached):
        await teachers.remove(state, teacher_id)  # The answer says that nothing was accepted.
        await _name_teacher(state, student.id, None)
        raise
    except Conflict:  # There are as many teachers as there may be.
        await _name_teacher(state, student.id, None)
        raise
    return await teachers.get(state, teacher_id)


async def _name_teacher(state: State, id: str, teacher_id: str | None) -> None:
    async with state.students.lock(id):
        student = await state.students.get(id)
        if student is not None:  # It may have been removed meanwhile.
            await state.students.put(student.model_copy(update={"promoted_to": teacher_id}))
