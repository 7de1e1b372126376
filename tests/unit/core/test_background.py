"""A task that swallows a cancellation ends all the same."""

import asyncio
from contextlib import suppress

import pytest

from service.core.async_helpers import ended

pytestmark = pytest.mark.anyio


async def test_a_swallowed_cancellation_is_repeated() -> None:
    swallowed = 0

    async def deaf_twice() -> None:
        nonlocal swallowed
        while swallowed < 2:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            swallowed += 1
        await asyncio.Event().wait()

    task = asyncio.create_task(deaf_twice())
    quick = asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)
    await ended(task, quick)
    assert task.cancelled()
    assert quick.cancelled()
    assert swallowed == 2
    await ended(task)
