"""Locks that processes share, for as long as their owner lives."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from redis.exceptions import LockError, RedisError

from ..async_helpers import ended
from ..errors import StateUnavailable
from .client import RedisClient, translated


@asynccontextmanager
async def exclusive(
    client: RedisClient, name: str, *, seconds: float, wait: float, busy: str, poll: float = 0.1
) -> AsyncGenerator[None]:
    """Hold a lock. It is prolonged as long as it is held, and outlives its owner by `seconds` at most.

    Parameters
    ----------
    wait
        Seconds after which to give up while another holds it.
    busy
        What the error says then.
    poll
        Seconds between two attempts.

    Raises
    ------
    StateUnavailable
        Another holds it, or Redis does not answer.
    """
    lock = client.lock(name, timeout=seconds, blocking_timeout=wait, sleep=poll)
    with translated():
        acquired = await lock.acquire()
    if not acquired:
        raise StateUnavailable(busy, headers={"Retry-After": "1" if wait < seconds else "5"})

    async def prolong() -> None:
        while True:
            await asyncio.sleep(seconds / 3)
            with suppress(RedisError):
                await lock.reacquire()

    prolonging = asyncio.create_task(prolong(), name=f"lock {name}")
    try:
        yield
    finally:
        await ended(prolonging)
        with translated(), suppress(LockError):  # Redis was away for longer than it was kept.
            await lock.release()
