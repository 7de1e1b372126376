"""Ends background tasks for certain: one cancellation is not enough where a Redis client waits inside."""

import asyncio
from typing import Any, Final

_AGAIN_SECONDS: Final = 0.5


async def ended(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks and wait for their end.

    A timeout inside of the Redis client that expires in the same step swallows a cancellation (python/cpython#86296);
    a loop around it would then run for ever. So it is repeated.
    """
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=_AGAIN_SECONDS)
