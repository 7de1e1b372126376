"""`/v1/webhooks`"""

from collections.abc import Sequence

from ...contract.page import Page
from ...contract.webhooks import CreatedWebhook, Webhook, WebhookBody, WebhookDelivery, WebhookEvent
from ..bodies import body
from ..calls import Call, at, call, model, nothing


def create(
    url: str, events: Sequence[WebhookEvent] | None, description: str | None, idempotency_key: str | None
) -> Call[CreatedWebhook]:
    made = body(WebhookBody, {"url": url, "events": events, "description": description})
    return call("POST", "/v1/webhooks", model(CreatedWebhook), body=made, idempotency_key=idempotency_key)


def get(webhook: str) -> Call[Webhook]:
    return call("GET", at("webhooks", webhook), model(Webhook))


def page(limit: int, cursor: str | None) -> Call[Page[Webhook]]:
    return call("GET", "/v1/webhooks", model(Page[Webhook]), query={"limit": limit, "cursor": cursor})


def delete(webhook: str) -> Call[None]:
    return call("DELETE", at("webhooks", webhook), nothing)


def rotate_secret(webhook: str, idempotency_key: str | None) -> Call[CreatedWebhook]:
    return call("POST", at("webhooks", webhook, "secret"), model(CreatedWebhook), idempotency_key=idempotency_key)


def enable(webhook: str, idempotency_key: str | None) -> Call[Webhook]:
    return call("POST", at("webhooks", webhook, "enable"), model(Webhook), idempotency_key=idempotency_key)


def deliveries(webhook: str, limit: int, cursor: str | None) -> Call[Page[WebhookDelivery]]:
    query = {"limit": limit, "cursor": cursor}
    return call("GET", at("webhooks", webhook, "deliveries"), model(Page[WebhookDelivery]), query=query)


def delivery(webhook: str, message: str) -> Call[WebhookDelivery]:
    return call("GET", at("webhooks", webhook, "deliveries", message), model(WebhookDelivery))


def replay(webhook: str, job: str, idempotency_key: str | None) -> Call[WebhookDelivery]:
    return call(
        "POST",
        at("webhooks", webhook, "replay"),
        model(WebhookDelivery),
        query={"job": job},
        idempotency_key=idempotency_key,
    )
