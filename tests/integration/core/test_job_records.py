"""Job records: the fence lets one write, nothing acknowledged is lost."""

import asyncio
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel

from preceptor.contract.ids import RECOMMENDATION, new_id
from preceptor.contract.jobs import JobStatus
from preceptor.contract.problem import Problem
from preceptor.contract.recommendations import RecommendationBody
from service.core.errors import QueueFull
from service.core.jobs.events import ends
from service.core.lanes import lane_of
from service.core.redis import keys
from service.core.settings import Settings
from service.core.state import State

pytestmark = pytest.mark.anyio
REQUEST = RecommendationBody.model_validate({"student": {"labels": ["cat", "dog"]}})


class Answer(BaseModel):
    value: int


async def submitted(state: State) -> str:
    id = new_id(RECOMMENDATION)
    summary = await state.jobs.submit(id, "recommendation", REQUEST)
    assert summary.status == JobStatus.QUEUED
    return id


async def expire_lease(state: State, id: str) -> None:
    """Make the lease run out, without waiting for it."""
    await state.client.zadd(keys.leases(lane_of(id)), {id: 1})


async def test_a_job_runs_once_from_submission_to_result(state: State) -> None:
    id = await submitted(state)
    taken = await state.jobs.leases.take(id, "w1")
    assert (taken.code, taken.deliveries) == ("taken", 1)
    assert await state.jobs.leases.emit(id, taken.fence, "progress", {"fraction": 0.5, "message": "half"})
    running = await state.jobs.get(id)
    assert running is not None
    assert running.status == JobStatus.RUNNING
    assert running.progress is not None
    assert running.progress.fraction == 0.5
    assert await state.jobs.leases.succeed(id, taken.fence, Answer(value=7))
    assert await state.jobs.records.result(id) == b'{"value":7}'
    names = [(event.event, event.data.get("status")) for event in await state.events.after(id, None)]
    assert names == [("status", "queued"), ("status", "running"), ("progress", None), ("status", "succeeded")]


async def test_a_stale_worker_cannot_write(state: State) -> None:
    id = await submitted(state)
    stale = await state.jobs.leases.take(id, "w1")
    await expire_lease(state, id)
    assert len(await state.jobs.recovery.reap()) == 1
    fresh = await state.jobs.leases.take(id, "w2")
    assert fresh.fence > stale.fence
    assert await state.jobs.leases.renew(id, stale.fence) == "lost"
    assert not await state.jobs.leases.emit(id, stale.fence, "log", {"message": "ghost"})
    assert not await state.jobs.leases.succeed(id, stale.fence, Answer(value=1))
    assert await state.jobs.leases.succeed(id, fresh.fence, Answer(value=2))
    assert not await state.jobs.leases.fail(id, fresh.fence, Problem(type="t", title="t", status=500, detail="late"))
    assert await state.jobs.records.result(id) == b'{"value":2}'
    assert all(event.event != "log" for event in await state.events.after(id, None))


async def test_a_held_job_is_not_taken_twice(state: State) -> None:
    id = await submitted(state)
    assert (await state.jobs.leases.take(id, "w1")).code == "taken"
    assert (await state.jobs.leases.take(id, "w2")).code == "held"


async def test_a_job_that_kills_its_workers_is_exhausted(state: State, settings: Settings) -> None:
    id = await submitted(state)
    codes: list[str] = []
    for _ in range(settings.delivery_limit + 1):
        codes.append((await state.jobs.leases.take(id, "w")).code)
        await expire_lease(state, id)
    assert codes == ["taken"] * settings.delivery_limit + ["exhausted"]


async def test_a_drained_job_keeps_its_deliveries(state: State) -> None:
    id = await submitted(state)
    first = await state.jobs.leases.take(id, "w1")
    assert await state.jobs.leases.release(id, first.fence)
    second = await state.jobs.leases.take(id, "w2")
    assert (second.code, second.deliveries) == ("taken", 1)


async def test_cancel_before_and_during_a_run(state: State) -> None:
    waiting = await submitted(state)
    summary = await state.jobs.cancel(waiting)
    assert summary is not None
    assert summary.status == JobStatus.CANCELED
    assert (await state.jobs.leases.take(waiting, "w")).code == "ended"
    running = await submitted(state)
    taken = await state.jobs.leases.take(running, "w")
    summary = await state.jobs.cancel(running)
    assert summary is not None
    assert summary.status == JobStatus.CANCELING
    assert await state.jobs.leases.renew(running, taken.fence) == "canceling"
    assert await state.jobs.leases.end_canceled(running, taken.fence)
    again = await state.jobs.cancel(running)
    assert again is not None
    assert again.status == JobStatus.CANCELED


async def test_a_canceled_job_whose_worker_died_ends(state: State) -> None:
    id = await submitted(state)
    await state.jobs.leases.take(id, "w")
    await state.jobs.cancel(id)
    await expire_lease(state, id)
    await state.jobs.recovery.reap()
    summary = await state.jobs.get(id)
    assert summary is not None
    assert summary.status == JobStatus.CANCELED


async def test_everything_comes_back_after_redis_lost_all(state: State) -> None:
    done, waiting, running, canceled = [await submitted(state) for _ in range(4)]
    taken = await state.jobs.leases.take(done, "w")
    await state.jobs.leases.succeed(done, taken.fence, Answer(value=3))
    stale = await state.jobs.leases.take(running, "w")
    await state.jobs.cancel(canceled)
    await state.client.flushall()
    for id in (done, waiting, running, canceled):
        assert await state.jobs.get(id) is not None
    assert await state.jobs.records.result(done) == b'{"value":3}'
    statuses = {id: (await state.jobs.get(id)).status for id in (done, waiting, running, canceled)}  # type: ignore[union-attr]
    assert statuses == {
        done: JobStatus.SUCCEEDED,
        waiting: JobStatus.QUEUED,
        running: JobStatus.QUEUED,
        canceled: JobStatus.CANCELED,
    }
    fresh = await state.jobs.leases.take(running, "w2")
    assert fresh.fence > stale.fence
    assert not await state.jobs.leases.succeed(running, stale.fence, Answer(value=9))


async def test_a_full_lane_accepts_nothing(settings: Settings) -> None:
    async with State(settings.model_copy(update={"max_queue": 2})) as state:
        await state.ensure_index()
        for _ in range(2):
            await submitted(state)
        refused = new_id(RECOMMENDATION)
        with pytest.raises(QueueFull) as caught:
            await state.jobs.submit(refused, "recommendation", REQUEST)
        assert caught.value.headers["Retry-After"]
        assert await state.jobs.get(refused) is None
        assert await state.jobs.records.request(refused) is None


async def test_submitting_an_id_again_changes_nothing(state: State) -> None:
    id = await submitted(state)
    taken = await state.jobs.leases.take(id, "w")
    await state.jobs.leases.succeed(id, taken.fence, Answer(value=1))
    again = await state.jobs.submit(id, "recommendation", REQUEST)
    assert again.status == JobStatus.SUCCEEDED
    items, _ = await state.jobs.page(None, 10, "recommendation", None)
    assert [item.id for item in items] == [id]


async def test_pages_are_newest_first_and_complete(state: State) -> None:
    ids = [await submitted(state) for _ in range(5)]
    seen: list[str] = []
    cursor = None
    while True:
        items, cursor = await state.jobs.page(cursor, 2, None, None)
        seen += [item.id for item in items]
        if cursor is None:
            break
    assert sorted(seen) == sorted(ids)
    assert len(seen) == len(set(seen))


async def test_listeners_are_woken_by_every_event(state: State) -> None:
    id = await submitted(state)
    seen: list[str] = []

    async def listen() -> None:
        last = None
        async for _ in state.events.wake_ups(id):
            for event in await state.events.after(id, last):
                last = event.id
                seen.append(event.event)
                if ends(event):
                    return

    listener = asyncio.create_task(listen())
    taken = await state.jobs.leases.take(id, "w")
    for number in range(10):
        await state.jobs.leases.emit(id, taken.fence, "log", {"message": str(number)})
    await state.jobs.leases.succeed(id, taken.fence, Answer(value=1))
    await asyncio.wait_for(listener, 10)
    assert seen == ["status", "status", *["log"] * 10, "status"]


async def test_the_wait_is_told_by_one_clock(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    id = new_id(RECOMMENDATION)
    monkeypatch.setattr(
        "service.core.jobs.jobs.now", lambda: datetime(2001, 1, 1, tzinfo=UTC)
    )  # The service's is wrong.
    await state.jobs.submit(id, "recommendation", REQUEST)
    assert await state.jobs.records.waited(id) == 0
    await state.jobs.leases.take(id, "a worker")
    assert 0 <= await state.jobs.records.waited(id) < 60
    assert await state.jobs.records.waited(new_id(RECOMMENDATION)) == 0
