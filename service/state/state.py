"""Everything that must not be lost, in one object: what the service and a worker open at start."""

import asyncio
import secrets
import time
from pathlib import Path
from typing import Any, Final, Self, cast

import structlog
from redis.exceptions import RedisError

from preceptor.contract.distillations import Student
from preceptor.contract.labels import LabelSet
from preceptor.contract.probes import Probe
from preceptor.contract.teachers import Teacher

from . import redis_keys, scripts
from .cache import Cache
from .connection import connect, translated
from .embedded import EmbeddedRedis
from .errors import StateUnavailable
from .events import EventLog
from .idempotency import Idempotency
from .jobs import Jobs
from .lanes import Lane, Lanes
from .records import Records
from .settings import Settings
from .store import Store

_REBUILD_SECONDS: Final = 600
_EXPIRED_AT_ONCE: Final = 1000
log = structlog.stdlib.get_logger(__name__)


class State:
    """Store, records, jobs, events, caches.

    Parameters
    ----------
    settings
        Where no `redis_url` is set, the embedded server in the data folder is started or attached to.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.embedded = EmbeddedRedis(settings.data / "redis") if settings.redis_url is None else None
        self.redis_url = self.embedded.ensure() if self.embedded else str(settings.redis_url)
        self.client = connect(self.redis_url, decode=True)
        self._binary = connect(self.redis_url, decode=False)
        self.store = Store(settings.store_url, settings.data.absolute() / "scratch")
        self.lanes = Lanes(self.redis_url)
        self.jobs = Jobs(self.store, self.client, self.lanes, settings, self.ensure_index)
        self.teachers = Records("teachers", Teacher, self.store, self.client, self.ensure_index)
        self.probes = Records("probes", Probe, self.store, self.client, self.ensure_index)
        self.label_sets = Records("label-sets", LabelSet, self.store, self.client, self.ensure_index)
        self.students = Records("students", Student, self.store, self.client, self.ensure_index)
        self.events = EventLog(self.client)
        self.cache = Cache(self._binary, settings.cache_seconds, settings.max_cached_bytes)
        self.idempotency = Idempotency(self.client, settings.idempotency_seconds)
        self._rebuilding = asyncio.Lock()
        self._purge = self.client.register_script(scripts.PURGE)

    @property
    def scratch(self) -> Path:
        """A local folder for files that may be lost."""
        folder = self.settings.data.absolute() / "scratch"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.events.close()
        await self.lanes.close()
        await self.client.aclose()
        await self._binary.aclose()

    async def ensure_index(self) -> None:
        """Rebuild the index from the store where Redis has lost it; re-queues every job with no end."""
        with translated():
            if await self.client.exists(redis_keys.MARKER):
                return
        async with self._rebuilding:
            lock = self.client.lock(redis_keys.REBUILD_LOCK, timeout=_REBUILD_SECONDS, blocking_timeout=30)
            with translated():
                if await self.client.exists(redis_keys.MARKER):
                    return
                if not await lock.acquire():
                    raise StateUnavailable(
                        "The index is being rebuilt from the store; try again in some seconds",
                        headers={"Retry-After": "5"},
                    )
            try:
                with translated():
                    if await self.client.exists(redis_keys.MARKER):
                        return
                counts: dict[str, int] = {}
                for records in (self.teachers, self.probes, self.label_sets, self.students):
                    counts[records.collection] = await records.reindex()
                counts["ended_jobs"], counts["requeued_jobs"] = await self.jobs.restore()
                with translated():
                    await self.client.set(redis_keys.MARKER, secrets.token_hex(8))
                log.info("index rebuilt from the store", **counts)
            finally:
                with translated():
                    if await lock.owned():
                        await lock.release()

    async def lane_workers(self, lane: Lane) -> int:
        """How many workers of a lane have shown a sign of life within their lease."""
        with translated():
            return await self.client.zcount(
                redis_keys.workers(lane), time.time() - 3 * self.settings.lease_seconds, "+inf"
            )

    async def lane_backlog(self, lane: Lane) -> tuple[int, float]:
        """Waiting jobs of a lane, and the age of the oldest in seconds."""
        key = redis_keys.waiting(lane)
        with translated():
            depth = await self.client.zcard(key)
            oldest = cast("list[tuple[str, float]]", await cast(Any, self.client).zrange(key, 0, 0, withscores=True))
        return depth, max(time.time() - oldest[0][1] / 1000, 0.0) if oldest else 0.0

    async def reap(self) -> None:
        """One round of the reaper: lost index, silent workers, expired keys."""
        await self.ensure_index()
        requeued = await self.jobs.reap()
        if requeued:
            log.warning("jobs re-queued: their worker fell silent", jobs=requeued)
        with translated():
            await self._purge(keys=[redis_keys.EXPIRING], args=[_EXPIRED_AT_ONCE])

    async def reap_for_ever(self, seconds: float = 1.0) -> None:
        """Reap every second, through outages."""
        while True:
            try:
                await self.reap()
            except (StateUnavailable, RedisError) as error:
                log.warning("reaper waits for Redis", reason=str(error))
            except Exception:
                log.exception("reaper failed; it goes on")
            await asyncio.sleep(seconds)
