"""Deliveries to webhooks. The store holds each delivery with its attempts; Redis holds due times and claims."""

import asyncio
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, cast

from redis.commands.core import AsyncScript

from preceptor.contract.ids import MESSAGE, content_id
from preceptor.contract.jobs import JobSummary
from preceptor.contract.webhooks import WebhookDelivery, WebhookEvent, WebhookJob, WebhookMessage

from ..redis import keys
from ..redis.client import RedisClient, translated
from ..storage.damaged_objects import readable
from ..storage.documents import encode_cursor, order_member, page_of_ids
from ..storage.object_store import Store

# KEYS: due. ARGV: maximum number, lease ms. A claimed delivery belongs to the caller until the lease expires.
_CLAIM: Final = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local members = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
for _, member in ipairs(members) do redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), member) end
return {now + tonumber(ARGV[2]), members}
"""

# KEYS: due. ARGV: member, end of the lease, next time or ''. Rejected if another process has claimed it since.
_UNCLAIM: Final = """
if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or '0') ~= tonumber(ARGV[2]) then return 0 end
if ARGV[3] == '' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
end
return 1
"""


RETENTION_MS: Final = 30 * 24 * 3600 * 1000
"""Retention of a delivery, from the job's end."""

_READ_AT_ONCE: Final = 50
_EXPIRED_AT_ONCE: Final = 500
_UNPARKED_AT_ONCE: Final = 500


class Claim(NamedTuple):
    """A delivery that this process attempts now.

    Attributes
    ----------
    until_ms
        End of the lease; also identifies this claim among all claims of the same delivery.
    """

    webhook: str
    message: str
    until_ms: int


def message_of(job: JobSummary, event: WebhookEvent) -> WebhookMessage:
    """The message about the end of a job."""
    assert job.finished_at is not None
    data = WebhookJob(id=job.id, kind=job.kind, status=job.status, error=job.error)
    return WebhookMessage(type=event, timestamp=job.finished_at, data=data)


class WebhookDeliveries:
    """The deliveries of all webhooks, in the store and in Redis."""

    def __init__(self, store: Store, client: RedisClient) -> None:
        self._store = store
        self._client = client
        self._claim: AsyncScript = client.register_script(_CLAIM)
        self._unclaim: AsyncScript = client.register_script(_UNCLAIM)

    async def create(self, webhook: str, message: WebhookMessage) -> WebhookDelivery:
        """A delivery that is due immediately; if it was created before, the existing one."""
        delivery = WebhookDelivery(
            id=content_id(MESSAGE, [webhook.encode(), message.data.id.encode()]),
            webhook=webhook,
            message=message,
            status="pending",
            next_attempt_at=message.timestamp,
            created_at=message.timestamp,
        )
        if not await self._store.create(_key(webhook, delivery.id), delivery.model_dump_json().encode()):
            existing = await self.get(webhook, delivery.id)
            if existing is None:
                await self._write(delivery)
            delivery = existing or delivery
        await self._index(delivery)
        return delivery

    async def replay(self, webhook: str, message: WebhookMessage, moment: datetime) -> WebhookDelivery:
        """Deliver a message again, or for the first time, with all attempts from now on."""
        delivery = await self.create(webhook, message)
        again = delivery.model_copy(update={"status": "pending", "tries": 0, "next_attempt_at": moment})
        await self._write(again)
        await self._index(again, reschedule=True)
        return again

    async def get(self, webhook: str, message: str) -> WebhookDelivery | None:
        """One delivery, or None if it does not exist."""
        key = _key(webhook, message)
        return readable(WebhookDelivery, key, await self._store.get(key))

    async def page(self, webhook: str, cursor: str | None, limit: int) -> tuple[list[WebhookDelivery], str | None]:
        """One page of a webhook's deliveries, newest first, and the next cursor or None."""
        rows = await page_of_ids(self._client, keys.webhook_deliveries(webhook), cursor, limit + 1)
        shown = rows[:limit]
        found: list[WebhookDelivery | None] = []
        for start in range(0, len(shown), _READ_AT_ONCE):
            some = shown[start : start + _READ_AT_ONCE]
            found += await asyncio.gather(*(self.get(webhook, id) for _, id in some))
        items = [delivery for delivery in found if delivery is not None]
        return items, encode_cursor(shown[-1][0]) if len(rows) > limit else None

    async def claim(self, count: int, lease_ms: int) -> list[Claim]:
        """Claim up to `count` due deliveries. No other process can claim them until the lease expires."""
        with translated():
            until, members = await self._claim(keys=[keys.DUE], args=[count, lease_ms])
        pairs = [cast(str, member).split(":", 1) for member in members]
        return [Claim(webhook, message, int(until)) for webhook, message in pairs]

    async def holds(self, claim: Claim) -> bool:
        """Whether a claim is still valid: its lease has not expired and no replay has started."""
        with translated():
            score = await cast(Any, self._client).zscore(keys.DUE, _member(claim.webhook, claim.message))
        return score is not None and int(score) == claim.until_ms

    async def complete(self, claim: Claim, delivery: WebhookDelivery) -> None:
        """Store the delivery after an attempt, and end the claim."""
        await self._write(delivery)
        await self.release(claim, delivery.next_attempt_at)

    async def park(self, claim: Claim) -> None:
        """End a claim of a delivery that stays pending and is not due, because its webhook is disabled."""
        member = _member(claim.webhook, claim.message)
        with translated():
            # Parked first: after a crash the delivery is due and parked, and is parked again.
            await self._client.zadd(keys.webhook_parked(claim.webhook), {member: claim.until_ms})
        await self.release(claim, None)

    async def unpark(self, webhook: str, due: datetime) -> None:
        """Make all parked deliveries of a webhook due."""
        key = keys.webhook_parked(webhook)
        while True:
            with translated():
                members = cast("list[str]", await cast(Any, self._client).zrange(key, 0, _UNPARKED_AT_ONCE - 1))
                if not members:
                    return
                async with self._client.pipeline() as pipeline:
                    # Deliveries that are due or claimed keep their time.
                    pipeline.zadd(keys.DUE, dict.fromkeys(members, _milliseconds(due)), nx=True)
                    pipeline.zrem(key, *members)
                    await pipeline.execute()

    async def backlog(self) -> tuple[int, float]:
        """Number of pending deliveries, and for how many seconds the oldest has been due."""
        with translated():
            async with cast(Any, self._client.pipeline()) as pipeline:
                pipeline.time()
                pipeline.zcard(keys.DUE)
                pipeline.zrange(keys.DUE, 0, 0, withscores=True)
                (seconds, microseconds), waiting, first = await pipeline.execute()
        return waiting, max(seconds + microseconds / 1e6 - first[0][1] / 1000, 0.0) if first else 0.0

    async def release(self, claim: Claim, due: datetime | None) -> None:
        """End a claim: the delivery is due at the given time, or not at all."""
        following = "" if due is None else _milliseconds(due)
        with translated():
            await self._unclaim(
                keys=[keys.DUE], args=[_member(claim.webhook, claim.message), claim.until_ms, following]
            )

    async def forget(self, webhook: str) -> None:
        """Remove the index of a deleted webhook. Its due deliveries are dropped when they are claimed."""
        with translated():
            await self._client.delete(keys.webhook_deliveries(webhook), keys.webhook_parked(webhook))

    async def drop(self, claim: Claim) -> None:
        """Remove a delivery of a deleted webhook."""
        await self._store.delete(_key(claim.webhook, claim.message))
        await self.forget(claim.webhook)
        await self.release(claim, None)

    async def expire(self, webhook: str, oldest_ms: int) -> int:
        """Remove deliveries of jobs that ended before the given time, oldest first. Returns their number."""
        key = keys.webhook_deliveries(webhook)
        with translated():
            members = cast(
                "list[str]",
                await cast(Any, self._client).zrangebylex(
                    key, "-", f"({order_member(oldest_ms, '')}", 0, _EXPIRED_AT_ONCE
                ),
            )
        for member in members:
            id = member.partition(":")[2]
            await self._store.delete(_key(webhook, id))
            with translated():
                async with self._client.pipeline() as pipeline:
                    pipeline.zrem(key, member)
                    pipeline.zrem(keys.DUE, _member(webhook, id))
                    pipeline.zrem(keys.webhook_parked(webhook), _member(webhook, id))
                    await pipeline.execute()
        return len(members)

    async def reindex(self) -> None:
        """Add every stored delivery to the index, and the pending ones to the due ones."""
        some: list[str] = []
        async for key in self._store.list("webhooks/"):
            if "/deliveries/" in key:
                some.append(key)
                if len(some) == _READ_AT_ONCE:
                    await asyncio.gather(*(self._index_stored(key) for key in some))
                    some.clear()
        await asyncio.gather(*(self._index_stored(key) for key in some))

    # --- internal ---

    async def _index_stored(self, key: str) -> None:
        delivery = readable(WebhookDelivery, key, await self._store.get(key))
        if delivery is not None:
            await self._index(delivery)

    async def _write(self, delivery: WebhookDelivery) -> None:
        await self._store.put(_key(delivery.webhook, delivery.id), delivery.model_dump_json().encode())

    async def _index(self, delivery: WebhookDelivery, *, reschedule: bool = False) -> None:
        member = order_member(_milliseconds(delivery.created_at), delivery.id)
        with translated():
            async with self._client.pipeline() as pipeline:
                pipeline.zadd(keys.webhook_deliveries(delivery.webhook), {member: 0})
                if delivery.status == "pending" and delivery.next_attempt_at is not None:
                    due = {_member(delivery.webhook, delivery.id): _milliseconds(delivery.next_attempt_at)}
                    pipeline.zadd(keys.DUE, due, nx=not reschedule)
                await pipeline.execute()


def _key(webhook: str, message: str) -> str:
    return f"webhooks/{webhook}/deliveries/{message}.json"


def _member(webhook: str, message: str) -> str:
    return f"{webhook}:{message}"


def _milliseconds(moment: datetime) -> int:
    return round(moment.astimezone(UTC).timestamp() * 1000)
