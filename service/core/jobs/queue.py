"""The lanes: queues with their own workers. The only module, with the worker's consumer, that knows docket.

Only job ids travel through a lane, and messages are read as data; see `message_codec`.
"""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

from docket import Docket

from ..lanes import LANES, Lane
from ..redis import keys
from . import message_codec

message_codec.install()


async def run_job(job_id: str) -> None:
    """The task's name on the wire. A worker registers its own function under this name."""
    raise RuntimeError(f"run_job({job_id!r}) must be run by a worker")


def docket_of(lane: Lane, redis_url: str) -> Docket:
    """The lane's docket, not yet connected. It keeps nothing of what it has delivered: the job's record does."""
    return Docket(name=keys.lane(lane), url=redis_url, execution_ttl=timedelta(0))


class Lanes:
    """The sending end of all lanes."""

    def __init__(self, redis_url: str) -> None:
        self._dockets = {lane: docket_of(lane, redis_url) for lane in LANES}
        self._stack = AsyncExitStack()
        self._open: set[Lane] = set()
        self._opening = asyncio.Lock()

    async def enqueue(self, lane: Lane, job_id: str, requeues: int) -> None:
        """Hand a job to the lane's workers. Handing the same delivery over twice does nothing."""
        docket = self._dockets[lane]
        async with self._opening:
            if lane not in self._open:  # Connects at first use: the service must start while Redis is down.
                await self._stack.enter_async_context(docket)
                docket.register(run_job)
                self._open.add(lane)
        await docket.add(run_job, key=f"{job_id}.{requeues}")(job_id)

    def message_keys(self, lane: Lane) -> tuple[str, str]:
        """Redis keys of the lane's messages: a stream, and a sorted set of what is due later."""
        docket = self._dockets[lane]
        return docket.stream_key, docket.queue_key

    async def close(self) -> None:
        """Close the connections."""
        await self._stack.aclose()
        self._open.clear()
