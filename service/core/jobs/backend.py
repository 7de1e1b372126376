"""What the parts of the jobs share: the store, Redis with the job scripts, the lanes, the settings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from redis.commands.core import AsyncScript

from ..lanes import lane_of
from ..redis import keys
from ..redis.client import RedisClient, translated
from ..settings import Settings
from ..storage.object_store import Store
from .queue import Lanes
from .stored import script_keys


@dataclass
class JobBackend:
    """Where jobs are kept and delivered. It decides nothing."""

    store: Store
    client: RedisClient
    lanes: Lanes
    settings: Settings
    _registered: dict[str, AsyncScript] = field(default_factory=dict[str, AsyncScript])

    async def script(self, text: str, id: str, *arguments: str | int, more_keys: Sequence[str] = ()) -> Any:
        """Run one of the job scripts."""
        script = self.registered(text)
        with translated():
            return await script(keys=[*script_keys(id), *more_keys], args=[keys.wake(id), id, *arguments])

    def registered(self, text: str) -> AsyncScript:
        """A script, ready to be called."""
        script = self._registered.get(text)
        if script is None:
            script = self._registered[text] = self.client.register_script(text)
        return script

    async def fields(self, id: str) -> dict[str, str]:
        """The record of a job as Redis has it; empty where it has none."""
        with translated():
            return cast("dict[str, str]", await cast(Any, self.client.hgetall(keys.job(id))))

    async def enqueue(self, id: str, requeues: int | None = None) -> None:
        """Send a message for a job to its lane.

        Parameters
        ----------
        requeues
            Where the caller knows it; else it is read from the record.
        """
        if requeues is None:
            requeues = int((await self.fields(id)).get("requeues", "0"))
        with translated():
            await self.lanes.enqueue(lane_of(id), id, requeues)

    async def now(self) -> int:
        """Redis' clock, ms."""
        with translated():
            seconds, microseconds = cast("tuple[int, int]", await cast(Any, self.client).time())
        return int(seconds) * 1000 + int(microseconds) // 1000
