"""Consumes one lane: take a job, keep its lease, run it, end it. Drains on request."""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import structlog
from docket import Worker
from pydantic import BaseModel

from preceptor.contract.jobs import JobKind
from service.state import redis_keys
from service.state.connection import translated
from service.state.errors import PreceptorError, StateUnavailable, StoreUnavailable, TimeLimit, WorkerLost
from service.state.lanes import Lane, docket_of
from service.state.state import State

from .context import JobContext, Stopped

Task = Callable[[JobContext, dict[str, Any]], Awaitable[BaseModel]]
_TICK: Final = 0.4
"""Seconds between two looks at a job's record: a cancellation is seen this fast."""

_RETRY_SECONDS: Final = 60.0
"""How long the end of a job is tried again while Redis is away."""

_CONCURRENCY: Final[dict[Lane, int]] = {"recommend": 4, "distill": 1}
"""Jobs at once. A quick recommendation must not stand behind one that runs teachers."""

log = structlog.stdlib.get_logger(__name__)


class Consumer:
    """One worker process on one lane.

    Parameters
    ----------
    tasks
        What runs a job of each kind: given the context and the request, it returns the result.
    """

    def __init__(self, state: State, lane: Lane, tasks: dict[JobKind, Task]) -> None:
        self.state = state
        self.lane: Lane = lane
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self._tasks = tasks
        self._running: dict[str, JobContext] = {}
        self._draining = asyncio.Event()

    async def run(self) -> None:
        """Consume until drained."""
        settings = self.state.settings

        async def run_job(job_id: str) -> None:
            await self._run_job(job_id)

        docket = docket_of(self.lane, self.state.redis_url)
        async with docket:
            docket.register(run_job)
            async with Worker(
                docket,
                name=self.name,
                concurrency=_CONCURRENCY[self.lane],
                redelivery_timeout=timedelta(seconds=settings.lease_seconds),
                reconnection_delay=timedelta(seconds=0.5),
                minimum_check_interval=timedelta(milliseconds=50),
                schedule_automatic_tasks=False,
            ) as worker:
                loop = asyncio.create_task(worker.run_forever(), name=f"lane {self.lane}")
                alive = asyncio.create_task(self._show_life(), name="sign of life")
                await asyncio.wait(
                    [loop, drained := asyncio.create_task(self._draining.wait())],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                drained.cancel()
                alive.cancel()
                loop.cancel()  # docket takes no more messages and waits for the job that runs
                with suppress(asyncio.CancelledError):
                    await asyncio.wait_for(loop, settings.drain_seconds)
        with suppress(StateUnavailable), translated():
            await self.state.client.zrem(redis_keys.workers(self.lane), self.name)

    def drain(self) -> None:
        """Take no more jobs; hand the running one back at its next step."""
        self._draining.set()
        for context in self._running.values():
            context.stop("drain")

    async def _run_job(self, job_id: str) -> None:
        if self._draining.is_set():
            return  # Stays queued in its record; the reaper hands it to another worker.
        taken = await self.state.jobs.take(job_id, self.name)
        if taken.code in ("held", "ended", "unknown"):
            log.info("job not taken", job=job_id, because=taken.code)
            return
        context = JobContext(self.state, job_id, taken.fence)
        self._running[job_id] = context
        structlog.contextvars.bind_contextvars(job=job_id)
        log.info("job taken", delivery=taken.deliveries)
        lease = asyncio.create_task(self._keep_lease(context), name=f"lease of {job_id}")
        try:
            if taken.code == "canceling":
                await self.state.jobs.end_canceled(job_id, taken.fence)
            elif taken.code == "exhausted":
                await self._fail(context, _lost(self.state.settings.delivery_limit))
            else:
                await self._attempt(context)
        finally:
            lease.cancel()
            await asyncio.gather(lease, return_exceptions=True)
            await context.close()
            del self._running[job_id]
            structlog.contextvars.unbind_contextvars("job")

    async def _attempt(self, context: JobContext) -> None:
        started = time.perf_counter()
        jobs, id, fence = self.state.jobs, context.job_id, context.fence
        try:
            summary = await jobs.get(id)
            request = await jobs.request(id)
            if summary is None or request is None:
                log.error("the job's request is gone from the store")
                return
            result = await self._tasks[summary.kind](context, request)
            await context.close()
            await _persist(lambda: jobs.succeed(id, fence, result))
            log.info("job succeeded", seconds=round(time.perf_counter() - started, 3))
        except Stopped as stopped:
            await self._end_stopped(context, stopped)
        except (StateUnavailable, StoreUnavailable) as error:
            # Transient: the lease runs out and the reaper hands the job over, until the delivery limit.
            log.warning("job interrupted", reason=error.detail)
        except PreceptorError as error:
            await self._fail(context, error)
        except Exception:
            log.exception("job failed unexpectedly")
            await self._fail(
                context,
                PreceptorError(f"Something went wrong in the worker. Its log has it under job {id}"),
            )

    async def _end_stopped(self, context: JobContext, stopped: Stopped) -> None:
        jobs, id, fence = self.state.jobs, context.job_id, context.fence
        log.info("job stopped", reason=stopped.reason)
        await context.close()
        if stopped.reason == "canceled":
            await _persist(lambda: jobs.end_canceled(id, fence))
        elif stopped.reason == "drain":
            await _persist(lambda: jobs.release(id, fence))
        elif stopped.reason == "timeout":
            limit = self.state.settings.job_timeout_seconds
            await self._fail(context, TimeLimit(f"The job was stopped after {limit:.0f} seconds, its time limit"))

    async def _fail(self, context: JobContext, error: PreceptorError) -> None:
        log.warning("job failed", problem=error.slug, detail=error.detail)
        await context.close()
        problem = error.problem(context.job_id)
        await _persist(lambda: self.state.jobs.fail(context.job_id, context.fence, problem))

    async def _keep_lease(self, context: JobContext) -> None:
        limit = time.monotonic() + self.state.settings.job_timeout_seconds
        while True:
            await asyncio.sleep(_TICK)
            if time.monotonic() > limit:
                context.stop("timeout")
            try:
                status = await self.state.jobs.renew(context.job_id, context.fence)
            except StateUnavailable:
                continue
            if status == "canceling":
                context.stop("canceled")
            elif status == "lost":
                context.stop("lost")

    async def _show_life(self) -> None:
        key = redis_keys.workers(self.lane)
        while True:
            with suppress(StateUnavailable), translated():
                moment = time.time()
                await self.state.client.zadd(key, {self.name: moment})
                await self.state.client.zremrangebyscore(key, "-inf", moment - 10 * self.state.settings.lease_seconds)
            await asyncio.sleep(self.state.settings.lease_seconds / 3)


def _lost(limit: int) -> WorkerLost:
    return WorkerLost(
        f"The job was given to {limit} workers, and each ended before the job did. It may need more memory than a "
        "worker has; look at the workers' logs"
    )


async def _persist(write: Callable[[], Awaitable[bool]]) -> None:
    """Write the end of a job, through an outage of Redis or the store."""
    deadline = time.monotonic() + _RETRY_SECONDS
    while True:
        try:
            if not await write():
                log.warning("refused: another worker has taken the job over")
            return
        except (StateUnavailable, StoreUnavailable):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.5)
