"""Brings jobs back: after the death of a worker, after the loss of a message, after the loss of all of Redis."""

from typing import Any, Final, cast

from preceptor.contract.jobs import JobStatus
from preceptor.contract.versions import CONTRACT

from ..lanes import LANE_OF_KIND, LANES, Lane
from ..redis import keys
from ..redis.client import translated
from ..storage.damaged_objects import readable
from . import scripts
from .backend import JobBackend
from .records import JobRecords
from .stored import (
    JOBS,
    StoredOutcome,
    StoredRequest,
    cancel_key,
    folder,
    member_of,
    order_keys,
    request_key,
    result_key,
)

_AT_ONCE: Final = 500
"""Jobs that one round of the reaper looks at, of each lane and for each reason."""

_SETTLED_MS: Final = 2000
"""A job that waits for less may have its message still under way."""


class Recovery:
    """What the reaper does, and the rebuilding of lost records.

    Parameters
    ----------
    backend
        Where jobs are kept and delivered.
    records
        The records of the same backend.
    """

    def __init__(self, backend: JobBackend, records: JobRecords) -> None:
        self._backend = backend
        self._records = records
        self._store = backend.store
        self._client = backend.client

    async def bring_back(self, id: str) -> bool:
        """Restore the record of one job from the store. False where the store has no such job."""
        outcome = await self._records.outcome(id)
        if outcome is not None:
            return await self._restore_ended(id, outcome)
        return await self._restore_waiting(id, canceled=await self._store.get(cancel_key(id)) is not None)

    async def withdraw(self, id: str) -> None:
        """Remove the record of a job that has no request, unless the same request has been accepted meanwhile."""
        await self._records.forget(id)
        if await self._store.get(request_key(id)) is not None:
            await self._restore_waiting(id, canceled=False)

    async def reap(self, *, silent: bool = True) -> list[str]:
        """Re-queue jobs whose worker fell silent or whose delay is over, and replace lost messages.

        Parameters
        ----------
        silent
            Whether leases count. Not after an outage: the workers could not renew them.

        Returns
        -------
        list
            The jobs that were taken from a silent worker.
        """
        requeued: list[str] = []
        moment = await self._backend.now()
        for lane in LANES:
            if silent:
                for id in await self._due(keys.leases(lane), moment):
                    if await self._take_back(id):
                        requeued.append(id)
            for id in await self._due(keys.delayed(lane), moment):
                if await self._backend.script(scripts.REAP, id) == "queued":
                    await self._backend.enqueue(id)
            await self._replace_messages(lane, moment)
            await self._tidy(lane)
        with translated():
            unswept = await cast(Any, self._client.srandmember(keys.UNSWEPT, _AT_ONCE))
        for id in unswept:
            outcome = await self._records.outcome(id)
            if outcome is not None:
                await self._records.adopt(id, outcome)
        return requeued

    async def expire(self) -> int:
        """Remove ended jobs that are older than the retention, everywhere. Returns how many."""
        keep = self._backend.settings.job_seconds
        if keep == 0:
            return 0
        old = await self._due(keys.ENDED, await self._backend.now() - keep * 1000)
        if not old:
            return 0
        with translated():
            untold = await cast(Any, self._client).smismember(keys.UNANNOUNCED, old)
        old = [id for id, left in zip(old, untold, strict=True) if not left]  # Webhooks are to hear of the others yet.
        for id in old:
            # The request goes first: what is left of a job without one is never looked at again.
            await self._store.delete(request_key(id))
            await self._store.delete_prefix(folder(id))
            await self._records.forget(id)
        return len(old)

    async def restore(self) -> tuple[int, int]:
        """Compare all records with the store; create what is missing, re-queue what has no end.

        Returns
        -------
        tuple
            How many records of ended jobs, and of waiting ones, were made.
        """
        requests: set[str] = set()
        outcomes: set[str] = set()
        cancels: set[str] = set()
        left: dict[str, set[str]] = {}
        async for key in self._store.list(f"{JOBS}/"):
            _, id, name = key.split("/", 2)
            if name == "request.json":
                requests.add(id)
            elif name == "outcome.json":
                outcomes.add(id)
            elif key == cancel_key(id):
                cancels.add(id)
            else:
                left.setdefault(id, set()).add(key)
        ended, queued = 0, 0
        for id, status in (await self._statuses(sorted(requests))).items():
            outcome = await self._missing_outcome(id, status) if id in outcomes else None
            if outcome is not None and status is None:
                ended += await self._restore_ended(id, outcome)
            elif outcome is not None:
                await self._records.adopt(id, outcome)
            elif status is None:
                queued += await self._restore_waiting(id, canceled=id in cancels)
            elif id in cancels and not JobStatus(status).terminal:  # Redis has lost that it was asked to stop.
                await self._records.stop(id)
            elif id in cancels:  # The service was killed when it had written this for a job that ended meanwhile.
                await self._store.delete(cancel_key(id))
            if outcome is not None and left.get(id, set()) - {result_key(id, outcome.fence or 0)}:
                await self._records.sweep(id, outcome)
        return ended, queued

    async def _missing_outcome(self, id: str, status: str | None) -> StoredOutcome | None:
        """The stored end of a job whose record lacks it."""
        if status is not None and JobStatus(status).terminal:
            return None
        return await self._records.outcome(id)

    async def _restore_waiting(self, id: str, *, canceled: bool) -> bool:
        stored = readable(StoredRequest, request_key(id), await self._store.get(request_key(id)))
        if stored is None:
            return False
        # Whether it ran before is forgotten; 1 keeps its message apart from one that may still be under way.
        if await self._records.create(stored, room=0, requeues=1) != "created":
            return False
        if canceled:
            await self._records.settle(
                id, StoredOutcome(status=JobStatus.CANCELED, finished_at_ms=await self._backend.now(), deliveries=0)
            )
        else:
            await self._backend.enqueue(id)
        return True

    async def _restore_ended(self, id: str, outcome: StoredOutcome) -> bool:
        stored = readable(StoredRequest, request_key(id), await self._store.get(request_key(id)))
        if stored is None:
            return False
        fields: dict[str, str | int] = {
            "id": stored.id,
            "kind": stored.kind,
            "lane": LANE_OF_KIND[stored.kind],
            "created_at": stored.created_at_ms,
            "status": outcome.status.value,
            "deliveries": outcome.deliveries,
            "finished_at": outcome.finished_at_ms,
            "error": outcome.error.model_dump_json() if outcome.error else "",
            "requeues": 0,
            "fence": outcome.fence or 0,
            "result_fence": outcome.fence or 0,
        }
        if outcome.started_at_ms is not None:
            fields["started_at"] = outcome.started_at_ms
        with translated():
            async with self._client.pipeline() as pipeline:
                pipeline.hset(keys.job(stored.id), mapping=cast(Any, fields))
                for key in order_keys(stored.kind):
                    pipeline.zadd(key, {member_of(stored): 0})
                pipeline.zadd(keys.ENDED, {stored.id: outcome.finished_at_ms})
                pipeline.sadd(keys.UNANNOUNCED, stored.id)
                await pipeline.execute()
        return True

    async def _take_back(self, id: str) -> bool:
        """A job whose worker fell silent: adopt the end that it may have written, else queue it again."""
        outcome = await self._records.outcome(id)
        if outcome is not None:
            await self._records.adopt(id, outcome)
            return False
        code = await self._backend.script(scripts.REAP, id)
        if code == "canceling":
            fields = await self._backend.fields(id)
            await self._records.settle(
                id,
                StoredOutcome(
                    status=JobStatus.CANCELED,
                    fence=int(fields["fence"]),
                    started_at_ms=int(fields["started_at"]),
                    finished_at_ms=await self._backend.now(),
                    deliveries=int(fields["deliveries"]),
                ),
            )
        elif code == "requeued":
            await self._backend.enqueue(id)
        return code == "requeued"

    async def _replace_messages(self, lane: Lane, moment: int) -> None:
        """Hand jobs to their lane again where it has fewer messages than jobs: Redis may lose its last second."""
        stream, later = self._backend.lanes.message_keys(lane)
        waiting = keys.waiting(lane)
        with translated():
            async with self._client.pipeline(transaction=False) as pipeline:
                pipeline.zcard(waiting)
                pipeline.zcard(keys.leases(lane))
                pipeline.xlen(stream)
                pipeline.zcard(later)
                waits, runs, *messages = cast("list[int]", await pipeline.execute())
        if waits and waits + runs > sum(messages):
            for id in await self._due(waiting, moment - _SETTLED_MS):
                await self._backend.enqueue(id)

    async def _tidy(self, lane: Lane) -> None:
        script = self._backend.registered(scripts.TIDY)
        with translated():
            for contract in range(1, CONTRACT + 1):
                await script(keys=[keys.turns(lane, contract), keys.quick_turns(lane, contract)], args=[_AT_ONCE])

    async def _due(self, key: str, until_ms: int) -> list[str]:
        with translated():
            return cast(
                "list[str]",
                await cast(Any, self._client).zrange(key, "-inf", until_ms, byscore=True, offset=0, num=_AT_ONCE),
            )

    async def _statuses(self, ids: list[str]) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            with translated():
                async with self._client.pipeline(transaction=False) as pipeline:
                    for id in some:
                        pipeline.hget(keys.job(id), "status")
                    found.update(zip(some, cast("list[str | None]", await pipeline.execute()), strict=True))
        return found
