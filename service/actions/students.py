"""Distilled students: find their files, promote them to teachers."""

import json

from preceptor.contract import files
from preceptor.contract.base import now
from preceptor.contract.distillations import Student
from preceptor.contract.ids import VALIDATION, new_id
from preceptor.contract.teachers import StoredFile, Teacher, TeacherBody
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
    student = await get(state, id)
    if student.promoted_to is not None and student.promoted_to != teacher_id:
        existing = await state.teachers.get(student.promoted_to)
        if existing is not None:
            return existing, False
    text = await state.store.get(object_keys.student_artifact(id, "teacher.json"))
    if text is None:
        raise Conflict(f"{id} has no teacher.json and cannot become a teacher")
    body = TeacherBody.model_validate({**json.loads(text), "name": name or student.name})
    teacher = await teachers.register(
        state, body, teacher_id, promoted_from=id, trained_on=await lineage_of_student(state, id)
    )
    entries: list[StoredFile] = []
    for file in student.artifacts:
        if files.refusal(body.source.kind, file.name) is None:
            source = await state.store.local(object_keys.student_artifact(id, file.name))
            if source is not None:
                await state.store.copy_in(object_keys.teacher_file(teacher_id, file.name), source)
                entries.append(file)
    async with state.teachers.lock(teacher_id):
        teacher = await teachers.get(state, teacher_id)
        await state.teachers.put(teacher.model_copy(update={"files": entries, "updated_at": now()}))
    try:
        await teachers.start_validation(state, teacher_id, new_id(VALIDATION))
    except (QueueFull, QuotaReached):
        await state.teachers.delete(teacher_id)  # The answer says that nothing was accepted.
        raise
    async with state.students.lock(id):
        present = await state.students.get(id)
        if present is not None:  # It may have been removed meanwhile.
            await state.students.put(present.model_copy(update={"promoted_to": teacher_id}))
    return await teachers.get(state, teacher_id), True
