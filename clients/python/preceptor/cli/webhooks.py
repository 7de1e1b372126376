"""`preceptor webhooks`"""

import time
from typing import Annotated, cast

import typer

from ..contract.jobs import JobSummary
from ..contract.webhooks import Webhook, WebhookDelivery, WebhookEvent
from ..errors import PreceptorError
from .session import Session, command, new_group
from .tables import Listing, facts, moment

group = new_group("Addresses that are notified of the end of jobs. They need a key of the scope admin.")
Id = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Id of a webhook.")]
_PATIENCE = 30.0
_LATEST = 50


@command(group, "list")
def list_webhooks(session: Session) -> None:
    """List the webhooks, newest first."""
    found = list(session.client.webhooks.list(page_size=200))
    if session.as_json:
        session.emit(found)
        return
    if not found:
        session.note("There are no webhooks. Add one with `preceptor webhooks add URL`")
        return
    made = Listing("id", "url", "status", "events", "created", give_way=("created", "events"), room=60)
    for webhook in found:
        made.row(webhook.id, webhook.url, _status(webhook), ", ".join(webhook.events), moment(webhook.created_at))
    made.show(session)


def _status(webhook: Webhook) -> str:
    return f"disabled since {moment(webhook.disabled_at)}" if webhook.disabled_at else "enabled"


@command(group, "add")
def add(
    session: Session,
    address: Annotated[str, typer.Argument(metavar="URL", help="An https address that accepts POST.")],
    event: Annotated[
        list[str] | None,
        typer.Option(
            "--event",
            metavar="EVENT",
            help="job.succeeded, job.failed or job.canceled; repeat it for several. All of them by default.",
        ),
    ] = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="A sentence or two.")] = None,
) -> None:
    """Add a webhook. Its secret is shown once."""
    made = session.client.webhooks.create(address, cast("list[WebhookEvent] | None", event), description)
    if session.as_json:
        session.emit(made)
        return
    events = ", ".join(made.events)
    facts(session, [("id", made.id), ("url", made.url), ("events", events), ("secret (shown once)", made.secret)])


@command(group, "delete")
def delete(session: Session, webhook: Annotated[list[str], typer.Argument(metavar="WEBHOOK...")]) -> None:
    """Delete webhooks and their deliveries."""
    for each in webhook:
        session.client.webhooks.delete(each)
    if session.as_json:
        session.emit({"removed": webhook})
    else:
        session.out.print(f"Removed {', '.join(webhook)}")


@command(group, "enable")
def enable(session: Session, webhook: Id) -> None:
    """Send to a webhook again that was disabled."""
    found = session.client.webhooks.enable(webhook)
    if session.as_json:
        session.emit(found)
    else:
        session.out.print(f"{found.id} is {_status(found)}")


@command(group, "test")
def send_once_more(
    session: Session,
    webhook: Id,
    job: Annotated[
        str | None, typer.Option(metavar="ID", help="A job that has ended; by default the newest such job.")
    ] = None,
) -> None:
    """Send the message about a job that has ended once more, and show how the address responded."""
    replayed = session.client.webhooks.replay(webhook, job or _newest_ended(session).id)
    delivery = _tried(session, webhook, replayed)
    if session.as_json:
        session.emit(delivery)
    else:
        session.out.print(_outcome(delivery))
    if delivery.status != "succeeded":
        raise typer.Exit(1)


def _newest_ended(session: Session) -> JobSummary:
    pager = session.client.jobs.list(page_size=_LATEST)
    for job, _ in zip(pager, range(_LATEST), strict=False):
        if job.status.terminal:
            return job
    raise PreceptorError(
        f"none of the newest {_LATEST} jobs has ended, so there is no message to send. Run one "
        "(`preceptor recommend --labels a,b`), or name a job with --job"
    )


def _tried(session: Session, webhook: str, delivery: WebhookDelivery) -> WebhookDelivery:
    """The delivery after its first attempt, or as it is after half a minute."""
    end = time.monotonic() + _PATIENCE
    while not delivery.tries and delivery.status == "pending" and time.monotonic() < end:
        time.sleep(0.5)
        delivery = session.client.webhooks.delivery(webhook, delivery.id)
    return delivery


def _outcome(delivery: WebhookDelivery) -> str:
    if not delivery.attempts or not delivery.tries:
        return f"{delivery.id} is {delivery.status}; no attempt was made within {_PATIENCE:g} s"
    last = delivery.attempts[-1]
    answer = f"status {last.status}" if last.status is not None else "no response"
    reason = f" ({last.error})" if last.error else ""
    return f"{delivery.id} is {delivery.status}: {answer}{reason}"
