"""Job records: the truth about every job. Delivery engines run a job twice; the record's fence lets one write.

The request is in the store before a job is acknowledged; a result and the outcome are in the store before its job has
ended. Redis holds what is under way: all of it can be made again from the store.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

import structlog
from pydantic import BaseModel

from preceptor.contract.base import now
from preceptor.contract.jobs import JobKind, JobStatus, JobSummary
from preceptor.contract.versions import stored_form
from service.core.api_keys import CALLER
from service.core.async_helpers import KeyedLocks

from ..errors import QueueFull, QuotaReached, StateUnavailable
from ..lanes import LANE_OF_KIND, Lane
from ..observability import tracing
from ..redis import keys
from ..redis.client import RedisClient, translated
from ..settings import Settings
from ..storage.documents import encode_cursor, page_of_ids
from ..storage.object_store import Store
from .backend import JobBackend
from .leases import Leases
from .queue import Lanes
from .records import JobRecords
from .recovery import Recovery
from .stored import JOBS, StoredRequest, cancel_key, folder, request_key, summary_of


class Jobs:
    """All jobs, as the service submits, lists and cancels them.

    Parameters
    ----------
    store, client, lanes, settings
        Where jobs are kept and delivered.
    ensure_index, drop_student
        As `JobRecords` has them.

    Attributes
    ----------
    records
        Requests, results and ends.
    leases
        The worker's side.
    recovery
        The reaper's side.
    """

    def __init__(
        self,
        store: Store,
        client: RedisClient,
        lanes: Lanes,
        settings: Settings,
        ensure_index: Callable[[], Awaitable[None]],
        drop_student: Callable[[str], Awaitable[None]],
    ) -> None:
        self._backend = JobBackend(store, client, lanes, settings)
        self._store = store
        self._client = client
        self._settings = settings
        self._ensure_index = ensure_index
        self._one_by_one = KeyedLocks()
        self.records = JobRecords(self._backend, ensure_index, drop_student)
        self.leases = Leases(self._backend, self.records)
        self.recovery = Recovery(self._backend, self.records)

    async def get(self, id: str) -> JobSummary | None:
        """A job without its request and result, or None.

        A Redis that was killed may have lost single records: the job is brought back before it is called unknown.
        """
        summary = await self.records.get(id)
        if summary is None and await self.recovery.bring_back(id):
            summary = await self.records.get(id)
        return summary

    async def submit(self, id: str, kind: JobKind, request: BaseModel) -> JobSummary:
        """Accept a job: to the store, to the record, to the lane. Submitting the same id again does nothing.

        Raises
        ------
        QueueFull, QuotaReached
            The lane is full, or the caller has too many jobs; nothing was accepted.
        StoreFull, StoreUnavailable, StateUnavailable
        """
        lane = LANE_OF_KIND[kind]
        with tracing.submit_span(id, kind, lane):
            # A request may be repeated while it is still being accepted: neither may undo what the other did.
            async with self._one_by_one.of(id):
                return await self._submit(id, kind, lane, request)

    async def _submit(self, id: str, kind: JobKind, lane: Lane, request: BaseModel) -> JobSummary:
        caller = CALLER.get()
        structlog.contextvars.bind_contextvars(job=id)
        await self._refuse_early(lane)
        form, contract = stored_form(request)
        stored = StoredRequest(
            id=id,
            kind=kind,
            created_at_ms=int(now().timestamp() * 1000),
            request=form,
            caller=None if caller is None else caller.key,
            trace=tracing.carried() or None,
            contract=contract,
            request_id=structlog.contextvars.get_contextvars().get("request_id"),
        )
        first = await self._store.create(request_key(id), stored.model_dump_json().encode())
        try:
            outcome = await self.records.create(
                stored, room=self._settings.max_queue, max_jobs=0 if caller is None else caller.max_jobs
            )
        except StateUnavailable:
            # Redis may have made the record all the same: a worker that finds no request removes it.
            if first:
                await self._store.delete(request_key(id))
            raise
        if outcome in ("full", "quota"):
            if not await self._backend.fields(id):  # Else another process has just accepted the same request.
                await self._store.delete_prefix(folder(id))
            if caller is not None and outcome == "quota":
                raise _quota_reached(caller.max_jobs)
            raise _queue_full(lane, self._settings.max_queue)
        if outcome == "created":
            if not first:  # Another process may have been refused for it, and have removed it, in this very moment.
                await self._store.create(request_key(id), stored.model_dump_json().encode())
            with suppress(StateUnavailable):  # It is accepted: the reaper hands it over as soon as Redis answers.
                await self._backend.enqueue(id, requeues=0)
            self.records.keep_request(id, request.model_dump(mode="json"))
            return _accepted(stored)
        summary = await self.get(id)
        if summary is None:
            raise StateUnavailable("The job's record was lost; send the request again", headers={"Retry-After": "2"})
        return summary

    async def _refuse_early(self, lane: Lane) -> None:
        """Refuse for a full lane before anything is written. A lane that was last seen half empty is not asked."""
        room = self._settings.max_queue
        if self.records.waits.get(lane, room) < room // 2:
            return
        with translated():
            self.records.waits[lane] = await self._client.zcard(keys.waiting(lane))
        if self.records.waits[lane] >= room:
            raise _queue_full(lane, room)

    async def page(
        self, cursor: str | None, limit: int, kind: JobKind | None, status: JobStatus | None
    ) -> tuple[list[JobSummary], str | None]:
        """One page of jobs, newest first, and the next cursor or None."""
        await self._ensure_index()
        key = keys.order(f"{JOBS}:{kind}" if kind else JOBS)
        items: list[JobSummary] = []
        last = cursor
        while True:
            rows = await page_of_ids(self._client, key, last, limit + 1)
            with translated():
                async with self._client.pipeline(transaction=False) as pipeline:
                    for _, id in rows:
                        pipeline.hgetall(keys.job(id))
                    found = cast(list[dict[str, str]], await pipeline.execute())
            for (member, _), fields in zip(rows, found, strict=True):
                if fields and (status is None or fields["status"] == status):
                    if len(items) == limit:
                        return items, last
                    items.append(summary_of(fields))
                last = encode_cursor(member)
            if len(rows) <= limit:
                return items, None

    async def cancel(self, id: str) -> JobSummary | None:
        """Ask for the end of a job. A queued job ends at once; a running one at its next step."""
        status = await self.records.stop(id)
        if status == "unknown" and await self.get(id) is not None:  # Redis had lost it; it is back.
            status = await self.records.stop(id)
        if status == "canceling":
            # Were Redis lost before the job stops, it must not start anew.
            await self._store.put(cancel_key(id), b"{}")
        summary = await self.get(id)
        if status == "canceling" and summary is not None and summary.status.terminal:
            await self._store.delete(cancel_key(id))  # It ended meanwhile, and was swept before this was written.
        return summary


def _accepted(stored: StoredRequest) -> JobSummary:
    return summary_of(
        {
            "id": stored.id,
            "kind": stored.kind,
            "status": JobStatus.QUEUED.value,
            "created_at": str(stored.created_at_ms),
            "deliveries": "0",
        }
    )


def _quota_reached(limit: int) -> QuotaReached:
    return QuotaReached(
        f"This caller has {limit} unfinished jobs, as many as it may have. Nothing was accepted; wait for one to end, "
        "or cancel one",
        headers={"Retry-After": "5"},
    )


def _queue_full(lane: str, limit: int) -> QueueFull:
    return QueueFull(
        f"{limit} jobs wait in the lane {lane!r} already. Nothing was accepted; try again later, or add workers",
        headers={"Retry-After": "5"},
    )
