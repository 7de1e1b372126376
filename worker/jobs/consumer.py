"""Consumes one lane: take a job, keep its lease, run it, end it. Drains on request."""

import asyncio
import errno
import os
import socket
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Final, Literal

import structlog
from docket import CurrentExecution, Execution, Worker
from docket.dependencies import AdmissionBlocked
from pydantic import BaseModel

from preceptor.contract.jobs import JobKind
from preceptor.contract.versions import CONTRACT
from service.core.async_helpers import ended
from service.core.errors import PreceptorError, StateUnavailable, StoreFull, StoreUnavailable, TimeLimit, WorkerLost
from service.core.jobs.queue import docket_of
from service.core.lanes import Lane
from service.core.state import State
from worker.errors import ComputationFailed

from .context import JobContext, Outcome, Stopped
from .failures import reported
from .observability.metrics import WorkerMetrics
from .observability.tracing import trace_stages, traced_delivery
from .slots import QUICK_SECONDS, SIZES, Slots


class SharedExclusiveLock:
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

_LOOK: Final = 0.25
"""Seconds between two looks for a job that fits, while a message is held and none does."""

_HELD: Final = 1.0
"""Seconds for which a message is held; then it goes back to the lane, for another worker or a later look."""

_PATIENCE: Final[dict[Lane, float]] = {"recommend": 1.0}
"""Seconds that a job's threads get to stop, where that is less than the setting: they write nothing but caches."""

_HOPELESS: Final = 20
"""A thread that did not stop for so many times `stop_seconds` ends its worker, once no other job runs there."""

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
        self._running: set[JobContext] = set()
        self._draining = asyncio.Event()
        self._solitude = SharedExclusiveLock()
        self._slots = Slots(SIZES[lane])
        self._taking = asyncio.Lock()  # From the question whether there is room to the place that is taken.
        self._changed = asyncio.Event()
        self._fits = True  # Whether the last look found a job that may begin.
        self._abandoned: set[JobContext] = set()
        self._worker: Worker | None = None
        self._figures = WorkerMetrics(state, lane, self.name)

    async def run(self) -> None:
        """Consume until drained."""
        alive = asyncio.create_task(self._show_life(), name="sign of life")
        watching = asyncio.create_task(self._watch_abandoned(), name="abandoned threads")
        consuming = asyncio.create_task(self._consume(), name=f"lane {self.lane}")
        draining = asyncio.create_task(self._draining.wait())
        await asyncio.wait([consuming, draining], return_when=asyncio.FIRST_COMPLETED)
        await ended(alive, draining, watching)
        await asyncio.wait([consuming], timeout=self.state.settings.drain_seconds)
        if not consuming.done():
            log.error(
                "a job did not stop; the worker ends without it",
                jobs=sorted(context.job_id for context in self._running),
            )
            await self._hand_all_back()
            self._end_process(_STUCK)
        await consuming
        with suppress(StateUnavailable):
            await self._figures.publish()
            await self.state.hide_worker(self.lane, self.name)
        if any(context.computing for context in self._abandoned):
            log.error("a thread of an ended job still computes; the worker ends without it")
            self._end_process(_STUCK)

    async def _consume(self) -> None:
        async def run_job(job_id: str, message: Execution = CurrentExecution()) -> None:
            if not await self._run_job(job_id):
                raise AdmissionBlocked(message, "no room", retry_delay=timedelta(seconds=_LOOK))

        docket = docket_of(self.lane, self.state.redis_url)
        async with docket:
            docket.register(run_job)
            async with Worker(
                docket,
                name=self.name,
                concurrency=max(1, self._slots.free),
                redelivery_timeout=timedelta(seconds=self.state.settings.lease_seconds),
                reconnection_delay=timedelta(seconds=0.5),
                minimum_check_interval=timedelta(milliseconds=50),
                schedule_automatic_tasks=False,
            ) as worker:
                self._worker = worker
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
        for context in self._running:
            context.stop("drain")

    def _resize(self) -> None:
        """Let the queue hand over as many messages as jobs may begin, and at most one while none fits.

        More would be held here in vain, while another worker may have room.
        """
        if self._worker is not None:
            self._worker.concurrency = len(self._running) + (
                self._slots.free if self._fits else min(self._slots.free, 1)
            )
        self._changed.set()

    async def _run_job(self, message: str) -> bool:
        """Take a job and run it. False where the message is to go back to the lane."""
        owner = f"{self.name}-{uuid.uuid4().hex[:8]}"
        until = time.monotonic() + _HELD
        while True:
            if self._draining.is_set():
                return False
            self._changed.clear()
            async with self._taking:
                job_id, taken = await self.state.jobs.leases.take_next(self.lane, message, owner, self._slots)
                if taken.code in ("taken", "exhausted", "canceling"):
                    context = JobContext(self.state, job_id, taken.fence)
                    self._slots.begin(context, taken.caller, quick=taken.quick)
                    break
            if taken.code in ("held", "delayed", "ended", "unknown"):
                log.info("job not taken", job=job_id, because=taken.code)
                return True
            if self._fits:
                self._fits = False
                self._resize()
                self._changed.clear()
            if time.monotonic() > until:
                return False
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), _LOOK)
        self._running.add(context)
        if self._draining.is_set():
            context.stop("drain")
        self._fits = True
        self._resize()
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
            self._running.remove(context)
            if context.computing:  # Its place stays taken for as long as its thread computes.
                self._abandoned.add(context)
            else:
                self._slots.end(context)
            self._fits = True
            self._resize()
            structlog.contextvars.unbind_contextvars("job", "request_id")
        return True

    async def _begin(self, context: JobContext, *, alone: bool) -> None:
        """Run a job beside others, or `alone`: one that has lost a worker may be what ended it."""
        waits = not self._solitude.open_to(alone=alone)
        if waits:  # Should the worker end meanwhile, it is not the fault of this job.
            await self._count(context, -1)
        async with AsyncExitStack() as inside:
            way_in = self._solitude.alone() if alone else self._solitude.together()
            try:
                await context.unless_stopped(inside.enter_async_context(way_in))
            except Stopped as stopped:
                if waits:
                    await self._count(context, 1)
                await self._end_stopped(context, stopped)
                return
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
        except ComputationFailed as error:
            await self._fail(context, reported(error))
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
        patience = min(settings.stop_seconds, _PATIENCE.get(self.lane, settings.stop_seconds))
        while True:
            await asyncio.sleep(_TICK)
            if context.running_for > settings.job_timeout_seconds:
                context.stop("timeout")
            if context.running_for > QUICK_SECONDS and self._slots.overrun(context):
                self._resize()
            if context.stopping_for > patience and context.computing and context.reason != "drain":
                log.warning("a job does not stop; it ends without its thread", job=context.job_id)
                context.give_up()
            try:
                status = await self.state.jobs.leases.renew(context.job_id, context.fence)
            except StateUnavailable:
                continue
            if status == "canceling":
                context.stop("canceled")
            elif status == "lost":
                context.stop("lost")

    async def _watch_abandoned(self) -> None:
        """Give the places of abandoned threads back when they end. Those that never do end the worker, if it is idle.

        A thread cannot be ended, a process can; but not while it works on the jobs of others.
        """
        while True:
            await asyncio.sleep(_TICK)
            for context in [context for context in self._abandoned if not context.computing]:
                self._abandoned.remove(context)
                self._slots.end(context)
                self._fits = True
                self._resize()
            longest = max((context.stopping_for for context in self._abandoned), default=0.0)
            if longest > _HOPELESS * self.state.settings.stop_seconds and not self._running:
                log.error("a thread of an ended job does not stop; the worker ends itself")
                self._end_process(_STUCK)

    async def _hand_all_back(self) -> None:
        for context in list(self._running):
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
