"""Webhooks and what is to be delivered to them.

A job's end and the note that it is to be announced are one atomic write in Redis; announcing turns the note into one
delivery for each webhook, in the store, and only then removes it. So a crash at any moment leaves the note or the
delivery. A lost Redis is made again from the store: every ended job is noted anew, and a delivery, whose id comes from
its webhook and its job, is found where it was made before.
"""

import base64
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, cast

from preceptor.contract.jobs import JobStatus, JobSummary
from preceptor.contract.webhooks import Webhook, WebhookBody, WebhookEvent

from . import redis_keys
from .connection import RedisClient, translated
from .jobs import Jobs
from .records import Records
from .store import Store
from .verdicts import Verdicts
from .webhook_deliveries import KEPT_MS, WebhookDeliveries, message_of

KEY_PREFIX: Final = "whsec_"
_SECRET_BYTES: Final = 32
_AT_ONCE: Final = 500


class StoredWebhook(Webhook):
    """A webhook as it is stored: signing needs the secret itself."""

    secret: str

    def wants(self, job: JobSummary) -> bool:
        """Whether the end of a job is told to this webhook."""
        return (
            self.disabled_at is None
            and job.finished_at is not None
            and job.finished_at >= self.created_at
            and event_of(job.status) in self.events
        )


def event_of(status: JobStatus) -> WebhookEvent:
    """The event that a terminal status is."""
    return cast(WebhookEvent, f"job.{status.value}")


class Webhooks:
    """All webhooks of a deployment."""

    def __init__(
        self,
        store: Store,
        client: RedisClient,
        jobs: Jobs,
        verdicts: Verdicts,
        ensure_index: Callable[[], Awaitable[None]],
    ) -> None:
        self._client = client
        self._jobs = jobs
        self._verdicts = verdicts
        self.records = Records("webhooks", StoredWebhook, store, client, ensure_index)
        self.deliveries = WebhookDeliveries(store, client)

    async def create(self, id: str, body: WebhookBody) -> StoredWebhook:
        """A new webhook with a secret; with an id that exists, the one that is there."""
        key = base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
        webhook = StoredWebhook(
            id=id,
            url=body.url,
            events=sorted(set(body.events), key=body.events.index),
            description=body.description,
            created_at=await self.now(),
            secret=KEY_PREFIX + key,
        )
        found, _ = await self.records.create(webhook)
        return found

    async def delete(self, id: str) -> bool:
        """Remove a webhook and its deliveries. False where there is none."""
        async with self.records.lock(id):
            if await self.records.get(id) is None:
                return False
            await self.records.delete(id)
            await self.deliveries.forget(id)
            return True

    async def disable(self, id: str) -> None:
        """Send nothing more to a webhook."""
        async with self.records.lock(id):
            webhook = await self.records.get(id)
            if webhook is not None and webhook.disabled_at is None:
                await self.records.put(webhook.model_copy(update={"disabled_at": await self.now()}))

    async def announce(self) -> int:
        """Make the deliveries of jobs that have ended. Returns how many jobs were looked at."""
        with translated():
            ids = cast("list[str]", await cast(Any, self._client).srandmember(redis_keys.UNANNOUNCED, _AT_ONCE))
        if not ids:
            return 0
        for id in ids:
            await self._verdicts.complete(id)
        webhooks = [webhook async for webhook in self.records.all()]
        if not webhooks:
            with translated():
                await cast(Any, self._client).srem(redis_keys.UNANNOUNCED, *ids)
            return len(ids)
        oldest = (await self.now()).timestamp() * 1000 - KEPT_MS
        for id in ids:
            job = await self._jobs.get(id)
            # What ended longer ago was announced in its time: its delivery is no longer kept.
            if job is not None and job.finished_at is not None and job.finished_at.timestamp() * 1000 > oldest:
                for webhook in webhooks:
                    if webhook.wants(job):
                        await self.deliveries.create(webhook.id, message_of(job, event_of(job.status)))
            with translated():
                await cast(Any, self._client).srem(redis_keys.UNANNOUNCED, id)
        return len(ids)

    async def restore(self) -> int:
        """Compare the index with the store. Returns how many webhooks there are."""
        count = await self.records.reindex()
        with translated():
            indexed = cast("list[str]", await cast(Any, self._client).hkeys(redis_keys.record("webhooks")))
        for id in indexed:
            if await self.records.stored(id) is None:  # Redis has lost the removal.
                await self.records.delete(id)
                await self.deliveries.forget(id)
        await self.deliveries.reindex()
        return count

    async def expire(self) -> int:
        """Remove deliveries that are older than their time. Returns how many."""
        oldest = int((await self.now()).timestamp() * 1000) - KEPT_MS
        return sum([await self.deliveries.expire(webhook.id, oldest) async for webhook in self.records.all()])

    async def now(self) -> datetime:
        """Redis' clock, to the millisecond: it also tells when jobs end."""
        with translated():
            seconds, microseconds = cast("tuple[int, int]", await cast(Any, self._client).time())
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds // 1000 * 1000)
