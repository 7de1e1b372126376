"""A request that is repeated while it is still being accepted: what one of the two undoes, the other keeps."""

import asyncio
from typing import Any, cast

import pytest

from preceptor.contract.base import now
from preceptor.contract.ids import RECOMMENDATION, TEACHER, VALIDATION, WEBHOOK, new_id
from preceptor.contract.jobs import JobStatus
from preceptor.contract.recommendations import RecommendationBody
from preceptor.contract.teachers import Teacher, TeacherStatus
from preceptor.contract.validations import ValidationBody
from preceptor.contract.webhooks import WebhookBody
from service.core.errors import QueueFull, StateUnavailable
from service.core.jobs.stored import folder, request_key
from service.core.redis import keys
from service.core.settings import Settings
from service.core.state import State

pytestmark = pytest.mark.anyio
REQUEST = RecommendationBody.model_validate({"student": {"labels": ["cat", "dog"]}})


async def test_a_worker_that_finds_a_withdrawn_request_does_not_forget_its_repetition(settings: Settings) -> None:
    async with State(settings) as state:
        await state.ensure_index()
        id = new_id(RECOMMENDATION)
        await state.jobs.submit(id, "recommendation", REQUEST)
        # The first try was answered with 503, and took the request back; a worker has seen that it is gone.
        await state.store.delete(request_key(id))
        await state.jobs.leases.take(id, "a worker")
        assert await state.jobs.records.stored(id) is None
        await state.jobs.submit(id, "recommendation", REQUEST)
        await state.jobs.recovery.withdraw(id)
        found = await state.jobs.get(id)
        assert found is not None
        assert found.status is JobStatus.QUEUED
        assert (await state.jobs.leases.take(id, "another")).code == "taken"


async def test_a_withdrawn_request_that_nobody_repeats_is_forgotten(settings: Settings) -> None:
    async with State(settings) as state:
        await state.ensure_index()
        id = new_id(RECOMMENDATION)
        await state.jobs.submit(id, "recommendation", REQUEST)
        await state.store.delete(request_key(id))
        await state.jobs.recovery.withdraw(id)
        assert await state.jobs.get(id) is None


async def test_two_at_once_leave_a_whole_job_or_none(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    async with State(settings) as state:
        await state.ensure_index()
        id = new_id(RECOMMENDATION)
        record, answers = state.jobs.records.create, iter(("full", "created"))

        async def crowded(*arguments: Any, **named: Any) -> Any:
            if next(answers) == "full":
                await asyncio.sleep(0)  # The other one comes in between.
                return "full"
            return await record(*arguments, **named)

        monkeypatch.setattr(state.jobs.records, "create", crowded)
        first, second = await asyncio.gather(
            *(state.jobs.submit(id, "recommendation", REQUEST) for _ in range(2)), return_exceptions=True
        )
        assert isinstance(first, QueueFull)
        assert not isinstance(second, BaseException)
        assert await state.jobs.records.stored(id) is not None


async def test_a_refused_request_leaves_nothing_that_a_rebuilding_would_run(settings: Settings) -> None:
    async with State(settings.model_copy(update={"max_queue": 4})) as state:
        await state.ensure_index()
        for _ in range(4):
            await state.jobs.submit(new_id(RECOMMENDATION), "recommendation", REQUEST)
        id = new_id(RECOMMENDATION)
        await state.store.put(request_key(id), b"{}")  # The service was killed after it had written this.
        state.jobs.records.waits["recommend"] = 0  # Another process has filled the lane
        with pytest.raises(QueueFull):
            await state.jobs.submit(id, "recommendation", REQUEST)
        assert [key async for key in state.store.list(folder(id))] == []


async def test_a_cancel_that_redis_has_forgotten_is_asked_for_again(settings: Settings) -> None:
    async with State(settings) as state:
        await state.ensure_index()
        id = new_id(RECOMMENDATION)
        await state.jobs.submit(id, "recommendation", REQUEST)
        taken = await state.jobs.leases.take(id, "a worker")
        await state.jobs.cancel(id)
        await cast(Any, state.client).hset(keys.job(id), "status", "running")  # Its last second is lost.
        await state.jobs.recovery.restore()
        assert await state.jobs.leases.renew(id, taken.fence) == "canceling"


async def test_a_cancel_that_comes_with_the_end_leaves_no_note(settings: Settings) -> None:
    async with State(settings) as state:
        await state.ensure_index()
        id = new_id(RECOMMENDATION)
        await state.jobs.submit(id, "recommendation", REQUEST)
        taken = await state.jobs.leases.take(id, "a worker")
        put = state.store.put

        async def ends_first(key: str, data: bytes) -> None:
            state.store.put = put
            assert await state.jobs.leases.end_canceled(id, taken.fence)
            await put(key, data)

        state.store.put = ends_first
        await state.jobs.cancel(id)
        assert not [key async for key in state.store.list(folder(id)) if "cancel" in key]


async def test_webhooks_hear_of_jobs_before_these_are_removed(settings: Settings) -> None:
    async with State(settings.model_copy(update={"job_seconds": 1})) as state:
        await state.ensure_index()
        webhook = new_id(WEBHOOK)
        body = WebhookBody.model_validate({"url": "https://example.org/hook", "events": ["job.canceled"]})
        await state.webhooks.create(webhook, body)
        id = new_id(RECOMMENDATION)
        await state.jobs.submit(id, "recommendation", REQUEST)
        await state.jobs.cancel(id)
        long_ago = (await state.redis_time() - 100) * 1000
        await cast(Any, state.client).zadd(keys.ENDED, {id: long_ago})  # The service was away for long.
        assert await state.jobs.recovery.expire() == 0
        await state.reap()
        deliveries, _ = await state.webhooks.deliveries.page(webhook, None, 10)
        assert [delivery.message.data.id for delivery in deliveries] == [id]
        assert await state.jobs.get(id) is None


async def test_a_teacher_whose_validation_was_canceled_is_not_validating_for_ever(settings: Settings) -> None:
    async with State(settings) as state:
        await state.ensure_index()
        job, moment = new_id(VALIDATION), now()
        teacher = Teacher.model_validate(
            {
                "id": new_id(TEACHER), "name": "a", "modality": "image", "source": {"kind": "transformers"},
                "status": TeacherStatus.VALIDATING, "validation": job, "created_at": moment, "updated_at": moment,
            }
        )  # fmt: skip
        await state.teachers.create(teacher)
        await state.jobs.submit(job, "validation", ValidationBody(teacher=teacher.id))
        await state.reap()
        waiting = await state.teachers.get(teacher.id)
        assert waiting is not None
        assert waiting.status is TeacherStatus.VALIDATING
        await state.jobs.cancel(job)
        await state.reap()
        found = await state.teachers.get(teacher.id)
        assert found is not None
        assert found.status is TeacherStatus.REJECTED
        assert "canceled" in str(found.reason)


async def test_a_full_redis_lets_jobs_keep_their_lease_and_end(settings: Settings) -> None:
    async with State(settings) as state:
        await state.ensure_index()
        ids = [new_id(RECOMMENDATION) for _ in range(3)]
        for id in ids:
            await state.jobs.submit(id, "recommendation", REQUEST)
        taken = [await state.jobs.leases.take(id, "a worker") for id in ids]
        await cast(Any, state.client).config_set("maxmemory", "1mb")
        try:
            with pytest.raises(StateUnavailable, match="out of memory"):
                await state.jobs.submit(new_id(RECOMMENDATION), "recommendation", REQUEST)
            assert await state.jobs.leases.renew(ids[0], taken[0].fence) == "running"
            assert await state.jobs.leases.succeed(ids[0], taken[0].fence, REQUEST)
            assert await state.jobs.leases.save_checkpoint(ids[1], taken[1].fence, b"state")
            await state.jobs.cancel(ids[1])
            assert await state.jobs.leases.end_canceled(ids[1], taken[1].fence)
        finally:
            await cast(Any, state.client).config_set("maxmemory", "0")
        found = [await state.jobs.get(id) for id in ids]
        assert [job and job.status for job in found] == [JobStatus.SUCCEEDED, JobStatus.CANCELED, JobStatus.RUNNING]
