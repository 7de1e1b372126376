"""Which probes a teacher was trained on, as far as that is known: of students that were distilled here and promoted."""

from typing import Any

from preceptor.contract.teachers import Teacher

from .state import State


async def trained_on(state: State, teacher: Teacher) -> list[str]:
    """Probes whose items a teacher was trained on; empty if it was trained elsewhere, or the record is gone."""
    if teacher.trained_on or teacher.promoted_from is None:
        return list(teacher.trained_on)
    return await lineage_of_student(state, teacher.promoted_from)


async def lineage_of_student(state: State, student: str) -> list[str]:
    """Probes that a student was trained on, with those of the registered model that it started from."""
    found = await state.students.get(student)
    request = None if found is None else await state.jobs.records.request(found.distillation)
    if request is None:
        return []
    probes = [str(request[name]) for name in ("data", "transfer") if request.get(name)]
    start: dict[str, Any] = request.get("student") or {}
    if start.get("kind") == "registered":
        base = await state.teachers.get(str(start.get("teacher")))
        if base is not None:
            probes += base.trained_on  # noted when it was promoted
    return list(dict.fromkeys(probes))
