"""What a running job may do: report, ask whether to stop, use the cache. Safe to call from its thread."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal, ParamSpec, TypeVar

import structlog

from service.state.cache import CacheKind
from service.state.errors import StateUnavailable
from service.state.state import State

T = TypeVar("T")
P = ParamSpec("P")
StopReason = Literal["canceled", "drain", "lost", "timeout"]
_CACHE_SECONDS: Final = 30.0
log = structlog.stdlib.get_logger(__name__)


class Stopped(Exception):
    """The job must end now; the reason says how."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason)
        self.reason: StopReason = reason


class JobContext:
    """One delivery of one job.

    Parameters
    ----------
    fence
        Everything the job writes is refused once a later delivery has raised the fence.
    """

    def __init__(self, state: State, job_id: str, fence: int) -> None:
        self.state = state
        self.job_id = job_id
        self.fence = fence
        self._loop = asyncio.get_running_loop()
        self._stop: StopReason | None = None
        self._stopping = threading.Event()
        self._events: asyncio.Queue[tuple[str, dict[str, Any]] | None] = asyncio.Queue()
        self._sender = asyncio.create_task(self._send(), name=f"events of {job_id}")

    def stop(self, reason: StopReason) -> None:
        """Ask the job to end; the first reason stands."""
        if self._stop is None:
            self._stop = reason
            self._stopping.set()

    def should_stop(self) -> bool:
        """Whether the job must end; cheap enough for every training step."""
        return self._stopping.is_set()

    def check(self) -> None:
        """Raise `Stopped` where the job must end."""
        if self._stop is not None:
            raise Stopped(self._stop)

    def emit(self, event: str, data: dict[str, Any]) -> None:
        """Append to the event log. Never blocks, keeps the order."""
        self._loop.call_soon_threadsafe(self._events.put_nowait, (event, data))

    def progress(self, fraction: float, message: str = "", remaining_seconds: float | None = None) -> None:
        """Report how far the job is."""
        self.emit(
            "progress",
            {
                "fraction": round(min(max(fraction, 0.0), 1.0), 4),
                "message": message,
                "remaining_seconds": remaining_seconds,
            },
        )

    def cached(self, kind: CacheKind, digest: str) -> bytes | None:
        """A cached value, or None. Call from the job's thread only."""
        return self._wait(self.state.cache.get(kind, digest))

    def cache(self, kind: CacheKind, digest: str, value: bytes) -> None:
        """Put a value into the cache. Call from the job's thread only."""
        self._wait(self.state.cache.put(kind, digest, value))

    async def compute(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run blocking code in a thread of its own and wait for its end, whatever happens here.

        Raises
        ------
        Stopped
            The job was asked to end.
        """
        result = await asyncio.shield(asyncio.to_thread(function, *args, **kwargs))
        self.check()
        return result

    async def close(self) -> None:
        """Send what is still in the queue."""
        self._events.put_nowait(None)
        await self._sender

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_CACHE_SECONDS)

    async def _send(self) -> None:
        while (entry := await self._events.get()) is not None:
            try:
                await self.state.jobs.emit(self.job_id, self.fence, *entry)
            except StateUnavailable:
                log.warning("an event was lost: Redis does not answer", job=self.job_id, kind=entry[0])
