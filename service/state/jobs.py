"""Job records: the truth about every job. Delivery engines run a job twice; the record's fence lets one write.

The request is in the store before a job is acknowledged; a result is in the store before its job has succeeded.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast

from pydantic import BaseModel, TypeAdapter

from preceptor.contract.base import now
from preceptor.contract.jobs import JobKind, JobStatus, JobSummary, Progress
from preceptor.contract.problem import Problem

from . import redis_keys, scripts
from .connection import RedisClient, translated
from .errors import QueueFull, StateUnavailable
from .lanes import LANE_OF_KIND, Lane, Lanes
from .records import encode_cursor, order_member, page_of_ids
from .settings import Settings
from .store import Store

JOBS = "jobs"
TakeCode = Literal["taken", "exhausted", "canceling", "held", "ended", "unknown"]
_OBJECT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


@dataclass(frozen=True)
class Taken:
    """A worker's attempt to take a job: what came of it, and the fence under which it may write."""

    code: TakeCode
    fence: int
    deliveries: int


class StoredRequest(BaseModel):
    """What the store keeps of an accepted job."""

    id: str
    kind: JobKind
    created_at_ms: int
    request: dict[str, Any]


class StoredOutcome(BaseModel):
    """What the store keeps of an ended job."""

    status: JobStatus
    error: Problem | None = None
    fence: int | None = None
    started_at_ms: int | None = None
    finished_at_ms: int
    deliveries: int


class Jobs:
    """All job records.

    Parameters
    ----------
    ensure_index
        Called before a missing job is reported: rebuilds a lost index.
    """

    def __init__(
        self,
        store: Store,
        client: RedisClient,
        lanes: Lanes,
        settings: Settings,
        ensure_index: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._client = client
        self._lanes = lanes
        self._settings = settings
        self._ensure_index = ensure_index
        self._create = client.register_script(scripts.CREATE)
        self._take = client.register_script(scripts.TAKE)
        self._renew = client.register_script(scripts.RENEW)
        self._emit = client.register_script(scripts.EMIT)
        self._finish = client.register_script(scripts.FINISH)
        self._cancel = client.register_script(scripts.CANCEL)
        self._release = client.register_script(scripts.RELEASE)
        self._reap = client.register_script(scripts.REAP)

    # --- the service's side ---

    async def submit(self, id: str, kind: JobKind, request: BaseModel) -> JobSummary:
        """Accept a job: to the store, to the record, to the lane. Submitting the same id again does nothing.

        Raises
        ------
        QueueFull
            The lane is full; nothing was accepted.
        StoreFull, StoreUnavailable, StateUnavailable
        """
        lane = LANE_OF_KIND[kind]
        with translated():
            waiting = await self._client.zcard(redis_keys.waiting(lane))
        if waiting >= self._settings.max_queue:
            raise _queue_full(lane, self._settings.max_queue)
        stored = StoredRequest(
            id=id,
            kind=kind,
            created_at_ms=int(now().timestamp() * 1000),
            request=_OBJECT.validate_json(request.model_dump_json()),
        )
        first = await self._store.create(_request_key(id), stored.model_dump_json().encode())
        try:
            outcome = await self.record(stored, room=self._settings.max_queue)
        except StateUnavailable:
            if first:
                await self._store.delete(_request_key(id))
            raise
        if outcome == "full":
            if first:
                await self._store.delete(_request_key(id))
            raise _queue_full(lane, self._settings.max_queue)
        summary = await self.get(id)
        if summary is None:
            raise StateUnavailable("The job's record was lost; send the request again", headers={"Retry-After": "2"})
        return summary

    async def record(self, stored: StoredRequest, *, room: int) -> str:
        """Create the record of an accepted request and hand it to its lane; `room` 0 ignores the lane's limit."""
        lane = LANE_OF_KIND[stored.kind]
        with translated():
            outcome = await self._create(
                keys=[*_keys(stored.id), redis_keys.waiting(lane), redis_keys.order(JOBS)],
                args=[
                    redis_keys.wake(stored.id),
                    stored.id,
                    stored.kind,
                    lane,
                    stored.created_at_ms,
                    order_member(stored.created_at_ms, stored.id),
                    room,
                ],
            )
            if outcome == "created":
                await self._client.zadd(
                    redis_keys.order(f"{JOBS}:{stored.kind}"), {order_member(stored.created_at_ms, stored.id): 0}
                )
                await self._lanes.enqueue(lane, stored.id, 0)
        return cast(str, outcome)

    async def get(self, id: str) -> JobSummary | None:
        """A job without its request and result, or None."""
        fields = await self._fields(id)
        if not fields:
            await self._ensure_index()
            fields = await self._fields(id)
        return _summary(fields) if fields else None

    async def request(self, id: str) -> dict[str, Any] | None:
        """The job's request, as it was accepted."""
        text = await self._store.get(_request_key(id))
        return None if text is None else StoredRequest.model_validate_json(text).request

    async def result(self, id: str) -> bytes | None:
        """The result document of a job that has succeeded."""
        fields = await self._fields(id)
        if fields.get("status") != JobStatus.SUCCEEDED:
            return None
        return await self._store.get(_result_key(id, int(fields["result_fence"])))

    async def page(
        self, cursor: str | None, limit: int, kind: JobKind | None, status: JobStatus | None
    ) -> tuple[list[JobSummary], str | None]:
        """One page of jobs, newest first, and the next cursor or None."""
        await self._ensure_index()
        key = redis_keys.order(f"{JOBS}:{kind}" if kind else JOBS)
        items: list[JobSummary] = []
        last = cursor
        while True:
            rows = await page_of_ids(self._client, key, last, limit + 1)
            with translated():
                async with self._client.pipeline(transaction=False) as pipeline:
                    for _, id in rows:
                        pipeline.hgetall(redis_keys.job(id))
                    found = cast(list[dict[str, str]], await pipeline.execute())
            for (member, _), fields in zip(rows, found, strict=True):
                if fields and (status is None or fields["status"] == status):
                    if len(items) == limit:
                        return items, last
                    items.append(_summary(fields))
                last = encode_cursor(member)
            if len(rows) <= limit:
                return items, None

    async def cancel(self, id: str) -> JobSummary | None:
        """Ask for the end of a job. A queued job ends at once; a running one at its next step."""
        lane = await self._lane(id)
        with translated():
            outcome = await self._cancel(
                keys=[*_keys(id), redis_keys.waiting(lane)],
                args=[redis_keys.wake(id), id, self._settings.event_seconds],
            )
        if outcome == "canceled":
            await self._conclude(id)
        return await self.get(id)

    async def reap(self) -> int:
        """Re-queue jobs whose worker fell silent, and hand waiting jobs to their lane again. Returns how many."""
        requeued = 0
        with translated():
            ids = cast("set[str]", await self._client.smembers(redis_keys.ACTIVE))
        for id in sorted(ids):
            fields = await self._fields(id)
            lane = LANE_OF_KIND.get(fields.get("kind", ""), "recommend")
            with translated():
                outcome = await self._reap(
                    keys=[*_keys(id), redis_keys.waiting(lane)],
                    args=[redis_keys.wake(id), id, self._settings.event_seconds],
                )
            if outcome == "canceled":
                await self._conclude(id)
            elif outcome in ("requeued", "queued"):
                fields = await self._fields(id)
                with translated():
                    await self._lanes.enqueue(lane, id, int(fields.get("requeues", "0")))
                requeued += outcome == "requeued"
        return requeued

    # --- the worker's side ---

    async def take(self, id: str, owner: str) -> Taken:
        """Take a job by raising its fence; everything an earlier owner writes from now on is refused."""
        lane = await self._lane(id)
        with translated():
            code, fence, deliveries = await self._take(
                keys=[*_keys(id), redis_keys.waiting(lane)],
                args=[
                    redis_keys.wake(id),
                    id,
                    owner,
                    int(self._settings.lease_seconds * 1000),
                    self._settings.delivery_limit,
                ],
            )
        return Taken(code, int(fence), int(deliveries))

    async def renew(self, id: str, fence: int) -> Literal["running", "canceling", "lost"]:
        """Prolong the lease. `lost`: another worker has the job; `canceling`: stop, and finish as canceled."""
        with translated():
            return await self._renew(
                keys=_keys(id),
                args=[redis_keys.wake(id), id, fence, int(self._settings.lease_seconds * 1000)],
            )

    async def emit(self, id: str, fence: int, event: str, data: dict[str, Any]) -> bool:
        """Append to the job's event log; `progress` also becomes part of the record. False where refused."""
        with translated():
            return bool(
                await self._emit(
                    keys=_keys(id),
                    args=[
                        redis_keys.wake(id),
                        id,
                        fence,
                        event,
                        json.dumps(data, ensure_ascii=False, separators=(",", ":")),
                        1 if event == "progress" else 0,
                    ],
                )
            )

    async def succeed(self, id: str, fence: int, result: BaseModel) -> bool:
        """End a job with its result. False, and nothing changed, where the fence is stale."""
        await self._store.put(_result_key(id, fence), result.model_dump_json().encode())
        return await self._end(id, fence, JobStatus.SUCCEEDED, None)

    async def fail(self, id: str, fence: int, problem: Problem) -> bool:
        """End a job with a reason. False where the fence is stale."""
        return await self._end(id, fence, JobStatus.FAILED, problem)

    async def end_canceled(self, id: str, fence: int) -> bool:
        """End a job that was asked to stop. False where the fence is stale."""
        return await self._end(id, fence, JobStatus.CANCELED, None)

    async def release(self, id: str, fence: int) -> bool:
        """Hand a job back to its lane without counting the delivery. False where the fence is stale."""
        lane = await self._lane(id)
        with translated():
            released = bool(
                await self._release(keys=[*_keys(id), redis_keys.waiting(lane)], args=[redis_keys.wake(id), id, fence])
            )
            if released:
                fields = await self._fields(id)
                await self._lanes.enqueue(lane, id, int(fields.get("requeues", "0")))
        return released

    # --- recovery ---

    async def restore(self) -> tuple[int, int]:
        """Rebuild all records from the store; re-queue what has no end. Returns (ended, re-queued)."""
        requests: dict[str, str] = {}
        outcomes: dict[str, str] = {}
        async for key in self._store.list(f"{JOBS}/"):
            _, id, name = key.split("/", 2)
            if name == "request.json":
                requests[id] = key
            elif name == "outcome.json":
                outcomes[id] = key
        requeued = 0
        for id in sorted(requests):
            text = await self._store.get(requests[id])
            if text is None:
                continue
            stored = StoredRequest.model_validate_json(text)
            ended = await self._store.get(outcomes[id]) if id in outcomes else None
            if ended is None:
                requeued += await self.record(stored, room=0) == "created"
            else:
                await self._restore_ended(stored, StoredOutcome.model_validate_json(ended))
        return len(outcomes), requeued

    async def _restore_ended(self, stored: StoredRequest, outcome: StoredOutcome) -> None:
        fields = {
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
        member = order_member(stored.created_at_ms, stored.id)
        with translated():
            async with self._client.pipeline() as pipeline:
                pipeline.hset(redis_keys.job(stored.id), mapping=cast(Any, fields))
                pipeline.zadd(redis_keys.order(JOBS), {member: 0})
                pipeline.zadd(redis_keys.order(f"{JOBS}:{stored.kind}"), {member: 0})
                await pipeline.execute()

    # --- inside ---

    async def _end(self, id: str, fence: int, status: JobStatus, problem: Problem | None) -> bool:
        lane = await self._lane(id)
        with translated():
            ended = bool(
                await self._finish(
                    keys=[*_keys(id), redis_keys.waiting(lane)],
                    args=[
                        redis_keys.wake(id),
                        id,
                        fence,
                        status.value,
                        problem.model_dump_json() if problem else "",
                        self._settings.event_seconds,
                    ],
                )
            )
        if ended:
            await self._conclude(id)
        return ended

    async def _conclude(self, id: str) -> None:
        fields = await self._fields(id)
        if not fields:
            return
        summary = _summary(fields)
        outcome = StoredOutcome(
            status=summary.status,
            error=summary.error,
            fence=int(fields["result_fence"]) if "result_fence" in fields else None,
            started_at_ms=int(fields["started_at"]) if "started_at" in fields else None,
            finished_at_ms=int(fields["finished_at"]),
            deliveries=summary.deliveries,
        )
        await self._store.put(f"{JOBS}/{id}/outcome.json", outcome.model_dump_json().encode())

    async def _fields(self, id: str) -> dict[str, str]:
        with translated():
            return cast("dict[str, str]", await cast(Any, self._client.hgetall(redis_keys.job(id))))

    async def _lane(self, id: str) -> Lane:
        with translated():
            lane = cast("Lane | None", await cast(Any, self._client.hget(redis_keys.job(id), "lane")))
        return lane or "recommend"


def _keys(id: str) -> list[str]:
    return [redis_keys.job(id), redis_keys.ACTIVE, redis_keys.events(id), redis_keys.EXPIRING]


def _request_key(id: str) -> str:
    return f"{JOBS}/{id}/request.json"


def _result_key(id: str, fence: int) -> str:
    return f"{JOBS}/{id}/{fence}/result.json"


def _moment(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def _summary(fields: dict[str, str]) -> JobSummary:
    status = JobStatus(fields["status"])
    progress = fields.get("progress")
    return JobSummary(
        id=fields["id"],
        kind=cast(JobKind, fields["kind"]),
        status=status,
        created_at=_moment(fields["created_at"]),
        started_at=_moment(fields["started_at"]) if "started_at" in fields else None,
        finished_at=_moment(fields["finished_at"]) if "finished_at" in fields else None,
        deliveries=int(fields["deliveries"]),
        progress=Progress.model_validate_json(progress) if progress else None,
        error=Problem.model_validate_json(fields["error"]) if fields.get("error") else None,
    )


def _queue_full(lane: str, limit: int) -> QueueFull:
    return QueueFull(
        f"{limit} jobs wait in the lane {lane!r} already. Nothing was accepted; try again later, or add workers",
        headers={"Retry-After": "5"},
    )
