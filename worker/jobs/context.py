"""The interface of a running job: report, check whether to stop, use the cache. Safe to call from its thread."""

import asyncio
import contextvars
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, Literal, ParamSpec, TypeVar

import structlog

from service.core.async_helpers import ended
from service.core.errors import StateUnavailable, StoreFull, StoreUnavailable
from service.core.redis.blob_cache import CacheKind
from service.core.state import State

T = TypeVar("T")
P = ParamSpec("P")
StopReason = Literal["canceled", "drain", "lost", "timeout"]
TeacherFailure = Literal["unusable", "unscored", "rejected"]
Outcome = Literal["unwritten", "succeeded", "canceled", "failed", "handed back", "tried again", "superseded"]
_CACHE_SECONDS: Final = 30.0
_STORE_SECONDS: Final = 300.0
_FEW_EVENTS: Final = 2000
"""Largest number of events pending for Redis; above the limit, `progress` events are dropped."""

# Not those of the event loop, which are as few as the cores: jobs that take long would leave none to the store.
_THREADS: Final = ThreadPoolExecutor(64, thread_name_prefix="job")

log = structlog.stdlib.get_logger(__name__)


class Stopped(Exception):
    """The job must end now, for the given reason."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason)
        self.reason: StopReason = reason


class JobContext:
    """One delivery of one job.

    Parameters
    ----------
    fence
        All writes of the job are rejected once a later delivery has raised the fence.
    """

    def __init__(self, state: State, job_id: str, fence: int) -> None:
        self.state = state
        self.job_id = job_id
        self.fence = fence
        self.outcome: Outcome = "unwritten"
        """Outcome of this delivery for traces; `problem` is the kind of error if it failed."""
        self.problem = ""
        self.teacher_failures: list[TeacherFailure] = []
        """Reasons of teachers that failed in the job, for the metrics."""
        self._loop = asyncio.get_running_loop()
        self._stop: StopReason | None = None
        self._stopping = threading.Event()
        self._asked = asyncio.Event()
        self._given_up = asyncio.Event()
        self._asked_at = 0.0
        self._begun_at: float | None = None
        self._threads = 0
        self._events: asyncio.Queue[tuple[str, dict[str, Any]] | None] = asyncio.Queue()
        self._sender = asyncio.create_task(self._send(), name=f"events of {job_id}")

    def stop(self, reason: StopReason) -> None:
        """Request the job's end; the first reason is kept."""
        if self._stop is None:
            self._stop = reason
            self._asked_at = time.monotonic()
            self._stopping.set()
            self._asked.set()

    def give_up(self) -> None:
        """Wait no longer for the threads of a job that was asked to end: `compute` raises, and they compute in vain."""
        self._given_up.set()

    @property
    def reason(self) -> StopReason | None:
        """Why the job must end; None while it may run."""
        return self._stop

    def begins(self) -> None:
        """Start the job's clock: until now it has waited for other jobs of its worker."""
        self._begun_at = time.monotonic()

    @property
    def running_for(self) -> float:
        """Seconds since the job began; 0 while it waits."""
        return 0.0 if self._begun_at is None else time.monotonic() - self._begun_at

    @property
    def stopping_for(self) -> float:
        """Seconds since the job's end was requested; 0 if it was not."""
        return 0.0 if self._stop is None else time.monotonic() - self._asked_at

    @property
    def computing(self) -> bool:
        """Whether a thread still works on the job."""
        return self._threads > 0

    def should_stop(self) -> bool:
        """Whether the job must end; cheap enough for every training step."""
        return self._stopping.is_set()

    def check(self) -> None:
        """Raise `Stopped` if the job must end."""
        if self._stop is not None:
            raise Stopped(self._stop)

    def emit(self, event: str, data: dict[str, Any]) -> None:
        """Append to the event log. Never blocks, keeps the order."""
        if event == "progress" and self._events.qsize() > _FEW_EVENTS:
            return
        self._loop.call_soon_threadsafe(self._events.put_nowait, (event, data))

    def progress(self, fraction: float, message: str = "", remaining_seconds: float | None = None) -> None:
        """Report the job's progress."""
        self.emit(
            "progress",
            {
                "fraction": round(min(max(fraction, 0.0), 1.0), 4),
                "message": message,
                "remaining_seconds": remaining_seconds,
            },
        )

    def cached(self, kind: CacheKind, digest: str) -> bytes | None:
        """A cached value, or None. Call only from the job's thread."""
        try:
            return self._wait(self.state.cache.get(kind, digest), _CACHE_SECONDS)
        except TimeoutError:
            return None

    def cache(self, kind: CacheKind, digest: str, value: bytes) -> None:
        """Put a value into the cache. Call only from the job's thread."""
        with suppress(TimeoutError):
            self._wait(self.state.cache.put(kind, digest, value), _CACHE_SECONDS)

    @property
    def every_seconds(self) -> float:
        """Seconds between two checkpoints of a running job."""
        return self.state.settings.checkpoint_seconds

    def load(self) -> bytes | None:
        """The state saved by an earlier delivery, or None. Call only from the job's thread."""
        return self._wait(self.state.jobs.leases.load_checkpoint(self.job_id, self.fence), _STORE_SECONDS)

    def save(self, state: bytes) -> None:
        """Keep the job's state for a later delivery. Call only from the job's thread."""
        try:
            self._wait(self.state.jobs.leases.save_checkpoint(self.job_id, self.fence, state), _STORE_SECONDS)
        except (StateUnavailable, StoreUnavailable, StoreFull, TimeoutError) as error:
            log.warning("a checkpoint was not saved; the job continues", job=self.job_id, reason=str(error))

    async def unless_stopped(self, waiting: Awaitable[T]) -> T:
        """Wait for something, but not for longer than the job may go on; it is cancelled then.

        Raises
        ------
        Stopped
            The job was asked to end.
        """
        task, asked = asyncio.ensure_future(waiting), asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self.check()
            return await task
        finally:
            asked.cancel()
            if not task.done():
                await ended(task)

    async def compute(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run blocking code in a separate thread and wait for its end, even if this task is canceled.

        Raises
        ------
        Stopped
            The job's end was requested.
        """

        def counted() -> T:
            try:
                return function(*args, **kwargs)
            finally:
                self._threads -= 1

        self._threads += 1
        future = self._loop.run_in_executor(_THREADS, contextvars.copy_context().run, counted)
        given_up = asyncio.ensure_future(self._given_up.wait())
        try:
            await asyncio.wait({future, given_up}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            given_up.cancel()
            future.add_done_callback(lambda done: done.cancelled() or done.exception())  # Nobody else may ask for it.
        if not future.done():
            self.check()
        result = await future
        self.check()
        return result

    async def close(self) -> None:
        """Send the pending events."""
        self._events.put_nowait(None)
        await self._sender

    def _wait(self, coroutine: Coroutine[Any, Any, T], seconds: float) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(seconds)

    async def _send(self) -> None:
        while (entry := await self._events.get()) is not None:
            while True:
                try:
                    await self.state.jobs.leases.emit(self.job_id, self.fence, *entry)
                    break
                except StateUnavailable:
                    if self._stop in ("drain", "lost"):
                        log.warning("an event was lost: Redis does not answer", job=self.job_id, kind=entry[0])
                        break
                    await asyncio.sleep(0.5)
