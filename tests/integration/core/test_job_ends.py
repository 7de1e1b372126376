"""A job ends once: whoever writes its end first has ended it, through outages, races and lost workers."""

import json

import pytest
from pydantic import BaseModel
from redis.exceptions import ConnectionError as RedisConnectionError

from preceptor.contract.base import now
from preceptor.contract.distillations import Student
from preceptor.contract.ids import DISTILLATION, RECOMMENDATION, STUDENT, new_id
from preceptor.contract.jobs import JobStatus
from preceptor.contract.problem import Problem
from preceptor.contract.recommendations import RecommendationBody
from service.core.errors import StateUnavailable, StoreUnavailable
from service.core.jobs import stored as documents
from service.core.lanes import lane_of
from service.core.redis import keys
from service.core.settings import Settings
from service.core.state import State

pytestmark = pytest.mark.anyio
REQUEST = RecommendationBody.model_validate({"student": {"labels": ["cat", "dog"]}})
PROBLEM = Problem(type="t", title="t", status=500, detail="why")


class Answer(BaseModel):
    value: int


async def submitted(state: State, *, distillation: bool = False) -> str:
    id = new_id(DISTILLATION if distillation else RECOMMENDATION)
    await state.jobs.submit(id, "distillation" if distillation else "recommendation", REQUEST)
    return id


async def status_of(state: State, id: str) -> JobStatus:
    summary = await state.jobs.get(id)
    assert summary is not None
    return summary.status


async def expire_lease(state: State, id: str) -> None:
    await state.client.zadd(keys.leases(lane_of(id)), {id: 1})


async def in_store(state: State, id: str) -> set[str]:
    return {key.removeprefix(documents.folder(id)) async for key in state.store.list(documents.folder(id))}


def break_redis_at(state: State, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """The next run of one script fails as if the connection had gone."""
    from service.core.jobs import scripts

    backend = state.jobs._backend  # pyright: ignore[reportPrivateUsage]
    whole = backend.script

    async def broken(text: str, *arguments: object, **more: object) -> object:
        if text == getattr(scripts, script):
            monkeypatch.setattr(backend, "script", whole)
            raise StateUnavailable("gone") from RedisConnectionError("gone")
        return await whole(text, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(backend, "script", broken)


async def test_an_end_that_redis_missed_is_written_by_the_next_try(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = await submitted(state)
    taken = await state.jobs.leases.take(id, "w1")
    break_redis_at(state, monkeypatch, "SETTLE")
    with pytest.raises(StateUnavailable):
        await state.jobs.leases.succeed(id, taken.fence, Answer(value=1))
    assert await status_of(state, id) == JobStatus.RUNNING
    assert await state.jobs.leases.succeed(id, taken.fence, Answer(value=1))
    assert await status_of(state, id) == JobStatus.SUCCEEDED
    assert await state.jobs.leases.succeed(id, taken.fence, Answer(value=1)), (
        "a repetition of its own end is no refusal"
    )
    assert await state.jobs.records.result(id) == b'{"value":1}'


async def test_the_reaper_completes_the_end_of_a_worker_that_died_while_writing_it(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = await submitted(state)
    taken = await state.jobs.leases.take(id, "w1")
    break_redis_at(state, monkeypatch, "SETTLE")
    with pytest.raises(StateUnavailable):
        await state.jobs.leases.succeed(id, taken.fence, Answer(value=1))
    await expire_lease(state, id)
    assert await state.jobs.recovery.reap() == []
    assert await status_of(state, id) == JobStatus.SUCCEEDED
    assert await state.jobs.records.result(id) == b'{"value":1}'


async def test_of_two_ends_the_first_in_the_store_stands(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker is cut off between the store and Redis; another takes over and comes to another end."""
    id = await submitted(state)
    cut_off = await state.jobs.leases.take(id, "w1")
    break_redis_at(state, monkeypatch, "SETTLE")
    with pytest.raises(StateUnavailable):
        await state.jobs.leases.succeed(id, cut_off.fence, Answer(value=1))
    await expire_lease(state, id)
    later = await state.jobs.leases.take(id, "w2")
    assert later.code == "taken"
    assert not await state.jobs.leases.fail(id, later.fence, PROBLEM)
    assert await status_of(state, id) == JobStatus.SUCCEEDED
    assert await state.jobs.records.result(id) == b'{"value":1}'
    events = await state.events.after(id, None)
    ends = [event.data["status"] for event in events if JobStatus(event.data.get("status", "queued")).terminal]
    assert ends == ["succeeded"]


async def test_a_refused_worker_leaves_nothing_behind(state: State) -> None:
    id = await submitted(state, distillation=True)
    stale = await state.jobs.leases.take(id, "w1")
    student = new_id(STUDENT)
    await state.jobs.leases.note_student(id, stale.fence, student)
    await state.store.put(f"students/{student}/artifacts/model.onnx", b"weights")
    await state.students.put(
        Student(id=student, distillation=id, name="s", labels=["a", "b"], artifacts=[], created_at=now())
    )
    await expire_lease(state, id)
    fresh = await state.jobs.leases.take(id, "w2")
    kept = new_id(STUDENT)
    await state.jobs.leases.note_student(id, fresh.fence, kept)
    await state.store.put(f"students/{kept}/artifacts/model.onnx", b"weights")
    assert not await state.jobs.leases.succeed(id, stale.fence, Answer(value=1))
    assert await state.students.get(student) is None
    assert await state.jobs.leases.succeed(id, fresh.fence, Answer(value=2))
    assert [key async for key in state.store.list("students/")] == [f"students/{kept}/artifacts/model.onnx"]
    assert await in_store(state, id) == {
        "request.json", "outcome.json", f"{fresh.fence}/result.json", f"{fresh.fence}/student",
    }  # fmt: skip


async def test_what_killed_deliveries_left_goes_with_the_jobs_end(state: State) -> None:
    id = await submitted(state, distillation=True)
    killed = await state.jobs.leases.take(id, "w1")
    assert await state.jobs.leases.save_checkpoint(id, killed.fence, b"half")
    left = new_id(STUDENT)
    await state.jobs.leases.note_student(id, killed.fence, left)
    await state.store.put(f"students/{left}/artifacts/model.onnx", b"weights")
    await expire_lease(state, id)
    fresh = await state.jobs.leases.take(id, "w2")
    assert await state.jobs.leases.fail(id, fresh.fence, PROBLEM)
    assert await in_store(state, id) == {"request.json", "outcome.json"}
    assert [key async for key in state.store.list("students/")] == []


async def test_a_checkpoint_goes_from_owner_to_owner_and_no_stale_one_counts(state: State) -> None:
    id = await submitted(state, distillation=True)
    first = await state.jobs.leases.take(id, "w1")
    assert await state.jobs.leases.load_checkpoint(id, first.fence) is None
    assert await state.jobs.leases.save_checkpoint(id, first.fence, b"step 10")
    await expire_lease(state, id)
    second = await state.jobs.leases.take(id, "w2")
    assert await state.jobs.leases.load_checkpoint(id, second.fence) == b"step 10"
    assert await state.jobs.leases.save_checkpoint(id, second.fence, b"step 20")
    assert not await state.jobs.leases.save_checkpoint(id, first.fence, b"ghost")
    assert await state.jobs.leases.load_checkpoint(id, first.fence) is None
    await expire_lease(state, id)
    third = await state.jobs.leases.take(id, "w3")
    assert await state.jobs.leases.load_checkpoint(id, third.fence) == b"step 20"


async def test_a_checkpoint_outlives_redis(state: State) -> None:
    id = await submitted(state, distillation=True)
    for owner, text in (("w1", b"step 10"), ("w2", b"step 20")):
        taken = await state.jobs.leases.take(id, owner)
        assert await state.jobs.leases.save_checkpoint(id, taken.fence, text)
        await expire_lease(state, id)
    await state.client.flushall()
    await state.ensure_index()
    fresh = await state.jobs.leases.take(id, "w3")
    assert fresh.code == "taken"
    assert await state.jobs.leases.load_checkpoint(id, fresh.fence) == b"step 20"


async def test_a_cancellation_outlives_redis(state: State) -> None:
    id = await submitted(state)
    await state.jobs.leases.take(id, "w1")
    summary = await state.jobs.cancel(id)
    assert summary is not None
    assert summary.status == JobStatus.CANCELING
    await state.client.flushall()
    assert await status_of(state, id) == JobStatus.CANCELED


async def test_retries_wait_longer_each_time_and_count_no_delivery(settings: Settings) -> None:
    few = settings.model_copy(update={"retry_limit": 3, "retry_seconds": 100.0, "retry_max_seconds": 300.0})
    async with State(few) as state:
        await state.ensure_index()
        id = await submitted(state)
        delays: list[float | None] = []
        for _ in range(4):
            taken = await state.jobs.leases.take(id, "w")
            assert (taken.code, taken.deliveries) == ("taken", 1)
            delays.append(await state.jobs.leases.retry(id, taken.fence))
            if delays[-1] is None:
                assert await state.jobs.leases.fail(id, taken.fence, PROBLEM)
                break
            assert (await state.jobs.leases.take(id, "w")).code == "delayed"
            await state.jobs.recovery.reap()
            assert (await state.jobs.leases.take(id, "w")).code == "delayed"
            await state.client.zadd(keys.delayed(lane_of(id)), {id: 1})
            await state.jobs.recovery.reap()
            assert await state.jobs.leases.retry(id, taken.fence) == 0, "a stale fence hands nothing back"
        assert delays == [100.0, 200.0, 300.0, None]
        assert await status_of(state, id) == JobStatus.FAILED


async def test_a_lost_message_is_replaced(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    id = await submitted(state)
    stream, _ = state.lanes.message_keys("recommend")
    assert await state.client.xlen(stream) == 1
    async for key in state.client.scan_iter("preceptor-recommend*"):
        await state.client.delete(key)
    await state.jobs.recovery.reap()
    assert await state.client.xlen(stream) == 0, "its message may still be under way"
    await state.client.zadd(keys.waiting("recommend"), {id: 1})
    await state.jobs.recovery.reap()
    await state.jobs.recovery.reap()
    assert await state.client.xlen(stream) == 1


async def test_the_last_second_of_a_restarted_redis_is_made_good(state: State) -> None:
    """Redis writes its file once a second: after a power cut it may lack a job that was acknowledged."""
    await state.reap()
    lost, ended, kept = [await submitted(state) for _ in range(3)]
    taken = await state.jobs.leases.take(ended, "w")
    await state.jobs.leases.succeed(ended, taken.fence, Answer(value=1))
    await state.client.delete(keys.job(lost), keys.events(lost))
    await state.client.hset(keys.job(ended), "status", "running")
    await state.reap()
    assert not await state.client.exists(keys.job(lost)), "it is the same server"
    await state.client.set(keys.SERVER, "the server before")
    await state.reap()
    assert [await status_of(state, id) for id in (lost, ended, kept)] == ["queued", "succeeded", "queued"]


async def test_a_request_that_was_refused_is_not_run(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis made the record, its answer was lost, the caller was told that nothing was accepted."""
    id = await submitted(state)
    await state.store.delete(documents.request_key(id))
    await state.jobs.leases.take(id, "w")
    await state.jobs.records.forget(id)
    assert await state.jobs.get(id) is None
    assert (await state.jobs.page(None, 10, None, None))[0] == []
    assert await state.client.smembers(keys.ACTIVE) == set()


async def test_a_repeated_take_of_one_attempt_is_one_delivery(state: State) -> None:
    """The client library sends a command again when its answer is lost."""
    id = await submitted(state)
    first = await state.jobs.leases.take(id, "w1-attempt")
    assert await state.jobs.leases.take(id, "w1-attempt") == first
    assert (await state.jobs.leases.take(id, "w1-other")).code == "held"


async def test_leases_are_trusted_only_after_an_outage_is_over(settings: Settings) -> None:
    async with State(settings.model_copy(update={"lease_seconds": 1000.0})) as state:
        await state.ensure_index()
        id = await submitted(state)
        await state.jobs.leases.take(id, "w1")
        await expire_lease(state, id)
        await state.reap()
        assert await status_of(state, id) == JobStatus.RUNNING, "the reaper has only just come"
        state._trusted_from = 0.0
        await state.reap()
        assert await status_of(state, id) == JobStatus.QUEUED


async def test_ended_jobs_expire_everywhere(settings: Settings) -> None:
    async with State(settings.model_copy(update={"job_seconds": 3600})) as state:
        await state.ensure_index()
        old, fresh, waiting = [await submitted(state) for _ in range(3)]
        for id in (old, fresh):
            taken = await state.jobs.leases.take(id, "w")
            assert await state.jobs.leases.succeed(id, taken.fence, Answer(value=1))
        await state.client.zadd(keys.ENDED, {old: 1})
        await state.reap()
        assert await state.jobs.get(old) is None
        assert await in_store(state, old) == set()
        assert [item.id for item in (await state.jobs.page(None, 10, None, None))[0]] == [waiting, fresh]
        await state.client.flushall()
        assert await state.jobs.get(old) is None
        assert await status_of(state, fresh) == JobStatus.SUCCEEDED


async def test_a_store_that_refuses_leaves_the_job_to_be_ended_later(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = await submitted(state)
    taken = await state.jobs.leases.take(id, "w")
    whole = state.store.create

    async def read_only(key: str, data: bytes) -> bool:
        raise StoreUnavailable("read-only")

    monkeypatch.setattr(state.store, "create", read_only)
    with pytest.raises(StoreUnavailable):
        await state.jobs.leases.succeed(id, taken.fence, Answer(value=1))
    assert await status_of(state, id) == JobStatus.RUNNING
    monkeypatch.setattr(state.store, "create", whole)
    assert await state.jobs.leases.succeed(id, taken.fence, Answer(value=1))
    text = await state.store.get(documents.outcome_key(id))
    assert text is not None
    assert json.loads(text)["status"] == "succeeded"
