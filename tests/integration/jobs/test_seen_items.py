"""Teachers that were students here are not judged in silence on what they were trained on."""

import io
from collections.abc import AsyncIterator

import numpy as np
import pytest

from preceptor.contract.base import now
from preceptor.contract.distillations import DistillationBody, Student
from preceptor.contract.ids import DISTILLATION, PROBE, STUDENT, TEACHER, new_id
from preceptor.contract.probes import Probe
from preceptor.contract.teachers import Teacher, TeacherBody
from service.actions import teachers
from service.core.lineage import lineage_of_student, trained_on
from service.core.settings import Settings
from service.core.state import State
from service.core.storage import object_keys
from worker.jobs.probe_use import seen_before, warnings_of_test

pytestmark = pytest.mark.anyio
BODY = {
    "modality": "features",
    "labels": ["cat", "dog"],
    "source": {"kind": "onnx", "preprocessing": {"modality": "features", "dimension": 4}},
}


@pytest.fixture
async def state(settings: Settings) -> AsyncIterator[State]:
    """A state with Redis and store."""
    async with State(settings) as state:
        await state.ensure_index()
        yield state


async def probe(state: State, *rows: tuple[int, int], hashed: bool = True) -> str:
    """A stored probe of which only the hashes are there."""
    id = new_id(PROBE)
    if hashed:
        buffer = io.BytesIO()
        np.save(buffer, np.array([(*row, 0) for row in rows], dtype=np.uint64))
        await state.store.put(object_keys.probe_hashes(id), buffer.getvalue())
    described = Probe(
        id=id, modality="text", items=len(rows), labelled=True, labels=["cat", "dog"], format="csv", size=1,
        created_at=now(),
    )  # fmt: skip
    await state.probes.put(described)
    return id


async def teacher(state: State, name: str, *known: str) -> Teacher:
    body = TeacherBody.model_validate({"name": name, **BODY})
    return await teachers.register(state, body, new_id(TEACHER), trained_on=known)


async def test_a_teacher_that_has_seen_the_probe(state: State) -> None:
    asked = await probe(state, (1, 10), (2, 20), (3, 30))
    part = await probe(state, (2, 0), (9, 0))
    other = await probe(state, (7, 10))
    zoo = [
        await teacher(state, "new"),
        await teacher(state, "same", asked),
        await teacher(state, "part", other, part),
        await teacher(state, "other", other),
        await teacher(state, "gone", new_id(PROBE)),
    ]
    same, some = await seen_before(state, asked, zoo)
    assert same.startswith(f"same was trained on {asked}, on which it is judged here")
    assert some.startswith(f"part was trained on 1 of the 3 items of {asked} (they are in {part}, too)")


async def test_where_the_lineage_comes_from(state: State) -> None:
    data, transfer, test = [await probe(state, (number, 0)) for number in range(3)]
    base = await teacher(state, "base", new_id(PROBE))
    body = DistillationBody.model_validate(
        {"teachers": [base.id], "data": data, "transfer": transfer, "test": test,
         "student": {"kind": "registered", "teacher": base.id}}
    )  # fmt: skip
    job = await state.jobs.submit(new_id(DISTILLATION), "distillation", body)
    student = Student(
        id=new_id(STUDENT), distillation=job.id, name="s", labels=["cat", "dog"], artifacts=[], created_at=now()
    )
    await state.students.put(student)
    known = [data, transfer, *base.trained_on]
    assert await lineage_of_student(state, student.id) == known
    old = base.model_copy(update={"promoted_from": student.id, "trained_on": []})
    assert await trained_on(state, old) == known
    assert await trained_on(state, base) == base.trained_on
    assert await lineage_of_student(state, new_id(STUDENT)) == []


async def test_what_a_distillation_says_of_its_test(state: State) -> None:
    data = await probe(state, (1, 10), (2, 20))
    near = await probe(state, (3, 20), (4, 0))
    apart = await probe(state, (5, 50))
    old = await probe(state, (6, 60), hashed=False)
    one = await teacher(state, "seen", near)

    async def said(test: str | None) -> list[str]:
        return await warnings_of_test(state, DistillationBody(teachers=[one.id], data=data, test=test), [one])

    seen, nearly = await said(near)
    assert seen.startswith(f"seen was trained on {near}")
    assert "1 of 2 test items are nearly equal to items of data, for example item 0 is item 1" in nearly
    assert await said(apart) == []
    assert "were not compared item by item" in (await said(old))[0]
    assert await said(None) == []
