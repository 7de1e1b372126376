"""Teachers that are only checked: found by id alone, and removed when their lifetime is over."""

from datetime import timedelta

import pytest

from preceptor.contract.base import now
from preceptor.contract.ids import TEACHER, VALIDATION, new_id
from preceptor.contract.teachers import Teacher, TeacherBody, TeacherStatus
from service.actions import teachers
from service.core.errors import Conflict
from service.core.state import State
from service.core.teacher_checks import LIFETIME

pytestmark = pytest.mark.anyio

BODY = TeacherBody.model_validate(
    {
        "name": "pets",
        "modality": "features",
        "labels": ["cat", "dog"],
        "source": {"kind": "onnx", "preprocessing": {"modality": "features", "dimension": 4}},
    }
)
HUB = TeacherBody.model_validate(
    {"name": "hub", "modality": "text", "source": {"kind": "hub", "repository": "a/b", "revision": "0" * 40}}
)


async def outlived(state: State, check: Teacher) -> None:
    """Let a check's lifetime be over."""
    await state.teachers.put(check.model_copy(update={"expires_at": now() - timedelta(seconds=1)}))


async def test_a_check_is_in_no_list_and_registers_nothing(state: State) -> None:
    check = await teachers.register(state, BODY, new_id(TEACHER), check=True)
    listed = await teachers.register(state, BODY, new_id(TEACHER))
    assert check.expires_at is not None
    assert now() < check.expires_at <= now() + LIFETIME
    assert check.label_set is None
    assert (await state.teachers.page(None, 10))[0] == [listed]
    assert [one.id async for one in state.teachers.all()] == [listed.id]
    assert await teachers.get(state, check.id) == check
    await state.client.flushall()
    assert await teachers.get(state, check.id) == check
    assert (await state.teachers.page(None, 10))[0] == [listed]


async def test_a_check_that_was_left_behind_is_removed_with_its_files(state: State) -> None:
    check = await teachers.register(state, BODY, new_id(TEACHER), check=True)
    kept = await teachers.register(state, BODY, new_id(TEACHER), check=True)
    await state.store.put(f"teachers/{check.id}/files/model.onnx", b"1")
    await outlived(state, check)
    await state.client.flushall()  # The lifetime is in the store.
    await state.reap()
    assert await state.teachers.get(check.id) is None
    assert [key async for key in state.store.list(f"teachers/{check.id}/")] == []
    assert await state.teachers.get(kept.id) == kept


async def test_a_check_whose_validation_is_pending_is_prolonged(state: State) -> None:
    check = await teachers.register(state, HUB, new_id(TEACHER), check=True)
    assert check.status == TeacherStatus.VALIDATING
    await outlived(state, check)
    await state.reap()
    prolonged = await teachers.get(state, check.id)
    assert prolonged.expires_at is not None
    assert prolonged.expires_at > now()
    await state.jobs.cancel(str(check.validation))
    await outlived(state, check)
    await state.reap()
    assert await state.teachers.get(check.id) is None


async def test_checks_count_as_teachers_where_their_number_is_limited(state: State) -> None:
    state.teachers.most = 1
    await teachers.register(state, BODY, new_id(TEACHER), check=True)
    with pytest.raises(Conflict, match="the maximum"):
        await teachers.register(state, BODY, new_id(TEACHER))


async def test_starting_the_validation_prolongs_a_check(state: State) -> None:
    check = await teachers.register(state, HUB, new_id(TEACHER), check=True)
    soon = now() + timedelta(seconds=5)
    await state.teachers.put(check.model_copy(update={"expires_at": soon, "status": TeacherStatus.AWAITING_FILES}))
    await teachers.start_validation(state, check.id, new_id(VALIDATION))
    prolonged = await teachers.get(state, check.id)
    assert prolonged.expires_at is not None
    assert prolonged.expires_at > soon
