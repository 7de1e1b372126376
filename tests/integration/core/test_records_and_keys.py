"""Records, idempotency, caches."""

import pytest
from redis.exceptions import RedisError

from preceptor.contract.base import now
from preceptor.contract.ids import TEACHER, new_id
from preceptor.contract.teachers import Teacher, TeacherStatus, TransformersSource
from service.core.errors import IdempotencyMismatch, InvalidRequest
from service.core.jobs.idempotency import StoredAnswer
from service.core.redis import keys as redis_keys
from service.core.redis.blob_cache import cache_digest
from service.core.state import State

pytestmark = pytest.mark.anyio


def teacher(name: str) -> Teacher:
    return Teacher(
        id=new_id(TEACHER),
        name=name,
        status=TeacherStatus.READY,
        source=TransformersSource(),
        modality="image",
        created_at=now(),
        updated_at=now(),
    )


async def test_records_survive_the_loss_of_redis(state: State) -> None:
    kept, gone = teacher("kept"), teacher("gone")
    await state.teachers.put(kept)
    await state.teachers.put(gone)
    await state.teachers.delete(gone.id)
    await state.client.flushall()
    assert await state.teachers.get(kept.id) == kept
    assert await state.teachers.get(gone.id) is None
    items, cursor = await state.teachers.page(None, 10)
    assert ([item.id for item in items], cursor) == ([kept.id], None)


async def test_filtered_pages_are_full_and_complete(state: State) -> None:
    everyone = [teacher(f"t{number}") for number in range(25)]
    for one in everyone:
        await state.teachers.put(one)
    wanted = {one.id for one in everyone if int(one.name[1:]) % 3 == 0}
    seen: list[str] = []
    cursor = None
    while True:
        items, cursor = await state.teachers.page(cursor, 4, lambda one: one.id in wanted)
        seen += [item.id for item in items]
        if cursor is None:
            break
        assert len(items) == 4
    assert sorted(seen) == sorted(wanted)


async def test_create_keeps_the_first(state: State) -> None:
    first = teacher("first")
    assert await state.teachers.create(first) == (first, True)
    second = first.model_copy(update={"name": "second"})
    assert await state.teachers.create(second) == (first, False)


@pytest.mark.parametrize("cursor", ["", "x", "é", "AAAA", "MDAwMDAwMDAwMDAwMDo", "a" * 200])
async def test_a_foreign_cursor_is_refused(state: State, cursor: str) -> None:
    if cursor == "":
        assert (await state.teachers.page(cursor, 5))[0] == []
        return
    with pytest.raises(InvalidRequest, match="cursor"):
        await state.teachers.page(cursor, 5)


async def test_an_idempotency_key_reserves_one_id(state: State) -> None:
    keys = state.idempotency
    first = await keys.begin("POST /x", "k", "body", "id-1")
    assert (first.state, first.id) == ("new", "id-1")
    resumed = await keys.begin("POST /x", "k", "body", "id-2")
    assert (resumed.state, resumed.id) == ("resumed", "id-1")
    answer = StoredAnswer(201, {"location": "/x/id-1"}, "{}")
    await keys.complete("POST /x", "k", "id-1", answer)
    done = await keys.begin("POST /x", "k", "body", "id-3")
    assert (done.state, done.id, done.answer) == ("done", "id-1", answer)
    with pytest.raises(IdempotencyMismatch):
        await keys.begin("POST /x", "k", "other", "id-4")
    assert (await keys.begin("POST /y", "k", "other", "id-5")).state == "new"


async def test_the_reaper_removes_what_has_expired(state: State) -> None:
    await state.idempotency.begin("POST /x", "k", "body", "id-1")
    (entry,) = await state.client.zrange(redis_keys.EXPIRING, 0, -1)
    await state.reap()
    assert await state.client.exists(entry)
    await state.client.zadd(redis_keys.EXPIRING, {entry: 1})
    await state.reap()
    assert not await state.client.exists(entry)
    assert await state.client.zcard(redis_keys.EXPIRING) == 0


async def test_the_cache_is_the_only_evictable_thing(state: State) -> None:
    digest = cache_digest(["a", b"b"])
    assert await state.cache.put("cost", digest, b"\x00\xff")
    assert await state.cache.get("cost", digest) == b"\x00\xff"
    assert await state.cache.get("outputs", digest) is None
    assert not await state.cache.put("cost", digest, b"0" * (state.settings.max_cached_bytes + 1))
    await state.teachers.put(teacher("one"))
    await state.idempotency.begin("POST /x", "k", "body", "id-1")
    volatile = [key async for key in state.client.scan_iter() if await state.client.ttl(key) >= 0]
    assert volatile == [redis_keys.cache("cost", digest)]


def test_cache_digests_keep_parts_apart() -> None:
    assert cache_digest(["ab", "c"]) != cache_digest(["a", "bc"])


async def test_an_unreachable_redis_is_a_miss_for_the_cache(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RedisError("gone")

    monkeypatch.setattr(state.cache._client, "get", broken)
    assert await state.cache.get("cost", "x") is None
