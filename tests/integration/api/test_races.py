"""The same thing asked for many times at once, by callers of several processes, is done once and whole."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest

from preceptor.contract.base import now
from preceptor.contract.ids import PROBE, TEACHER, VALIDATION, new_id
from preceptor.contract.labels import LabelSetBody
from preceptor.contract.probes import Probe
from preceptor.contract.teachers import TeacherBody, TeacherStatus
from service.actions import probes, students, teachers
from service.actions.uploads import Staged
from service.core.errors import Conflict, NotFound, QueueFull, StateUnavailable, StoreUnavailable
from service.core.labels import label_sets
from service.core.redis.locks import exclusive
from service.core.settings import Settings
from service.core.state import State
from service.core.storage import object_keys

from .seeds import ARTIFACT, Seeds, _plant

pytestmark = pytest.mark.anyio


@pytest.fixture
async def planted(settings: Settings) -> Seeds:
    return await _plant(settings)


@pytest.fixture
async def other(settings: Settings) -> AsyncIterator[State]:
    """The state of another process."""
    async with State(settings) as opened:
        yield opened


async def zoo(state: State) -> list[str]:
    return [teacher.id async for teacher in state.teachers.all()]


async def outcomes(*work: Any) -> list[Any]:
    return await asyncio.gather(*work, return_exceptions=True)


def staged(state: State, content: bytes) -> Staged:
    path = state.store.staging / hashlib.sha256(content).hexdigest()
    path.write_bytes(content)
    return Staged(path, len(content), path.name)


async def test_a_student_that_is_promoted_many_times_at_once_becomes_one_teacher(
    state: State, other: State, planted: Seeds
) -> None:
    before = set(await zoo(state))
    ids = [new_id(TEACHER) for _ in range(20)]
    made = await asyncio.gather(
        *(students.promote((state, other)[number % 2], planted.student, id, None) for number, id in enumerate(ids))
    )
    (teacher,) = set(await zoo(state)) - before
    assert {found.id for found, _ in made} == {teacher}
    assert [found.id for found, fresh in made if fresh] == [teacher]
    assert {found.status for found, _ in made} == {TeacherStatus.VALIDATING}
    assert (await students.get(other, planted.student)).promoted_to == teacher
    summaries, _ = await state.jobs.page(None, 100, "validation", None)
    assert len(summaries) == 2, "of the black box, and of this teacher"
    # Asked again under its id, it is what was made; the teacher itself is left alone.
    again, fresh = await students.promote(state, planted.student, teacher, None)
    assert (again.id, fresh, again.validation) == (teacher, True, made[0][0].validation)


async def test_a_promotion_that_was_cut_off_is_completed_by_the_next(
    state: State, planted: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(await zoo(state))

    async def failing(*_: Any) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as broken:
        broken.setattr(teachers, "start_validation", failing)
        with pytest.raises(StoreUnavailable):
            await students.promote(state, planted.student, new_id(TEACHER), None)
    (first,) = set(await zoo(state)) - before
    teacher, fresh = await students.promote(state, planted.student, new_id(TEACHER), None)
    assert (teacher.id, fresh, teacher.status) == (first, True, TeacherStatus.VALIDATING)
    assert set(await zoo(state)) - before == {first}
    assert [file.name for file in teacher.files] == ["model.onnx"]
    assert await state.store.get(object_keys.teacher_file(first, "model.onnx")) == ARTIFACT


async def test_a_promotion_that_the_queue_refuses_leaves_nothing(
    state: State, planted: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await zoo(state)

    async def full(*_: Any) -> None:
        raise QueueFull("full")

    with monkeypatch.context() as refusing:
        refusing.setattr(teachers, "start_validation", full)
        found = await outcomes(*(students.promote(state, planted.student, new_id(TEACHER), None) for _ in range(5)))
    assert {type(each) for each in found} == {QueueFull}
    assert await zoo(state) == before
    assert (await students.get(state, planted.student)).promoted_to is None
    _, fresh = await students.promote(state, planted.student, new_id(TEACHER), None)
    assert fresh


async def test_a_removed_teacher_can_be_made_from_its_student_again(state: State, planted: Seeds) -> None:
    first, _ = await students.promote(state, planted.student, new_id(TEACHER), None)
    await teachers.remove(state, first.id)
    second, fresh = await students.promote(state, planted.student, new_id(TEACHER), None)
    assert fresh
    assert second.id != first.id


async def test_the_record_of_a_file_describes_the_bytes_that_are_there(
    state: State, other: State, planted: Seeds
) -> None:
    contents = [b"%d" % number * 1000 for number in range(8)]
    await asyncio.gather(
        *(
            teachers.add_file(place, planted.teacher, "model.onnx", staged(place, content))
            for place, content in zip((state, other) * 4, contents, strict=True)
        )
    )
    (file,) = (await teachers.get(state, planted.teacher)).files
    stored = await state.store.get(object_keys.teacher_file(planted.teacher, "model.onnx"))
    assert stored is not None
    assert (file.size, file.sha256) == (len(stored), hashlib.sha256(stored).hexdigest())


@pytest.mark.parametrize("meanwhile", ["validated", "removed"])
async def test_a_file_that_comes_too_late_is_not_left_beside_the_others(
    state: State, meanwhile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = TeacherBody.model_validate({"name": "t", "modality": "text", "source": {"kind": "transformers"}})
    id = (await teachers.register(state, body, new_id(TEACHER))).id
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        await teachers.add_file(state, id, name, staged(state, name.encode()))
    adopt = state.store.adopt

    async def interrupted(*given: Any) -> Any:
        done = await adopt(*given)
        if meanwhile == "validated":
            await teachers.start_validation(state, id, new_id(VALIDATION))
        else:
            await teachers.remove(state, id)
        return done

    monkeypatch.setattr(state.store, "adopt", interrupted)
    with pytest.raises((Conflict, NotFound)):
        await teachers.add_file(state, id, "vocab.txt", staged(state, b"late"))
    assert await state.store.head(object_keys.teacher_file(id, "vocab.txt")) is None
    if meanwhile == "validated":
        assert (await teachers.get(state, id)).status == TeacherStatus.VALIDATING


async def test_one_of_two_removals_finds_nothing(state: State, other: State, planted: Seeds) -> None:
    found = await outcomes(*(teachers.remove(place, planted.box) for place in (state, other)))
    assert sorted(type(each).__name__ for each in found) == ["NoneType", "NotFound"]
    found = await outcomes(*(label_sets.remove(place, planted.label_set) for place in (state, other)))
    assert sorted(type(each).__name__ for each in found) == ["NoneType", "NotFound"]


async def turns() -> None:
    """Let what was started come to where it waits."""
    for _ in range(200):
        await asyncio.sleep(0)


class Gate:
    """Holds a removal between the record and its files."""

    def __init__(self, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()
        delete_prefix = state.store.delete_prefix

        async def held(prefix: str) -> Any:
            self.reached.set()
            await self.open.wait()
            return await delete_prefix(prefix)

        monkeypatch.setattr(state.store, "delete_prefix", held)


async def test_a_label_set_registered_while_it_is_removed_is_kept(
    state: State, other: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = LabelSetBody(labels=["a", "b"])
    id = (await label_sets.register(state, body))[0].id
    gate = Gate(state, monkeypatch)
    removing = asyncio.create_task(label_sets.remove(state, id))
    await gate.reached.wait()
    monkeypatch.setattr(other.label_sets, "get", lambda _: _nothing())  # It has looked already.
    registering = asyncio.create_task(label_sets.register(other, body))
    await turns()
    gate.open.set()
    await removing
    _, fresh = await registering
    assert fresh
    assert await state.label_sets.stored(id) is not None
    assert id in [found.id async for found in state.label_sets.all()]


async def _nothing() -> None:
    return None


async def test_a_probe_added_while_it_is_removed_has_its_items(
    state: State, other: State, planted: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ingested(*_: Any, **__: Any) -> Any:
        class Ingested:
            digest = hashlib.sha256(b"content").hexdigest()
            notes: ClassVar[dict[str, Any]] = {}
            description = Probe(
                id=new_id(PROBE), modality="features", items=4, labelled=False, dimension=4, format="npz", size=100,
                created_at=now(),
            ).model_dump(exclude={"id", "created_at"})  # fmt: skip

        async def answer() -> Any:
            (_[1].path.with_suffix(".parquet")).write_bytes(b"items")
            return Ingested()

        return answer()

    monkeypatch.setattr(probes, "_ingested", ingested)
    probe, fresh = await probes.add(state, staged(state, b"upload"), None, None, None)
    assert fresh
    gate = Gate(state, monkeypatch)
    removing = asyncio.create_task(probes.remove(state, probe.id))
    await gate.reached.wait()
    adding = asyncio.create_task(probes.add(other, staged(other, b"upload"), None, None, None))
    await turns()
    gate.open.set()
    await removing
    again, fresh = await adding
    assert (again.id, fresh) == (probe.id, True)
    assert await state.probes.stored(probe.id) is not None
    assert await state.store.get(object_keys.probe_items(probe.id)) == b"items"


async def test_a_lock_lasts_as_long_as_its_owner(state: State, other: State) -> None:
    async with exclusive(state.client, "held", seconds=0.3, wait=0.1, busy="busy"):
        renewals = 0
        left = await state.client.pttl("held")
        while renewals < 3:  # Longer than it would last without its owner.
            before, left = left, await state.client.pttl("held")
            assert left > 0
            renewals += left > before
        with pytest.raises(StateUnavailable, match="busy"):
            async with exclusive(other.client, "held", seconds=0.3, wait=0.05, busy="busy"):
                pass
    async with exclusive(other.client, "held", seconds=0.3, wait=0.05, busy="busy"):
        pass
