"""A worker on a lane: cancels, drains, retries, time limits and threads that do not stop. Real Redis, real threads."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import BaseModel

from preceptor.contract.ids import RECOMMENDATION, new_id
from preceptor.contract.jobs import JobStatus, JobSummary
from preceptor.contract.recommendations import RecommendationBody
from service.core.async_helpers import ended
from service.core.errors import JobFailed, StoreUnavailable
from service.core.lanes import QUICK_NAMES
from service.core.redis import keys
from service.core.settings import Settings
from service.core.state import State
from worker.jobs.consumer import Consumer, Task
from worker.jobs.context import JobContext
from worker.jobs.slots import SIZES

pytestmark = pytest.mark.anyio
REQUEST = RecommendationBody.model_validate({"student": {"labels": ["cat", "dog"]}})


class Answer(BaseModel):
    value: int


class Crew:
    """A worker beside the test, and a way to submit and watch jobs."""

    def __init__(self, state: State, task: Task) -> None:
        self.state = state
        self.consumer = Consumer(state, "recommend", {"recommendation": task}, end_process=self.end)
        self.exits: list[int] = []
        self.ended = threading.Event()

    def end(self, status: int) -> None:
        """Take note of what would have ended the process."""
        self.exits.append(status)
        self.ended.set()

    async def submit(self) -> str:
        id = new_id(RECOMMENDATION)
        await self.state.jobs.submit(id, "recommendation", REQUEST)
        return id

    async def until(self, id: str, *wanted: JobStatus, deliveries: int = 0) -> JobSummary:
        """Wait for the job's events, not for the clock."""
        async with asyncio.timeout(20):
            async for _ in self.state.events.wake_ups(id):
                summary = await self.state.jobs.get(id)
                assert summary is not None
                if summary.status in wanted and summary.deliveries >= deliveries:
                    return summary
        raise AssertionError


@asynccontextmanager
async def crew(settings: Settings, task: Task) -> AsyncIterator[Crew]:
    """A running worker; drained at the end."""
    async with State(settings) as state:
        await state.ensure_index()
        made = Crew(state, task)
        running = asyncio.create_task(made.consumer.run())
        reaping = asyncio.create_task(state.reap_indefinitely(0.05))
        try:
            yield made
        finally:
            made.consumer.drain()
            await asyncio.wait_for(running, 20)
            await ended(reaping)


def stepping(seen: threading.Event, step: Callable[[], None]) -> Task:
    """A task whose thread steps until it is asked to stop."""

    def work(context: JobContext) -> None:
        while not context.should_stop():
            step()
            seen.set()

    async def task(context: JobContext, request: dict[str, Any]) -> BaseModel:
        await context.compute(work, context)
        return Answer(value=1)

    return task


def hold_the_interpreter() -> None:
    """Some milliseconds of pure Python, as a bad training step."""
    sum(number * number for number in range(100_000))


async def test_a_cancel_reaches_a_running_step_within_a_second(settings: Settings) -> None:
    started = threading.Event()
    async with crew(settings, stepping(started, hold_the_interpreter)) as running:
        id = await running.submit()
        await asyncio.to_thread(started.wait, 20)
        moment = time.perf_counter()
        await running.state.jobs.cancel(id)
        await running.until(id, JobStatus.CANCELED)
        assert time.perf_counter() - moment < 1.0


async def test_a_step_that_holds_the_interpreter_loses_no_lease(settings: Settings) -> None:
    started = threading.Event()
    async with crew(settings, stepping(started, hold_the_interpreter)) as running:
        id = await running.submit()
        await asyncio.to_thread(started.wait, 20)
        until = time.monotonic() + 3 * settings.lease_seconds
        while time.monotonic() < until:
            await asyncio.sleep(0.1)
            assert await running.state.jobs.recovery.reap() == []
        summary = await running.state.jobs.get(id)
        assert summary is not None
        assert (summary.status, summary.deliveries) == (JobStatus.RUNNING, 1)


async def test_a_drain_hands_the_running_job_back_uncounted(settings: Settings) -> None:
    started = threading.Event()
    async with crew(settings, stepping(started, hold_the_interpreter)) as running:
        id = await running.submit()
        await asyncio.to_thread(started.wait, 20)
        running.consumer.drain()
        summary = await running.until(id, JobStatus.QUEUED)
        assert summary.deliveries == 0
    async with crew(settings, _answering) as other:
        summary = await other.until(id, JobStatus.SUCCEEDED)
        assert summary.deliveries == 1


async def test_a_job_over_its_time_fails_with_the_limit(settings: Settings) -> None:
    short = settings.model_copy(update={"job_timeout_seconds": 0.5})
    async with crew(short, stepping(threading.Event(), hold_the_interpreter)) as running:
        summary = await running.until(await running.submit(), JobStatus.FAILED)
        assert summary.error is not None
        assert summary.error.type.endswith("time-limit")
        assert "0.5 seconds" in summary.error.detail
        assert running.exits == []


async def test_a_thread_that_does_not_stop_ends_its_worker_but_no_other_job(settings: Settings) -> None:
    short = settings.model_copy(update={"job_timeout_seconds": 0.3, "stop_seconds": 0.05})
    let_go = threading.Event()

    async def task(context: JobContext, request: dict[str, Any]) -> BaseModel:
        await context.compute(let_go.wait, 20)
        return Answer(value=1)

    async with crew(short, task) as running:
        id = await running.submit()
        summary = await running.until(id, JobStatus.FAILED)
        assert await asyncio.to_thread(running.ended.wait, 20)
        let_go.set()
        assert summary.error is not None
        assert summary.error.type.endswith("time-limit")
        assert running.exits[0] == 70


async def test_a_fault_that_passes_is_tried_again_and_counts_nothing(settings: Settings) -> None:
    quick = settings.model_copy(update={"retry_seconds": 0.05, "delivery_limit": 1})
    tries: list[int] = []

    async def task(context: JobContext, request: dict[str, Any]) -> BaseModel:
        tries.append(context.fence)
        if len(tries) < 4:
            raise StoreUnavailable("the store is read-only")
        return Answer(value=len(tries))

    async with crew(quick, task) as running:
        id = await running.submit()
        summary = await running.until(id, JobStatus.SUCCEEDED)
        assert summary.deliveries == 1
        assert await running.state.jobs.records.result(id) == b'{"value":4}'
        assert tries == sorted(set(tries))


async def test_a_fault_that_does_not_pass_fails_with_its_own_reason(settings: Settings) -> None:
    quick = settings.model_copy(update={"retry_seconds": 0.01, "retry_max_seconds": 0.01, "retry_limit": 2})

    async def task(context: JobContext, request: dict[str, Any]) -> BaseModel:
        raise OSError(28, "No space left on device")

    async with crew(quick, task) as running:
        summary = await running.until(await running.submit(), JobStatus.FAILED)
        assert summary.error is not None
        assert "No space left" in summary.error.detail


async def test_what_the_job_says_is_wrong_is_not_tried_again(settings: Settings) -> None:
    tries: list[int] = []

    async def task(context: JobContext, request: dict[str, Any]) -> BaseModel:
        tries.append(1)
        raise JobFailed("the student has no labels")

    async with crew(settings, task) as running:
        summary = await running.until(await running.submit(), JobStatus.FAILED)
        assert summary.error is not None
        assert summary.error.detail == "the student has no labels"
        assert tries == [1]


async def test_a_job_that_has_lost_a_worker_runs_alone(settings: Settings) -> None:
    together: dict[str, int] = {}
    inside: set[str] = set()
    suspect = ""

    def work(context: JobContext) -> None:
        inside.add(context.job_id)
        together[context.job_id] = len(inside)
        if context.job_id == suspect:
            hold_the_interpreter()
            together[context.job_id] = max(together[context.job_id], len(inside))
        inside.discard(context.job_id)

    async def task(context: JobContext, request: dict[str, Any]) -> BaseModel:
        await context.compute(work, context)
        return Answer(value=1)

    async with State(settings) as state:
        await state.ensure_index()
        suspect = new_id(RECOMMENDATION)
        await state.jobs.submit(suspect, "recommendation", REQUEST)
        await state.jobs.leases.take(suspect, "a worker that is lost now")
    async with crew(settings, task) as running:
        others = [await running.submit() for _ in range(30)]
        summary = await running.until(suspect, JobStatus.SUCCEEDED)
        assert summary.deliveries == 2
        assert together[suspect] == 1
        for id in others:
            await running.until(id, JobStatus.SUCCEEDED)


async def test_a_job_that_waits_for_a_suspect_to_end_is_not_counted(settings: Settings) -> None:
    inside, let_go = threading.Event(), threading.Event()

    def work() -> None:
        inside.set()
        let_go.wait(20)

    async def task(context: JobContext, request: dict[str, Any]) -> BaseModel:
        await context.compute(work)
        return Answer(value=1)

    async with State(settings) as state:
        await state.ensure_index()
        suspect = new_id(RECOMMENDATION)
        await state.jobs.submit(suspect, "recommendation", REQUEST)
        await state.jobs.leases.take(suspect, "a worker that is lost now")
        async with crew(settings, task) as running:
            await asyncio.to_thread(inside.wait, 20)
            neighbour = await running.submit()
            summary = await running.until(neighbour, JobStatus.RUNNING)
            while summary.deliveries:
                await asyncio.sleep(0.02)
                summary = await running.until(neighbour, JobStatus.RUNNING)
            let_go.set()
            assert (await running.until(neighbour, JobStatus.SUCCEEDED)).deliveries == 1
            assert (await running.until(suspect, JobStatus.SUCCEEDED)).deliveries == 2


async def test_a_canceled_job_that_does_not_stop_ends_without_its_thread_and_without_its_worker(
    settings: Settings,
) -> None:
    quick = settings.model_copy(update={"stop_seconds": 0.2})
    inside, let_go = threading.Event(), threading.Event()

    def work() -> None:
        inside.set()
        let_go.wait(20)

    async def task(context: JobContext, request: dict[str, Any]) -> BaseModel:
        if not inside.is_set():
            await context.compute(work)
        return Answer(value=1)

    async with crew(quick, task) as running:
        stuck = await running.submit()
        await asyncio.to_thread(inside.wait, 20)
        await running.state.jobs.cancel(stuck)
        assert (await running.until(stuck, JobStatus.CANCELED)).deliveries == 1
        assert (await running.until(await running.submit(), JobStatus.SUCCEEDED)).deliveries == 1
        let_go.set()
        assert running.exits == []


async def test_a_cancel_reaches_a_job_that_waits_for_a_suspect(settings: Settings) -> None:
    inside, let_go = threading.Event(), threading.Event()

    def work() -> None:
        inside.set()
        let_go.wait(20)

    async def task(context: JobContext, request: dict[str, Any]) -> BaseModel:
        await context.compute(work)
        return Answer(value=1)

    async with State(settings) as state:
        await state.ensure_index()
        suspect = new_id(RECOMMENDATION)
        await state.jobs.submit(suspect, "recommendation", REQUEST)
        await state.jobs.leases.take(suspect, "a worker that is lost now")
        async with crew(settings, task) as running:
            await asyncio.to_thread(inside.wait, 20)
            waiting = await running.submit()
            await running.until(waiting, JobStatus.RUNNING)
            await running.state.jobs.cancel(waiting)
            await running.until(waiting, JobStatus.CANCELED)
            let_go.set()
            assert (await running.until(suspect, JobStatus.SUCCEEDED)).deliveries == 2


async def test_a_quick_job_does_not_wait_for_long_ones(settings: Settings) -> None:
    """Whoever sent them: here all are of one caller."""
    let_go = threading.Event()
    names = [f"name {number}" for number in range(QUICK_NAMES + 1)]
    long = RecommendationBody.model_validate({"student": {"labels": names}})

    async def task(context: JobContext, request: dict[str, Any]) -> BaseModel:
        if len(request["student"]["labels"]) > QUICK_NAMES:
            await context.compute(let_go.wait, 20)
        return Answer(value=1)

    async with crew(settings, task) as running:
        ids = [new_id(RECOMMENDATION) for _ in range(12)]
        for id in ids:
            await running.state.jobs.submit(id, "recommendation", long)
        for _ in range(3):
            await running.until(await running.submit(), JobStatus.SUCCEEDED)
        counts = await running.state.client.zcard(keys.waiting("recommend"))
        let_go.set()
        assert counts == 12 - SIZES["recommend"].long
        for id in ids:
            assert (await running.until(id, JobStatus.SUCCEEDED)).deliveries == 1


async def _answering(context: JobContext, request: dict[str, Any]) -> BaseModel:
    return Answer(value=1)
