"""Reads a job's record, and writes its end: to the store first, once, then to Redis.

The outcome in the store is created, never replaced. Whoever creates it has ended the job; whoever comes later, a
worker that was thought dead or one that repeats itself after an outage, finds it and adopts it.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, cast

from preceptor.contract.job_kinds import JOB_KINDS
from preceptor.contract.jobs import JobStatus, JobSummary
from preceptor.contract.versions import full_form

from ..errors import PreceptorError
from ..lanes import LANE_OF_KIND, Lane, is_quick
from ..redis import keys
from ..redis.client import translated
from ..storage.damaged_objects import readable
from ..storage.documents import order_member
from . import scripts
from .backend import JobBackend
from .document_cache import DocumentCache
from .stored import (
    StoredOutcome,
    StoredRequest,
    delivery_folder,
    folder,
    member_of,
    order_keys,
    outcome_key,
    request_key,
    result_key,
    summary_of,
)

_KEPT_REQUESTS: Final = 8 * 2**20
"""Bytes of requests that are kept in memory: who submits a job or watches one asks for it again at once."""


Recorded = Literal["created", "exists", "full", "quota"]


class JobRecords:
    """What the service and the workers share.

    Parameters
    ----------
    backend
        Where jobs are kept.
    ensure_index
        Called before a missing job is reported: rebuilds a lost index.
    drop_student
        Removes a student that a lost delivery has left behind.

    Attributes
    ----------
    waits
        How many jobs waited in each lane when it was last seen.
    """

    def __init__(
        self,
        backend: JobBackend,
        ensure_index: Callable[[], Awaitable[None]],
        drop_student: Callable[[str], Awaitable[None]],
    ) -> None:
        self._backend = backend
        self._store = backend.store
        self._client = backend.client
        self._ensure_index = ensure_index
        self.drop_student = drop_student
        self._requests = DocumentCache(_KEPT_REQUESTS)
        self.waits: dict[Lane, int] = {}

    async def create(self, stored: StoredRequest, *, room: int, requeues: int = 0, max_jobs: int = 0) -> Recorded:
        """Create the record of an accepted request.

        Parameters
        ----------
        room
            Most jobs that may wait in the lane; 0 for no limit.
        max_jobs
            Most unfinished jobs that the caller may have; 0 for no limit.
        """
        lane = LANE_OF_KIND[stored.kind]
        outcome, self.waits[lane] = await self._backend.script(
            scripts.CREATE,
            stored.id,
            stored.kind,
            lane,
            stored.created_at_ms,
            member_of(stored),
            room,
            requeues,
            stored.caller or "",
            max_jobs,
            stored.request.get("priority", "normal"),
            stored.trace or "",
            stored.contract,
            int(is_quick(stored.kind, stored.request)),
            more_keys=[*order_keys(stored.kind), f"{keys.CALLERS}{stored.caller or ''}"],
        )
        return cast(Recorded, outcome)

    async def get(self, id: str) -> JobSummary | None:
        """A job without its request and result, or None where Redis has no record of it."""
        fields = await self._backend.fields(id)
        if not fields:
            await self._ensure_index()
            fields = await self._backend.fields(id)
        return summary_of(fields) if fields else None

    async def stored(self, id: str) -> StoredRequest | None:
        """What the store has of an accepted job; its `request` may lack fields that are at their defaults.

        Raises
        ------
        PreceptorError
            It cannot be read.
        """
        text = await self._store.get(request_key(id))
        found = readable(StoredRequest, request_key(id), text)
        if found is None and text is not None:
            raise PreceptorError(
                f"What the store has of {id} cannot be read: its disk or host has failed. Send the request again, or "
                "restore the store from a backup"
            )
        return found

    async def request(self, id: str) -> dict[str, Any] | None:
        """The job's request, as it was accepted, with all defaults."""
        stored = await self.stored(id)
        return None if stored is None else full_form(JOB_KINDS[stored.kind].body, stored.request)

    async def request_text(self, id: str) -> bytes | None:
        """The job's request as JSON. It never changes, so it is read once by all who watch the job."""
        known = self._requests.get(id)
        if known is None:
            request = await self.request(id)
            known = None if request is None else self.keep_request(id, request)
        return known

    async def trace(self, id: str) -> str:
        """The `traceparent` of the request that submitted the job; empty where it was not traced."""
        with translated():
            return await cast(Any, self._client.hget(keys.job(id), "trace")) or ""

    async def waited(self, id: str) -> float:
        """Seconds from acceptance to the first delivery, both by Redis' clock; 0 where they are not known."""
        with translated():
            accepted, started = cast(
                "list[str | None]",
                await cast(Any, self._client).hmget(keys.job(id), "accepted", "started_at"),
            )
        return 0.0 if accepted is None or started is None else max(int(started) - int(accepted), 0) / 1000

    async def result(self, id: str) -> bytes | None:
        """The result document of a job that has succeeded; None for all others."""
        fields = await self._backend.fields(id)
        if fields.get("status") == JobStatus.SUCCEEDED:
            return await self._store.get(result_key(id, int(fields["result_fence"])))
        # Redis may have lost the record since the caller saw it.
        outcome = await self.outcome(id)
        if outcome is None or outcome.status != JobStatus.SUCCEEDED:
            return None
        return await self._store.get(result_key(id, outcome.fence or 0))

    async def outcome(self, id: str) -> StoredOutcome | None:
        """How the job has ended, as the store has it; None while it has not, or where that cannot be read."""
        return readable(StoredOutcome, outcome_key(id), await self._store.get(outcome_key(id)))

    def keep_request(self, id: str, request: dict[str, Any]) -> bytes:
        """Keep a request in memory, as JSON: whoever submitted it asks for it at once."""
        text = json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode()
        self._requests.put(id, text)
        return text

    async def stop(self, id: str) -> str:
        """Ask for the end of a job: a queued one ends at once. Its status before, `canceling` of a running one."""
        status = await self._backend.script(scripts.CANCEL, id)
        if status == JobStatus.QUEUED:
            fields = await self._backend.fields(id)
            if fields:
                await self.settle(
                    id,
                    StoredOutcome(
                        status=JobStatus.CANCELED,
                        started_at_ms=int(fields["started_at"]) if "started_at" in fields else None,
                        finished_at_ms=await self._backend.now(),
                        deliveries=int(fields["deliveries"]),
                    ),
                )
        return cast(str, status)

    async def settle(self, id: str, outcome: StoredOutcome) -> bool:
        """End a job. False where it had another end already, which then stands."""
        text = outcome.model_dump_json().encode()
        ours = await self._store.create(outcome_key(id), text)
        if not ours:
            existing = await self.outcome(id)
            if existing is None:  # Written by half when a host lost power.
                await self._store.put(outcome_key(id), text)
            ours = existing is None or (existing.status, existing.fence) == (outcome.status, outcome.fence)
            outcome = existing or outcome
        await self.adopt(id, outcome)
        return ours

    async def adopt(self, id: str, outcome: StoredOutcome) -> None:
        """Write the stored end into the record, and remove what other deliveries have left."""
        await self._backend.script(
            scripts.SETTLE,
            id,
            outcome.status.value,
            outcome.error.model_dump_json() if outcome.error else "",
            outcome.finished_at_ms,
            outcome.fence or 0,
            outcome.deliveries,
            self._backend.settings.event_seconds,
            more_keys=[keys.UNSWEPT, keys.UNANNOUNCED],
        )
        await self.sweep(id, outcome)
        with translated():
            await cast(Any, self._client.srem(keys.UNSWEPT, id))

    async def sweep(self, id: str, outcome: StoredOutcome) -> None:
        """Remove what an ended job no longer needs: checkpoints, and whatever lost deliveries have written."""
        kept = {request_key(id), outcome_key(id)}
        won = delivery_folder(id, outcome.fence or 0) if outcome.status == JobStatus.SUCCEEDED else None
        if won is not None:
            kept |= {f"{won}result.json", f"{won}student"}
        async for key in self._store.list(folder(id)):
            if key in kept:
                continue
            if key.endswith("/student"):
                left = await self._store.get(key)
                if left is not None:
                    await self.drop_student(left.decode())
            await self._store.delete(key)

    async def forget(self, id: str) -> None:
        """Remove the record of a job that has no request: its submission was rejected."""
        fields = await self._backend.fields(id)
        if fields:
            member = order_member(int(fields["created_at"]), id)
            await self._backend.script(scripts.FORGET, id, member, more_keys=order_keys(fields["kind"]))
