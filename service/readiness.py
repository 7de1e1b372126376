"""Whether the service can do its work, and what is missing: looked at once for all who ask at the same moment.

Strangers may ask, and a look writes to the store, which may be a bucket that is paid by the request.
"""

import asyncio
import time
from collections.abc import Awaitable
from typing import Final

from preceptor.contract.health import Check
from service.core.errors import PreceptorError
from service.core.lanes import LANES, Lane
from service.core.redis.server_info import RedisServer, check_writable
from service.core.state import State

_PATIENCE: Final = 3.0
"""Seconds for each check: a prober gives up after five or ten, and then knows nothing of what is missing."""
_STORE_SECONDS: Final = 2.0
"""A store that took a write is believed for so long."""

Checks = dict[str, Check]


class Readiness:
    """The last look, and the one that is under way.

    Parameters
    ----------
    state
        What is looked at.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._looking: asyncio.Task[Checks] | None = None
        self._store_seen = -_STORE_SECONDS

    async def checks(self) -> Checks:
        """What was found since this was asked, or a little earlier."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="readiness")
        return await asyncio.shield(self._looking)

    async def _look(self) -> Checks:
        redis, store, index = await asyncio.gather(
            _in_time(self._redis(), "Redis"), _in_time(self._store(), "the store"), _in_time(self._index(), "Redis")
        )
        checks = {"redis": redis, "store": store, "index": index}
        if redis.status == "ok":  # Else the workers cannot show that they live.
            for lane in LANES:
                checks[f"worker:{lane}"] = await _in_time(self._workers(lane), "Redis")
        return checks

    async def _redis(self) -> Check:
        await check_writable(self._state.client)
        server = await RedisServer.ask(self._state.client)
        return Check(status="ok", detail=f"version {server.version}", advice=server.advice())

    async def _store(self) -> Check:
        if time.monotonic() - self._store_seen > _STORE_SECONDS:
            await self._state.store.check()
            self._store_seen = time.monotonic()
        return Check(status="ok")

    async def _index(self) -> Check:
        if await self._state.index_is_whole():
            return Check(status="ok")
        return Check(status="failing", detail="the index is being rebuilt from the store; it takes seconds to minutes")

    async def _workers(self, lane: Lane) -> Check:
        if count := await self._state.lane_workers(lane):
            return Check(status="ok", detail=f"{count} alive")
        return Check(
            status="failing", detail=f"no worker on this lane: start one with `preceptor-server worker --lane {lane}`"
        )


async def _in_time(check: Awaitable[Check], what: str) -> Check:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await check
    except PreceptorError as error:
        return Check(status="failing", detail=error.detail)
    except TimeoutError:
        return Check(status="failing", detail=f"{what} has not answered within {_PATIENCE:g} seconds")
