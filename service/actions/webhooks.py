"""Create webhooks, look at them, send their messages again."""

from urllib.parse import urlsplit

from preceptor.contract.problem import FieldError
from preceptor.contract.webhooks import CreatedWebhook, Webhook, WebhookBody, WebhookDelivery
from service.core.errors import Conflict, InvalidRequest, NotFound
from service.core.state import State
from service.core.webhooks.deliveries import message_of
from service.core.webhooks.stored import StoredWebhook, event_of
from service.network.egress import Egress


async def create(state: State, id: str, body: WebhookBody) -> CreatedWebhook:
    """A new webhook, with its secret.

    Raises
    ------
    InvalidRequest
        The address leads, by itself, to where the service may not connect. A name is looked up at each delivery.
    """
    refusal = _refusal(body.url, Egress.of(state.settings.egress_allow))
    if refusal is not None:
        raise InvalidRequest(f"/url: {refusal}", errors=[FieldError(pointer="/url", detail=refusal)])
    return created(await state.webhooks.create(id, body))


async def get(state: State, id: str) -> StoredWebhook:
    """A webhook.

    Raises
    ------
    NotFound
    """
    return _found(id, await state.webhooks.records.get(id))


async def rotate(state: State, id: str, rotation: str) -> CreatedWebhook:
    """A webhook with a new secret; the same one where this rotation was done before.

    Raises
    ------
    NotFound
    """
    return created(_found(id, await state.webhooks.rotate(id, rotation)))


async def enable(state: State, id: str) -> Webhook:
    """A webhook that is sent to again.

    Raises
    ------
    NotFound
    """
    return shown(_found(id, await state.webhooks.enable(id)))


def created(webhook: StoredWebhook) -> CreatedWebhook:
    """A webhook with its secret."""
    return CreatedWebhook.model_validate(webhook.model_dump(include=set(CreatedWebhook.model_fields)))


def shown(webhook: StoredWebhook) -> Webhook:
    """A webhook without its secret."""
    return Webhook.model_validate(webhook.model_dump(include=set(Webhook.model_fields)))


async def delivery(state: State, id: str, message: str) -> WebhookDelivery:
    """One delivery.

    Raises
    ------
    NotFound
    """
    await get(state, id)
    found = await state.webhooks.deliveries.get(id, message)
    if found is None:
        raise NotFound(f"The webhook {id} has no delivery {message}. Deliveries are kept for 30 days")
    return found


async def replay(state: State, id: str, job: str) -> WebhookDelivery:
    """Deliver the message about a job again; also where it ended before the webhook was made.

    Raises
    ------
    NotFound
        There is no such webhook or job.
    Conflict
        The job has not ended, or the webhook is disabled.
    """
    async with state.webhooks.records.lock(id):  # Neither disabled nor removed before the message is there.
        webhook = await get(state, id)
        if webhook.disabled_at is not None:
            raise Conflict(f"The webhook {id} is disabled. Enable it first: POST /v1/webhooks/{id}/enable")
        summary = await state.jobs.get(job)
        if summary is None:
            raise NotFound(f"There is no job {job}. GET /v1/jobs lists them")
        if not summary.status.terminal:
            raise Conflict(f"The job {job} is {summary.status.value}; there is no message before it has ended")
        message = message_of(summary, event_of(summary.status))
        return await state.webhooks.deliveries.replay(id, message, await state.webhooks.now())


def _found(id: str, webhook: StoredWebhook | None) -> StoredWebhook:
    if webhook is None:
        raise NotFound(f"There is no webhook {id}. GET /v1/webhooks lists them")
    return webhook


def _refusal(url: str, egress: Egress) -> str | None:
    """Why an address of the right form can still be none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "between the brackets there must be an IPv6 address"
    try:
        parts.port  # noqa: B018  Reading it checks it.
    except ValueError:
        return "a port is at most 65535"
    return egress.refuses(parts.hostname or "")
