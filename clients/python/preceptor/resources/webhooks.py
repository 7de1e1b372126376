"""`client.webhooks`"""

from collections.abc import Sequence
from typing import Any

from ..contract.webhooks import CreatedWebhook, Webhook, WebhookDelivery, WebhookEvent
from ..core.bodies import identifier
from ..core.paging import page_size as checked
from ..core.routes import webhooks
from ..transport.async_driver import AsyncDriver
from ..transport.sync_driver import Driver
from .paging import AsyncPager, Pager


class Webhooks:
    """Addresses that hear of the end of jobs. All of it needs a key of the scope `admin`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def create(
        self,
        url: str,
        events: Sequence[WebhookEvent] | None = None,
        description: str | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> CreatedWebhook:
        """Create a webhook. The answer has its `secret`, which is not shown again.

        Parameters
        ----------
        events
            Of `job.succeeded`, `job.failed`, `job.canceled`; all of them where None.
        """
        return self._driver.send(webhooks.create(url, events, description, idempotency_key))

    def get(self, webhook: str) -> Webhook:
        """One webhook."""
        return self._driver.send(webhooks.get(webhook))

    def list(self, *, page_size: int = 50) -> Pager[Webhook]:
        """All webhooks, newest first."""
        limit = checked(page_size)
        return Pager(self._driver, lambda cursor: webhooks.page(limit, cursor))

    def delete(self, webhook: Webhook | str) -> None:
        """Remove a webhook and its deliveries."""
        self._driver.send(webhooks.delete(identifier(webhook)))

    def rotate_secret(self, webhook: Webhook | str, *, idempotency_key: str | None = None) -> CreatedWebhook:
        """Give a webhook a new `secret`, which is not shown again. For 24 hours the old one signs, too."""
        return self._driver.send(webhooks.rotate_secret(identifier(webhook), idempotency_key))

    def enable(self, webhook: Webhook | str, *, idempotency_key: str | None = None) -> Webhook:
        """Send to a webhook again that was disabled, what waited for it first."""
        return self._driver.send(webhooks.enable(identifier(webhook), idempotency_key))

    def deliveries(self, webhook: Webhook | str, *, page_size: int = 50) -> Pager[WebhookDelivery]:
        """What was sent to a webhook, or is to be, by the end of its job, newest first."""
        limit = checked(page_size)
        return Pager(self._driver, lambda cursor: webhooks.deliveries(identifier(webhook), limit, cursor))

    def delivery(self, webhook: Webhook | str, message: str) -> WebhookDelivery:
        """One delivery, with its attempts."""
        return self._driver.send(webhooks.delivery(identifier(webhook), message))

    def replay(self, webhook: Webhook | str, job: Any, *, idempotency_key: str | None = None) -> WebhookDelivery:
        """Send the message about a job that has ended (itself, or its id) once more, under the message's id."""
        return self._driver.send(webhooks.replay(identifier(webhook), identifier(job), idempotency_key))


class AsyncWebhooks:
    """Addresses that hear of the end of jobs. All of it needs a key of the scope `admin`."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def create(
        self,
        url: str,
        events: Sequence[WebhookEvent] | None = None,
        description: str | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> CreatedWebhook:
        """Create a webhook. The answer has its `secret`, which is not shown again.

        Parameters
        ----------
        events
            Of `job.succeeded`, `job.failed`, `job.canceled`; all of them where None.
        """
        return await self._driver.send(webhooks.create(url, events, description, idempotency_key))

    async def get(self, webhook: str) -> Webhook:
        """One webhook."""
        return await self._driver.send(webhooks.get(webhook))

    def list(self, *, page_size: int = 50) -> AsyncPager[Webhook]:
        """All webhooks, newest first."""
        limit = checked(page_size)
        return AsyncPager(self._driver, lambda cursor: webhooks.page(limit, cursor))

    async def delete(self, webhook: Webhook | str) -> None:
        """Remove a webhook and its deliveries."""
        await self._driver.send(webhooks.delete(identifier(webhook)))

    async def rotate_secret(self, webhook: Webhook | str, *, idempotency_key: str | None = None) -> CreatedWebhook:
        """Give a webhook a new `secret`, which is not shown again. For 24 hours the old one signs, too."""
        return await self._driver.send(webhooks.rotate_secret(identifier(webhook), idempotency_key))

    async def enable(self, webhook: Webhook | str, *, idempotency_key: str | None = None) -> Webhook:
        """Send to a webhook again that was disabled, what waited for it first."""
        return await self._driver.send(webhooks.enable(identifier(webhook), idempotency_key))

    def deliveries(self, webhook: Webhook | str, *, page_size: int = 50) -> AsyncPager[WebhookDelivery]:
        """What was sent to a webhook, or is to be, by the end of its job, newest first."""
        limit = checked(page_size)
        return AsyncPager(self._driver, lambda cursor: webhooks.deliveries(identifier(webhook), limit, cursor))

    async def delivery(self, webhook: Webhook | str, message: str) -> WebhookDelivery:
        """One delivery, with its attempts."""
        return await self._driver.send(webhooks.delivery(identifier(webhook), message))

    async def replay(self, webhook: Webhook | str, job: Any, *, idempotency_key: str | None = None) -> WebhookDelivery:
        """Send the message about a job that has ended (itself, or its id) once more, under the message's id."""
        return await self._driver.send(webhooks.replay(identifier(webhook), identifier(job), idempotency_key))
