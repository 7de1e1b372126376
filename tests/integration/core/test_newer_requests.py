"""Requests of a newer service beside an older worker: left alone, in nobody's way, kept for a newer worker."""

import asyncio

import pytest
from pydantic import BaseModel

from preceptor.contract.ids import RECOMMENDATION, new_id
from preceptor.contract.jobs import JobStatus
from preceptor.contract.recommendations import RecommendationBody
from preceptor.contract.versions import CONTRACT
from service.core.jobs.stored import StoredRequest, request_key
from service.core.redis import keys
from service.core.settings import Settings
from service.core.state import State
from worker.jobs.consumer import Consumer
from worker.jobs.context import JobContext

pytestmark = pytest.mark.anyio


class Answer(BaseModel):
    value: int


async def submit(state: State, **fields: str) -> str:
    id = new_id(RECOMMENDATION)
    body = RecommendationBody.model_validate({"student": {"labels": ["cat", "dog"]}, **fields})
    await state.jobs.submit(id, "recommendation", body)
    return id


async def submit_newer(state: State) -> str:
    """As a service would that knows one version more."""
    id = new_id(RECOMMENDATION)
    stored = StoredRequest(
        id=id, kind="recommendation", created_at_ms=1, request={"unheard_of": 1}, contract=CONTRACT + 1
    )
    await state.store.create(request_key(id), stored.model_dump_json().encode())
    assert await state.jobs.records.create(stored, room=0) == "created"
    await state.lanes.enqueue("recommend", id, 0)
    return id


async def test_a_request_says_what_it_needs(state: State) -> None:
    plain, marked = await submit(state), await submit(state, priority="high")
    for id, contract in ((plain, 1), (marked, 2)):
        stored = await state.jobs.records.stored(id)
        assert stored is not None
        assert stored.contract == contract
        assert ("priority" in stored.request) == (contract == 2)
        request = await state.jobs.records.request(id)
        assert request is not None
        assert request["priority"] == ("high" if contract == 2 else "normal")
    assert await state.client.zrange(keys.turns("recommend"), 0, -1) == [plain]
    assert await state.client.zrange(keys.turns("recommend", 2), 0, -1) == [marked]


async def test_a_request_of_an_older_service_is_of_the_first_version(state: State) -> None:
    id = await submit(state)
    old = {"id": id, "kind": "recommendation", "created_at_ms": 1, "request": {"student": {"labels": ["cat", "dog"]}}}
    assert StoredRequest.model_validate(old).contract == 1


async def test_what_is_too_new_is_not_taken_and_blocks_nobody(state: State) -> None:
    newer = [await submit_newer(state) for _ in range(3)]
    known = [await submit(state), await submit(state, priority="low")]
    for expected in known:
        id, taken = await state.jobs.leases.take_next("recommend", newer[0], "w")
        assert (id, taken.code) == (expected, "taken")
        assert await state.jobs.leases.succeed(id, taken.fence, Answer(value=1))
    assert (await state.jobs.leases.take_next("recommend", newer[0], "w"))[1].code == "newer"
    assert await state.client.zrange(keys.turns("recommend", CONTRACT + 1), 0, -1) == newer
    summary = await state.jobs.get(newer[0])
    assert summary is not None
    assert (summary.status, summary.deliveries, summary.started_at) == (JobStatus.QUEUED, 0, None)


async def test_one_that_an_older_service_lined_up_among_the_others_is_put_right(state: State) -> None:
    newer = await submit_newer(state)
    await state.client.zadd(keys.turns("recommend"), {newer: 0})
    known = await submit(state)
    assert (await state.jobs.leases.take_next("recommend", newer, "w"))[0] == known
    assert await state.client.zrange(keys.turns("recommend"), 0, -1) == []
    assert await state.client.zrange(keys.turns("recommend", CONTRACT + 1), 0, -1) == [newer]


async def test_one_that_is_too_new_can_be_canceled(state: State) -> None:
    newer = await submit_newer(state)
    summary = await state.jobs.cancel(newer)
    assert summary is not None
    assert summary.status == JobStatus.CANCELED
    assert not await state.client.exists(keys.turns("recommend", CONTRACT + 1))


async def test_what_it_needs_survives_the_loss_of_redis(state: State) -> None:
    newer = await submit_newer(state)
    await state.client.flushall()
    await state.ensure_index()
    assert (await state.jobs.leases.take_next("recommend", newer, "w"))[1].code == "newer"


@pytest.mark.parametrize("record_says_so", [True, False])
async def test_an_older_worker_does_the_rest_and_is_not_kept_busy(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, record_says_so: bool
) -> None:
    """Also where an older service has rebuilt the record, which then lacks the version."""
    done: list[str] = []
    looks: list[str] = []

    async def task(context: JobContext, request: dict[str, object]) -> Answer:
        done.append(context.job_id)
        return Answer(value=1)

    async with State(settings) as state:
        await state.ensure_index()
        take = state.jobs.leases.take

        async def counted(id: str, owner: str) -> object:
            looks.append(id)
            return await take(id, owner)

        monkeypatch.setattr(state.jobs.leases, "take", counted)
        newer = [await submit_newer(state) for _ in range(5)]
        if not record_says_so:
            for id in newer:
                await state.client.hdel(keys.job(id), "contract")  # type: ignore[misc]
                await state.client.zrem(keys.turns("recommend", CONTRACT + 1), id)
                await state.client.zadd(keys.turns("recommend"), {id: 0})
        known = [await submit(state) for _ in range(5)]
        consumer = Consumer(state, "recommend", {"recommendation": task})
        running = asyncio.create_task(consumer.run())
        async with asyncio.timeout(30):
            for id in known:
                async for _ in state.events.wake_ups(id):
                    summary = await state.jobs.get(id)
                    if summary is not None and summary.status == JobStatus.SUCCEEDED:
                        break
        consumer.drain()
        await asyncio.wait_for(running, 20)
        assert sorted(done) == sorted(known)
        assert len(looks) <= 40, "one for each job, and one for each quarter of a second"
        stream, later = state.lanes.message_keys("recommend")
        left = await state.client.xlen(stream) + await state.client.zcard(later)
        assert left >= len(newer), "their messages wait for a newer worker"
        for id in newer:
            summary = await state.jobs.get(id)
            assert summary is not None
            assert (summary.status, summary.deliveries) == (JobStatus.QUEUED, 0)
