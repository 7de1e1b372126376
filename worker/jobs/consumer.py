"""Consumes one lane: take a job, keep its lease, run it, end it. Drains on request."""

import asyncio
import errno
import os
import socket
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Final, Literal

import structlog
from docket import Worker
from pydantic import BaseModel

from preceptor.contract.jobs import JobKind
from preceptor.contract.versions import CONTRACT
from service.core.async_helpers import ended
from service.core.errors import PreceptorError, StateUnavailable, StoreFull, StoreUnavailable, TimeLimit, WorkerLost
from service.core.jobs.queue import docket_of
from service.core.lanes import Lane
from service.core.state import State

from .context import JobContext, Outcome, Stopped
from .metrics import WorkerFigures
from .tracing import trace_stages, traced_delivery


class Solitude:
    """A shared and an exclusive way in. Whoever wants to be alone goes before those who come later."""

    def __init__(self) -> None:
        self._door = asyncio.Lock()
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def open_to(self, *, alone: bool) -> bool:
        """Whether one can enter at once."""
        return not self._door.locked() and (self._inside == 0 or not alone)

    @asynccontextmanager
    async def together(self) -> AsyncGenerator[None]:
        """Be inside with others."""
        async with self._door:
            self._inside += 1
            self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if self._inside == 0:
                self._empty.set()

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        """Wait until all have left, let nobody in, be inside."""
        async with self._door:
            await self._empty.wait()
            yield


Task = Callable[[JobContext, dict[str, Any]], Awaitable[BaseModel]]
PASSING: Final = (StateUnavailable, StoreUnavailable, StoreFull)
"""Faults that are not the job's: it is tried again."""

_PASSING_NUMBERS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE)
_TICK: Final = 0.25
"""Seconds between two looks at a job's record: a cancellation is seen this fast."""

_STUCK: Final = 70
"""Exit status of a worker that ended itself because a job did not stop."""

_NEWER_PAUSE: Final = 0.5
"""Seconds before a message of a job that needs a newer worker is given up; the reaper sends another."""

_CONCURRENCY: Final[dict[Lane, int]] = {"recommend": 4, "distill": 1}
"""Jobs at once. A quick recommendation must not stand behind one that runs teachers."""

log = structlog.stdlib.get_logger(__name__)


class Consumer:
    """One worker process on one lane.

    Parameters
    ----------
    tasks
        What runs a job of each kind: given the context and the request, it returns the result.
    end_process
        Called with an exit status where a job's thread does not stop: a thread cannot be killed, a process can.
    """

    def __init__(
        self,
        state: State,
        lane: Lane,
        tasks: dict[JobKind, Task],
        end_process: Callable[[int], object] = os._exit,
    ) -> None:
        self.state = state
        self.lane: Lane = lane
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self._tasks = tasks
        self._end_process = end_process
        self._running: dict[str, JobContext] = {}
        self._draining = asyncio.Event()
        self._solitude = Solitude()
        self._figures = WorkerFigures(state, lane, self.name)

    async def run(self) -> None:
        """Consume until drained."""
        alive = asyncio.create_task(self._show_life(), name="sign of life")
        consuming = asyncio.create_task(self._consume(), name=f"lane {self.lane}")
        draining = asyncio.create_task(self._draining.wait())
        await asyncio.wait([consuming, draining], return_when=asyncio.FIRST_COMPLETED)
        await ended(alive, draining)
        await asyncio.wait([consuming], timeout=self.state.settings.drain_seconds)
        if not consuming.done():
            log.error("a job did not stop; the worker ends without it", jobs=sorted(self._running))
            await self._hand_all_back()
            self._end_process(_STUCK)
        await consuming
        with suppress(StateUnavailable):
            await self._figures.publish()
            await self.state.hide_worker(self.lane, self.name)

    async def _consume(self) -> None:
        async def run_job(job_id: str) -> None:
            await self._run_job(job_id)

        docket = docket_of(self.lane, self.state.redis_url)
        async with docket:
            docket.register(run_job)
            async with Worker(
                docket,
                name=self.name,
                concurrency=_CONCURRENCY[self.lane],
                redelivery_timeout=timedelta(seconds=self.state.settings.lease_seconds),
                reconnection_delay=timedelta(seconds=0.5),
                minimum_check_interval=timedelta(milliseconds=50),
                schedule_automatic_tasks=False,
            ) as worker:
                loop = asyncio.create_task(worker.run_forever())
                draining = asyncio.create_task(self._draining.wait())
                await asyncio.wait([loop, draining], return_when=asyncio.FIRST_COMPLETED)
                draining.cancel()
                # Leaving ends the loop: it takes no more messages and waits for the jobs that run. (Not by a
                # cancellation, which the Redis client may swallow.)
            await loop

    def drain(self) -> None:
        """Take no more jobs; hand the running ones back at their next step."""
        self._draining.set()
        for context in self._running.values():
            context.stop("drain")

    async def _run_job(self, message: str) -> None:
        if self._draining.is_set():
            return  # Stays queued in its record; the reaper hands it to another worker.
        owner = f"{self.name}-{uuid.uuid4().hex[:8]}"
        job_id, taken = await self.state.jobs.leases.take_next(self.lane, message, owner)
        if taken.code == "newer":  # Leaves the next messages to others for a while, and looks what else there is.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._draining.wait(), _NEWER_PAUSE)
                return
            job_id, taken = await self.state.jobs.leases.take_next(self.lane, message, owner)
        if taken.code in ("held", "delayed", "newer", "ended", "unknown"):
            log.info("job not taken", job=job_id, because=taken.code)
            return
        context = JobContext(self.state, job_id, taken.fence)
        self._running[job_id] = context
        structlog.contextvars.bind_contextvars(job=job_id)
        lease = asyncio.create_task(self._keep_lease(context), name=f"lease of {job_id}")
        try:
            async with traced_delivery(context, taken.deliveries, self.lane):
                log.info("job taken", delivery=taken.deliveries)
                if taken.code == "canceling":
                    await self._persist(
                        context, "canceled", lambda: self.state.jobs.leases.end_canceled(job_id, taken.fence)
                    )
                elif taken.code == "exhausted":
                    await self._fail(context, _lost(self.state.settings.delivery_limit))
                else:
                    await self._begin(context, alone=taken.deliveries > 1)
        finally:
            await ended(lease)
            await context.close()
            del self._running[job_id]
            structlog.contextvars.unbind_contextvars("job", "request_id")

    async def _begin(self, context: JobContext, *, alone: bool) -> None:
        """Run a job beside others, or `alone`: one that has lost a worker may be what ended it."""
        waits = not self._solitude.open_to(alone=alone)
        if waits:  # Should the worker end meanwhile, it is not the fault of this job.
            await self._count(context, -1)
        async with self._solitude.alone() if alone else self._solitude.together():
            if waits:
                await self._count(context, 1)
            await self._attempt(context)

    async def _count(self, context: JobContext, by: Literal[1, -1]) -> None:
        with suppress(StateUnavailable):
            await self.state.jobs.leases.count(context.job_id, context.fence, by)

    async def _attempt(self, context: JobContext) -> None:
        started, started_ns = time.perf_counter(), time.time_ns()
        context.begins()
        jobs, id, fence = self.state.jobs, context.job_id, context.fence
        try:
            context.check()
            summary = await jobs.get(id)
            stored = await jobs.records.stored(id)
            if summary is None:
                return
            if stored is None:
                log.warning("the job's request was withdrawn; its record is removed")
                await jobs.recovery.withdraw(id)
                return
            if stored.contract > CONTRACT:  # The record does not say so: an older service has restored it.
                log.info("job handed back: it needs a newer worker", contract=stored.contract, ours=CONTRACT)
                await self._persist(context, "handed back", lambda: jobs.leases.release(id, fence, stored.contract))
                return
            if stored.request_id:
                structlog.contextvars.bind_contextvars(request_id=stored.request_id)
            try:
                result = await self._tasks[summary.kind](context, stored.request)
            finally:
                self._figures.count_failures(summary.kind, context.teacher_failures)
            trace_stages(result, started_ns)
            await context.close()
            if await self._persist(context, "succeeded", lambda: jobs.leases.succeed(id, fence, result)):
                self._figures.count(summary.kind, result)
            log.info("job done", seconds=round(time.perf_counter() - started, 3))
        except Stopped as stopped:
            await self._end_stopped(context, stopped)
        except PASSING as error:
            await self._try_again(context, error)
        except PreceptorError as error:
            await self._fail(context, error)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _PASSING_NUMBERS:
                await self._try_again(context, StoreUnavailable(f"The worker's disk refused: {error.strerror}"))
                return
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
            await self._persist(context, "canceled", lambda: jobs.leases.end_canceled(id, fence))
        elif stopped.reason == "drain":
            await self._persist(context, "handed back", lambda: jobs.leases.release(id, fence))
        elif stopped.reason == "timeout":
            await self._fail(context, self._too_long())
        else:
            context.outcome = "superseded"
            await self._leave_nothing(context)

    async def _try_again(self, context: JobContext, error: PreceptorError) -> None:
        """A fault that is not the job's: hand it back, to be tried after a while."""
        jobs, id, fence = self.state.jobs, context.job_id, context.fence
        await context.close()
        exhausted = False

        async def hand_back() -> bool:
            nonlocal exhausted
            delay = await jobs.leases.retry(id, fence)
            exhausted = delay is None
            log.warning("job interrupted; it is tried again", reason=error.detail, after_seconds=delay)
            return delay != 0

        await self._persist(context, "tried again", hand_back)
        if exhausted:
            await self._fail(context, error)

    async def _fail(self, context: JobContext, error: PreceptorError) -> None:
        log.warning("job failed", problem=error.slug, detail=error.detail)
        await context.close()
        problem = error.problem(context.job_id)
        context.problem = error.slug
        await self._persist(
            context, "failed", lambda: self.state.jobs.leases.fail(context.job_id, context.fence, problem)
        )

    async def _persist(self, context: JobContext, outcome: Outcome, write: Callable[[], Awaitable[bool]]) -> bool:
        """Write the end of a job. Through an outage of Redis or the store it waits: the work is done already.

        Returns
        -------
        bool
            Whether it was written, and by us.
        """
        pause = 0.25
        while True:
            try:
                written = await write()
                context.outcome = outcome if written else "superseded"
                if not written:
                    log.warning("refused: another worker has taken the job over")
                    await self._leave_nothing(context)
                return written
            except PASSING as error:
                if self._draining.is_set() or context.reason == "lost":
                    log.warning("a job's end was not written; another worker repeats it", reason=error.detail)
                    await self._leave_nothing(context)
                    return False
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)

    async def _leave_nothing(self, context: JobContext) -> None:
        """Remove what a delivery has written that has not ended its job."""
        with suppress(*PASSING):
            await self.state.jobs.leases.abandon(context.job_id, context.fence)

    async def _keep_lease(self, context: JobContext) -> None:
        # Runs in the event loop, the job in a thread of its own: a long step delays no renewal.
        settings = self.state.settings
        while True:
            await asyncio.sleep(_TICK)
            if context.running_for > settings.job_timeout_seconds:
                context.stop("timeout")
            if context.stopping_for > settings.stop_seconds and context.computing:
                await self._give_up(context)
            try:
                status = await self.state.jobs.leases.renew(context.job_id, context.fence)
            except StateUnavailable:
                continue
            if status == "canceling":
                context.stop("canceled")
            elif status == "lost":
                context.stop("lost")

    async def _give_up(self, context: JobContext) -> None:
        """A thread did not stop when asked. End its job, hand the others back, end the process."""
        jobs, id, fence = self.state.jobs, context.job_id, context.fence
        log.error("a job did not stop; the worker ends itself", job=id, reason=context.reason)
        with suppress(*PASSING):
            if context.reason == "canceled":
                await jobs.leases.end_canceled(id, fence)
            elif context.reason == "timeout":
                await jobs.leases.fail(id, fence, self._too_long().problem(id))
        await self._hand_all_back()
        self._end_process(_STUCK)

    async def _hand_all_back(self) -> None:
        for context in self._running.values():
            with suppress(*PASSING):
                await self.state.jobs.leases.release(context.job_id, context.fence)

    def _too_long(self) -> TimeLimit:
        limit = self.state.settings.job_timeout_seconds
        return TimeLimit(f"The job was stopped after {limit:g} seconds, its time limit")

    async def _show_life(self) -> None:
        while True:
            with suppress(StateUnavailable):
                await self.state.show_worker(self.lane, self.name)
                await self._figures.publish()
            await asyncio.sleep(self.state.settings.lease_seconds / 3)


def _lost(limit: int) -> WorkerLost:
    return WorkerLost(
        f"The job was given to {limit} workers, and each ended before the job did. It may need more memory than a "
        "worker has; look at the workers' logs"
    )
