"""Webhooks and their pending deliveries.

The end of a job and its mark as unannounced are one atomic write in Redis. Announcing the job creates one delivery for
each webhook in the store, and then removes the mark. After a crash at any time, the mark or the delivery exists. A lost
Redis is rebuilt from the store: every ended job is marked again. A delivery that existed before is found again, because
its id is derived from its webhook and its job.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, cast

from preceptor.contract.webhooks import DisabledReason, WebhookBody

from ..jobs.jobs import Jobs
from ..jobs.unfinished_validations import UnfinishedValidations
from ..redis import keys
from ..redis.client import RedisClient, translated
from ..storage.documents import Records
from ..storage.object_store import Store
from .deliveries import RETENTION_MS, Claim, WebhookDeliveries, message_of
from .stored import StoredWebhook, event_of, new_secret

_AT_ONCE: Final = 500


class Webhooks:
    """All webhooks of a deployment."""

    def __init__(
        self,
        store: Store,
        client: RedisClient,
        jobs: Jobs,
        verdicts: UnfinishedValidations,
        ensure_index: Callable[[], Awaitable[None]],
    ) -> None:
        self._client = client
        self._jobs = jobs
        self._verdicts = verdicts
        self.records = Records("webhooks", StoredWebhook, store, client, ensure_index)
        self.deliveries = WebhookDeliveries(store, client)

    async def create(self, id: str, body: WebhookBody) -> StoredWebhook:
        """A new webhook with a secret; if the id exists, the existing one."""
        webhook = StoredWebhook(
            id=id,
            url=body.url,
            events=sorted(set(body.events), key=body.events.index),
            description=body.description,
            created_at=await self.now(),
            secret=new_secret(),
        )
        found, _ = await self.records.create(webhook)
        return found

    async def delete(self, id: str) -> bool:
        """Remove a webhook and its deliveries. False if it does not exist."""
        async with self.records.lock(id):
            if await self.records.get(id) is None:
                return False
            await self.records.delete(id)
            await self.deliveries.forget(id)
            return True

    async def rotate(self, id: str, rotation: str) -> StoredWebhook | None:
        """Give a webhook a new secret, once for each rotation id. None if the webhook does not exist."""
        async with self._stored(id) as webhook:
            if webhook is None or webhook.rotation == rotation:
                return webhook
            rotated = webhook.rotated(rotation, await self.now())
            await self.records.put(rotated)
            return rotated

    async def disable(self, id: str, reason: DisabledReason) -> None:
        """Stop sending to a webhook until it is enabled."""
        async with self._stored(id) as webhook:
            if webhook is not None and webhook.disabled_at is None:
                update = {"disabled_at": await self.now(), "disabled_reason": reason}
                await self.records.put(webhook.model_copy(update=update))

    async def enable(self, id: str) -> StoredWebhook | None:
        """Resume sending to a webhook, starting with its pending deliveries. None if it does not exist."""
        async with self._stored(id) as webhook:
            if webhook is None:
                return None
            if webhook.disabled_at is not None:
                update = {"disabled_at": None, "disabled_reason": None, "failing_since": None}
                webhook = webhook.model_copy(update=update | {"enabled_at": await self.now()})
                await self.records.put(webhook)
            # Also if it was enabled already: a crash may have prevented the unparking.
            await self.deliveries.unpark(id, await self.now())
            return webhook

    async def note_failing(self, id: str, since: datetime | None) -> None:
        """Record since when every attempt has failed; None after a success."""
        async with self._stored(id) as webhook:
            if webhook is not None and (webhook.failing_since is None) != (since is None):
                await self.records.put(webhook.model_copy(update={"failing_since": since}))

    async def park(self, claim: Claim) -> None:
        """Keep a delivery to a disabled webhook until the webhook is enabled."""
        await self.deliveries.park(claim)
        webhook = await self.records.stored(claim.webhook)
        if webhook is None or webhook.disabled_at is None:  # Enabled meanwhile, possibly before this was parked.
            await self.deliveries.unpark(claim.webhook, await self.now())

    @asynccontextmanager
    async def _stored(self, id: str) -> AsyncGenerator[StoredWebhook | None]:
        """Lock a webhook and read it from the store: an outdated index would restore an old secret."""
        async with self.records.lock(id):
            yield await self.records.stored(id)

    async def announce(self) -> int:
        """Create the deliveries of ended jobs. Returns the number of jobs examined."""
        with translated():
            ids = cast("list[str]", await cast(Any, self._client).srandmember(keys.UNANNOUNCED, _AT_ONCE))
        if not ids:
            return 0
        for id in ids:
            await self._verdicts.complete(id)
        webhooks = [webhook async for webhook in self.records.all()]
        if not webhooks:
            with translated():
                await cast(Any, self._client).srem(keys.UNANNOUNCED, *ids)
            return len(ids)
        oldest = (await self.now()).timestamp() * 1000 - RETENTION_MS
        for id in ids:
            job = await self._jobs.get(id)
            # Jobs that ended earlier were announced at the time; their deliveries have expired.
            if job is not None and job.finished_at is not None and job.finished_at.timestamp() * 1000 > oldest:
                for webhook in webhooks:
                    if webhook.wants(job):
                        await self.deliveries.create(webhook.id, message_of(job, event_of(job.status)))
            with translated():
                await cast(Any, self._client).srem(keys.UNANNOUNCED, id)
        return len(ids)

    async def restore(self) -> int:
        """Compare the index with the store. Returns the number of webhooks."""
        count = await self.records.reindex()
        with translated():
            indexed = cast("list[str]", await cast(Any, self._client).hkeys(keys.record("webhooks")))
        for id in indexed:
            if await self.records.stored(id) is None:  # Redis has lost the deletion.
                await self.records.delete(id)
                await self.deliveries.forget(id)
        await self.deliveries.reindex()
        return count

    async def expire(self) -> int:
        """Remove deliveries past their retention. Returns their number."""
        oldest = int((await self.now()).timestamp() * 1000) - RETENTION_MS
        return sum([await self.deliveries.expire(webhook.id, oldest) async for webhook in self.records.all()])

    async def now(self) -> datetime:
        """Redis' clock, in milliseconds; the end of jobs is measured by it, too."""
        with translated():
            seconds, microseconds = cast("tuple[int, int]", await cast(Any, self._client).time())
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds // 1000 * 1000)
