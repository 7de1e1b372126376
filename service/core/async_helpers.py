"""Ends background tasks for certain: one cancellation is not enough where a Redis client waits inside."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, ParamSpec, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar


class KeyedLocks:
    """A lock for each name that is in use."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def of(self, name: str) -> AsyncGenerator[None]:
        """Wait for those who came before with this name."""
        lock, users = self._locks.get(name) or (asyncio.Lock(), 0)
        self._locks[name] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            _, users = self._locks[name]
            if users == 1:
                del self._locks[name]
            else:
                self._locks[name] = lock, users - 1


LARGE: Final = 256 * 2**10
"""Bytes of JSON from which on it is worth the way to a thread and back."""

_AT_ONCE: Final = 2
_limiter: RunVar[CapacityLimiter] = RunVar("service.core.async_helpers")
P = ParamSpec("P")
R = TypeVar("R")


async def in_document_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function in one of the threads for large documents."""
    limiter: Any = _limiter.get(None)
    if limiter is None:
        limiter = CapacityLimiter(_AT_ONCE)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(lambda: function(*args, **kwargs), limiter=limiter)


_AGAIN_SECONDS: Final = 0.5


async def ended(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks and wait for their end.

    A timeout inside of the Redis client that expires in the same step swallows a cancellation (python/cpython#86296);
    a loop around it would then run indefinitely. So it is repeated.
    """
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=_AGAIN_SECONDS)
