"""Delivers what is due. Several services may do so at once: each delivery is tried by the one that has claimed it."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog
from redis.exceptions import RedisError

from preceptor.contract.webhooks import DeliveryAttempt, WebhookDelivery
from service.state.background import ended
from service.state.errors import StateUnavailable, StoreFull, StoreUnavailable
from service.state.state import State
from service.state.webhook_deliveries import Claim
from service.state.webhooks import StoredWebhook

from .post import TIMEOUT_SECONDS, Outcome, Post
from .signature import signature

PAUSES: Final = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 28_800.0, 28_800.0)
"""Seconds between one attempt and the next: eight attempts within a day."""

LEASE_SECONDS: Final = 4 * TIMEOUT_SECONDS
_JITTER: Final = 0.1
_AT_ONCE: Final = 64
_OF_ONE_WEBHOOK: Final = 8
"""A webhook that is slow must not keep the others waiting."""

_STEP_ASIDE: Final = timedelta(seconds=1)
_KEPT_ATTEMPTS: Final = 20
_EXPIRE_EVERY_SECONDS: Final = 3600.0
_GONE: Final = 410

log = structlog.stdlib.get_logger(__name__)


class Dispatcher:
    """Claims, posts, and writes down what came of it.

    Parameters
    ----------
    pauses
        Seconds between attempts; after the last one the delivery has failed. Up to a tenth is added by chance.
    """

    def __init__(self, state: State, post: Post, pauses: Sequence[float] = PAUSES) -> None:
        self._webhooks = state.webhooks
        self._post = post
        self._pauses = tuple(pauses)
        self._flying: set[asyncio.Task[None]] = set()
        self._flying_of: Counter[str] = Counter()

    async def round(self) -> int:
        """Try everything that is due now, to the end. Returns how many attempts were begun."""
        tasks = await self._begin()
        await asyncio.gather(*tasks)
        return len(tasks)

    async def run_for_ever(self, seconds: float = 1.0) -> None:
        """Look for what is due every second, through outages."""
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
                    log.exception("webhooks failed; they go on")
                await asyncio.sleep(seconds)
        finally:
            await ended(*self._flying)

    async def _begin(self) -> list[asyncio.Task[None]]:
        room = _AT_ONCE - len(self._flying)
        if room <= 0:
            return []
        tasks: list[asyncio.Task[None]] = []
        for claim in await self._webhooks.deliveries.claim(room, int(LEASE_SECONDS * 1000)):
            if self._flying_of[claim.webhook] >= _OF_ONE_WEBHOOK:
                await self._webhooks.deliveries.release(claim, await self._webhooks.now() + _STEP_ASIDE)
                continue
            task = asyncio.create_task(self._try(claim), name="webhook delivery")
            self._flying.add(task)
            self._flying_of[claim.webhook] += 1
            task.add_done_callback(lambda task, webhook=claim.webhook: self._landed(task, webhook))
            tasks.append(task)
        return tasks

    def _landed(self, task: "asyncio.Task[None]", webhook: str) -> None:
        self._flying.discard(task)
        self._flying_of[webhook] -= 1
        if not self._flying_of[webhook]:
            del self._flying_of[webhook]

    async def _try(self, claim: Claim) -> None:
        try:
            await self._deliver(claim)
        except (StateUnavailable, StoreUnavailable, StoreFull, RedisError) as error:
            # The claim ends by itself, and the delivery is tried again.
            log.warning("webhook delivery not recorded", message=claim.message, reason=str(error))
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
        moment = await self._webhooks.now()
        if webhook.disabled_at is not None:
            outcome = Outcome(None, "not sent: the webhook is disabled")
        else:
            outcome = await self._send(webhook, delivery, moment)
        if not await deliveries.holds(claim):
            return  # It took longer than its lease, or a replay has come: someone else goes on with it.
        if outcome.status == _GONE:
            await self._webhooks.disable(webhook.id)
            log.warning("webhook disabled: its address answered 410", webhook=webhook.id)
        over = webhook.disabled_at is not None or outcome.status == _GONE
        await deliveries.complete(claim, self._after(delivery, outcome, moment, await self._webhooks.now(), over=over))

    async def _send(self, webhook: StoredWebhook, delivery: WebhookDelivery, moment: datetime) -> Outcome:
        body = delivery.message.model_dump_json().encode()
        timestamp = int(moment.timestamp())
        headers = {
            "webhook-id": delivery.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(webhook.secret, delivery.id, timestamp, body),
        }
        return await self._post.send(webhook.url, headers, body)

    def _after(
        self, delivery: WebhookDelivery, outcome: Outcome, began: datetime, moment: datetime, *, over: bool
    ) -> WebhookDelivery:
        """The delivery with one more attempt."""
        delivered = outcome.status is not None and 200 <= outcome.status < 300
        tries = delivery.tries + 1
        error = outcome.error
        if not delivered and error is None:
            error = "only an answer of 200 to 299 counts" + ("; redirects are not followed" if _moved(outcome) else "")
        attempt = DeliveryAttempt(at=began, status=outcome.status, error=error)
        again = not delivered and not over and tries <= len(self._pauses)
        pause = self._pauses[tries - 1] * random.uniform(1.0, 1.0 + _JITTER) if again else 0.0
        return delivery.model_copy(
            update={
                "status": "succeeded" if delivered else "pending" if again else "failed",
                "attempts": [*delivery.attempts, attempt][-_KEPT_ATTEMPTS:],
                "tries": tries,
                "next_attempt_at": moment + timedelta(milliseconds=round(pause * 1000)) if again else None,
            }
        )


def _moved(outcome: Outcome) -> bool:
    return outcome.status is not None and 300 <= outcome.status < 400
