"""Everything that must not be lost, in one object: what the service and a worker open at start."""

import asyncio
import os
import secrets
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Self, cast

import structlog
from redis.exceptions import RedisError

from preceptor.contract.audit import AuditEntry
from preceptor.contract.distillations import Student
from preceptor.contract.labels import LabelSet
from preceptor.contract.probes import Probe
from preceptor.contract.teachers import Teacher
from service.core.private_files import ProcessFolder, remove_abandoned
from service.sandbox.fork_server import ForkServer

from .api_keys import ApiKeys
from .errors import StateUnavailable, StoreFull, StoreUnavailable
from .jobs.document_cache import DocumentCache
from .jobs.events import EventLog
from .jobs.idempotency import Idempotency
from .jobs.jobs import Jobs
from .jobs.queue import Lanes
from .jobs.submission_limit import SubmissionLimit
from .jobs.unfinished_validations import UnfinishedValidations
from .lanes import Lane
from .private_files import close_to_others, private_folder
from .redis import keys
from .redis.blob_cache import Cache
from .redis.client import connect, translated
from .redis.counters import Counters
from .redis.embedded import EmbeddedRedis
from .redis.locks import exclusive
from .redis.server_info import RedisServer
from .settings import Settings
from .storage.documents import Collection, DocumentT, Records
from .storage.object_store import Store
from .teacher_checks import remove_expired_checks
from .webhooks.webhooks import Webhooks

# KEYS: expiring. ARGV: how many at most.
_PURGE: Final = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local keys = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
for _, key in ipairs(keys) do
  redis.call('UNLINK', key)
  redis.call('ZREM', KEYS[1], key)
end
return #keys
"""

# KEYS: rebuilding, marker. ARGV: the mark set before. Whether the index is whole: nothing was flushed since.
_REBUILT: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], ARGV[1])
return 1
"""


_REBUILD_SECONDS: Final = 15
"""A rebuilder that is silent for so long is dead, and another may begin."""

_EXPIRED_AT_ONCE: Final = 1000
_GAP_SECONDS: Final = 3.0
"""A reaper that could not look for so long does not know who fell silent meanwhile."""

log = structlog.stdlib.get_logger(__name__)


class State:
    """Store, records, jobs, events, caches.

    Parameters
    ----------
    settings
        Where no `redis_url` is set, the embedded server in the data folder is started or attached to.
    limited
        Whether the settings' limits of documents hold. Not for workers: they create what an accepted job needs.
    """

    def __init__(self, settings: Settings, *, limited: bool = False) -> None:
        self.settings = settings
        limits = settings if limited else None
        self.embedded = EmbeddedRedis(settings.data / "redis") if settings.redis_url is None else None
        self.redis_url = self.embedded.ensure() if self.embedded else str(settings.redis_url)
        self.client = connect(self.redis_url, decode=True)
        self._binary = connect(self.redis_url, decode=False)
        self.store = Store(settings.store_url, settings.data.absolute() / "scratch", settings.scratch_bytes)
        self.lanes = Lanes(self.redis_url)

        def records(collection: Collection, model: type[DocumentT], most: int = 0) -> Records[DocumentT]:
            return Records(collection, model, self.store, self.client, self.ensure_index, most=most)

        self.teachers = records("teachers", Teacher, limits.max_teachers if limits else 0)
        self.probes = records("probes", Probe, limits.max_probes if limits else 0)
        self.label_sets = records("label-sets", LabelSet, limits.max_label_sets if limits else 0)
        self.students = records("students", Student)
        self.audits = records("audits", AuditEntry)
        self._collections = (self.teachers, self.probes, self.label_sets, self.students, self.audits)
        self.jobs = Jobs(self.store, self.client, self.lanes, settings, self.ensure_index, self.students.delete)
        verdicts = UnfinishedValidations(self.jobs, self.teachers)
        self.webhooks = Webhooks(self.store, self.client, self.jobs, verdicts, self.ensure_index)
        self.recent = DocumentCache()
        self.intake = SubmissionLimit()
        self.ingesting = asyncio.Semaphore(os.cpu_count() or 1)  # Each takes a core, and memory for what it reads.
        self.confined = ForkServer()
        self.api_keys = ApiKeys(self.store)
        self.events = EventLog(self.client)
        self.counters = Counters(self.client)
        self.cache = Cache(self._binary, settings.cache_seconds, settings.max_cached_bytes)
        self.idempotency = Idempotency(self.client, settings.idempotency_seconds)
        self._rebuilding = asyncio.Lock()
        self._workplace: ProcessFolder | None = None
        self._reaped = 0.0
        self._trusted_from = 0.0
        self._rebuilt = self.client.register_script(_REBUILT)
        self._purge = self.client.register_script(_PURGE)

    @property
    def scratch(self) -> Path:
        """A local folder for files that may be lost."""
        return private_folder(self.settings.data.absolute() / "scratch")

    @property
    def workplace(self) -> Path:
        """This process's own folder for temporary files; it goes with the process, however that ends."""
        if self._workplace is None:
            self._workplace = ProcessFolder(self.scratch / "work")
        return self._workplace.folder

    async def __aenter__(self) -> Self:
        close_to_others()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.events.close()
        await self.lanes.close()
        await self.client.aclose()
        await self._binary.aclose()
        await asyncio.to_thread(self.confined.close)
        self.store.close()
        if self._workplace is not None:
            self._workplace.close()

    async def ensure_index(self) -> None:
        """Rebuild the index from the store where Redis has lost it; re-queues every job with no end."""
        if await self.index_is_whole():
            return
        async with self._rebuilding, self._rebuild_lock():
            if await self.index_is_whole():
                return
            with translated():
                mark = secrets.token_hex(8)
                await self.client.set(keys.REBUILDING, mark)
            counts: dict[str, int] = {}
            for records in self._collections:
                counts[records.collection] = await records.reindex()
            counts["webhooks"] = await self.webhooks.restore()
            counts["ended_jobs"], counts["requeued_jobs"] = await self.jobs.recovery.restore()
            with translated():
                whole = await self._rebuilt(keys=[keys.REBUILDING, keys.MARKER], args=[mark])
            if not whole:  # A flush meanwhile took what was written before it.
                raise StateUnavailable(
                    "Redis was lost while the index was rebuilt from the store; try again in some seconds",
                    headers={"Retry-After": "5"},
                )
            log.info("index rebuilt from the store", **counts)

    async def index_is_whole(self) -> bool:
        """Whether the index mirrors the store; it does not while it is rebuilt."""
        with translated():
            return bool(await self.client.exists(keys.MARKER))

    async def _compare_after_restart(self) -> None:
        """A Redis that was restarted may have lost its last second: compare it with the store, once a restart."""
        server = (await RedisServer.ask(self.client)).run_id
        with translated():
            known = await self.client.get(keys.SERVER)
            if known == server:
                return
        async with self._rebuilding, self._rebuild_lock():
            for records in self._collections:
                await records.compare()
            await self.webhooks.restore()
            ended, queued = await self.jobs.recovery.restore()
            with translated():
                await self.client.set(keys.SERVER, server)
            if known is not None:
                log.warning("Redis was restarted; compared with the store", ended_jobs=ended, requeued_jobs=queued)

    def _rebuild_lock(self) -> AbstractAsyncContextManager[None]:
        """Let one process of all rebuild."""
        return exclusive(
            self.client,
            keys.REBUILD_LOCK,
            seconds=_REBUILD_SECONDS,
            wait=30,
            busy="The index is being rebuilt from the store; try again in some seconds",
        )

    async def lane_workers(self, lane: Lane) -> int:
        """How many workers of a lane have shown a sign of life within their lease."""
        with translated():
            return await self.client.zcount(
                keys.workers(lane), await self.redis_time() - 3 * self.settings.lease_seconds, "+inf"
            )

    async def show_worker(self, lane: Lane, name: str) -> None:
        """A worker's sign of life, by Redis' clock."""
        key = keys.workers(lane)
        with translated():
            moment = await self.redis_time()
            await self.client.zadd(key, {name: moment})
            await self.client.zremrangebyscore(key, "-inf", moment - 10 * self.settings.lease_seconds)

    async def hide_worker(self, lane: Lane, name: str) -> None:
        """The worker has ended."""
        with translated():
            await self.client.zrem(keys.workers(lane), name)

    async def redis_time(self) -> float:
        """Redis' clock, Unix seconds: machines need not agree on theirs."""
        with translated():
            seconds, microseconds = cast("tuple[int, int]", await cast(Any, self.client).time())
        return seconds + microseconds / 1e6

    async def lane_running(self, lane: Lane) -> int:
        """Jobs of a lane that a worker holds."""
        with translated():
            return await self.client.zcount(keys.leases(lane), await self.redis_time() * 1000, "+inf")

    async def lane_backlog(self, lane: Lane) -> tuple[int, float]:
        """Waiting jobs of a lane, and the age of the oldest in seconds."""
        key = keys.waiting(lane)
        with translated():
            depth = await self.client.zcard(key)
            oldest = cast("list[tuple[str, float]]", await cast(Any, self.client).zrange(key, 0, 0, withscores=True))
        return depth, max(await self.redis_time() - oldest[0][1] / 1000, 0.0) if oldest else 0.0

    async def reap(self) -> None:
        """One round of the reaper: lost index, silent workers, lost messages, expired keys and jobs."""
        await self.ensure_index()
        await self._compare_after_restart()
        # After a gap the workers may have been as cut off as we were: their leases get a second life.
        moment = time.monotonic()
        if moment - self._reaped > _GAP_SECONDS:
            self._trusted_from = moment + self.settings.lease_seconds
        requeued = await self.jobs.recovery.reap(silent=moment >= self._trusted_from)
        if requeued:
            log.warning("jobs re-queued: their worker fell silent", jobs=requeued[:20], count=len(requeued))
        await self.webhooks.announce()  # Before they may be removed.
        if expired := await self.jobs.recovery.expire():
            log.info("ended jobs removed after their retention", jobs=expired)
        if checks := await remove_expired_checks(self.teachers, self.jobs, int(await self.redis_time() * 1000)):
            log.info("checked teachers removed that their clients have left", teachers=checks)
        with translated():
            await self._purge(keys=[keys.EXPIRING], args=[_EXPIRED_AT_ONCE])
        self._reaped = time.monotonic()

    def _remove_abandoned(self) -> None:
        self.store.remove_abandoned()
        remove_abandoned(self.scratch / "work")

    async def reap_indefinitely(self, seconds: float = 1.0) -> None:
        """Reap every second, through outages."""
        await asyncio.to_thread(self._remove_abandoned)
        while True:
            try:
                await self.reap()
            except (StateUnavailable, StoreUnavailable, StoreFull, RedisError) as error:
                log.warning("reaper waits for Redis or the store", reason=str(error))
            except Exception:
                log.exception("reaper failed; it continues")
            await asyncio.sleep(seconds)
