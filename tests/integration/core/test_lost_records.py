"""Redis may lose single records, killed while an index is rebuilt: no acknowledged job is called unknown for it."""

from typing import Any, cast

import pytest

from preceptor.contract.base import now
from preceptor.contract.ids import LABEL_SET, RECOMMENDATION, new_id
from preceptor.contract.jobs import JobStatus
from preceptor.contract.labels import LabelSet
from preceptor.contract.recommendations import RecommendationBody
from service.core.errors import StateUnavailable
from service.core.jobs.stored import request_key
from service.core.redis import keys
from service.core.settings import Settings
from service.core.state import State

pytestmark = pytest.mark.anyio
REQUEST = RecommendationBody.model_validate({"student": {"labels": ["cat", "dog"]}})


async def lose(state: State, id: str) -> None:
    """Remove a job's record and all that names it, and leave the mark of a whole index."""
    lane = "recommend"
    client = cast(Any, state.client)
    await client.delete(keys.job(id), keys.events(id))
    await client.srem(keys.ACTIVE, id)
    for key in (keys.waiting(lane), keys.leases(lane), keys.ENDED):
        await client.zrem(key, id)
    assert await client.exists(keys.MARKER)


async def test_a_lost_record_is_brought_back_when_it_is_asked_for(settings: Settings) -> None:
    async with State(settings) as state:
        await state.ensure_index()
        waiting, canceled = new_id(RECOMMENDATION), new_id(RECOMMENDATION)
        for id in (waiting, canceled):
            await state.jobs.submit(id, "recommendation", REQUEST)
        await state.jobs.cancel(canceled)
        for id in (waiting, canceled):
            await lose(state, id)
        found = [await state.jobs.get(id) for id in (waiting, canceled)]
        assert [job and job.status for job in found] == [JobStatus.QUEUED, JobStatus.CANCELED]
        assert (await state.jobs.leases.take(waiting, "a worker")).code == "taken"


async def test_a_result_is_found_although_its_record_is_lost_at_that_moment(settings: Settings) -> None:
    async with State(settings) as state:
        await state.ensure_index()
        id, running = new_id(RECOMMENDATION), new_id(RECOMMENDATION)
        for each in (id, running):
            await state.jobs.submit(each, "recommendation", REQUEST)
            taken = await state.jobs.leases.take(each, "a worker")
            if each == id:
                assert await state.jobs.leases.succeed(each, taken.fence, REQUEST)
        seen = await state.jobs.get(id)
        assert seen is not None
        assert seen.status is JobStatus.SUCCEEDED
        for each in (id, running):
            await lose(state, each)
        # What the API reads after it has seen the job: Redis was flushed in between.
        assert await state.jobs.records.result(id) == REQUEST.model_dump_json().encode()
        assert await state.jobs.records.result(running) is None


async def test_what_was_never_accepted_stays_unknown(settings: Settings) -> None:
    async with State(settings) as state:
        await state.ensure_index()
        id = new_id(RECOMMENDATION)
        assert await state.jobs.get(id) is None
        await state.jobs.submit(id, "recommendation", REQUEST)
        await lose(state, id)
        await state.store.delete(request_key(id))
        assert await state.jobs.get(id) is None


def label_set(name: str) -> LabelSet:
    return LabelSet(id=new_id(LABEL_SET), labels=["cat", name], created_at=now())


async def test_an_index_that_is_flushed_while_it_is_rebuilt_is_not_called_whole(settings: Settings) -> None:
    async with State(settings) as state:
        await state.ensure_index()
        kept = label_set("dog")
        await state.label_sets.create(kept)
        client = cast(Any, state.client)
        await client.flushall()
        restore = state.jobs.recovery.restore

        async def flushed() -> tuple[int, int]:
            await client.flushall()  # After the records were written, before the mark of a whole index.
            return await restore()

        state.jobs.recovery.restore = flushed
        with pytest.raises(StateUnavailable, match="try again"):
            await state.label_sets.get(kept.id)
        state.jobs.recovery.restore = restore
        assert await state.label_sets.get(kept.id) == kept
        assert (await state.label_sets.page(None, 10))[0] == [kept]
        assert not await client.exists(keys.REBUILDING)


async def test_what_redis_lost_in_its_last_second_is_mended_after_its_restart(settings: Settings) -> None:
    async with State(settings) as state:
        await state.reap()
        created, changed, deleted = label_set("dog"), label_set("bird"), label_set("fish")
        for each in (created, changed, deleted):
            await state.label_sets.create(each)
        after = changed.model_copy(update={"labels": ["cat", "eagle"]})
        await state.label_sets.put(after)
        await state.label_sets.delete(deleted.id)
        # The index as it was a second before, in a server that was started anew.
        record, order = keys.record("label-sets"), keys.order("label-sets")
        client = cast(Any, state.client)
        await client.delete(record, order)
        await state.label_sets.index(changed)
        await state.label_sets.index(deleted)
        await client.set(keys.SERVER, "another")
        assert await state.label_sets.get(created.id) == created
        assert created not in (await state.label_sets.page(None, 10))[0]
        await state.reap()
        found = [await state.label_sets.get(each.id) for each in (created, changed, deleted)]
        assert found == [created, after, None]
        listed, _ = await state.label_sets.page(None, 10)
        assert {each.id for each in listed} == {created.id, changed.id}
