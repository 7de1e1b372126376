"""Delivers due messages. Several service processes may run at once; a claim gives each delivery to one of them."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

import structlog
from redis.exceptions import RedisError

from preceptor.contract.webhooks import DeliveryAttempt, WebhookDelivery
from service.core.async_helpers import ended
from service.core.errors import StateUnavailable, StoreFull, StoreUnavailable
from service.core.redis.counters import field_of
from service.core.state import State
from service.core.webhooks.deliveries import Claim
from service.core.webhooks.stored import StoredWebhook

from .sender import TIMEOUT_SECONDS, Post, Response, signatures

AttemptOutcome = Literal["delivered", "failed", "refused", "gone", "given_up"]
"""`failed` and `refused` (address not permitted or not resolved) are retried; `given_up` is the last attempt."""

_GONE: Final = 410

log = structlog.stdlib.get_logger(__name__)


def delivered(response: Response) -> bool:
    """Whether the receiver has accepted the message."""
    return response.status is not None and 200 <= response.status < 300


def gone(response: Response) -> bool:
    """Whether the receiver has asked for no further messages (410)."""
    return response.status == _GONE


def outcome_of(response: Response, after: WebhookDelivery) -> AttemptOutcome:
    """The outcome of an attempt; `after` is the delivery after it."""
    if delivered(response):
        return "delivered"
    if gone(response):
        return "gone"
    if after.status == "failed":
        return "given_up"
    return "refused" if response.refused else "failed"


def log_attempt(outcome: AttemptOutcome, response: Response, after: WebhookDelivery) -> None:
    """Log a failed attempt in one line, with ids and reason only: an address may contain a secret in its query."""
    reason = response.error if response.status is None else f"its address answered {response.status}"
    found = {"webhook": after.webhook, "message": after.id, "reason": reason, "tries": after.tries}
    if outcome == "given_up":
        log.warning("webhook delivery given up", **found)
    elif outcome == "gone":
        log.warning("webhook disabled: its address answered 410", **found)
    elif outcome != "delivered":
        log.info("webhook attempt failed", next_attempt_at=str(after.next_attempt_at), **found)


RETRY_DELAYS: Final = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 28_800.0, 28_800.0)
"""Seconds between attempts: eight attempts within a day."""

DISABLE_AFTER: Final = timedelta(days=5)
"""Failing for this long disables a webhook: longer than a long weekend, and abandoned webhooks still end."""

LEASE_SECONDS: Final = 4 * TIMEOUT_SECONDS
_JITTER: Final = 0.1
_CONCURRENT: Final = 64
_CONCURRENT_PER_WEBHOOK: Final = 8
"""Limit for each webhook, so that a slow one does not delay the others."""

_POSTPONE: Final = timedelta(seconds=1)
_KEPT_ATTEMPTS: Final = 20
_EXPIRE_EVERY_SECONDS: Final = 3600.0


class Dispatcher:
    """Claims deliveries, posts them and stores the outcome.

    Parameters
    ----------
    pauses
        Seconds between attempts; after the last attempt the delivery has failed. Jitter adds up to a tenth.
    """

    def __init__(self, state: State, post: Post, pauses: Sequence[float] = RETRY_DELAYS) -> None:
        self._webhooks = state.webhooks
        self._counters = state.counters
        self._post = post
        self._pauses = tuple(pauses)
        self._running: set[asyncio.Task[None]] = set()
        self._running_of: Counter[str] = Counter()

    async def round(self) -> int:
        """Attempt everything that is due now, and wait for the results. Returns the number of attempts."""
        tasks = await self._begin()
        await asyncio.gather(*tasks)
        return len(tasks)

    async def run_until_cancelled(self, seconds: float = 1.0) -> None:
        """Look for due deliveries every `seconds`, also during and after outages of Redis or the store."""
        expired = time.monotonic()
        try:
            while True:
                try:
                    await self._begin()
                    if time.monotonic() - expired > _EXPIRE_EVERY_SECONDS:
                        expired = time.monotonic()
                        await self._webhooks.expire()
                except (StateUnavailable, StoreUnavailable, StoreFull, RedisError) as error:
                    log.warning("webhooks wait for Redis or the store", reason=str(error))
                except Exception:
                    log.exception("webhook dispatcher failed; it continues")
                await asyncio.sleep(seconds)
        finally:
            await ended(*self._running)

    async def _begin(self) -> list[asyncio.Task[None]]:
        room = _CONCURRENT - len(self._running)
        if room <= 0:
            return []
        tasks: list[asyncio.Task[None]] = []
        for claim in await self._webhooks.deliveries.claim(room, int(LEASE_SECONDS * 1000)):
            if self._running_of[claim.webhook] >= _CONCURRENT_PER_WEBHOOK:
                await self._webhooks.deliveries.release(claim, await self._webhooks.now() + _POSTPONE)
                continue
            task = asyncio.create_task(self._try(claim), name="webhook delivery")
            self._running.add(task)
            self._running_of[claim.webhook] += 1
            task.add_done_callback(lambda task, webhook=claim.webhook: self._finished(task, webhook))
            tasks.append(task)
        return tasks

    def _finished(self, task: "asyncio.Task[None]", webhook: str) -> None:
        self._running.discard(task)
        self._running_of[webhook] -= 1
        if not self._running_of[webhook]:
            del self._running_of[webhook]

    async def _try(self, claim: Claim) -> None:
        try:
            await self._deliver(claim)
        except (StateUnavailable, StoreUnavailable, StoreFull, RedisError) as error:
            # Where the attempt is not written, the claim ends by itself, and the delivery is tried again.
            log.warning("webhook delivery interrupted", message=claim.message, reason=str(error))
        except Exception:
            log.exception("webhook delivery failed", message=claim.message)

    async def _deliver(self, claim: Claim) -> None:
        deliveries = self._webhooks.deliveries
        webhook = await self._webhooks.records.stored(claim.webhook)
        if webhook is None:
            await deliveries.drop(claim)
            return
        delivery = await deliveries.get(claim.webhook, claim.message)
        if delivery is None or delivery.status != "pending":
            await deliveries.release(claim, None)
            return
        if webhook.disabled_at is not None:
            await self._webhooks.park(claim)
            return
        moment = await self._webhooks.now()
        response = await self._send(webhook, delivery, moment)
        if not await deliveries.holds(claim):
            return  # The lease expired or a replay started: another process continues the delivery.
        if gone(response):
            await self._webhooks.disable(webhook.id, "gone")
        after = self._after(delivery, response, moment, await self._webhooks.now())
        await deliveries.complete(claim, after)
        outcome = outcome_of(response, after)
        log_attempt(outcome, response, after)
        await self._count(outcome)
        await self._judge(webhook, outcome, moment)

    async def _count(self, outcome: AttemptOutcome) -> None:
        try:
            await self._counters.add({field_of("webhook_attempts", outcome): 1})
        except StateUnavailable as error:  # The outcome itself is stored; only the metric is lost.
            log.warning("webhook attempt not counted", reason=str(error))

    async def _judge(self, webhook: StoredWebhook, outcome: AttemptOutcome, moment: datetime) -> None:
        """Record since when a webhook fails, and disable it after `DISABLE_AFTER`."""
        since = webhook.failing_since
        if outcome == "delivered":
            if since is not None:
                await self._webhooks.note_failing(webhook.id, None)
        elif outcome != "gone" and since is None:
            await self._webhooks.note_failing(webhook.id, moment)
        # Checked at the end of a delivery: all of its attempts have failed, even if messages are rare.
        elif outcome == "given_up" and since is not None and moment - since >= DISABLE_AFTER:
            await self._webhooks.disable(webhook.id, "failing")
            log.warning("webhook disabled: no attempt has succeeded for days", webhook=webhook.id, since=str(since))

    async def _send(self, webhook: StoredWebhook, delivery: WebhookDelivery, moment: datetime) -> Response:
        body = delivery.message.model_dump_json().encode()
        timestamp = int(moment.timestamp())
        headers = {
            "webhook-id": delivery.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signatures(webhook.signing(moment), delivery.id, timestamp, body),
        }
        return await self._post.send(webhook.url, headers, body)

    def _after(
        self, delivery: WebhookDelivery, response: Response, began: datetime, moment: datetime
    ) -> WebhookDelivery:
        """The delivery after one more attempt."""
        taken = delivered(response)
        tries = delivery.tries + 1
        error = response.error
        if not taken and error is None:
            error = "expected a status of 200 to 299" + ("; redirects are not followed" if _moved(response) else "")
        attempt = DeliveryAttempt(at=began, status=response.status, error=error)
        again = not taken and not gone(response) and tries <= len(self._pauses)
        pause = self._pause(tries, response) if again else 0.0
        return delivery.model_copy(
            update={
                "status": "succeeded" if taken else "pending" if again else "failed",
                "attempts": [*delivery.attempts, attempt][-_KEPT_ATTEMPTS:],
                "tries": tries,
                "next_attempt_at": moment + timedelta(milliseconds=round(pause * 1000)) if again else None,
            }
        )

    def _pause(self, tries: int, response: Response) -> float:
        """Seconds until the next attempt. `Retry-After` can only lengthen it: the number of attempts is limited."""
        asked = min(response.retry_after or 0.0, max(self._pauses))
        return max(self._pauses[tries - 1], asked) * random.uniform(1.0, 1.0 + _JITTER)


def _moved(response: Response) -> bool:
    return response.status is not None and 300 <= response.status < 400
