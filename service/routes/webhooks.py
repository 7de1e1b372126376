"""`/v1/webhooks`: addresses that hear of the end of jobs. All of it needs the scope `admin`."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from preceptor.contract.ids import REQUEST, WEBHOOK, JobId, MessageId, WebhookId
from preceptor.contract.page import Page
from preceptor.contract.webhooks import CreatedWebhook, Webhook, WebhookBody, WebhookDelivery
from service.actions import webhooks as actions
from service.core.errors import NotFound
from service.http.dependencies import StateOf
from service.http.idempotency import OnceOf, form_of
from service.http.problems import problems
from service.http.responses import Cursor, IfNoneMatch, Limit, conditional, document, page
from service.http.strict_route import StrictRoute

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=StrictRoute)


@router.post("", status_code=201, response_model=CreatedWebhook, responses=problems(409, 415, 507))
async def create_webhook(body: WebhookBody, state: StateOf, once: OnceOf) -> Response:
    """Create a webhook. The answer has its secret, which is shown again only to a replay with its Idempotency-Key."""

    async def act(id: str) -> Response:
        made = await actions.create(state, id, body)
        headers = {"Location": f"/v1/webhooks/{made.id}", "Cache-Control": "no-store"}
        return document(made, status=201, headers=headers)

    async def remake(id: str) -> Response:
        return document(actions.created(await actions.get(state, id)))

    # No answer with a secret is kept: a removed webhook's goes with the webhook.
    return await once.run(state, WEBHOOK, partial(form_of, body), act, remake, forget=lambda _: True)


@router.get("", response_model=Page[Webhook], responses=problems())
async def list_webhooks(request: Request, state: StateOf, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List webhooks, newest first."""
    items, following = await state.webhooks.records.page(cursor, limit)
    return page(request, [actions.shown(webhook) for webhook in items], following)


@router.get("/{id}", response_model=Webhook, responses={304: {"description": "Not modified"}, **problems(404)})
async def get_webhook(id: WebhookId, state: StateOf, if_none_match: IfNoneMatch = None) -> Response:
    """Show a webhook."""
    return conditional(actions.shown(await actions.get(state, id)), if_none_match)


@router.delete("/{id}", status_code=204, response_model=None, responses=problems(404))
async def delete_webhook(id: WebhookId, state: StateOf) -> Response:
    """Remove a webhook and its deliveries; nothing more is sent to it."""
    if not await state.webhooks.delete(id):
        raise NotFound(f"There is no webhook {id}. GET /v1/webhooks lists them")
    return Response(status_code=204)


@router.post("/{id}/secret", response_model=CreatedWebhook, responses=problems(404, 409, 507))
async def rotate_secret(id: WebhookId, state: StateOf, once: OnceOf) -> Response:
    """Make a new secret, shown as at the creation. For 24 hours messages are signed with the old one, too."""

    async def act(rotation: str) -> Response:
        return document(await actions.rotate(state, id, rotation), headers={"Cache-Control": "no-store"})

    async def remake(_: str) -> Response:
        return document(actions.created(await actions.get(state, id)))

    return await once.run(state, REQUEST, bytes, act, remake, forget=lambda _: True)


@router.post("/{id}/enable", response_model=Webhook, responses=problems(404, 409, 507))
async def enable_webhook(id: WebhookId, state: StateOf, once: OnceOf) -> Response:
    """Send to a webhook again that was disabled, what waited for it first. One that is on stays as it is."""

    async def act(_: str) -> Response:
        return document(await actions.enable(state, id))

    return await once.run(state, REQUEST, bytes, act)


@router.get("/{id}/deliveries", response_model=Page[WebhookDelivery], responses=problems(404))
async def list_deliveries(
    id: WebhookId, request: Request, state: StateOf, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List what was sent to a webhook, or is to be, by the end of its job, newest first."""
    await actions.get(state, id)
    return page(request, *await state.webhooks.deliveries.page(id, cursor, limit))


@router.get(
    "/{id}/deliveries/{message}",
    response_model=WebhookDelivery,
    responses={304: {"description": "Not modified"}, **problems(404)},
)
async def get_delivery(
    id: WebhookId, message: MessageId, state: StateOf, if_none_match: IfNoneMatch = None
) -> Response:
    """Show a delivery and its attempts."""
    return conditional(await actions.delivery(state, id, message), if_none_match)


@router.post("/{id}/replay", status_code=202, response_model=WebhookDelivery, responses=problems(404, 409, 507))
async def replay_delivery(
    id: WebhookId,
    job: Annotated[JobId, Query(description="A job that has ended")],
    state: StateOf,
    once: OnceOf,
) -> Response:
    """Send the message about a job again, under its id, with all its retries."""

    async def act(_: str) -> Response:
        found = await actions.replay(state, id, job)
        headers = {"Location": f"/v1/webhooks/{id}/deliveries/{found.id}", "Retry-After": "1"}
        return document(found, status=202, headers=headers)

    return await once.run(state, REQUEST, bytes, act)
